/* SPDX-License-Identifier: MIT */
#include "backend/redis/message.h"

#include <string.h>

/* ---- shapes ----------------------------------------------------------------------------- */

#define FIELD(number, kind, type, member, name)                                                                      \
    {                                                                                                                \
        number, kind, offsetof(type, member), name                                                                   \
    }

static const rd_shape task_shape = {
    "asynq task",
    sizeof(rd_task),
    {
        FIELD(1, RD_STRING, rd_task, type, "type"),
        FIELD(2, RD_BYTES, rd_task, payload, "payload"),
        FIELD(3, RD_STRING, rd_task, id, "id"),
        FIELD(4, RD_STRING, rd_task, queue, "queue"),
        FIELD(5, RD_INT32, rd_task, max_retries, "retry"),
        FIELD(6, RD_INT32, rd_task, retries, "retried"),
        FIELD(7, RD_STRING, rd_task, error, "error_msg"),
        FIELD(8, RD_INT64, rd_task, timeout, "timeout"),
        FIELD(9, RD_INT64, rd_task, deadline, "deadline"),
        FIELD(10, RD_STRING, rd_task, unique_key, "unique_key"),
        FIELD(11, RD_INT64, rd_task, last_failed_at, "last_failed_at"),
        FIELD(12, RD_INT64, rd_task, retention, "retention"),
        FIELD(13, RD_INT64, rd_task, completed_at, "completed_at"),
        FIELD(14, RD_STRING, rd_task, group, "group_key"),
        FIELD(15, RD_TEXTS, rd_task, headers, "headers"),
    },
};

static const rd_shape server_shape = {
    "asynq server",
    sizeof(rd_server),
    {
        FIELD(1, RD_STRING, rd_server, host, "host"),
        FIELD(2, RD_INT32, rd_server, pid, "pid"),
        FIELD(3, RD_STRING, rd_server, id, "server_id"),
        FIELD(4, RD_INT32, rd_server, concurrency, "concurrency"),
        FIELD(5, RD_NUMBERS, rd_server, queues, "queues"),
        FIELD(6, RD_BOOL, rd_server, strict, "strict_priority"),
        FIELD(7, RD_STRING, rd_server, status, "status"),
        FIELD(8, RD_STAMP, rd_server, started, "start_time"),
        FIELD(9, RD_INT32, rd_server, active_workers, "active_worker_count"),
    },
};

static const rd_shape worker_shape = {
    "asynq worker",
    sizeof(rd_worker),
    {
        FIELD(1, RD_STRING, rd_worker, host, "host"),
        FIELD(2, RD_INT32, rd_worker, pid, "pid"),
        FIELD(3, RD_STRING, rd_worker, server_id, "server_id"),
        FIELD(4, RD_STRING, rd_worker, task_id, "task_id"),
        FIELD(5, RD_STRING, rd_worker, task_type, "task_type"),
        FIELD(6, RD_BYTES, rd_worker, payload, "task_payload"),
        FIELD(7, RD_STRING, rd_worker, queue, "queue"),
        FIELD(8, RD_STAMP, rd_worker, started, "start_time"),
        FIELD(9, RD_STAMP, rd_worker, deadline, "deadline"),
    },
};

static const rd_shape schedule_shape = {
    "asynq scheduler entry",
    sizeof(rd_schedule),
    {
        FIELD(1, RD_STRING, rd_schedule, id, "id"),
        FIELD(2, RD_STRING, rd_schedule, spec, "spec"),
        FIELD(3, RD_STRING, rd_schedule, task_type, "task_type"),
        FIELD(4, RD_BYTES, rd_schedule, payload, "task_payload"),
        FIELD(5, RD_STRINGS, rd_schedule, options, "enqueue_options"),
        FIELD(6, RD_STAMP, rd_schedule, next, "next_enqueue_time"),
        FIELD(7, RD_STAMP, rd_schedule, last, "prev_enqueue_time"),
    },
};

static const rd_shape tick_shape = {
    "asynq enqueue event",
    sizeof(rd_tick),
    {
        FIELD(1, RD_STRING, rd_tick, task_id, "task_id"),
        FIELD(2, RD_STAMP, rd_tick, at, "enqueue_time"),
    },
};

/* ---- messages --------------------------------------------------------------------------- */

#define MESSAGE(noun)                                                                                                \
    int rd_##noun##_encode(const rd_##noun *noun, nq_buffer *out)                                                    \
    {                                                                                                                \
        return rd_proto_encode(&noun##_shape, noun, out);                                                            \
    }                                                                                                                \
    int rd_##noun##_decode(const void *bytes, size_t size, rd_##noun *out)                                           \
    {                                                                                                                \
        return rd_proto_decode(&noun##_shape, bytes, size, out);                                                     \
    }
MESSAGE(task)
MESSAGE(server)
MESSAGE(worker)
MESSAGE(schedule)
MESSAGE(tick)

bool rd_task_next_header(const rd_task *task, size_t *at, rd_entry *header)
{
    return rd_proto_next(&task_shape, task, 15, at, header);
}

bool rd_server_next_queue(const rd_server *server, size_t *at, rd_entry *queue)
{
    return rd_proto_next(&server_shape, server, 5, at, queue);
}

bool rd_schedule_next_option(const rd_schedule *schedule, size_t *at, rd_entry *option)
{
    return rd_proto_next(&schedule_shape, schedule, 5, at, option);
}

bool rd_task_header(const rd_task *task, const char *name, rd_bytes *value)
{
    rd_entry header;
    size_t size = strlen(name);
    bool found = false;
    for (size_t at = 0; rd_task_next_header(task, &at, &header);) {
        if (header.name.size != size || memcmp(header.name.data, name, size) != 0)
            continue;
        *value = header.value;
        found = true;
    }
    return found;
}

/* ---- values ----------------------------------------------------------------------------- */

rd_bytes rd_text(const char *text)
{
    return (rd_bytes){text, text ? strlen(text) : 0};
}

rd_stamp rd_stamp_of(neoq_time time)
{
    if (time == 0)
        return RD_NEVER;
    int64_t micros = time % 1000000;
    if (micros < 0)
        micros += 1000000;
    return (rd_stamp){(time - micros) / 1000000, (int32_t)micros * 1000};
}

neoq_time rd_stamp_time(rd_stamp stamp)
{
    neoq_time time;
    if (stamp.seconds == RD_NEVER.seconds)
        return 0;
    if (__builtin_mul_overflow(stamp.seconds, (int64_t)1000000, &time) ||
        __builtin_add_overflow(time, (int64_t)(stamp.nanos / 1000), &time))
        return stamp.seconds < 0 ? INT64_MIN : INT64_MAX;
    return time;
}
