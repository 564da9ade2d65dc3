/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/look.h"

#include <stdio.h>
#include <string.h>

#include "backend/sqlite/jobs.h"
#include "backend/sqlite/schema.h"
#include "base/error.h"
#include "base/uuid.h"
#include "job/job.h"

static sq_db *begin_reading(neoq_store *store)
{
    pthread_mutex_lock(&store->read_mutex);
    store->reader.status = NEOQ_OK;
    return &store->reader;
}

/* status is the callback's; a failure of SQLite comes first. */
static int end_reading(neoq_store *store, sqlite3_stmt *stmt, int status)
{
    if (stmt)
        sqlite3_reset(stmt);
    if (store->reader.status != NEOQ_OK)
        status = store->reader.status;
    pthread_mutex_unlock(&store->read_mutex);
    return status;
}

static void copy_text(char *out, size_t size, sqlite3_stmt *stmt, int at)
{
    const char *text = (const char *)sqlite3_column_text(stmt, at);
    snprintf(out, size, "%s", text ? text : "");
}

/* ---- jobs ------------------------------------------------------------------------------- */

#define SELECT_JOBS                                                                                                  \
    "SELECT " SQ_JOB_COLUMNS                                                                                         \
    ", q.name, r.epoch, r.ran_at FROM neoq_jobs j CROSS JOIN neoq_queues q ON q.id = j.queue"                        \
    " LEFT JOIN neoq_running r ON r.rid = j.rid "

/* Reads a row of SELECT_JOBS as the job is now: running, or ready once it is due. */
static void read_found(sqlite3_stmt *stmt, neoq_time now, neoq_job *view, sq_job_texts *texts)
{
    sq_read_job(stmt, (const char *)sqlite3_column_text(stmt, SQ_JOB_COLUMN_COUNT), view, texts);
    if (sqlite3_column_type(stmt, SQ_JOB_COLUMN_COUNT + 1) != SQLITE_NULL) {
        view->state = NEOQ_RUNNING;
        view->epoch = sqlite3_column_int64(stmt, SQ_JOB_COLUMN_COUNT + 1);
        view->ran_at = sqlite3_column_int64(stmt, SQ_JOB_COLUMN_COUNT + 2);
    }
    neoq_state state = nq_state_at(view->state, view->run_after, now);
    if (state != view->state && view->state == NEOQ_RETRYING)
        view->retries++;
    view->state = state;
}

/* The condition that a state means, with ?3 = now. */
static const char *select_for(const neoq_filter *filter)
{
    switch ((int)filter->state) {
    case 0: return SELECT_JOBS "WHERE (?1 IS NULL OR q.name = ?1) AND j.id > ?4 ORDER BY j.id LIMIT ?5";
    case NEOQ_RUNNING:
        return SELECT_JOBS "WHERE j.rid IN (SELECT rid FROM neoq_running) AND (?1 IS NULL OR q.name = ?1)"
                           " AND j.id > ?4 ORDER BY j.id LIMIT ?5";
    case NEOQ_READY:
        return SELECT_JOBS "WHERE (?1 IS NULL OR q.name = ?1) AND (j.state = 2 AND r.rid IS NULL OR j.state IN (1, 4)"
                           " AND j.run_after <= ?3) AND j.id > ?4 ORDER BY j.id LIMIT ?5";
    case NEOQ_SCHEDULED:
    case NEOQ_RETRYING:
        return SELECT_JOBS "WHERE (?1 IS NULL OR q.name = ?1) AND j.state = ?2 AND j.state <> 2"
                           " AND j.run_after > ?3 AND j.id > ?4 ORDER BY j.id LIMIT ?5";
    default:
        return SELECT_JOBS "WHERE (?1 IS NULL OR q.name = ?1) AND j.state = ?2 AND j.state <> 2 AND j.id > ?4"
                           " ORDER BY j.id LIMIT ?5";
    }
}

int sq_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg)
{
    uint8_t after[16] = {0};
    if (filter->after_id && !nq_uuid_parse(filter->after_id, after))
        return nq_fail(NEOQ_EINVAL, "after_id \"%.64s\" is not a job's id", filter->after_id);
    neoq_time now = store->clock->now(store->clock);
    sq_db *db = begin_reading(store);
    sqlite3_stmt *stmt = sq_prepare(db, select_for(filter));
    if (stmt) {
        sqlite3_bind_text(stmt, 1, filter->queue, -1, SQLITE_STATIC);
        sqlite3_bind_int(stmt, 2, (int)filter->state);
        sqlite3_bind_int64(stmt, 3, now);
        sqlite3_bind_blob(stmt, 4, after, filter->after_id ? 16 : 0, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 5, filter->limit > 0 ? (int64_t)filter->limit : -1);
    }
    int status = NEOQ_OK;
    while (status == NEOQ_OK && sq_step(db, stmt)) {
        neoq_job view;
        sq_job_texts texts;
        read_found(stmt, now, &view, &texts);
        status = each(&view, arg);
    }
    return end_reading(store, stmt, status);
}

static int no_job(const char *id)
{
    return nq_fail(NEOQ_ENOTFOUND, "no job has the id %.127s", id);
}

