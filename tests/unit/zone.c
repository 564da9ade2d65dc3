/* SPDX-License-Identifier: MIT
 *
 * Time zones: every offset against the C library's own, in both directions, and files that are not what they should be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "schedule/civil.h"
#include "schedule/posix_tz.h"
#include "schedule/zone.h"

#include <neoq.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const names[] = {
    "UTC",
    "Etc/GMT+5",
    "Etc/GMT-14",
    "EST5EDT",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "Africa/Johannesburg",
    "Africa/Monrovia",
    "America/Argentina/San_Luis",
    "America/Asuncion",
    "America/Caracas",
    "America/Havana",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/New_York",
    "America/Nuuk",
    "America/Phoenix",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Europe/London",
    "Europe/Volgograd",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Easter",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
};

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static nq_zone *load(const char *name)
{
    nq_zone *zone;
    if (nq_zone_load(&zone, name) != NEOQ_OK)
        fail_msg("%s", neoq_error_message());
    return zone;
}

static int64_t seconds_at(int64_t year, int month, int day, int hour, int minute)
{
    return nq_day_from_date(year, month, day) * NQ_DAY_SECONDS + hour * 3600 + minute * 60;
}

/* ---- the calendar ----------------------------------------------------------------------- */

static void counts_days_as_the_c_library(void **state)
{
    (void)state;
    for (int64_t day = nq_day_from_date(-400, 1, 1); day < nq_day_from_date(10100, 1, 1); day += 1 + (day & 1)) {
        time_t t = day * NQ_DAY_SECONDS;
        struct tm tm;
        gmtime_r(&t, &tm);
        nq_date date = nq_date_from_day(day);
        assert_int_equal(date.year, tm.tm_year + 1900);
        assert_int_equal(date.month, tm.tm_mon + 1);
        assert_int_equal(date.day, tm.tm_mday);
        assert_int_equal(nq_weekday(day), tm.tm_wday);
        assert_int_equal(nq_day_from_date(date.year, date.month, date.day), day);
        assert_true(date.day <= nq_month_days(date.year, date.month));
    }
}

/* ---- offsets ---------------------------------------------------------------------------- */

static void check_offset(const nq_zone *zone, const char *name, int64_t instant)
{
    time_t t = instant;
    struct tm tm;
    localtime_r(&t, &tm);
    nq_zone_period period = nq_zone_period_at(zone, instant);
    if (period.offset != tm.tm_gmtoff || instant < period.begin || instant >= period.end)
        fail_msg("%s at %lld: %d, the C library says %ld", name, (long long)instant, period.offset, tm.tm_gmtoff);
}

/* Sets the C library's zone to name, and back to UTC when name is NULL. */
static void set_library_zone(const char *name)
{
    setenv("TZ", name ? name : "UTC0", 1);
    tzset();
}

static void agrees_with_the_c_library(void **state)
{
    (void)state;
    const int64_t begin = seconds_at(1968, 1, 1, 0, 0), end = seconds_at(2600, 1, 1, 0, 0);
    size_t checked = 0, changes = 0;
    for (size_t i = 0; i < COUNT(names); i++) {
        nq_zone *zone = load(names[i]);
        set_library_zone(names[i]);
        for (int round = 0; round < 5000; round++, checked++)
            check_offset(zone, names[i], begin + (int64_t)random_below((uint64_t)(end - begin)));
        for (int64_t at = begin; at < end; changes++, checked += 3) {
            nq_zone_period period = nq_zone_period_at(zone, at);
            check_offset(zone, names[i], period.end > end ? end : period.end - 1);
            check_offset(zone, names[i], period.end > end ? end : period.end);
            check_offset(zone, names[i], period.begin < begin ? begin : period.begin);
            at = period.end;
        }
        nq_zone_free(zone);
    }
    set_library_zone(NULL);
    print_message("%zu zones, %zu instants, %zu changes\n", COUNT(names), checked, changes);
    assert_true(changes > 10000);
}

