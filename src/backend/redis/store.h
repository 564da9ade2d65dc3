/* SPDX-License-Identifier: MIT
 *
 * redis/store.h -- the store: a pool, a bell, and what is remembered of queues and of claimed runs.
 *
 * All that must hold stands in the server. What is remembered here only spares looking it up.
 */
#ifndef NQ_REDIS_STORE_H
#define NQ_REDIS_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <neoq/backend.h>

#include "backend/redis/agenda.h"
#include "backend/redis/batch.h"
#include "backend/redis/bell.h"
#include "backend/redis/cluster.h"
#include "backend/redis/pool.h"
#include "backend/redis/scripts.h"
#include "backend/redis/arrivals.h"
#include "backend/redis/url.h"
#include "base/group.h"
#include "base/place.h"
#include "base/server_clock.h"

enum {
    RD_LANES = 2,
    RD_PIECE = 32, /* jobs a script call */
    RD_KEY_SIZE = 256,
};

/* Of our own, beside asynq's: all global, and each used by itself, so that they may be on any node of a Cluster. */
#define RD_WORKER_LEASES "neoq:{workers}:lease"
#define RD_WORKER_FACTS  "neoq:{workers}:facts"
#define RD_SCHEDULES     "neoq:schedules" /* names, and whose queue has the rest */
#define RD_WAKE_CHANNEL  "neoq:wake"      /* says the name of a queue in which something changed */
#define RD_QUEUES        "asynq:queues"
#define RD_CANCEL        "asynq:cancel" /* says the id of a job that is to be cancelled */

/* A claimed run, from its claim to its release. */
typedef struct rd_hold rd_hold;

/* The worker of this store, as it last told the server. */
typedef struct rd_pulse {
    char worker[64];
    neoq_duration lease;
    neoq_time until; /* the end of its lease */
} rd_pulse;

struct neoq_store {
    rd_url url;
    rd_pool *pool;       /* of the server; NULL = it is a Cluster */
    rd_cluster *cluster; /* NULL = it is one server */
    rd_bell *bell;
    rd_agenda *agenda;
    rd_arrivals *arrivals;
    const neoq_options *options;
    const neoq_clock *clock;
    char place[NQ_PLACE_SIZE];
    bool real_time; /* else the clock is a test's, and counts for the server, too */
    rd_shas shas;

    pthread_mutex_t clock_mutex; /* of looks at the server's clock */
    nq_server_clock server_clock;

    nq_group lanes[RD_LANES]; /* of who enqueues */

    pthread_rwlock_t exchange_lock; /* write: no exchange is under way */
    pthread_mutex_t hold_mutex;     /* of what follows */
    rd_hold *holds;
    bool unsure; /* a claim's answer was lost: runs may be ours that nobody here knows of */
    rd_pulse pulse;
};

/* The time by which the store and the runtime on it go: the server's, or a virtual clock's. */
neoq_time rd_now(neoq_store *store);
int rd_measure_time(neoq_store *store);
/* The same where that was long ago: for who has no beat that does. It is for the end of a call, when the server is there. */
void rd_mind_time(neoq_store *store);
/* The queue's own hash, after which all its other keys are named. */
const char *rd_queue_key(const char *queue, char key[RD_KEY_SIZE]);
/* Whether its keys are together: on a Cluster a name that begins with "}" leaves them without a tag. */
bool rd_queue_fits(const neoq_store *store, const char *queue);
int rd_queue_misfit(const char *queue); /* NEOQ_EINVAL, with words */

#endif
