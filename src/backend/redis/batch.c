/* SPDX-License-Identifier: MIT */
#include "backend/redis/batch.h"
#include "backend/redis/spread.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/redis/store.h"
#include "base/error.h"

/* ---- building --------------------------------------------------------------------------- */

static void clear_replies(rd_batch *batch)
{
    for (size_t i = 0; i < batch->call_count; i++) {
        freeReplyObject(batch->calls[i].reply);
        batch->calls[i].reply = NULL;
    }
}

void rd_batch_free(rd_batch *batch)
{
    clear_replies(batch);
    free(batch->calls);
    free(batch->args);
    nq_buffer_free(&batch->text);
    *batch = (rd_batch){0};
}

static bool grow(void **array, size_t *room, size_t count, size_t item)
{
    if (count < *room)
        return true;
    size_t larger = *room ? 2 * *room : 64;
    void *grown = realloc(*array, larger * item);
    if (!grown)
        return false;
    *array = grown;
    *room = larger;
    return true;
}

static void put(rd_batch *batch, rd_arg arg)
{
    if (batch->failed || !grow((void **)&batch->args, &batch->arg_room, batch->arg_count, sizeof arg)) {
        batch->failed = true;
        return;
    }
    batch->args[batch->arg_count++] = arg;
    batch->calls[batch->call_count - 1].count++;
}

static void begin(rd_batch *batch, int script)
{
    if (batch->failed || !grow((void **)&batch->calls, &batch->call_room, batch->call_count, sizeof(rd_call))) {
        batch->failed = true;
        return;
    }
    batch->calls[batch->call_count++] = (rd_call){.script = script, .first = batch->arg_count};
}

void rd_begin(rd_batch *batch, const char *command)
{
    begin(batch, -1);
    rd_put_text(batch, command);
}

void rd_begin_script(rd_batch *batch, rd_script script, const char *key)
{
    begin(batch, (int)script);
    rd_put_copy(batch, key, strlen(key));
}

void rd_put(rd_batch *batch, const void *bytes, size_t size)
{
    put(batch, (rd_arg){.at = size ? bytes : "", .size = size});
}

void rd_put_text(rd_batch *batch, const char *text)
{
    rd_put(batch, text, strlen(text));
}

void rd_put_copy(rd_batch *batch, const void *bytes, size_t size)
{
    size_t offset = batch->text.size;
    nq_buffer_add(&batch->text, bytes, size);
    put(batch, (rd_arg){.offset = offset, .size = size});
}

void rd_put_since(rd_batch *batch, size_t offset)
{
    put(batch, (rd_arg){.offset = offset, .size = batch->text.size - offset});
}

void rd_putf(rd_batch *batch, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof text)
        batch->failed = true;
    else
        rd_put_copy(batch, text, (size_t)size);
}

/* In decimal, with zeros before it up to that many digits. */
static void put_digits(rd_batch *batch, bool negative, uint64_t value, int width)
{
    char text[24], *at = text + sizeof text;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0 || text + sizeof text - at < width);
    if (negative)
        *--at = '-';
    rd_put_copy(batch, at, (size_t)(text + sizeof text - at));
}

void rd_put_int(rd_batch *batch, int64_t value)
{
    put_digits(batch, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 1);
}

void rd_put_time(rd_batch *batch, neoq_time time)
{
    put_digits(batch, false, time < 0 ? 0 : (uint64_t)time, 18);
}

/* ---- sending ---------------------------------------------------------------------------- */

/* How a call begins on the wire: a script by its name at first, by its text where the server does not know it. */
typedef struct prelude {
    const char *words[3];
    size_t count;
} prelude;

static bool has_one_key(const rd_call *call)
{
    return call->script >= 0 && call->script != RD_BEAT && call->script != RD_REAP;
}

static prelude prelude_of(const neoq_store *store, const rd_call *call, bool by_text)
{
    if (call->script < 0)
        return (prelude){{0}, 0};
    rd_script script = (rd_script)call->script;
    const char *keys = has_one_key(call) && !store->cluster ? "1" : "2";
    if (by_text)
        return (prelude){{"EVAL", rd_script_text(script), keys}, 3};
    return (prelude){{"EVALSHA", store->shas.of[script], keys}, 3};
}

static bool reserve(rd_vectors *v, size_t count)
{
    if (count <= v->room)
        return true;
    free(v->argv);
    free(v->lengths);
    v->argv = malloc(count * sizeof *v->argv);
    v->lengths = malloc(count * sizeof *v->lengths);
    v->room = v->argv && v->lengths ? count : 0;
    return v->room > 0;
}

