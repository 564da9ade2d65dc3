/* SPDX-License-Identifier: MIT
 *
 * sqlite/look.h -- reading, on the reader's connection.
 */
#ifndef NQ_SQLITE_LOOK_H
#define NQ_SQLITE_LOOK_H

#include "backend/sqlite/store.h"

int sq_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg);
int sq_get(neoq_store *store, const char *id, neoq_each_job each, void *arg);
int sq_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg);
int sq_queues(neoq_store *store, neoq_each_queue each, void *arg);
int sq_workers(neoq_store *store, neoq_each_worker each, void *arg);
int sq_schedules(neoq_store *store, neoq_each_schedule each, void *arg);
int sq_get_progress(neoq_store *store, const char *id, neoq_progress *progress);

#endif
