/* SPDX-License-Identifier: MIT
 *
 * sqlite/database.h -- a connection and its prepared statements.
 */
#ifndef NQ_SQLITE_DATABASE_H
#define NQ_SQLITE_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include <neoq/backend.h>

#include "backend/sqlite/courtesy.h"

enum { SQ_STATEMENTS = 96, SQ_INSERT_ROWS = 100 };

/* A statement is known by its text, which is a constant: prepared when first asked for, kept for the next time. */
typedef struct sq_db {
    sqlite3 *handle;
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } statements[SQ_STATEMENTS];
    /* The first failure; its words are in neoq_error_message(). Until somebody sets it back, no statement runs: SQLite may
     * have rolled the transaction back by itself, and whatever came now would be one of its own. */
    int status;
    sq_courtesy *courtesy;  /* NULL = nobody is told that it waits */
    neoq_duration patience; /* how long it waits for a lock */
    int64_t waits_since;    /* nq_steady() */
} sq_db;

/* Opens the file, and leaves it as it is. */
int sq_db_open(sq_db *db, const char *path, bool create, const neoq_options *options);
/* Sets it up as the store needs it: WAL, how much is synced, and pages of 4 KiB to be kept in memory. */
int sq_db_tune(sq_db *db, const neoq_options *options, int pages);
void sq_db_close(sq_db *db);  /* also the connection */
void sq_db_forget(sq_db *db); /* only the statements: the connection is somebody else's */

/* The prepared statement, reset, with its bindings of last time: bind every parameter. NULL if it cannot be had (db->status says why). */
sqlite3_stmt *sq_prepare(sq_db *db, const char *sql);
/* Steps: true if there is a row. A failure sets db->status. */
bool sq_step(sq_db *db, sqlite3_stmt *stmt);
/* Steps to the end and resets. Returns the count of rows changed, or -1. */
int sq_run(sq_db *db, sqlite3_stmt *stmt);

/* sq_prepare() with integers bound: sq_ask(db, "... ?1 ... ?2", SQ_ARGS(a, b)); sq_do() runs it besides. */
#define SQ_ARGS(...) ((const int64_t[]){__VA_ARGS__}), (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
sqlite3_stmt *sq_ask(sq_db *db, const char *sql, const int64_t *args, int count);
int sq_do(sq_db *db, const char *sql, const int64_t *args, int count);

/* What SQLite's last failure on this connection means, in words. doing: "enqueueing". */
int sq_error(sqlite3 *handle, const char *doing);

#endif
