/* SPDX-License-Identifier: MIT
 *
 * NULL where something is needed, the words and the log that tell of failures, and programs that fork or close what is
 * not theirs.
 */
#include "support/child.h"
#include "support/recorder.h"
#include "support/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOME_ID "0190a0b0-0000-7000-8000-00000000000a"

/* ---- NULL ------------------------------------------------------------------------------- */

static void test_null_for_the_neoq_is_refused(void **state)
{
    (void)state;
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("q", &r);
    neoq_job job = {.queue = "q"};
    neoq_job_set *set;
    void *list;
    size_t count;
    int percent;
    assert_status(NEOQ_EINVAL, neoq_enqueue(NULL, &job, NULL));
    assert_status(NEOQ_EINVAL, neoq_enqueue_many(NULL, &job, 1, NULL));
    assert_status(NEOQ_EINVAL, neoq_start(NULL, &handler));
    assert_status(NEOQ_EINVAL, neoq_start_cron(NULL, "* * * * *", &handler));
    assert_status(NEOQ_EINVAL, neoq_schedule(NULL, "n", "* * * * *", &job));
    assert_status(NEOQ_EINVAL, neoq_unschedule(NULL, "n"));
    assert_status(NEOQ_EINVAL, neoq_tend(NULL));
    assert_status(NEOQ_EINVAL, neoq_observe(NULL, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_drain(NULL, 0));
    assert_status(NEOQ_EINVAL, neoq_shutdown(NULL, 0));
    assert_status(NEOQ_EINVAL, neoq_run(NULL));
    assert_status(NEOQ_EINVAL, neoq_find(NULL, NULL, &set));
    assert_status(NEOQ_EINVAL, neoq_get(NULL, SOME_ID, &set));
    assert_status(NEOQ_EINVAL, neoq_retry_now(NULL, SOME_ID));
    assert_status(NEOQ_EINVAL, neoq_cancel(NULL, SOME_ID));
    assert_status(NEOQ_EINVAL, neoq_delete(NULL, SOME_ID));
    assert_status(NEOQ_EINVAL, neoq_queues(NULL, (neoq_queue_info **)&list, &count));
    assert_status(NEOQ_EINVAL, neoq_runs(NULL, SOME_ID, (neoq_run_info **)&list, &count));
    assert_status(NEOQ_EINVAL, neoq_workers(NULL, (neoq_worker_info **)&list, &count));
    assert_status(NEOQ_EINVAL, neoq_schedules(NULL, (neoq_schedule_info **)&list, &count));
    assert_status(NEOQ_EINVAL, neoq_pause(NULL, "q"));
    assert_status(NEOQ_EINVAL, neoq_resume(NULL, "q"));
    assert_status(NEOQ_EINVAL, neoq_purge(NULL, "q", 0, NULL));
    assert_status(NEOQ_EINVAL, neoq_remove_queue(NULL, "q"));
    assert_status(NEOQ_EINVAL, neoq_get_progress(NULL, SOME_ID, &percent, NULL, 0));
    assert_status(NEOQ_EINVAL, neoq_register_backend(NULL));
    assert_int_equal(0, neoq_stalled(NULL));
    assert_int_equal(0, neoq_job_set_count(NULL));
    assert_null(neoq_job_set_at(NULL, 0));
}

static void test_null_for_what_is_needed_is_refused(void **state)
{
    neoq *nq = store_open(*state, NULL);
    size_t count;
    neoq_time next;
    assert_status(NEOQ_EINVAL, neoq_enqueue(nq, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_enqueue_many(nq, NULL, 1, NULL));
    assert_status(NEOQ_EINVAL, neoq_find(nq, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_get(nq, SOME_ID, NULL));
    assert_status(NEOQ_EINVAL, neoq_retry_now(nq, NULL));
    assert_status(NEOQ_EINVAL, neoq_cancel(nq, NULL));
    assert_status(NEOQ_EINVAL, neoq_delete(nq, NULL));
    assert_status(NEOQ_EINVAL, neoq_queues(nq, NULL, &count));
    assert_status(NEOQ_EINVAL, neoq_runs(nq, SOME_ID, NULL, &count));
    assert_status(NEOQ_EINVAL, neoq_workers(nq, NULL, &count));
    assert_status(NEOQ_EINVAL, neoq_schedules(nq, NULL, &count));
    assert_status(NEOQ_EINVAL, neoq_pause(nq, NULL));
    assert_status(NEOQ_EINVAL, neoq_resume(nq, NULL));
    assert_status(NEOQ_EINVAL, neoq_purge(nq, NULL, 0, NULL));
    assert_status(NEOQ_EINVAL, neoq_remove_queue(nq, NULL));
    assert_status(NEOQ_EINVAL, neoq_get_progress(nq, SOME_ID, NULL, NULL, 0));
    assert_status(NEOQ_EINVAL, neoq_cron_next(NULL, 0, &next));
    assert_status(NEOQ_EINVAL, neoq_cron_next("* * * * *", 0, NULL));
}

/* An id that is no UUID names no job; to say so is enough. */
static void test_ids_that_are_none_name_no_job(void **state)
{
    neoq *nq = store_open(*state, NULL);
    static const char *const ids[] = {"", "x", "' OR 1=1 --"};
    for (size_t i = 0; i < 3; i++) {
        neoq_job_set *set = NULL;
        int statuses[] = {neoq_get(nq, ids[i], &set), neoq_cancel(nq, ids[i]), neoq_delete(nq, ids[i]),
                          neoq_retry_now(nq, ids[i])};
        for (size_t k = 0; k < 4; k++)
            assert_true(statuses[k] == NEOQ_ENOTFOUND || statuses[k] == NEOQ_EINVAL);
    }
}

/* ---- words ------------------------------------------------------------------------------ */

static void test_statuses_have_names(void **state)
{
    (void)state;
    assert_string_equal("NEOQ_OK", neoq_status_name(NEOQ_OK));
    assert_string_equal("NEOQ_EDUPLICATE", neoq_status_name(NEOQ_EDUPLICATE));
    for (int status = 0; status >= NEOQ_EUNKNOWN; status--)
        assert_words("NEOQ_", neoq_status_name(status));
    assert_non_null(neoq_status_name(1));
    assert_non_null(neoq_status_name(-999));
    assert_true(strlen(neoq_version()) > 0);
    assert_true(neoq_now() > (neoq_time)1600000000 * 1000000);
}

static void *read_message(void *arg)
{
    snprintf(arg, 64, "%s", neoq_error_message());
    return NULL;
}

static void test_the_error_message_is_the_threads_own(void **state)
{
    neoq *nq = store_open(*state, NULL);
    char elsewhere[64] = "unset";
    pthread_t thread;
    assert_status(NEOQ_EINVAL, neoq_enqueue(nq, &(neoq_job){.queue = "bad\nname"}, NULL));
    assert_words("queue", neoq_error_message());
    assert_int_equal(0, pthread_create(&thread, NULL, read_message, elsewhere));
    pthread_join(thread, NULL);
    assert_null(strstr(elsewhere, "queue"));
}

typedef struct kept_log {
    pthread_mutex_t lock;
    int count, most;
    bool named;
} kept_log;

static void keep_log(neoq_log_level level, const char *message, void *arg)
{
    kept_log *log = arg;
    pthread_mutex_lock(&log->lock);
    log->count++;
    if ((int)level > log->most)
        log->most = (int)level;
    if (strstr(message, "logged-queue"))
        log->named = true;
    pthread_mutex_unlock(&log->lock);
}

static void log_a_while(store *s, neoq_log_level level, kept_log *log)
{
    neoq *nq = store_open(s, &(neoq_options){.log = keep_log, .log_arg = log, .log_level = level});
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}, {.act = ACT_DONE}}, .step_count = 2};
    neoq_handler handler = recording("logged-queue", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put_job(nq, (neoq_job){.queue = "logged-queue", .max_retries = NEOQ_NO_RETRIES}, NULL);
    work_one(nq);
    put(nq, "logged-queue", NULL, NULL);
    work_one(nq);
    store_close(s, nq);
}

static void test_the_logger_hears_what_its_level_lets_through(void **state)
{
    kept_log debug = {.lock = PTHREAD_MUTEX_INITIALIZER}, info = debug, errors = debug;
    log_a_while(*state, NEOQ_LOG_DEBUG, &debug);
    log_a_while(*state, 0, &info);
    log_a_while(*state, NEOQ_LOG_ERROR, &errors);
    assert_true(debug.count > 0);
    assert_true(debug.named);
    assert_true(info.most <= NEOQ_LOG_INFO);
    assert_true(errors.most <= NEOQ_LOG_ERROR);
    assert_true(debug.count >= info.count && info.count >= errors.count);
}

/* ---- forks and descriptors -------------------------------------------------------------- */

/* In a child of fork() the inherited neoq is dead, and closing it harms nothing of the parent's. */
static int use_inherited(neoq *nq)
{
    neoq_queue_info *queues;
    size_t count;
    neoq_job_set *set;
    if (neoq_enqueue(nq, &(neoq_job){.queue = "forked", .payload = "child"}, NULL) != NEOQ_ESTATE)
        return 1;
    if (neoq_queues(nq, &queues, &count) != NEOQ_ESTATE)
        return 2;
    if (neoq_find(nq, NULL, &set) != NEOQ_ESTATE)
        return 3;
    if (neoq_start(nq, &(neoq_handler){.queue = "other", .handle = record}) != NEOQ_ESTATE)
        return 4;
    if (neoq_shutdown(nq, 0) != NEOQ_ESTATE || neoq_drain(nq, 0) != NEOQ_ESTATE)
        return 5;
    neoq_close(nq);
    return 0;
}

static int fork_and_use(neoq *nq)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(PATIENCE_SECONDS);
        _exit(use_inherited(nq));
    }
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static void test_a_forked_child_cannot_use_the_neoq(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    neoq_handler handler = recording("forked", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put(nq, "forked", "1", NULL);
    eventually(recorded_ends(&r) == 1);
    assert_int_equal(0, fork_and_use(nq));
    /* The parent goes on. */
    put(nq, "forked", "2", NULL);
    eventually(recorded_ends(&r) == 2);
    eventually(jobs_in(nq, "forked", 0) == 0);
}

static void fork_inside(neoq_ctx *ctx, recorder *r)
{
    (void)ctx;
    void **about = r->about;
    *(int *)about[1] = fork_and_use(about[0]);
}

static void test_a_handler_may_fork(void **state)
{
    static recorder r = {RECORDER_INITIALIZER, .inside = fork_inside};
    static int status = -1;
    static void *about[2];
    neoq *nq = store_open_real(*state, NULL);
    about[0] = nq;
    about[1] = &status;
    r.about = about;
    neoq_handler handler = recording("forks", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put(nq, "forks", NULL, NULL);
    eventually(recorded_ends(&r) == 1);
    assert_int_equal(0, status);
    eventually(jobs_in(nq, "forks", 0) == 0);
}

static int close_everything(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    return NEOQ_OK;
}

static int lose_descriptors(const char *url)
{
    neoq *nq = NULL;
    if (neoq_open(&nq, url, &(neoq_options){.log = quiet, .shutdown_timeout = NEOQ_SECONDS(1)}) != NEOQ_OK ||
        neoq_start(nq, &(neoq_handler){.queue = "closing", .handle = close_everything}) != NEOQ_OK)
        return 1;
    /* It may run, and close what the answer was to come by, before that is read. */
    int status = neoq_enqueue(nq, &(neoq_job){.queue = "closing", .max_retries = NEOQ_NO_RETRIES}, NULL);
    if (status != NEOQ_OK && status != NEOQ_EUNKNOWN)
        return 1;
    neoq_drain(nq, NEOQ_SECONDS(1));
    neoq_enqueue(nq, &(neoq_job){.queue = "other"}, NULL);
    neoq_close(nq);
    return 0;
}

/* Nothing can be promised of that run; but nothing crashes or hangs, and the store is not harmed. SQLite itself takes
 * ten seconds to see that a file is gone, each time it is asked. */
static void test_a_handler_that_closes_our_descriptors_does_not_crash_us(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = store_open_real(s, NULL);
    put(nq, "bystander", "{}", id);
    if (store_is_shared())
        store_close(s, nq);
    child c = child_start("lose-descriptors", s->url);
    int status = child_wait_long(&c, 240);
    assert_true(WIFEXITED(status));
    assert_int_equal(0, WEXITSTATUS(status));
    if (store_is_shared())
        nq = store_open_real(s, NULL);
    assert_string_equal("{}", (const char *)store_job(s, nq, id)->payload);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_null_for_the_neoq_is_refused),
        on_store(test_null_for_what_is_needed_is_refused),
        on_store(test_ids_that_are_none_name_no_job),
        on_store(test_statuses_have_names),
        on_store(test_the_error_message_is_the_threads_own),
        on_store(test_the_logger_hears_what_its_level_lets_through),
        on_store(test_a_forked_child_cannot_use_the_neoq),
        on_store(test_a_handler_may_fork),
        on_store(test_a_handler_that_closes_our_descriptors_does_not_crash_us),
    };
    const char *role, *url;
    if (child_role(argc, argv, &role, &url))
        return lose_descriptors(url);
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("misuse", tests, NULL, NULL);
}
