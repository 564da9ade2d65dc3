/* SPDX-License-Identifier: MIT
 *
 * Jobs in the user's own transactions.
 *
 * On his connection neither is a checkpoint made nor is anybody woken by itself. So its WAL hook becomes ours: after
 * the commit it wakes the workers, and by its presence SQLite makes no automatic checkpoint there (which is a hook
 * too); see docs/sqlite.md on why that matters.
 */
#include "backend/sqlite/sqlite.h"

#include <string.h>

#include "backend/sqlite/jobs.h"
#include "backend/sqlite/store.h"
#include "base/error.h"
#include "job/job.h"

static int after_commit(void *arg, sqlite3 *handle, const char *name, int pages)
{
    (void)arg;
    (void)pages;
    sq_announce(sqlite3_filename_wal(sqlite3_db_filename(handle, name)));
    return SQLITE_OK;
}

static int check(const neoq_store *store, sqlite3 *transaction)
{
    if (!transaction)
        return nq_fail(NEOQ_EINVAL, "the connection is NULL");
    const char *file = sqlite3_db_filename(transaction, "main");
    const char *ours = sqlite3_db_filename(store->writer.handle, "main");
    if (!file || !ours || strcmp(file, ours) != 0)
        return nq_fail(NEOQ_EINVAL, "the connection is open on %s, not on %s", file && *file ? file : "no file",
                       ours);
    if (sqlite3_get_autocommit(transaction))
        return nq_fail(NEOQ_ESTATE, "the connection is in no transaction: begin one (BEGIN IMMEDIATE) first");
    return NEOQ_OK;
}

/* A savepoint's statements, made beforehand: to take back what was written must not need memory for its own words. Where
 * SQLite finds none in doing so, it rolls back the whole transaction. */
typedef struct savepoint {
    sqlite3_stmt *begin, *go_back, *release;
} savepoint;

static bool prepare(sqlite3 *handle, savepoint *s)
{
    *s = (savepoint){0};
    return sqlite3_prepare_v2(handle, "SAVEPOINT neoq", -1, &s->begin, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(handle, "ROLLBACK TO neoq", -1, &s->go_back, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(handle, "RELEASE neoq", -1, &s->release, NULL) == SQLITE_OK;
}

static void forget(savepoint *s)
{
    sqlite3_finalize(s->begin);
    sqlite3_finalize(s->go_back);
    sqlite3_finalize(s->release);
}

/* Runs work inside the savepoint, so that neither a failure nor a refusal leaves anything in the user's transaction. */
static int write_behind(neoq_store *store, sqlite3 *transaction, const savepoint *s, sq_work work, void *arg)
{
    sq_db db = {.handle = transaction};
    sq_tx tx;
    sq_tx_begin(&tx, store, &db, false);
    int status = work(&tx, arg);
    int failed = db.status != NEOQ_OK ? db.status : status == NEOQ_ELOST ? status : sq_tx_flush(&tx);
    sq_tx_free(&tx);
    sq_db_forget(&db);
    if (failed != NEOQ_OK)
        sqlite3_step(s->go_back);
    sqlite3_step(s->release);
    return failed != NEOQ_OK ? failed : status;
}

static int write_in(neoq_store *store, sqlite3 *transaction, sq_work work, void *arg)
{
    int status = check(store, transaction);
    if (status != NEOQ_OK)
        return status;
    savepoint s;
    sqlite3_wal_hook(transaction, after_commit, NULL);
    if (prepare(transaction, &s) && sqlite3_step(s.begin) == SQLITE_DONE)
        status = write_behind(store, transaction, &s, work, arg);
    else
        status = sq_error(transaction, "in the caller's transaction");
    forget(&s);
    return status;
}

int nq_sqlite_enqueue_in(neoq_store *store, sqlite3 *transaction, const neoq_job *job, neoq_enqueued *result)
{
    sq_enqueue_args args = {job, 1, result};
    return write_in(store, transaction, sq_enqueue, &args);
}

typedef struct finish_args {
    const neoq_job *job;
    neoq_settlement settlement;
} finish_args;

static int finish(sq_tx *tx, void *arg)
{
    finish_args *args = arg;
    neoq_exchange x = {.settlements = &args->settlement, .settlement_count = 1};
    int status = sq_exchange(tx, &x);
    if (status != NEOQ_OK)
        return status;
    if (args->settlement.cancelled)
        return nq_fail(NEOQ_ELOST, "the cancellation of job %s was asked for: roll back", args->job->id);
    if (args->settlement.status != NEOQ_OK)
        return nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more: roll back",
                       (long long)args->job->epoch, args->job->id);
    return NEOQ_OK;
}

int nq_sqlite_finish_in(neoq_store *store, sqlite3 *transaction, const neoq_job *job, neoq_time keep_until,
                        const void *result, size_t result_size)
{
    finish_args args = {
        .job = job,
        .settlement =
            {
                .id = job->id,
                .epoch = job->epoch,
                .state = NEOQ_DONE,
                .forget = job->retention == 0,
                .run_after = job->run_after,
                .keep_until = keep_until,
                .cancel_keep_until = keep_until,
                .result = result,
                .result_size = result_size,
                .outcome = "done",
                .started_at = job->ran_at,
                .finished_at = store->clock->now(store->clock),
            },
    };
    return write_in(store, transaction, finish, &args);
}
