/* SPDX-License-Identifier: MIT
 *
 * A connection to a real server: who we are, pipelines, bounds, and what is said of a call that got no answer.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "redis/support.h"

/* ---- commands --------------------------------------------------------------------------- */

static void test_a_pipeline_is_answered_in_order_and_an_error_is_one_reply_of_it(void **state)
{
    base *b = *state;
    rd_connection *c = open_connection(b, NULL);
    assert_int_equal(NEOQ_OK, append(c, "SET a 1"));
    assert_int_equal(NEOQ_OK, append(c, "LPUSH a x"));
    assert_int_equal(NEOQ_OK, append(c, "INCR a"));
    assert_int_equal(3, rd_owed(c));
    assert_reply(c, "OK");
    assert_reply(c, "WRONGTYPE");
    assert_reply(c, "2");
    assert_int_equal(0, rd_owed(c));
    assert_true(rd_connection_alive(c));
    rd_disconnect(c);
}

static void test_bytes_go_through_as_they_are(void **state)
{
    base *b = *state;
    rd_connection *c = open_connection(b, NULL);
    static const char bytes[] = "a\0b\r\n$3\r\n";
    redisReply *reply;
    nq_bound bound = patiently();
    const char *const set[] = {"SET", bytes, bytes}, *const get[] = {"GET", bytes};
    const size_t lengths[] = {3, sizeof bytes, sizeof bytes};
    assert_int_equal(NEOQ_OK, rd_append(c, 3, set, lengths));
    assert_reply(c, "OK");
    assert_int_equal(NEOQ_OK, rd_append(c, 2, get, lengths));
    assert_int_equal(NEOQ_OK, rd_reply(c, &bound, &reply));
    assert_int_equal(sizeof bytes, reply->len);
    assert_memory_equal(bytes, reply->str, sizeof bytes);
    freeReplyObject(reply);
    rd_disconnect(c);
}

/* Each way more than the sockets and the server's buffers take: who sends all before it reads waits for ever. */
static void test_a_pipeline_larger_than_every_buffer_does_not_stand_still(void **state)
{
    enum { COMMANDS = 200, SIZE = 200000 };
    base *b = *state;
    rd_connection *c = open_connection(b, NULL);
    nq_bound bound = patiently();
    char *bytes = calloc(1, SIZE);
    const char *const argv[] = {"ECHO", bytes};
    const size_t lengths[] = {4, SIZE};
    for (int i = 0; i < COMMANDS; i++)
        assert_int_equal(NEOQ_OK, rd_append(c, 2, argv, lengths));
    for (int i = 0; i < COMMANDS; i++) {
        redisReply *reply;
        assert_int_equal(NEOQ_OK, rd_reply(c, &bound, &reply));
        assert_int_equal(SIZE, reply->len);
        freeReplyObject(reply);
    }
    assert_true(rd_connection_alive(c));
    free(bytes);
    rd_disconnect(c);
}

/* The server says nothing before it has all of it. */
static void test_a_command_larger_than_every_buffer_is_sent_whole(void **state)
{
    enum { SIZE = 20000000 };
    base *b = *state;
    rd_connection *c = open_connection(b, NULL);
    nq_bound bound = patiently();
    redisReply *reply;
    char *bytes = calloc(1, SIZE);
    const char *const argv[] = {"ECHO", bytes};
    const size_t lengths[] = {4, SIZE};
    assert_int_equal(NEOQ_OK, rd_append(c, 2, argv, lengths));
    assert_int_equal(NEOQ_OK, rd_reply(c, &bound, &reply));
    assert_int_equal(SIZE, reply->len);
    freeReplyObject(reply);
    free(bytes);
    rd_disconnect(c);
}

static void test_a_command_of_one_call_says_what_the_server_has_against_it(void **state)
{
    base *b = *state;
    rd_connection *c = open_connection(b, NULL);
    nq_bound bound = patiently();
    redisReply *reply;
    assert_int_equal(NEOQ_EBACKEND, rd_command(c, &bound, 2, (const char *const[]){"NONSENSE", "sEcReT"}, &reply));
    assert_null(reply);
    assert_words("unknown command 'NONSENSE'");
    assert_null(strstr(neoq_error_message(), "sEcReT"));
    assert_true(rd_connection_alive(c));
    rd_disconnect(c);
}

/* ---- who we are, and where -------------------------------------------------------------- */

static void test_the_database_is_the_urls_and_the_server_knows_our_name(void **state)
{
    base *b = *state;
    char answer[64];
    rd_connection *c = open_connection(b, NULL);
    append(c, "SET here 1");
    append(c, "CLIENT GETNAME");
    assert_reply(c, "OK");
    assert_reply(c, "neoq");
    assert_true(redis_do(b->server, b->database, answer, sizeof answer, "EXISTS here"));
    assert_string_equal("1", answer);
    rd_disconnect(c);
    char text[600];
    snprintf(text, sizeof text, "%s&db=999999", b->url);
    assert_no_connection(b, text, NEOQ_SECONDS(20), NEOQ_EBACKEND, "out of range");
}

