/* SPDX-License-Identifier: MIT
 *
 * Connections of the PostgreSQL store, when all is well and when it is not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "postgres/support.h"

static const char pid[] = "SELECT pg_backend_pid()::text";

/* ---- one connection --------------------------------------------------------------------- */

static void prepares_once(void **state)
{
    pg_pool *pool = open_pool(*state, "&pool_max_conns=1");
    for (int i = 0; i < 3; i++)
        assert_answer(pool, "SELECT 'same'", "same");
    assert_answer(pool, "SELECT count(*)::text FROM pg_prepared_statements WHERE statement = 'SELECT ''same'''", "1");
    assert_false(pg_pool_is_pooled(pool));
}

static void puts_the_schema_in(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "&schema=my%20%22own%22");
    sql(b, "CREATE SCHEMA \"my \"\"own\"\"\"; CREATE TABLE \"my \"\"own\"\"\".t AS SELECT 'here'::text AS a");
    assert_answer(pool, "SELECT a FROM %s.t UNION SELECT a FROM %s.t", "here");
}

static void sets_the_session(void **state)
{
    pg_pool *pool = open_pool(*state, "&idle_transaction_timeout=7s&call_timeout=4s&asynchronous_commit=on");
    assert_answer(pool, "SELECT current_setting('idle_in_transaction_session_timeout')", "7s");
    assert_answer(pool, "SELECT current_setting('statement_timeout')", "5s");
    assert_answer(pool, "SELECT current_setting('synchronous_commit')", "off");
    assert_answer(pool, "SELECT current_setting('application_name')", "neoq");
    pool = open_pool(*state, "&options=-c%20statement_timeout%3D9s");
    assert_answer(pool, "SELECT current_setting('statement_timeout')", "9s");
    assert_answer(pool, "SELECT current_setting('synchronous_commit')", "on");
}

static void knows_the_servers_time(void **state)
{
    pg_pool *pool = open_pool(*state, "");
    char answer[256];
    assert_int_equal(ask(pool, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8::text", false, answer),
                     NEOQ_OK);
    int64_t apart = pg_pool_now(pool) - atoll(answer);
    assert_true(apart > -1000000 && apart < 1000000);
}

/* ---- failures that are the statement's -------------------------------------------------- */

static void names_what_failed(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "");
    sql(b, "CREATE FUNCTION public.refuse(state text, words text) RETURNS text LANGUAGE plpgsql AS "
           "$$ BEGIN RAISE EXCEPTION USING errcode = state, message = words; END $$");
    assert_refused(pool, "SELECT f()", NEOQ_ESCHEMA, "neoq migrate up");
    assert_refused(pool, "SELECT a FROM nowhere.t", NEOQ_ESCHEMA, "neoq migrate up");
    assert_refused(pool, "SELECT public.refuse('NQ006', 'the queue is full')", NEOQ_EFULL, "the queue is full");
    assert_refused(pool, "SELECT public.refuse('23514', 'no')", NEOQ_EBACKEND, "no");
    assert_refused(pool, "SELECT public.refuse('25P02', 'no')", NEOQ_EBACKEND, "no");
    assert_refused(pool, "SELECT public.refuse('40003', 'no')", NEOQ_EUNKNOWN, "not known");
    assert_refused(pool, "SELECT 'sEcReT'::uuid::text", NEOQ_EINVAL, "invalid input syntax");
    assert_null(strstr(neoq_error_message(), "sEcReT"));
    assert_refused(pool, "SELECT", NEOQ_OK, "");
    assert_refused(pool, "SELEKT", NEOQ_EBACKEND, "syntax");
    assert_answer(pool, "SELECT 'still good'", "still good");
    assert_int_equal(log_lines(b, ""), 0);
}

static void says_which_right_is_missing(void **state)
{
    base *b = *state;
    char url[600];
    pg_pool *pool;
    sql(b, "DO $$ BEGIN CREATE ROLE nobody_much LOGIN; EXCEPTION WHEN duplicate_object THEN END $$;"
           "CREATE TABLE t AS SELECT 'x'::text AS a");
    snprintf(url, sizeof url, "%s&user=nobody_much", b->url);
    assert_int_equal(try_pool(b, url, &pool), NEOQ_OK);
    assert_refused(pool, "SELECT a FROM t", NEOQ_EBACKEND, "permission denied for table t; have the owner");
}

