/* SPDX-License-Identifier: MIT
 *
 * sqlite/sqlite.h -- jobs in an SQLite file, for all processes of one machine.
 *
 * URL: sqlite:PATH[?network=yes]. The file is made with mode 0600 if it is missing, and the folder it is in with 0700
 * if only that is missing. network=yes allows a network file system, where SQLite's locks may not hold.
 */
#ifndef NQ_SQLITE_SQLITE_H
#define NQ_SQLITE_SQLITE_H

#include <sqlite3.h>

#include <neoq/backend.h>

extern const neoq_backend nq_sqlite_backend;

/* In a transaction of the caller's, on a connection of his to the store's file: NEOQ_ESTATE if there is no transaction,
 * NEOQ_EINVAL if it is another file. */
int nq_sqlite_enqueue_in(neoq_store *store, sqlite3 *transaction, const neoq_job *job, neoq_enqueued *result);
/* Settles the run as done; NEOQ_ELOST if it is no longer at this epoch. */
int nq_sqlite_finish_in(neoq_store *store, sqlite3 *transaction, const neoq_job *job, neoq_time keep_until,
                        const void *result, size_t result_size);

#endif
