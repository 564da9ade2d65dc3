/* SPDX-License-Identifier: MIT
 *
 * A packed job is the struct itself, how long each of its strings is, its retry waits, and the strings, each with a NUL.
 */
#include "job/pack.h"

#include <stdint.h>
#include <string.h>

#include "job/job.h"

enum { ID, QUEUE, FINGERPRINT, METADATA, ERROR, PAYLOAD, RESULT, STRINGS };

#define ABSENT SIZE_MAX

typedef struct packed {
    neoq_job job; /* its pointers mean nothing */
    size_t sizes[STRINGS];
} packed;

static size_t size_of(const char *string)
{
    return string ? strlen(string) : ABSENT;
}

void nq_job_pack(nq_buffer *buffer, const neoq_job *job)
{
    static const char zeros[8];
    const char *strings[STRINGS] = {job->id,    job->queue,   job->fingerprint, job->metadata,
                                    job->error, job->payload, job->result};
    packed p = {.job = *job};
    for (int i = 0; i < PAYLOAD; i++)
        p.sizes[i] = size_of(strings[i]);
    p.sizes[PAYLOAD] = job->payload ? job->payload_size : ABSENT;
    p.sizes[RESULT] = job->result ? job->result_size : ABSENT;
    nq_buffer_add(buffer, &p, sizeof p);
    if (job->retry_waits)
        nq_buffer_add(buffer, job->retry_waits, job->retry_wait_count * sizeof *job->retry_waits);
    for (int i = 0; i < STRINGS; i++)
        if (p.sizes[i] != ABSENT) {
            nq_buffer_add(buffer, strings[i], p.sizes[i]);
            nq_buffer_add_char(buffer, '\0');
        }
    nq_buffer_add(buffer, zeros, -buffer->size % 8);
}

/* The next `count` bytes; NULL: there are fewer. */
static const char *take(const char **bytes, size_t *size, size_t count)
{
    const char *taken = *bytes;
    if (count > *size)
        return NULL;
    *bytes += count;
    *size -= count;
    return taken;
}

static bool take_string(const char **bytes, size_t *size, size_t length, const char **string)
{
    if (length == ABSENT) {
        *string = NULL;
        return true;
    }
    *string = length < *size ? take(bytes, size, length + 1) : NULL;
    return *string && !(*string)[length];
}

bool nq_job_unpack(const char **bytes, size_t *size, neoq_job *job)
{
    const char *begin = *bytes, *strings[STRINGS], *taken = take(bytes, size, sizeof(packed));
    packed p;
    if (!taken)
        return false;
    memcpy(&p, taken, sizeof p);
    *job = p.job;
    if (job->retry_waits) {
        if (job->retry_wait_count > NQ_RETRY_WAITS_MAX)
            return false;
        taken = take(bytes, size, job->retry_wait_count * sizeof *job->retry_waits);
        job->retry_waits = (const neoq_duration *)(const void *)taken;
        if (!taken)
            return false;
    }
    for (int i = 0; i < STRINGS; i++)
        if (!take_string(bytes, size, p.sizes[i], &strings[i]))
            return false;
    *job = (neoq_job){.id = strings[ID],
                      .queue = strings[QUEUE],
                      .payload = strings[PAYLOAD],
                      .payload_size = strings[PAYLOAD] ? p.sizes[PAYLOAD] : 0,
                      .fingerprint = strings[FINGERPRINT],
                      .unique = job->unique,
                      .run_after = job->run_after,
                      .deadline = job->deadline,
                      .priority = job->priority,
                      .max_retries = job->max_retries,
                      .retry_waits = job->retry_waits,
                      .retry_wait_count = job->retry_wait_count,
                      .retention = job->retention,
                      .metadata = strings[METADATA],
                      .state = job->state,
                      .retries = job->retries,
                      .epoch = job->epoch,
                      .created_at = job->created_at,
                      .ran_at = job->ran_at,
                      .finished_at = job->finished_at,
                      .error = strings[ERROR],
                      .result = strings[RESULT],
                      .result_size = strings[RESULT] ? p.sizes[RESULT] : 0};
    return take(bytes, size, (size_t)(begin - *bytes) % 8) != NULL;
}
