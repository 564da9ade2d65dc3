/* SPDX-License-Identifier: MIT */

/* backend/redis/url: what each form of URL says, and a clear refusal without the password. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/url.h"
#include "support/random.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const neoq_options plain = {0};

static rd_url parse(const char *text, const neoq_options *options)
{
    rd_url url;
    if (rd_url_parse(&url, text, options) != NEOQ_OK)
        fail_msg("\"%s\": %s", text, neoq_error_message());
    return url;
}

static void assert_text(const char *expected, const char *got)
{
    if (!expected)
        assert_null(got);
    else
        assert_string_equal(expected, got);
}

/* ---- where the server is ----------------------------------------------------------------- */

static void test_one_server(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        int port, database;
        const char *user, *password, *shown;
        bool tls;
    } cases[] = {
        {"redis://h", "h", 6379, 0, NULL, NULL, "h:6379/0", false},
        {"redis://", "localhost", 6379, 0, NULL, NULL, "localhost:6379/0", false},
        {"redis:///", "localhost", 6379, 0, NULL, NULL, "localhost:6379/0", false},
        {"redis:///7", "localhost", 6379, 7, NULL, NULL, "localhost:6379/7", false},
        {"redis://:99", "localhost", 99, 0, NULL, NULL, "localhost:99/0", false},
        {"redis://h:99/7", "h", 99, 7, NULL, NULL, "h:99/7", false},
        {"rediss://h:99/7", "h", 99, 7, NULL, NULL, "h:99/7", true},
        {"redis://h?db=7", "h", 6379, 7, NULL, NULL, "h:6379/7", false},
        {"redis://h/?db=7", "h", 6379, 7, NULL, NULL, "h:6379/7", false},
        {"redis://u:sEcReT@h", "h", 6379, 0, "u", "sEcReT", "h:6379/0", false},
        {"redis://:sEcReT@h", "h", 6379, 0, NULL, "sEcReT", "h:6379/0", false},
        {"redis://u:@h", "h", 6379, 0, "u", "", "h:6379/0", false},
        {"redis://:@h", "h", 6379, 0, NULL, NULL, "h:6379/0", false},
        {"redis://u:s:e?c=r&t@h/1", "h", 6379, 1, "u", "s:e?c=r&t", "h:6379/1", false},
        {"redis://u%3a%40:%2F%3f%25@h", "h", 6379, 0, "u:@", "/?%", "h:6379/0", false},
        {"redis://[::1]", "::1", 6379, 0, NULL, NULL, "[::1]:6379/0", false},
        {"redis://u:p@[fe80::1%25eth0]:99/2", "fe80::1%eth0", 99, 2, "u", "p", "[fe80::1%eth0]:99/2", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rd_url url = parse(cases[i].text, &plain);
        assert_int_equal(1, url.host_count);
        assert_string_equal(cases[i].host, url.hosts[0].name);
        assert_int_equal(cases[i].port, url.hosts[0].port);
        assert_int_equal(cases[i].database, url.database);
        assert_text(cases[i].user, url.user);
        assert_text(cases[i].password, url.password);
        assert_string_equal(cases[i].shown, url.shown);
        assert_int_equal(cases[i].tls, url.tls);
        assert_null(url.path);
        assert_null(url.master);
        rd_url_free(&url);
    }
}

static void test_a_socket(void **state)
{
    (void)state;
    rd_url url = parse("redis+unix:///run/re%20dis.sock?db=3", &plain);
    assert_string_equal("/run/re dis.sock", url.path);
    assert_int_equal(3, url.database);
    assert_int_equal(0, url.host_count);
    assert_string_equal("/run/re dis.sock?db=3", url.shown);
    rd_url_free(&url);
    url = parse("redis+unix://u:sEcReT@/run/s", &plain);
    assert_string_equal("/run/s", url.path);
    assert_string_equal("u", url.user);
    assert_string_equal("/run/s?db=0", url.shown);
    rd_url_free(&url);
}

static void test_sentinels(void **state)
{
    (void)state;
    rd_url url =
        parse("redis+sentinel://u:sEcReT@a,b:99,[::1]:98/my%2fmain/4?sentinel_user=s&sentinel_password=t", &plain);
    assert_int_equal(3, url.host_count);
    assert_string_equal("a", url.hosts[0].name);
    assert_int_equal(26379, url.hosts[0].port);
    assert_string_equal("b", url.hosts[1].name);
    assert_int_equal(99, url.hosts[1].port);
    assert_string_equal("::1", url.hosts[2].name);
    assert_int_equal(98, url.hosts[2].port);
    assert_string_equal("my/main", url.master);
    assert_int_equal(4, url.database);
    assert_string_equal("sEcReT", url.password);
    assert_string_equal("s", url.sentinel_user);
    assert_string_equal("t", url.sentinel_password);
    assert_string_equal("my/main of a:26379,b:99,[::1]:98/4", url.shown);
    assert_false(url.tls);
    rd_url_free(&url);
    url = parse("rediss+sentinel://a/main", &plain);
    assert_true(url.tls);
    rd_url_free(&url);
}

