/* SPDX-License-Identifier: MIT
 *
 * Beside asynq: what Go does with keys is done here by hand, as its scripts do it, and neoq must make the right thing of
 * it. tests/interop runs the real ones.
 */
#include "support/recorder.h"
#include "support/redis_server.h"
#include "support/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID   "3f2b6c1e-8d4a-4f6b-9c2d-1a2b3c4d5e6f"
#define TASK "asynq:{default}:t:" ID
#define P    "asynq:{default}:"

/* As Go writes it: type email:send, payload {"user_id":42}, queue default, retry 25, timeout 1800. */
static const char message[] = "\x0a\x0a"
                              "email:send\x12\x0e{\"user_id\":42}\x1a\x24" ID "\x22\x07"
                              "default\x28\x19\x40\x88\x0e";

static char answer[1024];

static const char *redis(store *s, const char *command, ...) __attribute__((format(printf, 2, 3)));

static const char *redis(store *s, const char *format, ...)
{
    char command[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    assert_true(redis_do(redis_shared(), s->number, answer, sizeof(answer), command));
    return answer;
}

/* A task of Go's; where it goes then is the test's affair. */
static void put_task(store *s, const char *state)
{
    redis(s, "SADD asynq:queues default");
    assert_true(redis_do(redis_shared(), s->number, NULL, 0,
                         "HSET " TASK " msg %b state %s pending_since 1893455999000000000", message,
                         sizeof(message) - 1, state));
}

static int succeed(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    (void)arg;
    assert_string_equal(ID, job->id);
    assert_string_equal("default", job->queue);
    assert_string_equal("{\"user_id\":42}", job->payload);
    assert_string_equal("{\"asynq_type\":\"email:send\"}", job->metadata);
    assert_int_equal(25, job->max_retries);
    return NEOQ_OK;
}

static int fail_it(neoq_ctx *ctx, void *arg)
{
    (void)arg;
    return neoq_fail(ctx, "boom");
}

static void handle_default(neoq *nq, neoq_handle handle)
{
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "default", .handle = handle, .concurrency = 1}));
}

static void test_a_task_of_go_is_run_and_leaves_what_it_would_with_go(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    handle_default(nq, succeed);
    put_task(s, "pending");
    redis(s, "LPUSH " P "pending " ID);
    assert_int_equal(1, work_one(nq).done);
    assert_string_equal("0", redis(s, "EXISTS " TASK " " P "pending " P "active " P "lease"));
    assert_string_equal("1", redis(s, "GET " P "processed"));
    assert_string_equal("1", redis(s, "GET " P "processed:2030-01-01"));
    assert_string_equal("0", redis(s, "EXISTS " P "failed"));
}

static void test_a_task_of_go_fails_as_asynq_counts(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    handle_default(nq, fail_it);
    put_task(s, "pending");
    redis(s, "LPUSH " P "pending " ID);
    assert_int_equal(1, work_one(nq).failed);
    assert_string_equal("retry", redis(s, "HGET " TASK " state"));
    assert_string_equal("1", redis(s, "GET " P "failed"));
    assert_true(strstr(redis(s, "HGET " TASK " msg"), "\x30\x01\x3a\x04"
                                                      "boom") != NULL); /* retried 1, error_msg */
    const neoq_job *job = store_job(s, nq, ID);
    assert_int_equal(0, job->retries);
    assert_int_equal(NEOQ_RETRYING, job->state);
}

static void test_a_task_that_go_scheduled_is_run_when_it_is_due(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    handle_default(nq, succeed);
    put_task(s, "scheduled");
    redis(s, "HDEL " TASK " pending_since");
    redis(s, "ZADD " P "scheduled 1893456010 " ID);
    assert_status(NEOQ_ENOTFOUND, neoq_testing_work_one(nq, NULL, NULL));
    assert_int_equal(NEOQ_SCHEDULED, state_of(nq, ID));
    assert_true(store_job(s, nq, ID)->run_after == STORE_START + NEOQ_SECONDS(10));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(10));
    assert_int_equal(1, work_one(nq).done);
}

