/* SPDX-License-Identifier: MIT
 *
 * Queues with handlers, and the executors that run them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "job/job.h"
#include "runtime/children.h"

enum { DEFAULT_CONCURRENCY = 50, SATURATED_LOOK_MS = 100 };

nq_queue *nq_find_queue(const neoq *nq, const char *name)
{
    nq_queue *queue = nq->queues;
    while (queue && strcmp(queue->name, name) != 0)
        queue = queue->next;
    return queue;
}

/* ---- what runs next --------------------------------------------------------------------- */

/* When the run must be over, on the steady clock. False: its deadline has passed already. */
static bool set_expiry(neoq *nq, neoq_ctx *ctx)
{
    neoq_duration timeout = ctx->queue->handler.timeout;
    neoq_time deadline = ctx->claimed.job.deadline;
    int64_t steady = nq->clock->steady(nq->clock);
    ctx->expiry = NQ_TIMEOUT;
    ctx->claimed.job.ran_at += steady - ctx->claimed_at; /* it was claimed then, and begins now */
    ctx->expires = nq_time_add(steady, timeout);
    if (deadline) {
        neoq_time now = nq_now(nq);
        if (deadline <= now)
            return false;
        if (deadline - now < ctx->expires - steady) {
            ctx->expires = steady + (deadline - now);
            ctx->expiry = NQ_EXPIRED;
        }
    }
    /* The second is for those claimed behind this one, should it be long (release_stale() in ticker.c). */
    int64_t looked_after = ctx->queue->local.head ? steady + NEOQ_SECONDS(1) : INT64_MAX;
    if (ctx->expires < nq->ticker_until || looked_after < nq->ticker_until)
        pthread_cond_signal(&nq->ticking);
    return true;
}

neoq_ctx *nq_begin_next(neoq *nq, nq_queue *queue)
{
    for (nq_queue *from; (from = queue ? queue : nq_turns_first(nq)) != NULL && from->local.head;) {
        neoq_ctx *ctx = from->local.head;
        nq_turns_take(nq, from);
        nq_list_remove(&from->local, ctx);
        nq_list_add(&nq->running, ctx);
        from->running++;
        nq_turns_update(nq, from);
        if (set_expiry(nq, ctx))
            return ctx;
        nq_end end = {NQ_EXPIRED, 0, strdup("the job's deadline passed before it could run")};
        nq_end_run(ctx, end);
    }
    return NULL;
}

/* ---- executors -------------------------------------------------------------------------- */

void nq_stop_running(neoq *nq, const char *id, nq_outcome why)
{
    for (neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next)
        if (strcmp(ctx->claimed.job.id, id) == 0)
            nq_run_stop(ctx, why);
}

void nq_worker_lost(neoq *nq)
{
    if (!nq->joined)
        return;
    nq->joined = false; /* the heart joins anew, under another id */
    nq->next_beat = nq->clock->steady(nq->clock);
    for (neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next) {
        nq_run_stop(ctx, NQ_LOST);
        if (ctx->seat)
            nq_children_kill(ctx); /* another worker may be at it already */
    }
    for (nq_queue *queue = nq->queues; queue; queue = queue->next) {
        nq_release_local(nq, queue); /* each is refused, unless nobody took it yet */
        queue->hungry = true;
    }
    pthread_cond_signal(&nq->resting);
}

static bool over(const neoq *nq)
{
    return nq->phase >= NQ_STOPPED && nq->finished.count == 0;
}

static bool slot_free(const neoq *nq)
{
    for (const nq_queue *queue = nq->queues; queue; queue = queue->next)
        if (queue->running < nq_turns_slots(nq, queue))
            return true;
    return false;
}

/* Whether somebody hears of what happens in the store, or comes to ask in a moment. */
static bool attended(const neoq *nq)
{
    return nq->waiting || nq->exchanging > 0 || (nq->looking && nq_saturated(nq));
}

