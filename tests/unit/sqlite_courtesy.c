/* SPDX-License-Identifier: MIT
 *
 * sqlite/courtesy: who waits for the write lock for long is heard by the others, until he has it or is gone, and they let
 * him go first. The library's naps are counted, and long, as on a busy machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <neoq.h>
#include <sqlite3.h>

#include "backend/sqlite/courtesy.h"

static atomic_int naps;

/* In the place of the C library's. */
int nanosleep(const struct timespec *asked, struct timespec *left)
{
    (void)asked;
    (void)left;
    atomic_fetch_add(&naps, 1);
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 5000000}, NULL);
}

typedef struct place {
    char folder[20], path[40], wal[48], url[48];
} place;

static place make_place(void)
{
    place p = {.folder = "/tmp/neoq-XXXXXX"};
    assert_non_null(mkdtemp(p.folder));
    snprintf(p.path, sizeof p.path, "%s/jobs.db", p.folder);
    snprintf(p.wal, sizeof p.wal, "%s-wal", p.path);
    snprintf(p.url, sizeof p.url, "sqlite:%s", p.path);
    return p;
}

static void remove_place(const place *p)
{
    remove(p->wal);
    remove(p->path);
    assert_int_equal(0, rmdir(p->folder));
}

static void test_who_asks_is_heard_until_he_is_served_or_gone(void **state)
{
    sq_courtesy here, there, third;
    place p = make_place();
    (void)state;
    FILE *file = fopen(p.wal, "w");
    assert_non_null(file);
    fclose(file);
    sq_courtesy_open(&here, p.wal);
    sq_courtesy_open(&there, p.wal);
    sq_courtesy_open(&third, p.wal);
    assert_false(sq_courtesy_wanted(&here));
    sq_courtesy_ask(&there);
    sq_courtesy_ask(&third);
    assert_true(sq_courtesy_wanted(&here));
    sq_courtesy_give_way(&here); /* for a moment, not for ever */
    sq_courtesy_served(&there);
    assert_true(sq_courtesy_wanted(&here));
    sq_courtesy_close(&third); /* as if it had been killed */
    assert_false(sq_courtesy_wanted(&here));
    sq_courtesy_ask(&there);
    assert_true(sq_courtesy_wanted(&here));
    sq_courtesy_close(&here);
    sq_courtesy_close(&there);
    remove_place(&p);
}

static void test_where_there_is_no_file_nobody_is_heard(void **state)
{
    sq_courtesy nowhere;
    (void)state;
    sq_courtesy_open(&nowhere, "/nowhere/jobs.db-wal");
    sq_courtesy_ask(&nowhere);
    assert_false(sq_courtesy_wanted(&nowhere));
    sq_courtesy_served(&nowhere);
    sq_courtesy_close(&nowhere);
}

static void test_a_writer_gives_way(void **state)
{
    place p = make_place();
    sq_courtesy other;
    neoq *nq;
    (void)state;
    assert_int_equal(NEOQ_OK, neoq_open(&nq, p.url, NULL));
    sq_courtesy_open(&other, p.wal);
    sq_courtesy_ask(&other);
    int before = atomic_load(&naps);
    assert_int_equal(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q", .payload = "1"}, NULL));
    assert_true(atomic_load(&naps) > before);
    sq_courtesy_served(&other);
    before = atomic_load(&naps);
    assert_int_equal(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q", .payload = "2"}, NULL));
    assert_int_equal(before, atomic_load(&naps));
    sq_courtesy_close(&other);
    neoq_close(nq);
    remove_place(&p);
}

/* If looks were counted, one each half millisecond, there would be 600. */
static void test_patience_is_measured_by_the_clock(void **state)
{
    place p = make_place();
    sqlite3 *other;
    neoq *nq;
    (void)state;
    const neoq_options options = {.connect_timeout = NEOQ_MILLISECONDS(300)};
    assert_int_equal(NEOQ_OK, neoq_open(&nq, p.url, &options));
    assert_int_equal(SQLITE_OK, sqlite3_open(p.path, &other));
    assert_int_equal(SQLITE_OK, sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    int before = atomic_load(&naps);
    assert_int_equal(NEOQ_ETIMEOUT, neoq_enqueue(nq, &(neoq_job){.queue = "q"}, NULL));
    assert_true(atomic_load(&naps) - before < 300);
    sqlite3_close(other);
    neoq_close(nq);
    remove_place(&p);
}

static void *enqueue(void *nq)
{
    return neoq_enqueue(nq, &(neoq_job){.queue = "q"}, NULL) == NEOQ_OK ? nq : NULL;
}

static void test_who_waits_for_long_asks(void **state)
{
    place p = make_place();
    sq_courtesy observer;
    sqlite3 *other;
    neoq *nq;
    pthread_t thread;
    void *done;
    (void)state;
    assert_int_equal(NEOQ_OK, neoq_open(&nq, p.url, NULL));
    assert_int_equal(SQLITE_OK, sqlite3_open(p.path, &other));
    assert_int_equal(SQLITE_OK, sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    sq_courtesy_open(&observer, p.wal);
    assert_int_equal(0, pthread_create(&thread, NULL, enqueue, nq));
    while (!sq_courtesy_wanted(&observer))
        sched_yield();
    assert_int_equal(SQLITE_OK, sqlite3_exec(other, "COMMIT", NULL, NULL, NULL));
    pthread_join(thread, &done);
    assert_ptr_equal(nq, done);
    assert_false(sq_courtesy_wanted(&observer));
    sqlite3_close(other);
    sq_courtesy_close(&observer);
    neoq_close(nq);
    remove_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_asks_is_heard_until_he_is_served_or_gone),
        cmocka_unit_test(test_where_there_is_no_file_nobody_is_heard),
        cmocka_unit_test(test_a_writer_gives_way),
        cmocka_unit_test(test_who_waits_for_long_asks),
        cmocka_unit_test(test_patience_is_measured_by_the_clock),
    };
    return cmocka_run_group_tests_name("courtesy", tests, NULL, NULL);
}
