/* SPDX-License-Identifier: MIT
 *
 * A job's way through the memory store: enqueued, claimed, settled; and the workers that run it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/store.h"
#include "base/clock.h"
#include "base/error.h"
#include "job/job.h"
#include "job/transition.h"

/* Looks at the version before a sleep: some 5 us, in which a busy producer adds a job, and neither side then pays for
 * a sleep and a wake-up. */
enum { SPINS = 200 };

/* ---- enqueue ---------------------------------------------------------------------------- */

static int64_t waiting_in(const mem_queue *queue)
{
    return queue->counts[NEOQ_SCHEDULED] + queue->counts[NEOQ_READY] + queue->counts[NEOQ_RETRYING];
}

/* Adds the made job, or says why not; *twin is the job that exists already. */
static int add_job(neoq_store *store, mem_job *made, const char *queue_name, const mem_job **twin)
{
    *twin = mem_ids_find(&store->table.ids, made->id);
    if (*twin)
        return NEOQ_OK;
    mem_queue *queue = mem_table_make_queue(&store->table, queue_name);
    if (!queue)
        return mem_no_memory();
    if (made->unique) {
        *twin = mem_prints_find(&store->table.prints, queue, mem_job_print(made));
        if (*twin)
            return nq_fail(NEOQ_EDUPLICATE, "queue \"%s\": job %s with the same fingerprint is unfinished",
                           queue_name, (*twin)->id);
    }
    if (queue->capacity > 0 && waiting_in(queue) >= queue->capacity)
        return nq_fail(NEOQ_EFULL, "queue \"%s\" is at its capacity of %lld waiting jobs", queue_name,
                       (long long)queue->capacity);
    made->queue = queue;
    return mem_table_add(&store->table, made) ? NEOQ_OK : mem_no_memory();
}

bool mem_jobs_make(mem_job **made, const neoq_job *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        made[i] = mem_job_make(&jobs[i]);
        if (!made[i]) {
            mem_jobs_drop(made, i);
            return false;
        }
    }
    return true;
}

void mem_jobs_drop(mem_job **made, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_job_drop(made[i]);
}

int mem_jobs_enqueue(neoq_store *store, mem_job **made, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    for (size_t i = 0; i < count; i++) {
        const mem_job *twin = NULL;
        int status = results[i].status = add_job(store, made[i], jobs[i].queue, &twin);
        memcpy(results[i].id, twin ? twin->id : made[i]->id, sizeof made[i]->id);
        if (status == NEOQ_ENOMEM) {
            mem_jobs_drop(made + i, count - i);
            while (i-- > 0)
                if (made[i])
                    mem_table_remove(&store->table, made[i]);
            return status;
        }
        if (twin || status != NEOQ_OK) {
            mem_job_drop(made[i]);
            made[i] = NULL; /* it is not in the table */
        }
    }
    return NEOQ_OK;
}

int mem_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    mem_job *few[64], **made = count <= sizeof few / sizeof *few ? few : malloc(count * sizeof *made);
    int status = made && mem_jobs_make(made, jobs, count) ? NEOQ_OK : mem_no_memory();
    if (status == NEOQ_OK) {
        pthread_mutex_lock(&store->mutex);
        status = mem_jobs_enqueue(store, made, jobs, count, results);
        mem_announce_and_unlock(store);
    }
    if (made != few)
        free(made);
    return status;
}

/* ---- exchange --------------------------------------------------------------------------- */

static void add_run(mem_extra *extra, const mem_job *job, const neoq_settlement *settlement)
{
    const char *error = settlement->error ? settlement->error : "";
    size_t size = strlen(error);
    mem_run *run = malloc(sizeof *run + size + 1);
    if (!run)
        return; /* history is a record, not a promise: a job is not lost for want of it */
    *run = (mem_run){
        .next = extra->runs,
        .epoch = job->epoch,
        .started_at = settlement->started_at,
        .finished_at = settlement->finished_at,
        .outcome = settlement->outcome,
        .exit_code = settlement->exit_code,
        .signal = settlement->signal,
        .cpu_time = settlement->cpu_time,
        .peak_memory = settlement->peak_memory,
    };
    memcpy(run->worker, job->worker->info.id, sizeof run->worker);
    memcpy(run->error, error, size + 1);
    extra->runs = run;
    int kept = 1;
    while (run->next && kept < NQ_RUNS_KEPT) {
        run = run->next;
        kept++;
    }
    for (mem_run *old = run->next, *next; old; old = next) {
        next = old->next;
        free(old);
    }
    run->next = NULL;
}

