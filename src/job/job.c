/* SPDX-License-Identifier: MIT */
#include "job/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/uuid.h"

int nq_queue_name_check(const char *what, const char *name)
{
    if (!name || !*name)
        return nq_fail(NEOQ_EINVAL, "%s: no name given; a name is 1 to %d bytes of UTF-8", what, NQ_QUEUE_NAME_MAX);
    size_t size = strnlen(name, NQ_QUEUE_NAME_MAX + 1);
    if (size > NQ_QUEUE_NAME_MAX)
        return nq_fail(NEOQ_EINVAL, "%s: the name is longer than %d bytes", what, NQ_QUEUE_NAME_MAX);
    if (!nq_utf8_valid(name, size))
        return nq_fail(NEOQ_EINVAL, "%s: the name is not valid UTF-8", what);
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return nq_fail(NEOQ_EINVAL, "%s: the name holds a control character (byte %zu)", what, i + 1);
    return NEOQ_OK;
}

int nq_duration_check(const char *what, neoq_duration duration, bool forever_allowed)
{
    if (duration >= 0 || (duration == NEOQ_FOREVER && forever_allowed))
        return NEOQ_OK;
    return nq_fail(NEOQ_EINVAL, "%s: a duration cannot be negative (%lld us)%s", what, (long long)duration,
                   forever_allowed ? "; NEOQ_FOREVER is allowed" : "");
}

static int check_time(const char *what, neoq_time time)
{
    if (time < 0)
        return nq_fail(NEOQ_EINVAL, "%s: instants before 1970 are not possible", what);
    if (time > NQ_TIME_MAX)
        return nq_fail(NEOQ_EINVAL, "%s: instants after the year 9999 are not possible", what);
    return NEOQ_OK;
}

static int check_retries(const neoq_job *job)
{
    if (job->max_retries < NEOQ_NO_RETRIES)
        return nq_fail(NEOQ_EINVAL, "job: max_retries is %d; the least is NEOQ_NO_RETRIES (-1)", job->max_retries);
    if (job->retry_wait_count > NQ_RETRY_WAITS_MAX)
        return nq_fail(NEOQ_EINVAL, "job: %zu retry_waits; at most %d are possible", job->retry_wait_count,
                       NQ_RETRY_WAITS_MAX);
    if (!job->retry_waits && job->retry_wait_count > 0)
        return nq_fail(NEOQ_EINVAL, "job: retry_waits is NULL but retry_wait_count is %zu", job->retry_wait_count);
    for (size_t i = 0; job->retry_waits && i < job->retry_wait_count; i++) {
        int status = nq_duration_check("job: retry_waits", job->retry_waits[i], false);
        if (status != NEOQ_OK)
            return status;
    }
    return NEOQ_OK;
}

static int check_metadata(const char *metadata)
{
    size_t size = strnlen(metadata, NQ_METADATA_MAX + 1);
    if (size > NQ_METADATA_MAX)
        return nq_fail(NEOQ_ETOOBIG, "job: metadata is larger than %d bytes", NQ_METADATA_MAX);
    nq_buffer canonical = {0};
    int status = nq_json_canonical(metadata, size, &canonical);
    bool object = status == NEOQ_OK && canonical.size > 0 && canonical.data[0] == '{';
    nq_buffer_free(&canonical);
    if (status == NEOQ_ENOMEM)
        return nq_fail(NEOQ_ENOMEM, "no memory to check a job's metadata");
    return object ? NEOQ_OK : nq_fail(NEOQ_EINVAL, "job: metadata is not a JSON object");
}

static int check_texts(const neoq_job *job)
{
    int status = nq_queue_name_check("job: queue", job->queue);
    if (status != NEOQ_OK)
        return status;
    uint8_t id[16];
    if (job->id && !nq_uuid_parse(job->id, id))
        return nq_fail(NEOQ_EINVAL, "job: id \"%.64s\" is not a UUID", job->id);
    if (job->fingerprint) {
        size_t size = strnlen(job->fingerprint, NQ_FINGERPRINT_MAX + 1);
        if (size == 0 || size > NQ_FINGERPRINT_MAX || !nq_utf8_valid(job->fingerprint, size))
            return nq_fail(NEOQ_EINVAL, "job: a fingerprint is 1 to %d bytes of UTF-8", NQ_FINGERPRINT_MAX);
    }
    return job->metadata ? check_metadata(job->metadata) : NEOQ_OK;
}

