/* SPDX-License-Identifier: MIT
 *
 * What `enqueue`, `enqueue --lines` and `--` share.
 */
#ifndef NEOQ_CLI_ENQUEUE_H
#define NEOQ_CLI_ENQUEUE_H

#include "cli.h"

/* One job, whose id it prints. Asks again where an answer was lost. Returns the exit status. */
int enqueue_one(session *s, neoq *nq, const neoq_job *job);

/*
 * neoq_enqueue_many(), which asks again where an answer was lost: jobs get the ids of the first attempt, so that none
 * is stored twice. Every results[i].status is set, also where the call as a whole failed.
 */
void enqueue_surely(neoq *nq, neoq_job *jobs, size_t count, neoq_enqueued *results);

/* The file of --lines ("-": standard input), or -1 after complaining. */
int lines_open(session *s, const char *file);
/* A job a line of the open file, each like pattern; prints the totals. Returns the exit status. */
int enqueue_lines(session *s, neoq *nq, const neoq_job *pattern, int fd, const char *file);

#endif
