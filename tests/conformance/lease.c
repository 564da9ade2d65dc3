/* SPDX-License-Identifier: MIT
 *
 * Workers that vanish. The worker is another process, on real time: it is killed, or frozen, in the midst of a run.
 */
#include "support/apart.h"
#include "support/child.h"
#include "support/recorder.h"
#include "support/store.h"

#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* In a process of its own, which tells its number, and never ends unless it is killed. */
static int never_end(neoq_ctx *ctx, void *arg)
{
    char note[32];
    (void)arg;
    signal(SIGTERM, SIG_IGN);
    snprintf(note, sizeof note, "%d", getpid());
    neoq_set_progress(ctx, 1, note);
    child_say("running");
    while (pause() < 0)
        ;
    return NEOQ_OK;
}

static void *hear(void *arg)
{
    (void)arg;
    while (child_hear() == 'g')
        sem_post(&go);
    return NULL;
}

/* A daemon: two handlers at a time, and a second for them when it is told to end. */
static int be_a_daemon(const char *url)
{
    neoq *nq = NULL;
    pthread_t thread;
    sigset_t term;
    sem_init(&go, 0, 0);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, NULL); /* as neoq_run() will, but before anybody may send it */
    const neoq_options options = {.log = quiet, .lease = NEOQ_SECONDS(2), .shutdown_timeout = NEOQ_SECONDS(1)};
    const neoq_handler handler = {.queue = "work", .handle = until_told, .concurrency = 2};
    if (neoq_open(&nq, url, &options) != NEOQ_OK || neoq_start(nq, &handler) != NEOQ_OK ||
        pthread_create(&thread, NULL, hear, NULL) != 0)
        return 1;
    int status = neoq_run(nq);
    neoq_close(nq);
    child_say(neoq_status_name(status));
    return 0;
}

