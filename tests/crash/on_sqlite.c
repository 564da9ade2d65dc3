/* SPDX-License-Identifier: MIT
 *
 * SQLite: a file of the folder.
 */
#include "crash.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <neoq/sqlite.h>
#include <sqlite3.h>

static void path_of(const plan *p, const char *name, char path[200])
{
    snprintf(path, 200, "%s/%s", p->folder, name);
}

static bool begin(const plan *p, char *url, size_t size)
{
    snprintf(url, size, "sqlite:%s/jobs.db", p->folder);
    return true;
}

static void end(void)
{
}

/* ---- transactions of ours --------------------------------------------------------------- */

static void *open_file(const plan *p, const char *name)
{
    char path[200];
    sqlite3 *db;
    path_of(p, name, path);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", path, sqlite3_errmsg(db));
        sqlite3_close(db);
        return NULL;
    }
    sqlite3_busy_timeout(db, 60000); /* others write, too */
    return db;
}

static void *connect(const plan *p)
{
    return open_file(p, "jobs.db");
}

static void disconnect(void *db)
{
    sqlite3_close(db);
}

static bool run(void *db, const char *sql)
{
    return sqlite3_exec(db, sql[0] == 'B' ? "BEGIN IMMEDIATE" : sql, NULL, NULL, NULL) == SQLITE_OK;
}

static const char *words(void *db)
{
    return sqlite3_errmsg(db);
}

static int enqueue(neoq *nq, void *db, const neoq_job *job, char *id)
{
    return neoq_sqlite_enqueue(nq, db, job, id);
}

static int finish(neoq_ctx *ctx, void *db)
{
    return neoq_sqlite_finish(ctx, db);
}

/* Only now: before the store was opened there was no file. */
static bool prepare(const plan *p)
{
    void *db = connect(p);
    bool done = db && run(db, "CREATE TABLE IF NOT EXISTS crash_wishes(n)") &&
                run(db, "CREATE TABLE IF NOT EXISTS crash_effects(n, epoch)");
    if (db && !done)
        fprintf(stderr, "crash tables: %s\n", words(db));
    disconnect(db);
    return done;
}

/* ---- the checker's ---------------------------------------------------------------------- */

static void read_numbers(void *db, const char *sql, void (*each)(int64_t number, void *arg), void *arg)
{
    sqlite3_stmt *stmt = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        complain("%s: %s", sql, sqlite3_errmsg(db));
    while (stmt && sqlite3_step(stmt) == SQLITE_ROW)
        each(sqlite3_column_int64(stmt, 0), arg);
    sqlite3_finalize(stmt);
}

/* Each selects words about what is wrong. */
static const char *const questions[] = {
    "SELECT 'queue ' || name || ' counts ' || counts || ', and has ' || rows FROM (SELECT name,"
    " format('%d %d %d %d %d %d', scheduled, ready, running, retrying, done, dead) AS counts,"
    " format('%d %d %d %d %d %d',"
    "  (SELECT count(*) FROM neoq_jobs j WHERE j.queue = q.id AND state = 1),"
    "  (SELECT count(*) FROM neoq_ready r WHERE r.queue = q.id),"
    "  (SELECT count(*) FROM neoq_running r JOIN neoq_jobs j ON j.rid = r.rid WHERE j.queue = q.id),"
    "  (SELECT count(*) FROM neoq_jobs j WHERE j.queue = q.id AND state = 4),"
    "  (SELECT count(*) FROM neoq_jobs j WHERE j.queue = q.id AND state = 5),"
    "  (SELECT count(*) FROM neoq_jobs j WHERE j.queue = q.id AND state = 6)) AS rows"
    " FROM neoq_queues q) WHERE counts <> rows",
    "SELECT format('job %d of state 2 is in %d of neoq_ready and neoq_running', rid, places) FROM (SELECT rid,"
    " (SELECT count(*) FROM neoq_ready r WHERE r.rid = j.rid) +"
    " (SELECT count(*) FROM neoq_running r WHERE r.rid = j.rid) AS places FROM neoq_jobs j WHERE state = 2)"
    " WHERE places <> 1",
    "SELECT format('neoq_ready has %d, which is no such job', r.rid) FROM neoq_ready r LEFT JOIN neoq_jobs j"
    " ON j.rid = r.rid AND j.state = 2 AND j.queue = r.queue WHERE j.rid IS NULL",
    "SELECT format('neoq_running has %d, which is no such job', r.rid) FROM neoq_running r LEFT JOIN neoq_jobs j"
    " ON j.rid = r.rid AND j.state = 2 WHERE j.rid IS NULL",
    "SELECT format('job %d is run by worker %d, whom nobody knows', r.rid, r.worker) FROM neoq_running r"
    " LEFT JOIN neoq_workers w ON w.rid = r.worker WHERE w.rid IS NULL",
    "SELECT format('job %d has a history, and is not there', r.rid) FROM neoq_runs r LEFT JOIN neoq_jobs j"
    " ON j.rid = r.rid WHERE j.rid IS NULL",
    "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
};
/* A small table, so that looking up its rows by job needs an index. */
static const char ready_index[] = "CREATE INDEX crash_ready ON neoq_ready(rid)";

