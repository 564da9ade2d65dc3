/* SPDX-License-Identifier: MIT
 *
 * A listing of jobs comes in pages, so that a long one neither fills the memory nor keeps the server at one statement.
 */
#include "backend/postgres/look.h"

#include <string.h>

#include "backend/postgres/values.h"
#include "base/error.h"
#include "base/uuid.h"
#include "job/job.h"

enum { PAGE = 1000 };

/* Runs a statement that only reads. Frees b. */
static int look(neoq_store *store, const pg_statement *statement, pg_build *b, PGresult **rows)
{
    const pg_params *params = pg_built(b);
    int status = params ? pg_pool_run(store->pool, statement, params, true, rows) : NEOQ_ENOMEM;
    pg_build_free(b);
    return pg_only_read(status);
}

int pg_no_job(const char *id)
{
    return nq_fail(NEOQ_ENOTFOUND, "no job has the id %.127s", id);
}

/* ---- jobs ------------------------------------------------------------------------------- */

static const pg_statement find_jobs = {
    "neoq_find_jobs",
    "SELECT * FROM %s.find_jobs($1, $2, $3, $4, $5, $6)",
};

typedef struct sought {
    const char *queue;
    neoq_state state;
    const uint8_t *id, *after;
    size_t most;
} sought;

static int find_page(neoq_store *store, const sought *s, PGresult **rows)
{
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    pg_put_text(&b, s->queue);
    pg_put_int4(&b, (int32_t)s->state);
    pg_put_uuid(&b, s->id);
    pg_put_uuid(&b, s->after);
    pg_put_int8(&b, (int64_t)s->most);
    return look(store, &find_jobs, &b, rows);
}

static void read_found(const PGresult *rows, int row, neoq_job *view, pg_job_texts *texts)
{
    enum { STATE = PG_JOB_COLUMNS, FINISHED_AT, RESULT, QUEUE, SALT };
    pg_read_job(rows, row, 0, pg_text(rows, row, QUEUE), pg_uuid(rows, row, SALT), view, texts);
    view->state = (neoq_state)pg_int(rows, row, STATE);
    view->finished_at = pg_int(rows, row, FINISHED_AT);
    view->result = pg_bytea(rows, row, RESULT, &view->result_size);
}

/* Tells of each job on the page; the last one's id goes to after. */
static int tell_page(const PGresult *rows, neoq_each_job each, void *arg, uint8_t after[16])
{
    int status = NEOQ_OK;
    for (int row = 0; row < PQntuples(rows) && status == NEOQ_OK; row++) {
        neoq_job view;
        pg_job_texts texts;
        read_found(rows, row, &view, &texts);
        memcpy(after, pg_uuid(rows, row, 0), 16);
        status = each(&view, arg);
    }
    return status;
}

int pg_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg)
{
    uint8_t after[16];
    if (filter->after_id && !nq_uuid_parse(filter->after_id, after))
        return nq_fail(NEOQ_EINVAL, "after_id \"%.64s\" is not a job's id", filter->after_id);
    sought s = {.queue = filter->queue, .state = filter->state, .after = filter->after_id ? after : NULL};
    size_t left = filter->limit > 0 ? filter->limit : SIZE_MAX;
    int status = NEOQ_OK;
    for (size_t found = PAGE; found == PAGE && left > 0 && status == NEOQ_OK; left -= found) {
        PGresult *rows = NULL;
        s.most = left < PAGE ? left : PAGE;
        status = find_page(store, &s, &rows);
        found = (size_t)PQntuples(rows); /* 0 of NULL */
        if (status == NEOQ_OK)
            status = tell_page(rows, each, arg, after);
        s.after = after;
        PQclear(rows);
    }
    return status;
}

int pg_get(neoq_store *store, const char *id, neoq_each_job each, void *arg)
{
    uint8_t raw[16], unused[16];
    if (!nq_uuid_parse(id, raw))
        return pg_no_job(id);
    PGresult *rows = NULL;
    int status = find_page(store, &(sought){.id = raw, .most = 1}, &rows);
    if (status == NEOQ_OK)
        status = PQntuples(rows) > 0 ? tell_page(rows, each, arg, unused) : pg_no_job(id);
    PQclear(rows);
    return status;
}

/* A statement about one job. False: it has no id that could be one. */
static bool put_id(pg_build *b, const char *id)
{
    uint8_t raw[16];
    if (!nq_uuid_parse(id, raw))
        return false;
    pg_put_uuid(b, raw);
    return true;
}

static const pg_statement list_runs = {"neoq_list_runs", "SELECT * FROM %s.list_runs($1)"};

static void read_run(const PGresult *rows, int row, neoq_run_info *run)
{
    *run = (neoq_run_info){
        .epoch = pg_int(rows, row, 0),
        .started_at = pg_int(rows, row, 2),
        .finished_at = pg_int(rows, row, 3),
        .exit_code = (int)pg_int(rows, row, 6),
        .signal = (int)pg_int(rows, row, 7),
        .cpu_time = pg_int(rows, row, 8),
        .peak_memory = pg_int(rows, row, 9),
    };
    pg_copy_text(rows, row, 1, run->worker, sizeof run->worker);
    pg_copy_text(rows, row, 4, run->outcome, sizeof run->outcome);
    pg_copy_text(rows, row, 5, run->error, sizeof run->error);
}

