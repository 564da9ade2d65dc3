/* SPDX-License-Identifier: MIT
 *
 * Jobs as they go between the processes of one program (job/pack.h). What can be unpacked holds on to its bytes, and
 * packed again it is the same job.
 */
#include "base/buffer.h"
#include "fuzz.h"
#include "job/pack.h"

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_bytes(const void *a, size_t size, const void *b, size_t other)
{
    return a && b ? size == other && memcmp(a, b, size) == 0 : a == b && size == other;
}

static void insist_same(const neoq_job *a, const neoq_job *b)
{
    insist(same_text(a->id, b->id) && same_text(a->queue, b->queue) && same_text(a->fingerprint, b->fingerprint));
    insist(same_text(a->metadata, b->metadata) && same_text(a->error, b->error));
    insist(same_bytes(a->payload, a->payload_size, b->payload, b->payload_size));
    insist(same_bytes(a->result, a->result_size, b->result, b->result_size));
    insist(same_bytes(a->retry_waits, a->retry_wait_count * sizeof *a->retry_waits, b->retry_waits,
                      b->retry_wait_count * sizeof *b->retry_waits));
    insist(a->unique == b->unique && a->run_after == b->run_after && a->deadline == b->deadline);
    insist(a->priority == b->priority && a->max_retries == b->max_retries && a->retention == b->retention);
    insist(a->state == b->state && a->retries == b->retries && a->epoch == b->epoch);
    insist(a->created_at == b->created_at && a->ran_at == b->ran_at && a->finished_at == b->finished_at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = fuzz_text(data, size); /* aligned */
    const char *at = bytes;
    nq_buffer packed = {0};
    neoq_job job, again;
    while (nq_job_unpack(&at, &size, &job)) {
        nq_buffer_clear(&packed);
        nq_job_pack(&packed, &job);
        const char *from = packed.data;
        size_t left = packed.size;
        insist(packed.size % 8 == 0 && nq_job_unpack(&from, &left, &again) && left == 0);
        insist_same(&job, &again);
    }
    nq_buffer_free(&packed);
    free(bytes);
    return 0;
}
