/* SPDX-License-Identifier: MIT
 *
 * sqlite/guards.h -- whose fingerprint is taken.
 *
 * A fingerprint is as good as a random number: entered into one big index, each job would put a page of its own into
 * the commit. So entries are made in neoq_fresh in the order of arrival, all jobs of a commit on the same page, and are
 * found there by a map in memory. After some thousands of changes it is merged into the big table, neoq_guards, in the
 * order of its keys: one look at each page. What ends leaves neoq_fresh; if it was merged before, its end is noted there
 * and it leaves neoq_guards with the next merge.
 *
 * An entry is (key, rid): 8 bytes of the fingerprint, mixed with the queue, and the job. It is a hint. Every unfinished
 * unique job has one; whether an entry still speaks of such a job, and of that very fingerprint, is seen in its row.
 */
#ifndef NQ_SQLITE_GUARDS_H
#define NQ_SQLITE_GUARDS_H

#include "backend/sqlite/store.h"

/* Never 0. */
int64_t sq_guard_key(const char *fingerprint, int64_t queue);

/* The unfinished unique job of this queue and fingerprint; 0 = none. */
int64_t sq_guard_find(sq_tx *tx, int64_t key, const char *fingerprint, int64_t queue);

/* Of new jobs: rids from first on, those with a key of 0 left out. */
void sq_guard_new(sq_tx *tx, const int64_t *keys, size_t count, int64_t first_rid);
/* Of a job that was dead and is to live again. */
void sq_guard_again(sq_tx *tx, int64_t key, int64_t rid);
/* The job has ended; a key of 0 does nothing. */
void sq_guard_drop(sq_tx *tx, int64_t key, int64_t rid);
/* All unfinished jobs of the queue are about to be deleted. */
void sq_guard_drop_queue(sq_tx *tx, int64_t queue);

/* At the end of a transaction: merges when it is time. */
void sq_guard_merge(sq_tx *tx);

/* Another connection wrote. */
void sq_guards_changed(neoq_store *store);
/* A transaction of the store's own was rolled back. */
void sq_guards_forget(neoq_store *store);

#endif