static void tries_again_after_a_conflict(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "");
    sql(b, "CREATE SEQUENCE tries;"
           "CREATE FUNCTION unlucky(state text, n int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN "
           "IF nextval('tries') % n <> 0 THEN RAISE EXCEPTION USING errcode = state; END IF; RETURN 'done'; END $$");
    assert_answer(pool, "SELECT unlucky('40001', 3)", "done");
    sql(b, "ALTER SEQUENCE tries RESTART");
    assert_answer(pool, "SELECT unlucky('40P01', 4)", "done");
    sql(b, "ALTER SEQUENCE tries RESTART");
    assert_refused(pool, "SELECT unlucky('40001', 5)", NEOQ_EBACKEND, "");
}

static void prepares_anew(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "&pool_max_conns=1");
    sql(b, "CREATE TABLE t AS SELECT 'x'::text AS a");
    assert_answer(pool, "SELECT * FROM t", "x");
    sql(b, "ALTER TABLE t ADD b int");
    assert_answer(pool, "SELECT * FROM t", "x");
    sql(b, "ALTER TABLE t DROP b");
    assert_answer(pool, "SELECT * FROM t", "x");
    assert_int_equal(ask(pool, "DEALLOCATE ALL", false, NULL), NEOQ_OK);
    assert_answer(pool, "SELECT * FROM t", "x");
    assert_false(pg_pool_is_pooled(pool));
}

/* A failure after the preparation does not undo it. */
static void remembers_what_it_prepared(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "&pool_max_conns=1");
    sql(b, "CREATE TABLE t AS SELECT 0 AS a");
    assert_refused(pool, "SELECT (1 / a)::text FROM t", NEOQ_EBACKEND, "division");
    assert_refused(pool, "SELECT (1 / a)::text FROM t", NEOQ_EBACKEND, "division");
    sql(b, "UPDATE t SET a = 1");
    assert_answer(pool, "SELECT (1 / a)::text FROM t", "1");
    assert_false(pg_pool_is_pooled(pool));
}

/* ---- the pool --------------------------------------------------------------------------- */

static void waits_for_a_free_one(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "&pool_max_conns=2&connect_timeout=100ms");
    pg_conn *one, *two, *three;
    assert_int_equal(pg_pool_take(pool, &one), NEOQ_OK);
    assert_int_equal(pg_pool_take(pool, &two), NEOQ_OK);
    int64_t start = nq_steady();
    assert_int_equal(pg_pool_take(pool, &three), NEOQ_ETIMEOUT);
    assert_in_range(milliseconds_since(start), 95, 5000);
    assert_words("all 2 connections");
    assert_words("pool_max_conns");
    pg_pool_give(pool, two);
    assert_int_equal(pg_pool_take(pool, &three), NEOQ_OK);
    assert_ptr_equal(two, three);
    pg_pool_give(pool, one);
    pg_pool_give(pool, three);
    assert_int_equal(log_lines(b, ""), 0);
}

/* What may be repeated: a backend whose server was killed may take a statement before it notices. */
static void *ask_many(void *arg)
{
    for (int i = 0; i < 200; i++)
        if (ask(arg, "SELECT pg_backend_pid()::text", true, NULL) != NEOQ_OK)
            return strdup(neoq_error_message());
    return NULL;
}

static void join_all(const pthread_t *threads, size_t count)
{
    char *first = NULL;
    for (size_t i = 0; i < count; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        if (first)
            free(failure);
        else
            first = failure;
    }
    if (first)
        fail_msg("%s", first);
}

static void has_one_more_for_the_beat(void **state)
{
    base *b = *state;
    static const pg_statement statement = {"", "SELECT 1"};
    pg_pool *pool = open_pool(b, "&pool_max_conns=1");
    pg_conn *only;
    PGresult *rows;
    assert_int_equal(pg_pool_take(pool, &only), NEOQ_OK);
    assert_int_equal(pg_pool_run_urgently(pool, &statement, NULL, &rows), NEOQ_OK);
    PQclear(rows);
    assert_int_equal(pg_pool_run_within(pool, NEOQ_MILLISECONDS(20), &statement, NULL, true, &rows), NEOQ_ETIMEOUT);
    pg_pool_give(pool, only);
    assert_answer(pool, "SELECT 'still good'", "still good");
}

