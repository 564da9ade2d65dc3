/* SPDX-License-Identifier: MIT
 *
 * The pool: its bound, its deadlines, and what it does when servers go and come.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis/support.h"

/* ---- bounds ----------------------------------------------------------------------------- */

static void test_a_connection_is_used_again(void **state)
{
    base *b = *state;
    rd_pool *pool = open_pool(b, "&pool_max_conns=2");
    rd_connection *first, *second;
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &first));
    rd_pool_give(pool, first);
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &second));
    assert_ptr_equal(first, second);
    rd_pool_give(pool, second);
}

static void test_no_more_than_allowed_and_no_longer_than_patience(void **state)
{
    base *b = *state;
    rd_pool *pool = open_pool(b, "&pool_max_conns=1");
    rd_connection *only, *other;
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &only));
    assert_int_equal(NEOQ_ETIMEOUT, rd_pool_take_within(pool, NEOQ_MILLISECONDS(20), false, &other));
    assert_null(other);
    assert_words("all 1 connections were in use");
    assert_words("pool_max_conns");
    rd_pool_give(pool, only);
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &other));
    rd_pool_give(pool, other);
}

static void test_who_is_in_a_hurry_gets_one_more_which_is_not_kept(void **state)
{
    base *b = *state;
    rd_pool *pool = open_pool(b, "&pool_max_conns=1");
    rd_connection *only, *more, *other;
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &only));
    assert_int_equal(NEOQ_OK, rd_pool_take_within(pool, NEOQ_SECONDS(5), true, &more));
    assert_int_equal(NEOQ_ETIMEOUT, rd_pool_take_within(pool, NEOQ_MILLISECONDS(20), true, &other));
    rd_pool_give(pool, more);
    assert_int_equal(NEOQ_ETIMEOUT, rd_pool_take_within(pool, NEOQ_MILLISECONDS(20), false, &other));
    rd_pool_give(pool, only);
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &other));
    assert_ptr_equal(only, other);
    rd_pool_give(pool, other);
}

static void *take_and_give(void *arg)
{
    rd_connection *c;
    if (rd_pool_take(arg, &c) != NEOQ_OK)
        return "it was not given";
    rd_pool_give(arg, c);
    return NULL;
}

static void test_who_waits_gets_what_is_given_back(void **state)
{
    base *b = *state;
    rd_pool *pool = open_pool(b, "&pool_max_conns=1");
    rd_connection *only;
    pthread_t thread;
    void *complaint;
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &only));
    pthread_create(&thread, NULL, take_and_give, pool);
    rd_pool_give(pool, only);
    pthread_join(thread, &complaint);
    assert_null(complaint);
}

static void test_one_that_owes_a_reply_is_not_kept(void **state)
{
    base *b = *state;
    rd_pool *pool = open_pool(b, "&pool_max_conns=1");
    rd_connection *c;
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &c));
    append(c, "SET secret 1");
    rd_pool_give(pool, c);
    assert_answer(pool, "ECHO mine", "mine");
    assert_answer(pool, "EXISTS secret", "0"); /* nor was it sent */
}

/* Many threads on few connections, some of which break: each gets its own answer. */
typedef struct caller {
    rd_pool *pool;
    int number;
    bool wrong;
} caller;

static void *call_often(void *arg)
{
    caller *k = arg;
    for (int i = 0; i < 200; i++) {
        char text[32];
        redisReply *reply;
        snprintf(text, sizeof text, "%d-%d", k->number, i);
        if (rd_pool_command(k->pool, 2, (const char *const[]){"ECHO", text}, true, &reply) != NEOQ_OK) {
            k->wrong = true;
            continue;
        }
        k->wrong = k->wrong || strcmp(reply->str, text) != 0;
        freeReplyObject(reply);
        if (i % 50 == k->number &&
            rd_pool_command(k->pool, 1, (const char *const[]){"QUIT"}, false, &reply) == NEOQ_OK)
            freeReplyObject(reply);
    }
    return NULL;
}

static void test_many_threads_share_few_connections(void **state)
{
    enum { THREADS = 8 };
    base *b = *state;
    rd_pool *pool = open_pool(b, "&pool_max_conns=3");
    pthread_t threads[THREADS];
    caller callers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (caller){pool, i, false};
        pthread_create(&threads[i], NULL, call_often, &callers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(callers[i].wrong);
    }
}

/* ---- servers go and come ---------------------------------------------------------------- */

