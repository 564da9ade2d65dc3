/* SPDX-License-Identifier: MIT
 *
 * What a handler may do: its outcomes, its result and progress, and calling back into its own neoq. All without
 * threads; concurrent.c has the rest.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* Enqueues one job on "work" whose first run takes this step, and runs it. */
static const neoq_job *run_step(store *s, recorder *r, step first, neoq_job job, neoq_testing_counts *counts)
{
    neoq *nq = s->opened_count > 0 ? s->opened[0] : store_open(s, NULL);
    r->steps[0] = first;
    r->step_count = 2;
    start(nq, "work", r);
    char id[NEOQ_ID_SIZE];
    job.queue = "work";
    put_job(nq, job, id);
    *counts = work_one(nq);
    return store_job(s, nq, id);
}

/* ---- outcomes --------------------------------------------------------------------------- */

static void test_fail_keeps_its_words_and_retries(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    neoq_testing_counts counts;
    const neoq_job *job =
        run_step(s, &r, (step){.act = ACT_FAIL, .words = "no such address: 7"}, (neoq_job){0}, &counts);
    assert_int_equal(NEOQ_RETRYING, job->state);
    assert_words("no such address: 7", job->error);
    assert_int_equal(1, counts.runs);
    assert_int_equal(1, counts.failed);
    assert_int_equal(0, counts.done);
}

static void test_any_other_return_value_is_a_failure_that_names_it(void **state)
{
    store *s = *state;
    static const int values[] = {42, INT_MAX, INT_MIN, 1, NEOQ_EINVAL, NEOQ_EDUPLICATE, -77};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        recorder r = {RECORDER_INITIALIZER};
        neoq_testing_counts counts;
        neoq *nq = store_open(s, NULL);
        const neoq_job *job = run_step(s, &r, (step){.act = ACT_RETURN, .value = values[i]}, (neoq_job){0}, &counts);
        assert_int_equal(NEOQ_RETRYING, job->state);
        assert_int_equal(1, counts.failed);
        if (values[i] == 42)
            assert_words("42", job->error);
        assert_non_null(job->error);
        assert_status(NEOQ_OK, neoq_purge(nq, "work", 0, NULL));
        store_close(s, nq);
    }
}

static void test_retry_in_waits_exactly_that_long_and_costs_a_retry(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    neoq_testing_counts counts;
    step wait = {.act = ACT_RETRY_IN, .wait = NEOQ_SECONDS(77) + 1, .words = "busy"};
    const neoq_job *job = run_step(s, &r, wait, (neoq_job){0}, &counts);
    assert_int_equal(NEOQ_RETRYING, job->state);
    assert_words("busy", job->error);
    assert_true(job->run_after == STORE_START + NEOQ_SECONDS(77) + 1);
    assert_int_equal(1, counts.failed);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(77));
    assert_int_equal(0, drain(s->opened[0]).runs);
    neoq_clock_advance(s->clock, 1);
    assert_int_equal(1, drain(s->opened[0]).done);
    assert_int_equal(1, r.runs[1].retries);
}

static void test_retry_in_kills_a_job_without_retries_left(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    neoq_testing_counts counts;
    const neoq_job *job = run_step(s, &r, (step){.act = ACT_RETRY_IN, .wait = NEOQ_SECONDS(1), .words = "busy"},
                                   (neoq_job){.max_retries = NEOQ_NO_RETRIES}, &counts);
    assert_int_equal(NEOQ_DEAD, job->state);
    assert_int_equal(1, counts.dead);
}

static void test_snooze_runs_again_later_and_costs_no_retry(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    neoq_testing_counts counts;
    const neoq_job *job = run_step(s, &r, (step){.act = ACT_SNOOZE, .wait = NEOQ_MINUTES(3)},
                                   (neoq_job){.max_retries = NEOQ_NO_RETRIES}, &counts);
    assert_int_equal(NEOQ_SCHEDULED, job->state);
    assert_true(job->run_after == STORE_START + NEOQ_MINUTES(3));
    assert_int_equal(1, counts.snoozed);
    assert_int_equal(0, counts.failed);
    neoq_clock_advance(s->clock, NEOQ_MINUTES(3));
    assert_int_equal(1, drain(s->opened[0]).done);
    assert_int_equal(0, r.runs[1].retries);
    assert_int_equal(2, r.runs[1].epoch);
}

