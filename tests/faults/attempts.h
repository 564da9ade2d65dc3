/* SPDX-License-Identifier: MIT
 *
 * Every public call, each with what it finds and with what is there afterwards, whatever it says.
 */
#ifndef TESTS_FAULTS_ATTEMPTS_H
#define TESTS_FAULTS_ATTEMPTS_H

#include "faults/scarce.h"
#include "support/store.h"

/* What a call finds. */
typedef struct ground {
    store *s;
    neoq *nq;
    int64_t nth;      /* the allocation that is refused, */
    scarce_mode mode; /* and whether those that follow are, too */
    int round;        /* never the same */
    char queue[64], name[64], id[NEOQ_ID_SIZE], payload[1400];
    int runs; /* of the handler */
    size_t jobs;
    neoq *other;
    neoq_job_set *set;
    void *list;
    size_t count;
    neoq_clock *clock;
    int64_t purged;
    void *db; /* the application's own connection: an sqlite3 or a PGconn */
} ground;

enum {
    FRESH = 1,         /* a neoq that has just been opened */
    A_SCHEMA = 2,      /* a store that has one */
    A_FILE = 4,        /* a store that is one */
    LOOKS = 8,         /* and changes nothing: so it knows that nothing was done */
    TRANSACTIONS = 16, /* a store that the application has transactions in */
    BY_ITSELF = 32     /* it says itself from where on memory is short */
};

typedef struct attempt {
    const char *name;
    unsigned needs; /* of those above */
    int expected;   /* where nothing is refused */
    void (*before)(ground *g);
    int (*call)(ground *g);
    void (*after)(ground *g, int status); /* what is there now; and it works */
} attempt;

/* Few beats, so that SOON is soon over: long enough for a retry, and too short for a lease to end. */
#define CALMLY (&(neoq_options){.lease = NEOQ_HOURS(1), .connect_timeout = NEOQ_SECONDS(10)})

#define SOON NEOQ_MINUTES(10)

extern const attempt attempts[], transactions[], threads[]; /* one without a name is the end of each */

/* A queue and a name of its own for every round, and a payload that needs memory to be looked at. */
void nothing(ground *g);
neoq_job job_of(const ground *g);

#endif
