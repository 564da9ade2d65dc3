/* SPDX-License-Identifier: MIT
 *
 * sqlite/schema.h -- the tables, and their version.
 *
 * neoq_jobs holds every unfinished and every kept job. Which of them are ready and which are running stands in two
 * narrow tables beside it, so that claiming and finishing a job never rewrites its wide row:
 *
 *   state 1 scheduled, 4 retrying     found by run_after
 *   state 2, a row in neoq_ready      may be run; in the order in which it will be
 *   state 2, a row in neoq_running    is run; its epoch is the running one's
 *   state 5 done, 6 dead              kept until keep_until
 *
 * All instants are microseconds since 1970; lease_until alone is on the machine's steady clock.
 */
#ifndef NQ_SQLITE_SCHEMA_H
#define NQ_SQLITE_SCHEMA_H

#include <sqlite3.h>

#include <neoq/backend.h>

enum { SQ_SCHEMA_VERSION = 1 };

/* When something happens to a job that is not ready: the second column of the index neoq_jobs_clock. */
#define SQ_MOMENT "iif(state >= 5, keep_until, run_after)"

/* Whether the file is ours, or may become so; changes nothing in it. */
int sq_schema_check(sqlite3 *db, const char *path);

/* Creates the tables where there are none. NEOQ_ESCHEMA: the file holds a newer version, or another program's tables;
 * NEOQ_EBACKEND: it cannot be read or written. */
int sq_schema_prepare(sqlite3 *db, const char *path);

/* A number of neoq_meta ("schema", "compatible_from", "made_at"); 0 = there is none. */
int64_t sq_schema_value(sqlite3 *db, const char *key);

/* The statements that make the tables, one string. */
extern const char sq_schema_sql[];

/* neoq_backend.migrate */
int sq_migrate(const neoq_store_config *config, neoq_migration what, neoq_each_line each, void *arg,
               neoq_schema_info *info);

/* Stands in every UPDATE that sets run_after: what created_at was silently is written out before. */
#define SQ_KEEP_CREATED "created_at = ifnull(created_at, run_after)"

#endif
