/* SPDX-License-Identifier: MIT
 *
 * memory/buckets.h -- jobs by their ids, and by the fingerprints that they guard: hash tables whose chains run through the
 * jobs, so that only growing takes memory.
 */
#ifndef NQ_MEMORY_BUCKETS_H
#define NQ_MEMORY_BUCKETS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mem_job mem_job;
typedef struct mem_queue mem_queue;

typedef struct mem_buckets {
    mem_job **heads;
    size_t count, size; /* size is a power of two */
    bool mixed;         /* ids: they are not all made by a neoq, and every digit counts */
} mem_buckets;

/* No job of that id is there yet. False: memory ran out. */
bool mem_ids_add(mem_buckets *ids, mem_job *job);
void mem_ids_remove(mem_buckets *ids, mem_job *job); /* it is there */
/* id: 36 characters, or it is nobody's. */
mem_job *mem_ids_find(const mem_buckets *ids, const char *id);

/* The same for those that guard a fingerprint, which each queue has its own of. */
bool mem_prints_add(mem_buckets *prints, mem_job *job);
void mem_prints_remove(mem_buckets *prints, mem_job *job);
mem_job *mem_prints_find(const mem_buckets *prints, const mem_queue *queue, const char *print);

#endif
