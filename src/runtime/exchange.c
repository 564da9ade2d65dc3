/* SPDX-License-Identifier: MIT
 *
 * Round trips to the store: what finished goes out, new runs come in, one call. Whatever finishes while one is under
 * way goes out with the next, so batches form by themselves and a single job waits for none.
 *
 * To a store that serves several at once (its lanes), a second trip goes out while the first is under way if it has
 * much to carry: so neither the store nor the handlers wait for the other.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "runtime/runtime.h"

enum { MUCH = 256 /* finished runs: enough for a trip beside another */ };

/* ---- what to ask for -------------------------------------------------------------------- */

/* Runs that the queue could take now: its free slots, and what it gets through in NQ_PREFETCH_MS besides. A queue of
 * long jobs so claims no more than it can start; one of very short jobs is not held up by round trips. */
static size_t appetite(const neoq *nq, const nq_queue *queue)
{
    size_t busy = (size_t)queue->running + queue->local.count;
    size_t slots = (size_t)nq_turns_slots(nq, queue), most = slots > 0 ? slots + queue->ahead : 0;
    if (most > NQ_AHEAD_MAX)
        most = NQ_AHEAD_MAX > slots ? NQ_AHEAD_MAX : slots;
    /* Half empty before it is filled up: else each finished job would make a round trip of its own. */
    if (queue->ahead > 0 && queue->local.count > most / 2)
        return 0;
    size_t room = most > busy && !queue->away ? most - busy : 0;
    return room < NQ_BATCH_MAX ? room : NQ_BATCH_MAX;
}

static void measure(nq_queue *queue, int64_t steady)
{
    int64_t passed = steady - queue->window_start;
    if (queue->window_start && passed < NEOQ_MILLISECONDS(10))
        return;
    if (queue->window_start) {
        int64_t ahead = queue->window_runs * NEOQ_MILLISECONDS(NQ_PREFETCH_MS) / passed;
        queue->ahead = ahead > NQ_AHEAD_MAX ? NQ_AHEAD_MAX : (size_t)ahead;
    }
    queue->window_start = steady;
    queue->window_runs = 0;
}

bool nq_saturated(const neoq *nq)
{
    for (const nq_queue *queue = nq->queues; queue; queue = queue->next)
        if (appetite(nq, queue) > 0)
            return false;
    return true;
}

bool nq_exchange_useful(const neoq *nq, int64_t steady)
{
    if (nq->exchanging == nq->lanes || nq->exchange_after > steady)
        return false;
    if (nq->exchanging > 0)
        return nq->finished.count >= MUCH;
    if (nq->finished.count > 0)
        return true;
    for (const nq_queue *queue = nq->phase == NQ_OPEN ? nq->queues : NULL; queue; queue = queue->next)
        if (queue->hungry && appetite(nq, queue) > 0)
            return true;
    return false;
}

bool nq_exchange_pressing(const neoq *nq, int64_t steady)
{
    if (nq->backend->local || nq->exchanging == nq->lanes || nq->exchange_after > steady)
        return false;
    if (nq->finished.count >= MUCH)
        return true;
    for (const nq_queue *queue = nq->phase == NQ_OPEN ? nq->queues : NULL; queue && nq->exchanging == 0;
         queue = queue->next)
        if (queue->hungry && !queue->asking && appetite(nq, queue) >= MUCH)
            return true;
    return false;
}

/* ---- one round trip --------------------------------------------------------------------- */

/* The buffers of a round trip, kept from one to the next. */
struct nq_trip {
    bool under_way, beside; /* beside: another was under way meanwhile */
    int64_t began;          /* steady */
    neoq_exchange x;
    nq_run_list settling;
    nq_run_list spare;  /* memory for runs: what is claimed must not be lost for want of it */
    nq_queue **asked;   /* of each claim */
    nq_run_list *taken; /* what it got */
    neoq_claim *claims;
    size_t claim_room, run_room, settlement_room;
    char worker[64];
    char cancels[NQ_CANCELS_MAX][NEOQ_ID_SIZE];
};
typedef struct nq_trip trip;