int sq_get(neoq_store *store, const char *id, neoq_each_job each, void *arg)
{
    neoq_time now = store->clock->now(store->clock);
    sq_db *db = begin_reading(store);
    int64_t rid = sq_find_id(db, id);
    sqlite3_stmt *stmt = sq_ask(db, SELECT_JOBS "WHERE j.rid = ?1", SQ_ARGS(rid));
    int status = NEOQ_OK;
    if (sq_step(db, stmt)) {
        neoq_job view;
        sq_job_texts texts;
        read_found(stmt, now, &view, &texts);
        status = each(&view, arg);
    } else if (db->status == NEOQ_OK) {
        status = no_job(id);
    }
    return end_reading(store, stmt, status);
}

static void read_run(sqlite3_stmt *stmt, neoq_run_info *run)
{
    *run = (neoq_run_info){
        .epoch = sqlite3_column_int64(stmt, 0),
        .started_at = sqlite3_column_int64(stmt, 2),
        .finished_at = sqlite3_column_int64(stmt, 3),
        .exit_code = sqlite3_column_int(stmt, 6),
        .signal = sqlite3_column_int(stmt, 7),
        .cpu_time = sqlite3_column_int64(stmt, 8),
        .peak_memory = sqlite3_column_int64(stmt, 9),
    };
    copy_text(run->worker, sizeof run->worker, stmt, 1);
    copy_text(run->outcome, sizeof run->outcome, stmt, 4);
    copy_text(run->error, sizeof run->error, stmt, 5);
}

int sq_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg)
{
    sq_db *db = begin_reading(store);
    int64_t rid = sq_find_id(db, id);
    sqlite3_stmt *stmt =
        sq_ask(db,
               "SELECT r.epoch, w.id, r.ran_at, 0, '', '', 0, 0, 0, 0 FROM neoq_running r"
               " LEFT JOIN neoq_workers w ON w.rid = r.worker WHERE r.rid = ?1 UNION ALL "
               "SELECT epoch, worker, started_at, finished_at, outcome, error, exit_code, signal, cpu_time,"
               " peak_memory FROM neoq_runs WHERE rid = ?1 ORDER BY 1 DESC LIMIT ?2",
               SQ_ARGS(rid, NQ_RUNS_KEPT));
    int status = rid > 0 || db->status != NEOQ_OK ? NEOQ_OK : no_job(id);
    while (status == NEOQ_OK && sq_step(db, stmt)) {
        neoq_run_info run;
        read_run(stmt, &run);
        status = each(&run, arg);
    }
    return end_reading(store, stmt, status);
}

int sq_get_progress(neoq_store *store, const char *id, neoq_progress *progress)
{
    *progress = (neoq_progress){.percent = -1};
    sq_db *db = begin_reading(store);
    int64_t rid = sq_find_id(db, id);
    sqlite3_stmt *stmt =
        sq_ask(db, "SELECT progress, progress_note, progress_at FROM neoq_jobs WHERE rid = ?1", SQ_ARGS(rid));
    int status = NEOQ_OK;
    if (sq_step(db, stmt)) {
        progress->percent = sqlite3_column_type(stmt, 0) == SQLITE_NULL ? -1 : sqlite3_column_int(stmt, 0);
        copy_text(progress->note, sizeof progress->note, stmt, 1);
        progress->at = sqlite3_column_int64(stmt, 2);
    } else if (db->status == NEOQ_OK) {
        status = no_job(id);
    }
    return end_reading(store, stmt, status);
}

/* ---- queues ----------------------------------------------------------------------------- */

/* When the longest-waiting ready job could have run first: of each priority, the first in line. */
static neoq_time oldest_ready(sq_db *db, int64_t queue, neoq_time now)
{
    sqlite3_stmt *stmt =
        sq_ask(db,
               "WITH RECURSIVE level(p) AS (SELECT min(priority) FROM neoq_ready WHERE queue = ?1"
               " UNION ALL SELECT (SELECT min(priority) FROM neoq_ready WHERE queue = ?1 AND"
               " priority > p) FROM level WHERE p IS NOT NULL)"
               " SELECT min((SELECT min(run_after) FROM neoq_ready WHERE queue = ?1 AND priority = p))"
               " FROM level WHERE p IS NOT NULL",
               SQ_ARGS(queue));
    neoq_time oldest = sq_step(db, stmt) ? sqlite3_column_int64(stmt, 0) : 0;
    if (stmt)
        sqlite3_reset(stmt);
    return oldest > 0 && oldest < now ? oldest : 0;
}

/* Jobs that fell due but were not made ready yet read as ready: moves their counts over. */
static void count_due(sq_db *db, int64_t queue, neoq_time now, neoq_queue_info *info, neoq_time *oldest)
{
    sqlite3_stmt *stmt = sq_ask(db,
                                "SELECT state, count(*), min(run_after) FROM neoq_jobs WHERE state IN (1, 4)"
                                " AND run_after <= ?1 AND queue = ?2 GROUP BY state",
                                SQ_ARGS(now, queue));
    while (sq_step(db, stmt)) {
        int64_t due = sqlite3_column_int64(stmt, 1);
        neoq_time since = sqlite3_column_int64(stmt, 2);
        *(sqlite3_column_int(stmt, 0) == NEOQ_SCHEDULED ? &info->scheduled : &info->retrying) -= due;
        info->ready += due;
        if (*oldest == 0 || since < *oldest)
            *oldest = since;
    }
}

