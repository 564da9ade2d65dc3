/* SPDX-License-Identifier: MIT
 *
 * An order and its confirmation, in the application's own SQLite file. The job is enqueued in the transaction that
 * stores the order, so that there is never one without the other; and the handler's own write is settled together with
 * its run, so that it happens exactly once, whatever crashes when.
 */
#include <neoq/sqlite.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* A connection of the application's own. No automatic checkpoints: docs/sqlite.md says why. */
static sqlite3 *open_shop(const char *path)
{
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_busy_timeout(db, 5000) != SQLITE_OK ||
        run(db, "PRAGMA wal_autocheckpoint = 0; CREATE TABLE IF NOT EXISTS orders"
                " (item TEXT PRIMARY KEY, confirmed INT NOT NULL DEFAULT 0)") != SQLITE_OK) {
        fprintf(stderr, "exactly_once: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
    return db;
}

/* The order and its job, or neither. */
static int take_order(neoq *nq, sqlite3 *db, const char *item, bool regretted)
{
    char sql[128];
    sqlite3_snprintf((int)sizeof sql, sql, "BEGIN IMMEDIATE; INSERT INTO orders(item) VALUES(%Q)", item);
    int status = run(db, sql) == SQLITE_OK ? NEOQ_OK : NEOQ_EBACKEND;
    if (status == NEOQ_OK)
        status = neoq_sqlite_enqueue(nq, db, &(neoq_job){.queue = "confirm", .payload = item}, NULL);
    run(db, status == NEOQ_OK && !regretted ? "COMMIT" : "ROLLBACK");
    return status;
}

/* The first run of each job writes, and then fails: its write goes with it. */
static int confirm(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    sqlite3 *db = open_shop(arg);
    char sql[128];
    sqlite3_snprintf((int)sizeof sql, sql,
                     "BEGIN IMMEDIATE; UPDATE orders SET confirmed = confirmed + 1 WHERE item = %Q", job->payload);
    bool done = run(db, sql) == SQLITE_OK && job->epoch > 1 && neoq_sqlite_finish(ctx, db) == NEOQ_OK;
    done = run(db, done ? "COMMIT" : "ROLLBACK") == SQLITE_OK && done;
    sqlite3_close(db);
    printf("run %d of %s: %s\n", (int)job->epoch, (const char *)job->payload, done ? "committed" : "rolled back");
    return done ? NEOQ_OK : neoq_retry_in(ctx, NEOQ_MILLISECONDS(100), "the order is not confirmed yet");
}

static int print_order(void *arg, int columns, char **values, char **names)
{
    (void)columns, (void)names;
    *(int *)arg += atoi(values[1]);
    return printf("%s: confirmed %s time(s)\n", values[0], values[1]) < 0;
}

int main(void)
{
    char folder[] = "/tmp/neoq-shop-XXXXXX", path[64], url[80];
    neoq *nq = NULL;
    int confirmed = 0;
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/shop.db", folder);
    snprintf(url, sizeof url, "sqlite:%s", path);
    sqlite3 *db = open_shop(path);
    neoq_handler handler = {.queue = "confirm", .handle = confirm, .arg = path};
    if (neoq_open(&nq, url, &(neoq_options){.log_level = NEOQ_LOG_ERROR}) != NEOQ_OK ||
        take_order(nq, db, "teapot", false) != NEOQ_OK || take_order(nq, db, "kettle", true) != NEOQ_OK ||
        neoq_start(nq, &handler) != NEOQ_OK)
        fprintf(stderr, "exactly_once: %s\n", neoq_error_message());
    for (int i = 0; i < 750 && confirmed == 0; i++) {
        usleep(20000);
        sqlite3_exec(db, "SELECT item, confirmed FROM orders WHERE confirmed > 0", print_order, &confirmed, NULL);
    }
    sqlite3_close(db);
    neoq_close(nq);
    unlink(path);
    rmdir(folder);
    return confirmed == 1 ? 0 : 1;
}
