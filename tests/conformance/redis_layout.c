/* SPDX-License-Identifier: MIT
 *
 * ?layout=neoq: Go neoq's arrangement in Redis. What Go does with keys is done here by hand; tests/interop runs the real
 * thing.
 */
#include "support/recorder.h"
#include "support/redis_server.h"
#include "support/store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define P    "asynq:{default}:"
#define UUID "3f2b6c1e-8d4a-4f6b-9c2d-1a2b3c4d5e6f"

static char answer[4096];

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

/* A pending task as Go writes it, with the payload null. */
static void put_task(store *s, const char *type, const char *id, int retry, int retried)
{
    unsigned char message[256];
    int size = snprintf((char *)message, sizeof(message),
                        "\x0a%c%s\x12\x04null\x1a%c%s\x22\x07"
                        "default",
                        (int)strlen(type), type, (int)strlen(id), id);
    const unsigned char numbers[] = {0x28, (unsigned char)retry, 0x30, (unsigned char)retried, 0x40, 0x88, 0x0e};
    memcpy(message + size, numbers, sizeof(numbers));
    assert_true(redis_do(redis_shared(), s->number, NULL, 0, "SADD asynq:queues default"));
    assert_true(redis_do(redis_shared(), s->number, NULL, 0,
                         "HSET " P "t:%s msg %b state pending pending_since 1893455999000000000", id, message,
                         (size_t)size + sizeof(numbers)));
    redis(s, "LPUSH " P "pending %s", id);
}

static void handle(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* ---- what is stored ---------------------------------------------------------------------- */

static json_t *golden_keys(json_t **all)
{
    json_error_t error;
    size_t i;
    json_t *one;
    *all = json_load_file(NEOQ_TEST_GOLDEN "/neoq_redis_keys.json", 0, &error);
    assert_non_null(*all);
    json_array_foreach(json_object_get(*all, "cases"), i, one)
    {
        if (strncmp(json_string_value(json_object_get(one, "case")), "keys (queue paused", 18) == 0)
            return json_object_get(one, "result");
    }
    fail_msg("the golden file has no keys");
    return NULL;
}

static void assert_hex(store *s, const char *key, const char *hex)
{
    char script[256];
    snprintf(script, sizeof(script),
             "local t = {} for c in string.gmatch(redis.call('HGET', '%s', 'msg'), '.') do "
             "t[#t + 1] = string.format('%%02x', string.byte(c)) end return table.concat(t)",
             key);
    /* '.' matches no byte 0 in Lua 5.1: these messages have none. */
    assert_true(redis_do(redis_shared(), s->number, answer, sizeof(answer), "EVAL %s 0", script));
    assert_string_equal(hex, answer);
}

static void test_jobs_are_the_tasks_that_go_neoq_wrote(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    json_t *all, *keys = golden_keys(&all), *value;
    const char *key;
    size_t tasks = 0, i;
    put_job(nq, (neoq_job){.queue = "hello_world", .payload = "{\"message\":\"hello world\"}", .max_retries = 24},
            id);
    assert_string_equal("238279d13bc5cf5e1abc25686f70501f", id);
    put_job(nq,
            (neoq_job){.queue = "hello_world",
                       .payload = "{\"n\":2}",
                       .max_retries = 4,
                       .deadline = (neoq_time)1900000000 * 1000000},
            id);
    put_job(nq, (neoq_job){.queue = "hello_world", .max_retries = 24, .run_after = STORE_START + NEOQ_HOURS(1)}, id);
    json_object_foreach(keys, key, value)
    {
        if (!json_is_object(value))
            continue;
        assert_hex(s, key, json_string_value(json_object_get(value, "msg")));
        assert_string_equal(json_string_value(json_object_get(value, "state")), redis(s, "HGET %s state", key));
        tasks++;
    }
    assert_int_equal(3, tasks);
    json_array_foreach(json_object_get(keys, P "pending"), i, value)
        assert_string_equal(json_string_value(value), redis(s, "LINDEX " P "pending %zu", i));
    assert_string_equal("00a1dddfb9d2670aab174b03428d286d", redis(s, "ZRANGE " P "scheduled 0 -1"));
    assert_string_equal("default", redis(s, "SMEMBERS asynq:queues"));
    json_decref(all);
}

static void test_a_fingerprint_is_taken_once(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {.steps = {{.act = ACT_DISCARD}, {.act = ACT_DONE}}, .step_count = 2, RECORDER_INITIALIZER};
    const neoq_job job = {.queue = "work", .payload = "{\"n\":1}"};
    neoq_job pair[] = {job, {.queue = "work", .payload = "{\"n\":2}"}, job};
    neoq_enqueued results[3];
    char first[NEOQ_ID_SIZE], id[NEOQ_ID_SIZE] = "";
    put_job(nq, job, first);
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &job, id));
    assert_string_equal(first, id);
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, pair, 3, results));
    assert_int_equal(NEOQ_EDUPLICATE, results[0].status);
    assert_int_equal(NEOQ_OK, results[1].status);
    assert_string_equal(first, results[2].id);
    assert_status(NEOQ_OK, neoq_delete(nq, results[1].id));
    handle(nq, "work", &r);
    assert_int_equal(1, work_one(nq).dead);
    assert_status(NEOQ_EUNSUPPORTED, neoq_enqueue(nq, &job, id)); /* it has ended, and asynq has one of an id */
    assert_words(first, neoq_error_message());
    assert_words("retry or delete it", neoq_error_message());
    assert_status(NEOQ_OK, neoq_retry_now(nq, first));
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &job, id));
    assert_int_equal(1, work_one(nq).done);
    put_job(nq, job, id);
    assert_string_equal(first, id);
}

