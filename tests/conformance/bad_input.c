/* SPDX-License-Identifier: MIT
 *
 * What is malformed is refused in words, and leaves nothing behind; what only looks odd works.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refused(neoq *nq, neoq_job job, int status)
{
    assert_status(status, neoq_enqueue(nq, &job, NULL));
    assert_true(strlen(neoq_error_message()) > 0);
}

/* ---- URLs and options ------------------------------------------------------------------- */

static void test_a_url_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "",       ":",        "nowhere", "nosuchscheme:", "nosuchscheme://host/db", "/tmp/jobs.db", "memory",
        "Memory", " memory:", "sqlite:", "sqlite"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        neoq *nq = (neoq *)&nq;
        int status = neoq_open(&nq, urls[i], &(neoq_options){.log = quiet});
        if (status == NEOQ_OK)
            neoq_close(nq);
        assert_status(NEOQ_EINVAL, status);
        assert_null(nq);
        assert_true(strlen(neoq_error_message()) > 0);
    }
    neoq *nq = NULL;
    assert_status(NEOQ_EINVAL, neoq_open(&nq, "nosuchscheme:x", NULL));
    assert_words("nosuchscheme", neoq_error_message());
    assert_status(NEOQ_EINVAL, neoq_open(&nq, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_open(NULL, "memory:", NULL));
}

static void test_an_option_that_is_malformed_is_refused(void **state)
{
    store *s = *state;
    static const neoq_options bad[] = {
        {.job_check_interval = -5}, {.poll_interval = -5},   {.lease = -5},
        {.shutdown_timeout = -5},   {.connect_timeout = -5}, {.retention = -5},
        {.dead_retention = -5},     {.capacity_wait = -5},   {.job_check_interval = NEOQ_FOREVER},
        {.lease = NEOQ_FOREVER},    {.unique = 7},           {.unique = -1},
        {.max_connections = -1},    {.log_level = 9},        {.log_level = -1}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        neoq *nq = NULL;
        neoq_options options = bad[i];
        options.log = quiet;
        int status = neoq_open(&nq, s->url, &options);
        if (status == NEOQ_OK) {
            neoq_close(nq);
            print_message("option %zu of the list is accepted\n", i);
        }
        assert_status(NEOQ_EINVAL, status);
    }
}

/* ---- queue names ------------------------------------------------------------------------ */

static void test_queue_names_that_are_none(void **state)
{
    neoq *nq = store_open(*state, NULL);
    recorder r = {RECORDER_INITIALIZER};
    char longest[201], too_long[202];
    memset(longest, 'q', 200);
    longest[200] = '\0';
    memset(too_long, 'q', 201);
    too_long[201] = '\0';
    const char *const names[] = {NULL,      "",         too_long,  "new\nline", "tab\there",    "\x01",
                                 "del\x7f", "\xff\xfe", "cut\xc3", "\xc0\xaf",  "\xed\xa0\x80", "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        refused(nq, (neoq_job){.queue = names[i]}, NEOQ_EINVAL);
        neoq_handler handler = recording(names[i], &r);
        assert_status(NEOQ_EINVAL, neoq_start(nq, &handler));
    }
    put(nq, longest, NULL, NULL);
    assert_string_equal(longest, queue_of(nq, longest).name);
    assert_int_equal(1, jobs_in(nq, NULL, 0));
}

static void test_odd_queue_names_work(void **state)
{
    store *s = *state;
    static const char *const names[] = {"it's",
                                        "\"quoted\"",
                                        "a;b",
                                        "drop table jobs; --",
                                        "100%",
                                        "%s%n%d",
                                        "..",
                                        "../../etc/passwd",
                                        "a b",
                                        " ",
                                        "SyncThing",
                                        "syncthing",
                                        "\xc3\xa9t\xc3\xa9",
                                        "\xf0\x9f\x90\x8c",
                                        "back\\slash",
                                        "a:b",
                                        "{x}",
                                        "*",
                                        "a*",
                                        "neoq",
                                        "_",
                                        "a_b",
                                        "aXb"};
    neoq *nq = store_open(s, NULL);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        recorder r = {RECORDER_INITIALIZER};
        neoq_handler handler = recording(names[i], &r);
        assert_status(NEOQ_OK, neoq_start(nq, &handler));
        put(nq, names[i], NULL, NULL);
        assert_int_equal(1, jobs_in(nq, names[i], NEOQ_READY));
        assert_string_equal(names[i], queue_of(nq, names[i]).name);
        assert_status(NEOQ_OK, neoq_pause(nq, names[i]));
        assert_status(NEOQ_OK, neoq_resume(nq, names[i]));
        assert_status(NEOQ_OK, neoq_testing_work_one(nq, names[i], NULL));
        assert_int_equal(1, r.count);
        assert_string_equal(names[i], r.runs[0].queue);
    }
}

