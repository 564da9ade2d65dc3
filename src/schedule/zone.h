/* SPDX-License-Identifier: MIT
 *
 * schedule/zone.h -- a time zone of the tz database, read from its TZif file (RFC 9636).
 *
 * The C library's own zones are process-wide (TZ and tzset) and take an unknown name for UTC; a scheduler can afford
 * neither. A zone does not change once loaded, so any number of threads may read it. There is no cache: whoever loads
 * a zone owns it and frees it.
 *
 * Instants are seconds since 1970-01-01T00:00:00Z without leap seconds; wall times are explained in civil.h. Both must
 * lie within +-2^55.
 */
#ifndef NQ_SCHEDULE_ZONE_H
#define NQ_SCHEDULE_ZONE_H

#include <stddef.h>
#include <stdint.h>

typedef struct nq_zone nq_zone;

/* A stretch of time with one offset: begin <= instant < end. Neighbours may have the same offset. */
typedef struct nq_zone_period {
    int64_t begin, end; /* instants; NQ_ZONE_BEGIN and NQ_ZONE_END where there is no bound */
    int32_t offset;     /* seconds east of UTC; wall = instant + offset */
} nq_zone_period;

#define NQ_ZONE_BEGIN      (-((int64_t)1 << 58)) /* an offset can still be added */
#define NQ_ZONE_END        ((int64_t)1 << 58)
#define NQ_ZONE_MAX_OFFSET ((int32_t)26 * 3600) /* every offset is smaller than this, either way */

/*
 * Loads the zone called name ("Europe/Berlin") from the folder that $TZDIR names, else from /usr/share/zoneinfo.
 * "UTC" and "Etc/UTC" need no file. NEOQ_EINVAL, with words, for a name that is malformed or leads out of the folder,
 * for an unknown zone, and for a file that is damaged or counts leap seconds; NEOQ_ENOMEM also for want of a descriptor.
 */
int nq_zone_load(nq_zone **out, const char *name);
void nq_zone_free(nq_zone *zone); /* NULL is allowed */

nq_zone_period nq_zone_period_at(const nq_zone *zone, int64_t instant);
int32_t nq_zone_offset(const nq_zone *zone, int64_t instant);

/*
 * The instants at which a clock in zone shows wall: 0 if it is skipped (a gap), 1 as a rule, 2 if it is repeated (a
 * fold; the earlier one comes first).
 */
size_t nq_zone_instants(const nq_zone *zone, int64_t wall, int64_t instants[2]);

#endif
