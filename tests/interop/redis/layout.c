/* SPDX-License-Identifier: MIT
 *
 * ?layout=neoq with real Go neoq at the other end: what one side enqueues the other runs, as often and as late as the
 * side that enqueued it says.
 *
 * The Go program takes tasks off the queue as soon as it is started, and fails those that it has no handler for. So where
 * it only enqueues, the queue is paused before.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interop/redis/peer.h"
#include "support/recorder.h"
#include "support/redis_server.h"
#include "support/store.h"

#define PAYLOAD "{\"message\":\"hello world\"}"
#define PRINT   "238279d13bc5cf5e1abc25686f70501f" /* of that in the queue hello_world */

static redis_server *server;
static char address[32], answer[1024];

/* A server with a port for each test: Go neoq knows no databases and no sockets. */
static int layout_setup(void **state)
{
    server = redis_start(REDIS_PORT, NULL);
    if (!server || store_setup(state) != 0)
        return -1;
    store *s = *state;
    snprintf(address, sizeof(address), "127.0.0.1:%d", redis_port(server));
    snprintf(s->url, sizeof(s->url), "redis://%s?layout=neoq", address);
    return 0;
}

static int layout_teardown(void **state)
{
    int failed = store_teardown(state);
    redis_end(server);
    return failed;
}

#define on_layout(test) cmocka_unit_test_setup_teardown(test, layout_setup, layout_teardown)

static const char *redis(const char *command)
{
    assert_true(redis_do(server, 0, answer, sizeof(answer), command));
    return answer;
}

/* Enqueues there, while nobody takes anything: the job's id, and the words of refusal, or "". */
static const char *enqueue_there(const char *line, char id[NEOQ_ID_SIZE])
{
    static char words[256];
    redis("SET asynq:{default}:paused 1");
    json_t *said = peer_ask("neoq", address, "enqueue", NULL, line);
    snprintf(words, sizeof(words), "%s", peer_text(said, "error"));
    snprintf(id, NEOQ_ID_SIZE, "%s", peer_text(said, "id"));
    json_decref(said);
    redis("DEL asynq:{default}:paused");
    return words;
}

static peer work_there(const char *settings)
{
    peer p = peer_start("neoq", address, "work", (const char *const[]){settings, NULL});
    json_decref(peer_expect(&p, "ready"));
    return p;
}

static void expect_start(peer *p, const char *queue, const char *payload)
{
    json_t *said = peer_expect(p, "start");
    char *got = json_dumps(json_object_get(said, "payload"), JSON_ENCODE_ANY | JSON_COMPACT);
    assert_string_equal(queue, peer_text(said, "queue"));
    assert_string_equal(payload, got);
    free(got);
    json_decref(said);
}

static neoq *work_here(store *s, const char *queue, recorder *r)
{
    neoq *nq = store_open_real(s, NULL);
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    return nq;
}

/* ---- now and later ----------------------------------------------------------------------- */

static void test_what_go_enqueues_we_run(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    char id[NEOQ_ID_SIZE];
    assert_string_equal("", enqueue_there("{\"queue\":\"hello_world\",\"payload\":" PAYLOAD "}", id));
    assert_string_equal(PRINT, id);
    neoq *nq = store_open_real(s, NULL);
    const neoq_job *job = store_job(s, nq, id);
    assert_string_equal("hello_world", job->queue);
    assert_string_equal(PAYLOAD, job->payload);
    assert_string_equal(PRINT, job->fingerprint);
    assert_int_equal(24, job->max_retries); /* 25 runs */
    nq = work_here(s, "hello_world", &r);
    eventually(!has_job(nq, id));
    assert_int_equal(1, r.count);
    assert_string_equal(PAYLOAD, (const char *)r.runs[0].payload);
}

static void test_what_we_enqueue_go_runs(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    char id[NEOQ_ID_SIZE];
    peer p = work_there("{\"behave\":{\"hello_world\":\"ok\",\"foo\":\"ok\"}}");
    put(nq, "hello_world", PAYLOAD, id);
    assert_string_equal(PRINT, id);
    expect_start(&p, "hello_world", PAYLOAD);
    eventually(!has_job(nq, id));
    put(nq, "hello_world", NULL, id);
    expect_start(&p, "hello_world", "null");
    put(nq, "foobar", "{}", id); /* to Go a handler's queue is a prefix */
    expect_start(&p, "foo", "{}");
    peer_finish(&p);
}

static void test_what_go_schedules_we_run_then(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    char id[NEOQ_ID_SIZE];
    neoq *nq = work_here(s, "work", &r);
    assert_string_equal("", enqueue_there("{\"queue\":\"work\",\"payload\":{},\"in\":\"2s\"}", id));
    neoq_time due = store_job(s, nq, id)->run_after;
    assert_int_equal(0, due % 1000000);
    eventually(recorded_ends(&r) == 1);
    assert_true(r.runs[0].ran_at >= due);
}