static bool grow(void **array, size_t *room, size_t need, size_t item)
{
    if (need <= *room)
        return true;
    size_t larger = need > 2 * *room ? need : 2 * *room;
    void *grown = realloc(*array, larger * item);
    if (!grown)
        return false;
    *array = grown;
    *room = larger;
    return true;
}

int nq_trips_make(neoq *nq)
{
    const neoq_backend *b = nq->backend;
    int lanes = b->size > offsetof(neoq_backend, lanes) ? (int)b->lanes : 0;
    nq->lanes = lanes < 1 ? 1 : lanes < NQ_LANES_MAX ? lanes : NQ_LANES_MAX;
    nq->trips = calloc((size_t)nq->lanes, sizeof *nq->trips);
    return nq->trips ? NEOQ_OK : nq_fail(NEOQ_ENOMEM, "no memory for round trips to the store");
}

void nq_trips_free(neoq *nq)
{
    for (int i = 0; nq->trips && i < nq->lanes; i++) {
        trip *t = &nq->trips[i];
        free(t->asked);
        free(t->taken);
        free(t->claims);
        free(t->x.runs);
        free(t->x.settlements);
        for (neoq_ctx *ctx; (ctx = t->spare.head) != NULL;) {
            nq_list_remove(&t->spare, ctx);
            free(ctx);
        }
    }
    free(nq->trips);
}

static bool reserve_claims(const neoq *nq, trip *t)
{
    size_t queues = 0, asked_room = t->claim_room, taken_room = t->claim_room;
    for (const nq_queue *queue = nq->queues; queue; queue = queue->next)
        queues++;
    return grow((void **)&t->asked, &asked_room, queues, sizeof *t->asked) &&
           grow((void **)&t->taken, &taken_room, queues, sizeof *t->taken) &&
           grow((void **)&t->claims, &t->claim_room, queues, sizeof *t->claims);
}

/* How many jobs to ask for on behalf of the queue. */
static size_t plan_claim(const neoq *nq, nq_queue *queue, const nq_queue *want, int64_t steady)
{
    if (want || nq->by_hand)
        return queue == want;
    if (!queue->hungry || queue->asking)
        return 0;
    measure(queue, steady);
    return appetite(nq, queue);
}

/* Up to a batch. Where there are more queues than fit in, the next trip begins with those that were left out. If weightier
 * ones come first, lighter ones are asked for when those have said that they have nothing. */
static size_t plan_claims(neoq *nq, trip *t, nq_queue *want)
{
    size_t room = 0;
    int asked = 0; /* the weight of those */
    int64_t steady = nq->clock->steady(nq->clock);
    /* What falls due may be any queue's, and this trip makes it ready. */
    for (nq_queue *queue = nq->queues; queue && steady >= nq->due; queue = queue->next)
        queue->hungry = true;
    if (!nq->queues || nq->phase != NQ_OPEN || !nq->joined)
        return 0;
    nq_queue *first = nq->asks_next && !nq->strict ? nq->asks_next : nq->queues, *queue = first;
    do {
        size_t limit = plan_claim(nq, queue, want, steady);
        if (limit > 0) {
            t->asked[t->x.claim_count] = queue;
            t->claims[t->x.claim_count++] = (neoq_claim){queue->name, limit};
            queue->asking = t;
            queue->hungry = false; /* a hint that comes while the store is asked sets it again */
            room += limit;
        }
        if (queue->asking)
            asked = queue->handler.weight;
        queue = queue->next ? queue->next : nq->queues;
    } while (queue != first && room < NQ_BATCH_MAX && !(nq->strict && queue->handler.weight < asked));
    nq->asks_next = queue;
    return room;
}

