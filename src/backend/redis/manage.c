/* SPDX-License-Identifier: MIT
 *
 * Steering jobs and queues, progress, schedules.
 *
 * What is to become of a job is decided from what was seen of it; the script checks that it still is so, and where it is
 * not, the job is looked at once more.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/layout.h"
#include "backend/redis/look.h"
#include "base/error.h"

enum { TRIES = 20 };

/* The answer to a batch of one call, to be freed. */
static int take(rd_batch *batch, int status, redisReply **answer)
{
    *answer = NULL;
    if (status == NEOQ_OK) {
        *answer = batch->calls[0].reply;
        batch->calls[0].reply = NULL;
    }
    rd_batch_free(batch);
    return status;
}

static int ask(neoq_store *store, rd_batch *batch, bool again, redisReply **answer)
{
    return take(batch, rd_send(store, batch, again), answer);
}

static int look_up(neoq_store *store, rd_batch *batch, redisReply **answer)
{
    return take(batch, rd_read(store, batch), answer);
}

/* Of an answer that is a number. */
static int ask_number(neoq_store *store, rd_batch *batch, bool again, int64_t *number)
{
    redisReply *answer;
    int status = ask(store, batch, again, &answer);
    *number = rd_number(answer, 0);
    freeReplyObject(answer);
    return status;
}

/* Sends what the batch has, and that something changed in the queue. */
static void send_hint(neoq_store *store, rd_batch *batch, const char *queue)
{
    rd_begin(batch, "PUBLISH");
    rd_put_text(batch, RD_WAKE_CHANNEL);
    rd_put_text(batch, queue);
    rd_send_within(store, NEOQ_SECONDS(1), batch, true); /* whoever misses it finds out by looking */
    rd_batch_free(batch);
    rd_bell_ring(store->bell);
}

static void tell_of(neoq_store *store, const char *queue)
{
    rd_batch batch = {0};
    send_hint(store, &batch, queue);
}

/* ---- one job ---------------------------------------------------------------------------- */

static int check_retry(const neoq_job *job)
{
    if (job->state == NEOQ_DEAD || job->state == NEOQ_RETRYING || job->state == NEOQ_SCHEDULED)
        return NEOQ_OK;
    return nq_fail(NEOQ_ESTATE, "job %s cannot be retried: it is neither dead, retrying nor scheduled", job->id);
}

static int check_state(neoq_action action, const neoq_job *job)
{
    switch (action) {
    case NEOQ_ACTION_RETRY: return check_retry(job);
    case NEOQ_ACTION_CANCEL:
        return job->state < NEOQ_DONE ? NEOQ_OK
                                      : nq_fail(NEOQ_ESTATE, "job %s cannot be cancelled: it has ended", job->id);
    case NEOQ_ACTION_DELETE:
        return job->state != NEOQ_RUNNING
                   ? NEOQ_OK
                   : nq_fail(NEOQ_ESTATE, "job %s cannot be deleted while it runs: cancel it first", job->id);
    }
    return nq_fail(NEOQ_EINVAL, "action %d is not known", (int)action);
}

/* The message of the job as the action leaves it; "" = as it is. */
static void put_message(const neoq_store *store, rd_batch *batch, neoq_action action, const rd_found *found,
                        neoq_time now)
{
    rd_task task;
    size_t from = batch->text.size;
    const redisReply *message = rd_item(found->row, RD_LOOK_MESSAGE);
    bool cancels = action == NEOQ_ACTION_CANCEL,
         counts = action == NEOQ_ACTION_RETRY && found->view.job.state == NEOQ_DEAD;
    if ((cancels || counts) && rd_task_decode(message->str, (size_t)message->len, &task) == NEOQ_OK) {
        task.retries = found->view.job.retries + counts;
        if (rd_is_shared(store) && task.retries >= task.max_retries && task.max_retries > 0)
            task.retries = task.max_retries - 1; /* else it would not be run again */
        if (cancels) {
            task.error = rd_text("cancelled");
            task.last_failed_at = now / 1000000;
        }
        batch->failed = rd_task_encode(&task, &batch->text) != NEOQ_OK || batch->failed;
    }
    rd_put_since(batch, from);
}

