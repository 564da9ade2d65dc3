/* SPDX-License-Identifier: MIT
 *
 * Messages between processes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "runtime/wire.h"

static void what_was_sent_is_heard_though_the_other_died_with_a_word_unread(void **state)
{
    int ends[2];
    nq_message message = NQ_MESSAGE_INITIALIZER;
    (void)state;
    assert_int_equal(0, nq_wire_pair(ends));
    assert_true(nq_wire_send(ends[0], 1, "unread", 6, -1, true));
    assert_true(nq_wire_send(ends[1], 2, "last", 4, -1, true));
    close(ends[1]);
    assert_true(nq_wire_receive(ends[0], &message));
    assert_int_equal(2, message.kind);
    assert_int_equal(4, message.body.size);
    assert_false(nq_wire_receive(ends[0], &message));
    nq_buffer_free(&message.body);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sent_is_heard_though_the_other_died_with_a_word_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
