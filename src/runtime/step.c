/* SPDX-License-Identifier: MIT
 *
 * Handlers in the event loop of the program: it polls a descriptor, and steps. Runs of NEOQ_STEP queues are claimed and
 * settled by neoq's own threads as all others are; only that they begin here, in the thread of the caller, who so never
 * waits for the store.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "runtime/runtime.h"

/* Whose turn it is. There are few such queues, so they stand in no heap. */
static nq_queue *next_to_step(const neoq *nq)
{
    nq_queue *next = NULL;
    for (nq_queue *queue = nq->queues; queue; queue = queue->next)
        if (queue->stepped && queue->local.head && queue->running < nq_turns_slots(nq, queue) &&
            (!next || nq_turns_before(nq, queue, next)))
            next = queue;
    return next;
}

static bool anything_to_step(const neoq *nq)
{
    bool away = false;
    for (const nq_queue *queue = nq->queues; queue; queue = queue->next)
        away |= queue->away;
    return away || next_to_step(nq);
}

void nq_step_signal(neoq *nq)
{
    bool up = anything_to_step(nq);
    uint64_t count = 1;
    if (nq->step_fd < 0 || up == nq->step_fd_is_up)
        return;
    nq->step_fd_is_up = up;
    while ((up ? write(nq->step_fd, &count, sizeof count) : read(nq->step_fd, &count, sizeof count)) < 0 &&
           errno == EINTR)
        ;
}

int neoq_fd(neoq *nq)
{
    if (nq_usable(nq) != NEOQ_OK)
        return -1;
    pthread_mutex_lock(&nq->mutex);
    if (nq->step_fd < 0) {
        nq->step_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (nq->step_fd < 0)
            nq_fail(NEOQ_EBACKEND, "neoq_fd: no descriptor: %s", strerror(errno));
        nq_step_signal(nq);
    }
    int fd = nq->step_fd;
    pthread_mutex_unlock(&nq->mutex);
    return fd;
}

/* Somebody steps again: what went back meanwhile may be claimed once more. */
static void come_back(neoq *nq)
{
    bool was_away = false;
    for (nq_queue *queue = nq->queues; queue; queue = queue->next) {
        was_away |= queue->away;
        queue->hungry |= queue->away;
        queue->away = false;
    }
    if (was_away)
        nq_step_signal(nq);
}

static neoq_ctx *begin(neoq *nq)
{
    neoq_ctx *ctx = NULL;
    for (nq_queue *queue; !ctx && (queue = next_to_step(nq)) != NULL;)
        ctx = nq_begin_next(nq, queue);
    if (ctx && nq->looking)
        pthread_cond_broadcast(&nq->idle); /* from now on there is something that may be cancelled */
    return ctx;
}

int neoq_step(neoq *nq)
{
    int status = nq_usable(nq);
    if (status != NEOQ_OK)
        return status;
    if (nq->by_hand)
        return nq_fail(NEOQ_ESTATE, "neoq_step: no thread claims jobs here; see neoq_testing_work_one()");
    pthread_mutex_lock(&nq->mutex);
    come_back(nq);
    neoq_ctx *ctx = begin(nq);
    bool stopped = nq->phase != NQ_OPEN;
    nq_call_help(nq);
    if (ctx) {
        nq_execute(nq, ctx);
        nq_call_help(nq); /* to settle it, and for the next */
    }
    pthread_mutex_unlock(&nq->mutex);
    if (ctx)
        return NEOQ_OK;
    return stopped ? nq_fail(NEOQ_ESTATE, "neoq_step: this neoq was shut down")
                   : nq_fail(NEOQ_ENOTFOUND, "neoq_step: no job is ready");
}
