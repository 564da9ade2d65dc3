/* SPDX-License-Identifier: MIT
 *
 * Who goes with whom: calls that come while others are being stored wait, and one of them then takes all of them along
 * in one statement (base/group.h). There are two lanes, so that one statement is made while the other's commit waits for
 * the disk: with more, each takes fewer along. A call with many jobs goes by itself.
 */
#include <stdio.h>
#include <string.h>

#include "backend/postgres/jobs.h"
#include "base/error.h"

enum {
    MANY_JOBS = 100,  /* that are worth a statement of their own */
    SOME_JOBS = 8,    /* that are worth an insert which has to be made anew if one of them is refused */
    HOPE_AFTER_S = 1, /* of none that was */
    JOBS_TOGETHER = 2000,
    BYTES_TOGETHER = 4 << 20,
    PATIENCE_MS = 200, /* of those who are together, with a transaction that keeps one of them waiting */
    ROUNDS = 5,        /* of a batch whose obstacles go away as soon as they are looked at */
};
/* How long the server can tell whether a statement was done: fold_tally() in lease.sql keeps tokens for 10 s. */
static const int64_t token_life = NEOQ_SECONDS(8);

/* ---- one statement ---------------------------------------------------------------------- */

static int send_once(neoq_store *store, pg_batch *batch, int64_t token, bool again, int patience, const char *words,
                     PGresult **rows)
{
    static const pg_statement statement = {
        "neoq_enqueue_jobs",
        "SELECT * FROM %s.enqueue_jobs($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,"
        "$18,$19,$20,$21,$22,$23)"};
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    pg_put_int8(&b, token);
    pg_put_bool(&b, again);
    pg_put_int4(&b, patience);
    pg_put_text(&b, words);
    pg_put_bool(&b, batch->hopeful);
    pg_put_batch(&b, batch);
    const pg_params *params = pg_built(&b);
    int status = params ? pg_pool_run(store->pool, &statement, params, again, rows) : NEOQ_ENOMEM;
    pg_build_free(&b);
    return status;
}

/* One job, which is probably new: *stored tells whether it was. */
static int send_one(neoq_store *store, const pg_batch *batch, int64_t token, int patience, const char *words,
                    bool *stored)
{
    static const pg_statement statement = {
        "neoq_enqueue_one", "SELECT %s.enqueue_one($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17)"};
    pg_build b = {0};
    PGresult *rows = NULL;
    pg_put_int8(&b, pg_now(store));
    pg_put_int8(&b, token);
    pg_put_int4(&b, patience);
    pg_put_text(&b, words);
    pg_put_entry(&b, &batch->entries[0]);
    const pg_params *params = pg_built(&b);
    int status = params ? pg_pool_run(store->pool, &statement, params, false, &rows) : NEOQ_ENOMEM;
    *stored = status == NEOQ_OK && pg_bool(rows, 0, 0);
    PQclear(rows);
    pg_build_free(&b);
    return status;
}

/* Where the answer was lost, the server is asked by the token whether it was done; if not, it is done now. */
static int send_batch(neoq_store *store, pg_batch *batch, int patience, PGresult **rows)
{
    int64_t token = (int64_t)atomic_fetch_add(&store->token, 1), begun = store->clock->steady(store->clock);
    int64_t sent = nq_steady();
    const char *words = batch->awaited ? NULL : pg_bell_lend(store->bell);
    int status = NEOQ_OK;
    bool stored = false;
    if (batch->count == 1 && batch->hopeful)
        status = send_one(store, batch, token, patience, words, &stored);
    batch->hopeful = batch->hopeful && batch->count > 1;
    if (status == NEOQ_OK && !stored)
        status = send_once(store, batch, token, false, patience, words, rows);
    if (status == NEOQ_OK && words)
        batch->told = nq_steady() - sent + 1;
    if (status == NEOQ_EUNKNOWN && store->clock->steady(store->clock) - begun < token_life) {
        status = send_once(store, batch, token, true, 0, NULL, rows);
        if (status == NEOQ_EBACKEND || status == NEOQ_ETIMEOUT ||
            status == NEOQ_ENOMEM) /* that is said of the second try alone */
            status = nq_fail(NEOQ_EUNKNOWN, "%s", neoq_error_message());
    }
    return status;
}

/* Claims that begin further on must not pass by what came in. */
static void note_arrivals(neoq_store *store, const pg_batch *batch)
{
    pg_queue *queue = NULL;
    pthread_mutex_lock(&store->queue_mutex);
    for (size_t i = 0; i < batch->count; i++) {
        const neoq_job *job = batch->entries[i].job;
        if (!queue || strcmp(queue->name, job->queue) != 0)
            queue = pg_queue_known(store, job->queue);
        if (!queue)
            continue;
        pg_queue_lower(queue, pg_rank_of(job->priority), job->run_after);
        if (job->state == NEOQ_SCHEDULED)
            pg_queue_await(queue, job->run_after);
    }
    pthread_mutex_unlock(&store->queue_mutex);
}

