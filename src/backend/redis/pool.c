/* SPDX-License-Identifier: MIT */
#include "backend/redis/pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

/* A connection at rest. */
typedef struct resting {
    rd_connection *connection;
    int64_t since;
} resting;

struct rd_pool {
    const rd_url *url;
    const neoq_options *options;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    resting *idle; /* room for max_conns; the last used last */
    size_t idle_count;
    int open;     /* connections there are, idle, taken or being made */
    bool probing; /* after a failure, one caller tries for all */
    nq_redial redial;
    rd_failure failure; /* the last */
    int64_t down_since; /* 0 = connections can be had */
    bool opening;       /* what goes wrong is told to the caller, not to the log */
};

/* ---- trouble ---------------------------------------------------------------------------- */

/* What there is to be said to the log, once the mutex is free. */
typedef struct news {
    bool down, up;
    neoq_duration lasted;
    char words[512];
} news;

static void tell(const rd_pool *pool, const news *n)
{
    const char *shown = pool->url->shown;
    if (n->down)
        nq_log(pool->options, NEOQ_LOG_WARN, "Redis %s: no connection to be had, trying again: %s", shown, n->words);
    if (n->up)
        nq_log(pool->options, NEOQ_LOG_INFO, "Redis %s: connected again after %.1f s", shown,
               (double)n->lasted / 1e6);
}

/* The mutex is held. */
static void note_failure(rd_pool *pool, const rd_failure *failure, news *n)
{
    int64_t now = nq_steady();
    nq_redial_failed(&pool->redial, now);
    pool->failure = *failure;
    if (pool->down_since || pool->opening)
        return;
    pool->down_since = now;
    n->down = true;
    snprintf(n->words, sizeof n->words, "%s", failure->words);
}

/* The mutex is held. */
static void note_success(rd_pool *pool, news *n)
{
    n->up = pool->down_since != 0;
    n->lasted = nq_steady() - pool->down_since;
    pool->down_since = 0;
    pool->redial = (nq_redial){0};
}

/* ---- connections come and go ------------------------------------------------------------ */

/* Connects; the mutex is held before and after. NULL: pool->failure tells why. */
static rd_connection *add_connection(rd_pool *pool, const nq_bound *bound)
{
    news n = {0};
    rd_failure failure;
    bool probe = pool->redial.failures > 0;
    pool->open++;
    pool->probing = pool->probing || probe;
    pthread_mutex_unlock(&pool->mutex);

    rd_connection *c = rd_connect(pool->url, bound, &failure);

    pthread_mutex_lock(&pool->mutex);
    if (probe)
        pool->probing = false;
    if (c) {
        note_success(pool, &n);
    } else {
        pool->open--;
        note_failure(pool, &failure, &n);
    }
    pthread_cond_broadcast(&pool->changed); /* who waited for the outcome */
    pthread_mutex_unlock(&pool->mutex);
    tell(pool, &n);
    pthread_mutex_lock(&pool->mutex);
    return c;
}

static void discard(rd_pool *pool, rd_connection *c)
{
    rd_disconnect(c);
    pthread_mutex_lock(&pool->mutex);
    pool->open--;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
}

/* Closes those that have rested since `latest` or longer. The mutex is held. */
static void close_rested(rd_pool *pool, int64_t latest)
{
    size_t n = 0;
    while (n < pool->idle_count && pool->idle[n].since <= latest)
        rd_disconnect(pool->idle[n++].connection);
    pool->idle_count -= n;
    pool->open -= (int)n;
    memmove(pool->idle, pool->idle + n, pool->idle_count * sizeof *pool->idle);
}

/* ---- take and give ---------------------------------------------------------------------- */

static int fail_to_take(const rd_pool *pool, neoq_duration patience)
{
    const rd_url *url = pool->url;
    double seconds = (double)patience / 1e6;
    if (pool->open >= url->max_conns)
        return nq_fail(NEOQ_ETIMEOUT,
                       "Redis %s: all %d connections were in use for %g s; nothing was done "
                       "(pool_max_conns in the URL allows more)",
                       url->shown, url->max_conns, seconds);
    return nq_fail(NEOQ_ETIMEOUT, "Redis %s: no connection within %g s; nothing was done: %s", url->shown, seconds,
                   pool->failure.words);
}

static int fail_to_connect(const rd_pool *pool)
{
    return nq_fail(pool->failure.status, "Redis %s: %s", pool->url->shown, pool->failure.words);
}