int pg_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg)
{
    pg_build b = {0};
    if (!put_id(&b, id))
        return pg_no_job(id);
    PGresult *rows = NULL;
    int status = look(store, &list_runs, &b, &rows), count = PQntuples(rows);
    if (status == NEOQ_OK && count > 0 && PQgetisnull(rows, 0, 0))
        status = pg_no_job(id);
    for (int row = 0; row < count && status == NEOQ_OK; row++) {
        neoq_run_info run;
        read_run(rows, row, &run);
        status = each(&run, arg);
    }
    PQclear(rows);
    return status;
}

static const pg_statement get_progress = {"neoq_get_progress", "SELECT * FROM %s.get_progress($1)"};

int pg_get_progress(neoq_store *store, const char *id, neoq_progress *progress)
{
    *progress = (neoq_progress){.percent = -1};
    pg_build b = {0};
    if (!put_id(&b, id))
        return pg_no_job(id);
    PGresult *rows = NULL;
    int status = look(store, &get_progress, &b, &rows);
    if (status == NEOQ_OK && PQntuples(rows) == 0)
        status = pg_no_job(id);
    if (status == NEOQ_OK && !PQgetisnull(rows, 0, 0)) {
        progress->percent = (int)pg_int(rows, 0, 0);
        pg_copy_text(rows, 0, 1, progress->note, sizeof progress->note);
        progress->at = pg_int(rows, 0, 2);
    }
    PQclear(rows);
    return status;
}

/* ---- queues ----------------------------------------------------------------------------- */

static const pg_statement list_queues = {"neoq_list_queues", "SELECT * FROM %s.list_queues($1)"};

int pg_queues(neoq_store *store, neoq_each_queue each, void *arg)
{
    neoq_time now = pg_now(store);
    pg_build b = {0};
    pg_put_int8(&b, now);
    PGresult *rows = NULL;
    int status = look(store, &list_queues, &b, &rows);
    for (int row = 0; row < PQntuples(rows) && status == NEOQ_OK; row++) {
        neoq_queue_info info = {.paused = pg_bool(rows, row, 1)};
        int64_t *const numbers[] = {&info.scheduled, &info.ready, &info.running,   &info.retrying,
                                    &info.done,      &info.dead,  &info.processed, &info.failed};
        pg_copy_text(rows, row, 0, info.name, sizeof info.name);
        for (int i = 0; i < 8; i++)
            *numbers[i] = pg_int(rows, row, i + 2);
        neoq_time oldest = pg_int(rows, row, 10);
        info.latency = oldest > 0 && oldest < now ? now - oldest : 0;
        status = each(&info, arg);
    }
    PQclear(rows);
    return status;
}

/* ---- workers and schedules -------------------------------------------------------------- */

static const pg_statement list_workers = {"neoq_list_workers", "SELECT * FROM %s.list_workers($1)"};

int pg_workers(neoq_store *store, neoq_each_worker each, void *arg)
{
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    PGresult *rows = NULL;
    int status = look(store, &list_workers, &b, &rows);
    for (int row = 0; row < PQntuples(rows) && status == NEOQ_OK; row++) {
        neoq_worker_info info = {
            .pid = (int)pg_int(rows, row, 2),
            .started_at = pg_int(rows, row, 3),
            .seen_at = pg_int(rows, row, 4),
            .running = (int)pg_int(rows, row, 5),
            .capacity = (int)pg_int(rows, row, 6),
        };
        pg_copy_text(rows, row, 0, info.id, sizeof info.id);
        pg_copy_text(rows, row, 1, info.host, sizeof info.host);
        status = each(&info, arg);
    }
    PQclear(rows);
    return status;
}

static const pg_statement list_schedules = {"neoq_list_schedules", "SELECT * FROM %s.list_schedules()"};

static void read_schedule(const PGresult *rows, int row, neoq_schedule_record *record,
                          neoq_duration waits[PG_RETRY_WAITS_MAX])
{
    *record = (neoq_schedule_record){
        .stored = pg_bool(rows, row, 2),
        .info = {.last_at = pg_int(rows, row, 4), .next_at = pg_int(rows, row, 5)},
        .job = {.queue = pg_text(rows, row, 3),
                .fingerprint = pg_text(rows, row, 7),
                .unique = (neoq_unique)pg_int(rows, row, 8),
                .priority = (int)pg_int(rows, row, 9),
                .max_retries = (int)pg_int(rows, row, 10),
                .retention = pg_int(rows, row, 12),
                .metadata = pg_text(rows, row, 13)},
    };
    record->job.payload = pg_bytea(rows, row, 6, &record->job.payload_size);
    pg_copy_text(rows, row, 0, record->info.name, sizeof record->info.name);
    pg_copy_text(rows, row, 1, record->info.spec, sizeof record->info.spec);
    pg_copy_text(rows, row, 3, record->info.queue, sizeof record->info.queue);
    record->job.retry_wait_count = pg_int8s(rows, row, 11, waits, PG_RETRY_WAITS_MAX);
    if (record->job.retry_wait_count > 0)
        record->job.retry_waits = waits;
}

int pg_schedules(neoq_store *store, neoq_each_schedule each, void *arg)
{
    pg_build b = {0};
    PGresult *rows = NULL;
    int status = look(store, &list_schedules, &b, &rows);
    for (int row = 0; row < PQntuples(rows) && status == NEOQ_OK; row++) {
        neoq_schedule_record record;
        neoq_duration waits[PG_RETRY_WAITS_MAX];
        read_schedule(rows, row, &record, waits);
        status = each(&record, arg);
    }
    PQclear(rows);
    return status;
}
