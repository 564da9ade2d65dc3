/* SPDX-License-Identifier: MIT
 *
 * A call is one round trip: the statement, and before it, if need be, its preparation and what is to hold for this
 * transaction alone, all sent at once. Whatever the answer is, it leaves the connection either idle or broken.
 *
 * A call that passes its deadline closes its connection. It does not ask the server to cancel: PQcancel() of libpq 15
 * has no bound of its own. Instead the session's statement_timeout, a second longer, ends what would go on there.
 */
#include "backend/postgres/connection.h"

#include <arpa/inet.h>
#include <endian.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

enum { TRIES = 4 }; /* of what failed only because others were at work */

/* ---- prepared statements ---------------------------------------------------------------- */

static bool is_prepared(const pg_conn *conn, const pg_statement *statement)
{
    for (size_t i = 0; i < conn->prepared_count; i++)
        if (conn->prepared[i] == statement)
            return true;
    return false;
}

static bool mark_prepared(pg_conn *conn, const pg_statement *statement)
{
    if (conn->prepared_count == conn->prepared_room) {
        size_t room = conn->prepared_room ? conn->prepared_room * 2 : 32;
        const pg_statement **more = realloc(conn->prepared, room * sizeof *more);
        if (!more)
            return false;
        conn->prepared = more;
        conn->prepared_room = room;
    }
    conn->prepared[conn->prepared_count++] = statement;
    return true;
}

/* The text with the schema's name in it; the caller's to free. */
static char *text_of(const pg_conn *conn, const pg_statement *statement)
{
    nq_buffer text = {0};
    const char *at = statement->text, *place;
    nq_buffer_reserve(&text, strlen(at) + 128);
    for (; (place = strstr(at, "%s")) != NULL; at = place + 2) {
        nq_buffer_add(&text, at, (size_t)(place - at));
        nq_buffer_add_string(&text, conn->settings->quoted_schema);
    }
    nq_buffer_add_string(&text, at);
    if (text.failed)
        nq_buffer_free(&text);
    return text.data;
}

/* ---- one round trip --------------------------------------------------------------------- */

static const int all_binary[sizeof((pg_params *)NULL)->types / sizeof(Oid)] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};

/* What a call sends. */
typedef struct plan {
    const pg_statement *statement;
    const pg_params *params;
    char *text;   /* to be sent; NULL: it is prepared already */
    bool named;   /* prepared under its name */
    bool relaxed; /* the commit need not be waited for, and that cannot be said of the session */
} plan;

typedef struct answer {
    PGresult *result; /* rows, or the first failure; NULL: the server said nothing */
    bool late;        /* the bound was reached */
    bool unsent;      /* ... and the server has not got all of it */
    size_t good;      /* how many steps succeeded */
} answer;

static bool send_statement(pg_conn *conn, const plan *p)
{
    const pg_params *params = p->params;
    if (p->named)
        return PQsendQueryPrepared(conn->handle, p->statement->name, params->count, params->values, params->lengths,
                                   all_binary, 1);
    return PQsendQueryParams(conn->handle, p->text, params->count, params->types, params->values, params->lengths,
                             all_binary, 1);
}

/* Sends one to three steps. False: nothing was sent, the connection is broken. */
static bool send_plan(pg_conn *conn, const plan *p, size_t *steps)
{
    static const char relax[] = "SELECT set_config('synchronous_commit', 'off', true)";
    bool prepares = p->named && p->text;
    *steps = 1 + (prepares ? 1 : 0) + (p->relaxed ? 1 : 0);
    if (*steps == 1)
        return send_statement(conn, p);
    if (!PQenterPipelineMode(conn->handle))
        return false;
    if (p->relaxed && !PQsendQueryParams(conn->handle, relax, 0, NULL, NULL, NULL, NULL, 1))
        return false;
    if (prepares && !PQsendPrepare(conn->handle, p->statement->name, p->text, p->params->count, p->params->types))
        return false;
    return send_statement(conn, p) && PQpipelineSync(conn->handle);
}

