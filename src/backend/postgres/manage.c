/* SPDX-License-Identifier: MIT
 *
 * Steering jobs and queues, progress, schedules: a statement each, whose answer is a status, put into words here.
 */
#include "backend/postgres/manage.h"

#include <stdio.h>

#include "backend/postgres/look.h"
#include "backend/postgres/transaction.h"
#include "backend/postgres/values.h"
#include "base/error.h"
#include "base/uuid.h"

/* How many jobs one transaction of a long purge looks at. */
enum { BATCH = 2000 };

/* Runs the statement and frees b. again: to repeat it does no harm. */
static int run(neoq_store *store, const pg_statement *statement, pg_build *b, bool again, PGresult **rows)
{
    const pg_params *params = pg_built(b);
    int status = params ? pg_pool_run(store->pool, statement, params, again, rows) : NEOQ_ENOMEM;
    pg_build_free(b);
    return status;
}

/* The same of a statement whose one value is a status: failed is set if it is not the statement's. */
static int ask(neoq_store *store, const pg_statement *statement, pg_build *b, bool again, bool *failed)
{
    PGresult *rows = NULL;
    int status = run(store, statement, b, again, &rows);
    *failed = status != NEOQ_OK;
    if (!*failed)
        status = (int)pg_int(rows, 0, 0);
    PQclear(rows);
    return status;
}

/* ---- one job ---------------------------------------------------------------------------- */

static const pg_statement steer = {"neoq_steer", "SELECT %s.steer($1, $2, $3, $4)"};

static int refused(neoq_action action, int status, const char *id)
{
    if (status == NEOQ_ENOTFOUND)
        return pg_no_job(id);
    if (status == NEOQ_EDUPLICATE)
        return nq_fail(status, "job %s cannot be retried: another job with its fingerprint is unfinished", id);
    switch (action) {
    case NEOQ_ACTION_RETRY:
        return nq_fail(status, "job %s cannot be retried: it is neither dead, retrying nor scheduled", id);
    case NEOQ_ACTION_CANCEL: return nq_fail(status, "job %s cannot be cancelled: it has ended", id);
    case NEOQ_ACTION_DELETE: return nq_fail(status, "job %s cannot be deleted while it runs: cancel it first", id);
    }
    return status;
}

int pg_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until)
{
    uint8_t raw[16];
    if (action < NEOQ_ACTION_RETRY || action > NEOQ_ACTION_DELETE)
        return nq_fail(NEOQ_EINVAL, "action %d is not known", (int)action);
    if (!nq_uuid_parse(id, raw))
        return pg_no_job(id);
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    pg_put_int4(&b, (int32_t)action);
    pg_put_uuid(&b, raw);
    pg_put_int8(&b, keep_until);
    bool failed;
    int status = ask(store, &steer, &b, false, &failed);
    if (status != NEOQ_OK)
        return failed ? status : refused(action, status, id);
    if (action == NEOQ_ACTION_RETRY)
        pg_queues_rewind(store);
    pg_bell_announce(store->bell);
    return NEOQ_OK;
}

static const pg_statement set_progress = {"neoq_set_progress", "SELECT %s.set_progress($1, $2, $3, $4, $5)"};

int pg_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress)
{
    uint8_t raw[16];
    if (!nq_uuid_parse(id, raw))
        return pg_no_job(id);
    pg_build b = {0};
    pg_put_uuid(&b, raw);
    pg_put_int4(&b, (int32_t)epoch);
    pg_put_int4(&b, progress->percent);
    pg_put_text(&b, progress->note);
    pg_put_int8(&b, progress->at);
    bool failed;
    int status = ask(store, &set_progress, &b, true, &failed);
    if (status != NEOQ_OK && !failed)
        return nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more", (long long)epoch, id);
    return status;
}

/* ---- a queue ---------------------------------------------------------------------------- */

static int no_queue(const char *name)
{
    return nq_fail(NEOQ_ENOTFOUND, "there is no queue \"%s\"", name);
}

static const pg_statement purge = {"neoq_purge", "SELECT * FROM %s.purge($1, $2, $3, $4, $5, $6, $7)"};

/* One transaction's worth of a purge. 1: there may be more. */
static int purge_some(neoq_store *store, const char *queue, neoq_state state, pg_place *at, int64_t *purged)
{
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    pg_put_text(&b, queue);
    pg_put_int4(&b, (int32_t)state);
    pg_put_int4(&b, BATCH);
    pg_put_int4(&b, at->rank);
    pg_put_int8(&b, at->run_after);
    pg_put_int8(&b, at->arrival);
    PGresult *rows = NULL;
    int status = run(store, &purge, &b, false, &rows);
    if (status == NEOQ_OK) {
        status = (int)pg_int(rows, 0, 0);
        *purged += pg_int(rows, 0, 1);
        at->rank = (int32_t)pg_int(rows, 0, 2);
        at->run_after = pg_int(rows, 0, 3);
        at->arrival = pg_int(rows, 0, 4);
        if (status == NEOQ_ENOTFOUND)
            no_queue(queue);
    }
    PQclear(rows);
    return status;
}

int pg_purge(neoq_store *store, const char *queue, neoq_state state, int64_t *purged)
{
    pg_place at = {.rank = INT32_MIN, .run_after = INT64_MIN, .arrival = INT64_MIN};
    int status;
    *purged = 0;
    while ((status = purge_some(store, queue, state, &at, purged)) == 1)
        ;
    if (*purged > 0)
        pg_bell_announce(store->bell); /* there is room again */
    return status;
}

