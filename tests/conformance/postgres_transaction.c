/* SPDX-License-Identifier: MIT
 *
 * <neoq/postgres.h>: a job, or a job's end, in the application's own transaction.
 */
#include "support/child.h"
#include "support/postgres_server.h"
#include "support/recorder.h"
#include "support/store.h"

#include <neoq/postgres.h>

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* ---- the application -------------------------------------------------------------------- */

static PGconn *connect_to(const char *url)
{
    PGconn *db = PQconnectdb(url);
    if (PQstatus(db) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(db));
    return db;
}

/* May be used in a handler: it asserts nothing. */
static bool run(PGconn *db, const char *text)
{
    PGresult *result = PQexec(db, text);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static void sql(PGconn *db, const char *text)
{
    if (!run(db, text))
        fail_msg("%s: %s", text, PQerrorMessage(db));
}

static int64_t number(PGconn *db, const char *query)
{
    PGresult *result = PQexec(db, query);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
        fail_msg("%s: %s", query, PQerrorMessage(db));
    int64_t value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return value;
}

/* The application's own table, in neoq's database. */
static PGconn *open_application(store *s)
{
    PGconn *db = connect_to(s->url);
    sql(db, "CREATE TABLE orders(id int GENERATED ALWAYS AS IDENTITY, what text)");
    return db;
}

/* ---- enqueue ---------------------------------------------------------------------------- */

static void test_the_job_exists_once_the_transaction_commits(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    char id[NEOQ_ID_SIZE];
    sql(db, "BEGIN");
    sql(db, "INSERT INTO orders(what) VALUES ('tea')");
    neoq_job job = {.queue = "orders", .payload = "{\"order\":1}", .priority = 3, .metadata = "{\"a\":1}"};
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &job, id));
    assert_int_equal(0, jobs_in(nq, "orders", 0));
    sql(db, "COMMIT");
    const neoq_job *stored = store_job(s, nq, id);
    assert_int_equal(NEOQ_READY, stored->state);
    assert_string_equal("{\"order\":1}", (const char *)stored->payload);
    assert_int_equal(3, stored->priority);
    assert_int_equal(23, stored->max_retries);
    assert_string_equal("{\"a\":1}", stored->metadata);
    assert_true(stored->created_at == STORE_START);
    assert_int_equal(1, queue_of(nq, "orders").ready);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("orders", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    assert_int_equal(1, drain(nq).done);
    assert_int_equal(0, queue_of(nq, "orders").ready);
    PQfinish(db);
}

static void test_the_job_does_not_exist_if_it_rolls_back(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    char id[NEOQ_ID_SIZE];
    sql(db, "BEGIN");
    sql(db, "INSERT INTO orders(what) VALUES ('tea')");
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "orders"}, id));
    sql(db, "ROLLBACK");
    assert_false(has_job(nq, id));
    assert_int_equal(0, queue_of(nq, "orders").ready);
    /* And its fingerprint is free. */
    put(nq, "orders", NULL, NULL);
    PQfinish(db);
}

typedef struct many_caller {
    neoq *nq;
    neoq_enqueued results[10];
    int status;
} many_caller;

static void *put_ten(void *arg)
{
    many_caller *c = arg;
    char payloads[10][12];
    neoq_job jobs[10];
    for (int i = 0; i < 10; i++) {
        snprintf(payloads[i], sizeof payloads[i], "%d", i);
        jobs[i] = (neoq_job){.queue = "orders", .payload = payloads[i]};
    }
    c->status = neoq_enqueue_many(c->nq, jobs, 10, c->results);
    return NULL;
}

/* Until the transaction is over nobody knows whether one of the ten is its twin. */
static void test_a_call_with_a_twin_of_an_open_transaction_waits_for_its_end(void **state)
{
    store *s = *state;
    many_caller caller = {.nq = store_open(s, NULL)};
    neoq *other = store_open(s, NULL);
    PGconn *db = open_application(s), *watcher = connect_to(s->url);
    put(caller.nq, "orders", "before", NULL); /* the queue is there */
    sql(db, "BEGIN");
    assert_status(NEOQ_OK, neoq_postgres_enqueue(other, db, &(neoq_job){.queue = "orders", .payload = "7"}, NULL));
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, put_ten, &caller));
    eventually(number(watcher, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                               " AND wait_event_type = 'Lock' AND now() - query_start > '50 ms'") > 0);
    sql(db, "ROLLBACK");
    pthread_join(thread, NULL);
    assert_int_equal(NEOQ_OK, caller.status);
    for (int i = 0; i < 10; i++)
        assert_int_equal(NEOQ_OK, caller.results[i].status);
    assert_int_equal(11, jobs_in(other, "orders", NEOQ_READY));
    PQfinish(db);
    PQfinish(watcher);
}

