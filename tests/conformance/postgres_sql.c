/* SPDX-License-Identifier: MIT
 *
 * What people and triggers use in the database itself: neoq.enqueue() and the views.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <jansson.h>
#include <libpq-fe.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PGconn *connect_to(store *s)
{
    PGconn *db = PQconnectdb(s->url);
    if (PQstatus(db) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(db));
    return db;
}

static void sql(PGconn *db, const char *text)
{
    PGresult *result = PQexec(db, text);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", text, PQerrorMessage(db));
    PQclear(result);
}

/* Asserts that the server refuses it with these words, and goes on. */
static void refused(PGconn *db, const char *text, const char *words)
{
    PGresult *result = PQexec(db, text);
    assert_int_equal(PGRES_FATAL_ERROR, PQresultStatus(result));
    assert_words(words, PQerrorMessage(db));
    PQclear(result);
}

/* The first value of the first row; lives until the next call. "(null)" for null, "(none)" where there is no row. */
static const char *value(PGconn *db, const char *query)
{
    static char text[1024];
    PGresult *result = PQexec(db, query);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", query, PQerrorMessage(db));
    snprintf(text, sizeof(text), "%s",
             PQntuples(result) == 0      ? "(none)"
             : PQgetisnull(result, 0, 0) ? "(null)"
                                         : PQgetvalue(result, 0, 0));
    PQclear(result);
    return text;
}

/* Calls neoq.enqueue() with these arguments; id takes what it returns. */
static char *enqueue(PGconn *db, const char *arguments, char id[NEOQ_ID_SIZE])
{
    char query[1024];
    snprintf(query, sizeof(query), "SELECT neoq.enqueue(%s)", arguments);
    snprintf(id, NEOQ_ID_SIZE, "%s", value(db, query));
    assert_int_equal(36, strlen(id));
    return id;
}

/* ---- enqueue ---------------------------------------------------------------------------- */

