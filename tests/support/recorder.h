/* SPDX-License-Identifier: MIT
 *
 * A handler that does what it is told and remembers what it saw. Handlers run in threads of neoq's, where cmocka's
 * assertions may not be used: they record, and the test asserts.
 */
#ifndef TESTS_RECORDER_H
#define TESTS_RECORDER_H

#include <pthread.h>
#include <stdbool.h>

#include <neoq.h>

#include "support/gate.h"

typedef enum act {
    ACT_DONE = 0,
    ACT_FAIL,      /* neoq_fail(words) */
    ACT_RETRY_IN,  /* neoq_retry_in(wait, words) */
    ACT_SNOOZE,    /* neoq_snooze(wait) */
    ACT_DISCARD,   /* neoq_discard(words) */
    ACT_SLOW_DOWN, /* neoq_slow_down(words) */
    ACT_RETURN     /* return value */
} act;

typedef struct step {
    act act;
    neoq_duration wait;
    const char *words;
    int value;
} step;

/* What a handler saw of its job. */
typedef struct seen {
    char id[NEOQ_ID_SIZE], queue[201], metadata[128], fingerprint[65], error[128];
    unsigned char payload[512];
    size_t payload_size;
    bool payload_is_terminated, has_metadata, has_error;
    neoq_state state;
    int priority, retries, max_retries;
    int64_t epoch;
    neoq_time created_at, ran_at, deadline;
} seen;

typedef struct recorder recorder;
struct recorder {
    void (*inside)(neoq_ctx *ctx, recorder *r); /* called in each run, before its step; may be NULL */
    void *about;                                /* for inside() */
    gate *hold;                                 /* each run waits here; may be NULL */
    step steps[32];                             /* of the first run, the second, ...; then the last one for ever */
    size_t step_count;                          /* 0: every run is done */

    pthread_mutex_t lock; /* guards the rest */
    size_t count;         /* runs begun */
    size_t ended;         /* handlers about to return */
    size_t crashes;       /* calls of on_crash */
    int running, most;    /* at once */
    seen runs[64];        /* the first 64 */
    char crash_error[256], crash_id[NEOQ_ID_SIZE];
};

#define RECORDER_INITIALIZER .lock = PTHREAD_MUTEX_INITIALIZER

int record(neoq_ctx *ctx, void *recorder_of_it);
void record_crash(const neoq_job *job, const char *error, void *recorder_of_it);

/* Under the lock, as handlers may be running. */
size_t recorded(recorder *r);
size_t recorded_ends(recorder *r);
size_t recorded_crashes(recorder *r);
int recorded_running(recorder *r);
int recorded_most(recorder *r);

/* A handler of queue that records into r: concurrency 1. */
neoq_handler recording(const char *queue, recorder *r);

#endif
