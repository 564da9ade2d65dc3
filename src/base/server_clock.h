/* SPDX-License-Identifier: MIT
 *
 * base/server_clock.h -- what the server's clock shows, by a few looks at it and our own steady clock.
 */
#ifndef NQ_BASE_SERVER_CLOCK_H
#define NQ_BASE_SERVER_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>

#include <neoq.h>

typedef struct nq_server_clock {
    int64_t measured, error;    /* when, on the steady clock, and how exactly; both are the caller's to guard */
    atomic_int_fast64_t offset; /* the server's time less the steady one */
    atomic_int_fast64_t latest; /* that was ever told */
} nq_server_clock;

/* The server's time at that steady instant. Any thread. A measurement that is better than the one before does not take it
 * back: what was enqueued for now is not of the future then. It stands still instead, for a second at the most; what is
 * further back, somebody has set back. */
neoq_time nq_server_clock_at(nq_server_clock *clock, int64_t steady);

/* What a look at the server's clock showed at the steady instant `measured`, give or take `error`. It counts where it
 * contradicts what is known, or is the more exact of the two. */
void nq_server_clock_take(nq_server_clock *clock, neoq_time time, int64_t measured, int64_t error);

/* Whether it is time for another look; then nobody else is told so. */
bool nq_server_clock_is_stale(nq_server_clock *clock, int64_t steady);

#endif
