/* SPDX-License-Identifier: MIT
 *
 * ?strict: a queue of less weight waits until the weightier ones have nothing.
 */
#include "support/recorder.h"
#include "support/redis_server.h"
#include "support/store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int strict_setup(void **state)
{
    int failed = store_setup(state);
    store *s = failed ? NULL : *state;
    if (s)
        snprintf(s->url + strlen(s->url), sizeof(s->url) - strlen(s->url), "%cstrict=on",
                 strchr(s->url, '?') ? '&' : '?');
    return failed;
}

#define on_strict(test) cmocka_unit_test_setup_teardown(test, strict_setup, store_teardown)

/* The lighter ones are started first. */
static void start(neoq *nq, const char *queue, int weight, int concurrency, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    handler.weight = weight;
    handler.concurrency = concurrency;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

static void put_many(neoq *nq, const char *queue, int count)
{
    for (int i = 0; i < count; i++)
        put_job(nq, (neoq_job){.queue = queue, .unique = NEOQ_UNIQUE_OFF}, NULL);
}

static void assert_runs(recorder *r, size_t from, size_t count, const char *queue)
{
    for (size_t i = from; i < from + count; i++)
        assert_string_equal(queue, r->runs[i].queue);
}

static void test_the_weightiest_queue_with_a_job_is_next(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "low", 1, 1, &r);
    start(nq, "middle", 3, 1, &r);
    start(nq, "high", 10, 1, &r);
    for (int i = 0; i < 5; i++) {
        put_many(nq, "low", 1);
        put_many(nq, "middle", 1);
        put_many(nq, "high", 1);
    }
    for (int i = 0; i < 12; i++)
        work_one(nq);
    put_many(nq, "high", 1);
    assert_int_equal(4, drain(nq).runs);
    assert_runs(&r, 0, 5, "high");
    assert_runs(&r, 5, 5, "middle");
    assert_runs(&r, 10, 2, "low");
    assert_runs(&r, 12, 1, "high");
    assert_runs(&r, 13, 3, "low");
}

static void test_a_backlog_of_a_weightier_queue_is_worked_off_first(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    put_many(nq, "low", 20);
    put_many(nq, "high", 20);
    start(nq, "high", 10, 2, &r);
    start(nq, "low", 1, 2, &r);
    eventually(recorded_ends(&r) == 40);
    assert_runs(&r, 0, 18, "high"); /* the last two may run beside the first low ones */
    assert_runs(&r, 22, 18, "low");
}

/* Long enough for another to be begun beside it. */
static void work_a_moment(neoq_ctx *ctx, recorder *r)
{
    (void)ctx;
    (void)r;
    usleep(1000);
}

/* Of two slots of the lighter one a run of the weightier takes one. */
static void test_a_lighter_queue_has_the_slots_that_are_left(void **state)
{
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    gate held = GATE_INITIALIZER;
    recorder high = {.hold = &held, RECORDER_INITIALIZER}, low = {.inside = work_a_moment, RECORDER_INITIALIZER};
    put_many(nq, "high", 1);
    start(nq, "high", 10, 1, &high);
    eventually(recorded(&high) == 1);
    put_many(nq, "low", 50);
    start(nq, "low", 1, 2, &low);
    eventually(recorded_ends(&low) == 50);
    assert_int_equal(1, recorded_most(&low));
    gate_open(&held);
    eventually(recorded_ends(&high) == 1);
}

static void test_without_it_queues_take_turns(void **state)
{
    store *s = *state;
    *strchr(s->url, strstr(s->url, "?strict") ? '?' : '&') = '\0';
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "low", 1, 1, &r);
    start(nq, "high", 2, 1, &r);
    put_many(nq, "low", 10);
    put_many(nq, "high", 10);
    for (int i = 0; i < 6; i++)
        work_one(nq);
    size_t low = 0;
    for (size_t i = 0; i < 6; i++)
        low += strcmp(r.runs[i].queue, "low") == 0;
    assert_int_equal(2, low);
}

static void test_asynqs_tools_are_told(void **state)
{
    store *s = *state;
    char keys[512] = "", server[512] = "";
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "work", 1, 1, &r);
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_true(redis_do(redis_shared(), s->number, keys, sizeof(keys), "ZRANGE asynq:servers 0 0"));
    assert_true(redis_do(redis_shared(), s->number, server, sizeof(server), "GET %s", keys));
    assert_non_null(strstr(server, "\x30\x01\x3a\x06"
                                   "active")); /* strict_priority, status */
}

int main(int argc, char **argv)
{
    if (!store_choose(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        on_strict(test_the_weightiest_queue_with_a_job_is_next),
        on_strict(test_a_backlog_of_a_weightier_queue_is_worked_off_first),
        on_strict(test_a_lighter_queue_has_the_slots_that_are_left),
        on_strict(test_without_it_queues_take_turns),
        on_strict(test_asynqs_tools_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
