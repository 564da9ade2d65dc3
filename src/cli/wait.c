/* SPDX-License-Identifier: MIT
 *
 * neoq wait: waits for jobs to end. In the order given: a job that has ended meanwhile is not asked after until it is
 * its turn, so that the store is asked for one job at a time, however many there are.
 */
#include "cli.h"
#include "output.h"
#include "text.h"
#include "values.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SOONEST NEOQ_MILLISECONDS(10) /* between two looks; */
#define LATEST  NEOQ_SECONDS(1)       /* in between, a tenth of the time that was waited already */

enum { EXIT_TIMEOUT = 124 }; /* as timeout(1) has it */

typedef struct wait_values {
    neoq_duration timeout;
} wait_values;

static const option_spec options[] = {
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .offset = offsetof(wait_values, timeout),
     .argument = "D",
     .help = "wait no longer than D; exit status 124 if a job has not ended then"},
    {0},
};

/* How a job ended. */
typedef struct ended {
    const char *state; /* done, dead, gone */
    bool good;
    int exit_code, signal; /* of the program that its last run ran; 0 otherwise */
    char *error;           /* or NULL */
} ended;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Of the run that made it what it is. */
static void read_exit(neoq *nq, const char *id, ended *e)
{
    neoq_run_info *runs;
    size_t count;
    if (neoq_runs(nq, id, &runs, &count) != NEOQ_OK)
        return;
    if (count > 0) {
        e->exit_code = runs[0].exit_code;
        e->signal = runs[0].signal;
    }
    free(runs);
}

/* NEOQ_ETIMEOUT: it has not ended by the steady instant `until`. */
static int wait_for(session *s, neoq *nq, const char *id, int64_t until, ended *e)
{
    int64_t began = steady_now();
    for (bool seen = false;; seen = true) {
        neoq_job_set *set;
        int status = neoq_get(nq, id, &set);
        *e = (ended){.state = "gone", .good = true};
        if (status == NEOQ_ENOTFOUND && seen)
            return NEOQ_OK; /* of the jobs that end, those are not kept that are done */
        if (status != NEOQ_OK)
            return status;
        const neoq_job *job = neoq_job_set_at(set, 0);
        neoq_state state = job->state;
        bool over = state == NEOQ_DONE || state == NEOQ_DEAD;
        if (over) {
            *e = (ended){.state = state_name(state), .good = state == NEOQ_DONE};
            e->error = job->error != NULL ? need(strdup(job->error)) : NULL;
        }
        if (!over && !seen && s->verbose)
            note(s, "waiting for job %s, which is %s", id, state_name(state));
        neoq_job_set_free(set);
        if (over) {
            read_exit(nq, id, e);
            return NEOQ_OK;
        }
        int64_t now = steady_now(), pause = least((now - began) / 10 + SOONEST, LATEST);
        if (now >= until)
            return NEOQ_ETIMEOUT;
        pause = least(pause, until - now);
        nanosleep(&(struct timespec){.tv_sec = pause / 1000000, .tv_nsec = pause % 1000000 * 1000}, NULL);
    }
}

/* What the program's end would be in a shell. */
static int exit_of_program(const ended *e)
{
    if (e->good)
        return EXIT_DONE;
    int code = e->signal != 0 ? 128 + e->signal : e->exit_code;
    return code != 0 ? code : EXIT_SOME_FAILED;
}

static void print_end(session *s, const char *id, const ended *e)
{
    json_line line;
    if (s->json) {
        put_begin(&line, stdout);
        put_text(&line, "id", id);
        put_text(&line, "state", e->state);
        put_integer(&line, "exit_code", e->exit_code);
        put_integer(&line, "signal", e->signal);
        put_text(&line, "error", e->error);
        put_end(&line);
    } else {
        char *error = e->error != NULL ? need(text_cell(e->error, strlen(e->error), 0)) : NULL;
        printf("%s  %s%s%s\n", id, e->state, error != NULL ? "  " : "", error != NULL ? error : "");
        free(error);
    }
    fflush(stdout); /* whoever reads wants it now */
}

static int wait_for_all(session *s, neoq *nq, char **ids, int count, int64_t until)
{
    int exit_status = EXIT_DONE;
    for (int i = 0; i < count; i++) {
        ended e;
        int status = wait_for(s, nq, ids[i], until, &e), worse = EXIT_DONE;
        if (status == NEOQ_OK) {
            print_end(s, ids[i], &e);
            worse = count == 1 ? exit_of_program(&e) : e.good ? EXIT_DONE : EXIT_SOME_FAILED;
            free(e.error);
        } else if (status == NEOQ_ETIMEOUT && steady_now() >= until) {
            complain(s, "job %s has not ended yet", ids[i]);
            worse = EXIT_TIMEOUT;
        } else {
            worse = complain_status(s, status, "job %s", ids[i]);
        }
        if (exit_status == EXIT_DONE || worse > EXIT_SOME_FAILED)
            exit_status = worse;
    }
    return exit_status;
}

static int run_wait(session *s, int argc, char **argv)
{
    wait_values values = {.timeout = -1};
    neoq *nq;
    int first = args_read(s, &command_wait, &values, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first == argc)
        return complain_usage(s, "wait: what for? Usage: neoq wait ID...");
    int exit_status = session_open(s, NULL, &nq);
    if (exit_status == EXIT_DONE)
        exit_status = wait_for_all(s, nq, argv + first, argc - first,
                                   values.timeout < 0 ? INT64_MAX : steady_now() + values.timeout);
    neoq_close(nq);
    return exit_status;
}

const command command_wait = {
    .name = "wait",
    .arguments = "ID...",
    .summary = "Waits for jobs to end.",
    .details =
        "Prints a line a job, in the order given: its id, done or dead, and the error of a dead one. One that\n"
        "vanishes while it is waited for is \"gone\": it was done and not to be kept (or was deleted). A job that "
        "fails\n"
        "and is retried has not ended.\n"
        "\n"
        "Exit status: of one job that ran a program, the program's own, 128 and the signal if one killed it, 127 if\n"
        "it could not be started; else 0 if all were done, 1 if some are dead; 124 after --timeout.\n"
        "The store is asked at growing intervals, from 10 ms to 1 s.",
    .options = options,
    .run = run_wait,
};
