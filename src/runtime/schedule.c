/* SPDX-License-Identifier: MIT
 *
 * Schedules. The store holds each with the instant of its next tick; whoever finds a tick due moves that instant on and
 * enqueues the job in one transaction, and the store lets only one succeed. So there is no leader, and a tick is
 * enqueued once however many processes tend the schedule and however their clocks differ.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/uuid.h"
#include "job/fingerprint.h"
#include "job/job.h"
#include "runtime/runtime.h"
#include "schedule/cron.h"
#include "schedule/phrase.h"
#include "schedule/words.h"

enum {
    CATCH_UP_SECONDS = 60,  /* ticks missed by no more than this are all made up for */
    FORGIVE_SECONDS = 3600, /* of older ones the latest, unless it is older than this */
    CATCH_UP_TICKS = 64
};

/* ---- names and jobs --------------------------------------------------------------------- */

static int check_name(const char *name)
{
    return nq_queue_name_check("schedule: name", name);
}

static int first_tick(const char *spec, neoq_time now, neoq_time *next)
{
    nq_cron *cron;
    int status = nq_cron_parse(&cron, spec);
    if (status != NEOQ_OK)
        return status;
    status = nq_cron_next(cron, now, next);
    nq_cron_free(cron);
    return status;
}

static int put_schedule(neoq *nq, const char *name, const char *spec, const neoq_job *job, bool stored)
{
    neoq_schedule_record record = {.stored = stored, .job = *job};
    if (strlen(spec) >= sizeof record.info.spec)
        return nq_fail(NEOQ_EINVAL, "schedule \"%s\": the cron spec is longer than %zu bytes", name,
                       sizeof record.info.spec - 1);
    snprintf(record.info.name, sizeof record.info.name, "%s", name);
    snprintf(record.info.spec, sizeof record.info.spec, "%s", spec);
    snprintf(record.info.queue, sizeof record.info.queue, "%s", job->queue);
    int status = first_tick(spec, nq_now(nq), &record.info.next_at);
    if (status == NEOQ_OK)
        status = nq->backend->set_schedule(nq->store, &record);
    if (status != NEOQ_OK)
        return status;
    pthread_mutex_lock(&nq->mutex);
    nq->next_schedule = 0;
    pthread_cond_signal(&nq->ticking);
    pthread_mutex_unlock(&nq->mutex);
    return NEOQ_OK;
}

int neoq_schedule(neoq *nq, const char *name, const char *spec, const neoq_job *job)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK)
        status = check_name(name);
    if (status != NEOQ_OK)
        return status;
    if (!spec || !job)
        return nq_fail(NEOQ_EINVAL, "schedule \"%s\": the %s is NULL", name, spec ? "job" : "cron spec");
    if (job->id || job->run_after || job->deadline)
        return nq_fail(NEOQ_EINVAL,
                       "schedule \"%s\": its job cannot have an id, a run_after or a deadline: each tick "
                       "makes a job of its own",
                       name);
    neoq_job checked;
    status = nq_job_check(job, &nq->options, nq_now(nq), &checked);
    if (status != NEOQ_OK)
        return status;
    /* What the user left open is decided at each tick. */
    neoq_job template = *job;
    template.payload_size = checked.payload_size;
    template.max_retries = checked.max_retries;
    template.retry_waits = checked.retry_waits;
    template.retry_wait_count = checked.retry_wait_count;
    return put_schedule(nq, name, spec, &template, true);
}

int neoq_unschedule(neoq *nq, const char *name)
{
    int status = nq_usable(nq);
    if (status == NEOQ_OK)
        status = check_name(name);
    return status == NEOQ_OK ? nq->backend->remove_schedule(nq->store, name) : status;
}

int neoq_cron_next(const char *spec, neoq_time after, neoq_time *next)
{
    if (!spec || !next)
        return nq_fail(NEOQ_EINVAL, "neoq_cron_next: %s is NULL", spec ? "next" : "the spec");
    return first_tick(spec, after, next);
}

int neoq_cron_describe(const char *spec, char *words, size_t size)
{
    nq_cron *cron;
    if (!spec || !words || size == 0)
        return nq_fail(NEOQ_EINVAL, "neoq_cron_describe: %s",
                       spec ? "there is no room for the words" : "the spec is NULL");
    int status = nq_cron_parse(&cron, spec);
    if (status != NEOQ_OK)
        return status;
    status = nq_cron_phrase(cron, words, size);
    nq_cron_free(cron);
    return status;
}

/* A schedule that is to be started with its handler. */
typedef struct cron_start {
    const char *spec;
    neoq_job job;
    nq_own_schedule *own;
} cron_start;

static int put_own_schedule(neoq *nq, void *arg)
{
    const cron_start *start = arg;
    return put_schedule(nq, start->own->name, start->spec, &start->job, false);
}

