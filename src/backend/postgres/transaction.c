/* SPDX-License-Identifier: MIT
 *
 * Jobs in the user's own transactions.
 *
 * On his connection nothing is left behind: no prepared statement, no setting, no savepoint (each would cost a
 * transaction number, and more than 64 of those in a transaction slow down the whole server). So nothing may fail there
 * that can be refused beforehand: the first time a connection is seen, it is asked for what cannot fail, whether it is to
 * our database and our functions may be called. After that, the one statement of a call fails only as any statement of the
 * user's own may: by a timeout, a deadlock, or the server's end.
 *
 * Nor does it notify: the commits of transactions that do wait for each other. watch.c sees the commit from outside.
 */
#include "backend/postgres/transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/failure.h"
#include "backend/postgres/jobs.h"
#include "base/error.h"
#include "base/uuid.h"

/* ---- the connection --------------------------------------------------------------------- */

static int check_state(PGconn *transaction)
{
    if (!transaction)
        return nq_fail(NEOQ_EINVAL, "the connection is NULL");
    if (PQpipelineStatus(transaction) != PQ_PIPELINE_OFF)
        return nq_fail(NEOQ_ESTATE, "the connection is in pipeline mode: leave it first (PQexitPipelineMode())");
    switch (PQtransactionStatus(transaction)) {
    case PQTRANS_INTRANS: return NEOQ_OK;
    case PQTRANS_IDLE: return nq_fail(NEOQ_ESTATE, "the connection is in no transaction: send BEGIN first");
    case PQTRANS_INERROR:
        return nq_fail(NEOQ_ESTATE, "the transaction has failed already, and can only be rolled back");
    case PQTRANS_ACTIVE:
        return nq_fail(NEOQ_ESTATE, "the connection is at work on another command: wait for its results first");
    case PQTRANS_UNKNOWN: break;
    }
    return nq_fail(NEOQ_EBACKEND, "the connection to the server is broken");
}

/* Which database it is, and whether the role may call that function of ours. Cannot fail in any database. */
static const char where_text[] =
    "SELECT s.system_identifier, d.oid::int8, coalesce((SELECT bool_or(has_function_privilege(p.oid, 'EXECUTE')"
    " AND has_schema_privilege(n.oid, 'USAGE')) FROM pg_catalog.pg_namespace n"
    " JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid WHERE n.nspname = $1 AND p.proname = $2), false),"
    " current_user::text FROM pg_catalog.pg_control_system() s, pg_catalog.pg_database d"
    " WHERE d.datname = pg_catalog.current_database()";

static int failed(PGconn *transaction, const PGresult *rows)
{
    pg_failure failure;
    pg_failure_read(&failure, transaction, rows);
    /* Of his transaction nothing is unknown: it is not committed. */
    int status = failure.status == NEOQ_EUNKNOWN ? NEOQ_EBACKEND : failure.status;
    return nq_fail(status, "in the caller's transaction: %s", failure.words);
}

/* Runs a statement on the user's connection. %s in it is the schema. */
static int run_in(neoq_store *store, PGconn *transaction, const char *text, pg_build *b, PGresult **rows)
{
    const pg_params *p = pg_built(b);
    size_t size = strlen(text) + strlen(store->settings.quoted_schema) + 1;
    char *sql = p ? malloc(size) : NULL;
    if (!sql)
        return nq_fail(NEOQ_ENOMEM, "no memory for a statement");
    const char *name = strstr(text, "%s");
    if (name)
        snprintf(sql, size, "%.*s%s%s", (int)(name - text), text, store->settings.quoted_schema, name + 2);
    else
        snprintf(sql, size, "%s", text);
    int formats[PG_PARAMS_MAX];
    for (int i = 0; i < p->count; i++)
        formats[i] = 1;
    *rows = PQexecParams(transaction, sql, p->count, p->types, p->values, p->lengths, formats, 1);
    free(sql);
    if (PQresultStatus(*rows) == PGRES_TUPLES_OK && PQntuples(*rows) > 0)
        return NEOQ_OK;
    int status = failed(transaction, *rows);
    PQclear(*rows);
    *rows = NULL;
    return status;
}

