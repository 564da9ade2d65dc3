/* SPDX-License-Identifier: MIT */
#include "base/server_clock.h"

/* How long a look serves, and one that is less exact than that; by how much clocks may drift apart meanwhile; and how far
 * back is no correction any more. */
enum { PERIOD_S = 60, VAGUE_PERIOD_S = 1, EXACT_MS = 50, DRIFT_PER_MILLION = 100, CORRECTION_S = 1 };

neoq_time nq_server_clock_at(nq_server_clock *clock, int64_t steady)
{
    neoq_time now = steady + atomic_load_explicit(&clock->offset, memory_order_relaxed);
    int_fast64_t latest = atomic_load(&clock->latest);
    while (now > latest || latest - now > NEOQ_SECONDS(CORRECTION_S))
        if (atomic_compare_exchange_weak(&clock->latest, &latest, now))
            return now;
    return latest;
}

void nq_server_clock_take(nq_server_clock *clock, neoq_time time, int64_t measured, int64_t error)
{
    int64_t offset = time - measured, old = atomic_load(&clock->offset);
    int64_t known = clock->error + (measured - clock->measured) / (1000000 / DRIFT_PER_MILLION);
    int64_t apart = offset > old ? offset - old : old - offset;
    if (clock->measured == 0 || apart > known + error || error < known / 2) {
        atomic_store(&clock->offset, offset);
        clock->error = error;
    } else {
        clock->error = known;
    }
    clock->measured = measured;
}

bool nq_server_clock_is_stale(nq_server_clock *clock, int64_t steady)
{
    bool vague = clock->error > NEOQ_MILLISECONDS(EXACT_MS);
    bool stale = steady - clock->measured > NEOQ_SECONDS(vague ? VAGUE_PERIOD_S : PERIOD_S);
    if (stale)
        clock->measured = steady;
    return stale;
}