/* Over TCP, where a connection that the other side has closed takes a command without a word. */
static void test_an_idle_connection_that_broke_is_noticed_before_its_use(void **state)
{
    base *b = *state;
    redisReply *reply;
    own_server(b, REDIS_PORT, NULL);
    snprintf(b->url, sizeof b->url, "redis://127.0.0.1:%d?db=0", redis_port(b->server));
    rd_pool *pool = open_pool(b, "");
    assert_true(redis_do(b->server, 0, NULL, 0, "CLIENT KILL TYPE normal SKIPME yes"));
    /* not to be repeated, and yet it succeeds */
    if (rd_pool_command(pool, 2, (const char *const[]){"INCR", "n"}, false, &reply) != NEOQ_OK)
        fail_msg("%s", neoq_error_message());
    freeReplyObject(reply);
    assert_int_equal(0, log_lines(b, ""));
}

static void test_a_restarted_server_is_found_again_and_the_log_says_it_once(void **state)
{
    base *b = *state;
    redisReply *reply;
    own_server(b, REDIS_SOCKET, NULL);
    rd_pool *pool = open_pool(b, "&connect_timeout=200ms");
    for (size_t round = 1; round <= 2; round++) {
        assert_true(redis_kill(b->server));
        for (int i = 0; i < 3; i++)
            assert_int_equal(NEOQ_ETIMEOUT, rd_pool_command(pool, 1, (const char *const[]){"PING"}, true, &reply));
        assert_words("no connection within 0.2 s; nothing was done");
        assert_int_equal(round, log_lines(b, "warning: "));
        assert_int_equal(round, log_lines(b, "no connection to be had, trying again"));
        assert_true(redis_again(b->server));
        eventually(rd_pool_command(pool, 1, (const char *const[]){"PING"}, true, &reply) == NEOQ_OK);
        freeReplyObject(reply);
        assert_int_equal(round, log_lines(b, "info: "));
        assert_int_equal(round, log_lines(b, "connected again after"));
    }
    assert_int_equal(4, log_lines(b, ""));
}

static void *ping(void *arg)
{
    redisReply *reply;
    if (rd_pool_command(arg, 1, (const char *const[]){"PING"}, true, &reply) != NEOQ_OK)
        return "no answer";
    freeReplyObject(reply);
    return NULL;
}

/* Ends the connection that waits in BLPOP, so many times; then it gets what it waits for. */
static void *end_the_waiting_one(void *arg)
{
    enum { TIMES = 2 };
    const redis_server *server = arg;
    for (int i = 0; i < TIMES; i++) {
        char clients[16384], answer[64];
        const char *waiting = NULL;
        for (int64_t since = nq_steady(); !waiting && patient(since);)
            waiting =
                redis_do(server, 0, clients, sizeof clients, "CLIENT LIST") ? strstr(clients, "cmd=blpop") : NULL;
        const char *line = waiting;
        while (line && line > clients && line[-1] != '\n')
            line--;
        if (!line || !redis_do(server, 0, answer, sizeof answer, "CLIENT KILL ID %d", atoi(line + strlen("id="))))
            return "no connection waits";
    }
    return redis_do(server, 0, NULL, 0, "RPUSH list it") ? NULL : "nothing could be pushed";
}

/* Of those that rest none may be what it was. */
static void test_a_call_outlives_as_many_connections_as_there_may_be(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    rd_pool *pool = open_pool(b, "&pool_max_conns=2");
    pthread_t thread;
    void *complaint;
    redisReply *reply = NULL;
    pthread_create(&thread, NULL, end_the_waiting_one, b->server);
    int status = rd_pool_command(pool, 3, (const char *const[]){"BLPOP", "list", "20"}, true, &reply);
    pthread_join(thread, &complaint);
    assert_null(complaint);
    assert_int_equal(NEOQ_OK, status);
    assert_int_equal(2, reply->elements);
    assert_string_equal("it", reply->element[1]->str);
    freeReplyObject(reply);
}

static void test_who_waits_while_a_server_is_away_goes_on_when_it_is_back(void **state)
{
    enum { THREADS = 4 };
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    rd_pool *pool = open_pool(b, "&connect_timeout=20s");
    assert_true(redis_stop(b->server));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, ping, pool);
    eventually(log_lines(b, "no connection to be had") == 1);
    assert_true(redis_again(b->server));
    for (int i = 0; i < THREADS; i++) {
        void *complaint;
        pthread_join(threads[i], &complaint);
        assert_null(complaint);
    }
}

static void test_a_silent_server_takes_its_idle_connections_with_it(void **state)
{
    base *b = *state;
    char answer[4096];
    redisReply *reply;
    rd_connection *one, *two;
    own_server(b, REDIS_SOCKET, NULL);
    rd_pool *pool = open_pool(b, "&call_timeout=300ms&connect_timeout=1s");
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &one));
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &two));
    rd_pool_give(pool, one);
    rd_pool_give(pool, two);
    assert_true(redis_freeze(b->server));
    assert_int_equal(NEOQ_EUNKNOWN, rd_pool_command(pool, 2, (const char *const[]){"INCR", "n"}, true, &reply));
    assert_int_equal(NEOQ_ETIMEOUT, rd_pool_command(pool, 2, (const char *const[]){"INCR", "n"}, true, &reply));
    assert_true(redis_thaw(b->server));
    eventually(redis_do(b->server, 0, answer, sizeof answer, "CLIENT LIST") && !strstr(answer, "name=neoq"));
    assert_answer(pool, "PING", "PONG");
}

