/* SPDX-License-Identifier: MIT
 *
 * Sentinels: real ones, that watch a real master and its replica.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis/support.h"

/* Each sentinel's port, or 0. */
static const char *url_by(int first, int second, const char *more)
{
    static char text[300];
    if (second)
        snprintf(text, sizeof text, "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d/%s", first, second, more);
    else
        snprintf(text, sizeof text, "redis+sentinel://127.0.0.1:%d/%s", first, more);
    return text;
}

static void assert_port(rd_connection *c, int port)
{
    char text[16];
    redisReply *reply;
    nq_bound bound = patiently();
    snprintf(text, sizeof text, "%d", port);
    assert_int_equal(NEOQ_OK, rd_command(c, &bound, 3, (const char *const[]){"CONFIG", "GET", "port"}, &reply));
    assert_string_equal(text, reply->element[1]->str);
    freeReplyObject(reply);
}

static void test_the_master_is_found_and_after_its_end_the_new_one(void **state)
{
    base *b = *state;
    watched w;
    redisReply *reply;
    rd_pool *pool;
    watch(&w);
    int sentinel = redis_port(w.sentinel);
    rd_connection *c = open_connection(b, url_by(sentinel, 0, "main/2"));
    assert_port(c, redis_port(w.master));
    append(c, "SET here 1");
    assert_reply(c, "OK");
    assert_true(redis_do(w.master, 2, NULL, 0, "GETDEL here"));
    rd_disconnect(c);

    assert_int_equal(NEOQ_OK,
                     rd_pool_open(&pool, read_url(b, url_by(sentinel, 0, "main?connect_timeout=1s")), &b->options));
    assert_answer(pool, "INCR n", "1");
    char answer[64];
    eventually(redis_do(w.replica, 0, answer, sizeof answer, "GET n") && strcmp(answer, "1") == 0);
    assert_true(redis_kill(w.master));
    eventually(rd_pool_command(pool, 2, (const char *const[]){"INCR", "n"}, false, &reply) == NEOQ_OK);
    assert_int_equal(2, reply->integer);
    freeReplyObject(reply);
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &c));
    assert_port(c, redis_port(w.replica));
    rd_pool_give(pool, c);
    rd_pool_close(pool);
    watch_end(&w);
}

/* One that still names the old master, and one that does not answer at all. */
static void test_a_stale_or_silent_sentinel_does_not_mislead(void **state)
{
    base *b = *state;
    watched w;
    watch(&w);
    redis_server *stale = start_sentinel(w.replica, "sentinel=down-after-milliseconds main 60000");
    assert_no_connection(b, url_by(redis_port(stale), 0, "main"), NEOQ_SECONDS(20), NEOQ_EBACKEND,
                         "no master but a slave");
    rd_connection *c = open_connection(b, url_by(redis_port(stale), redis_port(w.sentinel), "main"));
    assert_port(c, redis_port(w.master));
    rd_disconnect(c);
    assert_true(redis_freeze(stale));
    rd_failure failure;
    nq_bound none = nq_within(NEOQ_FOREVER); /* which the silent one does not use up */
    c = rd_connect(read_url(b, url_by(redis_port(stale), redis_port(w.sentinel), "main")), &none, &failure);
    assert_non_null(c);
    assert_port(c, redis_port(w.master));
    rd_disconnect(c);
    assert_true(redis_thaw(stale));
    redis_end(stale);
    watch_end(&w);
}

static void test_a_name_that_no_sentinel_knows_is_told_and_lasts(void **state)
{
    base *b = *state;
    watched w;
    rd_failure failure;
    nq_bound bound = patiently();
    watch(&w);
    assert_no_connection(b, url_by(redis_port(w.sentinel), 0, "other"), NEOQ_SECONDS(20), NEOQ_EBACKEND,
                         "it knows no master \"other\"");
    assert_null(rd_connect(read_url(b, url_by(redis_port(w.sentinel), 0, "other")), &bound, &failure));
    assert_true(failure.lasting);
    for (int order = 0; order < 2; order++) { /* the one that is away may know */
        int port = redis_port(w.sentinel);
        const char *text = order ? url_by(1, port, "other") : url_by(port, 1, "other");
        assert_null(rd_connect(read_url(b, text), &bound, &failure));
        assert_false(failure.lasting);
        assert_non_null(strstr(failure.words, "refused"));
        assert_non_null(strstr(failure.words, "it knows no master"));
    }
    watch_end(&w);
}

static void test_sentinels_have_passwords_of_their_own(void **state)
{
    base *b = *state;
    redis_server *master = redis_start(REDIS_PORT, (const char *const[]){"requirepass=masters", NULL});
    assert_non_null(master);
    redis_server *sentinel = start_sentinel(master, "requirepass=sentinels");
    char text[300];
    snprintf(text, sizeof text, "redis+sentinel://:masters@127.0.0.1:%d/main?sentinel_password=sentinels",
             redis_port(sentinel));
    rd_connection *c = open_connection(b, text);
    assert_port(c, redis_port(master));
    rd_disconnect(c);
    snprintf(text, sizeof text, "redis+sentinel://:masters@127.0.0.1:%d/main", redis_port(sentinel));
    assert_no_connection(b, text, NEOQ_SECONDS(20), NEOQ_EBACKEND, "NOAUTH");
    redis_end(sentinel);
    redis_end(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_the_master_is_found_and_after_its_end_the_new_one),
        on_base(test_a_stale_or_silent_sentinel_does_not_mislead),
        on_base(test_a_name_that_no_sentinel_knows_is_told_and_lasts),
        on_base(test_sentinels_have_passwords_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
