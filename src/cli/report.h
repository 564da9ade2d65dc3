/* SPDX-License-Identifier: MIT
 *
 * What became of the runs: counted, told as they end, and summed up. Fed by neoq_observe(), from several threads.
 */
#ifndef NEOQ_CLI_REPORT_H
#define NEOQ_CLI_REPORT_H

#include "cli.h"

#define MOST_SLOW   5
#define MOST_FAILED 20

typedef struct reported {
    char id[NEOQ_ID_SIZE];
    char queue[48], payload[112], error[240];
    neoq_duration took;
} reported;

typedef struct report {
    session *session;
    bool summary; /* remember the slowest and the failed */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t done, failed, dead; /* runs, runs, jobs */
    int64_t ended;              /* runs, however */
    int64_t began;
    reported slow[MOST_SLOW], bad[MOST_FAILED];
    size_t slow_count, bad_count;
    int64_t bad_more; /* that did not fit */
} report;

void report_init(report *r, session *s);
void report_observe(const neoq_job *job, const neoq_run_info *run, void *arg); /* a neoq_observer; arg: the report */
int64_t report_ended(report *r);
/* Returns when a run ended since `ended` was asked, or after the wait. */
void report_wait(report *r, int64_t ended, neoq_duration wait);

void report_counts(report *r, int running, char *words, size_t size); /* for people: what runs, and what ended how */
void report_totals(report *r);                                        /* on stdout: "N done, M failed, K dead" */
void report_summary(report *r);                                       /* on stderr */

#endif