static void test_a_job_from_sql_is_handled(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    neoq_handler handler = recording("mail", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char id[NEOQ_ID_SIZE];
    enqueue(db, "'mail', '{\"to\": \"a\"}', priority => 3, metadata => '{\"trace\": 1}', wake => true", id);
    eventually(recorded_ends(&r) == 1);
    assert_string_equal(id, r.runs[0].id);
    assert_string_equal("{\"to\": \"a\"}", (const char *)r.runs[0].payload);
    assert_string_equal("{\"trace\": 1}", r.runs[0].metadata);
    assert_int_equal(3, r.runs[0].priority);
    assert_int_equal(23, r.runs[0].max_retries);
    PQfinish(db);
}

static void test_what_is_left_out_is_as_in_programs(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    char id[NEOQ_ID_SIZE];
    enqueue(db, "'mail'", id);
    /* The server's time is known to the program but for half of a round trip. */
    eventually(state_of(nq, id) == NEOQ_READY);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(0, job->payload_size);
    assert_int_equal(0, job->priority);
    assert_int_equal(23, job->max_retries);
    assert_true(job->deadline == 0 && job->retention == 0 && job->retry_waits == NULL && job->metadata == NULL);
    assert_int_equal(NEOQ_UNIQUE_ON, job->unique);
    assert_true(job->created_at == job->run_after);
    assert_true(llabs((long long)(job->created_at - neoq_now())) < NEOQ_SECONDS(10));
    assert_int_equal('7', id[14]);
    PQfinish(db);
}

static void test_every_option_arrives(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    char id[NEOQ_ID_SIZE];
    enqueue(db,
            "'mail', '[1]', run_at => '2040-01-01Z', priority => -7, max_retries => 0, fingerprint => 'mine',"
            " deadline => '2041-01-01Z', retention => '1 day', id => '0190a0b0-0000-7000-8000-00000000000a'",
            id);
    const neoq_job *job = store_job(s, nq, id);
    assert_string_equal("0190a0b0-0000-7000-8000-00000000000a", id);
    assert_int_equal(NEOQ_SCHEDULED, job->state);
    assert_true(job->run_after == NEOQ_SECONDS(2208988800));
    assert_true(job->deadline == NEOQ_SECONDS(2240611200));
    assert_true(job->retention == NEOQ_HOURS(24));
    assert_int_equal(-7, job->priority);
    assert_int_equal(NEOQ_NO_RETRIES, job->max_retries);
    assert_string_equal("mine", job->fingerprint);
    job = store_job(s, nq, enqueue(db, "'mail', unique_job => false, retention => '1000 years'", id));
    assert_int_equal(NEOQ_UNIQUE_OFF, job->unique);
    assert_null(job->fingerprint);
    assert_true(job->retention == NEOQ_FOREVER);
    PQfinish(db);
}

static void test_a_duplicate_gives_the_id_of_the_first(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    char first[NEOQ_ID_SIZE], second[NEOQ_ID_SIZE];
    enqueue(db, "'mail', '{\"b\": 1, \"a\": [1.50, \"<x>\"]}'", first);
    assert_string_equal(first, enqueue(db, "'mail', '{\"a\": [1.5, \"<x>\"], \"b\": 1}'", second));
    assert_string_not_equal(first, enqueue(db, "'other', '{\"a\": [1.5, \"<x>\"], \"b\": 1}'", second));
    assert_string_not_equal(first, enqueue(db, "'mail', '{\"a\": [1.6, \"<x>\"], \"b\": 1}'", second));
    enqueue(db, "'mail', '1', fingerprint => 'same'", first);
    assert_string_equal(first, enqueue(db, "'mail', '2', fingerprint => 'same'", second));
    /* And the other way round, as in programs. */
    char id[NEOQ_ID_SIZE];
    enqueue(db, "'mail', '{\"zz\": 1, \"y\": 1e3}'", first);
    assert_status(NEOQ_EDUPLICATE,
                  neoq_enqueue(nq, &(neoq_job){.queue = "mail", .payload = "{\"y\":1000,\"zz\":1}"}, id));
    assert_string_equal(first, id);
    put(nq, "mail", "{\"q\":[{}, [], null, true, -0.00001, 1e30, \"\\u2028&\"]}", id);
    assert_string_equal(id,
                        enqueue(db, "'mail', '{\"q\": [{},[],null,true,-1e-5,1e30,\"\\u2028\\u0026\"]}'", second));
    PQfinish(db);
}

/* Enqueues the text as jsonb, and what was stored of it once more from here. False: it is no jsonb. */
static bool is_its_own_duplicate(store *s, neoq *nq, PGconn *db, const char *text)
{
    PGresult *result = PQexecParams(db, "SELECT neoq.enqueue('golden', $1::jsonb)", 1, NULL, &text, NULL, NULL, 0);
    bool stored = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (stored) {
        char id[NEOQ_ID_SIZE];
        const neoq_job *job = store_job(s, nq, PQgetvalue(result, 0, 0));
        neoq_job again = {.queue = "golden", .payload = job->payload, .payload_size = job->payload_size};
        if (neoq_enqueue(nq, &again, id) != NEOQ_EDUPLICATE)
            fail_msg("no duplicate, but another fingerprint: %s", text);
        assert_string_equal(job->id, id);
    }
    PQclear(result);
    return stored;
}

static void test_fingerprints_are_those_of_programs(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    json_t *golden = json_load_file(NEOQ_TEST_GOLDEN "/fingerprints.json", 0, NULL), *vector;
    assert_non_null(golden);
    size_t i, checked = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, vector)
    {
        const char *text = json_string_value(json_object_get(vector, "payload_json"));
        checked += text && is_its_own_duplicate(s, nq, db, text);
    }
    json_decref(golden);
    assert_true(checked >= 50);
    static const char *const numbers[] = {"1e23",    "1.7976931348623157e308",
                                          "1e309",   "5e-324",
                                          "2e-324",  "-0.0",
                                          "1e21",    "0.000001",
                                          "1e-7",    "123456789012345678901.5",
                                          "-1e-400", "9007199254740993.0",
                                          "0.1",     "5684341886080801e-29"};
    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        assert_true(is_its_own_duplicate(s, nq, db, numbers[i]));
    PQfinish(db);
}

static void test_it_is_part_of_the_transaction(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    sql(db, "CREATE TABLE orders(id int)");
    sql(db, "CREATE FUNCTION order_placed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM neoq.enqueue('orders', jsonb_build_object('order', new.id)); RETURN NULL; END $$");
    sql(db, "CREATE TRIGGER placed AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION order_placed()");
    sql(db, "BEGIN; INSERT INTO orders VALUES (1), (2); ROLLBACK");
    assert_int_equal(0, jobs_in(nq, "orders", 0));
    sql(db, "BEGIN; INSERT INTO orders VALUES (1), (2), (2); COMMIT");
    eventually(jobs_in(nq, "orders", NEOQ_READY) == 2);
    PQfinish(db);
}

