/* SPDX-License-Identifier: MIT
 *
 * <neoq/sqlite.h>: a job, or a job's end, in the application's own transaction.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <dirent.h>
#include <neoq/sqlite.h>

#include <stdio.h>
#include <string.h>

static sqlite3 *open_file(const char *path)
{
    sqlite3 *db = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_open(path, &db));
    sqlite3_busy_timeout(db, PATIENCE_SECONDS * 1000);
    return db;
}

static void sql(sqlite3 *db, const char *text)
{
    char *error = NULL;
    if (sqlite3_exec(db, text, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", text, error);
}

static int64_t number(sqlite3 *db, const char *query)
{
    sqlite3_stmt *statement = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_prepare_v2(db, query, -1, &statement, NULL));
    assert_int_equal(SQLITE_ROW, sqlite3_step(statement));
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

/* The application's own table, in neoq's file. */
static sqlite3 *open_application(store *s)
{
    sqlite3 *db = open_file(s->path);
    sql(db, "CREATE TABLE orders(id INTEGER PRIMARY KEY, what TEXT)");
    return db;
}

/* ---- enqueue ---------------------------------------------------------------------------- */

static void test_the_job_exists_once_the_transaction_commits(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    sqlite3 *db = open_application(s);
    char id[NEOQ_ID_SIZE];
    sql(db, "BEGIN IMMEDIATE");
    sql(db, "INSERT INTO orders(what) VALUES ('tea')");
    neoq_job job = {.queue = "orders", .payload = "{\"order\":1}", .priority = 3, .metadata = "{\"a\":1}"};
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &job, id));
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
    sqlite3_close(db);
}

static void test_the_job_does_not_exist_if_it_rolls_back(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    sqlite3 *db = open_application(s);
    char id[NEOQ_ID_SIZE];
    sql(db, "BEGIN");
    sql(db, "INSERT INTO orders(what) VALUES ('tea')");
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "orders"}, id));
    sql(db, "ROLLBACK");
    assert_false(has_job(nq, id));
    assert_int_equal(0, queue_of(nq, "orders").ready);
    /* And its fingerprint is free. */
    put(nq, "orders", NULL, NULL);
    sqlite3_close(db);
}

static void test_a_savepoint_takes_the_job_back_too(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    sqlite3 *db = open_application(s);
    sql(db, "BEGIN IMMEDIATE");
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "kept"}, NULL));
    sql(db, "SAVEPOINT a");
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "taken"}, NULL));
    sql(db, "ROLLBACK TO a");
    sql(db, "COMMIT");
    assert_int_equal(1, jobs_in(nq, "kept", 0));
    assert_int_equal(0, jobs_in(nq, "taken", 0));
    sqlite3_close(db);
}

static void test_outside_a_transaction_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    sqlite3 *db = open_application(s);
    assert_status(NEOQ_ESTATE, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "orders"}, NULL));
    assert_int_equal(0, jobs_in(nq, "orders", 0));
    assert_true(sqlite3_get_autocommit(db));
    sqlite3_close(db);
}

static void test_a_refusal_leaves_the_transaction_as_it_was(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    sqlite3 *db = open_application(s);
    char id[NEOQ_ID_SIZE], twin[NEOQ_ID_SIZE] = "";
    put(nq, "orders", NULL, id);
    sql(db, "BEGIN IMMEDIATE");
    sql(db, "INSERT INTO orders(what) VALUES ('tea')");
    assert_status(NEOQ_EDUPLICATE, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "orders"}, twin));
    assert_string_equal(id, twin);
    assert_status(NEOQ_EINVAL, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = ""}, NULL));
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "orders", .payload = "1"}, id));
    assert_status(NEOQ_EDUPLICATE, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "orders", .payload = "1"}, twin));
    assert_string_equal(id, twin);
    assert_false(sqlite3_get_autocommit(db));
    sql(db, "COMMIT");
    assert_int_equal(1, number(db, "SELECT count(*) FROM orders"));
    assert_int_equal(2, jobs_in(nq, "orders", 0));
    sqlite3_close(db);
}

static void test_an_id_that_is_there_is_no_second_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    sqlite3 *db = open_application(s);
    neoq_job job = {.queue = "orders", .id = "0190a0b0-0000-7000-8000-00000000000a"};
    put_job(nq, job, NULL);
    sql(db, "BEGIN IMMEDIATE");
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &job, NULL));
    sql(db, "COMMIT");
    assert_int_equal(1, jobs_in(nq, "orders", 0));
    sqlite3_close(db);
}

static void test_another_file_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char path[256];
    snprintf(path, sizeof(path), "%s/other.db", s->folder);
    sqlite3 *elsewhere = open_file(path), *nowhere = open_file(":memory:");
    sql(elsewhere, "BEGIN");
    assert_status(NEOQ_EINVAL, neoq_sqlite_enqueue(nq, elsewhere, &(neoq_job){.queue = "orders"}, NULL));
    sql(nowhere, "BEGIN");
    assert_status(NEOQ_EINVAL, neoq_sqlite_enqueue(nq, nowhere, &(neoq_job){.queue = "orders"}, NULL));
    sqlite3_close(elsewhere);
    sqlite3_close(nowhere);
}

static void test_a_file_by_another_of_its_names_is_the_same(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char path[300];
    snprintf(path, sizeof(path), "%s/../%s/jobs.db", s->folder, strrchr(s->folder, '/') + 1);
    sqlite3 *db = open_file(path);
    sql(db, "BEGIN IMMEDIATE");
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "orders"}, NULL));
    sql(db, "COMMIT");
    assert_int_equal(1, jobs_in(nq, "orders", 0));
    sqlite3_close(db);
}

