/* SPDX-License-Identifier: MIT
 *
 * postgres/jobs.h -- enqueueing, settling, claiming, leases.
 */
#ifndef NQ_POSTGRES_JOBS_H
#define NQ_POSTGRES_JOBS_H

#include "backend/postgres/store.h"
#include "backend/postgres/values.h"

/* ---- enqueueing (enqueue.c: who goes with whom; batch.c: the statement) ------------------ */

int pg_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results);

/* A job on its way in. */
typedef struct pg_entry {
    const neoq_job *job;
    neoq_enqueued *result;
    int32_t queue; /* 0: not known yet */
    int32_t place; /* in the batch, as the caller has it */
    uint8_t id[16];
    bool repeat; /* another entry before it has the same id */
    bool again;  /* to be sent once more */
    pg_print print;
} pg_entry;

typedef struct pg_batch {
    pg_entry *entries;
    size_t count;
    bool hopeful; /* probably all jobs are new */
    bool awaited; /* somebody waits here, where all its queues are claimed from */
    int64_t told; /* the statement told the others itself, and took so many microseconds; 0: it did not */
} pg_batch;

/* The parameters that enqueue_jobs() takes from `queues` on (PG_BATCH_PARAMS of them), after those in b. */
enum { PG_BATCH_PARAMS = 17 };
void pg_put_batch(pg_build *b, pg_batch *batch);
/* Those that enqueue_one() takes from `p_queue` on. */
void pg_put_entry(pg_build *b, const pg_entry *entry);

/* Adds jobs, and fills in their results as if all were stored. On failure the batch is as it was. */
int pg_batch_add(pg_batch *batch, const neoq_job *jobs, size_t count, neoq_enqueued *results);
void pg_batch_free(pg_batch *batch);
/* Finds the jobs' queues, which are made where they are not there, and puts the batch into its order. A job that is stored
 * already and is for a queue that is not there drops out, as done. The batch may be empty then. */
int pg_batch_address(neoq_store *store, pg_batch *batch);
/* Reads the rows (place, status, twin) of enqueue_jobs(). What was refused for a reason that is gone by now stays in the
 * batch, to be sent again; everything else leaves it. False: a queue was gone, nothing was stored and all stays. */
bool pg_batch_read(neoq_store *store, pg_batch *batch, const PGresult *rows);

/* priority as it stands in the table: ascending, and without its lowest value. */
int32_t pg_rank_of(int priority);

/* ---- runs ------------------------------------------------------------------------------- */

int pg_exchange(neoq_store *store, neoq_exchange *exchange);
void pg_release(neoq_store *store, neoq_claimed *run);
int pg_beat(neoq_store *store, const neoq_beat *beat);
int pg_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count);

#endif
