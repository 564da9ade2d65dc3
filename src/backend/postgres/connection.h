/* SPDX-License-Identifier: MIT
 *
 * postgres/connection.h -- one connection, one statement at a time, every wait with a bound.
 */
#ifndef NQ_POSTGRES_CONNECTION_H
#define NQ_POSTGRES_CONNECTION_H

#include <stdatomic.h>

#include "backend/postgres/libpq.h"

#include <neoq/backend.h>

#include "backend/postgres/dial.h"

/* Parameters of one statement, all in binary format, as libpq takes them. */
typedef struct pg_params {
    int count;
    Oid types[48];
    const char *values[48];
    int lengths[48];
} pg_params;

typedef struct pg_conn pg_conn;

/* A statement, known by its address: prepared once a connection under its name, or sent whole each time where a
 * pooler stands between. text holds "%s" where the quoted schema's name goes. */
typedef struct pg_statement {
    const char *name, *text;
} pg_statement;

/*
 * Runs the statement and gives its rows, in binary format, to be freed by PQclear(). Waits no longer than the call's
 * deadline (call_timeout in the URL, 30 s). On failure *rows is NULL and the status is one of
 *   NEOQ_EUNKNOWN   the connection broke, or the deadline passed, after the statement was sent: it may have been done
 *   NEOQ_EBACKEND   it was not done
 *   NEOQ_ETIMEOUT   no connection could be had in time: it was not sent
 *   NEOQ_ESCHEMA    the tables or functions are not there or not of this version
 *   NEOQ_EINVAL, NEOQ_ENOMEM
 *   what a function of ours raised: SQLSTATE 'NQ0nn' is the status -nn, and its words stand alone
 * with the server's words in neoq_error_message(), without a password or a payload in them. "cached plan must not
 * change result type" and its kin are prepared anew once and not seen; deadlocks and serialization failures are tried
 * three times more.
 */
int pg_run(pg_conn *conn, const pg_statement *statement, const pg_params *params, PGresult **rows);

/* ---- for what is not such a statement: migrations, a doctor ------------------------------- */

/*
 * Runs SQL in the simple protocol: any number of statements, without parameters. *row, which may be NULL, is the last
 * one's result, in text format. Failures as of pg_run(). A transaction that is left open closes the connection.
 */
int pg_script(pg_conn *conn, const char *sql, PGresult **row);
/* The deadline of each later call on this connection, on both sides, until it is given back. NEOQ_FOREVER = none. */
int pg_conn_set_limit(pg_conn *conn, neoq_duration limit);
PGconn *pg_conn_handle(pg_conn *conn);

/* ---- for the pool ----------------------------------------------------------------------- */

struct pg_conn {
    struct pg_conn *next;
    PGconn *handle;
    const pg_settings *settings;
    atomic_bool *pooler; /* of the pool: a transaction pooler stands between */
    atomic_int *lost;    /* of the pool: prepared statements that were not there any more */
    const pg_statement **prepared;
    size_t prepared_count, prepared_room;
    neoq_duration limit;
    bool broken;           /* to be closed */
    bool undone;           /* what the last call asked was surely not done, and the connection is broken */
    bool silent;           /* the server did not answer in time */
    bool read_only;        /* the server was, when it was connected to; or has refused to write since */
    bool altered;          /* not as a fresh one: closed when given back */
    int64_t expires, used; /* steady instants: by its age; when it was last given back */
    neoq_time server_time; /* measured at `measured`, a steady instant, give or take server_error */
    int64_t measured, server_error;
};

/* Connects and makes the session ours. pooler may become true by it. NULL: failure tells why. */
pg_conn *pg_conn_open(const pg_settings *settings, size_t *host, const nq_bound *bound, atomic_bool *pooler,
                      atomic_int *lost, pg_failure *failure);
void pg_conn_close(pg_conn *conn);
/* Whether it can be used: neither broken nor left in a transaction, as far as we know. */
bool pg_conn_fit(const pg_conn *conn);
/* The same, and the server has not closed it while it was idle. */
bool pg_conn_alive(pg_conn *conn);
/* Asks for the server's time again; a failure breaks the connection. */
void pg_conn_measure(pg_conn *conn);

#endif