static void test_what_we_schedule_go_runs_then(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    neoq_time due = neoq_now() + NEOQ_SECONDS(1);
    peer p = work_there("{\"behave\":{\"work\":\"ok\"}}");
    put_job(nq, (neoq_job){.queue = "work", .run_after = due}, NULL);
    expect_start(&p, "work", "null");
    assert_true(neoq_now() >= due);
    peer_finish(&p);
}

static void test_a_fingerprint_is_taken_for_either_side(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    char first[NEOQ_ID_SIZE], id[NEOQ_ID_SIZE];
    const neoq_job job = {.queue = "work", .payload = "{\"b\":1,\"a\":\"<x&y>\"}"};
    const char line[] = "{\"queue\":\"work\",\"payload\":{\"a\":\"<x&y>\",\"b\":1}}";
    put_job(nq, job, first);
    assert_string_equal("unable to enqueue task: task ID conflicts with another task", enqueue_there(line, id));
    assert_string_equal(first, id);
    assert_status(NEOQ_OK, neoq_delete(nq, first));
    assert_string_equal("", enqueue_there(line, id));
    assert_string_equal(first, id);
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &job, id));
    assert_string_equal(first, id);
    put_job(nq, (neoq_job){.queue = "work", .fingerprint = "mine"}, NULL);
    assert_string_equal("unable to enqueue task: task ID conflicts with another task",
                        enqueue_there("{\"queue\":\"other\",\"payload\":{},\"fingerprint\":\"mine\"}", id));
}

/* ---- until the limit --------------------------------------------------------------------- */

static void test_what_go_enqueues_we_run_as_often_as_it_says(void **state)
{
    store *s = *state;
    recorder r = {.steps = {{.act = ACT_RETRY_IN, .words = "boom"}}, .step_count = 1, RECORDER_INITIALIZER};
    char id[NEOQ_ID_SIZE];
    neoq *nq = work_here(s, "work", &r);
    assert_string_equal("", enqueue_there("{\"queue\":\"work\",\"payload\":{},\"retry\":2}", id));
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(2, recorded(&r));
    json_t *all = peer_ask("asynq-0.24", s->url, "inspect", "default", NULL);
    json_t *archived = json_object_get(json_object_get(json_object_get(all, "queues"), "default"), "archived");
    assert_int_equal(1, json_array_size(archived));
    assert_string_equal("boom", peer_text(json_array_get(archived, 0), "error"));
    json_decref(all);
    assert_string_equal("", enqueue_there("{\"queue\":\"work\",\"payload\":{\"n\":1},\"retry\":0}", id));
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(2, recorded(&r)); /* Go does not run such a one either */
}

/* Its retries are waited for by hand: the first would come after half a minute. */
static void test_what_we_enqueue_go_runs_as_often_as_we_say(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    char id[NEOQ_ID_SIZE];
    peer p = work_there("{\"behave\":{\"work\":\"fail:boom\"}}");
    put_job(nq, (neoq_job){.queue = "work", .max_retries = 1}, id);
    for (int i = 0; i < 2; i++) {
        expect_start(&p, "work", "null");
        eventually(state_of(nq, id) == NEOQ_RETRYING);
        assert_string_equal("job failed to process: boom", store_job(s, nq, id)->error);
        assert_status(NEOQ_OK, neoq_retry_now(nq, id));
    }
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_words("exceeded the maximum number of retries", store_job(s, nq, id)->error);
    assert_false(peer_has_said(&p));
    peer_finish(&p);
}

static void test_what_fails_there_goes_on_here(void **state)
{
    store *s = *state;
    recorder r = {.steps = {{.act = ACT_RETRY_IN}}, .step_count = 1, RECORDER_INITIALIZER};
    neoq *nq = store_open_real(s, NULL);
    char id[NEOQ_ID_SIZE];
    peer p = work_there("{\"behave\":{\"work\":\"panic:boom\"}}");
    put_job(nq, (neoq_job){.queue = "work", .max_retries = 2}, id);
    expect_start(&p, "work", "null");
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    peer_finish(&p);
    nq = work_here(s, "work", &r);
    assert_status(NEOQ_OK, neoq_retry_now(nq, id));
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(2, recorded(&r)); /* and one there */
}

/* ---- deadlines, schedules, both at once -------------------------------------------------- */

