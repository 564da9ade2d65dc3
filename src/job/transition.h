/* SPDX-License-Identifier: MIT
 *
 * job/transition.h -- what becomes of a run: the one function that decides it.
 *
 *   scheduled --due--> ready --claim--> running --done--> done, or gone
 *      ^                 ^  ^             | | |
 *      |                 |  |             | | +-- failed, timeout, crashed, lost --> retrying --due--> ready
 *      |                 |  +- released --+ |                                    \-> dead, when retries are used up
 *      +--- snoozed -----|------------------+-- discarded, cancelled, past its deadline --> dead
 *                        +-- by hand -- dead, retrying, scheduled
 *
 * Retries are counted when a job leaves retrying (or dead, by hand) for ready: on its first run a job has 0.
 */
#ifndef NQ_JOB_TRANSITION_H
#define NQ_JOB_TRANSITION_H

#include <neoq/backend.h>

typedef enum nq_outcome {
    NQ_DONE = 1,
    NQ_FAILED,   /* retried by the job's policy */
    NQ_RETRY_IN, /* failed, retried after `wait` */
    NQ_SLOW,     /* failed, and the whole queue backs off */
    NQ_SNOOZED,  /* run again after `wait`, at no cost */
    NQ_DISCARDED,
    NQ_TIMEOUT,
    NQ_EXPIRED, /* past its deadline: not run, or stopped */
    NQ_CANCELLED,
    NQ_CRASHED,
    NQ_POISONED, /* crashed once more than is borne */
    NQ_LOST,     /* its worker is gone */
    NQ_RELEASED  /* given back unfinished, at no cost */
} nq_outcome;

/* The word for it in a run's history: "failed". */
const char *nq_outcome_word(nq_outcome outcome);

typedef struct nq_transition_input {
    nq_outcome outcome;
    neoq_duration wait; /* of RETRY_IN and SNOOZED */
    neoq_time now;
    uint64_t random;              /* uniform bits for the jitter */
    neoq_duration dead_retention; /* NEOQ_FOREVER = keep */
} nq_transition_input;

/* Sets state, forget, run_after, keep_until and slow_down of the settlement; pure. job is as it was claimed. */
void nq_transition(const neoq_job *job, const nq_transition_input *input, neoq_settlement *settlement);

/* What becomes of a settlement once the store finds that the run's cancellation was asked for; pure. */
void nq_heed_cancel(neoq_settlement *settlement);

/*
 * The wait before the retry after a run that had `retries` retries before it: retries^4 + 15 + R * retries + 1 seconds,
 * R uniform in 0..29: Go neoq's CalculateBackoff, which is Sidekiq's. Stops growing at 10,000 retries.
 */
neoq_duration nq_backoff(int retries, uint64_t random);

/* Until when a job that ends at `now` is kept: 0 = for ever. */
neoq_time nq_keep_until(neoq_time now, neoq_duration retention);

/* The wait of a queue that is slowed down once more: 100 ms, doubling to 60 s (pgq's queue backoff). */
neoq_duration nq_slower(neoq_duration wait);

#endif