static void test_discard_is_death_at_once(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    neoq_testing_counts counts;
    const neoq_job *job =
        run_step(s, &r, (step){.act = ACT_DISCARD, .words = "address is gone"}, (neoq_job){0}, &counts);
    assert_int_equal(NEOQ_DEAD, job->state);
    assert_words("address is gone", job->error);
    assert_true(job->finished_at == STORE_START);
    assert_int_equal(1, counts.discarded);
    assert_int_equal(1, counts.dead);
}

/* How long the queue stays closed to a job that is ready: the clock moves on by that. */
static neoq_duration back_off(store *s, neoq *nq)
{
    neoq_duration waited = 0;
    while (neoq_testing_work_one(nq, NULL, NULL) == NEOQ_ENOTFOUND && waited < NEOQ_HOURS(1)) {
        neoq_clock_advance(s->clock, NEOQ_MILLISECONDS(100));
        waited += NEOQ_MILLISECONDS(100);
    }
    return waited;
}

static void test_slow_down_backs_the_whole_queue_off_and_success_resets_it(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .step_count = 14};
    for (int i = 0; i < 12; i++)
        r.steps[i] = (step){.act = ACT_SLOW_DOWN, .words = "429"};
    r.steps[13] = (step){.act = ACT_SLOW_DOWN, .words = "429"};
    start(nq, "work", &r);
    for (int i = 0; i < 20; i++)
        put_job(nq, (neoq_job){.queue = "work", .unique = NEOQ_UNIQUE_OFF, .max_retries = NEOQ_NO_RETRIES}, NULL);
    assert_int_equal(0, back_off(s, nq));
    for (neoq_duration wait = NEOQ_MILLISECONDS(100), i = 1; i < 13; i++) {
        assert_int_equal(wait, back_off(s, nq));
        wait = wait * 2 > NEOQ_SECONDS(60) ? NEOQ_SECONDS(60) : wait * 2;
    }
    /* The thirteenth run succeeded: the next is free to go, and its slowing down begins anew. */
    assert_int_equal(0, back_off(s, nq));
    assert_int_equal(NEOQ_MILLISECONDS(100), back_off(s, nq));
}

static void test_slow_down_fails_the_job_and_leaves_other_queues_alone(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER}, other = {RECORDER_INITIALIZER};
    neoq_testing_counts counts;
    neoq *nq = store_open(s, NULL);
    start(nq, "other", &other);
    const neoq_job *job = run_step(s, &r, (step){.act = ACT_SLOW_DOWN, .words = "429"}, (neoq_job){0}, &counts);
    assert_int_equal(NEOQ_RETRYING, job->state);
    assert_words("429", job->error);
    assert_int_equal(1, counts.failed);
    put(nq, "work", "2", NULL);
    put(nq, "other", NULL, NULL);
    assert_int_equal(1, drain(nq).done);
    assert_int_equal(1, other.count);
}

/* ---- result, progress, exit ------------------------------------------------------------- */

static void leave_things(neoq_ctx *ctx, recorder *r)
{
    int *statuses = r->about;
    statuses[0] = neoq_set_result(ctx, "first", 5);
    statuses[1] = neoq_set_result(ctx, "a\0b", 3);
    statuses[2] = neoq_set_exit(ctx, 3, 9, NEOQ_MILLISECONDS(250), 123456789);
}

static void test_a_result_is_kept_with_the_job(void **state)
{
    store *s = *state;
    int statuses[3] = {1, 1, 1};
    recorder r = {RECORDER_INITIALIZER, .inside = leave_things, .about = statuses};
    neoq_testing_counts counts;
    const neoq_job *job = run_step(s, &r, (step){.act = ACT_DONE}, (neoq_job){.retention = NEOQ_FOREVER}, &counts);
    assert_int_equal(NEOQ_OK, statuses[0]);
    assert_int_equal(NEOQ_OK, statuses[1]);
    assert_int_equal(NEOQ_DONE, job->state);
    assert_int_equal(3, job->result_size);
    assert_memory_equal("a\0b", job->result, 3);
}

