/* SPDX-License-Identifier: MIT
 *
 * postgres/look.h -- reading jobs, runs, queues, workers and schedules.
 */
#ifndef NQ_POSTGRES_LOOK_H
#define NQ_POSTGRES_LOOK_H

#include "backend/postgres/store.h"

int pg_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg);
int pg_get(neoq_store *store, const char *id, neoq_each_job each, void *arg);
int pg_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg);
int pg_queues(neoq_store *store, neoq_each_queue each, void *arg);
int pg_workers(neoq_store *store, neoq_each_worker each, void *arg);
int pg_schedules(neoq_store *store, neoq_each_schedule each, void *arg);
int pg_get_progress(neoq_store *store, const char *id, neoq_progress *progress);

/* NEOQ_ENOTFOUND, in words. */
int pg_no_job(const char *id);

#endif
