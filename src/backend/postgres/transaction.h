/* SPDX-License-Identifier: MIT
 *
 * postgres/transaction.h -- jobs in a transaction of the caller's, on a connection of his.
 */
#ifndef NQ_POSTGRES_TRANSACTION_H
#define NQ_POSTGRES_TRANSACTION_H

#include "backend/postgres/libpq.h"

#include "backend/postgres/values.h"

/* NEOQ_ESTATE if no transaction is under way there, NEOQ_EINVAL if it is another database. */
int nq_postgres_enqueue_in(neoq_store *store, PGconn *transaction, const neoq_job *job, neoq_enqueued *result);
/* Settles the run as done; NEOQ_ELOST if it is no longer at this epoch. */
int nq_postgres_finish_in(neoq_store *store, PGconn *transaction, const neoq_job *job, neoq_time keep_until,
                          const void *result, size_t result_size);

/* What enqueue_job() takes of a job, from p_queue on: PG_JOB_PARAMS parameters; or of many jobs, an array for each. */
enum { PG_JOB_PARAMS = 12 };
void pg_put_job(pg_build *b, const neoq_job *job, neoq_time now);
void pg_put_jobs(pg_build *b, const neoq_job *jobs, size_t count, neoq_time now);
/* The answer to a job: 0, or what row has in these columns. */
void pg_read_answer(const PGresult *rows, int row, int status_column, int twin_column, neoq_enqueued *result);

#endif
