/* SPDX-License-Identifier: MIT
 *
 * Ending: drain, shutdown, close, and the loop of a daemon.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Handlers of a failed test may outlive it: what they touch is static. */

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

static void put_many(neoq *nq, const char *queue, int count)
{
    for (int i = 0; i < count; i++)
        put_job(nq, (neoq_job){.queue = queue, .unique = NEOQ_UNIQUE_OFF}, NULL);
}

/* ---- drain ------------------------------------------------------------------------------ */

static void test_drain_waits_until_nothing_is_runnable(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    start(nq, "drained", &r);
    put_many(nq, "drained", 50);
    put(nq, "unhandled", NULL, NULL);
    put_job(nq, (neoq_job){.queue = "drained", .run_after = neoq_now() + NEOQ_HOURS(1)}, NULL);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
    /* Jobs for later, and those of queues without handler, are not waited for. */
    assert_int_equal(50, recorded_ends(&r));
    assert_int_equal(1, jobs_in(nq, "drained", 0));
    assert_int_equal(1, jobs_in(nq, "unhandled", 0));
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
}

static void test_drain_does_not_wait_for_what_cannot_run(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    put(nq, "paused", NULL, NULL);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
    assert_status(NEOQ_OK, neoq_pause(nq, "paused"));
    start(nq, "paused", &r);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
    assert_int_equal(1, jobs_in(nq, "paused", NEOQ_READY));
    assert_int_equal(0, recorded(&r));
}

static void test_drain_gives_up_when_its_time_is_over(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    start(nq, "held", &r);
    put(nq, "held", NULL, NULL);
    eventually(recorded_running(&r) == 1);
    assert_status(NEOQ_ETIMEOUT, neoq_drain(nq, NEOQ_MILLISECONDS(20)));
    gate_open(&hold);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_FOREVER));
    assert_int_equal(1, recorded_ends(&r));
}

static void drain_from_inside(neoq_ctx *ctx, recorder *r)
{
    void **about = r->about;
    (void)ctx;
    *(int *)about[1] = neoq_drain(about[0], NEOQ_SECONDS(1));
    neoq_close(about[0]);
}

/* It would wait for itself. */
static void test_a_handler_may_neither_drain_nor_close(void **state)
{
    static recorder r = {RECORDER_INITIALIZER, .inside = drain_from_inside};
    static int status = 1;
    static void *about[2];
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    about[0] = nq;
    about[1] = &status;
    r.about = about;
    start(nq, "inside", &r);
    put(nq, "inside", NULL, NULL);
    eventually(recorded_ends(&r) == 1);
    assert_status(NEOQ_ESTATE, status);
    put(nq, "inside", "2", NULL);
    eventually(recorded_ends(&r) == 2);
}

static void shut_down_inside(neoq_ctx *ctx, recorder *r)
{
    void **about = r->about;
    (void)ctx;
    *(int *)about[1] = neoq_shutdown(about[0], NEOQ_MILLISECONDS(100));
}

/* Whatever it answers, it must not wait for itself for ever. */
static void test_a_handler_may_shut_down(void **state)
{
    static recorder r = {RECORDER_INITIALIZER, .inside = shut_down_inside};
    static int status = 1;
    static void *about[2];
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    about[0] = nq;
    about[1] = &status;
    r.about = about;
    start(nq, "inside", &r);
    put(nq, "inside", NULL, NULL);
    eventually(recorded_ends(&r) == 1);
    assert_true(status == NEOQ_OK || status == NEOQ_ETIMEOUT || status == NEOQ_ESTATE);
    store_close(s, nq);
}

/* ---- shutdown --------------------------------------------------------------------------- */

typedef struct ender {
    neoq *nq;
    neoq_duration timeout;
    int status;
    pthread_mutex_t lock;
    bool ended;
} ender;

