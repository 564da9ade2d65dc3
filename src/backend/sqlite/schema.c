/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/schema.h"

#include <neoq.h>

#include "backend/sqlite/database.h"
#include "base/error.h"

const char sq_schema_sql[] =
    "CREATE TABLE neoq_meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "INSERT INTO neoq_meta VALUES('schema', 1), ('compatible_from', 1),"
    "  ('made_at', CAST(strftime('%s', 'now') AS INT) * 1000000);"
    "CREATE TABLE neoq_queues("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, paused INT NOT NULL DEFAULT 0,"
    "  capacity INT NOT NULL DEFAULT 0, slow_wait INT NOT NULL DEFAULT 0, slow_until INT NOT NULL DEFAULT 0,"
    "  scheduled INT NOT NULL DEFAULT 0, ready INT NOT NULL DEFAULT 0, running INT NOT NULL DEFAULT 0,"
    "  retrying INT NOT NULL DEFAULT 0, done INT NOT NULL DEFAULT 0, dead INT NOT NULL DEFAULT 0,"
    "  processed INT NOT NULL DEFAULT 0, failed INT NOT NULL DEFAULT 0);"
    /* AUTOINCREMENT: a rid is never used twice, so a late finish cannot hit another job. created_at is NULL while it
     * equals run_after, as with most jobs; guard while uniqueness is off. */
    "CREATE TABLE neoq_jobs("
    "  rid INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, queue INT NOT NULL, state INT NOT NULL,"
    "  priority INT NOT NULL, run_after INT NOT NULL, created_at INT, max_retries INT NOT NULL,"
    "  retries INT NOT NULL DEFAULT 0, epoch INT NOT NULL DEFAULT 0, ran_at INT NOT NULL DEFAULT 0,"
    "  guard INT, fingerprint, payload BLOB NOT NULL, deadline INT, retention INT, retry_waits BLOB, metadata TEXT,"
    "  finished_at INT, keep_until INT, error TEXT, result BLOB, progress INT, progress_note TEXT, progress_at INT);"
    "CREATE UNIQUE INDEX neoq_jobs_id ON neoq_jobs(id);"
    /* Uniqueness: sqlite/guards.h. */
    "CREATE TABLE neoq_guards(key INT NOT NULL, rid INT NOT NULL, PRIMARY KEY(key, rid)) WITHOUT ROWID;"
    "CREATE TABLE neoq_fresh(rid INTEGER PRIMARY KEY, key INT NOT NULL, gone INT NOT NULL);"
    /* Jobs that wait, by when they fall due; ended ones, by when they are to be forgotten. A ready job is in neither,
     * and pays for one comparison. */
    "CREATE INDEX neoq_jobs_clock ON neoq_jobs(state, " SQ_MOMENT ") WHERE state <> 2;"
    /* priority is negated: the most urgent comes first. */
    "CREATE TABLE neoq_ready(queue INT NOT NULL, priority INT NOT NULL, run_after INT NOT NULL, rid INT NOT NULL,"
    "  PRIMARY KEY(queue, priority, run_after, rid)) WITHOUT ROWID;"
    "CREATE TABLE neoq_running(rid INTEGER PRIMARY KEY, epoch INT NOT NULL, worker INT NOT NULL, ran_at INT NOT NULL,"
    "  cancel INT NOT NULL DEFAULT 0);"
    "CREATE INDEX neoq_running_cancel ON neoq_running(worker) WHERE cancel;"
    "CREATE TABLE neoq_runs(rid INT NOT NULL, epoch INT NOT NULL, worker TEXT, started_at INT, finished_at INT,"
    "  outcome TEXT, error TEXT, exit_code INT, signal INT, cpu_time INT, peak_memory INT,"
    "  PRIMARY KEY(rid, epoch)) WITHOUT ROWID;"
    "CREATE TABLE neoq_workers(rid INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, host TEXT, pid INT,"
    "  place TEXT, started_at INT, seen_at INT, lease_until INT NOT NULL, running INT, capacity INT,"
    "  lost INT NOT NULL DEFAULT 0);"
    "CREATE TABLE neoq_schedules(name TEXT PRIMARY KEY, spec TEXT NOT NULL, stored INT NOT NULL, queue TEXT NOT NULL,"
    "  last_at INT NOT NULL, next_at INT NOT NULL, payload BLOB NOT NULL, fingerprint TEXT, is_unique INT NOT NULL,"
    "  priority INT NOT NULL, max_retries INT NOT NULL, retry_waits BLOB, retention INT NOT NULL, metadata TEXT)"
    "  WITHOUT ROWID;";

