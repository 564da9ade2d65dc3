/* SPDX-License-Identifier: MIT
 *
 * asynq's messages, with real asynq at the other end of Redis: what it writes we read, and would write byte for byte;
 * what we write it reads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/message.h"
#include "interop/redis/peer.h"
#include "redis/support.h"

static const char *const versions[] = {"asynq-0.26", "asynq-0.24"};
enum { VERSIONS = sizeof versions / sizeof *versions };

/* ---- commands ---------------------------------------------------------------------------- */

/* The reply to one command; asserts that it is no error. */
static redisReply *ask(base *b, int argc, const char *const *argv, const size_t *lengths)
{
    redisReply *reply;
    nq_bound bound = patiently();
    rd_connection *c = open_connection(b, NULL);
    assert_int_equal(NEOQ_OK, rd_append(c, argc, argv, lengths));
    assert_int_equal(NEOQ_OK, rd_reply(c, &bound, &reply));
    rd_disconnect(c);
    b->url_count--; /* the connection's */
    rd_url_free(&b->urls[b->url_count]);
    if (rd_is_error(reply, NULL))
        fail_msg("%s: %s", argv[0], reply->str);
    return reply;
}

static redisReply *message_of(base *b, const char *queue, const char *id)
{
    char key[512];
    snprintf(key, sizeof key, "asynq:{%s}:t:%s", queue, id);
    redisReply *reply = ask(b, 3, (const char *const[]){"HGET", key, "msg"}, NULL);
    assert_int_equal(REDIS_REPLY_STRING, reply->type);
    return reply;
}

static void assert_same(const redisReply *reply, const nq_buffer *made)
{
    assert_int_equal(reply->len, made->size);
    assert_memory_equal(reply->str, made->data, made->size);
}

static void assert_bytes(const char *expected, rd_bytes got)
{
    assert_int_equal(strlen(expected), got.size);
    assert_memory_equal(expected, got.data, got.size);
}

/* ---- tasks that Go writes ---------------------------------------------------------------- */

static void check_hex(const char *hex, const redisReply *reply)
{
    assert_int_equal(strlen(hex), 2 * reply->len);
    for (size_t i = 0; i < reply->len; i++) {
        char digits[3];
        snprintf(digits, sizeof digits, "%02x", (unsigned char)reply->str[i]);
        assert_memory_equal(digits, hex + 2 * i, 2);
    }
}

/* A recorded task as a line for the Go program; NULL: no client can make such a one. */
static char *line_of(json_t *fields)
{
    static const char *const inner[] = {"error_msg", "last_failed_at", "retried",  "completed_at",
                                        "headers",   "unique_key",     "group_key"};
    json_t *line = json_deep_copy(fields);
    char seconds[32];
    char *made = NULL;
    bool possible = *peer_text(fields, "type") && *peer_text(fields, "queue") && *peer_text(fields, "id") &&
                    peer_number(fields, "retry") >= 0 && peer_number(fields, "retry") <= INT32_MAX &&
                    (peer_number(fields, "timeout") > 0 || peer_number(fields, "deadline") > 0) &&
                    peer_number(fields, "deadline") >= 0 && peer_number(fields, "retention") >= 0 &&
                    peer_number(fields, "timeout") < 1000000000;
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        possible = possible && !json_object_get(fields, inner[i]);
    json_object_del(line, "timeout");
    json_object_del(line, "retention");
    json_object_set_new(line, "retry", json_integer(peer_number(fields, "retry")));
    snprintf(seconds, sizeof seconds, "%llds", (long long)peer_number(fields, "timeout"));
    if (peer_number(fields, "timeout"))
        json_object_set_new(line, "timeout", json_string(seconds));
    snprintf(seconds, sizeof seconds, "%llds", (long long)peer_number(fields, "retention"));
    if (peer_number(fields, "retention"))
        json_object_set_new(line, "retention", json_string(seconds));
    if (possible)
        made = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    return made;
}