static void test_a_savepoint_takes_the_job_back_too(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    sql(db, "BEGIN");
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "kept"}, NULL));
    sql(db, "SAVEPOINT a");
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "taken"}, NULL));
    sql(db, "ROLLBACK TO a");
    sql(db, "COMMIT");
    assert_int_equal(1, jobs_in(nq, "kept", 0));
    assert_int_equal(0, jobs_in(nq, "taken", 0));
    PQfinish(db);
}

static void test_outside_a_transaction_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    assert_status(NEOQ_ESTATE, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "orders"}, NULL));
    assert_int_equal(0, jobs_in(nq, "orders", 0));
    assert_words("BEGIN", neoq_error_message());
    assert_int_equal(PQTRANS_IDLE, PQtransactionStatus(db));
    PQfinish(db);
}

static void test_a_refusal_leaves_the_transaction_as_it_was(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    char id[NEOQ_ID_SIZE], twin[NEOQ_ID_SIZE] = "";
    put(nq, "orders", NULL, id);
    sql(db, "BEGIN");
    sql(db, "INSERT INTO orders(what) VALUES ('tea')");
    assert_status(NEOQ_EDUPLICATE, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "orders"}, twin));
    assert_string_equal(id, twin);
    assert_status(NEOQ_EINVAL, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = ""}, NULL));
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "orders", .payload = "1"}, id));
    assert_status(NEOQ_EDUPLICATE,
                  neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "orders", .payload = "1"}, twin));
    assert_string_equal(id, twin);
    assert_int_equal(PQTRANS_INTRANS, PQtransactionStatus(db));
    sql(db, "COMMIT");
    assert_int_equal(1, number(db, "SELECT count(*) FROM orders"));
    assert_int_equal(2, jobs_in(nq, "orders", 0));
    PQfinish(db);
}

static void test_an_id_that_is_there_is_no_second_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    neoq_job job = {.queue = "orders", .id = "0190a0b0-0000-7000-8000-00000000000a"};
    put_job(nq, job, NULL);
    sql(db, "BEGIN");
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &job, NULL));
    sql(db, "COMMIT");
    assert_int_equal(1, jobs_in(nq, "orders", 0));
    PQfinish(db);
}

static void test_another_database_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char name[64], url[512];
    assert_true(postgres_create(postgres_shared(), NULL, name, sizeof(name)));
    PGconn *elsewhere = connect_to(postgres_url(postgres_shared(), name, url, sizeof(url)));
    sql(elsewhere, "BEGIN");
    assert_status(NEOQ_EINVAL, neoq_postgres_enqueue(nq, elsewhere, &(neoq_job){.queue = "orders"}, NULL));
    assert_words("another database", neoq_error_message());
    assert_int_equal(PQTRANS_INTRANS, PQtransactionStatus(elsewhere));
    PQfinish(elsewhere);
    postgres_drop(postgres_shared(), name);
}

static void test_a_role_without_the_right_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    sql(db, "DO $$ BEGIN CREATE ROLE neoq_test_nobody; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    sql(db, "BEGIN");
    sql(db, "SET LOCAL ROLE neoq_test_nobody");
    assert_status(NEOQ_EINVAL, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "orders"}, NULL));
    assert_words("neoq_test_nobody", neoq_error_message());
    assert_int_equal(PQTRANS_INTRANS, PQtransactionStatus(db));
    sql(db, "RESET ROLE");
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "orders"}, NULL));
    sql(db, "COMMIT");
    PQfinish(db);
}

static void test_a_transaction_that_failed_or_is_busy_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    neoq_job job = {.queue = "orders"};
    sql(db, "BEGIN");
    assert_false(run(db, "SELECT 1 / 0"));
    assert_status(NEOQ_ESTATE, neoq_postgres_enqueue(nq, db, &job, NULL));
    assert_words("failed", neoq_error_message());
    sql(db, "ROLLBACK");
    sql(db, "BEGIN");
    assert_int_equal(1, PQsendQuery(db, "SELECT 1"));
    assert_status(NEOQ_ESTATE, neoq_postgres_enqueue(nq, db, &job, NULL));
    for (PGresult *result; (result = PQgetResult(db)) != NULL;)
        PQclear(result);
    assert_int_equal(1, PQenterPipelineMode(db));
    assert_status(NEOQ_ESTATE, neoq_postgres_enqueue(nq, db, &job, NULL));
    assert_int_equal(1, PQexitPipelineMode(db));
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &job, NULL));
    sql(db, "COMMIT");
    assert_int_equal(1, jobs_in(nq, "orders", 0));
    PQfinish(db);
}