/* Which instants show wall: by trying every offset that the zone has near it. */
static size_t count_instants(const nq_zone *zone, int64_t wall)
{
    size_t count = 0;
    int32_t tried[16];
    size_t tried_count = 0;
    for (int64_t at = wall - 30 * 3600; at <= wall + 30 * 3600; at += 900) {
        int32_t offset = nq_zone_offset(zone, at);
        size_t i = 0;
        while (i < tried_count && tried[i] != offset)
            i++;
        if (i < tried_count)
            continue;
        assert_true(tried_count < COUNT(tried));
        tried[tried_count++] = offset;
        count += nq_zone_offset(zone, wall - offset) == offset;
    }
    return count;
}

static void finds_the_instants_of_a_wall_time(void **state)
{
    (void)state;
    size_t found[3] = {0};
    for (size_t i = 0; i < COUNT(names); i++) {
        nq_zone *zone = load(names[i]);
        int64_t at = seconds_at(1970, 1, 1, 0, 0), end = seconds_at(2060, 1, 1, 0, 0);
        while (at < end) {
            int64_t next = nq_zone_period_at(zone, at).end;
            int64_t middle = next < end ? next : at + (int64_t)random_below((uint64_t)(end - at));
            for (int round = 0; round < 40; round++) {
                int64_t instants[2],
                    wall = middle + nq_zone_offset(zone, middle) + (int64_t)random_below(14400) - 7200;
                size_t count = nq_zone_instants(zone, wall, instants);
                assert_int_equal(count, count_instants(zone, wall));
                for (size_t n = 0; n < count; n++)
                    assert_int_equal(instants[n] + nq_zone_offset(zone, instants[n]), wall);
                assert_true(count < 2 || instants[0] < instants[1]);
                found[count]++;
            }
            at = next;
        }
        nq_zone_free(zone);
    }
    print_message("wall times skipped %zu, once %zu, twice %zu\n", found[0], found[1], found[2]);
    assert_true(found[0] > 1000 && found[1] > 1000 && found[2] > 1000);
}

static void knows_the_odd_ones(void **state)
{
    (void)state;
    int64_t at[2];
    nq_zone *apia = load("Pacific/Apia"); /* had no 30 December 2011 */
    assert_int_equal(nq_zone_instants(apia, seconds_at(2011, 12, 30, 0, 0), at), 0);
    assert_int_equal(nq_zone_instants(apia, seconds_at(2011, 12, 30, 23, 59), at), 0);
    assert_int_equal(nq_zone_instants(apia, seconds_at(2011, 12, 29, 23, 59), at), 1);
    assert_int_equal(nq_zone_instants(apia, seconds_at(2011, 12, 31, 0, 0), at), 1);
    assert_int_equal(at[0], seconds_at(2011, 12, 30, 10, 0));
    nq_zone_free(apia);

    nq_zone *kwajalein = load("Pacific/Kwajalein"); /* had no 21 August 1993 */
    assert_int_equal(nq_zone_instants(kwajalein, seconds_at(1993, 8, 21, 12, 0), at), 0);
    nq_zone_free(kwajalein);

    nq_zone *lord_howe = load("Australia/Lord_Howe"); /* half an hour */
    assert_int_equal(nq_zone_instants(lord_howe, seconds_at(2024, 10, 6, 2, 15), at), 0);
    assert_int_equal(nq_zone_instants(lord_howe, seconds_at(2024, 4, 7, 1, 45), at), 2);
    assert_int_equal(at[1] - at[0], 1800);
    nq_zone_free(lord_howe);

    nq_zone *troll = load("Antarctica/Troll"); /* two hours, and by its rule alone in 2090 */
    assert_int_equal(nq_zone_instants(troll, seconds_at(2090, 3, 26, 2, 59), at), 0);
    assert_int_equal(nq_zone_instants(troll, seconds_at(2090, 10, 29, 1, 0), at), 2);
    assert_int_equal(at[1] - at[0], 7200);
    nq_zone_free(troll);

    nq_zone *utc = load("UTC");
    assert_int_equal(nq_zone_instants(utc, 1, at), 1);
    assert_int_equal(at[0], 1);
    nq_zone_free(utc);
}

/* ---- rules ------------------------------------------------------------------------------ */

