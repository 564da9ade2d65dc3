/* SPDX-License-Identifier: MIT
 *
 * Every change of the schema is one transaction under one advisory lock: whoever comes second finds it done. Locks on
 * tables are waited for no longer than half a second, for whoever waits for such a lock stops all who come after him;
 * then the whole is rolled back and tried again a little later. That is shorter than deadlock_timeout: where our locks
 * and a writer's cross, it is us who give way.
 */
#include "backend/postgres/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/postgres/connection.h"
#include "backend/postgres/failure.h"
#include "base/error.h"
#include "base/log.h"

enum { LOCK_TRIES = 30, LOCK_PAUSE_MS = 500, STEP_LIMIT_MS = 1500 };

bool pg_schema_may_not(const pg_session *s)
{
    return pg_session_refused(s, "42501") || pg_session_refused(s, "25006"); /* no right to it; a standby */
}

/* ---- looking ---------------------------------------------------------------------------- */

pg_schema_verdict pg_schema_judge(int version, int compatible_from, int own, int oldest)
{
    if (version > own) /* by more than one: whoever made it has forgotten about us */
        return version == own + 1 && compatible_from >= 1 && compatible_from <= own ? PG_SCHEMA_FITS
                                                                                    : PG_SCHEMA_TOO_NEW;
    if (version < oldest)
        return PG_SCHEMA_TOO_OLD;
    return version == own ? PG_SCHEMA_FITS : PG_SCHEMA_BEHIND;
}

/* What `meta` says; version 0 where it is not there. */
static int read_meta(pg_session *s, neoq_schema_info *info)
{
    PGresult *rows;
    int status = pg_session_run(s, PG_SCHEMA_PATIENCE,
                                "SELECT max(value) FILTER (WHERE key = 'version'),"
                                " max(value) FILTER (WHERE key = 'compatible_from'),"
                                " max(value) FILTER (WHERE key = 'migrated_at') FROM @schema@.meta",
                                &rows);
    if (pg_session_refused(s, "42P01") || pg_session_refused(s, "3F000") || pg_session_refused(s, "42703"))
        return NEOQ_OK; /* no such table, schema or column */
    if (pg_session_refused(s, "42501"))
        return nq_fail(NEOQ_ESCHEMA,
                       "%s: this role may not use the schema %s: its owner lets it with SELECT %s.grant_to(role, "
                       "'worker'), or 'enqueuer', 'viewer', 'operator'",
                       s->settings->shown, s->settings->schema, s->settings->quoted_schema);
    if (status != NEOQ_OK)
        return status;
    info->version = (int)pg_number_at(rows, 0, 0);
    info->compatible_from = (int)pg_number_at(rows, 0, 1);
    info->migrated_at = pg_number_at(rows, 0, 2);
    PQclear(rows);
    return NEOQ_OK;
}

static int too_new(const pg_session *s, const neoq_schema_info *info)
{
    return nq_fail(NEOQ_ESCHEMA, "%s: schema %s has version %d, and this neoq works with %d to %d: use the newer one",
                   s->settings->shown, s->settings->schema, info->version, PG_SCHEMA_OLDEST, PG_SCHEMA_VERSION);
}

/* Of a schema without our meta: whether it may become ours. */
static int check_foreign(pg_session *s)
{
    PGresult *rows;
    int status =
        pg_session_run(s, PG_SCHEMA_PATIENCE,
                       "SELECT string_agg(relname::text, ', ' ORDER BY relname) FROM (SELECT relname FROM pg_class c"
                       " JOIN pg_namespace n ON n.oid = c.relnamespace"
                       " WHERE n.nspname = @schema_literal@ AND relkind IN ('r', 'v', 'm', 'p', 'f') LIMIT 5) c",
                       &rows);
    if (status != NEOQ_OK)
        return status;
    if (*pg_text_at(rows, 0, 0))
        status = nq_fail(NEOQ_ESCHEMA,
                         "%s: the schema %s is another program's (it has %.200s): name another one with ?schema=NAME",
                         s->settings->shown, s->settings->schema, pg_text_at(rows, 0, 0));
    PQclear(rows);
    return status;
}

/* Jobs and live workers. A role that may not count them is not told. */
int pg_schema_counts(pg_session *s, neoq_schema_info *info)
{
    PGresult *rows;
    int status =
        pg_session_run(s, PG_SCHEMA_PATIENCE,
                       "SELECT (SELECT coalesce(sum(waiting + running + done + dead), 0)::int8 FROM @schema@.tally),"
                       " (SELECT count(*) FROM @schema@.worker WHERE NOT lost"
                       " AND lease_until > extract(epoch FROM clock_timestamp()) * 1000000)",
                       &rows);
    if (pg_session_refused(s, "42501"))
        return NEOQ_OK;
    if (status != NEOQ_OK)
        return status;
    info->jobs = pg_number_at(rows, 0, 0);
    info->workers = (int)pg_number_at(rows, 0, 1);
    PQclear(rows);
    return NEOQ_OK;
}

