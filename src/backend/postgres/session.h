/* SPDX-License-Identifier: MIT
 *
 * postgres/session.h -- a plain conversation with a server, for migrations and the doctor: text in, text out.
 *
 * SQL is written with @schema@ where the quoted name of the schema goes, @schema_literal@ where that name goes as a
 * string literal, and @schema_in_literal@ where the quoted name goes within one.
 */
#ifndef NQ_POSTGRES_SESSION_H
#define NQ_POSTGRES_SESSION_H

#include "backend/postgres/dial.h"

typedef struct pg_session {
    PGconn *handle;
    const pg_settings *settings;
    pg_failure failure; /* of the last call; state "" = there was none, or it was not the server's */
} pg_session;

/* Connects by the settings, or complains; it never creates a database. */
int pg_session_open(pg_session *s, const pg_settings *settings);
void pg_session_close(pg_session *s);

/*
 * Runs any number of statements in the simple protocol, and waits no longer than patience. *rows, which may be NULL, is
 * the last one's result, in text format, to be freed by PQclear(). NEOQ_EBACKEND, NEOQ_ENOMEM; s->failure tells more.
 */
int pg_session_run(pg_session *s, neoq_duration patience, const char *sql, PGresult **rows);
bool pg_session_refused(const pg_session *s, const char *sqlstate);

/* "" for null and for a row that is not there. */
const char *pg_text_at(const PGresult *rows, int row, int column);
int64_t pg_number_at(const PGresult *rows, int row, int column);

/* SQL with the schema's name in place; the caller's to free. NULL: no memory. */
char *pg_render(const char *sql, const pg_settings *settings);
/* Refuses names that could end a string or a function's body (NEOQ_EINVAL). */
int pg_render_check(const pg_settings *settings);

#endif