int nq_job_check(const neoq_job *job, const neoq_options *options, neoq_time now, neoq_job *out)
{
    int status;
    if ((status = check_texts(job)) != NEOQ_OK ||
        (status = check_time("job: run_after", job->run_after)) != NEOQ_OK ||
        (status = check_time("job: deadline", job->deadline)) != NEOQ_OK ||
        (status = check_retries(job)) != NEOQ_OK ||
        (status = nq_duration_check("job: retention", job->retention, true)) != NEOQ_OK)
        return status;
    if (job->unique < NEOQ_UNIQUE_DEFAULT || job->unique > NEOQ_UNIQUE_OFF)
        return nq_fail(NEOQ_EINVAL, "job: unique is %d, which is not a neoq_unique", (int)job->unique);
    if (!job->payload && job->payload_size > 0)
        return nq_fail(NEOQ_EINVAL, "job: payload is NULL but payload_size is %zu", job->payload_size);

    *out = *job;
    if (job->payload && job->payload_size == 0)
        out->payload_size = strlen(job->payload);
    if (out->payload_size > options->max_payload)
        return nq_fail(NEOQ_ETOOBIG, "job: the payload is %zu bytes; the limit is %zu (neoq_options.max_payload)",
                       out->payload_size, options->max_payload);
    if (job->run_after == 0 || job->run_after < now)
        out->run_after = now;
    if (job->retry_waits && job->retry_wait_count > 0) {
        out->max_retries = (int)job->retry_wait_count;
    } else {
        out->retry_waits = NULL;
        out->retry_wait_count = 0;
        if (job->max_retries == 0)
            out->max_retries = NQ_DEFAULT_MAX_RETRIES;
    }
    if (job->unique == NEOQ_UNIQUE_DEFAULT)
        out->unique = options->unique;
    if (job->retention == 0)
        out->retention = options->retention;
    out->state = out->run_after > now ? NEOQ_SCHEDULED : NEOQ_READY;
    out->retries = 0;
    out->epoch = 0;
    out->created_at = now;
    out->ran_at = out->finished_at = 0;
    out->error = NULL;
    out->result = NULL;
    out->result_size = 0;
    return NEOQ_OK;
}

/* Appends bytes and a NUL to the block and returns where they are; NULL stays NULL. */
static char *keep(char **end, const void *bytes, size_t size)
{
    if (!bytes)
        return NULL;
    char *at = *end;
    memcpy(at, bytes, size);
    at[size] = '\0';
    *end = at + size + 1;
    return at;
}

static size_t string_size(const char *string)
{
    return string ? strlen(string) : 0;
}

void *nq_job_copy_behind(const neoq_job *job, size_t prefix, neoq_job **out)
{
    size_t id = string_size(job->id), queue = string_size(job->queue), print = string_size(job->fingerprint);
    size_t metadata = string_size(job->metadata), error = string_size(job->error);
    size_t waits = job->retry_waits ? job->retry_wait_count * sizeof *job->retry_waits : 0;
    char *block = malloc(prefix + sizeof **out + waits + id + queue + print + metadata + error + job->payload_size +
                         job->result_size + 8);
    if (!block)
        return NULL;
    neoq_job *copy = *out = (neoq_job *)(void *)(block + prefix);
    *copy = *job;
    if (waits > 0)
        copy->retry_waits = memcpy(copy + 1, job->retry_waits, waits);
    char *end = (char *)(copy + 1) + waits;
    copy->id = keep(&end, job->id, id);
    copy->queue = keep(&end, job->queue, queue);
    copy->fingerprint = keep(&end, job->fingerprint, print);
    copy->metadata = keep(&end, job->metadata, metadata);
    copy->error = keep(&end, job->error, error);
    copy->payload = keep(&end, job->payload ? job->payload : "", job->payload_size);
    copy->result = keep(&end, job->result, job->result_size);
    return block;
}

neoq_job *nq_job_copy(const neoq_job *job)
{
    neoq_job *copy;
    return nq_job_copy_behind(job, 0, &copy) ? copy : NULL;
}

neoq_state nq_state_at(neoq_state stored, neoq_time run_after, neoq_time now)
{
    return (stored == NEOQ_SCHEDULED || stored == NEOQ_RETRYING) && run_after <= now ? NEOQ_READY : stored;
}
