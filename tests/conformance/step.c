/* SPDX-License-Identifier: MIT
 *
 * Handlers in the caller's event loop: neoq_fd() and neoq_step().
 */
#include "support/recorder.h"
#include "support/store.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

static bool is_up(int fd)
{
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) == 1;
}

/* What a loop does: sleeps until there is something, then steps. */
static int step_when_up(neoq *nq)
{
    if (poll(&(struct pollfd){.fd = neoq_fd(nq), .events = POLLIN}, 1, PATIENCE_SECONDS * 1000) != 1)
        fail_msg("the descriptor was not readable for %d s", PATIENCE_SECONDS);
    return neoq_step(nq);
}

static neoq_handler stepped(const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    handler.isolation = NEOQ_STEP;
    return handler;
}

static void start(neoq *nq, neoq_handler handler)
{
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* ---- the descriptor and the thread ------------------------------------------------------ */

static void note_thread(neoq_ctx *ctx, recorder *r)
{
    (void)ctx;
    *(pthread_t *)r->about = pthread_self();
}

static void test_a_job_runs_in_the_step_and_nowhere_else(void **state)
{
    neoq *nq = store_open_threads(*state, NULL);
    pthread_t thread = {0};
    recorder r = {RECORDER_INITIALIZER, .inside = note_thread, .about = &thread};
    start(nq, stepped("q", &r));
    int fd = neoq_fd(nq);
    assert_true(fd >= 0);
    assert_false(is_up(fd));
    assert_status(NEOQ_ENOTFOUND, neoq_step(nq));
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "q", .retention = NEOQ_FOREVER}, id);
    eventually(is_up(fd));
    assert_int_equal(0, recorded(&r));
    assert_int_equal(fd, neoq_fd(nq));
    assert_status(NEOQ_OK, neoq_step(nq));
    assert_int_equal(1, recorded(&r));
    assert_true(pthread_equal(thread, pthread_self()));
    assert_false(is_up(fd));
    assert_status(NEOQ_ENOTFOUND, neoq_step(nq));
    eventually(state_of(nq, id) == NEOQ_DONE);
}

static void test_a_descriptor_asked_for_late_tells_of_what_waits(void **state)
{
    neoq *nq = store_open_threads(*state, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, stepped("q", &r));
    put(nq, "q", "{}", NULL);
    eventually(queue_of(nq, "q").running == 1); /* claimed */
    assert_status(NEOQ_OK, step_when_up(nq));
    assert_int_equal(1, recorded(&r));
}

static void test_a_loop_runs_every_job_once(void **state)
{
    enum { JOBS = 300 };
    neoq *nq = store_open_threads(*state, &(neoq_options){.unique = NEOQ_UNIQUE_OFF, .asynchronous_commit = true});
    recorder r = {RECORDER_INITIALIZER};
    start(nq, stepped("q", &r));
    for (int i = 0; i < JOBS; i++)
        put(nq, "q", "{}", NULL);
    while (recorded(&r) < JOBS)
        step_when_up(nq);
    eventually(jobs_in(nq, "q", 0) == 0);
    assert_status(NEOQ_ENOTFOUND, neoq_step(nq));
    assert_int_equal(JOBS, recorded(&r));
    assert_int_equal(1, recorded_most(&r));
    assert_false(is_up(neoq_fd(nq)));
}

static void test_queues_in_threads_go_on_beside_it(void **state)
{
    neoq *nq = store_open_threads(*state, NULL);
    recorder mine = {RECORDER_INITIALIZER};
    static recorder theirs;
    theirs = (recorder){RECORDER_INITIALIZER};
    start(nq, stepped("mine", &mine));
    start(nq, recording("theirs", &theirs));
    put(nq, "mine", "{}", NULL);
    put(nq, "theirs", "{}", NULL);
    eventually(recorded_ends(&theirs) == 1);
    assert_int_equal(0, recorded(&mine));
    assert_status(NEOQ_OK, step_when_up(nq));
    assert_int_equal(1, recorded(&mine));
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(20)));
}

