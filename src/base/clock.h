/* SPDX-License-Identifier: MIT
 *
 * base/clock.h -- the one table for clock, randomness and sleep, and the two that fill it.
 *
 * The real clock reads CLOCK_REALTIME for instants and CLOCK_BOOTTIME for leases and timeouts, which goes on while the
 * machine is suspended. The virtual clock (neoq_clock_create() in <neoq/testing.h>) stands still until it is moved, and
 * then wakes all who subscribed, because nobody who sleeps on it can tell by himself.
 */
#ifndef NQ_BASE_CLOCK_H
#define NQ_BASE_CLOCK_H

#include <pthread.h>

#include <neoq/backend.h>

extern const neoq_clock nq_real_clock;

/* In a new process: what is random goes its own way from here, in this thread. */
void nq_clock_reseed(void);

/* Calls moved(arg) after each move of a virtual clock, from the mover's thread; nothing on the real one. arg is also
 * the key to unsubscribe by. NEOQ_ENOMEM. */
int nq_clock_subscribe(const neoq_clock *clock, void (*moved)(void *arg), void *arg);
/* After it returns, moved(arg) is not running and will not be called. */
void nq_clock_unsubscribe(const neoq_clock *clock, void *arg);

/* A condition variable that nq_cond_wait() can time. */
void nq_cond_init(pthread_cond_t *cond);

/* Waits until cond is signalled, or the steady instant has come (false), or spuriously. until INT64_MAX = no bound. */
bool nq_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const neoq_clock *clock, int64_t until);

/* Between two looks at a variable that another thread is about to change. */
static inline void nq_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* start + duration that stops at the ends; NEOQ_FOREVER gives INT64_MAX. */
int64_t nq_time_add(int64_t start, neoq_duration duration);

#endif
