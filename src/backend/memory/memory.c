/* SPDX-License-Identifier: MIT
 *
 * The operations of the memory store: one mutex, and the table of jobs behind it. Nothing is done under the mutex but
 * moving jobs about; memory for a new job is taken before it.
 */
#include "backend/memory/memory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/table.h"
#include "base/clock.h"
#include "base/error.h"
#include "job/job.h"
#include "job/transition.h"

typedef struct mem_schedule {
    struct mem_schedule *next;
    neoq_schedule_record record;
    neoq_job *job; /* the copy that record.job views */
} mem_schedule;

/* Looks at the version before a sleep: some 5 us, in which a busy producer adds a job, and neither side then pays for
 * a sleep and a wake-up. */
enum { SPINS = 200 };

struct neoq_store {
    const neoq_clock *clock;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_uint_fast64_t version; /* raised by whatever may give a sleeper something to do */
    int sleepers;
    int64_t cancels_pending;
    mem_table table;
    mem_worker *workers;
    mem_schedule *schedules; /* by name */
};

static int no_memory(void)
{
    return nq_fail(NEOQ_ENOMEM, "memory store: no memory");
}

static int no_job(const char *id)
{
    return nq_fail(NEOQ_ENOTFOUND, "no job has the id %.127s", id);
}

/* The mutex is held, and let go: whom this wakes wants it at once. */
static void announce_and_unlock(neoq_store *store)
{
    atomic_fetch_add_explicit(&store->version, 1, memory_order_release);
    bool heard = store->sleepers > 0;
    pthread_mutex_unlock(&store->mutex);
    if (heard)
        pthread_cond_broadcast(&store->changed);
}

static neoq_time now_of(const neoq_store *store)
{
    return store->clock->now(store->clock);
}

/* ---- open, close ------------------------------------------------------------------------ */

static int mem_open(neoq_store **out, const neoq_store_config *config)
{
    if (strcmp(config->url, "memory:") != 0)
        return nq_fail(NEOQ_EINVAL, "URL \"%.200s\": the memory store takes nothing after \"memory:\"", config->url);
    neoq_store *store = calloc(1, sizeof *store);
    if (!store)
        return no_memory();
    store->clock = config->clock;
    pthread_mutex_init(&store->mutex, NULL);
    nq_cond_init(&store->changed);
    *out = store;
    return NEOQ_OK;
}

static void mem_close(neoq_store *store)
{
    mem_table_free(&store->table);
    while (store->workers) {
        mem_worker *worker = store->workers;
        store->workers = worker->next;
        free(worker);
    }
    while (store->schedules) {
        mem_schedule *schedule = store->schedules;
        store->schedules = schedule->next;
        free(schedule->job);
        free(schedule);
    }
    pthread_mutex_destroy(&store->mutex);
    pthread_cond_destroy(&store->changed);
    free(store);
}

/* ---- enqueue ---------------------------------------------------------------------------- */

static int64_t waiting_in(const mem_queue *queue)
{
    return queue->counts[NEOQ_SCHEDULED] + queue->counts[NEOQ_READY] + queue->counts[NEOQ_RETRYING];
}

/* Adds the made job, or says why not; *twin is the job that exists already. */
static int add_job(neoq_store *store, mem_job *made, const char *queue_name, const mem_job **twin)
{
    *twin = mem_table_find(&store->table, made->id);
    if (*twin)
        return NEOQ_OK;
    mem_queue *queue = mem_table_make_queue(&store->table, queue_name);
    if (!queue)
        return no_memory();
    if (made->unique) {
        *twin = mem_table_find_print(&store->table, queue, mem_job_print(made));
        if (*twin)
            return nq_fail(NEOQ_EDUPLICATE, "queue \"%s\": job %s with the same fingerprint is unfinished",
                           queue_name, (*twin)->id);
    }
    if (queue->capacity > 0 && waiting_in(queue) >= queue->capacity)
        return nq_fail(NEOQ_EFULL, "queue \"%s\" is at its capacity of %lld waiting jobs", queue_name,
                       (long long)queue->capacity);
    made->queue = queue;
    return mem_table_add(&store->table, made) ? NEOQ_OK : no_memory();
}

/* The mutex is held. Takes over `made`. */
static int enqueue_one(neoq_store *store, mem_job *made, const char *queue_name, neoq_enqueued *result)
{
    const mem_job *twin = NULL;
    result->status = add_job(store, made, queue_name, &twin);
    memcpy(result->id, twin ? twin->id : made->id, sizeof made->id);
    if (twin || result->status != NEOQ_OK)
        mem_job_drop(made);
    return result->status;
}

