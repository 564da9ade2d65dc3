/* SPDX-License-Identifier: MIT
 *
 * schedule/cron_parse.h -- what a cron expression becomes: shared by cron_parse.c, cron.c and phrase.c, and by nothing else.
 */
#ifndef NQ_SCHEDULE_CRON_PARSE_H
#define NQ_SCHEDULE_CRON_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "schedule/cron.h"
#include "schedule/zone.h"

struct nq_cron {
    char spec[NQ_CRON_SIZE];
    int64_t every; /* seconds; 0 = by the fields */
    /* Bit n: the value n matches. Weekdays count from Sunday = 0. */
    uint64_t seconds, minutes, hours, days, months, weekdays;
    bool either;   /* of days and weekdays: one is enough */
    bool fixed;    /* names times of day rather than intervals: see cron.h */
    nq_zone *zone; /* owned */
};

#endif