static const pg_statement remove_queue = {"neoq_remove_queue", "SELECT * FROM %s.remove_queue($1, $2, $3)"};

static int remove_whole_queue(neoq_store *store, const char *queue)
{
    int status = 1;
    int64_t running = 0;
    while (status == 1) {
        pg_build b = {0};
        pg_put_int8(&b, pg_now(store));
        pg_put_text(&b, queue);
        pg_put_int4(&b, 5 * BATCH);
        PGresult *rows = NULL;
        status = run(store, &remove_queue, &b, false, &rows);
        if (status != NEOQ_OK)
            return status;
        status = (int)pg_int(rows, 0, 0);
        running = pg_int(rows, 0, 1);
        PQclear(rows);
    }
    if (status == NEOQ_ENOTFOUND)
        return no_queue(queue);
    if (status != NEOQ_OK)
        return nq_fail(status, "queue \"%s\" cannot be removed: %lld jobs of it are running", queue,
                       (long long)running);
    pg_bell_announce(store->bell);
    return NEOQ_OK;
}

static const pg_statement set_queue = {"neoq_set_queue", "SELECT %s.set_queue($1, $2, $3)"};

int pg_set_queue(neoq_store *store, const char *queue, neoq_queue_action action, int64_t value)
{
    if (action == NEOQ_QUEUE_REMOVE)
        return remove_whole_queue(store, queue);
    pg_build b = {0};
    pg_put_text(&b, queue);
    pg_put_int4(&b, (int32_t)action);
    pg_put_int8(&b, value);
    bool failed;
    int status = ask(store, &set_queue, &b, true, &failed);
    if (status != NEOQ_OK)
        return failed ? status : no_queue(queue);
    pg_bell_announce(store->bell);
    return NEOQ_OK;
}

/* ---- schedules -------------------------------------------------------------------------- */

static const pg_statement set_schedule = {
    "neoq_set_schedule",
    "SELECT %s.set_schedule($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
};

int pg_set_schedule(neoq_store *store, const neoq_schedule_record *schedule)
{
    const neoq_job *job = &schedule->job;
    pg_build b = {0};
    pg_put_text(&b, schedule->info.name);
    pg_put_text(&b, schedule->info.spec);
    pg_put_bool(&b, schedule->stored);
    pg_put_text(&b, schedule->info.queue);
    pg_put_int8(&b, schedule->info.last_at);
    pg_put_int8(&b, schedule->info.next_at);
    pg_put_bytea(&b, job->payload_size ? job->payload : "", job->payload_size);
    pg_put_text(&b, job->fingerprint);
    pg_put_int4(&b, (int32_t)job->unique);
    pg_put_int4(&b, job->priority);
    pg_put_int4(&b, job->max_retries);
    pg_put_int8s(&b, job->retry_waits, job->retry_wait_count);
    pg_put_int8(&b, job->retention);
    pg_put_text(&b, job->metadata);
    PGresult *rows = NULL;
    int status = run(store, &set_schedule, &b, true, &rows);
    PQclear(rows);
    if (status == NEOQ_OK)
        pg_bell_announce(store->bell); /* whoever tends schedules does not know of it */
    return status;
}

static const pg_statement remove_schedule = {"neoq_remove_schedule", "SELECT %s.remove_schedule($1)"};

int pg_remove_schedule(neoq_store *store, const char *name)
{
    pg_build b = {0};
    pg_put_text(&b, name);
    bool failed;
    int status = ask(store, &remove_schedule, &b, false, &failed);
    if (status == NEOQ_OK || failed)
        return status;
    return nq_fail(NEOQ_ENOTFOUND, "there is no schedule \"%s\"", name);
}

static const pg_statement tick = {
    "neoq_tick",
    "SELECT * FROM %s.tick($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
};

/* The rows of tick(): what is not told of was stored. */
static int read_tick(const PGresult *rows, const char *name, const neoq_job *jobs, size_t count,
                     neoq_enqueued *results)
{
    for (size_t i = 0; i < count; i++) {
        results[i].status = NEOQ_OK;
        snprintf(results[i].id, sizeof results[i].id, "%s", jobs[i].id);
    }
    for (int row = 0; row < PQntuples(rows); row++) {
        size_t place = (size_t)pg_int(rows, row, 0);
        if (place == 0)
            return nq_fail(NEOQ_ELOST, "schedule \"%s\": this tick was enqueued already", name);
        if (place <= count)
            pg_read_answer(rows, row, 1, 2, &results[place - 1]);
    }
    return NEOQ_OK;
}

int pg_tick(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
            const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    neoq_time now = pg_now(store);
    pg_build b = {0};
    pg_put_int8(&b, now);
    pg_put_text(&b, name);
    pg_put_int8(&b, expected);
    pg_put_int8(&b, last);
    pg_put_int8(&b, next);
    pg_put_jobs(&b, jobs, count, now);
    PGresult *rows = NULL;
    int status = run(store, &tick, &b, true, &rows); /* again: then it was done already, by whomever */
    if (status == NEOQ_OK)
        status = read_tick(rows, name, jobs, count, results);
    PQclear(rows);
    if (status == NEOQ_OK && count > 0) {
        pg_queues_rewind(store);
        pg_bell_announce(store->bell);
    }
    return status;
}
