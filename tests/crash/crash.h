/* SPDX-License-Identifier: MIT
 *
 * What the killer, its victims and the checker share.
 *
 * Producers and workers write down what they are about to do and what they have been told, a line a write(), so that a
 * kill loses no line and tears none. In asked-STREAM.log, by the producer of that stream:
 *
 *   a N COUNT        it is about to ask for jobs N..N+COUNT-1
 *   k N COUNT ID     it was told that they are stored; ID is the job's where COUNT is 1, else -
 *   r N 1            it has rolled back what it asked for
 *   x WORDS          it was told something that may not happen
 *
 * In ran-WORKER.log, by that worker:
 *
 *   b STREAM N EPOCH ID   a run begins
 *   d STREAM N EPOCH ID   it is about to end as done
 *   x WORDS               it saw something that may not happen
 */
#ifndef TESTS_CRASH_H
#define TESTS_CRASH_H

#include <stdbool.h>
#include <stdint.h>

#include <neoq.h>

/* A stream numbers its jobs from 0. Payload: "STREAM N". */
enum {
    SINGLES = 4,       /* streams 0..3: one job a call, ids by neoq; deleted when done; never asked for twice */
    BATCHES = SINGLES, /* stream 4: up to 500 a call, ids of ours; kept when done; asked for until stored */
    EXACT,             /* stream 5: enqueued in a transaction of ours, and finished in one */
    STREAMS,
    BATCH_MAX = 500,
    PRODUCERS = 3,
    WORKERS = 2,
    SLOTS = PRODUCERS + WORKERS /* victims: the producers come first */
};

typedef struct plan {
    char folder[128];
    char path[160], url[170]; /* the store */
    uint32_t seed;
    uint32_t counts[STREAMS]; /* jobs of each stream */
} plan;

/* jobs in all, shared out among the streams. */
void plan_make(plan *p, const char *folder, uint32_t jobs, uint32_t seed);

/* The id of a job of BATCHES. */
void plan_id(const plan *p, uint32_t n, char id[37]);

/* A small number that is always the same for this job. */
uint32_t chance_of(uint32_t stream, uint32_t n);

/* A victim's life. Returns its exit status; 0 for a producer means that its streams are asked for to the end. */
int victim_main(const plan *p, int slot);

/* ---- the checker: each says what is wrong, and returns how much is ------------------------ */

/* The store's counts against its rows, nobody being at work on it. */
int check_store(const char *path);
/* What the victims wrote down against each other and against the store, all work being done. */
int check_history(const plan *p);

#endif