static void test_another_store_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL), *memory = NULL;
    PGconn *db = open_application(s);
    sql(db, "BEGIN");
    assert_status(NEOQ_EINVAL, neoq_postgres_enqueue(NULL, db, &(neoq_job){.queue = "orders"}, NULL));
    assert_status(NEOQ_EINVAL, neoq_postgres_enqueue(nq, NULL, &(neoq_job){.queue = "orders"}, NULL));
    assert_status(NEOQ_EINVAL, neoq_postgres_enqueue(nq, db, NULL, NULL));
    assert_status(NEOQ_OK, neoq_open(&memory, "memory:", NULL));
    int status = neoq_postgres_enqueue(memory, db, &(neoq_job){.queue = "orders"}, NULL);
    neoq_close(memory);
    assert_true(status == NEOQ_EINVAL || status == NEOQ_EUNSUPPORTED);
    PQfinish(db);
}

static void test_a_capacity_holds_in_a_transaction_too(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    PGconn *db = open_application(s);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("bounded", &r);
    handler.capacity = 1;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    sql(db, "BEGIN");
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "bounded", .payload = "1"}, NULL));
    /* It cannot wait for room: the caller's transaction keeps the others from making any. */
    assert_status(NEOQ_EFULL, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "bounded", .payload = "2"}, NULL));
    sql(db, "COMMIT");
    assert_int_equal(1, jobs_in(nq, "bounded", 0));
    PQfinish(db);
}

static void test_a_worker_that_waits_is_woken_by_the_commit(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, ON_HINTS_ALONE);
    neoq_handler handler = recording("orders", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    PGconn *db = open_application(s);
    sql(db, "BEGIN");
    assert_status(NEOQ_OK, neoq_postgres_enqueue(nq, db, &(neoq_job){.queue = "orders"}, NULL));
    sql(db, "COMMIT");
    eventually(recorded_ends(&r) == 1);
    PQfinish(db);
}

/* ---- finish ----------------------------------------------------------------------------- */

typedef enum end { COMMIT, ROLLBACK, FAIL_AFTER_COMMIT, OUTSIDE } end;

typedef struct finishing {
    store *s;
    neoq *nq;
    end ends[4];
    int status[4];
    size_t runs;
} finishing;

static int finish_inside(neoq_ctx *ctx, void *arg)
{
    finishing *f = arg;
    size_t turn = f->runs++;
    end how = f->ends[turn < 4 ? turn : 3];
    PGconn *db = PQconnectdb(f->s->url);
    if (how != OUTSIDE)
        run(db, "BEGIN; INSERT INTO orders(what) VALUES ('tea')");
    f->status[turn < 4 ? turn : 3] = neoq_postgres_finish(ctx, db);
    run(db, how == COMMIT || how == FAIL_AFTER_COMMIT ? "COMMIT" : "ROLLBACK");
    PQfinish(db);
    return how == FAIL_AFTER_COMMIT ? neoq_fail(ctx, "after all") : NEOQ_OK;
}

static neoq *start_finishing(store *s, finishing *f, neoq_job job, char *id)
{
    f->s = s;
    f->nq = store_open(s, NULL);
    PQfinish(open_application(s));
    neoq_handler handler = {.queue = "orders", .handle = finish_inside, .arg = f, .concurrency = 1};
    assert_status(NEOQ_OK, neoq_start(f->nq, &handler));
    job.queue = "orders";
    put_job(f->nq, job, id);
    return f->nq;
}

static int64_t orders(store *s)
{
    PGconn *db = connect_to(s->url);
    int64_t count = number(db, "SELECT count(*) FROM orders");
    PQfinish(db);
    return count;
}

static void test_the_end_of_the_run_commits_with_the_handlers_own_writes(void **state)
{
    store *s = *state;
    finishing f = {.ends = {COMMIT}};
    char id[NEOQ_ID_SIZE];
    neoq *nq = start_finishing(s, &f, (neoq_job){.retention = NEOQ_FOREVER}, id);
    neoq_testing_counts counts = work_one(nq);
    assert_status(NEOQ_OK, f.status[0]);
    assert_int_equal(1, counts.done);
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
    assert_int_equal(1, orders(s));
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("done", runs[0].outcome);
    assert_int_equal(1, queue_of(nq, "orders").processed);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(1, f.runs);
    assert_int_equal(1, orders(s));
}