/* ---- options ----------------------------------------------------------------------------- */

static void test_nodes_of_a_cluster(void **state)
{
    (void)state;
    rd_url url = parse("redis+cluster://u:sEcReT@a,b:99,[::1]:98/0?pool_max_conns=3", &plain);
    assert_true(url.cluster);
    assert_false(url.tls);
    assert_int_equal(3, url.host_count);
    assert_string_equal("a", url.hosts[0].name);
    assert_int_equal(6379, url.hosts[0].port);
    assert_string_equal("::1", url.hosts[2].name);
    assert_int_equal(98, url.hosts[2].port);
    assert_string_equal("u", url.user);
    assert_string_equal("cluster of a:6379,b:99,[::1]:98", url.shown);
    rd_url_free(&url);
    url = parse("rediss+cluster://a?ca=/x", &plain);
    assert_true(url.cluster);
    assert_true(url.tls);
    assert_string_equal("/x", url.ca);
    rd_url_free(&url);
    url = parse("redis://a", &plain);
    assert_false(url.cluster);
    rd_url_free(&url);
}

static void test_defaults(void **state)
{
    (void)state;
    rd_url url = parse("redis://h", &plain);
    assert_true(url.max_conns >= 4);
    assert_int_equal(NEOQ_SECONDS(30), url.connect_timeout);
    assert_int_equal(NEOQ_SECONDS(30), url.call_timeout);
    assert_int_equal(NEOQ_MINUTES(30), url.max_conn_idle_time);
    assert_int_equal(RD_ASYNQ, url.layout);
    assert_false(url.strict);
    assert_false(url.allow_eviction);
    rd_url_free(&url);
    url = parse("redis://h", &(neoq_options){.max_connections = 3, .connect_timeout = NEOQ_SECONDS(5)});
    assert_int_equal(3, url.max_conns);
    assert_int_equal(NEOQ_SECONDS(5), url.connect_timeout);
    rd_url_free(&url);
}

static void test_every_option(void **state)
{
    (void)state;
    rd_url url = parse("rediss://h?pool_max_conns=7&connect_timeout=4&call_timeout=1.5s&layout=neoq&strict=on&"
                       "allow_eviction=true&ca=/c%20a&cert=/cert&key=/key&"
                       "tls_name=n&pool_max_conn_idle_time=5m&&db=2",
                       &(neoq_options){.max_connections = 3, .connect_timeout = NEOQ_SECONDS(5)});
    assert_int_equal(7, url.max_conns);
    assert_int_equal(NEOQ_SECONDS(4), url.connect_timeout);
    assert_int_equal(NEOQ_MILLISECONDS(1500), url.call_timeout);
    assert_int_equal(NEOQ_MINUTES(5), url.max_conn_idle_time);
    assert_int_equal(RD_NEOQ, url.layout);
    assert_true(url.strict);
    assert_true(url.allow_eviction);
    assert_string_equal("/c a", url.ca);
    assert_string_equal("/cert", url.cert);
    assert_string_equal("/key", url.key);
    assert_string_equal("n", url.tls_name);
    assert_int_equal(2, url.database);
    rd_url_free(&url);
}

/* ---- what is wrong ----------------------------------------------------------------------- */