int rd_append_call(const neoq_store *store, rd_connection *c, const rd_batch *batch, const rd_call *call,
                   bool by_text, rd_vectors *v)
{
    const prelude p = prelude_of(store, call, by_text);
    char guard[RD_KEY_SIZE + sizeof RD_GUARD];
    if (!reserve(v, p.count + call->count + 1))
        return nq_fail(NEOQ_ENOMEM, "no memory for a command to Redis");
    size_t argc = 0;
    for (; argc < p.count; argc++) {
        v->argv[argc] = p.words[argc];
        v->lengths[argc] = strlen(p.words[argc]);
    }
    for (size_t i = 0; i < call->count; i++, argc++) {
        const rd_arg *arg = &batch->args[call->first + i];
        v->argv[argc] = arg->at ? arg->at : batch->text.data + arg->offset;
        v->lengths[argc] = arg->size;
        if (i == 0 && store->cluster && has_one_key(call)) {
            snprintf(guard, sizeof guard, "%.*s" RD_GUARD, (int)arg->size, v->argv[argc]);
            v->argv[++argc] = guard;
            v->lengths[argc] = strlen(guard);
        }
    }
    return rd_append(c, (int)argc, v->argv, v->lengths);
}

/* Takes the reply of a call. True: it is an answer, or a refusal that will not pass. */
static bool settles(const redisReply *reply, bool *by_text)
{
    if (rd_is_error(reply, "NOSCRIPT")) {
        *by_text = true;
        return false;
    }
    return !rd_error_passes(reply);
}

/* c: what was put before is on its way first. */
static bool put_more(rd_batch *batch, rd_connection *c)
{
    if (batch->more && c)
        rd_push(c);
    if (batch->more && batch->more(batch, batch->arg))
        return true;
    batch->more = NULL;
    return false;
}

/* Sends what has no answer yet; *sent: so many calls. On a failure that is none, unless more were still to be put: then
 * those before the one that failed are on their way. */
static int send_calls(neoq_store *store, rd_connection *c, rd_batch *batch, bool by_text, size_t *sent, rd_vectors *v)
{
    int status = NEOQ_OK;
    bool whole = !batch->more;
    *sent = 0;
    for (size_t i = 0; status == NEOQ_OK && (i < batch->call_count || put_more(batch, c)); i++)
        if (!batch->calls[i].reply) {
            status = rd_append_call(store, c, batch, &batch->calls[i], by_text, v);
            *sent += status == NEOQ_OK;
        }
    if (status != NEOQ_OK && whole) { /* who takes the connection back closes it */
        *sent = 0;
        return status;
    }
    rd_push(c);
    if (batch->rings)
        rd_bell_ring(store->bell);
    return status;
}

/* Does it once. *left: calls that were refused for now. */
static int pass(neoq_store *store, rd_connection *c, rd_batch *batch, bool *by_text, size_t *left, rd_vectors *v)
{
    size_t sent, read = 0;
    int refused = send_calls(store, c, batch, *by_text, &sent, v), status = NEOQ_OK;
    nq_bound bound = nq_within(store->url.call_timeout);
    *left = 0;
    *by_text = false;
    for (size_t i = 0; i < batch->call_count && read < sent && status == NEOQ_OK; i++) {
        if (batch->calls[i].reply)
            continue;
        redisReply *reply = NULL;
        status = rd_reply(c, &bound, &reply);
        read++;
        if (status != NEOQ_OK)
            break;
        if (settles(reply, by_text)) {
            batch->calls[i].reply = reply;
        } else {
            ++*left;
            rd_refused(store->url.shown, reply); /* words, should it not pass in time */
            freeReplyObject(reply);
        }
    }
    return status == NEOQ_OK ? refused : status;
}

/* An answer that is an error fails the batch, once all are there. */
static int find_refusal(const neoq_store *store, const rd_batch *batch)
{
    for (size_t i = 0; i < batch->call_count; i++)
        if (rd_is_error(batch->calls[i].reply, NULL))
            return rd_refused(store->url.shown, batch->calls[i].reply);
    return NEOQ_OK;
}

static void sleep_for(neoq_duration wait)
{
    nanosleep(&(struct timespec){wait / 1000000, wait % 1000000 * 1000}, NULL);
}

/* An answer was lost, in these words, and the call could not be repeated. */
static int fail_again(const char *lost)
{
    char words[512];
    snprintf(words, sizeof words, "%s", neoq_error_message());
    return nq_fail(NEOQ_EUNKNOWN, "%s; repeating it failed: %s", lost, words);
}

/* Tries until all is answered, the connection fails for good, or the time is over. What a later try says of itself, as
 * that nothing was sent, does not take back that an answer was lost before. */
