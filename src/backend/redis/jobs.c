/* SPDX-License-Identifier: MIT
 *
 * The facts are where the job came to in the order, 18 digits of its time and 16 of its arrival, which store.lua puts in
 * front; then a line of numbers, and the fingerprint and the metadata behind it:
 *
 *   created_at priority unique deadline retention fingerprint's-size metadata's-size wait...\n
 *
 * Sizes are -1 where there is none, and -2 where the fingerprint is what the message's unique key ends with.
 */
#include "backend/redis/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/layout.h"
#include "base/error.h"
#include "base/json.h"
#include "base/uuid.h"

/* What Go takes for "for ever": its durations end after 292 years. */
static const int64_t century = (int64_t)36500 * 86400;
/* Of a job without a deadline; a neoq handler has a timeout of its own. */
enum { GO_TIMEOUT = 1800 };
/* Go neoq's payload where there is none. */
static const char nothing[] = "null";
/* The lock of a queue's fingerprint. */
static const char lock_format[] = "asynq:{%.*s}:unique:neoq:%s";
enum { IN_LOCK = -2 /* a fingerprint's size */, PLACE_SIZE = 34 };

/* ---- writing ---------------------------------------------------------------------------- */

int64_t rd_seconds_up(neoq_duration duration)
{
    return duration == NEOQ_FOREVER ? century : duration / 1000000 + (duration % 1000000 > 0);
}

static void add_facts(nq_buffer *facts, const neoq_job *job, bool locks)
{
    size_t print = job->fingerprint && !locks ? strlen(job->fingerprint) : 0,
           metadata = job->metadata ? strlen(job->metadata) : 0;
    nq_buffer_addf(facts, "%" PRId64 " %d %d %" PRId64 " %" PRId64 " %d %d", job->created_at, job->priority,
                   (int)job->unique, job->deadline, job->retention,
                   locks              ? IN_LOCK
                   : job->fingerprint ? (int)print
                                      : -1,
                   job->metadata ? (int)metadata : -1);
    for (size_t i = 0; job->retry_waits && i < job->retry_wait_count; i++)
        nq_buffer_addf(facts, " %" PRId64, job->retry_waits[i]);
    nq_buffer_add_char(facts, '\n');
    nq_buffer_add(facts, print > 0 ? job->fingerprint : "", print);
    nq_buffer_add(facts, job->metadata ? job->metadata : "", metadata);
}

static void put_facts(rd_batch *batch, const neoq_job *job, bool locks)
{
    size_t from = batch->text.size;
    add_facts(&batch->text, job, locks);
    rd_put_since(batch, from);
}

/* Past the value that begins here, in canonical JSON. */
static const char *past_value(const char *at)
{
    int depth = 0;
    for (bool quoted = false; *at; at++) {
        if (*at == '"')
            quoted = !quoted;
        else if (quoted && *at == '\\')
            at += at[1] != '\0';
        else if (!quoted && (*at == '{' || *at == '['))
            depth++;
        else if (!quoted && (*at == '}' || *at == ']' || *at == ',') && depth == 0)
            return at;
        else if (!quoted && (*at == '}' || *at == ']'))
            depth--;
    }
    return at;
}

/* The member "asynq_type" of the metadata, copied to type, where it is a string that needs no unquoting. */
static bool find_type(const char *metadata, char *type, size_t room)
{
    static const char name[] = "\"asynq_type\":\"";
    nq_buffer canonical = {0};
    bool found = false;
    if (nq_json_canonical(metadata, strlen(metadata), &canonical) == NEOQ_OK) {
        const char *at = canonical.data + 1;
        while (*at && strncmp(at, name, sizeof name - 1) != 0) {
            at = past_value(at);
            at += *at != '\0';
        }
        at += *at ? sizeof name - 1 : 0;
        size_t size = strcspn(at, "\"\\");
        found = size > 0 && size < room && at[size] == '"';
        if (found)
            snprintf(type, room, "%.*s", (int)size, at);
    }
    nq_buffer_free(&canonical);
    return found;
}

/* asynq's type of the task: the queue's name, unless the job's metadata says otherwise. */
const char *rd_task_type(const neoq_job *job, char *type, size_t room)
{
    bool says = job->metadata && strstr(job->metadata, "asynq_type");
    return says && find_type(job->metadata, type, room) ? type : job->queue;
}

