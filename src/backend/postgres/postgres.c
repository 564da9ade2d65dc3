/* SPDX-License-Identifier: MIT
 *
 * Opening and closing, and the table of operations.
 */
#include "backend/postgres/postgres.h"

#include <stdlib.h>
#include <string.h>

#include "backend/postgres/doctor.h"
#include "backend/postgres/jobs.h"
#include "backend/postgres/look.h"
#include "backend/postgres/manage.h"
#include "backend/postgres/schema.h"
#include "base/clock.h"
#include "base/error.h"

neoq_time pg_now(neoq_store *store)
{
    return store->real_time ? pg_pool_now(store->pool) : store->clock->now(store->clock);
}

bool nq_is_postgres(const char *url)
{
    return strncmp(url, "postgres:", 9) == 0 || strncmp(url, "postgresql:", 11) == 0 || pg_is_dsn(url);
}

/* ---- open and close --------------------------------------------------------------------- */

static void pg_close(neoq_store *store)
{
    pg_watch_close(store->watch);
    pg_bell_close(store->bell);
    pg_pool_close(store->pool);
    pg_settings_free(&store->settings);
    pg_queues_free(store);
    free(store->pulse.neighbours);
    pthread_mutex_destroy(&store->queue_mutex);
    for (int i = 0; i < PG_LANES; i++)
        nq_group_destroy(&store->lanes[i]);
    pthread_mutex_destroy(&store->hold_mutex);
    pthread_rwlock_destroy(&store->exchange_lock);
    free(store);
}

static int open_parts(neoq_store *store, const neoq_store_config *config)
{
    int status = pg_settings_parse(&store->settings, config->url, config->options);
    if (status == NEOQ_OK)
        status = pg_pool_open(&store->pool, &store->settings, config->options, config->clock);
    if (status == NEOQ_OK)
        status = pg_schema_prepare(store->pool, &store->settings, config->options);
    if (status == NEOQ_OK)
        status = pg_bell_open(&store->bell, store->pool, &store->settings, config->options, config->clock);
    return status;
}

static int pg_open(neoq_store **out, const neoq_store_config *config)
{
    neoq_store *store = calloc(1, sizeof *store);
    if (!store)
        return nq_fail(NEOQ_ENOMEM, "no memory to open a store in PostgreSQL");
    store->options = config->options;
    store->clock = config->clock;
    store->real_time = config->clock == &nq_real_clock;
    atomic_init(&store->token, nq_real_clock.random(&nq_real_clock)); /* no affair of a test's seed */
    atomic_init(&store->refused_at, INT64_MIN / 2);
    nq_place_find(store->place);
    pthread_mutex_init(&store->queue_mutex, NULL);
    for (int i = 0; i < PG_LANES; i++)
        nq_group_init(&store->lanes[i]);
    pthread_mutex_init(&store->hold_mutex, NULL);
    pthread_rwlock_init(&store->exchange_lock, NULL);
    int status = open_parts(store, config);
    if (status != NEOQ_OK) {
        pg_close(store);
        return status;
    }
    *out = store;
    return NEOQ_OK;
}

/* ---- operations ------------------------------------------------------------------------- */

static void pg_wait(neoq_store *store, uint64_t seen, int64_t until)
{
    pg_bell_wait(store->bell, seen, until);
}

static void pg_wake(neoq_store *store)
{
    pg_bell_ring(store->bell);
}

const neoq_backend nq_postgres_backend = {
    .version = NEOQ_BACKEND_VERSION,
    .size = sizeof(neoq_backend),
    .scheme = "postgres",
    .open = pg_open,
    .close = pg_close,
    .enqueue = pg_enqueue,
    .exchange = pg_exchange,
    .release = pg_release,
    .wait = pg_wait,
    .wake = pg_wake,
    .beat = pg_beat,
    .tend = pg_tend,
    .find = pg_find,
    .get = pg_get,
    .runs = pg_runs,
    .steer = pg_steer,
    .purge = pg_purge,
    .queues = pg_queues,
    .set_queue = pg_set_queue,
    .workers = pg_workers,
    .schedules = pg_schedules,
    .set_schedule = pg_set_schedule,
    .remove_schedule = pg_remove_schedule,
    .tick = pg_tick,
    .set_progress = pg_set_progress,
    .get_progress = pg_get_progress,
    .migrate = pg_migrate,
    .doctor = pg_doctor,
    .now = pg_now,
    .lanes = 2,
};
