/* SPDX-License-Identifier: MIT
 *
 * A neoq that leaves while a call to its store is under way, over the memory store: the call is held up until then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include <neoq.h>

#include "backend/memory/memory.h"

enum { JOBS = 3 };

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool hold_beats, hold_claims;
    bool held;   /* something is */
    bool ending; /* the neoq is being shut down */
    bool left;   /* the worker has left, or the neoq was closed */
    bool closed; /* so was the store */
    int joins, claimed, released, handled;
} seen = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* The mutex is held. */
static bool await(const bool *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    while (!*what)
        if (pthread_cond_timedwait(&seen.changed, &seen.mutex, &until) != 0)
            return false;
    return true;
}

/* The mutex is held. */
static void tell(bool *what)
{
    *what = true;
    pthread_cond_broadcast(&seen.changed);
}

static int open_memory(neoq_store **out, const neoq_store_config *config)
{
    neoq_store_config memory = *config;
    memory.url = "memory:";
    return nq_memory_backend.open(out, &memory);
}

static void close_memory(neoq_store *store)
{
    nq_memory_backend.close(store);
    pthread_mutex_lock(&seen.mutex);
    tell(&seen.closed);
    pthread_mutex_unlock(&seen.mutex);
}

static int beat(neoq_store *store, const neoq_beat *b)
{
    pthread_mutex_lock(&seen.mutex);
    seen.joins += b->join;
    if (seen.hold_beats && !b->join && b->lease > 0) {
        tell(&seen.held);
        await(&seen.left);
    }
    pthread_mutex_unlock(&seen.mutex);
    int status = nq_memory_backend.beat(store, b);
    pthread_mutex_lock(&seen.mutex);
    if (b->lease == 0)
        tell(&seen.left);
    pthread_mutex_unlock(&seen.mutex);
    return status;
}

static int exchange(neoq_store *store, neoq_exchange *x)
{
    int status = nq_memory_backend.exchange(store, x);
    pthread_mutex_lock(&seen.mutex);
    seen.claimed += (int)x->run_count;
    if (seen.hold_claims && x->run_count > 0) {
        tell(&seen.held);
        await(&seen.left);
    }
    pthread_mutex_unlock(&seen.mutex);
    return status;
}

static void release(neoq_store *store, neoq_claimed *run)
{
    nq_memory_backend.release(store, run);
    pthread_mutex_lock(&seen.mutex);
    seen.released++;
    pthread_mutex_unlock(&seen.mutex);
}

/* The first that a shutdown does once it has begun. */
static void wake(neoq_store *store)
{
    pthread_mutex_lock(&seen.mutex);
    if (seen.ending)
        tell(&seen.left);
    pthread_mutex_unlock(&seen.mutex);
    nq_memory_backend.wake(store);
}

static int handle(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    pthread_mutex_lock(&seen.mutex);
    seen.handled++;
    pthread_mutex_unlock(&seen.mutex);
    return NEOQ_OK;
}

static void quiet(neoq_log_level level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

static neoq *start(void)
{
    static neoq_backend leaving;
    leaving = nq_memory_backend;
    leaving.scheme = "leaving";
    leaving.size = sizeof leaving;
    leaving.local = false;
    leaving.open = open_memory;
    leaving.close = close_memory;
    leaving.beat = beat;
    leaving.exchange = exchange;
    leaving.release = release;
    leaving.wake = wake;
    neoq_register_backend(&leaving); /* it is there already in the second test */
    seen.held = seen.ending = seen.left = seen.closed = false;
    seen.joins = seen.claimed = seen.released = seen.handled = 0;
    neoq *nq = NULL;
    const neoq_options options = {.log = quiet, .unique = NEOQ_UNIQUE_OFF, .lease = NEOQ_MILLISECONDS(600)};
    assert_int_equal(NEOQ_OK, neoq_open(&nq, "leaving:", &options));
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q", .payload = "{}"}, NULL));
    neoq_handler handler = {.queue = "q", .handle = handle, .concurrency = 1};
    assert_int_equal(NEOQ_OK, neoq_start(nq, &handler));
    pthread_mutex_lock(&seen.mutex);
    bool held = await(&seen.held);
    pthread_mutex_unlock(&seen.mutex);
    assert_true(held);
    return nq;
}

/* The worker it was sent for is not there any more, but neither was it lost. */
static void test_a_beat_that_is_under_way_joins_nobody(void **state)
{
    (void)state;
    seen.hold_beats = true;
    seen.hold_claims = false;
    neoq *nq = start();
    neoq_close(nq);
    assert_true(seen.left && seen.closed);
    assert_int_equal(1, seen.joins);
}

/* Nobody begins them any more, and nobody else has to wait for the lease to be over. */
static void test_runs_that_come_while_it_ends_are_given_back(void **state)
{
    (void)state;
    seen.hold_beats = false;
    seen.hold_claims = true;
    neoq *nq = start();
    pthread_mutex_lock(&seen.mutex);
    seen.ending = true;
    pthread_mutex_unlock(&seen.mutex);
    assert_int_equal(NEOQ_OK, neoq_shutdown(nq, 0));
    neoq_queue_info *queues = NULL;
    size_t count = 0;
    assert_int_equal(NEOQ_OK, neoq_queues(nq, &queues, &count));
    assert_int_equal(1, count);
    assert_int_equal(JOBS, queues[0].ready);
    assert_int_equal(0, queues[0].running);
    free(queues);
    neoq_close(nq);
    assert_int_equal(0, seen.handled);
    assert_int_equal(seen.claimed, seen.released);
}

/* It was waited for as long as a shutdown and a close wait. */
static void test_runs_that_come_after_the_end_are_released(void **state)
{
    (void)state;
    seen.hold_beats = false;
    seen.hold_claims = true;
    neoq *nq = start();
    neoq_close(nq);
    pthread_mutex_lock(&seen.mutex);
    bool closed_early = seen.closed;
    tell(&seen.left);
    bool closed = await(&seen.closed);
    pthread_mutex_unlock(&seen.mutex);
    assert_false(closed_early);
    assert_true(closed);
    assert_true(seen.claimed > 0);
    assert_int_equal(seen.claimed, seen.released);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_beat_that_is_under_way_joins_nobody),
        cmocka_unit_test(test_runs_that_come_while_it_ends_are_given_back),
        cmocka_unit_test(test_runs_that_come_after_the_end_are_released),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
