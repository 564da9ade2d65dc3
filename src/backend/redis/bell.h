/* SPDX-License-Identifier: MIT
 *
 * redis/bell.h -- hearing of jobs that other processes enqueue, Go's among them, without asking.
 *
 * Who waits listens: on a connection that is subscribed to what neoqs tell each other and to asynq's cancellations, and
 * on one for each queue that was found empty, by a command that moves the tail of the pending list to where it is and
 * blocks while there is none. Beyond LISTS_MOST queues, and while there is no connection, waits are short.
 */
#ifndef NQ_REDIS_BELL_H
#define NQ_REDIS_BELL_H

#include "backend/redis/cluster.h"

typedef struct rd_bell rd_bell;

/* cluster: where the URL names one; else NULL. */
int rd_bell_open(rd_bell **out, const rd_url *url, rd_cluster *cluster, const neoq_options *options,
                 const neoq_clock *clock);
void rd_bell_close(rd_bell *bell); /* NULL is allowed */

uint64_t rd_bell_seen(rd_bell *bell);                           /* for neoq_exchange.seen */
void rd_bell_wait(rd_bell *bell, uint64_t seen, int64_t until); /* neoq_backend.wait */
void rd_bell_ring(rd_bell *bell);                               /* neoq_backend.wake */
/* Sees that it is subscribed, and reads what came: for who beats, and never waits for long. */
void rd_bell_tend(rd_bell *bell);

/* ---- the queues that are claimed from here ----------------------------------------------- */

/* Before a claim is sent: should its answer be lost, the queue is among those to be searched. False: no memory. */
bool rd_bell_know(rd_bell *bell, const char *queue);
/* What a claim found that was sent after this instant of rd_bell_instant(): whether it took all there was, and when the
 * next job falls due (0 = none). */
void rd_bell_note(rd_bell *bell, const char *queue, uint64_t sent, bool empty, neoq_time due);
uint64_t rd_bell_instant(rd_bell *bell);
/* A job of the queue, if it is claimed from here, falls due then. */
void rd_bell_await(rd_bell *bell, const char *queue, neoq_time due);
/* When the first job of all these queues falls due; 0 = none. */
neoq_time rd_bell_next_due(rd_bell *bell);
/* Calls each with every queue ever claimed from. */
void rd_bell_each(rd_bell *bell, void (*each)(const char *queue, void *arg), void *arg);

/* ---- cancellations that were heard of ---------------------------------------------------- */

/* Takes up to room of them; they may be of anybody's jobs. */
size_t rd_bell_cancels(rd_bell *bell, char (*ids)[NEOQ_ID_SIZE], size_t room);
void rd_bell_cancel(rd_bell *bell, const char *id); /* was found otherwise */

#endif
