/* SPDX-License-Identifier: MIT
 *
 * <neoq/testing.h>: a neoq on virtual time whose jobs are run by the test's own thread.
 */
#include <neoq/testing.h>

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "runtime/runtime.h"

enum { RUNS_MAX = 1000000 };

int neoq_testing_open(neoq **out, const char *url, const neoq_options *options, neoq_clock *clock, int flags)
{
    if (!clock || (flags & ~NEOQ_TESTING_THREADS) != 0)
        return nq_fail(NEOQ_EINVAL, "neoq_testing_open: %s", clock ? "unknown flags" : "the clock is NULL");
    return nq_open(out, url, options, clock, !(flags & NEOQ_TESTING_THREADS));
}

static int check(const neoq *nq, const char *function)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK && !nq->by_hand)
        return nq_fail(NEOQ_ESTATE, "%s: this neoq has threads that run its jobs", function);
    return status;
}

/* ---- working by hand -------------------------------------------------------------------- */

static void count_end(neoq_testing_counts *counts, nq_outcome outcome)
{
    counts->runs++;
    switch (outcome) {
    case NQ_DONE: counts->done++; break;
    case NQ_SNOOZED: counts->snoozed++; break;
    case NQ_DISCARDED:
    case NQ_EXPIRED: counts->discarded++; break;
    case NQ_CANCELLED: counts->cancelled++; break;
    case NQ_TIMEOUT: counts->timeout++; break;
    default: counts->failed++; break;
    }
}

static int add_dead(const neoq_queue_info *queue, void *arg)
{
    *(int64_t *)arg += queue->dead;
    return NEOQ_OK;
}

/* Runs the claimed job, if any, and settles it. The mutex is held before and after. */
static int run_claimed(neoq *nq, nq_queue *queue, neoq_testing_counts *counts)
{
    neoq_ctx *ctx = nq_begin_next(nq, queue);
    if (ctx) {
        pthread_mutex_unlock(&nq->mutex);
        int returned = nq_run_handler(ctx);
        nq_end end = nq_run_verdict(ctx, returned);
        pthread_mutex_lock(&nq->mutex);
        if (ctx->abandoned) { /* the handler shut its neoq down */
            free(end.error);
            count_end(counts, ctx->end.outcome);
            if (--ctx->refs == 0) {
                pthread_mutex_unlock(&nq->mutex);
                nq_run_free(ctx);
                pthread_mutex_lock(&nq->mutex);
            }
        } else {
            count_end(counts, ctx->in_transaction && returned == NEOQ_OK ? NQ_DONE : end.outcome);
            nq_end_run(ctx, end);
        }
    } else if (nq->finished.head) {
        count_end(counts, nq->finished.head->end.outcome); /* past its deadline: settled without a run */
    }
    int status = NEOQ_OK;
    while (nq->finished.head && status == NEOQ_OK)
        status = nq_exchange(nq, NULL);
    return status;
}

static int work_queue(neoq *nq, nq_queue *queue, neoq_testing_counts *counts)
{
    int64_t before = counts->runs;
    pthread_mutex_lock(&nq->mutex);
    int status = queue->local.head ? NEOQ_OK : nq_exchange(nq, queue);
    if (status == NEOQ_OK)
        status = run_claimed(nq, queue, counts);
    pthread_mutex_unlock(&nq->mutex);
    if (status != NEOQ_OK || counts->runs > before)
        return status;
    return nq_fail(NEOQ_ENOTFOUND, "queue \"%s\" has no job ready", queue->name);
}

/* The queue whose turn comes after that of `after` (NULL: whose is first). */
static nq_queue *by_turn(const neoq *nq, const nq_queue *after)
{
    nq_queue *next = NULL;
    for (nq_queue *queue = nq->queues; queue; queue = queue->next)
        if ((!after || nq_turns_before(nq, after, queue)) && (!next || nq_turns_before(nq, queue, next)))
            next = queue;
    return next;
}

static int work_any(neoq *nq, neoq_testing_counts *counts)
{
    for (nq_queue *queue = by_turn(nq, NULL); queue; queue = by_turn(nq, queue)) {
        double turn = queue->pass;
        int status = work_queue(nq, queue, counts);
        if (status != NEOQ_ENOTFOUND)
            return status;
        queue->pass = turn;
    }
    return nq_fail(NEOQ_ENOTFOUND, "no started queue has a job ready");
}

static int work(neoq *nq, const char *name, neoq_testing_counts *counts)
{
    if (!name)
        return work_any(nq, counts);
    nq_queue *queue = nq_find_queue(nq, name);
    if (!queue)
        return nq_fail(NEOQ_ENOTFOUND, "queue \"%s\" was not started in this neoq", name);
    return work_queue(nq, queue, counts);
}

static int64_t dead_jobs(neoq *nq)
{
    int64_t dead = 0;
    nq->backend->queues(nq->store, add_dead, &dead);
    return dead;
}

int neoq_testing_work_one(neoq *nq, const char *queue, neoq_testing_counts *counts)
{
    neoq_testing_counts ignored, *c = counts ? counts : &ignored;
    *c = (neoq_testing_counts){0};
    int status = check(nq, "neoq_testing_work_one");
    if (status != NEOQ_OK)
        return status;
    int64_t dead = dead_jobs(nq);
    status = work(nq, queue, c);
    c->dead = dead_jobs(nq) - dead;
    return status;
}

