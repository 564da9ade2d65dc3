/* SPDX-License-Identifier: MIT
 *
 * schedule/cron.h -- cron expressions and their next tick.
 *
 * An expression has five fields (minute, hour, day of month, month, day of week) or six (seconds first), or is one of
 * @yearly @annually @monthly @weekly @daily @midnight @hourly and "@every DURATION" (see duration.h; whole seconds,
 * rounded down, 1 s at the least). "TZ=Area/City " or "CRON_TZ=Area/City " before it sets the zone; otherwise it is
 * UTC.
 *
 * A field is a list, with commas, of *, ?, a, a-b, each perhaps with a step: star/n, a/n (from a to the field's end),
 * a-b/n. ? means *. Months and days of the week have English names of three letters, in any case; 0 and 7 are Sunday.
 * A day matches if both day fields do; if neither of them begins with * or ?, one that matches is enough (the rule of
 * the cron of Unix).
 *
 * Where clocks change: an expression whose minute and hour (and seconds, if given) do not begin with * or ? names fixed
 * times. A fixed time that is skipped runs once, at the first instant after the gap, and several such make one run; a
 * fixed time that is repeated runs the first time only. Any other expression is about the passing of time: it matches
 * whatever the clock on the wall shows, twice if the clock shows it twice. (The rule of Debian's cron.)
 */
#ifndef NQ_SCHEDULE_CRON_H
#define NQ_SCHEDULE_CRON_H

#include <stddef.h>

#include <neoq.h>

#define NQ_CRON_SIZE 256 /* bytes of the longest expression, with its NUL */

typedef struct nq_cron nq_cron; /* does not change once parsed: any number of threads may ask it */

/*
 * NEOQ_EINVAL, with words that name the field, for what is malformed, for an unknown zone, and for dates that never
 * come (30 February). The caller frees *out.
 */
int nq_cron_parse(nq_cron **out, const char *spec);
void nq_cron_free(nq_cron *cron); /* NULL is allowed */

/*
 * The first tick after `after`, which is from 1970 to 9999 (NEOQ_EINVAL otherwise). NEOQ_ENOTFOUND if there is none in
 * the 100 years that follow, or before the year 10000. Ticks are whole seconds; "@every" counts from after.
 */
int nq_cron_next(const nq_cron *cron, neoq_time after, neoq_time *next);

/*
 * The expression behind a TZ= or CRON_TZ= prefix and the white space around it; spec itself if there is no prefix.
 * If there is one, *zone and *zone_size are its value, else NULL and 0.
 */
const char *nq_cron_skip_zone(const char *spec, const char **zone, size_t *zone_size);

#endif
