/* SPDX-License-Identifier: MIT
 *
 * redis/cluster.h -- the nodes of a Cluster, and which of them serves which slot.
 *
 * The map is read when the store is opened, and anew when a node fails. Between the two it follows the nodes: one that
 * is asked for a slot of another's says whose it is.
 */
#ifndef NQ_REDIS_CLUSTER_H
#define NQ_REDIS_CLUSTER_H

#include "backend/redis/pool.h"

typedef struct rd_cluster rd_cluster;

/* One that serves slots, or did: they live as long as the cluster, so that nobody need hold on to one. */
typedef struct rd_node {
    rd_url url; /* of this server alone; most of it is the Cluster's */
    rd_host host;
    rd_pool *pool;
    struct rd_node *next;
} rd_node;

/* Reads the map, from the first of the URL's hosts that answers. url and options are borrowed until
 * rd_cluster_close(). */
int rd_cluster_open(rd_cluster **out, const rd_url *url, const neoq_options *options);
void rd_cluster_close(rd_cluster *cluster); /* NULL is allowed; every connection was given back */

/* Who serves the slot, as far as is known; NULL = nobody. */
rd_node *rd_cluster_node(rd_cluster *cluster, unsigned slot);
/* One of those that serve any, by turns. */
rd_node *rd_cluster_any(rd_cluster *cluster, unsigned turn);
/* Calls each with every node that serves slots. */
void rd_cluster_each(rd_cluster *cluster, void (*each)(rd_node *node, void *arg), void *arg);

/* Whom a MOVED or ASK of that host names; a MOVED counts from now on. NULL: it names nobody. */
rd_node *rd_cluster_follow(rd_cluster *cluster, const rd_host *from, const redisReply *said);

/* Reads the map anew, unless somebody else has since it was `seen`: one caller at a time does. False: it is as it was,
 * for no node told. */
uint64_t rd_cluster_seen(rd_cluster *cluster);
bool rd_cluster_look(rd_cluster *cluster, uint64_t seen, const nq_bound *bound, rd_failure *failure);

#endif
