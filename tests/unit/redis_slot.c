/* SPDX-License-Identifier: MIT */

/* backend/redis/slot: what a real cluster's CLUSTER KEYSLOT says of these keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "backend/redis/slot.h"

static void test_keys_are_where_the_server_says(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        unsigned slot;
    } cases[] = {
        {"", 0},
        {"123456789", 12739}, /* the check value of the checksum, 0x31c3 */
        {"asynq:{default}:pending", 5718},
        {"asynq:{default}:t:3f2b6c1e-8d4a-4f6b-9c2d-1a2b3c4d5e6f", 5718},
        {"default", 5718},
        {"asynq:{critical}:active", 8090},
        {"asynq:{low}:lease", 15214},
        {"asynq:{email}:scheduled", 10780},
        {"asynq:queues", 3477},
        {"asynq:servers", 15197},
        {"asynq:workers", 7864},
        {"asynq:schedulers", 4669},
        {"asynq:servers:{host-a:4242:0b1e7a52-5d53-4c7e-9a77-3f1c2d4e5a6b}", 11462},
        {"asynq:workers:{host-a:4242:0b1e7a52-5d53-4c7e-9a77-3f1c2d4e5a6b}", 11462},
        {"asynq:{}x}:pending", 9204}, /* an empty tag: all of the key counts */
        {"asynq:{}x}:active", 5623},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (rd_slot(cases[i].key, strlen(cases[i].key)) != cases[i].slot)
            fail_msg("%s: %u instead of %u", cases[i].key, rd_slot(cases[i].key, strlen(cases[i].key)),
                     cases[i].slot);
}

static void test_only_the_first_tag_counts(void **state)
{
    (void)state;
    unsigned low = rd_slot("low", 3);
    assert_int_equal(low, rd_slot("{low}{high}", 11));
    assert_int_equal(low, rd_slot("x{low}}", 7));
    assert_int_equal(rd_slot("{low", 4), rd_slot("x{{low}", 7));
    assert_true(rd_slot("x{low", 5) != low);
    assert_true(rd_slot("{low}", 4) != low); /* the brace is beyond the key */
    assert_true(rd_slot("\xff\xfe", 2) < RD_SLOTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_are_where_the_server_says),
        cmocka_unit_test(test_only_the_first_tag_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
