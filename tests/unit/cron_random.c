/* SPDX-License-Identifier: MIT
 *
 * Random cron expressions in many zones against an oracle that watches a clock: it walks the seconds one by one, reads
 * what the clock on the wall shows, and knows nothing of months that can be jumped over. Offsets come from zone.c, which
 * zone.c of these tests holds against the C library.
 *
 * NEOQ_TEST_SEED changes the seed, NEOQ_TEST_ROUNDS the number of expressions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "schedule/cron.h"
#include "schedule/zone.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const zones[] = {
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/London",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
};

static nq_zone *loaded[COUNT(zones)];
static uint64_t random_state;

static int below(int n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (int)(random_state % (uint64_t)n);
}

/* ---- random expressions ----------------------------------------------------------------- */

/* What an expression is made of, beside its text: which values match, written down as they are drawn. */
typedef struct sample {
    char spec[NQ_CRON_SIZE];
    size_t zone;
    bool seconds[60], minutes[60], hours[24], days[32], months[13], weekdays[8];
    bool star[6];
} sample;

__attribute__((format(printf, 2, 3))) static void add(sample *s, const char *format, ...)
{
    va_list args;
    size_t size = strlen(s->spec);
    va_start(args, format);
    vsnprintf(s->spec + size, sizeof s->spec - size, format, args);
    va_end(args);
}

static void draw_item(sample *s, bool *match, int low, int high, int top)
{
    int last = high > top ? high : top;
    int a = low + below(high - low + 1), b = a + below(high - a + 1), step = 1 + below(high - low + 1);
    switch (below(5)) {
    case 0:
        add(s, "%d", a);
        match[a] = true;
        break;
    case 1:
        add(s, "%d-%d", a, b);
        for (int v = low; v <= last; v++)
            match[v] |= v >= a && v <= b;
        break;
    case 2:
        add(s, "%d-%d/%d", a, b, step);
        for (int v = low; v <= last; v++)
            match[v] |= v >= a && v <= b && (v - a) % step == 0;
        break;
    case 3:
        add(s, "%d/%d", a, step);
        for (int v = low; v <= last; v++)
            match[v] |= v == a || (v > a && v <= top && (v - a) % step == 0);
        break;
    default:
        add(s, "*/%d", step);
        for (int v = low; v <= top; v++)
            match[v] |= (v - low) % step == 0;
    }
}

/* One field; star_odds of ten are "*". */
static void draw_field(sample *s, int index, bool *match, int low, int high, int top, int star_odds)
{
    add(s, index == 0 ? "" : " ");
    size_t begin = strlen(s->spec);
    if (below(10) < star_odds) {
        add(s, "*");
        for (int v = low; v <= top; v++)
            match[v] = true;
    } else {
        for (int n = 1 + (below(3) == 0 ? below(3) : 0); n > 0; n--) {
            draw_item(s, match, low, high, top);
            add(s, n > 1 ? "," : "");
        }
    }
    s->star[index] = s->spec[begin] == '*';
}

static sample draw(void)
{
    sample s = {.zone = (size_t)below((int)COUNT(zones))};
    bool six = below(3) == 0;
    add(&s, "%sTZ=%s ", below(2) ? "CRON_" : "", zones[s.zone]);
    if (six)
        draw_field(&s, 0, s.seconds, 0, 59, 59, 2);
    else
        s.seconds[0] = true;
    add(&s, " ");
    draw_field(&s, 1, s.minutes, 0, 59, 59, 2);
    /* The small hours are when clocks change. */
    draw_field(&s, 2, s.hours, 0, below(2) ? 3 : 23, 23, 2);
    draw_field(&s, 3, s.days, 1, 31, 31, 7);
    draw_field(&s, 4, s.months, 1, 12, 12, 8);
    draw_field(&s, 5, s.weekdays, 0, 7, 6, 7);
    s.weekdays[0] |= s.weekdays[7];
    return s;
}

/* ---- the oracle ------------------------------------------------------------------------- */