static void *shut_down(void *arg)
{
    ender *e = arg;
    int status = neoq_shutdown(e->nq, e->timeout);
    pthread_mutex_lock(&e->lock);
    e->status = status;
    e->ended = true;
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static void test_shutdown_lets_running_handlers_finish_and_takes_no_new_jobs(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    static ender e = {.lock = PTHREAD_MUTEX_INITIALIZER, .timeout = NEOQ_SECONDS(PATIENCE_SECONDS), .status = 1};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    e.nq = nq;
    neoq_handler handler = recording("ends", &r);
    handler.concurrency = 2;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put_many(nq, "ends", 5);
    eventually(recorded_running(&r) == 2);
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, shut_down, &e));
    /* It has begun once nothing may be started any more. */
    static recorder other = {RECORDER_INITIALIZER};
    neoq_handler late = recording("late", &other);
    int status = NEOQ_OK;
    for (patience p = patience_begin(); patience_left(&p) && status != NEOQ_ESTATE;) {
        char queue[32];
        static int number;
        snprintf(queue, sizeof(queue), "late%d", number++);
        late.queue = queue;
        status = neoq_start(nq, &late);
    }
    gate_open(&hold);
    pthread_join(thread, NULL);
    assert_status(NEOQ_ESTATE, status);
    assert_status(NEOQ_OK, e.status);
    assert_int_equal(2, recorded_ends(&r));
    assert_int_equal(3, jobs_in(nq, "ends", NEOQ_READY));
    assert_int_equal(3, jobs_in(nq, "ends", 0));
}

static void ignore_or_obey(neoq_ctx *ctx, recorder *r)
{
    gate *obey = r->about;
    (void)ctx;
    if (obey)
        gate_wait(obey);
}

static void test_shutdown_releases_what_does_not_finish_at_no_cost(void **state)
{
    static gate obey = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .inside = ignore_or_obey, .about = &obey};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    start(nq, "stuck", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "stuck", .max_retries = NEOQ_NO_RETRIES}, id);
    eventually(recorded_running(&r) == 1);
    assert_status(NEOQ_ETIMEOUT, neoq_shutdown(nq, NEOQ_MILLISECONDS(50)));
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_READY, job->state);
    assert_int_equal(0, job->retries);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("released", runs[0].outcome);
    gate_open(&obey);
    eventually(recorded_ends(&r) == 1);
    /* Its late finish is refused. */
    assert_int_equal(NEOQ_READY, state_of(nq, id));
}

static void test_a_shutdown_timeout_of_0_is_the_options(void **state)
{
    static gate obey = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .inside = ignore_or_obey, .about = &obey};
    store *s = *state;
    neoq *nq = store_open_real(s, &(neoq_options){.shutdown_timeout = NEOQ_MILLISECONDS(50)});
    start(nq, "stuck", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "stuck", NULL, id);
    eventually(recorded_running(&r) == 1);
    assert_status(NEOQ_ETIMEOUT, neoq_shutdown(nq, 0));
    assert_int_equal(NEOQ_READY, state_of(nq, id));
    gate_open(&obey);
    eventually(recorded_ends(&r) == 1);
}

static void test_a_released_job_runs_again_as_if_for_the_first_time(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    static gate obey = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .inside = ignore_or_obey, .about = &obey},
                    next = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL), *other = store_open_real(s, NULL);
    start(nq, "stuck", &r);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "stuck", .max_retries = NEOQ_NO_RETRIES, .retention = NEOQ_FOREVER}, id);
    eventually(recorded_running(&r) == 1);
    neoq_shutdown(nq, NEOQ_MILLISECONDS(50));
    start(other, "stuck", &next);
    eventually(state_of(other, id) == NEOQ_DONE);
    assert_int_equal(0, next.runs[0].retries);
    assert_int_equal(2, next.runs[0].epoch);
    gate_open(&obey);
    eventually(recorded_ends(&r) == 1);
}

static void wait_to_be_told(neoq_ctx *ctx, recorder *r)
{
    bool *told = r->about;
    for (int i = 0; i < PATIENCE_SECONDS * 1000 && !neoq_ctx_cancelled(ctx); i++)
        usleep(1000);
    *told = neoq_ctx_cancelled(ctx);
}

