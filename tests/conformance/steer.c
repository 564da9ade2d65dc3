/* SPDX-License-Identifier: MIT
 *
 * By hand: retry now, cancel, delete, pause and resume, purge, remove a queue.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <string.h>

#define NOBODY "0190a0b0-0000-7000-8000-0000000000ff"

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* One job in each state that can be had without a thread, on "states". */
typedef struct all_states {
    char scheduled[NEOQ_ID_SIZE], ready[NEOQ_ID_SIZE], retrying[NEOQ_ID_SIZE], done[NEOQ_ID_SIZE], dead[NEOQ_ID_SIZE];
} all_states;

static neoq *open_with_all_states(store *s, all_states *a)
{
    neoq *nq = store_open(s, NULL);
    static recorder r;
    r = (recorder){RECORDER_INITIALIZER,
                   .steps = {{.act = ACT_DONE}, {.act = ACT_FAIL}, {.act = ACT_DISCARD}, {.act = ACT_DONE}},
                   .step_count = 4};
    start(nq, "states", &r);
    put_job(nq, (neoq_job){.queue = "states", .payload = "1", .retention = NEOQ_FOREVER}, a->done);
    work_one(nq);
    put(nq, "states", "2", a->retrying);
    work_one(nq);
    put(nq, "states", "3", a->dead);
    work_one(nq);
    put_job(nq, (neoq_job){.queue = "states", .payload = "4", .run_after = STORE_START + NEOQ_HOURS(1)},
            a->scheduled);
    put(nq, "states", "5", a->ready);
    assert_int_equal(NEOQ_SCHEDULED, state_of(nq, a->scheduled));
    assert_int_equal(NEOQ_READY, state_of(nq, a->ready));
    assert_int_equal(NEOQ_RETRYING, state_of(nq, a->retrying));
    assert_int_equal(NEOQ_DONE, state_of(nq, a->done));
    assert_int_equal(NEOQ_DEAD, state_of(nq, a->dead));
    return nq;
}

/* What a handler did to its own, running job. */
typedef struct meddling {
    neoq *nq;
    int (*action)(neoq *nq, const char *id);
    int status;
} meddling;

static void meddle(neoq_ctx *ctx, recorder *r)
{
    meddling *m = r->about;
    m->status = m->action(m->nq, neoq_ctx_job(ctx)->id);
}

static int on_a_running_job(store *s, int (*action)(neoq *nq, const char *id))
{
    meddling m = {store_open(s, NULL), action, 1};
    recorder r = {RECORDER_INITIALIZER, .inside = meddle, .about = &m};
    start(m.nq, "running", &r);
    put(m.nq, "running", NULL, NULL);
    work_one(m.nq);
    return m.status;
}

/* ---- retry now -------------------------------------------------------------------------- */

static void test_retry_now_makes_dead_retrying_and_scheduled_jobs_ready(void **state)
{
    store *s = *state;
    all_states a;
    neoq *nq = open_with_all_states(s, &a);
    const char *const ids[] = {a.dead, a.retrying, a.scheduled};
    for (int i = 0; i < 3; i++) {
        assert_status(NEOQ_OK, neoq_retry_now(nq, ids[i]));
        assert_int_equal(NEOQ_READY, state_of(nq, ids[i]));
    }
    assert_true(store_job(s, nq, a.dead)->finished_at == 0);
    assert_int_equal(4, queue_of(nq, "states").ready);
    assert_int_equal(4, drain(nq).done);
}

static void test_retry_now_refuses_the_other_states(void **state)
{
    store *s = *state;
    all_states a;
    neoq *nq = open_with_all_states(s, &a);
    assert_status(NEOQ_ESTATE, neoq_retry_now(nq, a.ready));
    assert_status(NEOQ_ESTATE, neoq_retry_now(nq, a.done));
    assert_int_equal(NEOQ_DONE, state_of(nq, a.done));
    assert_status(NEOQ_ENOTFOUND, neoq_retry_now(nq, NOBODY));
    assert_status(NEOQ_ESTATE, on_a_running_job(s, neoq_retry_now));
}

static void test_a_dead_job_retried_and_failing_dies_again(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "dies", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "dies", .max_retries = NEOQ_NO_RETRIES}, id);
    work_one(nq);
    assert_status(NEOQ_OK, neoq_retry_now(nq, id));
    assert_int_equal(1, drain(nq).dead);
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
    assert_int_equal(2, r.runs[1].epoch);
}

/* ---- cancel ----------------------------------------------------------------------------- */

static void test_cancel_kills_waiting_jobs(void **state)
{
    store *s = *state;
    all_states a;
    neoq *nq = open_with_all_states(s, &a);
    const char *const ids[] = {a.ready, a.retrying, a.scheduled};
    for (int i = 0; i < 3; i++) {
        assert_status(NEOQ_OK, neoq_cancel(nq, ids[i]));
        const neoq_job *job = store_job(s, nq, ids[i]);
        assert_int_equal(NEOQ_DEAD, job->state);
        assert_string_equal("cancelled", job->error);
        assert_true(job->finished_at == STORE_START);
    }
    assert_int_equal(4, queue_of(nq, "states").dead);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(2), NULL));
    assert_int_equal(NEOQ_DEAD, state_of(nq, a.scheduled));
}

