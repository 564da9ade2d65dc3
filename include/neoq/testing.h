/* SPDX-License-Identifier: MIT */
/**
 * @file
 * neoq/testing.h -- tests of your jobs, in no time at all.
 *
 * A testing neoq runs on a virtual clock and, unless asked otherwise, without threads: handlers run in your thread
 * when you say so, and a day's retries take no longer than the handlers do.
 *
 *     neoq_clock *clock;
 *     neoq *nq;
 *     neoq_clock_create(&clock, 0, 1);
 *     neoq_testing_open(&nq, "memory:", NULL, clock, 0);
 *     neoq_start(nq, &(neoq_handler){ .queue = "mail", .handle = send_mail });
 *     sign_up(nq, "ada@example.org");
 *     assert(neoq_testing_enqueued(nq, "mail", "{\"to\":\"ada@example.org\"}") == NEOQ_OK);
 *     neoq_testing_counts counts;
 *     neoq_testing_drain(nq, &counts);
 *     assert(counts.done == 1);
 *     neoq_close(nq);
 *     neoq_clock_destroy(clock);
 */
#ifndef NEOQ_TESTING_H
#define NEOQ_TESTING_H

#include <neoq.h>
#include <neoq/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the virtual clock: any thread ------------------------------------------------------ */

/**
 * A clock that stands and moves only when told. Several neoqs may share one; it outlives them all.
 * @param[out] out  the caller's to neoq_clock_destroy()
 * @param start     where it stands; 0 = 2030-01-01T00:00:00Z
 * @param seed      decides all randomness
 * @return NEOQ_ENOMEM
 */
int neoq_clock_create(neoq_clock **out, neoq_time start, uint64_t seed);
/** Frees it. @param clock that no neoq uses any more; NULL is allowed */
void neoq_clock_destroy(neoq_clock *clock);
/** What it shows. @param clock the clock @return the instant */
neoq_time neoq_clock_time(const neoq_clock *clock);
/** Sets the wall clock, also back, as an administrator would; no time passes. @param clock,now the clock, to what */
void neoq_clock_set(neoq_clock *clock, neoq_time now);
/**
 * Lets time pass and wakes whoever sleeps. Runs nothing by itself.
 * @param clock     the clock
 * @param duration  a negative one passes none
 */
void neoq_clock_advance(neoq_clock *clock, neoq_duration duration);

/* ---- a neoq under test ------------------------------------------------------------------ */

/** Flags of neoq_testing_open(). */
enum {
    NEOQ_TESTING_THREADS = 1 /**< neoq_start() starts threads as usual; only time is virtual */
};

/**
 * As neoq_open(), on a virtual clock.
 * @param[out] out     the caller's to neoq_close()
 * @param url,options  as of neoq_open()
 * @param clock        of neoq_clock_create()
 * @param flags        0 or of the enum above
 * @return as of neoq_open()
 */
int neoq_testing_open(neoq **out, const char *url, const neoq_options *options, neoq_clock *clock, int flags);

/** Runs by outcome, and what became of their jobs. */
typedef struct neoq_testing_counts {
    int64_t runs;      /**< all of the next six */
    int64_t done;      /**< NEOQ_OK */
    int64_t failed;    /**< neoq_fail() and the like */
    int64_t snoozed;   /**< neoq_snooze() */
    int64_t discarded; /**< neoq_discard(), or past the deadline */
    int64_t cancelled; /**< neoq_cancel() */
    int64_t timeout;   /**< longer than the handler's timeout */
    int64_t dead;      /**< jobs that ended dead */
} neoq_testing_counts;

/* The three below are for a neoq without threads (else NEOQ_ESTATE). Queues are those of neoq_start(). counts may be
 * NULL; it is set, not added to. */

/**
 * Runs the one job that is next, in this thread.
 * @param nq           without threads
 * @param queue        NULL = any started queue
 * @param[out] counts  what came of it
 * @return NEOQ_ENOTFOUND: none is ready; NEOQ_ESTATE
 */
int neoq_testing_work_one(neoq *nq, const char *queue, neoq_testing_counts *counts);

/**
 * Runs jobs until none is ready, also those that handlers enqueue meanwhile.
 * @param nq           without threads
 * @param[out] counts  what came of them
 * @return NEOQ_ETIMEOUT: there were more than 1,000,000; NEOQ_ESTATE
 */
int neoq_testing_drain(neoq *nq, neoq_testing_counts *counts);

/**
 * Lets time pass in steps, from one due moment to the next, and runs all that falls due: retries, future jobs, ticks
 * of schedules, recovery of lost runs, retention.
 * @param nq           without threads
 * @param duration     that passes
 * @param[out] counts  what came of the runs
 * @return as of neoq_testing_drain()
 */
int neoq_testing_advance(neoq *nq, neoq_duration duration, neoq_testing_counts *counts);

/** Recovery, schedules and retention once, as the neoq's own thread would do it now. @param nq any @return a status */
int neoq_testing_tend(neoq *nq);

/* ---- what was enqueued: any neoq -------------------------------------------------------- */

/**
 * Assert: an unfinished job of this queue has this payload.
 * @param nq,queue  any neoq, and the queue
 * @param payload   compared as bytes; NULL = any
 * @return NEOQ_ENOTFOUND: there is none, and neoq_error_message() tells what the queue holds instead
 */
int neoq_testing_enqueued(neoq *nq, const char *queue, const char *payload);
/**
 * Refute: no unfinished job of this queue has this payload.
 * @param nq,queue,payload  as of neoq_testing_enqueued()
 * @return NEOQ_EEXIST: one has, and the message names it
 */
int neoq_testing_not_enqueued(neoq *nq, const char *queue, const char *payload);

#ifdef __cplusplus
}
#endif
#endif
