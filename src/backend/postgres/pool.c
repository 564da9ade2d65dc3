/* SPDX-License-Identifier: MIT */
#include "backend/postgres/pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/server_clock.h"

typedef enum trouble { NO_TROUBLE, NO_CONNECTION, READ_ONLY } trouble;

struct pg_pool {
    const pg_settings *settings;
    const neoq_options *options;
    const neoq_clock *clock;

    pthread_mutex_t mutex; /* of what follows, up to the atomics */
    pthread_cond_t changed;
    pg_conn *idle; /* the last used first */
    int open;      /* connections there are, idle, taken or being made */
    bool probing;  /* after a failure, one caller tries for all */
    nq_redial redial;
    pg_failure failure; /* the last */
    trouble trouble;
    int64_t trouble_since, tended;
    size_t host;
    bool opening;     /* what goes wrong is told to the caller, not to the log */
    bool pooler_told; /* in the log */

    atomic_bool pooler;
    atomic_int lost;
    nq_server_clock server_clock;
};

bool pg_pool_is_pooled(const pg_pool *pool)
{
    return atomic_load(&pool->pooler);
}

/* ---- the server's time ------------------------------------------------------------------ */

neoq_time pg_pool_now(pg_pool *pool)
{
    return pool->clock == &nq_real_clock ? nq_server_clock_at(&pool->server_clock, nq_steady())
                                         : pool->clock->now(pool->clock);
}

/* The mutex is held. */
static void adopt_time(pg_pool *pool, const pg_conn *conn)
{
    nq_server_clock_take(&pool->server_clock, conn->server_time, conn->measured, conn->server_error);
}

/* ---- trouble ---------------------------------------------------------------------------- */

/* What there is to be said to the log, once the mutex is free. */
typedef struct news {
    trouble trouble, over;
    bool pooler;
    neoq_duration lasted;
    char words[512];
} news;

static void tell(const pg_pool *pool, const news *n)
{
    const char *shown = pool->settings->shown;
    if (n->trouble == NO_CONNECTION)
        nq_log(pool->options, NEOQ_LOG_WARN, "PostgreSQL %s: no connection to be had, trying again: %s", shown,
               n->words);
    else if (n->trouble == READ_ONLY)
        nq_log(pool->options, NEOQ_LOG_WARN,
               "PostgreSQL %s: the server takes no writes, looking for one that does: %s", shown, n->words);
    if (n->over == NO_CONNECTION)
        nq_log(pool->options, NEOQ_LOG_INFO, "PostgreSQL %s: connected again after %.1f s", shown,
               (double)n->lasted / 1e6);
    else if (n->over == READ_ONLY)
        nq_log(pool->options, NEOQ_LOG_INFO, "PostgreSQL %s: the server takes writes again, after %.1f s", shown,
               (double)n->lasted / 1e6);
    if (n->pooler && pool->settings->pooler_told)
        nq_log(
            pool->options, NEOQ_LOG_WARN,
            "PostgreSQL %s: prepared statements get lost, so a connection pooler in transaction mode stands between, "
            "though the URL says pooler=session",
            shown);
    else if (n->pooler)
        nq_log(pool->options, NEOQ_LOG_INFO,
               "PostgreSQL %s: a connection pooler stands between; jobs of other processes are looked for every "
               "%g s instead of being heard of (pooler=session in the URL if it gives each client a session)",
               shown, (double)pool->options->job_check_interval / 1e6);
}

/* The mutex is held. */
static void note_pooler(pg_pool *pool, news *n)
{
    if (!pool->pooler_told && pg_pool_is_pooled(pool) && !pool->settings->pooler)
        pool->pooler_told = n->pooler = true;
}

/* The mutex is held. */
static void note_failure(pg_pool *pool, trouble kind, const pg_failure *failure, news *n)
{
    nq_redial_failed(&pool->redial, nq_steady());
    pool->failure = *failure;
    if (pool->trouble != NO_TROUBLE || pool->opening)
        return;
    pool->trouble = n->trouble = kind;
    pool->trouble_since = nq_steady();
    snprintf(n->words, sizeof n->words, "%s", failure->words);
}

/* The mutex is held. */
static void note_success(pg_pool *pool, const pg_conn *conn, news *n)
{
    note_pooler(pool, n);
    adopt_time(pool, conn);
    if (pool->trouble == READ_ONLY && conn->read_only)
        return;
    n->over = pool->trouble;
    n->lasted = nq_steady() - pool->trouble_since;
    pool->trouble = NO_TROUBLE;
    pool->redial = (nq_redial){0};
}