/* At one moment: whoever came first is first, not whoever is asked for first. */
static void test_retried_by_hand_they_keep_the_order_they_came_in(void **state)
{
    store *s = *state;
    char ids[2][NEOQ_ID_SIZE];
    recorder r = {RECORDER_INITIALIZER};
    neoq *nq = store_open(s, NULL);
    put(nq, "q", "1", ids[0]);
    put(nq, "q", "2", ids[1]);
    for (int i = 0; i < 2; i++)
        assert_status(NEOQ_OK, neoq_cancel(nq, ids[i]));
    for (int i = 1; i >= 0; i--)
        assert_status(NEOQ_OK, neoq_retry_now(nq, ids[i]));
    start(nq, "q", &r);
    work_one(nq);
    work_one(nq);
    assert_int_equal(2, r.count);
    assert_string_equal(ids[0], r.runs[0].id);
}

static void test_cancel_refuses_finished_jobs(void **state)
{
    store *s = *state;
    all_states a;
    neoq *nq = open_with_all_states(s, &a);
    assert_status(NEOQ_ESTATE, neoq_cancel(nq, a.done));
    assert_status(NEOQ_ESTATE, neoq_cancel(nq, a.dead));
    assert_int_equal(NEOQ_DONE, state_of(nq, a.done));
    assert_status(NEOQ_ENOTFOUND, neoq_cancel(nq, NOBODY));
}

/* ---- delete ----------------------------------------------------------------------------- */

static void test_delete_removes_jobs_that_are_not_running(void **state)
{
    store *s = *state;
    all_states a;
    neoq *nq = open_with_all_states(s, &a);
    const char *const ids[] = {a.ready, a.retrying, a.scheduled, a.done, a.dead};
    for (int i = 0; i < 5; i++) {
        assert_status(NEOQ_OK, neoq_delete(nq, ids[i]));
        assert_false(has_job(nq, ids[i]));
        assert_status(NEOQ_ENOTFOUND, neoq_delete(nq, ids[i]));
    }
    assert_int_equal(0, drain(nq).runs);
    neoq_queue_info queue = queue_of(nq, "states");
    assert_int_equal(0, queue.scheduled + queue.ready + queue.running + queue.retrying + queue.done + queue.dead);
    assert_status(NEOQ_ESTATE, on_a_running_job(s, neoq_delete));
}

/* ---- pause and resume ------------------------------------------------------------------- */

static void test_a_paused_queue_takes_jobs_and_runs_none(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder paused = {RECORDER_INITIALIZER}, other = {RECORDER_INITIALIZER};
    start(nq, "paused", &paused);
    start(nq, "other", &other);
    put(nq, "paused", "1", NULL);
    assert_status(NEOQ_OK, neoq_pause(nq, "paused"));
    assert_status(NEOQ_OK, neoq_pause(nq, "paused"));
    put(nq, "paused", "2", NULL);
    put(nq, "other", NULL, NULL);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(0, paused.count);
    assert_int_equal(1, other.count);
    assert_true(queue_of(nq, "paused").paused);
    assert_false(queue_of(nq, "other").paused);
    assert_int_equal(2, queue_of(nq, "paused").ready);
    assert_status(NEOQ_OK, neoq_resume(nq, "paused"));
    assert_false(queue_of(nq, "paused").paused);
    assert_int_equal(2, drain(nq).done);
}

static void test_a_pause_is_seen_by_threads_at_work(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = store_open_real(s, NULL);
    start(nq, "paused", &r);
    put(nq, "paused", NULL, NULL);
    eventually(recorded_ends(&r) == 1);
    assert_status(NEOQ_OK, neoq_pause(nq, "paused"));
    put(nq, "paused", "2", NULL);
    assert_status(NEOQ_OK, neoq_resume(nq, "paused"));
    eventually(recorded_ends(&r) == 2);
}

static void test_a_pause_outlives_the_neoq(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    put(nq, "paused", NULL, NULL);
    assert_status(NEOQ_OK, neoq_pause(nq, "paused"));
    store_close(s, nq);
    nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "paused", &r);
    assert_true(queue_of(nq, "paused").paused);
    assert_int_equal(0, drain(nq).runs);
    assert_status(NEOQ_OK, neoq_resume(nq, "paused"));
    assert_int_equal(1, drain(nq).done);
}

static void test_steering_an_unknown_queue_is_not_found(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    int64_t purged = 7;
    assert_status(NEOQ_ENOTFOUND, neoq_pause(nq, "nowhere"));
    assert_status(NEOQ_ENOTFOUND, neoq_resume(nq, "nowhere"));
    assert_status(NEOQ_ENOTFOUND, neoq_purge(nq, "nowhere", 0, &purged));
    assert_status(NEOQ_ENOTFOUND, neoq_remove_queue(nq, "nowhere"));
    assert_string_equal("", queue_of(nq, "nowhere").name);
}

