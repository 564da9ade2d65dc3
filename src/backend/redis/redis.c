/* SPDX-License-Identifier: MIT
 *
 * Opening and closing, the server's time, and the table of operations.
 */
#include "backend/redis/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/jobs.h"
#include "base/clock.h"
#include "base/error.h"

bool nq_is_redis(const char *url)
{
    return rd_is_url(url);
}

const char *rd_queue_key(const char *queue, char key[RD_KEY_SIZE])
{
    snprintf(key, RD_KEY_SIZE, "asynq:{%.200s}:neoq", queue);
    return key;
}

bool rd_queue_fits(const neoq_store *store, const char *queue)
{
    return !store->cluster || *queue != '}';
}

int rd_queue_misfit(const char *queue)
{
    return nq_fail(NEOQ_EINVAL, "queue \"%s\": on a Redis Cluster a queue's name may not begin with \"}\"", queue);
}

/* ---- time ------------------------------------------------------------------------------- */

neoq_time rd_now(neoq_store *store)
{
    if (!store->real_time)
        return store->clock->now(store->clock);
    return nq_server_clock_at(&store->server_clock, nq_steady());
}

int rd_measure_time(neoq_store *store)
{
    rd_batch batch = {.urgent = true}; /* a beat begins with it */
    rd_begin(&batch, "TIME");
    int64_t begun = nq_steady();
    int status = rd_read(store, &batch);
    int64_t took = nq_steady() - begun;
    const redisReply *time = status == NEOQ_OK ? batch.calls[0].reply : NULL;
    int64_t there = rd_number(rd_item(time, 0), 0) * 1000000 + rd_number(rd_item(time, 1), 0);
    if (there > 0) {
        pthread_mutex_lock(&store->clock_mutex);
        nq_server_clock_take(&store->server_clock, there, begun + took / 2, took / 2 + 1);
        pthread_mutex_unlock(&store->clock_mutex);
    }
    rd_batch_free(&batch);
    return status;
}

void rd_mind_time(neoq_store *store)
{
    pthread_mutex_lock(&store->clock_mutex);
    bool stale = nq_server_clock_is_stale(&store->server_clock, nq_steady());
    pthread_mutex_unlock(&store->clock_mutex);
    if (stale && store->real_time)
        rd_measure_time(store);
}

/* ---- open and close --------------------------------------------------------------------- */

static void rd_close(neoq_store *store)
{
    rd_bell_close(store->bell);
    rd_agenda_close(store->agenda);
    rd_arrivals_close(store->arrivals);
    rd_pool_close(store->pool);
    rd_cluster_close(store->cluster);
    rd_url_free(&store->url);
    for (int i = 0; i < RD_LANES; i++)
        nq_group_destroy(&store->lanes[i]);
    pthread_mutex_destroy(&store->clock_mutex);
    pthread_mutex_destroy(&store->hold_mutex);
    pthread_rwlock_destroy(&store->exchange_lock);
    free(store);
}

/* What stands behind "name:" in INFO; NULL = it is not told. */
static const char *told(const char *info, const char *name, int *size)
{
    const char *at = strstr(info, name);
    if (!at)
        return NULL;
    at += strlen(name);
    *size = (int)strcspn(at, "\r\n");
    return at;
}

/* The scripts need a server that is not too old, and jobs one that does not drop keys when its memory is full. */
static int check_info(const rd_url *url, const char *info)
{
    int size = 0, major = 0, minor = 0;
    const char *version = told(info, "redis_version:", &size);
    if (version && sscanf(version, "%d.%d", &major, &minor) == 2 && major * 100 + minor < 602)
        return nq_fail(NEOQ_EBACKEND, "Redis %s: it is version %.*s; neoq needs 6.2 or later", url->shown, size,
                       version);
    if (told(info, "cluster_enabled:1", &size) && !url->cluster)
        return nq_fail(NEOQ_EBACKEND, "Redis %s: it is a node of a Cluster: write redis+cluster://", url->shown);
    const char *policy = told(info, "maxmemory_policy:", &size);
    if (policy && strncmp(policy, "noeviction", (size_t)size) != 0 && !url->allow_eviction)
        return nq_fail(
            NEOQ_EBACKEND,
            "Redis %s: its maxmemory-policy is \"%.*s\", so it may drop jobs when its memory is full: set it "
            "to \"noeviction\", or say allow_eviction=true in the URL",
            url->shown, size, policy);
    return NEOQ_OK;
}

