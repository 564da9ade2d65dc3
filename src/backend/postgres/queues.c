/* SPDX-License-Identifier: MIT
 *
 * What is remembered of queues, by name.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/store.h"

static pg_queue **bucket(neoq_store *store, const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *at = name; *at; at++)
        hash = (hash ^ (uint8_t)*at) * 16777619u;
    return &store->queues[hash % PG_QUEUE_BUCKETS];
}

pg_queue *pg_queue_known(neoq_store *store, const char *name)
{
    pg_queue *queue = *bucket(store, name);
    while (queue && strcmp(queue->name, name) != 0)
        queue = queue->next;
    return queue;
}

pg_queue *pg_queue_named(neoq_store *store, const char *name)
{
    pg_queue *queue = pg_queue_known(store, name), **at = bucket(store, name);
    if (queue)
        return queue;
    size_t size = strlen(name) + 1;
    queue = calloc(1, sizeof *queue + size);
    if (!queue)
        return NULL;
    memcpy(queue->name, name, size);
    queue->next = *at;
    *at = queue;
    return queue;
}

int pg_compare_places(const pg_place *a, const pg_place *b)
{
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    if (a->run_after != b->run_after)
        return a->run_after < b->run_after ? -1 : 1;
    return (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

void pg_queue_lower(pg_queue *queue, int32_t rank, neoq_time run_after)
{
    pg_place place = {rank, run_after, INT64_MIN};
    if (pg_compare_places(&place, &queue->from) < 0)
        queue->from = place;
    if (pg_compare_places(&place, &queue->low) < 0)
        queue->low = place;
}

void pg_queue_await(pg_queue *queue, neoq_time due)
{
    if (due > 0 && (queue->due == 0 || due < queue->due))
        queue->due = due;
}

void pg_queues_rewind(neoq_store *store)
{
    pthread_mutex_lock(&store->queue_mutex);
    for (size_t i = 0; i < PG_QUEUE_BUCKETS; i++)
        for (pg_queue *queue = store->queues[i]; queue; queue = queue->next)
            pg_queue_lower(queue, INT32_MIN, INT64_MIN);
    pthread_mutex_unlock(&store->queue_mutex);
}

void pg_queues_free(neoq_store *store)
{
    for (size_t i = 0; i < PG_QUEUE_BUCKETS; i++)
        for (pg_queue *queue = store->queues[i], *next; queue; queue = next) {
            next = queue->next;
            free(queue);
        }
}