static void put_seen(rd_batch *batch, const redisReply *item)
{
    rd_put(batch, item ? item->str : "", item ? (size_t)item->len : 0);
}

/* One try. *again: the job is not as it was seen any more. */
static int steer_found(neoq_store *store, neoq_action action, const rd_found *found, neoq_time keep_until,
                       bool *again)
{
    static const char *const words[] = {"", "retry", "cancel", "delete"};
    neoq_time now = rd_now(store);
    char key[RD_KEY_SIZE];
    rd_batch batch = {0};
    redisReply *answer;
    rd_begin_script(&batch, RD_STEER, rd_queue_key(found->queue, key));
    rd_put_time(&batch, now);
    rd_put_text(&batch, words[action]);
    rd_put_text(&batch, found->view.job.id);
    put_seen(&batch, rd_item(found->row, RD_LOOK_STATE));
    put_seen(&batch, rd_item(found->row, RD_LOOK_EPOCH));
    put_seen(&batch, rd_item(found->row, RD_LOOK_PLACE));
    put_message(store, &batch, action, found, now);
    if (keep_until)
        rd_put_time(&batch, keep_until);
    else
        rd_put_text(&batch, "");
    int status = ask(store, &batch, false, &answer);
    *again = status == NEOQ_OK && rd_is_text(answer, "again");
    if (status == NEOQ_OK && !*again && !rd_is_text(answer, "ok"))
        status = nq_fail(NEOQ_EDUPLICATE, "job %s cannot be retried: job %s with the same fingerprint is unfinished",
                         found->view.job.id, rd_string(answer));
    freeReplyObject(answer);
    return status;
}

/* A run's worker hears of it as asynq's do. */
static void tell_cancel(neoq_store *store, const char *id)
{
    rd_batch batch = {0};
    rd_begin(&batch, "PUBLISH");
    rd_put_text(&batch, RD_CANCEL);
    rd_put_text(&batch, id);
    rd_send_within(store, NEOQ_SECONDS(1), &batch, true);
    rd_batch_free(&batch);
    rd_bell_cancel(store->bell, id);
    rd_bell_ring(store->bell);
}

int rd_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until)
{
    bool again = true;
    int status = NEOQ_OK;
    for (int try = 0; try < TRIES && again && status == NEOQ_OK; try++) {
        rd_found found;
        status = rd_locate(store, id, &found);
        if (status != NEOQ_OK)
            return status;
        status = check_state(action, &found.view.job);
        if (status == NEOQ_OK)
            status = steer_found(store, action, &found, keep_until, &again);
        if (status == NEOQ_OK && !again && action == NEOQ_ACTION_CANCEL && found.view.job.state == NEOQ_RUNNING)
            tell_cancel(store, id);
        else if (status == NEOQ_OK && !again)
            tell_of(store, found.queue);
        rd_found_free(&found);
    }
    if (status == NEOQ_OK && again)
        return nq_fail(NEOQ_ESTATE, "job %s cannot be steered now: it is in one of Go's groups, or never at rest",
                       id);
    return status;
}

int rd_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress)
{
    rd_found found;
    char key[RD_KEY_SIZE];
    rd_batch batch = {0};
    int64_t done = 0;
    int status = rd_locate(store, id, &found);
    if (status != NEOQ_OK)
        return status == NEOQ_ENOTFOUND ? nq_fail(NEOQ_ELOST, "job %s is gone", id) : status;
    rd_begin_script(&batch, RD_PROGRESS, rd_queue_key(found.queue, key));
    rd_put_text(&batch, id);
    rd_put_int(&batch, epoch);
    size_t from = batch.text.size;
    nq_buffer_addf(&batch.text, "%" PRId64 " %d ", progress->at, progress->percent);
    nq_buffer_add_string(&batch.text, progress->note);
    rd_put_since(&batch, from);
    status = ask_number(store, &batch, true, &done);
    rd_found_free(&found);
    if (status == NEOQ_OK && !done)
        return nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more", (long long)epoch, id);
    return status;
}

