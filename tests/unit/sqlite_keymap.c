/* SPDX-License-Identifier: MIT */

/* sqlite/keymap: random changes, held against a plain list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backend/sqlite/keymap.h"
#include "support/random.h"

enum { STEPS = 20000, KEYS = 300, SEED = 20261122 };

typedef struct entry {
    int64_t key, rid;
} entry;

static uint64_t state = SEED;

static uint64_t next_random(uint64_t below)
{
    return random_from(&state) % below;
}

/* Also keys that differ only where a hash may not look. */
static int64_t random_key(void)
{
    int64_t n = 1 + (int64_t)next_random(KEYS);
    return n % 3 == 0 ? n << 32 : n % 3 == 1 ? -n : n;
}

static void check_key(sq_keymap *map, const entry *entries, size_t count, int64_t key)
{
    size_t expected = 0, seen = 0, at = 0;
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        if (entries[i].key == key) {
            expected++;
            sum += entries[i].rid;
        }
    for (int64_t *rid; (rid = sq_keymap_next(map, key, &at)); seen++)
        sum -= *rid;
    assert_int_equal(expected, seen);
    assert_int_equal(0, sum);
}

/* Forgets one entry of the key, in the map and in the list. */
static size_t forget_one(sq_keymap *map, entry *entries, size_t count, int64_t key)
{
    size_t at = 0;
    int64_t *rid = sq_keymap_next(map, key, &at);
    if (!rid)
        return count;
    for (size_t i = 0; i < count; i++)
        if (entries[i].key == key && entries[i].rid == *rid) {
            entries[i] = entries[count - 1];
            *rid = 0;
            return count - 1;
        }
    fail_msg("the map holds (%lld, %lld), which nobody put there", (long long)key, (long long)*rid);
    return count;
}

static void test_it_holds_what_a_list_holds(void **unused)
{
    (void)unused;
    static entry entries[STEPS];
    size_t count = 0;
    sq_keymap map = {0};
    check_key(&map, entries, 0, 1);
    for (int64_t step = 1; step <= STEPS; step++) {
        int64_t key = random_key();
        if (next_random(3) > 0) {
            assert_true(sq_keymap_add(&map, key, step));
            entries[count++] = (entry){key, step};
        } else {
            count = forget_one(&map, entries, count, key);
        }
        check_key(&map, entries, count, random_key());
        if (next_random(STEPS / 4) == 0) {
            sq_keymap_clear(&map);
            count = 0;
        }
    }
    sq_keymap_free(&map);
}

/* A payload that is enqueued and run again and again has one entry at a time. */
static void test_a_forgotten_place_is_used_again(void **unused)
{
    (void)unused;
    sq_keymap map = {0};
    for (int64_t rid = 1; rid <= STEPS; rid++) {
        size_t at = 0;
        assert_true(sq_keymap_add(&map, 7, rid));
        int64_t *found = sq_keymap_next(&map, 7, &at);
        assert_non_null(found);
        assert_int_equal(rid, *found);
        assert_null(sq_keymap_next(&map, 7, &at));
        *found = 0;
    }
    assert_int_equal(1, map.count);
    sq_keymap_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_holds_what_a_list_holds),
        cmocka_unit_test(test_a_forgotten_place_is_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