/* False: memory ran out. */
static bool keep_result(mem_extra *extra, const void *result, size_t size)
{
    char *copy = result ? malloc(size + 1) : NULL;
    if (result && !copy)
        return false;
    if (copy) {
        memcpy(copy, result, size);
        copy[size] = '\0';
    }
    free(extra->result);
    extra->result = copy;
    extra->result_size = copy ? size : 0;
    return true;
}

/* Counts a run that ended; what is snoozed or given back has not ended. */
static void count_run(neoq_store *store, mem_queue *queue, const neoq_settlement *settlement)
{
    if (settlement->state == NEOQ_SCHEDULED || settlement->state == NEOQ_READY)
        return;
    queue->processed++;
    if (settlement->state != NEOQ_DONE)
        queue->failed++;
    if (settlement->slow_down) {
        queue->slow_wait = nq_slower(queue->slow_wait);
        queue->slow_until = mem_now(store) + queue->slow_wait;
    } else if (settlement->state == NEOQ_DONE) {
        queue->slow_wait = 0;
        queue->slow_until = 0;
    }
}

/* A cancellation that was asked for wins over whatever the run came to. */
static void heed_cancel(neoq_store *store, mem_job *job, neoq_settlement *settlement)
{
    if (!job->cancel)
        return;
    job->cancel = false;
    store->cancels_pending--;
    nq_heed_cancel(settlement);
}

/* The job whose run it settles; NULL: the run is another's by now. */
static mem_job *run_of(neoq_store *store, const neoq_settlement *settlement)
{
    mem_job *job = settlement->hold ? settlement->hold : mem_ids_find(&store->table.ids, settlement->id);
    return job && job->state == NEOQ_RUNNING && job->epoch == settlement->epoch ? job : NULL;
}

/* Takes the memory that settling needs, so that none of a trip's settlements is made or all are. `count` of them may
 * go to one place. */
static bool reserve(neoq_store *store, const neoq_settlement *settlement, size_t count)
{
    mem_job *job = run_of(store, settlement);
    if (!job || (settlement->forget && !job->cancel))
        return true;
    neoq_state state = job->cancel ? NEOQ_DEAD : settlement->state;
    const char *error = job->cancel ? nq_outcome_word(NQ_CANCELLED) : settlement->error;
    mem_extra *extra = mem_job_extra(job);
    return extra && mem_set_text(&extra->error, error) &&
           (state < NEOQ_DONE || keep_result(extra, settlement->result, settlement->result_size)) &&
           mem_table_reserve(&store->table, job, state, count);
}

/* Takes no memory but for the history. */
static void settle(neoq_store *store, neoq_settlement *settlement)
{
    mem_job *job = run_of(store, settlement);
    settlement->cancelled = false;
    if (!job) {
        settlement->status = nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more",
                                     (long long)settlement->epoch, settlement->id);
        return;
    }
    settlement->status = NEOQ_OK;
    heed_cancel(store, job, settlement);
    count_run(store, job->queue, settlement);
    if (settlement->forget) {
        mem_table_remove(&store->table, job);
        return;
    }
    mem_extra *extra = job->extra;
    add_run(extra, job, settlement);
    extra->keep_until = settlement->keep_until;
    if (settlement->state >= NEOQ_DONE)
        extra->finished_at = settlement->finished_at;
    job->run_after = settlement->run_after;
    job->ran_at = settlement->started_at;
    mem_table_move(&store->table, job, settlement->state);
}

/* Lends the job to a run. The error is the run's own copy: the job's may change while the run still looks at it. */
static void view_run(mem_job *job, neoq_claimed *run)
{
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
    mem_job_view(job, &run->job);
    run->hold = job;
    run->job.error = run->job.error ? strdup(run->job.error) : NULL;
    run->job.result = NULL;
    run->job.result_size = 0;
}

static mem_worker *find_worker(const neoq_store *store, const char *id)
{
    mem_worker *worker = store->workers;
    while (worker && strcmp(worker->info.id, id) != 0)
        worker = worker->next;
    return worker && !worker->lost ? worker : NULL;
}

static void claim(neoq_store *store, mem_worker *worker, const neoq_claim *claim, neoq_time now, neoq_exchange *x)
{
    mem_queue *queue = mem_table_queue(&store->table, claim->queue);
    if (!queue || queue->paused)
        return;
    if (queue->slow_until > now) {
        if (queue->counts[NEOQ_READY] > 0 && (x->next_due == 0 || queue->slow_until < x->next_due))
            x->next_due = queue->slow_until;
        return;
    }
    for (size_t i = 0; i < claim->limit; i++) {
        mem_job *job = mem_queue_first(queue);
        if (!job)
            return;
        job->worker = worker;
        mem_table_move(&store->table, job, NEOQ_RUNNING); /* takes no memory */
        job->epoch++;
        job->ran_at = now;
        view_run(job, &x->runs[x->run_count++]);
    }
}

