/* SPDX-License-Identifier: MIT
 *
 * Steering jobs and queues of the memory store; schedules.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/memory/store.h"
#include "base/error.h"
#include "job/job.h"

/* ---- steering --------------------------------------------------------------------------- */

static int retry(neoq_store *store, mem_job *job)
{
    if (job->state != NEOQ_DEAD && job->state != NEOQ_RETRYING && job->state != NEOQ_SCHEDULED)
        return nq_fail(NEOQ_ESTATE, "job %s cannot be retried: it is neither dead, retrying nor scheduled", job->id);
    bool dead = job->state == NEOQ_DEAD;
    if (dead && job->unique) {
        mem_job *twin = mem_prints_find(&store->table.prints, job->queue, mem_job_print(job));
        if (twin)
            return nq_fail(NEOQ_EDUPLICATE,
                           "job %s cannot be retried: job %s with the same fingerprint is unfinished", job->id,
                           twin->id);
    }
    neoq_time before = job->run_after;
    bool again = job->state != NEOQ_SCHEDULED;
    job->run_after = mem_now(store);
    if (!mem_table_move(&store->table, job, NEOQ_READY)) {
        job->run_after = before;
        return mem_no_memory();
    }
    job->retries += again;
    if (job->extra)
        job->extra->finished_at = job->extra->keep_until = 0;
    return NEOQ_OK;
}

static int cancel(neoq_store *store, mem_job *job, neoq_time keep_until)
{
    if (job->state == NEOQ_DONE || job->state == NEOQ_DEAD)
        return nq_fail(NEOQ_ESTATE, "job %s cannot be cancelled: it has ended", job->id);
    if (job->state == NEOQ_RUNNING) {
        store->cancels_pending += !job->cancel;
        job->cancel = true;
        return NEOQ_OK;
    }
    mem_extra *extra = mem_job_extra(job);
    if (!extra || !mem_set_text(&extra->error, "cancelled"))
        return mem_no_memory();
    extra->keep_until = keep_until;
    if (!mem_table_move(&store->table, job, NEOQ_DEAD))
        return mem_no_memory();
    extra->finished_at = mem_now(store);
    return NEOQ_OK;
}

int mem_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until)
{
    pthread_mutex_lock(&store->mutex);
    mem_table_promote(&store->table, mem_now(store));
    mem_job *job = mem_ids_find(&store->table.ids, id);
    int status = NEOQ_OK;
    if (!job)
        status = mem_no_job(id);
    else if (action == NEOQ_ACTION_RETRY)
        status = retry(store, job);
    else if (action == NEOQ_ACTION_CANCEL)
        status = cancel(store, job, keep_until);
    else if (job->state == NEOQ_RUNNING)
        status = nq_fail(NEOQ_ESTATE, "job %s cannot be deleted while it runs: cancel it first", id);
    else
        mem_table_remove(&store->table, job);
    mem_announce_and_unlock(store);
    return status;
}

static int purge(neoq_store *store, mem_queue *queue, neoq_state state, int64_t *purged)
{
    mem_job **jobs;
    size_t count;
    *purged = 0;
    if (!mem_table_list(&store->table, queue, state, NULL, &jobs, &count))
        return mem_no_memory();
    for (size_t i = 0; i < count; i++)
        if (jobs[i]->state != NEOQ_RUNNING) {
            mem_table_remove(&store->table, jobs[i]);
            ++*purged;
        }
    free(jobs);
    return NEOQ_OK;
}

int mem_purge(neoq_store *store, const char *name, neoq_state state, int64_t *purged)
{
    pthread_mutex_lock(&store->mutex);
    mem_table_promote(&store->table, mem_now(store));
    mem_queue *queue = mem_table_queue(&store->table, name);
    int status = queue ? purge(store, queue, state, purged) : mem_no_queue(name);
    mem_announce_and_unlock(store);
    return status;
}

static int remove_queue(neoq_store *store, mem_queue *queue)
{
    if (queue->counts[NEOQ_RUNNING] > 0)
        return nq_fail(NEOQ_ESTATE, "queue \"%s\" cannot be removed: %lld jobs of it are running", queue->name,
                       (long long)queue->counts[NEOQ_RUNNING]);
    int64_t purged;
    int status = purge(store, queue, (neoq_state)0, &purged);
    if (status == NEOQ_OK)
        mem_table_remove_queue(&store->table, queue);
    return status;
}

