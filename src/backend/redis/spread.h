/* SPDX-License-Identifier: MIT
 *
 * redis/spread.h -- a batch whose calls are for several nodes of a Cluster. The rest of the store does not know.
 */
#ifndef NQ_REDIS_SPREAD_H
#define NQ_REDIS_SPREAD_H

#include "backend/redis/batch.h"
#include "backend/redis/connection.h"

/* Sends each call to the node that serves its slot, all nodes beside each other. As rd_send_within(), but of calls that
 * are answered by an error nothing is said. */
int rd_spread(neoq_store *store, neoq_duration patience, rd_batch *batch, bool again);

/* ---- what it shares with the sending to one server (batch.c) ------------------------------ */

/* Memory for arguments, from one command to the next. */
typedef struct rd_vectors {
    const char **argv;
    size_t *lengths, room;
} rd_vectors;

int rd_append_call(const neoq_store *store, rd_connection *c, const rd_batch *batch, const rd_call *call,
                   bool by_text, rd_vectors *v);

/*
 * While a slot moves, some of its keys are on one node and some on the other, and a script that finds a key missing does
 * not know which it is. A node knows of the keys that a script names alone. So on a Cluster a script names another one,
 * its queue's key with this behind it, which never is there: as long as the slot moves both nodes then refuse the script
 * before it begins (TRYAGAIN), and it waits until all keys are together again.
 */
#define RD_GUARD ":guard"

#endif
