/* SPDX-License-Identifier: MIT
 *
 * postgres/listen.h -- hearing of jobs that other processes enqueue, and telling them of ours.
 *
 * Two connections besides the pool's, both made by a thread of the bell's own at the first need: one that LISTENs on
 * the channel named as the schema, and one that sends NOTIFY, at most once a millisecond. Whoever waits reads the
 * first, so that a job is heard of without a detour; when nobody waits, pg_bell_seen() or the thread reads it, so
 * that the server never has to keep messages for us. Behind a transaction pooler there is neither, and waits are
 * short.
 */
#ifndef NQ_POSTGRES_LISTEN_H
#define NQ_POSTGRES_LISTEN_H

#include "backend/postgres/pool.h"

typedef struct pg_bell pg_bell;

int pg_bell_open(pg_bell **out, pg_pool *pool, const pg_settings *settings, const neoq_options *options,
                 const neoq_clock *clock);
/* Before pg_pool_close(). What was announced is still told, if that takes a second at the most. NULL is allowed. */
void pg_bell_close(pg_bell *bell);

uint64_t pg_bell_seen(pg_bell *bell);                           /* for neoq_exchange.seen */
void pg_bell_wait(pg_bell *bell, uint64_t seen, int64_t until); /* neoq_backend.wait: also listens while it waits */
void pg_bell_ring(pg_bell *bell);                               /* neoq_backend.wake */
void pg_bell_announce(pg_bell *bell); /* after a commit: wakes here, and soon tells the others */
/* The same, but the others hear it a moment later: who waits here is to be first, and not kept busy by hearing of it. */
void pg_bell_announce_later(pg_bell *bell);
bool pg_bell_is_awaited(pg_bell *bell); /* somebody is in pg_bell_wait() */
/* When nobody was told for a while: the words with which a transaction may NOTIFY the others itself, instead of the
 * announcement; they hear it one round trip sooner. Else NULL: a NOTIFY makes commits wait for each other. */
const char *pg_bell_lend(pg_bell *bell);
/* It was committed, and the whole took so many microseconds: wakes here. The longer, the rarer are words to be had. */
void pg_bell_lent(pg_bell *bell, int64_t took);

/* How long to wait with the next NOTIFY, where one is sent `since` microseconds after the last, which was waited for `before`. It
 * grows while they are sent as fast as they may be, up to 8 ms: who hears so many is busy anyway. */
int64_t pg_bell_pause(int64_t before, int64_t since);

/* Whether it LISTENs now; for tests. */
bool pg_bell_listens(pg_bell *bell);

#endif