static void test_another_store_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL), *memory = NULL;
    sqlite3 *db = open_application(s);
    sql(db, "BEGIN");
    assert_status(NEOQ_EINVAL, neoq_sqlite_enqueue(NULL, db, &(neoq_job){.queue = "orders"}, NULL));
    assert_status(NEOQ_EINVAL, neoq_sqlite_enqueue(nq, NULL, &(neoq_job){.queue = "orders"}, NULL));
    assert_status(NEOQ_EINVAL, neoq_sqlite_enqueue(nq, db, NULL, NULL));
    assert_status(NEOQ_OK, neoq_open(&memory, "memory:", NULL));
    int status = neoq_sqlite_enqueue(memory, db, &(neoq_job){.queue = "orders"}, NULL);
    neoq_close(memory);
    assert_true(status == NEOQ_EINVAL || status == NEOQ_EUNSUPPORTED);
    sqlite3_close(db);
}

static void test_a_capacity_holds_in_a_transaction_too(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    sqlite3 *db = open_application(s);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("bounded", &r);
    handler.capacity = 1;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    sql(db, "BEGIN IMMEDIATE");
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "bounded", .payload = "1"}, NULL));
    /* It cannot wait for room: the caller's transaction keeps the others from making any. */
    assert_status(NEOQ_EFULL, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "bounded", .payload = "2"}, NULL));
    sql(db, "COMMIT");
    assert_int_equal(1, jobs_in(nq, "bounded", 0));
    sqlite3_close(db);
}

static void test_a_worker_that_waits_is_woken_by_the_commit(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, ON_HINTS_ALONE);
    neoq_handler handler = recording("orders", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    sqlite3 *db = open_application(s);
    sql(db, "BEGIN IMMEDIATE");
    assert_status(NEOQ_OK, neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "orders"}, NULL));
    sql(db, "COMMIT");
    eventually(recorded_ends(&r) == 1);
    sqlite3_close(db);
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
    size_t run = f->runs++;
    end how = f->ends[run < 4 ? run : 3];
    sqlite3 *db = NULL;
    if (sqlite3_open(f->s->path, &db) != SQLITE_OK)
        return neoq_fail(ctx, "cannot open");
    sqlite3_busy_timeout(db, 5000);
    if (how != OUTSIDE)
        sqlite3_exec(db, "BEGIN IMMEDIATE; INSERT INTO orders(what) VALUES ('tea')", NULL, NULL, NULL);
    f->status[run < 4 ? run : 3] = neoq_sqlite_finish(ctx, db);
    sqlite3_exec(db, how == COMMIT || how == FAIL_AFTER_COMMIT ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(db);
    return how == FAIL_AFTER_COMMIT ? neoq_fail(ctx, "after all") : NEOQ_OK;
}

static neoq *start_finishing(store *s, finishing *f, neoq_job job, char *id)
{
    f->s = s;
    f->nq = store_open(s, NULL);
    sqlite3_close(open_application(s));
    neoq_handler handler = {.queue = "orders", .handle = finish_inside, .arg = f, .concurrency = 1};
    assert_status(NEOQ_OK, neoq_start(f->nq, &handler));
    job.queue = "orders";
    put_job(f->nq, job, id);
    return f->nq;
}

static int64_t orders(store *s)
{
    sqlite3 *db = open_file(s->path);
    int64_t count = number(db, "SELECT count(*) FROM orders");
    sqlite3_close(db);
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
    sqlite3 *db = NULL;
    sqlite3_open(st->s->path, &db);
    sqlite3_busy_timeout(db, 5000);
    sqlite3_exec(db, "BEGIN IMMEDIATE; INSERT INTO orders(what) VALUES ('tea')", NULL, NULL, NULL);
    int status = neoq_sqlite_finish(ctx, db);
    sqlite3_exec(db, status == NEOQ_OK ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(db);
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

static int threads_now(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int count = 0;
    assert_non_null(tasks);
    while (readdir(tasks))
        count++;
    closedir(tasks);
    return count;
}

static void test_a_run_that_no_longer_owns_the_job_is_told_so(void **state)
{
    static stale st = {.begun = GATE_INITIALIZER, .hold = GATE_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};
    store *s = *state;
    st.s = s;
    neoq *nq = store_open_threads(s, NULL);
    sqlite3_close(open_application(s));
    neoq_handler handler = {
        .queue = "orders", .handle = finish_too_late, .arg = &st, .concurrency = 1, .timeout = NEOQ_SECONDS(5)};
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char id[NEOQ_ID_SIZE];
    put(nq, "orders", NULL, id);
    gate_wait(&st.begun); /* its time is measured from there */
    neoq_clock_advance(s->clock, NEOQ_SECONDS(6));
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    int threads = threads_now();
    gate_open(&st.hold);
    eventually(has_ended(&st));
    eventually(threads_now() <
               threads); /* it was given up: a close would not wait for it, and it uses the test's clock */
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
    sqlite3_close(open_application(s));
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

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_the_job_exists_once_the_transaction_commits),
        on_store(test_the_job_does_not_exist_if_it_rolls_back),
        on_store(test_a_savepoint_takes_the_job_back_too),
        on_store(test_outside_a_transaction_is_refused),
        on_store(test_a_refusal_leaves_the_transaction_as_it_was),
        on_store(test_an_id_that_is_there_is_no_second_job),
        on_store(test_another_file_is_refused),
        on_store(test_a_file_by_another_of_its_names_is_the_same),
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
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("sqlite_transaction", tests, NULL, NULL);
}
