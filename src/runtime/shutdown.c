/* SPDX-License-Identifier: MIT
 *
 * Waiting for work to end: drain, shutdown, and a daemon's main loop.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "job/job.h"
#include "runtime/children.h"

enum { SETTLE_SECONDS = 5, GRACE_MS = 500 /* from the cancellation of a context to the end of its process */ };

/* The mutex is held. Waits until something ended, or the steady instant. */
static bool wait_ended(neoq *nq, const neoq_clock *clock, int64_t until)
{
    nq->enders++;
    bool in_time = nq_cond_wait(&nq->ended, &nq->mutex, clock, until);
    nq->enders--;
    return in_time;
}

/* ---- drain ------------------------------------------------------------------------------ */

static bool busy(const neoq *nq)
{
    bool claimed = false;
    for (const nq_queue *queue = nq->queues; queue; queue = queue->next)
        claimed |= queue->local.head != NULL;
    return claimed || nq->running.head || nq->finished.head || nq->settling > 0 || nq->exchanging > 0;
}

/* Whether something was claimed or settled while the store was asked what is left: its answer is not about that. */
static bool went_on(neoq *nq, uint64_t exchanges)
{
    pthread_mutex_lock(&nq->mutex);
    bool more = nq->exchanges != exchanges || busy(nq);
    pthread_mutex_unlock(&nq->mutex);
    return more;
}

typedef struct runnable {
    neoq *nq;
    int64_t count;
} runnable;

static int count_runnable(const neoq_queue_info *info, void *arg)
{
    runnable *r = arg;
    pthread_mutex_lock(&r->nq->mutex);
    bool mine = nq_find_queue(r->nq, info->name) != NULL;
    pthread_mutex_unlock(&r->nq->mutex);
    if (mine && !info->paused)
        r->count += info->ready;
    return NEOQ_OK;
}

int neoq_drain(neoq *nq, neoq_duration timeout)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK)
        status = nq_duration_check("neoq_drain: timeout", timeout, true);
    if (status != NEOQ_OK)
        return status;
    if (nq_run_current(nq))
        return nq_fail(NEOQ_ESTATE, "neoq_drain: a handler cannot wait for its own end");
    if (nq->by_hand)
        return nq_fail(NEOQ_ESTATE, "neoq_drain: there are no threads to wait for; see neoq_testing_drain()");
    int64_t until = nq_time_add(nq->clock->steady(nq->clock), timeout);
    for (;;) {
        pthread_mutex_lock(&nq->mutex);
        bool in_time = true;
        while (busy(nq) && in_time)
            in_time = wait_ended(nq, nq->clock, until);
        uint64_t exchanges = nq->exchanges;
        pthread_mutex_unlock(&nq->mutex);
        runnable left = {.nq = nq};
        status = in_time ? nq->backend->queues(nq->store, count_runnable, &left) : NEOQ_OK;
        if (status != NEOQ_OK)
            return status;
        if (in_time && left.count == 0 && !went_on(nq, exchanges))
            return NEOQ_OK;
        int64_t steady = nq->clock->steady(nq->clock);
        if (!in_time || steady >= until)
            return nq_fail(NEOQ_ETIMEOUT, "neoq_drain: jobs are left after the time allowed");
        int64_t look = steady + NEOQ_MILLISECONDS(5);
        pthread_mutex_lock(&nq->mutex);
        bool stopped = nq->phase != NQ_OPEN;
        if (left.count > 0 && !busy(nq) && !stopped)
            wait_ended(nq, nq->clock, look < until ? look : until);
        pthread_mutex_unlock(&nq->mutex);
        if (stopped)
            return nq_fail(NEOQ_ESTATE, "neoq_drain: this neoq was shut down");
    }
}

/* ---- shutdown --------------------------------------------------------------------------- */

static bool processes_run(const neoq *nq)
{
    for (const neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next)
        if (ctx->seat)
            return true;
    return false;
}

static void await_processes(neoq *nq, neoq_duration patience)
{
    int64_t until = nq_time_add(nq_real_clock.steady(&nq_real_clock), patience);
    while (processes_run(nq) && wait_ended(nq, &nq_real_clock, until))
        ;
}

/* Nothing of a run in a process may be left when its job goes back: so that ends first. */
static void end_processes(neoq *nq)
{
    for (neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next)
        if (ctx->seat)
            nq_run_stop(ctx, NQ_RELEASED);
    await_processes(nq, NEOQ_MILLISECONDS(GRACE_MS));
    for (neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next)
        if (ctx->seat)
            nq_children_kill(ctx);
    await_processes(nq, NEOQ_SECONDS(SETTLE_SECONDS));
    for (neoq_ctx *ctx = nq->running.head; ctx; ctx = ctx->next)
        if (ctx->seat)
            nq_children_force(ctx);
    await_processes(nq, NEOQ_SECONDS(SETTLE_SECONDS));
}

/* Runs that did not end in time go back unfinished. Their handlers are told, and may come back or not. in_threads: those
 * alone that no process could be killed for. */
static void release_running(neoq *nq, bool in_threads)
{
    for (neoq_ctx *ctx = nq->running.head, *next; ctx; ctx = next) {
        next = ctx->next;
        if (in_threads && ctx->seat)
            continue;
        nq_run_stop(ctx, NQ_RELEASED);
        bool cancelled = atomic_load(ctx->stop) == NQ_CANCELLED;
        nq_give_up(ctx, nq_run_stopped_end(ctx, cancelled ? NQ_CANCELLED : NQ_RELEASED));
    }
}

