/* SPDX-License-Identifier: MIT
 *
 * memory/table.h -- the jobs of the memory store and the ways to reach them.
 *
 * Every job is in the table by its id, and by its fingerprint while that is guarded. Besides it stands in one place
 * that its state decides: ready jobs in their queue, waiting ones in a heap by the instant they fall due, running ones
 * in their worker's list, ended ones in a heap by the instant they are to be forgotten. table_move() is the only
 * function that changes a state, and it keeps places and counts in step.
 *
 * Nothing here locks: the store's mutex is held around every call.
 */
#ifndef NQ_MEMORY_TABLE_H
#define NQ_MEMORY_TABLE_H

#include <stdatomic.h>

#include <neoq/backend.h>

#include "backend/memory/buckets.h"

typedef struct mem_list {
    mem_job *head, *tail;
} mem_list;

/* A binary heap of jobs, least (key, sequence) first. */
typedef struct mem_heap {
    struct mem_heap_item {
        int64_t key;
        mem_job *job;
    } * items;
    size_t count, room;
} mem_heap;

/* The ready jobs of one priority. They mostly come in order, so they are a list; the few that belong further ahead
 * (released, retried by hand) wait in a heap beside it. */
typedef struct mem_level {
    int priority;
    mem_list list;
    mem_heap early;
} mem_level;

struct mem_queue {
    char name[201];
    bool paused;
    int64_t capacity;
    int64_t counts[NEOQ_DEAD + 1]; /* by state */
    int64_t processed, failed;
    neoq_duration slow_wait;
    neoq_time slow_until;
    mem_level *levels; /* highest priority first */
    size_t level_count;
    mem_queue *next_removed;
};

typedef struct mem_worker {
    struct mem_worker *next;
    neoq_worker_info info;
    int64_t lease_until; /* steady */
    bool lost;
    mem_list runs;
} mem_worker;

/* One ended run. */
typedef struct mem_run {
    struct mem_run *next; /* older */
    int64_t epoch;
    neoq_time started_at, finished_at;
    const char *outcome; /* a constant */
    int exit_code, signal;
    neoq_duration cpu_time;
    int64_t peak_memory;
    char worker[64];
    char error[];
} mem_run;

/* What most jobs lack. */
typedef struct mem_extra {
    neoq_time deadline, finished_at, keep_until;
    neoq_duration retention;
    neoq_duration *retry_waits;
    size_t retry_wait_count, result_size;
    char *metadata, *error;
    void *result;
    mem_run *runs; /* newest first */
    neoq_progress progress;
} mem_extra;

struct mem_job {
    mem_job *print_next; /* in the buckets of the table, as is id_next */
    mem_queue *queue;
    uint32_t print_hash; /* while guarded; it stands with what else a search looks at */
    uint32_t slot;       /* in the heap of its place */
    mem_job *id_next;
    mem_job *prev, *next; /* in the list of its place */
    mem_worker *worker;   /* while running */
    mem_extra *extra;
    int64_t epoch;
    uint64_t sequence; /* the order in which jobs came */
    neoq_time run_after, created_at, ran_at;
    size_t payload_size;
    int priority, retries, max_retries;
    atomic_uint refs; /* one of the store, one of each run that looks at it */
    uint8_t state;
    bool in_heap, unique, guarded, cancel;
    char id[37];
    char bytes[]; /* payload, NUL, fingerprint, NUL */
};

typedef struct mem_table {
    mem_buckets ids, prints;
    mem_queue **queues; /* by name */
    size_t queue_count;
    mem_queue *removed; /* runs may still name them */
    mem_heap waiting, ended;
    uint64_t sequence; /* of the last job that came */
} mem_table;

void mem_table_free(mem_table *table);

/* A job with its bytes, in no table yet, one reference; NULL if memory ran out. */
mem_job *mem_job_make(const neoq_job *job);
void mem_job_drop(mem_job *job);               /* one reference less; any thread, no lock */
const char *mem_job_print(const mem_job *job); /* NULL = has none */
mem_extra *mem_job_extra(mem_job *job);        /* made if missing; NULL if memory ran out */
void mem_job_view(const mem_job *job, neoq_job *view);

mem_queue *mem_table_queue(const mem_table *table, const char *name); /* NULL = none */
mem_queue *mem_table_make_queue(mem_table *table, const char *name);
void mem_table_remove_queue(mem_table *table, mem_queue *queue);

/* Puts a job in, in job->state; takes over the caller's reference. False if memory ran out. */
bool mem_table_add(mem_table *table, mem_job *job);
/* Changes state and place. run_after, keep_until and worker are set before. False if memory ran out: nothing changed. */
bool mem_table_move(mem_table *table, mem_job *job, neoq_state state);
/* Memory for so many jobs like this one to move to that state. False if it ran out. */
bool mem_table_reserve(mem_table *table, const mem_job *job, neoq_state state, size_t count);
void mem_table_remove(mem_table *table, mem_job *job);
/* The next ready job of the queue, or NULL. */
mem_job *mem_queue_first(const mem_queue *queue);
/* The instant from which the longest-waiting ready job could have run; 0 = none is ready. */
neoq_time mem_queue_oldest(const mem_queue *queue);
/* Makes ready what is due. Returns when the next one is; 0 = none waits. */
neoq_time mem_table_promote(mem_table *table, neoq_time now);

/* All jobs of a queue (NULL = all) and state (0 = all) with ids above after_id (NULL = all), sorted; free() it.
 * False if memory ran out. */
bool mem_table_list(const mem_table *table, const mem_queue *queue, neoq_state state, const char *after_id,
                    mem_job ***jobs, size_t *count);

#endif
