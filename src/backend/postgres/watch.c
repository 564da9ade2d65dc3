/* SPDX-License-Identifier: MIT */
#include "backend/postgres/watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/dial.h"
#include "backend/postgres/store.h"
#include "base/clock.h"

enum { WATCHED = 128, LEAST_PAUSE_MS = 5, MOST_PAUSE_MS = 100, FAILED_PAUSE_MS = 1000, GIVE_UP_MINUTES = 10 };

typedef struct watched {
    int64_t transaction, since; /* steady */
} watched;

struct pg_watch {
    neoq_store *store;
    pthread_t thread;
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t changed;
    bool stop;
    watched list[WATCHED];
    size_t count;
    neoq_duration pause; /* to the next question */
};

void pg_watch_add(pg_watch *watch, int64_t transaction)
{
    pthread_mutex_lock(&watch->mutex);
    for (size_t i = 0; i < watch->count; i++)
        if (watch->list[i].transaction == transaction) {
            pthread_mutex_unlock(&watch->mutex);
            return;
        }
    if (watch->count == WATCHED) /* the oldest is left to the poll */
        memmove(watch->list, watch->list + 1, --watch->count * sizeof *watch->list);
    watch->list[watch->count++] = (watched){transaction, nq_steady()};
    watch->pause = NEOQ_MILLISECONDS(LEAST_PAUSE_MS);
    if (watch->count == 1)
        pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->mutex);
}

/* Which of them go on: into list, their count into *count. */
static int ask(pg_pool *pool, watched *list, size_t *count)
{
    static const pg_statement statement = {
        "neoq_going_on", "SELECT x FROM unnest($1::int8[]) x WHERE pg_xact_status(x::text::xid8) = 'in progress'"};
    pg_build b = {0};
    pg_array_begin(&b, PG_INT8);
    for (size_t i = 0; i < *count; i++)
        pg_put_int8(&b, list[i].transaction);
    pg_array_end(&b);
    const pg_params *params = pg_built(&b);
    PGresult *rows = NULL;
    int status = params ? pg_pool_run(pool, &statement, params, true, &rows) : NEOQ_ENOMEM;
    *count = (size_t)PQntuples(rows);
    for (int row = 0; row < PQntuples(rows); row++)
        list[row].transaction = pg_int(rows, row, 0);
    PQclear(rows);
    pg_build_free(&b);
    return status;
}

static bool goes_on(int64_t transaction, const watched *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].transaction == transaction)
            return true;
    return false;
}

static void tell(neoq_store *store)
{
    pg_queues_rewind(store);
    pg_bell_announce(store->bell);
}

/* Asks once. The mutex is held, and let go meanwhile. */
static void look(pg_watch *watch)
{
    watched asked[WATCHED], left[WATCHED];
    size_t asked_count = watch->count, left_count = asked_count, kept = 0;
    memcpy(asked, watch->list, asked_count * sizeof *asked);
    memcpy(left, asked, asked_count * sizeof *left);
    watch->pause =
        watch->pause >= NEOQ_MILLISECONDS(MOST_PAUSE_MS / 2) ? NEOQ_MILLISECONDS(MOST_PAUSE_MS) : watch->pause * 2;
    pthread_mutex_unlock(&watch->mutex);
    int status = ask(watch->store->pool, left, &left_count);
    if (status == NEOQ_OK && left_count < asked_count)
        tell(watch->store);
    int64_t forget = nq_steady() - NEOQ_MINUTES(GIVE_UP_MINUTES);
    pthread_mutex_lock(&watch->mutex);
    if (status != NEOQ_OK)
        watch->pause = NEOQ_MILLISECONDS(FAILED_PAUSE_MS);
    for (size_t i = 0; i < watch->count; i++) {
        int64_t transaction = watch->list[i].transaction;
        bool over =
            status == NEOQ_OK && goes_on(transaction, asked, asked_count) && !goes_on(transaction, left, left_count);
        if (!over && watch->list[i].since > forget)
            watch->list[kept++] = watch->list[i];
    }
    watch->count = kept;
}

static void *watch_them(void *arg)
{
    pg_watch *watch = arg;
    pthread_mutex_lock(&watch->mutex);
    while (!watch->stop) {
        int64_t until = watch->count > 0 ? nq_steady() + watch->pause : INT64_MAX;
        while (!watch->stop && (watch->count == 0 || nq_steady() < until)) {
            nq_cond_wait(&watch->changed, &watch->mutex, &nq_real_clock, until);
            if (until == INT64_MAX && watch->count > 0)
                until = nq_steady() + watch->pause;
        }
        if (!watch->stop)
            look(watch);
    }
    pthread_mutex_unlock(&watch->mutex);
    return NULL;
}

pg_watch *pg_watch_open(neoq_store *store)
{
    pg_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    watch->store = store;
    pthread_mutex_init(&watch->mutex, NULL);
    nq_cond_init(&watch->changed);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool begun = pthread_create(&watch->thread, NULL, watch_them, watch) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (begun)
        return watch;
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->mutex);
    free(watch);
    return NULL;
}

void pg_watch_close(pg_watch *watch)
{
    if (!watch)
        return;
    pthread_mutex_lock(&watch->mutex);
    watch->stop = true;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->mutex);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->mutex);
    free(watch);
}
