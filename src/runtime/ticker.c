/* SPDX-License-Identifier: MIT
 *
 * What time brings: the lease is renewed, runs exceed their timeout, jobs of dead workers are recovered, kept jobs are
 * forgotten, schedules tick. One thread a neoq, which sleeps until the next of these is due.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "runtime/runtime.h"

/* ---- the lease -------------------------------------------------------------------------- */

/* Six beats a lease: five may fail before it is lost. */
static neoq_duration beat_interval(const neoq *nq)
{
    return nq->options.lease / 6 > 0 ? nq->options.lease / 6 : 1;
}

static neoq_worker_info new_worker(const neoq *nq)
{
    neoq_worker_info worker = {.pid = getpid(), .started_at = nq_now(nq)};
    snprintf(worker.id, sizeof worker.id, "%016llx%016llx", (unsigned long long)nq->clock->random(nq->clock),
             (unsigned long long)nq->clock->random(nq->clock));
    if (gethostname(worker.host, sizeof worker.host - 1) != 0)
        snprintf(worker.host, sizeof worker.host, "localhost");
    return worker;
}

static int join_store(neoq *nq)
{
    neoq_beat beat = {.worker = new_worker(nq), .lease = nq->options.lease, .join = true};
    pthread_mutex_lock(&nq->mutex);
    beat.worker.capacity = nq->worker.capacity;
    pthread_mutex_unlock(&nq->mutex);
    int status = nq->backend->beat(nq->store, &beat);
    if (status != NEOQ_OK)
        return status;
    pthread_mutex_lock(&nq->mutex);
    bool first = !nq->joined && nq->phase == NQ_OPEN;
    if (first) {
        beat.worker.capacity = nq->worker.capacity;
        nq->worker = beat.worker;
        nq->joined = true;
        nq->next_beat = nq_time_add(nq->clock->steady(nq->clock), beat_interval(nq));
        nq_call_help(nq);
    }
    pthread_mutex_unlock(&nq->mutex);
    if (!first) { /* somebody else was faster */
        beat.join = false;
        beat.lease = 0;
        nq->backend->beat(nq->store, &beat);
    }
    return NEOQ_OK;
}

int nq_join(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    bool open = nq->phase == NQ_OPEN, joined = nq->joined;
    pthread_mutex_unlock(&nq->mutex);
    if (!open)
        return nq_fail(NEOQ_ESTATE, "this neoq was shut down: open another to work");
    int status = joined ? NEOQ_OK : join_store(nq);
    if (status != NEOQ_OK)
        return status;
    pthread_mutex_lock(&nq->mutex);
    nq->tending = true;
    if (!nq->ticker_runs && !nq->by_hand && nq->phase == NQ_OPEN) {
        nq->ticker_runs = true;
        status = nq_spawn(nq, nq_ticker);
        if (status != NEOQ_OK)
            nq->ticker_runs = false;
    }
    pthread_mutex_unlock(&nq->mutex);
    return status;
}

static int beat(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    bool joined = nq->joined, open = nq->phase <= NQ_STOPPING;
    neoq_beat pulse = {.worker = nq->worker, .lease = nq->options.lease};
    pulse.worker.running = (int)nq->running.count;
    nq->next_beat = nq_time_add(nq->clock->steady(nq->clock), beat_interval(nq));
    pthread_mutex_unlock(&nq->mutex);
    if (!open)
        return NEOQ_OK;
    int status = joined ? nq->backend->beat(nq->store, &pulse) : join_store(nq);
    if (status == NEOQ_ELOST) {
        nq_log(nq, NEOQ_LOG_WARN, "the lease was lost, so were its runs: joining anew");
        pthread_mutex_lock(&nq->mutex);
        nq_worker_lost(nq);
        pthread_mutex_unlock(&nq->mutex);
        status = join_store(nq);
    }
    if (status != NEOQ_OK)
        nq_log(nq, NEOQ_LOG_WARN, "the lease could not be renewed: %s", neoq_error_message());
    return status;
}

/* ---- recovery and retention ------------------------------------------------------------- */

/* Hands the runs of dead workers on to be settled as lost, the way every run goes. */
static void settle_lost(neoq *nq, neoq_claimed *lost, size_t count)
{
    pthread_mutex_lock(&nq->mutex);
    for (size_t i = 0; i < count; i++) {
        neoq_ctx *ctx = nq_run_make(nq, NULL, &lost[i]);
        if (!ctx) {
            nq->backend->release(nq->store, &lost[i]); /* another round will find it again */
            continue;
        }
        ctx->end = (nq_end){NQ_LOST, 0, strdup("the worker that ran it is gone")};
        nq_list_add(&nq->finished, ctx);
    }
    if (count > 0 && nq->exchanging == 0)
        nq_exchange(nq, NULL);
    nq_call_help(nq);
    pthread_mutex_unlock(&nq->mutex);
}

static int recover(neoq *nq)
{
    neoq_claimed *lost = malloc(NQ_TEND_LIMIT * sizeof *lost);
    if (!lost)
        return nq_fail(NEOQ_ENOMEM, "no memory to recover lost runs");
    size_t count = 0;
    int status = nq->backend->tend(nq->store, NQ_TEND_LIMIT, lost, &count);
    if (status == NEOQ_OK)
        settle_lost(nq, lost, count);
    else
        nq_log(nq, NEOQ_LOG_WARN, "recovery failed: %s", neoq_error_message());
    free(lost);
    pthread_mutex_lock(&nq->mutex);
    /* A full round may have left something: the next comes at once. */
    neoq_duration wait = count == NQ_TEND_LIMIT ? 1 : beat_interval(nq);
    nq->next_tend = nq_time_add(nq->clock->steady(nq->clock), wait);
    pthread_mutex_unlock(&nq->mutex);
    return status;
}

