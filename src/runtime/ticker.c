/* SPDX-License-Identifier: MIT
 *
 * What time brings: runs exceed their timeout, jobs of dead workers are recovered, kept jobs are forgotten, schedules
 * tick. One thread a neoq, which sleeps until the next of these is due.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "runtime/children.h"

/* ---- recovery and retention ------------------------------------------------------------- */

/* Hands the runs of dead workers on to be settled as lost, the way every run goes. */
static void settle_lost(neoq *nq, neoq_claimed *lost, size_t count)
{
    pthread_mutex_lock(&nq->mutex);
    for (size_t i = 0; i < count; i++) {
        neoq_ctx *ctx = malloc(sizeof *ctx);
        if (!ctx) {
            nq->backend->release(nq->store, &lost[i]); /* another round will find it again */
            continue;
        }
        nq_run_init(ctx, nq, NULL, &lost[i]);
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
        nq_log(&nq->options, NEOQ_LOG_WARN, "recovery failed: %s", neoq_error_message());
    free(lost);
    pthread_mutex_lock(&nq->mutex);
    /* A full round may have left something: the next comes at once. */
    neoq_duration wait = count == NQ_TEND_LIMIT ? 1 : nq_beat_interval(nq);
    nq->next_tend = nq_time_add(nq->clock->steady(nq->clock), wait);
    pthread_mutex_unlock(&nq->mutex);
    return status;
}

/* Not while a beat is due or under way: after this process stood still, that would find its own lease over. */
static bool may_tend(const neoq *nq, int64_t steady)
{
    return nq->phase == NQ_OPEN && !nq->beating && steady < nq->next_beat;
}

int nq_tend_now(neoq *nq, bool all)
{
    pthread_mutex_lock(&nq->mutex);
    int64_t steady = nq->clock->steady(nq->clock);
    bool tends = (all || steady >= nq->next_tend) && may_tend(nq, steady);
    bool ticks = (all || steady >= nq->next_schedule) && nq->phase == NQ_OPEN;
    pthread_mutex_unlock(&nq->mutex);
    int status = tends ? recover(nq) : NEOQ_OK;
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
static void expire_thread(neoq_ctx *ctx)
{
    nq_run_stop(ctx, ctx->expiry);
    nq_outcome why = atomic_load(ctx->stop) == NQ_CANCELLED ? NQ_CANCELLED : ctx->expiry;
    nq_give_up(ctx, nq_run_stopped_end(ctx, why));
}

/* Its run goes on until its process is gone: asked first, then made to go. */
static void expire_process(neoq_ctx *ctx)
{
    if (ctx->pressed > 0)
        nq_children_press(ctx);
    else
        nq_run_stop(ctx, ctx->expiry);
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
        if (ctx->seat) {
            expire_process(ctx);
            continue;
        }
        expire_thread(ctx);
        nq_call_help(nq);
        tell_crash(ctx);
    }
}

/* From when on others had better take what this queue claimed: short jobs that were claimed ahead but cannot start after
 * all, because those before them turned out long; or any that nobody steps to. */
static int64_t stale_at(const neoq *nq, const nq_queue *queue)
{
    const neoq_ctx *first = queue->local.head;
    if (first && queue->running >= nq_turns_slots(nq, queue))
        return first->claimed_at + NEOQ_SECONDS(1);
    return first && queue->stepped ? nq_time_add(first->claimed_at, queue->handler.timeout) : INT64_MAX;
}

static void release_stale(neoq *nq, int64_t steady)
{
    for (nq_queue *queue = nq->queues; queue; queue = queue->next)
        if (stale_at(nq, queue) <= steady) {
            queue->away = queue->running < nq_turns_slots(nq, queue);
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
    int64_t next = INT64_MAX;
    if (may_tend(nq, steady) && nq->next_tend < nq->next_beat) /* else the heart wakes us, after the beat */
        next = nq->next_tend;
    if (nq->phase == NQ_OPEN && nq->next_schedule < next)
        next = nq->next_schedule;
    if (nq->backend->local && !nq->waiting && nq->queues && nq->due < next)
        next = nq->due;
    for (const neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next)
        if (ctx->expires < next)
            next = ctx->expires;
    for (const nq_queue *queue = nq->queues; queue; queue = queue->next) {
        int64_t look = queue->local.head ? steady + NEOQ_SECONDS(1) : INT64_MAX, stale = stale_at(nq, queue);
        look = stale < look ? stale : look;
        next = look < next ? look : next;
    }
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

neoq_duration neoq_stalled(neoq *nq)
{
    if (nq_usable(nq) != NEOQ_OK)
        return 0;
    pthread_mutex_lock(&nq->mutex);
    int64_t steady = nq->clock->steady(nq->clock), since = nq_exchange_began(nq);
    if (nq->ticker_runs && nq->ticker_until < since)
        since = nq->ticker_until;
    if (nq->heart_runs && nq->next_beat < since)
        since = nq->next_beat;
    if (nq->waiting && nq->waiting_until < since)
        since = nq->waiting_until;
    pthread_mutex_unlock(&nq->mutex);
    return since < steady ? steady - since : 0;
}

int neoq_tend(neoq *nq)
{
    int status = nq_usable(nq);
    return status == NEOQ_OK ? nq_join(nq) : status;
}
