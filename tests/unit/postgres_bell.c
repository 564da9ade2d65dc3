/* SPDX-License-Identifier: MIT */

/* postgres/listen: how often NOTIFY is sent. No server, and no time but that of the arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/postgres/listen.h"

enum { MS = 1000 };

static void the_first_pause_is_short(void **state)
{
    (void)state;
    assert_int_equal(1 * MS, pg_bell_pause(0, 0));
    assert_int_equal(1 * MS, pg_bell_pause(0, INT64_MAX));
}

static void pauses_grow_while_there_is_always_something_to_tell(void **state)
{
    (void)state;
    int64_t pause = pg_bell_pause(0, 0);
    for (int64_t expected = 2 * MS; expected <= 8 * MS; expected *= 2) {
        pause = pg_bell_pause(pause, pause + 100);
        assert_int_equal(expected, pause);
    }
}

/* A worker that sleeps somewhere else is not kept waiting for longer. */
static void pauses_stop_growing(void **state)
{
    (void)state;
    int64_t pause = 1 * MS;
    for (int i = 0; i < 1000; i++) {
        pause = pg_bell_pause(pause, pause);
        assert_in_range(pause, 2 * MS, 8 * MS);
    }
    assert_int_equal(8 * MS, pause);
}

static void a_lull_makes_them_short_again(void **state)
{
    (void)state;
    for (int64_t pause = 1 * MS; pause <= 8 * MS; pause *= 2)
        assert_int_equal(1 * MS, pg_bell_pause(pause, 2 * pause));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_pause_is_short),
        cmocka_unit_test(pauses_grow_while_there_is_always_something_to_tell),
        cmocka_unit_test(pauses_stop_growing),
        cmocka_unit_test(a_lull_makes_them_short_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