/* ---- purge ------------------------------------------------------------------------------ */

static void test_purge_by_state(void **state)
{
    store *s = *state;
    all_states a;
    neoq *nq = open_with_all_states(s, &a);
    static const neoq_state states[] = {NEOQ_DEAD, NEOQ_DONE, NEOQ_SCHEDULED, NEOQ_RETRYING, NEOQ_READY};
    const char *const ids[] = {a.dead, a.done, a.scheduled, a.retrying, a.ready};
    put(nq, "others", NULL, NULL);
    for (int i = 0; i < 5; i++) {
        int64_t purged = -1;
        assert_status(NEOQ_OK, neoq_purge(nq, "states", states[i], &purged));
        assert_int_equal(1, purged);
        assert_false(has_job(nq, ids[i]));
        assert_int_equal(4 - i, jobs_in(nq, "states", 0));
    }
    assert_int_equal(1, jobs_in(nq, "others", 0));
}

static void test_purging_the_ready_takes_those_whose_time_has_come(void **state)
{
    store *s = *state;
    all_states a;
    neoq *nq = open_with_all_states(s, &a);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(16));
    int64_t purged = -1;
    assert_status(NEOQ_OK, neoq_purge(nq, "states", NEOQ_READY, &purged));
    assert_int_equal(2, purged);
    assert_false(has_job(nq, a.retrying));
    assert_true(has_job(nq, a.scheduled));
}

typedef struct purge_within {
    neoq *nq;
    int status;
    int64_t purged;
} purge_within;

static void purge_inside(neoq_ctx *ctx, recorder *r)
{
    purge_within *p = r->about;
    p->status = neoq_purge(p->nq, neoq_ctx_job(ctx)->queue, 0, &p->purged);
}

static void test_purge_all_leaves_the_running(void **state)
{
    store *s = *state;
    purge_within p = {.nq = store_open(s, NULL), .status = 1};
    recorder r = {RECORDER_INITIALIZER, .inside = purge_inside, .about = &p};
    start(p.nq, "purged", &r);
    for (int i = 0; i < 5; i++)
        put_job(p.nq, (neoq_job){.queue = "purged", .unique = NEOQ_UNIQUE_OFF, .retention = NEOQ_FOREVER}, NULL);
    work_one(p.nq);
    assert_status(NEOQ_OK, p.status);
    assert_int_equal(4, p.purged);
    assert_int_equal(1, jobs_in(p.nq, "purged", NEOQ_DONE));
    assert_int_equal(1, jobs_in(p.nq, "purged", 0));
    assert_status(NEOQ_OK, neoq_purge(p.nq, "purged", 0, NULL));
    assert_int_equal(0, jobs_in(p.nq, "purged", 0));
}

/* ---- remove ----------------------------------------------------------------------------- */

static void test_remove_queue_forgets_jobs_and_counts(void **state)
{
    store *s = *state;
    all_states a;
    neoq *nq = open_with_all_states(s, &a);
    put(nq, "others", NULL, NULL);
    assert_status(NEOQ_OK, neoq_remove_queue(nq, "states"));
    assert_false(has_job(nq, a.ready));
    assert_false(has_job(nq, a.done));
    assert_int_equal(0, queue_of(nq, "states").processed);
    assert_int_equal(0, jobs_in(nq, "states", 0));
    assert_int_equal(1, jobs_in(nq, "others", 0));
    /* It comes back, empty, with the next job; its handler is still there. */
    put(nq, "states", NULL, NULL);
    assert_int_equal(1, queue_of(nq, "states").ready);
    assert_int_equal(1, drain(nq).done);
}

static int remove_its_queue(neoq *nq, const char *id)
{
    (void)id;
    return neoq_remove_queue(nq, "running");
}

static void test_a_queue_with_a_running_job_is_not_removed(void **state)
{
    assert_status(NEOQ_ESTATE, on_a_running_job(*state, remove_its_queue));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_retry_now_makes_dead_retrying_and_scheduled_jobs_ready),
        on_store(test_retry_now_refuses_the_other_states),
        on_store(test_a_dead_job_retried_and_failing_dies_again),
        on_store(test_cancel_kills_waiting_jobs),
        on_store(test_retried_by_hand_they_keep_the_order_they_came_in),
        on_store(test_cancel_refuses_finished_jobs),
        on_store(test_delete_removes_jobs_that_are_not_running),
        on_store(test_a_paused_queue_takes_jobs_and_runs_none),
        on_store(test_a_pause_is_seen_by_threads_at_work),
        on_store(test_a_pause_outlives_the_neoq),
        on_store(test_steering_an_unknown_queue_is_not_found),
        on_store(test_purge_by_state),
        on_store(test_purging_the_ready_takes_those_whose_time_has_come),
        on_store(test_purge_all_leaves_the_running),
        on_store(test_remove_queue_forgets_jobs_and_counts),
        on_store(test_a_queue_with_a_running_job_is_not_removed),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("steer", tests, NULL, NULL);
}
