/* SPDX-License-Identifier: MIT
 *
 * postgres/store.h -- the store: a pool, a bell, and what is remembered of queues and of claimed runs.
 *
 * All that must hold stands in the database. What is remembered here only spares looking it up: a queue that is gone by
 * now is found out by the statement that names it.
 */
#ifndef NQ_POSTGRES_STORE_H
#define NQ_POSTGRES_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <neoq/backend.h>

#include "backend/postgres/listen.h"
#include "backend/postgres/pool.h"
#include "backend/postgres/url.h"
#include "backend/postgres/values.h"
#include "backend/postgres/watch.h"
#include "base/group.h"
#include "base/place.h"

/* Where a job stands in the order of its queue. */
typedef struct pg_place {
    int32_t rank;
    int64_t run_after, arrival;
} pg_place;

typedef struct pg_queue {
    struct pg_queue *next;
    int32_t id; /* 0 = not known */
    uint8_t salt[16];
    bool asked;    /* claimed from here */
    neoq_time due; /* of the first job that was not ready when it was last looked, or came since; 0 = none */

    /* Claims begin at `from` while `skipping`, and from the first again at rescan_at, a steady instant (claims.c). */
    bool skipping, dear;
    pg_place from, low; /* low: the first of what came in since the last claim was sent */
    int64_t rescan_at;
    char name[];
} pg_queue;

enum { PG_QUEUE_BUCKETS = 256, PG_LANES = 2, PG_KNOWN_CONNECTIONS = 16 };

/* A worker beside this one, whose process can be seen from here. */
typedef struct pg_neighbour {
    char name[64], place[NQ_PROCESS_PLACE_SIZE];
    int pid;
} pg_neighbour;

/* What the server and this worker last told each other; all instants are steady. */
typedef struct pg_pulse {
    char worker[64];
    int running, capacity;
    neoq_duration lease;
    int64_t renewed_at;
    bool upkeep; /* tend() has something to do */
    int64_t tended_at;
    pg_neighbour *neighbours;
    size_t neighbour_count;
} pg_pulse;

typedef struct pg_hold pg_hold; /* exchange.h */

struct neoq_store {
    pg_settings settings;
    pg_pool *pool;
    pg_bell *bell;
    const neoq_options *options;
    const neoq_clock *clock;
    char place[NQ_PLACE_SIZE];
    bool real_time; /* else the clock is a test's, and counts for the server, too */

    pthread_mutex_t queue_mutex; /* of queues */
    pg_queue *queues[PG_QUEUE_BUCKETS];

    nq_group lanes[PG_LANES];       /* of who enqueues */
    atomic_uint_fast64_t token;     /* of the last enqueue, of a random beginning */
    atomic_int_fast64_t refused_at; /* steady: when a job was not simply stored */

    pthread_rwlock_t exchange_lock; /* write: no exchange is under way */
    pthread_mutex_t hold_mutex;     /* of the four below */
    pg_hold *holds;
    bool unsure;       /* a claim's answer was lost: runs may be ours that nobody here knows of */
    int64_t unsure_at; /* steady: when to look for them once more; 0 = not */
    pg_pulse pulse;

    atomic_uint_least64_t known[PG_KNOWN_CONNECTIONS]; /* of users' own: transaction.c */
    atomic_uint next_known;
    pg_watch *watch; /* NULL until it is needed; made under queue_mutex */
};

/* The time by which the store and the runtime on it go: the server's, or a virtual clock's. */
neoq_time pg_now(neoq_store *store);

/* ---- queues by name (queues.c) ---------------------------------------------------------- */

/* The queue, which is made here where it is not remembered; NULL: no memory. queue_mutex is held. */
pg_queue *pg_queue_named(neoq_store *store, const char *name);
/* The same, but NULL where it is not remembered. */
pg_queue *pg_queue_known(neoq_store *store, const char *name);
/* By rank, run_after, arrival. */
int pg_compare_places(const pg_place *a, const pg_place *b);
/* A job came in there, or came back to wait: claims must not pass it by. queue_mutex is held. */
void pg_queue_lower(pg_queue *queue, int32_t rank, neoq_time run_after);
/* A job falls due then. queue_mutex is held. */
void pg_queue_await(pg_queue *queue, neoq_time due);
/* Claims look through all queues from the start: something may have come in before where they are. */
void pg_queues_rewind(neoq_store *store);
void pg_queues_free(neoq_store *store);

#endif
