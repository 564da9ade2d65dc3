/* SPDX-License-Identifier: MIT
 *
 * redis/connection.h -- one connection: commands go out together, replies come back one by one, every wait has a bound.
 *
 * One thread at a time uses a connection. A failure of it closes it, and what was owed is answered with the same
 * failure; an error reply is no failure of the connection.
 */
#ifndef NQ_REDIS_CONNECTION_H
#define NQ_REDIS_CONNECTION_H

#include "backend/redis/dial.h"

typedef struct rd_connection rd_connection;

/* Connects, over TLS and by way of the Sentinels where the URL says so, proves who we are, and selects the database:
 * all within the bound. The server takes commands. NULL: failure tells why. */
rd_connection *rd_connect(const rd_url *url, const nq_bound *bound, rd_failure *failure);
/* To that host, be it a replica: of a Cluster, of which each can tell. */
rd_connection *rd_connect_any(const rd_url *url, const rd_host *host, const nq_bound *bound, rd_failure *failure);
void rd_disconnect(rd_connection *c); /* NULL is allowed */

/* Puts a command behind those that are to be sent. lengths may be NULL: the arguments then are strings. NEOQ_ENOMEM,
 * NEOQ_ETOOBIG: it was not put there, and the connection is as it was. */
int rd_append(rd_connection *c, int argc, const char *const *argv, const size_t *lengths);

/*
 * Sends what is appended, reading meanwhile, and gives the next reply, to be freed by freeReplyObject(): it may be an
 * error reply. (The rest is sent along with the next reply that is asked for: big pipelines hold nobody up.) Otherwise
 * *out is NULL, the connection closed, and the status
 *   NEOQ_EUNKNOWN   it broke, or the bound was reached, after something of what is owed was sent: it may have been done
 *   NEOQ_EBACKEND   it broke before: nothing was done
 *   NEOQ_ETIMEOUT   the bound was reached before
 */
int rd_reply(rd_connection *c, const nq_bound *bound, redisReply **out);

/* One command and its reply; an error reply becomes the status and the words of rd_refused(). */
int rd_command(rd_connection *c, const nq_bound *bound, int argc, const char *const *argv, redisReply **out);

/* Sends what is appended, as much of it as the socket takes now. */
void rd_push(rd_connection *c);

/* Sends what is appended, and waits until rd_reply() has something to give without waiting: a reply, or the connection's
 * end. False: the bound was reached, and nothing has changed. For who waits on a blocking command or a subscription: the
 * bound's stop_fd lets another thread end the wait. */
bool rd_await(rd_connection *c, const nq_bound *bound);

int rd_descriptor(const rd_connection *c); /* -1 = it is closed */
size_t rd_owed(const rd_connection *c);    /* replies that are still to come */

/* ---- for who connects, and for the pool --------------------------------------------------- */

struct rd_tls;

/* Takes the socket, be it that it fails; NULL: no memory. tls may be NULL; it ends with the connection. */
rd_connection *rd_connection_open(const rd_url *url, int fd, struct rd_tls *tls);
/* Makes TLS's handshake. */
bool rd_connection_shake_hands(rd_connection *c, const nq_bound *bound, rd_failure *failure);
/* Whether it can be used as a fresh one: open, and nothing is owed. */
bool rd_connection_fit(const rd_connection *c);
/* The same, and the server has not closed it while it was idle. */
bool rd_connection_alive(rd_connection *c);
const char *rd_connection_words(const rd_connection *c); /* why it broke */
bool rd_connection_silent(const rd_connection *c);       /* it was closed because a bound was reached */
bool rd_connection_starved(const rd_connection *c);      /* there was no memory for what it said */
bool rd_connection_read_only(const rd_connection *c);    /* the server has refused to write */
/* No reply may be longer. */
void rd_connection_set_most(rd_connection *c, size_t bytes);

#endif
