/* SPDX-License-Identifier: MIT
 *
 * <neoq/postgres.h>: enqueueing, and finishing the running job, in the user's own PostgreSQL transaction.
 */
#include <neoq/postgres.h>

#include <string.h>

#include "backend/postgres/postgres.h"
#include "backend/postgres/transaction.h"
#include "base/error.h"
#include "runtime/runtime.h"

static int check(const neoq *nq)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK && nq->backend != &nq_postgres_backend)
        return nq_fail(NEOQ_EUNSUPPORTED, "this neoq is open on a %s store, not on PostgreSQL", nq->backend->scheme);
    return status;
}

int neoq_postgres_enqueue(neoq *nq, PGconn *transaction, const neoq_job *job, char *id)
{
    int status = check(nq);
    if (status != NEOQ_OK)
        return status;
    char id_text[37], print_text[33];
    neoq_job prepared;
    status = nq_prepare_job(nq, job, nq_now(nq), id_text, print_text, &prepared);
    if (status != NEOQ_OK)
        return status;
    neoq_enqueued result = {0};
    status = nq_postgres_enqueue_in(nq->store, transaction, &prepared, &result);
    if (status != NEOQ_OK)
        return status;
    if (id && (result.status == NEOQ_OK || result.status == NEOQ_EDUPLICATE))
        memcpy(id, result.id, 37);
    return nq_enqueued_words(&prepared, &result);
}

int neoq_postgres_finish(neoq_ctx *ctx, PGconn *transaction)
{
    if (!ctx)
        return nq_fail(NEOQ_EINVAL, "neoq_postgres_finish: the ctx is NULL");
    neoq *nq = ctx->nq;
    int status = check(nq);
    if (status != NEOQ_OK)
        return status;
    const neoq_job *job = &ctx->claimed.job;
    neoq_time keep_until = nq_keep_until(nq_now(nq), job->retention);
    status = nq_postgres_finish_in(nq->store, transaction, job, keep_until, ctx->result, ctx->result_size);
    if (status == NEOQ_OK)
        ctx->in_transaction = true;
    return status;
}
