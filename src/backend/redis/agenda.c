/* SPDX-License-Identifier: MIT */
#include "backend/redis/agenda.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/jobs.h"
#include "job/job.h"

enum {
    SHOWN = 500,          /* schedules */
    PAYLOAD_SHOWN = 4096, /* a longer one is not */
    EVENTS_KEPT = 1000,   /* asynq's */
};
static const int64_t last_second = 253402300799; /* of the year 9999; asynqmon fails at a later one */

#define SCHEDULERS "asynq:schedulers"

typedef struct own_name {
    struct own_name *next;
    char name[201];
} own_name;

struct rd_agenda {
    pthread_mutex_t mutex; /* of all of it */
    rd_glance seen;
    own_name *own;
    bool shown; /* the server may have a list of ours */
};

rd_agenda *rd_agenda_open(void)
{
    rd_agenda *agenda = calloc(1, sizeof *agenda);
    if (agenda)
        pthread_mutex_init(&agenda->mutex, NULL);
    return agenda;
}

void rd_agenda_close(rd_agenda *agenda)
{
    if (!agenda)
        return;
    rd_glance_free(&agenda->seen);
    for (own_name *own = agenda->own, *next; own; own = next) {
        next = own->next;
        free(own);
    }
    pthread_mutex_destroy(&agenda->mutex);
    free(agenda);
}

/* ---- what there is ---------------------------------------------------------------------- */

void rd_glance_add(rd_glance *glance, const neoq_schedule_record *schedule)
{
    if (glance->count == SHOWN)
        return;
    rd_seen *grown = realloc(glance->items, (glance->count + 1) * sizeof *grown);
    if (!grown)
        return;
    glance->items = grown;
    neoq_job *job = nq_job_copy(&schedule->job);
    if (!job)
        return;
    rd_seen *seen = &grown[glance->count++];
    *seen = (rd_seen){.schedule = *schedule, .job = job};
    seen->schedule.job = *job;
}

void rd_glance_free(rd_glance *glance)
{
    while (glance->count > 0)
        free(glance->items[--glance->count].job);
    free(glance->items);
    *glance = (rd_glance){0};
}

void rd_agenda_take(rd_agenda *agenda, rd_glance *glance)
{
    pthread_mutex_lock(&agenda->mutex);
    rd_glance_free(&agenda->seen);
    agenda->seen = *glance;
    pthread_mutex_unlock(&agenda->mutex);
    *glance = (rd_glance){0};
}

static bool is_own(const rd_agenda *agenda, const char *name)
{
    const own_name *own = agenda->own;
    while (own && strcmp(own->name, name) != 0)
        own = own->next;
    return own != NULL;
}

void rd_agenda_own(rd_agenda *agenda, const char *name)
{
    pthread_mutex_lock(&agenda->mutex);
    own_name *own = is_own(agenda, name) ? NULL : malloc(sizeof *own);
    if (own) {
        snprintf(own->name, sizeof own->name, "%s", name);
        own->next = agenda->own;
        agenda->own = own;
    }
    pthread_mutex_unlock(&agenda->mutex);
}

/* NULL: it was not seen. */
static rd_seen *find(const rd_agenda *agenda, const char *name)
{
    for (size_t i = 0; i < agenda->seen.count; i++)
        if (strcmp(agenda->seen.items[i].schedule.info.name, name) == 0)
            return &agenda->seen.items[i];
    return NULL;
}

void rd_agenda_tick(rd_agenda *agenda, const char *name, neoq_time last, neoq_time next)
{
    pthread_mutex_lock(&agenda->mutex);
    rd_seen *item = find(agenda, name);
    if (item) {
        item->schedule.info.last_at = last;
        item->schedule.info.next_at = next;
    }
    pthread_mutex_unlock(&agenda->mutex);
}

void rd_agenda_remove(rd_agenda *agenda, const char *name)
{
    pthread_mutex_lock(&agenda->mutex);
    rd_seen *item = find(agenda, name);
    if (item) {
        free(item->job);
        *item = agenda->seen.items[--agenda->seen.count];
    }
    pthread_mutex_unlock(&agenda->mutex);
}

/* ---- the list --------------------------------------------------------------------------- */

static rd_stamp stamp_of(neoq_time time)
{
    return rd_stamp_of(time < NEOQ_SECONDS(last_second) ? time : NEOQ_SECONDS(last_second));
}