static void test_a_deadline_of_go_holds_here(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    char id[NEOQ_ID_SIZE], line[160];
    neoq_time deadline = neoq_now() / 1000000 + 1;
    snprintf(line, sizeof(line), "{\"queue\":\"work\",\"payload\":{},\"deadline\":%lld,\"in\":\"2500ms\"}",
             (long long)deadline);
    neoq *nq = work_here(s, "work", &r);
    assert_string_equal("", enqueue_there(line, id));
    assert_true(store_job(s, nq, id)->deadline == deadline * 1000000);
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(0, recorded(&r));
}

static void test_a_deadline_of_ours_holds_there(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    char id[NEOQ_ID_SIZE];
    neoq_time now = neoq_now();
    peer p = work_there("{\"behave\":{\"work\":\"ok\"}}");
    put_job(nq,
            (neoq_job){.queue = "work", .run_after = now + NEOQ_SECONDS(2), .deadline = now + NEOQ_MILLISECONDS(500)},
            id);
    eventually(state_of(nq, id) == NEOQ_RETRYING);
    assert_words("deadline", store_job(s, nq, id)->error);
    assert_false(peer_has_said(&p)); /* it was not run */
    peer_finish(&p);
}

/* There each is run for an hour, four at once: the others are left to us. */
static void test_gos_ticks_we_run(void **state)
{
    store *s = *state;
    recorder r = {RECORDER_INITIALIZER};
    peer p = work_there("{\"cron\":{\"* * * * * *\":\"sleep:1h\"}}");
    work_here(s, "every_second", &r);
    eventually(recorded_ends(&r) > 0);
    assert_int_equal(0, r.runs[0].payload_size);
    peer_kill(&p);
}

static void test_our_ticks_go_runs(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    peer p = work_there("{\"behave\":{\"every_second\":\"ok\"}}");
    assert_status(NEOQ_OK, neoq_schedule(nq, "tick", "* * * * * *", &(neoq_job){.queue = "every_second"}));
    eventually(neoq_tend(nq) == NEOQ_OK && peer_has_said(&p));
    expect_start(&p, "every_second", "null");
    peer_finish(&p);
}

/* Each job is run by one of the two, once. Ours goes on with its first when Go has begun one. */
static void test_both_sides_work_on_what_both_enqueue(void **state)
{
    enum { EACH = 40 };
    store *s = *state;
    gate held = GATE_INITIALIZER;
    recorder r = {.hold = &held, RECORDER_INITIALIZER};
    char line[64];
    int there;
    neoq *nq = store_open_real(s, NULL);
    redis("SET asynq:{default}:paused 1");
    peer producer = peer_start("neoq", address, "enqueue", NULL);
    for (int i = 0; i < EACH; i++) {
        snprintf(line, sizeof(line), "{\"queue\":\"work\",\"payload\":{\"go\":%d}}", i);
        peer_tell(&producer, line);
        json_decref(peer_hear(&producer));
        snprintf(line, sizeof(line), "{\"c\":%d}", i);
        put(nq, "work", line, NULL);
    }
    peer_finish(&producer);
    peer p = work_there("{\"behave\":{\"work\":\"sleep:1s\"}}"); /* it leaves some to us, however late we look */
    nq = work_here(s, "work", &r);
    redis("DEL asynq:{default}:paused");
    json_decref(peer_expect(&p, "start"));
    eventually(recorded(&r) == 1);
    gate_open(&held);
    eventually(jobs_in(nq, "work", (neoq_state)0) == 0);
    for (there = 1; peer_has_said(&p); there++)
        json_decref(peer_expect(&p, "start"));
    assert_int_equal(2 * EACH, (int)recorded(&r) + there);
    assert_in_range(there, 1, 2 * EACH - 1);
    assert_string_equal("80", redis("GET asynq:{default}:processed"));
    peer_finish(&p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_layout(test_what_go_enqueues_we_run),
        on_layout(test_what_we_enqueue_go_runs),
        on_layout(test_what_go_schedules_we_run_then),
        on_layout(test_what_we_schedule_go_runs_then),
        on_layout(test_a_fingerprint_is_taken_for_either_side),
        on_layout(test_what_go_enqueues_we_run_as_often_as_it_says),
        on_layout(test_what_we_enqueue_go_runs_as_often_as_we_say),
        on_layout(test_what_fails_there_goes_on_here),
        on_layout(test_a_deadline_of_go_holds_here),
        on_layout(test_a_deadline_of_ours_holds_there),
        on_layout(test_gos_ticks_we_run),
        on_layout(test_our_ticks_go_runs),
        on_layout(test_both_sides_work_on_what_both_enqueue),
    };
    peers_or_skip();
    char *of_redis[] = {argv[0], (char[]){"redis:"}, argc == 2 ? argv[1] : NULL};
    if (argc > 2 || !store_choose(argc + 1, of_redis))
        return 2;
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
