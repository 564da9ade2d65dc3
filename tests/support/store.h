/* SPDX-License-Identifier: MIT
 *
 * The store under test. A conformance program gets its kind as argv[1]: one of store_kinds, such as "memory:".
 * Each test gets a new store and a virtual clock that stands at 2030-01-01T00:00:00Z; whatever it opened or read is
 * closed and freed after it, also when it failed.
 */
#ifndef TESTS_STORE_H
#define TESTS_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <neoq.h>
#include <neoq/conformance.h>
#include <neoq/testing.h>

typedef struct store {
    char url[512];
    char folder[128];        /* these four are the kind's: of the SQLite file */
    char path[192];          /* that file */
    char database[64];       /* of PostgreSQL */
    int number;              /* of a Redis's database */
    neoq_clock *clock;       /* of every neoq that store_open() and store_open_threads() open */
    neoq_clock *other_clock; /* of the same start; only store_open_on() uses it */
    neoq *opened[16];
    size_t opened_count;
    neoq_job_set *sets[64]; /* of store_job(): a ring */
    size_t set_next;
} store;

#define STORE_START ((neoq_time)1893456000 * 1000000) /* where the clock stands at first */

/* A test of the group: `on_store(test)` is its entry. */
#define on_store(test) cmocka_unit_test_setup_teardown(test, store_setup, store_teardown)
int store_setup(void **state);
int store_teardown(void **state);

/* A kind of store: kinds.c has neoq's own, and own.c that of whoever runs the installed suite. */
typedef struct store_kind {
    const char *name;
    bool (*make)(store *s); /* a new and empty one: its URL, and what drop() needs */
    void (*drop)(store *s); /* NULL = nothing is left of it */
    unsigned cannot;        /* NEOQ_CANNOT_... */
    bool has_schema;        /* there is something for neoq_migrate() to do */
    bool has_clock;         /* of its own, which may be a little off ours */
    bool is_lax;            /* neoq_doctor() finds fault with a server that is only a test's */
} store_kind;
extern const store_kind *const store_kinds[]; /* NULL is the end of it */

/* Takes argv[1], the kind (it may be missing where there is only one), and argv[2], a pattern of test names. False: it
 * said what is wrong. */
bool store_choose(int argc, char **argv);
const store_kind *store_chosen(void);
/* "redis" is redis: and redis-cluster: and their like. */
bool store_is(const char *name);

bool store_is_shared(void);
/* Ends the test as skipped, with words, where the kind says that it cannot do what the test is about. So does
 * assert_status() where a call is refused as unsupported, and the kind says that it would be. */
void skip_where(unsigned cannot);

/* Each asserts success. options may be NULL; where they name no logger, nothing is logged (unless NEOQ_TEST_LOG is
 * set in the environment). */
neoq *store_open(store *s, const neoq_options *options);         /* virtual clock, no threads */
neoq *store_open_threads(store *s, const neoq_options *options); /* virtual clock, threads */
neoq *store_open_on(store *s, neoq_clock *clock, const neoq_options *options);
neoq *store_open_real(store *s, const neoq_options *options); /* the machine's clock, threads */
void open_two(store *s, neoq **first, neoq **second);         /* on one store and clock; skips on memory */
void store_close(store *s, neoq *nq);                         /* before the test's end */

/* Options of a neoq that hears of new jobs or never learns of them: it does not look for missed ones. */
#define ON_HINTS_ALONE (&(neoq_options){.poll_interval = NEOQ_HOURS(1), .asynchronous_commit = true})

/* The logger that store_open() puts where none is named. */
void quiet(neoq_log_level level, const char *message, void *arg);

/* ---- short forms, each of which asserts success ----------------------------------------- */

/* Enqueues payload and returns id, which takes NEOQ_ID_SIZE bytes. */
char *put(neoq *nq, const char *queue, const char *payload, char *id);
char *put_job(neoq *nq, neoq_job job, char *id);
/* The job as it is now; lives for the next 63 calls. */
const neoq_job *store_job(store *s, neoq *nq, const char *id);
bool has_job(neoq *nq, const char *id);
neoq_state state_of(neoq *nq, const char *id);                 /* 0 = no such job */
neoq_queue_info queue_of(neoq *nq, const char *queue);         /* all zero if unknown */
size_t jobs_in(neoq *nq, const char *queue, neoq_state state); /* at most 10,000 */
/* The history: at most 25 runs to `runs`, how many there are is returned. */
size_t runs_of(neoq *nq, const char *id, neoq_run_info runs[25]);
/* Runs the one next job of any started queue. */
neoq_testing_counts work_one(neoq *nq);
neoq_testing_counts drain(neoq *nq);

#define assert_status(expected, call) status_is((expected), (call), #call, __FILE__, __LINE__)
void status_is(int expected, int status, const char *call, const char *file, int line);
#define assert_words(words, text) words_in((words), (text), #text, __FILE__, __LINE__)
void words_in(const char *words, const char *text, const char *what, const char *file, int line);

/* ---- waiting in real time --------------------------------------------------------------- */

#define PATIENCE_SECONDS 20

typedef struct patience {
    int64_t until; /* milliseconds of the monotonic clock */
} patience;

patience patience_begin(void);
patience patience_of(int seconds);
bool patience_going(const patience *p); /* the time is not over; does not sleep */
bool patience_left(const patience *p);  /* sleeps a moment; false: the time is over */

#define eventually(condition)                                                                                        \
    do {                                                                                                             \
        patience patience_ = patience_begin();                                                                       \
        while (!(condition)) {                                                                                       \
            if (!patience_left(&patience_))                                                                          \
                fail_msg("waited %d s in vain for: %s", PATIENCE_SECONDS, #condition);                               \
        }                                                                                                            \
    } while (0)

#endif
