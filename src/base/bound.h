/* SPDX-License-Identifier: MIT
 *
 * base/bound.h -- how long to wait for others. Networks know real time alone, whatever clock a store is on.
 */
#ifndef NQ_BASE_BOUND_H
#define NQ_BASE_BOUND_H

#include <neoq.h>

typedef struct nq_bound {
    int64_t until; /* nq_steady() instant; INT64_MAX = none */
    int stop_fd;   /* the wait is over, too, when this becomes readable; -1 = none */
} nq_bound;

int64_t nq_steady(void); /* nq_real_clock's */
nq_bound nq_within(neoq_duration limit);
nq_bound nq_sooner(const nq_bound *bound, neoq_duration limit); /* no later than the bound */
nq_bound nq_share(const nq_bound *bound, size_t parts);         /* one of so many equal parts of what is left */

/* Waits until the descriptor is ready for one of the events, has failed or is closed. False: the bound was reached. */
bool nq_wait_io(int fd, short events, const nq_bound *bound);

/* The pause before try number n (1 is the first repetition): 50 ms doubling to 2 s, less up to a half at random. */
neoq_duration nq_redial_pause(int n);

/* When who has failed to connect tries again. Guarded by its owner. */
typedef struct nq_redial {
    int failures; /* in a row */
    int64_t next; /* nq_steady() instant of the next try; 0 = at once */
} nq_redial;

/* What fails while the pause is on began before it, as when all connections break at once: together that is one failure,
 * else the first pause would be as long as the last. */
void nq_redial_failed(nq_redial *redial, int64_t now);

#endif
