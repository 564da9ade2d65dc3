/* SPDX-License-Identifier: MIT
 *
 * redis/look.h -- finding queues and jobs. An id does not tell its queue, so all queues are asked for it.
 */
#ifndef NQ_REDIS_LOOK_H
#define NQ_REDIS_LOOK_H

#include "backend/redis/jobs.h"

/* The queues that are registered, by name. */
typedef struct rd_names {
    const char **names;
    size_t count;
    redisReply *reply;
} rd_names;

int rd_names_read(neoq_store *store, rd_names *names);
void rd_names_free(rd_names *names);
/* NEOQ_ENOTFOUND, with words. */
int rd_queue_check(neoq_store *store, const char *queue);

/* A job where it was found. */
typedef struct rd_found {
    rd_view view;
    char queue[201];
    redisReply *row; /* as look.lua tells it */
} rd_found;

enum { RD_LOOK_MESSAGE, RD_LOOK_STATE, RD_LOOK_FACTS, RD_LOOK_PLACE, RD_LOOK_EPOCH };

/* NEOQ_ENOTFOUND, with words. */
int rd_locate(neoq_store *store, const char *id, rd_found *found);
void rd_found_free(rd_found *found);
int rd_no_job(const char *id);
int rd_no_queue(const char *name);

#endif