static void test_a_server_that_became_a_replica_is_left(void **state)
{
    base *b = *state;
    redisReply *reply;
    own_server(b, REDIS_PORT, NULL);
    rd_pool *pool = open_pool(b, "&connect_timeout=1s");
    assert_true(redis_do(b->server, 0, NULL, 0, "REPLICAOF 127.0.0.1 1"));
    eventually(rd_pool_command(pool, 2, (const char *const[]){"INCR", "n"}, false, &reply) == NEOQ_EBACKEND);
    assert_words("READONLY");
    assert_words("redis+sentinel://");
    assert_int_equal(NEOQ_ETIMEOUT, rd_pool_command(pool, 2, (const char *const[]){"INCR", "n"}, false, &reply));
    assert_words("no master but a slave");
    assert_true(redis_do(b->server, 0, NULL, 0, "REPLICAOF NO ONE"));
    eventually(rd_pool_command(pool, 2, (const char *const[]){"INCR", "n"}, false, &reply) == NEOQ_OK);
    freeReplyObject(reply);
    assert_int_equal(1, log_lines(b, "warning: "));
}

static void test_a_server_that_loads_its_data_is_waited_for(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET,
               (const char *const[]){"save=3600 1", "key-load-delay=1000",
                                     "loading-process-events-interval-bytes=1024", NULL});
    assert_true(redis_do(b->server, 0, NULL, 0, "EVAL %s 0",
                         "for i = 1, 300 do redis.call('SET', 'key' .. i, string.rep('x', 500)) end"));
    rd_pool *pool = open_pool(b, "&connect_timeout=20s");
    assert_true(redis_stop(b->server)); /* which saves them */
    assert_true(redis_again(b->server));
    assert_answer(pool, "EXISTS key300", "1");
    assert_int_equal(1, log_lines(b, "LOADING"));
}

/* ---- what waiting does not help --------------------------------------------------------- */

static void test_a_wrong_password_is_told_at_once(void **state)
{
    base *b = *state;
    rd_pool *pool;
    char text[128];
    own_server(b, REDIS_PORT, (const char *const[]){"requirepass=right", NULL});
    snprintf(text, sizeof text, "redis://:wrong@127.0.0.1:%d?connect_timeout=1h", redis_port(b->server));
    assert_int_equal(NEOQ_EBACKEND, rd_pool_open(&pool, read_url(b, text), &b->options));
    assert_null(pool);
    assert_words("WRONGPASS");
    assert_int_equal(0, log_lines(b, ""));
}

static void test_a_password_that_is_changed_is_told_at_once_later_too(void **state)
{
    base *b = *state;
    redisReply *reply;
    own_server(b, REDIS_SOCKET, NULL);
    rd_pool *pool = open_pool(b, "&connect_timeout=1h");
    assert_true(redis_do(b->server, 0, NULL, 0, "CONFIG SET requirepass new"));
    rd_connection *c;
    assert_int_equal(NEOQ_OK, rd_pool_take(pool, &c));
    append(c, "QUIT");
    assert_reply(c, "OK");
    rd_pool_give(pool, c);
    assert_int_equal(NEOQ_EBACKEND, rd_pool_command(pool, 1, (const char *const[]){"PING"}, true, &reply));
    assert_words("NOAUTH");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_a_connection_is_used_again),
        on_base(test_no_more_than_allowed_and_no_longer_than_patience),
        on_base(test_who_is_in_a_hurry_gets_one_more_which_is_not_kept),
        on_base(test_who_waits_gets_what_is_given_back),
        on_base(test_one_that_owes_a_reply_is_not_kept),
        on_base(test_many_threads_share_few_connections),
        on_base(test_an_idle_connection_that_broke_is_noticed_before_its_use),
        on_base(test_a_restarted_server_is_found_again_and_the_log_says_it_once),
        on_base(test_a_call_outlives_as_many_connections_as_there_may_be),
        on_base(test_who_waits_while_a_server_is_away_goes_on_when_it_is_back),
        on_base(test_a_silent_server_takes_its_idle_connections_with_it),
        on_base(test_a_server_that_became_a_replica_is_left),
        on_base(test_a_server_that_loads_its_data_is_waited_for),
        on_base(test_a_wrong_password_is_told_at_once),
        on_base(test_a_password_that_is_changed_is_told_at_once_later_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