static void put_message(const neoq_store *store, rd_batch *batch, const neoq_job *job, const char *lock)
{
    char type[256];
    size_t from = batch->text.size;
    bool shared = rd_is_shared(store);
    rd_task task = {
        .type = rd_text(shared ? job->queue : rd_task_type(job, type, sizeof type)),
        .payload = {job->payload_size ? job->payload : "", job->payload_size},
        .id = rd_text(rd_task_id(store, job)),
        .queue = rd_text(rd_home(store, job->queue)),
        .unique_key = rd_text(lock),
        .max_retries = rd_task_retries(store, job),
        .timeout = job->deadline ? 0 : GO_TIMEOUT,
        .deadline = rd_seconds_up(job->deadline),
        .retention = rd_seconds_up(job->retention),
    };
    if (shared && job->payload_size == 0)
        task.payload = rd_text(nothing);
    if (rd_task_encode(&task, &batch->text) != NEOQ_OK)
        batch->failed = true;
    rd_put_since(batch, from);
}

void rd_put_job(const neoq_store *store, rd_batch *batch, const neoq_job *job)
{
    const char *id = rd_task_id(store, job);
    char lock[RD_KEY_SIZE + NQ_FINGERPRINT_MAX + 32] = "";
    bool locks = job->unique == NEOQ_UNIQUE_ON && !rd_is_shared(store);
    if (locks)
        snprintf(lock, sizeof lock, lock_format, (int)strlen(job->queue), job->queue, job->fingerprint);
    rd_put_copy(batch, id, strlen(id));
    put_message(store, batch, job, lock);
    put_facts(batch, job, locks);
    rd_put_time(batch, job->run_after);
    rd_put_copy(batch, lock, id != job->id ? 1 : strlen(lock)); /* "\0" where the id is the fingerprint */
    if (job->state == NEOQ_SCHEDULED)
        rd_putf(batch, "s%" PRId64, -(int64_t)job->priority);
    else if (job->priority != 0)
        rd_put_int(batch, -(int64_t)job->priority);
    else
        rd_put_copy(batch, "", 0);
}

size_t rd_stored_number(const redisReply *item, size_t count)
{
    int64_t number = rd_number(rd_item(item, 0), 0);
    return number > 0 && (uint64_t)number <= count ? (size_t)number : 0;
}

void rd_read_stored(const redisReply *item, neoq_enqueued *result)
{
    const char *id = rd_string(rd_item(item, 2));
    result->status = (int)rd_number(rd_item(item, 1), NEOQ_EBACKEND);
    if (id)
        snprintf(result->id, sizeof result->id, "%s", id);
}

/* asynq counts a retry when the run fails, neoq when the job is to be run again: what waits for it is one ahead. */
bool rd_put_settled(rd_batch *batch, const char *message, size_t size, const neoq_settlement *s)
{
    rd_task task;
    size_t from = batch->text.size;
    if (rd_task_decode(message, size, &task) != NEOQ_OK)
        task = (rd_task){0};
    task.retries += s->state == NEOQ_RETRYING;
    task.error = rd_text(s->error);
    if (s->error)
        task.last_failed_at = s->finished_at / 1000000;
    if (s->state == NEOQ_DONE)
        task.completed_at = s->finished_at / 1000000;
    bool whole = rd_task_encode(&task, &batch->text) == NEOQ_OK;
    rd_put_since(batch, from);
    return whole;
}

/* ---- reading ---------------------------------------------------------------------------- */

/* The place of a string in texts, which moves while it grows: until it is complete, a pointer is an offset plus one. */
static const char *keep(rd_view *view, const void *bytes, size_t size)
{
    size_t offset = view->texts.size;
    nq_buffer_add(&view->texts, bytes, size);
    nq_buffer_add_char(&view->texts, '\0');
    return (const char *)(uintptr_t)(offset + 1);
}

static void *place(const rd_view *view, const void *offset)
{
    return offset ? view->texts.data + (uintptr_t)offset - 1 : NULL;
}

static void put_in_place(rd_view *view)
{
    neoq_job *job = &view->job;
    job->id = place(view, job->id);
    job->payload = place(view, job->payload);
    job->error = place(view, job->error);
    job->result = place(view, job->result);
    job->fingerprint = place(view, job->fingerprint);
    job->metadata = place(view, job->metadata);
}

static int64_t next_number(const char **at, const char *end)
{
    char digits[24];
    size_t size = 0;
    while (*at < end && **at == ' ')
        ++*at;
    while (*at < end && **at != ' ' && **at != '\n' && size < sizeof digits - 1)
        digits[size++] = *(*at)++;
    digits[size] = '\0';
    return strtoll(digits, NULL, 10);
}

static const char *keep_part(rd_view *view, const char **at, const char *end, int64_t size)
{
    if (size < 0 || size > end - *at)
        return NULL;
    const char *kept = keep(view, *at, (size_t)size);
    *at += size;
    return kept;
}

