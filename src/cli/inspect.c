/* SPDX-License-Identifier: MIT
 *
 * neoq jobs, job, queues, workers: looking at a store.
 */
#include "cli.h"
#include "output.h"
#include "text.h"
#include "values.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 200 /* jobs read at a time */

/* ---- jobs --------------------------------------------------------------------------------- */

typedef struct jobs_values {
    const char *queue;
    neoq_state state;
    int64_t limit;
} jobs_values;

static const option_spec jobs_options[] = {
    {.name = "queue",
     .kind = OPTION_TEXT,
     .offset = offsetof(jobs_values, queue),
     .argument = "Q",
     .help = "of this queue only"},
    {.name = "state",
     .kind = OPTION_STATE,
     .offset = offsetof(jobs_values, state),
     .argument = "S",
     .help = "in this state only: scheduled, ready, running, retrying, done or dead"},
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_INTEGER,
     .offset = offsetof(jobs_values, limit),
     .argument = "N",
     .min = 1,
     .max = INT64_MAX,
     .help = "N jobs at the most; 100 where it is not given"},
    {0},
};

static const table_column job_columns[] = {
    {.title = "ID"},
    {.title = "QUEUE"},
    {.title = "STATE"},
    {.title = "RETRIES", .leave = 2},
    {.title = "MADE", .leave = 1},
    {.title = "DUE", .leave = 3},
    {.title = "PAYLOAD", .cut = true, .leave = 4},
};

static void job_row(table *t, const neoq_job *job, neoq_time now)
{
    char made[48], due[48];
    bool waits = job->state == NEOQ_SCHEDULED || job->state == NEOQ_RETRYING;
    table_cell(t, "%s", job->id);
    table_cell(t, "%s", job->queue);
    table_cell(t, "%s", state_name(job->state));
    table_cell(t, "%d/%d", job->retries, job->max_retries < 0 ? 0 : job->max_retries);
    table_cell(t, "%s", format_relative(job->created_at, now, made));
    table_cell(t, "%s", format_relative(waits ? job->run_after : 0, now, due));
    table_bytes(t, job->payload, job->payload_size);
}

static void job_line(const neoq_job *job)
{
    json_line line;
    put_begin(&line, stdout);
    put_job(&line, job);
    put_end(&line);
}

/* An empty list may be a misspelt queue: say so, without making a failure of it. */
static void note_unknown_queue(session *s, neoq *nq, const char *queue)
{
    neoq_queue_info *queues = NULL;
    size_t count = 0;
    bool known = queue == NULL;
    if (!known && neoq_queues(nq, &queues, &count) == NEOQ_OK) {
        for (size_t i = 0; i < count && !known; i++)
            known = strcmp(queues[i].name, queue) == 0;
        if (!known)
            note(s, "there is no queue %s", queue);
        free(queues);
    }
}

static int list_jobs(session *s, neoq *nq, const jobs_values *values)
{
    neoq_filter filter = {.queue = values->queue, .state = values->state};
    char last[NEOQ_ID_SIZE];
    size_t left = (size_t)values->limit, found = PAGE, all = 0;
    table t;
    table_begin(&t, s, job_columns, sizeof job_columns / sizeof job_columns[0]);
    while (left > 0 && found == PAGE && !ferror(stdout)) {
        neoq_job_set *set;
        filter.limit = left < PAGE ? left : PAGE;
        int status = neoq_find(nq, &filter, &set);
        if (status != NEOQ_OK)
            return complain_status(s, status, "the jobs cannot be listed");
        found = neoq_job_set_count(set);
        neoq_time now = neoq_now();
        for (size_t i = 0; i < found; i++) {
            const neoq_job *job = neoq_job_set_at(set, i);
            snprintf(last, sizeof last, "%s", job->id);
            if (s->json)
                job_line(job);
            else
                job_row(&t, job, now);
        }
        filter.after_id = last;
        left -= found;
        all += found;
        neoq_job_set_free(set);
        table_flush(&t);
    }
    if (all == 0)
        note_unknown_queue(s, nq, values->queue);
    return EXIT_DONE;
}