static bool minute_matches(const sample *s, int64_t wall)
{
    int64_t minute = ((wall - (wall % 60 + 60) % 60) / 60 % 1440 + 1440) % 1440; /* of the day, also before 1970 */
    if (!s->minutes[minute % 60] || !s->hours[minute / 60])
        return false;
    time_t t = wall;
    struct tm tm;
    gmtime_r(&t, &tm);
    bool by_day = s->days[tm.tm_mday], by_weekday = s->weekdays[tm.tm_wday];
    bool day = s->star[3] || s->star[5] ? by_day && by_weekday : by_day || by_weekday;
    return day && s->months[tm.tm_mon + 1];
}

static bool second_matches(const sample *s, int64_t wall)
{
    return s->seconds[(wall % 60 + 60) % 60] && minute_matches(s, wall);
}

/* nq_zone_offset(), remembering the last answer. */
static int32_t offset_at(const nq_zone *zone, int64_t at)
{
    static nq_zone_period period;
    static const nq_zone *of;
    if (zone != of || at < period.begin || at >= period.end) {
        period = nq_zone_period_at(zone, at);
        of = zone;
    }
    return period.offset;
}

/*
 * The first tick after `after` and up to limit, or -1. For fixed times, `due` is the first wall time that clocks have
 * not shown yet: when they show a later one, all between have been skipped and are due now; an earlier one is repeated.
 */
static int64_t watch(const sample *s, int64_t after, int64_t limit)
{
    const nq_zone *zone = loaded[s->zone];
    bool fixed = !s->star[0] && !s->star[1] && !s->star[2];
    int64_t at = (after / 60 - 60 * 60) * 60, due = at + offset_at(zone, at);
    while (at <= limit) {
        int64_t wall = at + offset_at(zone, at);
        /* Only to be quicker: a minute of the clock that holds nothing is passed over. */
        if (at % 60 == 0 && wall % 60 == 0 && offset_at(zone, at + 59) == wall - at && !(fixed && wall > due) &&
            !minute_matches(s, wall)) {
            if (due < wall + 60)
                due = wall + 60;
            at += 60;
            continue;
        }
        bool tick = false;
        if (!fixed)
            tick = second_matches(s, wall);
        for (; fixed && due <= wall; due++)
            tick |= second_matches(s, due);
        if (tick && at > after)
            return at;
        at++;
    }
    return -1;
}

/* ---- the tests -------------------------------------------------------------------------- */

static int64_t draw_instant(const nq_zone *zone)
{
    const int64_t end = 90LL * 366 * 86400;
    int64_t at = below(1000000) * (end / 1000000) + below(86400);
    int64_t change = nq_zone_period_at(zone, at).end;
    /* Mostly within two days before a change of the clocks, or some hours after it. */
    if (below(4) > 0 && change < end)
        at = change - 2 * 86400 + below(2 * 86400 + 4 * 3600);
    return at < 0 ? 0 : at;
}

static bool check(const sample *s, const nq_cron *cron, int64_t after, size_t *late)
{
    const int64_t watched = 4 * 86400;
    neoq_time next = 0;
    int status = nq_cron_next(cron, NEOQ_SECONDS(after) + below(1000000), &next);
    int64_t got = status == NEOQ_OK ? next / 1000000 : INT64_MAX;
    assert_true(status == NEOQ_ENOTFOUND || (status == NEOQ_OK && next % 1000000 == 0));
    int64_t limit = got < after + watched ? got : after + watched;
    int64_t expected = watch(s, after, limit);
    bool far = got > limit;
    if (expected != (far ? -1 : got))
        fail_msg("\"%s\" after %lld: %lld, but the clock says %lld", s->spec, (long long)after, (long long)got,
                 (long long)expected);
    *late += far;
    if (status == NEOQ_OK && far) {
        /* Too far to watch all of it: watch the end, and a stretch on the way. */
        int64_t middle = after + (int64_t)(((double)below(1000000) / 1e6) * (double)(got - after));
        assert_int_equal(watch(s, got - 3600, got), got);
        assert_int_equal(watch(s, middle, middle + 86400 < got - 1 ? middle + 86400 : got - 1), -1);
        assert_int_equal(nq_cron_next(cron, NEOQ_SECONDS(middle), &next), NEOQ_OK);
        assert_int_equal(next / 1000000, got);
    }
    return status == NEOQ_OK;
}

