/* SPDX-License-Identifier: MIT
 *
 * neoq bench: figures of a store, on jobs that do nothing. Each phase has a queue of its own, named for the process,
 * and removes it.
 *
 * A phase that takes longer than ten seconds ends there; its figure is of what was done until then.
 */
#include "bench.h"

#include "output.h"
#include "values.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const option_spec options[] = {
    {.name = "jobs",
     .kind = OPTION_INTEGER,
     .offset = offsetof(bench, jobs),
     .argument = "N",
     .min = 1,
     .max = 10000000,
     .help = "jobs of each phase; 100000 where it is not given"},
    {.name = "producers",
     .kind = OPTION_INTEGER,
     .offset = offsetof(bench, producers),
     .argument = "P",
     .min = 1,
     .max = BENCH_THREADS,
     .help = "threads that enqueue; 4 where it is not given"},
    {.name = "concurrency",
     .letter = 'c',
     .kind = OPTION_INTEGER,
     .offset = offsetof(bench, concurrency),
     .argument = "C",
     .min = 1,
     .max = 1000,
     .help = "handlers at once; 10 where it is not given"},
    {.name = "payload",
     .kind = OPTION_INTEGER,
     .offset = offsetof(bench, payload),
     .argument = "BYTES",
     .min = 16,
     .max = (int64_t)MAX_PAYLOAD,
     .help = "of JSON in each job; 64 where it is not given"},
    {.name = "no-unique",
     .kind = OPTION_FLAG,
     .offset = offsetof(bench, no_unique),
     .help = "without the check for duplicates"},
    {0},
};

/* ---- what came of it ---------------------------------------------------------------------- */

static void print_json(const bench *b, const char *store)
{
    json_line line;
    put_begin(&line, stdout);
    put_text(&line, "store", store);
    put_integer(&line, "jobs", b->jobs);
    put_boolean(&line, "unique", !b->no_unique);
    put_integer(&line, "producers", b->producers);
    put_integer(&line, "concurrency", b->concurrency);
    put_integer(&line, "payload_bytes", b->payload);
    put_number(&line, "enqueue_per_second", b->enqueue.rate, 1);
    put_number(&line, "enqueue_many_per_second", b->enqueue_many.rate, 1);
    put_number(&line, "drain_per_second", b->drain.rate, 1);
    put_number(&line, "end_to_end_per_second", b->end_to_end.rate, 1);
    put_number(&line, "latency_p50_us", b->latency_p50, 1);
    put_number(&line, "latency_p99_us", b->latency_p99, 1);
    put_integer(&line, "rss_bytes", b->rss);
    put_end(&line);
}

static void rate_row(table *t, const char *name, const figure *f, const char *how)
{
    char took[DURATION_SIZE];
    table_cell(t, "%s", name);
    table_cell(t, "%.0f", f->rate);
    table_cell(t, "jobs/s");
    table_cell(t, "%" PRId64 " in %s; %s", f->jobs, format_duration(f->took, took), how);
}

static void print_table(const bench *b, session *s, const char *store)
{
    static const table_column columns[] = {{.title = "PHASE"},
                                           {.title = "FIGURE", .right = true},
                                           {.title = "UNIT"},
                                           {.title = "JOBS", .cut = true}};
    char how[64];
    table t;
    printf("%s, %" PRId64 " byte payloads, %s\n\n", store, b->payload,
           b->no_unique ? "duplicates not checked" : "duplicates checked");
    table_begin(&t, s, columns, sizeof columns / sizeof columns[0]);
    snprintf(how, sizeof how, "%" PRId64 " threads, one job a call", b->producers);
    rate_row(&t, "enqueue", &b->enqueue, how);
    rate_row(&t, "enqueue many", &b->enqueue_many, "one thread, 1,000 a call");
    snprintf(how, sizeof how, "%" PRId64 " handlers at once", b->concurrency);
    rate_row(&t, "drain", &b->drain, how);
    rate_row(&t, "end to end", &b->end_to_end, "enqueued singly while they are run");
    table_cell(&t, "latency, median");
    table_cell(&t, "%.0f", b->latency_p50);
    table_cell(&t, "us");
    table_cell(&t, "%" PRId64 " one at a time, from the call to the handler", b->samples);
    table_cell(&t, "latency, 99 %%");
    table_cell(&t, "%.0f", b->latency_p99);
    table_cell(&t, "us");
    table_cell(&t, "%s", "");
    table_cell(&t, "resident memory");
    table_cell(&t, "%.1f", (double)b->rss / 1048576);
    table_cell(&t, "MiB");
    table_cell(&t, "%s", "");
    table_flush(&t);
}

