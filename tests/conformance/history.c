/* SPDX-License-Identifier: MIT
 *
 * neoq_runs(), and neoq_observe(): what is told of each run.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <stdlib.h>
#include <string.h>

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

static void test_runs_are_told_newest_first_with_their_outcomes(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.retention = NEOQ_FOREVER});
    recorder r = {RECORDER_INITIALIZER,
                  .steps = {{.act = ACT_FAIL, .words = "oh no"},
                            {.act = ACT_SNOOZE, .wait = NEOQ_SECONDS(5)},
                            {.act = ACT_RETRY_IN, .wait = NEOQ_SECONDS(5), .words = "busy"},
                            {.act = ACT_SLOW_DOWN, .words = "slower"},
                            {.act = ACT_DONE}},
                  .step_count = 5};
    start(nq, "told", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "told", NULL, id);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
    static const char *const outcomes[] = {"done", "failed", "failed", "snoozed", "failed"};
    static const char *const errors[] = {"", "slower", "busy", "", "oh no"};
    neoq_run_info runs[25];
    assert_int_equal(5, runs_of(nq, id, runs));
    for (int i = 0; i < 5; i++) {
        assert_int_equal(5 - i, runs[i].epoch);
        assert_string_equal(outcomes[i], runs[i].outcome);
        assert_words(errors[i], runs[i].error);
        assert_true(strlen(runs[i].worker) > 0);
        assert_true(runs[i].started_at > 0 && runs[i].finished_at >= runs[i].started_at);
        assert_int_equal(0, runs[i].exit_code);
        assert_int_equal(0, runs[i].signal);
    }
    assert_true(runs[4].started_at == STORE_START);
    assert_true(runs[3].started_at == STORE_START + NEOQ_SECONDS(16));
    assert_true(runs[2].started_at == STORE_START + NEOQ_SECONDS(21));
    assert_true(runs[0].started_at == r.runs[4].ran_at);
    assert_string_equal("", runs[0].error);
}

static void pass_a_second(neoq_ctx *ctx, recorder *r)
{
    void **about = r->about;
    neoq_run_info *runs = NULL;
    size_t count = 0;
    if (neoq_runs(about[1], neoq_ctx_job(ctx)->id, &runs, &count) == NEOQ_OK && count == 1)
        *(neoq_run_info *)about[2] = runs[0];
    free(runs);
    neoq_clock_advance(about[0], NEOQ_SECONDS(1));
}

static void test_a_run_has_its_beginning_and_its_end(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_run_info during = {0};
    void *about[] = {s->clock, nq, &during};
    recorder r = {RECORDER_INITIALIZER, .inside = pass_a_second, .about = about, .steps = {{.act = ACT_DISCARD}},
                  .step_count = 1};
    start(nq, "told", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "told", NULL, id);
    neoq_run_info runs[25];
    assert_int_equal(0, runs_of(nq, id, runs));
    work_one(nq);
    assert_int_equal(1, during.epoch);
    assert_true(during.started_at == STORE_START);
    assert_true(during.finished_at == 0);
    assert_string_equal("", during.outcome);
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("discarded", runs[0].outcome);
    assert_true(runs[0].started_at == STORE_START);
    assert_true(runs[0].finished_at == STORE_START + NEOQ_SECONDS(1));
    assert_string_equal(during.worker, runs[0].worker);
}

static void test_the_last_25_runs_are_kept(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_SNOOZE, .wait = NEOQ_SECONDS(1)}}, .step_count = 1};
    start(nq, "told", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "told", NULL, id);
    for (int i = 0; i < 40; i++) {
        work_one(nq);
        neoq_clock_advance(s->clock, NEOQ_SECONDS(1));
    }
    neoq_run_info runs[25];
    assert_int_equal(25, runs_of(nq, id, runs));
    for (int i = 0; i < 25; i++)
        assert_int_equal(40 - i, runs[i].epoch);
}

static void test_runs_go_with_their_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "told", &r);
    const char *id = "0190a0b0-0000-7000-8000-00000000000a";
    put_job(nq, (neoq_job){.id = id, .queue = "told"}, NULL);
    work_one(nq);
    assert_status(NEOQ_OK, neoq_delete(nq, id));
    neoq_run_info *found = NULL;
    size_t count = 0;
    assert_status(NEOQ_ENOTFOUND, neoq_runs(nq, id, &found, &count));
    /* Nor do they come back with a new job of the same id. */
    put_job(nq, (neoq_job){.id = id, .queue = "told"}, NULL);
    neoq_run_info runs[25];
    assert_int_equal(0, runs_of(nq, id, runs));
}

