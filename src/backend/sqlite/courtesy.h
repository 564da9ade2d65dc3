/* SPDX-License-Identifier: MIT
 *
 * sqlite/courtesy.h -- who has waited for the write lock for long says so, and whoever would be next lets him go first.
 *
 * SQLite's lock has no queue: who waits looks now and then, and where many commit without a pause on a busy machine, one of
 * them may find it taken for seconds, while others have it again and again. He says so by a lock of his own, on the first
 * byte of the WAL, where SQLite has none; it is gone when he is.
 */
#ifndef NQ_SQLITE_COURTESY_H
#define NQ_SQLITE_COURTESY_H

#include <stdbool.h>

typedef struct sq_courtesy {
    int fd; /* -1: nobody is told, and nobody heard */
    bool asks;
} sq_courtesy;

void sq_courtesy_open(sq_courtesy *courtesy, const char *wal_path);
void sq_courtesy_close(sq_courtesy *courtesy);

/* Somebody else has asked, and not been served yet. */
bool sq_courtesy_wanted(const sq_courtesy *courtesy);
/* Waits a moment while that is so: longer than those look away who ask. */
void sq_courtesy_give_way(const sq_courtesy *courtesy);

void sq_courtesy_ask(sq_courtesy *courtesy);
/* He has the lock, or does not want it any more. */
void sq_courtesy_served(sq_courtesy *courtesy);

#endif
