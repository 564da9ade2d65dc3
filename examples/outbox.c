/* SPDX-License-Identifier: MIT
 *
 * An order and the mail that confirms it: the job is enqueued in the transaction that stores the order, so that there
 * is never one without the other; and the handler's own write is settled together with its run, so that it happens
 * exactly once.
 */
#include <neoq/sqlite.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static sqlite3 *open_orders(const char *path)
{
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_busy_timeout(db, 5000) != SQLITE_OK ||
        run(db, "CREATE TABLE IF NOT EXISTS orders (item TEXT, confirmed INT DEFAULT 0)") != SQLITE_OK) {
        fprintf(stderr, "outbox: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
    return db;
}

/* The order and its job, or neither. */
static int take_order(neoq *nq, sqlite3 *db, bool regretted)
{
    if (run(db, "BEGIN IMMEDIATE; INSERT INTO orders (item) VALUES ('teapot')") != SQLITE_OK)
        return NEOQ_EBACKEND;
    neoq_job job = {.queue = "confirm", .payload = "teapot", .unique = NEOQ_UNIQUE_OFF};
    int status = neoq_sqlite_enqueue(nq, db, &job, NULL);
    run(db, status == NEOQ_OK && !regretted ? "COMMIT" : "ROLLBACK");
    return status;
}

static int confirm(neoq_ctx *ctx, void *arg)
{
    sqlite3 *db = open_orders(arg); /* a connection of this thread's own */
    int status = NEOQ_EFAILED;
    if (run(db, "BEGIN IMMEDIATE; UPDATE orders SET confirmed = confirmed + 1") == SQLITE_OK)
        status = neoq_sqlite_finish(ctx, db);
    if (run(db, status == NEOQ_OK ? "COMMIT" : "ROLLBACK") != SQLITE_OK)
        status = NEOQ_EFAILED;
    sqlite3_close(db);
    return status == NEOQ_OK ? NEOQ_OK : neoq_fail(ctx, "the order is not confirmed");
}

static int print_order(void *arg, int columns, char **values, char **names)
{
    (void)arg, (void)columns, (void)names;
    printf("%s: confirmed %s time(s)\n", values[0], values[1]);
    return 0;
}

int main(void)
{
    char folder[] = "/tmp/neoq-outbox-XXXXXX", path[64], url[80];
    neoq *nq;
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/shop.db", folder);
    snprintf(url, sizeof url, "sqlite:%s", path);
    if (neoq_open(&nq, url, NULL) != NEOQ_OK) {
        fprintf(stderr, "outbox: %s\n", neoq_error_message());
        return 1;
    }
    sqlite3 *db = open_orders(path);
    int status = take_order(nq, db, false);
    if (status == NEOQ_OK)
        status = take_order(nq, db, true); /* leaves nothing behind, neither order nor job */
    if (status == NEOQ_OK)
        status = neoq_start(nq, &(neoq_handler){.queue = "confirm", .handle = confirm, .arg = path});
    if (status == NEOQ_OK)
        status = neoq_drain(nq, NEOQ_SECONDS(10));
    if (status != NEOQ_OK)
        fprintf(stderr, "outbox: %s\n", neoq_error_message());
    sqlite3_exec(db, "SELECT item, confirmed FROM orders", print_order, NULL, NULL);
    sqlite3_close(db);
    neoq_close(nq);
    unlink(path);
    rmdir(folder);
    return status == NEOQ_OK ? 0 : 1;
}