/* ---- connections come and go ------------------------------------------------------------ */

/* Connects; the mutex is held before and after. NULL: pool->failure tells why. */
static pg_conn *add_connection(pg_pool *pool, const nq_bound *bound)
{
    news n = {0};
    pg_failure failure;
    size_t host = pool->host;
    bool probe = pool->redial.failures > 0;
    pool->open++;
    pool->probing = pool->probing || probe;
    pthread_mutex_unlock(&pool->mutex);

    pg_conn *conn = pg_conn_open(pool->settings, &host, bound, &pool->pooler, &pool->lost, &failure);
    if (conn) {
        const pg_settings *s = pool->settings;
        uint64_t jitter = (uint64_t)s->max_conn_lifetime_jitter;
        jitter = jitter ? nq_real_clock.random(&nq_real_clock) % jitter : 0;
        conn->expires = nq_time_add(nq_time_add(nq_steady(), s->max_conn_lifetime), (int64_t)jitter);
    }

    pthread_mutex_lock(&pool->mutex);
    if (probe)
        pool->probing = false;
    if (conn) {
        pool->host = host;
        note_success(pool, conn, &n);
    } else {
        pool->open--;
        note_failure(pool, NO_CONNECTION, &failure, &n);
    }
    pthread_cond_broadcast(&pool->changed); /* who waited for the outcome */
    pthread_mutex_unlock(&pool->mutex);
    tell(pool, &n);
    pthread_mutex_lock(&pool->mutex);
    return conn;
}

/* Closes a list of connections that nobody can see any more. */
static void close_all(pg_conn *list)
{
    while (list) {
        pg_conn *next = list->next;
        pg_conn_close(list);
        list = next;
    }
}

static void discard(pg_pool *pool, pg_conn *conn)
{
    pg_conn_close(conn);
    pthread_mutex_lock(&pool->mutex);
    pool->open--;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
}

/* The mutex is held. */
static pg_conn *take_idle(pg_pool *pool)
{
    pg_conn *conn = pool->idle;
    if (conn)
        pool->idle = conn->next;
    return conn;
}

/* ---- take and give ---------------------------------------------------------------------- */

static int fail_to_take(const pg_pool *pool, neoq_duration patience)
{
    const pg_settings *s = pool->settings;
    double seconds = (double)patience / 1e6;
    if (pool->open >= s->max_conns)
        return nq_fail(NEOQ_ETIMEOUT,
                       "PostgreSQL %s: all %d connections were in use for %g s; nothing was done "
                       "(pool_max_conns in the URL allows more)",
                       s->shown, s->max_conns, seconds);
    return nq_fail(NEOQ_ETIMEOUT, "PostgreSQL %s: no connection within %g s; nothing was done: %s", s->shown, seconds,
                   pool->failure.words);
}

static int fail_to_connect(const pg_pool *pool)
{
    return nq_fail(pool->failure.status, "PostgreSQL %s: %s", pool->settings->shown, pool->failure.words);
}

/* Whether this connection may go out to a caller. The server's clock is looked at on the way, now and then. */
static bool make_ready(pg_pool *pool, pg_conn *conn)
{
    int64_t now = nq_steady();
    if (now >= conn->expires || !pg_conn_alive(conn))
        return false;
    bool stale = false;
    if (pool->clock == &nq_real_clock) {
        pthread_mutex_lock(&pool->mutex);
        stale = nq_server_clock_is_stale(&pool->server_clock, now);
        pthread_mutex_unlock(&pool->mutex);
    }
    if (!stale)
        return true;
    pg_conn_measure(conn);
    if (conn->broken)
        return false;
    pthread_mutex_lock(&pool->mutex);
    adopt_time(pool, conn);
    pthread_mutex_unlock(&pool->mutex);
    return true;
}

/* urgent: there may be one more than max_conns. */
static int take(pg_pool *pool, neoq_duration patience, bool urgent, pg_conn **conn)
{
    nq_bound bound = nq_within(patience);
    int most = pool->settings->max_conns + urgent;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        pg_conn *one = take_idle(pool);
        if (one) {
            pthread_mutex_unlock(&pool->mutex);
            if (make_ready(pool, one)) {
                *conn = one;
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
                *conn = add_connection(pool, &bound);
                if (!*conn && !pg_failure_lasting(&pool->failure))
                    continue;
                int status = *conn ? NEOQ_OK : fail_to_connect(pool);
                pthread_mutex_unlock(&pool->mutex);
                return status;
            }
            until = pool->redial.next < until ? pool->redial.next : until;
        }
        nq_cond_wait(&pool->changed, &pool->mutex, &nq_real_clock, until);
    }
    int status = fail_to_take(pool, patience);
    pthread_mutex_unlock(&pool->mutex);
    return status;
}