/* ---- payloads --------------------------------------------------------------------------- */

static void test_a_payload_over_the_limit_is_too_big(void **state)
{
    store *s = *state;
    size_t mebi = 1 << 20;
    char *payload = malloc(mebi + 2);
    assert_non_null(payload);
    memset(payload, 'p', mebi + 1);
    payload[mebi + 1] = '\0';
    neoq *nq = store_open(s, NULL);
    int with_size = neoq_enqueue(nq, &(neoq_job){.queue = "big", .payload = payload, .payload_size = mebi + 1}, NULL);
    int as_string = neoq_enqueue(nq, &(neoq_job){.queue = "big", .payload = payload}, NULL);
    int at_limit = neoq_enqueue(nq, &(neoq_job){.queue = "big", .payload = payload, .payload_size = mebi}, NULL);
    free(payload);
    assert_int_equal(NEOQ_ETOOBIG, with_size);
    assert_int_equal(NEOQ_ETOOBIG, as_string);
    assert_int_equal(NEOQ_OK, at_limit);
    assert_int_equal(1, jobs_in(nq, "big", 0));
    neoq *small = store_open(s, &(neoq_options){.max_payload = 10});
    put_job(small, (neoq_job){.queue = "small", .payload = "1234567890"}, NULL);
    refused(small, (neoq_job){.queue = "small", .payload = "12345678901"}, NEOQ_ETOOBIG);
}

/* Each goes in and comes out as it was; and each is itself, or its own duplicate. */
static void comes_through(neoq *nq, const void *payload, size_t size)
{
    neoq_job job = {.queue = "odd", .payload = payload, .payload_size = size};
    char id[NEOQ_ID_SIZE], twin[NEOQ_ID_SIZE] = "";
    put_job(nq, job, id);
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &job, twin));
    assert_string_equal(id, twin);
    neoq_job_set *set = NULL;
    assert_status(NEOQ_OK, neoq_get(nq, id, &set));
    const neoq_job *stored = neoq_job_set_at(set, 0);
    size_t expected = size ? size : strlen(payload);
    bool same = stored->payload_size == expected && memcmp(stored->payload, payload, expected) == 0;
    neoq_job_set_free(set);
    assert_true(same);
}

static void test_odd_payloads_come_through_as_they_are(void **state)
{
    neoq *nq = store_open(*state, NULL);
    static const char *const payloads[] = {"{\"a\":",
                                           "{",
                                           "}",
                                           "[1,2",
                                           "nonsense",
                                           "{\"a\":1}trailing",
                                           "\"\\ud800\"",
                                           "{\"a\":\"\\udc00\\ud800\"}",
                                           "9007199254740993",
                                           "{\"n\":9223372036854775808}",
                                           "-9223372036854775809",
                                           "18446744073709551616",
                                           "1e400",
                                           "{\"n\":123456789012345678901234567890}",
                                           "[1.0,1e2,-0]",
                                           "{\"a\":1,\"a\":2}",
                                           "\xff\xfe",
                                           "NaN",
                                           "{\"\":\"\"}",
                                           "<script>&amp;",
                                           "' OR 1=1; --",
                                           "%s%n",
                                           "\"\\u0000\"",
                                           " ",
                                           "nul",
                                           "'",
                                           "\xef\xbb\xbf{}"};
    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++)
        comes_through(nq, payloads[i], 0);
    comes_through(nq, "\0", 1);
    comes_through(nq, "\0\0\0", 3);
    comes_through(nq, "{\"a\":1}\0", 8);
}

