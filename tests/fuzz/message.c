/* SPDX-License-Identifier: MIT
 *
 * What stands in Redis: a byte that tells which of asynq's messages, and the message. One that can be read can be
 * written, and from then on stays as it is; its headers, weights and options lie within it.
 */
#include <neoq.h>

#include "backend/redis/message.h"
#include "fuzz.h"

static void insist_within(const rd_bytes *whole, const rd_bytes *part)
{
    insist(part->size == 0 || (part->data >= whole->data && part->data + part->size <= whole->data + whole->size));
}

static void look(const rd_bytes *whole, const rd_entry *entry)
{
    insist_within(whole, &entry->name);
    insist_within(whole, &entry->value);
}

/* Reads bytes as a message, and writes it to out if it is one. */
#define READ_AND_WRITE(noun, next)                                                                                   \
    static bool rewrite_##noun(const void *bytes, size_t size, nq_buffer *out)                                       \
    {                                                                                                                \
        rd_##noun noun;                                                                                              \
        int status = rd_##noun##_decode(bytes, size, &noun);                                                         \
        insist(status == NEOQ_OK || (status == NEOQ_EINVAL && neoq_error_message()[0] != '\0'));                     \
        if (status != NEOQ_OK)                                                                                       \
            return false;                                                                                            \
        insist(noun.from.size == size);                                                                              \
        next;                                                                                                        \
        insist(rd_##noun##_encode(&noun, out) == NEOQ_OK);                                                           \
        return true;                                                                                                 \
    }

#define EACH(noun, function)                                                                                         \
    rd_entry entry;                                                                                                  \
    for (size_t at = 0; function(&noun, &at, &entry);)                                                               \
    look(&noun.from, &entry)

READ_AND_WRITE(task, EACH(task, rd_task_next_header))
READ_AND_WRITE(server, EACH(server, rd_server_next_queue))
READ_AND_WRITE(worker, rd_stamp_time(worker.started))
READ_AND_WRITE(schedule, EACH(schedule, rd_schedule_next_option))
READ_AND_WRITE(tick, rd_stamp_time(tick.at))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool (*const rewrites[])(const void *, size_t, nq_buffer *) = {rewrite_task, rewrite_server,
                                                                          rewrite_worker, rewrite_schedule,
                                                                          rewrite_tick};
    if (size == 0)
        return 0;
    bool (*rewrite)(const void *, size_t, nq_buffer *) = rewrites[data[0] % 5];
    nq_buffer first = {0}, second = {0};
    if (rewrite(data + 1, size - 1, &first)) {
        insist(rewrite(first.data ? first.data : "", first.size, &second));
        insist(first.size == second.size && (first.size == 0 || memcmp(first.data, second.data, first.size) == 0));
    }
    nq_buffer_free(&first);
    nq_buffer_free(&second);
    return 0;
}
