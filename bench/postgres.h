/* SPDX-License-Identifier: MIT
 *
 * postgres.h -- what the programs that measure on a PostgreSQL share.
 */
#ifndef BENCH_POSTGRES_H
#define BENCH_POSTGRES_H

#include "bench.h"

#include <libpq-fe.h>

static inline _Noreturn void sql_failed(PGconn *conn, const char *what)
{
    fprintf(stderr, "%s: %s", what, PQerrorMessage(conn));
    exit(1);
}

/* The result of a statement that must succeed; freed by the caller. */
static inline PGresult *sql_checked(PGconn *conn, PGresult *result, const char *what)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        sql_failed(conn, what);
    return result;
}

static inline void sql_do(PGconn *conn, const char *sql)
{
    PQclear(sql_checked(conn, PQexec(conn, sql), sql));
}

static inline PGconn *sql_connect(const char *url)
{
    PGconn *conn = PQconnectdb(url);
    if (PQstatus(conn) != CONNECTION_OK)
        sql_failed(conn, url);
    sql_do(conn, "SET client_min_messages = warning");
    return conn;
}

static inline double sql_number(PGconn *conn, const char *sql)
{
    PGresult *result = sql_checked(conn, PQexec(conn, sql), sql);
    double number = PQntuples(result) > 0 ? strtod(PQgetvalue(result, 0, 0), NULL) : 0;
    PQclear(result);
    return number;
}

static inline void sql_prepare(PGconn *conn, const char *name, const char *sql)
{
    PQclear(sql_checked(conn, PQprepare(conn, name, sql, 0, NULL), sql));
}

/* So that no measurement pays for what was written before it. */
static inline void sql_settle(PGconn *conn)
{
    sql_do(conn, "CHECKPOINT");
}

/* An empty store. */
static inline neoq *open_fresh(PGconn *conn, const char *url)
{
    sql_do(conn, "DROP SCHEMA IF EXISTS neoq CASCADE");
    neoq *nq = open_store(url);
    sql_settle(conn);
    return nq;
}

#endif