/* Reads up to where the server is ready again: the last step's rows, or the first failure. */
static void read_answer(pg_conn *conn, size_t steps, const nq_bound *bound, answer *a)
{
    bool failed = false;
    for (size_t ends = 0; !a->late && ends < steps;) {
        PGresult *result = pg_next_result(conn->handle, bound, &a->late);
        ExecStatusType type = PQresultStatus(result); /* of NULL: a failure */
        if (!result) {
            ends += !a->late;
        } else if (failed || type == PGRES_PIPELINE_ABORTED) {
            PQclear(result);
        } else {
            PQclear(a->result);
            a->result = result;
            failed = type != PGRES_TUPLES_OK && type != PGRES_COMMAND_OK;
            a->good += !failed;
        }
    }
    if (steps == 1 || a->late)
        return;
    /* A failure without a state is libpq's own, which has lost count: nothing more is expected of this connection. */
    bool astray = failed && !PQresultErrorField(a->result, PG_DIAG_SQLSTATE);
    if (astray || !pg_end_pipeline(conn->handle, bound, &a->late))
        conn->broken = true;
}

static void converse(pg_conn *conn, const plan *p, const nq_bound *bound, answer *a)
{
    size_t steps;
    *a = (answer){0};
    if (!send_plan(conn, p, &steps)) {
        conn->broken = a->unsent = true;
        return;
    }
    if (!pg_flush(conn->handle, bound)) {
        a->late = a->unsent = true;
        return;
    }
    read_answer(conn, steps, bound, a);
}

/* ---- failures --------------------------------------------------------------------------- */

static int fail_late(pg_conn *conn, const answer *a)
{
    conn->broken = conn->silent = true;
    conn->undone = a->unsent;
    int status = a->unsent ? NEOQ_ETIMEOUT : NEOQ_EUNKNOWN;
    return nq_fail(status, "PostgreSQL %s: no answer within %g s; %s", conn->settings->shown,
                   (double)conn->limit / 1e6, a->unsent ? "nothing was done" : "whether it was done is not known");
}

static int fail(pg_conn *conn, const pg_failure *failure)
{
    const pg_settings *settings = conn->settings;
    conn->broken = conn->broken || failure->broken;
    conn->undone = failure->undone;
    if (strcmp(failure->state, "25006") == 0)
        conn->read_only = true;
    if (strncmp(failure->state, "NQ0", 3) == 0)
        return nq_fail(failure->status, "%s", failure->words);
    if (failure->status == NEOQ_ESCHEMA)
        return nq_fail(NEOQ_ESCHEMA,
                       "PostgreSQL %s: schema \"%s\" does not hold what this version of neoq needs (%s); "
                       "bring it up with: neoq migrate up",
                       settings->shown, settings->schema, failure->words);
    if (failure->status == NEOQ_EUNKNOWN)
        return nq_fail(
            NEOQ_EUNKNOWN,
            "PostgreSQL %s: the connection broke (%s) before the answer came; whether it was done is not known",
            settings->shown, failure->words);
    const char *hint = "";
    if (strcmp(failure->state, "42501") == 0)
        hint = "; have the owner of the schema grant the role this right";
    else if (strcmp(failure->state, "25006") == 0)
        hint =
            "; the server is a standby or read-only: name the others in the URL too, and the writable one is found";
    else if (strcmp(failure->state, "57014") == 0)
        hint = "; somebody cancelled it, or statement_timeout is too short for it";
    return nq_fail(failure->status, "PostgreSQL %s: %s%s", settings->shown, failure->words, hint);
}

/* What was prepared is gone, or is not ours: forget about it, or about preparing. */
static bool prepare_anew(pg_conn *conn, const char *state, bool was_prepared)
{
    bool exists = strcmp(state, "42P05") == 0, vanished = strcmp(state, "26000") == 0;
    if (exists || vanished) {
        /* Only a transaction pooler changes the session under us; once may have been a DISCARD ALL. */
        if (exists || atomic_fetch_add(conn->lost, 1) > 0)
            atomic_store(conn->pooler, true);
        conn->prepared_count = 0;
        return true;
    }
    if (strcmp(state, "0A000") != 0 || !was_prepared)
        return false;
    pg_failure failure;
    nq_bound bound = nq_within(conn->limit);
    conn->prepared_count = 0;
    return pg_command(conn->handle, "DEALLOCATE ALL", &bound, NULL, &failure);
}

/* Whether a failed call may be made once more, now; waits a moment if others were in the way. */
static bool again(pg_conn *conn, const char *state, int tries, bool was_prepared)
{
    if (conn->broken || tries >= TRIES)
        return false;
    if (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0) {
        uint64_t most = (uint64_t)4 << (2 * tries);
        poll(NULL, 0, (int)(1 + nq_real_clock.random(&nq_real_clock) % most));
        return true;
    }
    return tries <= 3 && prepare_anew(conn, state, was_prepared);
}

/* ---- running ---------------------------------------------------------------------------- */

