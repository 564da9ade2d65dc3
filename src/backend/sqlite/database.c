/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/database.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/bound.h"
#include "base/error.h"

int sq_error(sqlite3 *handle, const char *doing)
{
    const char *file = handle ? sqlite3_db_filename(handle, "main") : NULL;
    const char *words = handle ? sqlite3_errmsg(handle) : "out of memory";
    if (!file)
        file = "SQLite file";
    switch (handle ? sqlite3_errcode(handle) & 0xff : SQLITE_NOMEM) {
    case SQLITE_NOMEM: return nq_fail(NEOQ_ENOMEM, "%s: %s: no memory", file, doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return nq_fail(NEOQ_ETIMEOUT,
                       "%s: %s: another program has been writing to it for longer than connect_timeout", file, doing);
    case SQLITE_FULL: return nq_fail(NEOQ_EBACKEND, "%s: %s: the disk is full; nothing was stored", file, doing);
    case SQLITE_READONLY: return nq_fail(NEOQ_EBACKEND, "%s: %s: it cannot be written to (%s)", file, doing, words);
    case SQLITE_CANTOPEN: return nq_fail(NEOQ_EBACKEND, "%s: %s: it cannot be opened (%s)", file, doing, words);
    case SQLITE_NOTADB: return nq_fail(NEOQ_EBACKEND, "%s: it is not an SQLite database", file);
    case SQLITE_CORRUPT:
        return nq_fail(NEOQ_EBACKEND, "%s: %s: the file is damaged (%s); restore a copy", file, doing, words);
    default: return nq_fail(NEOQ_EBACKEND, "%s: %s: %s", file, doing, words);
    }
}

enum { LOOK_US = 500, LONG_US = 200000 };

/* Waits for another process's transaction, connect_timeout in all. Whoever commits again and again leaves but a moment in
 * between, and nobody is told of it: who looks seldom waits for long, and who looks often is in the others' way. */
static int busy(void *arg, int tries)
{
    sq_db *db = arg;
    int64_t now = nq_steady();
    if (tries == 0)
        db->waits_since = now;
    if (now - db->waits_since > db->patience)
        return 0;
    if (db->courtesy && now - db->waits_since > LONG_US)
        sq_courtesy_ask(db->courtesy);
    nanosleep(&(struct timespec){.tv_nsec = LOOK_US * 1000}, NULL);
    return 1;
}

/* Switching a new file to WAL takes a lock that SQLite does not wait for: with several processes opening it at the same
 * moment, all but one are told that it is busy. Other locks on the way it does wait for, each time. */
static int set_pragmas(sq_db *db, const char *pragmas)
{
    int64_t until = nq_steady() + db->patience;
    int result = sqlite3_exec(db->handle, pragmas, NULL, NULL, NULL);
    while (result == SQLITE_BUSY && nq_steady() < until) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_US * 1000}, NULL);
        result = sqlite3_exec(db->handle, pragmas, NULL, NULL, NULL);
    }
    return result;
}

int sq_db_open(sq_db *db, const char *path, bool create, const neoq_options *options)
{
    *db = (sq_db){.patience = options->connect_timeout};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    if (sqlite3_open_v2(path, &db->handle, flags, NULL) != SQLITE_OK)
        return sq_error(db->handle, "opening");
    sqlite3_busy_handler(db->handle, busy, db);
    sqlite3_extended_result_codes(db->handle, 0);
    /* Checkpoints are made by sq_checkpoint() alone: see docs/sqlite.md on the WAL-reset bug. */
    sqlite3_wal_autocheckpoint(db->handle, 0);
    return NEOQ_OK;
}

int sq_db_tune(sq_db *db, const neoq_options *options, int pages)
{
    char pragmas[256];
    snprintf(pragmas, sizeof pragmas,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s; PRAGMA cache_size=%d; PRAGMA secure_delete=OFF;"
             " PRAGMA foreign_keys=OFF; PRAGMA temp_store=MEMORY",
             options->asynchronous_commit ? "NORMAL" : "FULL", pages);
    return set_pragmas(db, pragmas) == SQLITE_OK ? NEOQ_OK : sq_error(db->handle, "opening");
}

void sq_db_forget(sq_db *db)
{
    for (int i = 0; i < SQ_STATEMENTS; i++)
        sqlite3_finalize(db->statements[i].stmt);
    memset(db->statements, 0, sizeof db->statements);
}

void sq_db_close(sq_db *db)
{
    sq_db_forget(db);
    sqlite3_close(db->handle);
    db->handle = NULL;
}

static void note_failure(sq_db *db)
{
    if (db->status == NEOQ_OK)
        db->status = sq_error(db->handle, "a transaction failed");
}

sqlite3_stmt *sq_prepare(sq_db *db, const char *sql)
{
    size_t at = ((uintptr_t)sql >> 3) % SQ_STATEMENTS, tries = 0;
    while (db->statements[at].sql && db->statements[at].sql != sql && tries++ < SQ_STATEMENTS)
        at = (at + 1) % SQ_STATEMENTS;
    sqlite3_stmt *stmt = db->statements[at].stmt;
    if (db->statements[at].sql == sql && stmt) {
        sqlite3_reset(stmt);
        return stmt;
    }
    if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) != SQLITE_OK) {
        note_failure(db);
        return NULL;
    }
    sqlite3_finalize(db->statements[at].stmt);
    db->statements[at].sql = sql;
    db->statements[at].stmt = stmt;
    return stmt;
}

bool sq_step(sq_db *db, sqlite3_stmt *stmt)
{
    if (!stmt)
        return false;
    if (db->status != NEOQ_OK) {
        sqlite3_reset(stmt);
        return false;
    }
    int result = sqlite3_step(stmt);
    if (result == SQLITE_ROW)
        return true;
    if (result != SQLITE_DONE)
        note_failure(db);
    sqlite3_reset(stmt);
    return false;
}

int sq_run(sq_db *db, sqlite3_stmt *stmt)
{
    while (sq_step(db, stmt))
        ;
    return stmt && db->status == NEOQ_OK ? sqlite3_changes(db->handle) : -1;
}

sqlite3_stmt *sq_ask(sq_db *db, const char *sql, const int64_t *args, int count)
{
    sqlite3_stmt *stmt = sq_prepare(db, sql);
    for (int i = 0; stmt && i < count; i++)
        sqlite3_bind_int64(stmt, i + 1, args[i]);
    return stmt;
}

int sq_do(sq_db *db, const char *sql, const int64_t *args, int count)
{
    return sq_run(db, sq_ask(db, sql, args, count));
}