static void test_what_is_wrong_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words; /* one of them */
    } cases[] = {
        {"", "redis://"},
        {"redis:", "redis://"},
        {"redis:/sEcReT", "redis+sentinel://"},
        {"redis+tls://sEcReT", "rediss://"},
        {"redis://h/x", "database"},
        {"redis://h/-1", "database"},
        {"redis://h/1/2", "database"},
        {"redis://h/99999999999999999999", "database"},
        {"redis://h?db=x", "db"},
        {"redis://h:0", "65535"},
        {"redis://h:65536", "65535"},
        {"redis://h:", "65535"},
        {"redis://h:6379x", "65535"},
        {"redis://:sEcReT", "before \"@\""},
        {"redis://u:sEcReT", "before \"@\""},
        {"redis://sEcReT@h", ":password"},
        {"redis://u:sEc%zzReT@h", "password is malformed"},
        {"redis://u:sEcReT%0", "65535"},
        {"redis://u:sEcReT%00@h", "password is malformed"},
        {"redis://u:sEcReT%ff@h", "password is malformed"},
        {"redis://%zz:sEcReT@h", "user's name"},
        {"redis://::1", "[ ]"},
        {"redis://[::1", "\"]\""},
        {"redis://[]", "\"]\""},
        {"redis://[::1]6379", "65535"},
        {"redis://a,b", "redis+sentinel://"},
        {"redis://a,b", "redis+cluster://"},
        {"redis+cluster://a/1", "one database"},
        {"redis+cluster://a?db=1", "one database"},
        {"redis+cluster://a,b/main", "database"},
        {"redis+unix://run/s", "three slashes"},
        {"redis+unix://", "path"},
        {"redis+unix:///", "path"},
        {"redis+unix:///"
         "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345"
         "6",
         "path"},
        {"redis+sentinel://a,b", "/MASTER"},
        {"redis+sentinel://a,b/", "/MASTER"},
        {"redis+sentinel://a/main/x", "database"},
        {"redis+sentinel://a/main?sentinel_user=u", "sentinel_password"},
        {"redis+sentinel://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a/main", "32"},
        {"redis://h?sentinel_password=sEcReT", "redis+sentinel://"},
        {"redis://h?ca=/x", "rediss://"},
        {"redis+unix:///x?tls_name=x", "rediss://"},
        {"rediss://h?cert=/x", "key is missing"},
        {"rediss://h?key=/x", "cert is missing"},
        {"rediss://h?ca=", "ca is empty"},
        {"redis://h?pool_max_conns=0", "from 1 to"},
        {"redis://h?pool_max_conns=x", "from 1 to"},
        {"redis://h?pool_max_conns", "pool_max_conns=VALUE"},
        {"redis://h?pool_max_conns=%3", "pool_max_conns=VALUE"},
        {"redis://h?pool_max_con=3", "did you mean \"pool_max_conns\""},
        {"redis://h?poolmaxconns=3", "did you mean \"pool_max_conns\""},
        {"redis://h?stict=on", "did you mean \"strict\""},
        {"redis://h?nonsense=sEcReT", "layout"},
        {"redis://h?layout=pgq", "asynq or neoq"},
        {"redis://h?strict=maybe", "on or off"},
        {"redis://h?connect_timeout=0", "connect_timeout"},
        {"redis://h?call_timeout=-1s", "call_timeout"},
        {"redis://h?=3", "name is missing"},
        {"redis://h?%=3", "name is malformed"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rd_url url;
        int status = rd_url_parse(&url, cases[i].text, &plain);
        if (status != NEOQ_EINVAL)
            fail_msg("\"%s\" gave %s", cases[i].text, neoq_status_name(status));
        if (!strstr(neoq_error_message(), cases[i].words) || strstr(neoq_error_message(), "sEcReT"))
            fail_msg("\"%s\": %s", cases[i].text, neoq_error_message());
        assert_null(url.hosts);
    }
}

static void test_an_unknown_option_that_resembles_none_gets_no_guess(void **state)
{
    (void)state;
    rd_url url;
    assert_int_equal(NEOQ_EINVAL, rd_url_parse(&url, "redis://h?nonsense=1", &plain));
    assert_null(strstr(neoq_error_message(), "did you mean"));
}

static void test_schemes_are_known(void **state)
{
    (void)state;
    static const char *const ours[] = {"redis://h", "rediss:", "redis+unix:///x", "redis+nonsense://", "rediss+x:"};
    static const char *const others[] = {"", "redis", "redisx:", "postgres://redis:", "sqlite:redis:", "red:"};
    for (size_t i = 0; i < COUNT(ours); i++)
        assert_true(rd_is_url(ours[i]));
    for (size_t i = 0; i < COUNT(others); i++)
        assert_false(rd_is_url(others[i]));
}

static void test_random_urls_are_read_or_refused(void **state)
{
    (void)state;
    static const char *const parts[] = {"redis", "rediss", "+unix", "+sentinel", "+cluster", "://", ":",   "@", "/",
                                        "?",     "&",      "=",     "%",         "%41",      "%00", ",",   "[", "]",
                                        "h",     "1",      "99",    "db",        "strict",   "ca",  "\xc3"};
    uint64_t seed = 99;
    for (int round = 0; round < 100000; round++) {
        char text[256] = "redis://";
        for (uint64_t n = random_from(&seed) % 16; n > 0; n--)
            strcat(text, parts[random_from(&seed) % COUNT(parts)]);
        char *exact = strdup(text);
        rd_url url;
        if (rd_url_parse(&url, exact, &plain) == NEOQ_OK)
            rd_url_free(&url);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_server),
        cmocka_unit_test(test_a_socket),
        cmocka_unit_test(test_sentinels),
        cmocka_unit_test(test_nodes_of_a_cluster),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_option),
        cmocka_unit_test(test_what_is_wrong_is_refused),
        cmocka_unit_test(test_an_unknown_option_that_resembles_none_gets_no_guess),
        cmocka_unit_test(test_schemes_are_known),
        cmocka_unit_test(test_random_urls_are_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
