/* SPDX-License-Identifier: MIT
 *
 * A Cluster for tests: servers of tests/support/redis_server.h, each with an equal part of the slots, the rest of them
 * replicas of the first. Functions that can fail return false (or NULL) and have said on standard error what is wrong.
 */
#ifndef TESTS_REDIS_CLUSTER_H
#define TESTS_REDIS_CLUSTER_H

#include "support/redis_server.h"

enum { CLUSTER_MASTERS = 3, CLUSTER_NODES_MOST = 6 };

typedef struct redis_cluster redis_cluster;

/* Three masters and so many replicas; all agree when it returns. settings as of redis_start(), for each. */
redis_cluster *redis_cluster_start(redis_kind kind, int replicas, const char *const *settings);
void redis_cluster_end(redis_cluster *cluster); /* NULL is allowed */

redis_server *redis_cluster_node(const redis_cluster *cluster, int number); /* the masters first */
/* "redis+cluster://127.0.0.1:PORT,...": of the first two. Options may be added with '?'. Returns url. */
char *redis_cluster_url(const redis_cluster *cluster, char *url, size_t size);
bool redis_cluster_empty(const redis_cluster *cluster); /* deletes every key of the first masters */

/* The node that serves the key's slot at the start. */
int redis_cluster_home(const redis_cluster *cluster, const char *key);
/* Moves the key's slot, a step at a time: it is open (ASK, TRYAGAIN), so many of its keys have moved (-1 = all), it is
 * the other's and all know (MOVED). */
bool redis_cluster_open_slot(const redis_cluster *cluster, const char *key, int from, int to);
bool redis_cluster_move_keys(const redis_cluster *cluster, const char *key, int from, int to, int count);
bool redis_cluster_close_slot(const redis_cluster *cluster, const char *key, int to);

#endif