static void test_an_exit_shows_in_the_runs_record(void **state)
{
    store *s = *state;
    int statuses[3] = {1, 1, 1};
    recorder r = {RECORDER_INITIALIZER, .inside = leave_things, .about = statuses};
    neoq_testing_counts counts;
    const neoq_job *job = run_step(s, &r, (step){.act = ACT_FAIL}, (neoq_job){0}, &counts);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(s->opened[0], job->id, runs));
    assert_int_equal(NEOQ_OK, statuses[2]);
    assert_int_equal(3, runs[0].exit_code);
    assert_int_equal(9, runs[0].signal);
    assert_true(runs[0].cpu_time == NEOQ_MILLISECONDS(250));
    assert_true(runs[0].peak_memory == 123456789);
}

typedef struct told {
    neoq *nq;
    int first_status, first, set, second_status, second, bare_status, again;
    char note[64], first_note[64];
} told;

static void tell(neoq_ctx *ctx, recorder *r)
{
    told *t = r->about;
    const char *id = neoq_ctx_job(ctx)->id;
    t->first_status = neoq_get_progress(t->nq, id, &t->first, t->first_note, sizeof(t->first_note));
    t->set = neoq_set_progress(ctx, 40, "reading");
    t->second_status = neoq_get_progress(t->nq, id, &t->second, t->note, sizeof(t->note));
    neoq_set_progress(ctx, 80, NULL);
    t->bare_status = neoq_get_progress(t->nq, id, &t->again, NULL, 0);
}

static void test_progress_is_what_the_running_job_last_told(void **state)
{
    skip_where(NEOQ_CANNOT_KEEP_PROGRESS);
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    told t = {.nq = nq, .first_note = "x"};
    recorder r = {RECORDER_INITIALIZER, .inside = tell, .about = &t};
    neoq_testing_counts counts;
    run_step(s, &r, (step){.act = ACT_FAIL}, (neoq_job){0}, &counts);
    assert_int_equal(NEOQ_OK, t.first_status);
    assert_int_equal(-1, t.first);
    assert_string_equal("", t.first_note);
    assert_int_equal(NEOQ_OK, t.set);
    assert_int_equal(NEOQ_OK, t.second_status);
    assert_int_equal(40, t.second);
    assert_string_equal("reading", t.note);
    assert_int_equal(NEOQ_OK, t.bare_status);
    assert_int_equal(80, t.again);
    int percent = 0;
    assert_status(NEOQ_ENOTFOUND, neoq_get_progress(nq, "0190a0b0-0000-7000-8000-00000000000a", &percent, NULL, 0));
}

/* ---- time left -------------------------------------------------------------------------- */

typedef struct times {
    neoq_clock *clock;
    neoq_duration pass, before, after;
    bool cancelled_before, cancelled_after;
} times;

static void take_time(neoq_ctx *ctx, recorder *r)
{
    times *t = r->about;
    t->before = neoq_ctx_remaining(ctx);
    t->cancelled_before = neoq_ctx_cancelled(ctx);
    neoq_clock_advance(t->clock, t->pass);
    t->after = neoq_ctx_remaining(ctx);
    t->cancelled_after = neoq_ctx_cancelled(ctx);
}

static const neoq_job *time_left(store *s, neoq_duration timeout, times *t, neoq_job job)
{
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .inside = take_time, .about = t};
    neoq_handler handler = recording("time", &r);
    handler.timeout = timeout;
    t->clock = s->clock;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char id[NEOQ_ID_SIZE];
    job.queue = "time";
    job.retention = NEOQ_FOREVER;
    put_job(nq, job, id);
    work_one(nq);
    return store_job(s, nq, id);
}

static void test_remaining_counts_down_to_the_timeout(void **state)
{
    times t = {.pass = NEOQ_SECONDS(3)};
    assert_int_equal(NEOQ_DONE, time_left(*state, NEOQ_SECONDS(10), &t, (neoq_job){0})->state);
    assert_true(t.before == NEOQ_SECONDS(10));
    assert_true(t.after == NEOQ_SECONDS(7));
    assert_false(t.cancelled_before);
    assert_false(t.cancelled_after);
}

