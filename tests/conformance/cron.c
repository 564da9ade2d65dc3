/* SPDX-License-Identifier: MIT
 *
 * neoq_start_cron(): each tick once, however many start it. The clock is virtual, and so is the waiting.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <stdio.h>
#include <string.h>

static void start_cron(neoq *nq, const char *spec, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start_cron(nq, spec, &handler));
}

static int64_t advance(neoq *nq, neoq_duration duration)
{
    neoq_testing_counts counts = {0};
    assert_status(NEOQ_OK, neoq_testing_advance(nq, duration, &counts));
    assert_int_equal(counts.runs, counts.done);
    return counts.runs;
}

static void test_each_second_has_its_tick(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start_cron(nq, "* * * * * *", NULL, &r);
    assert_int_equal(10, advance(nq, NEOQ_SECONDS(10)));
    assert_int_equal(10, r.count);
    for (int i = 0; i < 10; i++)
        assert_true(r.runs[i].ran_at == STORE_START + NEOQ_SECONDS(i + 1));
    assert_int_equal(60, advance(nq, NEOQ_SECONDS(60)));
    assert_int_equal(0, advance(nq, NEOQ_MILLISECONDS(999)));
    assert_int_equal(1, advance(nq, NEOQ_MILLISECONDS(1)));
}

static void test_the_queue_is_derived_from_the_spec_as_go_does(void **state)
{
    store *s = *state;
    static const char *const names[][2] = {{"* * * * * *", "every_second"},
                                           {"*/30 * * * * *", "every_30_seconds"},
                                           {"*/15 * * * *", "every_15_minutes"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        neoq *nq = store_open(s, NULL);
        recorder r = {RECORDER_INITIALIZER};
        start_cron(nq, names[i][0], NULL, &r);
        advance(nq, NEOQ_HOURS(1));
        assert_true(r.count > 0);
        assert_string_equal(names[i][1], r.runs[0].queue);
        assert_int_equal(0, r.runs[0].payload_size);
        store_close(s, nq);
    }
}

static void test_a_queue_named_by_the_handler_is_used(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start_cron(nq, "* * * * * *", "foobar", &r);
    assert_int_equal(2, advance(nq, NEOQ_SECONDS(2)));
    assert_string_equal("foobar", r.runs[0].queue);
}

static void test_five_fields_are_minutes_first_and_six_seconds_first(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder five = {RECORDER_INITIALIZER}, six = {RECORDER_INITIALIZER};
    start_cron(nq, "*/5 * * * *", "five", &five);
    start_cron(nq, "*/5 * * * * *", "six", &six);
    assert_int_equal(2 + 120, advance(nq, NEOQ_MINUTES(10)));
    assert_int_equal(2, five.count);
    assert_true(five.runs[0].ran_at == STORE_START + NEOQ_MINUTES(5));
    assert_int_equal(120, six.count);
}

static void test_descriptors_and_zones(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder hourly = {RECORDER_INITIALIZER}, every = {RECORDER_INITIALIZER}, tokyo = {RECORDER_INITIALIZER};
    start_cron(nq, "@hourly", "hourly", &hourly);
    start_cron(nq, "@every 90m", "every", &every);
    /* The clock begins at midnight UTC, which is nine o'clock in Tokyo. */
    start_cron(nq, "TZ=Asia/Tokyo 30 9 * * *", "tokyo", &tokyo);
    advance(nq, NEOQ_HOURS(24));
    assert_int_equal(24, hourly.count);
    assert_int_equal(16, every.count);
    assert_int_equal(1, tokyo.count);
    assert_true(tokyo.runs[0].ran_at == STORE_START + NEOQ_MINUTES(30));
}

static void test_a_spec_that_is_none_is_refused_by_the_name_of_its_field(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    static const char *const specs[][2] = {{"", ""},
                                           {"* * *", ""},
                                           {"61 * * * *", "minute"},
                                           {"* 25 * * *", "hour"},
                                           {"* * 32 * *", "day"},
                                           {"* * * 13 *", "month"},
                                           {"* * * * 9", "week"},
                                           {"99 * * * * *", "second"},
                                           {"@never", ""},
                                           {"TZ=Mars/Base * * * * *", ""},
                                           {"@every 0s", ""},
                                           {"@every -5s", ""}};
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        neoq_handler handler = recording("cron", &r);
        neoq_time next = 7;
        assert_status(NEOQ_EINVAL, neoq_start_cron(nq, specs[i][0], &handler));
        assert_words(specs[i][1], neoq_error_message());
        assert_status(NEOQ_EINVAL, neoq_cron_next(specs[i][0], STORE_START, &next));
        assert_words(specs[i][1], neoq_error_message());
    }
    neoq_handler handler = recording("cron", &r);
    assert_status(NEOQ_EINVAL, neoq_start_cron(nq, NULL, &handler));
    assert_status(NEOQ_EINVAL, neoq_start_cron(nq, "* * * * *", NULL));
    /* Nothing of that has taken the queue. */
    start_cron(nq, "* * * * *", "cron", &r);
    assert_int_equal(1, advance(nq, NEOQ_MINUTES(1)));
}

static void test_a_queue_has_one_handler_also_when_cron_started_it(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start_cron(nq, "* * * * *", "cron", &r);
    neoq_handler again = recording("cron", &r);
    assert_status(NEOQ_EEXIST, neoq_start(nq, &again));
}