static void begin_stop(neoq *nq, int64_t until)
{
    if (nq->phase == NQ_OPEN) {
        nq->phase = NQ_STOPPING;
        for (nq_queue *queue = nq->queues; queue; queue = queue->next)
            nq_release_local(nq, queue);
    }
    if (until < nq->stop_until)
        nq->stop_until = until;
    if (nq->stop_fd >= 0) {
        uint64_t one = 1;
        while (write(nq->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
}

/* Settles what is left, if the store lets us, for SETTLE_SECONDS at the most: what it does not take, the end of the
 * lease will give back. */
static bool settle_rest(neoq *nq)
{
    int64_t until = nq_real_clock.steady(&nq_real_clock) + NEOQ_SECONDS(SETTLE_SECONDS);
    bool in_time = true;
    while ((nq->finished.head || nq->exchanging > 0) && in_time) {
        if (nq->exchanging > 0)
            in_time = wait_ended(nq, &nq_real_clock, until);
        else if (nq_exchange(nq, NULL) != NEOQ_OK)
            wait_ended(nq, &nq_real_clock, nq_real_clock.steady(&nq_real_clock) + NEOQ_MILLISECONDS(50));
        in_time = in_time && nq_real_clock.steady(&nq_real_clock) < until;
    }
    return !nq->finished.head && nq->exchanging == 0;
}

static void leave_store(neoq *nq, bool settled)
{
    neoq_beat beat = {.worker = nq->worker, .lease = 0};
    bool joined = nq->joined;
    nq->joined = false;
    pthread_mutex_unlock(&nq->mutex);
    if (joined && settled)
        nq->backend->beat(nq->store, &beat);
    nq_wake_all(nq);
    pthread_mutex_lock(&nq->mutex);
}

/* Handlers that were just told to stop mostly do; a moment of patience spares the caller a stray thread. */
static void await_strays(neoq *nq)
{
    int64_t until = nq_time_add(nq_real_clock.steady(&nq_real_clock), NEOQ_MILLISECONDS(500));
    while (nq->strays > 0 && wait_ended(nq, &nq_real_clock, until))
        ;
}

int neoq_shutdown(neoq *nq, neoq_duration timeout)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK)
        status = nq_duration_check("neoq_shutdown: timeout", timeout, true);
    if (status != NEOQ_OK)
        return status;
    if (timeout == 0)
        timeout = nq->options.shutdown_timeout;
    pthread_mutex_lock(&nq->mutex);
    if (nq->phase >= NQ_STOPPED) {
        pthread_mutex_unlock(&nq->mutex);
        return NEOQ_OK;
    }
    begin_stop(nq, nq_time_add(nq->clock->steady(nq->clock), timeout));
    bool asked_by_handler = nq_run_current(nq) != NULL, another = nq->stopper;
    nq->stopper |= !asked_by_handler;
    pthread_mutex_unlock(&nq->mutex);
    nq_wake_all(nq);
    if (asked_by_handler)
        return NEOQ_OK; /* it cannot wait for its own end */
    pthread_mutex_lock(&nq->mutex);
    if (another) { /* somebody else is at it, now until the earlier of the two times */
        while (nq->phase < NQ_STOPPED)
            wait_ended(nq, nq->clock, INT64_MAX);
        bool stopped_some = nq->forced;
        pthread_mutex_unlock(&nq->mutex);
        return stopped_some ? nq_fail(NEOQ_ETIMEOUT, "neoq_shutdown: runs were stopped and given back") : NEOQ_OK;
    }
    while (nq->running.head && (nq->by_hand || wait_ended(nq, nq->clock, nq->stop_until)))
        if (nq->by_hand || nq->clock->steady(nq->clock) >= nq->stop_until)
            break;
    nq->forced = nq->running.head != NULL;
    release_running(nq, true);
    end_processes(nq);
    release_running(nq, false);
    bool settled = settle_rest(nq);
    nq->phase = NQ_STOPPED;
    leave_store(nq, settled);
    nq_drop_finished(nq);
    if (nq->forced)
        await_strays(nq);
    pthread_cond_broadcast(&nq->ended);
    bool forced = nq->forced;
    pthread_mutex_unlock(&nq->mutex);
    if (!settled)
        return nq_fail(NEOQ_EBACKEND,
                       "neoq_shutdown: the store did not take the last outcomes; those jobs run again");
    return forced ? nq_fail(NEOQ_ETIMEOUT, "neoq_shutdown: runs were stopped and given back") : NEOQ_OK;
}

/* ---- run -------------------------------------------------------------------------------- */

static int make_stop_fd(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    if (nq->stop_fd < 0)
        nq->stop_fd = eventfd(nq->phase == NQ_OPEN ? 0 : 1, EFD_CLOEXEC | EFD_NONBLOCK);
    int fd = nq->stop_fd;
    pthread_mutex_unlock(&nq->mutex);
    return fd;
}

int neoq_run(neoq *nq)
{
    int status = nq_usable(nq);
    if (status != NEOQ_OK)
        return status;
    if (nq_run_current(nq))
        return nq_fail(NEOQ_ESTATE, "neoq_run: a handler cannot be the main loop");
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    struct pollfd fds[] = {
        {.fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN},
        {.fd = make_stop_fd(nq), .events = POLLIN},
    };
    if (fds[0].fd < 0 || fds[1].fd < 0) {
        status = nq_fail(NEOQ_EBACKEND, "neoq_run: no descriptor: %s", strerror(errno));
    } else {
        while (poll(fds, 2, -1) < 0 && errno == EINTR)
            ;
        status = neoq_shutdown(nq, 0);
        /* Also those that came meanwhile, as timeout(1) sends two: left pending, they would end the caller by default. */
        struct signalfd_siginfo taken;
        while (read(fds[0].fd, &taken, sizeof taken) > 0)
            ;
    }
    if (fds[0].fd >= 0)
        close(fds[0].fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