static void test_a_timeout_of_0_is_30_seconds(void **state)
{
    times t = {.pass = NEOQ_SECONDS(1)};
    time_left(*state, 0, &t, (neoq_job){0});
    assert_true(t.before == NEOQ_SECONDS(30));
}

static void test_a_deadline_before_the_timeout_is_what_remains(void **state)
{
    times t = {.pass = NEOQ_SECONDS(1)};
    time_left(*state, NEOQ_SECONDS(10), &t, (neoq_job){.deadline = STORE_START + NEOQ_SECONDS(4)});
    assert_true(t.before == NEOQ_SECONDS(4));
    assert_true(t.after == NEOQ_SECONDS(3));
}

static void test_a_handler_that_outlives_its_timeout_is_recorded_so(void **state)
{
    store *s = *state;
    times t = {.pass = NEOQ_SECONDS(11)};
    const neoq_job *job = time_left(s, NEOQ_SECONDS(10), &t, (neoq_job){0});
    assert_true(t.cancelled_after);
    assert_true(t.after <= 0);
    assert_int_equal(NEOQ_RETRYING, job->state);
    assert_words("timeout", job->error);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(s->opened[0], job->id, runs));
    assert_string_equal("timeout", runs[0].outcome);
}

static void test_a_timeout_of_forever_is_none(void **state)
{
    times t = {.pass = NEOQ_HOURS(24)};
    assert_int_equal(NEOQ_DONE, time_left(*state, NEOQ_FOREVER, &t, (neoq_job){0})->state);
    assert_false(t.cancelled_after);
}

/* ---- calling back ----------------------------------------------------------------------- */

typedef struct calls {
    neoq *nq;
    int enqueue, drain, cancel, shutdown, start, work;
    bool cancelled;
} calls;

static void call_back(neoq_ctx *ctx, recorder *r)
{
    calls *c = r->about;
    if (neoq_ctx_job(ctx)->payload_size > 0)
        return;
    neoq_close(c->nq);
    c->drain = neoq_drain(c->nq, NEOQ_SECONDS(1));
    c->work = neoq_testing_work_one(c->nq, NULL, NULL);
    c->enqueue = neoq_enqueue(c->nq, &(neoq_job){.queue = "work", .payload = "\"child\""}, NULL);
}

static void test_a_handler_may_enqueue_but_not_drain_or_close(void **state)
{
    store *s = *state;
    calls c = {.nq = store_open(s, NULL)};
    recorder r = {RECORDER_INITIALIZER, .inside = call_back, .about = &c};
    start(c.nq, "work", &r);
    put(c.nq, "work", NULL, NULL);
    assert_int_equal(2, drain(c.nq).done);
    assert_status(NEOQ_OK, c.enqueue);
    assert_status(NEOQ_ESTATE, c.drain);
    assert_string_equal("\"child\"", (const char *)r.runs[1].payload);
}

static void cancel_myself(neoq_ctx *ctx, recorder *r)
{
    calls *c = r->about;
    c->cancel = neoq_cancel(c->nq, neoq_ctx_job(ctx)->id);
}

static void test_a_handler_may_cancel_itself(void **state)
{
    store *s = *state;
    calls c = {.nq = store_open(s, NULL)};
    recorder r = {RECORDER_INITIALIZER, .inside = cancel_myself, .about = &c};
    start(c.nq, "work", &r);
    char id[NEOQ_ID_SIZE];
    put_job(c.nq, (neoq_job){.queue = "work", .retention = NEOQ_FOREVER}, id);
    neoq_testing_counts counts = work_one(c.nq);
    assert_status(NEOQ_OK, c.cancel);
    assert_int_equal(1, counts.dead);
    assert_int_equal(1, counts.cancelled);
    assert_int_equal(NEOQ_DEAD, state_of(c.nq, id));
}

static void shut_down(neoq_ctx *ctx, recorder *r)
{
    calls *c = r->about;
    c->shutdown = neoq_shutdown(c->nq, NEOQ_SECONDS(1));
    (void)ctx;
}