static void plan_settlement(const neoq *nq, const neoq_ctx *ctx, neoq_time now, neoq_settlement *s)
{
    /* A clock may be set back meanwhile, but nothing ends before it began. */
    now = now < ctx->claimed.job.ran_at ? ctx->claimed.job.ran_at : now;
    const nq_transition_input input = {
        .outcome = ctx->end.outcome,
        .wait = ctx->end.wait,
        .now = now,
        .random = nq->clock->random(nq->clock),
        .dead_retention = nq->options.dead_retention,
    };
    *s = (neoq_settlement){
        .id = ctx->claimed.job.id,
        .epoch = ctx->claimed.job.epoch,
        .hold = ctx->claimed.hold,
        .error = ctx->end.error,
        .outcome = nq_outcome_word(ctx->end.outcome),
        .started_at = ctx->claimed.job.ran_at,
        .finished_at = now,
        .cancel_keep_until = nq_keep_until(now, nq->options.dead_retention),
    };
    /* While its handler goes on, what it said is not ours to read. */
    if (!ctx->abandoned) {
        s->result = ctx->result;
        s->result_size = ctx->result_size;
        s->exit_code = ctx->exit_code;
        s->signal = ctx->signal;
        s->cpu_time = ctx->cpu_time;
        s->peak_memory = ctx->peak_memory;
    }
    nq_transition(&ctx->claimed.job, &input, s);
}

static bool plan(neoq *nq, trip *t, nq_queue *want)
{
    t->x.claim_count = t->x.settlement_count = t->x.run_count = t->x.cancel_count = 0;
    if (!reserve_claims(nq, t))
        return false;
    size_t room = plan_claims(nq, t, want);
    memcpy(t->worker, nq->worker.id, sizeof t->worker);
    t->x.worker = nq->joined ? t->worker : NULL;
    t->x.claims = t->claims;
    t->x.cancels = t->cancels;
    t->x.cancel_room = NQ_CANCELS_MAX;
    if (nq->finished.count <= NQ_BATCH_MAX)
        nq_list_splice(&t->settling, &nq->finished);
    while (nq->finished.head && t->settling.count < NQ_BATCH_MAX) {
        neoq_ctx *ctx = nq->finished.head;
        nq_list_remove(&nq->finished, ctx);
        nq_list_add(&t->settling, ctx);
    }
    nq->settling += (int)t->settling.count;
    return grow((void **)&t->x.runs, &t->run_room, room, sizeof *t->x.runs) &&
           grow((void **)&t->x.settlements, &t->settlement_room, t->settling.count, sizeof *t->x.settlements);
}

/* Memory for all runs that may come. The mutex is not held: there may be a thousand. */
static bool reserve_runs(trip *t)
{
    size_t most = 0;
    for (size_t i = 0; i < t->x.claim_count; i++)
        most += t->claims[i].limit;
    while (t->spare.count < most) {
        neoq_ctx *ctx = malloc(sizeof *ctx);
        if (!ctx)
            return false;
        nq_list_add(&t->spare, ctx);
    }
    return true;
}

static void settle_plan(neoq *nq, trip *t)
{
    neoq_time now = t->settling.count > 0 ? nq_now(nq) : 0;
    for (neoq_ctx *ctx = t->settling.head; ctx; ctx = ctx->next)
        plan_settlement(nq, ctx, now, &t->x.settlements[t->x.settlement_count++]);
}

/* ---- after it --------------------------------------------------------------------------- */

/* A run that was finished in the user's transaction is refused by the store exactly if that committed. */
static bool settled_elsewhere(const neoq_ctx *ctx, neoq_settlement *s)
{
    if (!ctx->in_transaction || s->status != NEOQ_ELOST || atomic_load(ctx->stop) == NQ_LOST)
        return false;
    s->status = NEOQ_OK;
    s->state = NEOQ_DONE;
    s->outcome = "done";
    s->error = NULL;
    return true;
}

