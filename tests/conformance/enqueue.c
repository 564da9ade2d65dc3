/* SPDX-License-Identifier: MIT
 *
 * What goes in comes out: a job as it was enqueued, when it is due, in order, once.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_A "0190a0b0-0000-7000-8000-00000000000a"
#define ID_B "0190a0b0-0000-7000-8000-00000000000b"
#define ID_C "0190a0b0-0000-7000-8000-00000000000c"
#define ID_D "0190a0b0-0000-7000-8000-00000000000d"

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* ---- what a handler sees ---------------------------------------------------------------- */

static void test_a_handler_sees_its_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "greetings", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq,
            (neoq_job){.queue = "greetings",
                       .payload = "{\"message\":\"hello world\"}",
                       .deadline = STORE_START + NEOQ_HOURS(1),
                       .priority = -7,
                       .max_retries = 5,
                       .metadata = "{\"trace\":\"abc\"}"},
            id);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(2));
    work_one(nq);
    assert_int_equal(1, r.count);
    const seen *run = &r.runs[0];
    assert_string_equal(id, run->id);
    assert_string_equal("greetings", run->queue);
    assert_string_equal("{\"message\":\"hello world\"}", (const char *)run->payload);
    assert_int_equal(25, run->payload_size);
    assert_true(run->payload_is_terminated);
    assert_int_equal(NEOQ_RUNNING, run->state);
    assert_int_equal(0, run->retries);
    assert_int_equal(5, run->max_retries);
    assert_int_equal(1, run->epoch);
    assert_int_equal(-7, run->priority);
    assert_true(run->created_at == STORE_START);
    assert_true(run->ran_at == STORE_START + NEOQ_SECONDS(2));
    assert_true(run->deadline == STORE_START + NEOQ_HOURS(1));
    assert_string_equal("{\"trace\":\"abc\"}", run->metadata);
    assert_string_equal("5a72edaa9e42d229016f36cc818ef33a", run->fingerprint);
    assert_false(run->has_error);
}

static void test_fields_left_out_are_the_defaults(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "greetings", "1", id);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_READY, job->state);
    assert_int_equal(0, job->priority);
    assert_int_equal(23, job->max_retries);
    assert_int_equal(0, job->retries);
    assert_int_equal(0, job->epoch);
    assert_int_equal(NEOQ_UNIQUE_ON, job->unique);
    assert_true(job->created_at == STORE_START);
    assert_true(job->ran_at == 0);
    assert_true(job->finished_at == 0);
    assert_true(job->deadline == 0);
    assert_null(job->metadata);
    assert_null(job->error);
    assert_null(job->result);
    assert_int_equal(0, job->result_size);
    assert_int_equal(0, job->retry_wait_count);
}

static void test_a_payload_is_any_bytes(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "bytes", &r);
    unsigned char bytes[256];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(255 - i);
    bytes[3] = 0;
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "bytes", .payload = bytes, .payload_size = sizeof(bytes)}, id);
    assert_memory_equal(bytes, store_job(s, nq, id)->payload, sizeof(bytes));
    work_one(nq);
    assert_int_equal(sizeof(bytes), r.runs[0].payload_size);
    assert_memory_equal(bytes, r.runs[0].payload, sizeof(bytes));
    assert_true(r.runs[0].payload_is_terminated);
}

static void test_a_payload_size_of_0_means_a_string(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "strings", "abc", id);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(3, job->payload_size);
    assert_string_equal("abc", (const char *)job->payload);
}

/* Go's neoq fingerprints a nil payload as the JSON null. */
static void test_no_payload_is_an_empty_one(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "every_second", &r);
    put(nq, "every_second", NULL, NULL);
    work_one(nq);
    assert_int_equal(0, r.runs[0].payload_size);
    assert_true(r.runs[0].payload_is_terminated);
    assert_string_equal("cdb0875002a9e497371f9fff9370cbd9", r.runs[0].fingerprint);
}

