/* SPDX-License-Identifier: MIT
 *
 * The memory store: opening, closing, and its table of operations.
 */
#include "backend/memory/memory.h"

#include <stdlib.h>
#include <string.h>

#include "backend/memory/store.h"
#include "base/clock.h"
#include "base/error.h"

int mem_no_memory(void)
{
    return nq_fail(NEOQ_ENOMEM, "memory store: no memory");
}

int mem_no_job(const char *id)
{
    return nq_fail(NEOQ_ENOTFOUND, "no job has the id %.127s", id);
}

void mem_announce_and_unlock(neoq_store *store)
{
    atomic_fetch_add_explicit(&store->version, 1, memory_order_release);
    bool heard = store->sleepers > 0;
    pthread_mutex_unlock(&store->mutex);
    if (heard)
        pthread_cond_broadcast(&store->changed);
}

neoq_time mem_now(const neoq_store *store)
{
    return store->clock->now(store->clock);
}

int mem_no_queue(const char *name)
{
    return nq_fail(NEOQ_ENOTFOUND, "there is no queue \"%s\"", name);
}

bool mem_set_text(char **at, const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy)
        return false;
    free(*at);
    *at = copy;
    return true;
}

/* ---- open, close ------------------------------------------------------------------------ */

static int mem_open(neoq_store **out, const neoq_store_config *config)
{
    if (strcmp(config->url, "memory:") != 0) /* what follows may be a password */
        return nq_fail(NEOQ_EINVAL, "URL \"memory:...\": the memory store takes nothing after \"memory:\"");
    neoq_store *store = calloc(1, sizeof *store);
    if (!store)
        return mem_no_memory();
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
