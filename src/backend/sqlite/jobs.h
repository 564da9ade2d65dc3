/* SPDX-License-Identifier: MIT
 *
 * sqlite/jobs.h -- what a transaction does with jobs.
 */
#ifndef NQ_SQLITE_JOBS_H
#define NQ_SQLITE_JOBS_H

#include "backend/sqlite/store.h"

typedef struct sq_enqueue_args {
    const neoq_job *jobs;
    size_t count;
    neoq_enqueued *results;
} sq_enqueue_args;
int sq_enqueue(sq_tx *tx, void *enqueue_args);

int sq_exchange(sq_tx *tx, void *exchange);
void sq_release(neoq_claimed *run);
/* Whether sq_exchange() would find something to write, seen from a reading connection; sets next_due. */
bool sq_exchange_useful(neoq_store *store, sq_db *db, neoq_exchange *x);

/* Holds the running job of a row of SQ_JOB_COLUMNS, queue name, epoch, ran_at. False: no memory. */
bool sq_hold_running(sqlite3_stmt *stmt, neoq_claimed *run);

/* Makes ready what is due. */
void sq_promote(sq_tx *tx);
/* Makes the job with this row number ready, in the order of its run_after. It stands nowhere. */
void sq_make_ready(sq_tx *tx, int64_t rid);
/* Deletes the job and its history. It stands nowhere, and guards nothing. */
void sq_delete_job(sq_tx *tx, int64_t rid);

/* Reads the job that a SELECT of these columns stands on, into view; strings live until the next step. */
#define SQ_JOB_COLUMNS                                                                                               \
    "j.rid, j.id, j.state, j.priority, j.run_after, j.created_at, j.max_retries, j.retries, j.epoch, j.ran_at,"      \
    " j.guard, j.fingerprint, j.payload, j.deadline, j.retention, j.retry_waits, j.metadata, j.finished_at,"         \
    " j.error, j.result"
enum { SQ_JOB_GUARD = 10, SQ_JOB_COLUMN_COUNT = 20 };
typedef struct sq_job_texts {
    char id[37], fingerprint[257];
    neoq_duration retry_waits[100];
} sq_job_texts;
void sq_read_job(sqlite3_stmt *stmt, const char *queue, neoq_job *view, sq_job_texts *texts);
/* A fingerprint that is an MD5 in hex is kept as its 16 bytes; another as it is. */
bool sq_pack_fingerprint(const char *text, uint8_t raw[16]);
const char *sq_read_fingerprint(sqlite3_stmt *stmt, int at, char text[257]); /* NULL: it is NULL */
void sq_bind_fingerprint(sqlite3_stmt *stmt, int at, const char *fingerprint, uint8_t raw[16]);
/* The row number of the job with this id; 0 = none. */
int64_t sq_find_id(sq_db *db, const char *id);

#endif
