/* SPDX-License-Identifier: MIT
 *
 * redis/batch.h -- calls that go out together, and their answers.
 *
 * A batch is one pipeline on one connection. A call that the server refuses for now (it is loading, was just made a
 * replica, does not know the script) has done nothing, and is sent again; so what comes back as an answer is one.
 */
#ifndef NQ_REDIS_BATCH_H
#define NQ_REDIS_BATCH_H

#include <hiredis/hiredis.h>
#include <neoq/backend.h>

#include "backend/redis/scripts.h"
#include "base/buffer.h"

/* One argument: bytes of the caller's, or of the batch's own `text` where `at` is NULL. */
typedef struct rd_arg {
    const char *at;
    size_t offset, size;
} rd_arg;

typedef struct rd_call {
    int script;          /* an rd_script; -1 = a command */
    size_t first, count; /* of its arguments */
    redisReply *reply;   /* NULL = none yet */
} rd_call;

typedef struct rd_batch {
    rd_call *calls;
    size_t call_count, call_room;
    rd_arg *args;
    size_t arg_count, arg_room;
    nq_buffer text;
    bool failed; /* memory ran out */
    bool urgent; /* does not wait until one of the pool's connections is free */
    bool rings;  /* once it is sent: a claim that follows finds what it brings */
    /* Puts further calls while the server works on those before; false: there are none. NULL = all are there. */
    bool (*more)(struct rd_batch *batch, void *arg);
    void *arg;
} rd_batch;

void rd_batch_free(rd_batch *batch);

/* Begins a call; its arguments follow. Of a script, key is the one that tells its slot. */
void rd_begin(rd_batch *batch, const char *command);
void rd_begin_script(rd_batch *batch, rd_script script, const char *key);
void rd_put(rd_batch *batch, const void *bytes, size_t size); /* borrowed until the batch is sent */
void rd_put_text(rd_batch *batch, const char *text);          /* borrowed */
void rd_put_copy(rd_batch *batch, const void *bytes, size_t size);
void rd_put_since(rd_batch *batch, size_t offset); /* what was added to its text since it had that size */
void rd_putf(rd_batch *batch, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rd_put_int(rd_batch *batch, int64_t value);
void rd_put_time(rd_batch *batch, neoq_time time); /* in the 18 digits of the scripts */

/* Sends all, and takes all answers; `again`: to repeat a call that may have been done does no harm. NEOQ_OK: each call
 * has an answer that is no error. NEOQ_EUNKNOWN: of those without one it is not known. */
int rd_send(neoq_store *store, rd_batch *batch, bool again);
/* The same, but waits no longer than patience for a connection. */
int rd_send_within(neoq_store *store, neoq_duration patience, rd_batch *batch, bool again);

/* The same of calls that change nothing: an answer that was lost is a mere failure, NEOQ_EBACKEND. */
int rd_read(neoq_store *store, rd_batch *batch);
/* Of calls that make one change together, and may be repeated: NEOQ_EUNKNOWN, too, where some were done and others not. */
int rd_write(neoq_store *store, rd_batch *batch);
/* What a failure comes to after steps that were done: NEOQ_EUNKNOWN, with its words. */
int rd_partly(int status);

/* ---- reading answers -------------------------------------------------------------------- */

/* What a call was answered; NULL: nothing, or memory ran out before it was made. */
const redisReply *rd_answer_of(const rd_batch *batch, size_t call);
/* An item of an array; NULL where there is none, or it is nil. */
const redisReply *rd_item(const redisReply *reply, size_t i);
size_t rd_items(const redisReply *reply); /* 0 of what is no array */
/* Of a number or its text; otherwise where it is neither. */
int64_t rd_number(const redisReply *reply, int64_t otherwise);
const char *rd_string(const redisReply *reply); /* NUL-terminated; NULL where it is none */
bool rd_is_text(const redisReply *reply, const char *text);

#endif
