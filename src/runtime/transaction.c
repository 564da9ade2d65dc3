/* SPDX-License-Identifier: MIT
 *
 * What <neoq/sqlite.h> and <neoq/postgres.h> have in common.
 */
#include "base/error.h"
#include "job/transition.h"
#include "runtime/runtime.h"

int nq_opened_on(const neoq *nq, const neoq_backend *backend)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK && nq->backend != backend)
        return nq_fail(NEOQ_EUNSUPPORTED, "this neoq is open on a %s store, not on a %s one", nq->backend->scheme,
                       backend->scheme);
    return status;
}

int nq_finish_within(neoq_ctx *ctx, const neoq_backend *backend, const char *caller, nq_finish finish,
                     void *transaction)
{
    if (!ctx)
        return nq_fail(NEOQ_EINVAL, "%s: the ctx is NULL", caller);
    neoq *nq = ctx->nq;
    int status = nq_opened_on(nq, backend);
    if (status != NEOQ_OK)
        return status;
    const neoq_job *job = &ctx->claimed.job;
    neoq_time keep_until = nq_keep_until(nq_now(nq), job->retention);
    status = finish(nq->store, transaction, job, keep_until, ctx->result, ctx->result_size);
    if (status == NEOQ_OK)
        ctx->in_transaction = true;
    return status;
}