static int mem_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    int status = NEOQ_OK;
    for (size_t done = 0; done < count && status == NEOQ_OK;) {
        mem_job *made[256];
        size_t batch = 0;
        while (batch < sizeof made / sizeof *made && done + batch < count &&
               (made[batch] = mem_job_make(&jobs[done + batch])) != NULL)
            batch++;
        if (batch == 0)
            return no_memory();
        pthread_mutex_lock(&store->mutex);
        for (size_t i = 0; i < batch; i++)
            if (enqueue_one(store, made[i], jobs[done + i].queue, &results[done + i]) == NEOQ_ENOMEM)
                status = NEOQ_ENOMEM;
        announce_and_unlock(store);
        done += batch;
    }
    return status;
}

/* ---- exchange --------------------------------------------------------------------------- */

static char *set_text(char **at, const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    free(*at);
    return *at = copy;
}

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

static void keep_result(mem_extra *extra, const void *result, size_t size)
{
    free(extra->result);
    extra->result = NULL;
    extra->result_size = 0;
    if (result && (extra->result = malloc(size + 1))) {
        memcpy(extra->result, result, size);
        ((char *)extra->result)[size] = '\0';
        extra->result_size = size;
    }
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
        queue->slow_until = now_of(store) + queue->slow_wait;
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
    settlement->cancelled = true;
    if (settlement->state != NEOQ_DEAD)
        settlement->keep_until = settlement->cancel_keep_until;
    settlement->state = NEOQ_DEAD;
    settlement->forget = false;
    settlement->slow_down = false;
    settlement->error = "cancelled";
    settlement->outcome = "cancelled";
}

