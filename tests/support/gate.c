/* SPDX-License-Identifier: MIT */
#include "support/gate.h"

#include <time.h>

enum { PATIENCE_MS = 30000 };

bool gate_wait_for(gate *g, int milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    until.tv_sec += milliseconds / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&g->lock);
    while (!g->is_open && pthread_cond_timedwait(&g->changed, &g->lock, &until) == 0)
        ;
    bool is_open = g->is_open;
    pthread_mutex_unlock(&g->lock);
    return is_open;
}

bool gate_wait(gate *g)
{
    return gate_wait_for(g, PATIENCE_MS);
}

void gate_open(gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->is_open = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}
