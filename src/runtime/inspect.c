/* SPDX-License-Identifier: MIT
 *
 * Looking at a store and steering what is in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "job/job.h"
#include "runtime/runtime.h"

/* ---- lists that grow -------------------------------------------------------------------- */

typedef struct list {
    char *items;
    size_t count, room, item_size;
} list;

static int add_item(list *l, const void *item)
{
    if (l->count == l->room) {
        size_t room = l->room ? l->room * 2 : 16;
        char *items = realloc(l->items, room * l->item_size);
        if (!items)
            return nq_fail(NEOQ_ENOMEM, "no memory for what was found");
        l->items = items;
        l->room = room;
    }
    memcpy(l->items + l->count++ * l->item_size, item, l->item_size);
    return NEOQ_OK;
}

/* Hands the array to the caller; an empty one is not NULL, so that success can be told from failure. */
static int give(list *l, int status, void **out, size_t *count)
{
    if (status == NEOQ_OK && !l->items && !(l->items = calloc(1, l->item_size)))
        status = nq_fail(NEOQ_ENOMEM, "no memory for what was found");
    if (status != NEOQ_OK) {
        free(l->items);
        return status;
    }
    *out = l->items;
    *count = l->count;
    return NEOQ_OK;
}

static int check_out(const neoq *nq, const void *out, const void *count)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK && (!out || !count))
        return nq_fail(NEOQ_EINVAL, "there is nowhere to put what is found: out or count is NULL");
    return status;
}

/* ---- jobs ------------------------------------------------------------------------------- */

struct neoq_job_set {
    list jobs; /* of neoq_job *, each one block */
};

static int add_job(const neoq_job *job, void *arg)
{
    neoq_job_set *set = arg;
    neoq_job *copy = nq_job_copy(job);
    if (!copy)
        return nq_fail(NEOQ_ENOMEM, "no memory for the jobs that were found");
    int status = add_item(&set->jobs, &copy);
    if (status != NEOQ_OK)
        free(copy);
    return status;
}

size_t neoq_job_set_count(const neoq_job_set *set)
{
    return set ? set->jobs.count : 0;
}

const neoq_job *neoq_job_set_at(const neoq_job_set *set, size_t i)
{
    return i < neoq_job_set_count(set) ? ((neoq_job **)(void *)set->jobs.items)[i] : NULL;
}

void neoq_job_set_free(neoq_job_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->jobs.count; i++)
        free(((neoq_job **)(void *)set->jobs.items)[i]);
    free(set->jobs.items);
    free(set);
}

static int check_state(neoq_state state)
{
    if (state > NEOQ_DEAD)
        return nq_fail(NEOQ_EINVAL, "state %d is not a neoq_state", (int)state);
    return NEOQ_OK;
}

static int make_set(neoq *nq, neoq_job_set **out)
{
    int status = check_out(nq, out, out);
    if (status != NEOQ_OK)
        return status;
    *out = calloc(1, sizeof **out);
    if (!*out)
        return nq_fail(NEOQ_ENOMEM, "no memory for the jobs that were found");
    (*out)->jobs.item_size = sizeof(neoq_job *);
    return NEOQ_OK;
}

static int finish_set(neoq_job_set **out, int status)
{
    if (status != NEOQ_OK) {
        neoq_job_set_free(*out);
        *out = NULL;
    }
    return status;
}

int neoq_find(neoq *nq, const neoq_filter *filter, neoq_job_set **out)
{
    neoq_filter filled = filter ? *filter : (neoq_filter){0};
    if (filled.limit == 0)
        filled.limit = 100;
    int status = make_set(nq, out);
    if (status != NEOQ_OK)
        return status;
    status = check_state(filled.state);
    if (status == NEOQ_OK)
        status = nq->backend->find(nq->store, &filled, add_job, *out);
    return finish_set(out, status);
}

static int check_id(const char *id)
{
    return id ? NEOQ_OK : nq_fail(NEOQ_EINVAL, "the job's id is NULL");
}

int neoq_get(neoq *nq, const char *id, neoq_job_set **out)
{
    int status = make_set(nq, out);
    if (status != NEOQ_OK)
        return status;
    status = check_id(id);
    if (status == NEOQ_OK)
        status = nq->backend->get(nq->store, id, add_job, *out);
    return finish_set(out, status);
}

static int add_run(const neoq_run_info *run, void *arg)
{
    return add_item(arg, run);
}

int neoq_runs(neoq *nq, const char *id, neoq_run_info **out, size_t *count)
{
    list runs = {.item_size = sizeof **out};
    int status = check_out(nq, out, count);
    if (status == NEOQ_OK)
        status = check_id(id);
    if (status != NEOQ_OK)
        return status;
    return give(&runs, nq->backend->runs(nq->store, id, add_run, &runs), (void **)out, count);
}

