/* SPDX-License-Identifier: MIT */
#include "backend/postgres/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"

/* ---- SQL with a name in it -------------------------------------------------------------- */

int pg_render_check(const pg_settings *settings)
{
    if (!strpbrk(settings->schema, "'$\\@"))
        return NEOQ_OK;
    return nq_fail(NEOQ_EINVAL, "PostgreSQL: schema \"%s\": its name may not hold ', $, @ or a backslash",
                   settings->schema);
}

char *pg_render(const char *sql, const pg_settings *settings)
{
    enum { QUOTED, LITERAL };
    static const struct {
        const char *name;
        int kind;
    } places[] = {{"@schema@", QUOTED}, {"@schema_in_literal@", QUOTED}, {"@schema_literal@", LITERAL}};
    nq_buffer out = {0};
    nq_buffer_reserve(&out, strlen(sql) + 256);
    for (const char *at; (at = strchr(sql, '@')) != NULL;) {
        size_t i = 0, count = sizeof places / sizeof *places;
        nq_buffer_add(&out, sql, (size_t)(at - sql));
        while (i < count && strncmp(at, places[i].name, strlen(places[i].name)) != 0)
            i++;
        if (i == count)
            nq_buffer_add_char(&out, '@');
        else if (places[i].kind == LITERAL)
            nq_buffer_addf(&out, "'%s'", settings->schema);
        else
            nq_buffer_add_string(&out, settings->quoted_schema);
        sql = at + (i == count ? 1 : strlen(places[i].name));
    }
    nq_buffer_add_string(&out, sql);
    if (out.failed)
        nq_buffer_free(&out);
    return out.data;
}

/* ---- the conversation ------------------------------------------------------------------- */

int pg_session_open(pg_session *s, const pg_settings *settings)
{
    size_t first = 0;
    nq_bound bound = nq_within(settings->connect_timeout);
    *s = (pg_session){.settings = settings};
    s->handle = pg_dial(settings, NULL, &first, &bound, &s->failure);
    if (s->handle)
        return NEOQ_OK;
    return nq_fail(s->failure.status, "PostgreSQL %s: %s", settings->shown, s->failure.words);
}

void pg_session_close(pg_session *s)
{
    PQfinish(s->handle);
    s->handle = NULL;
}

int pg_session_run(pg_session *s, neoq_duration patience, const char *sql, PGresult **rows)
{
    nq_bound bound = nq_within(patience);
    char *text = pg_render(sql, s->settings);
    s->failure = (pg_failure){0};
    if (!text)
        return nq_fail(NEOQ_ENOMEM, "PostgreSQL %s: no memory", s->settings->shown);
    bool done = pg_command(s->handle, text, &bound, rows, &s->failure);
    free(text);
    if (done)
        return NEOQ_OK;
    return nq_fail(NEOQ_EBACKEND, "PostgreSQL %s: %s", s->settings->shown, s->failure.words);
}

bool pg_session_refused(const pg_session *s, const char *sqlstate)
{
    return strcmp(s->failure.state, sqlstate) == 0;
}

const char *pg_text_at(const PGresult *rows, int row, int column)
{
    return row < PQntuples(rows) && !PQgetisnull(rows, row, column) ? PQgetvalue(rows, row, column) : "";
}

int64_t pg_number_at(const PGresult *rows, int row, int column)
{
    return strtoll(pg_text_at(rows, row, column), NULL, 10);
}