static void own_schedule(neoq *nq, nq_own_schedule *own)
{
    pthread_mutex_lock(&nq->mutex);
    own->next = nq->own_schedules;
    nq->own_schedules = own;
    nq->next_schedule = 0;
    pthread_cond_signal(&nq->ticking);
    pthread_mutex_unlock(&nq->mutex);
}

int neoq_start_cron(neoq *nq, const char *spec, const neoq_handler *handler)
{
    int status = nq_usable(nq);
    if (status != NEOQ_OK)
        return status;
    if (!spec || !handler)
        return nq_fail(NEOQ_EINVAL, "neoq_start_cron: the %s is NULL", spec ? "handler" : "cron spec");
    char queue[NQ_QUEUE_NAME_MAX + 1], name[NQ_QUEUE_NAME_MAX + 1];
    neoq_time next;
    status = first_tick(spec, nq_now(nq), &next);
    if (status != NEOQ_OK)
        return status;
    neoq_handler named = *handler;
    if (!named.queue) {
        status = nq_cron_queue_name(spec, queue, sizeof queue);
        named.queue = queue;
    } else {
        status = nq_queue_name_check("neoq_start_cron: queue", named.queue);
    }
    if (status != NEOQ_OK)
        return status;
    if (snprintf(name, sizeof name, "cron:%s", named.queue) >= (int)sizeof name)
        return nq_fail(NEOQ_EINVAL, "neoq_start_cron: the queue's name is longer than %zu bytes", sizeof name - 6);
    nq_own_schedule *own = malloc(sizeof *own);
    if (!own)
        return nq_fail(NEOQ_ENOMEM, "neoq_start_cron: no memory");
    snprintf(own->name, sizeof own->name, "%s", name);
    cron_start start = {spec, {.queue = named.queue, .max_retries = NQ_DEFAULT_MAX_RETRIES}, own};
    status = nq_start(nq, &named, put_own_schedule, &start);
    if (status == NEOQ_OK)
        own_schedule(nq, own);
    else
        free(own);
    return status;
}

/* ---- ticks ------------------------------------------------------------------------------ */

/* The ticks that are due, and the first that is not. */
typedef struct due_ticks {
    neoq_time ticks[CATCH_UP_TICKS];
    size_t count;
    neoq_time next;
} due_ticks;

/*
 * Those of the last minute are all made up for: a busy machine drops no tick. When the last one is older than that,
 * nobody was there: then only the latest is run, and only within the hour.
 */
static int find_ticks(const char *spec, neoq_time next_at, neoq_time now, due_ticks *due)
{
    nq_cron *cron;
    int status = nq_cron_parse(&cron, spec);
    if (status != NEOQ_OK)
        return status;
    due->count = 0;
    neoq_time tick = next_at, oldest = now - NEOQ_SECONDS(FORGIVE_SECONDS);
    if (tick < oldest) /* far behind: do not walk over what nobody wants */
        status = nq_cron_next(cron, oldest - 1, &tick);
    while (status == NEOQ_OK && tick <= now) {
        bool recent = tick > now - NEOQ_SECONDS(CATCH_UP_SECONDS);
        if (due->count > 0 && due->ticks[due->count - 1] <= now - NEOQ_SECONDS(CATCH_UP_SECONDS))
            due->count--; /* a later one takes its place */
        if (due->count < CATCH_UP_TICKS || !recent)
            due->ticks[due->count++] = tick;
        status = nq_cron_next(cron, tick, &tick);
    }
    nq_cron_free(cron);
    due->next = status == NEOQ_OK ? tick : NQ_TIME_MAX;
    return NEOQ_OK;
}

/* One name, one tick, one id: even a store without transactions could not enqueue it twice. */
static void tick_id(const char *name, neoq_time tick, char text[37])
{
    uint8_t id[16];
    char tail[32];
    int size = snprintf(tail, sizeof tail, "@%lld", (long long)tick);
    char print[33];
    nq_fingerprint(name, tail, (size_t)size, print);
    uint64_t counter = 0, random = 0;
    for (int i = 0; i < 8; i++)
        counter = counter << 4 | (uint64_t)(print[i] <= '9' ? print[i] - '0' : print[i] - 'a' + 10);
    for (int i = 8; i < 24; i++)
        random = random << 4 | (uint64_t)(print[i] <= '9' ? print[i] - '0' : print[i] - 'a' + 10);
    nq_uuid_make(id, tick, counter, random);
    nq_uuid_format(id, text);
}

