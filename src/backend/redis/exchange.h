/* SPDX-License-Identifier: MIT
 *
 * redis/exchange.h -- runs that are held here.
 */
#ifndef NQ_REDIS_EXCHANGE_H
#define NQ_REDIS_EXCHANGE_H

#include "backend/redis/jobs.h"

/* What a claimed run holds. The memory of its view follows in the same block. */
struct rd_hold {
    rd_hold *previous, *next; /* of the store's list */
    redisReply *message;
    const neoq_job *job;
    neoq_time until, renewing; /* until when it is nobody else's for sure; what that is being renewed to */
    bool over;                 /* its lease was lost */
    bool unsure;               /* the answer to a settlement of it was lost */
    bool answered;             /* it was settled, or is not ours */
};

enum { RD_ROW_WIDTH = 5 };

/* Makes a run, in state RUNNING, of the items of a reply from there on: id, message, facts, place, epoch, and, where ran_at
 * is 0, when it began. Takes the message over. What cannot be read becomes a run without payload. until: of the hold.
 * False: no memory, or no such items; those are still the reply's. */
bool rd_hold_run(neoq_store *store, redisReply *reply, size_t from, const char *queue, neoq_time ran_at,
                 neoq_time until, neoq_claimed *run);

/* The answer to an exchange was lost: what it may have settled, and whether it may have claimed. */
void rd_hold_unsure(neoq_store *store, const neoq_exchange *x);
bool rd_is_held(neoq_store *store, const char *id);
/* If a claim's answer was lost before: gives back the runs of this worker that nobody here holds. */
int rd_give_back_strays(neoq_store *store, const char *worker);

/* An exchange without the care for strays. */
int rd_exchange_once(neoq_store *store, neoq_exchange *x);

/* ---- what asynq's tools see (servers.c) -------------------------------------------------- */

int rd_show_worker(neoq_store *store, const neoq_beat *beat);
int rd_hide_worker(neoq_store *store, const neoq_worker_info *worker);

/* The end of this worker's lease, as a score that is never a whole number: see lua/keys.lua. */
const char *rd_lease_score(neoq_time until, char score[32]);

#endif