int pg_pool_take(pg_pool *pool, pg_conn **conn)
{
    return take(pool, pool->settings->connect_timeout, false, conn);
}

/* Takes all idle connections out of the pool, for the caller to close. The mutex is held. */
static pg_conn *clear_idle(pg_pool *pool)
{
    pg_conn *all = pool->idle;
    for (pg_conn *one = all; one; one = one->next)
        pool->open--;
    pool->idle = NULL;
    return all;
}

void pg_pool_give(pg_pool *pool, pg_conn *conn)
{
    news n = {0};
    pg_conn *closing = NULL;
    int64_t now = nq_steady();
    bool useless = conn->altered || now >= conn->expires || !pg_conn_fit(conn);
    conn->used = now;
    pthread_mutex_lock(&pool->mutex);
    if (conn->broken && (conn->silent || conn->read_only)) {
        closing = clear_idle(pool); /* theirs is the same server: they would fail in the same way */
        if (conn->read_only) {
            pg_failure failure = {.status = NEOQ_EBACKEND, .state = "25006", .words = "it is read-only or a standby"};
            note_failure(pool, READ_ONLY, &failure, &n);
        }
    }
    if (useless || pool->open > pool->settings->max_conns) {
        conn->next = closing;
        closing = conn;
        pool->open--;
    } else {
        conn->next = pool->idle;
        pool->idle = conn;
    }
    note_pooler(pool, &n);
    bool due = now - pool->tended >= pool->settings->health_check_period;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
    tell(pool, &n);
    close_all(closing);
    if (due)
        pg_pool_tend(pool);
}

/* What is said of a later try does not take back that an answer was lost before, in these words. */
static int after_loss(int status, const char *lost)
{
    char words[512];
    bool later = status == NEOQ_EBACKEND || status == NEOQ_ETIMEOUT || status == NEOQ_ENOMEM;
    if (!later || !*lost)
        return status;
    snprintf(words, sizeof words, "%s", neoq_error_message());
    return nq_fail(NEOQ_EUNKNOWN, "%s; repeating it failed: %s", lost, words);
}

static int run(pg_pool *pool, neoq_duration patience, bool urgent, const pg_statement *statement,
               const pg_params *params, bool again, PGresult **rows)
{
    *rows = NULL;
    if (patience > pool->settings->connect_timeout)
        patience = pool->settings->connect_timeout;
    char lost[512] = "";
    for (int tries = 1;; tries++) {
        pg_conn *conn;
        int status = take(pool, patience, urgent, &conn);
        if (status != NEOQ_OK)
            return after_loss(status, lost);
        status = pg_run(conn, statement, params, rows);
        if (status == NEOQ_EUNKNOWN)
            snprintf(lost, sizeof lost, "%s", neoq_error_message());
        bool repeat = status != NEOQ_OK && conn->broken && !conn->silent && (again || conn->undone) && tries == 1;
        pg_pool_give(pool, conn);
        if (!repeat)
            return after_loss(status, lost);
    }
}

int pg_pool_run_within(pg_pool *pool, neoq_duration patience, const pg_statement *statement, const pg_params *params,
                       bool again, PGresult **rows)
{
    return run(pool, patience, false, statement, params, again, rows);
}

int pg_pool_run(pg_pool *pool, const pg_statement *statement, const pg_params *params, bool again, PGresult **rows)
{
    return run(pool, pool->settings->connect_timeout, false, statement, params, again, rows);
}

int pg_pool_run_urgently(pg_pool *pool, const pg_statement *statement, const pg_params *params, PGresult **rows)
{
    return run(pool, pool->settings->connect_timeout, true, statement, params, true, rows);
}

int pg_only_read(int status)
{
    char words[512];
    if (status != NEOQ_EUNKNOWN)
        return status;
    snprintf(words, sizeof words, "%s", neoq_error_message());
    return nq_fail(NEOQ_EBACKEND, "%s", words);
}

/* ---- housekeeping ----------------------------------------------------------------------- */

