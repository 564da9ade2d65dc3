/* SPDX-License-Identifier: MIT
 *
 * Holds threads back until it is opened. Nobody waits longer than the test's patience, so a failed test ends.
 */
#ifndef TESTS_GATE_H
#define TESTS_GATE_H

#include <pthread.h>
#include <stdbool.h>

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_open;
} gate;

#define GATE_INITIALIZER                                                                                             \
    {                                                                                                                \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false                                                   \
    }
/* False: it was not opened in time. */
bool gate_wait(gate *g);
bool gate_wait_for(gate *g, int milliseconds);
void gate_open(gate *g);

#endif
