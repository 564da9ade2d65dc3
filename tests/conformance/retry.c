/* SPDX-License-Identifier: MIT
 *
 * Failing, waiting, trying again, dying; and how long the finished are kept.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* ---- backoff ---------------------------------------------------------------------------- */

/* Go neoq's least and greatest wait, in seconds, after the run that had `retries` retries before it. */
static void golden_bounds(int retries, int64_t *least, int64_t *most)
{
    json_t *golden = json_load_file(NEOQ_TEST_GOLDEN "/backoff.json", 0, NULL);
    json_t *line = json_array_get(json_object_get(golden, "cases"), (size_t)retries);
    assert_int_equal(retries, json_integer_value(json_object_get(line, "retries")));
    *least = json_integer_value(json_object_get(line, "neoq_min"));
    *most = json_integer_value(json_object_get(line, "neoq_max"));
    assert_true(*least > 0 && *most >= *least);
    json_decref(golden);
}

static void test_a_failed_job_is_retried_23_times_with_backoff_and_then_dead(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "failing", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "failing", NULL, id);
    for (int run = 0; run < 23; run++) {
        int64_t least, most;
        golden_bounds(run, &least, &most);
        neoq_testing_counts counts = work_one(nq);
        assert_int_equal(1, counts.failed);
        assert_int_equal(0, counts.dead);
        assert_int_equal(run, r.runs[run].retries);
        assert_int_equal(run + 1, r.runs[run].epoch);
        const neoq_job *job = store_job(s, nq, id);
        assert_int_equal(NEOQ_RETRYING, job->state);
        neoq_duration wait = job->run_after - neoq_clock_time(s->clock);
        assert_in_range(wait, NEOQ_SECONDS(least), NEOQ_SECONDS(most));
        neoq_clock_advance(s->clock, wait - 1);
        assert_status(NEOQ_ENOTFOUND, neoq_testing_work_one(nq, NULL, NULL));
        neoq_clock_advance(s->clock, 1);
    }
    assert_int_equal(1, work_one(nq).dead);
    assert_int_equal(23, r.runs[23].retries);
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(24), NULL));
    assert_int_equal(24, r.count);
}

static void test_the_backoff_is_jittered(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "failing", &r);
    char ids[20][NEOQ_ID_SIZE];
    for (int i = 0; i < 20; i++)
        put_job(nq, (neoq_job){.queue = "failing", .unique = NEOQ_UNIQUE_OFF}, ids[i]);
    assert_int_equal(20, drain(nq).failed);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(16));
    assert_int_equal(20, drain(nq).failed);
    int different = 0;
    for (int i = 1; i < 20; i++)
        different += store_job(s, nq, ids[i])->run_after != store_job(s, nq, ids[0])->run_after;
    assert_true(different > 0);
}

static void test_retry_waits_are_exact_and_their_count_is_the_number_of_retries(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "waits", &r);
    const neoq_duration waits[] = {NEOQ_SECONDS(60), NEOQ_SECONDS(600), NEOQ_SECONDS(1800)};
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "waits", .retry_waits = waits, .retry_wait_count = 3}, id);
    for (int i = 0; i < 3; i++) {
        work_one(nq);
        const neoq_job *job = store_job(s, nq, id);
        assert_int_equal(NEOQ_RETRYING, job->state);
        assert_true(job->run_after - neoq_clock_time(s->clock) == waits[i]);
        neoq_clock_advance(s->clock, waits[i]);
    }
    assert_int_equal(1, work_one(nq).dead);
    assert_int_equal(4, r.count);
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
}

/* pgq's TestRunABunchOfTasks: one retry, at once. */
static void test_a_retry_wait_of_0_runs_again_at_once(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "waits", &r);
    const neoq_duration none[] = {0};
    for (int i = 0; i < 10; i++)
        put_job(nq,
                (neoq_job){.queue = "waits", .unique = NEOQ_UNIQUE_OFF, .retry_waits = none, .retry_wait_count = 1},
                NULL);
    neoq_testing_counts counts = drain(nq);
    assert_int_equal(20, counts.runs);
    assert_int_equal(10, counts.dead);
    assert_int_equal(10, jobs_in(nq, "waits", NEOQ_DEAD));
}

