/* SPDX-License-Identifier: MIT
 *
 * Looking into the memory store.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/store.h"
#include "base/error.h"
#include "job/job.h"

/* ---- looking ---------------------------------------------------------------------------- */

int mem_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg)
{
    pthread_mutex_lock(&store->mutex);
    mem_table_promote(&store->table, mem_now(store));
    mem_queue *queue = filter->queue ? mem_table_queue(&store->table, filter->queue) : NULL;
    mem_job **jobs = NULL;
    size_t count = 0;
    int status = NEOQ_OK;
    if ((queue || !filter->queue) &&
        !mem_table_list(&store->table, queue, filter->state, filter->after_id, &jobs, &count))
        status = mem_no_memory();
    for (size_t i = 0; i < count && status == NEOQ_OK && (filter->limit == 0 || i < filter->limit); i++) {
        neoq_job view;
        mem_job_view(jobs[i], &view);
        status = each(&view, arg);
    }
    pthread_mutex_unlock(&store->mutex);
    free(jobs);
    return status;
}

int mem_get(neoq_store *store, const char *id, neoq_each_job each, void *arg)
{
    pthread_mutex_lock(&store->mutex);
    mem_table_promote(&store->table, mem_now(store));
    mem_job *job = mem_ids_find(&store->table.ids, id);
    int status = job ? NEOQ_OK : mem_no_job(id);
    if (job) {
        neoq_job view;
        mem_job_view(job, &view);
        status = each(&view, arg);
    }
    pthread_mutex_unlock(&store->mutex);
    return status;
}

int mem_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg)
{
    pthread_mutex_lock(&store->mutex);
    mem_job *job = mem_ids_find(&store->table.ids, id);
    int status = job ? NEOQ_OK : mem_no_job(id);
    int64_t room = NQ_RUNS_KEPT;
    if (job && job->state == NEOQ_RUNNING) {
        neoq_run_info now = {.epoch = job->epoch, .started_at = job->ran_at};
        snprintf(now.worker, sizeof now.worker, "%s", job->worker->info.id);
        status = each(&now, arg);
        room--;
    }
    for (mem_run *run = job && job->extra ? job->extra->runs : NULL; run && status == NEOQ_OK && room-- > 0;
         run = run->next) {
        neoq_run_info info = {
            .epoch = run->epoch,
            .started_at = run->started_at,
            .finished_at = run->finished_at,
            .exit_code = run->exit_code,
            .signal = run->signal,
            .cpu_time = run->cpu_time,
            .peak_memory = run->peak_memory,
        };
        snprintf(info.worker, sizeof info.worker, "%s", run->worker);
        snprintf(info.outcome, sizeof info.outcome, "%s", run->outcome);
        snprintf(info.error, sizeof info.error, "%.*s", (int)sizeof info.error - 1, run->error);
        status = each(&info, arg);
    }
    pthread_mutex_unlock(&store->mutex);
    return status;
}

int mem_queues(neoq_store *store, neoq_each_queue each, void *arg)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    neoq_time now = mem_now(store);
    mem_table_promote(&store->table, now);
    for (size_t i = 0; i < store->table.queue_count && status == NEOQ_OK; i++) {
        const mem_queue *queue = store->table.queues[i];
        neoq_time oldest = mem_queue_oldest(queue);
        neoq_queue_info info = {
            .paused = queue->paused,
            .scheduled = queue->counts[NEOQ_SCHEDULED],
            .ready = queue->counts[NEOQ_READY],
            .running = queue->counts[NEOQ_RUNNING],
            .retrying = queue->counts[NEOQ_RETRYING],
            .done = queue->counts[NEOQ_DONE],
            .dead = queue->counts[NEOQ_DEAD],
            .processed = queue->processed,
            .failed = queue->failed,
            .latency = oldest > 0 && oldest < now ? now - oldest : 0,
        };
        memcpy(info.name, queue->name, sizeof info.name);
        status = each(&info, arg);
    }
    pthread_mutex_unlock(&store->mutex);
    return status;
}

/* ---- the rest -------------------------------------------------------------------------- */

int mem_workers(neoq_store *store, neoq_each_worker each, void *arg)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    int64_t steady = store->clock->steady(store->clock);
    for (const mem_worker *worker = store->workers; worker && status == NEOQ_OK; worker = worker->next)
        if (!worker->lost && worker->lease_until >= steady)
            status = each(&worker->info, arg);
    pthread_mutex_unlock(&store->mutex);
    return status;
}

int mem_get_progress(neoq_store *store, const char *id, neoq_progress *progress)
{
    *progress = (neoq_progress){.percent = -1};
    pthread_mutex_lock(&store->mutex);
    mem_job *job = mem_ids_find(&store->table.ids, id);
    if (job && job->extra)
        *progress = job->extra->progress;
    pthread_mutex_unlock(&store->mutex);
    return job ? NEOQ_OK : mem_no_job(id);
}

int mem_schedules(neoq_store *store, neoq_each_schedule each, void *arg)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    for (mem_schedule *schedule = store->schedules; schedule && status == NEOQ_OK; schedule = schedule->next)
        status = each(&schedule->record, arg);
    pthread_mutex_unlock(&store->mutex);
    return status;
}
