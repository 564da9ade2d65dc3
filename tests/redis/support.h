/* SPDX-License-Identifier: MIT
 *
 * A database of its own for a test of the Redis store's parts, connections to it, and the log they write.
 */
#ifndef TESTS_REDIS_SUPPORT_H
#define TESTS_REDIS_SUPPORT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/redis/pool.h"
#include "support/redis_server.h"

typedef struct base {
    redis_server *server;
    bool own; /* the server ends with the test */
    int database;
    char url[512];

    neoq_options options;
    pthread_mutex_t mutex;
    char log[16384]; /* "warning: ...\n" */

    rd_url urls[16]; /* that were read; freed at the end */
    rd_pool *pools[16];
    size_t url_count, pool_count;
} base;

/* A test on the shared server; one that may do what it likes with a server that it starts by own_server(). */
#define on_base(test) cmocka_unit_test_setup_teardown(test, base_setup, base_teardown)
int base_setup(void **state);
int base_teardown(void **state);
void own_server(base *b, redis_kind kind, const char *const *settings);

/* A master "main" with a replica, and a Sentinel who watches them. */
typedef struct watched {
    redis_server *master, *replica, *sentinel;
} watched;

void watch(watched *w);
void watch_end(watched *w);
/* One more, of any master, with a line of its settings; NULL = none. */
redis_server *start_sentinel(const redis_server *of, const char *more);

/* text NULL: the base's own. */
const rd_url *read_url(base *b, const char *text);
rd_connection *open_connection(base *b, const char *text); /* asserts success */
/* Asserts that it fails with that status, and with words in which these are. */
void assert_no_connection(base *b, const char *text, neoq_duration patience, int status, const char *words);
/* more: further options, "&pool_max_conns=1", or "". */
rd_pool *open_pool(base *b, const char *more);
/* The whole store, on the real clock, with a lease of 30 s; asserts success. */
neoq_store *open_store(base *b);

/* Arguments set apart by blanks. */
int append(rd_connection *c, const char *command);
/* The next reply, within the test's patience; asserts that it is this text, number or error. */
void assert_reply(rd_connection *c, const char *expected);
void assert_answer(rd_pool *pool, const char *command, const char *expected);
void assert_words(const char *words); /* in neoq_error_message() */

size_t log_lines(base *b, const char *words); /* how many lines hold the words */

nq_bound patiently(void);                  /* 20 s */
int64_t milliseconds_since(int64_t start); /* of nq_steady() */
/* False: 20 s are over; a moment passes between two looks. */
bool patient(int64_t start);

#define eventually(condition)                                                                                        \
    for (int64_t start_ = nq_steady(); !(condition);) {                                                              \
        if (!patient(start_))                                                                                        \
            fail_msg("waited in vain for: %s", #condition);                                                          \
    }

#endif