static void test_deep_json_is_only_bytes(void **state)
{
    neoq *nq = store_open(*state, NULL);
    size_t depth = 10000;
    char *payload = malloc(2 * depth + 1), *object = malloc(6 * depth + 2);
    assert_non_null(payload);
    assert_non_null(object);
    memset(payload, '[', depth);
    memset(payload + depth, ']', depth);
    payload[2 * depth] = '\0';
    for (size_t i = 0; i < depth; i++)
        memcpy(object + 5 * i, "{\"a\":", 5);
    object[5 * depth] = '1';
    memset(object + 5 * depth + 1, '}', depth);
    object[6 * depth + 1] = '\0';
    comes_through(nq, payload, 0);
    comes_through(nq, object, 0);
    free(payload);
    free(object);
}

static void test_an_empty_payload_and_none_are_the_same(void **state)
{
    neoq *nq = store_open(*state, NULL);
    put(nq, "empty", NULL, NULL);
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &(neoq_job){.queue = "empty", .payload = ""}, NULL));
}

/* ---- the other fields ------------------------------------------------------------------- */

static void test_fields_out_of_range_are_refused(void **state)
{
    neoq *nq = store_open(*state, NULL);
    const neoq_time year_10000 = (neoq_time)253402300800 * 1000000;
    const neoq_duration negative[] = {NEOQ_SECONDS(1), -5}, forever[] = {NEOQ_FOREVER};
    refused(nq, (neoq_job){.queue = "q", .max_retries = -2}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .max_retries = INT32_MIN}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .run_after = -1}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .run_after = INT64_MIN}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .run_after = year_10000}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .run_after = INT64_MAX}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .deadline = -1}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .deadline = year_10000}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .retention = -5}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .retry_waits = negative, .retry_wait_count = 2}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .retry_waits = forever, .retry_wait_count = 1}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .retry_waits = NULL, .retry_wait_count = 1}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .fingerprint = ""}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .fingerprint = "\xff"}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .unique = 9}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .payload_size = 5}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .metadata = "not json"}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .metadata = "[1]"}, NEOQ_EINVAL);
    refused(nq, (neoq_job){.queue = "q", .metadata = ""}, NEOQ_EINVAL);
    assert_int_equal(0, jobs_in(nq, NULL, 0));
    put_job(nq,
            (neoq_job){.queue = "q",
                       .run_after = year_10000 - 1,
                       .deadline = year_10000 - 1,
                       .max_retries = INT32_MAX,
                       .priority = INT32_MIN},
            NULL);
    put_job(nq, (neoq_job){.queue = "r", .priority = INT32_MAX, .retention = NEOQ_FOREVER}, NULL);
    assert_int_equal(2, jobs_in(nq, NULL, 0));
}

static void test_fields_of_a_handler_out_of_range_are_refused(void **state)
{
    neoq *nq = store_open(*state, NULL);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("q", &r);
    assert_status(NEOQ_EINVAL, neoq_start(nq, NULL));
    handler.handle = NULL;
    assert_status(NEOQ_EINVAL, neoq_start(nq, &handler));
    handler = recording("q", &r);
    handler.concurrency = -1;
    assert_status(NEOQ_EINVAL, neoq_start(nq, &handler));
    handler = recording("q", &r);
    handler.timeout = -5;
    assert_status(NEOQ_EINVAL, neoq_start(nq, &handler));
    handler = recording("q", &r);
    handler.weight = -1;
    assert_status(NEOQ_EINVAL, neoq_start(nq, &handler));
    handler = recording("q", &r);
    handler.isolation = 5;
    assert_status(NEOQ_EINVAL, neoq_start(nq, &handler));
    /* Nothing of that has taken the queue. */
    handler = recording("q", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

static void test_negative_timeouts_are_refused(void **state)
{
    neoq *nq = store_open_real(*state, NULL);
    assert_status(NEOQ_EINVAL, neoq_drain(nq, -5));
    assert_status(NEOQ_EINVAL, neoq_shutdown(nq, -5));
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_FOREVER));
    assert_status(NEOQ_OK, neoq_shutdown(nq, NEOQ_FOREVER));
}

