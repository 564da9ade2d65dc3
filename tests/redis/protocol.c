/* SPDX-License-Identifier: MIT
 *
 * What comes from a server that is none, or has gone mad: an error and a closed connection, and no more memory than a
 * reply may take. The other end of the connection is this test.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "redis/support.h"
#include "support/random.h"

/* A connection, and what its server would hold. */
typedef struct pair {
    rd_connection *connection;
    int server;
} pair;

static pair open_pair(base *b)
{
    int fds[2];
    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    pair p = {rd_connection_open(read_url(b, NULL), fds[0], NULL), fds[1]};
    assert_non_null(p.connection);
    return p;
}

static void say(const pair *p, const char *bytes, size_t size)
{
    assert_int_equal(size, write(p->server, bytes, size));
}

static void close_pair(pair *p)
{
    rd_disconnect(p->connection);
    if (p->server >= 0)
        close(p->server);
}

static void assert_broken(pair *p, int status, const char *words)
{
    redisReply *reply;
    nq_bound bound = patiently();
    assert_int_equal(status, rd_reply(p->connection, &bound, &reply));
    assert_null(reply);
    assert_words(words);
    assert_int_equal(-1, rd_descriptor(p->connection));
    assert_false(rd_connection_alive(p->connection));
}

static void test_what_is_not_redis_is_told(void **state)
{
    base *b = *state;
    static const char *const sayings[] = {
        "HTTP/1.1 400 Bad Request\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\r\n",
        "$x\r\n",
        "$-2\r\n",
        "$99999999999999999999\r\n",
        "*x\r\n",
        "*-2\r\n",
        "*99999999999999999999\r\n",
        ":\r\n",
        ":1x\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    };
    for (size_t i = 0; i < sizeof sayings / sizeof *sayings; i++) {
        pair p = open_pair(b);
        append(p.connection, "PING");
        say(&p, sayings[i], strlen(sayings[i]));
        assert_broken(&p, NEOQ_EUNKNOWN, "it does not speak Redis's protocol");
        close_pair(&p);
    }
}

static void test_lengths_that_nobody_has_memory_for_are_refused(void **state)
{
    base *b = *state;
    static const char *const sayings[] = {
        "*2147483647\r\n",
        "*100000000\r\n",
        "*2\r\n*1\r\n:1\r\n*16777214\r\n",
    };
    for (size_t i = 0; i < sizeof sayings / sizeof *sayings; i++) {
        pair p = open_pair(b);
        append(p.connection, "PING");
        say(&p, sayings[i], strlen(sayings[i]));
        assert_broken(&p, NEOQ_EUNKNOWN, "a reply is too long");
        close_pair(&p);
    }
}

static void test_a_reply_without_end_is_cut_off(void **state)
{
    base *b = *state;
    static const char *const beginnings[] = {"$9223372036854775807\r\n", "$1000000\r\n", "*100\r\n$700\r\n", "+"};
    char bytes[700];
    memset(bytes, 'x', sizeof bytes);
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        pair p = open_pair(b);
        rd_connection_set_most(p.connection, 1000);
        append(p.connection, "PING");
        append(p.connection, "PING");
        say(&p, "$700\r\n", 6); /* each reply has its own measure */
        say(&p, bytes, 700);
        say(&p, "\r\n", 2);
        assert_reply(p.connection, "xxx");
        say(&p, beginnings[i], strlen(beginnings[i]));
        say(&p, bytes, 700);
        say(&p, "\r\n", i == 2 ? 2 : 0);
        nq_bound now = nq_within(0);
        assert_false(rd_await(p.connection, &now));
        say(&p, "$700\r\n", i == 2 ? 6 : 0);
        say(&p, bytes, 700);
        assert_broken(&p, NEOQ_EUNKNOWN, "a reply is too long");
        close_pair(&p);
    }
}