static void test_recorded_tasks_are_what_both_versions_write(void **state)
{
    base *b = *state;
    json_error_t error;
    json_t *golden = json_load_file(NEOQ_TEST_GOLDEN "/asynq_messages.json", 0, &error), *c;
    size_t i;
    assert_non_null(golden);
    for (int v = 0; v < VERSIONS; v++) {
        int done = 0;
        peer p = peer_start(versions[v], b->url, "enqueue", NULL);
        json_array_foreach(json_object_get(golden, "cases"), i, c)
        {
            json_t *fields = json_object_get(c, "fields");
            bool task = strcmp(peer_text(c, "kind"), "TaskMessage") == 0 && fields && *peer_text(c, "hex");
            char *line = task ? line_of(fields) : NULL;
            if (!line)
                continue;
            peer_tell(&p, line);
            json_t *answer = peer_hear(&p);
            if (*peer_text(answer, "error"))
                fail_msg("%s: %s", line, peer_text(answer, "error"));
            redisReply *reply = message_of(b, peer_text(fields, "queue"), peer_text(fields, "id"));
            check_hex(peer_text(c, "hex"), reply);
            freeReplyObject(reply);
            json_decref(answer);
            free(line);
            done++;
            assert_true(redis_drop(b->server, b->database));
        }
        peer_finish(&p);
        assert_true(done >= 3);
    }
    json_decref(golden);
}

static void test_every_field_of_a_task_is_read(void **state)
{
    base *b = *state;
    static const char line[] =
        "{\"type\":\"img:resize\",\"payload_hex\":\"00ff80\",\"id\":\"job-1\",\"queue\":\"critical\",\"retry\":3,"
        "\"timeout\":\"60s\",\"deadline\":1900000000,\"unique\":\"1h\",\"retention\":\"24h\",\"group\":\"g1\"%s}";
    for (int v = 0; v < VERSIONS; v++) {
        char all[400];
        rd_task task;
        rd_bytes value;
        nq_buffer made = {0};
        snprintf(all, sizeof all, line, v == 0 ? ",\"headers\":{\"k\":\"v\",\"\":\"x\"}" : "");
        json_decref(peer_ask(versions[v], b->url, "enqueue", NULL, all));
        redisReply *reply = message_of(b, "critical", "job-1");
        assert_int_equal(NEOQ_OK, rd_task_decode(reply->str, reply->len, &task));
        assert_bytes("img:resize", task.type);
        assert_int_equal(3, task.payload.size);
        assert_memory_equal("\0\xff\x80", task.payload.data, 3);
        assert_bytes("job-1", task.id);
        assert_bytes("critical", task.queue);
        assert_int_equal(3, task.max_retries);
        assert_int_equal(60, task.timeout);
        assert_int_equal(1900000000, task.deadline);
        assert_bytes("asynq:{critical}:unique:img:resize:4fd64cb80c3f86e1e9d0f559af8b370f", task.unique_key);
        assert_int_equal(86400, task.retention);
        assert_bytes("g1", task.group);
        assert_int_equal(v == 0, rd_task_header(&task, "k", &value));
        assert_int_equal(NEOQ_OK, rd_task_encode(&task, &made));
        assert_same(reply, &made);
        freeReplyObject(reply);
        nq_buffer_free(&made);
        assert_true(redis_drop(b->server, b->database));
    }
}

/* ---- tasks that we write ----------------------------------------------------------------- */

static void store_archived(base *b, const rd_task *task)
{
    nq_buffer made = {0};
    assert_int_equal(NEOQ_OK, rd_task_encode(task, &made));
    freeReplyObject(ask(b, 3, (const char *const[]){"SADD", "asynq:queues", "q"}, NULL));
    freeReplyObject(ask(b, 4, (const char *const[]){"ZADD", "asynq:{q}:archived", "1900000000", "x"}, NULL));
    const char *const set[] = {"HSET", "asynq:{q}:t:x", "state", "archived", "msg", made.data};
    const size_t lengths[] = {4, 13, 5, 8, 3, made.size};
    freeReplyObject(ask(b, 6, set, lengths));
    nq_buffer_free(&made);
}