static void test_passwords_and_users(void **state)
{
    base *b = *state;
    char text[300];
    own_server(b, REDIS_PORT,
               (const char *const[]){"requirepass=s:cret", "user=bob on >bobs ~* &* +@all -@dangerous", NULL});
    int port = redis_port(b->server);
    snprintf(text, sizeof text, "redis://:s%%3Acret@127.0.0.1:%d", port);
    rd_connection *c = open_connection(b, text);
    append(c, "ACL WHOAMI");
    assert_reply(c, "default");
    rd_disconnect(c);
    snprintf(text, sizeof text, "redis://bob:bobs@127.0.0.1:%d/3", port);
    c = open_connection(b, text);
    append(c, "SET x 1");
    append(c, "FLUSHALL");
    assert_reply(c, "OK");
    assert_reply(c, "NOPERM");
    rd_disconnect(c);
    snprintf(text, sizeof text, "redis://bob:wrong@127.0.0.1:%d", port);
    assert_no_connection(b, text, NEOQ_SECONDS(20), NEOQ_EBACKEND, "WRONGPASS");
    snprintf(text, sizeof text, "redis://127.0.0.1:%d", port);
    assert_no_connection(b, text, NEOQ_SECONDS(20), NEOQ_EBACKEND, "write redis://user:password@host");
}

static void test_a_password_where_there_is_none_is_told(void **state)
{
    base *b = *state;
    char text[300];
    own_server(b, REDIS_PORT, NULL);
    snprintf(text, sizeof text, "redis://:sEcReT@127.0.0.1:%d", redis_port(b->server));
    assert_no_connection(b, text, NEOQ_SECONDS(20), NEOQ_EBACKEND, "the URL has a password and the server has none");
}

static void test_names_are_looked_up_and_unknown_ones_told(void **state)
{
    base *b = *state;
    char text[300];
    own_server(b, REDIS_PORT, NULL);
    snprintf(text, sizeof text, "redis://localhost:%d", redis_port(b->server));
    rd_disconnect(open_connection(b, text));
    assert_no_connection(b, "redis://no-such-host.invalid", NEOQ_SECONDS(60), NEOQ_EBACKEND, "no-such-host.invalid");
    assert_no_connection(b, "redis+unix:///no/such/socket", NEOQ_SECONDS(20), NEOQ_EBACKEND, "No such file");
    assert_no_connection(b, "redis://127.0.0.1:1", NEOQ_SECONDS(20), NEOQ_EBACKEND, "Connection refused");
}

static void test_looking_up_a_name_is_left_when_it_is_to_end(void **state)
{
    base *b = *state;
    rd_failure failure;
    nq_bound over = {INT64_MAX, eventfd(1, EFD_CLOEXEC)};
    assert_null(rd_connect(read_url(b, "redis://localhost:1"), &over, &failure));
    assert_int_equal(NEOQ_ETIMEOUT, failure.status);
    assert_non_null(strstr(failure.words, "looking up the host \"localhost\" took too long"));
    close(over.stop_fd);
}

/* ---- servers in trouble ----------------------------------------------------------------- */

static void test_a_frozen_server_takes_no_longer_than_the_bound(void **state)
{
    base *b = *state;
    redisReply *reply;
    own_server(b, REDIS_SOCKET, NULL);
    rd_connection *c = open_connection(b, NULL);
    assert_true(redis_freeze(b->server));
    assert_no_connection(b, NULL, NEOQ_MILLISECONDS(50), NEOQ_ETIMEOUT, "did not answer in time");
    append(c, "SET a 1");
    append(c, "SET b 1");
    nq_bound bound = nq_within(NEOQ_MILLISECONDS(50));
    assert_int_equal(NEOQ_EUNKNOWN, rd_reply(c, &bound, &reply));
    assert_words("whether it was done is not known");
    assert_null(reply);
    assert_int_equal(-1, rd_descriptor(c));
    assert_true(rd_connection_silent(c));
    assert_int_equal(NEOQ_EUNKNOWN, rd_reply(c, &bound, &reply)); /* so is the second one's */
    assert_true(redis_thaw(b->server));
    rd_disconnect(c);
}

static void test_a_server_that_is_killed_breaks_the_connection(void **state)
{
    base *b = *state;
    redisReply *reply;
    nq_bound bound = patiently();
    own_server(b, REDIS_SOCKET, NULL);
    rd_connection *c = open_connection(b, NULL), *blocked = open_connection(b, NULL);
    append(blocked, "BLPOP nothing 0");
    nq_bound now = nq_within(0);
    assert_false(rd_await(blocked, &now)); /* it is sent now */
    assert_true(redis_kill(b->server));
    assert_false(rd_connection_alive(c));
    append(c, "SET a 1");
    assert_int_equal(NEOQ_EBACKEND, rd_reply(c, &bound, &reply));
    assert_words("nothing was done");
    assert_int_equal(NEOQ_EUNKNOWN, rd_reply(blocked, &bound, &reply));
    assert_words("whether it was done is not known");
    assert_no_connection(b, NULL, NEOQ_SECONDS(20), NEOQ_EBACKEND, "refused");
    rd_disconnect(c);
    rd_disconnect(blocked);
}