/* The job of one tick. Unless the user asked for uniqueness, ticks do not displace each other. */
static int make_tick_job(neoq *nq, const neoq_schedule_record *schedule, neoq_time tick, char id[37], char print[33],
                         neoq_job *job)
{
    neoq_job template = schedule->job;
    tick_id(schedule->info.name, tick, id);
    template.id = id;
    if (template.unique == NEOQ_UNIQUE_DEFAULT && !template.fingerprint)
        template.unique = NEOQ_UNIQUE_OFF;
    if (template.payload_size == 0)
        template.payload = NULL;
    char id_text[37];
    int status = nq_prepare_job(nq, &template, nq_now(nq), id_text, print, job);
    job->id = id;
    return status;
}

static int tick_schedule(neoq *nq, const neoq_schedule_record *schedule, neoq_time *next)
{
    due_ticks due;
    int status = find_ticks(schedule->info.spec, schedule->info.next_at, nq_now(nq), &due);
    if (status != NEOQ_OK)
        return status;
    *next = due.next;
    neoq_job jobs[CATCH_UP_TICKS];
    char ids[CATCH_UP_TICKS][37], prints[CATCH_UP_TICKS][33];
    neoq_enqueued results[CATCH_UP_TICKS];
    for (size_t i = 0; i < due.count && status == NEOQ_OK; i++)
        status = make_tick_job(nq, schedule, due.ticks[i], ids[i], prints[i], &jobs[i]);
    if (status != NEOQ_OK)
        return status;
    neoq_time last = due.count > 0 ? due.ticks[due.count - 1] : schedule->info.last_at;
    status = nq->backend->tick(nq->store, schedule->info.name, schedule->info.next_at, last, due.next, jobs,
                               due.count, results);
    nq_poke(nq);
    return status == NEOQ_ELOST ? NEOQ_OK : status;
}

/* Copies of the schedules that are this neoq's to tend. */
typedef struct collection {
    neoq *nq;
    neoq_schedule_record *records;
    size_t count, room;
} collection;

static bool is_own(neoq *nq, const char *name)
{
    pthread_mutex_lock(&nq->mutex);
    const nq_own_schedule *own = nq->own_schedules;
    while (own && strcmp(own->name, name) != 0)
        own = own->next;
    pthread_mutex_unlock(&nq->mutex);
    return own != NULL;
}

static int collect(const neoq_schedule_record *record, void *arg)
{
    collection *all = arg;
    if (!record->stored && !is_own(all->nq, record->info.name))
        return NEOQ_OK;
    if (all->count == all->room) {
        size_t room = all->room ? all->room * 2 : 8;
        neoq_schedule_record *records = realloc(all->records, room * sizeof *records);
        if (!records)
            return nq_fail(NEOQ_ENOMEM, "no memory to read the schedules");
        all->records = records;
        all->room = room;
    }
    neoq_schedule_record *copy = &all->records[all->count];
    *copy = *record;
    neoq_job *job = nq_job_copy(&record->job);
    if (!job)
        return nq_fail(NEOQ_ENOMEM, "no memory to read the schedules");
    copy->job = *job;
    copy->job.id = (const char *)job; /* the block to be freed; a template has no id of its own */
    all->count++;
    return NEOQ_OK;
}

void nq_hear_of_schedules(neoq *nq)
{
    int64_t look = nq_time_add(nq->schedules_read, nq->options.lease / 6);
    if (look >= nq->next_schedule)
        return;
    nq->next_schedule = look;
    if (look < nq->ticker_until)
        pthread_cond_signal(&nq->ticking);
}

int nq_tick_schedules(neoq *nq)
{
    collection all = {.nq = nq};
    pthread_mutex_lock(&nq->mutex);
    nq->schedules_read = nq->clock->steady(nq->clock);
    nq->next_schedule = INT64_MAX; /* who sets it meanwhile may have one that is not read here */
    pthread_mutex_unlock(&nq->mutex);
    neoq_time now = nq_now(nq);
    int status = nq->backend->schedules(nq->store, collect, &all);
    neoq_time earliest = now + (status == NEOQ_OK ? nq->options.lease : nq->options.lease / 6);
    for (size_t i = 0; i < all.count; i++) {
        neoq_schedule_record *record = &all.records[i];
        void *block = (void *)(uintptr_t)record->job.id;
        record->job.id = NULL;
        neoq_time next = record->info.next_at;
        if (status == NEOQ_OK && next <= now && tick_schedule(nq, record, &next) != NEOQ_OK) {
            nq_log(&nq->options, NEOQ_LOG_ERROR, "schedule \"%s\": its tick cannot be enqueued: %s",
                   record->info.name, neoq_error_message());
            next = now + NEOQ_SECONDS(1);
        }
        if (next < earliest)
            earliest = next;
        free(block);
    }
    free(all.records);
    pthread_mutex_lock(&nq->mutex);
    int64_t next_schedule = nq_time_add(nq->schedules_read, earliest > now ? earliest - now : 0);
    if (next_schedule < nq->next_schedule)
        nq->next_schedule = next_schedule;
    pthread_mutex_unlock(&nq->mutex);
    return status;
}
