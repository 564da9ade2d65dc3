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
#include <string.h>

#define PAGE 500

typedef struct steer_values {
    const char *queue;
    neoq_state state;
    bool dry_run;
} steer_values;

#define IN(state) (1U << (state))

typedef struct verb {
    const command *command;
    const char *past;
    int (*act)(neoq *nq, const char *name);
    unsigned states; /* of the jobs that it can be done to, as IN(); 0: it is for queues */
} verb;

typedef struct steering {
    session *session;
    neoq *nq;
    const verb *verb;
    bool dry_run; /* only counts */
    int64_t done;
    int exit_status;
} steering;

static void print_count(session *s, const char *past, int64_t count, bool dry_run)
{
    json_line line;
    if (!s->json) {
        printf("%" PRId64 " %s%s\n", count, dry_run ? "would be " : "", past);
        return;
    }
    put_begin(&line, stdout);
    put_integer(&line, past, count);
    if (dry_run)
        put_boolean(&line, "dry_run", true);
    put_end(&line);
}

static bool may_be(const steering *st, neoq_state state)
{
    return (st->verb->states & IN(state)) != 0;
}

/* What act() would say, as far as the job's state tells. */
static int look_at(steering *st, const char *id)
{
    neoq_job_set *set;
    int status = neoq_get(st->nq, id, &set);
    if (status != NEOQ_OK)
        return status;
    neoq_state state = neoq_job_set_at(set, 0)->state;
    neoq_job_set_free(set);
    if (may_be(st, state))
        return NEOQ_OK;
    complain(st->session, "%s would not be %s: it is %s", id, st->verb->past, state_name(state));
    return NEOQ_ESTATE;
}

/* Steers one by its name; goes on with the others where one cannot be. */
static void steer_one(steering *st, const char *name)
{
    int status = st->dry_run ? look_at(st, name) : st->verb->act(st->nq, name);
    if (status == NEOQ_OK) {
        st->done++;
        return;
    }
    int exit_status = status == NEOQ_ESTATE && st->dry_run
                          ? EXIT_REFUSED
                          : complain_status(st->session, status, "%s not %s", name, st->verb->past);
    if (st->exit_status == EXIT_DONE)
        st->exit_status = exit_status;
}

/* NEOQ_ENOTFOUND where there is no such queue. */
static int find_queue(neoq *nq, const char *name)
{
    neoq_queue_info *queues;
    size_t count, at = 0;
    int status = neoq_queues(nq, &queues, &count);
    if (status != NEOQ_OK)
        return status;
    while (at < count && strcmp(queues[at].name, name) != 0)
        at++;
    free(queues);
    return at < count ? NEOQ_OK : NEOQ_ENOTFOUND;
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
            const neoq_job *job = neoq_job_set_at(set, i);
            const char *id = job->id;
            snprintf(last, sizeof last, "%s", id);
            if (!may_be(st, job->state))
                continue;
            status = st->dry_run ? NEOQ_OK : st->verb->act(st->nq, id);
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
    if (values.state != 0 && !may_be(&st, values.state))
        return complain_usage(s, "%s: jobs that are %s cannot be %s", name, state_name(values.state), v->past);
    if (first == argc && !matching)
        return complain_usage(s, "%s: what? Usage: neoq %s %s", name, name, v->command->arguments);
    st.dry_run = values.dry_run;
    int exit_status = session_open(s, NULL, &st.nq);
    if (exit_status != EXIT_DONE)
        return exit_status;
    if (values.queue != NULL && find_queue(st.nq, values.queue) == NEOQ_ENOTFOUND) {
        complain(s, "%s: there is no queue %s", name, values.queue);
        st.exit_status = EXIT_NOT_FOUND;
    } else if (matching) {
        steer_matching(&st, &values);
    }
    for (int i = first; i < argc; i++)
        steer_one(&st, argv[i]);
    neoq_close(st.nq);
    print_count(s, v->past, st.done, st.dry_run);
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
    {.name = "dry-run",
     .kind = OPTION_FLAG,
     .offset = offsetof(steer_values, dry_run),
     .help = "change nothing, and count those that it would be done to"},
    {0},
};

#define STEERING(verb_name, past_name, function, of_states, words, table_of_options, one_line)                       \
    static int run_##verb_name(session *s, int argc, char **argv)                                                    \
    {                                                                                                                \
        static const verb v = {&command_##verb_name, past_name, function, of_states};                                \
        return run_steering(s, &v, argc, argv);                                                                      \
    }                                                                                                                \
    const command command_##verb_name = {.name = #verb_name,                                                         \
                                         .arguments = words,                                                         \
                                         .summary = one_line,                                                        \
                                         .options = table_of_options,                                                \
                                         .run = run_##verb_name};

#define WAITING (IN(NEOQ_SCHEDULED) | IN(NEOQ_READY) | IN(NEOQ_RETRYING))

STEERING(retry, "retried", neoq_retry_now, IN(NEOQ_DEAD) | IN(NEOQ_RETRYING) | IN(NEOQ_SCHEDULED), "ID...",
         job_options, "Makes dead, retrying or scheduled jobs ready now.")
STEERING(cancel, "cancelled", neoq_cancel, WAITING | IN(NEOQ_RUNNING), "ID...", job_options,
         "Cancels jobs: waiting ones die, running ones are stopped.")
STEERING(delete, "deleted", neoq_delete, WAITING | IN(NEOQ_DONE) | IN(NEOQ_DEAD), "ID...", job_options,
         "Deletes jobs that are not running.")
STEERING(pause, "paused", neoq_pause, 0, "QUEUE...", NULL, "Stops workers from taking jobs of a queue.")
STEERING(resume, "resumed", neoq_resume, 0, "QUEUE...", NULL, "Lets workers take jobs of a paused queue again.")

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
        print_count(s, "purged", purged, false);
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