static void serves_more_threads_than_connections(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "&pool_max_conns=3");
    pthread_t threads[12];
    assert_int_equal(ask(pool, pid, false, NULL), NEOQ_OK);
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, pool), 0);
    join_all(threads, 12);
    char count[256];
    assert_int_equal(ask(pool, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database()",
                         false, count),
                     NEOQ_OK);
    assert_in_range(atoi(count), 1, 3);
}

static void keeps_some_and_lets_some_go(void **state)
{
    base *b = *state;
    static const char count[] = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database()";
    pg_pool *pool = open_pool(b, "&pool_min_conns=2&pool_max_conns=4&pool_max_conn_idle_time=20ms"
                                 "&pool_health_check_period=10ms");
    pg_conn *taken[4];
    char answer[256];
    assert_answer(pool, count, "2");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pg_pool_take(pool, &taken[i]), NEOQ_OK);
    for (size_t i = 0; i < 4; i++)
        pg_pool_give(pool, taken[i]);
    eventually(ask(pool, count, false, answer) == NEOQ_OK && strcmp(answer, "2") == 0);
}

static void replaces_old_ones(void **state)
{
    pg_pool *pool =
        open_pool(*state, "&pool_max_conns=1&pool_max_conn_lifetime=50ms&pool_max_conn_lifetime_jitter=50ms");
    char first[256], now[256];
    assert_int_equal(ask(pool, pid, false, first), NEOQ_OK);
    eventually(ask(pool, pid, false, now) == NEOQ_OK && strcmp(first, now) != 0);
}

static void gives_back_an_open_transaction(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "&pool_max_conns=1");
    pg_conn *conn;
    assert_int_equal(pg_pool_take(pool, &conn), NEOQ_OK);
    assert_int_equal(pg_script(conn, "BEGIN; CREATE TABLE t (a int)", NULL), NEOQ_OK);
    pg_pool_give(pool, conn);
    assert_answer(pool, "SELECT coalesce(to_regclass('t')::text, 'gone')", "gone");
}

static void runs_scripts(void **state)
{
    pg_pool *pool = open_pool(*state, "&pool_max_conns=1&call_timeout=200ms");
    pg_conn *conn;
    PGresult *row;
    assert_int_equal(pg_pool_take(pool, &conn), NEOQ_OK);
    assert_int_equal(pg_conn_set_limit(conn, NEOQ_FOREVER), NEOQ_OK);
    assert_int_equal(pg_script(conn, "CREATE TABLE t (a int); SELECT pg_sleep(0.3); SELECT 7", &row), NEOQ_OK);
    assert_string_equal(PQgetvalue(row, 0, 0), "7");
    PQclear(row);
    assert_int_equal(pg_script(conn, "INSERT INTO t VALUES (1); SELECT nonsense", NULL), NEOQ_ESCHEMA);
    assert_int_equal(pg_script(conn, "SELECT count(*) FROM t", &row), NEOQ_OK);
    assert_string_equal(PQgetvalue(row, 0, 0), "0");
    PQclear(row);
    pg_pool_give(pool, conn);
    assert_answer(pool, "SELECT current_setting('statement_timeout')", "1200ms");
}

/* ---- opening ---------------------------------------------------------------------------- */

static void creates_the_database(void **state)
{
    base *b = *state;
    char url[512];
    pg_pool *pool;
    postgres_url(b->server, "not \"there\" yet", url, sizeof url);
    assert_int_equal(try_pool(b, url, &pool), NEOQ_OK);
    assert_answer(pool, "SELECT current_database()", "not \"there\" yet");
    assert_int_equal(log_lines(b, "warning: "), 1);
    assert_int_equal(log_lines(b, "did not exist and was created"), 1);
    assert_int_equal(try_pool(b, url, &pool), NEOQ_OK);
    assert_int_equal(log_lines(b, ""), 1);
    pg_pool_close(b->opened[1].pool);
    pg_pool_close(b->opened[0].pool);
    b->opened[0].pool = b->opened[1].pool = NULL;
    sql(b, "DROP DATABASE \"not \"\"there\"\" yet\"");
}