static void test_queues_share_the_loop_by_weight(void **state)
{
    enum { JOBS = 8 };
    neoq *nq = store_open_threads(*state, &(neoq_options){.unique = NEOQ_UNIQUE_OFF});
    recorder heavy = {RECORDER_INITIALIZER}, light = {RECORDER_INITIALIZER};
    static recorder next_trip;
    next_trip = (recorder){RECORDER_INITIALIZER};
    neoq_handler first = stepped("heavy", &heavy), second = stepped("light", &light);
    first.concurrency = second.concurrency = JOBS;
    first.weight = 3;
    for (int i = 0; i < JOBS; i++) {
        put(nq, "heavy", "{}", NULL);
        put(nq, "light", "{}", NULL);
    }
    start(nq, first);
    start(nq, second);
    start(nq, recording("next trip", &next_trip));
    eventually(queue_of(nq, "heavy").running == JOBS && queue_of(nq, "light").running == JOBS);
    put(nq, "next trip", "{}", NULL);
    eventually(recorded_ends(&next_trip) == 1); /* by now, what the store gave out has arrived */
    for (int i = 0; i < JOBS; i++)
        assert_status(NEOQ_OK, step_when_up(nq));
    assert_int_equal(6, recorded(&heavy));
    assert_int_equal(2, recorded(&light));
}

/* ---- what falls due --------------------------------------------------------------------- */

static void test_what_falls_due_makes_it_readable(void **state)
{
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_RETRY_IN, .wait = NEOQ_HOURS(1)}, {.act = ACT_DONE}},
                  .step_count = 2};
    start(nq, stepped("q", &r));
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "q", .run_after = STORE_START + NEOQ_HOURS(1)}, id);
    assert_int_equal(NEOQ_SCHEDULED, state_of(nq, id));
    assert_false(is_up(neoq_fd(nq)));
    neoq_clock_advance(s->clock, NEOQ_HOURS(1));
    assert_status(NEOQ_OK, step_when_up(nq));
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    assert_false(is_up(neoq_fd(nq)));
    neoq_clock_advance(s->clock, NEOQ_HOURS(1));
    assert_status(NEOQ_OK, step_when_up(nq));
    assert_int_equal(2, recorded(&r));
    eventually(!has_job(nq, id));
}

static void test_a_schedule_ticks_into_the_loop(void **state)
{
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = stepped("ticks", &r);
    assert_status(NEOQ_OK, neoq_start_cron(nq, "@every 1m", &handler));
    assert_false(is_up(neoq_fd(nq)));
    neoq_clock_advance(s->clock, NEOQ_MINUTES(1));
    assert_status(NEOQ_OK, step_when_up(nq));
    assert_int_equal(1, recorded(&r));
}

/* ---- the loop is late ------------------------------------------------------------------- */

/* Beyond its timeout, within the lease, until it is told so. */
static void overrun(neoq_ctx *ctx, recorder *r)
{
    neoq_clock_advance(r->about, NEOQ_SECONDS(3));
    poll(&(struct pollfd){.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN}, 1, PATIENCE_SECONDS * 1000);
}

static void test_a_run_beyond_its_timeout_is_given_up(void **state)
{
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .inside = overrun, .about = s->clock};
    neoq_handler handler = stepped("q", &r);
    handler.timeout = NEOQ_SECONDS(3);
    start(nq, handler);
    char id[NEOQ_ID_SIZE];
    put(nq, "q", "{}", id);
    assert_status(NEOQ_OK, step_when_up(nq)); /* the handler returned NEOQ_OK, too late */
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("timeout", runs[0].outcome);
    eventually(recorded_crashes(&r) == 1);
    r.inside = NULL;
    neoq_clock_advance(s->clock, NEOQ_HOURS(1));
    assert_status(NEOQ_OK, step_when_up(nq)); /* and the queue goes on */
    eventually(!has_job(nq, id));
}

