/* SPDX-License-Identifier: MIT
 *
 * Steering jobs and queues; schedules.
 */
#include "backend/sqlite/manage.h"

#include "backend/sqlite/guards.h"
#include "backend/sqlite/jobs.h"
#include "backend/sqlite/schema.h"
#include "base/error.h"
#include "job/job.h"

/* ---- one job ---------------------------------------------------------------------------- */

typedef struct steer_args {
    neoq_action action;
    const char *id;
    neoq_time keep_until;
} steer_args;

typedef struct found {
    int64_t rid, queue, priority, run_after;
    int state;
    int64_t guard; /* 0 = uniqueness is off */
} found;

static bool find_job(sq_tx *tx, int64_t rid, found *f)
{
    sqlite3_stmt *stmt = sq_ask(tx->db,
                                "SELECT j.queue, j.priority, j.run_after, CASE WHEN r.rid IS NULL THEN j.state"
                                " ELSE 3 END, j.guard FROM neoq_jobs j LEFT JOIN neoq_running r ON r.rid = j.rid"
                                " WHERE j.rid = ?1",
                                SQ_ARGS(rid));
    if (!sq_step(tx->db, stmt))
        return false;
    *f = (found){
        .rid = rid,
        .queue = sqlite3_column_int64(stmt, 0),
        .priority = sqlite3_column_int64(stmt, 1),
        .run_after = sqlite3_column_int64(stmt, 2),
        .state = sqlite3_column_int(stmt, 3),
        .guard = sqlite3_column_int64(stmt, 4),
    };
    sqlite3_reset(stmt);
    return true;
}

static void take_from_ready(sq_tx *tx, const found *f)
{
    if (f->state != NEOQ_READY)
        return;
    sq_do(tx->db, "DELETE FROM neoq_ready WHERE queue = ?1 AND priority = ?2 AND run_after = ?3 AND rid = ?4",
          SQ_ARGS(f->queue, -f->priority, f->run_after, f->rid));
}

/* A dead job that is to live again guards its fingerprint again, unless another does by now. */
static int guard_again(sq_tx *tx, const found *f, const char *id)
{
    if (f->state != NEOQ_DEAD || !f->guard)
        return NEOQ_OK;
    sqlite3_stmt *stmt = sq_ask(tx->db, "SELECT fingerprint FROM neoq_jobs WHERE rid = ?1", SQ_ARGS(f->rid));
    char fingerprint[257] = "";
    if (sq_step(tx->db, stmt)) {
        sq_read_fingerprint(stmt, 0, fingerprint);
        sqlite3_reset(stmt);
    }
    if (!sq_guard_find(tx, f->guard, fingerprint, f->queue)) {
        sq_guard_again(tx, f->guard, f->rid);
        return tx->db->status;
    }
    return nq_fail(NEOQ_EDUPLICATE, "job %s cannot be retried: another job with its fingerprint is unfinished", id);
}

static int retry(sq_tx *tx, const found *f, const char *id)
{
    if (f->state != NEOQ_DEAD && f->state != NEOQ_RETRYING && f->state != NEOQ_SCHEDULED)
        return nq_fail(NEOQ_ESTATE, "job %s cannot be retried: it is neither dead, retrying nor scheduled", id);
    int status = guard_again(tx, f, id);
    if (status != NEOQ_OK)
        return status;
    sq_do(tx->db,
          "UPDATE neoq_jobs SET " SQ_KEEP_CREATED
          ", state = 2, run_after = ?2, retries = retries + ?3, finished_at = NULL,"
          " keep_until = NULL WHERE rid = ?1",
          SQ_ARGS(f->rid, tx->now, f->state != NEOQ_SCHEDULED));
    sq_make_ready(tx, f->rid);
    sq_count(tx, f->queue, f->state, NEOQ_READY);
    return NEOQ_OK;
}

