/* SPDX-License-Identifier: MIT
 *
 * What a program under test writes down: a record a write(), in a log of its own, so that a kill loses none that was
 * written and tears none. The checker (check.py) knows this layout, and nothing else of ours.
 */
#ifndef TESTS_CHAOS_RECORD_H
#define TESTS_CHAOS_RECORD_H

#include <stdint.h>

/* In check.py they have the same names and numbers. */
enum record_kind {
    RECORD_BORN = 1, /* detail: the role; value: the slot */

    /* A job's enqueueing. Of ASKED: epoch has its traits (below), value when it falls due, id its id if that is ours. */
    RECORD_ASKED,
    RECORD_OK,        /* id */
    RECORD_REFUSED,   /* detail: the status, negated */
    RECORD_UNKNOWN,   /* the answer was lost */
    RECORD_DUPLICATE, /* id: of the job that is there */

    /* A run, in the handler. epoch; id. */
    RECORD_START,    /* value: the job's retries */
    RECORD_EFFECT,   /* it is still at it */
    RECORD_ENDING,   /* it is about to return; detail: a letter for what */
    RECORD_CRASHING, /* it is about to crash; detail: a letter for how */

    /* A run, as neoq tells of it, in the process that has the store. */
    RECORD_FINISH, /* its end is accepted; detail: the outcome's first letters, see outcome_letter; value: the state */
    RECORD_LOST,   /* its end was refused; no number */
    RECORD_CRASH,  /* on_crash was called */

    RECORD_LEASE_LOST,
    RECORD_LEAVING, /* neoq_run() has returned; or, of role=both, it is about to. value: its status */
    RECORD_GONE,    /* it is about to exit */
    RECORD_ROW,     /* a job as the store has it, where nobody else can look; detail: state; value: retries */
    RECORD_WRONG,   /* something that may not happen; value: a status. Words are in the process's .err file */
    RECORD_RUNNING  /* it is about to call neoq_run() */
};

/* Each is a part of a page: the kernel may stop a killed write() where a page of the file ends. */
typedef struct record {
    uint32_t crc; /* CRC-32 (IEEE) of all that follows */
    uint8_t kind, detail;
    uint16_t queue;   /* a letter */
    uint32_t process; /* number of the process, or of the one that forked it */
    uint32_t pid;
    int64_t at;  /* microseconds of CLOCK_BOOTTIME */
    int64_t job; /* its number */
    int64_t epoch, value;
    uint8_t id[16];
} record;

/* Traits of a job, in the epoch of ASKED. */
#define TRAIT_KEPT    1 /* retention is for ever */
#define TRAIT_OWN_ID  2
#define TRAIT_DELAYED 4 /* it has a run_after */
#define TRAITS(flags, behaviour, argument, retries, fingerprint)                                                     \
    ((int64_t)(flags) | (int64_t)(behaviour) << 8 | (int64_t)(argument) << 16 | (int64_t)(retries) << 24 |           \
     (int64_t)(fingerprint) << 32)

/* Once, before there are threads. What a fork of this process records goes into a log of its own. */
void record_begin(const char *folder, uint32_t process);

/* Fills in crc, process, pid and at. Ends the process if it cannot be written. */
void record_write(record r);

int64_t record_now(void);

/* A UUID's text to its bytes; zeros if it is none. */
void record_id(const char *text, uint8_t id[16]);

#endif