int pg_schema_look(pg_session *s, neoq_schema_info *info)
{
    int status = read_meta(s, info);
    for (int looks = 1; status == NEOQ_OK && info->version == 0; looks++) {
        int foreign = check_foreign(s);
        if (foreign != NEOQ_ESCHEMA || looks == 2)
            return foreign;
        status = read_meta(s, info); /* another neoq may have made it since meta was looked for */
    }
    if (status == NEOQ_OK && pg_schema_judge(info->version, info->compatible_from, PG_SCHEMA_VERSION,
                                             PG_SCHEMA_OLDEST) == PG_SCHEMA_TOO_NEW)
        return too_new(s, info);
    return status == NEOQ_OK ? pg_schema_counts(s, info) : status;
}

/* ---- changing --------------------------------------------------------------------------- */

void pg_schema_stamp(char sql[PG_SCHEMA_STAMP_SIZE])
{
    snprintf(sql, PG_SCHEMA_STAMP_SIZE,
             "INSERT INTO @schema@.meta (key, value) VALUES ('version', '%d'), ('compatible_from', '%d'),\n"
             "    ('migrated_at', (extract(epoch FROM clock_timestamp()) * 1000000)::int8::text)\n"
             "ON CONFLICT (key) DO UPDATE SET value = excluded.value;",
             PG_SCHEMA_VERSION, PG_SCHEMA_COMPATIBLE_FROM);
}

static int make_schema(pg_session *s)
{
    PGresult *rows;
    int status =
        pg_session_run(s, PG_SCHEMA_PATIENCE, "SELECT 1 FROM pg_namespace WHERE nspname = @schema_literal@", &rows);
    if (status != NEOQ_OK)
        return status;
    bool there = PQntuples(rows) > 0; /* CREATE ... IF NOT EXISTS asks for the right all the same */
    PQclear(rows);
    return there ? NEOQ_OK : pg_session_run(s, PG_SCHEMA_PATIENCE, "CREATE SCHEMA @schema@", NULL);
}

bool pg_schema_wants(const char *file, int version)
{
    int to = 0;
    if (strcmp(file, "tables.sql") == 0)
        return version == 0;
    if (sscanf(file, "to_%d.sql", &to) == 1)
        return version > 0 && version < to;
    return true;
}

/* All at once, and within one wait: who had one and waited for the next would keep writers waiting for both. */
int pg_schema_lock_tables(pg_session *s)
{
    char sql[320];
    snprintf(
        sql, sizeof sql,
        "SET LOCAL statement_timeout = %d;"
        " LOCK TABLE @schema@.job, @schema@.tally, @schema@.ended, @schema@.run, @schema@.queue, @schema@.worker,"
        " @schema@.schedule IN ACCESS EXCLUSIVE MODE;"
        " SET LOCAL statement_timeout = 0",
        PG_SCHEMA_LOCK_WAIT_MS);
    int status = pg_session_run(s, PG_SCHEMA_PATIENCE, sql, NULL);
    if (pg_session_refused(s, "57014"))
        strcpy(s->failure.state, "55P03"); /* whichever of the two limits it was */
    return status;
}

/* A step has the tables for itself while it runs; it is undone if a statement of it takes too long. */
static int begin_step(pg_session *s)
{
    char sql[64];
    int status = pg_schema_lock_tables(s);
    snprintf(sql, sizeof sql, "SET LOCAL statement_timeout = %d", STEP_LIMIT_MS);
    return status == NEOQ_OK ? pg_session_run(s, PG_SCHEMA_PATIENCE, sql, NULL) : status;
}

int pg_schema_run_files(pg_session *s, const pg_sql_file *file, int version)
{
    char stamp[PG_SCHEMA_STAMP_SIZE];
    int status = make_schema(s);
    for (; status == NEOQ_OK && file->name; file++) {
        if (!pg_schema_wants(file->name, version))
            continue;
        if (strncmp(file->name, "to_", 3) == 0)
            status = begin_step(s);
        if (status == NEOQ_OK)
            status = pg_session_run(s, PG_SCHEMA_LONG_WORK, file->text, NULL);
        if (status != NEOQ_OK && !pg_schema_may_not(s) && !pg_session_refused(s, "55P03"))
            status = nq_fail(status, "%s: %.700s", file->name, neoq_error_message());
    }
    if (status != NEOQ_OK)
        return status;
    pg_schema_stamp(stamp);
    return pg_session_run(s, PG_SCHEMA_PATIENCE, stamp, NULL);
}