static void test_what_is_wrong_is_said(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    refused(db, "SELECT neoq.enqueue('')", "the queue's name");
    refused(db, "SELECT neoq.enqueue(NULL)", "the queue's name");
    refused(db, "SELECT neoq.enqueue(E'a\\nb')", "the queue's name");
    refused(db, "SELECT neoq.enqueue('q', fingerprint => '')", "fingerprint");
    refused(db, "SELECT neoq.enqueue('q', max_retries => -1)", "max_retries");
    refused(db, "SELECT neoq.enqueue('q', metadata => '[]')", "metadata");
    refused(db, "SELECT neoq.enqueue('q', retention => '-1 s')", "retention");
    refused(db, "SELECT neoq.enqueue('q', run_at => 'infinity')", "run_at");
    recorder r = {RECORDER_INITIALIZER};
    gate hold = GATE_INITIALIZER;
    r.hold = &hold;
    neoq_handler handler = recording("bounded", &r);
    handler.capacity = 1;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    assert_status(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "bounded", .payload = "1"}, NULL));
    eventually(recorded(&r) == 1);
    sql(db, "SELECT neoq.enqueue('bounded', '2')");
    refused(db, "SELECT neoq.enqueue('bounded', '3')", "at its capacity");
    gate_open(&hold);
    PQfinish(db);
}

/* ---- views ------------------------------------------------------------------------------ */

static void test_the_view_of_jobs_speaks_in_words(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    char id[NEOQ_ID_SIZE];
    put_job(nq,
            (neoq_job){.queue = "mail",
                       .payload = "{\"a\": {\"b\": 7}}",
                       .run_after = NEOQ_SECONDS(2208988800),
                       .metadata = "{\"c\":8}",
                       .priority = 5},
            id);
    assert_string_equal("7", value(db, "SELECT payload->'a'->'b' FROM neoq.jobs WHERE queue = 'mail'"));
    assert_string_equal("8", value(db, "SELECT metadata->'c' FROM neoq.jobs"));
    assert_string_equal("scheduled", value(db, "SELECT state FROM neoq.jobs"));
    assert_string_equal("5", value(db, "SELECT priority FROM neoq.jobs"));
    assert_string_equal("t", value(db, "SELECT run_at = '2040-01-01Z' FROM neoq.jobs"));
    assert_string_equal("t", value(db, "SELECT abs(extract(epoch FROM now() - created_at)) < 60 FROM neoq.jobs"));
    assert_string_equal(store_job(s, nq, id)->fingerprint, value(db, "SELECT fingerprint FROM neoq.jobs"));
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    assert_string_equal("dead", value(db, "SELECT state FROM neoq.jobs"));
    assert_string_equal("cancelled", value(db, "SELECT error FROM neoq.jobs"));
    assert_string_equal("t", value(db, "SELECT keep_until > now() + interval '89 days' FROM neoq.jobs"));
    PQfinish(db);
}

static void test_a_payload_that_is_no_json_is_null_beside_its_bytes(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    static const char odd[] = "\xff\0{", nul[] = "\"\\u0000\"";
    put_job(nq, (neoq_job){.queue = "a", .payload = odd, .payload_size = 3, .metadata = "{\"n\":\"\\u0000\"}"}, NULL);
    put_job(nq, (neoq_job){.queue = "b", .payload = nul, .payload_size = 8}, NULL);
    put_job(nq, (neoq_job){.queue = "c", .payload = "just text"}, NULL);
    put_job(nq, (neoq_job){.queue = "d"}, NULL);
    assert_string_equal("4", value(db, "SELECT count(*) FROM neoq.jobs WHERE payload IS NULL"));
    assert_string_equal("\\xff007b", value(db, "SELECT payload_bytes FROM neoq.jobs WHERE queue = 'a'"));
    assert_string_equal("(null)", value(db, "SELECT metadata FROM neoq.jobs WHERE queue = 'a'"));
    PQfinish(db);
}

static void test_the_view_of_queues_counts(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    PGconn *db = connect_to(s);
    put(nq, "mail", "1", NULL);
    put(nq, "mail", "2", NULL);
    put_job(nq, (neoq_job){.queue = "mail", .run_after = NEOQ_SECONDS(2208988800)}, NULL);
    assert_status(NEOQ_OK, neoq_pause(nq, "mail"));
    /* As above. */
    eventually(*value(db, "SELECT ready FROM neoq.queues") == '2');
    assert_string_equal("(mail,t,,1,2,0,0,0,0,0,0)",
                        value(db, "SELECT (name, paused, capacity, scheduled, ready, running, retrying, done, dead,"
                                  " processed, failed) FROM neoq.queues"));
    assert_string_equal("t", value(db, "SELECT latency BETWEEN '0' AND '1 min' FROM neoq.queues"));
    PQfinish(db);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_job_from_sql_is_handled),
        on_store(test_what_is_left_out_is_as_in_programs),
        on_store(test_every_option_arrives),
        on_store(test_a_duplicate_gives_the_id_of_the_first),
        on_store(test_fingerprints_are_those_of_programs),
        on_store(test_it_is_part_of_the_transaction),
        on_store(test_what_is_wrong_is_said),
        on_store(test_the_view_of_jobs_speaks_in_words),
        on_store(test_a_payload_that_is_no_json_is_null_beside_its_bytes),
        on_store(test_the_view_of_queues_counts),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("postgres_sql", tests, NULL, NULL);
}