/* Takes out of the pool what has been there for too long. The mutex is held. */
static pg_conn *take_old(pg_pool *pool, int64_t now)
{
    const pg_settings *s = pool->settings;
    pg_conn *old = NULL;
    for (pg_conn **at = &pool->idle; *at;) {
        pg_conn *one = *at;
        bool rested = now - one->used >= s->max_conn_idle_time && pool->open > s->min_conns;
        if (now < one->expires && !rested) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        one->next = old;
        old = one;
        pool->open--;
    }
    return old;
}

void pg_pool_tend(pg_pool *pool)
{
    const pg_settings *s = pool->settings;
    int64_t now = nq_steady();
    pthread_mutex_lock(&pool->mutex);
    if (now - pool->tended < s->health_check_period) {
        pthread_mutex_unlock(&pool->mutex);
        return;
    }
    pool->tended = now;
    pg_conn *old = take_old(pool, now);
    while (pool->open < s->min_conns && pool->redial.failures == 0) {
        nq_bound bound = nq_within(NEOQ_SECONDS(1)); /* whose call this is does not want it */
        pg_conn *conn = add_connection(pool, &bound);
        if (!conn)
            break;
        conn->used = now;
        conn->next = pool->idle;
        pool->idle = conn;
        pthread_cond_signal(&pool->changed);
    }
    pthread_mutex_unlock(&pool->mutex);
    close_all(old);
}

/* ---- open and close --------------------------------------------------------------------- */

/* From which database another can be made: one of those that every server has. */
static PGconn *dial_any_database(const pg_pool *pool, const nq_bound *bound, pg_failure *failure)
{
    size_t host = 0;
    PGconn *conn = pg_dial(pool->settings, "postgres", &host, bound, failure);
    return conn ? conn : pg_dial(pool->settings, "template1", &host, bound, failure);
}

static int create_database(pg_pool *pool, const nq_bound *bound)
{
    const char *name = pool->settings->database;
    pg_failure failure;
    PGconn *conn = dial_any_database(pool, bound, &failure);
    bool done = false, raced = false;
    if (conn) {
        char *quoted = PQescapeIdentifier(conn, name, strlen(name));
        char sql[512];
        snprintf(sql, sizeof sql, "CREATE DATABASE %s", quoted ? quoted : "\"\"");
        done = quoted && strlen(quoted) < 400 && pg_command(conn, sql, bound, NULL, &failure);
        raced = !done && (strcmp(failure.state, "42P04") == 0 || strcmp(failure.state, "23505") == 0);
        PQfreemem(quoted);
        PQfinish(conn);
    }
    if (done)
        nq_log(pool->options, NEOQ_LOG_WARN, "PostgreSQL %s: database \"%s\" did not exist and was created",
               pool->settings->shown, name);
    if (done || raced)
        return NEOQ_OK;
    return nq_fail(NEOQ_EBACKEND, "PostgreSQL %s: database \"%s\" does not exist, and it could not be created: %s",
                   pool->settings->shown, name, failure.words);
}

static int connect_first(pg_pool *pool)
{
    nq_bound bound = nq_within(pool->settings->connect_timeout);
    int status = NEOQ_OK;
    pthread_mutex_lock(&pool->mutex);
    pool->opening = true;
    pg_conn *conn = add_connection(pool, &bound);
    if (!conn && strcmp(pool->failure.state, "3D000") == 0) {
        status = create_database(pool, &bound);
        conn = status == NEOQ_OK ? add_connection(pool, &bound) : NULL;
    }
    if (conn) {
        conn->used = nq_steady();
        pool->idle = conn;
    } else if (status == NEOQ_OK) {
        status = fail_to_connect(pool);
    }
    pool->opening = false;
    pthread_mutex_unlock(&pool->mutex);
    return status;
}

int pg_pool_open(pg_pool **out, const pg_settings *settings, const neoq_options *options, const neoq_clock *clock)
{
    *out = NULL;
    pg_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return nq_fail(NEOQ_ENOMEM, "no memory for connections to PostgreSQL");
    pool->settings = settings;
    pool->options = options;
    pool->clock = clock;
    atomic_init(&pool->pooler, settings->pooler);
    pthread_mutex_init(&pool->mutex, NULL);
    nq_cond_init(&pool->changed);
    int status = connect_first(pool);
    if (status != NEOQ_OK) {
        pg_pool_close(pool);
        return status;
    }
    pool->tended = INT64_MIN / 2;
    pg_pool_tend(pool);
    *out = pool;
    return NEOQ_OK;
}

void pg_pool_close(pg_pool *pool)
{
    if (!pool)
        return;
    close_all(pool->idle);
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
