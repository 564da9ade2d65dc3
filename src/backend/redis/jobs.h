/* SPDX-License-Identifier: MIT
 *
 * redis/jobs.h -- a job as it stands in Redis: asynq's message, and beside it facts that asynq has no word for.
 *
 * The message is what Go reads and rewrites, so whatever it can say counts: type, payload, retries, the last error. The
 * facts are written once and are ours alone: what asynq's whole seconds would cut off, priority, fingerprint, metadata.
 */
#ifndef NQ_REDIS_JOBS_H
#define NQ_REDIS_JOBS_H

#include "backend/redis/message.h"
#include "backend/redis/store.h"
#include "job/job.h"

/* ---- writing ---------------------------------------------------------------------------- */

/* Puts what store.lua takes of a job. */
void rd_put_job(const neoq_store *store, rd_batch *batch, const neoq_job *job);
/* What store.lua answers of a job that it did not simply store: its number there, counted from 1, 0 = it is none of
 * them; and the rest. */
size_t rd_stored_number(const redisReply *item, size_t count);
void rd_read_stored(const redisReply *item, neoq_enqueued *result);
/* asynq's type of the job's task, in type or as long as the job. */
const char *rd_task_type(const neoq_job *job, char *type, size_t room);
int64_t rd_seconds_up(neoq_duration duration); /* as asynq has them, in whole seconds */
/* Puts what a schedule keeps of its jobs. */
void rd_put_template(rd_batch *batch, const neoq_job *job);
/* Puts the message of a run's job, as the settlement leaves it. False: no memory. */
bool rd_put_settled(rd_batch *batch, const char *message, size_t size, const neoq_settlement *s);

/* ---- reading ---------------------------------------------------------------------------- */

/* A job that was read; its strings live until rd_view_clear(). */
typedef struct rd_view {
    neoq_job job;
    neoq_time kept_until; /* 0 = for ever */
    nq_buffer texts;
    neoq_duration waits[NQ_RETRY_WAITS_MAX];
} rd_view;

/* What a script told of a job; NULL where it told nothing. */
typedef struct rd_row {
    const redisReply *id, *message, *state, *facts, *place, *epoch, *ran, *end, *result, *since, *score;
} rd_row;

/* queue NULL: the task's type is its queue's name (layout.h). NEOQ_ENOMEM; NEOQ_EBACKEND: it is nothing that we can
 * read. */
int rd_view_read(rd_view *view, const rd_row *row, const char *queue, neoq_time now);
int rd_template_read(rd_view *view, const redisReply *record, const char *queue);
void rd_view_clear(rd_view *view);

/* ---- operations, for the table (enqueue.c, exchange.c, lease.c, look.c, manage.c) -------- */

int rd_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results);
int rd_exchange(neoq_store *store, neoq_exchange *x);
void rd_release(neoq_store *store, neoq_claimed *run);
int rd_beat(neoq_store *store, const neoq_beat *beat);
int rd_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count);

int rd_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg);
int rd_get(neoq_store *store, const char *id, neoq_each_job each, void *arg);
int rd_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg);
int rd_queues(neoq_store *store, neoq_each_queue each, void *arg);
int rd_workers(neoq_store *store, neoq_each_worker each, void *arg);
int rd_schedules(neoq_store *store, neoq_each_schedule each, void *arg);
int rd_get_progress(neoq_store *store, const char *id, neoq_progress *progress);

int rd_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until);
int rd_purge(neoq_store *store, const char *queue, neoq_state state, int64_t *purged);
int rd_set_queue(neoq_store *store, const char *queue, neoq_queue_action action, int64_t value);
int rd_set_schedule(neoq_store *store, const neoq_schedule_record *schedule);
int rd_remove_schedule(neoq_store *store, const char *name);
int rd_tick_schedule(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
                     const neoq_job *jobs, size_t count, neoq_enqueued *results);
int rd_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress);

int rd_doctor(const neoq_store_config *config, neoq_each_finding each, void *arg);

#endif
