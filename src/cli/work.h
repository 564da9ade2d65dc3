/* SPDX-License-Identifier: MIT
 *
 * The state of a running `neoq work`, shared by its two threads: the main one, which takes signals and lays strays to
 * rest, and the keeper, which opens the store, starts the queues, waits, and closes again.
 */
#ifndef NEOQ_CLI_WORK_H
#define NEOQ_CLI_WORK_H

#include "child.h"
#include "report.h"
#include "service.h"

#include <stdatomic.h>

typedef struct work_queue {
    char *name;
    int concurrency;
} work_queue;

typedef struct work {
    session *session;
    work_queue *queues;
    size_t queue_count;
    neoq_options how;
    child_plan plan;
    report report;
    service service;
    bool until_empty, summary;

    pthread_mutex_t lock;   /* of what follows */
    pthread_cond_t changed; /* something of it has */
    bool opened;            /* nq may be used */
    bool closing;           /* it may not be any more */
    int users;              /* threads other than the keeper that use it: it is not closed under them */
    bool ending;            /* no more programs are started */
    bool stopping;          /* and the library knows */
    int running;            /* programs */

    neoq *nq;        /* set before opened is */
    int finished;    /* eventfd: the keeper has ended */
    int exit_status; /* its to set */
} work;

bool work_stopping(work *w);
int work_running(work *w);

/* Returns when the queues are empty (see the help of `work`), or when the work is stopped. Returns the exit status. */
int work_until_empty(work *w);

#endif
