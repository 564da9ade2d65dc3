/* SPDX-License-Identifier: MIT
 *
 * The phases of neoq bench.
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PHASE_LONGEST NEOQ_SECONDS(10)
#define SLICE         NEOQ_MILLISECONDS(200) /* of waiting, between two looks at whether we are to stop */
#define BATCH         1000
#define SAMPLES       1000
#define PAYLOAD_EXTRA 8 /* {"n":""} */

/* One phase under way. */
typedef struct phase {
    bench *bench;
    neoq *nq;
    char queue[64];
    const char *name;
    int64_t total;        /* jobs to be done */
    bool works;           /* runs handlers */
    int64_t began, until; /* steady */
    atomic_llong next;    /* number of the next job to be enqueued */
    atomic_llong enqueued, handled;
    atomic_int failed; /* the first status that was not NEOQ_OK */
    char why[256];
    pthread_mutex_t lock; /* of what follows: the latency phase */
    pthread_cond_t changed;
} phase;

static void set_phase(bench *b, phase *p)
{
    pthread_mutex_lock(&b->lock);
    b->now = p;
    pthread_mutex_unlock(&b->lock);
}

void bench_draw(bench *b)
{
    char line[160], run[48] = "";
    pthread_mutex_lock(&b->lock);
    phase *p = b->now;
    if (p != NULL) {
        int64_t enqueued = atomic_load(&p->enqueued), handled = atomic_load(&p->handled);
        if (p->works)
            snprintf(run, sizeof run, ", %" PRId64 " run", handled);
        snprintf(line, sizeof line, "%s: %" PRId64 " of %" PRId64 " jobs enqueued%s", p->name, enqueued, p->total,
                 run);
        screen_draw(&b->session->screen, line);
    }
    pthread_mutex_unlock(&b->lock);
}

/* ---- beginning and end -------------------------------------------------------------------- */

static int phase_open(phase *p, bench *b, const char *name, int64_t total, bool works)
{
    neoq_options how = {.unique = b->no_unique ? NEOQ_UNIQUE_OFF : NEOQ_UNIQUE_ON};
    *p = (phase){.bench = b, .name = name, .total = total, .works = works};
    snprintf(p->queue, sizeof p->queue, "neoq-bench-%d-%s", (int)getpid(), name);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    int exit_status = session_open(b->session, &how, &p->nq);
    if (exit_status == EXIT_DONE)
        set_phase(b, p);
    return exit_status;
}

static void phase_start_clock(phase *p)
{
    p->began = steady_now();
    p->until = p->began + PHASE_LONGEST;
}

static bool phase_over(const phase *p)
{
    return atomic_load(&p->bench->stopped) || steady_now() >= p->until;
}

static void phase_failed(phase *p, int status)
{
    int none = NEOQ_OK;
    if (atomic_compare_exchange_strong(&p->failed, &none, status))
        snprintf(p->why, sizeof p->why, "%s", neoq_error_message());
}

/* Removes the queue and closes. A store that has run handlers is opened anew: those must be gone first. */
static int phase_close(phase *p)
{
    session *s = p->bench->session;
    set_phase(p->bench, NULL);
    int exit_status = EXIT_DONE, failed = atomic_load(&p->failed);
    if (failed != NEOQ_OK) {
        complain(s, "bench: %s: %s", p->name, *p->why ? p->why : neoq_status_name(failed));
        exit_status = exit_of(failed);
    }
    char scheme[16];
    session_scheme(s, scheme, sizeof scheme);
    bool lasting = strcmp(scheme, "memory") != 0;
    if (p->works && lasting) {
        neoq_shutdown(p->nq, NEOQ_FOREVER);
        neoq_close(p->nq);
        if (session_open(s, NULL, &p->nq) != EXIT_DONE)
            return EXIT_STORE;
    }
    if (lasting) {
        int status = neoq_remove_queue(p->nq, p->queue);
        if (status != NEOQ_OK && status != NEOQ_ENOTFOUND)
            complain_status(s, status, "bench: the queue %s is not removed", p->queue);
    }
    neoq_close(p->nq);
    return exit_status;
}

static void set_figure(figure *f, int64_t jobs, neoq_duration took)
{
    f->jobs = jobs;
    f->took = took;
    f->rate = took > 0 ? (double)jobs * 1e6 / (double)took : 0;
}

static void note_cut(const phase *p, int64_t jobs)
{
    if (jobs < p->bench->jobs && !atomic_load(&p->bench->stopped))
        note(p->bench->session, "bench: %s: %" PRId64 " of %" PRId64 " jobs in 10 seconds", p->name, jobs,
             p->bench->jobs);
}