static void test_what_was_passed_in_was_copied(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char queue[] = "copied", payload[] = "{\"a\":1}", metadata[] = "{\"b\":2}", mark[] = "mine";
    char wanted[] = ID_A, id[NEOQ_ID_SIZE];
    neoq_duration waits[] = {NEOQ_SECONDS(1), NEOQ_SECONDS(2)};
    put_job(nq,
            (neoq_job){.id = wanted,
                       .queue = queue,
                       .payload = payload,
                       .metadata = metadata,
                       .fingerprint = mark,
                       .retry_waits = waits,
                       .retry_wait_count = 2},
            id);
    memset(queue, 'x', sizeof(queue) - 1);
    memset(payload, 'x', sizeof(payload) - 1);
    memset(metadata, 'x', sizeof(metadata) - 1);
    memset(mark, 'x', sizeof(mark) - 1);
    memset(wanted, 'x', sizeof(wanted) - 1);
    memset(waits, 'x', sizeof(waits));
    const neoq_job *job = store_job(s, nq, ID_A);
    assert_string_equal("copied", job->queue);
    assert_string_equal("{\"a\":1}", (const char *)job->payload);
    assert_string_equal("{\"b\":2}", job->metadata);
    assert_string_equal("mine", job->fingerprint);
    assert_int_equal(2, job->retry_wait_count);
    assert_true(job->retry_waits[0] == NEOQ_SECONDS(1) && job->retry_waits[1] == NEOQ_SECONDS(2));
}

/* ---- ids -------------------------------------------------------------------------------- */

static void test_an_id_made_by_neoq_is_a_uuid_of_version_7(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE], next[NEOQ_ID_SIZE];
    put(nq, "ids", "1", id);
    put(nq, "ids", "2", next);
    assert_int_equal(36, strlen(id));
    for (size_t i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23)
            assert_int_equal('-', id[i]);
        else
            assert_true(isdigit((unsigned char)id[i]) || (id[i] >= 'a' && id[i] <= 'f'));
    }
    assert_int_equal('7', id[14]);
    assert_non_null(strchr("89ab", id[19]));
    char milliseconds[14];
    snprintf(milliseconds, sizeof(milliseconds), "%.8s%.4s", id, id + 9);
    assert_true(strtoll(milliseconds, NULL, 16) == STORE_START / 1000);
    assert_string_not_equal(id, next);
}

static void test_a_uuid_of_the_callers_is_kept_in_lower_case(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "ids", .id = "0190A0B0-0000-7000-8000-00000000000A"}, id);
    assert_string_equal(ID_A, id);
    assert_int_equal(NEOQ_READY, state_of(nq, ID_A));
}

static void test_a_malformed_id_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    static const char *const ids[] = {"",
                                      "1",
                                      "not-a-uuid",
                                      "0190a0b0-0000-7000-8000-00000000000",
                                      ID_A "0",
                                      "0190a0b0-0000-7000-8000-00000000000g",
                                      "0190a0b000-00-7000-8000-00000000000a",
                                      "{0190a0b0-0000-7000-8000-00000000000a}"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        assert_status(NEOQ_EINVAL, neoq_enqueue(nq, &(neoq_job){.queue = "ids", .id = ids[i]}, NULL));
    assert_int_equal(0, jobs_in(nq, "ids", 0));
}

static void test_the_same_id_again_is_ok_and_no_second_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "ids", &r);
    char id[NEOQ_ID_SIZE] = "";
    put_job(nq, (neoq_job){.queue = "ids", .id = ID_A, .payload = "1", .retention = NEOQ_FOREVER}, NULL);
    put_job(nq, (neoq_job){.queue = "ids", .id = ID_A, .payload = "1", .retention = NEOQ_FOREVER}, id);
    assert_string_equal(ID_A, id);
    assert_int_equal(1, jobs_in(nq, "ids", 0));
    assert_int_equal(1, drain(nq).runs);
    /* Also when it has run meanwhile: the repeat of an enqueue whose answer was lost comes late. */
    put_job(nq, (neoq_job){.queue = "ids", .id = ID_A, .payload = "1"}, id);
    assert_int_equal(0, drain(nq).runs);
    assert_int_equal(NEOQ_DONE, state_of(nq, ID_A));
}

static void test_the_id_may_be_null(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    assert_status(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "ids"}, NULL));
    assert_int_equal(1, jobs_in(nq, "ids", NEOQ_READY));
}

/* ---- when ------------------------------------------------------------------------------- */

static void test_a_queue_without_handler_is_stored_and_left_alone(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "handled", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "unhandled", "1", id);
    assert_int_equal(0, drain(nq).runs);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_READY, job->state);
    assert_int_equal(0, job->epoch);
}

