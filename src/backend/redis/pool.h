/* SPDX-License-Identifier: MIT
 *
 * redis/pool.h -- the connections of a store.
 *
 * They are made when they are needed, up to max_conns. When none can be had, one caller at a time tries, with growing
 * and jittered pauses (50 ms to 2 s), so that a server that comes back is not stormed. The log has one line when
 * connections are not to be had any more and one when they are again.
 */
#ifndef NQ_REDIS_POOL_H
#define NQ_REDIS_POOL_H

#include "backend/redis/connection.h"

typedef struct rd_pool rd_pool;

/* Connects once, so that an unreachable server or a wrong password is told at once. url and options are borrowed until
 * rd_pool_close(). */
int rd_pool_open(rd_pool **out, const rd_url *url, const neoq_options *options);
/* The same without connecting: whether there is a server, whoever takes a connection finds out. */
int rd_pool_create(rd_pool **out, const rd_url *url, const neoq_options *options);
void rd_pool_close(rd_pool *pool); /* NULL is allowed; every connection was given back */

/* Takes a connection that works, or waits for one up to the connect timeout; connects anew where one broke, no faster
 * than its backoff (with jitter) allows. NEOQ_ETIMEOUT; NEOQ_EBACKEND at once where waiting would not help (a wrong
 * password). */
int rd_pool_take(rd_pool *pool, rd_connection **out);
/* The same, but waits no longer than patience: for who tries again anyway, and must not be held up by a server that is
 * away (a worker that is to end). urgent: where all connections are taken it has one more, which is closed again: for the
 * beat, which no load is to hold up. */
int rd_pool_take_within(rd_pool *pool, neoq_duration patience, bool urgent, rd_connection **out);
/* One that broke, or to which a reply is still owed, is closed here. Where its server was silent or takes no writes any
 * more, those that rest are closed, too: theirs is the same server, and another may be the master now. */
void rd_pool_give(rd_pool *pool, rd_connection *c);

/* One command on any connection within call_timeout, as rd_command(); where its connection turned out broken before it
 * was sent, or its repetition is harmless (`again`), it is tried once more on another. */
int rd_pool_command(rd_pool *pool, int argc, const char *const *argv, bool again, redisReply **out);

#endif