/* ---- jobs --------------------------------------------------------------------------------- */

/* {"n":"...000123"}, of the size that was asked for; no two alike. text has room for size + 1. */
static void make_payload(char *text, int64_t size, int64_t number)
{
    snprintf(text, (size_t)size + 1, "{\"n\":\"%0*" PRId64 "\"}", (int)(size - PAYLOAD_EXTRA), number);
}

static neoq_job make_job(const phase *p, const char *payload)
{
    return (neoq_job){.queue = p->queue, .payload = payload, .payload_size = (size_t)p->bench->payload};
}

/* A producer: one job a call, until all are enqueued or time is up. */
static void *produce(void *arg)
{
    phase *p = arg;
    const bench *b = p->bench;
    char *payload = need(malloc((size_t)b->payload + 1));
    while (!phase_over(p) && atomic_load(&p->failed) == NEOQ_OK) {
        int64_t number = atomic_fetch_add(&p->next, 1);
        if (number >= b->jobs)
            break;
        make_payload(payload, b->payload, number);
        neoq_job job = make_job(p, payload);
        int status = neoq_enqueue(p->nq, &job, NULL);
        if (status != NEOQ_OK)
            phase_failed(p, status);
        else
            atomic_fetch_add(&p->enqueued, 1);
    }
    free(payload);
    return NULL;
}