static void settle(neoq_store *store, neoq_settlement *settlement)
{
    mem_job *job = settlement->hold ? settlement->hold : mem_table_find(&store->table, settlement->id);
    settlement->cancelled = false;
    if (!job || job->state != NEOQ_RUNNING || job->epoch != settlement->epoch) {
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
    mem_extra *extra = mem_job_extra(job);
    if (extra) {
        set_text(&extra->error, settlement->error);
        add_run(extra, job, settlement);
        extra->keep_until = settlement->keep_until;
        if (settlement->state >= NEOQ_DONE) {
            keep_result(extra, settlement->result, settlement->result_size);
            extra->finished_at = settlement->finished_at;
        }
    }
    job->run_after = settlement->run_after;
    job->ran_at = settlement->started_at;
    if (!extra || !mem_table_move(&store->table, job, settlement->state))
        settlement->status = no_memory();
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

static int mem_exchange(neoq_store *store, neoq_exchange *x)
{
    int status = NEOQ_OK;
    x->run_count = x->cancel_count = 0;
    pthread_mutex_lock(&store->mutex);
    for (size_t i = 0; i < x->settlement_count; i++)
        settle(store, &x->settlements[i]);
    neoq_time now = x->worker || store->table.waiting.count > 0 ? now_of(store) : 0;
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

static void mem_release(neoq_store *store, neoq_claimed *run)
{
    (void)store;
    free((char *)(uintptr_t)run->job.error);
    mem_job_drop(run->hold);
    run->hold = NULL;
}

static void mem_wait(neoq_store *store, uint64_t seen, int64_t until)
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

static void mem_wake(neoq_store *store)
{
    pthread_mutex_lock(&store->mutex);
    announce_and_unlock(store);
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
        return no_memory();
    worker->next = store->workers;
    store->workers = worker;
    worker->info = beat->worker;
    return NEOQ_OK;
}

static int mem_beat(neoq_store *store, const neoq_beat *beat)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    if (beat->join)
        status = join_worker(store, beat);
    mem_worker *worker = status == NEOQ_OK ? find_worker(store, beat->worker.id) : NULL;
    if (worker) {
        worker->lease_until = store->clock->steady(store->clock) + beat->lease;
        worker->info = beat->worker;
        worker->info.seen_at = now_of(store);
        worker->lost = beat->lease == 0;
    } else if (status == NEOQ_OK) {
        status = nq_fail(NEOQ_ELOST, "worker %s lost its lease", beat->worker.id);
    }
    bury_workers(store);
    pthread_mutex_unlock(&store->mutex);
    return status;
}

static int mem_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count)
{
    *lost_count = 0;
    pthread_mutex_lock(&store->mutex);
    neoq_time now = now_of(store);
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

static int mem_workers(neoq_store *store, neoq_each_worker each, void *arg)
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

/* ---- looking ---------------------------------------------------------------------------- */

static int mem_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg)
{
    pthread_mutex_lock(&store->mutex);
    mem_table_promote(&store->table, now_of(store));
    mem_queue *queue = filter->queue ? mem_table_queue(&store->table, filter->queue) : NULL;
    mem_job **jobs = NULL;
    size_t count = 0;
    int status = NEOQ_OK;
    if ((queue || !filter->queue) &&
        !mem_table_list(&store->table, queue, filter->state, filter->after_id, &jobs, &count))
        status = no_memory();
    for (size_t i = 0; i < count && status == NEOQ_OK && (filter->limit == 0 || i < filter->limit); i++) {
        neoq_job view;
        mem_job_view(jobs[i], &view);
        status = each(&view, arg);
    }
    pthread_mutex_unlock(&store->mutex);
    free(jobs);
    return status;
}

static int mem_get(neoq_store *store, const char *id, neoq_each_job each, void *arg)
{
    pthread_mutex_lock(&store->mutex);
    mem_table_promote(&store->table, now_of(store));
    mem_job *job = mem_table_find(&store->table, id);
    int status = job ? NEOQ_OK : no_job(id);
    if (job) {
        neoq_job view;
        mem_job_view(job, &view);
        status = each(&view, arg);
    }
    pthread_mutex_unlock(&store->mutex);
    return status;
}

static int mem_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg)
{
    pthread_mutex_lock(&store->mutex);
    mem_job *job = mem_table_find(&store->table, id);
    int status = job ? NEOQ_OK : no_job(id);
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

static int mem_queues(neoq_store *store, neoq_each_queue each, void *arg)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    neoq_time now = now_of(store);
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

/* ---- steering --------------------------------------------------------------------------- */

static int retry(neoq_store *store, mem_job *job)
{
    if (job->state != NEOQ_DEAD && job->state != NEOQ_RETRYING && job->state != NEOQ_SCHEDULED)
        return nq_fail(NEOQ_ESTATE, "job %s cannot be retried: it is neither dead, retrying nor scheduled", job->id);
    bool dead = job->state == NEOQ_DEAD;
    if (dead && job->unique) {
        mem_job *twin = mem_table_find_print(&store->table, job->queue, mem_job_print(job));
        if (twin)
            return nq_fail(NEOQ_EDUPLICATE,
                           "job %s cannot be retried: job %s with the same fingerprint is unfinished", job->id,
                           twin->id);
    }
    neoq_time before = job->run_after;
    bool again = job->state != NEOQ_SCHEDULED;
    job->run_after = now_of(store);
    if (!mem_table_move(&store->table, job, NEOQ_READY)) {
        job->run_after = before;
        return no_memory();
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
    if (!extra)
        return no_memory();
    extra->keep_until = keep_until;
    if (!mem_table_move(&store->table, job, NEOQ_DEAD))
        return no_memory();
    set_text(&extra->error, "cancelled");
    extra->finished_at = now_of(store);
    return NEOQ_OK;
}

static int mem_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until)
{
    pthread_mutex_lock(&store->mutex);
    mem_table_promote(&store->table, now_of(store));
    mem_job *job = mem_table_find(&store->table, id);
    int status = NEOQ_OK;
    if (!job)
        status = no_job(id);
    else if (action == NEOQ_ACTION_RETRY)
        status = retry(store, job);
    else if (action == NEOQ_ACTION_CANCEL)
        status = cancel(store, job, keep_until);
    else if (job->state == NEOQ_RUNNING)
        status = nq_fail(NEOQ_ESTATE, "job %s cannot be deleted while it runs: cancel it first", id);
    else
        mem_table_remove(&store->table, job);
    announce_and_unlock(store);
    return status;
}

static int purge(neoq_store *store, mem_queue *queue, neoq_state state, int64_t *purged)
{
    mem_job **jobs;
    size_t count;
    *purged = 0;
    if (!mem_table_list(&store->table, queue, state, NULL, &jobs, &count))
        return no_memory();
    for (size_t i = 0; i < count; i++)
        if (jobs[i]->state != NEOQ_RUNNING) {
            mem_table_remove(&store->table, jobs[i]);
            ++*purged;
        }
    free(jobs);
    return NEOQ_OK;
}

static int no_queue(const char *name)
{
    return nq_fail(NEOQ_ENOTFOUND, "there is no queue \"%s\"", name);
}

static int mem_purge(neoq_store *store, const char *name, neoq_state state, int64_t *purged)
{
    pthread_mutex_lock(&store->mutex);
    mem_table_promote(&store->table, now_of(store));
    mem_queue *queue = mem_table_queue(&store->table, name);
    int status = queue ? purge(store, queue, state, purged) : no_queue(name);
    announce_and_unlock(store);
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

static int mem_set_queue(neoq_store *store, const char *name, neoq_queue_action action, int64_t value)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    bool bound = action == NEOQ_QUEUE_CAPACITY, make = bound && value > 0;
    mem_queue *queue = make ? mem_table_make_queue(&store->table, name) : mem_table_queue(&store->table, name);
    if (!queue) /* one that is not there has no bound anyway */
        status = make ? no_memory() : bound ? NEOQ_OK : no_queue(name);
    else if (action == NEOQ_QUEUE_CAPACITY)
        queue->capacity = value;
    else if (action == NEOQ_QUEUE_REMOVE)
        status = remove_queue(store, queue);
    else
        queue->paused = action == NEOQ_QUEUE_PAUSE;
    announce_and_unlock(store);
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

static int mem_schedules(neoq_store *store, neoq_each_schedule each, void *arg)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    for (mem_schedule *schedule = store->schedules; schedule && status == NEOQ_OK; schedule = schedule->next)
        status = each(&schedule->record, arg);
    pthread_mutex_unlock(&store->mutex);
    return status;
}

static int mem_set_schedule(neoq_store *store, const neoq_schedule_record *record)
{
    neoq_job *job = nq_job_copy(&record->job);
    mem_schedule *made = malloc(sizeof *made);
    if (!job || !made) {
        free(job);
        free(made);
        return no_memory();
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

static int mem_remove_schedule(neoq_store *store, const char *name)
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

static int mem_tick(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
                    const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    mem_schedule *schedule = *schedule_at(store, name);
    if (!is_schedule(schedule, name) || schedule->record.info.next_at != expected)
        status = nq_fail(NEOQ_ELOST, "schedule \"%s\": this tick was enqueued already", name);
    for (size_t i = 0; i < count && status == NEOQ_OK; i++) {
        mem_job *made = mem_job_make(&jobs[i]);
        if (!made || enqueue_one(store, made, jobs[i].queue, &results[i]) == NEOQ_ENOMEM)
            status = no_memory();
    }
    if (status == NEOQ_OK) {
        schedule->record.info.last_at = last;
        schedule->record.info.next_at = next;
    }
    announce_and_unlock(store);
    return status;
}

/* ---- progress --------------------------------------------------------------------------- */

static int mem_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->mutex);
    mem_job *job = mem_table_find(&store->table, id);
    mem_extra *extra = NULL;
    if (!job || job->state != NEOQ_RUNNING || job->epoch != epoch)
        status = nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more", (long long)epoch, id);
    else if (!(extra = mem_job_extra(job)))
        status = no_memory();
    else
        extra->progress = *progress;
    pthread_mutex_unlock(&store->mutex);
    return status;
}

static int mem_get_progress(neoq_store *store, const char *id, neoq_progress *progress)
{
    *progress = (neoq_progress){.percent = -1};
    pthread_mutex_lock(&store->mutex);
    mem_job *job = mem_table_find(&store->table, id);
    if (job && job->extra)
        *progress = job->extra->progress;
    pthread_mutex_unlock(&store->mutex);
    return job ? NEOQ_OK : no_job(id);
}

const neoq_backend nq_memory_backend = {
    .version = NEOQ_BACKEND_VERSION,
    .size = sizeof(neoq_backend),
    .scheme = "memory",
    .local = true,
    .open = mem_open,
    .close = mem_close,
    .enqueue = mem_enqueue,
    .exchange = mem_exchange,
    .release = mem_release,
    .wait = mem_wait,
    .wake = mem_wake,
    .beat = mem_beat,
    .tend = mem_tend,
    .find = mem_find,
    .get = mem_get,
    .runs = mem_runs,
    .steer = mem_steer,
    .purge = mem_purge,
    .queues = mem_queues,
    .set_queue = mem_set_queue,
    .workers = mem_workers,
    .schedules = mem_schedules,
    .set_schedule = mem_set_schedule,
    .remove_schedule = mem_remove_schedule,
    .tick = mem_tick,
    .set_progress = mem_set_progress,
    .get_progress = mem_get_progress,
};
