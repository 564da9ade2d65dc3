/* SPDX-License-Identifier: MIT
 *
 * A lock on an SQLite file that somebody holds for longer than a lease: nobody can renew his meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <neoq.h>
#include <sqlite3.h>

#include "backend/sqlite/sqlite.h"

#define LEASE NEOQ_SECONDS(30)

static const neoq_backend *const backend = &nq_sqlite_backend;

/* ---- a clock that is set by hand, and knows when it was looked at -------------------------- */

static atomic_int_fast64_t steady_time = NEOQ_HOURS(1);
static atomic_int looks;

static neoq_time now(const neoq_clock *clock)
{
    (void)clock;
    return NEOQ_HOURS(500000) + atomic_load(&steady_time);
}

static int64_t steady(const neoq_clock *clock)
{
    (void)clock;
    atomic_fetch_add(&looks, 1);
    return atomic_load(&steady_time);
}

static uint64_t random_bits(const neoq_clock *clock)
{
    (void)clock;
    return 42;
}

static int64_t left(const neoq_clock *clock, int64_t until)
{
    (void)clock;
    (void)until;
    return -1;
}

static const neoq_clock by_hand = {.now = now, .steady = steady, .random = random_bits, .left = left};

/* ---- a worker ------------------------------------------------------------------------------ */

typedef struct worker {
    neoq_store *store;
    neoq_beat beat;
    int status;
} worker;

static const neoq_options options = {.lease = LEASE, .connect_timeout = NEOQ_SECONDS(30)};

static worker join(const char *url, const char *id)
{
    const neoq_store_config config = {.url = url, .options = &options, .clock = &by_hand};
    worker w = {.beat = {.worker = {.pid = getpid()}, .lease = LEASE, .join = true}};
    snprintf(w.beat.worker.id, sizeof w.beat.worker.id, "%s", id);
    assert_int_equal(NEOQ_OK, backend->open(&w.store, &config));
    assert_int_equal(NEOQ_OK, backend->beat(w.store, &w.beat));
    w.beat.join = false;
    return w;
}

static void *renew(void *arg)
{
    worker *w = arg;
    w->status = backend->beat(w->store, &w->beat);
    return NULL;
}

static void tend(const worker *w)
{
    neoq_claimed lost[1];
    size_t count;
    assert_int_equal(NEOQ_OK, backend->tend(w->store, 1, lost, &count));
}

static void test_a_lock_held_for_longer_than_a_lease_costs_nobody_his(void **state)
{
    char folder[] = "/tmp/neoq-XXXXXX", path[64], url[80];
    sqlite3 *other;
    pthread_t thread;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/jobs.db", folder);
    snprintf(url, sizeof url, "sqlite:%s", path);
    worker slow = join(url, "slow"), quick = join(url, "quick");
    assert_int_equal(SQLITE_OK, sqlite3_open(path, &other));
    assert_int_equal(SQLITE_OK, sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    int before = atomic_load(&looks);
    assert_int_equal(0, pthread_create(&thread, NULL, renew, &quick));
    while (atomic_load(&looks) == before) /* it asks for the lock right after that */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_fetch_add(&steady_time, LEASE + NEOQ_SECONDS(10));
    assert_int_equal(SQLITE_OK, sqlite3_exec(other, "COMMIT", NULL, NULL, NULL));
    pthread_join(thread, NULL);
    assert_int_equal(NEOQ_OK, quick.status);
    /* The quick one comes first. */
    tend(&quick);
    renew(&slow);
    assert_int_equal(NEOQ_OK, slow.status);
    /* Without such a lock, a lease that is over is over. */
    atomic_fetch_add(&steady_time, LEASE + NEOQ_SECONDS(1));
    tend(&quick);
    renew(&slow);
    assert_int_equal(NEOQ_ELOST, slow.status);
    sqlite3_close(other);
    backend->close(slow.store);
    backend->close(quick.store);
    for (const char *const *end = (const char *const[]){"", "-wal", "-shm", NULL}; *end; end++) {
        snprintf(url, sizeof url, "%s%s", path, *end);
        unlink(url);
    }
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lock_held_for_longer_than_a_lease_costs_nobody_his),
    };
    return cmocka_run_group_tests_name("sqlite_stall", tests, NULL, NULL);
}