/* A run is told to end in time to obey, and one that obeys is given back like one that does not. */
static void test_shutdown_cancels_the_context(void **state)
{
    static bool told;
    static recorder r = {RECORDER_INITIALIZER, .inside = wait_to_be_told, .about = &told,
                         .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    start(nq, "told", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "told", NULL, id);
    eventually(recorded_running(&r) == 1);
    neoq_shutdown(nq, NEOQ_SECONDS(1));
    eventually(recorded_ends(&r) == 1);
    assert_true(told);
    assert_true(has_job(nq, id));
    assert_int_not_equal(NEOQ_RUNNING, state_of(nq, id));
}

static void test_after_shutdown_enqueueing_and_looking_go_on_and_starting_does_not(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    start(nq, "over", &r);
    assert_status(NEOQ_OK, neoq_shutdown(nq, 0));
    assert_status(NEOQ_OK, neoq_shutdown(nq, 0));
    char id[NEOQ_ID_SIZE];
    put(nq, "over", NULL, id);
    assert_int_equal(NEOQ_READY, state_of(nq, id));
    assert_int_equal(1, queue_of(nq, "over").ready);
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    assert_status(NEOQ_OK, neoq_delete(nq, id));
    assert_status(NEOQ_OK, neoq_schedule(nq, "tick", "@hourly", &(neoq_job){.queue = "over"}));
    neoq_handler handler = recording("other", &r);
    assert_status(NEOQ_ESTATE, neoq_start(nq, &handler));
    assert_status(NEOQ_ESTATE, neoq_start_cron(nq, "* * * * *", &handler));
    assert_int_equal(0, recorded(&r));
}

static void test_shutdown_of_a_neoq_that_started_nothing(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    assert_status(NEOQ_OK, neoq_shutdown(nq, 0));
}

/* B1 of the originals: there, shutting one down deafened its peers. */
static void test_shutdown_leaves_other_neoqs_at_work(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    static recorder r = {RECORDER_INITIALIZER}, other = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *one = store_open_real(s, ON_HINTS_ALONE), *two = store_open_real(s, ON_HINTS_ALONE);
    start(one, "peers", &r);
    start(two, "peers", &other);
    assert_status(NEOQ_OK, neoq_shutdown(one, 0));
    for (size_t i = 0; i < 4; i++) {
        put_job(one, (neoq_job){.queue = "peers", .unique = NEOQ_UNIQUE_OFF}, NULL);
        eventually(recorded_ends(&other) == i + 1);
    }
    assert_int_equal(0, recorded(&r));
}

/* ---- close ------------------------------------------------------------------------------ */

static void test_close_shuts_down(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    start(nq, "closed", &r);
    put_many(nq, "closed", 3);
    eventually(recorded_running(&r) == 1);
    gate_open(&hold);
    store_close(s, nq);
    assert_int_equal(recorded(&r), recorded_ends(&r));
    neoq_close(NULL);
}

static void test_closing_a_testing_neoq_leaves_its_jobs(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "left", NULL, id);
    store_close(s, nq);
    nq = store_open(s, NULL);
    assert_int_equal(NEOQ_READY, state_of(nq, id));
}

static void test_opening_and_closing_many_times(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    for (int i = 0; i < 30; i++) {
        neoq *nq = store_open_real(s, NULL);
        if (i % 2)
            start(nq, "again", &r);
        store_close(s, nq);
    }
}

/* ---- a daemon's loop -------------------------------------------------------------------- */

typedef struct signaller {
    int number;
    pthread_mutex_t lock;
    bool over;
} signaller;

static void harmless(int number)
{
    (void)number;
}

static bool is_over(signaller *s)
{
    pthread_mutex_lock(&s->lock);
    bool over = s->over;
    pthread_mutex_unlock(&s->lock);
    return over;
}

/* Again and again, for nobody can tell when neoq_run() has begun to listen. */
static void *send_signals(void *arg)
{
    signaller *s = arg;
    while (!is_over(s)) {
        kill(getpid(), s->number);
        usleep(20000);
    }
    return NULL;
}

