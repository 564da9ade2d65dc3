/* SPDX-License-Identifier: MIT
 *
 * neoq_migrate() on a server: what is in the schema, making it, removing it, its SQL.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/schema.h"
#include "base/error.h"

typedef struct migration {
    pg_session session;
    neoq_each_line each;
    void *arg;
    neoq_schema_info *info;
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

static int up(migration *m)
{
    pg_session *s = &m->session;
    int status = pg_schema_look(s, m->info);
    if (status != NEOQ_OK)
        return status;
    if (m->info->version >= PG_SCHEMA_VERSION) {
        say(m, "schema %s of %s has version %d: nothing to do", s->settings->schema, s->settings->shown,
            m->info->version);
        return NEOQ_OK;
    }
    neoq_schema_info found = {0};
    status = pg_schema_in_lock(s, pg_schema_bring_up, &found);
    if (status != NEOQ_OK)
        return pg_schema_may_not(s) ? pg_schema_not_allowed(s) : status;
    status = pg_schema_look(s, m->info);
    if (status == NEOQ_OK)
        say(m, "made schema %s in %s, version %d", s->settings->schema, s->settings->shown, m->info->version);
    return status;
}

typedef struct taking_down {
    migration *migration;
    bool anyway;
} taking_down;

/* Whatever is enqueued after the look waits for the lock on its table, and then finds none. */
static int take_down(pg_session *s, void *arg)
{
    taking_down *down = arg;
    neoq_schema_info *info = down->migration->info;
    int status = pg_schema_lock_tables(s);
    if (status == NEOQ_OK)
        status = pg_schema_counts(s, info);
    if (status == NEOQ_OK && !down->anyway && (info->jobs > 0 || info->workers > 0)) {
        return nq_fail(NEOQ_ESTATE,
                       "%s: schema %s has %lld jobs and %d live workers: stop the workers and purge the queues, or "
                       "remove all of it with --force (NEOQ_MIGRATE_DOWN_ANYWAY)",
                       s->settings->shown, s->settings->schema, (long long)info->jobs, info->workers);
    }
    return status == NEOQ_OK ? pg_session_run(s, PG_SCHEMA_LONG_WORK, "DROP SCHEMA @schema@ CASCADE", NULL) : status;
}

/* What DROP SCHEMA would take along: our relations, and whatever of others hangs on them or lies beside them. */
static int say_contents(migration *m)
{
    pg_session *s = &m->session;
    PGresult *rows;
    int status = pg_session_run(
        s, PG_SCHEMA_PATIENCE,
        "SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' ELSE 'relation' END, relname"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = @schema_literal@ AND relkind IN ('r', 'v', 'm', 'p', 'f') ORDER BY relkind, relname",
        &rows);
    if (status != NEOQ_OK)
        return status;
    for (int i = 0; i < PQntuples(rows); i++)
        say(m, "would drop the %s %s.%s", pg_text_at(rows, i, 0), s->settings->schema, pg_text_at(rows, i, 1));
    PQclear(rows);
    say(m, "and the schema %s, its functions, and whatever else is in it or depends on it,", s->settings->schema);
    say(m, "with %lld jobs and %d live workers", (long long)m->info->jobs, m->info->workers);
    return NEOQ_OK;
}

static int down(migration *m, neoq_migration what)
{
    pg_session *s = &m->session;
    int status = pg_schema_look(s, m->info);
    if (status != NEOQ_OK)
        return status;
    if (m->info->version == 0) {
        say(m, "%s has no schema %s of neoq's: nothing to remove", s->settings->shown, s->settings->schema);
        return NEOQ_OK;
    }
    if (m->info->version > PG_SCHEMA_VERSION)
        return nq_fail(NEOQ_ESCHEMA, "%s: schema %s has version %d: only the neoq that made it can take it back",
                       s->settings->shown, s->settings->schema, m->info->version);
    if (what == NEOQ_MIGRATE_PLAN_DOWN)
        return say_contents(m);
    taking_down arg = {m, what == NEOQ_MIGRATE_DOWN_ANYWAY};
    status = pg_schema_in_lock(s, take_down, &arg);
    if (status != NEOQ_OK)
        return pg_schema_may_not(s) ? nq_fail(NEOQ_ESCHEMA, "%s: only the owner of schema %s may remove it (%.300s)",
                                              s->settings->shown, s->settings->schema, neoq_error_message())
                                    : status;
    say(m, "dropped the schema %s of %s", s->settings->schema, s->settings->shown);
    *m->info = (neoq_schema_info){.known = PG_SCHEMA_VERSION};
    return NEOQ_OK;
}

