/* SPDX-License-Identifier: MIT
 *
 * Workers that vanish. The worker is another process, on real time: it is killed, or frozen, in the midst of a run.
 */
#include "support/child.h"
#include "support/recorder.h"
#include "support/store.h"

#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* ---- the other process ------------------------------------------------------------------ */

static sem_t go;

/* Says that it runs, and does not end before the parent says 'g'. */
static int until_told(neoq_ctx *ctx, void *arg)
{
    (void)arg;
    neoq_set_progress(ctx, 50, "half");
    child_say("running");
    while (sem_wait(&go) != 0)
        ;
    neoq_set_result(ctx, "late", 4);
    return NEOQ_OK;
}

/* Says when its context is cancelled. */
static int until_cancelled(neoq_ctx *ctx, void *arg)
{
    (void)arg;
    child_say("running");
    struct pollfd fd = {.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN};
    poll(&fd, 1, -1);
    child_say(neoq_ctx_cancelled(ctx) ? "cancelled" : "readable but not cancelled");
    return NEOQ_OK;
}

static int be_a_worker(const char *role, const char *url)
{
    neoq *nq = NULL;
    sem_init(&go, 0, 0);
    neoq_options options = {.log = quiet, .lease = strcmp(role, "long") == 0 ? 0 : NEOQ_SECONDS(2)};
    neoq_handle handle = strcmp(role, "watching") == 0 ? until_cancelled : until_told;
    if (neoq_open(&nq, url, &options) != NEOQ_OK ||
        neoq_start(
            nq, &(neoq_handler){.queue = "work", .handle = handle, .concurrency = 1, .timeout = NEOQ_MINUTES(5)}) !=
            NEOQ_OK) {
        child_say(neoq_error_message());
        return 1;
    }
    while (child_hear() == 'g')
        sem_post(&go);
    neoq_close(nq);
    child_say("closed");
    return 0;
}

/* ---- the tests -------------------------------------------------------------------------- */

static child start_worker(store *s, const char *role, neoq_job job, char *id)
{
    neoq *nq = store_open_real(s, NULL);
    put_job(nq, job, id);
    store_close(s, nq);
    child c = child_start(role, s->url);
    child_expect(&c, "running");
    return c;
}

static int succeed(neoq_ctx *ctx, void *arg)
{
    neoq_set_result(ctx, "second", 6);
    return record(ctx, arg);
}

static neoq *take_over(store *s, recorder *r)
{
    neoq *nq = store_open_real(s, &(neoq_options){.lease = NEOQ_SECONDS(2), .poll_interval = NEOQ_HOURS(1)});
    neoq_handler handler = recording("work", r);
    handler.handle = succeed;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    return nq;
}

static void assert_lost_and_done(store *s, neoq *nq, const char *id)
{
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(NEOQ_DONE, job->state);
    assert_int_equal(6, job->result_size);
    assert_memory_equal("second", job->result, 6);
    neoq_run_info runs[25];
    assert_int_equal(2, runs_of(nq, id, runs));
    assert_string_equal("done", runs[0].outcome);
    assert_int_equal(2, runs[0].epoch);
    assert_string_equal("lost", runs[1].outcome);
    assert_int_equal(1, runs[1].epoch);
    assert_string_not_equal(runs[0].worker, runs[1].worker);
    /* A first loss may be the machine's fault: it is made up for at once. */
    assert_true(job->run_after <= runs[1].finished_at);
}

/* With the default lease of 30 s, within this test's patience of 20: a process of this machine that is gone is
 * noticed before its lease is over. */
static void test_a_killed_workers_job_is_run_again(void **state)
{
    store_needs_sharing();
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    child c = start_worker(s, "long", (neoq_job){.queue = "work", .retention = NEOQ_FOREVER}, id);
    child_signal(&c, SIGKILL);
    assert_true(WIFSIGNALED(child_wait(&c)));
    neoq *nq = take_over(s, &r);
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_lost_and_done(s, nq, id);
    assert_int_equal(1, recorded(&r));
    assert_int_equal(1, r.runs[0].retries);
    assert_int_equal(2, r.runs[0].epoch);
    assert_true(r.runs[0].has_error);
}

static void test_a_job_that_kills_its_worker_dies_of_it(void **state)
{
    store_needs_sharing();
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    child c = start_worker(s, "long", (neoq_job){.queue = "work", .max_retries = NEOQ_NO_RETRIES}, id);
    child_signal(&c, SIGKILL);
    child_wait(&c);
    neoq *nq = take_over(s, &r);
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(0, recorded(&r));
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("lost", runs[0].outcome);
}

