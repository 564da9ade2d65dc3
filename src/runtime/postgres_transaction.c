/* SPDX-License-Identifier: MIT
 *
 * <neoq/postgres.h>: enqueueing, and finishing the running job, in the user's own PostgreSQL transaction.
 */
#include <neoq/postgres.h>

#include "backend/postgres/postgres.h"
#include "backend/postgres/transaction.h"
#include "runtime/runtime.h"

static int put(neoq *nq, void *transaction, const neoq_job *job, neoq_enqueued *result)
{
    return nq_postgres_enqueue_in(nq->store, transaction, job, result);
}

int neoq_postgres_enqueue(neoq *nq, PGconn *transaction, const neoq_job *job, char *id)
{
    int status = nq_opened_on(nq, &nq_postgres_backend);
    return status == NEOQ_OK ? nq_enqueue_one(nq, job, id, put, transaction) : status;
}

static int finish(neoq_store *store, void *transaction, const neoq_job *job, neoq_time keep_until, const void *result,
                  size_t result_size)
{
    return nq_postgres_finish_in(store, transaction, job, keep_until, result, result_size);
}

int neoq_postgres_finish(neoq_ctx *ctx, PGconn *transaction)
{
    return nq_finish_within(ctx, &nq_postgres_backend, "neoq_postgres_finish", finish, transaction);
}
