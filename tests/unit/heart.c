/* SPDX-License-Identifier: MIT
 *
 * The lease is renewed whatever else a neoq is at, over the memory store: its other calls are held up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include <neoq.h>
#include <neoq/testing.h>

#include "backend/memory/memory.h"

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool hold, hold_beats;
    int held, held_beats; /* calls that are */
    int beats;
} seen = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void hold_up(void)
{
    pthread_mutex_lock(&seen.mutex);
    seen.held++;
    pthread_cond_broadcast(&seen.changed);
    while (seen.hold)
        pthread_cond_wait(&seen.changed, &seen.mutex);
    seen.held--;
    pthread_mutex_unlock(&seen.mutex);
}

/* Waits for *number to reach that, 20 s at the most; holds `seen` or not from then on. */
static void await(const int *number, int least, bool hold)
{
    struct timespec until;
    int failed = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&seen.mutex);
    while (*number < least && failed == 0)
        failed = pthread_cond_timedwait(&seen.changed, &seen.mutex, &until);
    seen.hold = hold;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.mutex);
    assert_int_equal(0, failed);
}

static int open_memory(neoq_store **out, const neoq_store_config *config)
{
    neoq_store_config memory = *config;
    memory.url = "memory:";
    return nq_memory_backend.open(out, &memory);
}

static int tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count)
{
    hold_up();
    return nq_memory_backend.tend(store, limit, lost, lost_count);
}

static int exchange(neoq_store *store, neoq_exchange *exchange)
{
    hold_up();
    return nq_memory_backend.exchange(store, exchange);
}

static int beat(neoq_store *store, const neoq_beat *beat)
{
    int status = nq_memory_backend.beat(store, beat);
    pthread_mutex_lock(&seen.mutex);
    seen.beats++;
    seen.held_beats++;
    pthread_cond_broadcast(&seen.changed);
    while (seen.hold_beats)
        pthread_cond_wait(&seen.changed, &seen.mutex);
    seen.held_beats--;
    pthread_mutex_unlock(&seen.mutex);
    return status;
}

static int nothing(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    return NEOQ_OK;
}

static int register_held(void **state)
{
    static neoq_backend backend;
    (void)state;
    backend = nq_memory_backend;
    backend.scheme = "held";
    backend.local = false;
    backend.open = open_memory;
    backend.tend = tend;
    backend.exchange = exchange;
    backend.beat = beat;
    return neoq_register_backend(&backend);
}

static int set_up(void **state)
{
    seen.hold = seen.hold_beats = false;
    seen.beats = 0;
    (void)state;
    return 0;
}

static neoq *open_held(neoq_clock **clock)
{
    neoq *nq;
    assert_int_equal(NEOQ_OK, neoq_clock_create(clock, 0, 1));
    neoq_clock_advance(*clock, NEOQ_HOURS(1));
    assert_int_equal(NEOQ_OK, neoq_testing_open(&nq, "held:", NULL, *clock, NEOQ_TESTING_THREADS));
    return nq;
}

static void hold_beats(bool hold)
{
    pthread_mutex_lock(&seen.mutex);
    seen.hold_beats = hold;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.mutex);
}

static void keeps_the_lease_while_the_store_is_slow(void **state)
{
    neoq_clock *clock;
    neoq *nq = open_held(&clock);
    (void)state;
    await(&seen.beats, 0, true);
    assert_int_equal(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "q", .handle = nothing}));
    await(&seen.held, 2, true);                /* the ticker and an executor */
    await(&seen.beats, 2, true);               /* it joined, and told of its queue */
    for (int beats = 3; beats < 15; beats++) { /* two leases long */
        neoq_clock_advance(clock, NEOQ_SECONDS(5));
        await(&seen.beats, beats, true);
    }
    await(&seen.beats, 0, false);
    neoq_close(nq);
    neoq_clock_destroy(clock);
}

static void a_beat_that_does_not_come_back_is_told(void **state)
{
    neoq_clock *clock;
    neoq *nq = open_held(&clock);
    (void)state;
    assert_int_equal(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "q", .handle = nothing}));
    await(&seen.beats, 2, false);
    hold_beats(true);
    neoq_clock_advance(clock, NEOQ_SECONDS(5));
    await(&seen.held_beats, 1, false);
    assert_int_equal(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "other", .handle = nothing}));
    while (neoq_stalled(nq) != 0) /* that wants a beat now, and is not late yet; but the ticker may not have begun */
        sched_yield();
    neoq_clock_advance(clock, NEOQ_SECONDS(3));
    assert_int_equal(NEOQ_SECONDS(3), neoq_stalled(nq));
    hold_beats(false);
    neoq_close(nq);
    neoq_clock_destroy(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(keeps_the_lease_while_the_store_is_slow, set_up),
        cmocka_unit_test_setup(a_beat_that_does_not_come_back_is_told, set_up),
    };
    return cmocka_run_group_tests_name("heart", tests, register_held, NULL);
}
