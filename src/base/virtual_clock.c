/* SPDX-License-Identifier: MIT
 *
 * The virtual clock of <neoq/testing.h>. Wall time and steady time are two numbers; moving them wakes the subscribers,
 * and whoever slept looks at the clock again.
 */
#include <stdint.h>
#include <stdlib.h>

#include <neoq/testing.h>

#include "base/clock.h"
#include "base/error.h"

typedef struct subscriber {
    struct subscriber *next;
    void (*moved)(void *arg);
    void *arg;
} subscriber;

typedef struct virtual_clock {
    neoq_clock table; /* first: a neoq_clock * of ours is one of these */
    pthread_mutex_t mutex;
    pthread_mutex_t moving; /* held while subscribers are called, so that unsubscribing can wait for that */
    neoq_time now;
    int64_t steady;
    uint64_t random;
    subscriber *subscribers;
} virtual_clock;

static const neoq_time default_start = (neoq_time)1893456000 * 1000000; /* 2030-01-01T00:00:00Z */

static virtual_clock *of(const neoq_clock *clock)
{
    return (virtual_clock *)(uintptr_t)clock;
}

static neoq_time virtual_now(const neoq_clock *clock)
{
    virtual_clock *self = of(clock);
    pthread_mutex_lock(&self->mutex);
    neoq_time now = self->now;
    pthread_mutex_unlock(&self->mutex);
    return now;
}

static int64_t virtual_steady(const neoq_clock *clock)
{
    virtual_clock *self = of(clock);
    pthread_mutex_lock(&self->mutex);
    int64_t steady = self->steady;
    pthread_mutex_unlock(&self->mutex);
    return steady;
}

/* splitmix64: every seed is a good one. */
static uint64_t virtual_random(const neoq_clock *clock)
{
    virtual_clock *self = of(clock);
    pthread_mutex_lock(&self->mutex);
    uint64_t z = self->random += 0x9E3779B97F4A7C15ULL;
    pthread_mutex_unlock(&self->mutex);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static int64_t virtual_left(const neoq_clock *clock, int64_t until)
{
    return virtual_steady(clock) >= until ? 0 : -1;
}

static bool is_virtual(const neoq_clock *clock)
{
    return clock->now == virtual_now;
}

int neoq_clock_create(neoq_clock **out, neoq_time start, uint64_t seed)
{
    if (!out)
        return nq_fail(NEOQ_EINVAL, "neoq_clock_create: out is NULL");
    *out = NULL;
    virtual_clock *self = calloc(1, sizeof *self);
    if (!self)
        return nq_fail(NEOQ_ENOMEM, "no memory for a clock");
    self->table = (neoq_clock){virtual_now, virtual_steady, virtual_random, virtual_left};
    self->now = start ? start : default_start;
    self->steady = 1000000;
    self->random = seed;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_mutex_init(&self->moving, NULL);
    *out = &self->table;
    return NEOQ_OK;
}

void neoq_clock_destroy(neoq_clock *clock)
{
    if (!clock)
        return;
    virtual_clock *self = of(clock);
    pthread_mutex_destroy(&self->mutex);
    pthread_mutex_destroy(&self->moving);
    free(self);
}

neoq_time neoq_clock_time(const neoq_clock *clock)
{
    return clock->now(clock);
}

static void move(virtual_clock *self, neoq_time now, int64_t steps)
{
    pthread_mutex_lock(&self->moving);
    pthread_mutex_lock(&self->mutex);
    self->now = now == 0 ? nq_time_add(self->now, steps) : now;
    self->steady = nq_time_add(self->steady, steps);
    pthread_mutex_unlock(&self->mutex);
    for (subscriber *s = self->subscribers; s; s = s->next)
        s->moved(s->arg);
    pthread_mutex_unlock(&self->moving);
}

void neoq_clock_set(neoq_clock *clock, neoq_time now)
{
    move(of(clock), now, 0);
}

void neoq_clock_advance(neoq_clock *clock, neoq_duration duration)
{
    move(of(clock), 0, duration > 0 ? duration : 0);
}

int nq_clock_subscribe(const neoq_clock *clock, void (*moved)(void *arg), void *arg)
{
    if (!is_virtual(clock))
        return NEOQ_OK;
    subscriber *added = malloc(sizeof *added);
    if (!added)
        return nq_fail(NEOQ_ENOMEM, "no memory for a clock's subscriber");
    virtual_clock *self = of(clock);
    pthread_mutex_lock(&self->moving);
    *added = (subscriber){self->subscribers, moved, arg};
    self->subscribers = added;
    pthread_mutex_unlock(&self->moving);
    return NEOQ_OK;
}

void nq_clock_unsubscribe(const neoq_clock *clock, void *arg)
{
    if (!is_virtual(clock))
        return;
    virtual_clock *self = of(clock);
    pthread_mutex_lock(&self->moving);
    for (subscriber **at = &self->subscribers; *at; at = &(*at)->next)
        if ((*at)->arg == arg) {
            subscriber *gone = *at;
            *at = gone->next;
            free(gone);
            break;
        }
    pthread_mutex_unlock(&self->moving);
}
