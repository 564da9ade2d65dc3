/* SPDX-License-Identifier: MIT
 *
 * neoq explain: why a job is where it is. Gathers what the store knows of it, and says it in sentences; for machines
 * each has a word of its own.
 */
#include "command_line.h"
#include "output.h"
#include "text.h"
#include "values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MOST_REASONS 8
#define MOST_BEFORE  1000 /* jobs that are looked at to count those that come before */

typedef struct reason {
    const char *code;
    char *words;
} reason;

typedef struct explanation {
    session *session;
    neoq *nq;
    const neoq_job *job;
    neoq_time now;
    neoq_queue_info *queues, *queue; /* queue: the job's, or NULL */
    size_t queue_count;
    neoq_worker_info *workers;
    size_t worker_count;
    neoq_run_info *runs; /* newest first */
    size_t run_count;
    reason reasons[MOST_REASONS];
    size_t reason_count;
} explanation;

static void add(explanation *e, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add(explanation *e, const char *code, const char *format, ...)
{
    char *words = NULL;
    va_list arguments;
    if (e->reason_count == MOST_REASONS)
        return;
    va_start(arguments, format);
    int size = vasprintf(&words, format, arguments);
    va_end(arguments);
    e->reasons[e->reason_count++] = (reason){code, need(size < 0 ? NULL : words)};
}

/* ---- what is known ------------------------------------------------------------------------ */

static int gather(explanation *e)
{
    int status = neoq_queues(e->nq, &e->queues, &e->queue_count);
    for (size_t i = 0; status == NEOQ_OK && i < e->queue_count; i++) {
        if (strcmp(e->queues[i].name, e->job->queue) == 0)
            e->queue = &e->queues[i];
    }
    if (status == NEOQ_OK)
        status = neoq_workers(e->nq, &e->workers, &e->worker_count);
    if (status == NEOQ_OK)
        status = neoq_runs(e->nq, e->job->id, &e->runs, &e->run_count);
    return status == NEOQ_ENOTFOUND || status == NEOQ_EUNSUPPORTED ? NEOQ_OK : status;
}

static void forget(explanation *e)
{
    for (size_t i = 0; i < e->reason_count; i++)
        free(e->reasons[i].words);
    free(e->queues);
    free(e->workers);
    free(e->runs);
}

/* In the order in which they are claimed: the higher priority, then the one that was due sooner, then the older. */
static bool comes_before(const neoq_job *a, const neoq_job *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return a->run_after != b->run_after ? a->run_after < b->run_after : strcmp(a->id, b->id) < 0;
}

/* How many ready jobs of the queue come before this one; -1: too many to count, or not to be had. */
static int64_t count_before(const explanation *e)
{
    const neoq_filter filter = {.queue = e->job->queue, .state = NEOQ_READY, .limit = MOST_BEFORE};
    neoq_job_set *set;
    int64_t before = 0;
    if (e->queue == NULL || e->queue->ready > MOST_BEFORE || neoq_find(e->nq, &filter, &set) != NEOQ_OK)
        return -1;
    for (size_t i = 0; i < neoq_job_set_count(set); i++)
        before += comes_before(neoq_job_set_at(set, i), e->job);
    neoq_job_set_free(set);
    return before;
}

/* ---- sentences ---------------------------------------------------------------------------- */

static void say_error(explanation *e)
{
    if (e->job->error != NULL)
        add(e, "error", "Its last failure: %s", e->job->error);
}

/* What keeps workers from taking it once it is due. */
static void say_obstacles(explanation *e)
{
    if (e->queue != NULL && e->queue->paused)
        add(e, "paused", "The queue %s is paused: neoq resume %s lets its jobs run.", e->job->queue, e->job->queue);
    if (e->worker_count == 0 && strcmp(e->job->queue, COMMANDS_QUEUE) == 0)
        add(e, "no_worker", "No worker is alive to run it: neoq work --commands starts one.");
    else if (e->worker_count == 0)
        add(e, "no_worker", "No worker is alive to run it: neoq work %s -- COMMAND starts one.", e->job->queue);
}

static void say_deadline(explanation *e)
{
    char at[INSTANT_SIZE], relative[48];
    neoq_time deadline = e->job->deadline;
    if (deadline == 0)
        return;
    if (deadline <= e->now)
        add(e, "past_deadline", "Its deadline was %s (%s): it will not be run, and is dead when a worker meets it.",
            format_instant(deadline, at), format_relative(deadline, e->now, relative));
    else
        add(e, "deadline", "It is not run after %s (%s).", format_instant(deadline, at),
            format_relative(deadline, e->now, relative));
}

static void explain_ready(explanation *e)
{
    int64_t before = count_before(e), ready = e->queue != NULL ? e->queue->ready : 0;
    bool obstacles = e->worker_count == 0 || (e->queue != NULL && e->queue->paused);
    say_obstacles(e);
    if (before == 0)
        add(e, "next", "It is the next of its queue.");
    else if (before > 0)
        add(e, "behind", "%" PRId64 " ready job%s of its queue come%s before it (its priority is %d).", before,
            before == 1 ? "" : "s", before == 1 ? "s" : "", e->job->priority);
    else if (ready > 0)
        add(e, "behind", "It is one of %" PRId64 " ready jobs of its queue (its priority is %d).", ready,
            e->job->priority);
    if (!obstacles && e->queue != NULL && e->queue->running > 0)
        add(e, "busy", "%" PRId64 " job%s of its queue run%s now.", e->queue->running,
            e->queue->running == 1 ? "" : "s", e->queue->running == 1 ? "s" : "");
    else if (!obstacles)
        add(e, "idle_queue",
            "No job of its queue runs, and %zu worker%s alive: perhaps none is for this queue (neoq workers).",
            e->worker_count, e->worker_count == 1 ? " is" : "s are");
    say_deadline(e);
    say_error(e);
}

static void explain_waiting(explanation *e)
{
    char at[INSTANT_SIZE], relative[48];
    const neoq_job *job = e->job;
    format_instant(job->run_after, at);
    format_relative(job->run_after, e->now, relative);
    if (job->state == NEOQ_RETRYING)
        add(e, "retry", "It failed, and is run again at %s (%s): retry %d of %d. Sooner with neoq retry %s.", at,
            relative, job->retries + 1, job->max_retries < 0 ? 0 : job->max_retries, job->id);
    else
        add(e, "scheduled", "It is scheduled for %s (%s).", at, relative);
    say_error(e);
    say_obstacles(e);
    say_deadline(e);
}

static const neoq_worker_info *worker_of(const explanation *e, const char *id)
{
    for (size_t i = 0; i < e->worker_count; i++) {
        if (strcmp(e->workers[i].id, id) == 0)
            return &e->workers[i];
    }
    return NULL;
}

static void explain_running(explanation *e)
{
    char at[INSTANT_SIZE], relative[48], seen[48], note_text[257] = "";
    int percent = -1;
    neoq_time since = e->run_count > 0 ? e->runs[0].started_at : e->job->ran_at;
    const char *by = e->run_count > 0 ? e->runs[0].worker : "";
    const neoq_worker_info *worker = worker_of(e, by);
    add(e, "running", "It runs since %s (%s): run %" PRId64 ", retry %d of %d.", format_instant(since, at),
        format_relative(since, e->now, relative), e->job->epoch, e->job->retries,
        e->job->max_retries < 0 ? 0 : e->job->max_retries);
    if (worker != NULL)
        add(e, "worker", "Process %d on %s runs it, and has renewed its lease %s (worker %s).", worker->pid,
            worker->host, format_relative(worker->seen_at, e->now, seen), worker->id);
    else
        add(e, "worker_lost", "Its worker%s%s is not alive any more: its jobs are run again when its lease is over.",
            *by != '\0' ? " " : "", by);
    if (neoq_get_progress(e->nq, e->job->id, &percent, note_text, sizeof note_text) == NEOQ_OK && percent >= 0)
        add(e, "progress", "It says that it is done with %d %%%s%s", percent, *note_text ? ": " : ".", note_text);
    say_deadline(e);
}

static void explain_dead(explanation *e)
{
    const neoq_job *job = e->job;
    const char *outcome = e->run_count > 0 ? e->runs[0].outcome : "";
    const char *error = job->error != NULL ? job->error : "";
    int allowed = job->max_retries < 0 ? 0 : job->max_retries;
    char at[INSTANT_SIZE];
    if (strcmp(error, "cancelled") == 0 || strcmp(outcome, "cancelled") == 0)
        add(e, "cancelled", "It was cancelled at %s.", format_instant(job->finished_at, at));
    else if (job->deadline != 0 && job->finished_at >= job->deadline)
        add(e, "past_deadline", "It was not done by its deadline, %s.", format_instant(job->deadline, at));
    else if (strcmp(outcome, "discarded") == 0)
        add(e, "discarded", "Its run said that it will never succeed (exit status 65, or neoq_discard()).");
    else if (job->retries >= allowed)
        add(e, "out_of_retries", "It has failed, and %s.",
            allowed == 0 ? "is not to be retried" : "has no retries left");
    else
        add(e, "dead", "It has failed for good.");
    if (allowed > 0 && job->retries >= allowed)
        add(e, "retries", "It was retried %d of %d times.", job->retries, allowed);
    if (strcmp(error, "cancelled") != 0)
        say_error(e);
    add(e, "retry_by_hand", "To run it again: neoq retry %s. To see its runs: neoq job %s.", job->id, job->id);
}

static void explain_done(explanation *e)
{
    char at[INSTANT_SIZE], took[DURATION_SIZE];
    const neoq_job *job = e->job;
    neoq_duration wait = job->finished_at > job->ran_at && job->ran_at != 0 ? job->finished_at - job->ran_at : 0;
    add(e, "done", "It was done at %s, after %s and %d retr%s.", format_instant(job->finished_at, at),
        format_duration(wait, took), job->retries, job->retries == 1 ? "y" : "ies");
}

static void explain(explanation *e)
{
    switch (e->job->state) {
    case NEOQ_READY: explain_ready(e); return;
    case NEOQ_SCHEDULED:
    case NEOQ_RETRYING: explain_waiting(e); return;
    case NEOQ_RUNNING: explain_running(e); return;
    case NEOQ_DONE: explain_done(e); return;
    case NEOQ_DEAD: explain_dead(e); return;
    }
}

/* ---- the command -------------------------------------------------------------------------- */

static void print(const explanation *e)
{
    json_line line;
    if (!e->session->json) {
        printf("Job %s of queue %s is %s.\n", e->job->id, e->job->queue, state_name(e->job->state));
        for (size_t i = 0; i < e->reason_count; i++) {
            char *clean = need(text_cell(e->reasons[i].words, strlen(e->reasons[i].words), 0));
            printf("%s\n", clean);
            free(clean);
        }
        return;
    }
    put_begin(&line, stdout);
    put_text(&line, "id", e->job->id);
    put_text(&line, "queue", e->job->queue);
    put_text(&line, "state", state_name(e->job->state));
    put_open(&line, "reasons", '[');
    for (size_t i = 0; i < e->reason_count; i++) {
        put_open(&line, NULL, '{');
        put_text(&line, "reason", e->reasons[i].code);
        put_text(&line, "words", e->reasons[i].words);
        put_close(&line, '}');
    }
    put_close(&line, ']');
    put_end(&line);
}

static int explain_job(session *s, neoq *nq, const char *id)
{
    explanation e = {.session = s, .nq = nq, .now = neoq_now()};
    neoq_job_set *set;
    int status = neoq_get(nq, id, &set);
    if (status != NEOQ_OK)
        return complain_status(s, status, "job %s", id);
    e.job = neoq_job_set_at(set, 0);
    status = gather(&e);
    if (status == NEOQ_OK) {
        explain(&e);
        print(&e);
    }
    forget(&e);
    neoq_job_set_free(set);
    return status == NEOQ_OK ? EXIT_DONE : complain_status(s, status, "job %s cannot be explained", id);
}

static int run_explain(session *s, int argc, char **argv)
{
    neoq *nq;
    int first = args_read(s, &command_explain, NULL, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (argc - first != 1)
        return complain_usage(s, "explain takes one id, and got %d: neoq jobs lists them", argc - first);
    int exit_status = session_open(s, NULL, &nq);
    if (exit_status == EXIT_DONE)
        exit_status = explain_job(s, nq, argv[first]);
    neoq_close(nq);
    return exit_status;
}

const command command_explain = {
    .name = "explain",
    .arguments = "ID",
    .summary = "Says why a job is where it is: what it waits for, who runs it, why it is dead.",
    .details =
        "With --json an object with \"reasons\", each a word (\"paused\", \"scheduled\", \"retry\", \"no_worker\",\n"
        "\"behind\", \"worker_lost\", \"out_of_retries\" and so on) and its sentence. Which queues a worker is for\n"
        "the store does not know: that a worker is alive does not mean that it takes this job.",
    .run = run_explain,
};
