/* SPDX-License-Identifier: MIT
 *
 * Jobs that come in all the time and are run by the same neoq, and a record of what became of each.
 */
#ifndef TESTS_REDIS_FLOW_H
#define TESTS_REDIS_FLOW_H

#include <stdatomic.h>

#include "redis/support.h"

enum { JOBS_MOST = 100000, EPOCHS = 8, SOME = 200 /* more than are claimed at any time */ };

typedef struct flow {
    base *base;
    neoq *nq;
    pthread_t producer;
    atomic_bool ends;
    atomic_int asked, refused, unknown, ran, twice;
    atomic_bool stored[JOBS_MOST];
    atomic_bool runs[JOBS_MOST][EPOCHS];
    char words[512]; /* of the first refusal */
} flow;

/* Of queue "q", at that URL or the base's own; returns when some have run. */
flow *flow_start(base *b, const char *url);
void flow_goes_on(flow *f); /* until some more have run */
bool flow_all_ran(flow *f);
void flow_stop_producing(flow *f);
void flow_end(flow *f);
/* Nothing is lost, and no run began twice. */
void flow_end_complete(flow *f);
/* And nothing was refused. */
void flow_end_unharmed(flow *f);

#endif