/* ---- a queue ---------------------------------------------------------------------------- */

/* One script call's worth of a purge. */
static int purge_some(neoq_store *store, const char *queue, const char *state, int64_t *purged, bool *more)
{
    char key[RD_KEY_SIZE];
    rd_batch batch = {0};
    redisReply *answer;
    rd_begin_script(&batch, RD_PURGE, rd_queue_key(queue, key));
    rd_put_time(&batch, rd_now(store));
    rd_put_text(&batch, state);
    int status = ask(store, &batch, false, &answer);
    *purged += rd_number(rd_item(answer, 0), 0);
    *more = rd_number(rd_item(answer, 1), 0) != 0;
    freeReplyObject(answer);
    return status;
}

/* What is ready, scheduled, ...: asynq's words, by neoq's states. */
static int purge_states(neoq_store *store, const char *queue, neoq_state state, int64_t *purged)
{
    static const struct {
        neoq_state state;
        const char *name;
    } all[] = {{NEOQ_SCHEDULED, "scheduled"},
               {NEOQ_RETRYING, "retry"},
               {NEOQ_READY, "pending"},
               {NEOQ_DONE, "completed"},
               {NEOQ_DEAD, "archived"}};
    int status = NEOQ_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (bool more = state == 0 || state == all[i].state; more && status == NEOQ_OK;)
            status = purge_some(store, queue, all[i].name, purged, &more);
    return status;
}

int rd_purge(neoq_store *store, const char *queue, neoq_state state, int64_t *purged)
{
    *purged = 0;
    int status = rd_layout_refuses(store, "to purge a queue");
    if (status == NEOQ_OK)
        status = rd_queue_check(store, queue);
    if (status == NEOQ_OK)
        status = purge_states(store, queue, state, purged);
    if (*purged > 0)
        rd_bell_ring(store->bell); /* there is room again */
    return status;
}

/* What remove.lua finds: running jobs, or -1 = others. */
static int try_remove(neoq_store *store, const char *queue, int64_t *left)
{
    char key[RD_KEY_SIZE];
    rd_batch batch = {0};
    rd_begin_script(&batch, RD_REMOVE, rd_queue_key(queue, key));
    int status = ask_number(store, &batch, true, left);
    if (status == NEOQ_OK && *left > 0)
        status = nq_fail(NEOQ_ESTATE, "queue \"%s\" cannot be removed: %lld jobs of it are running", queue,
                         (long long)*left);
    return status;
}

static int remove_queue(neoq_store *store, const char *queue)
{
    int64_t left = 0, purged = 0;
    int status = try_remove(store, queue, &left);
    for (int try = 0; try < TRIES && left < 0 && status == NEOQ_OK; try++) {
        status = purge_states(store, queue, (neoq_state)0, &purged);
        if (status == NEOQ_OK)
            status = try_remove(store, queue, &left);
    }
    if (status != NEOQ_OK)
        return purged > 0 && status != NEOQ_ESTATE ? rd_partly(status) : status;
    if (left < 0)
        return nq_fail(NEOQ_ESTATE, "queue \"%s\" cannot be removed: jobs keep coming in", queue);
    rd_batch batch = {0};
    rd_begin(&batch, "SREM");
    rd_put_text(&batch, RD_QUEUES);
    rd_put_text(&batch, queue);
    status = rd_partly(ask_number(store, &batch, true, &left));
    rd_bell_ring(store->bell);
    return status;
}

static void put_capacity(rd_batch *batch, const char *queue, int64_t capacity)
{
    char key[RD_KEY_SIZE];
    if (capacity > 0) {
        rd_begin(batch, "SADD");
        rd_put_text(batch, RD_QUEUES);
        rd_put_text(batch, queue);
    }
    rd_queue_key(queue, key);
    rd_begin(batch, capacity > 0 ? "HSET" : "HDEL");
    rd_put_copy(batch, key, strlen(key));
    rd_put_text(batch, "capacity");
    if (capacity > 0)
        rd_put_int(batch, capacity);
}