static int cancel(sq_tx *tx, const found *f, const steer_args *args)
{
    if (f->state >= NEOQ_DONE)
        return nq_fail(NEOQ_ESTATE, "job %s cannot be cancelled: it has ended", args->id);
    if (f->state == NEOQ_RUNNING) {
        sq_do(tx->db, "UPDATE neoq_running SET cancel = 1 WHERE rid = ?1", SQ_ARGS(f->rid));
        return NEOQ_OK;
    }
    take_from_ready(tx, f);
    sq_do(tx->db,
          "UPDATE neoq_jobs SET state = 6, error = 'cancelled', finished_at = ?2, keep_until = iif(?3 = 0, "
          "9223372036854775807, ?3)"
          " WHERE rid = ?1",
          SQ_ARGS(f->rid, tx->now, args->keep_until));
    sq_guard_drop(tx, f->guard, f->rid);
    sq_count(tx, f->queue, f->state, NEOQ_DEAD);
    return NEOQ_OK;
}

static int delete_job(sq_tx *tx, const found *f, const char *id)
{
    if (f->state == NEOQ_RUNNING)
        return nq_fail(NEOQ_ESTATE, "job %s cannot be deleted while it runs: cancel it first", id);
    take_from_ready(tx, f);
    if (f->state < NEOQ_DONE)
        sq_guard_drop(tx, f->guard, f->rid);
    sq_delete_job(tx, f->rid);
    sq_count(tx, f->queue, f->state, 0);
    return NEOQ_OK;
}

static int steer(sq_tx *tx, void *arg)
{
    const steer_args *args = arg;
    found f;
    sq_promote(tx);
    if (!find_job(tx, sq_find_id(tx->db, args->id), &f))
        return tx->db->status != NEOQ_OK ? tx->db->status
                                         : nq_fail(NEOQ_ENOTFOUND, "no job has the id %.127s", args->id);
    tx->announce = true;
    switch (args->action) {
    case NEOQ_ACTION_RETRY: return retry(tx, &f, args->id);
    case NEOQ_ACTION_CANCEL: return cancel(tx, &f, args);
    case NEOQ_ACTION_DELETE: return delete_job(tx, &f, args->id);
    }
    return nq_fail(NEOQ_EINVAL, "action %d is not known", (int)args->action);
}

int sq_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until)
{
    steer_args args = {action, id, keep_until};
    return sq_write(store, steer, &args);
}

typedef struct progress_args {
    const char *id;
    int64_t epoch;
    const neoq_progress *progress;
} progress_args;

static int set_progress(sq_tx *tx, void *arg)
{
    const progress_args *args = arg;
    int64_t rid = sq_find_id(tx->db, args->id);
    sqlite3_stmt *stmt =
        sq_prepare(tx->db, "UPDATE neoq_jobs SET progress = ?1, progress_at = ?2, progress_note = ?3"
                           " WHERE rid = (SELECT rid FROM neoq_running WHERE rid = ?4 AND epoch = ?5)");
    if (stmt) {
        sqlite3_bind_int(stmt, 1, args->progress->percent);
        sqlite3_bind_int64(stmt, 2, args->progress->at);
        sqlite3_bind_text(stmt, 3, args->progress->note, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 4, rid);
        sqlite3_bind_int64(stmt, 5, args->epoch);
    }
    if (sq_run(tx->db, stmt) == 0)
        return nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more", (long long)args->epoch,
                       args->id);
    return tx->db->status;
}

int sq_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress)
{
    progress_args args = {id, epoch, progress};
    return sq_write_hastily(store, set_progress, &args);
}

/* ---- a queue ---------------------------------------------------------------------------- */

typedef struct queue_args {
    const char *name;
    neoq_queue_action action;
    int64_t value;
    neoq_state state; /* of a purge: 0 = all */
    int64_t after_rid;
    /* what its last transaction came to, which counts once that is committed */
    int64_t last_rid, purged;
    bool finished;
} queue_args;

static int no_queue(const char *name)
{
    return nq_fail(NEOQ_ENOTFOUND, "there is no queue \"%s\"", name);
}

