/* SPDX-License-Identifier: MIT
 *
 * A queue with a bound: enqueueing waits for room, or gives up.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define A_MOMENT (&(neoq_options){.capacity_wait = NEOQ_MILLISECONDS(10)})

/* Handlers and threads of a failed test may outlive it: what they touch is static. */

static void start_bounded(neoq *nq, recorder *r, int64_t capacity)
{
    neoq_handler handler = recording("bounded", r);
    handler.capacity = capacity;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

static neoq_job any_job(void)
{
    return (neoq_job){.queue = "bounded", .unique = NEOQ_UNIQUE_OFF};
}

static int try_put(neoq *nq)
{
    neoq_job job = any_job();
    return neoq_enqueue(nq, &job, NULL);
}

/* Fills the queue: one runs and is held, `capacity` wait. */
static void fill(neoq *nq, recorder *r, int capacity)
{
    assert_status(NEOQ_OK, try_put(nq));
    eventually(recorded_running(r) == 1);
    for (int i = 0; i < capacity; i++)
        assert_status(NEOQ_OK, try_put(nq));
}

static void test_a_full_queue_refuses_after_capacity_wait(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_real(s, A_MOMENT);
    start_bounded(nq, &r, 3);
    fill(nq, &r, 3);
    assert_status(NEOQ_EFULL, try_put(nq));
    assert_words("bounded", neoq_error_message());
    assert_int_equal(3, queue_of(nq, "bounded").ready);
    /* Other queues have no bound. */
    put(nq, "unbounded", NULL, NULL);
    gate_open(&hold);
    eventually(jobs_in(nq, "bounded", 0) == 0);
    assert_status(NEOQ_OK, try_put(nq));
}

static void test_jobs_that_wait_for_their_time_count(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_real(s, A_MOMENT);
    start_bounded(nq, &r, 2);
    for (int i = 0; i < 2; i++)
        put_job(nq,
                (neoq_job){.queue = "bounded", .unique = NEOQ_UNIQUE_OFF, .run_after = neoq_now() + NEOQ_HOURS(1)},
                NULL);
    assert_status(NEOQ_EFULL, try_put(nq));
    assert_status(NEOQ_OK, neoq_purge(nq, "bounded", 0, NULL));
    assert_status(NEOQ_OK, try_put(nq));
    gate_open(&hold);
}

typedef struct waiter {
    neoq *nq;
    pthread_mutex_t lock;
    bool ended;
    int status;
} waiter;

static void *wait_for_room(void *arg)
{
    waiter *w = arg;
    int status = try_put(w->nq);
    pthread_mutex_lock(&w->lock);
    w->ended = true;
    w->status = status;
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static bool has_ended(waiter *w)
{
    pthread_mutex_lock(&w->lock);
    bool ended = w->ended;
    pthread_mutex_unlock(&w->lock);
    return ended;
}

static void test_enqueueing_waits_until_there_is_room(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    static waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .status = 1};
    store *s = *state;
    w.nq = store_open_real(s, NULL);
    start_bounded(w.nq, &r, 1);
    fill(w.nq, &r, 1);
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, wait_for_room, &w));
    /* No wait is long enough to prove that it would wait for ever; this one shows that it does not return at once. */
    patience p = patience_begin();
    for (int i = 0; i < 50; i++)
        patience_left(&p);
    bool ended_early = has_ended(&w);
    gate_open(&hold);
    eventually(has_ended(&w));
    pthread_join(thread, NULL);
    assert_false(ended_early);
    assert_status(NEOQ_OK, w.status);
    eventually(recorded_ends(&r) == 3);
}

static void test_several_may_wait_for_room_and_all_get_it(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    static waiter waiters[4];
    store *s = *state;
    neoq *nq = store_open_real(s, ON_HINTS_ALONE);
    start_bounded(nq, &r, 1);
    fill(nq, &r, 1);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        waiters[i] = (waiter){.nq = nq, .lock = PTHREAD_MUTEX_INITIALIZER, .status = 1};
        assert_int_equal(0, pthread_create(&threads[i], NULL, wait_for_room, &waiters[i]));
    }
    gate_open(&hold);
    for (int i = 0; i < 4; i++) {
        eventually(has_ended(&waiters[i]));
        pthread_join(threads[i], NULL);
        assert_status(NEOQ_OK, waiters[i].status);
    }
    eventually(recorded_ends(&r) == 6);
}

static void test_many_jobs_into_a_bounded_queue(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_real(s, A_MOMENT);
    start_bounded(nq, &r, 5);
    fill(nq, &r, 2);
    neoq_job jobs[10];
    neoq_enqueued results[10];
    for (int i = 0; i < 10; i++)
        jobs[i] = any_job();
    jobs[4].queue = "unbounded";
    neoq_enqueue_many(nq, jobs, 10, results);
    int stored = 0, full = 0;
    for (int i = 0; i < 10; i++) {
        stored += results[i].status == NEOQ_OK;
        full += results[i].status == NEOQ_EFULL;
    }
    /* Three fit, and the one of another queue; what was told is what is there. */
    assert_int_equal(4, stored);
    assert_int_equal(6, full);
    assert_int_equal(NEOQ_OK, results[4].status);
    assert_int_equal(5, queue_of(nq, "bounded").ready);
    gate_open(&hold);
}

static void test_many_jobs_wait_for_room_too(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, ON_HINTS_ALONE);
    start_bounded(nq, &r, 5);
    neoq_job jobs[40];
    neoq_enqueued results[40];
    for (int i = 0; i < 40; i++)
        jobs[i] = any_job();
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 40, results));
    for (int i = 0; i < 40; i++)
        assert_int_equal(NEOQ_OK, results[i].status);
    eventually(recorded_ends(&r) == 40);
}

static void test_a_capacity_may_not_be_negative(void **state)
{
    recorder r = {RECORDER_INITIALIZER};
    neoq *nq = store_open(*state, NULL);
    neoq_handler handler = recording("bounded", &r);
    handler.capacity = -1;
    assert_status(NEOQ_EINVAL, neoq_start(nq, &handler));
}

static void test_the_bound_holds_for_every_neoq_on_the_store(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_real(s, A_MOMENT), *other = store_open_real(s, A_MOMENT);
    start_bounded(nq, &r, 2);
    fill(nq, &r, 2);
    assert_status(NEOQ_EFULL, try_put(other));
    gate_open(&hold);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_full_queue_refuses_after_capacity_wait),
        on_store(test_jobs_that_wait_for_their_time_count),
        on_store(test_enqueueing_waits_until_there_is_room),
        on_store(test_several_may_wait_for_room_and_all_get_it),
        on_store(test_many_jobs_into_a_bounded_queue),
        on_store(test_many_jobs_wait_for_room_too),
        on_store(test_a_capacity_may_not_be_negative),
        on_store(test_the_bound_holds_for_every_neoq_on_the_store),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("capacity", tests, NULL, NULL);
}
