/* SPDX-License-Identifier: MIT
 *
 * redis/layout.h -- which of asynq's queues has the jobs of a queue of ours, and as what.
 *
 *   asynq   each queue of ours is one of asynq's, of that name
 *   neoq    as Go neoq has it: all are asynq's queue "default", and a task's type is the queue's name. The id of a unique
 *           job is its fingerprint, and asynq's number of retries is that of its runs. What asynq has for a queue as a
 *           whole (pausing, removing) there is not for one of ours, and is refused.
 *
 * Names of asynq's queues are what the rest of the store goes by: a queue's name becomes one here, on its way in.
 */
#ifndef NQ_REDIS_LAYOUT_H
#define NQ_REDIS_LAYOUT_H

#include "backend/redis/store.h"

bool rd_is_shared(const neoq_store *store); /* all queues are one of asynq's */
const char *rd_home(const neoq_store *store, const char *queue);
/* The queue whose jobs those of asynq's queue are; NULL: each task's type says it. */
const char *rd_tenant(const neoq_store *store, const char *home);

/* The id by which the job is stored. */
const char *rd_task_id(const neoq_store *store, const neoq_job *job);
int32_t rd_task_retries(const neoq_store *store, const neoq_job *job);
/* NEOQ_EUNSUPPORTED, with words: the layout has no room for such a job, or Go neoq could not read it. */
int rd_layout_check(const neoq_store *store, const neoq_job *job, bool own_id);
int rd_layout_refuses(const neoq_store *store, const char *what);

/* Of jobs that Go neoq enqueued, the run after the last one, which Go's workers end without a handler: takes those out
 * of what was claimed, and ends them, too. One that cannot be settled is given back, and comes again. */
void rd_end_spent(neoq_store *store, neoq_exchange *x);

/* neoq_backend.queues, by looking at every job. */
int rd_count_tenants(neoq_store *store, neoq_each_queue each, void *arg);

#endif
