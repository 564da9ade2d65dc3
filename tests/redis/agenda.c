/* SPDX-License-Identifier: MIT
 *
 * Schedules as asynq's tools see them: what stands in the server, and when it is there and when not.
 */
#include "redis/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/message.h"
#include "backend/redis/redis.h"
#include "base/clock.h"

#define LIST    "asynq:schedulers:{here:1:0123}"
#define HISTORY "asynq:scheduler_history:nightly"
#define MINUTE  NEOQ_SECONDS(60)

static const neoq_backend *const backend = &nq_redis_backend;
static const neoq_job plain = {
    .queue = "q", .payload = "[1]", .payload_size = 3, .max_retries = 4, .unique = NEOQ_UNIQUE_OFF};

static void beat(neoq_store *store, const char *worker, neoq_duration lease, bool join)
{
    neoq_beat beat = {.worker = {.host = "here", .pid = 1}, .lease = lease, .join = join};
    snprintf(beat.worker.id, sizeof beat.worker.id, "%s", worker);
    assert_int_equal(NEOQ_OK, backend->beat(store, &beat));
}

static int ignore(const neoq_schedule_record *schedule, void *arg)
{
    (void)schedule;
    (void)arg;
    return NEOQ_OK;
}

static void look(neoq_store *store)
{
    assert_int_equal(NEOQ_OK, backend->schedules(store, ignore, NULL));
}

static void put_schedule(neoq_store *store, const char *name, bool stored, neoq_time next)
{
    neoq_schedule_record record = {.info = {.spec = "@daily", .queue = "q", .next_at = next}, .stored = stored};
    snprintf(record.info.name, sizeof record.info.name, "%s", name);
    record.job = plain;
    assert_int_equal(NEOQ_OK, backend->set_schedule(store, &record));
}

static int64_t ask(base *b, const char *command)
{
    char answer[64];
    assert_true(redis_do(b->server, b->database, answer, sizeof answer, command));
    return strtoll(answer, NULL, 10);
}

/* The entry of that schedule in the list; its strings live until reply is freed. */
static rd_schedule entry_of(rd_connection *c, const char *name, redisReply **reply)
{
    rd_schedule entry = {0};
    nq_bound bound = patiently();
    const char *const words[] = {"LRANGE", LIST, "0", "-1"};
    assert_int_equal(NEOQ_OK, rd_command(c, &bound, 4, words, reply));
    for (size_t i = 0; i < (*reply)->elements; i++) {
        const redisReply *item = (*reply)->element[i];
        assert_int_equal(NEOQ_OK, rd_schedule_decode(item->str, item->len, &entry));
        if (entry.id.size == strlen(name) && memcmp(entry.id.data, name, entry.id.size) == 0)
            return entry;
    }
    fail_msg("%s is not listed", name);
    return entry;
}

static void assert_bytes(const char *expected, rd_bytes bytes)
{
    assert_int_equal(strlen(expected), bytes.size);
    assert_memory_equal(expected, bytes.data, bytes.size);
}

static void test_an_entry_says_what_is_enqueued_and_when(void **state)
{
    redisReply *reply;
    rd_entry option;
    size_t at = 0;
    rd_connection *c = open_connection(*state, NULL);
    neoq_store *store = open_store(*state);
    neoq_schedule_record record = {
        .info = {.name = "nightly", .spec = "@daily", .queue = "a\"b\\", .next_at = MINUTE},
        .stored = true,
        .job = plain};
    record.job.queue = record.info.queue;
    record.job.retention = NEOQ_HOURS(1);
    record.job.metadata = "{\"asynq_type\":\"report\"}";
    assert_int_equal(NEOQ_OK, backend->set_schedule(store, &record));
    put_schedule(store, "never", true, INT64_MAX);
    look(store);
    beat(store, "0123", NEOQ_SECONDS(30), true);

    rd_schedule entry = entry_of(c, "nightly", &reply);
    assert_bytes("@daily", entry.spec);
    assert_bytes("report", entry.task_type);
    assert_bytes("[1]", entry.payload);
    assert_int_equal(60, entry.next.seconds);
    assert_int_equal(RD_NEVER.seconds, entry.last.seconds);
    static const char *const options[] = {"Queue(\"a\\\"b\\\\\")", "MaxRetry(4)", "Retention(3600s)"};
    for (size_t i = 0; i < 3; i++) {
        assert_true(rd_schedule_next_option(&entry, &at, &option));
        assert_bytes(options[i], option.name);
    }
    assert_false(rd_schedule_next_option(&entry, &at, &option));
    freeReplyObject(reply);
    entry = entry_of(c, "never", &reply); /* Go has no JSON for what is later */
    assert_int_equal(253402300799, entry.next.seconds);
    freeReplyObject(reply);
    rd_disconnect(c);
    backend->close(store);
}

