/* SPDX-License-Identifier: MIT
 *
 * Cron expressions: the syntax, its errors, the next ticks against those of the Go libraries (tests/golden), and the
 * days on which clocks change. cron_random.c checks the rest against a clock that is watched second by second.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "schedule/civil.h"
#include "schedule/cron.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* "2024-03-10T03:00:00-04:00" or with Z, perhaps with a fraction; in microseconds. */
static neoq_time instant(const char *text)
{
    int year, month, day, hour, minute, hours = 0, minutes = 0;
    double second;
    char sign = 'Z';
    int count = sscanf(text, "%d-%d-%dT%d:%d:%lf%c%d:%d", &year, &month, &day, &hour, &minute, &second, &sign, &hours,
                       &minutes);
    assert_true(count == 7 || count == 9);
    int64_t offset = (hours * 60 + minutes) * 60 * (sign == '-' ? -1 : 1);
    int64_t whole = nq_day_from_date(year, month, day) * NQ_DAY_SECONDS + hour * 3600 + minute * 60 - offset;
    return NEOQ_SECONDS(whole) + (neoq_time)floor(second * 1e6);
}

static nq_cron *parse(const char *spec)
{
    nq_cron *cron;
    if (nq_cron_parse(&cron, spec) != NEOQ_OK)
        fail_msg("%s", neoq_error_message());
    return cron;
}

static const char *shown(neoq_time at)
{
    static _Thread_local char text[64];
    time_t seconds = at / 1000000;
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%a %Y-%m-%dT%H:%M:%SZ", &tm);
    return text;
}

/* ---- golden files ----------------------------------------------------------------------- */

/*
 * Where we read an expression otherwise than robfig, on purpose. Expressions that it takes and we refuse: those that
 * never come, lists with an empty item, "*-5", an empty zone. And those that we take and it refuses.
 */
static const char *const we_refuse[] = {
    "0 0 30 2 *",         "0 0 31 4 *",  ", 1 * * *",     "0 0 1,, * *",
    "CRON_TZ= 0 0 * * *", "*-5 * * * *", "*-3 * * * * *", ", * * * * *",
};
static const char *const we_take[] = {
    "0 0 * * 7", "0 0 0 * * 7", "@every 1d", "@every 1m ", "CRON_TZ=UTC * * * * * *", "TZ=Asia/Tokyo 0 0 9 * * *",
};
/*
 * "*" with a step other than 1 in a day field: robfig lets either field match, we need both, as Unix cron does. And
 * where robfig gives up after five years.
 */
static const char *const we_differ[] = {"0 0 */2 * 5"};

static bool among(const char *const *list, size_t count, const char *spec)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], spec) == 0)
            return true;
    }
    return false;
}

static void check_ticks(json_t *item, const char *spec, nq_cron *cron)
{
    json_t *times = json_object_get(item, "vixie_next5"), *value;
    neoq_time at = instant(json_string_value(json_object_get(item, "after"))), next;
    size_t i;
    if (!times)
        times = json_object_get(item, "next5");
    json_array_foreach(times, i, value)
    {
        if (strncmp(json_string_value(value), "1000", 4) == 0 && strlen(json_string_value(value)) > 20) {
            assert_int_equal(nq_cron_next(cron, at, &next), NEOQ_ENOTFOUND); /* the year 10000 */
            return;
        }
        if (nq_cron_next(cron, at, &next) != NEOQ_OK)
            fail_msg("%s", neoq_error_message());
        if (next != instant(json_string_value(value)))
            fail_msg("\"%s\" after %s: %s", spec, json_string_value(json_object_get(item, "after")), shown(next));
        at = next;
    }
}