/* Queue("name"), quoted as Go does. */
static void quote_queue(char *out, size_t room, const char *queue)
{
    size_t size = (size_t)snprintf(out, room, "Queue(\"");
    for (; *queue && size + 8 < room; queue++) {
        if (*queue == '"' || *queue == '\\')
            out[size++] = '\\';
        out[size++] = *queue;
    }
    snprintf(out + size, room - size, "\")");
}

static void put_entry(rd_batch *batch, const neoq_schedule_record *item)
{
    char type[256], queue[512], retries[32], retention[48];
    const neoq_job *job = &item->job;
    rd_entry options[3];
    size_t count = 0, from = batch->text.size;
    quote_queue(queue, sizeof queue, item->info.queue);
    snprintf(retries, sizeof retries, "MaxRetry(%d)", job->max_retries < 0 ? 0 : job->max_retries);
    snprintf(retention, sizeof retention, "Retention(%" PRId64 "s)", rd_seconds_up(job->retention));
    options[count++] = (rd_entry){.name = rd_text(queue)};
    options[count++] = (rd_entry){.name = rd_text(retries)};
    if (job->retention)
        options[count++] = (rd_entry){.name = rd_text(retention)};
    const rd_schedule entry = {
        .id = rd_text(item->info.name),
        .spec = rd_text(item->info.spec),
        .task_type = rd_text(rd_task_type(job, type, sizeof type)),
        .payload = job->payload_size <= PAYLOAD_SHOWN ? (rd_bytes){job->payload, job->payload_size} : (rd_bytes){0},
        .next = stamp_of(item->info.next_at),
        .last = stamp_of(item->info.last_at),
        .options = {options, count},
    };
    batch->failed = rd_schedule_encode(&entry, &batch->text) != NEOQ_OK || batch->failed;
    rd_put_since(batch, from);
}

static void put_list(rd_agenda *agenda, rd_batch *batch, const char *key, int64_t life)
{
    rd_begin_script(batch, RD_AGENDA, key);
    rd_put_int(batch, life);
    for (size_t i = 0; i < agenda->seen.count; i++) {
        const neoq_schedule_record *item = &agenda->seen.items[i].schedule;
        if (item->stored || is_own(agenda, item->info.name))
            put_entry(batch, item);
    }
    bool empty = !batch->failed && batch->calls[batch->call_count - 1].count == 2;
    if (empty && !agenda->shown)
        batch->call_count--;
    agenda->shown = !empty;
}

void rd_put_agenda(rd_agenda *agenda, rd_batch *batch, const char *key, int64_t until, int64_t life)
{
    pthread_mutex_lock(&agenda->mutex);
    put_list(agenda, batch, key, life);
    if (agenda->shown) {
        rd_begin(batch, "ZADD");
        rd_put_text(batch, SCHEDULERS);
        rd_put_int(batch, until);
        rd_put_copy(batch, key, strlen(key));
    }
    pthread_mutex_unlock(&agenda->mutex);
}

void rd_put_no_agenda(rd_agenda *agenda, rd_batch *batch, const char *key)
{
    pthread_mutex_lock(&agenda->mutex);
    if (agenda->shown) {
        rd_begin(batch, "ZREM");
        rd_put_text(batch, SCHEDULERS);
        rd_put_copy(batch, key, strlen(key));
        rd_begin(batch, "DEL");
        rd_put_copy(batch, key, strlen(key));
    }
    agenda->shown = false;
    pthread_mutex_unlock(&agenda->mutex);
}

/* ---- history ---------------------------------------------------------------------------- */

static void put_history_key(rd_batch *batch, const char *name)
{
    rd_putf(batch, "asynq:scheduler_history:%.200s", name);
}

void rd_put_history(rd_batch *batch, const char *name, const neoq_enqueued *results, size_t count, neoq_time now)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        const rd_tick tick = {.task_id = rd_text(results[i].id), .at = rd_stamp_of(now)};
        if (results[i].status != NEOQ_OK)
            continue;
        any = true;
        rd_begin(batch, "ZADD");
        put_history_key(batch, name);
        rd_put_int(batch, now / 1000000);
        size_t from = batch->text.size;
        batch->failed = rd_tick_encode(&tick, &batch->text) != NEOQ_OK || batch->failed;
        rd_put_since(batch, from);
    }
    if (!any)
        return;
    rd_begin(batch, "ZREMRANGEBYRANK");
    put_history_key(batch, name);
    rd_put_int(batch, 0);
    rd_put_int(batch, -EVENTS_KEPT - 1);
}

void rd_put_no_history(rd_batch *batch, const char *name)
{
    rd_begin(batch, "DEL");
    put_history_key(batch, name);
}
