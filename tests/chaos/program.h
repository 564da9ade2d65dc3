/* SPDX-License-Identifier: MIT
 *
 * The program under test: a producer, a worker, or both in one process, driven by run.py and killed at any moment.
 *
 *   chaos_program role=producer|worker|children|both url=URL folder=FOLDER process=N slot=N seed=N [lease=MS] [keep=N]
 *
 * process is a number that no other process of the run has; one job of `keep` is kept when it is done. What all of them
 * are to do they read in FOLDER/control, which run.py writes.
 */
#ifndef TESTS_CHAOS_PROGRAM_H
#define TESTS_CHAOS_PROGRAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <neoq.h>

#include "record.h"

enum {
    SLOTS = 32,
    FINGERPRINTS = 24, /* of the unique jobs: so few that they meet */
    RETRIES = 100,     /* as many as can be: a kill costs each job that was claimed one */
    PAYLOAD = 64
};

/* Shared by all processes of a run; run.py knows this layout. */
typedef struct control {
    _Atomic int64_t begun;       /* microseconds of CLOCK_BOOTTIME; 0 = not yet */
    _Atomic int64_t rate;        /* jobs a second, by all producers together */
    _Atomic int64_t limit;       /* jobs in all */
    _Atomic int64_t asked;       /* so many of them were begun */
    _Atomic int64_t stop;        /* no more are to be */
    _Atomic int64_t skew[SLOTS]; /* microseconds that a slot's clock on the wall is off */
} control;

typedef struct program {
    control *control;
    neoq *nq;
    const char *url, *folder, *role;
    uint32_t process, seed;
    int slot, keep;
    neoq_duration lease;
} program;

/* Whether the store may only be away, and to ask again makes sense. */
bool is_away(int status);
void doze(int64_t microseconds);
/* Words for people go to stderr. */
__attribute__((format(printf, 2, 3))) void record_wrong(int status, const char *format, ...);

/* Enqueues until enough was asked for, or stop. */
int produce(program *p);
/* Starts the handlers of this role; its children's too, of a worker that has them. */
int start_handlers(program *p);
/* It has RETRIES, none of which waits. */
void retry_soon(neoq_job *job);
/* "NUMBER BEHAVIOUR ARGUMENT" */
void write_payload(char payload[PAYLOAD], int64_t number, char behaviour, int argument);

#endif
