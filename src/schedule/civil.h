/* SPDX-License-Identifier: MIT
 *
 * schedule/civil.h -- days and dates of the proleptic Gregorian calendar.
 *
 * A day is counted from 1970-01-01 and may be negative. "Wall" seconds, here and in the files beside this one, are what
 * a clock on the wall shows, counted as if it were UTC: wall = instant + offset.
 */
#ifndef NQ_SCHEDULE_CIVIL_H
#define NQ_SCHEDULE_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

#define NQ_DAY_SECONDS 86400

typedef struct nq_date {
    int64_t year;
    int month, day; /* 1..12, 1..31 */
} nq_date;

static inline int64_t nq_floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

static inline bool nq_leap_year(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static inline int nq_month_days(int64_t year, int month)
{
    static const signed char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && nq_leap_year(year));
}

/*
 * Both directions count in years that begin on 1 March, so that the leap day is the last of its year; the months from
 * March on then have 153 days in every five, and 400 years have 146097 days.
 */
static inline int64_t nq_day_from_date(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = nq_floor_div(y, 400), of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static inline nq_date nq_date_from_day(int64_t day)
{
    int64_t z = day + 719468;
    int64_t era = nq_floor_div(z, 146097), of_era = z - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    nq_date date = {.day = (int)(of_year - (153 * month + 2) / 5 + 1),
                    .month = (int)(month < 10 ? month + 3 : month - 9)};
    date.year = year + era * 400 + (date.month <= 2);
    return date;
}

/* 0 = Sunday. */
static inline int nq_weekday(int64_t day)
{
    return (int)(day + 4 - nq_floor_div(day + 4, 7) * 7);
}

#endif