static void test_a_push_of_go_wakes_a_waiting_worker(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = store_open_real(s, &(neoq_options){.poll_interval = NEOQ_HOURS(1)});
    neoq_handler handler = recording("default", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    eventually(redis_do(redis_shared(), s->number, answer, sizeof(answer), "INFO clients") &&
               strstr(answer, "blocked_clients:0") == NULL);
    put_task(s, "pending");
    redis(s, "LPUSH " P "pending " ID);
    eventually(recorded(&r) == 1);
}

static void test_an_active_task_that_nobody_has_a_lease_on_is_found(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    handle_default(nq, succeed);
    put_task(s, "active");
    redis(s, "LPUSH " P "active " ID);
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(1, work_one(nq).done);
    assert_string_equal("0", redis(s, "EXISTS " TASK " " P "active " P "lease"));
}

static void test_a_lease_of_go_is_over_half_a_minute_late(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    handle_default(nq, succeed);
    put_task(s, "active");
    redis(s, "LPUSH " P "active " ID);
    redis(s, "ZADD " P "lease 1893456000 " ID);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(29));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(NEOQ_RUNNING, state_of(nq, ID));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(1));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(1, work_one(nq).done);
}

/* Go's recoverer takes the run, and another Go worker the job: its lease is a whole number. */
static int be_taken_over(neoq_ctx *ctx, void *arg)
{
    store *s = arg;
    redis(s, "HDEL asynq:{work}:t:%s pending_since", neoq_ctx_job(ctx)->id);
    redis(s, "ZADD asynq:{work}:lease 1893456030 %s", neoq_ctx_job(ctx)->id);
    return NEOQ_OK;
}

static int be_taken_over_and_fail(neoq_ctx *ctx, void *arg)
{
    be_taken_over(ctx, arg);
    return NEOQ_EFAILED;
}

/* As its recoverer and its dequeue leave a job. */
static void assert_not_ended(store *s, neoq_handle handle)
{
    char id[NEOQ_ID_SIZE];
    neoq *nq = store_open(s, NULL);
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "work", .handle = handle, .arg = s}));
    put(nq, "work", "1", id);
    work_one(nq);
    assert_int_equal(NEOQ_RUNNING, state_of(nq, id));
    assert_string_equal("1", redis(s, "LLEN asynq:{work}:active"));
    assert_string_equal("1893456030", redis(s, "ZSCORE asynq:{work}:lease %s", id));
}

static void test_a_run_that_go_took_over_is_not_ended_by_us(void **state)
{
    assert_not_ended(*state, be_taken_over);
}

static void test_a_run_that_go_took_over_does_not_fail_by_us(void **state)
{
    assert_not_ended(*state, be_taken_over_and_fail);
}

typedef struct put_back {
    store *store;
    neoq *nq;
    int runs;
} put_back;

/* Its worker is lost then, Go's recoverer gives the job up, and somebody has it run again by Go's tools. */
static int be_cancelled_once(neoq_ctx *ctx, void *arg)
{
    put_back *p = arg;
    const char *id = neoq_ctx_job(ctx)->id;
    if (p->runs++ > 0)
        return NEOQ_OK;
    assert_status(NEOQ_OK, neoq_cancel(p->nq, id));
    redis(p->store, "LREM asynq:{work}:active 1 %s", id);
    redis(p->store, "ZREM asynq:{work}:lease %s", id);
    redis(p->store, "LPUSH asynq:{work}:pending %s", id);
    redis(p->store, "HSET asynq:{work}:t:%s state pending", id);
    return NEOQ_OK;
}

static void test_what_was_cancelled_and_is_put_back_by_hand_is_run(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    put_back p = {.store = s, .nq = store_open(s, NULL)};
    assert_status(NEOQ_OK,
                  neoq_start(p.nq, &(neoq_handler){.queue = "work", .handle = be_cancelled_once, .arg = &p}));
    put(p.nq, "work", "1", id);
    work_one(p.nq);
    assert_int_equal(1, work_one(p.nq).done);
    assert_int_equal(2, p.runs);
}

