/* SPDX-License-Identifier: MIT
 *
 * Where claims begin. The rows of jobs that were claimed or are gone lie at the head of a queue's index until they are
 * vacuumed away, and for as long as an old snapshot is held anywhere they cannot be. So while a queue is being drained by full
 * batches, or where claims have become dear, a claim begins where the one before ended. From time to time, and when it
 * came back short, it begins with the first job again, which finds what came in behind it: jobs of other processes with a
 * higher priority, or committed late. Where that is dear, one that came back short is followed by one that begins a
 * little before its end: what is committed late is mostly so by milliseconds.
 */
#include <string.h>

#include "backend/postgres/exchange.h"

enum {
    FULL_BATCH = 64,
    DEAR_US = 5000, /* and so much longer than its rows explain */
    A_ROW_US = 40,
    RESCAN_SHARE = 20, /* a rescan may take one part in so many of the time */
    RESCAN_LEAST_US = 10000,
    RESCAN_MOST_US = 60000000,
    LATE_US = 100000, /* jobs may be committed so much later than others whose place is behind theirs */
};

static const pg_place first_place = {.rank = INT32_MIN, .run_after = INT64_MIN, .arrival = INT64_MIN},
                      beyond_all = {.rank = INT32_MAX, .run_after = INT64_MAX, .arrival = INT64_MAX};

bool pg_ask_plan(neoq_store *store, pg_ask *ask, const neoq_claim *claim)
{
    *ask = (pg_ask){.claim = claim, .left = claim->limit, .from = first_place};
    pthread_mutex_lock(&store->queue_mutex);
    pg_queue *queue = pg_queue_named(store, claim->queue);
    if (queue) {
        queue->asked = true;
        ask->known = queue->id;
        ask->skipping = queue->skipping && store->clock->steady(store->clock) < queue->rescan_at;
        if (ask->skipping)
            ask->from = queue->from;
        queue->low = beyond_all;
        queue->due = 0; /* the answer tells, or there is more to be claimed */
    }
    pthread_mutex_unlock(&store->queue_mutex);
    return queue != NULL;
}

/* The next claim may begin at `last`, but not behind what came in meanwhile. */
static void go_on_from(pg_queue *queue, const pg_place *last)
{
    queue->from = pg_compare_places(&queue->low, last) < 0 ? queue->low : *last;
}

/* A claim from the first job on: is the next to begin further on? */
static void learn(pg_queue *queue, const pg_ask *ask, int64_t duration, int64_t steady)
{
    bool was_dear = queue->dear;
    int64_t pause = duration * RESCAN_SHARE;
    queue->dear = duration > DEAR_US + (int64_t)ask->got * A_ROW_US;
    if (pause < RESCAN_LEAST_US)
        pause = RESCAN_LEAST_US;
    queue->rescan_at = steady + (pause < RESCAN_MOST_US ? pause : RESCAN_MOST_US);
    bool draining = ask->got >= FULL_BATCH && ask->got == ask->left;
    if (ask->got > 0)
        go_on_from(queue, &ask->last);
    /* Once may be chance. Where nothing was got, `from` is where the queue ended before. */
    queue->skipping = draining || (queue->dear && was_dear && (ask->got > 0 || queue->from.run_after != 0));
}

bool pg_ask_note(neoq_store *store, pg_ask *ask, int64_t duration)
{
    bool again = false;
    int64_t steady = store->clock->steady(store->clock);
    pthread_mutex_lock(&store->queue_mutex);
    pg_queue *queue = pg_queue_known(store, ask->claim->queue);
    if (queue && ask->closed) {
        ; /* what was known of it holds on */
    } else if (queue && !ask->skipping) {
        learn(queue, ask, duration, steady);
    } else if (queue && ask->got == ask->left) {
        go_on_from(queue, &ask->last);
    } else if (queue && queue->dear && steady < queue->rescan_at) {
        const pg_place before = {ask->last.rank, ask->last.run_after - LATE_US, INT64_MIN};
        pg_queue_await(queue, pg_now(store) + queue->rescan_at - steady);
        if (ask->got > 0)
            go_on_from(queue, &before);
    } else {
        again = true;
    }
    pthread_mutex_unlock(&store->queue_mutex);
    ask->left -= ask->got;
    if (!again)
        ask->left = 0;
    ask->got = 0;
    ask->skipping = false;
    ask->from = first_place;
    return again;
}

void pg_note_return(neoq_store *store, pg_queue *queue, int32_t rank, neoq_time run_after)
{
    pthread_mutex_lock(&store->queue_mutex);
    pg_queue_lower(queue, rank, run_after);
    pg_queue_await(queue, run_after);
    pthread_mutex_unlock(&store->queue_mutex);
}

neoq_time pg_next_due(neoq_store *store, neoq_time now)
{
    neoq_time due = 0;
    pthread_mutex_lock(&store->queue_mutex);
    for (size_t i = 0; i < PG_QUEUE_BUCKETS; i++)
        for (const pg_queue *queue = store->queues[i]; queue; queue = queue->next)
            if (queue->asked && queue->due > now && (due == 0 || queue->due < due))
                due = queue->due;
    pthread_mutex_unlock(&store->queue_mutex);
    return due;
}