/* Runs work in one transaction under the lock. NEOQ_ETIMEOUT: a lock could not be had for so long. */
static int try_in_lock(pg_session *s, pg_schema_work work, void *arg)
{
    char limits[160];
    /* The lock on the whole is waited for as long as it takes others; locks on tables are not. */
    snprintf(limits, sizeof limits,
             "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '1min';"
             " SET LOCAL lock_timeout = %lld",
             (long long)(PG_SCHEMA_PATIENCE / 1000));
    int status = pg_session_run(s, PG_SCHEMA_PATIENCE, limits, NULL);
    if (status != NEOQ_OK)
        return status;
    snprintf(limits, sizeof limits, PG_SCHEMA_LOCK_SQL "; SET LOCAL lock_timeout = %d", PG_SCHEMA_LOCK_WAIT_MS);
    status = pg_session_run(s, 2 * PG_SCHEMA_PATIENCE, limits, NULL);
    if (pg_session_refused(s, "55P03")) {
        *s->failure.state = '\0'; /* no use in trying that again */
        status = nq_fail(NEOQ_ETIMEOUT, "%s: somebody else has been changing the schema %s for %d s: try again later",
                         s->settings->shown, s->settings->schema, (int)(PG_SCHEMA_PATIENCE / NEOQ_SECONDS(1)));
    }
    if (status == NEOQ_OK)
        status = work(s, arg);
    if (status == NEOQ_OK)
        return pg_session_run(s, PG_SCHEMA_PATIENCE, "COMMIT", NULL);
    pg_failure failure = s->failure;
    char *words = strdup(neoq_error_message());
    pg_session_run(s, PG_SCHEMA_PATIENCE, "ROLLBACK", NULL);
    s->failure = failure;
    if (words)
        nq_fail(status, "%s", words);
    free(words);
    return status;
}

int pg_schema_in_lock(pg_session *s, pg_schema_work work, void *arg)
{
    for (int tries = 1;; tries++) {
        int status = try_in_lock(s, work, arg);
        bool again = pg_session_refused(s, "55P03") || pg_session_refused(s, "40P01"); /* no lock; a deadlock */
        if (status == NEOQ_OK || !again)
            return status;
        if (tries == LOCK_TRIES)
            return nq_fail(NEOQ_ETIMEOUT, "%s: schema %s: the locks were not to be had, %d times: %.300s",
                           s->settings->shown, s->settings->schema, tries, neoq_error_message());
        const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
}

/* Looks again, now that nobody else can change it, and does what is still to be done. */
int pg_schema_bring_up(pg_session *s, void *arg)
{
    neoq_schema_info *info = arg;
    PGresult *rows;
    int status =
        pg_session_run(s, PG_SCHEMA_PATIENCE, "SELECT to_regclass('@schema_in_literal@.meta') IS NOT NULL", &rows);
    if (status != NEOQ_OK)
        return status;
    bool there = *pg_text_at(rows, 0, 0) == 't'; /* to ask what is not there would end the transaction */
    PQclear(rows);
    info->version = 0;
    status = there ? read_meta(s, info) : NEOQ_OK;
    if (status == NEOQ_OK && info->version == 0)
        status = check_foreign(s);
    if (status != NEOQ_OK || info->version >= PG_SCHEMA_VERSION)
        return status;
    return pg_schema_run_files(s, pg_sql_files, info->version);
}

int pg_schema_not_allowed(const pg_session *s)
{
    return nq_fail(
        NEOQ_ESCHEMA,
        "%s: the schema %s is not there, or too old, and this role may not make it (%.300s): let its owner "
        "run `neoq migrate up`, or run what `neoq migrate print` writes",
        s->settings->shown, s->settings->schema, neoq_error_message());
}

/* ---- at open ---------------------------------------------------------------------------- */

static int prepare(pg_session *s, const neoq_options *options)
{
    neoq_schema_info info = {0};
    int status = read_meta(s, &info);
    if (status != NEOQ_OK)
        return status;
    switch (pg_schema_judge(info.version, info.compatible_from, PG_SCHEMA_VERSION, PG_SCHEMA_OLDEST)) {
    case PG_SCHEMA_FITS: return NEOQ_OK;
    case PG_SCHEMA_TOO_NEW: return too_new(s, &info);
    case PG_SCHEMA_BEHIND:
    case PG_SCHEMA_TOO_OLD: break;
    }
    bool usable = info.version >= PG_SCHEMA_OLDEST;
    status = pg_schema_in_lock(s, pg_schema_bring_up, &info);
    if (status == NEOQ_OK) {
        nq_log(options, NEOQ_LOG_INFO, "%s: schema %s is made, version %d", s->settings->shown, s->settings->schema,
               PG_SCHEMA_VERSION);
        return NEOQ_OK;
    }
    if (!pg_schema_may_not(s))
        return status;
    if (!usable)
        return pg_schema_not_allowed(s);
    nq_log(options, NEOQ_LOG_WARN,
           "%s: schema %s has version %d, which is used as it is: this role may not bring it "
           "to %d; let its owner run `neoq migrate up`",
           s->settings->shown, s->settings->schema, info.version, PG_SCHEMA_VERSION);
    return NEOQ_OK;
}

int pg_schema_prepare(pg_pool *pool, const pg_settings *settings, const neoq_options *options)
{
    pg_conn *conn;
    int status = pg_render_check(settings);
    if (status == NEOQ_OK)
        status = pg_pool_take(pool, &conn);
    if (status != NEOQ_OK)
        return status;
    pg_session s = {.handle = pg_conn_handle(conn), .settings = settings};
    status = prepare(&s, options);
    if (PQtransactionStatus(s.handle) != PQTRANS_IDLE)
        conn->broken = true;
    pg_pool_give(pool, conn);
    return status;
}