static void observe(neoq *nq, const trip *t, const neoq_ctx *ctx, const neoq_settlement *s)
{
    neoq_job job = ctx->claimed.job;
    job.state = s->state;
    job.run_after = s->run_after;
    job.error = s->error;
    job.result = s->result;
    job.result_size = s->result_size;
    job.finished_at = s->state >= NEOQ_DONE ? s->finished_at : 0;
    neoq_run_info info = {
        .epoch = s->epoch,
        .started_at = ctx->claimed.job.ran_at,
        .finished_at = s->finished_at,
        .exit_code = s->exit_code,
        .signal = s->signal,
        .cpu_time = s->cpu_time,
        .peak_memory = s->peak_memory,
    };
    memcpy(info.worker, t->worker, sizeof info.worker);
    snprintf(info.outcome, sizeof info.outcome, "%s", s->outcome);
    snprintf(info.error, sizeof info.error, "%s", s->error ? s->error : "");
    nq->observer(&job, &info, nq->observer_arg);
}

/* The mutex is not held. */
static void report(neoq *nq, const trip *t)
{
    size_t i = 0;
    for (const neoq_ctx *ctx = t->settling.head; ctx; ctx = ctx->next) {
        neoq_settlement *s = &t->x.settlements[i++];
        const neoq_job *job = &ctx->claimed.job;
        settled_elsewhere(ctx, s);
        if (s->status != NEOQ_OK) {
            nq_log(&nq->options, NEOQ_LOG_WARN, "job %s (queue %s): run %lld %s", job->id, job->queue,
                   (long long)job->epoch,
                   s->status == NEOQ_ELOST
                       ? "was lost to another worker; its end is dropped"
                       : "may have been lost: the store's answer to its end was, and then the lease");
            continue;
        }
        if (s->state == NEOQ_DEAD)
            nq_log(&nq->options, NEOQ_LOG_ERROR, "job %s (queue %s) is dead after run %lld: %s", job->id, job->queue,
                   (long long)job->epoch, s->error ? s->error : "");
        else if (s->state == NEOQ_RETRYING)
            nq_log(&nq->options, NEOQ_LOG_WARN, "job %s (queue %s) failed, to be run again: %s", job->id, job->queue,
                   s->error ? s->error : "");
        if (nq->observer && ctx->queue)
            observe(nq, t, ctx, s);
    }
}

/* Makes what was claimed into runs, claim by claim. The mutex is not held. */
static void make_runs(neoq *nq, trip *t)
{
    int64_t steady = t->x.run_count > 0 ? nq->clock->steady(nq->clock) : 0;
    size_t q = 0;
    for (size_t i = 0; i < t->x.claim_count; i++)
        t->taken[i] = (nq_run_list){0};
    for (size_t i = 0; i < t->x.run_count; i++) {
        neoq_claimed *claimed = &t->x.runs[i];
        /* Runs come in the order of the claims. */
        while (q < t->x.claim_count && strcmp(t->asked[q]->name, claimed->job.queue) != 0)
            q++;
        neoq_ctx *ctx = t->spare.head;
        if (q == t->x.claim_count || !ctx) { /* a store that gives what nobody asked it for */
            nq->backend->release(nq->store, claimed);
            continue;
        }
        nq_list_remove(&t->spare, ctx);
        nq_run_init(ctx, nq, t->asked[q], claimed);
        ctx->claimed_at = steady;
        nq_list_add(&t->taken[q], ctx);
    }
}

static void take_in_runs(neoq *nq, trip *t)
{
    /* The lease was lost beside this trip; or nothing is to begin any more. */
    bool lost = t->x.worker && (!nq->joined || strcmp(t->worker, nq->worker.id) != 0);
    bool unwanted = lost || nq->phase != NQ_OPEN;
    for (size_t i = 0; i < t->x.claim_count; i++) {
        if (t->taken[i].count >= t->claims[i].limit)
            t->asked[i]->hungry = true;
        if (t->taken[i].count == 0)
            continue;
        nq_turns_join(nq, t->asked[i]);
        nq_list_splice(&t->asked[i]->local, &t->taken[i]);
        nq_turns_update(nq, t->asked[i]);
        if (unwanted)
            nq_release_local(nq, t->asked[i]);
    }
}

