/* SPDX-License-Identifier: MIT */
#include "backend/redis/arrivals.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bound.h"
#include "base/log.h"

enum { COUNTS = 256 };

typedef struct count {
    char queue[201];
    int64_t arrivals, since; /* how many it told of at most, and when that was known here */
    int64_t lost_at;         /* when it last told of fewer */
} count;

struct rd_arrivals {
    const neoq_options *options;
    const char *shown;
    pthread_mutex_t mutex; /* of the counts */
    count counts[COUNTS];  /* a queue has one place, and takes it from another */
};

rd_arrivals *rd_arrivals_open(const neoq_options *options, const char *shown)
{
    rd_arrivals *arrivals = calloc(1, sizeof *arrivals);
    if (!arrivals)
        return NULL;
    arrivals->options = options;
    arrivals->shown = shown;
    pthread_mutex_init(&arrivals->mutex, NULL);
    return arrivals;
}

void rd_arrivals_close(rd_arrivals *arrivals)
{
    if (!arrivals)
        return;
    pthread_mutex_destroy(&arrivals->mutex);
    free(arrivals);
}

static count *count_of(rd_arrivals *arrivals, const char *queue)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (const char *at = queue; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619U;
    count *c = &arrivals->counts[hash % COUNTS];
    if (strcmp(c->queue, queue) != 0) {
        *c = (count){0};
        snprintf(c->queue, sizeof c->queue, "%s", queue);
    }
    return c;
}

/* Answers overtake each other: only what was known before the call went out is above doubt, and what went out before a
 * loss was seen may be from before it. How many are missing; 0 = none. */
static int64_t compare(count *c, int64_t sent, int64_t found, int64_t left)
{
    int64_t missing = c->since < sent && found < c->arrivals ? c->arrivals - found : 0;
    if (missing > 0)
        c->lost_at = nq_steady();
    if (missing > 0 || (left > c->arrivals && sent > c->lost_at)) {
        c->arrivals = left;
        c->since = nq_steady();
    }
    return missing;
}

void rd_arrivals_take(rd_arrivals *arrivals, const char *queue, int64_t sent, int64_t found, int64_t left)
{
    pthread_mutex_lock(&arrivals->mutex);
    int64_t missing = compare(count_of(arrivals, queue), sent, found, left);
    pthread_mutex_unlock(&arrivals->mutex);
    if (missing > 0)
        nq_log(arrivals->options, NEOQ_LOG_ERROR,
               "Redis %s: it has lost what it had acknowledged: of queue \"%s\" it had told of %" PRId64
               " arrivals, and now of %" PRId64 ", so %" PRId64 " or more are gone, and what was done since may be "
               "undone; see what may be lost in docs/redis.md",
               arrivals->shown, queue, found + missing, found, missing);
}
