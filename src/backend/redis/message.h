/* SPDX-License-Identifier: MIT
 *
 * redis/message.h -- what asynq keeps in Redis: protobuf messages, byte for byte as Go writes them.
 *
 * A zeroed struct is an empty message. One that was decoded holds views of the bytes it was decoded from, and when it is
 * encoded again, what a later version of asynq may have put there goes along.
 */
#ifndef NQ_REDIS_MESSAGE_H
#define NQ_REDIS_MESSAGE_H

#include <neoq.h>

#include "backend/redis/proto.h"

/* The value of a task's field "msg". Times are seconds since 1970, durations seconds; 0 = none or never. */
typedef struct rd_task {
    rd_bytes from; /* what it was decoded from */
    rd_bytes type, payload, id, queue, error, unique_key, group;
    int32_t max_retries, retries;
    int64_t timeout, deadline, last_failed_at, retention, completed_at;
    rd_entries headers; /* to be added: name and value; since asynq 0.26, older ones drop them */
} rd_task;

typedef struct rd_server {
    rd_bytes from;
    rd_bytes host, id, status; /* "active", "stopped" */
    int32_t pid, concurrency, active_workers;
    bool strict;
    rd_stamp started;
    rd_entries queues; /* to be added: name and number, its weight */
} rd_server;

/* A run. */
typedef struct rd_worker {
    rd_bytes from;
    rd_bytes host, server_id, task_id, task_type, payload, queue;
    int32_t pid;
    rd_stamp started, deadline;
} rd_worker;

typedef struct rd_schedule {
    rd_bytes from;
    rd_bytes id, spec, task_type, payload;
    rd_stamp next, last; /* RD_NEVER */
    rd_entries options;  /* to be added: the name, such as Queue("low"); Go's readers crash where there is no "(" */
} rd_schedule;

typedef struct rd_tick {
    rd_bytes from;
    rd_bytes task_id;
    rd_stamp at;
} rd_tick;

/* NEOQ_EINVAL: a string is no UTF-8. NEOQ_ENOMEM. Appends to out. */
int rd_task_encode(const rd_task *task, nq_buffer *out);
int rd_server_encode(const rd_server *server, nq_buffer *out);
int rd_worker_encode(const rd_worker *worker, nq_buffer *out);
int rd_schedule_encode(const rd_schedule *schedule, nq_buffer *out);
int rd_tick_encode(const rd_tick *tick, nq_buffer *out);

/* NEOQ_EINVAL: Go could not read it either. */
int rd_task_decode(const void *bytes, size_t size, rd_task *out);
int rd_server_decode(const void *bytes, size_t size, rd_server *out);
int rd_worker_decode(const void *bytes, size_t size, rd_worker *out);
int rd_schedule_decode(const void *bytes, size_t size, rd_schedule *out);
int rd_tick_decode(const void *bytes, size_t size, rd_tick *out);

/* What was decoded, one by one; *at begins with 0. Where a name comes twice, the last one counts. */
bool rd_task_next_header(const rd_task *task, size_t *at, rd_entry *header);
bool rd_server_next_queue(const rd_server *server, size_t *at, rd_entry *queue);
bool rd_schedule_next_option(const rd_schedule *schedule, size_t *at, rd_entry *option);
/* The value of that header; false: there is none. */
bool rd_task_header(const rd_task *task, const char *name, rd_bytes *value);

rd_bytes rd_text(const char *text); /* NULL = "" */
/* Go's zero time, which is how asynq writes that something never was; neoq has 0 for that. */
#define RD_NEVER ((rd_stamp){.seconds = -62135596800})
rd_stamp rd_stamp_of(neoq_time time);
neoq_time rd_stamp_time(rd_stamp stamp); /* what does not fit is the nearest that does */

#endif