/* What the server says unasked; the end of an idle session is among it, be it as a mere warning (57P02). */
static void on_notice(void *arg, const PGresult *notice)
{
    pg_conn *conn = arg;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
    bool fatal = severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
    if (fatal || (state && strncmp(state, "57P", 3) == 0))
        conn->broken = true;
}

static bool succeeded(const pg_conn *conn, const answer *a)
{
    ExecStatusType type = PQresultStatus(a->result);
    return !a->late && !conn->broken && (type == PGRES_TUPLES_OK || type == PGRES_COMMAND_OK);
}

static int no_memory(void)
{
    return nq_fail(NEOQ_ENOMEM, "no memory for a statement to PostgreSQL");
}

static bool make_plan(pg_conn *conn, const pg_statement *statement, const pg_params *params, plan *p)
{
    bool pooler = atomic_load(conn->pooler);
    *p = (plan){.statement = statement, .params = params, .named = !pooler};
    p->relaxed = pooler && conn->settings->asynchronous_commit;
    if (p->named && is_prepared(conn, statement))
        return true;
    p->text = text_of(conn, statement);
    return p->text != NULL;
}

int pg_run(pg_conn *conn, const pg_statement *statement, const pg_params *params, PGresult **rows)
{
    static const pg_params none = {0};
    nq_bound bound = nq_within(conn->limit);
    *rows = NULL;
    conn->undone = false;
    for (int tries = 1;; tries++) {
        plan p;
        answer a;
        if (!make_plan(conn, statement, params ? params : &none, &p))
            return no_memory();
        bool was_prepared = p.named && !p.text;
        converse(conn, &p, &bound, &a);
        free(p.text);
        /* A preparation outlives the failure of what came after it. */
        if (p.named && !was_prepared && a.good > 0 && !mark_prepared(conn, statement))
            conn->altered = true;
        if (succeeded(conn, &a)) {
            *rows = a.result;
            return NEOQ_OK;
        }
        pg_failure failure;
        pg_failure_read(&failure, conn->handle, a.result);
        PQclear(a.result);
        if (a.late)
            return fail_late(conn, &a);
        conn->broken = conn->broken || failure.broken;
        failure.undone = failure.undone || a.unsent;
        if (a.unsent)
            failure.status = NEOQ_EBACKEND;
        if (!again(conn, failure.state, tries, was_prepared))
            return fail(conn, &failure);
    }
}

int pg_script(pg_conn *conn, const char *sql, PGresult **row)
{
    pg_failure failure;
    nq_bound bound = nq_within(conn->limit);
    conn->undone = false;
    if (pg_command(conn->handle, sql, &bound, row, &failure))
        return NEOQ_OK;
    return fail(conn, &failure);
}

int pg_conn_set_limit(pg_conn *conn, neoq_duration limit)
{
    char sql[96];
    conn->limit = limit;
    conn->altered = true;
    if (atomic_load(conn->pooler))
        return NEOQ_OK; /* the session is not ours to set */
    snprintf(sql, sizeof sql, "SET statement_timeout = %lld",
             limit == NEOQ_FOREVER ? 0LL : (long long)(limit / 1000 + 1000));
    return pg_script(conn, sql, NULL);
}

PGconn *pg_conn_handle(pg_conn *conn)
{
    return conn->handle;
}

/* ---- opening ---------------------------------------------------------------------------- */

/*
 * The first words to a server. A backend that is not the one that greeted us means that a pooler stands between;
 * unless the URL says that it gives each client a session, nothing is set that would stay behind in one. $1: it says
 * so. $2: the backend that greeted us. A statement outlives our patience by one second at the most.
 */
static const char greeting[] = "SELECT pg_backend_pid(), (extract(epoch FROM clock_timestamp()) * 1000000)::int8,"
                               " current_setting('transaction_read_only') = 'on',"
                               " CASE WHEN $1 OR pg_backend_pid() = $2 THEN"
                               " set_config('idle_in_transaction_session_timeout', $3, false)"
                               " || CASE WHEN current_setting('statement_timeout') = '0'"
                               " THEN set_config('statement_timeout', $4, false) ELSE '' END"
                               " || CASE WHEN $5 THEN set_config('synchronous_commit', 'off', false) ELSE '' END END";

static int64_t read_int8(const PGresult *rows, int column)
{
    uint64_t raw;
    memcpy(&raw, PQgetvalue(rows, 0, column), sizeof raw);
    return (int64_t)be64toh(raw);
}

/* The time is that of the middle of the round trip, give or take half of it. */
static void take_time(pg_conn *conn, const PGresult *rows, int column, int64_t before)
{
    int64_t after = nq_steady();
    conn->measured = before + (after - before) / 2;
    conn->server_error = (after - before) / 2 + 1;
    conn->server_time = read_int8(rows, column);
}

