/* SPDX-License-Identifier: MIT
 *
 * neoq_migrate() on a file: what is in it, making it, removing it, its SQL.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/sqlite/database.h"
#include "backend/sqlite/file.h"
#include "backend/sqlite/manage.h"
#include "backend/sqlite/schema.h"
#include "base/error.h"

typedef struct migration {
    const neoq_store_config *config;
    neoq_each_line each;
    void *arg;
    neoq_schema_info *info;
    char *path;
    sq_db db;
} migration;

static void say(const migration *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const migration *m, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    m->each(line, m->arg);
}

/* 0: it is not there, or *status says why it cannot be read. */
static int64_t value_of(const migration *m, const char *key, int *status)
{
    int64_t value = sq_schema_value(m->db.handle, key);
    int result = sqlite3_errcode(m->db.handle) & 0xff;
    if (*status == NEOQ_OK && result != SQLITE_OK && result != SQLITE_ERROR) /* which is: there is no such table */
        *status = sq_error(m->db.handle, "reading the schema version");
    return value;
}

/* What is in the open file; NEOQ_ESCHEMA where it is not for us. */
static int look(migration *m)
{
    int status = NEOQ_OK;
    m->info->version = (int)value_of(m, "schema", &status);
    m->info->compatible_from = (int)value_of(m, "compatible_from", &status);
    m->info->migrated_at = value_of(m, "made_at", &status);
    if (status == NEOQ_OK)
        status = sq_schema_check(m->db.handle, m->path);
    if (status != NEOQ_OK || m->info->version == 0)
        return status;
    sqlite3_stmt *stmt =
        sq_prepare(&m->db,
                   "SELECT ifnull(sum(scheduled + ready + running + retrying + done + dead), 0) FROM neoq_queues");
    int gone;
    m->info->jobs = sq_step(&m->db, stmt) ? sqlite3_column_int64(stmt, 0) : 0;
    if (stmt)
        sqlite3_reset(stmt);
    sq_count_workers(&m->db, m->config->clock, &m->info->workers, &gone);
    return m->db.status;
}