static void put_pause(neoq_store *store, rd_batch *batch, const char *queue, bool paused)
{
    rd_begin(batch, paused ? "SET" : "DEL");
    rd_putf(batch, "asynq:{%.200s}:paused", queue);
    if (paused) {
        rd_put_int(batch, rd_now(store) / 1000000);
        rd_put_text(batch, "NX");
    }
}

int rd_set_queue(neoq_store *store, const char *queue, neoq_queue_action action, int64_t value)
{
    rd_batch batch = {0};
    if (rd_is_shared(store) && action == NEOQ_QUEUE_CAPACITY && value == 0)
        return NEOQ_OK;
    int status = rd_layout_refuses(store, "to pause, to bound or to remove a queue");
    if (status == NEOQ_OK && action != NEOQ_QUEUE_CAPACITY)
        status = rd_queue_check(store, queue);
    if (status == NEOQ_OK && !rd_queue_fits(store, queue))
        status = rd_queue_misfit(queue);
    if (status != NEOQ_OK)
        return status;
    if (action == NEOQ_QUEUE_REMOVE)
        return remove_queue(store, queue);
    if (action == NEOQ_QUEUE_CAPACITY)
        put_capacity(&batch, queue, value);
    else
        put_pause(store, &batch, queue, action == NEOQ_QUEUE_PAUSE);
    status = rd_write(store, &batch);
    rd_batch_free(&batch);
    if (status == NEOQ_OK)
        tell_of(store, queue);
    return status;
}

/* ---- schedules -------------------------------------------------------------------------- */

/*
 * A schedule is kept in the slot of its queue, so that a tick moves it and stores the jobs in one step; RD_SCHEDULES has
 * the names, and whose queue to look in.
 */
static void put_schedule_key(const neoq_store *store, rd_batch *batch, const char *queue, const char *name)
{
    rd_putf(batch, "asynq:{%.200s}:neoq:schedule:", rd_home(store, queue));
    if (batch->failed)
        return;
    nq_buffer_add_string(&batch->text, name);
    batch->args[batch->arg_count - 1].size += strlen(name);
}

/* The queue of that schedule, copied to queue; "" = there is none. */
static int find_schedule(neoq_store *store, const char *name, char queue[201])
{
    rd_batch batch = {0};
    redisReply *answer;
    rd_begin(&batch, "HGET");
    rd_put_text(&batch, RD_SCHEDULES);
    rd_put_text(&batch, name);
    int status = look_up(store, &batch, &answer);
    const char *found = rd_string(answer);
    snprintf(queue, 201, "%s", found ? found : "");
    freeReplyObject(answer);
    return status;
}

static int delete_schedule(neoq_store *store, const char *name, const char *queue)
{
    rd_batch batch = {0};
    rd_begin(&batch, "DEL");
    put_schedule_key(store, &batch, queue, name);
    int status = rd_write(store, &batch);
    rd_batch_free(&batch);
    return status;
}

static const char *kind_of(const neoq_schedule_record *schedule)
{
    return schedule->stored ? "stored" : "started";
}

/* One that moves to another queue takes its ticks along, as it keeps them where it stays. */
static int carry_ticks(neoq_store *store, const char *queue, const neoq_schedule_record *schedule,
                       neoq_schedule_info *info)
{
    rd_batch batch = {0};
    redisReply *fields;
    rd_begin(&batch, "HMGET");
    put_schedule_key(store, &batch, queue, schedule->info.name);
    rd_put_text(&batch, "spec");
    rd_put_text(&batch, "kind");
    rd_put_text(&batch, "last");
    rd_put_text(&batch, "next");
    int status = look_up(store, &batch, &fields);
    if (rd_is_text(rd_item(fields, 0), info->spec) && rd_is_text(rd_item(fields, 1), kind_of(schedule))) {
        info->last_at = rd_number(rd_item(fields, 2), info->last_at);
        info->next_at = rd_number(rd_item(fields, 3), info->next_at);
    }
    freeReplyObject(fields);
    return status;
}