static int steer(neoq *nq, neoq_action action, const char *id)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK)
        status = check_id(id);
    if (status != NEOQ_OK)
        return status;
    neoq_time now = nq_now(nq);
    status = nq->backend->steer(nq->store, action, id, nq_keep_until(now, nq->options.dead_retention));
    nq_poke(nq);
    return status;
}

int neoq_retry_now(neoq *nq, const char *id)
{
    return steer(nq, NEOQ_ACTION_RETRY, id);
}

int neoq_cancel(neoq *nq, const char *id)
{
    int status = steer(nq, NEOQ_ACTION_CANCEL, id);
    if (status != NEOQ_OK)
        return status;
    /* If it runs here, it need not wait for the store to tell. */
    pthread_mutex_lock(&nq->mutex);
    nq_stop_running(nq, id, NQ_CANCELLED);
    pthread_mutex_unlock(&nq->mutex);
    return NEOQ_OK;
}

int neoq_delete(neoq *nq, const char *id)
{
    return steer(nq, NEOQ_ACTION_DELETE, id);
}

int neoq_get_progress(neoq *nq, const char *id, int *percent, char *note, size_t note_size)
{
    int status = check_out(nq, percent, percent);
    if (status == NEOQ_OK)
        status = check_id(id);
    neoq_progress progress = {.percent = -1};
    if (status == NEOQ_OK)
        status = nq->backend->get_progress(nq->store, id, &progress);
    if (status != NEOQ_OK)
        return status;
    *percent = progress.at ? progress.percent : -1;
    if (note && note_size > 0)
        snprintf(note, note_size, "%s", progress.note);
    return NEOQ_OK;
}

/* ---- queues, workers, schedules --------------------------------------------------------- */

static int add_queue(const neoq_queue_info *queue, void *arg)
{
    return add_item(arg, queue);
}

int neoq_queues(neoq *nq, neoq_queue_info **out, size_t *count)
{
    list queues = {.item_size = sizeof **out};
    int status = check_out(nq, out, count);
    if (status != NEOQ_OK)
        return status;
    return give(&queues, nq->backend->queues(nq->store, add_queue, &queues), (void **)out, count);
}

static int add_worker(const neoq_worker_info *worker, void *arg)
{
    return add_item(arg, worker);
}

int neoq_workers(neoq *nq, neoq_worker_info **out, size_t *count)
{
    list workers = {.item_size = sizeof **out};
    int status = check_out(nq, out, count);
    if (status != NEOQ_OK)
        return status;
    return give(&workers, nq->backend->workers(nq->store, add_worker, &workers), (void **)out, count);
}

static int add_schedule(const neoq_schedule_record *schedule, void *arg)
{
    return add_item(arg, &schedule->info);
}

int neoq_schedules(neoq *nq, neoq_schedule_info **out, size_t *count)
{
    list schedules = {.item_size = sizeof **out};
    int status = check_out(nq, out, count);
    if (status != NEOQ_OK)
        return status;
    return give(&schedules, nq->backend->schedules(nq->store, add_schedule, &schedules), (void **)out, count);
}

static int set_queue(neoq *nq, const char *queue, neoq_queue_action action)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK)
        status = nq_queue_name_check("queue", queue);
    if (status != NEOQ_OK)
        return status;
    status = nq->backend->set_queue(nq->store, queue, action, 0);
    nq_poke(nq);
    return status;
}

int neoq_pause(neoq *nq, const char *queue)
{
    return set_queue(nq, queue, NEOQ_QUEUE_PAUSE);
}

int neoq_resume(neoq *nq, const char *queue)
{
    return set_queue(nq, queue, NEOQ_QUEUE_RESUME);
}

int neoq_remove_queue(neoq *nq, const char *queue)
{
    return set_queue(nq, queue, NEOQ_QUEUE_REMOVE);
}

int neoq_purge(neoq *nq, const char *queue, neoq_state state, int64_t *purged)
{
    int64_t count = 0;
    int status = nq_usable(nq);
    if (status == NEOQ_OK)
        status = nq_queue_name_check("queue", queue);
    if (status == NEOQ_OK)
        status = check_state(state);
    if (status == NEOQ_OK && state == NEOQ_RUNNING)
        status = nq_fail(NEOQ_ESTATE, "running jobs cannot be purged: cancel them first");
    if (status == NEOQ_OK)
        status = nq->backend->purge(nq->store, queue, state, &count);
    if (purged)
        *purged = count;
    return status;
}
