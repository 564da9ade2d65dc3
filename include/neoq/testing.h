/* SPDX-License-Identifier: MIT
 *
 * neoq/testing.h -- tests of your jobs, in no time at all.
 *
 * A testing neoq runs on a virtual clock and, unless asked otherwise, without threads: handlers run in your thread
 * when you say so, and a day's retries take no longer than the handlers do.
 *
 *   neoq_clock *clock;
 *   neoq *nq;
 *   neoq_clock_create(&clock, 0, 1);
 *   neoq_testing_open(&nq, "memory:", NULL, clock, 0);
 *   neoq_start(nq, &(neoq_handler){ .queue = "mail", .handle = send_mail });
 *   sign_up(nq, "ada@example.org");
 *   assert(neoq_testing_enqueued(nq, "mail", "{\"to\":\"ada@example.org\"}") == NEOQ_OK);
 *   neoq_testing_counts counts;
 *   neoq_testing_drain(nq, &counts);
 *   assert(counts.done == 1);
 *   neoq_close(nq);
 *   neoq_clock_destroy(clock);
 */
#ifndef NEOQ_TESTING_H
#define NEOQ_TESTING_H

#include <neoq.h>
#include <neoq/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the virtual clock: any thread ------------------------------------------------------ */

/* A clock that stands at start (0 = 2030-01-01T00:00:00Z) and moves only when told. seed decides all randomness.
 * Several neoqs may share one; it outlives them all. NEOQ_ENOMEM. */
int neoq_clock_create(neoq_clock **out, neoq_time start, uint64_t seed);
void neoq_clock_destroy(neoq_clock *clock); /* NULL is allowed */
neoq_time neoq_clock_time(const neoq_clock *clock);
/* Moves the wall clock to an instant, also backwards, as an administrator would; no time passes. */
void neoq_clock_set(neoq_clock *clock, neoq_time now);
/* Lets time pass and wakes whoever sleeps; a negative duration passes none. Runs nothing by itself. */
void neoq_clock_advance(neoq_clock *clock, neoq_duration duration);

/* ---- a neoq under test ------------------------------------------------------------------ */

enum {
    NEOQ_TESTING_THREADS = 1 /* neoq_start() starts threads as usual; only time is virtual */
};

/* As neoq_open(), on the clock given (of neoq_clock_create()). flags: 0 or of the enum above. */
int neoq_testing_open(neoq **out, const char *url, const neoq_options *options, neoq_clock *clock, int flags);

typedef struct neoq_testing_counts {
    int64_t runs;                                                 /* all of these */
    int64_t done, failed, snoozed, discarded, cancelled, timeout; /* by outcome */
    int64_t dead;                                                 /* jobs that ended dead */
} neoq_testing_counts;

/* The three below are for a neoq without threads (else NEOQ_ESTATE). Queues are those of neoq_start(). counts may be
 * NULL; it is set, not added to. */

/* Runs the one job that is next on queue (NULL = any started queue), in this thread. NEOQ_ENOTFOUND: none is ready. */
int neoq_testing_work_one(neoq *nq, const char *queue, neoq_testing_counts *counts);

/* Runs jobs until none is ready, also those that handlers enqueue meanwhile. At most 1,000,000 runs: NEOQ_ETIMEOUT. */
int neoq_testing_drain(neoq *nq, neoq_testing_counts *counts);

/* Lets time pass in steps, from one due moment to the next, and runs all that falls due: retries, future jobs, ticks
 * of schedules, recovery of lost runs, retention. */
int neoq_testing_advance(neoq *nq, neoq_duration duration, neoq_testing_counts *counts);

/* Recovery, schedules and retention once, as the neoq's own thread would do it now. */
int neoq_testing_tend(neoq *nq);

/* ---- what was enqueued: any neoq -------------------------------------------------------- */

/* Assert: NEOQ_OK if an unfinished job of this queue has this payload (NULL = any), compared as bytes; else
 * NEOQ_ENOTFOUND, and neoq_error_message() tells what the queue holds instead. */
int neoq_testing_enqueued(neoq *nq, const char *queue, const char *payload);
/* Refute: NEOQ_OK if none has; else NEOQ_EEXIST, and the message names it. */
int neoq_testing_not_enqueued(neoq *nq, const char *queue, const char *payload);

#ifdef __cplusplus
}
#endif
#endif