static int send_all(neoq_store *store, neoq_duration patience, rd_batch *batch, bool again)
{
    int64_t until = nq_steady() + patience;
    bool by_text = false, unknown = false;
    char words[512] = "";
    rd_vectors v = {0};
    int status = NEOQ_OK;
    for (int try = 1;; try++) {
        rd_connection *c;
        size_t left = 0;
        int64_t remains = until - nq_steady();
        status = rd_pool_take_within(store->pool, remains > 0 ? remains : 0, batch->urgent, &c);
        if (status != NEOQ_OK)
            break;
        status = pass(store, c, batch, &by_text, &left, &v);
        bool broke_late = status == NEOQ_EUNKNOWN;
        if (broke_late && !unknown)
            snprintf(words, sizeof words, "%s", neoq_error_message());
        unknown = unknown || broke_late;
        rd_pool_give(store->pool, c);
        bool repeat = status == NEOQ_OK ? left > 0 : status == NEOQ_EBACKEND || (broke_late && again);
        if (!repeat || (status != NEOQ_OK && try > 2))
            break;
        if (nq_steady() >= until) {
            status = status == NEOQ_OK ? NEOQ_EBACKEND : status; /* the words are the last refusal's */
            break;
        }
        if (!by_text && status == NEOQ_OK)
            sleep_for(nq_redial_pause(try));
    }
    free(v.argv);
    free(v.lengths);
    return status != NEOQ_OK && status != NEOQ_EUNKNOWN && unknown ? fail_again(words) : status;
}

static int no_memory(void)
{
    return nq_fail(NEOQ_ENOMEM, "no memory for a batch of calls to Redis");
}

int rd_send_within(neoq_store *store, neoq_duration patience, rd_batch *batch, bool again)
{
    if (batch->failed || batch->text.failed)
        return no_memory();
    while (store->cluster && put_more(batch, NULL))
        ;
    if (batch->call_count == 0 && !batch->more)
        return NEOQ_OK;
    int status = store->cluster ? rd_spread(store, patience, batch, again) : send_all(store, patience, batch, again);
    if (status == NEOQ_OK && (batch->failed || batch->text.failed)) /* since then */
        return no_memory();
    return status == NEOQ_OK ? find_refusal(store, batch) : status;
}

int rd_send(neoq_store *store, rd_batch *batch, bool again)
{
    return rd_send_within(store, store->url.connect_timeout, batch, again);
}

int rd_read(neoq_store *store, rd_batch *batch)
{
    char words[512];
    int status = rd_send(store, batch, true);
    if (status != NEOQ_EUNKNOWN)
        return status;
    snprintf(words, sizeof words, "%s", neoq_error_message());
    return nq_fail(NEOQ_EBACKEND, "%s", words);
}

int rd_partly(int status)
{
    char words[512];
    if (status == NEOQ_OK || status == NEOQ_EUNKNOWN)
        return status;
    snprintf(words, sizeof words, "%s", neoq_error_message());
    return nq_fail(NEOQ_EUNKNOWN, "part of it was done, and the rest is if it is repeated: %s", words);
}

int rd_write(neoq_store *store, rd_batch *batch)
{
    bool some = false;
    int status = rd_send(store, batch, true);
    for (size_t i = 0; i < batch->call_count && status != NEOQ_OK; i++)
        some = some || (batch->calls[i].reply && !rd_is_error(batch->calls[i].reply, NULL));
    return some ? rd_partly(status) : status;
}

/* ---- reading ---------------------------------------------------------------------------- */

const redisReply *rd_answer_of(const rd_batch *batch, size_t call)
{
    return call < batch->call_count ? batch->calls[call].reply : NULL;
}

const redisReply *rd_item(const redisReply *reply, size_t i)
{
    if (!reply || reply->type != REDIS_REPLY_ARRAY || i >= reply->elements)
        return NULL;
    const redisReply *item = reply->element[i];
    return item && item->type != REDIS_REPLY_NIL ? item : NULL;
}

size_t rd_items(const redisReply *reply)
{
    return reply && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
}

const char *rd_string(const redisReply *reply)
{
    return reply && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) ? reply->str : NULL;
}

int64_t rd_number(const redisReply *reply, int64_t otherwise)
{
    if (reply && reply->type == REDIS_REPLY_INTEGER)
        return reply->integer;
    const char *text = rd_string(reply);
    return text && *text ? strtoll(text, NULL, 10) : otherwise;
}

bool rd_is_text(const redisReply *reply, const char *text)
{
    const char *string = rd_string(reply);
    return string && strcmp(string, text) == 0;
}
