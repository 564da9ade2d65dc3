/* SPDX-License-Identifier: MIT
 *
 * Handlers in threads: how many at once, and what becomes of one that does not end in time. Real threads; the
 * timeouts are on the virtual clock.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Handlers of a failed test may outlive it: what they touch is static. */

static void start(neoq *nq, const char *queue, recorder *r, int concurrency)
{
    neoq_handler handler = recording(queue, r);
    handler.concurrency = concurrency;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

static void put_many(neoq *nq, const char *queue, int count)
{
    for (int i = 0; i < count; i++)
        put_job(nq, (neoq_job){.queue = queue, .unique = NEOQ_UNIQUE_OFF}, NULL);
}

/* ---- how many at once ------------------------------------------------------------------- */

static void test_as_many_run_at_once_as_concurrency_says(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    neoq *nq = store_open_real(*state, NULL);
    start(nq, "three", &r, 3);
    put_many(nq, "three", 20);
    eventually(recorded_running(&r) == 3);
    gate_open(&hold);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
    assert_int_equal(20, recorded(&r));
    assert_int_equal(3, recorded_most(&r));
}

static void test_a_concurrency_of_0_is_50(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    neoq *nq = store_open_real(*state, NULL);
    start(nq, "fifty", &r, 0);
    put_many(nq, "fifty", 60);
    eventually(recorded_running(&r) == 50);
    gate_open(&hold);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
    assert_int_equal(60, recorded(&r));
    assert_int_equal(50, recorded_most(&r));
}

/* B3 of the originals: there, the queue started last decided for all. */
static void test_each_queue_has_its_own_concurrency(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder five = {RECORDER_INITIALIZER, .hold = &hold}, one = {RECORDER_INITIALIZER, .hold = &hold};
    neoq *nq = store_open_real(*state, NULL);
    start(nq, "five", &five, 5);
    start(nq, "one", &one, 1);
    put_many(nq, "one", 10);
    put_many(nq, "five", 10);
    eventually(recorded_running(&five) == 5 && recorded_running(&one) == 1);
    gate_open(&hold);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
    assert_int_equal(10, recorded(&five));
    assert_int_equal(10, recorded(&one));
    assert_int_equal(5, recorded_most(&five));
    assert_int_equal(1, recorded_most(&one));
}

static void test_a_busy_queue_does_not_hold_up_another(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder busy = {RECORDER_INITIALIZER, .hold = &hold}, free_one = {RECORDER_INITIALIZER};
    neoq *nq = store_open_real(*state, ON_HINTS_ALONE);
    start(nq, "busy", &busy, 2);
    start(nq, "free", &free_one, 2);
    put_many(nq, "busy", 20);
    eventually(recorded_running(&busy) == 2);
    put_many(nq, "free", 20);
    eventually(recorded_ends(&free_one) == 20);
    assert_int_equal(2, recorded(&busy));
    gate_open(&hold);
}

static void test_eight_neoqs_share_a_queue_and_each_job_runs_once(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    static gate hold = GATE_INITIALIZER;
    static recorder all = {RECORDER_INITIALIZER, .hold = &hold};
    neoq *nq[8];
    for (int i = 0; i < 8; i++) {
        nq[i] = store_open_real(*state, NULL);
        start(nq[i], "shared", &all, 1);
    }
    put_many(nq[0], "shared", 8);
    /* Each takes one and blocks on it, so all eight are at work. */
    eventually(recorded_running(&all) == 8);
    gate_open(&hold);
    eventually(jobs_in(nq[0], "shared", 0) == 0);
    assert_int_equal(8, recorded(&all));
}

static void test_one_neoq_enqueues_and_another_handles(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    static recorder r = {RECORDER_INITIALIZER};
    neoq *producer = store_open_real(*state, ON_HINTS_ALONE), *consumer = store_open_real(*state, ON_HINTS_ALONE);
    start(consumer, "SyncThing", &r, 1);
    for (size_t i = 0; i < 5; i++) {
        put(producer, "SyncThing", "{}", NULL);
        eventually(recorded_ends(&r) == i + 1 && jobs_in(producer, "SyncThing", 0) == 0);
    }
}

static void block_on_the_long_one(neoq_ctx *ctx, recorder *r)
{
    if (neoq_ctx_job(ctx)->metadata)
        gate_wait(r->about);
}

/* Without a hint it would be read after a lease, 30 s. Where nothing is heard (behind a pooler) a worker looks each
 * second of the clock from when it fell asleep, which may be after a step. */
static void test_a_schedule_of_another_neoq_is_heard_of(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = store_open_threads(s, NULL), *other = store_open_threads(s, NULL);
    start(nq, "ticks", &r, 1);
    put_many(nq, "ticks", 1);
    eventually(recorded(&r) == 1); /* by now it has read that there is none */
    assert_status(NEOQ_OK, neoq_schedule(other, "tick", "@every 1s", &(neoq_job){.queue = "ticks"}));
    for (int i = 0; i < 3 && recorded(&r) == 1; i++) {
        neoq_clock_advance(s->clock, NEOQ_SECONDS(8));
        patience p = patience_of(5);
        while (recorded(&r) == 1 && patience_left(&p))
            ;
    }
    assert_true(recorded(&r) > 1);
}

/* Short jobs are claimed some milliseconds ahead; behind one that turns out long they may not wait. */
static void test_jobs_claimed_ahead_of_a_long_one_are_given_to_others(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    enum { SHORT = 3000 };
    static gate hold = GATE_INITIALIZER;
    static recorder one = {.inside = block_on_the_long_one, .about = &hold, RECORDER_INITIALIZER},
                    other = {RECORDER_INITIALIZER};
    neoq *first = store_open_real(*state, &(neoq_options){.asynchronous_commit = true}),
         *second = store_open_real(*state, ON_HINTS_ALONE);
    put_many(first, "ahead", SHORT);
    put_job(first, (neoq_job){.queue = "ahead", .metadata = "{}"}, NULL);
    put_many(first, "ahead", SHORT);
    start(first, "ahead", &one, 1);
    /* It ran all that came before the long one, and claimed more. */
    eventually(queue_of(second, "ahead").running > 1);
    eventually(recorded_running(&one) == 1 && queue_of(second, "ahead").processed >= SHORT);
    start(second, "ahead", &other, 1);
    eventually(recorded_ends(&one) + recorded_ends(&other) == 2 * SHORT);
    gate_open(&hold);
    eventually(recorded_ends(&one) + recorded_ends(&other) == 2 * SHORT + 1);
}

/* ---- too long --------------------------------------------------------------------------- */

static void start_short(neoq *nq, recorder *r)
{
    neoq_handler handler = recording("short", r);
    handler.timeout = NEOQ_SECONDS(5);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

static void test_a_handler_that_ignores_its_timeout_is_given_up(void **state)
{
    skip_where(NEOQ_CANNOT_KEEP_RUNS); /* before there is a handler that has to be let go */
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    start_short(nq, &r);
    char id[NEOQ_ID_SIZE], next[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "short", .payload = "1", .retention = NEOQ_FOREVER}, id);
    eventually(recorded_running(&r) == 1);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(6));
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    assert_words("timeout", store_job(s, nq, id)->error);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("timeout", runs[0].outcome);
    assert_words("timeout", runs[0].error);
    eventually(recorded_crashes(&r) == 1);
    assert_string_equal(id, r.crash_id);
    assert_words("timeout", r.crash_error);

    /* Its slot is free for another job, although the handler still sits there. */
    put_job(nq, (neoq_job){.queue = "short", .payload = "2", .retention = NEOQ_FOREVER}, next);
    eventually(recorded_running(&r) == 2);
    gate_open(&hold);
    eventually(state_of(nq, next) == NEOQ_DONE);
    eventually(recorded_ends(&r) == 2);
    /* Its late finish changes nothing. */
    assert_int_equal(NEOQ_RETRYING, state_of(nq, id));
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_int_equal(1, recorded_crashes(&r));
}