static int be_a_worker(const char *role, const char *url)
{
    if (strcmp(role, "daemon") == 0)
        return be_a_daemon(url);

    neoq *nq = NULL;
    sem_init(&go, 0, 0);
    neoq_options options = {.log = quiet, .lease = strcmp(role, "long") == 0 ? 0 : NEOQ_SECONDS(2)};
    neoq_handler handler = {.queue = "work", .handle = until_told, .concurrency = 1, .timeout = NEOQ_MINUTES(5)};
    if (strcmp(role, "watching") == 0)
        handler.handle = until_cancelled;
    if (strcmp(role, "apart") == 0) {
        handler.handle = never_end;
        handler.isolation = NEOQ_PROCESS;
        handler.kill_after = NEOQ_HOURS(1);
    }
    if (neoq_open(&nq, url, &options) != NEOQ_OK || neoq_start(nq, &handler) != NEOQ_OK) {
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
    skip_where(NEOQ_CANNOT_SHARE);
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
    skip_where(NEOQ_CANNOT_SHARE);
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
    skip_where(NEOQ_CANNOT_SHARE);
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
    skip_where(NEOQ_CANNOT_SHARE);
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
    skip_where(NEOQ_CANNOT_SHARE);
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
    skip_where(NEOQ_CANNOT_SHARE);
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

/* That goes on while its worker is frozen, and beside the run that took its place. */
static void test_a_thawed_workers_child_is_killed(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    char id[NEOQ_ID_SIZE], note[32] = "";
    int percent;
    child c = start_worker(s, "apart", (neoq_job){.queue = "work", .retention = NEOQ_FOREVER}, id);
    neoq *nq = store_open_real(s, NULL);
    assert_status(NEOQ_OK, neoq_get_progress(nq, id, &percent, note, sizeof note));
    pid_t pid = (pid_t)atoi(note);
    assert_true(is_alive(pid));
    child_signal(&c, SIGSTOP);
    neoq *other = take_over(s, &r);
    eventually(state_of(other, id) == NEOQ_DONE);
    assert_true(is_alive(pid));
    child_signal(&c, SIGCONT);
    eventually(!is_alive(pid));
    child_tell(&c, 'q');
    child_expect(&c, "closed");
    assert_int_equal(0, child_wait(&c));
    assert_lost_and_done(s, other, id);
    assert_int_equal(1, recorded(&r));
}

static void test_a_thawed_worker_works_again(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    char id[NEOQ_ID_SIZE], next[NEOQ_ID_SIZE];
    child c = start_worker(s, "short", (neoq_job){.queue = "work"}, id);
    neoq *nq = store_open_real(s, &(neoq_options){.lease = NEOQ_SECONDS(2)});
    child_signal(&c, SIGSTOP);
    assert_status(NEOQ_OK, neoq_tend(nq));
    eventually(state_of(nq, id) != NEOQ_RUNNING);
    assert_status(NEOQ_OK, neoq_delete(nq, id));
    put_job(nq, (neoq_job){.queue = "work", .payload = "{\"n\":2}", .retention = NEOQ_FOREVER}, next);
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
    skip_where(NEOQ_CANNOT_SHARE);
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

/* ---- the bounds ------------------------------------------------------------------------- */

typedef struct silence {
    neoq *other;
    int done; /* by the other */
} silence;

static int count_done(neoq_ctx *ctx, void *arg)
{
    silence *quiet_one = arg;
    (void)ctx;
    quiet_one->done++;
    return NEOQ_OK;
}

/* Its worker does nothing else meanwhile: by hand there is no thread that beats. */
static int keep_silent(neoq_ctx *ctx, void *arg)
{
    silence *quiet_one = arg;
    neoq_testing_counts counts;
    (void)ctx;
    neoq_testing_advance(quiet_one->other, NEOQ_SECONDS(29), &counts);
    if (quiet_one->done > 0)
        return NEOQ_OK; /* too soon */
    neoq_testing_advance(quiet_one->other, NEOQ_SECONDS(7), &counts);
    return NEOQ_OK;
}

static void test_a_silent_workers_job_is_run_6_s_after_its_lease_at_the_latest(void **state)
{
    store *s = *state;
    neoq *nq, *other;
    char id[NEOQ_ID_SIZE];
    neoq_run_info runs[25];
    open_two(s, &nq, &other);
    silence quiet_one = {.other = other};
    neoq_handler handler = {.queue = "work", .handle = keep_silent, .arg = &quiet_one, .timeout = NEOQ_FOREVER};
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    handler.handle = count_done;
    assert_status(NEOQ_OK, neoq_start(other, &handler));
    put_job(nq, (neoq_job){.queue = "work", .retention = NEOQ_FOREVER}, id);
    work_one(nq);
    assert_int_equal(1, quiet_one.done);
    assert_int_equal(2, runs_of(nq, id, runs));
    assert_string_equal("lost", runs[1].outcome);
    assert_true(runs[0].started_at - runs[1].started_at > NEOQ_SECONDS(29));
}

/* ---- busy ------------------------------------------------------------------------------- */

enum { BURNERS = 4, BURN_S = 7, BUSY_LEASE_S = 5, BATCH = 50 };

static int burn(neoq_ctx *ctx, void *arg)
{
    patience p = patience_of(BURN_S);
    (void)ctx;
    (void)arg;
    for (volatile int64_t i = 0; patience_going(&p); i++)
        ;
    return NEOQ_OK;
}

static void *keep_enqueueing(void *arg)
{
    neoq_job jobs[BATCH];
    neoq_enqueued results[BATCH];
    patience p = patience_of(BURN_S);
    for (size_t i = 0; i < BATCH; i++)
        jobs[i] = (neoq_job){.queue = "nobody works this", .unique = NEOQ_UNIQUE_OFF};
    while (patience_going(&p))
        if (neoq_enqueue_many(arg, jobs, BATCH, results) != NEOQ_OK)
            return arg;
    return NULL;
}

/* All processors are at work, and so is every connection. */
static void test_a_busy_worker_keeps_its_lease(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    pthread_t threads[BURNERS];
    char ids[BURNERS][NEOQ_ID_SIZE];
    neoq_run_info runs[25];
    const neoq_options options = {.lease = NEOQ_SECONDS(BUSY_LEASE_S),
                                  .max_connections = 2,
                                  .retention = NEOQ_FOREVER};
    neoq *nq = store_open_real(s, &options), *other = store_open_real(s, &options);
    assert_status(NEOQ_OK, neoq_tend(other));
    const neoq_handler handler = {.queue = "work", .handle = burn, .concurrency = BURNERS};
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    for (int i = 0; i < BURNERS; i++)
        put_job(nq, (neoq_job){.queue = "work", .unique = NEOQ_UNIQUE_OFF}, ids[i]);
    for (int i = 0; i < BURNERS; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, keep_enqueueing, nq));
    for (int i = 0; i < BURNERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    for (int i = 0; i < BURNERS; i++) {
        eventually(state_of(nq, ids[i]) == NEOQ_DONE);
        assert_int_equal(1, runs_of(nq, ids[i], runs));
    }
}

/* ---- SIGTERM ---------------------------------------------------------------------------- */

static void test_after_sigterm_nothing_is_claimed_and_nothing_kept(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    neoq_worker_info *workers = NULL;
    size_t count = 1;
    neoq *nq = store_open_real(s, NULL);
    for (int i = 0; i < 5; i++)
        put_job(nq, (neoq_job){.queue = "work", .unique = NEOQ_UNIQUE_OFF, .retention = NEOQ_FOREVER}, NULL);
    child c = child_start("daemon", s->url);
    child_expect(&c, "running");
    child_expect(&c, "running");
    child_signal(&c, SIGTERM);
    put_job(nq, (neoq_job){.queue = "work", .unique = NEOQ_UNIQUE_OFF}, NULL);
    child_expect(&c, "NEOQ_ETIMEOUT"); /* and no third run began */
    assert_int_equal(0, child_wait(&c));
    assert_int_equal(6, jobs_in(nq, "work", NEOQ_READY));
    neoq_job_set *set = NULL;
    assert_status(NEOQ_OK, neoq_find(nq, &(neoq_filter){.queue = "work"}, &set));
    for (size_t i = 0; i < neoq_job_set_count(set); i++)
        assert_int_equal(0, neoq_job_set_at(set, i)->retries);
    neoq_job_set_free(set);
    assert_status(NEOQ_OK, neoq_workers(nq, &workers, &count));
    assert_int_equal(0, count);
    free(workers);
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
        on_store(test_a_thawed_workers_child_is_killed),
        on_store(test_a_thawed_worker_works_again),
        on_store(test_progress_of_another_process_is_seen),
        on_store(test_a_silent_workers_job_is_run_6_s_after_its_lease_at_the_latest),
        on_store(test_a_busy_worker_keeps_its_lease),
        on_store(test_after_sigterm_nothing_is_claimed_and_nothing_kept),
    };
    const char *role, *url;
    if (child_role(argc, argv, &role, &url))
        return be_a_worker(role, url);
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