static bool greet(pg_conn *conn, const nq_bound *bound, pg_failure *failure)
{
    const pg_settings *settings = conn->settings;
    bool told = settings->pooler_told;
    char trusted = (char)(told && !settings->pooler), relaxed = (char)settings->asynchronous_commit;
    int backend = told ? 0 : PQbackendPID(conn->handle);
    uint32_t pid = htonl((uint32_t)backend);
    char idle[32], statement[32];
    snprintf(idle, sizeof idle, "%lld", (long long)((settings->idle_transaction_timeout + 999) / 1000));
    snprintf(statement, sizeof statement, "%lld", (long long)(settings->call_timeout / 1000 + 1000));
    const Oid types[] = {16, 23, 25, 25, 16};
    const char *values[] = {&trusted, (const char *)&pid, idle, statement, &relaxed};
    const int lengths[] = {1, 4, (int)strlen(idle), (int)strlen(statement), 1};
    const int binary[] = {1, 1, 1, 1, 1};

    answer a = {0};
    int64_t before = nq_steady();
    bool sent = PQsendQueryParams(conn->handle, greeting, 5, types, values, lengths, binary, 1);
    a.late = sent && !pg_flush(conn->handle, bound);
    if (sent && !a.late)
        read_answer(conn, 1, bound, &a);
    bool good = sent && succeeded(conn, &a) && PQntuples(a.result) == 1;
    if (good) {
        take_time(conn, a.result, 1, before);
        memcpy(&pid, PQgetvalue(a.result, 0, 0), sizeof pid);
        conn->read_only = *PQgetvalue(a.result, 0, 2) != 0;
        if (!told && (int)ntohl(pid) != backend)
            atomic_store(conn->pooler, true);
    } else {
        pg_failure_read(failure, conn->handle, a.result);
        failure->undone = true;
        bool starved = !*failure->state && pg_is_starved(conn->handle);
        failure->status = a.late ? NEOQ_ETIMEOUT : starved ? NEOQ_ENOMEM : NEOQ_EBACKEND;
        if (a.late)
            snprintf(failure->words, sizeof failure->words, "the server did not answer in time");
    }
    PQclear(a.result);
    return good;
}

pg_conn *pg_conn_open(const pg_settings *settings, size_t *host, const nq_bound *bound, atomic_bool *pooler,
                      atomic_int *lost, pg_failure *failure)
{
    pg_conn *conn = calloc(1, sizeof *conn);
    PGconn *handle = conn ? pg_dial(settings, NULL, host, bound, failure) : NULL;
    if (!conn)
        pg_failure_connect(failure, NULL);
    if (!handle) {
        free(conn);
        return NULL;
    }
    PQsetErrorVerbosity(handle, PQERRORS_DEFAULT);
    PQsetNoticeReceiver(handle, on_notice, conn);
    conn->handle = handle;
    conn->settings = settings;
    conn->pooler = pooler;
    conn->lost = lost;
    conn->limit = settings->call_timeout;
    if (greet(conn, bound, failure))
        return conn;
    pg_conn_close(conn);
    return NULL;
}

void pg_conn_close(pg_conn *conn)
{
    PQfinish(conn->handle);
    free(conn->prepared);
    free(conn);
}

bool pg_conn_fit(const pg_conn *conn)
{
    return !conn->broken && PQstatus(conn->handle) == CONNECTION_OK &&
           PQtransactionStatus(conn->handle) == PQTRANS_IDLE;
}

bool pg_conn_alive(pg_conn *conn)
{
    struct pollfd fd = {.fd = PQsocket(conn->handle), .events = POLLIN};
    if (!pg_conn_fit(conn) || fd.fd < 0)
        return false;
    /* An idle server says nothing, but that it closes the connection, or a notice: behind one may be the end. */
    for (int reads = 0; reads < 8 && poll(&fd, 1, 0) > 0; reads++)
        if (!PQconsumeInput(conn->handle) || PQisBusy(conn->handle))
            return false;
    return pg_conn_fit(conn);
}

void pg_conn_measure(pg_conn *conn)
{
    static const pg_statement clock = {"neoq_clock",
                                       "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8"};
    PGresult *rows;
    int64_t before = nq_steady();
    if (pg_run(conn, &clock, NULL, &rows) != NEOQ_OK) {
        conn->broken = true;
        return;
    }
    take_time(conn, rows, 0, before);
    PQclear(rows);
}
