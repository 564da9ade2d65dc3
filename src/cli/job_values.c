/* SPDX-License-Identifier: MIT */
#include "job_values.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_object(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
    bool object = json_is_object(value);
    json_decref(value);
    return object;
}

bool job_describe(session *s, const command *of, const job_values *values, neoq_job *job)
{
    if (values->metadata != NULL && !is_object(values->metadata)) {
        complain(s, "%s: --meta '%.80s' is not a JSON object, such as {\"trace\":\"1a2b\"}", of->name,
                 values->metadata);
        return false;
    }
    job->fingerprint = values->fingerprint;
    job->priority = (int)values->priority;
    job->max_retries = values->max_retries < 0    ? 0
                       : values->max_retries == 0 ? NEOQ_NO_RETRIES
                                                  : (int)values->max_retries;
    job->retry_waits = values->waits.waits;
    job->retry_wait_count = values->waits.count;
    job->retention = values->retain;
    job->metadata = values->metadata;
    return true;
}

char *job_read_input(session *s, const command *of, size_t *size)
{
    size_t room = 65536, used = 0;
    char *bytes = need(malloc(room + 1));
    for (;;) {
        if (used == room) {
            room *= 2;
            bytes = need(realloc(bytes, room + 1));
        }
        ssize_t got = read(STDIN_FILENO, bytes + used, room - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            complain(s, "%s: standard input cannot be read: %s", of->name, strerror(errno));
            free(bytes);
            return NULL;
        }
        used += (size_t)got;
        if (got == 0 || used > MAX_PAYLOAD)
            break;
    }
    bytes[used] = '\0';
    *size = used;
    return bytes;
}

bool job_payload_fits(session *s, const command *of, size_t size)
{
    if (size > MAX_PAYLOAD)
        complain(
            s,
            "%s: the payload is longer than %zu bytes (1 MiB), the most a job may hold: put it in a file, and the "
            "file's name in the job",
            of->name, MAX_PAYLOAD);
    return size <= MAX_PAYLOAD;
}
