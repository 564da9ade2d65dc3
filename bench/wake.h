/* SPDX-License-Identifier: MIT
 *
 * wake.h -- from the call of neoq_enqueue() to the handler's start, the worker asleep: by this process, and by another.
 */
#ifndef BENCH_WAKE_H
#define BENCH_WAKE_H

#include "process.h"

typedef struct arrivals {
    double *micros;
    size_t count;
    sem_t one;
} arrivals;

/* The payload tells when it was called. */
static inline int note_arrival(neoq_ctx *ctx, void *arg)
{
    arrivals *a = arg;
    int64_t now = now_ns();
    a->micros[a->count++] = (double)(now - strtoll(neoq_ctx_job(ctx)->payload, NULL, 10)) / 1e3;
    sem_post(&a->one);
    return NEOQ_OK;
}

static inline void enqueue_clock(neoq *nq, uint64_t number)
{
    char payload[32];
    pause_before(number);
    snprintf(payload, sizeof payload, "%" PRId64, now_ns());
    check(neoq_enqueue(nq, &(neoq_job){.queue = "bench", .payload = payload}, NULL), "neoq_enqueue");
}

/* The other process: a call for each byte it hears. */
static inline int enqueue_in_child(const char *url)
{
    neoq *nq = open_store(url);
    for (uint64_t i = 0; getchar() != EOF; i++)
        enqueue_clock(nq, i);
    neoq_close(nq);
    return 0;
}

/* The names of the figures begin with that of the store. */
static inline void print_wakes(neoq *nq, const char *url, const char *store, uint64_t samples)
{
    enum { WARM = 5 };
    char name[64];
    arrivals a = {.micros = need(calloc(2 * (samples + WARM), sizeof *a.micros))};
    sem_init(&a.one, 0, 0);
    start_handler(nq, note_arrival, &a, 1);
    child c = start_child(url, "enqueue-child", samples);
    for (uint64_t i = 0; i < WARM + samples; i++) {
        enqueue_clock(nq, i);
        await(&a.one);
    }
    for (uint64_t i = 0; i < WARM + samples; i++) {
        fputc('\n', c.to);
        fflush(c.to);
        await(&a.one);
    }
    end_child(&c);
    check(neoq_shutdown(nq, NEOQ_MINUTES(1)), "neoq_shutdown");
    snprintf(name, sizeof name, "neoq_%s_wake", store);
    print_latencies(name, a.micros + WARM, samples);
    snprintf(name, sizeof name, "neoq_%s_wake_by_process", store);
    print_latencies(name, a.micros + WARM + samples + WARM, samples);
    free(a.micros);
}

#endif
