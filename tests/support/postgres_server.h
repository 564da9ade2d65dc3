/* SPDX-License-Identifier: MIT
 *
 * A PostgreSQL for tests: scripts/with-postgres, driven through a pipe. It ends with the program that started it, however
 * that ends, and leaves nothing behind.
 *
 * The server of a test run, named by NEOQ_TEST_POSTGRES, is shared: postgres_shared() gives it, or else one of this
 * program's own. A test that stops or kills its server starts one for itself by postgres_start().
 *
 * Functions that can fail return false (or NULL) and have said on standard error what is wrong.
 */
#ifndef TESTS_POSTGRES_SERVER_H
#define TESTS_POSTGRES_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct postgres_server postgres_server;

/* Lives until the program's end. May not be stopped, for others may use it. */
postgres_server *postgres_shared(void);

/* settings: "name=value", ended by NULL; may be NULL. */
postgres_server *postgres_start(const char *const *settings);
/* A copy of that server which follows it, until it is promoted. */
postgres_server *postgres_start_standby(const postgres_server *of);
void postgres_end(postgres_server *server); /* NULL is allowed */

/* ---- what happens to servers: of one that was started here ------------------------------- */

typedef enum postgres_manner { POSTGRES_FAST, POSTGRES_IMMEDIATE, POSTGRES_KILL } postgres_manner;

bool postgres_stop(postgres_server *server, postgres_manner manner); /* KILL: the postmaster, with kill -9 */
bool postgres_again(postgres_server *server);                        /* starts the one that was stopped */
bool postgres_restart(postgres_server *server, postgres_manner manner);
bool postgres_freeze(postgres_server *server); /* SIGSTOP to all its processes: nothing answers, nothing breaks */
bool postgres_thaw(postgres_server *server);
bool postgres_promote(postgres_server *server);
pid_t postgres_pid(const postgres_server *server); /* of the postmaster; 0 = not known */

/* ---- databases -------------------------------------------------------------------------- */

const char *postgres_folder(const postgres_server *server); /* where the socket is */
/* "postgres://...": a role that may do everything. Returns url. */
char *postgres_url(const postgres_server *server, const char *database, char *url, size_t size);
/* Runs SQL in that database of any server; its first column of its first row goes to answer, which may be NULL. */
bool postgres_sql(const postgres_server *server, const char *database, const char *sql, char *answer, size_t size);
/* A new database, a copy of template (NULL = an empty one, to which nobody may be connected). Its name goes to name. */
bool postgres_create(const postgres_server *server, const char *template, char *name, size_t size);
bool postgres_drop(const postgres_server *server, const char *name); /* with whoever is connected to it */

#endif