static void test_a_server_that_loads_its_data_is_not_ready_yet(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET,
               (const char *const[]){"save=3600 1", "key-load-delay=20000",
                                     "loading-process-events-interval-bytes=1024", NULL});
    assert_true(redis_do(b->server, 0, NULL, 0, "EVAL %s 0",
                         "for i = 1, 300 do redis.call('SET', 'key' .. i, string.rep('x', 500)) end"));
    assert_true(redis_stop(b->server)); /* which saves them */
    assert_true(redis_again(b->server));
    assert_no_connection(b, NULL, NEOQ_SECONDS(20), NEOQ_EBACKEND, "LOADING");
}

static void test_too_many_clients_are_told_apart_from_a_wrong_password(void **state)
{
    base *b = *state;
    rd_failure failure;
    nq_bound bound = patiently();
    own_server(b, REDIS_SOCKET, (const char *const[]){"maxclients=1", NULL});
    rd_connection *c = open_connection(b, NULL);
    assert_null(rd_connect(read_url(b, NULL), &bound, &failure));
    assert_non_null(strstr(failure.words, "max number of clients"));
    assert_false(failure.lasting);
    rd_disconnect(c);
}

static void test_a_replica_is_refused(void **state)
{
    base *b = *state;
    char setting[64];
    own_server(b, REDIS_PORT, NULL);
    snprintf(setting, sizeof setting, "replicaof=127.0.0.1 %d", redis_port(b->server));
    redis_server *replica = redis_start(REDIS_PORT, (const char *const[]){setting, NULL});
    assert_non_null(replica);
    char text[64];
    snprintf(text, sizeof text, "redis://127.0.0.1:%d", redis_port(replica));
    assert_no_connection(b, text, NEOQ_SECONDS(20), NEOQ_EBACKEND, "no master but a slave");
    redis_end(replica);
}

/* ---- waiting ---------------------------------------------------------------------------- */

typedef struct waiter {
    rd_connection *connection;
    int stop_fd;
    bool heard;
} waiter;

static void *wait_for_reply(void *arg)
{
    waiter *w = arg;
    nq_bound bound = {INT64_MAX, w->stop_fd};
    w->heard = rd_await(w->connection, &bound);
    return NULL;
}

static void test_another_thread_ends_a_wait_and_nothing_is_lost(void **state)
{
    base *b = *state;
    pthread_t thread;
    static char answer[65536]; /* others may be on the server */
    waiter w = {.connection = open_connection(b, NULL), .stop_fd = eventfd(0, EFD_CLOEXEC)};
    append(w.connection, "BLPOP list 0");
    pthread_create(&thread, NULL, wait_for_reply, &w);
    eventually(redis_do(b->server, b->database, answer, sizeof answer, "CLIENT LIST") && strstr(answer, "cmd=blpop"));
    eventfd_write(w.stop_fd, 1);
    pthread_join(thread, NULL);
    assert_false(w.heard);
    assert_int_equal(1, rd_owed(w.connection));
    eventfd_t value;
    eventfd_read(w.stop_fd, &value);

    pthread_create(&thread, NULL, wait_for_reply, &w);
    assert_true(redis_do(b->server, b->database, NULL, 0, "LPUSH list x"));
    pthread_join(thread, NULL);
    assert_true(w.heard);
    redisReply *reply;
    nq_bound now = nq_within(0);
    assert_int_equal(NEOQ_OK, rd_reply(w.connection, &now, &reply));
    assert_string_equal("x", reply->element[1]->str);
    freeReplyObject(reply);
    assert_true(rd_connection_alive(w.connection));
    rd_disconnect(w.connection);
    close(w.stop_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_a_pipeline_is_answered_in_order_and_an_error_is_one_reply_of_it),
        on_base(test_bytes_go_through_as_they_are),
        on_base(test_a_pipeline_larger_than_every_buffer_does_not_stand_still),
        on_base(test_a_command_larger_than_every_buffer_is_sent_whole),
        on_base(test_a_command_of_one_call_says_what_the_server_has_against_it),
        on_base(test_the_database_is_the_urls_and_the_server_knows_our_name),
        on_base(test_passwords_and_users),
        on_base(test_a_password_where_there_is_none_is_told),
        on_base(test_names_are_looked_up_and_unknown_ones_told),
        on_base(test_looking_up_a_name_is_left_when_it_is_to_end),
        on_base(test_a_frozen_server_takes_no_longer_than_the_bound),
        on_base(test_a_server_that_is_killed_breaks_the_connection),
        on_base(test_a_server_that_loads_its_data_is_not_ready_yet),
        on_base(test_too_many_clients_are_told_apart_from_a_wrong_password),
        on_base(test_a_replica_is_refused),
        on_base(test_another_thread_ends_a_wait_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