static void test_jobs_that_are_not_unique_have_ids_of_their_own(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_job job = {.queue = "work", .payload = "{}", .unique = NEOQ_UNIQUE_OFF, .id = UUID};
    char id[NEOQ_ID_SIZE];
    put_job(nq, job, id);
    assert_string_equal(UUID, id);
    put_job(nq, job, id); /* there already */
    assert_int_equal(1, jobs_in(nq, "work", NEOQ_READY));
    job.id = NULL;
    put_job(nq, job, id);
    put_job(nq, job, id);
    assert_int_equal(3, jobs_in(nq, "work", NEOQ_READY));
}

static void test_what_go_neoq_has_no_room_for_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char print[200];
    memset(print, 'x', sizeof(print) - 1);
    print[sizeof(print) - 1] = '\0';
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_EUNSUPPORTED, neoq_enqueue(nq, &(neoq_job){.queue = "work", .payload = "text"}, NULL));
    assert_words("a JSON object, or empty", neoq_error_message());
    assert_status(NEOQ_EUNSUPPORTED, neoq_enqueue(nq, &(neoq_job){.queue = "work", .payload = "[1]"}, NULL));
    assert_status(NEOQ_EUNSUPPORTED, neoq_enqueue(nq, &(neoq_job){.queue = "work", .id = UUID}, NULL));
    assert_words("id is its fingerprint", neoq_error_message());
    assert_status(NEOQ_EUNSUPPORTED, neoq_enqueue(nq, &(neoq_job){.queue = "work", .fingerprint = print}, NULL));
    assert_words("up to 127 bytes", neoq_error_message());
    assert_status(NEOQ_EUNSUPPORTED,
                  neoq_schedule(nq, "s", "@hourly", &(neoq_job){.queue = "work", .payload = "text"}));
    assert_string_equal("0", redis(s, "DBSIZE"));
    put(nq, "work", "{}", NULL);
    assert_status(NEOQ_EUNSUPPORTED, neoq_pause(nq, "work"));
    assert_words("layout=neoq", neoq_error_message());
    assert_status(NEOQ_EUNSUPPORTED, neoq_resume(nq, "work"));
    assert_status(NEOQ_EUNSUPPORTED, neoq_purge(nq, "work", NEOQ_READY, NULL));
    assert_status(NEOQ_EUNSUPPORTED, neoq_remove_queue(nq, "work"));
    handler.capacity = 10;
    assert_status(NEOQ_EUNSUPPORTED, neoq_start(nq, &handler));
    assert_int_equal(1, jobs_in(nq, "work", NEOQ_READY));
}

