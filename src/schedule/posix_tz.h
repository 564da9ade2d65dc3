/* SPDX-License-Identifier: MIT
 *
 * schedule/posix_tz.h -- the one-line rule of a time zone, "CET-1CEST,M3.5.0,M10.5.0/3".
 *
 * POSIX defines it for the TZ variable; a TZif file ends in one, which holds from its last transition on. As RFC 9636
 * allows, a time of day may be -167..167 hours. Only zone.c reads these.
 */
#ifndef NQ_SCHEDULE_POSIX_TZ_H
#define NQ_SCHEDULE_POSIX_TZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schedule/zone.h"

typedef enum nq_posix_day {
    NQ_DAY_WITHOUT_LEAP, /* Jn: 1..365, 29 February is never counted */
    NQ_DAY_OF_YEAR,      /* n: 0..365 */
    NQ_DAY_OF_WEEK       /* Mm.w.d: weekday d of week w of month m; week 5 is the last */
} nq_posix_day;

typedef struct nq_posix_date {
    nq_posix_day kind;
    int month, week, day;
    int32_t time; /* seconds from that day's midnight, on the clock in use just before */
} nq_posix_date;

typedef struct nq_posix_tz {
    int32_t standard, summer; /* offsets: seconds east of UTC */
    bool has_summer;
    nq_posix_date start, end; /* of summer time */
} nq_posix_tz;

/* False if text is not a rule; a summer time must say when it starts and ends, as every TZif file does. */
bool nq_posix_tz_parse(nq_posix_tz *out, const char *text, size_t size);
nq_zone_period nq_posix_tz_period(const nq_posix_tz *tz, int64_t instant);

#endif
