/* SPDX-License-Identifier: MIT
 *
 * What a batch of calls says that was not answered in full: never that nothing was done where something may have been.
 */
#include "redis/support.h"

#include <neoq/backend.h>

#include "backend/redis/batch.h"
#include "backend/redis/redis.h"

static void put_call(rd_batch *batch, const char *command, const char *key, const char *value)
{
    rd_begin(batch, command);
    rd_put_text(batch, key);
    if (value)
        rd_put_text(batch, value);
}

/* Its server ends before it answers, and is away when the call is repeated. */
static neoq_store *open_on_own_server(base *b)
{
    own_server(b, REDIS_SOCKET, NULL);
    b->options.connect_timeout = NEOQ_SECONDS(1);
    return open_store(b);
}

static void test_an_answer_that_was_lost_stays_lost(void **state)
{
    rd_batch batch = {0};
    neoq_store *store = open_on_own_server(*state);
    put_call(&batch, "SHUTDOWN", "NOSAVE", NULL);
    assert_int_equal(NEOQ_EUNKNOWN, rd_send(store, &batch, true));
    assert_words("whether it was done is not known; repeating it failed: ");
    assert_int_equal(NEOQ_ETIMEOUT, rd_send(store, &batch, true));
    assert_words("nothing was done");
    rd_batch_free(&batch);
    nq_redis_backend.close(store);
}

static void test_who_only_looks_knows_that_nothing_was_done(void **state)
{
    rd_batch batch = {0};
    neoq_store *store = open_on_own_server(*state);
    put_call(&batch, "SHUTDOWN", "NOSAVE", NULL);
    assert_int_equal(NEOQ_EBACKEND, rd_read(store, &batch));
    assert_words("the connection broke");
    rd_batch_free(&batch);
    nq_redis_backend.close(store);
}

static void test_a_part_that_was_done_is_not_nothing(void **state)
{
    rd_batch batch = {0}, refused = {0};
    neoq_store *store = open_store(*state);
    put_call(&batch, "SET", "text", "x");
    put_call(&batch, "LPUSH", "text", "x");
    assert_int_equal(NEOQ_EUNKNOWN, rd_write(store, &batch));
    assert_words("part of it was done");
    assert_words("WRONGTYPE");
    put_call(&refused, "LPUSH", "text", "x");
    assert_int_equal(NEOQ_EBACKEND, rd_write(store, &refused));
    assert_words("WRONGTYPE");
    rd_batch_free(&batch);
    rd_batch_free(&refused);
    nq_redis_backend.close(store);
}

/* Larger than any command may be; nobody looks into it. */
static void put_too_much(rd_batch *batch)
{
    rd_begin(batch, "SET");
    rd_put_text(batch, "much");
    rd_put(batch, "", (size_t)2 << 30);
}

static void assert_stored(base *b, const char *key, bool stored)
{
    rd_pool *pool = open_pool(b, "");
    char command[64];
    snprintf(command, sizeof command, "EXISTS %s", key);
    assert_answer(pool, command, stored ? "1" : "0");
}

static void test_what_cannot_go_out_whole_does_not_go_out(void **state)
{
    rd_batch batch = {0};
    neoq_store *store = open_store(*state);
    put_call(&batch, "SET", "first", "x");
    put_too_much(&batch);
    assert_int_equal(NEOQ_ETOOBIG, rd_send(store, &batch, false));
    assert_null(rd_answer_of(&batch, 0));
    assert_stored(*state, "first", false);
    rd_batch_free(&batch);
    nq_redis_backend.close(store);
}

static bool put_one_then_too_much(rd_batch *batch, void *arg)
{
    int *pieces = arg;
    if (++*pieces == 1)
        put_call(batch, "SET", "first", "x");
    else
        put_too_much(batch);
    return true;
}

static void test_of_what_goes_out_in_pieces_the_first_are_answered(void **state)
{
    int pieces = 0;
    rd_batch batch = {.more = put_one_then_too_much, .arg = &pieces};
    neoq_store *store = open_store(*state);
    assert_int_equal(NEOQ_ETOOBIG, rd_send(store, &batch, false));
    assert_int_equal(2, pieces);
    assert_true(rd_is_text(rd_answer_of(&batch, 0), "OK"));
    assert_null(rd_answer_of(&batch, 1));
    assert_stored(*state, "first", true);
    rd_batch_free(&batch);
    nq_redis_backend.close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_an_answer_that_was_lost_stays_lost),
        on_base(test_who_only_looks_knows_that_nothing_was_done),
        on_base(test_a_part_that_was_done_is_not_nothing),
        on_base(test_what_cannot_go_out_whole_does_not_go_out),
        on_base(test_of_what_goes_out_in_pieces_the_first_are_answered),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
