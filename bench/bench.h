/* SPDX-License-Identifier: MIT
 *
 * bench.h -- what the programs that measure neoq share.
 */
#ifndef BENCH_H
#define BENCH_H

#include <neoq.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* 64 bytes, and the 67 that raw_sqlite stores. number_payload() sets the eight digits, so that no two are equal. */
#define PAYLOAD_64 "{\"to\":\"00000000@example.org\",\"template\":\"welcome\",\"locale\":\"en\"}"
#define PAYLOAD_67 "{\"to\":\"00000000@example.org\",\"template\":\"welcome\",\"locale\":\"en-GB\"}"
_Static_assert(sizeof PAYLOAD_64 == 64 + 1 && sizeof PAYLOAD_67 == 67 + 1, "payloads are as long as they say");

enum { PASSES = 3 }; /* each figure of a program is the median of so many */

static inline void number_payload(char *payload, uint64_t number)
{
    for (int i = 14; i >= 7; i--, number >>= 4)
        payload[i] = "0123456789abcdef"[number & 15];
}

static inline int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void pause_ns(long ns)
{
    const struct timespec pause = {.tv_nsec = ns};
    nanosleep(&pause, NULL);
}

static inline void check(int status, const char *what)
{
    if (status == NEOQ_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, neoq_status_name(status), neoq_error_message());
    exit(1);
}

static inline void *need(void *memory)
{
    if (!memory) {
        fputs("no memory\n", stderr);
        exit(1);
    }
    return memory;
}

static inline neoq *open_store(const char *url)
{
    neoq *nq;
    check(neoq_open(&nq, url, &(neoq_options){.log_level = NEOQ_LOG_WARN}), url);
    return nq;
}

static inline int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static inline double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[count / 2];
}

static inline void print_latencies(const char *name, double *micros, size_t count)
{
    qsort(micros, count, sizeof *micros, compare_doubles);
    printf("%s_p50_us %.1f\n%s_p99_us %.1f\n", name, micros[count / 2], name, micros[count * 99 / 100]);
}

static inline void await(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        ;
}

/* Of 5 to 11 ms, before a sleeper is woken: it keeps in step with no timer, and what came before is done by then. */
static inline void pause_before(uint64_t number)
{
    pause_ns(5000000 + (long)(number * 7919 % 61) * 100000);
}

/* Jobs that do nothing but count, up to a goal. */
typedef struct goal {
    atomic_uint_fast64_t count;
    uint64_t target;
    int64_t first_ns, last_ns; /* when the first handler and the last one were entered */
    sem_t reached;
} goal;

static inline int count_job(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    goal *g = arg;
    uint64_t count = atomic_fetch_add_explicit(&g->count, 1, memory_order_relaxed) + 1;
    if (count == 1)
        g->first_ns = now_ns();
    if (count == g->target) {
        g->last_ns = now_ns();
        sem_post(&g->reached);
    }
    return NEOQ_OK;
}

static inline void set_goal(goal *g, uint64_t target)
{
    memset(g, 0, sizeof *g);
    g->target = target;
    sem_init(&g->reached, 0, 0);
}

static inline void await_goal(goal *g)
{
    await(&g->reached);
}

static inline void start_handler(neoq *nq, neoq_handle handle, void *arg, int concurrency)
{
    const neoq_handler handler = {.queue = "bench", .handle = handle, .arg = arg, .concurrency = concurrency};
    check(neoq_start(nq, &handler), "neoq_start");
}

static inline double rate_of(double count, int64_t start_ns)
{
    return count * 1e9 / (double)(now_ns() - start_ns);
}

/* Jobs a second, all of which wait when it begins. */
static inline double rate_of_drain(neoq *nq, uint64_t jobs, int concurrency)
{
    goal g;
    set_goal(&g, jobs);
    int64_t start = now_ns();
    start_handler(nq, count_job, &g, concurrency);
    check(neoq_drain(nq, NEOQ_MINUTES(10)), "neoq_drain");
    double rate = rate_of((double)jobs, start);
    if (g.count != jobs)
        check(NEOQ_EFAILED, "the drain lost jobs");
    return rate;
}

/* The rate from the first handler to the last of `count` jobs of those that wait. */
static inline double rate_of_first(neoq *nq, uint64_t count, int concurrency)
{
    goal g;
    set_goal(&g, count);
    start_handler(nq, count_job, &g, concurrency);
    await_goal(&g);
    check(neoq_shutdown(nq, NEOQ_MINUTES(1)), "neoq_shutdown");
    return (double)count * 1e9 / (double)(g.last_ns - g.first_ns);
}

/* A thousand jobs a call, to one queue, or in turn to queues "bench-0"... */
static inline void fill_store(neoq *nq, neoq_unique unique, uint64_t jobs_wanted, uint64_t queues)
{
    enum { MANY = 1000 };
    static char payloads[MANY][sizeof PAYLOAD_67], names[MANY][32];
    static neoq_job jobs[MANY];
    for (size_t i = 0; i < MANY; i++) {
        memcpy(payloads[i], PAYLOAD_67, sizeof PAYLOAD_67);
        snprintf(names[i], sizeof names[i], queues > 1 ? "bench-%u" : "bench", (unsigned)(i % queues));
        jobs[i] = (neoq_job){.queue = names[i],
                             .payload = payloads[i],
                             .payload_size = sizeof PAYLOAD_67 - 1,
                             .unique = unique};
    }
    for (uint64_t done = 0; done < jobs_wanted; done += MANY) {
        uint64_t count = jobs_wanted - done < MANY ? jobs_wanted - done : MANY;
        for (size_t i = 0; i < count; i++)
            number_payload(payloads[i], done + i);
        check(neoq_enqueue_many(nq, jobs, count, NULL), "neoq_enqueue_many");
    }
}

/* ---- enqueueing singly, from several threads ------------------------------------------------- */

typedef struct producer {
    pthread_t thread;
    neoq *nq;
    neoq_unique unique;
    uint64_t from, to;
} producer;

static inline void *produce(void *arg)
{
    const producer *p = arg;
    char payload[] = PAYLOAD_67;
    const neoq_job job = {.queue = "bench",
                          .payload = payload,
                          .payload_size = sizeof payload - 1,
                          .unique = p->unique};
    for (uint64_t i = p->from; i < p->to; i++) {
        number_payload(payload, i);
        check(neoq_enqueue(p->nq, &job, NULL), "neoq_enqueue");
    }
    return NULL;
}

/* Jobs a second, each thread putting `each` of them, numbered from 1 on. */
static inline double rate_of_singles(neoq *nq, neoq_unique unique, uint64_t threads, uint64_t each)
{
    producer producers[64];
    int64_t start = now_ns();
    for (uint64_t i = 0; i < threads; i++) {
        producers[i] = (producer){.nq = nq, .unique = unique, .from = 1 + i * each, .to = 1 + (i + 1) * each};
        check(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), "pthread_create");
    }
    for (uint64_t i = 0; i < threads; i++)
        pthread_join(producers[i].thread, NULL);
    return rate_of((double)(each * threads), start);
}

#endif
