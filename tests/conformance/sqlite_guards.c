/* SPDX-License-Identifier: MIT
 *
 * Uniqueness in the file: the table of fresh entries and the map of them, its merges into the big one, and keys that
 * agree by chance. The public tests of uniqueness are in unique.c; these go across a merge, which takes thousands of
 * jobs, and between processes.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <neoq/sqlite.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 20000, BATCH = 1000 }; /* more than the 16,384 changes between two merges */

static int64_t number(store *s, const char *query)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_open(s->path, &db));
    assert_int_equal(SQLITE_OK, sqlite3_prepare_v2(db, query, -1, &statement, NULL));
    assert_int_equal(SQLITE_ROW, sqlite3_step(statement));
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

#define ENTRIES                                                                                                      \
    "SELECT * FROM (SELECT key, rid FROM neoq_guards UNION SELECT key, rid FROM neoq_fresh WHERE NOT gone"           \
    " EXCEPT SELECT key, rid FROM neoq_fresh WHERE gone)"
#define GUARDING "SELECT guard, rid FROM neoq_jobs WHERE state < 5 AND guard IS NOT NULL"

/* Each unfinished unique job has an entry, and no entry outlives its job. */
static void check_entries(store *s)
{
    assert_int_equal(0, number(s, "SELECT count(*) FROM (" ENTRIES " EXCEPT " GUARDING ")"));
    assert_int_equal(0, number(s, "SELECT count(*) FROM (" GUARDING " EXCEPT " ENTRIES ")"));
}

static int64_t merged(store *s)
{
    return number(s, "SELECT count(*) FROM neoq_guards");
}

/* Enqueues jobs whose payloads are the numbers from first on; returns how many were let in. */
static int enqueue_numbers(neoq *nq, int first, int count)
{
    static char payloads[BATCH][16];
    static neoq_job jobs[BATCH];
    static neoq_enqueued results[BATCH];
    int in = 0;
    for (int done = 0; done < count; done += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            snprintf(payloads[i], sizeof payloads[i], "%d", first + done + i);
            jobs[i] = (neoq_job){.queue = "guards", .payload = payloads[i]};
        }
        assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, BATCH, results));
        for (int i = 0; i < BATCH; i++)
            in += results[i].status == NEOQ_OK;
    }
    return in;
}

static void refused(neoq *nq, const char *payload)
{
    char id[NEOQ_ID_SIZE] = "";
    neoq_job job = {.queue = "guards", .payload = payload};
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &job, id));
    assert_true(has_job(nq, id));
}

static neoq *open_quickly(store *s)
{
    return store_open(s, &(neoq_options){.asynchronous_commit = true});
}

static int succeed(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    return NEOQ_OK;
}

static void test_a_merge_changes_nothing_of_what_is_unique(void **state)
{
    store *s = *state;
    neoq *nq = open_quickly(s);
    assert_int_equal(MANY, enqueue_numbers(nq, 0, MANY));
    assert_true(merged(s) > 0 && merged(s) < MANY);
    check_entries(s);
    refused(nq, "0");
    refused(nq, "19999");
    assert_int_equal(0, enqueue_numbers(nq, 0, MANY));
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "guards", .handle = succeed}));
    assert_int_equal(MANY, drain(nq).done);
    check_entries(s);
    assert_int_equal(MANY, enqueue_numbers(nq, 0, MANY));
    check_entries(s);
    refused(nq, "0");
}

static void test_two_processes_merge_in_turn(void **state)
{
    store *s = *state;
    neoq *first = open_quickly(s), *second = open_quickly(s);
    for (int i = 0; i < MANY; i += BATCH)
        assert_int_equal(BATCH, enqueue_numbers(i / BATCH % 2 ? first : second, i, BATCH));
    assert_int_equal(0, enqueue_numbers(first, 0, MANY));
    assert_int_equal(0, enqueue_numbers(second, 0, MANY));
    check_entries(s);
}

static void test_what_is_cancelled_purged_or_removed_guards_no_more(void **state)
{
    store *s = *state;
    neoq *nq = open_quickly(s);
    enqueue_numbers(nq, 0, MANY);
    char id[NEOQ_ID_SIZE] = "";
    neoq_job job = {.queue = "guards", .payload = "7"};
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &job, id));
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    check_entries(s);
    assert_status(NEOQ_OK, neoq_retry_now(nq, id));
    check_entries(s);
    refused(nq, "7");
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    put_job(nq, job, NULL);
    assert_status(NEOQ_EDUPLICATE, neoq_retry_now(nq, id));
    int64_t purged = 0;
    assert_status(NEOQ_OK, neoq_purge(nq, "guards", NEOQ_READY, &purged));
    assert_int_equal(MANY, purged);
    check_entries(s);
    assert_int_equal(MANY, enqueue_numbers(nq, 0, MANY));
    assert_status(NEOQ_OK, neoq_remove_queue(nq, "guards"));
    check_entries(s);
    assert_int_equal(0, merged(s));
}