/* Whatever it answers, it must not hang on itself, and the run still counts. */
static void test_a_handler_may_call_shutdown(void **state)
{
    store *s = *state;
    calls c = {.nq = store_open(s, NULL), .shutdown = 1};
    recorder r = {RECORDER_INITIALIZER, .inside = shut_down, .about = &c};
    start(c.nq, "work", &r);
    put(c.nq, "work", NULL, NULL);
    neoq_testing_work_one(c.nq, NULL, NULL);
    assert_int_equal(1, r.count);
    assert_true(c.shutdown <= 0);
}

/* ---- starting --------------------------------------------------------------------------- */

static void test_a_second_handler_of_a_queue_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER}, second = {RECORDER_INITIALIZER};
    start(nq, "work", &r);
    neoq_handler again = recording("work", &second);
    assert_status(NEOQ_EEXIST, neoq_start(nq, &again));
    put(nq, "work", NULL, NULL);
    drain(nq);
    assert_int_equal(1, r.count);
    assert_int_equal(0, second.count);
}

/* Its thread is the test's: there is no process to isolate. conformance/process.c has the rest. */
static void test_by_hand_a_process_handler_runs_in_the_tests_thread(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("work", &r);
    handler.isolation = NEOQ_PROCESS;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put(nq, "work", NULL, NULL);
    assert_int_equal(1, drain(nq).done);
    assert_int_equal(1, r.count);
}

/* The first `among` runs, by queue. */
static void shares(store *s, int heavy_weight, size_t among, size_t *heavy, size_t *light)
{
    neoq *nq = store_open(s, NULL);
    recorder one = {RECORDER_INITIALIZER}, two = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("light", &two);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    handler = recording("heavy", &one);
    handler.weight = heavy_weight;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    for (int i = 0; i < 400; i++)
        put_job(nq, (neoq_job){.queue = i % 2 ? "heavy" : "light", .unique = NEOQ_UNIQUE_OFF}, NULL);
    for (size_t i = 0; i < among; i++)
        work_one(nq);
    *heavy = one.count;
    *light = two.count;
}

static void test_backlogged_queues_share_by_weight(void **state)
{
    size_t heavy, light;
    shares(*state, 3, 200, &heavy, &light);
    /* 150 to 50, roughly. */
    assert_in_range(heavy, 120, 180);
    assert_in_range(light, 20, 80);
}

static void test_queues_without_weight_share_equally(void **state)
{
    size_t heavy, light;
    shares(*state, 0, 200, &heavy, &light);
    assert_in_range(heavy, 70, 130);
    assert_in_range(light, 70, 130);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_fail_keeps_its_words_and_retries),
        on_store(test_any_other_return_value_is_a_failure_that_names_it),
        on_store(test_retry_in_waits_exactly_that_long_and_costs_a_retry),
        on_store(test_retry_in_kills_a_job_without_retries_left),
        on_store(test_snooze_runs_again_later_and_costs_no_retry),
        on_store(test_discard_is_death_at_once),
        on_store(test_slow_down_backs_the_whole_queue_off_and_success_resets_it),
        on_store(test_slow_down_fails_the_job_and_leaves_other_queues_alone),
        on_store(test_a_result_is_kept_with_the_job),
        on_store(test_an_exit_shows_in_the_runs_record),
        on_store(test_progress_is_what_the_running_job_last_told),
        on_store(test_remaining_counts_down_to_the_timeout),
        on_store(test_a_timeout_of_0_is_30_seconds),
        on_store(test_a_deadline_before_the_timeout_is_what_remains),
        on_store(test_a_handler_that_outlives_its_timeout_is_recorded_so),
        on_store(test_a_timeout_of_forever_is_none),
        on_store(test_a_handler_may_enqueue_but_not_drain_or_close),
        on_store(test_a_handler_may_cancel_itself),
        on_store(test_a_handler_may_call_shutdown),
        on_store(test_a_second_handler_of_a_queue_is_refused),
        on_store(test_by_hand_a_process_handler_runs_in_the_tests_thread),
        on_store(test_backlogged_queues_share_by_weight),
        on_store(test_queues_without_weight_share_equally),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("handle", tests, NULL, NULL);
}