/* ---- claims ------------------------------------------------------------------------------ */

static void test_a_worker_takes_the_types_that_it_handles_alone(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder one = {RECORDER_INITIALIZER}, two = {RECORDER_INITIALIZER};
    put_task(s, "nobodys", "a", 25, 0);
    put_task(s, "one", "b", 25, 0);
    put_task(s, "onemore", "c", 25, 0);
    put_task(s, "two", "d", 25, 0);
    put_task(s, "one", "e", 25, 0);
    handle(nq, "one", &one);
    handle(nq, "two", &two);
    assert_int_equal(3, drain(nq).done);
    assert_int_equal(2, one.count);
    assert_string_equal("b", one.runs[0].id);
    assert_string_equal("b", one.runs[0].fingerprint);
    assert_string_equal("one", one.runs[0].queue);
    assert_int_equal(0, one.runs[0].payload_size);
    assert_false(one.runs[0].has_metadata);
    assert_string_equal("e", one.runs[1].id);
    assert_string_equal("d", two.runs[0].id);
    assert_string_equal("c a", redis(s, "LRANGE " P "pending 0 -1"));
    assert_string_equal("0", redis(s, "EXISTS " P "active " P "lease " P "t:b"));
    assert_string_equal("3", redis(s, "GET " P "processed"));
}

static void test_a_type_with_a_long_name_is_found(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    char name[201];
    memset(name, 'q', 200);
    name[200] = '\0';
    handle(nq, name, &r);
    put(nq, name, "{}", NULL);
    assert_int_equal(1, queue_of(nq, name).ready);
    assert_int_equal(1, work_one(nq).done);
    assert_string_equal(name, r.runs[0].queue);
}

static void test_jobs_behind_many_of_others_are_found(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    neoq_job *jobs = calloc(5000, sizeof(*jobs));
    assert_non_null(jobs);
    for (int i = 0; i < 5000; i++)
        jobs[i] = (neoq_job){.queue = "other", .unique = NEOQ_UNIQUE_OFF, .priority = i % 2};
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 5000, NULL));
    free(jobs);
    put(nq, "work", "{\"n\":1}", NULL);
    put_job(nq, (neoq_job){.queue = "work", .payload = "{\"n\":2}", .priority = -1}, NULL);
    handle(nq, "work", &r);
    for (int i = 0; i < 8; i++) /* each looks at 1000 of a kind */
        neoq_testing_work_one(nq, NULL, NULL);
    assert_int_equal(2, r.count);
    assert_int_equal(5000, queue_of(nq, "other").ready);
}

static void test_a_priority_counts_among_neoqs(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    static const int priorities[] = {0, -1, 1, 0, 5, -1};
    handle(nq, "work", &r);
    put_job(nq, (neoq_job){.queue = "other", .priority = 10}, NULL);
    for (size_t i = 0; i < 6; i++)
        put_job(nq, (neoq_job){.queue = "work", .unique = NEOQ_UNIQUE_OFF, .priority = priorities[i]}, NULL);
    assert_int_equal(6, drain(nq).done);
    for (size_t i = 1; i < 6; i++)
        assert_true(r.runs[i - 1].priority >= r.runs[i].priority);
    assert_string_equal("1", redis(s, "ZCARD " P "neoq:order")); /* the other's */
}

/* ---- runs -------------------------------------------------------------------------------- */

/* Until nothing is ready within a year. */
static void work_off(store *s, neoq *nq)
{
    for (int i = 0; i < 40; i++) {
        drain(nq);
        neoq_clock_advance(s->clock, NEOQ_HOURS(240));
    }
}