static int64_t resident(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL || fscanf(statm, "%*d %ld", &pages) != 1)
        pages = 0;
    if (statm != NULL)
        fclose(statm);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

/* ---- running ------------------------------------------------------------------------------ */

/*
 * The phases stop at the next job once this has seen a signal; then the queues are removed as ever. Between two looks it
 * draws the line on a terminal, so that no phase spends time on that.
 */
static void *watch_signals(void *arg)
{
    bench *b = arg;
    sigset_t set;
    const struct timespec slice = {.tv_nsec = 200000000};
    int signal;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1); /* from ourselves: the bench has ended */
    if (b->session->screen.terminal && !b->session->quiet) {
        while ((signal = sigtimedwait(&set, NULL, &slice)) < 0)
            bench_draw(b);
    } else if (sigwait(&set, &signal) != 0) {
        return NULL;
    }
    if (signal != SIGUSR1)
        atomic_store(&b->stopped, true);
    return NULL;
}

static int run_phases(bench *b)
{
    int (*const phases[])(bench *) = {bench_enqueue, bench_enqueue_many, bench_drain, bench_end_to_end,
                                      bench_latency};
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        int exit_status = phases[i](b);
        if (exit_status != EXIT_DONE)
            return exit_status;
        if (atomic_load(&b->stopped)) {
            note(b->session, "bench: stopped; its queues are removed");
            return EXIT_SOME_FAILED;
        }
    }
    b->rss = resident();
    return EXIT_DONE;
}

static int measure(bench *b)
{
    pthread_t watcher;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_mutex_init(&b->lock, NULL);
    int error = pthread_create(&watcher, NULL, watch_signals, b);
    if (error != 0) {
        complain(b->session, "bench: no thread can be started: %s", strerror(error));
        return EXIT_SOME_FAILED;
    }
    int exit_status = run_phases(b);
    pthread_kill(watcher, SIGUSR1);
    pthread_join(watcher, NULL);
    screen_clear(&b->session->screen);
    return exit_status;
}

static int run_bench(session *s, int argc, char **argv)
{
    bench b = {.session = s, .jobs = 100000, .producers = 4, .concurrency = 10, .payload = 64};
    char store[32];
    int first = args_read(s, &command_bench, &b, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first < argc)
        return complain_usage(s, "bench takes no argument, and got '%s'", argv[first]);
    session_scheme(s, store, sizeof store);
    int exit_status = measure(&b);
    if (exit_status != EXIT_DONE)
        return exit_status;
    if (s->json)
        print_json(&b, store);
    else
        print_table(&b, s, store);
    return EXIT_DONE;
}

const command command_bench = {
    .name = "bench",
    .arguments = "",
    .summary = "Measures the store, with jobs that do nothing.",
    .details =
        "enqueue: P threads, one job a call. enqueue many: one thread, 1,000 jobs a call. drain: jobs enqueued "
        "before,\n"
        "then run. end to end: enqueued singly by P threads while they are run, from the first call to the last "
        "finish.\n"
        "latency: one job at a time to an idle worker, from the call to the handler's start. Each has a queue of "
        "its\n"
        "own (neoq-bench-PID-PHASE), which is removed again. A phase ends after 10 seconds, whatever is left: its\n"
        "figure is of the jobs that were done.",
    .options = options,
    .run = run_bench,
};