/* Whoever may not ask for INFO, and a node that is away, are trusted. */
static int check_server(const rd_url *url, rd_pool *pool, neoq_duration patience)
{
    rd_connection *c = NULL;
    redisReply *reply = NULL;
    nq_bound bound = nq_within(url->call_timeout);
    if (rd_pool_take_within(pool, patience, false, &c) == NEOQ_OK)
        rd_command(c, &bound, 1, (const char *const[]){"INFO"}, &reply);
    if (c)
        rd_pool_give(pool, c);
    const char *info = rd_string(reply);
    int status = info ? check_info(url, info) : NEOQ_OK;
    freeReplyObject(reply);
    return status;
}

static void check_node(rd_node *node, void *arg)
{
    int *status = arg;
    if (*status == NEOQ_OK)
        *status = check_server(&node->url, node->pool, NEOQ_SECONDS(1));
}

static int check_servers(neoq_store *store)
{
    int status = NEOQ_OK;
    if (!store->cluster)
        return check_server(&store->url, store->pool, store->url.connect_timeout);
    rd_cluster_each(store->cluster, check_node, &status);
    return status;
}

static int open_parts(neoq_store *store, const neoq_store_config *config)
{
    int status = rd_url_parse(&store->url, config->url, config->options);
    if (status == NEOQ_OK)
        status = store->url.cluster ? rd_cluster_open(&store->cluster, &store->url, config->options)
                                    : rd_pool_open(&store->pool, &store->url, config->options);
    if (status == NEOQ_OK)
        status = rd_bell_open(&store->bell, &store->url, store->cluster, config->options, config->clock);
    store->agenda = rd_agenda_open();
    store->arrivals = rd_arrivals_open(config->options, store->url.shown);
    if (status == NEOQ_OK && !(store->agenda && store->arrivals))
        status = nq_fail(NEOQ_ENOMEM, "no memory to open a store in Redis");
    if (status == NEOQ_OK)
        status = rd_measure_time(store);
    if (status == NEOQ_OK)
        status = check_servers(store);
    return status;
}

static int rd_open(neoq_store **out, const neoq_store_config *config)
{
    neoq_store *store = calloc(1, sizeof *store);
    if (!store)
        return nq_fail(NEOQ_ENOMEM, "no memory to open a store in Redis");
    store->options = config->options;
    store->clock = config->clock;
    store->real_time = config->clock == &nq_real_clock;
    rd_shas_fill(&store->shas);
    nq_place_find(store->place);
    for (int i = 0; i < RD_LANES; i++)
        nq_group_init(&store->lanes[i]);
    pthread_mutex_init(&store->clock_mutex, NULL);
    pthread_mutex_init(&store->hold_mutex, NULL);
    pthread_rwlock_init(&store->exchange_lock, NULL);
    int status = open_parts(store, config);
    if (status != NEOQ_OK) {
        rd_close(store);
        return status;
    }
    *out = store;
    return NEOQ_OK;
}

/* ---- operations ------------------------------------------------------------------------- */

static void rd_wait(neoq_store *store, uint64_t seen, int64_t until)
{
    rd_bell_wait(store->bell, seen, until);
}

static void rd_wake(neoq_store *store)
{
    rd_bell_ring(store->bell);
}

static bool rd_strict(neoq_store *store)
{
    return store->url.strict;
}

const neoq_backend nq_redis_backend = {
    .version = NEOQ_BACKEND_VERSION,
    .size = sizeof(neoq_backend),
    .scheme = "redis",
    .open = rd_open,
    .close = rd_close,
    .enqueue = rd_enqueue,
    .exchange = rd_exchange,
    .release = rd_release,
    .wait = rd_wait,
    .wake = rd_wake,
    .beat = rd_beat,
    .tend = rd_tend,
    .find = rd_find,
    .get = rd_get,
    .runs = rd_runs,
    .steer = rd_steer,
    .purge = rd_purge,
    .queues = rd_queues,
    .set_queue = rd_set_queue,
    .workers = rd_workers,
    .schedules = rd_schedules,
    .set_schedule = rd_set_schedule,
    .remove_schedule = rd_remove_schedule,
    .tick = rd_tick_schedule,
    .set_progress = rd_set_progress,
    .get_progress = rd_get_progress,
    .doctor = rd_doctor,
    .now = rd_now,
    .lanes = 2,
    .strict = rd_strict,
};
