/* SPDX-License-Identifier: MIT
 *
 * sqlite/store.h -- the store and its one writer.
 *
 * All that a process writes goes through sq_write(): calls that come while a transaction is being committed wait, and
 * the next transaction takes all of them along (base/group.h). Readers use a connection of their own.
 */
#ifndef NQ_SQLITE_STORE_H
#define NQ_SQLITE_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <neoq/backend.h>

#include "backend/sqlite/database.h"
#include "backend/sqlite/keymap.h"
#include "base/group.h"
#include "base/place.h"

/* What a transaction changes in the counts of one queue. */
typedef struct sq_tally {
    int64_t queue;
    int64_t counts[NEOQ_DEAD + 1]; /* by state */
    int64_t processed, failed;
    bool slowed, reset;
} sq_tally;

/* A transaction under way. */
typedef struct sq_tx {
    neoq_store *store;
    sq_db *db;
    neoq_time now;
    sq_tally *tallies;
    size_t tally_count, tally_room;
    sqlite3_stmt *rollback; /* of the store's own */
    bool announce;          /* other processes are to be woken after the commit */
    bool own;               /* on the store's connection, so the queue cache may be used */
    int64_t last_rid;       /* of neoq_jobs; 0 = not looked up yet */
    int64_t guard_changes;  /* made in neoq_fresh */
} sq_tx;

/* Does its part of the transaction; may be called again if the whole was rolled back. A refusal (NEOQ_EDUPLICATE,
 * NEOQ_ELOST, ...) leaves what it wrote so far in place; a failure of SQLite shows in tx->db->status. */
typedef int (*sq_work)(sq_tx *tx, void *arg);

typedef struct sq_op {
    nq_member member; /* the first, so that one is the other */
    sq_work work;
    void *arg;
    int status;
    bool hasty;
    char message[512];
} sq_op;

/* A queue's row number by its name, as the writer last saw it. */
typedef struct sq_queue_id {
    char *name;
    int64_t id, capacity;
} sq_queue_id;

struct neoq_store {
    char *path, *wal_path;
    const neoq_options *options;
    const neoq_clock *clock;
    char place[NQ_PLACE_SIZE]; /* boot and pid namespace: where a pid means something */

    nq_group writers;
    sq_db writer; /* of whoever serves them, as what follows */
    sq_courtesy courtesy;
    int64_t wal_pages;       /* after the last commit */
    int64_t next_checkpoint; /* when wal_pages reaches it */
    int64_t data_version;
    bool hasty;      /* the writer's commits are not synced */
    sq_keymap fresh; /* the jobs of neoq_fresh up to fresh_seen, and perhaps some that were merged */
    int64_t fresh_seen;
    bool fresh_asked;      /* something was looked for before */
    bool fresh_current;    /* nobody else added to it since */
    int64_t guard_changes; /* in neoq_fresh, by this process, since it last merged */
    sq_queue_id *queues;
    size_t queue_count;

    pthread_mutex_t read_mutex; /* of `reader` */
    sq_db reader;

    atomic_int_fast64_t stalled_at; /* steady: the writer last got a lock that others had held for long */
    atomic_uint_fast64_t version;   /* raised by wake() */
    int wake_fd, notify_fd;         /* an eventfd; an inotify, -1 = there is none */
};

/* Runs work in a write transaction, on disk when this returns. */
int sq_write(neoq_store *store, sq_work work, void *arg);
/* The same, but a power cut may undo it: for what is of no use after one, so that an idle worker leaves the disk alone. */
int sq_write_hastily(neoq_store *store, sq_work work, void *arg);

/* A transaction of the caller's on his own connection; sq_tx_flush() writes the tallies, sq_tx_free() ends it. */
void sq_tx_begin(sq_tx *tx, neoq_store *store, sq_db *db, bool own);
int sq_tx_flush(sq_tx *tx);
void sq_tx_free(sq_tx *tx);
/* The tally of a queue; NULL if memory ran out (db->status says it). */
sq_tally *sq_tally_of(sq_tx *tx, int64_t queue);
/* Counts a job from one state to another; 0 = from or to nowhere. */
void sq_count(sq_tx *tx, int64_t queue, int from, int to);

/* The queue's row number; made if `make`. 0: there is none, or a failure. capacity may be NULL. */
int64_t sq_queue_of(sq_tx *tx, const char *name, bool make, int64_t *capacity);
void sq_forget_queues(neoq_store *store); /* in a write transaction */

/* Tells other processes that there may be work. */
void sq_announce(const char *wal_path);

#endif