static void ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    int result = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    while (result == SQLITE_OK && (result = sqlite3_step(stmt)) == SQLITE_ROW) {
        complain("%s", (const char *)sqlite3_column_text(stmt, 0));
        result = SQLITE_OK;
    }
    if (result != SQLITE_DONE)
        complain("%s", sqlite3_errmsg(db));
    sqlite3_finalize(stmt);
}

static bool has_tables(sqlite3 *db)
{
    sqlite3_stmt *stmt = NULL;
    bool has = sqlite3_prepare_v2(db, "SELECT count(*) FROM neoq_meta", -1, &stmt, NULL) == SQLITE_OK &&
               sqlite3_step(stmt) == SQLITE_ROW;
    sqlite3_finalize(stmt);
    return has;
}

static void ask_all(sqlite3 *db)
{
    if (!has_tables(db))
        return; /* killed before that */
    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
    sqlite3_exec(db, ready_index, NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++)
        ask(db, questions[i]);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
}

static void copy_file(const char *from, const char *to)
{
    struct stat about;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (in >= 0 && out >= 0 && fstat(in, &about) == 0)
        for (off_t left = about.st_size; left > 0;) {
            ssize_t sent = sendfile(out, in, NULL, (size_t)left);
            if (sent <= 0)
                abort();
            left -= sent;
        }
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
}

static const char *const copies[] = {"copy.db", "copy.db-wal", "copy.db-shm"};

/* As the next process would find it; the original is left to that process. */
static void copy_all(const plan *p)
{
    static const char *const originals[] = {"jobs.db", "jobs.db-wal"};
    char from[200], to[200];
    for (int i = 0; i < 2; i++) {
        path_of(p, originals[i], from);
        path_of(p, copies[i], to);
        if (access(from, R_OK) == 0)
            copy_file(from, to);
    }
}

static void check(const plan *p, bool last)
{
    char path[200];
    path_of(p, "jobs.db", path);
    if (access(path, R_OK) != 0)
        return; /* killed before there was a store */
    if (!last)
        copy_all(p);
    sqlite3 *db = open_file(p, last ? "jobs.db" : copies[0]);
    if (db)
        ask_all(db);
    else
        complain("the store cannot be opened");
    sqlite3_close(db);
    for (int i = 0; i < 3 && !last; i++) {
        path_of(p, copies[i], path);
        unlink(path);
    }
}

const crash_store crash_sqlite = {
    .name = "sqlite:",
    .begin = begin,
    .end = end,
    .prepare = prepare,
    .connect = connect,
    .disconnect = disconnect,
    .run = run,
    .words = words,
    .enqueue = enqueue,
    .finish = finish,
    .read = read_numbers,
    .check = check,
};
