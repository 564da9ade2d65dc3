/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <stdint.h>
#include <sys/random.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec at;
    clock_gettime(id, &at);
    return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

static neoq_time real_now(const neoq_clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_REALTIME);
}

static int64_t real_steady(const neoq_clock *clock)
{
    (void)clock;
    return read_clock(CLOCK_BOOTTIME);
}

/* xorshift64*, seeded once a thread from the system: cheap, and good enough for jitter and the tails of ids. */
static _Thread_local uint64_t state;

void nq_clock_reseed(void)
{
    state = 0;
}

static uint64_t real_random(const neoq_clock *clock)
{
    (void)clock;
    while (state == 0 && getrandom(&state, sizeof state, 0) != (ssize_t)sizeof state)
        state = 0;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1DULL;
}

static int64_t real_left(const neoq_clock *clock, int64_t until)
{
    int64_t now = real_steady(clock);
    return until > now ? until - now : 0;
}

const neoq_clock nq_real_clock = {
    .now = real_now,
    .steady = real_steady,
    .random = real_random,
    .left = real_left,
};

neoq_time neoq_now(void)
{
    return real_now(NULL);
}

int64_t nq_time_add(int64_t start, neoq_duration duration)
{
    if (duration == NEOQ_FOREVER || (duration > 0 && start > INT64_MAX - duration))
        return INT64_MAX;
    return start + duration;
}

void nq_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool nq_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const neoq_clock *clock, int64_t until)
{
    int64_t left = until == INT64_MAX ? -1 : clock->left(clock, until);
    if (left == 0)
        return false;
    if (left < 0) {
        pthread_cond_wait(cond, mutex);
        return true;
    }
    /* An hour at a time: the sum below cannot overflow, and callers look at the clock again anyway. */
    if (left > NEOQ_HOURS(1))
        left = NEOQ_HOURS(1);
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += left / 1000000;
    at.tv_nsec += left % 1000000 * 1000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(cond, mutex, &at);
    return true;
}
