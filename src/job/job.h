/* SPDX-License-Identifier: MIT
 *
 * job/job.h -- the job as a value: checking it, copying it, reading it back.
 */
#ifndef NQ_JOB_JOB_H
#define NQ_JOB_JOB_H

#include <neoq.h>

enum {
    NQ_DEFAULT_MAX_RETRIES = 23,
    NQ_QUEUE_NAME_MAX = 200,
    NQ_FINGERPRINT_MAX = 256,
    NQ_METADATA_MAX = 65536,
    NQ_RETRY_WAITS_MAX = 100,
    NQ_RUNS_KEPT = 25,
};

/* The last microsecond of the year 9999: what RFC 3339 can still write. */
#define NQ_TIME_MAX ((neoq_time)253402300799999999)

/* NEOQ_EINVAL, naming `what`, unless name is 1..200 bytes of UTF-8 without control characters. */
int nq_queue_name_check(const char *what, const char *name);

/* NEOQ_EINVAL, naming `what`, unless it is 0 or more (or NEOQ_FOREVER, where allowed). */
int nq_duration_check(const char *what, neoq_duration duration, bool forever_allowed);

/*
 * Checks a job given by the user and writes it to out with every default filled in: payload_size, max_retries (-1 or
 * more; the count of retry_waits where given), unique, retention, run_after (0 = now becomes `now`). out borrows the
 * strings. id and fingerprint stay as given. NEOQ_EINVAL or NEOQ_ETOOBIG, in words; nothing is done then.
 */
int nq_job_check(const neoq_job *job, const neoq_options *options, neoq_time now, neoq_job *out);

/* A deep copy in one block of memory, for free(); NULL if memory ran out. Payload, result and strings are
 * NUL-terminated. */
neoq_job *nq_job_copy(const neoq_job *job);

/* The same behind `prefix` bytes (a multiple of 8) of the caller's. Returns the block. */
void *nq_job_copy_behind(const neoq_job *job, size_t prefix, neoq_job **copy);

/* What a waiting state (SCHEDULED or RETRYING) reads as at `now`: READY once it is due. Others as they are. */
neoq_state nq_state_at(neoq_state stored, neoq_time run_after, neoq_time now);

#endif
