/* SPDX-License-Identifier: MIT
 *
 * The options that say what a job is like, of every command that makes jobs.
 */
#ifndef NEOQ_CLI_JOB_VALUES_H
#define NEOQ_CLI_JOB_VALUES_H

#include "cli.h"

#include <limits.h>
#include <stddef.h>

typedef struct job_values {
    neoq_duration retain;
    int64_t max_retries, priority; /* max_retries -1: not said */
    wait_list waits;
    const char *fingerprint, *metadata;
} job_values;

/* Rows of a table of options whose struct has the job_values `member`; duplicates: what --fingerprint is for. */
#define JOB_OPTIONS(type, member, duplicates)                                                                        \
    {.name = "max-retries",                                                                                          \
     .kind = OPTION_INTEGER,                                                                                         \
     .offset = offsetof(type, member.max_retries),                                                                   \
     .argument = "N",                                                                                                \
     .min = 0,                                                                                                       \
     .max = 1000000,                                                                                                 \
     .help = "retries after failures; 0 = none (23 where it is not given)"},                                         \
        {.name = "retry-waits",                                                                                      \
         .kind = OPTION_WAITS,                                                                                       \
         .offset = offsetof(type, member.waits),                                                                     \
         .argument = "D,D,...",                                                                                      \
         .help = "the wait before each retry, as in 1m,10m,30m, instead of exponential backoff"},                    \
        {.name = "priority",                                                                                         \
         .kind = OPTION_INTEGER,                                                                                     \
         .offset = offsetof(type, member.priority),                                                                  \
         .argument = "N",                                                                                            \
         .min = INT_MIN,                                                                                             \
         .max = INT_MAX,                                                                                             \
         .help = "higher runs first; 0 where it is not given"},                                                      \
        {.name = "fingerprint",                                                                                      \
         .kind = OPTION_TEXT,                                                                                        \
         .offset = offsetof(type, member.fingerprint),                                                               \
         .argument = "S",                                                                                            \
         .help = duplicates},                                                                                        \
        {.name = "retain",                                                                                           \
         .kind = OPTION_KEEP,                                                                                        \
         .offset = offsetof(type, member.retain),                                                                    \
         .argument = "D",                                                                                            \
         .help = "keep it for D after it is done (or forever); else it is deleted then"},                            \
    {                                                                                                                \
        .name = "meta", .kind = OPTION_TEXT, .offset = offsetof(type, member.metadata), .argument = "JSON",          \
        .help = "an object of your own that goes with the job"                                                       \
    }

/* Puts what the options say into the job; false after complaining. The job is a view of the values. */
bool job_describe(session *s, const command *of, const job_values *values, neoq_job *job);

/* All of standard input, one byte more than a job may hold at the most. The caller frees. NULL after complaining. */
char *job_read_input(session *s, const command *of, size_t *size);
/* False after complaining: no job may hold so much. */
bool job_payload_fits(session *s, const command *of, size_t size);

#endif