static void test_a_done_job_that_is_not_kept_is_gone_with_the_commit(void **state)
{
    store *s = *state;
    finishing f = {.ends = {COMMIT}};
    char id[NEOQ_ID_SIZE];
    neoq *nq = start_finishing(s, &f, (neoq_job){0}, id);
    work_one(nq);
    assert_false(has_job(nq, id));
    assert_int_equal(1, orders(s));
    assert_int_equal(0, queue_of(nq, "orders").running);
}

static void test_if_it_rolls_back_the_job_is_run_again(void **state)
{
    store *s = *state;
    finishing f = {.ends = {ROLLBACK, COMMIT}};
    char id[NEOQ_ID_SIZE];
    neoq *nq = start_finishing(s, &f, (neoq_job){.retention = NEOQ_FOREVER}, id);
    work_one(nq);
    assert_status(NEOQ_OK, f.status[0]);
    assert_int_equal(0, orders(s));
    assert_int_not_equal(NEOQ_DONE, state_of(nq, id));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(2, f.runs);
    assert_status(NEOQ_OK, f.status[1]);
    assert_int_equal(1, orders(s));
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
}

/* The commit has said it; what the handler returns after it cannot unsay it. */
static void test_a_failure_after_the_commit_changes_nothing(void **state)
{
    store *s = *state;
    finishing f = {.ends = {FAIL_AFTER_COMMIT}};
    char id[NEOQ_ID_SIZE];
    neoq *nq = start_finishing(s, &f, (neoq_job){.retention = NEOQ_FOREVER}, id);
    work_one(nq);
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(1, f.runs);
    assert_int_equal(1, orders(s));
}

static void test_finishing_outside_a_transaction_is_refused(void **state)
{
    store *s = *state;
    finishing f = {.ends = {OUTSIDE}};
    char id[NEOQ_ID_SIZE];
    neoq *nq = start_finishing(s, &f, (neoq_job){.retention = NEOQ_FOREVER}, id);
    work_one(nq);
    assert_status(NEOQ_ESTATE, f.status[0]);
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
}

typedef struct stale {
    store *s;
    gate begun, hold;
    pthread_mutex_t lock;
    int status;
    bool ended;
} stale;

static int finish_too_late(neoq_ctx *ctx, void *arg)
{
    stale *st = arg;
    gate_open(&st->begun);
    gate_wait(&st->hold);
    PGconn *db = PQconnectdb(st->s->url);
    run(db, "BEGIN; INSERT INTO orders(what) VALUES ('tea')");
    int status = neoq_postgres_finish(ctx, db);
    run(db, status == NEOQ_OK ? "COMMIT" : "ROLLBACK");
    PQfinish(db);
    pthread_mutex_lock(&st->lock);
    st->status = status;
    st->ended = true;
    pthread_mutex_unlock(&st->lock);
    return NEOQ_OK;
}

static bool has_ended(stale *st)
{
    pthread_mutex_lock(&st->lock);
    bool ended = st->ended;
    pthread_mutex_unlock(&st->lock);
    return ended;
}

static void test_a_run_that_no_longer_owns_the_job_is_told_so(void **state)
{
    static stale st = {.begun = GATE_INITIALIZER, .hold = GATE_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};
    store *s = *state;
    st.s = s;
    neoq *nq = store_open_threads(s, NULL);
    PQfinish(open_application(s));
    neoq_handler handler = {
        .queue = "orders", .handle = finish_too_late, .arg = &st, .concurrency = 1, .timeout = NEOQ_SECONDS(5)};
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char id[NEOQ_ID_SIZE];
    put(nq, "orders", NULL, id);
    gate_wait(&st.begun); /* its time is measured from there */
    neoq_clock_advance(s->clock, NEOQ_SECONDS(6));
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    gate_open(&st.hold);
    eventually(has_ended(&st));
    assert_status(NEOQ_ELOST, st.status);
    assert_int_equal(0, orders(s));
    assert_int_equal(NEOQ_RETRYING, state_of(nq, id));
}

static void test_a_run_whose_cancellation_was_asked_for_is_told_so(void **state)
{
    static stale st = {.begun = GATE_INITIALIZER, .hold = GATE_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};
    store *s = *state;
    st.s = s;
    neoq *nq = store_open_threads(s, NULL);
    PQfinish(open_application(s));
    neoq_handler handler = {.queue = "orders", .handle = finish_too_late, .arg = &st, .concurrency = 1};
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char id[NEOQ_ID_SIZE];
    put(nq, "orders", NULL, id);
    gate_wait(&st.begun);
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    gate_open(&st.hold);
    eventually(has_ended(&st));
    assert_status(NEOQ_ELOST, st.status);
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(0, orders(s));
}

