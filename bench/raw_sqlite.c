// SPDX-License-Identifier: MIT
// The floor the SQLite store is measured against: a minimal jobs table in a WAL database at
// synchronous=FULL, prepared statements, one connection. Usage: raw_sqlite FILE [ROWS [SINGLES]]
// FILE is created anew and removed at the end.
#define _POSIX_C_SOURCE 200809L
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 1000, ROUNDS = 3 };

static const char payload[] = "{\"to\":\"somebody@example.org\",\"template\":\"welcome\",\"locale\":\"en-GB\"}";

static sqlite3 *db;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "raw_sqlite: %s: %s\n", what, db ? sqlite3_errmsg(db) : "no database");
    exit(1);
}

static void run(const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail(sql);
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
        fail(sql);
    return statement;
}

// Runs a statement that returns no row.
static void execute(sqlite3_stmt *statement)
{
    if (sqlite3_step(statement) != SQLITE_DONE)
        fail(sqlite3_sql(statement));
    sqlite3_reset(statement);
}

static sqlite3_stmt *begin, *commit, *insert, *select_ready, *mark_running, *claim_returning, *delete_row;

static void remove_files(const char *file)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char path[4096];
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        snprintf(path, sizeof path, "%s%s", file, suffixes[i]);
        unlink(path);
    }
}

static void open_database(const char *file)
{
    remove_files(file);
    if (sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        fail(file);
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA synchronous=FULL");
    run("CREATE TABLE jobs(id INTEGER PRIMARY KEY, queue TEXT, payload TEXT, status INTEGER, run_after INTEGER)");
    run("CREATE INDEX ready ON jobs(queue, run_after, id) WHERE status = 0");
    begin = prepare("BEGIN IMMEDIATE");
    commit = prepare("COMMIT");
    insert = prepare("INSERT INTO jobs(queue, payload, status, run_after) VALUES('default', ?1, 0, ?2)");
    select_ready = prepare("SELECT id, payload FROM jobs WHERE queue = 'default' AND status = 0 AND run_after <= ?1 "
                           "ORDER BY run_after, id LIMIT ?2");
    mark_running = prepare("UPDATE jobs SET status = 1 WHERE id = ?1");
    claim_returning =
        prepare("UPDATE jobs SET status = 1 WHERE id IN (SELECT id FROM jobs WHERE queue = 'default' AND status = 0 "
                "AND run_after <= ?1 ORDER BY run_after, id LIMIT ?2) RETURNING id, payload");
    delete_row = prepare("DELETE FROM jobs WHERE id = ?1");
}

static void close_database(const char *file)
{
    sqlite3_stmt *statement;
    while ((statement = sqlite3_next_stmt(db, NULL)))
        sqlite3_finalize(statement);
    sqlite3_close(db);
    db = NULL;
    remove_files(file);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

// Inserts `rows`, `batch` a transaction. Returns rows a second.
static double measure_insert(int rows, int batch)
{
    double start = seconds();
    for (int done = 0; done < rows; done += batch) {
        execute(begin);
        for (int i = 0; i < batch; i++) {
            sqlite3_bind_text(insert, 1, payload, sizeof payload - 1, SQLITE_STATIC);
            sqlite3_bind_int64(insert, 2, now_us());
            execute(insert);
        }
        execute(commit);
    }
    return rows / (seconds() - start);
}

// Reads the rows of a claim: their ids into `ids`, their payloads by length alone.
static int read_claimed(sqlite3_stmt *statement, int64_t *ids)
{
    int count = 0, code;
    sqlite3_bind_int64(statement, 1, now_us());
    sqlite3_bind_int(statement, 2, BATCH);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        ids[count++] = sqlite3_column_int64(statement, 0);
        if (!sqlite3_column_text(statement, 1) || sqlite3_column_bytes(statement, 1) != (int)sizeof payload - 1)
            fail("a payload came back wrong");
    }
    if (code != SQLITE_DONE)
        fail(sqlite3_sql(statement));
    sqlite3_reset(statement);
    return count;
}

// Claims BATCH rows in one transaction and deletes them in the next, until none is left.
static double measure_drain(int rows, int returning)
{
    int64_t ids[BATCH];
    int total = 0, count;
    double start = seconds();
    for (;;) {
        execute(begin);
        count = read_claimed(returning ? claim_returning : select_ready, ids);
        for (int i = 0; i < count && !returning; i++) {
            sqlite3_bind_int64(mark_running, 1, ids[i]);
            execute(mark_running);
        }
        execute(commit);
        if (!count)
            break;
        execute(begin);
        for (int i = 0; i < count; i++) {
            sqlite3_bind_int64(delete_row, 1, ids[i]);
            execute(delete_row);
        }
        execute(commit);
        total += count;
    }
    if (total != rows)
        fail("the drain lost rows");
    return rows / (seconds() - start);
}

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof values[0], compare_doubles);
    return values[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    int rows = argc > 2 ? atoi(argv[2]) : 200000;
    int singles = argc > 3 ? atoi(argv[3]) : 5000;
    if (argc < 2 || rows < BATCH || rows % BATCH || singles < 1) {
        fputs("usage: raw_sqlite FILE [ROWS (in thousands) [SINGLES]]\n", stderr);
        return 2;
    }
    double insert_rates[ROUNDS], select_rates[ROUNDS], returning_rates[ROUNDS], single_rates[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        open_database(argv[1]);
        insert_rates[i] = measure_insert(rows, BATCH);
        select_rates[i] = measure_drain(rows, 0);
        close_database(argv[1]);
        open_database(argv[1]);
        measure_insert(rows, BATCH);
        returning_rates[i] = measure_drain(rows, 1);
        single_rates[i] = measure_insert(singles, 1);
        close_database(argv[1]);
    }
    double by_select = median(select_rates), by_returning = median(returning_rates);
    printf("raw_sqlite_insert_1000_rows_per_s %.0f\n", median(insert_rates));
    printf("raw_sqlite_drain_1000_rows_per_s %.0f\n", by_select > by_returning ? by_select : by_returning);
    printf("raw_sqlite_drain_1000_select_update_rows_per_s %.0f\n", by_select);
    printf("raw_sqlite_drain_1000_update_returning_rows_per_s %.0f\n", by_returning);
    printf("raw_sqlite_insert_1_rows_per_s %.0f\n", median(single_rates));
    return 0;
}