static void test_what_we_write_go_reads(void **state)
{
    base *b = *state;
    const rd_entry headers[] = {{.name = rd_text("k"), .value = rd_text("v")}, {.name = rd_text("leer")}};
    rd_task task = {.type = rd_text("übung"),
                    .payload = {"\0\xff", 2},
                    .id = rd_text("x"),
                    .queue = rd_text("q"),
                    .max_retries = 7,
                    .retries = 2,
                    .error = rd_text("boom"),
                    .timeout = 90,
                    .deadline = 1900000001,
                    .last_failed_at = 1700000000,
                    .retention = 3600,
                    .group = rd_text("g"),
                    .headers = {headers, 2}};
    store_archived(b, &task);
    for (int v = 0; v < VERSIONS; v++) {
        json_t *all = peer_ask(versions[v], b->url, "inspect", NULL, NULL);
        json_t *queue = json_object_get(json_object_get(all, "queues"), "q");
        json_t *read = json_array_get(json_object_get(queue, "archived"), 0);
        assert_non_null(read);
        assert_string_equal("übung", peer_text(read, "type"));
        assert_string_equal("00ff", peer_text(read, "payload_hex"));
        assert_string_equal("x", peer_text(read, "id"));
        assert_int_equal(7, peer_number(read, "retry"));
        assert_int_equal(2, peer_number(read, "retried"));
        assert_string_equal("boom", peer_text(read, "error"));
        assert_string_equal("1m30s", peer_text(read, "timeout"));
        assert_int_equal(1900000001, peer_number(read, "deadline"));
        assert_int_equal(1700000000, peer_number(read, "failed_at"));
        assert_string_equal("1h0m0s", peer_text(read, "retention"));
        assert_string_equal("g", peer_text(read, "group"));
        json_t *got = json_object_get(read, "headers");
        assert_int_equal(v == 0 ? 2 : 0, json_object_size(got));
        if (v == 0)
            assert_string_equal("v", peer_text(got, "k"));
        json_decref(all);
    }
}

/* ---- servers, runs and schedules --------------------------------------------------------- */

/* The value of a key, or of the only field of a hash, that the pattern names. */
static redisReply *value_by(base *b, const char *pattern, const char *command)
{
    redisReply *keys = ask(b, 2, (const char *const[]){"KEYS", pattern}, NULL);
    assert_int_equal(1, keys->elements);
    const char *const argv[] = {command, keys->element[0]->str, "0", "-1"};
    redisReply *value = ask(b, strcmp(command, "LRANGE") == 0 ? 4 : 2, argv, NULL);
    freeReplyObject(keys);
    return value;
}

static bool has_key(base *b, const char *pattern)
{
    redisReply *keys = ask(b, 2, (const char *const[]){"KEYS", pattern}, NULL);
    bool has = keys->elements > 0;
    freeReplyObject(keys);
    return has;
}

/* A server writes of itself every five seconds: of its run, at the second time. */
static void check_server(base *b, const char *version)
{
    nq_buffer made = {0};
    rd_server server;
    rd_worker worker;
    rd_entry queue;
    peer p = peer_start(
        version, b->url, "work",
        (const char *const[]){"{\"queues\":{\"default\":3},\"strict\":true,\"concurrency\":2,\"shutdown\":\"1ms\","
                              "\"behave\":{\"t\":\"wait\"}}",
                              NULL});
    json_decref(peer_expect(&p, "ready"));
    json_decref(peer_ask(version, b->url, "enqueue", NULL, "{\"type\":\"t\",\"payload\":\"p\",\"id\":\"run\"}"));
    json_decref(peer_expect(&p, "start"));
    eventually(has_key(b, "asynq:workers:{*}"));

    redisReply *reply = value_by(b, "asynq:servers:{*}", "GET");
    assert_int_equal(NEOQ_OK, rd_server_decode(reply->str, reply->len, &server));
    assert_bytes("active", server.status);
    assert_int_equal(2, server.concurrency);
    assert_int_equal(1, server.active_workers);
    assert_true(server.strict);
    size_t at = 0;
    assert_true(rd_server_next_queue(&server, &at, &queue));
    assert_bytes("default", queue.name);
    assert_int_equal(3, queue.number);
    assert_int_equal(NEOQ_OK, rd_server_encode(&server, &made));
    assert_same(reply, &made);
    freeReplyObject(reply);

    nq_buffer_clear(&made);
    reply = value_by(b, "asynq:workers:{*}", "HVALS");
    assert_int_equal(1, reply->elements);
    const redisReply *run = reply->element[0];
    assert_int_equal(NEOQ_OK, rd_worker_decode(run->str, run->len, &worker));
    assert_bytes("run", worker.task_id);
    assert_bytes("p", worker.payload);
    assert_int_equal(1800, worker.deadline.seconds - worker.started.seconds);
    assert_int_equal(NEOQ_OK, rd_worker_encode(&worker, &made));
    assert_same(run, &made);
    freeReplyObject(reply);
    nq_buffer_free(&made);
    json_decref(peer_ask(versions[0], b->url, "inspect", "default", NULL));
    peer_finish(&p);
    assert_true(redis_drop(b->server, b->database));
}