/* One transaction's worth of a purge: looks at the next jobs of the queue. */
static int purge_some(sq_tx *tx, void *arg)
{
    enum { BATCH = 2000 };
    queue_args *args = arg;
    int64_t queue = sq_queue_of(tx, args->name, false, NULL), rids[BATCH];
    if (queue == 0)
        return tx->db->status != NEOQ_OK ? tx->db->status : no_queue(args->name);
    sq_promote(tx);
    sqlite3_stmt *stmt =
        sq_ask(tx->db, "SELECT rid FROM neoq_jobs WHERE queue = ?1 AND rid > ?2 ORDER BY rid LIMIT ?3",
               SQ_ARGS(queue, args->after_rid, BATCH));
    int count = 0;
    while (count < BATCH && sq_step(tx->db, stmt))
        rids[count++] = sqlite3_column_int64(stmt, 0);
    if (stmt)
        sqlite3_reset(stmt);
    int64_t purged = 0;
    for (int i = 0; i < count && tx->db->status == NEOQ_OK; i++) {
        found f;
        if (!find_job(tx, rids[i], &f) || f.state == NEOQ_RUNNING || (args->state && f.state != (int)args->state))
            continue;
        delete_job(tx, &f, "");
        purged++;
    }
    if (tx->db->status != NEOQ_OK)
        return tx->db->status;
    tx->announce = purged > 0; /* there is room again */
    args->purged = purged;
    args->last_rid = count > 0 ? rids[count - 1] : args->after_rid;
    args->finished = count < BATCH;
    return NEOQ_OK;
}

int sq_purge(neoq_store *store, const char *queue, neoq_state state, int64_t *purged)
{
    queue_args args = {.name = queue, .state = state};
    int status = NEOQ_OK;
    *purged = 0;
    while (!args.finished && (status = sq_write(store, purge_some, &args)) == NEOQ_OK) {
        *purged += args.purged;
        args.after_rid = args.last_rid;
    }
    return status;
}

static int remove_queue(sq_tx *tx, int64_t queue, const char *name)
{
    sqlite3_stmt *stmt = sq_ask(tx->db,
                                "SELECT count(*) FROM neoq_running r JOIN neoq_jobs j ON j.rid = r.rid"
                                " WHERE j.queue = ?1",
                                SQ_ARGS(queue));
    int64_t running = sq_step(tx->db, stmt) ? sqlite3_column_int64(stmt, 0) : 0;
    if (stmt)
        sqlite3_reset(stmt);
    if (running > 0)
        return nq_fail(NEOQ_ESTATE, "queue \"%s\" cannot be removed: %lld jobs of it are running", name,
                       (long long)running);
    sq_guard_drop_queue(tx, queue);
    sq_do(tx->db, "DELETE FROM neoq_runs WHERE rid IN (SELECT rid FROM neoq_jobs WHERE queue = ?1)", SQ_ARGS(queue));
    sq_do(tx->db, "DELETE FROM neoq_ready WHERE queue = ?1", SQ_ARGS(queue));
    sq_do(tx->db, "DELETE FROM neoq_jobs WHERE queue = ?1", SQ_ARGS(queue));
    sq_do(tx->db, "DELETE FROM neoq_queues WHERE id = ?1", SQ_ARGS(queue));
    sq_forget_queues(tx->store);
    return tx->db->status;
}

static int set_queue(sq_tx *tx, void *arg)
{
    const queue_args *args = arg;
    bool bound = args->action == NEOQ_QUEUE_CAPACITY;
    int64_t capacity, queue = sq_queue_of(tx, args->name, bound && args->value > 0, &capacity);
    if (tx->db->status != NEOQ_OK || (bound && capacity == args->value))
        return tx->db->status;
    if (queue == 0)
        return no_queue(args->name);
    tx->announce = true;
    switch (args->action) {
    case NEOQ_QUEUE_REMOVE: return remove_queue(tx, queue, args->name);
    case NEOQ_QUEUE_CAPACITY:
        sq_do(tx->db, "UPDATE neoq_queues SET capacity = ?2 WHERE id = ?1", SQ_ARGS(queue, args->value));
        sq_forget_queues(tx->store);
        break;
    case NEOQ_QUEUE_PAUSE:
    case NEOQ_QUEUE_RESUME:
        sq_do(tx->db, "UPDATE neoq_queues SET paused = ?2 WHERE id = ?1",
              SQ_ARGS(queue, args->action == NEOQ_QUEUE_PAUSE));
        break;
    }
    return tx->db->status;
}

