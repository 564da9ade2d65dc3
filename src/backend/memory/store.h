/* SPDX-License-Identifier: MIT
 *
 * memory/store.h -- the store: one mutex, and the table of jobs behind it. Nothing is done under the mutex but moving
 * jobs about; memory for a new job is taken before it.
 */
#ifndef NQ_MEMORY_STORE_H
#define NQ_MEMORY_STORE_H

#include <pthread.h>

#include "backend/memory/table.h"

typedef struct mem_schedule {
    struct mem_schedule *next;
    neoq_schedule_record record;
    neoq_job *job; /* the copy that record.job views */
} mem_schedule;

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

int mem_no_memory(void);
int mem_no_job(const char *id);
int mem_no_queue(const char *name);
neoq_time mem_now(const neoq_store *store);
/* The mutex is held, and let go: whom this wakes wants it at once. */
void mem_announce_and_unlock(neoq_store *store);
bool mem_set_text(char **at, const char *text); /* false: memory ran out, and the old one stays */
/* False, and none is made: memory ran out. */
bool mem_jobs_make(mem_job **made, const neoq_job *jobs, size_t count);
void mem_jobs_drop(mem_job **made, size_t count);
/* Adds made jobs, which it takes over: each gets its answer, or memory runs out and none is there. The mutex is held. */
int mem_jobs_enqueue(neoq_store *store, mem_job **made, const neoq_job *jobs, size_t count, neoq_enqueued *results);

/* The operations of <neoq/backend.h>: runs.c, look.c, steer.c. */
int mem_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results);
int mem_exchange(neoq_store *store, neoq_exchange *x);
void mem_release(neoq_store *store, neoq_claimed *run);
void mem_wait(neoq_store *store, uint64_t seen, int64_t until);
void mem_wake(neoq_store *store);
int mem_beat(neoq_store *store, const neoq_beat *beat);
int mem_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count);
int mem_workers(neoq_store *store, neoq_each_worker each, void *arg);
int mem_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg);
int mem_get(neoq_store *store, const char *id, neoq_each_job each, void *arg);
int mem_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg);
int mem_queues(neoq_store *store, neoq_each_queue each, void *arg);
int mem_get_progress(neoq_store *store, const char *id, neoq_progress *progress);
int mem_schedules(neoq_store *store, neoq_each_schedule each, void *arg);
int mem_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until);
int mem_purge(neoq_store *store, const char *name, neoq_state state, int64_t *purged);
int mem_set_queue(neoq_store *store, const char *name, neoq_queue_action action, int64_t value);
int mem_set_schedule(neoq_store *store, const neoq_schedule_record *record);
int mem_remove_schedule(neoq_store *store, const char *name);
int mem_tick(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
             const neoq_job *jobs, size_t count, neoq_enqueued *results);
int mem_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress);

#endif
