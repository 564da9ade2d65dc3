/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "schedule/duration.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void reads_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        neoq_duration expected;
    } cases[] = {
        {"0", 0},
        {"0s", 0},
        {"1us", 1},
        {"1\xc2\xb5s", 1},
        {"1\xce\xbcs", 1},
        {"999ns", 0},
        {"1000ns", 1},
        {"1500ns", 1},
        {"500ns500ns", 1},
        {"0.5us500ns", 1},
        {"250ms", 250000},
        {"30s", NEOQ_SECONDS(30)},
        {"5m", NEOQ_MINUTES(5)},
        {"2h", NEOQ_HOURS(2)},
        {"1d", NEOQ_HOURS(24)},
        {"1h30m", NEOQ_MINUTES(90)},
        {"30m1h", NEOQ_MINUTES(90)},
        {"1h1h", NEOQ_HOURS(2)},
        {"1d2h3m4s5ms6us7ns", NEOQ_HOURS(26) + NEOQ_SECONDS(184) + 5006},
        {"1.5h", NEOQ_MINUTES(90)},
        {".5s", 500000},
        {"5.s", NEOQ_SECONDS(5)},
        {"0.1s", 100000},
        {"1.25d", NEOQ_HOURS(30)},
        {"0.0000001s", 0},
        {"0.000001s", 1},
        {"0.3333333333333333333333h", 1199999999},
        {"0.99999999999999999999d", 86399999999},
        {"007s", NEOQ_SECONDS(7)},
        {"106751991d", 106751991LL * 86400 * 1000000},
        {"9223372036854775807us", INT64_MAX},
        {"9223372036854775807ns", INT64_MAX / 1000},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        neoq_duration got = -1;
        if (nq_duration_parse(cases[i].text, strlen(cases[i].text), &got) != NEOQ_OK)
            fail_msg("%s", neoq_error_message());
        if (got != cases[i].expected)
            fail_msg("\"%s\" gave %lld", cases[i].text, (long long)got);
    }
}

static void refuses_what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "1",
        "1.5",
        "00",
        "h",
        "1x",
        "1 s",
        " 1s",
        "1s ",
        "-1s",
        "+1s",
        "1h-1m",
        ".s",
        ".",
        "1..5s",
        "1.5.5s",
        "1S",
        "1sec",
        "1w",
        "1e3s",
        "0x1s",
        "1h30",
        "s1",
        "1m s",
        "9223372036854775808us",
        "106751992d",
        "9223372036854775807us1us",
        "99999999999999999999ns",
        "9223372036854775807h",
        "2562047788.1h",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        neoq_duration got;
        if (nq_duration_parse(bad[i], strlen(bad[i]), &got) != NEOQ_EINVAL)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_non_null(strstr(neoq_error_message(), "duration \""));
    }
}

/* The text need not end in a NUL, and what is behind it does not count. */
static void minds_the_size(void **state)
{
    (void)state;
    neoq_duration got;
    assert_int_equal(nq_duration_parse("5m30s", 2, &got), NEOQ_OK);
    assert_int_equal(got, NEOQ_MINUTES(5));
    assert_int_equal(nq_duration_parse("5m30s", 1, &got), NEOQ_EINVAL);
    assert_int_equal(nq_duration_parse("5\0m", 3, &got), NEOQ_EINVAL);

    static const char alphabet[] = "0123456789.nusmhd -";
    unsigned seed = 20240209;
    for (int round = 0; round < 200000; round++) {
        size_t size = (size_t)(rand_r(&seed) % 40);
        char *text = malloc(size + 1); /* of its own, so that a sanitizer sees a step behind it */
        assert_non_null(text);
        for (size_t i = 0; i < size; i++)
            text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof alphabet - 1)];
        char *exact = realloc(text, size > 0 ? size : 1);
        int status = nq_duration_parse(exact, size, &got);
        assert_true(status == NEOQ_EINVAL || (status == NEOQ_OK && got >= 0));
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_durations),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(minds_the_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