static int write_schedule(neoq_store *store, const neoq_schedule_record *schedule, const neoq_schedule_info *info)
{
    char key[RD_KEY_SIZE];
    rd_batch batch = {0};
    rd_begin_script(&batch, RD_SCHEDULE, rd_queue_key(rd_home(store, info->queue), key));
    rd_put_text(&batch, info->name);
    rd_put_text(&batch, info->spec);
    rd_put_text(&batch, kind_of(schedule));
    rd_put_int(&batch, info->last_at);
    rd_put_int(&batch, info->next_at);
    rd_put_template(&batch, &schedule->job);
    rd_begin(&batch, "HSET");
    rd_put_text(&batch, RD_SCHEDULES);
    rd_put_text(&batch, info->name);
    rd_put_text(&batch, info->queue);
    int status = rd_write(store, &batch);
    rd_batch_free(&batch);
    return status;
}

int rd_set_schedule(neoq_store *store, const neoq_schedule_record *schedule)
{
    char before[201];
    neoq_schedule_info info = schedule->info;
    if (!rd_queue_fits(store, info.queue))
        return rd_queue_misfit(info.queue);
    int status = find_schedule(store, info.name, before);
    bool moves = *before && strcmp(rd_home(store, before), rd_home(store, info.queue)) != 0;
    if (status == NEOQ_OK)
        status = rd_layout_check(store, &schedule->job, false);
    if (status == NEOQ_OK && moves)
        status = carry_ticks(store, before, schedule, &info);
    if (status == NEOQ_OK)
        status = write_schedule(store, schedule, &info);
    if (status == NEOQ_OK && moves)
        status = rd_partly(delete_schedule(store, info.name, before));
    if (!schedule->stored)
        rd_agenda_own(store->agenda, info.name);
    if (status == NEOQ_OK)
        tell_of(store, info.queue); /* whoever tends schedules does not know of it */
    return status;
}

int rd_remove_schedule(neoq_store *store, const char *name)
{
    char queue[201];
    rd_batch batch = {0};
    int status = find_schedule(store, name, queue);
    if (status == NEOQ_OK && !*queue)
        return nq_fail(NEOQ_ENOTFOUND, "there is no schedule \"%s\"", name);
    if (status != NEOQ_OK)
        return status;
    rd_begin(&batch, "HDEL");
    rd_put_text(&batch, RD_SCHEDULES);
    rd_put_text(&batch, name);
    rd_begin(&batch, "DEL");
    put_schedule_key(store, &batch, queue, name);
    rd_put_no_history(&batch, name);
    status = rd_write(store, &batch);
    rd_batch_free(&batch);
    rd_agenda_remove(store->agenda, name);
    return status;
}

/* The names, in order, each with its queue behind it. */
static int by_first(const void *a, const void *b)
{
    return strcmp(((const char *const *)a)[0], ((const char *const *)b)[0]);
}

static int tell_schedule(const char *name, const char *queue, const redisReply *fields, rd_glance *glance,
                         neoq_each_schedule each, void *arg)
{
    rd_view view;
    const char *spec = rd_string(rd_item(fields, 0));
    const redisReply *record = rd_item(fields, 4);
    neoq_schedule_record told = {.stored = rd_is_text(rd_item(fields, 1), "stored")};
    if (!spec || !record)
        return NEOQ_OK; /* it was just removed */
    snprintf(told.info.name, sizeof told.info.name, "%s", name);
    snprintf(told.info.spec, sizeof told.info.spec, "%s", spec);
    snprintf(told.info.queue, sizeof told.info.queue, "%s", queue);
    told.info.last_at = rd_number(rd_item(fields, 2), 0);
    told.info.next_at = rd_number(rd_item(fields, 3), 0);
    int status = rd_template_read(&view, record, queue);
    if (status != NEOQ_OK)
        return status;
    told.job = view.job;
    rd_glance_add(glance, &told);
    status = each(&told, arg);
    rd_view_clear(&view);
    return status;
}

