/* SPDX-License-Identifier: MIT
 *
 * neoq retry, cancel, delete, pause, resume, purge: steering jobs and queues.
 */
#include "cli.h"
#include "output.h"
#include "values.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>

#define PAGE 500

typedef struct steer_values {
    const char *queue;
    neoq_state state;
} steer_values;

typedef struct verb {
    const command *command;
    const char *past;
    int (*act)(neoq *nq, const char *name);
} verb;

typedef struct steering {
    session *session;
    neoq *nq;
    const verb *verb;
    int64_t done;
    int exit_status;
} steering;

static void print_count(session *s, const char *past, int64_t count)
{
    json_line line;
    if (!s->json) {
        printf("%" PRId64 " %s\n", count, past);
        return;
    }
    put_begin(&line, stdout);
    put_integer(&line, past, count);
    put_end(&line);
}

/* Steers one by its name; goes on with the others where one cannot be. */
static void steer_one(steering *st, const char *name)
{
    int status = st->verb->act(st->nq, name);
    if (status == NEOQ_OK) {
        st->done++;
        return;
    }
    int exit_status = complain_status(st->session, status, "%s not %s", name, st->verb->past);
    if (st->exit_status == EXIT_DONE)
        st->exit_status = exit_status;
}

/* All that match, a page of ids at a time. One that has left the state meanwhile is passed over in silence. */
static void steer_matching(steering *st, const steer_values *values)
{
    neoq_filter filter = {.queue = values->queue, .state = values->state, .limit = PAGE};
    char last[NEOQ_ID_SIZE];
    for (size_t found = PAGE; found == PAGE;) {
        neoq_job_set *set;
        int status = neoq_find(st->nq, &filter, &set);
        if (status != NEOQ_OK) {
            st->exit_status = complain_status(st->session, status, "the jobs cannot be listed");
            return;
        }
        found = neoq_job_set_count(set);
        for (size_t i = 0; i < found; i++) {
            const char *id = neoq_job_set_at(set, i)->id;
            snprintf(last, sizeof last, "%s", id);
            status = st->verb->act(st->nq, id);
            if (status == NEOQ_OK)
                st->done++;
            else if (status != NEOQ_ESTATE && status != NEOQ_ENOTFOUND && st->exit_status == EXIT_DONE)
                st->exit_status = complain_status(st->session, status, "%s not %s", id, st->verb->past);
        }
        filter.after_id = last;
        neoq_job_set_free(set);
    }
}

static int run_steering(session *s, const verb *v, int argc, char **argv)
{
    steer_values values = {0};
    steering st = {.session = s, .verb = v};
    const char *name = v->command->name;
    int first = args_read(s, v->command, &values, argc, argv);
    bool matching = values.queue != NULL || values.state != 0;
    if (first < 0)
        return EXIT_USAGE;
    if (first < argc && matching)
        return complain_usage(s, "%s: give ids, or --state and --queue in their place, not both", name);
    if (first == argc && !matching)
        return complain_usage(s, "%s: what? Usage: neoq %s %s", name, name, v->command->arguments);
    int exit_status = session_open(s, NULL, &st.nq);
    if (exit_status != EXIT_DONE)
        return exit_status;
    if (matching)
        steer_matching(&st, &values);
    for (int i = first; i < argc; i++)
        steer_one(&st, argv[i]);
    neoq_close(st.nq);
    print_count(s, v->past, st.done);
    return st.exit_status;
}

static const option_spec job_options[] = {
    {.name = "queue",
     .kind = OPTION_TEXT,
     .offset = offsetof(steer_values, queue),
     .argument = "Q",
     .help = "in place of ids: all jobs of this queue"},
    {.name = "state",
     .kind = OPTION_STATE,
     .offset = offsetof(steer_values, state),
     .argument = "S",
     .help = "in place of ids: all jobs in this state"},
    {0},
};

#define STEERING(verb_name, past_name, function, words, table_of_options, one_line)                                  \
    static int run_##verb_name(session *s, int argc, char **argv)                                                    \
    {                                                                                                                \
        static const verb v = {&command_##verb_name, past_name, function};                                           \
        return run_steering(s, &v, argc, argv);                                                                      \
    }                                                                                                                \
    const command command_##verb_name = {.name = #verb_name,                                                         \
                                         .arguments = words,                                                         \
                                         .summary = one_line,                                                        \
                                         .options = table_of_options,                                                \
                                         .run = run_##verb_name};

STEERING(retry, "retried", neoq_retry_now, "ID...", job_options, "Makes dead, retrying or scheduled jobs ready now.")
STEERING(cancel, "cancelled", neoq_cancel, "ID...", job_options,
         "Cancels jobs: waiting ones die, running ones are stopped.")
STEERING(delete, "deleted", neoq_delete, "ID...", job_options, "Deletes jobs that are not running.")
STEERING(pause, "paused", neoq_pause, "QUEUE...", NULL, "Stops workers from taking jobs of a queue.")
STEERING(resume, "resumed", neoq_resume, "QUEUE...", NULL, "Lets workers take jobs of a paused queue again.")

/* ---- purge -------------------------------------------------------------------------------- */

static const option_spec purge_options[] = {
    {.name = "state",
     .kind = OPTION_STATE,
     .offset = offsetof(steer_values, state),
     .argument = "S",
     .help = "those in this state only; without it all but the running ones"},
    {0},
};

static int run_purge(session *s, int argc, char **argv)
{
    steer_values values = {0};
    neoq *nq;
    int64_t purged = 0;
    int first = args_read(s, &command_purge, &values, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (argc - first != 1)
        return complain_usage(s, "purge takes one queue, and got %d", argc - first);
    if (values.state == NEOQ_RUNNING)
        return complain_usage(s, "purge: running jobs cannot be deleted: neoq cancel stops them");
    int exit_status = session_open(s, NULL, &nq);
    if (exit_status != EXIT_DONE)
        return exit_status;
    int status = neoq_purge(nq, argv[first], values.state, &purged);
    if (status == NEOQ_OK)
        print_count(s, "purged", purged);
    else
        exit_status = complain_status(s, status, "queue %s not purged", argv[first]);
    neoq_close(nq);
    return exit_status;
}

const command command_purge = {.name = "purge",
                               .arguments = "QUEUE",
                               .summary = "Deletes the jobs of a queue.",
                               .options = purge_options,
                               .run = run_purge};