static void test_the_list_is_a_workers_and_goes_with_it(void **state)
{
    base *b = *state;
    neoq_store *store = open_store(b);
    beat(store, "0123", NEOQ_SECONDS(30), true);
    assert_int_equal(0, ask(b, "EXISTS asynq:schedulers " LIST)); /* there are no schedules */
    put_schedule(store, "nightly", true, MINUTE);
    look(store);
    assert_int_equal(0, ask(b, "EXISTS " LIST)); /* nor does who only looks say anything */
    beat(store, "0123", NEOQ_SECONDS(30), false);
    assert_int_equal(1, ask(b, "LLEN " LIST));
    assert_int_equal(1, ask(b, "ZCARD asynq:schedulers"));
    assert_in_range(ask(b, "TTL " LIST), 1, 10); /* of a crashed one it is gone by itself */
    beat(store, "0123", NEOQ_SECONDS(30), false);
    assert_int_equal(1, ask(b, "LLEN " LIST));
    beat(store, "0123", 0, false);
    assert_int_equal(0, ask(b, "EXISTS asynq:schedulers " LIST));
    backend->close(store);
}

static void test_what_is_removed_is_not_shown(void **state)
{
    base *b = *state;
    neoq_store *store = open_store(b);
    put_schedule(store, "nightly", true, MINUTE);
    put_schedule(store, "hourly", true, MINUTE);
    look(store);
    beat(store, "0123", NEOQ_SECONDS(30), true);
    assert_int_equal(2, ask(b, "LLEN " LIST));
    assert_int_equal(NEOQ_OK, backend->remove_schedule(store, "hourly"));
    beat(store, "0123", NEOQ_SECONDS(30), false);
    assert_int_equal(1, ask(b, "LLEN " LIST));
    assert_int_equal(NEOQ_OK, backend->remove_schedule(store, "nightly"));
    beat(store, "0123", NEOQ_SECONDS(30), false);
    assert_int_equal(0, ask(b, "EXISTS " LIST));
    backend->close(store);
}

/* Nobody else tends it. */
static void test_what_a_neoq_started_it_alone_shows(void **state)
{
    base *b = *state;
    neoq_store *store = open_store(b), *other = open_store(b);
    put_schedule(store, "cron:q", false, MINUTE);
    look(store);
    look(other);
    beat(store, "0123", NEOQ_SECONDS(30), true);
    beat(other, "4567", NEOQ_SECONDS(30), true);
    assert_int_equal(1, ask(b, "LLEN " LIST));
    assert_int_equal(1, ask(b, "ZCARD asynq:schedulers"));
    backend->close(other);
    backend->close(store);
}

static void tick(neoq_store *store, neoq_time expected, const char *id, int status)
{
    neoq_enqueued result;
    neoq_job job = plain;
    job.id = id;
    job.state = NEOQ_READY;
    job.created_at = job.run_after = backend->now(store);
    assert_int_equal(status,
                     backend->tick(store, "nightly", expected, expected, expected + MINUTE, &job, 1, &result));
}

static void test_a_tick_is_history_once(void **state)
{
    static const char id[] = "01900000-0000-7000-8000-000000000001";
    base *b = *state;
    redisReply *reply;
    rd_tick event;
    nq_bound bound = patiently();
    rd_connection *c = open_connection(b, NULL);
    neoq_store *store = open_store(b);
    put_schedule(store, "nightly", true, MINUTE);
    look(store);
    tick(store, MINUTE, id, NEOQ_OK);
    tick(store, MINUTE, id, NEOQ_ELOST); /* somebody else did it */
    beat(store, "0123", NEOQ_SECONDS(30), true);
    rd_schedule entry = entry_of(c, "nightly", &reply);
    assert_int_equal(60, entry.last.seconds);
    assert_int_equal(120, entry.next.seconds);
    freeReplyObject(reply);
    const char *const words[] = {"ZRANGE", HISTORY, "0", "-1", "WITHSCORES"};
    assert_int_equal(NEOQ_OK, rd_command(c, &bound, 5, words, &reply));
    assert_int_equal(2, reply->elements);
    assert_int_equal(NEOQ_OK, rd_tick_decode(reply->element[0]->str, reply->element[0]->len, &event));
    assert_bytes(id, event.task_id);
    assert_int_equal(event.at.seconds, strtoll(reply->element[1]->str, NULL, 10));
    freeReplyObject(reply);
    rd_disconnect(c);
    assert_int_equal(NEOQ_OK, backend->remove_schedule(store, "nightly"));
    assert_int_equal(0, ask(b, "EXISTS " HISTORY));
    backend->close(store);
}

static void test_history_is_bounded(void **state)
{
    base *b = *state;
    char command[96];
    neoq_store *store = open_store(b);
    put_schedule(store, "nightly", true, MINUTE);
    for (int i = 0; i < 1005; i++) {
        snprintf(command, sizeof command, "ZADD " HISTORY " %d old%d", i, i);
        ask(b, command);
    }
    tick(store, MINUTE, "01900000-0000-7000-8000-000000000001", NEOQ_OK);
    assert_int_equal(1000, ask(b, "ZCARD " HISTORY));
    assert_int_equal(1, ask(b, "ZCOUNT " HISTORY " 100000 +inf"));
    backend->close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_an_entry_says_what_is_enqueued_and_when),
        on_base(test_the_list_is_a_workers_and_goes_with_it),
        on_base(test_what_is_removed_is_not_shown),
        on_base(test_what_a_neoq_started_it_alone_shows),
        on_base(test_a_tick_is_history_once),
        on_base(test_history_is_bounded),
    };
    return cmocka_run_group_tests_name("agenda", tests, NULL, NULL);
}