static void test_what_nobody_steps_to_goes_back(void **state)
{
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = stepped("q", &r);
    handler.timeout = NEOQ_SECONDS(3);
    start(nq, handler);
    char id[NEOQ_ID_SIZE];
    put(nq, "q", "{}", id);
    eventually(is_up(neoq_fd(nq)));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(3));
    eventually(state_of(nq, id) == NEOQ_READY);
    /* The loop that comes back is still to step, and then gets the job once more, at no cost. */
    assert_true(is_up(neoq_fd(nq)));
    assert_status(NEOQ_ENOTFOUND, neoq_step(nq));
    assert_status(NEOQ_OK, step_when_up(nq));
    assert_int_equal(1, recorded(&r));
    assert_int_equal(0, r.runs[0].retries);
}

static void test_what_nobody_steps_to_is_taken_by_others(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL), *other = store_open_threads(s, NULL);
    recorder mine = {RECORDER_INITIALIZER};
    static recorder theirs;
    theirs = (recorder){RECORDER_INITIALIZER};
    neoq_handler handler = stepped("q", &mine);
    handler.timeout = NEOQ_SECONDS(3);
    start(nq, handler);
    put(nq, "q", "{}", NULL);
    eventually(is_up(neoq_fd(nq)));
    start(other, recording("q", &theirs));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(3));
    eventually(recorded_ends(&theirs) == 1 && jobs_in(nq, "q", 0) == 0);
    assert_int_equal(0, recorded(&mine));
}

typedef struct canceller {
    neoq *by;
    bool heard;
} canceller;

static void cancel_by_another(neoq_ctx *ctx, recorder *r)
{
    canceller *c = r->about;
    neoq_cancel(c->by, neoq_ctx_job(ctx)->id);
    c->heard =
        poll(&(struct pollfd){.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN}, 1, PATIENCE_SECONDS * 1000) == 1;
}

static void test_a_run_in_the_loop_hears_of_its_cancellation(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    neoq *nq = store_open_real(*state, NULL), *other = store_open_real(*state, NULL);
    canceller c = {.by = other};
    recorder r = {RECORDER_INITIALIZER, .inside = cancel_by_another, .about = &c};
    start(nq, stepped("q", &r));
    char id[NEOQ_ID_SIZE];
    put(nq, "q", "{}", id);
    assert_status(NEOQ_OK, step_when_up(nq));
    assert_true(c.heard);
    eventually(state_of(nq, id) == NEOQ_DEAD);
}

/* ---- steps within steps, and the end ---------------------------------------------------- */

static void step_again(neoq_ctx *ctx, recorder *r)
{
    (void)ctx;
    r->about = neoq_step(r->about) == NEOQ_OK ? r->about : NULL;
}

static void test_a_handler_may_step_as_far_as_concurrency_goes(void **state)
{
    neoq *nq = store_open_threads(*state, &(neoq_options){.unique = NEOQ_UNIQUE_OFF});
    recorder r = {RECORDER_INITIALIZER, .inside = step_again, .about = nq};
    neoq_handler handler = stepped("q", &r);
    handler.concurrency = 2;
    for (int i = 0; i < 3; i++)
        put(nq, "q", "{}", NULL);
    start(nq, handler);
    eventually(queue_of(nq, "q").running == 2);
    assert_status(NEOQ_OK, step_when_up(nq));
    assert_int_equal(2, recorded(&r)); /* the inner one found no free slot for a third */
    assert_int_equal(2, recorded_most(&r));
}

static void step_inside(neoq_ctx *ctx, recorder *r)
{
    (void)ctx;
    neoq_step(r->about);
}