/* What lock_format made of a fingerprint; NULL: no such thing. */
static const char *keep_locked(rd_view *view, const rd_task *task)
{
    char before[RD_KEY_SIZE + 32];
    int size = snprintf(before, sizeof before, lock_format, (int)task->queue.size, task->queue.data, "");
    if (size < 0 || task->unique_key.size < (size_t)size)
        return NULL;
    return keep(view, task->unique_key.data + size, task->unique_key.size - (size_t)size);
}

/* task: whose message has the fingerprint where the facts have not; NULL = there is none. */
static void read_facts(rd_view *view, const char *at, const char *end, const rd_task *task)
{
    neoq_job *job = &view->job;
    job->created_at = next_number(&at, end);
    job->priority = (int)next_number(&at, end);
    job->unique = (neoq_unique)next_number(&at, end);
    job->deadline = next_number(&at, end);
    job->retention = next_number(&at, end);
    int64_t size = next_number(&at, end), metadata = next_number(&at, end);
    while (at < end && *at == ' ' && job->retry_wait_count < NQ_RETRY_WAITS_MAX)
        view->waits[job->retry_wait_count++] = next_number(&at, end);
    job->retry_waits = job->retry_wait_count > 0 ? view->waits : NULL;
    at += at < end; /* the end of the line */
    job->fingerprint = size == IN_LOCK && task ? keep_locked(view, task) : keep_part(view, &at, end, size);
    job->metadata = keep_part(view, &at, end, metadata);
}

static void add_quoted(nq_buffer *out, rd_bytes text)
{
    nq_buffer_add_char(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '"' || c == '\\')
            nq_buffer_addf(out, "\\%c", c);
        else if (c < 0x20)
            nq_buffer_addf(out, "\\u%04x", c);
        else
            nq_buffer_add_char(out, (char)c);
    }
    nq_buffer_add_char(out, '"');
}

/* asynq's type of the task, and its headers. */
static void tell_as_metadata(rd_view *view, const rd_task *task)
{
    nq_buffer metadata = {0};
    rd_entry header;
    nq_buffer_add_string(&metadata, "{\"asynq_type\":");
    add_quoted(&metadata, task->type);
    for (size_t at = 0; rd_task_next_header(task, &at, &header);) {
        nq_buffer_add_char(&metadata, ',');
        add_quoted(&metadata, header.name);
        nq_buffer_add_char(&metadata, ':');
        add_quoted(&metadata, header.value);
    }
    nq_buffer_add_char(&metadata, '}');
    view->job.metadata = keep(view, metadata.data ? metadata.data : "{}", metadata.size);
    view->texts.failed = view->texts.failed || metadata.failed;
    nq_buffer_free(&metadata);
}

/* A task of Go's has no facts. Of one of Go neoq's the id is the fingerprint, unless it is one of a schedule's. */
static void read_foreign(rd_view *view, const rd_task *task, const rd_row *row, bool shared)
{
    neoq_job *job = &view->job;
    char id[NQ_UUID_TEXT_SIZE];
    uint8_t uuid[NQ_UUID_SIZE];
    snprintf(id, sizeof id, "%.*s", (int)(task->id.size < sizeof id ? task->id.size : 0), task->id.data);
    job->unique = shared && !nq_uuid_parse(id, uuid) ? NEOQ_UNIQUE_ON : NEOQ_UNIQUE_OFF;
    if (!shared)
        tell_as_metadata(view, task);
    else if (job->unique == NEOQ_UNIQUE_ON)
        job->fingerprint = keep(view, task->id.data, task->id.size);
    job->created_at = rd_number(row->since, 0) / 1000;
    job->deadline = task->deadline > 0 ? task->deadline * 1000000 : 0;
    job->retention = task->retention > 0 && task->retention < century ? NEOQ_SECONDS(task->retention)
                     : task->retention > 0                            ? NEOQ_FOREVER
                                                                      : 0;
}

static neoq_state state_of(const redisReply *state)
{
    return rd_is_text(state, "pending")                                         ? NEOQ_READY
           : rd_is_text(state, "retry")                                         ? NEOQ_RETRYING
           : rd_is_text(state, "completed")                                     ? NEOQ_DONE
           : rd_is_text(state, "archived")                                      ? NEOQ_DEAD
           : rd_is_text(state, "scheduled") || rd_is_text(state, "aggregating") ? NEOQ_SCHEDULED
                                                                                : NEOQ_RUNNING;
}

/* The first 18 digits of a place, or of an end. */
static int64_t digits18(const redisReply *text)
{
    char digits[19] = "";
    if (!text || text->type != REDIS_REPLY_STRING || text->len < 18)
        return 0;
    memcpy(digits, text->str, 18);
    return strtoll(digits, NULL, 10);
}

