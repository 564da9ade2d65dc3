/* SPDX-License-Identifier: MIT
 *
 * TLS: a server with a certificate of an authority of its own, and strangers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "redis/support.h"

typedef struct files {
    char folder[64];
    char stranger[128], authority[300], certificate[300], key[300];
} files;

/* The server's own, and a certificate that has nothing to do with it. */
static void find_files(const base *b, files *f)
{
    char command[600];
    snprintf(f->folder, sizeof f->folder, "/tmp/neoq-tls-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->stranger, sizeof f->stranger, "%s/stranger.crt", f->folder);
    snprintf(f->authority, sizeof f->authority, "%s/ca.crt", redis_folder(b->server));
    snprintf(f->certificate, sizeof f->certificate, "%s/server.crt", redis_folder(b->server));
    snprintf(f->key, sizeof f->key, "%s/server.key", redis_folder(b->server));
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=stranger -keyout %s/stranger.key -out %s "
             ">%s/log 2>&1",
             f->folder, f->stranger, f->folder);
    assert_int_equal(0, system(command));
}

static void remove_files(const files *f)
{
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", f->folder);
    assert_int_equal(0, system(command));
}

static const char *url_of(const base *b, const char *host, const char *authority, const char *more)
{
    static char text[1100];
    snprintf(text, sizeof text, "rediss://%s:%d?ca=%s%s", host, redis_port(b->server), authority, more);
    return text;
}

static void test_commands_of_any_size_go_over_tls(void **state)
{
    enum { COMMANDS = 50, SIZE = 200000 };
    base *b = *state;
    files f;
    own_server(b, REDIS_TLS, NULL);
    find_files(b, &f);
    rd_connection *c = open_connection(b, url_of(b, "127.0.0.1", f.authority, ""));
    nq_bound bound = patiently();
    char *bytes = malloc(SIZE);
    memset(bytes, 'x', SIZE);
    const char *const argv[] = {"ECHO", bytes};
    const size_t lengths[] = {4, SIZE};
    for (int i = 0; i < COMMANDS; i++)
        assert_int_equal(NEOQ_OK, rd_append(c, 2, argv, lengths));
    for (int i = 0; i < COMMANDS; i++) {
        redisReply *reply;
        assert_int_equal(NEOQ_OK, rd_reply(c, &bound, &reply));
        assert_int_equal(SIZE, reply->len);
        assert_memory_equal(bytes, reply->str, SIZE);
        freeReplyObject(reply);
    }
    assert_true(rd_connection_alive(c));
    free(bytes);
    rd_disconnect(c);
    remove_files(&f);
}

static void test_the_name_is_the_hosts_or_as_the_url_says(void **state)
{
    base *b = *state;
    files f;
    own_server(b, REDIS_TLS, NULL);
    find_files(b, &f);
    rd_disconnect(open_connection(b, url_of(b, "127.0.0.1", f.authority, "&tls_name=redis.test")));
    assert_no_connection(b, url_of(b, "127.0.0.1", f.authority, "&tls_name=elsewhere.test"), NEOQ_SECONDS(20),
                         NEOQ_EBACKEND, "hostname mismatch");
    assert_no_connection(b, url_of(b, "127.0.0.1", f.authority, "&tls_name=127.0.0.2"), NEOQ_SECONDS(20),
                         NEOQ_EBACKEND, "IP address mismatch");
    assert_no_connection(b, url_of(b, "localhost", f.authority, ""), NEOQ_SECONDS(20), NEOQ_EBACKEND,
                         "hostname mismatch");
    remove_files(&f);
}