static void produce_by_threads(phase *p)
{
    pthread_t threads[BENCH_THREADS];
    int64_t started = 0;
    for (; started < p->bench->producers; started++) {
        if (pthread_create(&threads[started], NULL, produce, p) != 0)
            break;
    }
    if (started == 0)
        produce(p);
    for (int64_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* All jobs, 1,000 a call. */
static void produce_batches(phase *p)
{
    const bench *b = p->bench;
    size_t size = (size_t)b->payload + 1, room = ((size_t)1 << 23) / size;
    size_t batch = room < 1 ? 1 : room < BATCH ? room : BATCH; /* great payloads: 8 MiB a call */
    char *payloads = need(malloc(batch * size));
    neoq_job *jobs = need(calloc(batch, sizeof *jobs));
    for (int64_t number = 0; number < b->jobs && !phase_over(p);) {
        size_t count = 0;
        for (; count < batch && number < b->jobs; count++, number++) {
            make_payload(payloads + count * size, b->payload, number);
            jobs[count] = make_job(p, payloads + count * size);
        }
        int status = neoq_enqueue_many(p->nq, jobs, count, NULL);
        if (status != NEOQ_OK) {
            phase_failed(p, status);
            break;
        }
        atomic_fetch_add(&p->enqueued, (long long)count);
    }
    free(jobs);
    free(payloads);
}

/* ---- handlers ----------------------------------------------------------------------------- */

static int handle_nothing(neoq_ctx *ctx, void *arg)
{
    phase *p = arg;
    (void)ctx;
    atomic_fetch_add(&p->handled, 1);
    return NEOQ_OK;
}

static void start_handler(phase *p, neoq_handle handle)
{
    neoq_handler handler = {.queue = p->queue, .handle = handle, .arg = p, .concurrency = (int)p->bench->concurrency};
    int status = neoq_start(p->nq, &handler);
    if (status != NEOQ_OK)
        phase_failed(p, status);
}

/*
 * Waits until all are run and settled; or shuts down where time is up, so that what has been handled is settled, too.
 */
static void drain_or_stop(phase *p)
{
    int status = atomic_load(&p->failed);
    while (status == NEOQ_OK && (status = neoq_drain(p->nq, SLICE)) == NEOQ_ETIMEOUT && !phase_over(p))
        status = NEOQ_OK;
    if (status == NEOQ_ETIMEOUT)
        neoq_shutdown(p->nq, NEOQ_FOREVER);
    else if (status != NEOQ_OK)
        phase_failed(p, status);
}

/* ---- the phases --------------------------------------------------------------------------- */

int bench_enqueue(bench *b)
{
    phase p;
    int exit_status = phase_open(&p, b, "enqueue", b->jobs, false);
    if (exit_status != EXIT_DONE)
        return exit_status;
    phase_start_clock(&p);
    produce_by_threads(&p);
    set_figure(&b->enqueue, atomic_load(&p.enqueued), steady_now() - p.began);
    note_cut(&p, b->enqueue.jobs);
    return phase_close(&p);
}

int bench_enqueue_many(bench *b)
{
    phase p;
    int exit_status = phase_open(&p, b, "enqueue-many", b->jobs, false);
    if (exit_status != EXIT_DONE)
        return exit_status;
    phase_start_clock(&p);
    produce_batches(&p);
    set_figure(&b->enqueue_many, atomic_load(&p.enqueued), steady_now() - p.began);
    note_cut(&p, b->enqueue_many.jobs);
    return phase_close(&p);
}

int bench_drain(bench *b)
{
    phase p;
    int exit_status = phase_open(&p, b, "drain", b->jobs, true);
    if (exit_status != EXIT_DONE)
        return exit_status;
    phase_start_clock(&p);
    produce_batches(&p);
    phase_start_clock(&p);
    start_handler(&p, handle_nothing);
    drain_or_stop(&p);
    set_figure(&b->drain, atomic_load(&p.handled), steady_now() - p.began);
    note_cut(&p, b->drain.jobs);
    return phase_close(&p);
}

int bench_end_to_end(bench *b)
{
    phase p;
    int exit_status = phase_open(&p, b, "end-to-end", b->jobs, true);
    if (exit_status != EXIT_DONE)
        return exit_status;
    start_handler(&p, handle_nothing);
    phase_start_clock(&p);
    produce_by_threads(&p);
    p.until = steady_now() + PHASE_LONGEST; /* what was enqueued is also run: the figure is of whole lives */
    drain_or_stop(&p);
    set_figure(&b->end_to_end, atomic_load(&p.handled), steady_now() - p.began);
    note_cut(&p, b->end_to_end.jobs);
    return phase_close(&p);
}

/* ---- latency ------------------------------------------------------------------------------ */

static double precise_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

typedef struct sampling {
    phase phase;
    double handled_at; /* under the phase's lock */
    int64_t handled;
} sampling;

static int handle_sample(neoq_ctx *ctx, void *arg)
{
    double at = precise_now();
    sampling *m = arg;
    (void)ctx;
    pthread_mutex_lock(&m->phase.lock);
    m->handled_at = at;
    m->handled++;
    atomic_fetch_add(&m->phase.handled, 1);
    pthread_cond_signal(&m->phase.changed);
    pthread_mutex_unlock(&m->phase.lock);
    return NEOQ_OK;
}

/* One job, from the call to the handler's start, in microseconds; below 0: time is up. */
static double sample(sampling *m, int64_t number, char *payload)
{
    phase *p = &m->phase;
    make_payload(payload, p->bench->payload, number);
    neoq_job job = make_job(p, payload);
    double called_at = precise_now(), latency = -1;
    int status = neoq_enqueue(p->nq, &job, NULL);
    if (status != NEOQ_OK) {
        phase_failed(p, status);
        return -1;
    }
    atomic_fetch_add(&p->enqueued, 1);
    pthread_mutex_lock(&p->lock);
    while (m->handled <= number && !phase_over(p)) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&p->changed, &p->lock, &until);
    }
    if (m->handled > number)
        latency = m->handled_at - called_at;
    pthread_mutex_unlock(&p->lock);
    return latency;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int bench_latency(bench *b)
{
    sampling m = {0};
    double latencies[SAMPLES];
    int64_t count = 0;
    int exit_status = phase_open(&m.phase, b, "latency", SAMPLES, true);
    if (exit_status != EXIT_DONE)
        return exit_status;
    char *payload = need(malloc((size_t)b->payload + 1));
    neoq_handler handler = {.queue = m.phase.queue,
                            .handle = handle_sample,
                            .arg = &m,
                            .concurrency = (int)b->concurrency};
    int status = neoq_start(m.phase.nq, &handler);
    if (status != NEOQ_OK)
        phase_failed(&m.phase, status);
    phase_start_clock(&m.phase);
    while (count < SAMPLES && atomic_load(&m.phase.failed) == NEOQ_OK && !phase_over(&m.phase)) {
        struct timespec pause = {.tv_nsec = 1000000 + (count * 7919 % 1000) * 1000}; /* 1 to 2 ms: the worker idles */
        nanosleep(&pause, NULL);
        double latency = sample(&m, count, payload);
        if (latency >= 0)
            latencies[count++] = latency;
    }
    free(payload);
    qsort(latencies, (size_t)count, sizeof latencies[0], compare);
    b->samples = count;
    b->latency_p50 = count > 0 ? latencies[count / 2] : 0;
    b->latency_p99 = count > 0 ? latencies[count * 99 / 100] : 0;
    return phase_close(&m.phase);
}