/* Something changed in the store up to this trip, and the trip did not ask for every queue. */
static void hear_for_the_rest(neoq *nq, const trip *t)
{
    for (nq_queue *queue = nq->queues; queue; queue = queue->next)
        queue->hungry |= queue->asking != t;
}

/* The mutex is held. */
static void take_in(neoq *nq, trip *t)
{
    int64_t steady = nq->clock->steady(nq->clock);
    take_in_runs(nq, t);
    for (size_t i = 0; i < t->x.cancel_count; i++)
        nq_stop_running(nq, t->cancels[i], NQ_CANCELLED);
    if (nq->seen < t->x.seen) {
        hear_for_the_rest(nq, t);
        nq_hear_of_schedules(nq);
        nq->seen = t->x.seen;
    }
    int64_t due = nq_time_add(steady, nq->options.poll_interval);
    if (t->x.next_due > 0) {
        neoq_time now = nq_now(nq);
        int64_t next = nq_time_add(steady, t->x.next_due > now ? t->x.next_due - now : 0);
        due = next < due ? next : due;
    }
    /* One of two trips may know of less than the other. */
    if (!t->beside || nq->due <= steady || due < nq->due)
        nq->due = due;
}

/* The store failed: what was to be settled is kept, and the next try waits a while. */
static void put_back(neoq *nq, trip *t)
{
    while (t->settling.head) {
        neoq_ctx *ctx = t->settling.head;
        nq_list_remove(&t->settling, ctx);
        nq_list_add(&nq->finished, ctx);
    }
    for (size_t i = 0; i < t->x.claim_count; i++)
        t->asked[i]->hungry = true;
    if (nq->phase >= NQ_STOPPED)
        nq_drop_finished(nq);
    nq->failures++;
    int64_t wait = NEOQ_MILLISECONDS(50) << (nq->failures < 6 ? nq->failures : 6);
    nq->exchange_after = nq_time_add(nq->clock->steady(nq->clock), wait);
    nq->due = nq->exchange_after;
}

/* Runs that were given back, or are to be retried at once, are ready by now; the trip that settled them made them so,
 * and may not have asked for them. */
static void ask_for_ready(neoq *nq, const trip *t)
{
    bool ready = false;
    neoq_time now = t->x.settlement_count > 0 ? nq_now(nq) : 0;
    for (size_t i = 0; i < t->x.settlement_count; i++) {
        const neoq_settlement *s = &t->x.settlements[i];
        ready |= s->state < NEOQ_DONE && (s->state == NEOQ_READY || s->run_after <= now);
    }
    for (nq_queue *queue = nq->queues; queue && ready; queue = queue->next)
        queue->hungry = true;
}

/* The mutex is not held. */
static void free_settled(trip *t)
{
    for (neoq_ctx *ctx = t->settling.head, *next; ctx; ctx = next) {
        next = ctx->next;
        if (ctx->abandoned)
            continue;
        nq_list_remove(&t->settling, ctx);
        nq_run_free(ctx);
    }
}

/* The mutex is held, but while a run is freed: that calls the store. */
static void drop_runs(neoq *nq, nq_run_list *list)
{
    while (list->head) {
        neoq_ctx *ctx = list->head;
        nq_list_remove(list, ctx);
        if (--ctx->refs > 0)
            continue;
        pthread_mutex_unlock(&nq->mutex);
        nq_run_free(ctx);
        pthread_mutex_lock(&nq->mutex);
    }
}

/* Whoever sleeps in the store knew of nothing due before waiting_until; by now there may be something. */
static void hurry_waiter(neoq *nq)
{
    if (!nq->waiting || nq->due >= nq->waiting_until)
        return;
    nq->waiting_until = nq->due;
    pthread_mutex_unlock(&nq->mutex);
    nq->backend->wake(nq->store);
    pthread_mutex_lock(&nq->mutex);
}

static trip *begin_trip(neoq *nq)
{
    trip *t = nq->trips;
    while (t->under_way)
        t++;
    t->under_way = true;
    t->began = nq->clock->steady(nq->clock);
    nq->exchanging++;
    nq->exchanges++;
    for (int i = 0; i < nq->lanes; i++)
        nq->trips[i].beside = nq->trips[i].under_way && nq->exchanging > 1;
    return t;
}

