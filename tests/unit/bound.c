/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <unistd.h>

#include "base/bound.h"

static void pauses_grow_up_to_a_bound_and_differ(void **state)
{
    (void)state;
    for (int n = 1; n < 40; n++) {
        int64_t most = n <= 6 ? NEOQ_MILLISECONDS(50) << (n - 1) : NEOQ_SECONDS(2);
        most = most < NEOQ_SECONDS(2) ? most : NEOQ_SECONDS(2);
        neoq_duration first = nq_redial_pause(n);
        bool differs = false;
        for (int i = 0; i < 100; i++) {
            neoq_duration pause = nq_redial_pause(n);
            assert_in_range(pause, most / 2, most);
            differs = differs || pause != first;
        }
        assert_true(differs);
    }
}

static void connections_that_break_together_are_one_failure(void **state)
{
    (void)state;
    nq_redial redial = {0};
    for (int64_t now = 1000; now < 1010; now++)
        nq_redial_failed(&redial, now);
    assert_int_equal(1, redial.failures);
    assert_in_range(redial.next, 1000 + NEOQ_MILLISECONDS(25), 1000 + NEOQ_MILLISECONDS(50));
    int64_t second = redial.next;
    nq_redial_failed(&redial, second);
    assert_int_equal(2, redial.failures);
    assert_in_range(redial.next, second + NEOQ_MILLISECONDS(50), second + NEOQ_MILLISECONDS(100));
}

static void what_is_left_is_shared(void **state)
{
    (void)state;
    nq_bound hour = nq_within(NEOQ_HOURS(1)), none = {INT64_MAX, -1};
    int64_t before = nq_steady();
    nq_bound quarter = nq_share(&hour, 4);
    assert_in_range(quarter.until, before + NEOQ_MINUTES(14), before + NEOQ_MINUTES(15) + NEOQ_SECONDS(1));
    assert_true(nq_share(&none, 4).until == INT64_MAX);
    nq_bound over = {before - 1, -1};
    assert_true(nq_share(&over, 4).until <= nq_steady());
}

static void a_wait_ends(void **state)
{
    (void)state;
    int data[2], stop[2];
    assert_int_equal(0, pipe(data));
    assert_int_equal(0, pipe(stop));
    nq_bound soon = nq_within(NEOQ_MILLISECONDS(20)), none = {INT64_MAX, stop[0]};
    assert_false(nq_wait_io(data[0], POLLIN, &soon)); /* by its bound */
    assert_true(nq_steady() >= soon.until);
    assert_int_equal(1, write(data[1], "x", 1));
    assert_true(nq_wait_io(data[0], POLLIN, &none)); /* by what it waits for */
    assert_int_equal(1, write(stop[1], "x", 1));
    assert_false(nq_wait_io(data[0], POLLIN, &none)); /* by whoever stops it */
    assert_true(nq_wait_io(-1, POLLIN, &soon));       /* at once, where there is nothing to wait for */
    for (int i = 0; i < 2; i++) {
        close(data[i]);
        close(stop[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_grow_up_to_a_bound_and_differ),
        cmocka_unit_test(connections_that_break_together_are_one_failure),
        cmocka_unit_test(what_is_left_is_shared),
        cmocka_unit_test(a_wait_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