int rd_pool_take_within(rd_pool *pool, neoq_duration patience, bool urgent, rd_connection **out)
{
    nq_bound bound = nq_within(patience);
    int most = pool->url->max_conns + urgent;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        if (pool->idle_count > 0) {
            rd_connection *one = pool->idle[--pool->idle_count].connection;
            pthread_mutex_unlock(&pool->mutex);
            if (rd_connection_alive(one)) {
                *out = one;
                return NEOQ_OK;
            }
            discard(pool, one);
            pthread_mutex_lock(&pool->mutex);
            continue;
        }
        int64_t now = nq_steady(), until = bound.until;
        if (now >= until)
            break;
        if (pool->open < most && !pool->probing) {
            if (now >= pool->redial.next) {
                *out = add_connection(pool, &bound);
                if (!*out && !pool->failure.lasting)
                    continue;
                int status = *out ? NEOQ_OK : fail_to_connect(pool);
                pthread_mutex_unlock(&pool->mutex);
                return status;
            }
            until = pool->redial.next < until ? pool->redial.next : until;
        }
        nq_cond_wait(&pool->changed, &pool->mutex, &nq_real_clock, until);
    }
    int status = fail_to_take(pool, patience);
    pthread_mutex_unlock(&pool->mutex);
    *out = NULL;
    return status;
}

int rd_pool_take(rd_pool *pool, rd_connection **out)
{
    return rd_pool_take_within(pool, pool->url->connect_timeout, false, out);
}

void rd_pool_give(rd_pool *pool, rd_connection *c)
{
    int64_t now = nq_steady();
    bool deserted = rd_connection_silent(c) || rd_connection_read_only(c), alive = !deserted && rd_connection_fit(c);
    pthread_mutex_lock(&pool->mutex);
    close_rested(pool, deserted ? INT64_MAX : now - pool->url->max_conn_idle_time);
    alive = alive && pool->open <= pool->url->max_conns;
    if (alive)
        pool->idle[pool->idle_count++] = (resting){c, now};
    else
        pool->open--;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
    if (!alive)
        rd_disconnect(c);
}

int rd_pool_command(rd_pool *pool, int argc, const char *const *argv, bool again, redisReply **out)
{
    *out = NULL;
    for (int tries = 1;; tries++) {
        rd_connection *c;
        int status = rd_pool_take(pool, &c);
        if (status != NEOQ_OK)
            return status;
        nq_bound bound = nq_within(pool->url->call_timeout);
        status = rd_command(c, &bound, argc, argv, out);
        bool broke = status != NEOQ_OK && rd_descriptor(c) < 0;
        bool repeat = broke && (again || status == NEOQ_EBACKEND) && !rd_connection_silent(c) &&
                      tries <= pool->url->max_conns; /* each that rested may just have been closed */
        rd_pool_give(pool, c);
        if (!repeat)
            return status;
    }
}

/* ---- open and close --------------------------------------------------------------------- */

static int connect_first(rd_pool *pool)
{
    nq_bound bound = nq_within(pool->url->connect_timeout);
    pthread_mutex_lock(&pool->mutex);
    pool->opening = true;
    rd_connection *c = add_connection(pool, &bound);
    pool->opening = false;
    if (c)
        pool->idle[pool->idle_count++] = (resting){c, nq_steady()};
    int status = c ? NEOQ_OK : fail_to_connect(pool);
    pthread_mutex_unlock(&pool->mutex);
    return status;
}

int rd_pool_create(rd_pool **out, const rd_url *url, const neoq_options *options)
{
    *out = NULL;
    rd_pool *pool = calloc(1, sizeof *pool);
    resting *idle = calloc((size_t)url->max_conns, sizeof *idle);
    if (!pool || !idle) {
        free(pool);
        free(idle);
        return nq_fail(NEOQ_ENOMEM, "no memory for connections to Redis");
    }
    pool->url = url;
    pool->options = options;
    pool->idle = idle;
    pthread_mutex_init(&pool->mutex, NULL);
    nq_cond_init(&pool->changed);
    *out = pool;
    return NEOQ_OK;
}

int rd_pool_open(rd_pool **out, const rd_url *url, const neoq_options *options)
{
    int status = rd_pool_create(out, url, options);
    if (status == NEOQ_OK)
        status = connect_first(*out);
    if (status != NEOQ_OK) {
        rd_pool_close(*out);
        *out = NULL;
    }
    return status;
}

void rd_pool_close(rd_pool *pool)
{
    if (!pool)
        return;
    close_rested(pool, INT64_MAX);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->idle);
    free(pool);
}