void nq_poke(neoq *nq)
{
    if (!atomic_load(&nq->unattended) || atomic_exchange(&nq->poked, true))
        return;
    pthread_mutex_lock(&nq->mutex);
    for (nq_queue *queue = nq->queues; queue; queue = queue->next)
        queue->hungry = true;
    nq_call_help(nq);
    pthread_mutex_unlock(&nq->mutex);
}

void nq_call_help(neoq *nq)
{
    if (nq->by_hand || nq->phase >= NQ_STOPPED)
        return;
    /* Asking a local store costs next to nothing, so whoever runs a job does it afterwards: there is no sense in waking
     * another for what could not begin anyway. */
    bool asks = !nq->backend->local || nq->finished.count > 0 || slot_free(nq);
    bool needed = nq_turns_first(nq) || (!attended(nq) && !nq->backend->local) ||
                  (asks && nq_exchange_useful(nq, nq->clock->steady(nq->clock)));
    if (!needed || nq->wakes > 0)
        return; /* who is on the way already calls for more */
    if (nq->idlers > 0) {
        nq->wakes++;
        pthread_cond_signal(&nq->idle);
    } else if (nq->threads < nq->thread_limit) {
        nq->threads++;
        nq->wakes++;
        if (nq_spawn(nq, nq_executor) != NEOQ_OK) {
            nq->threads--;
            nq->wakes--;
        }
    }
}

bool nq_execute(neoq *nq, neoq_ctx *ctx)
{
    if (ctx->queue->children)
        nq_children_seat(ctx);
    pthread_mutex_unlock(&nq->mutex);
    nq_end end = ctx->seat ? nq_children_run(ctx) : nq_run_verdict(ctx, nq_run_handler(ctx));
    pthread_mutex_lock(&nq->mutex);
    if (ctx->seat)
        nq_children_unseat(ctx);
    if (!ctx->abandoned) {
        nq_end_run(ctx, end);
        return true;
    }
    pthread_mutex_unlock(&nq->mutex);
    nq_log(&nq->options, NEOQ_LOG_INFO, "job %s (queue %s): the handler came back after its run was given up",
           ctx->claimed.job.id, ctx->queue->name);
    free(end.error);
    pthread_mutex_lock(&nq->mutex);
    if (!ctx->queue->stepped)
        nq->strays--;
    if (--ctx->refs == 0) {
        pthread_mutex_unlock(&nq->mutex);
        nq_run_free(ctx);
        pthread_mutex_lock(&nq->mutex);
    }
    return false;
}

/* Sleeps in the store until it may have something new. The mutex is held before and after. */
static void wait_in_store(neoq *nq)
{
    nq->waiting = true;
    uint64_t seen = nq->seen;
    int64_t until = nq->waiting_until = nq->due;
    atomic_store(&nq->unattended, false);
    pthread_mutex_unlock(&nq->mutex);
    nq->backend->wait(nq->store, seen, until);
    pthread_mutex_lock(&nq->mutex);
    atomic_store(&nq->unattended, nq->backend->local);
    nq->waiting = false;
    if (nq->backend->local && nq->due < nq->ticker_until)
        pthread_cond_signal(&nq->ticking); /* it stands in at that instant, if nobody waits here by then */
    for (nq_queue *queue = nq->queues; queue; queue = queue->next)
        queue->hungry = true;
}

static void sleep_idle(neoq *nq, int64_t until)
{
    nq->idlers++;
    nq_cond_wait(&nq->idle, &nq->mutex, nq->clock, until);
    nq->idlers--;
    if (nq->wakes > 0)
        nq->wakes--;
}

/* All slots are taken: there is nothing to ask for but cancellations from other processes. Now and then is enough,
 * however fast jobs come in; and while none runs, as all wait for neoq_step(), which says so, not at all. */
static void look_for_cancels(neoq *nq)
{
    int64_t until = INT64_MAX;
    if (nq->running.head)
        until = nq_time_add(nq->clock->steady(nq->clock), NEOQ_MILLISECONDS(SATURATED_LOOK_MS));
    nq->looking = true;
    sleep_idle(nq, until);
    nq->looking = false;
    int64_t steady = nq->clock->steady(nq->clock);
    if (steady >= until && nq->exchanging == 0 && nq->phase == NQ_OPEN && nq->exchange_after <= steady)
        nq_exchange(nq, NULL);
}