static void may_not_create_the_database(void **state)
{
    base *b = *state;
    char url[600];
    pg_pool *pool;
    sql(b, "DO $$ BEGIN CREATE ROLE nobody_much LOGIN; EXCEPTION WHEN duplicate_object THEN END $$");
    postgres_url(b->server, "nowhere", url, sizeof url);
    strcat(url, "&user=nobody_much");
    assert_int_equal(try_pool(b, url, &pool), NEOQ_EBACKEND);
    assert_words("database \"nowhere\" does not exist");
    assert_words("permission denied");
}

static void says_at_once_that_nobody_is_there(void **state)
{
    pg_pool *pool;
    int64_t start = nq_steady();
    assert_int_equal(try_pool(*state, "postgres://u:sEcReT@127.0.0.1:1/db", &pool), NEOQ_EBACKEND);
    assert_words("127.0.0.1:1/db");
    assert_words("refused");
    assert_null(strstr(neoq_error_message(), "sEcReT"));
    assert_int_equal(try_pool(*state, "postgres:///db?host=/nonexistent", &pool), NEOQ_EBACKEND);
    assert_int_equal(try_pool(*state, "postgres://127.0.0.1:1,127.0.0.1:2/db", &pool), NEOQ_EBACKEND);
    assert_words("port 1");
    assert_words("port 2");
    assert_in_range(milliseconds_since(start), 0, 5000);
}

static void says_that_the_role_is_not_there(void **state)
{
    base *b = *state;
    char url[600];
    pg_pool *pool;
    snprintf(url, sizeof url, "%s&user=not_there", b->url);
    assert_int_equal(try_pool(b, url, &pool), NEOQ_EBACKEND);
    assert_words("role \"not_there\" does not exist");
    assert_null(strstr(neoq_error_message(), "28000"));
    assert_null(strstr(neoq_error_message(), ".c:"));
}

/* ---- servers that go and come ----------------------------------------------------------- */

static void survives_a_terminated_backend(void **state)
{
    base *b = *state;
    pg_pool *pool = open_pool(b, "&pool_max_conns=1");
    char first[256], command[300];
    for (int i = 0; i < 20; i++) {
        assert_int_equal(ask(pool, pid, false, first), NEOQ_OK);
        snprintf(command, sizeof command, "SELECT pg_terminate_backend(%s, 5000)", first);
        sql(b, command);
        char second[256];
        assert_int_equal(ask(pool, pid, false, second), NEOQ_OK);
        assert_string_not_equal(first, second);
    }
    assert_int_equal(log_lines(b, ""), 0);
}

static void does_not_know_what_became_of_it(void **state)
{
    pg_pool *pool = open_pool(*state, "");
    assert_refused(pool, "SELECT pg_terminate_backend(pg_backend_pid())::text", NEOQ_EUNKNOWN, "not known");
    assert_answer(pool, "SELECT 'back'", "back");
}

static void survives_a_restart(void **state)
{
    base *b = *state;
    own_server(b, NULL);
    pg_pool *pool = open_pool(b, "&pool_max_conns=3&connect_timeout=15s");
    static const postgres_manner manners[] = {POSTGRES_FAST, POSTGRES_IMMEDIATE, POSTGRES_KILL};
    pg_conn *taken[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pg_pool_take(pool, &taken[i]), NEOQ_OK);
    for (size_t i = 0; i < 3; i++)
        pg_pool_give(pool, taken[i]);
    for (size_t i = 0; i < 3; i++) {
        assert_true(postgres_stop(b->server, manners[i]));
        pthread_t threads[4];
        for (size_t t = 0; t < 4; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, ask_many, pool), 0);
        eventually(log_lines(b, "no connection to be had") == i + 1);
        assert_true(postgres_again(b->server));
        int64_t start = nq_steady();
        join_all(threads, 4);
        assert_in_range(milliseconds_since(start), 0, 5000);
        assert_int_equal(log_lines(b, "connected again"), i + 1);
        assert_int_equal(log_lines(b, ""), 2 * (i + 1));
    }
}

