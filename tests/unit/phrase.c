/* SPDX-License-Identifier: MIT
 *
 * Schedules in English.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <neoq.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *spec, *words;
} cases[] = {
    {"TZ=Europe/Berlin 30 2 * * 1-5", "at 02:30, Monday to Friday, Europe/Berlin"},
    {"CRON_TZ=America/New_York @daily", "at 00:00, every day, America/New_York"},
    {"30 2 * * *", "at 02:30, every day, UTC"},
    {"15 30 2 * * *", "at 02:30:15, every day, UTC"},
    {"0,30 9,17 * * *", "at 09:00, 09:30, 17:00 and 17:30, every day, UTC"},
    {"0 9,12,13,20 * * 6,0", "at 09:00, 12:00, 13:00 and 20:00, Saturday and Sunday, UTC"},
    {"0 1,4,5,9,10,20,22 * * *", "at 01:00, 04:00, 05:00, 09:00, 10:00, 20:00 and 22:00, every day, UTC"},
    {"* * * * *", "every minute"},
    {"TZ=Asia/Tokyo * * * * *", "every minute, Asia/Tokyo"},
    {"*/15 * * * *", "every 15 minutes"},
    {"5/15 * * * *", "every 15 minutes from minute 5"},
    {"0,30 * * * *", "every 30 minutes"},
    {"*/7 * * * *", "at minute 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"},
    {"1-5,10,20,21 * * * *", "at minute 1 to 5, 10, 20 and 21 of every hour"},
    {"@hourly", "every hour"},
    {"20 * * * *", "every hour, at minute 20"},
    {"30 20 * * * *", "every hour, at minute 20:30"},
    {"0 */2 * * *", "every 2 hours, UTC"},
    {"30 1/6 * * *", "every 6 hours from 01:30, UTC"},
    {"0 */5 * * *", "at 00:00, 05:00, 10:00, 15:00 and 20:00, every day, UTC"},
    {"5 9-17 * * 1-5", "every hour from 09:05 to 17:05, Monday to Friday, UTC"},
    {"*/5 9-17 * * 1-5", "every 5 minutes, from 09:00 to 17:59, Monday to Friday, UTC"},
    {"* 9 * * *", "every minute, from 09:00 to 09:59, UTC"},
    {"*/10 9,12 * * *", "every 10 minutes, in the hours 9 and 12, UTC"},
    {"* * * * * *", "every second"},
    {"*/10 * * * * *", "every 10 seconds"},
    {"30 * * * * *", "at second 30 of every minute"},
    {"30 */20 * * * *", "at second 30, in minute 0, 20 and 40"},
    {"*/10 0-14 8 * * *", "every 10 seconds, in minute 0 to 14, from 08:00 to 08:59, UTC"},
    {"@monthly", "at 00:00, on day 1 of the month, UTC"},
    {"@yearly", "at 00:00, on day 1 of January, UTC"},
    {"@weekly", "at 00:00, Sunday, UTC"},
    {"0 6 1,15 * *", "at 06:00, on day 1 and 15 of the month, UTC"},
    {"0 6 1-7 3-5,12 *", "at 06:00, on day 1 to 7 of March to May and December, UTC"},
    {"0 6 * 7 *", "at 06:00, every day in July, UTC"},
    {"* * * 7 *", "every minute, in July, UTC"},
    {"0 6 * 7 mon,wed,fri", "at 06:00, Monday, Wednesday and Friday, in July, UTC"},
    {"0 6 13 * 5", "at 06:00, on day 13 of the month, and on Friday, UTC"},
    {"0 6 13 2 5", "at 06:00, on day 13 of the month, and on Friday, in February, UTC"},
    {"0 6 1-31 * 5", "at 06:00, every day, UTC"},
    {"0 6 */10 * 5", "at 06:00, Friday, but only on day 1, 11, 21 and 31 of the month, UTC"},
    {"@every 1h30m", "every 90 minutes"},
    {"@every 24h", "every day"},
    {"@every 1s", "every second"},
    {"@every 3h", "every 3 hours"},
    {"@every 1m1s", "every 61 seconds"},
};

static void schedules_are_said_in_english(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char words[1000];
        if (neoq_cron_describe(cases[i].spec, words, sizeof words) != NEOQ_OK)
            fail_msg("\"%s\": %s", cases[i].spec, neoq_error_message());
        if (strcmp(words, cases[i].words) != 0)
            fail_msg("\"%s\":\n%s\n%s was expected", cases[i].spec, words, cases[i].words);
    }
}

static void words_are_cut_to_the_room_there_is(void **state)
{
    (void)state;
    char words[] = "xxxxxxxx";
    assert_int_equal(neoq_cron_describe("* * * * *", words, 6), NEOQ_OK);
    assert_string_equal(words, "every");
    assert_int_equal(words[6], 'x');
}

static void the_longest_words_fit_into_a_thousand_bytes(void **state)
{
    (void)state;
    char words[1000];
    static const char spec[] =
        "0-58/3,1-59/3 0-58/3,1-59/3 0-22/3,1-23/3 1-30/3,2-31/3 jan,feb,apr,may,jul,aug,oct,nov "
        "sun,tue,wed,fri,sat";
    assert_int_equal(neoq_cron_describe(spec, words, sizeof words), NEOQ_OK);
    assert_in_range(strlen(words), 500, 730); /* a zone takes up to 250 more */
}

static void what_is_no_schedule_has_no_words(void **state)
{
    (void)state;
    char words[100] = "untouched";
    assert_int_equal(neoq_cron_describe("61 * * * *", words, sizeof words), NEOQ_EINVAL);
    assert_string_equal(neoq_error_message(), "cron \"61 * * * *\": minute: 61 is not in 0-59");
    assert_int_equal(neoq_cron_describe(NULL, words, sizeof words), NEOQ_EINVAL);
    assert_int_equal(neoq_cron_describe("* * * * *", NULL, 10), NEOQ_EINVAL);
    assert_int_equal(neoq_cron_describe("* * * * *", words, 0), NEOQ_EINVAL);
    assert_string_equal(words, "untouched");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_are_said_in_english),
        cmocka_unit_test(words_are_cut_to_the_room_there_is),
        cmocka_unit_test(the_longest_words_fit_into_a_thousand_bytes),
        cmocka_unit_test(what_is_no_schedule_has_no_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
