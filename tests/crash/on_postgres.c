/* SPDX-License-Identifier: MIT
 *
 * PostgreSQL: a database of the test run's server, whose connections are cut; or a server of its own, to which worse
 * things happen.
 */
#include "crash.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>
#include <neoq/postgres.h>

#include "support/postgres_server.h"

/* Of the killer. */
static postgres_server *server;
static bool server_is_ours;
static char database[64];

/* ---- the server ------------------------------------------------------------------------- */

static bool make_database(char *url, size_t size)
{
    if (!server || !postgres_create(server, NULL, database, sizeof(database)))
        return false;
    postgres_url(server, database, url, size);
    return postgres_sql(server, database,
                        "CREATE TABLE crash_wishes(n int); CREATE TABLE crash_effects(n int, epoch int)", NULL, 0);
}

static bool begin_shared(const plan *p, char *url, size_t size)
{
    (void)p;
    server = postgres_shared();
    return make_database(url, size);
}

static bool begin_own(const plan *p, char *url, size_t size)
{
    (void)p;
    server = postgres_start(NULL);
    server_is_ours = true;
    return make_database(url, size);
}

static void end(void)
{
    if (server_is_ours)
        postgres_end(server);
    else if (database[0])
        postgres_drop(server, database);
}

/* ---- harm ------------------------------------------------------------------------------- */

