/* SPDX-License-Identifier: MIT
 *
 * A server that has lost what it had acknowledged is found out, and one that has not is not accused.
 */
#include "redis/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/redis.h"
#include "backend/redis/arrivals.h"
#include "base/clock.h"

static const char accusation[] = "it has lost what it had acknowledged";
static const neoq_backend *const backend = &nq_redis_backend;

static void enqueue(neoq_store *store, int count)
{
    static int number;
    for (int i = 0; i < count; i++) {
        char id[37];
        neoq_enqueued result;
        snprintf(id, sizeof id, "01900000-0000-7000-8000-%012d", ++number);
        neoq_time now = backend->now(store);
        const neoq_job job = {.id = id,
                              .queue = "q",
                              .payload = "1",
                              .payload_size = 1,
                              .max_retries = 3,
                              .unique = NEOQ_UNIQUE_OFF,
                              .state = NEOQ_READY,
                              .run_after = now,
                              .created_at = now};
        assert_int_equal(NEOQ_OK, backend->enqueue(store, &job, 1, &result));
        assert_int_equal(NEOQ_OK, result.status);
    }
}

static void join(neoq_store *store)
{
    const neoq_beat beat = {.worker = {.id = "0123", .host = "here", .pid = 1},
                            .lease = NEOQ_SECONDS(30),
                            .join = true};
    assert_int_equal(NEOQ_OK, backend->beat(store, &beat));
}

/* Looks for work, as an idle worker does now and then. */
static void claim(neoq_store *store)
{
    neoq_claimed run = {0};
    const neoq_claim one = {.queue = "q", .limit = 1};
    neoq_exchange x = {.worker = "0123", .claims = &one, .claim_count = 1, .runs = &run};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    if (x.run_count > 0)
        backend->release(store, &run);
}

/* By a power cut, as far as its memory is concerned. */
static void crash(base *b)
{
    assert_true(redis_kill(b->server));
    assert_true(redis_again(b->server));
}

static void assert_accused(base *b, const char *words)
{
    if (log_lines(b, words) != 1 || log_lines(b, accusation) != 1)
        fail_msg("not once in the log: %s\n%s", words, b->log);
}

static void test_a_server_without_persistence_forgets_all(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    neoq_store *store = open_store(b);
    enqueue(store, 3);
    crash(b);
    enqueue(store, 2);
    assert_accused(b, "of queue \"q\" it had told of 3 arrivals, and now of 0, so 3 or more are gone");
    backend->close(store);
}

static void test_a_server_with_snapshots_forgets_what_came_since(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, (const char *const[]){"save=3600 1000000", NULL});
    neoq_store *store = open_store(b);
    enqueue(store, 2);
    assert_true(redis_do(b->server, 0, NULL, 0, "SAVE"));
    enqueue(store, 3);
    crash(b);
    join(store);
    claim(store);
    claim(store);
    assert_accused(b, "of queue \"q\" it had told of 5 arrivals, and now of 2, so 3 or more are gone");
    backend->close(store);
}

static void test_a_server_that_is_emptied_is_found_out(void **state)
{
    base *b = *state;
    neoq_store *store = open_store(b);
    enqueue(store, 3);
    assert_true(redis_do(b->server, b->database, NULL, 0, "FLUSHDB"));
    join(store);
    claim(store);
    assert_accused(b, "of queue \"q\" it had told of 3 arrivals, and now of 0");
    enqueue(store, 1);
    assert_true(redis_do(b->server, b->database, NULL, 0, "FLUSHDB"));
    enqueue(store, 1);
    assert_int_equal(2, log_lines(b, accusation)); /* and again */
    backend->close(store);
}