int mem_set_queue(neoq_store *store, const char *name, neoq_queue_action action, int64_t value)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    bool bound = action == NEOQ_QUEUE_CAPACITY, make = bound && value > 0;
    mem_queue *queue = make ? mem_table_make_queue(&store->table, name) : mem_table_queue(&store->table, name);
    if (!queue) /* one that is not there has no bound anyway */
        status = make ? mem_no_memory() : bound ? NEOQ_OK : mem_no_queue(name);
    else if (action == NEOQ_QUEUE_CAPACITY)
        queue->capacity = value;
    else if (action == NEOQ_QUEUE_REMOVE)
        status = remove_queue(store, queue);
    else
        queue->paused = action == NEOQ_QUEUE_PAUSE;
    mem_announce_and_unlock(store);
    return status;
}

/* ---- schedules -------------------------------------------------------------------------- */

static mem_schedule **schedule_at(neoq_store *store, const char *name)
{
    mem_schedule **at = &store->schedules;
    while (*at && strcmp((*at)->record.info.name, name) < 0)
        at = &(*at)->next;
    return at;
}

static bool is_schedule(const mem_schedule *schedule, const char *name)
{
    return schedule && strcmp(schedule->record.info.name, name) == 0;
}

int mem_set_schedule(neoq_store *store, const neoq_schedule_record *record)
{
    neoq_job *job = nq_job_copy(&record->job);
    mem_schedule *made = malloc(sizeof *made);
    if (!job || !made) {
        free(job);
        free(made);
        return mem_no_memory();
    }
    pthread_mutex_lock(&store->mutex);
    mem_schedule **at = schedule_at(store, record->info.name);
    *made = (mem_schedule){.next = *at, .record = *record, .job = job};
    made->record.job = *job;
    mem_schedule *old = is_schedule(*at, record->info.name) ? *at : NULL;
    if (old) {
        made->next = old->next;
        if (strcmp(old->record.info.spec, record->info.spec) == 0 && old->record.stored == record->stored) {
            made->record.info.last_at = old->record.info.last_at;
            made->record.info.next_at = old->record.info.next_at;
        }
        free(old->job);
        free(old);
    }
    *at = made;
    pthread_mutex_unlock(&store->mutex);
    return NEOQ_OK;
}

int mem_remove_schedule(neoq_store *store, const char *name)
{
    pthread_mutex_lock(&store->mutex);
    mem_schedule **at = schedule_at(store, name);
    mem_schedule *gone = is_schedule(*at, name) ? *at : NULL;
    if (gone)
        *at = gone->next;
    pthread_mutex_unlock(&store->mutex);
    if (!gone)
        return nq_fail(NEOQ_ENOTFOUND, "there is no schedule \"%s\"", name);
    free(gone->job);
    free(gone);
    return NEOQ_OK;
}

int mem_tick(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
             const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    int status = NEOQ_OK;
    mem_job **made = malloc((count + 1) * sizeof *made);
    if (!made || !mem_jobs_make(made, jobs, count)) {
        free(made);
        return mem_no_memory();
    }
    pthread_mutex_lock(&store->mutex);
    mem_schedule *schedule = *schedule_at(store, name);
    if (!is_schedule(schedule, name) || schedule->record.info.next_at != expected) {
        mem_jobs_drop(made, count);
        status = nq_fail(NEOQ_ELOST, "schedule \"%s\": this tick was enqueued already", name);
    } else {
        status = mem_jobs_enqueue(store, made, jobs, count, results);
    }
    if (status == NEOQ_OK) {
        schedule->record.info.last_at = last;
        schedule->record.info.next_at = next;
    }
    mem_announce_and_unlock(store);
    free(made);
    return status;
}

/* ---- progress --------------------------------------------------------------------------- */

int mem_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    mem_job *job = mem_ids_find(&store->table.ids, id);
    mem_extra *extra = NULL;
    if (!job || job->state != NEOQ_RUNNING || job->epoch != epoch)
        status = nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more", (long long)epoch, id);
    else if (!(extra = mem_job_extra(job)))
        status = mem_no_memory();
    else
        extra->progress = *progress;
    pthread_mutex_unlock(&store->mutex);
    return status;
}