int sq_queues(neoq_store *store, neoq_each_queue each, void *arg)
{
    neoq_time now = store->clock->now(store->clock);
    sq_db *db = begin_reading(store);
    sqlite3_stmt *stmt = sq_prepare(db, "SELECT id, name, paused, scheduled, ready, running, retrying, done, dead,"
                                        " processed, failed FROM neoq_queues ORDER BY name");
    int status = NEOQ_OK;
    while (status == NEOQ_OK && sq_step(db, stmt)) {
        neoq_queue_info info = {.paused = sqlite3_column_int(stmt, 2) != 0};
        int64_t *const numbers[] = {&info.scheduled, &info.ready, &info.running,   &info.retrying,
                                    &info.done,      &info.dead,  &info.processed, &info.failed};
        copy_text(info.name, sizeof info.name, stmt, 1);
        for (int i = 0; i < 8; i++)
            *numbers[i] = sqlite3_column_int64(stmt, i + 3);
        int64_t queue = sqlite3_column_int64(stmt, 0);
        neoq_time oldest = oldest_ready(db, queue, now);
        count_due(db, queue, now, &info, &oldest);
        info.latency = oldest > 0 && oldest < now ? now - oldest : 0;
        status = each(&info, arg);
    }
    return end_reading(store, stmt, status);
}

/* ---- workers and schedules -------------------------------------------------------------- */

int sq_workers(neoq_store *store, neoq_each_worker each, void *arg)
{
    sq_db *db = begin_reading(store);
    sqlite3_stmt *stmt = sq_ask(db,
                                "SELECT id, host, pid, started_at, seen_at, running, capacity FROM neoq_workers"
                                " WHERE NOT lost AND lease_until >= ?1 ORDER BY started_at, id",
                                SQ_ARGS(store->clock->steady(store->clock)));
    int status = NEOQ_OK;
    while (status == NEOQ_OK && sq_step(db, stmt)) {
        neoq_worker_info info = {
            .pid = sqlite3_column_int(stmt, 2),
            .started_at = sqlite3_column_int64(stmt, 3),
            .seen_at = sqlite3_column_int64(stmt, 4),
            .running = sqlite3_column_int(stmt, 5),
            .capacity = sqlite3_column_int(stmt, 6),
        };
        copy_text(info.id, sizeof info.id, stmt, 0);
        copy_text(info.host, sizeof info.host, stmt, 1);
        status = each(&info, arg);
    }
    return end_reading(store, stmt, status);
}

static void read_schedule(sqlite3_stmt *stmt, neoq_schedule_record *record, neoq_duration waits[100])
{
    *record = (neoq_schedule_record){
        .stored = sqlite3_column_int(stmt, 2) != 0,
        .info = {.last_at = sqlite3_column_int64(stmt, 4), .next_at = sqlite3_column_int64(stmt, 5)},
        .job = {.queue = (const char *)sqlite3_column_text(stmt, 3),
                .payload = sqlite3_column_blob(stmt, 6),
                .payload_size = (size_t)sqlite3_column_bytes(stmt, 6),
                .fingerprint = (const char *)sqlite3_column_text(stmt, 7),
                .unique = (neoq_unique)sqlite3_column_int(stmt, 8),
                .priority = sqlite3_column_int(stmt, 9),
                .max_retries = sqlite3_column_int(stmt, 10),
                .retention = sqlite3_column_int64(stmt, 12),
                .metadata = (const char *)sqlite3_column_text(stmt, 13)},
    };
    copy_text(record->info.name, sizeof record->info.name, stmt, 0);
    copy_text(record->info.spec, sizeof record->info.spec, stmt, 1);
    copy_text(record->info.queue, sizeof record->info.queue, stmt, 3);
    size_t size = (size_t)sqlite3_column_bytes(stmt, 11);
    if (size > 0 && size <= NQ_RETRY_WAITS_MAX * sizeof *waits) {
        memcpy(waits, sqlite3_column_blob(stmt, 11), size);
        record->job.retry_waits = waits;
        record->job.retry_wait_count = size / sizeof *waits;
    }
}

int sq_schedules(neoq_store *store, neoq_each_schedule each, void *arg)
{
    sq_db *db = begin_reading(store);
    sqlite3_stmt *stmt = sq_prepare(db, "SELECT name, spec, stored, queue, last_at, next_at, payload, fingerprint,"
                                        " is_unique, priority, max_retries, retry_waits, retention, metadata"
                                        " FROM neoq_schedules ORDER BY name");
    int status = NEOQ_OK;
    while (status == NEOQ_OK && sq_step(db, stmt)) {
        neoq_schedule_record record;
        neoq_duration waits[NQ_RETRY_WAITS_MAX];
        read_schedule(stmt, &record, waits);
        status = each(&record, arg);
    }
    return end_reading(store, stmt, status);
}
