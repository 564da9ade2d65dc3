/* SPDX-License-Identifier: MIT
 *
 * The search has two layers. Within one stretch of time that has one offset (nq_zone_period) the calendar is regular,
 * and find() jumps through it by month, day, hour, minute and second. nq_cron_next() goes from stretch to stretch and
 * knows what a change of the clock means.
 */
#include "schedule/cron_parse.h"

#include "base/error.h"
#include "schedule/civil.h"

static const int64_t year_10000 = 253402300800;          /* its first second */
static const int64_t horizon = 36525LL * NQ_DAY_SECONDS; /* 100 years */

/* ---- the regular calendar --------------------------------------------------------------- */

/* The lowest bit set at or above from, or -1. */
static int next_bit(uint64_t bits, int from)
{
    bits = from < 64 ? bits >> from << from : 0;
    return bits ? __builtin_ctzll(bits) : -1;
}

/* The first matching second of a day at or after second `from` of it, or -1. */
static int find_second(const nq_cron *cron, int from)
{
    int h = from / 3600, m = from / 60 % 60, s = from % 60;
    if (cron->hours >> h & 1) {
        int second = cron->minutes >> m & 1 ? next_bit(cron->seconds, s) : -1;
        if (second < 0) {
            m = next_bit(cron->minutes, m + 1);
            second = next_bit(cron->seconds, 0);
        }
        if (m >= 0)
            return h * 3600 + m * 60 + second;
    }
    h = next_bit(cron->hours, h + 1);
    return h < 0 ? -1 : h * 3600 + next_bit(cron->minutes, 0) * 60 + next_bit(cron->seconds, 0);
}

/* Bit n: the nth of this month, whose first day is given, matches. */
static uint64_t matching_days(const nq_cron *cron, int64_t first, int length)
{
    uint64_t weeks = cron->weekdays * 0x810204081ULL; /* the seven bits six times over */
    uint64_t by_weekday = weeks >> nq_weekday(first) << 1;
    uint64_t days = cron->either ? cron->days | by_weekday : cron->days & by_weekday;
    return days & ((((uint64_t)1 << length) - 1) << 1);
}

/* The first matching wall time with from <= wall < end. */
static bool find(const nq_cron *cron, int64_t from, int64_t end, int64_t *wall)
{
    if (from >= end)
        return false;
    int64_t day = nq_floor_div(from, NQ_DAY_SECONDS);
    nq_date date = nq_date_from_day(day);
    int64_t first = day - date.day + 1; /* of the month */
    int second = find_second(cron, (int)(from - day * NQ_DAY_SECONDS));
    if (second < 0) {
        date.day++; /* one past the month's last is no match */
        second = find_second(cron, 0);
    } else if (!(cron->months >> date.month & 1) || !(matching_days(cron, first, 31) >> date.day & 1)) {
        second = find_second(cron, 0);
    }
    while (first * NQ_DAY_SECONDS < end) {
        int length = nq_month_days(date.year, date.month);
        if (cron->months >> date.month & 1) {
            int d = next_bit(matching_days(cron, first, length), date.day);
            if (d > 0) {
                *wall = (first + d - 1) * NQ_DAY_SECONDS + second;
                return *wall < end;
            }
        }
        first += length;
        date.day = 1;
        if (++date.month > 12) {
            date.month = 1;
            date.year++;
        }
    }
    return false;
}

/* ---- clocks that change ----------------------------------------------------------------- */

/*
 * The latest wall time, exclusive, that clocks had shown before this period began. If it is beyond what they show at
 * the beginning, time is being repeated; if it is short of it, time was skipped. Offsets differ by less than twice
 * NQ_ZONE_MAX_OFFSET, so that a period which ended longer ago than that cannot have been the latest.
 */
static int64_t shown_before(const nq_zone *zone, nq_zone_period period)
{
    int64_t shown = NQ_ZONE_BEGIN, begin = period.begin;
    while (begin > NQ_ZONE_BEGIN && begin >= period.begin - 2 * NQ_ZONE_MAX_OFFSET) {
        nq_zone_period earlier = nq_zone_period_at(zone, begin - 1);
        if (earlier.end + earlier.offset > shown)
            shown = earlier.end + earlier.offset;
        begin = earlier.begin;
    }
    return shown;
}

/* The first tick of a period at or after `from`, which lies in it, and before end. */
static bool find_in_period(const nq_cron *cron, nq_zone_period period, int64_t from, int64_t end, int64_t *tick)
{
    int64_t wall_from = from + period.offset, wall_end = (period.end < end ? period.end : end) + period.offset;
    if (cron->fixed && period.begin > NQ_ZONE_BEGIN) {
        int64_t shown = shown_before(cron->zone, period), skipped;
        if (from == period.begin && find(cron, shown, period.begin + period.offset, &skipped)) {
            *tick = from;
            return true;
        }
        if (wall_from < shown)
            wall_from = shown;
    }
    if (!find(cron, wall_from, wall_end, tick))
        return false;
    *tick -= period.offset;
    return true;
}

int nq_cron_next(const nq_cron *cron, neoq_time after, neoq_time *next)
{
    if (after < 0 || after >= NEOQ_SECONDS(year_10000))
        return nq_fail(NEOQ_EINVAL, "cron \"%s\": the time to start from is not between 1970 and 9999", cron->spec);
    int64_t at = after / NEOQ_SECONDS(1);
    if (cron->every > 0) {
        if (cron->every >= year_10000 - at)
            return nq_fail(NEOQ_ENOTFOUND, "cron \"%s\": no tick before the year 10000", cron->spec);
        *next = NEOQ_SECONDS(at + cron->every);
        return NEOQ_OK;
    }
    int64_t end = at + horizon < year_10000 ? at + horizon : year_10000;
    for (at++; at < end;) {
        nq_zone_period period = nq_zone_period_at(cron->zone, at);
        int64_t tick;
        if (find_in_period(cron, period, at, end, &tick)) {
            *next = NEOQ_SECONDS(tick);
            return NEOQ_OK;
        }
        at = period.end;
    }
    return nq_fail(NEOQ_ENOTFOUND, "cron \"%s\": no tick in 100 years or before the year 10000", cron->spec);
}