int nq_tend_now(neoq *nq, bool all)
{
    pthread_mutex_lock(&nq->mutex);
    int64_t steady = nq->clock->steady(nq->clock);
    bool beats = all || steady >= nq->next_beat;
    bool tends = (all || steady >= nq->next_tend) && nq->phase == NQ_OPEN;
    bool ticks = (all || steady >= nq->next_schedule) && nq->phase == NQ_OPEN;
    pthread_mutex_unlock(&nq->mutex);
    int status = beats ? beat(nq) : NEOQ_OK;
    if (tends && status == NEOQ_OK)
        status = recover(nq);
    if (ticks && status == NEOQ_OK)
        status = nq_tick_schedules(nq);
    return status;
}

/* ---- timeouts --------------------------------------------------------------------------- */

static neoq_ctx *first_expired(const neoq *nq, int64_t steady)
{
    for (neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next)
        if (ctx->expires <= steady)
            return ctx;
    return NULL;
}

/*
 * The handler has been told, and its run is over whether it heeds that or not: the run is settled, its slot is free,
 * and its thread, which may never come back, no longer counts.
 */
static void give_up(neoq_ctx *ctx)
{
    nq_run_stop(ctx, ctx->expiry);
    nq_outcome why = atomic_load(&ctx->stop) == NQ_CANCELLED ? NQ_CANCELLED : ctx->expiry;
    ctx->abandoned = true;
    ctx->refs = 2;
    ctx->nq->threads--;
    ctx->nq->strays++;
    nq_end_run(ctx, nq_run_stopped_end(ctx, why));
}

static void tell_crash(neoq_ctx *ctx)
{
    neoq *nq = ctx->nq;
    const neoq_handler *handler = &ctx->queue->handler;
    if (!handler->on_crash)
        return;
    char error[512];
    snprintf(error, sizeof error, "%s", ctx->end.error ? ctx->end.error : "");
    ctx->refs++;
    pthread_mutex_unlock(&nq->mutex);
    handler->on_crash(&ctx->claimed.job, error, handler->arg);
    pthread_mutex_lock(&nq->mutex);
    if (--ctx->refs == 0) {
        pthread_mutex_unlock(&nq->mutex);
        nq_run_free(ctx);
        pthread_mutex_lock(&nq->mutex);
    }
}

void nq_expire_runs(neoq *nq, int64_t steady)
{
    for (neoq_ctx *ctx; (ctx = first_expired(nq, steady)) != NULL;) {
        give_up(ctx);
        nq_call_help(nq);
        tell_crash(ctx);
    }
}

/* Short jobs that were claimed ahead but cannot start after all, because those before them turned out long. */
static void release_stale(neoq *nq, int64_t steady)
{
    for (nq_queue *queue = nq->queues; queue; queue = queue->next)
        if (queue->local.head && queue->running >= queue->handler.concurrency &&
            steady - queue->local.head->claimed_at > NEOQ_SECONDS(1)) {
            nq_release_local(nq, queue);
            queue->ahead = 0;
            nq_call_help(nq);
        }
}

/* What falls due in a local store while nobody waits there. */
static void ask_for_due(neoq *nq, int64_t steady)
{
    if (!nq->backend->local || nq->waiting || nq->due > steady || nq->phase != NQ_OPEN)
        return;
    nq->due = nq_time_add(steady, nq->options.job_check_interval); /* until a round trip knows better */
    for (nq_queue *queue = nq->queues; queue; queue = queue->next)
        queue->hungry = true;
    nq_call_help(nq);
}

static int64_t next_wake(const neoq *nq, int64_t steady)
{
    int64_t next = nq->next_beat;
    if (nq->phase == NQ_OPEN && nq->next_tend < next)
        next = nq->next_tend;
    if (nq->phase == NQ_OPEN && nq->next_schedule < next)
        next = nq->next_schedule;
    if (nq->backend->local && !nq->waiting && nq->queues && nq->due < next)
        next = nq->due;
    for (const neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next)
        if (ctx->expires < next)
            next = ctx->expires;
    for (const nq_queue *queue = nq->queues; queue; queue = queue->next)
        if (queue->local.head && steady + NEOQ_SECONDS(1) < next)
            next = steady + NEOQ_SECONDS(1);
    return next;
}

void nq_ticker(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    while (nq->phase < NQ_STOPPED) {
        int64_t steady = nq->clock->steady(nq->clock);
        nq_expire_runs(nq, steady);
        release_stale(nq, steady);
        ask_for_due(nq, steady);
        pthread_mutex_unlock(&nq->mutex);
        int status = nq_tend_now(nq, false);
        pthread_mutex_lock(&nq->mutex);
        steady = nq->clock->steady(nq->clock);
        nq->ticker_until = next_wake(nq, steady);
        if (status != NEOQ_OK && nq->ticker_until < steady + NEOQ_SECONDS(1))
            nq->ticker_until = steady + NEOQ_SECONDS(1); /* a store that fails is not asked in a loop */
        if (nq->phase < NQ_STOPPED && nq->ticker_until > steady)
            nq_cond_wait(&nq->ticking, &nq->mutex, nq->clock, nq->ticker_until);
    }
    nq->ticker_runs = false;
    pthread_mutex_unlock(&nq->mutex);
}

int neoq_tend(neoq *nq)
{
    int status = nq_usable(nq);
    return status == NEOQ_OK ? nq_join(nq) : status;
}