static void test_a_job_of_go_runs_as_often_as_go_would_run_it(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.dead_retention = NEOQ_FOREVER});
    recorder r = {.steps = {{.act = ACT_FAIL}}, .step_count = 1, RECORDER_INITIALIZER};
    handle(nq, "work", &r);
    put_task(s, "work", "three", 3, 0);
    work_off(s, nq);
    assert_int_equal(3, r.count);
    assert_int_equal(NEOQ_DEAD, state_of(nq, "three"));
    put_task(s, "work", "none", 0, 0);
    put_task(s, "work", "spent", 5, 5); /* Go's worker ends it when it meets it the sixth time */
    work_off(s, nq);
    assert_int_equal(3, r.count);
    assert_int_equal(NEOQ_DEAD, state_of(nq, "none"));
    assert_string_equal("the job has exceeded the maximum number of retries", store_job(s, nq, "spent")->error);
    assert_string_equal("archived", redis(s, "HGET " P "t:spent state"));
    assert_string_equal("0", redis(s, "EXISTS " P "active " P "lease"));
}

static void test_a_job_of_ours_runs_as_often_as_we_say(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.dead_retention = NEOQ_FOREVER});
    recorder r = {.steps = {{.act = ACT_FAIL}}, .step_count = 1, RECORDER_INITIALIZER};
    char id[NEOQ_ID_SIZE];
    handle(nq, "work", &r);
    put_job(nq, (neoq_job){.queue = "work", .payload = "{}", .max_retries = 2}, id);
    assert_int_equal(2, store_job(s, nq, id)->max_retries);
    work_off(s, nq);
    assert_int_equal(3, r.count);
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
    assert_status(NEOQ_OK, neoq_retry_now(nq, id));
    work_off(s, nq);
    assert_int_equal(4, r.count);
    put_job(nq, (neoq_job){.queue = "work", .payload = "{\"n\":1}", .max_retries = NEOQ_NO_RETRIES}, id);
    work_off(s, nq);
    assert_int_equal(5, r.count);
}

static void test_slowing_down_slows_nobody_else(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder slow = {.steps = {{.act = ACT_SLOW_DOWN}}, .step_count = 1, RECORDER_INITIALIZER},
             other = {RECORDER_INITIALIZER};
    handle(nq, "slow", &slow);
    put(nq, "slow", "{}", NULL);
    assert_int_equal(1, work_one(nq).failed);
    handle(nq, "other", &other);
    put(nq, "other", "{}", NULL);
    assert_int_equal(1, work_one(nq).done);
}

static void test_a_dead_workers_run_is_found(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    handle(nq, "work", &r);
    put_task(s, "work", "a", 25, 0);
    redis(s, "RPOPLPUSH " P "pending " P "active");
    redis(s, "HSET " P "t:a state active");
    redis(s, "ZADD " P "lease 1893455960 a");
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(1, drain(nq).done);
    assert_string_equal("work", r.runs[0].queue);
}

static void test_what_is_enqueued_elsewhere_is_heard_of(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *worker = store_open_real(s, ON_HINTS_ALONE), *other = store_open_real(s, NULL);
    handle(worker, "work", &r);
    put(other, "work", "{\"n\":1}", NULL);
    eventually(recorded_ends(&r) == 1);
    put_task(s, "nobodys", "a", 25, 0); /* so that the list never gets empty */
    put(other, "work", "{\"n\":2}", NULL);
    eventually(recorded_ends(&r) == 2);
    put_task(s, "work", "b", 25, 0); /* of which nobody tells */
    eventually(recorded_ends(&r) == 3);
    assert_status(NEOQ_OK, neoq_drain(worker, NEOQ_SECONDS(20)));
}

/* ---- looking, schedules ------------------------------------------------------------------ */

