/* SPDX-License-Identifier: MIT
 *
 * Who goes with whom: calls that come while others are being stored wait, and one of them then takes all of them along
 * in one statement. Two such statements are under way at most, so that one is made while the other waits for the disk.
 * A caller alone waits for nobody.
 */
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "backend/postgres/jobs.h"
#include "base/error.h"

enum {
    JOBS_TOGETHER = 2000, /* of several callers; one alone may bring more */
    BYTES_TOGETHER = 4 << 20,
    PATIENCE_MS = 200, /* of those who are together, with a transaction that keeps one of them waiting */
    ROUNDS = 5,        /* of a batch whose obstacles go away as soon as they are looked at */
};
/* How long the server can tell whether a statement was done: fold_tally() in lease.sql keeps tokens for 10 s. */
static const int64_t token_life = NEOQ_SECONDS(8);

struct pg_op {
    struct pg_op *next;
    const neoq_job *jobs;
    size_t count, bytes;
    neoq_enqueued *results;
    int status;
    bool done, apart; /* apart: to be stored by its own caller, alone */
    sem_t turn;       /* posted when it is done, or when its caller is to lead */
    char message[512];
};

/* ---- one statement ---------------------------------------------------------------------- */

static int send_once(neoq_store *store, pg_batch *batch, int64_t token, bool again, int patience, PGresult **rows)
{
    static const pg_statement statement = {
        "neoq_enqueue_jobs",
        "SELECT * FROM %s.enqueue_jobs($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,"
        "$18,$19,$20,$21)"};
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    pg_put_int8(&b, token);
    pg_put_bool(&b, again);
    pg_put_int4(&b, patience);
    pg_put_batch(&b, batch);
    const pg_params *params = pg_built(&b);
    int status = params ? pg_pool_run(store->pool, &statement, params, again, rows) : NEOQ_ENOMEM;
    pg_build_free(&b);
    return status;
}

/* Where the answer was lost, the server is asked by the token whether it was done; if not, it is done now. */
static int send_batch(neoq_store *store, pg_batch *batch, int patience, PGresult **rows)
{
    int64_t token = (int64_t)atomic_fetch_add(&store->token, 1), begun = store->clock->steady(store->clock);
    int status = send_once(store, batch, token, false, patience, rows);
    if (status == NEOQ_EUNKNOWN && store->clock->steady(store->clock) - begun < token_life) {
        status = send_once(store, batch, token, true, 0, rows);
        if (status == NEOQ_EBACKEND || status == NEOQ_ETIMEOUT) /* that is said of the second try alone */
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

static int store_batch(neoq_store *store, pg_batch *batch, int patience)
{
    int status = NEOQ_OK;
    for (int round = 0; round < ROUNDS && batch->count > 0 && status == NEOQ_OK; round++) {
        PGresult *rows = NULL;
        status = pg_batch_address(store, batch);
        if (status != NEOQ_OK || batch->count == 0)
            break;
        status = send_batch(store, batch, patience, &rows);
        if (status == NEOQ_OK) {
            note_arrivals(store, batch);
            pg_batch_read(store, batch, rows);
        }
        PQclear(rows);
    }
    for (size_t i = 0; i < batch->count && status == NEOQ_OK; i++)
        batch->entries[i].result->status = NEOQ_EDUPLICATE; /* of a twin that is never there when it is looked for */
    return status;
}

/* ---- together --------------------------------------------------------------------------- */

static void fail_op(pg_op *op, int status)
{
    op->status = status;
    snprintf(op->message, sizeof op->message, "%s", neoq_error_message());
}

/* Stores those of the ops that are well-formed. */
static int store_together(neoq_store *store, pg_op *first, int patience)
{
    pg_batch batch = {0};
    for (pg_op *op = first; op; op = op->next) {
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
static void store_ops(neoq_store *store, pg_op *first)
{
    int64_t begun = store->clock->steady(store->clock);
    int status = store_together(store, first, PATIENCE_MS);
    bool apart = status == NEOQ_EINVAL || status == NEOQ_ENOMEM || status == NEOQ_EBACKEND;
    if (!first->next)
        apart = status == NEOQ_EBACKEND && store->clock->steady(store->clock) - begun >= PATIENCE_MS * 1000;
    for (pg_op *op = first; op && status != NEOQ_OK; op = op->next) {
        op->apart = apart && op->status == NEOQ_OK;
        if (!apart && op->status == NEOQ_OK)
            fail_op(op, status);
    }
}

static void store_alone(neoq_store *store, pg_op *op)
{
    op->next = NULL;
    int status = store_together(store, op, 0);
    if (status != NEOQ_OK && op->status == NEOQ_OK)
        fail_op(op, status);
    pg_bell_announce(store->bell);
}

/* The ops that go with this one, which is not in the list (any more). */
static pg_op *take_company(neoq_store *store, pg_op *own)
{
    size_t jobs = own->count, bytes = own->bytes;
    pg_op *last = own;
    pthread_mutex_lock(&store->enqueue_mutex);
    while (store->first && jobs + store->first->count <= JOBS_TOGETHER &&
           bytes + store->first->bytes <= BYTES_TOGETHER) {
        last->next = store->first;
        last = last->next;
        jobs += last->count;
        bytes += last->bytes;
        store->first = last->next;
    }
    if (!store->first)
        store->last = &store->first;
    pthread_mutex_unlock(&store->enqueue_mutex);
    last->next = NULL;
    return own;
}

/* The first who waits leads next, or nobody. */
static void pass_on(neoq_store *store)
{
    pthread_mutex_lock(&store->enqueue_mutex);
    pg_op *next = store->first;
    if (next) {
        store->first = next->next;
        if (!store->first)
            store->last = &store->first;
    } else {
        store->leaders--;
    }
    pthread_mutex_unlock(&store->enqueue_mutex);
    if (next)
        sem_post(&next->turn);
}

static void lead(neoq_store *store, pg_op *own)
{
    pg_op *batch = take_company(store, own);
    store_ops(store, batch);
    pg_bell_announce(store->bell);
    pass_on(store);
    for (pg_op *op = batch, *next; op; op = next) {
        next = op->next; /* an op is its caller's again once it is posted */
        if (op == own)
            continue;
        op->done = true;
        sem_post(&op->turn);
    }
}

static size_t bytes_of(const neoq_job *jobs, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += jobs[i].payload_size;
    return bytes;
}

int pg_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    pg_op op = {.jobs = jobs, .count = count, .bytes = bytes_of(jobs, count), .results = results};
    if (count == 0)
        return NEOQ_OK;
    sem_init(&op.turn, 0, 0);
    pthread_mutex_lock(&store->enqueue_mutex);
    bool mine = store->leaders < PG_LANES;
    if (mine) {
        store->leaders++;
    } else {
        *store->last = &op;
        store->last = &op.next;
    }
    pthread_mutex_unlock(&store->enqueue_mutex);
    while (!mine && sem_wait(&op.turn) != 0)
        ;
    if (!op.done)
        lead(store, &op);
    if (op.apart)
        store_alone(store, &op);
    sem_destroy(&op.turn);
    return op.status == NEOQ_OK ? NEOQ_OK : nq_fail(op.status, "%s", op.message);
}
