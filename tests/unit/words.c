/* SPDX-License-Identifier: MIT
 *
 * The English of cron expressions and the queue names made of it, against what the Go programs gave (tests/golden).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "schedule/words.h"

#include <neoq.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static json_t *load(const char *name)
{
    char path[1024];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", NEOQ_TEST_GOLDEN, name);
    json_t *file = json_load_file(path, 0, &error);
    if (!file)
        fail_msg("%s: %s", path, error.text);
    return file;
}

static const char *text_of(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void describes_as_go_does(void **state)
{
    (void)state;
    json_t *file = load("cron_descriptions.json"), *item;
    size_t i, described = 0, refused = 0;
    json_array_foreach(json_object_get(file, "cases"), i, item)
    {
        const char *spec = text_of(item, "spec"), *expected = text_of(item, "description");
        char got[1000] = "";
        int status = nq_cron_describe(spec, got, sizeof got);
        if (expected) {
            if (status != NEOQ_OK)
                fail_msg("\"%s\": %s", spec, neoq_error_message());
            assert_string_equal(got, expected);
            described++;
        } else {
            if (status != NEOQ_EINVAL)
                fail_msg("\"%s\" gave \"%s\"", spec, got);
            assert_true(strlen(neoq_error_message()) > 0);
            refused++;
        }
    }
    assert_int_equal(described, 109);
    assert_int_equal(refused, 15);
    json_decref(file);
}

/* Where the name is ours on purpose: a time zone is left aside, and @ expressions are never described. */
static const char *own_name(const char *spec)
{
    static const char *const own[][2] = {
        {"CRON_TZ=UTC 0 0 12 * * *", "at_1200_pm"},
        {"@every 1h 2 3 4 5", "cron_every_1h_2_3_4_5"},
    };
    for (size_t i = 0; i < COUNT(own); i++) {
        if (strcmp(own[i][0], spec) == 0)
            return own[i][1];
    }
    return NULL;
}

static void names_queues_as_go_does(void **state)
{
    (void)state;
    json_t *file = load("cron_names.json"), *item;
    size_t i, same = 0, own = 0, fallback = 0;
    json_array_foreach(json_object_get(file, "cases"), i, item)
    {
        const char *spec = text_of(item, "spec"), *expected = text_of(item, "queue");
        char got[201] = "";
        int status = nq_cron_queue_name(spec, got, sizeof got);
        if (!*spec) {
            assert_int_equal(status, NEOQ_EINVAL);
            continue;
        }
        if (status != NEOQ_OK)
            fail_msg("\"%s\": %s", spec, neoq_error_message());
        if (own_name(spec)) {
            assert_string_equal(got, own_name(spec));
            own++;
        } else if (expected) {
            assert_string_equal(got, expected);
            same++;
        } else {
            assert_memory_equal(got, "cron", 4);
            fallback++;
        }
    }
    assert_int_equal(same, 107);
    assert_int_equal(own, 2);
    assert_int_equal(fallback, 14);
    json_decref(file);
}

static void names_what_go_cannot_describe(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"@every 5m", "cron_every_5m"},
        {"@every 1h30m", "cron_every_1h30m"},
        {"  @daily ", "cron_daily"},
        {"CRON_TZ=Asia/Tokyo @daily", "cron_daily"},
        {"TZ=Europe/Berlin 0 17 * * *", "at_0500_pm"},
        {" CRON_TZ=Europe/Berlin  0 17 * * *", "at_0500_pm"},
        {"0 1-3,5 * * * *", "cron_0_1_3_5"},
        {"0 0 * * 7", "cron_0_0_7"},
        {"*/5 1-3,5 * * MON", "cron_5_1_3_5_MON"},
        {"0 0 12 ? ? ?", "cron_0_0_12"},
        {"* * * * * * * *", "cron"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char got[201];
        assert_int_equal(nq_cron_queue_name(cases[i][0], got, sizeof got), NEOQ_OK);
        assert_string_equal(got, cases[i][1]);
    }
}

static void refuses_empty_and_long(void **state)
{
    (void)state;
    char got[300], spec[300];
    static const char *const empty[] = {"", "   ", "TZ=UTC", "CRON_TZ=UTC  \t"};
    for (size_t i = 0; i < COUNT(empty); i++)
        assert_int_equal(nq_cron_queue_name(empty[i], got, sizeof got), NEOQ_EINVAL);

    /* "at_0100_am_0200_am_..._and_..." soon passes 200 bytes */
    snprintf(spec, sizeof spec, "0 0 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23 * * MON,TUE");
    assert_int_equal(nq_cron_describe(spec, got, sizeof got), NEOQ_OK);
    assert_int_equal(nq_cron_queue_name(spec, got, sizeof got), NEOQ_EINVAL);
    assert_non_null(strstr(neoq_error_message(), "name the queue yourself"));

    assert_int_equal(nq_cron_queue_name("0 17 * * *", got, 10), NEOQ_EINVAL); /* at_0500_pm takes 11 */
    assert_int_equal(nq_cron_queue_name("0 17 * * *", got, 11), NEOQ_OK);
    assert_int_equal(nq_cron_describe("0 17 * * *", got, 11), NEOQ_EINVAL);
    assert_int_equal(nq_cron_describe("0 17 * * *", got, 12), NEOQ_OK);

    memset(spec, '*', 256);
    spec[256] = '\0';
    assert_int_equal(nq_cron_queue_name(spec, got, sizeof got), NEOQ_EINVAL);
    assert_int_equal(nq_cron_describe(spec, got, sizeof got), NEOQ_EINVAL);
}

/* Whatever the text, the answer is a name of the right letters or a refusal; sanitizers see the rest. */
static void survives_any_text(void **state)
{
    (void)state;
    static const char alphabet[] = "0123456789*/-,?LW#: @.JANMONsun\t\xc3\xa9T=";
    unsigned seed = 20240207;
    for (int round = 0; round < 100000; round++) {
        char spec[260], got[201], text[2000];
        size_t size = (size_t)(rand_r(&seed) % (round % 10 == 0 ? 256 : 30));
        for (size_t i = 0; i < size; i++)
            spec[i] = rand_r(&seed) % 5 == 0 ? ' ' : alphabet[(size_t)rand_r(&seed) % (sizeof alphabet - 1)];
        spec[size] = '\0';
        int described = nq_cron_describe(spec, text, sizeof text);
        assert_true(described == NEOQ_OK || described == NEOQ_EINVAL);
        int status = nq_cron_queue_name(spec, got, sizeof got);
        assert_true(status == NEOQ_OK || status == NEOQ_EINVAL);
        if (status == NEOQ_OK) {
            assert_true(strlen(got) <= 200);
            assert_int_equal(strspn(got, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"),
                             strlen(got));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_as_go_does),
        cmocka_unit_test(names_queues_as_go_does),
        cmocka_unit_test(names_what_go_cannot_describe),
        cmocka_unit_test(refuses_empty_and_long),
        cmocka_unit_test(survives_any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