/* ---- how often -------------------------------------------------------------------------- */

static void test_no_retries_is_death_after_the_first_failure(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "once", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "once", .max_retries = NEOQ_NO_RETRIES}, id);
    assert_int_equal(1, drain(nq).dead);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_DEAD, job->state);
    assert_words("something bad happened", job->error);
    assert_true(job->finished_at == STORE_START);
    assert_int_equal(1, job->epoch);
}

/* B6 of the originals: there, each such job ended a worker. */
static void test_jobs_that_die_do_not_stop_the_worker(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "once", &r);
    for (int i = 0; i < 10; i++)
        put_job(nq, (neoq_job){.queue = "once", .unique = NEOQ_UNIQUE_OFF, .max_retries = NEOQ_NO_RETRIES}, NULL);
    assert_int_equal(10, drain(nq).dead);
    r.step_count = 0;
    put(nq, "once", NULL, NULL);
    assert_int_equal(1, drain(nq).done);
}

static void test_success_on_the_last_allowed_run_is_done_not_dead(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}, {.act = ACT_DONE}}, .step_count = 2};
    start(nq, "last", &r);
    char id[NEOQ_ID_SIZE], only[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "last", .max_retries = 1, .retention = NEOQ_FOREVER}, id);
    work_one(nq);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(16));
    neoq_testing_counts counts = drain(nq);
    assert_int_equal(1, counts.done);
    assert_int_equal(0, counts.dead);
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
    put_job(nq, (neoq_job){.queue = "last", .max_retries = NEOQ_NO_RETRIES, .retention = NEOQ_FOREVER}, only);
    drain(nq);
    assert_int_equal(NEOQ_DONE, state_of(nq, only));
}

static void test_a_retried_job_sees_its_last_error_and_its_counts(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER,
                  .steps = {{.act = ACT_FAIL, .words = "first"},
                            {.act = ACT_FAIL, .words = "second"},
                            {.act = ACT_DONE}},
                  .step_count = 3};
    start(nq, "again", &r);
    put(nq, "again", NULL, NULL);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_MINUTES(2), NULL));
    assert_int_equal(3, r.count);
    assert_false(r.runs[0].has_error);
    assert_words("first", r.runs[1].error);
    assert_words("second", r.runs[2].error);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(i, r.runs[i].retries);
        assert_int_equal(i + 1, r.runs[i].epoch);
        assert_true(r.runs[i].created_at == STORE_START);
    }
    assert_true(r.runs[1].ran_at == STORE_START + NEOQ_SECONDS(16));
}

static void test_a_job_that_succeeded_has_no_error(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.retention = NEOQ_FOREVER});
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "good", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "good", NULL, id);
    work_one(nq);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_DONE, job->state);
    assert_null(job->error);
}

/* ---- how long --------------------------------------------------------------------------- */

static void test_a_done_job_is_deleted_at_once_by_default(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "gone", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "gone", NULL, id);
    assert_int_equal(1, drain(nq).done);
    assert_false(has_job(nq, id));
    assert_int_equal(0, jobs_in(nq, "gone", 0));
    assert_int_equal(0, queue_of(nq, "gone").done);
    assert_int_equal(1, queue_of(nq, "gone").processed);
}

static void kept_for(store *s, neoq *nq, const char *id, neoq_duration retention)
{
    neoq_clock_advance(s->clock, retention - NEOQ_SECONDS(1));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_true(has_job(nq, id));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(2));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_false(has_job(nq, id));
}

static void test_a_done_job_is_kept_for_its_retention_and_then_purged(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "kept", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "kept", .retention = NEOQ_HOURS(1)}, id);
    work_one(nq);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_DONE, job->state);
    assert_true(job->finished_at == STORE_START);
    assert_int_equal(1, queue_of(nq, "kept").done);
    kept_for(s, nq, id, NEOQ_HOURS(1));
    assert_int_equal(0, queue_of(nq, "kept").done);
}