static int compare_places(neoq_store *store, PGconn *transaction, const char *function, const PGresult *his,
                          const PGresult *ours)
{
    if (pg_int(his, 0, 0) != pg_int(ours, 0, 0) || pg_int(his, 0, 1) != pg_int(ours, 0, 1))
        return nq_fail(NEOQ_EINVAL, "the connection is to another database (%s) than this neoq's (%s)",
                       PQdb(transaction), store->settings.shown);
    if (!pg_bool(his, 0, 2))
        return nq_fail(NEOQ_EINVAL,
                       "role %s may not call %s.%s(): let the schema's owner run SELECT %s.grant_to('%s', '%s')",
                       pg_text(his, 0, 3), store->settings.quoted_schema, function, store->settings.quoted_schema,
                       pg_text(his, 0, 3), strcmp(function, "finish_job") == 0 ? "worker" : "enqueuer");
    return NEOQ_OK;
}

static int look_where(neoq_store *store, PGconn *transaction, const char *function)
{
    static const pg_statement ours_too = {"neoq_where", where_text};
    pg_build b = {0};
    PGresult *his = NULL, *ours = NULL;
    pg_put_text(&b, store->settings.schema);
    pg_put_text(&b, function);
    int status = run_in(store, transaction, where_text, &b, &his);
    if (status == NEOQ_OK)
        status = pg_only_read(pg_pool_run(store->pool, &ours_too, pg_built(&b), true, &ours));
    if (status == NEOQ_OK)
        status = compare_places(store, transaction, function, his, ours);
    PQclear(his);
    PQclear(ours);
    pg_build_free(&b);
    return status;
}

/* What tells this connection, and what was asked of it, from one that will have its address later. */
static uint64_t name_of(const PGconn *transaction, const char *function)
{
    uint64_t name = (uint64_t)(uintptr_t)transaction ^ (uint64_t)PQbackendPID(transaction) << 32 ^
                    (uint64_t)PQsocket(transaction) << 8 ^ (uint64_t)(unsigned char)*function;
    return name ? name : 1;
}

/* Whether it can be used, looked up once for each of the last connections. */
static int check(neoq_store *store, PGconn *transaction, const char *function)
{
    int status = check_state(transaction);
    if (status != NEOQ_OK)
        return status;
    uint64_t name = name_of(transaction, function);
    for (size_t i = 0; i < PG_KNOWN_CONNECTIONS; i++)
        if (atomic_load_explicit(&store->known[i], memory_order_relaxed) == name)
            return NEOQ_OK;
    status = look_where(store, transaction, function);
    if (status == NEOQ_OK) {
        unsigned next = atomic_fetch_add_explicit(&store->next_known, 1, memory_order_relaxed);
        atomic_store_explicit(&store->known[next % PG_KNOWN_CONNECTIONS], name, memory_order_relaxed);
    }
    return status;
}

/* ---- a job as parameters ---------------------------------------------------------------- */

static const pg_type column_types[PG_JOB_PARAMS] = {
    PG_TEXT, PG_UUID, PG_INT4, PG_INT8, PG_INT4, PG_UUID, PG_TEXT, PG_INT8, PG_INT8, PG_TEXT, PG_TEXT, PG_BYTEA,
};

/* As the text of a bigint[]. */
static void put_retry_waits(pg_build *b, const neoq_job *job)
{
    char text[PG_RETRY_WAITS_MAX * 21 + 3] = "{";
    size_t size = 1;
    for (size_t i = 0; job->retry_waits && i < job->retry_wait_count && i < PG_RETRY_WAITS_MAX; i++)
        size +=
            (size_t)snprintf(text + size, sizeof text - size, i ? ",%lld" : "%lld", (long long)job->retry_waits[i]);
    memcpy(text + size, "}", 2);
    pg_put_text(b, job->retry_waits ? text : NULL);
}

static void put_column(pg_build *b, const neoq_job *job, int column, neoq_time now)
{
    static const uint8_t no_salt[16];
    pg_print print = pg_print_of(job, no_salt);
    uint8_t id[16] = {0};
    switch (column) {
    case 0: pg_put_text(b, job->queue); break;
    case 1: pg_put_uuid(b, nq_uuid_parse(job->id, id) ? id : NULL); break;
    case 2: pg_put_int4(b, pg_rank_of(job->priority)); break;
    case 3: pg_put_int8(b, job->run_after == job->created_at ? now : job->run_after); break;
    case 4: pg_put_int4(b, job->max_retries); break;
    case 5: pg_put_uuid(b, print.guarded ? print.guard : NULL); break; /* the bare sum, salted by the server */
    case 6: pg_put_text(b, print.text); break;
    case 7: pg_put_int8_or_null(b, job->deadline); break;
    case 8: pg_put_int8_or_null(b, job->retention); break;
    case 9: put_retry_waits(b, job); break;
    case 10: pg_put_text(b, job->metadata); break;
    case 11: pg_put_bytea(b, job->payload_size ? job->payload : "", job->payload_size); break;
    default: break;
    }
}