typedef struct cooperation {
    atomic_bool watching;
    bool cancelled_at_first, readable_at_first, readable, cancelled;
} cooperation;

/* Ends when it is told to, as handlers should. */
static void cooperate(neoq_ctx *ctx, recorder *r)
{
    cooperation *c = r->about;
    struct pollfd fd = {.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN};
    c->cancelled_at_first = neoq_ctx_cancelled(ctx);
    c->readable_at_first = poll(&fd, 1, 0) != 0;
    atomic_store(&c->watching, true);
    c->readable = poll(&fd, 1, PATIENCE_SECONDS * 1000) == 1 && (fd.revents & POLLIN);
    c->cancelled = neoq_ctx_cancelled(ctx);
}

static void assert_cooperated(const cooperation *c)
{
    assert_false(c->cancelled_at_first);
    assert_false(c->readable_at_first);
    assert_true(c->readable);
    assert_true(c->cancelled);
}

static void test_a_timeout_cancels_the_context(void **state)
{
    static cooperation c;
    static recorder r = {RECORDER_INITIALIZER, .inside = cooperate, .about = &c};
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    start_short(nq, &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "short", NULL, id);
    eventually(atomic_load(&c.watching));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(6));
    eventually(recorded_ends(&r) == 1);
    assert_cooperated(&c);
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("timeout", runs[0].outcome);
}

