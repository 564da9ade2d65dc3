/* SPDX-License-Identifier: MIT */

/* base/uuid: the layout of RFC 9562, the order of ids, and what is read as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "support/random.h"

#define SEED 20240229u

static uint64_t state = SEED;

static uint64_t next_random(void)
{
    return random_from(&state);
}

static void test_layout(void **unused)
{
    (void)unused;
    uint8_t id[16];
    char text[37];
    /* RFC 9562, A.6: 2022-02-22T19:22:22Z; rand_a CC3, rand_b 18C4DC0C0C07398F. */
    uint64_t counter = (uint64_t)0xCC3 << 20 | (0x18C4DC0C0C07398F >> 42 & 0xFFFFF);
    nq_uuid_make(id, 1645557742000000, counter, 0x18C4DC0C0C07398F);
    nq_uuid_format(id, text);
    assert_string_equal(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");

    nq_uuid_make(id, -1, 0, 0);
    nq_uuid_format(id, text);
    assert_string_equal(text, "00000000-0000-7000-8000-000000000000");
    nq_uuid_make(id, INT64_MAX, UINT64_MAX, UINT64_MAX);
    assert_int_equal(id[6], 0x7F);
    assert_int_equal(id[8], 0xBF);
    nq_uuid_make(id, 0, 0, UINT64_MAX); /* 42 bits of it */
    nq_uuid_format(id, text);
    assert_string_equal(text, "00000000-0000-7000-8000-03ffffffffff");
    nq_uuid_make(id, 0, UINT64_MAX, 0);
    nq_uuid_format(id, text);
    assert_string_equal(text, "00000000-0000-7fff-bfff-fc0000000000");
}

/* A counter that goes up by one and a clock that stands still or goes forward, with random bits against it. */
static void test_order(void **unused)
{
    (void)unused;
    uint8_t before[16] = {0}, id[16];
    char text_before[37] = "", text[37];
    int64_t now = 1700000000000000;
    uint64_t counter = 0xFFF00000u;
    for (int i = 0; i < 200000; i++) {
        now += (int64_t)(next_random() % 3 == 0 ? next_random() % 2000 : 0);
        if (++counter >> 32) {
            counter = 0;
            now += 1000;
        }
        nq_uuid_make(id, now, counter, next_random());
        nq_uuid_format(id, text);
        assert_true(memcmp(before, id, sizeof id) < 0);
        assert_true(strcmp(text_before, text) < 0);
        memcpy(before, id, sizeof id);
        memcpy(text_before, text, sizeof text);
    }
    for (int bit = 0; bit < 32; bit++) { /* across every carry of the counter, and from one millisecond to the next */
        uint64_t edge = (uint64_t)1 << bit;
        nq_uuid_make(before, now, edge - 1, UINT64_MAX);
        nq_uuid_make(id, now, edge, 0);
        assert_true(memcmp(before, id, sizeof id) < 0);
        nq_uuid_make(id, now / 1000 * 1000 + 1000, 0, 0);
        assert_true(memcmp(before, id, sizeof id) < 0);
    }
}

static void test_round_trip(void **unused)
{
    (void)unused;
    for (int i = 0; i < 100000; i++) {
        uint8_t id[16], read[16], upper_read[16];
        for (int k = 0; k < 16; k++)
            id[k] = (uint8_t)(next_random() >> 32);
        char text[37], expected[37], upper[37];
        nq_uuid_format(id, text);
        snprintf(expected, sizeof expected, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                 id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12], id[13],
                 id[14], id[15]);
        assert_string_equal(text, expected);
        for (int k = 0; k < 37; k++)
            upper[k] = (char)(text[k] >= 'a' ? text[k] - 'a' + 'A' : text[k]);
        assert_true(nq_uuid_parse(text, read));
        assert_memory_equal(read, id, sizeof id);
        assert_true(nq_uuid_parse(upper, upper_read));
        assert_memory_equal(upper_read, id, sizeof id);
    }
}

/* The text in memory of its own, so that a sanitizer sees a byte read past its NUL. */
static bool parses(const char *text)
{
    uint8_t out[16];
    char *copy = strdup(text);
    assert_non_null(copy);
    bool good = nq_uuid_parse(copy, out);
    free(copy);
    return good;
}

static void test_rejects(void **unused)
{
    (void)unused;
    static const char good[] = "017f22e2-79b0-7cc3-98c4-DC0C0C07398f";
    static const char *const bad[] = {
        "",
        "-",
        "{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}",
        "urn:uuid:017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        " 017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f ",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0",
        "017f22e279b07cc398c4dc0c0c07398f",
        "017f22e2-79b07-cc3-98c4-dc0c0c07398f",
        "017f22e-279b0-7cc3-98c4-dc0c0c07398f",
        "0x7f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        "+17f22e2-79b0-7cc3-98c4-dc0c0c07398f",
    };
    assert_true(parses(good));
    assert_true(parses("00000000-0000-0000-0000-000000000000"));
    assert_true(parses("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"));
    assert_false(nq_uuid_parse(NULL, (uint8_t[16]){0}));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(parses(bad[i]));
    for (size_t cut = 0; cut < 36; cut++) {
        char text[37];
        memcpy(text, good, sizeof text);
        text[cut] = '\0';
        assert_false(parses(text));
    }
    int accepted = 0; /* each place with each byte: hex digits pass where digits stand, '-' where it stands */
    for (size_t place = 0; place < 36; place++)
        for (int c = 1; c < 256; c++) {
            char text[37];
            memcpy(text, good, sizeof text);
            text[place] = (char)c;
            accepted += parses(text);
        }
    assert_int_equal(accepted, 32 * 22 + 4);
}

int main(void)
{
    printf("seed %u\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_rejects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