static void test_servers_and_runs_are_read(void **state)
{
    for (int v = 0; v < VERSIONS; v++)
        check_server(*state, versions[v]);
}

static void check_schedule(base *b, const char *version)
{
    nq_buffer made = {0};
    rd_schedule schedule;
    rd_entry option;
    peer p = peer_start(version, b->url, "schedule", NULL);
    peer_tell(&p, "{\"spec\":\"@every 1h\",\"type\":\"report\",\"queue\":\"low\",\"timeout\":\"1m\",\"null\":true}");
    json_t *said = peer_hear(&p);
    eventually(has_key(b, "asynq:schedulers:{*}"));
    redisReply *reply = value_by(b, "asynq:schedulers:{*}", "LRANGE");
    const redisReply *entry = reply->element[0];
    assert_int_equal(NEOQ_OK, rd_schedule_decode(entry->str, entry->len, &schedule));
    assert_bytes(peer_text(said, "id"), schedule.id);
    assert_bytes("@every 1h", schedule.spec);
    assert_bytes("report", schedule.task_type);
    assert_int_equal(0, rd_stamp_time(schedule.last));
    assert_true(rd_stamp_time(schedule.next) > 0);
    size_t at = 0;
    assert_true(rd_schedule_next_option(&schedule, &at, &option));
    assert_bytes("Queue(\"low\")", option.name);
    assert_true(rd_schedule_next_option(&schedule, &at, &option));
    assert_bytes("Timeout(1m0s)", option.name);
    assert_int_equal(NEOQ_OK, rd_schedule_encode(&schedule, &made));
    assert_same(entry, &made);
    freeReplyObject(reply);
    nq_buffer_free(&made);
    json_decref(said);
    peer_finish(&p);
    assert_true(redis_drop(b->server, b->database));
}

static void test_schedules_are_read(void **state)
{
    for (int v = 0; v < VERSIONS; v++)
        check_schedule(*state, versions[v]);
}

/* A value of ours at a key of ours, listed in a sorted set until the year 2030. */
static void store_listed(base *b, const char *list, const char *key, const char *command, const char *field,
                         const nq_buffer *made)
{
    freeReplyObject(ask(b, 4, (const char *const[]){"ZADD", list, "1900000000", key}, NULL));
    const char *const argv[] = {command, key, field ? field : made->data, made->data};
    const size_t lengths[] = {strlen(command), strlen(key), field ? strlen(field) : made->size, made->size};
    freeReplyObject(ask(b, field ? 4 : 3, argv, lengths));
}