/* Go runs a job of ours to its end: its script for a message with a unique_key. */
static void test_go_frees_the_fingerprint_of_what_it_ends(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE], again[NEOQ_ID_SIZE];
    neoq *nq = store_open(s, NULL);
    put(nq, "work", "1", id);
    assert_true(strstr(redis(s, "HGET asynq:{work}:t:%s msg", id), "asynq:{work}:unique:neoq:") != NULL);
    char lock[200];
    snprintf(lock, sizeof(lock), "%s", redis(s, "HGET asynq:{work}:t:%s unique_key", id));
    assert_string_equal(id, redis(s, "GET %s", lock));
    redis(s, "DEL asynq:{work}:t:%s asynq:{work}:pending %s", id, lock);
    put(nq, "work", "1", again);
    assert_string_equal(again, redis(s, "GET %s", lock));
}

static void test_a_lock_that_was_left_behind_guards_nothing(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = store_open(s, NULL);
    put(nq, "work", "1", id);
    redis(s, "DEL asynq:{work}:t:%s asynq:{work}:pending", id);
    assert_status(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "work", .payload = "1"}, NULL));
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &(neoq_job){.queue = "work", .payload = "1"}, NULL));
}

/* A Go server's forwarder finds a prioritised job due. */
static void test_what_go_forwards_is_run_once(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = store_open(s, NULL);
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put_job(nq, (neoq_job){.queue = "work", .priority = 3}, id);
    assert_string_equal("1", redis(s, "ZSCORE asynq:{work}:scheduled %s", id));
    redis(s, "ZREM asynq:{work}:scheduled %s", id);
    redis(s, "LPUSH asynq:{work}:pending %s", id);
    redis(s, "HSET asynq:{work}:t:%s state pending pending_since 1893456000000000000", id);
    assert_int_equal(1, work_one(nq).done);
    assert_status(NEOQ_ENOTFOUND, neoq_testing_work_one(nq, NULL, NULL));
    assert_int_equal(1, recorded(&r));
    assert_string_equal("0", redis(s, "EXISTS asynq:{work}:neoq:order asynq:{work}:pending asynq:{work}:active"));
}

static void test_an_id_without_a_task_is_dropped(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    handle_default(nq, succeed);
    redis(s, "SADD asynq:queues default");
    redis(s, "LPUSH " P "pending nobody");
    assert_status(NEOQ_ENOTFOUND, neoq_testing_work_one(nq, NULL, NULL));
    assert_string_equal("0", redis(s, "EXISTS " P "pending " P "active " P "lease asynq:{default}:t:nobody"));
}

static void test_a_future_job_is_never_early_for_go(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = store_open(s, NULL);
    put_job(nq, (neoq_job){.queue = "work", .run_after = STORE_START + NEOQ_SECONDS(5) + 1}, id);
    assert_string_equal("1893456006", redis(s, "ZSCORE asynq:{work}:scheduled %s", id));
}

static void test_the_type_may_be_given(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = store_open(s, NULL);
    put_job(nq,
            (neoq_job){.queue = "work", .metadata = "{\"x\":{\"asynq_type\":\"no\"},\"asynq_type\":\"mail:send\"}"},
            id);
    assert_memory_equal("\x0a\x09mail:send", redis(s, "HGET asynq:{work}:t:%s msg", id), 11);
}

static void test_scripts_that_the_server_forgot_are_sent_again(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = store_open(s, NULL);
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    for (int i = 0; i < 3; i++) {
        redis(s, "SCRIPT FLUSH");
        put_job(nq, (neoq_job){.queue = "work"}, NULL);
        redis(s, "SCRIPT FLUSH");
        assert_int_equal(1, work_one(nq).done);
    }
}

static void test_a_worker_is_a_server_to_asynqs_tools(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    handle_default(nq, succeed);
    assert_string_equal("1", redis(s, "ZCARD asynq:servers"));
    char key[400];
    snprintf(key, sizeof(key), "%s", redis(s, "ZRANGE asynq:servers 0 0"));
    assert_true(strncmp(key, "asynq:servers:{", 15) == 0);
    assert_string_equal("1", redis(s, "EXISTS %s", key));
    assert_true(atoi(redis(s, "TTL %s", key)) > 0);
    store_close(s, nq);
    assert_string_equal("0", redis(s, "EXISTS asynq:servers asynq:workers %s", key));
}

