/* SPDX-License-Identifier: MIT
 *
 * sqlite/manage.h -- steering jobs and queues, workers and their leases, schedules: all that writes and is neither
 * enqueueing nor exchange.
 */
#ifndef NQ_SQLITE_MANAGE_H
#define NQ_SQLITE_MANAGE_H

#include "backend/sqlite/store.h"

int sq_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until);
int sq_purge(neoq_store *store, const char *queue, neoq_state state, int64_t *purged);
int sq_set_queue(neoq_store *store, const char *queue, neoq_queue_action action, int64_t value);
int sq_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress);

int sq_beat(neoq_store *store, const neoq_beat *beat);
int sq_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count);
/* Workers that live, and those whose lease is over or whose process is gone; false: db->status says why. */
bool sq_count_workers(sq_db *db, const neoq_clock *clock, int *live, int *gone);

int sq_set_schedule(neoq_store *store, const neoq_schedule_record *schedule);
int sq_remove_schedule(neoq_store *store, const char *name);
int sq_tick(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
            const neoq_job *jobs, size_t count, neoq_enqueued *results);

#endif