static void collect_cancels(const mem_worker *worker, neoq_exchange *x)
{
    for (const mem_job *job = worker->runs.head; job && x->cancel_count < x->cancel_room; job = job->next)
        if (job->cancel)
            snprintf(x->cancels[x->cancel_count++], NEOQ_ID_SIZE, "%s", job->id);
}

int mem_exchange(neoq_store *store, neoq_exchange *x)
{
    int status = NEOQ_OK;
    x->run_count = x->cancel_count = 0;
    pthread_mutex_lock(&store->mutex);
    for (size_t i = 0; i < x->settlement_count; i++)
        if (!reserve(store, &x->settlements[i], x->settlement_count)) {
            pthread_mutex_unlock(&store->mutex);
            return mem_no_memory();
        }
    for (size_t i = 0; i < x->settlement_count; i++)
        settle(store, &x->settlements[i]);
    neoq_time now = x->worker || store->table.waiting.count > 0 ? mem_now(store) : 0;
    x->next_due = mem_table_promote(&store->table, now);
    if (x->worker) {
        mem_worker *worker = find_worker(store, x->worker);
        if (worker) {
            for (size_t i = 0; i < x->claim_count; i++)
                claim(store, worker, &x->claims[i], now, x);
            if (store->cancels_pending > 0)
                collect_cancels(worker, x);
        } else {
            status = nq_fail(NEOQ_ELOST, "worker %.63s has no lease", x->worker);
        }
    }
    x->seen = store->version;
    pthread_mutex_unlock(&store->mutex);
    return status;
}

void mem_release(neoq_store *store, neoq_claimed *run)
{
    (void)store;
    free((char *)(uintptr_t)run->job.error);
    mem_job_drop(run->hold);
    run->hold = NULL;
}

void mem_wait(neoq_store *store, uint64_t seen, int64_t until)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&store->version, memory_order_acquire) != seen)
            return;
        nq_pause();
    }
    pthread_mutex_lock(&store->mutex);
    store->sleepers++;
    while (store->version == seen && nq_cond_wait(&store->changed, &store->mutex, store->clock, until))
        ;
    store->sleepers--;
    pthread_mutex_unlock(&store->mutex);
}

void mem_wake(neoq_store *store)
{
    pthread_mutex_lock(&store->mutex);
    mem_announce_and_unlock(store);
}

/* ---- workers ---------------------------------------------------------------------------- */

/* A worker that is lost and has no runs left is no more. */
static void bury_workers(neoq_store *store)
{
    for (mem_worker **at = &store->workers; *at;) {
        mem_worker *worker = *at;
        if (worker->lost && !worker->runs.head) {
            *at = worker->next;
            free(worker);
        } else {
            at = &worker->next;
        }
    }
}

static int join_worker(neoq_store *store, const neoq_beat *beat)
{
    mem_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return mem_no_memory();
    worker->next = store->workers;
    store->workers = worker;
    worker->info = beat->worker;
    return NEOQ_OK;
}

int mem_beat(neoq_store *store, const neoq_beat *beat)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    if (beat->join)
        status = join_worker(store, beat);
    mem_worker *worker = status == NEOQ_OK ? find_worker(store, beat->worker.id) : NULL;
    if (worker) {
        worker->lease_until = store->clock->steady(store->clock) + beat->lease;
        worker->info = beat->worker;
        worker->info.seen_at = mem_now(store);
        worker->lost = beat->lease == 0;
    } else if (status == NEOQ_OK) {
        status = nq_fail(NEOQ_ELOST, "worker %s lost its lease", beat->worker.id);
    }
    bury_workers(store);
    pthread_mutex_unlock(&store->mutex);
    return status;
}

int mem_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count)
{
    *lost_count = 0;
    pthread_mutex_lock(&store->mutex);
    neoq_time now = mem_now(store);
    int64_t steady = store->clock->steady(store->clock);
    mem_heap *ended = &store->table.ended;
    for (size_t i = 0; i < limit && ended->count > 0 && ended->items[0].key <= now; i++)
        mem_table_remove(&store->table, ended->items[0].job);
    for (mem_worker *worker = store->workers; worker; worker = worker->next) {
        if (worker->lease_until < steady)
            worker->lost = true;
        for (mem_job *job = worker->runs.head; worker->lost && job && *lost_count < limit; job = job->next) {
            view_run(job, &lost[(*lost_count)++]);
        }
    }
    bury_workers(store);
    pthread_mutex_unlock(&store->mutex);
    return NEOQ_OK;
}