static void test_queues_are_counted_by_type(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.dead_retention = NEOQ_FOREVER});
    recorder r = {.steps = {{.act = ACT_DISCARD}, {.act = ACT_FAIL}, {.act = ACT_DONE}},
                  .step_count = 3,
                  RECORDER_INITIALIZER};
    handle(nq, "one", &r);
    put(nq, "one", "{\"n\":1}", NULL);
    put(nq, "one", "{\"n\":2}", NULL);
    put_job(nq, (neoq_job){.queue = "one", .payload = "{\"n\":3}", .retention = NEOQ_HOURS(1)}, NULL);
    drain(nq);
    put_job(nq, (neoq_job){.queue = "one", .run_after = STORE_START + NEOQ_HOURS(1)}, NULL);
    put_job(nq, (neoq_job){.queue = "one", .payload = "{\"n\":4}", .priority = 1}, NULL);
    put_task(s, "two", "a", 25, 0);
    neoq_queue_info one = queue_of(nq, "one"), two = queue_of(nq, "two");
    assert_int_equal(1, one.dead);
    assert_int_equal(1, one.retrying);
    assert_int_equal(1, one.done);
    assert_int_equal(1, one.scheduled);
    assert_int_equal(1, one.ready);
    assert_int_equal(1, two.ready);
    assert_int_equal(0, two.dead + two.running + two.scheduled);
    assert_int_equal(5, jobs_in(nq, "one", (neoq_state)0));
    assert_int_equal(1, jobs_in(nq, "two", NEOQ_READY));
    assert_int_equal(0, jobs_in(nq, "default", (neoq_state)0));
    neoq_clock_advance(s->clock, NEOQ_HOURS(2));
    assert_int_equal(3, queue_of(nq, "one").ready);
}

static void test_a_tick_is_a_task_with_an_id_of_its_own(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    neoq_handler handler = recording(NULL, &r);
    assert_status(NEOQ_OK, neoq_start_cron(nq, "* * * * *", &handler));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(61));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(36, strlen(redis(s, "LINDEX " P "pending 0")));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(60));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(2, drain(nq).done);
    assert_string_equal("every_minute", r.runs[0].queue);
    assert_int_equal(0, r.runs[0].payload_size);
}

static void test_a_schedule_moves_to_another_queue(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    neoq_schedule_info *schedules;
    size_t count;
    handle(nq, "two", &r);
    assert_status(NEOQ_OK, neoq_schedule(nq, "s", "@every 1m", &(neoq_job){.queue = "one"}));
    assert_status(NEOQ_OK, neoq_schedule(nq, "s", "@every 1m", &(neoq_job){.queue = "two"}));
    assert_status(NEOQ_OK, neoq_schedules(nq, &schedules, &count));
    assert_int_equal(1, count);
    assert_string_equal("two", schedules[0].queue);
    free(schedules);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(61));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(1, drain(nq).done);
    assert_status(NEOQ_OK, neoq_unschedule(nq, "s"));
}

int main(int argc, char **argv)
{
    if (!store_choose(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        on_store(test_jobs_are_the_tasks_that_go_neoq_wrote),
        on_store(test_a_fingerprint_is_taken_once),
        on_store(test_jobs_that_are_not_unique_have_ids_of_their_own),
        on_store(test_what_go_neoq_has_no_room_for_is_refused),
        on_store(test_a_worker_takes_the_types_that_it_handles_alone),
        on_store(test_a_type_with_a_long_name_is_found),
        on_store(test_jobs_behind_many_of_others_are_found),
        on_store(test_a_priority_counts_among_neoqs),
        on_store(test_a_job_of_go_runs_as_often_as_go_would_run_it),
        on_store(test_a_job_of_ours_runs_as_often_as_we_say),
        on_store(test_slowing_down_slows_nobody_else),
        on_store(test_a_dead_workers_run_is_found),
        on_store(test_what_is_enqueued_elsewhere_is_heard_of),
        on_store(test_queues_are_counted_by_type),
        on_store(test_a_tick_is_a_task_with_an_id_of_its_own),
        on_store(test_a_schedule_moves_to_another_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