static int be_shown(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    neoq_testing_tend(arg);
    return NEOQ_OK;
}

static void test_a_run_is_shown_to_asynqs_tools(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE], key[400];
    neoq *nq = store_open(s, NULL);
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "work", .handle = be_shown, .arg = nq}));
    put(nq, "work", "1", id);
    work_one(nq);
    snprintf(key, sizeof(key), "%s", redis(s, "ZRANGE asynq:workers 0 0"));
    assert_true(strncmp(key, "asynq:workers:{", 15) == 0);
    assert_string_equal(id, redis(s, "HKEYS %s", key));
}

/* ---- servers of another kind -------------------------------------------------------------- */

static void test_a_server_that_drops_keys_is_refused(void **state)
{
    static const char *const settings[] = {"maxmemory=100mb", "maxmemory-policy=allkeys-lru", NULL};
    (void)state;
    char url[512];
    neoq *nq = NULL;
    redis_server *server = redis_start(REDIS_SOCKET, settings);
    assert_non_null(server);
    redis_url(server, 0, url, sizeof(url));
    assert_status(NEOQ_EBACKEND, neoq_open(&nq, url, &(neoq_options){.log = quiet}));
    assert_words("allkeys-lru", neoq_error_message());
    strcat(url, "&allow_eviction=true");
    assert_status(NEOQ_OK, neoq_open(&nq, url, &(neoq_options){.log = quiet}));
    neoq_close(nq);
    redis_end(server);
}

static void test_a_full_memory_refuses_jobs_and_loses_none(void **state)
{
    static const char *const settings[] = {"maxmemory=6mb", NULL};
    (void)state;
    char url[512];
    static char payload[100000];
    memset(payload, 'x', sizeof(payload));
    neoq *nq = NULL;
    redis_server *server = redis_start(REDIS_SOCKET, settings);
    assert_non_null(server);
    assert_status(NEOQ_OK, neoq_open(&nq, redis_url(server, 0, url, sizeof(url)), &(neoq_options){.log = quiet}));
    int stored = 0, status = NEOQ_OK;
    for (; stored < 1000 && status == NEOQ_OK; stored += status == NEOQ_OK)
        status = neoq_enqueue(nq,
                              &(neoq_job){.queue = "work",
                                          .payload = payload,
                                          .payload_size = sizeof(payload),
                                          .unique = NEOQ_UNIQUE_OFF},
                              NULL);
    assert_status(NEOQ_EBACKEND, status);
    assert_words("maxmemory", neoq_error_message());
    assert_in_range(stored, 1, 999);
    static recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(20)));
    assert_int_equal(stored, recorded(&r));
    neoq_close(nq);
    redis_end(server);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_task_of_go_is_run_and_leaves_what_it_would_with_go),
        on_store(test_a_task_of_go_fails_as_asynq_counts),
        on_store(test_a_task_that_go_scheduled_is_run_when_it_is_due),
        on_store(test_a_push_of_go_wakes_a_waiting_worker),
        on_store(test_an_active_task_that_nobody_has_a_lease_on_is_found),
        on_store(test_a_lease_of_go_is_over_half_a_minute_late),
        on_store(test_a_run_that_go_took_over_is_not_ended_by_us),
        on_store(test_a_run_that_go_took_over_does_not_fail_by_us),
        on_store(test_what_was_cancelled_and_is_put_back_by_hand_is_run),
        on_store(test_go_frees_the_fingerprint_of_what_it_ends),
        on_store(test_a_lock_that_was_left_behind_guards_nothing),
        on_store(test_what_go_forwards_is_run_once),
        on_store(test_an_id_without_a_task_is_dropped),
        on_store(test_a_future_job_is_never_early_for_go),
        on_store(test_the_type_may_be_given),
        on_store(test_scripts_that_the_server_forgot_are_sent_again),
        on_store(test_a_worker_is_a_server_to_asynqs_tools),
        on_store(test_a_run_is_shown_to_asynqs_tools),
        cmocka_unit_test(test_a_server_that_drops_keys_is_refused),
        cmocka_unit_test(test_a_full_memory_refuses_jobs_and_loses_none),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("redis_asynq", tests, NULL, NULL);
}
