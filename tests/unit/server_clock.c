/* SPDX-License-Identifier: MIT
 *
 * base/server_clock: which look at the server's clock counts, and what time it is then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/server_clock.h"

#define NOON ((neoq_time)1893456000 * 1000000)
#define MS   NEOQ_MILLISECONDS(1)

static void test_the_more_exact_look_counts(void **state)
{
    nq_server_clock clock = {.measured = 0};
    (void)state;
    nq_server_clock_take(&clock, NOON, 1000 * MS, 10 * MS);
    assert_true(nq_server_clock_at(&clock, 1000 * MS) == NOON);
    nq_server_clock_take(&clock, NOON + 5 * MS, 1000 * MS, 9 * MS); /* hardly better */
    assert_true(nq_server_clock_at(&clock, 1000 * MS) == NOON);
    nq_server_clock_take(&clock, NOON + 5 * MS, 1000 * MS, 1 * MS);
    assert_true(nq_server_clock_at(&clock, 1000 * MS) == NOON + 5 * MS);
    nq_server_clock_take(&clock, NOON + NEOQ_HOURS(1), 1000 * MS, 50 * MS); /* it was set */
    assert_true(nq_server_clock_at(&clock, 1000 * MS) == NOON + NEOQ_HOURS(1));
}

/* By 100 parts of a million: 10 ms after 100 s. */
static void test_what_is_known_gets_less_exact(void **state)
{
    const int64_t later = 1000 * MS + NEOQ_SECONDS(100);
    const neoq_time then = NOON + NEOQ_SECONDS(100);
    nq_server_clock clock = {.measured = 0};
    (void)state;
    nq_server_clock_take(&clock, NOON, 1000 * MS, 1 * MS);
    nq_server_clock_take(&clock, then + 3 * MS, later, 6 * MS);
    assert_true(nq_server_clock_at(&clock, later) == then);
    nq_server_clock_take(&clock, then + 3 * MS, later, 5 * MS);
    assert_true(nq_server_clock_at(&clock, later) == then + 3 * MS);
}

static void test_a_correction_does_not_take_time_back(void **state)
{
    nq_server_clock clock = {.measured = 0};
    (void)state;
    nq_server_clock_take(&clock, NOON, 1000 * MS, 30 * MS);
    assert_true(nq_server_clock_at(&clock, 1010 * MS) == NOON + 10 * MS);
    nq_server_clock_take(&clock, NOON - 20 * MS, 1000 * MS, 1 * MS);
    assert_true(nq_server_clock_at(&clock, 1011 * MS) == NOON + 10 * MS);
    assert_true(nq_server_clock_at(&clock, 1029 * MS) == NOON + 10 * MS);
    assert_true(nq_server_clock_at(&clock, 1035 * MS) == NOON + 15 * MS);
}

static void test_a_clock_that_was_set_back_is_followed(void **state)
{
    nq_server_clock clock = {.measured = 0};
    (void)state;
    nq_server_clock_take(&clock, NOON, 1000 * MS, 1 * MS);
    assert_true(nq_server_clock_at(&clock, 1000 * MS) == NOON);
    nq_server_clock_take(&clock, NOON - NEOQ_HOURS(1), 1000 * MS, 1 * MS);
    assert_true(nq_server_clock_at(&clock, 1000 * MS) == NOON - NEOQ_HOURS(1));
    assert_true(nq_server_clock_at(&clock, 1001 * MS) == NOON - NEOQ_HOURS(1) + MS);
}

static void test_after_a_minute_one_is_to_look_again(void **state)
{
    nq_server_clock clock = {.measured = 0};
    (void)state;
    nq_server_clock_take(&clock, NOON, 1000 * MS, 1 * MS);
    assert_false(nq_server_clock_is_stale(&clock, 1000 * MS + NEOQ_SECONDS(60)));
    assert_true(nq_server_clock_is_stale(&clock, 1000 * MS + NEOQ_SECONDS(61)));
    assert_false(nq_server_clock_is_stale(&clock, 1000 * MS + NEOQ_SECONDS(61)));
}

/* An answer that was long under way says little. */
static void test_after_a_vague_look_one_is_to_look_again_soon(void **state)
{
    nq_server_clock clock = {.measured = 0};
    (void)state;
    nq_server_clock_take(&clock, NOON, 1000 * MS, 2000 * MS);
    assert_false(nq_server_clock_is_stale(&clock, 2000 * MS));
    assert_true(nq_server_clock_is_stale(&clock, 2001 * MS));
    nq_server_clock_take(&clock, NOON + 900 * MS, 2001 * MS, 1 * MS);
    assert_true(nq_server_clock_at(&clock, 2001 * MS) == NOON + 900 * MS);
    assert_false(nq_server_clock_is_stale(&clock, 2001 * MS + NEOQ_SECONDS(60)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_more_exact_look_counts),
        cmocka_unit_test(test_what_is_known_gets_less_exact),
        cmocka_unit_test(test_a_correction_does_not_take_time_back),
        cmocka_unit_test(test_a_clock_that_was_set_back_is_followed),
        cmocka_unit_test(test_after_a_minute_one_is_to_look_again),
        cmocka_unit_test(test_after_a_vague_look_one_is_to_look_again_soon),
    };
    return cmocka_run_group_tests_name("server_clock", tests, NULL, NULL);
}