/* One step of an executor: the most useful thing there is to do. False: its thread is to end. */
static bool step(neoq *nq)
{
    int64_t steady = nq->clock->steady(nq->clock);
    /* Who waits for a child cannot ask meanwhile, and to wake another for it takes longer than to ask a local store. */
    if (nq->processes && nq->backend->local && nq_exchange_useful(nq, steady)) {
        nq_exchange(nq, NULL);
        return true;
    }
    bool pressing = nq_exchange_pressing(nq, steady);
    neoq_ctx *ctx = pressing ? NULL : nq_begin_next(nq, NULL);
    if (ctx) {
        nq_call_help(nq);
        return nq_execute(nq, ctx); /* given up: another thread stands in the place of this one */
    }
    if (pressing)
        nq_call_help(nq); /* somebody else runs what is here meanwhile */
    if (pressing || nq_exchange_useful(nq, steady))
        nq_exchange(nq, NULL);
    else if (attended(nq) || nq->phase != NQ_OPEN)
        sleep_idle(nq, nq->exchange_after > steady ? nq->exchange_after : INT64_MAX);
    else if (nq->exchange_after > steady)
        sleep_idle(nq, nq->exchange_after);
    else if (nq_saturated(nq))
        look_for_cancels(nq);
    else
        wait_in_store(nq);
    return true;
}

void nq_executor(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    if (nq->wakes > 0)
        nq->wakes--;
    bool mine = true; /* counted in nq->threads */
    while (mine && !over(nq))
        mine = step(nq);
    if (mine)
        nq->threads--;
    pthread_cond_broadcast(&nq->idle);
    pthread_mutex_unlock(&nq->mutex);
}

/* ---- starting --------------------------------------------------------------------------- */

static int check_handler(const neoq_handler *handler)
{
    if (!handler || !handler->handle)
        return nq_fail(NEOQ_EINVAL, "neoq_start: the handler has no function");
    int status = nq_queue_name_check("neoq_start: queue", handler->queue);
    if (status == NEOQ_OK)
        status = nq_duration_check("neoq_start: timeout", handler->timeout, true);
    if (status == NEOQ_OK)
        status = nq_duration_check("neoq_start: kill_after", handler->kill_after, false);
    if (status == NEOQ_OK)
        status = nq_duration_check("neoq_start: cpu_limit", handler->cpu_limit, false);
    if (status != NEOQ_OK)
        return status;
    if (handler->concurrency < 0 || handler->concurrency > NQ_CONCURRENCY_MAX)
        return nq_fail(NEOQ_EINVAL, "neoq_start: concurrency %d is not in 1..%d", handler->concurrency,
                       NQ_CONCURRENCY_MAX);
    if (handler->weight < 0 || handler->weight > 1000000)
        return nq_fail(NEOQ_EINVAL, "neoq_start: weight %d is not in 1..1000000", handler->weight);
    if (handler->capacity < 0)
        return nq_fail(NEOQ_EINVAL, "neoq_start: capacity cannot be negative");
    if (handler->recycle_after < 0)
        return nq_fail(NEOQ_EINVAL, "neoq_start: recycle_after cannot be negative");
    if ((unsigned)handler->isolation > NEOQ_STEP)
        return nq_fail(NEOQ_EINVAL, "neoq_start: isolation %d is not a neoq_isolation", (int)handler->isolation);
    return NEOQ_OK;
}

static nq_queue *make_queue(const neoq *nq, const neoq_handler *handler)
{
    nq_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return NULL;
    queue->handler = *handler;
    snprintf(queue->name, sizeof queue->name, "%s", handler->queue);
    queue->handler.queue = queue->name;
    queue->stepped = handler->isolation == NEOQ_STEP && !nq->by_hand;
    if (handler->concurrency == 0)
        queue->handler.concurrency = handler->isolation == NEOQ_STEP ? 1 : DEFAULT_CONCURRENCY;
    if (handler->timeout == 0)
        queue->handler.timeout = NEOQ_SECONDS(30);
    if (handler->weight == 0)
        queue->handler.weight = 1;
    queue->hungry = true;
    return queue;
}