static void run_until(store *s, int number)
{
    signaller signals = {.number = number, .lock = PTHREAD_MUTEX_INITIALIZER};
    recorder r = {RECORDER_INITIALIZER};
    struct sigaction before = {.sa_handler = harmless}, after;
    sigaction(number, &before, NULL);
    neoq *nq = store_open_real(s, NULL);
    start(nq, "signals", &r);
    put(nq, "signals", NULL, NULL);
    eventually(recorded_ends(&r) == 1);
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, send_signals, &signals));
    int status = neoq_run(nq);
    pthread_mutex_lock(&signals.lock);
    signals.over = true;
    pthread_mutex_unlock(&signals.lock);
    pthread_join(thread, NULL);
    assert_status(NEOQ_OK, status);
    /* It shut down, and left the signals as they were. */
    neoq_handler handler = recording("other", &r);
    assert_status(NEOQ_ESTATE, neoq_start(nq, &handler));
    sigaction(number, NULL, &after);
    assert_true(after.sa_handler == harmless);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, number));
    store_close(s, nq);
    signal(number, SIG_DFL);
}

/* Asks for the shutdown, and asks again while it is under way. */
static int ask_twice(neoq_ctx *ctx, void *arg)
{
    neoq *nq = arg;
    kill(getpid(), SIGTERM);
    for (int i = 0; i < 5000; i++) {
        neoq_handler handler = {.queue = "asked", .handle = ask_twice, .arg = nq};
        if (neoq_start(nq, &handler) == NEOQ_ESTATE) {
            kill(getpid(), SIGTERM);
            return NEOQ_OK;
        }
        usleep(1000);
    }
    return neoq_fail(ctx, "nothing was shut down");
}

static void test_run_takes_signals_that_come_while_it_shuts_down(void **state)
{
    sigset_t term, before, pending;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    /* So that none is lost before neoq_run(), and what it leaves is seen. */
    pthread_sigmask(SIG_BLOCK, &term, &before);
    neoq *nq = store_open_real(*state, NULL);
    neoq_handler handler = {.queue = "asked", .handle = ask_twice, .arg = nq};
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put_job(nq, (neoq_job){.queue = "asked", .retention = NEOQ_FOREVER}, NULL);
    assert_status(NEOQ_OK, neoq_run(nq));
    assert_int_equal(1, jobs_in(nq, "asked", NEOQ_DONE));
    assert_int_equal(0, sigpending(&pending));
    assert_false(sigismember(&pending, SIGTERM));
    store_close(*state, nq);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void test_run_ends_on_sigterm(void **state)
{
    run_until(*state, SIGTERM);
}

static void test_run_ends_on_sigint(void **state)
{
    run_until(*state, SIGINT);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_drain_waits_until_nothing_is_runnable),
        on_store(test_drain_does_not_wait_for_what_cannot_run),
        on_store(test_drain_gives_up_when_its_time_is_over),
        on_store(test_a_handler_may_neither_drain_nor_close),
        on_store(test_a_handler_may_shut_down),
        on_store(test_shutdown_lets_running_handlers_finish_and_takes_no_new_jobs),
        on_store(test_shutdown_releases_what_does_not_finish_at_no_cost),
        on_store(test_a_shutdown_timeout_of_0_is_the_options),
        on_store(test_a_released_job_runs_again_as_if_for_the_first_time),
        on_store(test_shutdown_cancels_the_context),
        on_store(test_after_shutdown_enqueueing_and_looking_go_on_and_starting_does_not),
        on_store(test_shutdown_of_a_neoq_that_started_nothing),
        on_store(test_shutdown_leaves_other_neoqs_at_work),
        on_store(test_close_shuts_down),
        on_store(test_closing_a_testing_neoq_leaves_its_jobs),
        on_store(test_opening_and_closing_many_times),
        on_store(test_run_ends_on_sigterm),
        on_store(test_run_ends_on_sigint),
        on_store(test_run_takes_signals_that_come_while_it_shuts_down),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("shutdown", tests, NULL, NULL);
}