/* asynq's own score tells better, where Go gave the job another time. */
static void read_time(rd_view *view, const rd_row *row)
{
    neoq_job *job = &view->job;
    int64_t score = rd_number(row->score, 0);
    bool moved = row->place && row->place->type == REDIS_REPLY_STRING && row->place->len > 0;
    job->run_after = digits18(moved ? row->place : row->facts);
    bool waits = job->state == NEOQ_SCHEDULED || job->state == NEOQ_RETRYING;
    if (waits && score > 1 && (job->run_after + 999999) / 1000000 != score)
        job->run_after = NEOQ_SECONDS(score);
    else if (job->run_after == 0)
        job->run_after = job->created_at;
}

/* Of a job that Go ended the message tells, and of one that it archived by hand, which may never have failed, the score.
 * An end of ours may be of before that. */
static neoq_time read_end(const rd_row *row, const rd_task *task)
{
    neoq_time ours = digits18(row->end);
    neoq_time told = NEOQ_SECONDS(task->completed_at ? task->completed_at : task->last_failed_at);
    if (ours == 0 && told == 0 && rd_is_text(row->state, "archived"))
        told = NEOQ_SECONDS(rd_number(row->score, 0));
    return ours > told ? ours : told;
}

int rd_view_read(rd_view *view, const rd_row *row, const char *queue, neoq_time now)
{
    rd_task task;
    neoq_job *job = &view->job;
    *view = (rd_view){0};
    if (rd_task_decode(row->message->str, (size_t)row->message->len, &task) != NEOQ_OK)
        return nq_fail(NEOQ_EBACKEND, "queue \"%s\": a job's message cannot be read: %s", queue ? queue : "default",
                       neoq_error_message());
    const char *id = rd_string(row->id);
    *job = (neoq_job){.epoch = rd_number(row->epoch, 0), .retries = task.retries, .ran_at = rd_number(row->ran, 0)};
    job->state = state_of(row->state);
    task.max_retries -= !queue; /* rd_task_retries() */
    job->max_retries = task.max_retries > 0 ? task.max_retries : NEOQ_NO_RETRIES;
    if (!queue) {
        job->queue = keep(view, task.type.data, task.type.size);
        if (task.payload.size == sizeof nothing - 1 && memcmp(task.payload.data, nothing, sizeof nothing - 1) == 0)
            task.payload = rd_text("");
    }
    job->id = id ? keep(view, id, strlen(id)) : keep(view, task.id.data, task.id.size);
    job->payload = keep(view, task.payload.data, task.payload.size);
    job->payload_size = task.payload.size;
    job->error = task.error.size > 0 ? keep(view, task.error.data, task.error.size) : NULL;
    if (row->result && row->result->type == REDIS_REPLY_STRING) {
        job->result = keep(view, row->result->str, (size_t)row->result->len);
        job->result_size = (size_t)row->result->len;
    }
    if (row->facts && row->facts->len > PLACE_SIZE)
        read_facts(view, row->facts->str + PLACE_SIZE, row->facts->str + row->facts->len, &task);
    else
        read_foreign(view, &task, row, !queue);
    job->finished_at = job->state < NEOQ_DONE ? 0 : read_end(row, &task);
    read_time(view, row);
    job->state = nq_state_at(job->state, job->run_after, now);
    if (job->state == NEOQ_RETRYING && job->retries > 0)
        job->retries--;
    if (view->texts.failed) {
        rd_view_clear(view);
        return nq_fail(NEOQ_ENOMEM, "no memory to read a job");
    }
    put_in_place(view);
    job->queue = queue ? queue : place(view, job->queue);
    return NEOQ_OK;
}

/* ---- templates -------------------------------------------------------------------------- */

void rd_put_template(rd_batch *batch, const neoq_job *job)
{
    nq_buffer *text = &batch->text;
    size_t from = text->size;
    nq_buffer_addf(text, "%d %zu\n", job->max_retries, job->payload_size);
    nq_buffer_add(text, job->payload ? job->payload : "", job->payload_size);
    add_facts(text, job, false);
    rd_put_since(batch, from);
}

int rd_template_read(rd_view *view, const redisReply *record, const char *queue)
{
    const char *at = record->str, *end = at + record->len;
    *view = (rd_view){0};
    view->job.max_retries = (int)next_number(&at, end);
    int64_t size = next_number(&at, end);
    at += at < end;
    view->job.payload = keep_part(view, &at, end, size);
    view->job.payload_size = view->job.payload ? (size_t)size : 0;
    read_facts(view, at, end, NULL);
    if (view->texts.failed) {
        rd_view_clear(view);
        return nq_fail(NEOQ_ENOMEM, "no memory to read a schedule");
    }
    view->job.queue = queue;
    put_in_place(view);
    return NEOQ_OK;
}

void rd_view_clear(rd_view *view)
{
    nq_buffer_free(&view->texts);
}