static int check_golden(const char *name, bool six_only)
{
    char path[1024], with_zone[600];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", NEOQ_TEST_GOLDEN, name);
    json_t *file = json_load_file(path, 0, &error), *item;
    size_t i;
    int checked = 0;
    assert_non_null(file);
    json_array_foreach(json_object_get(file, "cases"), i, item)
    {
        const char *spec = json_string_value(json_object_get(item, "spec"));
        const char *zone = json_string_value(json_object_get(item, "tz"));
        bool prefixed = strncmp(spec, "TZ=", 3) == 0 || strncmp(spec, "CRON_TZ=", 8) == 0 || strcmp(zone, "UTC") == 0;
        int fields = 0;
        for (const char *c = spec; *c; c++)
            fields += *c != ' ' && (c[1] == ' ' || c[1] == '\0');
        if (six_only && fields == 5 && *spec != '@')
            continue;
        snprintf(with_zone, sizeof with_zone, "%s%s %s", prefixed ? "" : "CRON_TZ=", prefixed ? "" : zone, spec);
        nq_cron *cron;
        int status = nq_cron_parse(&cron, with_zone);
        bool refused = (json_object_get(item, "error") && !among(we_take, COUNT(we_take), spec)) ||
                       json_object_get(item, "panic") || among(we_refuse, COUNT(we_refuse), spec);
        if ((status == NEOQ_OK) == refused)
            fail_msg("\"%s\": %s", with_zone, status == NEOQ_OK ? "was taken" : neoq_error_message());
        neoq_time at = instant(json_string_value(json_object_get(item, "after"))), next;
        bool never = json_is_null(json_array_get(json_object_get(item, "next5"), 0));
        if (status == NEOQ_OK && at < 0)
            assert_int_equal(nq_cron_next(cron, at, &next), NEOQ_EINVAL);
        else if (status == NEOQ_OK && !never && !among(we_differ, COUNT(we_differ), spec))
            check_ticks(item, spec, cron);
        checked++;
        nq_cron_free(cron);
    }
    json_decref(file);
    return checked;
}

static void ticks_as_the_golden_files(void **state)
{
    (void)state;
    assert_int_equal(check_golden("robfig_v3_next.json", false), 156);
    assert_int_equal(check_golden("robfig_v1_next.json", true), 57);
}

/* ---- syntax ----------------------------------------------------------------------------- */

