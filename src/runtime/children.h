/* SPDX-License-Identifier: MIT
 *
 * runtime/children.h -- the children of a queue with NEOQ_PROCESS, as its executors use them.
 */
#ifndef NQ_RUNTIME_CHILDREN_H
#define NQ_RUNTIME_CHILDREN_H

#include "runtime/runtime.h"

/* Forks the queue's fork server, from the process as it is now. The handler has its defaults. */
int nq_children_make(nq_children **out, neoq *nq, const neoq_handler *handler);
void nq_children_free(nq_children *children); /* with every process of it; NULL is allowed */

/* Gives the run that begins a seat, and takes it back after its end. nq->mutex is held, as for the next two. */
void nq_children_seat(neoq_ctx *ctx);
void nq_children_unseat(neoq_ctx *ctx);

/* A run that is to end: SIGTERM a second after it was asked to (nq_run_stop()), SIGKILL when kill_after is over. The
 * ticker takes the next step whenever ctx->expires has come. */
void nq_children_press(neoq_ctx *ctx);
void nq_children_kill(neoq_ctx *ctx);
/* Where even that is in vain, as its fork server stands still: ends all runs of the queue. */
void nq_children_force(neoq_ctx *ctx);

/* Has the run made in a child, and waits for its end. nq->mutex is not held. */
nq_end nq_children_run(neoq_ctx *ctx);

#endif
