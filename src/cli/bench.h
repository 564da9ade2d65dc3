/* SPDX-License-Identifier: MIT
 *
 * What the bench is asked to do, and what it has found.
 */
#ifndef NEOQ_CLI_BENCH_H
#define NEOQ_CLI_BENCH_H

#include "cli.h"

#include <stdatomic.h>

#define BENCH_THREADS 256

typedef struct figure {
    int64_t jobs; /* done */
    neoq_duration took;
    double rate; /* a second */
} figure;

typedef struct bench {
    session *session;
    int64_t jobs, producers, concurrency, payload;
    bool no_unique;

    atomic_bool stopped; /* by a signal */
    pthread_mutex_t lock;
    struct phase *now; /* under way, or NULL; under the lock */
    figure enqueue, enqueue_many, drain, end_to_end;
    double latency_p50, latency_p99;
    int64_t samples, rss;
} bench;

/* Shows how far the phase is that is under way: for another thread. */
void bench_draw(bench *b);

/* The phases. Each opens the store, and removes its queue again. They return an exit status. */
int bench_enqueue(bench *b);
int bench_enqueue_many(bench *b);
int bench_drain(bench *b);
int bench_end_to_end(bench *b);
int bench_latency(bench *b);

#endif