/* Opens the file as it is, leaving even its WAL alone; without a file there is nothing to be open. */
static int open_there(migration *m)
{
    if (access(m->path, F_OK) != 0)
        return errno == ENOENT || errno == ENOTDIR ? NEOQ_OK
                                                   : nq_fail(NEOQ_EBACKEND, "%s: %s", m->path, strerror(errno));
    int status = sq_db_open(&m->db, m->path, false, m->config->options);
    if (status != NEOQ_OK)
        return status;
    sqlite3_db_config(m->db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    return look(m);
}

/* ---- up --------------------------------------------------------------------------------- */

static int bring_up(migration *m, bool network)
{
    int status = sq_prepare_file(m->path, network);
    if (status == NEOQ_OK)
        status = sq_db_open(&m->db, m->path, true, m->config->options);
    if (status == NEOQ_OK)
        status = look(m);
    if (status != NEOQ_OK)
        return status;
    if (m->info->version != 0) {
        say(m, "%s has schema version %d: nothing to do", m->path, m->info->version);
        return NEOQ_OK;
    }
    status = sq_db_tune(&m->db, m->config->options, 100);
    if (status == NEOQ_OK)
        status = sq_schema_prepare(m->db.handle, m->path);
    if (status == NEOQ_OK)
        status = look(m);
    if (status == NEOQ_OK)
        say(m, "made the tables of schema version %d in %s", m->info->version, m->path);
    return status;
}

/* ---- down ------------------------------------------------------------------------------- */

static const char *const tables[] = {"neoq_jobs", "neoq_guards", "neoq_fresh",   "neoq_ready",     "neoq_running",
                                     "neoq_runs", "neoq_queues", "neoq_workers", "neoq_schedules", "neoq_meta"};
enum { TABLES = sizeof tables / sizeof *tables };

static int refuse_what_is_used(const migration *m)
{
    if (m->info->jobs == 0 && m->info->workers == 0)
        return NEOQ_OK;
    return nq_fail(NEOQ_ESTATE,
                   "%s has %lld jobs and %d live workers: stop the workers and purge the queues, or remove all of it "
                   "with --force (NEOQ_MIGRATE_DOWN_ANYWAY)",
                   m->path, (long long)m->info->jobs, m->info->workers);
}

static int drop_tables(migration *m)
{
    char sql[64];
    for (int i = 0; i < TABLES; i++) {
        snprintf(sql, sizeof sql, "DROP TABLE %s", tables[i]);
        if (sqlite3_exec(m->db.handle, sql, NULL, NULL, NULL) != SQLITE_OK)
            return sq_error(m->db.handle, "dropping the tables");
    }
    return NEOQ_OK;
}

static int take_down(migration *m, bool anyway)
{
    sqlite3 *db = m->db.handle;
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return sq_error(db, "dropping the tables");
    int status = look(m); /* again, as nobody can change it any more */
    if (status == NEOQ_OK && m->info->version > SQ_SCHEMA_VERSION)
        status = nq_fail(NEOQ_ESCHEMA, "%s has schema version %d: only the neoq that made it can take it back",
                         m->path, m->info->version);
    if (status == NEOQ_OK && !anyway)
        status = refuse_what_is_used(m);
    sq_db_forget(&m->db);
    if (status == NEOQ_OK)
        status = drop_tables(m);
    if (status == NEOQ_OK && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        status = sq_error(db, "dropping the tables");
    if (status != NEOQ_OK) {
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
        return status;
    }
    for (int i = 0; i < TABLES; i++)
        say(m, "dropped the table %s", tables[i]);
    *m->info = (neoq_schema_info){.known = SQ_SCHEMA_VERSION};
    return NEOQ_OK;
}

static int go_down(migration *m, neoq_migration what)
{
    int status = open_there(m);
    if (status != NEOQ_OK)
        return status;
    if (m->info->version == 0) {
        say(m, "%s has no tables of neoq's: nothing to remove", m->path);
        return NEOQ_OK;
    }
    if (what != NEOQ_MIGRATE_PLAN_DOWN)
        return take_down(m, what == NEOQ_MIGRATE_DOWN_ANYWAY);
    for (int i = 0; i < TABLES; i++)
        say(m, "would drop the table %s", tables[i]);
    say(m, "with %lld jobs and %d live workers; other tables, and the file, would stay", (long long)m->info->jobs,
        m->info->workers);
    return NEOQ_OK;
}

/* ---- print ------------------------------------------------------------------------------ */

/* In the constant, ';' ends a statement, and two blanks are where a line would end. */
static int print(const migration *m)
{
    const char *at = sq_schema_sql;
    say(m, "-- The tables of neoq in an SQLite file, schema version %d.", SQ_SCHEMA_VERSION);
    say(m, "PRAGMA journal_mode = WAL;");
    say(m, "BEGIN IMMEDIATE;");
    while (*at) {
        const char *end = strchr(at, ';'), *blanks = strstr(at + 2, "  ");
        size_t size = blanks && blanks < end ? (size_t)(blanks - at) : (size_t)(end + 1 - at);
        say(m, "%.*s", (int)size, at);
        at += size;
    }
    say(m, "COMMIT;");
    return NEOQ_OK;
}

int sq_migrate(const neoq_store_config *config, neoq_migration what, neoq_each_line each, void *arg,
               neoq_schema_info *info)
{
    migration m = {.config = config, .each = each, .arg = arg, .info = info};
    bool network;
    int status = sq_parse_url(config->url, &m.path, &network);
    info->known = SQ_SCHEMA_VERSION;
    if (status == NEOQ_OK) {
        switch (what) {
        case NEOQ_MIGRATE_STATUS: status = open_there(&m); break;
        case NEOQ_MIGRATE_UP: status = bring_up(&m, network); break;
        case NEOQ_MIGRATE_PRINT: status = print(&m); break;
        case NEOQ_MIGRATE_DOWN:
        case NEOQ_MIGRATE_DOWN_ANYWAY:
        case NEOQ_MIGRATE_PLAN_DOWN: status = go_down(&m, what); break;
        }
    }
    sq_db_close(&m.db);
    free(m.path);
    return status;
}
