/* SPDX-License-Identifier: MIT
 *
 * schedule/duration.h -- durations as people write them: 250ms, 30s, 5m, 2h, 1d, 1h30m, 1.5h.
 */
#ifndef NQ_SCHEDULE_DURATION_H
#define NQ_SCHEDULE_DURATION_H

#include <neoq.h>

/*
 * Reads the whole of text, size bytes: one or more numbers, each with its unit (ns, us, ms, s, m, h, d), or 0 alone.
 * Numbers may have a fraction. Parts of a microsecond are cut off. There is no sign. NEOQ_EINVAL, with words, for
 * anything else and for what does not fit. The grammar is that of Go's time.ParseDuration, and d (24 h) in addition.
 */
int nq_duration_parse(const char *text, size_t size, neoq_duration *out);

#endif