/* ---- killed between finish and commit --------------------------------------------------- */

static sem_t over;

/* Says that it has finished the run in its transaction, and does not commit before the parent says so. */
static int finish_and_wait(neoq_ctx *ctx, void *arg)
{
    PGconn *db = PQconnectdb(arg);
    run(db, "BEGIN; INSERT INTO orders(what) VALUES ('tea')");
    int status = neoq_postgres_finish(ctx, db);
    child_say(status == NEOQ_OK ? "finished" : neoq_error_message());
    int heard = child_hear();
    run(db, heard == 'c' ? "COMMIT" : "ROLLBACK");
    PQfinish(db);
    child_say("over");
    sem_post(&over);
    return NEOQ_OK;
}

static int be_a_worker(const char *url)
{
    neoq *nq = NULL;
    sem_init(&over, 0, 0);
    neoq_options options = {.log = quiet, .lease = NEOQ_SECONDS(2)};
    neoq_handler handler = {.queue = "orders",
                            .handle = finish_and_wait,
                            .arg = (void *)(uintptr_t)url,
                            .concurrency = 1};
    if (neoq_open(&nq, url, &options) != NEOQ_OK || neoq_start(nq, &handler) != NEOQ_OK) {
        child_say(neoq_error_message());
        return 1;
    }
    while (sem_wait(&over) != 0)
        ;
    neoq_close(nq);
    return 0;
}

static void test_a_process_killed_before_the_commit_has_done_nothing(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, &(neoq_options){.lease = NEOQ_SECONDS(2)});
    PQfinish(open_application(s));
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "orders", .retention = NEOQ_FOREVER}, id);
    child killed = child_start("worker", s->url);
    child_expect(&killed, "finished");
    assert_int_equal(0, orders(s));
    child_signal(&killed, SIGKILL);
    assert_true(WIFSIGNALED(child_wait(&killed)));
    assert_int_equal(NEOQ_RUNNING, state_of(nq, id));
    child second = child_start("worker", s->url);
    child_expect(&second, "finished");
    child_tell(&second, 'c');
    child_expect(&second, "over");
    assert_int_equal(0, child_wait(&second));
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
    assert_int_equal(1, orders(s));
    neoq_run_info runs[25];
    assert_int_equal(2, runs_of(nq, id, runs));
    assert_string_equal("done", runs[0].outcome);
    assert_string_equal("lost", runs[1].outcome);
}

static void test_a_process_killed_after_the_commit_has_done_all(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, &(neoq_options){.lease = NEOQ_SECONDS(2)});
    PQfinish(open_application(s));
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "orders", .retention = NEOQ_FOREVER}, id);
    child killed = child_start("worker", s->url);
    child_expect(&killed, "finished");
    child_tell(&killed, 'c');
    eventually(state_of(nq, id) == NEOQ_DONE);
    child_signal(&killed, SIGKILL);
    child_wait(&killed);
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
    assert_int_equal(1, orders(s));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_the_job_exists_once_the_transaction_commits),
        on_store(test_the_job_does_not_exist_if_it_rolls_back),
        on_store(test_a_call_with_a_twin_of_an_open_transaction_waits_for_its_end),
        on_store(test_a_savepoint_takes_the_job_back_too),
        on_store(test_outside_a_transaction_is_refused),
        on_store(test_a_refusal_leaves_the_transaction_as_it_was),
        on_store(test_an_id_that_is_there_is_no_second_job),
        on_store(test_another_database_is_refused),
        on_store(test_a_role_without_the_right_is_refused),
        on_store(test_a_transaction_that_failed_or_is_busy_is_refused),
        on_store(test_another_store_is_refused),
        on_store(test_a_capacity_holds_in_a_transaction_too),
        on_store(test_a_worker_that_waits_is_woken_by_the_commit),
        on_store(test_the_end_of_the_run_commits_with_the_handlers_own_writes),
        on_store(test_a_done_job_that_is_not_kept_is_gone_with_the_commit),
        on_store(test_if_it_rolls_back_the_job_is_run_again),
        on_store(test_a_failure_after_the_commit_changes_nothing),
        on_store(test_finishing_outside_a_transaction_is_refused),
        on_store(test_a_run_that_no_longer_owns_the_job_is_told_so),
        on_store(test_a_run_whose_cancellation_was_asked_for_is_told_so),
        on_store(test_a_process_killed_before_the_commit_has_done_nothing),
        on_store(test_a_process_killed_after_the_commit_has_done_all),
    };
    const char *role, *url;
    if (child_role(argc, argv, &role, &url))
        return be_a_worker(url);
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("postgres_transaction", tests, NULL, NULL);
}
