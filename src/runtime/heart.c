/* SPDX-License-Identifier: MIT
 *
 * The worker's lease: it is joined, renewed, and found lost. A thread of its own does nothing else, so that no handler,
 * no callback of the user's and no other business with the store holds the next beat up.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "runtime/runtime.h"

/* Six beats a lease: five may fail before it is lost. */
neoq_duration nq_beat_interval(const neoq *nq)
{
    return nq->options.lease / 6 > 0 ? nq->options.lease / 6 : 1;
}

static neoq_worker_info new_worker(const neoq *nq)
{
    neoq_worker_info worker = {.pid = getpid(), .started_at = nq_now(nq)};
    snprintf(worker.id, sizeof worker.id, "%016llx%016llx", (unsigned long long)nq->clock->random(nq->clock),
             (unsigned long long)nq->clock->random(nq->clock));
    if (gethostname(worker.host, sizeof worker.host - 1) != 0)
        snprintf(worker.host, sizeof worker.host, "localhost");
    return worker;
}

static int join_store(neoq *nq)
{
    neoq_beat beat = {.worker = new_worker(nq), .lease = nq->options.lease, .join = true};
    pthread_mutex_lock(&nq->mutex);
    beat.worker.capacity = nq->worker.capacity;
    pthread_mutex_unlock(&nq->mutex);
    int status = nq->backend->beat(nq->store, &beat);
    if (status != NEOQ_OK)
        return status;
    pthread_mutex_lock(&nq->mutex);
    bool first = !nq->joined && nq->phase == NQ_OPEN;
    if (first) {
        beat.worker.capacity = nq->worker.capacity;
        nq->worker = beat.worker;
        nq->joined = true;
        nq->next_beat = nq_time_add(nq->clock->steady(nq->clock), nq_beat_interval(nq));
        nq_call_help(nq);
    }
    pthread_mutex_unlock(&nq->mutex);
    if (!first) { /* somebody else was faster */
        beat.join = false;
        beat.lease = 0;
        nq->backend->beat(nq->store, &beat);
    }
    return NEOQ_OK;
}

void nq_tell_of_loss(const neoq *nq)
{
    nq_log(&nq->options, NEOQ_LOG_WARN, "the lease was lost, so were its runs");
}

/* Whether the worker of that id is still this neoq's: it is given up as lost. One that has left meanwhile is not lost. */
static bool lose_worker(neoq *nq, const char *id)
{
    pthread_mutex_lock(&nq->mutex);
    bool ours = nq->joined && strcmp(id, nq->worker.id) == 0;
    if (ours)
        nq_worker_lost(nq);
    pthread_mutex_unlock(&nq->mutex);
    if (ours)
        nq_tell_of_loss(nq);
    return ours;
}

static int join_if_open(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    bool open = nq->phase == NQ_OPEN;
    pthread_mutex_unlock(&nq->mutex);
    return open ? join_store(nq) : NEOQ_OK;
}

int nq_beat_now(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    bool joined = nq->joined;
    neoq_beat pulse = {.worker = nq->worker, .lease = nq->options.lease};
    pulse.worker.running = (int)nq->running.count;
    nq->beating = true;
    nq->next_beat = nq_time_add(nq->clock->steady(nq->clock), nq_beat_interval(nq));
    pthread_mutex_unlock(&nq->mutex);
    int status = joined ? nq->backend->beat(nq->store, &pulse) : join_if_open(nq);
    if (status == NEOQ_ELOST)
        status = lose_worker(nq, pulse.worker.id) ? join_if_open(nq) : NEOQ_OK;
    if (status != NEOQ_OK)
        nq_log(&nq->options, NEOQ_LOG_WARN, "the lease could not be renewed: %s", neoq_error_message());
    pthread_mutex_lock(&nq->mutex);
    nq->beating = false;
    if (nq->next_tend < nq->ticker_until)
        pthread_cond_signal(&nq->ticking); /* it does not tend meanwhile */
    pthread_mutex_unlock(&nq->mutex);
    return status;
}

static void beat_on(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    while (nq->phase < NQ_STOPPED) {
        if (nq->clock->steady(nq->clock) < nq->next_beat) {
            nq_cond_wait(&nq->resting, &nq->mutex, nq->clock, nq->next_beat);
            continue;
        }
        pthread_mutex_unlock(&nq->mutex);
        nq_beat_now(nq);
        pthread_mutex_lock(&nq->mutex);
    }
    nq->heart_runs = false;
    pthread_mutex_unlock(&nq->mutex);
}

/* ---- joining ----------------------------------------------------------------------------- */

/* Starts the thread if it does not run. The mutex is held. */
static int run_once(neoq *nq, bool *runs, void (*start)(neoq *nq))
{
    int status = *runs ? NEOQ_OK : nq_spawn(nq, start);
    *runs = status == NEOQ_OK;
    return status;
}

int nq_join(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    bool open = nq->phase == NQ_OPEN, joined = nq->joined;
    pthread_mutex_unlock(&nq->mutex);
    if (!open)
        return nq_fail(NEOQ_ESTATE, "this neoq was shut down: open another to work");
    int status = joined ? NEOQ_OK : join_store(nq);
    if (status != NEOQ_OK)
        return status;
    pthread_mutex_lock(&nq->mutex);
    nq->tending = true;
    if (!nq->by_hand && nq->phase == NQ_OPEN) {
        if (!nq->ticker_runs)
            nq->ticker_until = nq->clock->steady(nq->clock);
        status = run_once(nq, &nq->ticker_runs, nq_ticker);
        if (status == NEOQ_OK)
            status = run_once(nq, &nq->heart_runs, beat_on);
    }
    pthread_mutex_unlock(&nq->mutex);
    return status;
}