static void test_states_that_are_none_are_refused(void **state)
{
    neoq *nq = store_open(*state, NULL);
    neoq_job_set *set = NULL;
    put(nq, "q", NULL, NULL);
    assert_status(NEOQ_EINVAL, neoq_find(nq, &(neoq_filter){.state = 99}, &set));
    assert_status(NEOQ_EINVAL, neoq_purge(nq, "q", 99, NULL));
    assert_int_equal(1, jobs_in(nq, "q", 0));
}

static void purge_the_running(neoq_ctx *ctx, recorder *r)
{
    int64_t purged = 0;
    int status = neoq_purge(r->about, neoq_ctx_job(ctx)->queue, NEOQ_RUNNING, &purged);
    if (status == NEOQ_OK && purged > 0)
        r->about = NULL;
}

static void test_running_jobs_cannot_be_purged(void **state)
{
    neoq *nq = store_open(*state, NULL);
    recorder r = {RECORDER_INITIALIZER, .inside = purge_the_running, .about = nq};
    neoq_handler handler = recording("q", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "q", .retention = NEOQ_FOREVER}, id);
    work_one(nq);
    assert_non_null(r.about);
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
}

typedef struct outcomes {
    int snooze, retry_in, progress[4], result[2];
} outcomes;

static void misuse(neoq_ctx *ctx, recorder *r)
{
    outcomes *o = r->about;
    o->progress[0] = neoq_set_progress(ctx, -1, NULL);
    o->progress[1] = neoq_set_progress(ctx, 101, NULL);
    o->progress[2] = neoq_set_progress(ctx, 0, NULL);
    o->progress[3] = neoq_set_progress(ctx, 100, "\xff");
    o->result[0] = neoq_set_result(ctx, NULL, 0);
    o->result[1] = neoq_set_result(ctx, NULL, 5);
}

static void test_a_handler_that_misuses_its_context_is_told_so(void **state)
{
    skip_where(NEOQ_CANNOT_KEEP_PROGRESS);
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    outcomes o = {0};
    recorder r = {RECORDER_INITIALIZER, .inside = misuse, .about = &o};
    neoq_handler handler = recording("q", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put_job(nq, (neoq_job){.queue = "q", .retention = NEOQ_FOREVER}, NULL);
    assert_int_equal(1, work_one(nq).done);
    assert_int_equal(NEOQ_EINVAL, o.progress[0]);
    assert_int_equal(NEOQ_EINVAL, o.progress[1]);
    assert_int_equal(NEOQ_OK, o.progress[2]);
    assert_int_equal(NEOQ_OK, o.result[0]);
    assert_int_equal(NEOQ_EINVAL, o.result[1]);
}

/* A negative wait cannot be meant; the job must neither be lost nor run at once for ever. */
static void test_a_negative_wait_is_no_way_out(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER,
                  .steps = {{.act = ACT_SNOOZE, .wait = -5},
                            {.act = ACT_RETRY_IN, .wait = -5, .words = "x"},
                            {.act = ACT_DONE}},
                  .step_count = 3};
    neoq_handler handler = recording("q", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char id[NEOQ_ID_SIZE];
    put(nq, "q", NULL, id);
    work_one(nq);
    const neoq_job *job = store_job(s, nq, id);
    assert_true(job->run_after >= STORE_START);
    assert_int_not_equal(NEOQ_RUNNING, job->state);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(3, r.count);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_url_that_is_none_is_refused),
        on_store(test_an_option_that_is_malformed_is_refused),
        on_store(test_queue_names_that_are_none),
        on_store(test_odd_queue_names_work),
        on_store(test_a_payload_over_the_limit_is_too_big),
        on_store(test_odd_payloads_come_through_as_they_are),
        on_store(test_deep_json_is_only_bytes),
        on_store(test_an_empty_payload_and_none_are_the_same),
        on_store(test_fields_out_of_range_are_refused),
        on_store(test_fields_of_a_handler_out_of_range_are_refused),
        on_store(test_negative_timeouts_are_refused),
        on_store(test_states_that_are_none_are_refused),
        on_store(test_running_jobs_cannot_be_purged),
        on_store(test_a_handler_that_misuses_its_context_is_told_so),
        on_store(test_a_negative_wait_is_no_way_out),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("bad_input", tests, NULL, NULL);
}