static void test_a_long_error_is_cut_not_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    static char words[5001];
    memset(words, 'e', sizeof(words) - 1);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL, .words = words}}, .step_count = 1};
    start(nq, "told", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "told", NULL, id);
    assert_int_equal(1, work_one(nq).failed);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_in_range(strlen(runs[0].error), 100, sizeof(runs[0].error) - 1);
    assert_words("eeeeeeee", store_job(s, nq, id)->error);
}

/* ---- observing -------------------------------------------------------------------------- */

typedef struct observed {
    neoq *nq;
    int count;
    char id[8][NEOQ_ID_SIZE], outcome[8][16];
    neoq_state state[8], stored[8];
    int64_t epoch[8];
} observed;

static void observe(const neoq_job *job, const neoq_run_info *run, void *arg)
{
    observed *o = arg;
    if (o->count >= 8)
        return;
    strcpy(o->id[o->count], job->id);
    strcpy(o->outcome[o->count], run->outcome);
    o->state[o->count] = job->state;
    o->epoch[o->count] = run->epoch;
    neoq_job_set *set = NULL;
    if (neoq_get(o->nq, job->id, &set) == NEOQ_OK)
        o->stored[o->count] = neoq_job_set_at(set, 0)->state;
    neoq_job_set_free(set);
    o->count++;
}

static void test_an_observer_is_told_of_each_run_once_it_is_written_down(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    observed o = {.nq = nq};
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}, {.act = ACT_DONE}, {.act = ACT_DISCARD}},
                  .step_count = 3};
    assert_status(NEOQ_OK, neoq_observe(nq, observe, &o));
    start(nq, "told", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "told", .retention = NEOQ_FOREVER}, id);
    work_one(nq);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(16));
    work_one(nq);
    put(nq, "told", NULL, NULL);
    work_one(nq);
    assert_int_equal(3, o.count);
    assert_string_equal(id, o.id[0]);
    static const char *const outcomes[] = {"failed", "done", "discarded"};
    static const neoq_state states[] = {NEOQ_RETRYING, NEOQ_DONE, NEOQ_DEAD};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(outcomes[i], o.outcome[i]);
        assert_int_equal(states[i], o.state[i]);
        assert_int_equal(states[i], o.stored[i]);
        assert_int_equal(i == 2 ? 1 : i + 1, o.epoch[i]);
    }
}

static void test_an_observer_hears_of_a_job_that_is_gone(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    observed o = {.nq = nq};
    recorder r = {RECORDER_INITIALIZER};
    assert_status(NEOQ_OK, neoq_observe(nq, observe, &o));
    start(nq, "told", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "told", NULL, id);
    work_one(nq);
    assert_int_equal(1, o.count);
    assert_int_equal(NEOQ_DONE, o.state[0]);
    assert_int_equal(0, o.stored[0]);
}

static void test_an_observer_comes_before_the_first_handler(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "told", &r);
    assert_status(NEOQ_ESTATE, neoq_observe(nq, observe, NULL));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_runs_are_told_newest_first_with_their_outcomes),
        on_store(test_a_run_has_its_beginning_and_its_end),
        on_store(test_the_last_25_runs_are_kept),
        on_store(test_runs_go_with_their_job),
        on_store(test_a_long_error_is_cut_not_refused),
        on_store(test_an_observer_is_told_of_each_run_once_it_is_written_down),
        on_store(test_an_observer_hears_of_a_job_that_is_gone),
        on_store(test_an_observer_comes_before_the_first_handler),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
