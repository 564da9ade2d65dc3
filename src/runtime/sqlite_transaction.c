/* SPDX-License-Identifier: MIT
 *
 * <neoq/sqlite.h>: enqueueing, and finishing the running job, in the user's own SQLite transaction.
 */
#include <neoq/sqlite.h>

#include "backend/sqlite/sqlite.h"
#include "runtime/runtime.h"

static int put(neoq *nq, void *transaction, const neoq_job *job, neoq_enqueued *result)
{
    return nq_sqlite_enqueue_in(nq->store, transaction, job, result);
}

int neoq_sqlite_enqueue(neoq *nq, sqlite3 *transaction, const neoq_job *job, char *id)
{
    int status = nq_opened_on(nq, &nq_sqlite_backend);
    return status == NEOQ_OK ? nq_enqueue_one(nq, job, id, put, transaction) : status;
}

static int finish(neoq_store *store, void *transaction, const neoq_job *job, neoq_time keep_until, const void *result,
                  size_t result_size)
{
    return nq_sqlite_finish_in(store, transaction, job, keep_until, result, result_size);
}

int neoq_sqlite_finish(neoq_ctx *ctx, sqlite3 *transaction)
{
    return nq_finish_within(ctx, &nq_sqlite_backend, "neoq_sqlite_finish", finish, transaction);
}