static void test_a_future_job_does_not_run_early_and_runs_when_due(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "future", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "future", .run_after = STORE_START + NEOQ_SECONDS(5)}, id);
    assert_int_equal(NEOQ_SCHEDULED, state_of(nq, id));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(5) - 1);
    assert_int_equal(0, drain(nq).runs);
    assert_int_equal(NEOQ_SCHEDULED, state_of(nq, id));
    neoq_clock_advance(s->clock, 1);
    assert_int_equal(NEOQ_READY, state_of(nq, id));
    assert_int_equal(1, drain(nq).done);
    assert_true(r.runs[0].ran_at == STORE_START + NEOQ_SECONDS(5));
}

static void test_future_jobs_of_two_queues_go_each_to_its_own_handler(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder one = {RECORDER_INITIALIZER}, two = {RECORDER_INITIALIZER};
    start(nq, "one", &one);
    start(nq, "two", &two);
    for (int i = 0; i < 100; i++) {
        char payload[32];
        snprintf(payload, sizeof(payload), "{\"n\":%d}", i);
        neoq_time soon = STORE_START + NEOQ_MILLISECONDS(1);
        put_job(nq, (neoq_job){.queue = "one", .payload = payload, .run_after = soon}, NULL);
        put_job(nq, (neoq_job){.queue = "two", .payload = payload, .run_after = soon}, NULL);
    }
    neoq_testing_counts counts;
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_SECONDS(10), &counts));
    assert_int_equal(200, counts.done);
    assert_int_equal(100, one.count);
    assert_int_equal(100, two.count);
    for (int i = 0; i < 64; i++) {
        assert_string_equal("one", one.runs[i].queue);
        assert_string_equal("two", two.runs[i].queue);
    }
}

static void test_run_after_in_the_past_means_now(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "past", &r);
    char id[NEOQ_ID_SIZE];
    /* It does not get ahead of those that came before it. */
    put(nq, "past", "\"earlier\"", NULL);
    put_job(nq, (neoq_job){.queue = "past", .run_after = 1}, id);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_READY, job->state);
    assert_true(job->run_after == STORE_START);
    assert_int_equal(2, drain(nq).done);
    assert_string_equal(id, r.runs[1].id);
}

static void test_order_is_priority_then_run_after_then_arrival(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "order", &r);
    /* The ids sort the other way round. */
    put_job(nq, (neoq_job){.id = ID_D, .queue = "order", .payload = "4"}, NULL);
    put_job(nq, (neoq_job){.id = ID_C, .queue = "order", .payload = "3"}, NULL);
    put_job(nq, (neoq_job){.id = ID_A, .queue = "order", .payload = "1", .run_after = STORE_START + 10}, NULL);
    put_job(nq,
            (neoq_job){.id = ID_B, .queue = "order", .payload = "2", .priority = 1, .run_after = STORE_START + 20},
            NULL);
    put_job(nq, (neoq_job){.queue = "order", .payload = "0", .priority = -1}, NULL);
    neoq_clock_advance(s->clock, 20);
    assert_int_equal(5, drain(nq).done);
    static const char *const payloads[] = {"2", "4", "3", "1", "0"};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(payloads[i], (const char *)r.runs[i].payload);
}

/* ---- deadlines -------------------------------------------------------------------------- */

static void test_a_deadline_that_passed_before_the_run_is_death_without_a_run(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "late", &r);
    char id[NEOQ_ID_SIZE], next[NEOQ_ID_SIZE];
    put_job(nq,
            (neoq_job){.queue = "late", .payload = "1", .max_retries = 5, .deadline = STORE_START + NEOQ_SECONDS(5)},
            id);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(10));
    assert_int_equal(1, drain(nq).dead);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_DEAD, job->state);
    assert_words("deadline", job->error);
    /* It stays dead, and the worker goes on with the next. */
    put(nq, "late", "2", next);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(1, r.count);
    assert_string_equal(next, r.runs[0].id);
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
}

static void test_a_deadline_already_past_is_enqueued_and_dies(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "late", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "late", .deadline = STORE_START - NEOQ_SECONDS(5), .max_retries = 5}, id);
    drain(nq);
    assert_int_equal(0, r.count);
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
}