static int rounds_wanted(void)
{
    const char *seed = getenv("NEOQ_TEST_SEED"), *rounds = getenv("NEOQ_TEST_ROUNDS");
    random_state = seed ? strtoull(seed, NULL, 10) : 20240310;
    print_message("seed %llu\n", (unsigned long long)random_state);
    random_state = random_state * 2654435761u + 1;
    return rounds ? (int)strtol(rounds, NULL, 10) : 4000;
}

static void ticks_as_the_clock_shows(void **state)
{
    (void)state;
    int rounds = rounds_wanted(), impossible = 0, never = 0;
    size_t late = 0, checked = 0;
    for (int round = 0; round < rounds; round++) {
        sample s = draw();
        nq_cron *cron;
        if (nq_cron_parse(&cron, s.spec) != NEOQ_OK) {
            if (!strstr(neoq_error_message(), "no month in"))
                fail_msg("%s", neoq_error_message());
            impossible++;
            continue;
        }
        for (int n = 0; n < 4; n++, checked++)
            never += !check(&s, cron, draw_instant(loaded[s.zone]), &late);
        nq_cron_free(cron);
    }
    print_message("%zu ticks checked, %zu of them far ahead; %d never, %d expressions impossible\n", checked, late,
                  never, impossible);
    assert_true(late < checked / 2 && impossible < rounds / 50);
}

/* From tick to tick for days: no tick is lost, doubled or out of order. */
static void loses_and_doubles_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        sample s = draw();
        nq_cron *cron;
        if (nq_cron_parse(&cron, s.spec) != NEOQ_OK)
            continue;
        int64_t begin = draw_instant(loaded[s.zone]), end = begin + 10 * 86400, at = begin;
        for (int n = 0; n < 150 && at < end; n++) {
            neoq_time next;
            int64_t expected = watch(&s, at, at + 2 * 86400 < end ? at + 2 * 86400 : end);
            if (nq_cron_next(cron, NEOQ_SECONDS(at), &next) != NEOQ_OK)
                break;
            if (expected < 0) {
                assert_true(next / 1000000 > at + 2 * 86400 || next / 1000000 > end);
                at += 2 * 86400;
                continue;
            }
            if (next / 1000000 != expected)
                fail_msg("\"%s\" after %lld: %lld, but the clock says %lld", s.spec, (long long)at,
                         (long long)(next / 1000000), (long long)expected);
            at = expected;
        }
        nq_cron_free(cron);
    }
}

static void finds_the_next_tick_quickly(void **state)
{
    (void)state;
    static const char *const specs[] = {"* * * * *",
                                        "*/5 * * * * *",
                                        "TZ=Europe/Berlin 30 2 * * *",
                                        "0 0 29 2 *",
                                        "TZ=America/New_York 0 0 1 1 *",
                                        "TZ=Europe/London */15 1 25-31 3 */7"};
    for (size_t i = 0; i < COUNT(specs); i++) {
        enum { calls = 2000 };
        nq_cron *cron;
        neoq_time next;
        struct timespec begin, end;
        assert_int_equal(nq_cron_parse(&cron, specs[i]), NEOQ_OK);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
        for (int n = 0; n < calls; n++)
            (void)nq_cron_next(cron, NEOQ_SECONDS(1700000000LL + n * 1234567LL), &next);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        double micro =
            ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / 1e3 / calls;
        print_message("%-40s %6.2f us\n", specs[i], micro);
        assert_true(micro < 5000); /* only a search gone wrong is that slow, on any machine */
        nq_cron_free(cron);
    }
}

static int load_zones(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(zones); i++) {
        if (nq_zone_load(&loaded[i], zones[i]) != NEOQ_OK)
            return -1;
    }
    return 0;
}

static int free_zones(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(zones); i++)
        nq_zone_free(loaded[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_as_the_clock_shows),
        cmocka_unit_test(loses_and_doubles_nothing),
        cmocka_unit_test(finds_the_next_tick_quickly),
    };
    return cmocka_run_group_tests(tests, load_zones, free_zones);
}