/* The first look of a process is made in another way than the later ones. */
static void test_what_was_there_before_a_process_began_is_refused_each_time(void **state)
{
    store *s = *state;
    enqueue_numbers(open_quickly(s), 0, BATCH);
    neoq *late = store_open(s, NULL), *later = store_open(s, NULL);
    refused(late, "1");
    refused(late, "2");
    refused(late, "2");
    put(later, "guards", "1000", NULL);
    refused(later, "1");
    refused(later, "1000");
    refused(late, "1000");
}

static void test_what_another_process_lets_live_again_guards_again(void **state)
{
    store *s = *state;
    neoq *first = store_open(s, NULL), *second = store_open(s, NULL);
    char id[NEOQ_ID_SIZE] = "";
    put(first, "guards", "1", NULL);
    neoq_job job = {.queue = "guards", .payload = "2"};
    put_job(first, job, id);
    refused(first, "2");
    assert_status(NEOQ_OK, neoq_cancel(first, id));
    put_job(first, job, NULL); /* its first map knows no more of the cancelled one */
    assert_status(NEOQ_EDUPLICATE, neoq_retry_now(second, id));
    int64_t purged = 0;
    assert_status(NEOQ_OK, neoq_purge(first, "guards", NEOQ_READY, &purged));
    assert_int_equal(2, purged);
    assert_status(NEOQ_OK, neoq_retry_now(second, id));
    refused(first, "2");
    refused(second, "2");
    check_entries(s);
}

static sqlite3 *begin_transaction(store *s)
{
    sqlite3 *db = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_open(s->path, &db));
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    return db;
}

static void end_transaction(sqlite3 *db, const char *how)
{
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, how, NULL, NULL, NULL));
    assert_int_equal(SQLITE_OK, sqlite3_close(db));
}

static void put_in(neoq *nq, sqlite3 *db, const char *payload, int expected)
{
    neoq_job job = {.queue = "guards", .payload = payload};
    assert_status(expected, neoq_sqlite_enqueue(nq, db, &job, NULL));
}

/* It has no map, and merges where it would have to look through too many. */
static void test_a_transaction_of_the_users_sees_and_is_seen(void **state)
{
    store *s = *state;
    neoq *nq = open_quickly(s);
    enqueue_numbers(nq, 0, BATCH);
    refused(nq, "0");
    static const char *const ends[] = {"ROLLBACK", "COMMIT"};
    for (int i = 0; i < 2; i++) {
        sqlite3 *db = begin_transaction(s);
        put_in(nq, db, "7", NEOQ_EDUPLICATE);
        put_in(nq, db, "one more", NEOQ_OK);
        put_in(nq, db, "one more", NEOQ_EDUPLICATE);
        put_in(nq, db, "999", NEOQ_EDUPLICATE);
        end_transaction(db, ends[i]);
        assert_int_equal(i * BATCH, merged(s));
        check_entries(s);
        refused(nq, "7");
    }
    refused(nq, "one more");
}

static void test_keys_that_agree_by_chance_are_told_apart(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    /* The first half is the key. */
    neoq_job one = {.queue = "guards", .fingerprint = "0123456789abcdef0000000000000000"};
    neoq_job two = {.queue = "guards", .fingerprint = "0123456789abcdefffffffffffffffff"};
    char first[NEOQ_ID_SIZE], second[NEOQ_ID_SIZE], id[NEOQ_ID_SIZE];
    put_job(nq, one, first);
    put_job(nq, two, second);
    assert_int_equal(1, number(s, "SELECT count(DISTINCT guard) FROM neoq_jobs"));
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &one, id));
    assert_string_equal(first, id);
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &two, id));
    assert_string_equal(second, id);
    assert_status(NEOQ_OK, neoq_cancel(nq, first));
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &two, id));
    put_job(nq, one, NULL);
    check_entries(s);
}

int main(int argc, char **argv)
{
    if (!store_choose(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        on_store(test_a_merge_changes_nothing_of_what_is_unique),
        on_store(test_two_processes_merge_in_turn),
        on_store(test_what_is_cancelled_purged_or_removed_guards_no_more),
        on_store(test_what_was_there_before_a_process_began_is_refused_each_time),
        on_store(test_what_another_process_lets_live_again_guards_again),
        on_store(test_a_transaction_of_the_users_sees_and_is_seen),
        on_store(test_keys_that_agree_by_chance_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