static void test_the_options_retention_holds_for_jobs_that_name_none(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.retention = NEOQ_HOURS(2)});
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "kept", &r);
    char id[NEOQ_ID_SIZE], shorter[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "kept"}, id);
    put_job(nq, (neoq_job){.queue = "kept", .payload = "1", .retention = NEOQ_SECONDS(10)}, shorter);
    assert_int_equal(2, drain(nq).done);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(11));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_false(has_job(nq, shorter));
    kept_for(s, nq, id, NEOQ_HOURS(2) - NEOQ_SECONDS(11));
}

static void test_a_dead_job_is_kept_90_days_and_then_purged(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_DISCARD}}, .step_count = 1};
    start(nq, "dead", &r);
    char id[NEOQ_ID_SIZE], cancelled[NEOQ_ID_SIZE];
    put(nq, "dead", NULL, id);
    put_job(nq, (neoq_job){.queue = "elsewhere"}, cancelled);
    assert_status(NEOQ_OK, neoq_cancel(nq, cancelled));
    work_one(nq);
    kept_for(s, nq, id, NEOQ_HOURS(24 * 90));
    assert_false(has_job(nq, cancelled));
}

static void test_dead_retention_is_an_option(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.dead_retention = NEOQ_MINUTES(1)});
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_DISCARD}}, .step_count = 1};
    start(nq, "dead", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "dead", NULL, id);
    work_one(nq);
    kept_for(s, nq, id, NEOQ_MINUTES(1));
}

static void test_forever_is_for_ever(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.retention = NEOQ_FOREVER, .dead_retention = NEOQ_FOREVER});
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_DONE}, {.act = ACT_DISCARD}}, .step_count = 2};
    start(nq, "kept", &r);
    char done[NEOQ_ID_SIZE], dead[NEOQ_ID_SIZE];
    put(nq, "kept", "1", done);
    work_one(nq);
    put(nq, "kept", "2", dead);
    work_one(nq);
    neoq_clock_advance(s->clock, NEOQ_HOURS(24 * 365 * 100));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(NEOQ_DONE, state_of(nq, done));
    assert_int_equal(NEOQ_DEAD, state_of(nq, dead));
}

/* Purging goes in batches; a thousand and more must all go at last. */
static void test_many_kept_jobs_are_all_purged(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.retention = NEOQ_MINUTES(1), .asynchronous_commit = true});
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "kept", &r);
    neoq_job *jobs = calloc(3000, sizeof(*jobs));
    assert_non_null(jobs);
    for (int i = 0; i < 3000; i++)
        jobs[i] = (neoq_job){.queue = "kept", .unique = NEOQ_UNIQUE_OFF};
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 3000, NULL));
    free(jobs);
    assert_int_equal(3000, drain(nq).done);
    assert_int_equal(3000, queue_of(nq, "kept").done);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_MINUTES(10), NULL));
    assert_int_equal(0, queue_of(nq, "kept").done);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_failed_job_is_retried_23_times_with_backoff_and_then_dead),
        on_store(test_the_backoff_is_jittered),
        on_store(test_retry_waits_are_exact_and_their_count_is_the_number_of_retries),
        on_store(test_a_retry_wait_of_0_runs_again_at_once),
        on_store(test_no_retries_is_death_after_the_first_failure),
        on_store(test_jobs_that_die_do_not_stop_the_worker),
        on_store(test_success_on_the_last_allowed_run_is_done_not_dead),
        on_store(test_a_retried_job_sees_its_last_error_and_its_counts),
        on_store(test_a_job_that_succeeded_has_no_error),
        on_store(test_a_done_job_is_deleted_at_once_by_default),
        on_store(test_a_done_job_is_kept_for_its_retention_and_then_purged),
        on_store(test_the_options_retention_holds_for_jobs_that_name_none),
        on_store(test_a_dead_job_is_kept_90_days_and_then_purged),
        on_store(test_dead_retention_is_an_option),
        on_store(test_forever_is_for_ever),
        on_store(test_many_kept_jobs_are_all_purged),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