static int64_t ask(sqlite3 *db, const char *sql, int *result)
{
    sqlite3_stmt *stmt = NULL;
    int64_t answer = 0;
    *result = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (*result == SQLITE_OK) {
        *result = sqlite3_step(stmt);
        if (*result == SQLITE_ROW)
            answer = sqlite3_column_int64(stmt, 0);
    }
    sqlite3_finalize(stmt);
    return answer;
}

int64_t sq_schema_value(sqlite3 *db, const char *key)
{
    sqlite3_stmt *stmt = NULL;
    int64_t value = 0;
    if (sqlite3_prepare_v2(db, "SELECT value FROM neoq_meta WHERE key = ?1", -1, &stmt, NULL) == SQLITE_OK) {
        sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
        if (sqlite3_step(stmt) == SQLITE_ROW)
            value = sqlite3_column_int64(stmt, 0);
    }
    sqlite3_finalize(stmt);
    return value;
}

/* The next schema may say that libraries of this one can use it. */
static int check_version(sqlite3 *db, const char *path)
{
    int result;
    int64_t version = ask(db, "SELECT value FROM neoq_meta WHERE key = 'schema'", &result);
    if (result != SQLITE_ROW)
        return sq_error(db, "reading the schema version");
    int64_t from = sq_schema_value(db, "compatible_from");
    if (version == SQ_SCHEMA_VERSION || (version == SQ_SCHEMA_VERSION + 1 && from >= 1 && from <= SQ_SCHEMA_VERSION))
        return NEOQ_OK;
    return nq_fail(NEOQ_ESCHEMA, "%s holds schema version %lld; this neoq knows version %d: use the newer one", path,
                   (long long)version, SQ_SCHEMA_VERSION);
}

/* Of a file without our tables: whether they may be put there. */
static int check_foreign(sqlite3 *db, const char *path)
{
    int result;
    int64_t others = ask(db, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'neoq\\_%' ESCAPE '\\'", &result);
    int64_t application = ask(db, "PRAGMA application_id", &result);
    if (!others && !application)
        return NEOQ_OK;
    return nq_fail(NEOQ_ESCHEMA, "%s is not neoq's: it %s; give neoq a file of its own", path,
                   others ? "has neoq_ tables of another program" : "bears another program's application_id");
}

/* In a write transaction. */
static int check_or_create(sqlite3 *db, const char *path)
{
    int result;
    int64_t ours = ask(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'neoq_meta'", &result);
    if (result != SQLITE_ROW)
        return sq_error(db, "reading the schema");
    if (ours)
        return check_version(db, path);
    int status = check_foreign(db, path);
    if (status != NEOQ_OK)
        return status;
    if (sqlite3_exec(db, sq_schema_sql, NULL, NULL, NULL) != SQLITE_OK)
        return sq_error(db, "creating the tables");
    return NEOQ_OK;
}

static int check_as_it_is(sqlite3 *db, const char *path)
{
    int result;
    if (ask(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'neoq_meta'", &result))
        return check_version(db, path);
    return result == SQLITE_ROW ? check_foreign(db, path) : sq_error(db, "opening");
}

int sq_schema_check(sqlite3 *db, const char *path)
{
    /* In one transaction, perhaps the caller's: another process may be making the tables between two looks. */
    if (sqlite3_exec(db, "SAVEPOINT neoq_look", NULL, NULL, NULL) != SQLITE_OK)
        return sq_error(db, "opening");
    int status = check_as_it_is(db, path);
    sqlite3_exec(db, "RELEASE neoq_look", NULL, NULL, NULL);
    return status;
}

int sq_schema_prepare(sqlite3 *db, const char *path)
{
    int result;
    if (ask(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'neoq_meta'", &result))
        return check_version(db, path); /* the usual case writes nothing */
    if (result != SQLITE_ROW)
        return sq_error(db, "opening");
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return sq_error(db, "creating the tables");
    int status = check_or_create(db, path);
    if (status == NEOQ_OK && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        status = sq_error(db, "creating the tables");
    if (status != NEOQ_OK)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}
