/* SPDX-License-Identifier: MIT
 *
 * Three parts, with commas: the times of day, the days, the zone.
 */
#include "schedule/phrase.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/error.h"
#include "schedule/cron_parse.h"

enum { FEW_TIMES = 6 }; /* of day, that are still told one by one */

static const char *const weekdays[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};

static const uint64_t all_minutes = ((uint64_t)1 << 60) - 1, all_hours = ((uint64_t)1 << 24) - 1,
                      all_days = ((uint64_t)1 << 32) - 2, all_months = ((uint64_t)1 << 13) - 2,
                      all_weekdays = ((uint64_t)1 << 7) - 1;

/* ---- sets of values --------------------------------------------------------------------- */

static int lowest(uint64_t bits)
{
    return __builtin_ctzll(bits);
}

static int highest(uint64_t bits)
{
    return 63 - __builtin_clzll(bits);
}

static int count(uint64_t bits)
{
    return __builtin_popcountll(bits);
}

static bool is_run(uint64_t bits)
{
    return count(bits) == highest(bits) - lowest(bits) + 1;
}

/* n, if the bits are every nth of 0..size-1, also from the last on to the first of the next round; else 0. */
static int step_of(uint64_t bits, int size)
{
    int n = size / count(bits);
    uint64_t every = 0;
    for (int value = lowest(bits); value < size; value += n)
        every |= (uint64_t)1 << value;
    return n > 1 && count(bits) > 1 && n * count(bits) == size && every == bits ? n : 0;
}

/* "1 to 5, 10 and 20"; names[0] is that of `first`, or NULL for numbers. */
static void add_values(nq_buffer *b, uint64_t bits, const char *const *names, int first)
{
    const char *between = "";
    while (bits) {
        int from = lowest(bits), to = from;
        while (bits >> (to + 1) & 1)
            to++;
        if (to - from < 2)
            to = from; /* two are told one by one */
        bits &= ~(((uint64_t)2 << to) - 1);
        nq_buffer_add_string(b, *between && !bits ? " and " : between);
        if (names)
            nq_buffer_addf(b, "%s%s%s", names[from - first], to > from ? " to " : "",
                           to > from ? names[to - first] : "");
        else if (to > from)
            nq_buffer_addf(b, "%d to %d", from, to);
        else
            nq_buffer_addf(b, "%d", from);
        between = ", ";
    }
}

/* "every minute", "every 5 minutes" */
static void add_every(nq_buffer *b, int64_t n, const char *unit)
{
    if (n == 1)
        nq_buffer_addf(b, "every %s", unit);
    else
        nq_buffer_addf(b, "every %" PRId64 " %ss", n, unit);
}

/* ---- times of day ----------------------------------------------------------------------- */

static void add_clock(nq_buffer *b, int hour, int minute, int second)
{
    nq_buffer_addf(b, "%02d:%02d", hour, minute);
    if (second > 0)
        nq_buffer_addf(b, ":%02d", second);
}

/* "at 09:00, 09:30 and 17:00": all of them, one by one. */
static void add_clocks(nq_buffer *b, const nq_cron *cron)
{
    int left = count(cron->hours) * count(cron->minutes), second = lowest(cron->seconds);
    nq_buffer_add_string(b, "at ");
    for (int hour = 0; hour < 24; hour++) {
        for (int minute = 0; minute < 60; minute++) {
            if (!(cron->hours >> hour & 1) || !(cron->minutes >> minute & 1))
                continue;
            add_clock(b, hour, minute, second);
            left--;
            nq_buffer_add_string(b, left > 1 ? ", " : left == 1 ? " and " : "");
        }
    }
}

/* One minute of several hours. False, and nothing, where the hours have no pattern. */
static bool add_hours(nq_buffer *b, const nq_cron *cron)
{
    int first = lowest(cron->hours), minute = lowest(cron->minutes), second = lowest(cron->seconds);
    int step = step_of(cron->hours, 24);
    if (cron->hours == all_hours) {
        nq_buffer_add_string(b, "every hour");
        if (minute > 0 || second > 0)
            nq_buffer_addf(b, ", at minute %d", minute);
        if (second > 0)
            nq_buffer_addf(b, ":%02d", second);
    } else if (step > 0) {
        add_every(b, step, "hour");
        if (first + minute + second > 0) {
            nq_buffer_add_string(b, " from ");
            add_clock(b, first, minute, second);
        }
    } else if (is_run(cron->hours)) {
        nq_buffer_add_string(b, "every hour from ");
        add_clock(b, first, minute, second);
        nq_buffer_add_string(b, " to ");
        add_clock(b, highest(cron->hours), minute, second);
    } else {
        return false;
    }
    return true;
}

static void add_seconds(nq_buffer *b, const nq_cron *cron)
{
    int step = cron->seconds == all_minutes ? 1 : step_of(cron->seconds, 60);
    if (step > 0 && lowest(cron->seconds) == 0) {
        add_every(b, step, "second");
    } else {
        nq_buffer_add_string(b, "at second ");
        add_values(b, cron->seconds, NULL, 0);
        if (cron->minutes == all_minutes)
            nq_buffer_add_string(b, " of every minute");
    }
}