static void test_our_servers_runs_and_schedules_go_reads(void **state)
{
    base *b = *state;
    nq_buffer made = {0};
    const rd_entry queues[] = {{.name = rd_text("low"), .number = 1}, {.name = rd_text("high"), .number = 5}};
    const rd_entry options[] = {{.name = rd_text("Queue(\"low\")")}, {.name = rd_text("MaxRetry(3)")}};
    const rd_server server = {.host = rd_text("here"),
                              .pid = 42,
                              .id = rd_text("sid"),
                              .concurrency = 8,
                              .queues = {queues, 2},
                              .strict = true,
                              .status = rd_text("active"),
                              .started = {1700000000, 500000000},
                              .active_workers = 1};
    const rd_worker worker = {.host = rd_text("here"),
                              .pid = 42,
                              .server_id = rd_text("sid"),
                              .task_id = rd_text("run"),
                              .task_type = rd_text("t"),
                              .payload = rd_text("p"),
                              .queue = rd_text("low"),
                              .started = {1700000001, 0},
                              .deadline = RD_NEVER};
    const rd_schedule schedule = {.id = rd_text("entry"),
                                  .spec = rd_text("@every 1h"),
                                  .task_type = rd_text("report"),
                                  .payload = rd_text("{}"),
                                  .options = {options, 2},
                                  .next = {1700000030, 0},
                                  .last = RD_NEVER};
    assert_int_equal(NEOQ_OK, rd_server_encode(&server, &made));
    store_listed(b, "asynq:servers", "asynq:servers:{here:42:sid}", "SET", NULL, &made);
    nq_buffer_clear(&made);
    assert_int_equal(NEOQ_OK, rd_worker_encode(&worker, &made));
    store_listed(b, "asynq:workers", "asynq:workers:{here:42:sid}", "HSET", "run", &made);
    nq_buffer_clear(&made);
    assert_int_equal(NEOQ_OK, rd_schedule_encode(&schedule, &made));
    store_listed(b, "asynq:schedulers", "asynq:schedulers:{here:42:sid}", "LPUSH", NULL, &made);
    nq_buffer_free(&made);
    for (int v = 0; v < VERSIONS; v++) {
        json_t *all = peer_ask(versions[v], b->url, "inspect", NULL, NULL);
        json_t *read = json_array_get(json_object_get(all, "servers"), 0);
        assert_string_equal("here", peer_text(read, "host"));
        assert_int_equal(42, peer_number(read, "pid"));
        assert_int_equal(8, peer_number(read, "concurrency"));
        assert_int_equal(5, peer_number(json_object_get(read, "queues"), "high"));
        assert_true(json_is_true(json_object_get(read, "strict")));
        assert_string_equal("active", peer_text(read, "status"));
        assert_int_equal(1700000000, peer_number(read, "started"));
        read = json_array_get(json_object_get(read, "runs"), 0);
        assert_string_equal("run", peer_text(read, "id"));
        assert_string_equal("p", peer_text(read, "payload"));
        assert_int_equal(0, peer_number(read, "deadline"));
        read = json_array_get(json_object_get(all, "schedules"), 0);
        assert_string_equal("entry", peer_text(read, "id"));
        assert_string_equal("@every 1h", peer_text(read, "spec"));
        assert_int_equal(1700000030, peer_number(read, "next"));
        assert_int_equal(0, peer_number(read, "last"));
        assert_string_equal("MaxRetry(3)", json_string_value(json_array_get(json_object_get(read, "options"), 1)));
        json_decref(all);
    }
}

/* ---- Go neoq ----------------------------------------------------------------------------- */

/* Its recorded task, from a queue that is paused: it would take its own job and fail it. */
static void test_go_neoqs_job_is_the_recorded_task(void **state)
{
    base *b = *state;
    char address[32], url[64];
    own_server(b, REDIS_PORT, NULL);
    snprintf(address, sizeof address, "127.0.0.1:%d", redis_port(b->server));
    snprintf(url, sizeof url, "redis://%s", address);
    peer pausing = peer_start(versions[0], url, "pause", (const char *const[]){"default", NULL});
    peer_finish(&pausing);
    json_t *answer = peer_ask(
        "neoq", address, "enqueue", NULL,
        "{\"queue\":\"hello_world\",\"payload\":{\"message\":\"hello world\"},\"retry\":5,\"deadline\":1900000000}");
    assert_string_equal("238279d13bc5cf5e1abc25686f70501f", peer_text(answer, "id"));
    json_decref(answer);
    redisReply *reply = message_of(b, "default", "238279d13bc5cf5e1abc25686f70501f");
    check_hex(
        "0a0b68656c6c6f5f776f726c6412197b226d657373616765223a2268656c6c6f20776f726c64227d1a2032333832373964313362"
        "6335636635653161626332353638366637303530316622076465666175"
        "6c7428054880e6fe8907",
        reply);
    freeReplyObject(reply);
}

int main(void)
{
    peers_or_skip();
    const struct CMUnitTest tests[] = {
        on_base(test_recorded_tasks_are_what_both_versions_write),
        on_base(test_every_field_of_a_task_is_read),
        on_base(test_what_we_write_go_reads),
        on_base(test_servers_and_runs_are_read),
        on_base(test_schedules_are_read),
        on_base(test_our_servers_runs_and_schedules_go_reads),
        on_base(test_go_neoqs_job_is_the_recorded_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