void pg_put_job(pg_build *b, const neoq_job *job, neoq_time now)
{
    for (int column = 0; column < PG_JOB_PARAMS; column++)
        put_column(b, job, column, now);
}

void pg_put_jobs(pg_build *b, const neoq_job *jobs, size_t count, neoq_time now)
{
    for (int column = 0; column < PG_JOB_PARAMS; column++) {
        pg_array_begin(b, column_types[column]);
        for (size_t i = 0; i < count; i++)
            put_column(b, &jobs[i], column, now);
        pg_array_end(b);
    }
}

void pg_read_answer(const PGresult *rows, int row, int status_column, int twin_column, neoq_enqueued *result)
{
    result->status = (neoq_status)pg_int(rows, row, status_column);
    const uint8_t *twin = pg_uuid(rows, row, twin_column);
    if (twin)
        nq_uuid_format(twin, result->id);
}

/* ---- the two calls ---------------------------------------------------------------------- */

static void watch(neoq_store *store, int64_t transaction)
{
    if (transaction == 0)
        return; /* it has not written anything */
    pthread_mutex_lock(&store->queue_mutex);
    if (!store->watch)
        store->watch = pg_watch_open(store);
    pg_watch *watched = store->watch;
    pthread_mutex_unlock(&store->queue_mutex);
    if (watched)
        pg_watch_add(watched, transaction);
}

int nq_postgres_enqueue_in(neoq_store *store, PGconn *transaction, const neoq_job *job, neoq_enqueued *result)
{
    int status = check(store, transaction, "enqueue_job");
    if (status != NEOQ_OK)
        return status;
    neoq_time now = pg_now(store);
    pg_build b = {0};
    PGresult *rows = NULL;
    pg_put_int8(&b, now);
    pg_put_job(&b, job, now);
    status = run_in(store, transaction,
                    "SELECT e.status, e.twin, pg_current_xact_id_if_assigned()::text::int8"
                    " FROM %s.enqueue_job($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) e",
                    &b, &rows);
    pg_build_free(&b);
    if (status == NEOQ_OK) {
        memcpy(result->id, job->id, NQ_UUID_TEXT_SIZE);
        pg_read_answer(rows, 0, 0, 1, result);
        watch(store, pg_int(rows, 0, 2));
    }
    PQclear(rows);
    return status;
}

static int settled(const neoq_job *job, int answer)
{
    if (answer == NEOQ_ESTATE)
        return nq_fail(NEOQ_ELOST, "the cancellation of job %s was asked for: roll back", job->id);
    if (answer != NEOQ_OK)
        return nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more: roll back",
                       (long long)job->epoch, job->id);
    return NEOQ_OK;
}

int nq_postgres_finish_in(neoq_store *store, PGconn *transaction, const neoq_job *job, neoq_time keep_until,
                          const void *result, size_t result_size)
{
    int status = check(store, transaction, "finish_job");
    if (status != NEOQ_OK)
        return status;
    pg_build b = {0};
    uint8_t id[16] = {0};
    PGresult *rows = NULL;
    pg_put_int8(&b, pg_now(store));
    pg_put_uuid(&b, nq_uuid_parse(job->id, id) ? id : NULL);
    pg_put_int4(&b, (int32_t)job->epoch);
    pg_put_bool(&b, job->retention == 0);
    pg_put_int8(&b, keep_until);
    pg_put_bytea(&b, result, result_size);
    pg_put_int8(&b, job->ran_at);
    status = run_in(store, transaction, "SELECT %s.finish_job($1, $2, $3, $4, $5, $6, $7)", &b, &rows);
    pg_build_free(&b);
    if (status == NEOQ_OK)
        status = settled(job, (int)pg_int(rows, 0, 0));
    PQclear(rows);
    return status;
}
