/* SPDX-License-Identifier: MIT */
#include "schedule/posix_tz.h"

#include "schedule/civil.h"

/* ---- reading ---------------------------------------------------------------------------- */

typedef struct scanner {
    const char *at, *end;
} scanner;

static bool skip(scanner *in, char c)
{
    if (in->at == in->end || *in->at != c)
        return false;
    in->at++;
    return true;
}

static bool scan_number(scanner *in, int low, int high, int *out)
{
    int value = 0;
    const char *begin = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9' && value <= high)
        value = value * 10 + (*in->at++ - '0');
    *out = value;
    return in->at > begin && value >= low && value <= high;
}

/* Letters, or anything within <>; what the zone is called does not matter here. */
static bool scan_name(scanner *in)
{
    bool quoted = skip(in, '<');
    const char *begin = in->at;
    while (in->at < in->end) {
        char c = *in->at;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool other = quoted && ((c >= '0' && c <= '9') || c == '+' || c == '-');
        if (!letter && !other)
            break;
        in->at++;
    }
    return in->at - begin >= 3 && (!quoted || skip(in, '>'));
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool scan_time(scanner *in, int max_hours, int32_t *out)
{
    bool negative = skip(in, '-');
    int hours, minutes = 0, seconds = 0;
    if (!negative)
        skip(in, '+');
    if (!scan_number(in, 0, max_hours, &hours))
        return false;
    if (skip(in, ':')) {
        if (!scan_number(in, 0, 59, &minutes))
            return false;
        if (skip(in, ':') && !scan_number(in, 0, 59, &seconds))
            return false;
    }
    *out = (hours * 60 + minutes) * 60 + seconds;
    if (negative)
        *out = -*out;
    return true;
}

static bool scan_date(scanner *in, nq_posix_date *out)
{
    bool good;
    if (skip(in, 'M')) {
        out->kind = NQ_DAY_OF_WEEK;
        good = scan_number(in, 1, 12, &out->month) && skip(in, '.') && scan_number(in, 1, 5, &out->week) &&
               skip(in, '.') && scan_number(in, 0, 6, &out->day);
    } else if (skip(in, 'J')) {
        out->kind = NQ_DAY_WITHOUT_LEAP;
        good = scan_number(in, 1, 365, &out->day);
    } else {
        out->kind = NQ_DAY_OF_YEAR;
        good = scan_number(in, 0, 365, &out->day);
    }
    out->time = 2 * 3600;
    if (good && skip(in, '/'))
        good = scan_time(in, 167, &out->time);
    return good;
}

bool nq_posix_tz_parse(nq_posix_tz *out, const char *text, size_t size)
{
    scanner in = {text, text + size};
    *out = (nq_posix_tz){0};
    if (!scan_name(&in) || !scan_time(&in, 24, &out->standard))
        return false;
    out->standard = -out->standard; /* POSIX counts west of UTC */
    if (in.at == in.end)
        return true;

    out->has_summer = true;
    if (!scan_name(&in))
        return false;
    if (in.at < in.end && *in.at != ',') {
        if (!scan_time(&in, 24, &out->summer))
            return false;
        out->summer = -out->summer;
    } else {
        out->summer = out->standard + 3600;
    }
    return skip(&in, ',') && scan_date(&in, &out->start) && skip(&in, ',') && scan_date(&in, &out->end) &&
           in.at == in.end;
}

/* ---- applying --------------------------------------------------------------------------- */

static int64_t wall_of_date(const nq_posix_date *date, int64_t year)
{
    int64_t day;
    if (date->kind == NQ_DAY_OF_WEEK) {
        int64_t first = nq_day_from_date(year, date->month, 1);
        int of_month = 1 + (date->day - nq_weekday(first) + 7) % 7 + (date->week - 1) * 7;
        if (of_month > nq_month_days(year, date->month))
            of_month -= 7;
        day = first + of_month - 1;
    } else if (date->kind == NQ_DAY_OF_YEAR) {
        day = nq_day_from_date(year, 1, 1) + date->day;
    } else {
        day = nq_day_from_date(year, 1, 1) + date->day - 1 + (nq_leap_year(year) && date->day >= 60);
    }
    return day * NQ_DAY_SECONDS + date->time;
}

/*
 * Looks at the changes of the years around instant. Where summer time ends and starts at one instant (that is how
 * "summer time all the year" is written), the start counts.
 */
nq_zone_period nq_posix_tz_period(const nq_posix_tz *tz, int64_t instant)
{
    nq_zone_period period = {NQ_ZONE_BEGIN, NQ_ZONE_END, tz->standard};
    if (!tz->has_summer)
        return period;
    int64_t year = nq_date_from_day(nq_floor_div(instant, NQ_DAY_SECONDS)).year;
    for (int64_t y = year - 2; y <= year + 2; y++) {
        const int64_t at[2] = {wall_of_date(&tz->start, y) - tz->standard, wall_of_date(&tz->end, y) - tz->summer};
        const int32_t offset[2] = {tz->summer, tz->standard};
        for (int i = 0; i < 2; i++) {
            if (at[i] > instant) {
                if (at[i] < period.end)
                    period.end = at[i];
            } else if (at[i] > period.begin || (at[i] == period.begin && i == 0)) {
                period.begin = at[i];
                period.offset = offset[i];
            }
        }
    }
    return period;
}