/* Whether it is likely that all jobs are new: there is one, or there are some, and none was refused of late. */
static bool is_hopeful(const neoq_store *store, const pg_batch *batch)
{
    return (batch->count == 1 || batch->count >= SOME_JOBS) &&
           store->clock->steady(store->clock) - atomic_load(&store->refused_at) > NEOQ_SECONDS(HOPE_AFTER_S);
}

static int store_batch(neoq_store *store, pg_batch *batch, int patience)
{
    int status = NEOQ_OK;
    for (int round = 0; round < ROUNDS && batch->count > 0 && status == NEOQ_OK; round++) {
        PGresult *rows = NULL;
        batch->hopeful = is_hopeful(store, batch);
        batch->told = 0;
        status = pg_batch_address(store, batch);
        if (status != NEOQ_OK || batch->count == 0)
            break;
        status = send_batch(store, batch, patience, &rows);
        if (status == NEOQ_OK) {
            note_arrivals(store, batch);
            if (PQntuples(rows) > 0)
                atomic_store(&store->refused_at, store->clock->steady(store->clock));
            pg_batch_read(store, batch, rows);
        }
        if (batch->told)
            pg_bell_lent(store->bell, batch->told);
        else if (batch->awaited)
            pg_bell_announce_later(store->bell);
        else
            pg_bell_announce(store->bell); /* also of what may have been stored, or not */
        PQclear(rows);
    }
    for (size_t i = 0; i < batch->count && status == NEOQ_OK; i++)
        batch->entries[i].result->status = NEOQ_EDUPLICATE; /* of a twin that is never there when it is looked for */
    return status;
}

/* ---- together --------------------------------------------------------------------------- */

typedef struct pg_op {
    nq_member member; /* the first, so that one is the other */
    const neoq_job *jobs;
    size_t count, bytes;
    neoq_enqueued *results;
    int status;
    bool apart; /* to be stored by its own caller, alone */
    char message[512];
} pg_op;

static void fail_op(pg_op *op, int status)
{
    op->status = status;
    snprintf(op->message, sizeof op->message, "%s", neoq_error_message());
}

/* Stores those of the ops up to `end` that are well-formed. */
static int store_together(neoq_store *store, nq_member *first, const nq_member *end, int patience)
{
    pg_batch batch = {0};
    for (nq_member *member = first; member != end; member = member->next) {
        pg_op *op = (pg_op *)member;
        int status = pg_batch_add(&batch, op->jobs, op->count, op->results);
        if (status != NEOQ_OK)
            fail_op(op, status);
    }
    int status = store_batch(store, &batch, patience);
    pg_batch_free(&batch);
    return status;
}

/* One bad job, or one for which somebody's transaction must be waited for, does not fail or hold up its neighbours: then
 * each caller stores its own. */
static void store_ops(neoq_store *store, nq_member *first, const nq_member *end)
{
    int64_t begun = store->clock->steady(store->clock);
    int status = store_together(store, first, end, PATIENCE_MS);
    bool apart = status == NEOQ_EINVAL || status == NEOQ_ENOMEM || status == NEOQ_EBACKEND;
    if (first->next == end)
        apart = status == NEOQ_EBACKEND && store->clock->steady(store->clock) - begun >= PATIENCE_MS * 1000;
    for (nq_member *member = first; member != end && status != NEOQ_OK; member = member->next) {
        pg_op *op = (pg_op *)member;
        op->apart = apart && op->status == NEOQ_OK;
        if (!apart && op->status == NEOQ_OK)
            fail_op(op, status);
    }
}

/* All who wait, by statements that are not too large. */
static void serve(nq_member *first, void *arg)
{
    neoq_store *store = arg;
    while (first) {
        const pg_op *op = (const pg_op *)first;
        size_t jobs = op->count, bytes = op->bytes;
        nq_member *end = first->next;
        while (end && (jobs += ((const pg_op *)end)->count) <= JOBS_TOGETHER &&
               (bytes += ((const pg_op *)end)->bytes) <= BYTES_TOGETHER)
            end = end->next;
        store_ops(store, first, end);
        first = end;
    }
}

static void store_alone(neoq_store *store, pg_op *op)
{
    op->member.next = NULL;
    int status = store_together(store, &op->member, NULL, 0);
    if (status != NEOQ_OK && op->status == NEOQ_OK)
        fail_op(op, status);
}

static size_t bytes_of(const neoq_job *jobs, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += jobs[i].payload_size;
    return bytes;
}

/* The one with fewer callers: so those whom a lane has served come back to it, and it knows for how many to wait. */
static nq_group *emptiest_lane(neoq_store *store)
{
    nq_group *emptiest = &store->lanes[0];
    for (int i = 1; i < PG_LANES; i++)
        if (atomic_load(&store->lanes[i].members) < atomic_load(&emptiest->members))
            emptiest = &store->lanes[i];
    return emptiest;
}

int pg_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    pg_op op = {.jobs = jobs, .count = count, .bytes = bytes_of(jobs, count), .results = results};
    if (count == 0)
        return NEOQ_OK;
    op.apart = count >= MANY_JOBS;
    if (!op.apart)
        nq_group_join(emptiest_lane(store), &op.member, serve, store);
    if (op.apart)
        store_alone(store, &op);
    return op.status == NEOQ_OK ? NEOQ_OK : nq_fail(op.status, "%s", op.message);
}
