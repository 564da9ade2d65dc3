/* SPDX-License-Identifier: MIT
 *
 * postgres/schema.h -- the tables and functions, and their version.
 *
 * The SQL lies in sql/, one file a subject, and is built into the library: cmake/embed_sql.cmake turns the files that
 * sql/order.txt names into pg_sql_files[], in that order. How the schema's name is written in them, session.h tells. A
 * file may hold any number of statements, and none that cannot run in a transaction (no CREATE INDEX CONCURRENTLY, no
 * VACUUM).
 *
 * tables.sql makes an empty schema's tables as they are in PG_SCHEMA_VERSION. Version 2 will add to_2.sql, which changes
 * those of version 1, and so on; whatever stands in no such file (functions, views, grants) is made anew each time, which
 * stops nobody. Whoever writes waits while a step has the tables: so no statement of one may read or rewrite a table with
 * jobs (no index, no SET NOT NULL, no column with a volatile default), and one that takes too long is undone.
 *
 * A library works with every schema from PG_SCHEMA_OLDEST up to its own PG_SCHEMA_VERSION, and with the next one if its
 * `compatible_from` says so: thus old and new programs run side by side while they are being exchanged.
 */
#ifndef NQ_POSTGRES_SCHEMA_H
#define NQ_POSTGRES_SCHEMA_H

#include "backend/postgres/pool.h"
#include "backend/postgres/session.h"

enum {
    PG_SCHEMA_VERSION = 1,        /* what this library makes */
    PG_SCHEMA_OLDEST = 1,         /* the oldest that it works with */
    PG_SCHEMA_COMPATIBLE_FROM = 1 /* the oldest library that works with what this one makes */
};

/* A file of sql/, as built in; the list ends with a NULL name. */
typedef struct pg_sql_file {
    const char *name, *text;
} pg_sql_file;
extern const pg_sql_file pg_sql_files[];

/* What a library that knows `own`, and works with no older than `oldest`, makes of a schema. */
typedef enum pg_schema_verdict {
    PG_SCHEMA_FITS = 1,
    PG_SCHEMA_BEHIND,  /* usable, and may be brought up */
    PG_SCHEMA_TOO_OLD, /* must be brought up first; version 0 is an empty database */
    PG_SCHEMA_TOO_NEW
} pg_schema_verdict;
pg_schema_verdict pg_schema_judge(int version, int compatible_from, int own, int oldest);

/*
 * At neoq_open(): looks at the version; creates or brings up the schema where this role may. Two at once both succeed.
 *   NEOQ_ESCHEMA  it is not there, or too old, and this role may not make it: words say who may; or it is too new
 * Everything else as pg_run().
 */
int pg_schema_prepare(pg_pool *pool, const pg_settings *settings, const neoq_options *options);

/* neoq_backend.migrate: migrate.c. */
int pg_migrate(const neoq_store_config *config, neoq_migration what, neoq_each_line each, void *arg,
               neoq_schema_info *info);

/* ---- for migrate.c and doctor.c --------------------------------------------------------- */

#define PG_SCHEMA_PATIENCE  NEOQ_SECONDS(30) /* for a look, or for whoever holds the lock */
#define PG_SCHEMA_LONG_WORK NEOQ_MINUTES(60) /* for one file, or the removal of all */

enum { PG_SCHEMA_LOCK_WAIT_MS = 500, PG_SCHEMA_STAMP_SIZE = 512 };

/* The lock on the whole, until the transaction ends. Nobody else hashes such a text. */
#define PG_SCHEMA_LOCK_SQL "SELECT pg_advisory_xact_lock(hashtextextended('neoq: schema ' || @schema_literal@, 0))"

/* Fills info with what is there, version 0 where nothing is. NEOQ_ESCHEMA: it is not for this library, or this role may
 * not use it. */
int pg_schema_look(pg_session *s, neoq_schema_info *info);
/* Jobs and live workers; left as they are where this role may not count them. */
int pg_schema_counts(pg_session *s, neoq_schema_info *info);

/* Runs work in one transaction under the lock; again where locks on tables could not be had for long. */
typedef int (*pg_schema_work)(pg_session *s, void *arg);
int pg_schema_in_lock(pg_session *s, pg_schema_work work, void *arg);
/* For work that changes tables, before all else: every table, or, after half a second, none (the status of work). */
int pg_schema_lock_tables(pg_session *s);
/* The files that lead from this version to ours, in their order, and the stamp. */
int pg_schema_run_files(pg_session *s, const pg_sql_file *file, int version);
/* A pg_schema_work: makes what is missing. arg: a neoq_schema_info, which gets the version found. */
int pg_schema_bring_up(pg_session *s, void *arg);

/* The last statement was refused because of who asked, or where: no right, or a standby. */
bool pg_schema_may_not(const pg_session *s);
int pg_schema_not_allowed(const pg_session *s); /* NEOQ_ESCHEMA, with words about who is to do what */
/* Whether a file is to be run on a schema of that version; 0 = an empty one. */
bool pg_schema_wants(const char *file, int version);
/* The statement that writes this library's version down. */
void pg_schema_stamp(char sql[PG_SCHEMA_STAMP_SIZE]);

#endif
