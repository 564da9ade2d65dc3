/* SPDX-License-Identifier: MIT
 *
 * postgres/manage.h -- steering jobs and queues, progress, schedules.
 */
#ifndef NQ_POSTGRES_MANAGE_H
#define NQ_POSTGRES_MANAGE_H

#include "backend/postgres/store.h"

int pg_steer(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until);
int pg_purge(neoq_store *store, const char *queue, neoq_state state, int64_t *purged);
int pg_set_queue(neoq_store *store, const char *queue, neoq_queue_action action, int64_t value);
int pg_set_progress(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress);

int pg_set_schedule(neoq_store *store, const neoq_schedule_record *schedule);
int pg_remove_schedule(neoq_store *store, const char *name);
int pg_tick(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
            const neoq_job *jobs, size_t count, neoq_enqueued *results);

#endif
