/* SPDX-License-Identifier: MIT
 *
 * The calls of <neoq/sqlite.h> and <neoq/postgres.h>, each in a transaction that writes an order, too. What the store's
 * library allocates on the application's own connection is refused like all the rest.
 */
#include "faults/attempts.h"

#include <neoq/postgres.h>
#include <neoq/sqlite.h>

#include <stdlib.h>

/* ---- the application ------------------------------------------------------------------------ */

static bool on_postgres(void)
{
    return store_is("postgres");
}

static bool say(ground *g, const char *text)
{
    if (!on_postgres())
        return sqlite3_exec(g->db, text, NULL, NULL, NULL) == SQLITE_OK;
    PGresult *result = PQexec(g->db, text);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* Also the end of a transaction that cannot be ended otherwise. */
static void hang_up(ground *g)
{
    if (on_postgres())
        PQfinish(g->db);
    else
        sqlite3_close(g->db);
    g->db = NULL;
}

static void ignore(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

static bool call_up(ground *g)
{
    if (!on_postgres()) {
        sqlite3 *db = NULL;
        bool open = sqlite3_open(g->s->path, &db) == SQLITE_OK;
        g->db = db;
        return open && sqlite3_busy_timeout(db, PATIENCE_SECONDS * 1000) == SQLITE_OK;
    }
    g->db = PQconnectdb(g->s->url);
    PQsetNoticeProcessor(g->db, ignore, NULL);
    return PQstatus(g->db) == CONNECTION_OK;
}

static bool in_transaction(ground *g)
{
    return on_postgres() ? PQtransactionStatus(g->db) == PQTRANS_INTRANS : !sqlite3_get_autocommit(g->db);
}

static int take_number(void *number, int columns, char **values, char **names)
{
    (void)names;
    *(int *)number = columns == 1 ? atoi(values[0]) : -1;
    return 0;
}

/* Of this round. The connection is closed behind it. */
static int orders(ground *g)
{
    static const char count[] = "SELECT count(*) FROM orders";
    int number = -1;
    assert_true(call_up(g));
    if (on_postgres()) {
        PGresult *result = PQexec(g->db, count);
        if (PQntuples(result) == 1)
            number = atoi(PQgetvalue(result, 0, 0));
        PQclear(result);
    } else {
        sqlite3_exec(g->db, count, take_number, &number, NULL);
    }
    hang_up(g);
    return number;
}

static const char order[] = "INSERT INTO orders VALUES (1)";

static void no_orders(ground *g)
{
    assert_true(call_up(g) && say(g, "CREATE TABLE IF NOT EXISTS orders(what int)") && say(g, "DELETE FROM orders"));
}

static int finish(ground *g, neoq_ctx *ctx)
{
    return on_postgres() ? neoq_postgres_finish(ctx, g->db) : neoq_sqlite_finish(ctx, g->db);
}

/* ---- enqueue ------------------------------------------------------------------------------- */

static void an_order(ground *g)
{
    nothing(g);
    no_orders(g);
    assert_true(say(g, "BEGIN") && say(g, order));
}

static int call_enqueue(ground *g)
{
    neoq_job job = job_of(g);
    return on_postgres() ? neoq_postgres_enqueue(g->nq, g->db, &job, g->id)
                         : neoq_sqlite_enqueue(g->nq, g->db, &job, g->id);
}

/* What was refused is not there, whether the transaction is committed or cannot be. Of one in PostgreSQL the header says
 * what the statuses mean; SQLite may have rolled back by itself, and says so. */
static void check_enqueued(ground *g, int status)
{
    bool kept = status == NEOQ_OK || (on_postgres() ? status == NEOQ_ENOMEM : in_transaction(g));
    assert_true(kept == in_transaction(g) || (on_postgres() && status == NEOQ_EBACKEND));
    if (kept)
        assert_true(say(g, "COMMIT"));
    hang_up(g);
    assert_int_equal(kept, orders(g));
    assert_int_equal(status == NEOQ_OK, jobs_in(g->nq, g->queue, 0));
    no_orders(g);
    assert_true(say(g, "BEGIN"));
    assert_status(status == NEOQ_OK ? NEOQ_EDUPLICATE : NEOQ_OK, call_enqueue(g));
    assert_true(say(g, "COMMIT"));
    hang_up(g);
    assert_int_equal(1, jobs_in(g->nq, g->queue, 0));
}

/* ---- finish -------------------------------------------------------------------------------- */

/* Memory becomes short in its midst, and is so until its end is settled. */
static int write_order(neoq_ctx *ctx, void *arg)
{
    ground *g = arg;
    bool begun = (g->db || call_up(g)) && say(g, "BEGIN") && say(g, order);
    if (begun && g->runs++ == 0)
        scarce_here(g->nth, g->mode);
    if (begun && finish(g, ctx) == NEOQ_OK && say(g, "COMMIT"))
        return NEOQ_OK;
    hang_up(g);
    return neoq_fail(ctx, "not written");
}

static void an_order_to_write(ground *g)
{
    nothing(g);
    no_orders(g);
    put_job(g->nq, job_of(g), g->id);
    assert_status(NEOQ_OK, neoq_start(g->nq, &(neoq_handler){.queue = g->queue, .handle = write_order, .arg = g}));
}

static int call_work_one(ground *g)
{
    return neoq_testing_work_one(g->nq, g->queue, NULL);
}

/* However often it was tried, and whatever each try was told. */
static void check_written_once(ground *g, int status)
{
    (void)status;
    assert_status(NEOQ_OK, neoq_testing_advance(g->nq, SOON, NULL));
    if (g->db)
        hang_up(g);
    assert_int_equal(1, orders(g));
    assert_int_equal(NEOQ_DONE, state_of(g->nq, g->id));
}

/* ---- all of them --------------------------------------------------------------------------- */

const attempt transactions[] = {
    {"enqueue in a transaction", TRANSACTIONS, NEOQ_OK, an_order, call_enqueue, check_enqueued},
    {"finish in a transaction", TRANSACTIONS | FRESH | BY_ITSELF, NEOQ_OK, an_order_to_write, call_work_one,
     check_written_once},
    {0},
};