static int run_jobs(session *s, int argc, char **argv)
{
    jobs_values values = {.limit = 100};
    neoq *nq;
    int first = args_read(s, &command_jobs, &values, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first < argc)
        return complain_usage(s,
                              "jobs takes no argument, and got '%s': a queue is named with --queue, a job is shown "
                              "by neoq job ID",
                              argv[first]);
    int exit_status = session_open(s, NULL, &nq);
    if (exit_status == EXIT_DONE)
        exit_status = list_jobs(s, nq, &values);
    neoq_close(nq);
    return exit_status;
}

const command command_jobs = {.name = "jobs",
                              .arguments = "",
                              .summary = "Lists jobs, the oldest first.",
                              .options = jobs_options,
                              .run = run_jobs};

/* ---- job ---------------------------------------------------------------------------------- */

typedef struct details {
    const neoq_job *job;
    neoq_run_info *runs;
    size_t run_count;
    int percent;
    char note[257];
} details;

static void field(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void field(const char *name, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    need(size < 0 ? NULL : text);
    char *clean = need(text_cell(text, (size_t)size, 0));
    printf("%-12s %s\n", name, clean);
    free(clean);
    free(text);
}

static void instant_field(const char *name, neoq_time at)
{
    char text[INSTANT_SIZE], relative[48];
    if (at != 0)
        field(name, "%s  (%s)", format_instant(at, text), format_relative(at, neoq_now(), relative));
}

/* Bytes from a job: text line by line, without what would steer the terminal; other bytes are counted. */
static void bytes_field(const char *name, const void *bytes, size_t size)
{
    if (bytes == NULL)
        return;
    const char *text = bytes, *end = text + size;
    if (!text_is_utf8(text, size)) {
        field(name, "%zu bytes that are not text; --json has them in base64", size);
        return;
    }
    do {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        field(name, "%.*s", (int)((stop != NULL ? stop : end) - text), text);
        text = stop != NULL ? stop + 1 : end;
        name = "";
    } while (text < end);
}

static void print_runs(session *s, const details *d)
{
    static const table_column columns[] = {
        {.title = "RUN", .right = true}, {.title = "BEGAN"},
        {.title = "TOOK", .leave = 5},   {.title = "OUTCOME"},
        {.title = "EXIT", .leave = 4},   {.title = "CPU", .leave = 2},
        {.title = "PEAK", .leave = 1},   {.title = "WORKER", .leave = 3},
        {.title = "ERROR", .cut = true},
    };
    table t;
    table_begin(&t, s, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < d->run_count; i++) {
        const neoq_run_info *run = &d->runs[i];
        char began[INSTANT_SIZE], took[DURATION_SIZE] = "-", cpu[DURATION_SIZE] = "-";
        if (run->finished_at != 0)
            format_duration(run->finished_at - run->started_at, took);
        if (run->cpu_time != 0)
            format_duration(run->cpu_time, cpu);
        table_cell(&t, "%" PRId64, run->epoch);
        table_cell(&t, "%.19sZ", format_instant(run->started_at, began));
        table_cell(&t, "%s", took);
        table_cell(&t, "%s", *run->outcome ? run->outcome : "running");
        table_cell(&t, run->signal ? "signal %d" : "%d", run->signal ? run->signal : run->exit_code);
        table_cell(&t, "%s", cpu);
        if (run->peak_memory > 0)
            table_cell(&t, "%.1f MiB", (double)run->peak_memory / 1048576);
        else
            table_cell(&t, "-");
        table_cell(&t, "%.13s", run->worker);
        table_cell(&t, "%s", run->error);
    }
    table_flush(&t);
}

static void print_details(session *s, const details *d)
{
    const neoq_job *job = d->job;
    field("id", "%s", job->id);
    field("queue", "%s", job->queue);
    field("state", "%s", state_name(job->state));
    if (d->percent >= 0)
        field("progress", "%d %%%s%s", d->percent, *d->note ? "  " : "", d->note);
    field("retries", "%d of %d", job->retries, job->max_retries < 0 ? 0 : job->max_retries);
    field("priority", "%d", job->priority);
    field("fingerprint", "%s", job->fingerprint ? job->fingerprint : "-");
    instant_field("run after", job->run_after);
    instant_field("deadline", job->deadline);
    instant_field("created", job->created_at);
    instant_field("ran", job->ran_at);
    instant_field("finished", job->finished_at);
    if (job->metadata != NULL)
        field("metadata", "%s", job->metadata);
    if (job->error != NULL)
        field("error", "%s", job->error);
    bytes_field("payload", job->payload, job->payload_size);
    bytes_field("result", job->result, job->result_size);
    if (d->run_count > 0) {
        printf("\n");
        print_runs(s, d);
    }
}

static void print_details_json(const details *d)
{
    json_line line;
    put_begin(&line, stdout);
    put_job(&line, d->job);
    if (d->percent >= 0) {
        put_open(&line, "progress", '{');
        put_integer(&line, "percent", d->percent);
        put_text(&line, "note", d->note);
        put_close(&line, '}');
    } else {
        put_text(&line, "progress", NULL);
    }
    put_open(&line, "runs", '[');
    for (size_t i = 0; i < d->run_count; i++) {
        put_open(&line, NULL, '{');
        put_run(&line, &d->runs[i]);
        put_close(&line, '}');
    }
    put_close(&line, ']');
    put_end(&line);
}

static int show_job(session *s, neoq *nq, const char *id)
{
    details d = {.percent = -1};
    neoq_job_set *set;
    int status = neoq_get(nq, id, &set);
    if (status != NEOQ_OK)
        return complain_status(s, status, "job %s", id);
    d.job = neoq_job_set_at(set, 0);
    if (neoq_get_progress(nq, id, &d.percent, d.note, sizeof d.note) != NEOQ_OK)
        d.percent = -1;
    status = neoq_runs(nq, id, &d.runs, &d.run_count);
    if (status != NEOQ_OK && status != NEOQ_ENOTFOUND && status != NEOQ_EUNSUPPORTED) {
        neoq_job_set_free(set);
        return complain_status(s, status, "the history of job %s cannot be read", id);
    }
    if (status != NEOQ_OK)
        d.run_count = 0;
    if (s->json)
        print_details_json(&d);
    else
        print_details(s, &d);
    free(d.runs);
    neoq_job_set_free(set);
    return EXIT_DONE;
}

static int run_job(session *s, int argc, char **argv)
{
    neoq *nq;
    int first = args_read(s, &command_job, NULL, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (argc - first != 1)
        return complain_usage(s, "job takes one id, and got %d: neoq jobs lists them", argc - first);
    int exit_status = session_open(s, NULL, &nq);
    if (exit_status == EXIT_DONE)
        exit_status = show_job(s, nq, argv[first]);
    neoq_close(nq);
    return exit_status;
}

const command command_job = {.name = "job",
                             .arguments = "ID",
                             .summary = "Shows one job in full, with its payload and the history of its runs.",
                             .run = run_job};

/* ---- queues ------------------------------------------------------------------------------- */

static void queue_line(const neoq_queue_info *queue)
{
    json_line line;
    put_begin(&line, stdout);
    put_text(&line, "name", queue->name);
    put_boolean(&line, "paused", queue->paused);
    put_integer(&line, "scheduled", queue->scheduled);
    put_integer(&line, "ready", queue->ready);
    put_integer(&line, "running", queue->running);
    put_integer(&line, "retrying", queue->retrying);
    put_integer(&line, "done", queue->done);
    put_integer(&line, "dead", queue->dead);
    put_integer(&line, "processed", queue->processed);
    put_integer(&line, "failed", queue->failed);
    put_number(&line, "latency_seconds", (double)queue->latency / 1e6, 6);
    put_end(&line);
}

static void queue_row(table *t, const neoq_queue_info *queue)
{
    char latency[DURATION_SIZE] = "-";
    if (queue->latency > 0)
        format_duration(queue->latency, latency);
    table_cell(t, "%s", queue->name);
    table_cell(t, "%" PRId64, queue->scheduled);
    table_cell(t, "%" PRId64, queue->ready);
    table_cell(t, "%" PRId64, queue->running);
    table_cell(t, "%" PRId64, queue->retrying);
    table_cell(t, "%" PRId64, queue->done);
    table_cell(t, "%" PRId64, queue->dead);
    table_cell(t, "%" PRId64, queue->processed);
    table_cell(t, "%" PRId64, queue->failed);
    table_cell(t, "%s", latency);
    table_cell(t, "%s", queue->paused ? "paused" : "");
}

static int list_queues(session *s, neoq *nq)
{
    static const table_column columns[] = {
        {.title = "QUEUE"},
        {.title = "SCHEDULED", .right = true, .leave = 4},
        {.title = "READY", .right = true},
        {.title = "RUNNING", .right = true},
        {.title = "RETRYING", .right = true, .leave = 5},
        {.title = "DONE", .right = true, .leave = 3},
        {.title = "DEAD", .right = true},
        {.title = "PROCESSED", .right = true, .leave = 1},
        {.title = "FAILED", .right = true, .leave = 2},
        {.title = "LATENCY", .right = true, .leave = 6},
        {.title = ""},
    };
    neoq_queue_info *queues;
    size_t count;
    table t;
    int status = neoq_queues(nq, &queues, &count);
    if (status != NEOQ_OK)
        return complain_status(s, status, "the queues cannot be listed");
    table_begin(&t, s, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < count; i++) {
        if (s->json)
            queue_line(&queues[i]);
        else
            queue_row(&t, &queues[i]);
    }
    table_flush(&t);
    free(queues);
    return EXIT_DONE;
}

/* ---- workers ------------------------------------------------------------------------------ */

static void worker_line(const neoq_worker_info *worker)
{
    json_line line;
    put_begin(&line, stdout);
    put_text(&line, "id", worker->id);
    put_text(&line, "host", worker->host);
    put_integer(&line, "pid", worker->pid);
    put_instant(&line, "started_at", worker->started_at);
    put_instant(&line, "seen_at", worker->seen_at);
    put_integer(&line, "running", worker->running);
    put_integer(&line, "capacity", worker->capacity);
    put_end(&line);
}

static int list_workers(session *s, neoq *nq)
{
    static const table_column columns[] = {
        {.title = "WORKER"},  {.title = "HOST", .leave = 3}, {.title = "PID", .right = true},
        {.title = "RUNNING"}, {.title = "UP", .leave = 1},   {.title = "SEEN", .leave = 2},
    };
    neoq_worker_info *workers;
    size_t count;
    table t;
    int status = neoq_workers(nq, &workers, &count);
    if (status != NEOQ_OK)
        return complain_status(s, status, "the workers cannot be listed");
    table_begin(&t, s, columns, sizeof columns / sizeof columns[0]);
    neoq_time now = neoq_now();
    for (size_t i = 0; i < count; i++) {
        char up[DURATION_SIZE], seen[48];
        if (s->json) {
            worker_line(&workers[i]);
            continue;
        }
        table_cell(&t, "%s", workers[i].id);
        table_cell(&t, "%s", workers[i].host);
        table_cell(&t, "%d", workers[i].pid);
        table_cell(&t, "%d of %d", workers[i].running, workers[i].capacity);
        table_cell(&t, "%s", format_duration(now > workers[i].started_at ? now - workers[i].started_at : 0, up));
        table_cell(&t, "%s", format_relative(workers[i].seen_at, now, seen));
    }
    table_flush(&t);
    free(workers);
    return EXIT_DONE;
}

/* ---- both --------------------------------------------------------------------------------- */

static int run_list(session *s, const command *of, int argc, char **argv, int (*list)(session *, neoq *))
{
    neoq *nq;
    int first = args_read(s, of, NULL, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first < argc)
        return complain_usage(s, "%s takes no argument, and got '%s'", of->name, argv[first]);
    int exit_status = session_open(s, NULL, &nq);
    if (exit_status == EXIT_DONE)
        exit_status = list(s, nq);
    neoq_close(nq);
    return exit_status;
}

static int run_queues(session *s, int argc, char **argv)
{
    return run_list(s, &command_queues, argc, argv, list_queues);
}

static int run_workers(session *s, int argc, char **argv)
{
    return run_list(s, &command_workers, argc, argv, list_workers);
}

const command command_queues = {.name = "queues",
                                .arguments = "",
                                .summary = "Lists the queues, with their jobs counted by state.",
                                .run = run_queues};

const command command_workers = {.name = "workers",
                                 .arguments = "",
                                 .summary = "Lists the worker processes that are alive.",
                                 .run = run_workers};
