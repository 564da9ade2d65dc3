/* SPDX-License-Identifier: MIT
 *
 * postgres/exchange.h -- runs that are held here, and where claims begin.
 */
#ifndef NQ_POSTGRES_EXCHANGE_H
#define NQ_POSTGRES_EXCHANGE_H

#include "backend/postgres/jobs.h"

/* ---- runs (holds.c) --------------------------------------------------------------------- */

/* What a claimed run holds. The memory of its view follows in the same block. */
struct pg_hold {
    pg_hold *previous, *next; /* of the store's list */
    pg_queue *queue;          /* may be NULL */
    pg_tid tid;               /* where its row stands */
    uint8_t id[16];
    pg_place place; /* in the order of its queue, and its claim's in its exchange */
    int claim;
    bool over;     /* its worker's lease was lost */
    bool unsure;   /* the answer to a settlement of it was lost */
    bool answered; /* it was settled, or is not ours */
};

/* Makes a run of the job whose columns begin at column, in state RUNNING; its tid stands in another. False: no memory. */
bool pg_hold_run(neoq_store *store, const PGresult *rows, int row, int column, int tid_column, const char *name,
                 const uint8_t *salt, neoq_claimed *run);

/* The answer to an exchange was lost: what it may have settled, and whether it may have claimed. */
void pg_hold_unsure(neoq_store *store, const neoq_exchange *x);
/* The lease was lost, and with it all runs that are held. */
void pg_hold_over(neoq_store *store);
/* If a claim's answer was lost before: gives back the runs of this worker that nobody here holds. */
int pg_give_back_strays(neoq_store *store, const char *worker);

/* An exchange without the care for strays. */
int pg_exchange_once(neoq_store *store, neoq_exchange *x);

/* ---- leases (lease.c) ------------------------------------------------------------------- */

/* The lease by which an exchange of this worker renews it; 0 = it does not. */
neoq_duration pg_lease_of(neoq_store *store, const char *worker);
void pg_note_renewal(neoq_store *store, bool upkeep);

/* ---- where claims begin (claims.c) ------------------------------------------------------ */

/* A claim on its way. */
typedef struct pg_ask {
    const neoq_claim *claim;
    size_t left; /* runs that are still wanted; 0 = it is over */
    int32_t known;
    bool skipping;
    pg_place from;
    /* what came back */
    bool closed; /* nobody looked into the queue: it is paused, slowed down or not there */
    size_t got;
    pg_place last; /* of what was got, the last in the order of the queue */
} pg_ask;

/* Fills in where it begins. False: no memory. */
bool pg_ask_plan(neoq_store *store, pg_ask *ask, const neoq_claim *claim);
/* Takes note of what it got in an exchange of that duration, beyond what its settlements explain, and says whether it is
 * to go on: from the first job again, because it began further on and came back short. */
bool pg_ask_note(neoq_store *store, pg_ask *ask, int64_t duration);
/* A job of this queue came back to wait. */
void pg_note_return(neoq_store *store, pg_queue *queue, int32_t rank, neoq_time run_after);
/* The first instant after now, when it was last asked, at which a job of a queue falls due that was ever asked for here;
 * 0 = none. */
neoq_time pg_next_due(neoq_store *store, neoq_time now);

#endif