static void test_cron_next(void **state)
{
    (void)state;
    neoq_time next = 0;
    assert_status(NEOQ_OK, neoq_cron_next("30 17 * * *", STORE_START, &next));
    assert_true(next == STORE_START + NEOQ_HOURS(17) + NEOQ_MINUTES(30));
    assert_status(NEOQ_OK, neoq_cron_next("30 17 * * *", next, &next));
    assert_true(next == STORE_START + NEOQ_HOURS(41) + NEOQ_MINUTES(30));
    assert_status(NEOQ_OK, neoq_cron_next("* * * * * *", STORE_START + 1, &next));
    assert_true(next == STORE_START + NEOQ_SECONDS(1));
}

/* ---- several on one store --------------------------------------------------------------- */

static void test_two_neoqs_make_one_job_a_tick(void **state)
{
    store *s = *state;
    neoq *one, *two;
    open_two(s, &one, &two);
    recorder first = {RECORDER_INITIALIZER}, second = {RECORDER_INITIALIZER};
    start_cron(one, "* * * * * *", "shared", &first);
    start_cron(two, "* * * * * *", "shared", &second);
    for (int i = 0; i < 20; i++) {
        neoq_clock_advance(s->clock, NEOQ_SECONDS(1));
        assert_status(NEOQ_OK, neoq_testing_tend(i % 2 ? one : two));
        assert_status(NEOQ_OK, neoq_testing_tend(i % 2 ? two : one));
        assert_int_equal(1, jobs_in(one, "shared", NEOQ_READY));
        neoq_testing_counts counts = drain(i % 3 ? one : two);
        assert_int_equal(1, counts.done);
    }
    assert_int_equal(20, first.count + second.count);
    assert_true(first.count > 0 && second.count > 0);
}

static void test_clocks_an_hour_apart_do_not_double_a_tick(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    neoq_clock_set(s->other_clock, STORE_START + NEOQ_HOURS(1));
    neoq *one = store_open(s, NULL), *two = store_open_on(s, s->other_clock, NULL);
    recorder r = {RECORDER_INITIALIZER}, ahead = {RECORDER_INITIALIZER};
    start_cron(one, "0 * * * *", "hourly", &r);
    start_cron(two, "0 * * * *", "hourly", &ahead);
    /* In three hours, the full hours 02, 03 and 04 come by on the clock ahead, and 01 is when it began. The clock
     * behind comes by 01, 02 and 03 again: that must make no second job of theirs. */
    for (int i = 0; i < 3 * 60; i++) {
        neoq_clock_advance(s->clock, NEOQ_MINUTES(1));
        neoq_clock_advance(s->other_clock, NEOQ_MINUTES(1));
        assert_status(NEOQ_OK, neoq_testing_tend(one));
        assert_status(NEOQ_OK, neoq_testing_tend(two));
        drain(one);
        drain(two);
    }
    assert_in_range(r.count + ahead.count, 3, 4);
}

static void test_a_clock_set_back_does_not_repeat_ticks(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start_cron(nq, "0 * * * *", "hourly", &r);
    assert_int_equal(3, advance(nq, NEOQ_HOURS(3)));
    neoq_clock_set(s->clock, STORE_START + NEOQ_HOURS(1));
    assert_int_equal(0, advance(nq, NEOQ_HOURS(2)));
    assert_int_equal(1, advance(nq, NEOQ_HOURS(1)));
}

/* ---- ticks that were missed ------------------------------------------------------------- */

static void test_a_tick_missed_within_the_last_hour_is_made_up_for_once(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start_cron(nq, "*/10 * * * *", "missed", &r);
    assert_int_equal(1, advance(nq, NEOQ_MINUTES(10)));
    /* Nobody tends for 45 minutes: the ticks of 20, 30, 40 and 50 go by. */
    neoq_clock_advance(s->clock, NEOQ_MINUTES(45));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(1, drain(nq).done);
    assert_int_equal(1, advance(nq, NEOQ_MINUTES(5)));
}

static void test_a_tick_missed_longer_ago_is_not(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start_cron(nq, "0 12 * * *", "missed", &r);
    neoq_clock_advance(s->clock, NEOQ_HOURS(13) + NEOQ_SECONDS(1));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(0, drain(nq).runs);
    assert_int_equal(1, advance(nq, NEOQ_HOURS(24)));
}

static void test_ticks_missed_in_the_last_minute_are_each_made_up_for(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start_cron(nq, "* * * * * *", "missed", &r);
    assert_int_equal(5, advance(nq, NEOQ_SECONDS(5)));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(30));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(30, drain(nq).done);
    assert_int_equal(1, advance(nq, NEOQ_SECONDS(1)));
}

static void test_ticks_fire_in_threads(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    start_cron(nq, "* * * * * *", NULL, &r);
    eventually(recorded_ends(&r) >= 2);
    assert_string_equal("every_second", r.runs[0].queue);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_each_second_has_its_tick),
        on_store(test_the_queue_is_derived_from_the_spec_as_go_does),
        on_store(test_a_queue_named_by_the_handler_is_used),
        on_store(test_five_fields_are_minutes_first_and_six_seconds_first),
        on_store(test_descriptors_and_zones),
        on_store(test_a_spec_that_is_none_is_refused_by_the_name_of_its_field),
        on_store(test_a_queue_has_one_handler_also_when_cron_started_it),
        on_store(test_cron_next),
        on_store(test_two_neoqs_make_one_job_a_tick),
        on_store(test_clocks_an_hour_apart_do_not_double_a_tick),
        on_store(test_a_clock_set_back_does_not_repeat_ticks),
        on_store(test_a_tick_missed_within_the_last_hour_is_made_up_for_once),
        on_store(test_a_tick_missed_longer_ago_is_not),
        on_store(test_ticks_missed_in_the_last_minute_are_each_made_up_for),
        on_store(test_ticks_fire_in_threads),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("cron", tests, NULL, NULL);
}