int rd_schedules(neoq_store *store, neoq_each_schedule each, void *arg)
{
    rd_batch list = {0}, batch = {0};
    rd_glance glance = {0};
    redisReply *answer;
    rd_begin(&list, "HGETALL");
    rd_put_text(&list, RD_SCHEDULES);
    int status = look_up(store, &list, &answer);
    size_t count = rd_items(answer) / 2;
    const char **pairs = malloc((2 * count + 1) * sizeof(char *));
    if (status == NEOQ_OK && !pairs)
        status = nq_fail(NEOQ_ENOMEM, "no memory for schedules");
    for (size_t i = 0; i < 2 * count && pairs; i++)
        pairs[i] = rd_string(rd_item(answer, i));
    if (pairs && count > 0)
        qsort(pairs, count, 2 * sizeof(char *), by_first);
    for (size_t i = 0; i < count && status == NEOQ_OK; i++) {
        static const char *const fields[] = {"spec", "kind", "last", "next", "record"};
        rd_begin(&batch, "HMGET");
        put_schedule_key(store, &batch, pairs[2 * i + 1], pairs[2 * i]);
        for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
            rd_put_text(&batch, fields[k]);
    }
    if (status == NEOQ_OK)
        status = rd_read(store, &batch);
    for (size_t i = 0; i < count && status == NEOQ_OK; i++)
        status = tell_schedule(pairs[2 * i], pairs[2 * i + 1], batch.calls[i].reply, &glance, each, arg);
    if (status == NEOQ_OK)
        rd_agenda_take(store->agenda, &glance);
    rd_glance_free(&glance);
    rd_batch_free(&batch);
    freeReplyObject(answer);
    free(pairs);
    return status;
}

/* What the tick came to: for asynq's tools, and to whoever waits for jobs of the queue. */
static void tell_tick(neoq_store *store, const char *name, const char *queue, neoq_time last, neoq_time next,
                      const neoq_enqueued *results, size_t count)
{
    rd_batch batch = {0};
    rd_agenda_tick(store->agenda, name, last, next);
    if (count == 0)
        return;
    rd_put_history(&batch, name, results, count, rd_now(store));
    send_hint(store, &batch, queue);
}

/* The jobs of a tick are all of the schedule's queue. */
int rd_tick_schedule(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
                     const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    char queue[201], key[RD_KEY_SIZE];
    rd_batch batch = {0};
    int status = find_schedule(store, name, queue);
    if (status == NEOQ_OK && !*queue)
        return nq_fail(NEOQ_ELOST, "schedule \"%s\" was removed", name);
    if (status != NEOQ_OK)
        return status;
    if (count > 0) {
        rd_begin(&batch, "SADD");
        rd_put_text(&batch, RD_QUEUES);
        rd_put_text(&batch, rd_home(store, queue));
    }
    rd_begin_script(&batch, RD_TICK, rd_queue_key(rd_home(store, queue), key));
    rd_put_time(&batch, rd_now(store));
    rd_put_text(&batch, name);
    rd_put_int(&batch, expected);
    rd_put_int(&batch, last);
    rd_put_int(&batch, next);
    for (size_t i = 0; i < count; i++) {
        results[i] = (neoq_enqueued){.status = NEOQ_OK};
        snprintf(results[i].id, sizeof results[i].id, "%s", rd_task_id(store, &jobs[i]));
        rd_put_job(store, &batch, &jobs[i]);
    }
    status = rd_send(store, &batch, true); /* again: then it was done already, by whomever */
    const redisReply *answer = status == NEOQ_OK ? batch.calls[count > 0].reply : NULL;
    if (status == NEOQ_OK && rd_items(answer) == 0 && answer->type != REDIS_REPLY_ARRAY)
        status = nq_fail(NEOQ_ELOST, "schedule \"%s\": this tick was enqueued already", name);
    for (size_t i = 0; i < rd_items(answer); i++) {
        size_t number = rd_stored_number(rd_item(answer, i), count);
        if (number > 0)
            rd_read_stored(rd_item(answer, i), &results[number - 1]);
    }
    rd_batch_free(&batch);
    if (status == NEOQ_OK)
        tell_tick(store, name, queue, last, next, results, count);
    return status;
}