static void test_a_deadline_cancels_the_context_and_the_job_is_dead(void **state)
{
    static cooperation c;
    static recorder r = {RECORDER_INITIALIZER, .inside = cooperate, .about = &c};
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    start(nq, "late", &r, 1);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "late", .deadline = STORE_START + NEOQ_SECONDS(5)}, id);
    eventually(atomic_load(&c.watching));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(6));
    eventually(recorded_ends(&r) == 1);
    assert_cooperated(&c);
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_words("deadline", store_job(s, nq, id)->error);
}

static void test_neoq_cancel_cancels_the_context_and_the_job_is_dead(void **state)
{
    static cooperation c;
    static recorder r = {RECORDER_INITIALIZER, .inside = cooperate, .about = &c};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    start(nq, "stop", &r, 1);
    char id[NEOQ_ID_SIZE];
    /* It returns NEOQ_OK in the end, and would be kept as done. */
    put_job(nq, (neoq_job){.queue = "stop", .retention = NEOQ_FOREVER}, id);
    eventually(atomic_load(&c.watching));
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    eventually(state_of(nq, id) == NEOQ_DEAD);
    eventually(recorded_ends(&r) == 1);
    assert_cooperated(&c);
    assert_words("cancelled", store_job(s, nq, id)->error);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("cancelled", runs[0].outcome);
}

static void test_another_neoq_can_cancel_a_running_job(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    static cooperation c;
    static recorder r = {RECORDER_INITIALIZER, .inside = cooperate, .about = &c};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL), *other = store_open_real(s, NULL);
    start(nq, "stop", &r, 1);
    char id[NEOQ_ID_SIZE];
    put(nq, "stop", NULL, id);
    eventually(atomic_load(&c.watching));
    assert_status(NEOQ_OK, neoq_cancel(other, id));
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_cooperated(&c);
}

/* The lease is for workers that vanish: a handler that only takes long keeps its job. */
static void test_a_run_longer_than_the_lease_is_not_taken_away(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_threads(s, &(neoq_options){.lease = NEOQ_SECONDS(30)});
    neoq_handler handler = recording("long", &r);
    handler.timeout = NEOQ_FOREVER;
    handler.concurrency = 2;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "long", .retention = NEOQ_FOREVER}, id);
    eventually(recorded_running(&r) == 1);
    for (int i = 0; i < 60; i++) {
        neoq_worker_info *workers;
        size_t count;
        neoq_clock_advance(s->clock, NEOQ_SECONDS(5));
        neoq_time now = neoq_clock_time(s->clock);
        bool beaten = false;
        for (patience p = patience_begin(); !beaten && patience_left(&p);) {
            assert_status(NEOQ_OK, neoq_workers(nq, &workers, &count));
            beaten = count == 1 && now - workers[0].seen_at < NEOQ_SECONDS(20);
            free(workers);
        }
        assert_true(beaten);
    }
    gate_open(&hold);
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_int_equal(1, recorded(&r));
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
}