static void gives_up_on_a_server_that_stays_away(void **state)
{
    base *b = *state;
    own_server(b, NULL);
    pg_pool *pool = open_pool(b, "&connect_timeout=300ms");
    assert_true(postgres_stop(b->server, POSTGRES_FAST));
    int64_t start = nq_steady();
    clock_t busy = clock();
    for (int i = 0; i < 3; i++)
        assert_refused(pool, pid, NEOQ_ETIMEOUT, "nothing was done");
    assert_in_range(milliseconds_since(start), 850, 5000);
    assert_in_range(clock() - busy, 0, CLOCKS_PER_SEC / 5); /* nothing spins meanwhile */
    assert_int_equal(log_lines(b, ""), 1);
}

static void does_not_wait_for_a_silent_server(void **state)
{
    base *b = *state;
    own_server(b, NULL);
    pg_pool *pool = open_pool(b, "&pool_max_conns=2&call_timeout=300ms&connect_timeout=400ms"), *other;
    assert_int_equal(ask(pool, pid, false, NULL), NEOQ_OK);
    assert_true(postgres_freeze(b->server));
    int64_t start = nq_steady();
    assert_refused(pool, pid, NEOQ_EUNKNOWN, "no answer within 0.3 s");
    assert_in_range(milliseconds_since(start), 290, 2000);
    assert_refused(pool, pid, NEOQ_ETIMEOUT, "did not answer in time");
    assert_in_range(milliseconds_since(start), 680, 4000);
    assert_int_equal(try_pool(b, b->opened[0].settings.conninfo, &other), NEOQ_OK + NEOQ_ETIMEOUT);
    assert_true(postgres_thaw(b->server));
    eventually(ask(pool, "SELECT 'back'", false, NULL) == NEOQ_OK);
    assert_int_equal(log_lines(b, "warning: "), 1);
    assert_int_equal(log_lines(b, "connected again"), 1);
}

static void waits_for_a_full_server(void **state)
{
    base *b = *state;
    own_server(b, (const char *const[]){"max_connections=5", "superuser_reserved_connections=0", NULL});
    pg_pool *hog = open_pool(b, "&pool_max_conns=5&pool_min_conns=5");
    pg_pool *pool;
    assert_int_equal(try_pool(b, b->url, &pool), NEOQ_EBACKEND);
    assert_words("too many clients");
    pg_conn *conn;
    assert_int_equal(pg_pool_take(hog, &conn), NEOQ_OK);
    conn->broken = true;
    pg_pool_give(hog, conn);
    char url[1024];
    snprintf(url, sizeof url, "%s&pool_max_conns=2&connect_timeout=1s", b->url);
    eventually(try_pool(b, url, &pool) == NEOQ_OK); /* the server takes a moment to free the place */
    pg_conn *one, *two;
    assert_int_equal(pg_pool_take(pool, &one), NEOQ_OK);
    assert_int_equal(pg_pool_take(pool, &two), NEOQ_ETIMEOUT);
    assert_words("too many clients");
    assert_int_equal(log_lines(b, "too many clients"), 1);
    assert_int_equal(pg_pool_take(hog, &conn), NEOQ_OK);
    conn->broken = true;
    pg_pool_give(hog, conn);
    eventually(pg_pool_take(pool, &two) == NEOQ_OK);
    pg_pool_give(pool, one);
    pg_pool_give(pool, two);
    assert_int_equal(log_lines(b, ""), 2);
}

static void waits_for_a_server_that_can_be_written_to(void **state)
{
    base *b = *state;
    char command[200];
    sql(b, "CREATE TABLE t (a text)");
    pg_pool *pool = open_pool(b, "&pool_max_conns=2");
    snprintf(command, sizeof command, "ALTER DATABASE %s SET default_transaction_read_only = on", b->database);
    sql(b, command);
    pg_conn *conn; /* the connections that were made before may still write */
    assert_int_equal(pg_pool_take(pool, &conn), NEOQ_OK);
    conn->broken = true;
    pg_pool_give(pool, conn);
    for (int i = 0; i < 3; i++)
        assert_refused(pool, "INSERT INTO t VALUES ('x') RETURNING a", NEOQ_EBACKEND, "read-only");
    assert_answer(pool, "SELECT count(*)::text FROM t", "0");
    assert_int_equal(log_lines(b, ""), 1);
    snprintf(command, sizeof command, "ALTER DATABASE %s RESET default_transaction_read_only", b->database);
    assert_true(postgres_sql(b->server, "postgres", command, NULL, 0));
    eventually(ask(pool, "INSERT INTO t VALUES ('x') RETURNING a", false, NULL) == NEOQ_OK);
    assert_int_equal(log_lines(b, "takes writes again"), 1);
    assert_int_equal(log_lines(b, ""), 2);
}

