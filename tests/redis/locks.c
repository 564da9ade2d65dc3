/* SPDX-License-Identifier: MIT
 *
 * The locks of fingerprints: those of jobs that are there, and no others.
 */
#include "redis/support.h"

#include <stdio.h>
#include <string.h>

#include "backend/redis/redis.h"

static const neoq_backend *const backend = &nq_redis_backend;

typedef struct unique {
    char id[NEOQ_ID_SIZE], print[17];
} unique;

/* Enqueues a job whose id ends with that number, and whose fingerprint is of that letter, and is kept when it is done. */
static int put(neoq_store *store, unsigned number, char letter)
{
    unique u;
    neoq_enqueued result;
    neoq_time now = backend->now(store);
    snprintf(u.id, sizeof u.id, "01900000-0000-7000-8000-%012u", number);
    memset(u.print, letter, sizeof u.print);
    u.print[sizeof u.print - 1] = '\0';
    const neoq_job job = {.id = u.id,
                          .queue = "q",
                          .payload = "1",
                          .payload_size = 1,
                          .fingerprint = u.print,
                          .unique = NEOQ_UNIQUE_ON,
                          .retention = NEOQ_FOREVER,
                          .state = NEOQ_READY,
                          .run_after = now,
                          .created_at = now};
    assert_int_equal(NEOQ_OK, backend->enqueue(store, &job, 1, &result));
    return result.status;
}

static void assert_locks(base *b, const char *count)
{
    char answer[100];
    assert_true(redis_do(b->server, b->database, answer, sizeof answer, "EVAL %s 0",
                         "return #redis.call('KEYS', 'asynq:{q}:unique:*')"));
    assert_string_equal(count, answer);
}

/* Runs what is there, and keeps it. */
static void finish_one(neoq_store *store)
{
    const neoq_beat beat = {.worker = {.id = "0123", .host = "here", .pid = 1},
                            .lease = NEOQ_SECONDS(30),
                            .join = true};
    neoq_claimed run = {0};
    const neoq_claim claim = {.queue = "q", .limit = 1};
    neoq_exchange x = {.worker = "0123", .claims = &claim, .claim_count = 1, .runs = &run};
    assert_int_equal(NEOQ_OK, backend->beat(store, &beat));
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    assert_int_equal(1, x.run_count);
    neoq_settlement done = {.id = run.job.id,
                            .epoch = run.job.epoch,
                            .hold = run.hold,
                            .state = NEOQ_DONE,
                            .run_after = run.job.run_after,
                            .outcome = "done",
                            .started_at = run.job.ran_at,
                            .finished_at = run.job.ran_at};
    x = (neoq_exchange){.settlements = &done, .settlement_count = 1};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    assert_int_equal(NEOQ_OK, done.status);
    backend->release(store, &run);
}

static void test_a_job_that_finds_no_room_takes_none(void **state)
{
    base *b = *state;
    neoq_store *store = open_store(b);
    assert_int_equal(NEOQ_OK, backend->set_queue(store, "q", NEOQ_QUEUE_CAPACITY, 1));
    assert_int_equal(NEOQ_OK, put(store, 1, 'a'));
    assert_int_equal(NEOQ_EFULL, put(store, 2, 'b'));
    assert_locks(b, "1");
    backend->close(store);
}

static void test_a_job_that_is_there_already_takes_none(void **state)
{
    base *b = *state;
    neoq_store *store = open_store(b);
    assert_int_equal(NEOQ_OK, put(store, 1, 'a'));
    finish_one(store);
    assert_locks(b, "0");
    assert_int_equal(NEOQ_OK, put(store, 1, 'a'));
    assert_locks(b, "0");
    backend->close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_a_job_that_finds_no_room_takes_none),
        on_base(test_a_job_that_is_there_already_takes_none),
    };
    return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