int sq_set_queue(neoq_store *store, const char *queue, neoq_queue_action action, int64_t value)
{
    queue_args args = {.name = queue, .action = action, .value = value};
    return sq_write(store, set_queue, &args);
}

/* ---- schedules -------------------------------------------------------------------------- */

static int set_schedule(sq_tx *tx, void *arg)
{
    const neoq_schedule_record *s = arg;
    const neoq_job *job = &s->job;
    sqlite3_stmt *stmt = sq_prepare(
        tx->db,
        "INSERT INTO neoq_schedules VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
        " ON CONFLICT(name) DO UPDATE SET"
        " last_at = iif(spec = excluded.spec AND stored = excluded.stored, last_at, excluded.last_at),"
        " next_at = iif(spec = excluded.spec AND stored = excluded.stored, next_at, excluded.next_at),"
        " spec = excluded.spec, stored = excluded.stored, queue = excluded.queue, payload = excluded.payload,"
        " fingerprint = excluded.fingerprint, is_unique = excluded.is_unique, priority = excluded.priority,"
        " max_retries = excluded.max_retries, retry_waits = excluded.retry_waits, retention = excluded.retention,"
        " metadata = excluded.metadata");
    if (!stmt)
        return tx->db->status;
    sqlite3_bind_text(stmt, 1, s->info.name, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, s->info.spec, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 3, s->stored);
    sqlite3_bind_text(stmt, 4, s->info.queue, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 5, s->info.last_at);
    sqlite3_bind_int64(stmt, 6, s->info.next_at);
    sqlite3_bind_blob64(stmt, 7, job->payload_size ? job->payload : "", job->payload_size, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 8, job->fingerprint, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 9, (int)job->unique);
    sqlite3_bind_int(stmt, 10, job->priority);
    sqlite3_bind_int(stmt, 11, job->max_retries);
    if (job->retry_waits)
        sqlite3_bind_blob64(stmt, 12, job->retry_waits, job->retry_wait_count * sizeof *job->retry_waits,
                            SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 13, job->retention);
    sqlite3_bind_text(stmt, 14, job->metadata, -1, SQLITE_STATIC);
    sq_run(tx->db, stmt);
    return tx->db->status;
}

int sq_set_schedule(neoq_store *store, const neoq_schedule_record *schedule)
{
    return sq_write(store, set_schedule, (void *)(uintptr_t)schedule);
}

static int remove_schedule(sq_tx *tx, void *arg)
{
    sqlite3_stmt *stmt = sq_prepare(tx->db, "DELETE FROM neoq_schedules WHERE name = ?1");
    if (stmt)
        sqlite3_bind_text(stmt, 1, arg, -1, SQLITE_STATIC);
    if (sq_run(tx->db, stmt) == 0)
        return nq_fail(NEOQ_ENOTFOUND, "there is no schedule \"%s\"", (const char *)arg);
    return tx->db->status;
}

int sq_remove_schedule(neoq_store *store, const char *name)
{
    return sq_write(store, remove_schedule, (void *)(uintptr_t)name);
}

typedef struct tick_args {
    const char *name;
    neoq_time expected, last, next;
    sq_enqueue_args jobs;
} tick_args;

static int tick(sq_tx *tx, void *arg)
{
    tick_args *args = arg;
    sqlite3_stmt *stmt =
        sq_prepare(tx->db, "UPDATE neoq_schedules SET last_at = ?2, next_at = ?3 WHERE name = ?1 AND next_at = ?4");
    if (stmt) {
        sqlite3_bind_text(stmt, 1, args->name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 2, args->last);
        sqlite3_bind_int64(stmt, 3, args->next);
        sqlite3_bind_int64(stmt, 4, args->expected);
    }
    if (sq_run(tx->db, stmt) == 0)
        return nq_fail(NEOQ_ELOST, "schedule \"%s\": this tick was enqueued already", args->name);
    return sq_enqueue(tx, &args->jobs);
}

int sq_tick(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
            const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    tick_args args = {name, expected, last, next, {jobs, count, results}};
    return sq_write(store, tick, &args);
}