int64_t nq_exchange_began(const neoq *nq)
{
    int64_t began = INT64_MAX;
    for (int i = 0; i < nq->lanes; i++)
        if (nq->trips[i].under_way && nq->trips[i].began < began)
            began = nq->trips[i].began;
    return began;
}

static void end_trip(neoq *nq, trip *t)
{
    for (size_t i = 0; i < t->x.claim_count; i++)
        t->asked[i]->asking = NULL;
    t->under_way = false;
    nq->exchanging--;
    if (nq->enders > 0)
        pthread_cond_broadcast(&nq->ended);
}

/* The mutex is not held. failures: in a row, before. */
static void tell_of_store(const neoq *nq, int status, int failures)
{
    if (status != NEOQ_OK && failures == 0)
        nq_log(&nq->options, NEOQ_LOG_ERROR, "the store fails (%s), to be tried again: %s", neoq_status_name(status),
               neoq_error_message());
    else if (status == NEOQ_OK && failures > 0)
        nq_log(&nq->options, NEOQ_LOG_INFO, "the store works again");
}

int nq_exchange(neoq *nq, nq_queue *want)
{
    trip *t = begin_trip(nq);
    atomic_store(&nq->poked, false); /* a change from now on is not seen for sure */
    bool planned = plan(nq, t, want);
    int settling = (int)t->settling.count;
    pthread_mutex_unlock(&nq->mutex);
    int status = nq_fail(NEOQ_ENOMEM, "no memory for a round trip to the store");
    if (planned && reserve_runs(t)) {
        settle_plan(nq, t);
        status = nq->backend->exchange(nq->store, &t->x);
    }
    bool lost = status == NEOQ_ELOST;
    status = lost ? NEOQ_OK : status;
    if (status == NEOQ_OK) {
        report(nq, t);
        free_settled(t);
        make_runs(nq, t);
    }
    pthread_mutex_lock(&nq->mutex);
    int failures = nq->failures;
    if (status == NEOQ_OK) {
        nq->failures = 0;
        take_in(nq, t);
        ask_for_ready(nq, t);
        drop_runs(nq, &t->settling); /* what is left, their handlers may still look at */
        lost = lost && nq->joined && strcmp(t->worker, nq->worker.id) == 0;
        if (lost)
            nq_worker_lost(nq);
    } else {
        put_back(nq, t);
    }
    if (lost || (status == NEOQ_OK) != (failures == 0)) {
        pthread_mutex_unlock(&nq->mutex);
        tell_of_store(nq, status, failures);
        if (lost)
            nq_tell_of_loss(nq);
        pthread_mutex_lock(&nq->mutex);
    }
    nq->settling -= settling;
    end_trip(nq, t);
    hurry_waiter(nq);
    return status;
}

void nq_end_run(neoq_ctx *ctx, nq_end end)
{
    neoq *nq = ctx->nq;
    nq_list_remove(&nq->running, ctx);
    ctx->queue->running--;
    nq_turns_update(nq, ctx->queue);
    ctx->queue->window_runs++;
    ctx->end = end;
    nq_list_add(&nq->finished, ctx);
}

void nq_give_up(neoq_ctx *ctx, nq_end end)
{
    ctx->abandoned = true;
    ctx->refs = 2;
    if (!ctx->queue->stepped) {
        ctx->nq->threads--;
        ctx->nq->strays++;
    }
    nq_end_run(ctx, end);
}

void nq_drop_finished(neoq *nq)
{
    drop_runs(nq, &nq->finished);
}

void nq_release_local(neoq *nq, nq_queue *queue)
{
    while (queue->local.head) {
        neoq_ctx *ctx = queue->local.head;
        nq_list_remove(&queue->local, ctx);
        ctx->end = (nq_end){.outcome = NQ_RELEASED};
        nq_list_add(&nq->finished, ctx);
    }
    nq_turns_update(nq, queue);
}