static void add_minutes(nq_buffer *b, const nq_cron *cron, bool after_seconds)
{
    int step = cron->minutes == all_minutes ? 1 : step_of(cron->minutes, 60);
    if (after_seconds) {
        if (step == 1)
            return;
        nq_buffer_add_string(b, ", in minute ");
        add_values(b, cron->minutes, NULL, 0);
    } else if (step > 0) {
        add_every(b, step, "minute");
        if (lowest(cron->minutes) > 0)
            nq_buffer_addf(b, " from minute %d", lowest(cron->minutes));
    } else {
        nq_buffer_add_string(b, "at minute ");
        add_values(b, cron->minutes, NULL, 0);
    }
    if (step == 0 && cron->hours == all_hours)
        nq_buffer_add_string(b, " of every hour");
}

static void add_times(nq_buffer *b, const nq_cron *cron)
{
    bool one_second = count(cron->seconds) == 1, seconds = cron->seconds != 1;
    bool few = count(cron->hours) * count(cron->minutes) <= FEW_TIMES;
    bool one_minute = one_second && count(cron->minutes) == 1;
    if (one_minute && (!few || step_of(cron->hours, 24) > 0) && add_hours(b, cron))
        return;
    if (one_second && (few || one_minute)) {
        add_clocks(b, cron);
        return;
    }
    if (seconds)
        add_seconds(b, cron);
    add_minutes(b, cron, seconds);
    if (cron->hours != all_hours && is_run(cron->hours)) {
        nq_buffer_addf(b, ", from %02d:00 to %02d:59", lowest(cron->hours), highest(cron->hours));
    } else if (cron->hours != all_hours) {
        nq_buffer_add_string(b, ", in the hours ");
        add_values(b, cron->hours, NULL, 0);
    }
}

/* ---- days ------------------------------------------------------------------------------- */

/* The bits of the week from Monday = 0 on. */
static uint64_t from_monday(uint64_t bits)
{
    return bits >> 1 | (bits & 1) << 6;
}

static void add_days(nq_buffer *b, const nq_cron *cron)
{
    bool days = cron->days != all_days, week = cron->weekdays != all_weekdays, in_months = cron->months != all_months;
    if (cron->either && !(days && week))
        days = week = false; /* one of the two takes every day */
    bool only_days = days && !week;
    if (days && week && !cron->either) {
        nq_buffer_add_string(b, ", ");
        add_values(b, from_monday(cron->weekdays), weekdays, 0);
        nq_buffer_add_string(b, ", but only on day ");
        add_values(b, cron->days, NULL, 0);
        nq_buffer_add_string(b, " of the month");
    } else if (days) {
        nq_buffer_add_string(b, ", on day ");
        add_values(b, cron->days, NULL, 0);
        nq_buffer_add_string(b, only_days && in_months ? " of " : " of the month");
        if (week)
            nq_buffer_add_string(b, ", and on ");
    } else if (week) {
        nq_buffer_add_string(b, ", ");
    } else if (cron->hours != all_hours && b->size > 0 && *b->data == 'a') { /* "at 02:30" alone sounds cut off */
        nq_buffer_add_string(b, ", every day");
    }
    if (week && (!days || cron->either))
        add_values(b, from_monday(cron->weekdays), weekdays, 0);
    if (in_months) {
        nq_buffer_add_string(b, only_days ? "" : days || week || cron->hours == all_hours ? ", in " : " in ");
        add_values(b, cron->months, months, 1);
    }
}

/* ---- the whole -------------------------------------------------------------------------- */

static void add_interval(nq_buffer *b, int64_t seconds)
{
    static const struct {
        const char *name;
        int64_t length;
    } units[] = {{"day", 86400}, {"hour", 3600}, {"minute", 60}, {"second", 1}};
    int i = 0;
    while (seconds % units[i].length != 0)
        i++;
    add_every(b, seconds / units[i].length, units[i].name);
}

/* Where it is told which hours or days, it matters whose they are. */
static void add_zone(nq_buffer *b, const nq_cron *cron)
{
    const char *zone;
    size_t size;
    nq_cron_skip_zone(cron->spec, &zone, &size);
    bool matters = cron->hours != all_hours || cron->months != all_months || cron->days != all_days ||
                   cron->weekdays != all_weekdays;
    if (zone)
        nq_buffer_addf(b, ", %.*s", (int)size, zone);
    else if (matters)
        nq_buffer_add_string(b, ", UTC");
}

int nq_cron_phrase(const nq_cron *cron, char *out, size_t size)
{
    nq_buffer b = {0};
    if (cron->every > 0) {
        add_interval(&b, cron->every);
    } else {
        add_times(&b, cron);
        add_days(&b, cron);
        add_zone(&b, cron);
    }
    bool failed = b.failed;
    if (!failed)
        snprintf(out, size, "%s", b.data);
    nq_buffer_free(&b);
    return failed ? nq_fail(NEOQ_ENOMEM, "out of memory") : NEOQ_OK;
}