static void test_replies_come_in_pieces_of_any_size(void **state)
{
    base *b = *state;
    static const char text[] = "+OK\r\n:42\r\n$3\r\na\0b\r\n*2\r\n$-1\r\n*1\r\n+x\r\n-ERR no\r\n";
    pair p = open_pair(b);
    redisReply *reply;
    nq_bound bound = patiently(), now;
    for (int i = 0; i < 5; i++)
        append(p.connection, "PING");
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        say(&p, text + i, 1);
        now = nq_within(0);
        if (!rd_await(p.connection, &now))
            continue;
        size_t left = rd_owed(p.connection);
        assert_int_equal(NEOQ_OK, rd_reply(p.connection, &bound, &reply));
        static const int types[] = {REDIS_REPLY_ERROR, REDIS_REPLY_ARRAY, REDIS_REPLY_STRING, REDIS_REPLY_INTEGER,
                                    REDIS_REPLY_STATUS};
        assert_int_equal(types[left - 1], reply->type);
        freeReplyObject(reply);
    }
    assert_int_equal(0, rd_owed(p.connection));
    close_pair(&p);
}

static void test_the_last_words_of_a_server_are_heard(void **state)
{
    base *b = *state;
    pair p = open_pair(b);
    append(p.connection, "PING");
    append(p.connection, "PING");
    say(&p, "-ERR max number of clients reached\r\n", 36);
    close(p.server);
    p.server = -1;
    assert_reply(p.connection, "ERR max number of clients reached");
    assert_broken(&p, NEOQ_EBACKEND, "nothing was done");
    close_pair(&p);
}

/* Nobody reads, and the socket's buffers are full: the second command cannot have arrived. */
static void test_what_was_not_sent_was_not_done(void **state)
{
    base *b = *state;
    pair p = open_pair(b);
    redisReply *reply;
    nq_bound bound = nq_within(NEOQ_MILLISECONDS(20));
    char bytes[4096];
    memset(bytes, 'x', sizeof bytes);
    int fd = rd_descriptor(p.connection);
    while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    append(p.connection, "PING");
    assert_int_equal(NEOQ_ETIMEOUT, rd_reply(p.connection, &bound, &reply));
    assert_words("nothing was done");
    close_pair(&p);
}

static void test_words_out_of_turn_make_an_idle_connection_useless(void **state)
{
    base *b = *state;
    pair p = open_pair(b);
    assert_true(rd_connection_alive(p.connection));
    say(&p, "+OK\r\n", 5);
    assert_false(rd_connection_alive(p.connection));
    close_pair(&p);
    p = open_pair(b);
    append(p.connection, "PING");
    say(&p, "+PONG\r\n+OK\r\n", 12); /* heard at once */
    assert_reply(p.connection, "PONG");
    assert_int_equal(0, rd_owed(p.connection));
    assert_false(rd_connection_fit(p.connection));
    close_pair(&p);
}

static void test_random_bytes_are_read_or_refused(void **state)
{
    base *b = *state;
    static const char letters[] = "+-:$*\r\n0123456789ax";
    uint64_t seed = 5;
    const rd_url *url = read_url(b, NULL);
    for (int round = 0; round < 5000; round++) {
        int fds[2];
        char bytes[64];
        size_t size = (size_t)(random_from(&seed) % sizeof bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] = i > 0 && bytes[i - 1] == '\r' ? '\n' : letters[random_from(&seed) % (sizeof letters - 1)];
        assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
        pair p = {rd_connection_open(url, fds[0], NULL), fds[1]};
        say(&p, bytes, size);
        close(p.server);
        p.server = -1;
        redisReply *reply;
        nq_bound bound = patiently();
        while (rd_reply(p.connection, &bound, &reply) == NEOQ_OK)
            freeReplyObject(reply);
        close_pair(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_what_is_not_redis_is_told),
        on_base(test_lengths_that_nobody_has_memory_for_are_refused),
        on_base(test_a_reply_without_end_is_cut_off),
        on_base(test_replies_come_in_pieces_of_any_size),
        on_base(test_the_last_words_of_a_server_are_heard),
        on_base(test_what_was_not_sent_was_not_done),
        on_base(test_words_out_of_turn_make_an_idle_connection_useless),
        on_base(test_random_bytes_are_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