static void hush(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* In vain, and without a word, while the server recovers from the harm before. */
static int ask_for_number(const char *sql)
{
    char url[400];
    PGconn *conn = PQconnectdb(postgres_url(server, database, url, sizeof(url)));
    PQsetNoticeProcessor(conn, hush, NULL);
    PGresult *result = PQexec(conn, sql);
    int number = PQntuples(result) == 1 ? (int)strtol(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    PQfinish(conn);
    return number;
}

#define SOMEBODY                                                                                                     \
    " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT " \
    "1"

static void cut_one(unsigned random)
{
    (void)random;
    ask_for_number("SELECT pg_terminate_backend(pid)" SOMEBODY);
}

/* The postmaster sees it, throws all others out and begins anew: what the checker does next waits for that. */
static void kill_one(void)
{
    char url[400];
    int pid = ask_for_number("SELECT pid" SOMEBODY);
    if (pid < 1 || kill(pid, SIGKILL) != 0)
        return;
    postgres_url(server, database, url, sizeof(url));
    for (int ms = 0; ms < 10000 && (kill(pid, 0) == 0 || PQping(url) != PQPING_OK); ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void stop_and_start(postgres_manner manner)
{
    if (!postgres_restart(server, manner)) {
        complain("the server does not start again");
        exit(1);
    }
}

static void harm_own(unsigned random)
{
    switch (random % 8) {
    case 0:
    case 1: kill_one(); break;
    case 2:
    case 3: stop_and_start(POSTGRES_KILL); break;
    case 4: stop_and_start(POSTGRES_IMMEDIATE); break;
    case 5: stop_and_start(POSTGRES_FAST); break;
    default: cut_one(random); break;
    }
}

/* ---- transactions of ours ----------------------------------------------------------------- */

static void *connect(const plan *p)
{
    PGconn *conn = PQconnectdb(p->url);
    PQsetNoticeProcessor(conn, hush, NULL); /* it would say that the server is stopped */
    if (PQstatus(conn) == CONNECTION_OK)
        return conn;
    PQfinish(conn);
    return NULL;
}

/* The killer's and the checker's: the server may be recovering from the last harm, but not for long. */
static PGconn *connect_patiently(const plan *p)
{
    for (int i = 0; i < 20; i++) {
        PGconn *conn = connect(p);
        if (conn)
            return conn;
        nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    }
    return NULL;
}

static void disconnect(void *db)
{
    PQfinish(db);
}

static bool run(void *db, const char *sql)
{
    PGresult *result = PQexec(db, sql);
    ExecStatusType status = PQresultStatus(result);
    /* a COMMIT of what has failed says ROLLBACK */
    bool good = (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) &&
                (strcmp(sql, "COMMIT") != 0 || strcmp(PQcmdStatus(result), "COMMIT") == 0);
    PQclear(result);
    return good;
}

static const char *words(void *db)
{
    return PQerrorMessage(db);
}

static int enqueue(neoq *nq, void *db, const neoq_job *job, char *id)
{
    return neoq_postgres_enqueue(nq, db, job, id);
}

static int finish(neoq_ctx *ctx, void *db)
{
    return neoq_postgres_finish(ctx, db);
}

/* ---- the checker's ---------------------------------------------------------------------- */

static void read_numbers(void *db, const char *sql, void (*each)(int64_t number, void *arg), void *arg)
{
    PGresult *result = PQexec(db, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        complain("%s: %s", sql, PQerrorMessage(db));
    for (int i = 0; i < PQntuples(result); i++)
        each(strtoll(PQgetvalue(result, i, 0), NULL, 10), arg);
    PQclear(result);
}

/* Each selects words about what is wrong. */
static const char *const questions[] = {
    "WITH t AS (SELECT queue_id, sum(waiting) AS waiting, sum(running) AS running, sum(done) AS done,"
    "  sum(dead) AS dead FROM neoq.tally GROUP BY queue_id),"
    " j AS (SELECT queue_id, count(*) FILTER (WHERE worker IS NULL) AS waiting,"
    "  count(*) FILTER (WHERE worker IS NOT NULL) AS running FROM neoq.job GROUP BY queue_id),"
    " e AS (SELECT queue_id, count(*) FILTER (WHERE state = 5) AS done, count(*) FILTER (WHERE state = 6) AS dead"
    "  FROM neoq.ended GROUP BY queue_id),"
    " s AS (SELECT q.name, format('%s %s %s %s', coalesce(t.waiting, 0), coalesce(t.running, 0),"
    "  coalesce(t.done, 0), coalesce(t.dead, 0)) AS counts, format('%s %s %s %s', coalesce(j.waiting, 0),"
    "  coalesce(j.running, 0), coalesce(e.done, 0), coalesce(e.dead, 0)) AS rows FROM neoq.queue q"
    "  LEFT JOIN t ON t.queue_id = q.id LEFT JOIN j ON j.queue_id = q.id LEFT JOIN e ON e.queue_id = q.id)"
    " SELECT format('queue %s counts %s, and has %s', name, counts, rows) FROM s WHERE counts <> rows",
    "SELECT format('job %s is of queue %s, which is not there', id, queue_id) FROM neoq.job j WHERE NOT EXISTS"
    " (SELECT FROM neoq.queue q WHERE q.id = j.queue_id)",
    "SELECT format('job %s is run by worker %s, whom nobody knows', id, worker) FROM neoq.job j"
    " WHERE worker IS NOT NULL AND NOT EXISTS (SELECT FROM neoq.worker w WHERE w.id = j.worker)",
    "SELECT format('job %s is unfinished, and has ended', id) FROM neoq.job JOIN neoq.ended USING (id)",
    "SELECT format('job %s has a history, and is not there', id) FROM neoq.run r WHERE NOT EXISTS"
    " (SELECT FROM neoq.job j WHERE j.id = r.id) AND NOT EXISTS (SELECT FROM neoq.ended e WHERE e.id = r.id)",
};

/* The indexes against their tables; fails where they differ. */
static const char index_question[] =
    "SELECT bt_index_check(c.oid, true) FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
    " WHERE c.relnamespace = 'neoq'::regnamespace AND c.relkind = 'i' AND amname = 'btree'";

static void ask(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        complain("%s", PQerrorMessage(conn));
    for (int i = 0; i < PQntuples(result); i++)
        complain("%s", PQgetvalue(result, i, 0));
    PQclear(result);
}

static bool has_tables(PGconn *conn)
{
    PGresult *result = PQexec(conn, "SELECT 1 WHERE to_regclass('neoq.tally') IS NOT NULL");
    bool has = PQntuples(result) == 1;
    PQclear(result);
    return has;
}

/* All in one snapshot: the statements of those that were just killed may still be at work. */
static void check(const plan *p, bool last)
{
    PGconn *conn = connect_patiently(p);
    if (!conn) {
        complain("the server does not answer");
        return;
    }
    if (last && !run(conn, "CREATE EXTENSION IF NOT EXISTS amcheck"))
        printf("without amcheck: %s", PQerrorMessage(conn));
    else if (last && !run(conn, index_question))
        complain("%s", PQerrorMessage(conn));
    if (has_tables(conn)) {
        run(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++)
            ask(conn, questions[i]);
    }
    PQfinish(conn);
}

const crash_store crash_postgres = {
    .name = "postgres:",
    .server = "a connection was cut",
    .may_be_away = true,
    .begin = begin_shared,
    .end = end,
    .harm = cut_one,
    .connect = connect,
    .disconnect = disconnect,
    .run = run,
    .words = words,
    .enqueue = enqueue,
    .finish = finish,
    .read = read_numbers,
    .check = check,
};

const crash_store crash_postgres_server = {
    .name = "postgres-server:",
    .server = "a backend or the postmaster was killed, a connection cut, or the server stopped",
    .may_be_away = true,
    .begin = begin_own,
    .end = end,
    .harm = harm_own,
    .connect = connect,
    .disconnect = disconnect,
    .run = run,
    .words = words,
    .enqueue = enqueue,
    .finish = finish,
    .read = read_numbers,
    .check = check,
};
