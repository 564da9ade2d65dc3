/* SPDX-License-Identifier: MIT
 *
 * A Redis for tests: scripts/with-redis, driven through a pipe. It ends with the program that started it, however that
 * ends, and leaves nothing behind.
 *
 * The server of a test run, named by NEOQ_TEST_REDIS, is shared: redis_shared() gives it, or else one of this program's
 * own. A test that stops or kills its server starts one for itself by redis_start().
 *
 * Functions that can fail return false (or NULL) and have said on standard error what is wrong.
 */
#ifndef TESTS_REDIS_SERVER_H
#define TESTS_REDIS_SERVER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct redis_server redis_server;

/* Lives until the program's end. May not be stopped, for others may use it. */
redis_server *redis_shared(void);

/* What it listens on: all on a Unix socket, and but for the first on a free port of 127.0.0.1. */
typedef enum redis_kind { REDIS_SOCKET, REDIS_PORT, REDIS_TLS, REDIS_SENTINEL } redis_kind;

/* settings: "name=value", lines of redis.conf, ended by NULL; may be NULL. */
redis_server *redis_start(redis_kind kind, const char *const *settings);
void redis_end(redis_server *server); /* NULL is allowed */

/* ---- what happens to servers: of one that was started here ------------------------------- */

bool redis_stop(redis_server *server);   /* SIGTERM */
bool redis_kill(redis_server *server);   /* SIGKILL */
bool redis_again(redis_server *server);  /* starts the one that was stopped, on the same port */
bool redis_freeze(redis_server *server); /* SIGSTOP: nothing answers, nothing breaks */
bool redis_thaw(redis_server *server);

/* ---- what is in them -------------------------------------------------------------------- */

const char *redis_folder(const redis_server *server); /* "" of the shared one, where it is not this program's own */
int redis_port(const redis_server *server);           /* 0 = none */
/* "redis+unix://...": of that database. Options may be added with '&'. Returns url. */
char *redis_url(const redis_server *server, int database, char *url, size_t size);
/* A database that nobody else uses; -1 = there is none. */
int redis_create(const redis_server *server);
bool redis_drop(const redis_server *server, int database); /* empties it */
/* Runs one command, as of hiredis's redisCommand(); a reply that is a string or number goes to answer, which may be
 * NULL, and so does an array, its items set apart by blanks. False: an error, which stands in answer, too. */
bool redis_do(const redis_server *server, int database, char *answer, size_t size, const char *format, ...);

#endif