static void pass_the_deadline(neoq_ctx *ctx, recorder *r)
{
    neoq_clock_advance(r->about, NEOQ_SECONDS(10));
    (void)ctx;
}

static void test_a_deadline_during_the_run_is_death_without_retry(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .inside = pass_the_deadline, .about = s->clock};
    start(nq, "late", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "late", .max_retries = 5, .deadline = STORE_START + NEOQ_SECONDS(5)}, id);
    assert_int_equal(1, work_one(nq).dead);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_DEAD, job->state);
    assert_words("deadline", job->error);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(1, r.count);
}

/* ---- from many threads, on real time ---------------------------------------------------- */

typedef struct producer {
    neoq *nq;
    int number, status;
} producer;

static void *produce(void *arg)
{
    producer *p = arg;
    for (int i = 0; i < 125 && p->status == NEOQ_OK; i++) {
        char payload[64];
        snprintf(payload, sizeof(payload), "{\"n\":%d}", p->number * 1000 + i);
        p->status = neoq_enqueue(p->nq, &(neoq_job){.queue = "many", .payload = payload}, NULL);
    }
    return NULL;
}

static void test_a_thousand_jobs_from_eight_threads_are_each_handled_once(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, ON_HINTS_ALONE);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("many", &r);
    handler.concurrency = 0;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    pthread_t threads[8];
    producer producers[8];
    for (int i = 0; i < 8; i++) {
        producers[i] = (producer){nq, i, NEOQ_OK};
        assert_int_equal(0, pthread_create(&threads[i], NULL, produce, &producers[i]));
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(NEOQ_OK, producers[i].status);
    }
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
    assert_int_equal(1000, recorded(&r));
    assert_int_equal(1000, queue_of(nq, "many").processed);
    assert_int_equal(0, queue_of(nq, "many").failed);
}

static void test_enqueueing_starts_a_waiting_handler(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, ON_HINTS_ALONE);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "soon", &r);
    for (int i = 0; i < 5; i++) {
        put(nq, "soon", NULL, NULL);
        eventually(recorded_ends(&r) == (size_t)i + 1);
        eventually(jobs_in(nq, "soon", 0) == 0);
    }
}

static void test_a_backlog_is_handled_when_its_handler_starts(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, &(neoq_options){.asynchronous_commit = true});
    neoq_job *jobs = calloc(1000, sizeof(*jobs));
    assert_non_null(jobs);
    for (int i = 0; i < 1000; i++)
        jobs[i] = (neoq_job){.queue = "backlog", .unique = NEOQ_UNIQUE_OFF};
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 1000, NULL));
    free(jobs);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "backlog", &r);
    eventually(recorded_ends(&r) == 1000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_handler_sees_its_job),
        on_store(test_fields_left_out_are_the_defaults),
        on_store(test_a_payload_is_any_bytes),
        on_store(test_a_payload_size_of_0_means_a_string),
        on_store(test_no_payload_is_an_empty_one),
        on_store(test_what_was_passed_in_was_copied),
        on_store(test_an_id_made_by_neoq_is_a_uuid_of_version_7),
        on_store(test_a_uuid_of_the_callers_is_kept_in_lower_case),
        on_store(test_a_malformed_id_is_refused),
        on_store(test_the_same_id_again_is_ok_and_no_second_job),
        on_store(test_the_id_may_be_null),
        on_store(test_a_queue_without_handler_is_stored_and_left_alone),
        on_store(test_a_future_job_does_not_run_early_and_runs_when_due),
        on_store(test_future_jobs_of_two_queues_go_each_to_its_own_handler),
        on_store(test_run_after_in_the_past_means_now),
        on_store(test_order_is_priority_then_run_after_then_arrival),
        on_store(test_a_deadline_that_passed_before_the_run_is_death_without_a_run),
        on_store(test_a_deadline_already_past_is_enqueued_and_dies),
        on_store(test_a_deadline_during_the_run_is_death_without_retry),
        on_store(test_a_thousand_jobs_from_eight_threads_are_each_handled_once),
        on_store(test_enqueueing_starts_a_waiting_handler),
        on_store(test_a_backlog_is_handled_when_its_handler_starts),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("enqueue", tests, NULL, NULL);
}
