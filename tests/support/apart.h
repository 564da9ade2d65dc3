/* SPDX-License-Identifier: MIT
 *
 * Handlers in processes of their own: what they and the test see in common, and what there is of processes.
 */
#ifndef TESTS_APART_H
#define TESTS_APART_H

#include "support/store.h"

#include <stdatomic.h>
#include <sys/types.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Shared memory, of nobody's but the test's own. */
typedef struct common {
    neoq *nq;
    pid_t test;
    atomic_int runs, pids[16]; /* of the first runs, in their order */
    atomic_int server;         /* the fork server, as the last run saw it */
    atomic_int told, descriptors, statuses[8], stray, stray_seen;
    atomic_int crashes;    /* calls of on_crash */
    atomic_int crash_pid;  /* in which process */
    char crash_error[256]; /* of the first */
    char ids[2][NEOQ_ID_SIZE];
} common;

common *make_common(void);
/* Notes who runs; returns the number of the run, from 0. */
int note_run(common *c);

/* A handler of the queue "apart", one child, c its arg. */
neoq_handler apart(neoq_handle handle, common *c);
/* Opened on real time, jobs kept. */
neoq *start_apart(store *s, neoq_handler handler, common *c);
/* A job of that queue, with eight retries without a wait. */
neoq_job retried_at_once(const char *payload);

/* The run before the last one of a done job crashed, and nothing else did. */
void assert_crashed_once(neoq *nq, const common *c, const char *id, int number, const char *words);

/* ---- processes -------------------------------------------------------------------------- */

bool is_alive(pid_t pid); /* a zombie is not */
/* Processes whose parent this is; those that are zombies, or all. */
int children_of(pid_t parent, bool zombies);
int descriptors_of(pid_t pid);

#endif
