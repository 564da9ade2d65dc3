/* SPDX-License-Identifier: MIT
 *
 * A database of its own for a test of the PostgreSQL store's parts, connections to it, and the log they write.
 */
#ifndef TESTS_POSTGRES_SUPPORT_H
#define TESTS_POSTGRES_SUPPORT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/postgres/listen.h"
#include "support/postgres_server.h"

typedef struct base {
    postgres_server *server;
    bool own; /* the server ends with the test */
    char database[64];
    char url[512]; /* options may be added with '&' */

    neoq_options options;
    pthread_mutex_t mutex;
    char log[16384]; /* "warning: ...\n" */

    struct open_pool {
        pg_settings settings;
        pg_pool *pool;
        pg_bell *bell;
    } opened[16];
    size_t opened_count;
} base;

/* A test on the shared server; one that may do what it likes with a server that it starts by own_server(). */
#define on_base(test) cmocka_unit_test_setup_teardown(test, base_setup, base_teardown)
int base_setup(void **state);
int base_teardown(void **state);
void own_server(base *b, const char *const *settings);

/* Each asserts success. more: further options, "&pool_max_conns=1", or "". */
pg_pool *open_pool(base *b, const char *more);
pg_bell *open_bell(base *b, pg_pool *pool, const neoq_clock *clock);
void close_bell(base *b, pg_bell *bell); /* before the test's end */
int try_pool(base *b, const char *url, pg_pool **pool);
void sql(base *b, const char *text);

/* Runs a statement without parameters that gives one row with one column of type text; its status. answer takes 256
 * bytes. */
int ask(pg_pool *pool, const char *text, bool again, char *answer);
void assert_answer(pg_pool *pool, const char *text, const char *expected);
void assert_refused(pg_pool *pool, const char *text, int status, const char *words);

size_t log_lines(base *b, const char *words); /* how many lines hold the words */
void assert_words(const char *words);         /* in neoq_error_message() */

int64_t milliseconds_since(int64_t start); /* of nq_steady() */
/* False: 20 s are over; a moment passes between two looks. */
bool patient(int64_t start);

#define eventually(condition)                                                                                        \
    for (int64_t start_ = nq_steady(); !(condition);) {                                                              \
        if (!patient(start_))                                                                                        \
            fail_msg("waited in vain for: %s", #condition);                                                          \
    }

#endif