static void reads_rules_as_the_c_library(void **state)
{
    (void)state;
    static const char *const rules[] = {
        "UTC0",
        "<-03>3",
        "<+0545>-5:45",
        "EST5EDT,M3.2.0,M11.1.0",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
        "EET-2EEST,M3.4.4/50,M10.4.4/50",
        "IST-1GMT0,M10.5.0,M3.5.0/1",
        "AAA3BBB,J60/0,J300/12:30:15",
        "AAA3BBB,59/0,300/23",
        "<AB1>-12<CD2>-13,M9.5.0/2:45,M4.1.0/3:45",
    };
    for (size_t i = 0; i < COUNT(rules); i++) {
        nq_posix_tz tz;
        assert_true(nq_posix_tz_parse(&tz, rules[i], strlen(rules[i])));
        set_library_zone(rules[i]);
        for (int round = 0; round < 3000; round++) {
            int64_t at = (int64_t)random_below(100ull * 366 * 86400);
            time_t times[] = {at, nq_posix_tz_period(&tz, at).end, nq_posix_tz_period(&tz, at).begin};
            for (size_t n = 0; n < (tz.has_summer ? 3 : 1); n++) {
                struct tm tm;
                if (times[n] < 86400 * 366) /* the C library's first year is its own */
                    continue;
                localtime_r(&times[n], &tm);
                if (nq_posix_tz_period(&tz, times[n]).offset != tm.tm_gmtoff)
                    fail_msg("%s at %lld", rules[i], (long long)times[n]);
            }
        }
    }
    set_library_zone(NULL);
}

static void refuses_bad_rules(void **state)
{
    (void)state;
    static const char *const rules[] = {
        "",
        "A3",
        "ABC",
        "ABC25",
        "ABC3:60",
        "<ABC3",
        "ABC3DEF",
        "ABC3DEF,",
        "ABC3DEF,M3.2.0",
        "ABC3DEF,M3.2.0,",
        "ABC3DEF,M0.2.0,M11.1.0",
        "ABC3DEF,M3.6.0,M11.1.0",
        "ABC3DEF,M3.2.7,M11.1.0",
        "ABC3DEF,J0,J1",
        "ABC3DEF,366,1",
        "ABC3DEF,M3.2.0/168,M11.1.0",
        "ABC3DEF,M3.2.0,M11.1.0x",
        "ABC3x",
        "ABC99999999999999999999",
    };
    for (size_t i = 0; i < COUNT(rules); i++) {
        nq_posix_tz tz;
        if (nq_posix_tz_parse(&tz, rules[i], strlen(rules[i])))
            fail_msg("\"%s\" was taken", rules[i]);
    }
    nq_posix_tz all_year; /* summer time ends and starts again at one instant */
    const char *rule = "XXX3EDT4,0/0,J365/23";
    assert_true(nq_posix_tz_parse(&all_year, rule, strlen(rule)));
    for (int64_t at = 0; at < 4000ll * 86400; at += 1800)
        assert_int_equal(nq_posix_tz_period(&all_year, at).offset, -4 * 3600);
}

/* ---- files ------------------------------------------------------------------------------ */

static void refuses_bad_names(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "/etc/passwd",
        "../zoneinfo/Europe/Berlin",
        "Europe/../Europe/Berlin",
        "Europe/..",
        ".",
        "./UTC",
        "Europe//Berlin",
        "Europe/Berlin/",
        "Europe/Ber lin",
        "A\nB",
        "Europe/Berl\xc3\xadn",
        "a/./b",
        "/",
    };
    nq_zone *zone;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(nq_zone_load(&zone, bad[i]), NEOQ_EINVAL);
        assert_null(zone);
        assert_non_null(strstr(neoq_error_message(), "is not a name like Area/City"));
    }
    char name[200];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(nq_zone_load(&zone, name), NEOQ_EINVAL);

    assert_int_equal(nq_zone_load(&zone, "Europe/Atlantis"), NEOQ_EINVAL);
    assert_non_null(strstr(neoq_error_message(), "\"Europe/Atlantis\" is not known"));
    assert_non_null(strstr(neoq_error_message(), "tzdata"));
    assert_int_equal(nq_zone_load(&zone, "Europe"), NEOQ_EINVAL); /* a folder */
    assert_int_equal(nq_zone_load(&zone, "tzdata.zi"), NEOQ_EINVAL);
}