static void finds_the_promoted_standby(void **state)
{
    base *b = *state;
    own_server(b, NULL);
    sql(b, "CREATE TABLE t (a text)");
    postgres_server *standby = postgres_start_standby(b->server);
    assert_non_null(standby);
    char url[1024];
    pg_pool *pool;
    snprintf(url, sizeof url, "postgres:///%s?host=%s,%s&user=postgres&pool_max_conns=2", b->database,
             postgres_folder(standby), postgres_folder(b->server));
    assert_int_equal(try_pool(b, url, &pool), NEOQ_OK);
    assert_answer(pool, "INSERT INTO t VALUES ('before') RETURNING a", "before");
    char answer[64] = "";
    eventually(postgres_sql(standby, b->database, "SELECT count(*) FROM t", answer, sizeof answer) && *answer == '1');
    assert_true(postgres_stop(b->server, POSTGRES_KILL));
    assert_true(postgres_promote(standby));
    int64_t start = nq_steady();
    assert_answer(pool, "INSERT INTO t VALUES ('after') RETURNING a", "after");
    assert_in_range(milliseconds_since(start), 0, 5000);
    assert_answer(pool, "SELECT count(*)::text FROM t", "2");
    pg_pool_close(pool);
    b->opened[b->opened_count - 1].pool = NULL;
    postgres_end(standby);
}

/* A host that takes connections and says nothing does not use up the time of the others. */
static void passes_a_silent_host(void **state)
{
    base *b = *state;
    postgres_server *silent = postgres_start(NULL);
    assert_non_null(silent);
    char url[1024];
    pg_pool *pool;
    snprintf(url, sizeof url, "postgres:///%s?host=%s,%s&user=postgres&connect_timeout=2s", b->database,
             postgres_folder(silent), postgres_folder(b->server));
    assert_true(postgres_freeze(silent));
    int64_t start = nq_steady();
    assert_int_equal(try_pool(b, url, &pool), NEOQ_OK);
    assert_in_range(milliseconds_since(start), 900, 1900);
    start = nq_steady();
    pg_conn *one, *two; /* the next connection begins with the host that was good */
    assert_int_equal(pg_pool_take(pool, &one), NEOQ_OK);
    assert_int_equal(pg_pool_take(pool, &two), NEOQ_OK);
    assert_in_range(milliseconds_since(start), 0, 500);
    pg_pool_give(pool, one);
    pg_pool_give(pool, two);
    postgres_thaw(silent);
    postgres_end(silent);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_base(prepares_once),
        on_base(puts_the_schema_in),
        on_base(sets_the_session),
        on_base(knows_the_servers_time),
        on_base(names_what_failed),
        on_base(says_which_right_is_missing),
        on_base(tries_again_after_a_conflict),
        on_base(prepares_anew),
        on_base(remembers_what_it_prepared),
        on_base(waits_for_a_free_one),
        on_base(has_one_more_for_the_beat),
        on_base(serves_more_threads_than_connections),
        on_base(keeps_some_and_lets_some_go),
        on_base(replaces_old_ones),
        on_base(gives_back_an_open_transaction),
        on_base(runs_scripts),
        on_base(creates_the_database),
        on_base(may_not_create_the_database),
        on_base(says_at_once_that_nobody_is_there),
        on_base(says_that_the_role_is_not_there),
        on_base(survives_a_terminated_backend),
        on_base(does_not_know_what_became_of_it),
        on_base(survives_a_restart),
        on_base(gives_up_on_a_server_that_stays_away),
        on_base(does_not_wait_for_a_silent_server),
        on_base(waits_for_a_full_server),
        on_base(waits_for_a_server_that_can_be_written_to),
        on_base(finds_the_promoted_standby),
        on_base(passes_a_silent_host),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
