/* SPDX-License-Identifier: MIT
 *
 * What the killer, its victims and the checker share.
 *
 * Producers and workers write down what they are about to do and what they have been told, a line a write(), so that a
 * kill loses no line and tears none. In asked-STREAM.log, by the producer of that stream:
 *
 *   a N COUNT        it is about to ask for jobs N..N+COUNT-1
 *   k N COUNT ID     it was told that they are stored; ID is the job's where COUNT is 1, else -
 *   r N 1            it has rolled back what it asked for
 *   x WORDS          it was told something that may not happen
 *
 * In ran-WORKER.log, by that worker:
 *
 *   b STREAM N EPOCH ID   a run begins
 *   d STREAM N EPOCH ID   it is about to end as done
 *   x WORDS               it saw something that may not happen
 *
 * Where the store's server may be killed too, a producer that is told that the job was not stored, or cannot tell, asks
 * again; but not for a job without an id of ours that may have been stored.
 */
#ifndef TESTS_CRASH_H
#define TESTS_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <neoq.h>

/* A stream numbers its jobs from 0. Payload: "STREAM N". */
enum {
    SINGLES = 4,       /* streams 0..3: one job a call, ids by neoq; deleted when done; never asked for twice */
    BATCHES = SINGLES, /* stream 4: up to 500 a call, ids of ours; kept when done; asked for until stored */
    EXACT,             /* stream 5: enqueued in a transaction of ours, and finished in one */
    STREAMS,
    BATCH_MAX = 500,
    PRODUCERS = 3,
    WORKERS = 2,
    SLOTS = PRODUCERS + WORKERS /* victims: the producers come first */
};

typedef struct plan plan;

/* ---- a kind of store: what differs ------------------------------------------------------ */

/* db is a connection of the caller's, of which each store knows what it is. */
typedef struct crash_store {
    const char *name;   /* as the arguments say it */
    const char *server; /* what the killer does to it, for the report; NULL: there is none */
    bool may_be_away;   /* calls may fail for a while, also after they were done */

    /* The killer's: makes what the victims find, or says why it cannot. url is what they open. */
    bool (*begin)(const plan *p, char *url, size_t size);
    void (*end)(void);
    void (*harm)(unsigned random); /* something bad for the server; NULL where there is none */

    /* A victim's, when it has opened the store: makes our own tables if they are not there yet; NULL: they are. */
    bool (*prepare)(const plan *p);

    /* Transactions of ours; all NULL: there are none, and no jobs of EXACT. */
    void *(*connect)(const plan *p); /* NULL: cannot, at the moment */
    void (*disconnect)(void *db);    /* rolls back; NULL is allowed */
    bool (*run)(void *db, const char *sql);
    const char *(*words)(void *db); /* of the last failure */
    int (*enqueue)(neoq *nq, void *db, const neoq_job *job, char *id);
    int (*finish)(neoq_ctx *ctx, void *db);

    /* Calls each with the number in the first column, or says what is wrong with sql. */
    void (*read)(void *db, const char *sql, void (*each)(int64_t number, void *arg), void *arg);
    /* The store's counts against its rows. last: nobody is at work on it, and time does not matter. */
    void (*check)(const plan *p, bool last);
} crash_store;

extern const crash_store crash_sqlite, crash_postgres, crash_postgres_server, crash_redis, crash_redis_server;

struct plan {
    const crash_store *store;
    char url[400];
    char folder[128]; /* for notes, and for a store's files */
    uint32_t seed;
    uint32_t counts[STREAMS]; /* jobs of each stream */
};

/* jobs in all, shared out among the streams. False: there is no such store. */
bool plan_make(plan *p, const char *store, const char *folder, uint32_t jobs, uint32_t seed);

/* The id of a job of BATCHES. */
void plan_id(const plan *p, uint32_t n, char id[37]);

/* A small number that is always the same for this job. */
uint32_t chance_of(uint32_t stream, uint32_t n);

/* A victim's life. Returns its exit status; 0 for a producer means that its streams are asked for to the end. */
int victim_main(const plan *p, int slot);

/* ---- the checker: each says what is wrong, and returns how much is ------------------------ */

__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);
int check_store(const plan *p, bool last);
/* What the victims wrote down against each other and against the store, all work being done. */
int check_history(const plan *p);

#endif
