/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "backend/postgres/url.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const neoq_options plain = {.schema = "neoq", .connect_timeout = NEOQ_SECONDS(30)};

static pg_settings parse(const char *url, const neoq_options *options)
{
    pg_settings settings;
    if (pg_settings_parse(&settings, url, options) != NEOQ_OK)
        fail_msg("%s: %s", url, neoq_error_message());
    return settings;
}

/* What libpq will read out of the conninfo; "" = nothing. */
static void check_conninfo(const pg_settings *settings, const char *name, const char *expected)
{
    PQconninfoOption *options = PQconninfoParse(settings->conninfo, NULL);
    assert_non_null(options);
    const char *value = NULL;
    for (PQconninfoOption *option = options; option->keyword; option++)
        if (strcmp(option->keyword, name) == 0)
            value = option->val;
    if (strcmp(value ? value : "", expected) != 0)
        fail_msg("%s is \"%s\", not \"%s\"", name, value ? value : "", expected);
    PQconninfoFree(options);
}

static void leaves_the_rest_to_libpq(void **state)
{
    (void)state;
    static const struct {
        const char *url, *name, *expected;
    } cases[] = {
        {"postgres://", "host", ""},
        {"postgresql://localhost", "host", "localhost"},
        {"postgresql://localhost:5433", "port", "5433"},
        {"postgres://user@localhost", "user", "user"},
        {"postgres://user:secret@localhost/mydb", "password", "secret"},
        {"postgres://user:p%40%25s%3f@localhost/mydb", "password", "p@%s?"},
        {"postgres://user:wh?t&schema=x@localhost/mydb", "password", "wh?t&schema=x"},
        {"postgres://user:it's \\ hard@localhost/mydb", "password", "it's \\ hard"},
        {"postgres://a:1,b:2,c:3/mydb", "host", "a,b,c"},
        {"postgres://a:1,b:2,c:3/mydb", "port", "1,2,3"},
        {"postgres://[::1]:5433/mydb", "host", "::1"},
        {"postgres://%2Fvar%2Frun/mydb", "host", "/var/run"},
        {"postgres:///mydb?host=/tmp&port=5433", "host", "/tmp"},
        {"postgres://h/db?sslmode=verify-full&pool_max_conns=10&sslrootcert=/a%20b", "sslrootcert", "/a b"},
        {"postgres://h/db?pool_max_conns=10", "dbname", "db"},
        {"postgres://h/db?ssl=true", "sslmode", "require"},
        {"postgres://h/db?&&pool_max_conns=10&", "host", "h"},
        {"postgres://h/db?options=-c%20geqo%3Doff", "options", "-c geqo=off"},
        {"postgres://h/db?connect_timeout=10", "connect_timeout", ""},
        {"postgres://h/db?application_name=mine", "application_name", "mine"},
        {"postgres://h/db", "application_name", "neoq"},
        {"postgres://h/db?client_encoding=latin1", "client_encoding", "UTF8"},
        {"postgres://h/db", "keepalives_idle", "15"},
        {"postgres://h/db?keepalives_idle=99", "keepalives_idle", "99"},
        {"postgres://h/db", "tcp_user_timeout", "10000"},
        {"postgres://h/db?tcp_user_timeout=0", "tcp_user_timeout", "0"},
        {"postgres://h/db", "target_session_attrs", ""},
        {"postgres://h,i/db", "target_session_attrs", "read-write"},
        {"postgres://h,i/db?target_session_attrs=any", "target_session_attrs", "any"},
        {"host=h dbname=db", "host", "h"},
        {" host = h   dbname= 'my db' ", "dbname", "my db"},
        {"host=h password='a \\'b\\\\ c' pool_max_conns=3", "password", "a 'b\\ c"},
        {"pool_max_conns=3 host=h", "host", "h"},
        {"host=h pool_max_conns='3'", "host", "h"},
        {"host=h password=a\\ b", "password", "a b"},
        {"host=h,i dbname=db", "target_session_attrs", "read-write"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        pg_settings settings = parse(cases[i].url, &plain);
        check_conninfo(&settings, cases[i].name, cases[i].expected);
        pg_settings_free(&settings);
    }
}

static void has_defaults(void **state)
{
    (void)state;
    pg_settings s = parse("postgres://h/db", &plain);
    assert_true(s.max_conns >= 4);
    assert_int_equal(s.min_conns, 0);
    assert_int_equal(s.max_conn_lifetime, NEOQ_HOURS(1));
    assert_int_equal(s.max_conn_lifetime_jitter, 0);
    assert_int_equal(s.max_conn_idle_time, NEOQ_MINUTES(30));
    assert_int_equal(s.health_check_period, NEOQ_MINUTES(1));
    assert_int_equal(s.connect_timeout, NEOQ_SECONDS(30));
    assert_int_equal(s.call_timeout, NEOQ_SECONDS(30));
    assert_int_equal(s.idle_transaction_timeout, NEOQ_SECONDS(30));
    assert_false(s.asynchronous_commit);
    assert_false(s.pooler);
    assert_false(s.pooler_told);
    assert_string_equal(s.schema, "neoq");
    assert_string_equal(s.quoted_schema, "\"neoq\"");
    assert_string_equal(s.database, "db");
    assert_string_equal(s.shown, "h:5432/db");
    pg_settings_free(&s);
}

static const char every_option[] = "pool_max_conns=7&pool_min_conns=2&pool_max_conn_lifetime=1h30m&"
                                   "pool_max_conn_lifetime_jitter=90s&pool_max_conn_idle_time=5m&"
                                   "pool_health_check_period=250ms&connect_timeout=4s&call_timeout=1.5s&"
                                   "idle_transaction_timeout=10s&asynchronous_commit=on&schema=a%22b%20c&"
                                   "pooler=transaction";

static void check_every_option(const char *url)
{
    neoq_options options = {.schema = "other",
                            .max_connections = 99,
                            .connect_timeout = 1,
                            .idle_transaction_timeout = 1};
    pg_settings s = parse(url, &options);
    assert_int_equal(s.max_conns, 7);
    assert_int_equal(s.min_conns, 2);
    assert_int_equal(s.max_conn_lifetime, NEOQ_MINUTES(90));
    assert_int_equal(s.max_conn_lifetime_jitter, NEOQ_SECONDS(90));
    assert_int_equal(s.max_conn_idle_time, NEOQ_MINUTES(5));
    assert_int_equal(s.health_check_period, NEOQ_MILLISECONDS(250));
    assert_int_equal(s.connect_timeout, NEOQ_SECONDS(4));
    assert_int_equal(s.call_timeout, NEOQ_MILLISECONDS(1500));
    assert_int_equal(s.idle_transaction_timeout, NEOQ_SECONDS(10));
    assert_true(s.asynchronous_commit);
    assert_true(s.pooler && s.pooler_told);
    assert_string_equal(s.schema, "a\"b c");
    assert_string_equal(s.quoted_schema, "\"a\"\"b c\"");
    check_conninfo(&s, "host", "h");
    check_conninfo(&s, "dbname", "db");
    pg_settings_free(&s);
}

static void takes_its_own_options(void **state)
{
    (void)state;
    char url[1024] = "postgres://h/db?", dsn[1024] = "host=h dbname=db ";
    strcat(url, every_option);
    check_every_option(url);
    for (const char *at = every_option; *at; at++) { /* the same, in the other form */
        if (strncmp(at, "a%22b%20c", 9) == 0) {
            strcat(dsn, "'a\"b c'");
            at += 8;
        } else {
            dsn[strlen(dsn)] = *at == '&' ? ' ' : *at;
        }
    }
    check_every_option(dsn);
    check_every_option(
        "postgres://h/db?pool%5Fmax_conns=%37&pool_min_conns=2&pool_max_conn_lifetime=1h30m&"
        "pool_max_conn_lifetime_jitter=1m30s&pool_max_conn_idle_time=300s&pool_health_check_period=.25s&"
        "connect_timeout=4&call_timeout=1500ms&idle_transaction_timeout=10s&asynchronous_commit=true&"
        "schema=%61%22b%20c&pooler=transaction");
}

static void the_last_one_counts(void **state)
{
    (void)state;
    pg_settings s =
        parse("postgres://h/db?pool_max_conns=7&pool_max_conns=9&pooler=transaction&pooler=session", &plain);
    assert_int_equal(s.max_conns, 9);
    assert_true(!s.pooler && s.pooler_told);
    pg_settings_free(&s);
}

static void takes_neoqs_options(void **state)
{
    (void)state;
    neoq_options options = {.schema = "Jobs",
                            .max_connections = 3,
                            .connect_timeout = NEOQ_SECONDS(5),
                            .idle_transaction_timeout = NEOQ_FOREVER,
                            .asynchronous_commit = true};
    pg_settings s = parse("postgres://h/db", &options);
    assert_int_equal(s.max_conns, 3);
    assert_int_equal(s.connect_timeout, NEOQ_SECONDS(5));
    assert_int_equal(s.idle_transaction_timeout, 0);
    assert_true(s.asynchronous_commit);
    assert_string_equal(s.quoted_schema, "\"Jobs\"");
    pg_settings_free(&s);
    s = parse("postgres://h/db?asynchronous_commit=off&idle_transaction_timeout=0", &options);
    assert_false(s.asynchronous_commit);
    assert_int_equal(s.idle_transaction_timeout, 0);
    pg_settings_free(&s);
}

static void shows_no_password(void **state)
{
    (void)state;
    static const struct {
        const char *url, *shown;
    } cases[] = {
        {"postgres://u:sEcReT@h:99/db", "h:99/db"},
        {"postgres://u:sEcReT@a:1,b:2/db", "a,b:1,2/db"},
        {"host=/run password=sEcReT dbname=x", "/run:5432/x"},
        {"postgres://u:sEcReT@h/", "h:5432/u"},
        {"hostaddr=127.0.0.1 user=u password=sEcReT", "127.0.0.1:5432/u"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        pg_settings s = parse(cases[i].url, &plain);
        assert_string_equal(s.shown, cases[i].shown);
        pg_settings_free(&s);
    }
}

static void refuses_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *url, *words; /* one of them */
    } cases[] = {
        {"", "postgres://"},
        {"https://sEcReT", "postgres://"},
        {"postgres:", "postgres://"},
        {"postgres:/h/sEcReT", "postgres://"},
        {"postgres://h/db?pool_max_conns=0", "pool_max_conns"},
        {"postgres://h/db?pool_max_conns=-1", "pool_max_conns"},
        {"postgres://h/db?pool_max_conns=", "pool_max_conns"},
        {"postgres://h/db?pool_max_conns=4x", "pool_max_conns"},
        {"postgres://h/db?pool_max_conns= 4", "pool_max_conns"},
        {"postgres://h/db?pool_max_conns=99999999999999999999", "pool_max_conns"},
        {"postgres://h/db?pool_max_conns", "pool_max_conns"},
        {"postgres://h/db?pool_max_conns=%3", "pool_max_conns"},
        {"postgres://h/db?pool_max_conns=2&pool_min_conns=3", "pool_min_conns"},
        {"postgres://h/db?pool_max_conn_lifetime=1", "pool_max_conn_lifetime"},
        {"postgres://h/db?pool_max_conn_lifetime=0", "pool_max_conn_lifetime"},
        {"postgres://h/db?pool_max_conn_idle_time=-1s", "pool_max_conn_idle_time"},
        {"postgres://h/db?pool_health_check_period=0s", "pool_health_check_period"},
        {"postgres://h/db?connect_timeout=-1", "connect_timeout"},
        {"postgres://h/db?connect_timeout=0", "connect_timeout"},
        {"postgres://h/db?asynchronous_commit=maybe", "on or off"},
        {"postgres://h/db?pooler=statement", "transaction or session"},
        {"postgres://h/db?schema=", "schema"},
        {"postgres://h/db?schema=pg_neoq", "pg_"},
        {"postgres://h/db?schema=a%0ab", "schema"},
        {"postgres://h/db?schema=a%00b", "schema"},
        {"postgres://h/db?schema=%ff", "schema"},
        {"postgres://h/db?schema=0123456789012345678901234567890123456789012345678901234567890123", "63"},
        {"postgres://h/db?pool_max_con=3", "\"pool_max_con\""},
        {"postgres://h/db?pool_max_con=3", "pool_max_conns"},
        {"postgres://h/db?=3", "name is missing"},
        {"postgres://h/db?%=3", "name is missing"},
        {"postgres://h/db?sslmode=foo", "verify-full"},
        {"postgres://h/db?target_session_attrs=foo", "read-write"},
        {"postgres://h:99999/db", "65535"},
        {"postgres://h:0/db", "65535"},
        {"postgres://h:1,i:x/db", "65535"},
        {"postgres://u:sEcReT%zz@h/db", "URL"},
        {"postgres://u:sEcReT@[::1/db", "URL"},
        {"postgres://u:sEcReT@h/db?host=%zz", "URL"},
        {"postgres://h/db?sslmode=a=b", "URL"},
        {"host=h password=my sEcReT", "DSN"},
        {"host=h password='sEcReT", "password"},
        {"host=h =sEcReT", "DSN"},
        {"host=h pool_max_conns=0", "pool_max_conns"},
        {"host=h ssl=true", "\"ssl\""},
        {"host=h nonsense=1", "\"nonsense\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        pg_settings settings;
        int status = pg_settings_parse(&settings, cases[i].url, &plain);
        if (status != NEOQ_EINVAL)
            fail_msg("\"%s\" gave %s", cases[i].url, neoq_status_name(status));
        if (!strstr(neoq_error_message(), cases[i].words) || strstr(neoq_error_message(), "sEcReT"))
            fail_msg("\"%s\": %s", cases[i].url, neoq_error_message());
        assert_null(settings.conninfo);
    }
}

static void knows_a_dsn(void **state)
{
    (void)state;
    static const char *const yes[] = {"host=h", " dbname = x", "service=s", "host=::1 dbname=a:b"};
    static const char *const no[] = {"", "postgres://h?a=b", "memory:", "sqlite:a=b", "=", "/path=x"};
    for (size_t i = 0; i < COUNT(yes); i++)
        assert_true(pg_is_dsn(yes[i]));
    for (size_t i = 0; i < COUNT(no); i++)
        assert_false(pg_is_dsn(no[i]));
}

int main(void)
{
    static const char *const variables[] = {"PGHOST",    "PGPORT",     "PGUSER",   "PGDATABASE",
                                            "PGAPPNAME", "PGPASSWORD", "PGSERVICE"};
    for (size_t i = 0; i < COUNT(variables); i++)
        unsetenv(variables[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_the_rest_to_libpq), cmocka_unit_test(has_defaults),
        cmocka_unit_test(takes_its_own_options),    cmocka_unit_test(the_last_one_counts),
        cmocka_unit_test(takes_neoqs_options),      cmocka_unit_test(shows_no_password),
        cmocka_unit_test(refuses_what_is_wrong),    cmocka_unit_test(knows_a_dsn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