static int drain(neoq *nq, neoq_testing_counts *counts)
{
    while (counts->runs < RUNS_MAX) {
        int status = work_any(nq, counts);
        if (status == NEOQ_ENOTFOUND)
            return NEOQ_OK;
        if (status != NEOQ_OK)
            return status;
    }
    return nq_fail(NEOQ_ETIMEOUT, "the queues are not empty after %d runs", RUNS_MAX);
}

int neoq_testing_drain(neoq *nq, neoq_testing_counts *counts)
{
    neoq_testing_counts ignored, *c = counts ? counts : &ignored;
    *c = (neoq_testing_counts){0};
    int status = check(nq, "neoq_testing_drain");
    if (status != NEOQ_OK)
        return status;
    int64_t dead = dead_jobs(nq);
    status = drain(nq, c);
    c->dead = dead_jobs(nq) - dead;
    return status;
}

int neoq_testing_tend(neoq *nq)
{
    int status = check(nq, "neoq_testing_tend");
    if (status == NEOQ_OK)
        status = nq_join(nq);
    if (status == NEOQ_OK)
        status = nq_beat_now(nq);
    return status == NEOQ_OK ? nq_tend_now(nq, true) : status;
}

/* The next steady instant at which something falls due: a job, a tick, a beat. */
static int64_t next_moment(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    nq_exchange(nq, NULL); /* asks for nothing, but tells when the next job is due */
    int64_t next = nq->due;
    if (nq->next_beat < next)
        next = nq->next_beat;
    if (nq->next_schedule < next)
        next = nq->next_schedule;
    pthread_mutex_unlock(&nq->mutex);
    return next;
}

int neoq_testing_advance(neoq *nq, neoq_duration duration, neoq_testing_counts *counts)
{
    neoq_testing_counts ignored, *c = counts ? counts : &ignored;
    *c = (neoq_testing_counts){0};
    int status = check(nq, "neoq_testing_advance");
    if (status != NEOQ_OK)
        return status;
    int64_t dead = dead_jobs(nq), until = nq_time_add(nq->clock->steady(nq->clock), duration);
    neoq_clock *clock = (neoq_clock *)(uintptr_t)nq->clock;
    for (;;) {
        status = neoq_testing_tend(nq);
        if (status == NEOQ_OK)
            status = drain(nq, c);
        int64_t steady = clock->steady(clock);
        if (status != NEOQ_OK || steady >= until)
            break;
        int64_t next = next_moment(nq);
        if (next > until)
            next = until;
        neoq_clock_advance(clock, next > steady ? next - steady : 1);
    }
    c->dead = dead_jobs(nq) - dead;
    return status;
}

/* ---- what was enqueued ------------------------------------------------------------------ */

typedef struct search {
    const char *payload;
    bool found;
    char id[NEOQ_ID_SIZE];
    nq_buffer others;
    size_t count;
} search;

static int look_at(const neoq_job *job, void *arg)
{
    search *s = arg;
    if (job->state >= NEOQ_DONE)
        return NEOQ_OK;
    if (!s->payload ||
        (job->payload_size == strlen(s->payload) && memcmp(job->payload, s->payload, job->payload_size) == 0)) {
        s->found = true;
        nq_buffer_free(&s->others);
        memcpy(s->id, job->id, strlen(job->id) + 1);
        return NEOQ_EEXIST; /* enough */
    }
    if (s->count++ < 5)
        nq_buffer_addf(&s->others, "%s%.100s", s->count > 1 ? ", " : "", (const char *)job->payload);
    return NEOQ_OK;
}

static int search_queue(neoq *nq, const char *queue, search *s)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK && !queue)
        status = nq_fail(NEOQ_EINVAL, "the queue is NULL");
    if (status != NEOQ_OK)
        return status;
    const neoq_filter filter = {.queue = queue};
    status = nq->backend->find(nq->store, &filter, look_at, s);
    return status == NEOQ_EEXIST ? NEOQ_OK : status;
}

int neoq_testing_enqueued(neoq *nq, const char *queue, const char *payload)
{
    search s = {.payload = payload};
    int status = search_queue(nq, queue, &s);
    if (status == NEOQ_OK && !s.found)
        status = nq_fail(NEOQ_ENOTFOUND, "queue \"%s\" has no unfinished job %s%s; it has %zu: %s", queue,
                         payload ? "with the payload " : "at all", payload ? payload : "", s.count,
                         s.others.data ? s.others.data : "none");
    nq_buffer_free(&s.others);
    return status;
}

int neoq_testing_not_enqueued(neoq *nq, const char *queue, const char *payload)
{
    search s = {.payload = payload};
    int status = search_queue(nq, queue, &s);
    nq_buffer_free(&s.others);
    if (status == NEOQ_OK && s.found)
        status = nq_fail(NEOQ_EEXIST, "queue \"%s\" has an unfinished job %s%s: %s", queue,
                         payload ? "with the payload " : "", payload ? payload : "", s.id);
    return status;
}