/* Short jobs are claimed ahead, so there is one for the inner step as soon as it is let. */
static void test_a_handler_does_not_step_to_what_was_claimed_ahead(void **state)
{
    enum { JOBS = 1000 };
    neoq *nq = store_open_real(*state, &(neoq_options){.unique = NEOQ_UNIQUE_OFF, .asynchronous_commit = true});
    recorder r = {RECORDER_INITIALIZER, .inside = step_inside, .about = nq};
    for (int i = 0; i < JOBS; i++)
        put(nq, "q", NULL, NULL);
    start(nq, stepped("q", &r));
    while (recorded(&r) < JOBS)
        step_when_up(nq);
    assert_int_equal(1, recorded_most(&r));
}

static void test_a_shutdown_gives_back_what_waits_for_a_step(void **state)
{
    neoq *nq = store_open_threads(*state, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, stepped("q", &r));
    char id[NEOQ_ID_SIZE];
    put(nq, "q", "{}", id);
    eventually(is_up(neoq_fd(nq)));
    assert_status(NEOQ_OK, neoq_shutdown(nq, NEOQ_SECONDS(8)));
    assert_int_equal(NEOQ_READY, state_of(nq, id));
    assert_false(is_up(neoq_fd(nq)));
    assert_status(NEOQ_ESTATE, neoq_step(nq));
    assert_int_equal(0, recorded(&r));
}

static void *step_once(void *nq)
{
    return step_when_up(nq) == NEOQ_OK ? nq : NULL;
}

static void test_a_shutdown_gives_up_a_step_that_takes_too_long(void **state)
{
    static gate hold;
    hold = (gate)GATE_INITIALIZER;
    neoq *nq = store_open_real(*state, NULL);
    recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    start(nq, stepped("q", &r));
    char id[NEOQ_ID_SIZE];
    put(nq, "q", "{}", id);
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, step_once, nq));
    eventually(recorded_running(&r) == 1);
    assert_status(NEOQ_ETIMEOUT, neoq_shutdown(nq, NEOQ_MILLISECONDS(20)));
    assert_int_equal(NEOQ_READY, state_of(nq, id));
    gate_open(&hold);
    void *stepped_ok = NULL;
    assert_int_equal(0, pthread_join(thread, &stepped_ok));
    assert_non_null(stepped_ok);
    assert_int_equal(NEOQ_READY, state_of(nq, id)); /* its late NEOQ_OK counts for nothing */
}

static void test_what_cannot_be_stepped_says_so(void **state)
{
    neoq *by_hand = store_open(*state, NULL);
    assert_status(NEOQ_EINVAL, neoq_step(NULL));
    assert_int_equal(-1, neoq_fd(NULL));
    assert_status(NEOQ_ESTATE, neoq_step(by_hand));
    assert_words("neoq_testing_work_one", neoq_error_message());
}

int main(int argc, char **argv)
{
    if (!store_choose(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        on_store(test_a_job_runs_in_the_step_and_nowhere_else),
        on_store(test_a_descriptor_asked_for_late_tells_of_what_waits),
        on_store(test_a_loop_runs_every_job_once),
        on_store(test_queues_in_threads_go_on_beside_it),
        on_store(test_queues_share_the_loop_by_weight),
        on_store(test_what_falls_due_makes_it_readable),
        on_store(test_a_schedule_ticks_into_the_loop),
        on_store(test_a_run_beyond_its_timeout_is_given_up),
        on_store(test_what_nobody_steps_to_goes_back),
        on_store(test_what_nobody_steps_to_is_taken_by_others),
        on_store(test_a_run_in_the_loop_hears_of_its_cancellation),
        on_store(test_a_handler_may_step_as_far_as_concurrency_goes),
        on_store(test_a_handler_does_not_step_to_what_was_claimed_ahead),
        on_store(test_a_shutdown_gives_back_what_waits_for_a_step),
        on_store(test_a_shutdown_gives_up_a_step_that_takes_too_long),
        on_store(test_what_cannot_be_stepped_says_so),
    };
    return cmocka_run_group_tests_name("step", tests, NULL, NULL);
}
