/* SPDX-License-Identifier: MIT
 *
 * Values as people write and read them: durations, instants, whole numbers, sizes, states.
 */
#ifndef NEOQ_CLI_VALUES_H
#define NEOQ_CLI_VALUES_H

#include <neoq.h>

#define DURATION_LONGEST (NEOQ_HOURS(24) * 36525) /* a hundred years */
#define INSTANT_SIZE     32
#define DURATION_SIZE    32

/* Each is false where the text is no such value, and leaves *out as it was. */
bool value_integer(const char *text, int64_t min, int64_t max, int64_t *out);
bool value_size(const char *text, int64_t *out);           /* bytes: 65536, 64K, 512M, 2G */
bool value_duration(const char *text, neoq_duration *out); /* 250ms 30s 5m 2h 1d, sums such as 1h30m, 0 */
bool value_instant(const char *text, neoq_time *out);      /* RFC 3339, or +DURATION from now */
bool value_state(const char *text, neoq_state *out);

const char *state_name(neoq_state state);
const char *format_instant(neoq_time at, char text[INSTANT_SIZE]);         /* RFC 3339 in UTC with microseconds */
const char *format_duration(neoq_duration wait, char text[DURATION_SIZE]); /* two figures: 1.2s, 5m12s, 3d4h */

#endif