/* The first two ticks after Wednesday, 10 January 2024, 12:30:30 UTC. */
static void reads_every_form(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *first, *second;
    } cases[] = {
        {"* * * * *", "2024-01-10T12:31:00Z", "2024-01-10T12:32:00Z"},
        {"* * * * * *", "2024-01-10T12:30:31Z", "2024-01-10T12:30:32Z"},
        {"*/20 * * * * *", "2024-01-10T12:30:40Z", "2024-01-10T12:31:00Z"},
        {"  0\t12  *\n* * ", "2024-01-11T12:00:00Z", "2024-01-12T12:00:00Z"},
        {"5 * * * *", "2024-01-10T13:05:00Z", "2024-01-10T14:05:00Z"},
        {"05 013 * * *", "2024-01-10T13:05:00Z", "2024-01-11T13:05:00Z"},
        {"10-12 * * * *", "2024-01-10T13:10:00Z", "2024-01-10T13:11:00Z"},
        {"10-20/5 * * * *", "2024-01-10T13:10:00Z", "2024-01-10T13:15:00Z"},
        {"50/7 * * * *", "2024-01-10T12:50:00Z", "2024-01-10T12:57:00Z"},
        {"*/45 * * * *", "2024-01-10T12:45:00Z", "2024-01-10T13:00:00Z"},
        {"*/100 * * * *", "2024-01-10T13:00:00Z", "2024-01-10T14:00:00Z"},
        {"?/45 ? ? ? ?", "2024-01-10T12:45:00Z", "2024-01-10T13:00:00Z"},
        {"5,31,40-41,55/3 * * * *", "2024-01-10T12:31:00Z", "2024-01-10T12:40:00Z"},
        {"0 0 31 * *", "2024-01-31T00:00:00Z", "2024-03-31T00:00:00Z"},
        {"0 0 29 2 *", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"},
        {"0 0 30,31 2,3 *", "2024-03-30T00:00:00Z", "2024-03-31T00:00:00Z"},
        {"0 0 1 feb,Apr *", "2024-02-01T00:00:00Z", "2024-04-01T00:00:00Z"},
        {"0 0 1 OCT-dec/2 *", "2024-10-01T00:00:00Z", "2024-12-01T00:00:00Z"},
        {"0 0 1 11/1 *", "2024-11-01T00:00:00Z", "2024-12-01T00:00:00Z"},
        {"0 0 * * 0", "2024-01-14T00:00:00Z", "2024-01-21T00:00:00Z"},
        {"0 0 * * 7", "2024-01-14T00:00:00Z", "2024-01-21T00:00:00Z"},
        {"0 0 * * 6-7", "2024-01-13T00:00:00Z", "2024-01-14T00:00:00Z"},
        {"0 0 * * sat-7", "2024-01-13T00:00:00Z", "2024-01-14T00:00:00Z"},
        {"0 0 * * 5-7/2", "2024-01-12T00:00:00Z", "2024-01-14T00:00:00Z"},
        {"0 0 * * 5/1", "2024-01-12T00:00:00Z", "2024-01-13T00:00:00Z"},
        {"0 0 * * 7/2", "2024-01-14T00:00:00Z", "2024-01-21T00:00:00Z"},
        {"0 0 * * */4", "2024-01-11T00:00:00Z", "2024-01-14T00:00:00Z"},
        {"0 0 * * Mon,FRI", "2024-01-12T00:00:00Z", "2024-01-15T00:00:00Z"},
        {"0 0 15 * mon", "2024-01-15T00:00:00Z", "2024-01-22T00:00:00Z"}, /* either */
        {"0 0 13 * 5", "2024-01-12T00:00:00Z", "2024-01-13T00:00:00Z"},
        {"0 0 1-7 * */7", "2024-02-04T00:00:00Z", "2024-03-03T00:00:00Z"}, /* both: the first Sunday */
        {"0 0 */10 * mon", "2024-03-11T00:00:00Z", "2024-04-01T00:00:00Z"},
        {"0 0 31 4 mon", "2024-04-01T00:00:00Z", "2024-04-08T00:00:00Z"}, /* the Mondays save it */
        {"0 0 29 2 */7", "2032-02-29T00:00:00Z", "2060-02-29T00:00:00Z"},
        {"59 59 23 31 12 ?", "2024-12-31T23:59:59Z", "2025-12-31T23:59:59Z"},
        {"@yearly", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"},
        {"@annually", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"},
        {"@monthly", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
        {"@weekly", "2024-01-14T00:00:00Z", "2024-01-21T00:00:00Z"},
        {"@daily", "2024-01-11T00:00:00Z", "2024-01-12T00:00:00Z"},
        {" @midnight ", "2024-01-11T00:00:00Z", "2024-01-12T00:00:00Z"},
        {"@hourly", "2024-01-10T13:00:00Z", "2024-01-10T14:00:00Z"},
        {"@every 1h30m", "2024-01-10T14:00:30Z", "2024-01-10T15:30:30Z"},
        {"@every  2d", "2024-01-12T12:30:30Z", "2024-01-14T12:30:30Z"},
        {"@every 250ms", "2024-01-10T12:30:31Z", "2024-01-10T12:30:32Z"},
        {"@every 2999ms", "2024-01-10T12:30:32Z", "2024-01-10T12:30:34Z"},
        {"TZ=UTC @hourly", "2024-01-10T13:00:00Z", "2024-01-10T14:00:00Z"},
        {"TZ=Asia/Tokyo 0 9 * * *", "2024-01-11T00:00:00Z", "2024-01-12T00:00:00Z"},
        {" CRON_TZ=America/New_York  0 0 9 * * *", "2024-01-10T14:00:00Z", "2024-01-11T14:00:00Z"},
        {"CRON_TZ=Asia/Kathmandu 0 * * * *", "2024-01-10T13:15:00Z", "2024-01-10T14:15:00Z"},
        {"TZ=Etc/GMT-14 0 0 1 * *", "2024-01-31T10:00:00Z", "2024-02-29T10:00:00Z"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        nq_cron *cron = parse(cases[i].spec);
        neoq_time next;
        assert_int_equal(nq_cron_next(cron, instant("2024-01-10T12:30:30Z"), &next), NEOQ_OK);
        if (next != instant(cases[i].first))
            fail_msg("\"%s\" gave %s first", cases[i].spec, shown(next));
        assert_int_equal(nq_cron_next(cron, next, &next), NEOQ_OK);
        if (next != instant(cases[i].second))
            fail_msg("\"%s\" gave %s then", cases[i].spec, shown(next));
        nq_cron_free(cron);
    }
}

static void refuses_with_the_fields_name(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"61 * * * *", "cron \"61 * * * *\": minute: 61 is not in 0-59"},
        {"60 * * * * *", "second: 60 is not in 0-59"},
        {"* 24 * * *", "hour: 24 is not in 0-23"},
        {"* * 0 * *", "day of month: 0 is not in 1-31"},
        {"* * 32 * *", "day of month: 32 is not in 1-31"},
        {"* * * 0 *", "month: 0 is not in 1-12"},
        {"* * * 13 *", "month: 13 is not in 1-12"},
        {"* * * * 8", "day of week: 8 is not in 0-7"},
        {"5-1 * * * *", "minute: 5-1 runs backwards"},
        {"0 0 * * fri-mon", "day of week: fri-mon runs backwards"},
        {"0 0 * nov-feb *", "month: nov-feb runs backwards"},
        {"1-60 * * * *", "minute: 60 is not"},
        {"1-2-3 * * * *", "minute: \"2-3\" is not a number"},
        {"*/0 * * * *", "minute: the step \"0\""},
        {"* 1/0 * * *", "hour: the step \"0\""},
        {"*/ * * * *", "minute: the step \"\""},
        {"1/2/3 * * * *", "minute: the step \"2/3\""},
        {"*/-1 * * * *", "minute: the step \"-1\""},
        {"*/99999999999999999999 * * * *", "minute: the step"},
        {"99999999999999999999 * * * *", "minute: \"99999999999999999999\" is not"},
        {"1, * * * *", "minute: a value is missing"},
        {",1 * * * *", "minute: a value is missing"},
        {"1,,2 * * * *", "minute: a value is missing"},
        {"- * * * *", "minute: a value is missing"},
        {"5- * * * *", "minute: a value is missing"},
        {"-5 * * * *", "minute: a value is missing"},
        {"/5 * * * *", "minute: a value is missing"},
        {"*-5 * * * *", "minute: \"*\" is not"},
        {"** * * * *", "minute: \"**\" is not"},
        {"*5 * * * *", "minute: \"*5\" is not"},
        {"1.5 * * * *", "minute: \"1.5\" is not"},
        {"0x5 * * * *", "minute: \"0x5\" is not"},
        {"+5 * * * *", "minute: \"+5\" is not"},
        {"jan * * * *", "minute: \"jan\" is not"},
        {"* * * mon *", "month: \"mon\" is not"},
        {"* * * * jan", "day of week: \"jan\" is not"},
        {"* * * january *", "month: \"january\" is not"},
        {"* * * * monday", "day of week: \"monday\" is not"},
        {"* * L * *", "day of month: \"L\": L, W and # are not supported"},
        {"* * L-3 * *", "day of month: \"L-3\": L, W and # are not supported"},
        {"* * 15W * *", "day of month: \"15W\": L, W and # are not supported"},
        {"* * * * 5#3", "day of week: \"5#3\": L, W and # are not supported"},
        {"* * * * 5L", "day of week: \"5L\": L, W and # are not supported"},
        {"0 0 30 2 *", "day of month: no month in \"2\" has day 30"},
        {"0 0 31 4,6,sep,11 *", "day of month: no month in"},
        {"0 0 30-31 feb *", "day of month: no month in"},
        {"", "is empty"},
        {"  \t ", "is empty"},
        {"*", "1 field;"},
        {"* * * *", "4 fields;"},
        {"* * * * * * *", "7 fields;"},
        {"0 0 12 * * MON 2030", "7 fields;"},
        {"@reboot", "write @yearly"},
        {"@Daily", "write @yearly"},
        {"@dailyx", "write @yearly"},
        {"@every", "write @yearly"},
        {"@every ", "write @yearly"},
        {"@every5m", "write @yearly"},
        {"@every 5", "@every: duration \"5\": the unit"},
        {"@every -5m", "@every: duration \"-5m\": a number is missing"},
        {"@every 0s", "@every: the duration is zero"},
        {"@every 1h @every 1h", "@every: duration"},
        {"TZ=UTC", "nothing follows the time zone"},
        {"CRON_TZ=UTC ", "nothing follows the time zone"},
        {"TZ= 0 0 * * *", "time zone: time zone \"\" is not a name"},
        {"TZ=Mars/Olympus 0 0 * * *", "time zone: time zone \"Mars/Olympus\" is not known"},
        {"TZ=../../etc/passwd 0 0 * * *", "is not a name like"},
        {"tz=UTC 0 0 * * *", "second: \"tz=UTC\""}, /* six fields, and none is a zone */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        nq_cron *cron;
        int status = nq_cron_parse(&cron, cases[i][0]);
        assert_null(cron);
        if (status != NEOQ_EINVAL || !strstr(neoq_error_message(), cases[i][1]))
            fail_msg("\"%s\": %d, %s", cases[i][0], status, neoq_error_message());
    }
    nq_cron *cron;
    assert_int_equal(nq_cron_parse(&cron, NULL), NEOQ_EINVAL);

    char spec[300];
    memset(spec, ' ', sizeof spec);
    memcpy(spec, "* * * * *", 9);
    spec[255] = '\0';
    assert_int_equal(nq_cron_parse(&cron, spec), NEOQ_OK);
    nq_cron_free(cron);
    spec[255] = ' ';
    spec[256] = '\0';
    assert_int_equal(nq_cron_parse(&cron, spec), NEOQ_EINVAL);
    nq_cron_free(NULL);
}

static void keeps_to_its_years(void **state)
{
    (void)state;
    nq_cron *minutely = parse("* * * * *"), *leap = parse("0 0 29 2 *"), *often = parse("@every 1000d");
    neoq_time next, last = instant("9999-12-31T23:59:59.999Z");
    static const neoq_time outside[] = {-1, INT64_MIN, INT64_MAX, NEOQ_SECONDS(253402300800)};
    for (size_t i = 0; i < COUNT(outside); i++) {
        assert_int_equal(nq_cron_next(minutely, outside[i], &next), NEOQ_EINVAL);
        assert_int_equal(nq_cron_next(often, outside[i], &next), NEOQ_EINVAL);
    }
    assert_int_equal(nq_cron_next(minutely, 0, &next), NEOQ_OK);
    assert_int_equal(next, NEOQ_SECONDS(60));
    assert_int_equal(nq_cron_next(minutely, 59999999, &next), NEOQ_OK);
    assert_int_equal(next, NEOQ_SECONDS(60));
    assert_int_equal(nq_cron_next(minutely, NEOQ_SECONDS(60), &next), NEOQ_OK);
    assert_int_equal(next, NEOQ_SECONDS(120));
    assert_int_equal(nq_cron_next(minutely, last, &next), NEOQ_ENOTFOUND);
    assert_int_equal(nq_cron_next(often, last, &next), NEOQ_ENOTFOUND);
    assert_int_equal(nq_cron_next(leap, instant("2096-03-01T00:00:00Z"), &next), NEOQ_OK);
    assert_int_equal(next, instant("2104-02-29T00:00:00Z"));
    nq_cron_free(minutely);
    nq_cron_free(leap);
    nq_cron_free(often);

    /* Wall times that always fall into the gap of the last Sunday in March, by a rule of intervals: never. */
    nq_cron *never = parse("TZ=Europe/London */15 1 25-31 3 */7");
    assert_int_equal(nq_cron_next(never, instant("2000-01-01T00:00:00Z"), &next), NEOQ_ENOTFOUND);
    assert_non_null(strstr(neoq_error_message(), "no tick in 100 years"));
    nq_cron_free(never);
    nq_cron *always = parse("TZ=Europe/London 15 1 25-31 3 */7");
    assert_int_equal(nq_cron_next(always, instant("2000-01-01T00:00:00Z"), &next), NEOQ_OK);
    assert_int_equal(next, instant("2000-03-26T01:00:00Z"));
    nq_cron_free(always);

    nq_cron *endless = parse("@every 2500000000h");
    assert_int_equal(nq_cron_next(endless, 0, &next), NEOQ_ENOTFOUND);
    nq_cron_free(endless);
}

/* ---- clocks that change ----------------------------------------------------------------- */

static void runs_once_where_clocks_change(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *after;
        const char *ticks[5];
    } cases[] = {
        /* a day that was left out: everything due on it runs once, as the next one begins */
        {"TZ=Pacific/Apia 0 9 * * *",
         "2011-12-29T20:00:00Z",
         {"2011-12-30T10:00:00Z", "2011-12-30T19:00:00Z", "2011-12-31T19:00:00Z"}},
        {"TZ=Pacific/Apia 0 0 30 12 *", "2011-01-29T12:00:00Z", {"2011-12-30T10:00:00Z", "2012-12-29T10:00:00Z"}},
        {"TZ=Pacific/Apia 0 0,6,12 * * *",
         "2011-12-29T22:00:00Z",
         {"2011-12-30T10:00:00Z", "2011-12-30T16:00:00Z", "2011-12-30T22:00:00Z"}},
        {"TZ=Pacific/Apia */30 * * * *", "2011-12-30T09:30:00Z", {"2011-12-30T10:00:00Z", "2011-12-30T10:30:00Z"}},
        {"TZ=Pacific/Apia * * 30 12 *", "2011-12-01T00:00:00Z", {"2012-12-29T10:00:00Z", "2012-12-29T10:01:00Z"}},
        {"TZ=Pacific/Kwajalein 0 12 21 8 *",
         "1993-01-01T00:00:00Z",
         {"1993-08-21T12:00:00Z", "1994-08-21T00:00:00Z"}},
        /* several skipped times make one run, also together with a time that names the end of the gap */
        {"TZ=America/New_York 0,20,40 2,3 * * *",
         "2024-03-10T06:59:59Z",
         {"2024-03-10T07:00:00Z", "2024-03-10T07:20:00Z", "2024-03-10T07:40:00Z", "2024-03-11T06:00:00Z"}},
        {"TZ=America/New_York 30 30 2 * * *",
         "2024-03-10T00:00:00Z",
         {"2024-03-10T07:00:00Z", "2024-03-11T06:30:30Z"}},
        {"TZ=America/New_York 30 2 * * *", "2024-03-10T07:00:00Z", {"2024-03-11T06:30:00Z"}},
        /* the day and the month of a skipped time are those of the gap */
        {"TZ=America/New_York 30 2 9 3 *", "2024-03-09T08:00:00Z", {"2025-03-09T07:00:00Z", "2026-03-09T06:30:00Z"}},
        /* a repeated time, asked for before, between and after */
        {"TZ=Europe/Berlin 30 2 * * *", "2024-10-26T23:00:00Z", {"2024-10-27T00:30:00Z", "2024-10-28T01:30:00Z"}},
        {"TZ=Europe/Berlin 30 2 * * *", "2024-10-27T00:45:00Z", {"2024-10-28T01:30:00Z"}},
        {"TZ=Europe/Berlin 0 3 * * *", "2024-10-27T00:45:00Z", {"2024-10-27T02:00:00Z"}},
        {"TZ=Europe/Berlin */30 2 * * *",
         "2024-10-26T23:00:00Z",
         {"2024-10-27T00:00:00Z", "2024-10-27T00:30:00Z", "2024-10-27T01:00:00Z", "2024-10-27T01:30:00Z"}},
        {"TZ=Europe/Berlin * 30 2 * * *", "2024-10-27T00:30:58Z", {"2024-10-27T00:30:59Z", "2024-10-27T01:30:00Z"}},
        /* half an hour, two hours, and quarters of one */
        {"TZ=Australia/Lord_Howe 45 1 * * *",
         "2024-04-06T14:10:00Z",
         {"2024-04-06T14:45:00Z", "2024-04-07T15:15:00Z"}},
        {"TZ=Australia/Lord_Howe 15 2 * * *",
         "2024-10-05T15:00:00Z",
         {"2024-10-05T15:30:00Z", "2024-10-06T15:15:00Z"}},
        {"TZ=Antarctica/Troll 30 1,2 * * *",
         "2024-03-31T00:00:00Z",
         {"2024-03-31T01:00:00Z", "2024-03-31T23:30:00Z", "2024-04-01T00:30:00Z"}},
        {"TZ=Antarctica/Troll 30 1,2 * * *",
         "2024-10-26T22:45:00Z",
         {"2024-10-26T23:30:00Z", "2024-10-27T00:30:00Z", "2024-10-28T01:30:00Z"}},
        {"TZ=Pacific/Chatham 0 3 * * *", "2024-09-28T00:00:00Z", {"2024-09-28T14:00:00Z", "2024-09-29T13:15:00Z"}},
        /* Ramadan: back an hour, and forth again a month later */
        {"TZ=Africa/Casablanca 30 2 * * *", "2024-03-10T00:00:00Z", {"2024-03-10T01:30:00Z", "2024-03-11T02:30:00Z"}},
        {"TZ=Africa/Casablanca 30 2 * * *", "2024-04-14T00:00:00Z", {"2024-04-14T02:00:00Z", "2024-04-15T01:30:00Z"}},
        /* by the file's rule, long after its last change */
        {"TZ=Europe/Berlin 30 2 * * *", "2100-03-27T12:00:00Z", {"2100-03-28T01:00:00Z", "2100-03-29T00:30:00Z"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        nq_cron *cron = parse(cases[i].spec);
        neoq_time at = instant(cases[i].after);
        for (size_t n = 0; n < COUNT(cases[i].ticks) && cases[i].ticks[n]; n++) {
            assert_int_equal(nq_cron_next(cron, at, &at), NEOQ_OK);
            if (at != instant(cases[i].ticks[n]))
                fail_msg("\"%s\" after %s, tick %zu: %s", cases[i].spec, cases[i].after, n + 1, shown(at));
        }
        nq_cron_free(cron);
    }
}

/*
 * A made-up zone, one hour east of UTC but for half an hour each 10 April: its clocks go back from 02:00 to 01:00, and
 * forth again at 01:30. Between 01:30 and 02:00 nothing is skipped, since that has been shown before.
 */
static void remembers_more_than_one_change(void **state)
{
    (void)state;
    static const unsigned char header[44] = {'T', 'Z', 'i', 'f', '2', [39] = 1, [43] = 4};
    static const unsigned char type[10] = {0, 0, 14, 16, 0, 0, 'A', 'A', 'A', 0};
    static const char footer[] = "\nAAA0BBB-1,J100/1:30,J100/2\n";
    char folder[] = "/tmp/neoq-cron-XXXXXX", path[100];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/Odd", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int half = 0; half < 2; half++) {
        fwrite(header, 1, sizeof header, file);
        fwrite(type, 1, sizeof type, file);
    }
    fwrite(footer, 1, sizeof footer - 1, file);
    fclose(file);
    setenv("TZDIR", folder, 1);
    nq_cron *repeated = parse("TZ=Odd 45 1 * * *"), *skipped = parse("TZ=Odd 15 2 * * *");
    nq_cron *early = parse("TZ=Odd 15 1 * * *"), *flowing = parse("TZ=Odd */15 1 * * *");
    unsetenv("TZDIR");
    unlink(path);
    rmdir(folder);

    neoq_time at = instant("2024-04-10T00:00:00Z"), next;
    assert_int_equal(nq_cron_next(repeated, at, &next), NEOQ_OK);
    assert_int_equal(next, instant("2024-04-10T00:45:00Z"));
    assert_int_equal(nq_cron_next(repeated, next, &next), NEOQ_OK);
    assert_int_equal(next, instant("2024-04-11T00:45:00Z"));
    assert_int_equal(nq_cron_next(skipped, at, &next), NEOQ_OK);
    assert_int_equal(next, instant("2024-04-10T01:30:00Z"));
    assert_int_equal(nq_cron_next(skipped, next, &next), NEOQ_OK);
    assert_int_equal(next, instant("2024-04-11T01:15:00Z"));
    assert_int_equal(nq_cron_next(early, at, &next), NEOQ_OK);
    assert_int_equal(next, instant("2024-04-10T00:15:00Z"));
    assert_int_equal(nq_cron_next(early, next, &next), NEOQ_OK);
    assert_int_equal(next, instant("2024-04-11T00:15:00Z"));
    assert_int_equal(nq_cron_next(flowing, instant("2024-04-10T00:45:00Z"), &next), NEOQ_OK);
    assert_int_equal(next, instant("2024-04-10T01:00:00Z"));
    assert_int_equal(nq_cron_next(flowing, instant("2024-04-10T01:15:00Z"), &next), NEOQ_OK);
    assert_int_equal(next, instant("2024-04-11T00:00:00Z"));
    nq_cron_free(repeated);
    nq_cron_free(skipped);
    nq_cron_free(early);
    nq_cron_free(flowing);
}

static void survives_any_text(void **state)
{
    (void)state;
    static const char alphabet[] = "0123456789*/-,?LW#: @.janmonSUN\t\xc3TZ=UC_";
    unsigned seed = 20240208;
    int taken = 0;
    for (int round = 0; round < 200000; round++) {
        char spec[260];
        size_t size = (size_t)(rand_r(&seed) % (round % 10 == 0 ? 256 : 16));
        for (size_t i = 0; i < size; i++)
            spec[i] = rand_r(&seed) % 10 == 0 ? alphabet[(size_t)rand_r(&seed) % (sizeof alphabet - 1)]
                                              : (i % 2 == 1 ? ' ' : "0123456789*********"[rand_r(&seed) % 19]);
        spec[size] = '\0';
        nq_cron *cron;
        neoq_time next;
        int status = nq_cron_parse(&cron, spec);
        assert_true(status == NEOQ_OK || status == NEOQ_EINVAL);
        if (status == NEOQ_OK) {
            status = nq_cron_next(cron, NEOQ_SECONDS(1700000000), &next);
            assert_true(status == NEOQ_OK && next > NEOQ_SECONDS(1700000000));
            taken++;
        }
        nq_cron_free(cron);
    }
    assert_true(taken > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_as_the_golden_files),
        cmocka_unit_test(reads_every_form),
        cmocka_unit_test(refuses_with_the_fields_name),
        cmocka_unit_test(keeps_to_its_years),
        cmocka_unit_test(runs_once_where_clocks_change),
        cmocka_unit_test(remembers_more_than_one_change),
        cmocka_unit_test(survives_any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
