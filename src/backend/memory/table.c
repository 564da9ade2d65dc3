/* SPDX-License-Identifier: MIT */
#include "backend/memory/table.h"

#include <stdlib.h>
#include <string.h>

/* ---- jobs ------------------------------------------------------------------------------- */

static size_t size_of(const char *string)
{
    return string ? strlen(string) : 0;
}

static bool make_extra(mem_job *made, const neoq_job *job)
{
    if (job->deadline == 0 && job->retention == 0 && !job->retry_waits && !job->metadata)
        return true;
    mem_extra *extra = mem_job_extra(made);
    if (!extra)
        return false;
    extra->deadline = job->deadline;
    extra->retention = job->retention;
    if (job->metadata && !(extra->metadata = strdup(job->metadata)))
        return false;
    if (job->retry_waits) {
        size_t size = job->retry_wait_count * sizeof *extra->retry_waits;
        if (!(extra->retry_waits = malloc(size)))
            return false;
        memcpy(extra->retry_waits, job->retry_waits, size);
        extra->retry_wait_count = job->retry_wait_count;
    }
    return true;
}

mem_job *mem_job_make(const neoq_job *job)
{
    size_t print = size_of(job->fingerprint);
    mem_job *made = malloc(sizeof *made + job->payload_size + print + 2);
    if (!made)
        return NULL;
    *made = (mem_job){
        .run_after = job->run_after,
        .created_at = job->created_at,
        .payload_size = job->payload_size,
        .priority = job->priority,
        .max_retries = job->max_retries,
        .refs = 1,
        .state = (uint8_t)job->state,
        .unique = job->unique == NEOQ_UNIQUE_ON,
    };
    memcpy(made->id, job->id, sizeof made->id);
    if (job->payload_size > 0)
        memcpy(made->bytes, job->payload, job->payload_size);
    made->bytes[job->payload_size] = '\0';
    memcpy(made->bytes + job->payload_size + 1, print ? job->fingerprint : "", print + 1);
    if (!make_extra(made, job)) {
        mem_job_drop(made);
        return NULL;
    }
    return made;
}

static void free_extra(mem_extra *extra)
{
    while (extra->runs) {
        mem_run *run = extra->runs;
        extra->runs = run->next;
        free(run);
    }
    free(extra->retry_waits);
    free(extra->metadata);
    free(extra->error);
    free(extra->result);
    free(extra);
}