void nq_queue_free(nq_queue *queue)
{
    nq_children_free(queue->children);
    free(queue);
}

/* Whether a queue of this name may come to those that there are. The mutex is held. */
static int check_room(const neoq *nq, const char *name, size_t *count)
{
    *count = 0;
    if (nq->phase != NQ_OPEN)
        return nq_fail(NEOQ_ESTATE, "neoq_start: this neoq was shut down");
    if (nq_find_queue(nq, name))
        return nq_fail(NEOQ_EEXIST, "neoq_start: queue \"%s\" has a handler already", name);
    for (const nq_queue *other = nq->queues; other; other = other->next)
        ++*count;
    if (*count >= NQ_HANDLERS_MAX)
        return nq_fail(NEOQ_EFULL, "neoq_start: no more than %d queues are possible", NQ_HANDLERS_MAX);
    return NEOQ_OK;
}

/* The mutex is held. */
static int add_queue(neoq *nq, nq_queue *queue)
{
    size_t count;
    int status = check_room(nq, queue->name, &count);
    if (status == NEOQ_OK)
        status = nq_turns_reserve(nq, count + 1);
    if (status != NEOQ_OK)
        return status;
    queue->number = (int)count;
    nq_queue **end = &nq->queues;
    while (*end && (!nq->strict || (*end)->handler.weight >= queue->handler.weight))
        end = &(*end)->next;
    queue->next = *end;
    *end = queue;
    nq->thread_limit += (queue->stepped ? 0 : queue->handler.concurrency) + (count == 0 ? nq->lanes : 0);
    nq->worker.capacity += queue->handler.concurrency;
    nq->processes |= queue->children != NULL;
    nq->next_beat = nq->clock->steady(nq->clock); /* to tell the store */
    pthread_cond_signal(&nq->resting);
    return NEOQ_OK;
}

/* All that can fail comes before the queue is there. */
static int set_up(neoq *nq, nq_queue *queue, nq_before_start before, void *arg)
{
    size_t count;
    pthread_mutex_lock(&nq->mutex);
    int status = check_room(nq, queue->name, &count);
    pthread_mutex_unlock(&nq->mutex);
    /* Before nq_join() makes the first thread, if this is the first queue. By hand the test's own thread runs the jobs. */
    if (status == NEOQ_OK && queue->handler.isolation == NEOQ_PROCESS && !nq->by_hand)
        status = nq_children_make(&queue->children, nq, &queue->handler);
    if (status == NEOQ_OK)
        status = nq_join(nq);
    if (status == NEOQ_OK)
        status = nq->backend->set_queue(nq->store, queue->name, NEOQ_QUEUE_CAPACITY, queue->handler.capacity);
    return status == NEOQ_OK && before ? before(nq, arg) : status;
}

int nq_start(neoq *nq, const neoq_handler *handler, nq_before_start before, void *arg)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK)
        status = check_handler(handler);
    if (status != NEOQ_OK)
        return status;
    nq_queue *queue = make_queue(nq, handler);
    if (!queue)
        return nq_fail(NEOQ_ENOMEM, "neoq_start: no memory");
    status = set_up(nq, queue, before, arg);
    if (status == NEOQ_OK) {
        pthread_mutex_lock(&nq->mutex);
        status = add_queue(nq, queue);
        if (status == NEOQ_OK)
            nq_call_help(nq);
        pthread_mutex_unlock(&nq->mutex);
    }
    if (status != NEOQ_OK)
        nq_queue_free(queue);
    else
        nq->backend->wake(nq->store); /* whoever waits there asks for this queue too */
    return status;
}

int neoq_start(neoq *nq, const neoq_handler *handler)
{
    return nq_start(nq, handler, NULL, NULL);
}
