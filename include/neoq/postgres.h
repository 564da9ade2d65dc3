/* SPDX-License-Identifier: MIT */
/**
 * @file
 * neoq/postgres.h -- jobs inside your own PostgreSQL transactions.
 *
 * Both functions use a connection of the caller's, inside a transaction that the caller began and will end; it must be
 * to the database that nq or ctx is open on, in a role that may call neoq's functions there. Neither begins, commits or
 * rolls back, and neither leaves the transaction aborted when it refuses: no job has changed then, and what the caller
 * wrote stays. Nothing is left behind on the connection.
 *
 * The connection remains the caller's, and so does its thread rule: one thread at a time. The call waits as long as the
 * caller's own statements do: set statement_timeout. Until the transaction ends, whoever enqueues a job of the same
 * queue and fingerprint waits for it, also this process by neoq_enqueue(): so end it soon, and before you call another
 * neoq function about the same job.
 *
 * Both return NEOQ_EINVAL for NULL, for a connection to another database and for a role without the right; NEOQ_ESTATE
 * outside a transaction, in one that has failed, while the connection is at work on another command, and in pipeline
 * mode; NEOQ_EUNSUPPORTED where neoq is open on another store; NEOQ_EBACKEND where the server fails the statement (a
 * timeout, a deadlock, a serialization failure, a broken connection), and then the transaction can only be rolled back,
 * as after any failed statement; NEOQ_ENOMEM.
 */
#ifndef NEOQ_POSTGRES_H
#define NEOQ_POSTGRES_H
#include <neoq.h>
#include <libpq-fe.h>
#ifdef __cplusplus
extern "C" {
#endif

/**
 * Enqueues in your transaction: the job exists if and only if the transaction commits. As neoq_enqueue() otherwise:
 * id may be NULL; NEOQ_EDUPLICATE and NEOQ_ETOOBIG; NEOQ_EFULL at once, because nobody can make room while the
 * transaction is open. Any thread.
 *
 * The transaction itself does not notify the workers: commits that do wait for each other. They hear of the job within
 * some milliseconds of the commit while this neoq is open; otherwise their next look finds it (poll_interval).
 * @param nq,transaction,job  the store, your connection, and what to store
 * @param[out] id             as of neoq_enqueue()
 * @return as told above
 */
int neoq_postgres_enqueue(neoq *nq, PGconn *transaction, const neoq_job *job, char *id);

/**
 * In a handler: settles the running job as done in the same transaction as the handler's own writes, so that they
 * happen exactly once or not at all. NEOQ_ELOST if the run no longer owns the job, or the job's cancellation was asked
 * for: then roll back. After the commit the handler returns NEOQ_OK; if the transaction does not commit, the job is run
 * again.
 *
 * neoq_set_result() comes before it. From here on the transaction decides the run's end, not what the handler returns.
 * It has to be over by then: end it before you return.
 * @param ctx,transaction  the run, and your connection
 * @return NEOQ_ELOST, and as told above
 */
int neoq_postgres_finish(neoq_ctx *ctx, PGconn *transaction);

#ifdef __cplusplus
}
#endif
#endif