void mem_job_drop(mem_job *job)
{
    if (atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (job->extra)
        free_extra(job->extra);
    free(job);
}

const char *mem_job_print(const mem_job *job)
{
    const char *print = job->bytes + job->payload_size + 1;
    return *print ? print : NULL;
}

mem_extra *mem_job_extra(mem_job *job)
{
    if (!job->extra && (job->extra = calloc(1, sizeof *job->extra)))
        job->extra->progress.percent = -1;
    return job->extra;
}

void mem_job_view(const mem_job *job, neoq_job *view)
{
    *view = (neoq_job){
        .id = job->id,
        .queue = job->queue->name,
        .payload = job->bytes,
        .payload_size = job->payload_size,
        .fingerprint = mem_job_print(job),
        .unique = job->unique ? NEOQ_UNIQUE_ON : NEOQ_UNIQUE_OFF,
        .run_after = job->run_after,
        .priority = job->priority,
        .max_retries = job->max_retries,
        .state = (neoq_state)job->state,
        .retries = job->retries,
        .epoch = job->epoch,
        .created_at = job->created_at,
        .ran_at = job->ran_at,
    };
    const mem_extra *extra = job->extra;
    if (!extra)
        return;
    view->deadline = extra->deadline;
    view->retry_waits = extra->retry_waits;
    view->retry_wait_count = extra->retry_wait_count;
    view->retention = extra->retention;
    view->metadata = extra->metadata;
    view->finished_at = extra->finished_at;
    view->error = extra->error;
    view->result = extra->result;
    view->result_size = extra->result_size;
}

/* ---- fingerprints ------------------------------------------------------------------------ */

/* A unique job guards its fingerprint until it ends. */
static bool set_guard(mem_table *table, mem_job *job, neoq_state state)
{
    bool guard = job->unique && state < NEOQ_DONE && mem_job_print(job);
    if (guard == job->guarded)
        return true;
    if (guard) {
        if (!mem_prints_add(&table->prints, job))
            return false;
    } else {
        mem_prints_remove(&table->prints, job);
    }
    job->guarded = guard;
    return true;
}

/* ---- lists and heaps -------------------------------------------------------------------- */

static void append(mem_list *list, mem_job *job)
{
    job->prev = list->tail;
    job->next = NULL;
    *(list->tail ? &list->tail->next : &list->head) = job;
    list->tail = job;
}

static void unlink_job(mem_list *list, mem_job *job)
{
    *(job->prev ? &job->prev->next : &list->head) = job->next;
    *(job->next ? &job->next->prev : &list->tail) = job->prev;
}

static bool item_less(const struct mem_heap_item *a, const struct mem_heap_item *b)
{
    return a->key != b->key ? a->key < b->key : a->job->sequence < b->job->sequence;
}

static void put_item(mem_heap *heap, size_t at, struct mem_heap_item item)
{
    heap->items[at] = item;
    item.job->slot = (uint32_t)at;
}

static void sift(mem_heap *heap, size_t at, struct mem_heap_item item)
{
    while (at > 0 && item_less(&item, &heap->items[(at - 1) / 2])) {
        put_item(heap, at, heap->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && item_less(&heap->items[child + 1], &heap->items[child]))
            child++;
        if (!item_less(&heap->items[child], &item))
            break;
        put_item(heap, at, heap->items[child]);
    }
    put_item(heap, at, item);
}

static bool reserve_items(mem_heap *heap, size_t count)
{
    if (heap->room - heap->count >= count)
        return true;
    size_t room = heap->room ? heap->room * 2 : 16;
    if (room < heap->count + count)
        room = heap->count + count;
    struct mem_heap_item *items = realloc(heap->items, room * sizeof *items);
    if (!items)
        return false;
    heap->items = items;
    heap->room = room;
    return true;
}

static void push_item(mem_heap *heap, mem_job *job, int64_t key)
{
    heap->count++;
    sift(heap, heap->count - 1, (struct mem_heap_item){key, job});
    job->in_heap = true;
}

static void remove_item(mem_heap *heap, mem_job *job)
{
    size_t at = job->slot;
    struct mem_heap_item last = heap->items[--heap->count];
    if (last.job != job)
        sift(heap, at, last);
    job->in_heap = false;
}

/* ---- places ----------------------------------------------------------------------------- */

static mem_level *find_level(const mem_queue *queue, int priority)
{
    for (size_t i = 0; i < queue->level_count; i++)
        if (queue->levels[i].priority == priority)
            return &queue->levels[i];
    return NULL;
}

static mem_level *make_level(mem_queue *queue, int priority)
{
    mem_level *level = find_level(queue, priority);
    if (level)
        return level;
    mem_level *levels = realloc(queue->levels, (queue->level_count + 1) * sizeof *levels);
    if (!levels)
        return NULL;
    queue->levels = levels;
    size_t at = 0;
    while (at < queue->level_count && levels[at].priority > priority)
        at++;
    memmove(levels + at + 1, levels + at, (queue->level_count - at) * sizeof *levels);
    levels[at] = (mem_level){.priority = priority};
    queue->level_count++;
    return &levels[at];
}

/* An empty level goes, but for the one that nearly every queue uses all the time. */
static void tidy_level(mem_queue *queue, mem_level *level)
{
    if (level->list.head || level->early.count > 0 || level->priority == 0)
        return;
    free(level->early.items);
    size_t at = (size_t)(level - queue->levels);
    memmove(level, level + 1, (queue->level_count - at - 1) * sizeof *level);
    queue->level_count--;
}

static bool comes_after(const mem_job *job, const mem_job *other)
{
    return job->run_after != other->run_after ? job->run_after > other->run_after : job->sequence > other->sequence;
}

/* Makes sure that enter() cannot fail. */
bool mem_table_reserve(mem_table *table, const mem_job *job, neoq_state state, size_t count)
{
    switch (state) {
    case NEOQ_SCHEDULED:
    case NEOQ_RETRYING: return reserve_items(&table->waiting, count);
    case NEOQ_READY: {
        mem_level *level = make_level(job->queue, job->priority);
        return level && reserve_items(&level->early, count);
    }
    case NEOQ_DONE:
    case NEOQ_DEAD: return reserve_items(&table->ended, count);
    case NEOQ_RUNNING: break;
    }
    return true;
}

static void enter(mem_table *table, mem_job *job)
{
    switch ((neoq_state)job->state) {
    case NEOQ_SCHEDULED:
    case NEOQ_RETRYING: push_item(&table->waiting, job, job->run_after); break;
    case NEOQ_READY: {
        mem_level *level = find_level(job->queue, job->priority);
        if (!level->list.tail || comes_after(job, level->list.tail))
            append(&level->list, job);
        else
            push_item(&level->early, job, job->run_after);
        break;
    }
    case NEOQ_RUNNING: append(&job->worker->runs, job); break;
    case NEOQ_DONE:
    case NEOQ_DEAD:
        if (job->extra && job->extra->keep_until)
            push_item(&table->ended, job, job->extra->keep_until);
        break;
    }
    job->queue->counts[job->state]++;
}

static void leave(mem_table *table, mem_job *job)
{
    switch ((neoq_state)job->state) {
    case NEOQ_SCHEDULED:
    case NEOQ_RETRYING: remove_item(&table->waiting, job); break;
    case NEOQ_READY: {
        mem_level *level = find_level(job->queue, job->priority);
        if (job->in_heap)
            remove_item(&level->early, job);
        else
            unlink_job(&level->list, job);
        tidy_level(job->queue, level);
        break;
    }
    case NEOQ_RUNNING:
        unlink_job(&job->worker->runs, job);
        job->worker = NULL;
        break;
    case NEOQ_DONE:
    case NEOQ_DEAD:
        if (job->in_heap)
            remove_item(&table->ended, job);
        break;
    }
    job->queue->counts[job->state]--;
}

bool mem_table_add(mem_table *table, mem_job *job)
{
    if (!mem_table_reserve(table, job, (neoq_state)job->state, 1) || !mem_ids_add(&table->ids, job))
        return false;
    if (!set_guard(table, job, (neoq_state)job->state)) {
        mem_ids_remove(&table->ids, job);
        return false;
    }
    job->sequence = ++table->sequence;
    enter(table, job);
    return true;
}

bool mem_table_move(mem_table *table, mem_job *job, neoq_state state)
{
    if (!mem_table_reserve(table, job, state, 1) || !set_guard(table, job, state))
        return false;
    leave(table, job);
    job->state = (uint8_t)state;
    enter(table, job);
    return true;
}

void mem_table_remove(mem_table *table, mem_job *job)
{
    set_guard(table, job, NEOQ_DEAD);
    leave(table, job);
    mem_ids_remove(&table->ids, job);
    job->state = 0; /* a run that still holds it must not take it for running */
    mem_job_drop(job);
}

static mem_job *level_first(const mem_level *level)
{
    mem_job *listed = level->list.head;
    mem_job *early = level->early.count > 0 ? level->early.items[0].job : NULL;
    return !listed || (early && comes_after(listed, early)) ? early : listed;
}

mem_job *mem_queue_first(const mem_queue *queue)
{
    for (size_t i = 0; i < queue->level_count; i++) {
        mem_job *job = level_first(&queue->levels[i]);
        if (job)
            return job;
    }
    return NULL;
}

neoq_time mem_queue_oldest(const mem_queue *queue)
{
    neoq_time oldest = 0;
    for (size_t i = 0; i < queue->level_count; i++) {
        mem_job *job = level_first(&queue->levels[i]);
        if (job && (oldest == 0 || job->run_after < oldest))
            oldest = job->run_after;
    }
    return oldest;
}

neoq_time mem_table_promote(mem_table *table, neoq_time now)
{
    while (table->waiting.count > 0 && table->waiting.items[0].key <= now) {
        mem_job *job = table->waiting.items[0].job;
        bool retry = job->state == NEOQ_RETRYING;
        if (!mem_table_move(table, job, NEOQ_READY))
            return now;
        job->retries += retry;
    }
    return table->waiting.count > 0 ? table->waiting.items[0].key : 0;
}

/* ---- queues and listings ---------------------------------------------------------------- */

static size_t queue_position(const mem_table *table, const char *name, bool *found)
{
    size_t low = 0, high = table->queue_count;
    *found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, table->queues[middle]->name);
        if (order == 0)
            *found = true;
        if (order <= 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

mem_queue *mem_table_queue(const mem_table *table, const char *name)
{
    bool found;
    size_t at = queue_position(table, name, &found);
    return found ? table->queues[at] : NULL;
}

mem_queue *mem_table_make_queue(mem_table *table, const char *name)
{
    bool found;
    size_t at = queue_position(table, name, &found);
    if (found)
        return table->queues[at];
    mem_queue *queue = calloc(1, sizeof *queue);
    mem_queue **queues = realloc(table->queues, (table->queue_count + 1) * sizeof(mem_queue *));
    if (queues)
        table->queues = queues;
    if (!queue || !queues) {
        free(queue);
        return NULL;
    }
    memcpy(queue->name, name, strlen(name) + 1);
    memmove(queues + at + 1, queues + at, (table->queue_count - at) * sizeof *queues);
    queues[at] = queue;
    table->queue_count++;
    return queue;
}

void mem_table_remove_queue(mem_table *table, mem_queue *queue)
{
    bool found;
    size_t at = queue_position(table, queue->name, &found);
    memmove(table->queues + at, table->queues + at + 1, (table->queue_count - at - 1) * sizeof *table->queues);
    table->queue_count--;
    queue->next_removed = table->removed;
    table->removed = queue;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp((*(mem_job *const *)a)->id, (*(mem_job *const *)b)->id, 36);
}

bool mem_table_list(const mem_table *table, const mem_queue *queue, neoq_state state, const char *after_id,
                    mem_job ***jobs, size_t *count)
{
    *count = 0;
    *jobs = malloc((table->ids.count + 1) * sizeof **jobs);
    if (!*jobs)
        return false;
    for (size_t i = 0; i < table->ids.size; i++)
        for (mem_job *job = table->ids.heads[i]; job; job = job->id_next)
            if ((!queue || job->queue == queue) && (state == 0 || job->state == state) &&
                (!after_id || strcmp(job->id, after_id) > 0))
                (*jobs)[(*count)++] = job;
    qsort(*jobs, *count, sizeof **jobs, compare_ids);
    return true;
}

static void free_queue(mem_queue *queue)
{
    for (size_t i = 0; i < queue->level_count; i++)
        free(queue->levels[i].early.items);
    free(queue->levels);
    free(queue);
}

void mem_table_free(mem_table *table)
{
    for (size_t i = 0; i < table->ids.size; i++)
        for (mem_job *job = table->ids.heads[i], *next; job; job = next) {
            next = job->id_next;
            mem_job_drop(job);
        }
    for (size_t i = 0; i < table->queue_count; i++)
        free_queue(table->queues[i]);
    while (table->removed) {
        mem_queue *queue = table->removed;
        table->removed = queue->next_removed;
        free_queue(queue);
    }
    free(table->queues);
    free(table->ids.heads);
    free(table->prints.heads);
    free(table->waiting.items);
    free(table->ended.items);
}