static void test_retries_and_future_jobs_run_in_threads_when_time_comes(void **state)
{
    static recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}, {.act = ACT_DONE}}, .step_count = 2};
    store *s = *state;
    neoq *nq = store_open_threads(s, ON_HINTS_ALONE);
    start(nq, "later", &r, 1);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "later", .retention = NEOQ_FOREVER, .run_after = STORE_START + NEOQ_SECONDS(5)},
            id);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(5));
    eventually(recorded_ends(&r) == 1);
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(16));
    eventually(state_of(nq, id) == NEOQ_DONE);
}

static void test_a_retry_does_not_wait_for_the_poll(void **state)
{
    static recorder r = {RECORDER_INITIALIZER,
                         .steps = {{.act = ACT_RETRY_IN, .wait = NEOQ_MILLISECONDS(50), .words = "busy"},
                                   {.act = ACT_SNOOZE, .wait = NEOQ_MILLISECONDS(50)},
                                   {.act = ACT_SLOW_DOWN},
                                   {.act = ACT_DONE}},
                         .step_count = 4};
    neoq *nq = store_open_real(*state, ON_HINTS_ALONE);
    start(nq, "retried", &r, 4);
    const neoq_duration waits[] = {NEOQ_MILLISECONDS(50), NEOQ_MILLISECONDS(50), NEOQ_MILLISECONDS(50)};
    put_job(nq, (neoq_job){.queue = "retried", .retry_waits = waits, .retry_wait_count = 3}, NULL);
    eventually(recorded_ends(&r) == 4);
}

static void test_a_future_job_does_not_wait_for_the_poll(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = store_open_real(*state, ON_HINTS_ALONE);
    start(nq, "future", &r, 4);
    for (size_t i = 0; i < 5; i++) {
        put_job(nq,
                (neoq_job){.queue = "future",
                           .unique = NEOQ_UNIQUE_OFF,
                           .run_after = neoq_now() + NEOQ_MILLISECONDS(50)},
                NULL);
        eventually(recorded_ends(&r) == i + 1);
    }
}

static void test_a_future_job_of_another_neoq_does_not_wait_for_the_poll(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    static recorder r = {RECORDER_INITIALIZER};
    neoq *producer = store_open_real(*state, ON_HINTS_ALONE), *consumer = store_open_real(*state, ON_HINTS_ALONE);
    start(consumer, "future", &r, 4);
    put_job(producer,
            (neoq_job){.queue = "future", .unique = NEOQ_UNIQUE_OFF, .run_after = neoq_now() + NEOQ_MILLISECONDS(50)},
            NULL);
    eventually(recorded_ends(&r) == 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_as_many_run_at_once_as_concurrency_says),
        on_store(test_a_concurrency_of_0_is_50),
        on_store(test_each_queue_has_its_own_concurrency),
        on_store(test_a_busy_queue_does_not_hold_up_another),
        on_store(test_eight_neoqs_share_a_queue_and_each_job_runs_once),
        on_store(test_one_neoq_enqueues_and_another_handles),
        on_store(test_a_schedule_of_another_neoq_is_heard_of),
        on_store(test_jobs_claimed_ahead_of_a_long_one_are_given_to_others),
        on_store(test_a_handler_that_ignores_its_timeout_is_given_up),
        on_store(test_a_timeout_cancels_the_context),
        on_store(test_a_deadline_cancels_the_context_and_the_job_is_dead),
        on_store(test_neoq_cancel_cancels_the_context_and_the_job_is_dead),
        on_store(test_another_neoq_can_cancel_a_running_job),
        on_store(test_a_run_longer_than_the_lease_is_not_taken_away),
        on_store(test_retries_and_future_jobs_run_in_threads_when_time_comes),
        on_store(test_a_retry_does_not_wait_for_the_poll),
        on_store(test_a_future_job_does_not_wait_for_the_poll),
        on_store(test_a_future_job_of_another_neoq_does_not_wait_for_the_poll),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("concurrent", tests, NULL, NULL);
}