/* A line of text at a time. */
static int say_text(migration *m, const char *sql)
{
    const pg_settings *settings = m->session.settings;
    char *text = pg_render(sql, settings), *rest = text, *line;
    if (!text)
        return nq_fail(NEOQ_ENOMEM, "no memory to print the schema");
    while ((line = strsep(&rest, "\n")) != NULL && (rest || *line))
        m->each(line, m->arg);
    free(text);
    return NEOQ_OK;
}

static int print(migration *m)
{
    char head[512];
    snprintf(head, sizeof head,
             "-- neoq's schema @schema@, version %d, for an empty database or one without that schema.\n"
             "-- Whoever runs it owns it. Afterwards, for each role that is to use it:\n"
             "--   SELECT @schema@.grant_to('ROLE', 'worker');   -- or enqueuer, viewer, operator\n\n"
             "BEGIN;\nSET LOCAL lock_timeout = %d;\n" PG_SCHEMA_LOCK_SQL
             ";\nCREATE SCHEMA IF NOT EXISTS @schema@;\n\n",
             PG_SCHEMA_VERSION, PG_SCHEMA_LOCK_WAIT_MS);
    int status = say_text(m, head);
    for (const pg_sql_file *file = pg_sql_files; status == NEOQ_OK && file->name; file++) {
        if (!pg_schema_wants(file->name, 0))
            continue;
        status = say_text(m, file->text);
        m->each("", m->arg);
    }
    char stamp[PG_SCHEMA_STAMP_SIZE];
    pg_schema_stamp(stamp);
    if (status == NEOQ_OK)
        status = say_text(m, stamp);
    if (status == NEOQ_OK)
        status = say_text(m, "COMMIT;");
    return status;
}

/* A database that is not there is made by whoever makes the schema, and by nobody who only looks. */
static int create_database(const neoq_store_config *config, const pg_settings *settings)
{
    pg_pool *pool;
    int status = pg_pool_open(&pool, settings, config->options, config->clock);
    if (status == NEOQ_OK)
        pg_pool_close(pool);
    return status;
}

static int with_server(migration *m, neoq_migration what, const neoq_store_config *config)
{
    const pg_settings *settings = m->session.settings;
    int status = what == NEOQ_MIGRATE_UP ? create_database(config, settings) : NEOQ_OK;
    if (status == NEOQ_OK)
        status = pg_session_open(&m->session, settings);
    if (status != NEOQ_OK)
        return status;
    if (what == NEOQ_MIGRATE_UP)
        status = up(m);
    else if (what == NEOQ_MIGRATE_STATUS)
        status = pg_schema_look(&m->session, m->info);
    else
        status = down(m, what);
    pg_session_close(&m->session);
    return status;
}

int pg_migrate(const neoq_store_config *config, neoq_migration what, neoq_each_line each, void *arg,
               neoq_schema_info *info)
{
    pg_settings settings;
    int status = pg_settings_parse(&settings, config->url, config->options);
    if (status != NEOQ_OK)
        return status;
    migration m = {.session.settings = &settings, .each = each, .arg = arg, .info = info};
    info->known = PG_SCHEMA_VERSION;
    status = pg_render_check(&settings);
    if (status == NEOQ_OK)
        status = what == NEOQ_MIGRATE_PRINT ? print(&m) : with_server(&m, what, config);
    pg_settings_free(&settings);
    return status;
}
