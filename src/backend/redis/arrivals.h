/* SPDX-License-Identifier: MIT
 *
 * redis/arrivals.h -- notices that a server has lost what it had acknowledged.
 *
 * Each queue counts its arrivals, and never backwards. So a server that tells of fewer than it told of before is not the
 * one that it was: a replica that lagged and was made the master, one that began again from an older state, one that was
 * emptied. The numbers come with answers that are read anyhow; what is told is only ever a loss, but not every loss.
 */
#ifndef NQ_REDIS_ARRIVALS_H
#define NQ_REDIS_ARRIVALS_H

#include <neoq/backend.h>

typedef struct rd_arrivals rd_arrivals;

/* shown: the server's URL, without a password; it and the options outlive the arrivals. NULL: no memory. */
rd_arrivals *rd_arrivals_open(const neoq_options *options, const char *shown);
void rd_arrivals_close(rd_arrivals *arrivals);

/* A call that went out at `sent`, a steady instant, found so many arrivals in the queue, and left it with so many. Logs
 * a loss, once. */
void rd_arrivals_take(rd_arrivals *arrivals, const char *queue, int64_t sent, int64_t found, int64_t left);

#endif