static void test_a_killed_workers_job_is_recovered_by_one_that_only_tends(void **state)
{
    store_needs_sharing();
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    child c = start_worker(s, "long", (neoq_job){.queue = "work"}, id);
    child_signal(&c, SIGKILL);
    child_wait(&c);
    neoq *nq = store_open_real(s, NULL);
    assert_int_equal(NEOQ_RUNNING, state_of(nq, id));
    assert_status(NEOQ_OK, neoq_tend(nq));
    eventually(state_of(nq, id) == NEOQ_READY || state_of(nq, id) == NEOQ_RETRYING);
}

static void test_a_job_whose_cancellation_was_asked_for_is_not_run_again(void **state)
{
    store_needs_sharing();
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    child c = start_worker(s, "long", (neoq_job){.queue = "work"}, id);
    child_signal(&c, SIGKILL);
    child_wait(&c);
    neoq *nq = store_open_real(s, NULL);
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    neoq *other = take_over(s, &r);
    eventually(state_of(other, id) == NEOQ_DEAD);
    assert_words("cancelled", store_job(s, nq, id)->error);
    assert_int_equal(0, recorded(&r));
}

static void test_a_frozen_workers_job_is_run_again_and_its_late_finish_refused(void **state)
{
    store_needs_sharing();
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    child c = start_worker(s, "short", (neoq_job){.queue = "work", .retention = NEOQ_FOREVER}, id);
    child_signal(&c, SIGSTOP);
    neoq *nq = take_over(s, &r);
    eventually(state_of(nq, id) == NEOQ_DONE);
    child_signal(&c, SIGCONT);
    child_tell(&c, 'g');
    /* The handler ends now, and then the worker is closed: whatever it wanted to write, it has written. */
    child_tell(&c, 'q');
    child_expect(&c, "closed");
    assert_int_equal(0, child_wait(&c));
    assert_lost_and_done(s, nq, id);
    assert_int_equal(1, recorded(&r));
}

static void test_a_thawed_worker_is_told_that_it_lost_its_job(void **state)
{
    store_needs_sharing();
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    child c = start_worker(s, "watching", (neoq_job){.queue = "work", .retention = NEOQ_FOREVER}, id);
    child_signal(&c, SIGSTOP);
    neoq *nq = take_over(s, &r);
    eventually(state_of(nq, id) == NEOQ_DONE);
    child_signal(&c, SIGCONT);
    child_expect(&c, "cancelled");
    child_tell(&c, 'q');
    child_expect(&c, "closed");
    assert_int_equal(0, child_wait(&c));
    assert_lost_and_done(s, nq, id);
}

static void test_a_thawed_worker_works_again(void **state)
{
    store_needs_sharing();
    store *s = *state;
    char id[NEOQ_ID_SIZE], next[NEOQ_ID_SIZE];
    child c = start_worker(s, "short", (neoq_job){.queue = "work"}, id);
    neoq *nq = store_open_real(s, &(neoq_options){.lease = NEOQ_SECONDS(2)});
    child_signal(&c, SIGSTOP);
    assert_status(NEOQ_OK, neoq_tend(nq));
    eventually(state_of(nq, id) != NEOQ_RUNNING);
    assert_status(NEOQ_OK, neoq_delete(nq, id));
    put_job(nq, (neoq_job){.queue = "work", .payload = "2", .retention = NEOQ_FOREVER}, next);
    child_signal(&c, SIGCONT);
    child_tell(&c, 'g');
    child_expect(&c, "running");
    child_tell(&c, 'g');
    eventually(state_of(nq, next) == NEOQ_DONE);
    child_tell(&c, 'q');
    child_expect(&c, "closed");
    assert_int_equal(0, child_wait(&c));
    assert_false(has_job(nq, id));
}

static void test_progress_of_another_process_is_seen(void **state)
{
    store_needs_sharing();
    store *s = *state;
    char id[NEOQ_ID_SIZE], note[32] = "";
    int percent = -1;
    child c = start_worker(s, "long", (neoq_job){.queue = "work"}, id);
    neoq *nq = store_open_real(s, NULL);
    assert_status(NEOQ_OK, neoq_get_progress(nq, id, &percent, note, sizeof(note)));
    child_signal(&c, SIGKILL);
    child_wait(&c);
    assert_int_equal(50, percent);
    assert_string_equal("half", note);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_killed_workers_job_is_run_again),
        on_store(test_a_job_that_kills_its_worker_dies_of_it),
        on_store(test_a_killed_workers_job_is_recovered_by_one_that_only_tends),
        on_store(test_a_job_whose_cancellation_was_asked_for_is_not_run_again),
        on_store(test_a_frozen_workers_job_is_run_again_and_its_late_finish_refused),
        on_store(test_a_thawed_worker_is_told_that_it_lost_its_job),
        on_store(test_a_thawed_worker_works_again),
        on_store(test_progress_of_another_process_is_seen),
    };
    const char *role, *url;
    if (child_role(argc, argv, &role, &url))
        return be_a_worker(role, url);
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