static void test_a_server_that_is_not_to_be_trusted_is_refused(void **state)
{
    base *b = *state;
    files f;
    char text[128];
    own_server(b, REDIS_TLS, NULL);
    find_files(b, &f);
    assert_no_connection(b, url_of(b, "127.0.0.1", f.stranger, ""), NEOQ_SECONDS(20), NEOQ_EBACKEND,
                         "not to be trusted");
    assert_no_connection(b, url_of(b, "127.0.0.1", "/no/such/file.pem", ""), NEOQ_SECONDS(20), NEOQ_EBACKEND,
                         "/no/such/file.pem");
    snprintf(text, sizeof text, "rediss://127.0.0.1:%d", redis_port(b->server)); /* the system's authorities */
    assert_no_connection(b, text, NEOQ_SECONDS(20), NEOQ_EBACKEND, "not to be trusted");
    rd_failure failure;
    nq_bound bound = patiently();
    assert_null(rd_connect(read_url(b, text), &bound, &failure));
    assert_true(failure.lasting);
    remove_files(&f);
}

static void test_a_server_may_want_our_certificate(void **state)
{
    base *b = *state;
    files f;
    char more[700];
    own_server(b, REDIS_TLS, (const char *const[]){"tls-auth-clients=yes", NULL});
    find_files(b, &f);
    assert_no_connection(b, url_of(b, "127.0.0.1", f.authority, ""), NEOQ_SECONDS(20), NEOQ_EBACKEND, "certificate");
    snprintf(more, sizeof more, "&cert=%s&key=%s", f.certificate, f.key);
    rd_disconnect(open_connection(b, url_of(b, "127.0.0.1", f.authority, more)));
    snprintf(more, sizeof more, "&cert=%s&key=%s/stranger.key", f.certificate, f.folder);
    assert_no_connection(b, url_of(b, "127.0.0.1", f.authority, more), NEOQ_SECONDS(20), NEOQ_EBACKEND,
                         "stranger.key: key values mismatch");
    remove_files(&f);
}

/* Redis takes it for the beginning of a command. */
static void test_who_does_not_speak_tls_is_told_so(void **state)
{
    base *b = *state;
    char text[128];
    own_server(b, REDIS_PORT, NULL);
    snprintf(text, sizeof text, "rediss://127.0.0.1:%d", redis_port(b->server));
    assert_no_connection(b, text, NEOQ_MILLISECONDS(50), NEOQ_ETIMEOUT, "does it speak TLS on this port?");
}

static void test_a_frozen_server_takes_no_longer_than_the_bound_over_tls_either(void **state)
{
    base *b = *state;
    files f;
    redisReply *reply;
    own_server(b, REDIS_TLS, NULL);
    find_files(b, &f);
    const char *text = url_of(b, "127.0.0.1", f.authority, "");
    rd_connection *c = open_connection(b, text);
    assert_true(redis_freeze(b->server));
    append(c, "PING");
    nq_bound bound = nq_within(NEOQ_MILLISECONDS(50));
    assert_int_equal(NEOQ_EUNKNOWN, rd_reply(c, &bound, &reply));
    assert_no_connection(b, text, NEOQ_MILLISECONDS(50), NEOQ_ETIMEOUT, "did not answer in time");
    assert_true(redis_thaw(b->server));
    rd_disconnect(c);
    remove_files(&f);
}

static void test_an_end_is_noticed_before_use_over_tls_too(void **state)
{
    base *b = *state;
    files f;
    own_server(b, REDIS_TLS, NULL);
    find_files(b, &f);
    rd_connection *c = open_connection(b, url_of(b, "127.0.0.1", f.authority, ""));
    assert_true(rd_connection_alive(c));
    assert_true(redis_stop(b->server));
    assert_false(rd_connection_alive(c));
    rd_disconnect(c);
    remove_files(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_commands_of_any_size_go_over_tls),
        on_base(test_the_name_is_the_hosts_or_as_the_url_says),
        on_base(test_a_server_that_is_not_to_be_trusted_is_refused),
        on_base(test_a_server_may_want_our_certificate),
        on_base(test_who_does_not_speak_tls_is_told_so),
        on_base(test_a_frozen_server_takes_no_longer_than_the_bound_over_tls_either),
        on_base(test_an_end_is_noticed_before_use_over_tls_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