/* The address of the master, which dies, becomes that of a replica that has not heard of all. */
static void test_a_replica_that_lagged_is_found_out(void **state)
{
    base *b = *state;
    char setting[64], seq[64] = "", from[512], to[512];
    own_server(b, REDIS_PORT, NULL);
    snprintf(setting, sizeof setting, "replicaof=127.0.0.1 %d", redis_port(b->server));
    redis_server *replica = redis_start(REDIS_SOCKET, (const char *const[]){setting, NULL});
    assert_non_null(replica);
    neoq_store *store = open_store(b);
    enqueue(store, 2);
    eventually(redis_do(replica, 0, seq, sizeof seq, "HGET asynq:{q}:neoq seq") && strcmp(seq, "2") == 0);
    assert_true(redis_do(replica, 0, NULL, 0, "REPLICAOF 127.0.0.1 1")); /* where nobody is */
    enqueue(store, 3);
    assert_true(redis_kill(b->server));
    assert_true(redis_do(replica, 0, NULL, 0, "REPLICAOF NO ONE"));
    snprintf(from, sizeof from, "%s/socket", redis_folder(replica));
    snprintf(to, sizeof to, "%s/socket", redis_folder(b->server));
    assert_int_equal(0, rename(from, to));
    enqueue(store, 1);
    assert_accused(b, "of queue \"q\" it had told of 5 arrivals, and now of 2, so 3 or more are gone");
    backend->close(store);
    redis_end(replica);
}

static void test_a_server_that_keeps_all_is_not_accused(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, (const char *const[]){"appendonly=yes", "appendfsync=always", NULL});
    neoq_store *store = open_store(b);
    for (int i = 0; i < 3; i++) {
        enqueue(store, 3);
        crash(b);
        enqueue(store, 1);
    }
    join(store);
    claim(store);
    assert_true(redis_stop(b->server));
    assert_true(redis_again(b->server));
    claim(store);
    enqueue(store, 1);
    assert_int_equal(0, log_lines(b, accusation));
    backend->close(store);
}

static void test_a_queue_that_is_removed_is_no_loss(void **state)
{
    base *b = *state;
    neoq_store *store = open_store(b);
    join(store);
    enqueue(store, 3);
    assert_int_equal(NEOQ_OK, backend->set_queue(store, "q", NEOQ_QUEUE_REMOVE, 0));
    claim(store);
    enqueue(store, 1);
    claim(store);
    assert_int_equal(0, log_lines(b, accusation));
    backend->close(store);
}

/* ---- the arrivals by itself ----------------------------------------------------------------- */

/* An instant later than all before. */
static int64_t later(void)
{
    int64_t before = nq_steady();
    while (nq_steady() == before)
        ;
    return nq_steady();
}

static void test_answers_may_overtake_each_other(void **state)
{
    base *b = *state;
    rd_arrivals *arrivals = rd_arrivals_open(&b->options, "here");
    int64_t first = later(), second = later();
    rd_arrivals_take(arrivals, "q", second, 5, 7);
    rd_arrivals_take(arrivals, "q", first, 3, 5); /* it was found before the other */
    assert_int_equal(0, log_lines(b, accusation));
    rd_arrivals_take(arrivals, "q", later(), 6, 6); /* the 7 were known */
    assert_int_equal(1, log_lines(b, "told of 7 arrivals, and now of 6"));
    rd_arrivals_take(arrivals, "q", second, 9, 9); /* from before the loss: it tells nothing of what is there now */
    rd_arrivals_take(arrivals, "q", later(), 6, 8);
    rd_arrivals_take(arrivals, "other", later(), 1, 1);
    assert_int_equal(1, log_lines(b, accusation));
    rd_arrivals_take(arrivals, "q", later(), 7, 7);
    assert_int_equal(1, log_lines(b, "told of 8 arrivals, and now of 7"));
    rd_arrivals_close(arrivals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_a_server_without_persistence_forgets_all),
        on_base(test_a_server_with_snapshots_forgets_what_came_since),
        on_base(test_a_server_that_is_emptied_is_found_out),
        on_base(test_a_replica_that_lagged_is_found_out),
        on_base(test_a_server_that_keeps_all_is_not_accused),
        on_base(test_a_queue_that_is_removed_is_no_loss),
        on_base(test_answers_may_overtake_each_other),
    };
    return cmocka_run_group_tests_name("arrivals", tests, NULL, NULL);
}
