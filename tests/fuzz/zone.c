/* SPDX-License-Identifier: MIT
 *
 * Eight bytes of an instant, then a TZif file. In a zone that is loaded every instant lies in its period, periods join,
 * a clock that shows something shows it at the instants it is said to, and a schedule in it ticks.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "schedule/cron.h"
#include "schedule/zone.h"

static void ask(const nq_zone *zone, int64_t instant)
{
    nq_zone_period period = nq_zone_period_at(zone, instant);
    insist(period.begin <= instant && instant < period.end);
    insist(period.offset > -NQ_ZONE_MAX_OFFSET && period.offset < NQ_ZONE_MAX_OFFSET);
    insist(nq_zone_offset(zone, instant) == period.offset);
    if (period.end < NQ_ZONE_END)
        insist(nq_zone_period_at(zone, period.end).begin == period.end);
    if (period.begin > NQ_ZONE_BEGIN)
        insist(nq_zone_period_at(zone, period.begin - 1).end == period.begin);
    int64_t at[2], wall = instant + period.offset;
    size_t count = nq_zone_instants(zone, wall, at);
    insist(count == 2 ? at[0] < at[1] : count == 1);
    for (size_t i = 0; i < count; i++)
        insist(at[i] + nq_zone_offset(zone, at[i]) == wall);
    insist(at[0] <= instant);
    nq_zone_instants(zone, instant, at);
}

static void tick(const char *name, int64_t instant)
{
    static const char *const specs[] = {"30 2 * * *", "*/7 * * * * *", "0 0 29 2 *"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        char spec[64];
        nq_cron *cron;
        neoq_time next, again, after = NEOQ_SECONDS(instant & 0x1ffffffff);
        snprintf(spec, sizeof spec, "TZ=%s %s", name, specs[i]);
        insist(nq_cron_parse(&cron, spec) == NEOQ_OK);
        if (nq_cron_next(cron, after, &next) == NEOQ_OK) {
            insist(next > after);
            insist(nq_cron_next(cron, next - 1, &again) == NEOQ_OK && again == next);
        }
        nq_cron_free(cron);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The file is a descriptor, and its folder the one where those are. */
    static int file = -1;
    static char name[16];
    if (file < 0) {
        file = memfd_create("zone", 0);
        insist(file >= 0 && setenv("TZDIR", "/proc/self/fd", 1) == 0);
        snprintf(name, sizeof name, "%d", file);
    }
    int64_t instant;
    if (size < sizeof instant)
        return 0;
    memcpy(&instant, data, sizeof instant);
    data += sizeof instant;
    size -= sizeof instant;
    insist(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
    nq_zone *zone = NULL;
    if (nq_zone_load(&zone, name) != NEOQ_OK)
        return 0;
    ask(zone, 0);
    ask(zone, instant >> 29); /* within half a million years */
    ask(zone, instant % 4102444800);
    tick(name, instant);
    nq_zone_free(zone);
    return 0;
}
