/* SPDX-License-Identifier: MIT
 *
 * Enqueueing: check, name, fingerprint, hand to the store; and wait where a queue is full.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/uuid.h"
#include "job/fingerprint.h"
#include "job/job.h"
#include "runtime/runtime.h"

static void make_id(neoq *nq, const char *given, neoq_time now, char text[37])
{
    uint8_t id[16];
    if (!given || !nq_uuid_parse(given, id)) {
        uint64_t counter = atomic_fetch_add_explicit(&nq->counter, 1, memory_order_relaxed);
        nq_uuid_make(id, now, counter, nq->clock->random(nq->clock));
    }
    nq_uuid_format(id, text); /* a given one too: the store compares ids as text, in lower case */
}

int nq_prepare_job(neoq *nq, const neoq_job *job, neoq_time now, char id_text[37], char print_text[33], neoq_job *out)
{
    if (!job)
        return nq_fail(NEOQ_EINVAL, "the job is NULL");
    int status = nq_job_check(job, &nq->options, now, out);
    if (status != NEOQ_OK)
        return status;
    make_id(nq, job->id, now, id_text);
    out->id = id_text;
    if (!out->fingerprint && out->unique == NEOQ_UNIQUE_ON) {
        status =
            nq_fingerprint(out->queue, out->payload_size > 0 ? out->payload : NULL, out->payload_size, print_text);
        out->fingerprint = print_text;
    }
    return status;
}

int nq_enqueued_words(const neoq_job *job, const neoq_enqueued *result)
{
    if (result->status == NEOQ_EDUPLICATE)
        return nq_fail(NEOQ_EDUPLICATE, "queue \"%s\": job %s with the same fingerprint is unfinished", job->queue,
                       result->id);
    if (result->status == NEOQ_EUNSUPPORTED)
        return nq_fail(
            NEOQ_EUNSUPPORTED,
            "queue \"%s\": job %s with the same fingerprint has ended and is kept, and this store has room "
            "for one: retry or delete it",
            job->queue, result->id);
    if (result->status == NEOQ_EFULL)
        return nq_fail(NEOQ_EFULL, "queue \"%s\" is at its capacity", job->queue);
    if (result->status == NEOQ_EUNKNOWN)
        return nq_fail(NEOQ_EUNKNOWN, "queue \"%s\": job %s may be stored, or have been refused; the answer was lost",
                       job->queue, result->id);
    return result->status;
}

/* Sleeps until there may be room in a full queue. Runs of this process that end signal it, those of another do not: so
 * it is also looked for now and then. False: waiting is of no use, or its time is over. */
static bool await_room(neoq *nq, int64_t until)
{
    int64_t now = nq->clock->steady(nq->clock);
    if (now >= until || nq->by_hand || nq_run_current(nq))
        return false;
    int64_t look = nq_time_add(now, NEOQ_MILLISECONDS(20));
    pthread_mutex_lock(&nq->mutex);
    bool open = nq->phase == NQ_OPEN;
    nq->enders++;
    if (open)
        nq_cond_wait(&nq->ended, &nq->mutex, nq->clock, look < until ? look : until);
    nq->enders--;
    pthread_mutex_unlock(&nq->mutex);
    return open;
}

/* Enqueues one by one the jobs that found their queue full, each when there is room, as long as capacity_wait allows. */
static int enqueue_when_room(neoq *nq, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    int64_t until = nq_time_add(nq->clock->steady(nq->clock), nq->options.capacity_wait);
    for (size_t i = 0; i < count; i++)
        while (results[i].status == NEOQ_EFULL) {
            if (!await_room(nq, until))
                return NEOQ_OK; /* the results say it */
            int status = nq->backend->enqueue(nq->store, &jobs[i], 1, &results[i]);
            nq_poke(nq);
            if (status != NEOQ_OK)
                return status;
        }
    return NEOQ_OK;
}

int nq_enqueue_one(neoq *nq, const neoq_job *job, char *id, nq_put put, void *where)
{
    char id_text[37], print_text[33];
    neoq_job prepared;
    neoq_enqueued result = {0};
    int status = nq_prepare_job(nq, job, nq_now(nq), id_text, print_text, &prepared);
    if (status == NEOQ_OK)
        status = put(nq, where, &prepared, &result);
    if (status != NEOQ_OK)
        return status;
    if (id && (result.status == NEOQ_OK || result.status == NEOQ_EDUPLICATE))
        snprintf(id, NEOQ_ID_SIZE, "%s", result.id);
    return nq_enqueued_words(&prepared, &result);
}

static int put_in_store(neoq *nq, void *where, const neoq_job *job, neoq_enqueued *result)
{
    (void)where;
    int status = nq->backend->enqueue(nq->store, job, 1, result);
    nq_poke(nq);
    return status == NEOQ_OK && result->status == NEOQ_EFULL ? enqueue_when_room(nq, job, 1, result) : status;
}

int neoq_enqueue(neoq *nq, const neoq_job *job, char *id)
{
    int status = nq_usable_to_enqueue(nq);
    return status == NEOQ_OK ? nq_enqueue_one(nq, job, id, put_in_store, NULL) : status;
}

/* What a call of many needs beside the jobs. */
typedef struct workspace {
    neoq_job *jobs;
    char (*ids)[37];
    char (*prints)[33];
    neoq_enqueued *results;
} workspace;

static int check_all(neoq *nq, const neoq_job *jobs, size_t count, const workspace *space, size_t *bad)
{
    neoq_time now = nq_now(nq);
    for (*bad = 0; *bad < count; ++*bad) {
        size_t i = *bad;
        int status = nq_prepare_job(nq, &jobs[i], now, space->ids[i], space->prints[i], &space->jobs[i]);
        if (status != NEOQ_OK)
            return nq_fail(status, "job %zu of %zu: %s", i + 1, count, neoq_error_message());
    }
    return NEOQ_OK;
}

/* Nothing was stored: because of one malformed job (bad < count), or because the store failed. */
static void refuse_all(neoq_enqueued *results, size_t count, size_t bad, int status)
{
    for (size_t i = 0; results && i < count; i++)
        results[i] = (neoq_enqueued){.status = i == bad || bad == count ? status : NEOQ_ESTATE};
}

int neoq_enqueue_many(neoq *nq, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    int status = nq_usable_to_enqueue(nq);
    if (status != NEOQ_OK)
        return status;
    if (count == 0)
        return NEOQ_OK;
    if (!jobs)
        return nq_fail(NEOQ_EINVAL, "neoq_enqueue_many: jobs is NULL");
    if (count > SIZE_MAX / sizeof(neoq_job) / 2)
        return nq_fail(NEOQ_EINVAL, "neoq_enqueue_many: %zu jobs are too many", count);
    workspace space = {malloc(count * sizeof(neoq_job)), malloc(count * 37), malloc(count * 33), results};
    if (!results)
        space.results = malloc(count * sizeof *results);
    size_t bad = count;
    if (!space.jobs || !space.ids || !space.prints || !space.results)
        status = nq_fail(NEOQ_ENOMEM, "neoq_enqueue_many: no memory for %zu jobs", count);
    else if ((status = check_all(nq, jobs, count, &space, &bad)) == NEOQ_OK)
        status = nq->backend->enqueue(nq->store, space.jobs, count, space.results);
    nq_poke(nq);
    if (status != NEOQ_OK)
        refuse_all(results, count, bad, status);
    else
        status = enqueue_when_room(nq, space.jobs, count, space.results);
    free(space.jobs);
    free(space.ids);
    free(space.prints);
    if (!results)
        free(space.results);
    return status;
}