static char folder[] = "/tmp/neoq-zone-XXXXXX";

static int put_file(const char *name, const unsigned char *data, size_t size)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
    setenv("TZDIR", folder, 1);
    nq_zone *zone;
    int status = nq_zone_load(&zone, name);
    unsetenv("TZDIR");
    if (status == NEOQ_OK) {
        int64_t at[2];
        for (int64_t wall = 0; wall < 4000000000; wall += 400000000)
            nq_zone_instants(zone, wall, at);
        nq_zone_free(zone);
    }
    return status;
}

static size_t read_berlin(unsigned char *data, size_t room)
{
    FILE *file = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    assert_non_null(file);
    size_t size = fread(data, 1, room, file);
    fclose(file);
    assert_true(size > 500 && size < room);
    return size;
}

/* A zone that is known, while there is no descriptor to read it with. */
static void says_what_is_wanting(void **state)
{
    struct rlimit before, none;
    nq_zone *zone;
    (void)state;
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &none));
    int status = nq_zone_load(&zone, "Europe/Berlin");
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(NEOQ_ENOMEM, status);
    assert_non_null(strstr(neoq_error_message(), "Too many open files"));
}

static void survives_damaged_files(void **state)
{
    (void)state;
    static unsigned char good[8192], bad[8192];
    size_t size = read_berlin(good, sizeof good);
    assert_non_null(mkdtemp(folder));
    assert_int_equal(put_file("Good", good, size), NEOQ_OK);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(put_file("Short", good, cut), NEOQ_EINVAL);
    assert_non_null(strstr(neoq_error_message(), "damaged"));

    size_t refused = 0;
    for (int round = 0; round < 5000; round++) {
        memcpy(bad, good, size);
        for (uint64_t n = 1 + random_below(3); n > 0; n--)
            bad[random_below(random_below(2) ? 100 : size)] = (unsigned char)random_below(256);
        int status = put_file("Bad", bad, size);
        assert_true(status == NEOQ_OK || status == NEOQ_EINVAL);
        refused += status != NEOQ_OK;
    }
    print_message("%zu of 5000 damaged files refused\n", refused);
    assert_true(refused > 500);

    /* Version 1 stops after the 4-byte half and has no rule: the last offset stays. */
    memcpy(bad, good, size);
    bad[4] = 0;
    assert_int_equal(put_file("First", bad, size), NEOQ_OK);
    setenv("TZDIR", folder, 1);
    nq_zone *zone = load("First");
    unsetenv("TZDIR");
    assert_int_equal(nq_zone_offset(zone, seconds_at(2024, 7, 1, 0, 0)), 7200);
    assert_int_equal(nq_zone_offset(zone, seconds_at(2050, 7, 1, 0, 0)), 3600);
    nq_zone_free(zone);

    static const char *const used[] = {"Good", "Short", "Bad", "First"};
    for (size_t i = 0; i < COUNT(used); i++) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s", folder, used[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void refuses_leap_seconds(void **state)
{
    (void)state;
    nq_zone *zone;
    if (access("/usr/share/zoneinfo/right/Europe/Berlin", R_OK) != 0)
        skip();
    assert_int_equal(nq_zone_load(&zone, "right/Europe/Berlin"), NEOQ_EINVAL);
    assert_non_null(strstr(neoq_error_message(), "leap seconds"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_days_as_the_c_library),
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(finds_the_instants_of_a_wall_time),
        cmocka_unit_test(knows_the_odd_ones),
        cmocka_unit_test(reads_rules_as_the_c_library),
        cmocka_unit_test(refuses_bad_rules),
        cmocka_unit_test(refuses_bad_names),
        cmocka_unit_test(says_what_is_wanting),
        cmocka_unit_test(survives_damaged_files),
        cmocka_unit_test(refuses_leap_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
