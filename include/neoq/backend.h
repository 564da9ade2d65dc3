/* SPDX-License-Identifier: MIT */
/**
 * @file
 * neoq/backend.h -- what a store offers.
 *
 * A store keeps jobs; the runtime runs them. Between them lies this table of operations, each on a batch.
 * The four stores that come with neoq implement it, and so may yours: fill a neoq_backend, hand it to
 * neoq_register_backend(), and open it by its scheme.
 *
 * Rules that every store keeps, and that the conformance suite checks:
 *  - A run is named by (job id, epoch). Claiming raises the epoch; a settlement that names another epoch, or a
 *    job that is not running, changes nothing and gets NEOQ_ELOST.
 *  - What an operation reports as done is as durable as the store promises to be.
 *  - The decision what becomes of a run is the runtime's (one pure function); the store writes it down. The one
 *    thing a store decides is this: a run whose cancellation was asked for ends dead, whatever was asked.
 *  - At most one unfinished job of a queue has a given fingerprint, among jobs whose `unique` is NEOQ_UNIQUE_ON.
 *  - Every operation may be called from any thread, several at once. Pointers passed in are borrowed for the
 *    call; strings handed to a callback live until it returns.
 *  - Statuses are those of <neoq.h>; words go to neoq_set_error().
 */
#ifndef NEOQ_BACKEND_H
#define NEOQ_BACKEND_H

#include <neoq.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEOQ_BACKEND_VERSION 1 /**< of the table below */

/** The store's own state; each backend defines it. */
typedef struct neoq_store neoq_store;

typedef struct neoq_clock neoq_clock;
/**
 * Clock, randomness and sleep: all that a store or the runtime knows of them comes from this table, so that a test
 * can put a virtual one in its place.
 */
struct neoq_clock {
    neoq_time (*now)(const neoq_clock *clock);   /**< wall time, UTC */
    int64_t (*steady)(const neoq_clock *clock);  /**< microseconds that pass evenly, also while suspended */
    uint64_t (*random)(const neoq_clock *clock); /**< 64 uniform bits */
    /** How many microseconds a sleeper may really sleep towards the steady instant: 0 = it has come,
     * -1 = until somebody wakes it (as a virtual clock does when it is moved). */
    int64_t (*left)(const neoq_clock *clock, int64_t until);
};

/**
 * Sets this thread's neoq_error_message(), for `return neoq_set_error(...)`.
 * @param status  a neoq_status
 * @param format  of printf(): what failed, where, and what to do about it
 * @return status
 */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int neoq_set_error(int status, const char *format, ...);

/** With what a store is opened. */
typedef struct neoq_store_config {
    const char *url;             /**< as given to neoq_open() */
    const neoq_options *options; /**< with every default filled in */
    const neoq_clock *clock;     /**< outlives the store */
} neoq_store_config;

/** A claimed run. */
typedef struct neoq_claimed {
    neoq_job job; /**< a view of memory that the store owns until release() */
    void *hold;   /**< the store's to use */
} neoq_claimed;

/** What becomes of a run, as the runtime decided. */
typedef struct neoq_settlement {
    const char *id;              /**< the job's */
    int64_t epoch;               /**< the run's number */
    void *hold;                  /**< the run's, or NULL: found by id then */
    neoq_state state;            /**< NEOQ_DONE, _DEAD, _RETRYING, _SCHEDULED (snoozed) or _READY (released) */
    bool forget;                 /**< done and not kept: the job and its history are deleted */
    neoq_time run_after;         /**< of _RETRYING and _SCHEDULED */
    neoq_time keep_until;        /**< of _DONE and _DEAD; 0 = for ever */
    neoq_time cancel_keep_until; /**< the same, should it end dead because its cancellation was asked for */
    const char *error;           /**< NULL = the job's error becomes NULL */
    const void *result;          /**< NULL = none */
    size_t result_size;          /**< bytes of it */
    bool slow_down;              /**< back the whole queue off, 100 ms doubling to 60 s; a done run resets it */
    const char *outcome;         /**< the word for the job's history: "failed" (neoq_run_info) */
    neoq_time started_at;        /**< the claim's time or later */
    neoq_time finished_at;       /**< when its handler returned, or was given up */
    int exit_code;               /**< for the history, as are the next three: neoq_run_info */
    int signal;                  /**< 0 = none */
    neoq_duration cpu_time;      /**< 0 = not known */
    int64_t peak_memory;         /**< bytes; 0 = not known */
    /** out: NEOQ_OK; NEOQ_ELOST; or NEOQ_EUNKNOWN: it is not this worker's any more, but an earlier try, whose answer was
     * lost, may have settled it */
    int status;
    bool cancelled; /**< out: it ended dead because its cancellation had been asked for */
} neoq_settlement;

/** What to claim. */
typedef struct neoq_claim {
    const char *queue; /**< of this queue */
    size_t limit;      /**< so many runs at the most */
} neoq_claim;

/**
 * Finished runs go in, new runs come out: one transaction, one round trip. Settlements first.
 */
typedef struct neoq_exchange {
    const char *worker;            /**< id of the claiming worker, which has a lease; NULL = claims nothing */
    neoq_settlement *settlements;  /**< in and out */
    size_t settlement_count;       /**< of them */
    const neoq_claim *claims;      /**< in the order in which they are to be served */
    size_t claim_count;            /**< of them */
    neoq_claimed *runs;            /**< out: room for the sum of all limits */
    size_t run_count;              /**< out: how many are there now */
    char (*cancels)[NEOQ_ID_SIZE]; /**< out: running jobs of this worker to be cancelled; may come more than once */
    size_t cancel_room;            /**< for so many */
    size_t cancel_count;           /**< out: how many are there now */
    neoq_time next_due; /**< out: when the first job of these queues falls due that is not ready now; 0 = none */
    uint64_t seen;      /**< out: for wait() */
} neoq_exchange;

/** A worker tells that it lives. */
typedef struct neoq_beat {
    neoq_worker_info worker; /**< seen_at is the store's to set */
    neoq_duration lease;     /**< from now; 0 = the worker leaves, and has settled or released its runs */
    bool join;               /**< registers a new id */
} neoq_beat;

/** What steer() does to a job. */
typedef enum neoq_action {
    NEOQ_ACTION_RETRY = 1, /**< dead, retrying or scheduled -> ready */
    NEOQ_ACTION_CANCEL,    /**< waiting -> dead; running -> marked for its worker to see */
    NEOQ_ACTION_DELETE     /**< not while running */
} neoq_action;

/** What set_queue() does to a queue. */
typedef enum neoq_queue_action {
    NEOQ_QUEUE_PAUSE = 1, /**< no job of it is claimed */
    NEOQ_QUEUE_RESUME,    /**< they are, again */
    NEOQ_QUEUE_CAPACITY,  /**< value jobs may wait; 0 = no bound, and no queue is made for that */
    NEOQ_QUEUE_REMOVE     /**< with every job of it that is not running; NEOQ_ESTATE if some are */
} neoq_queue_action;

/** A schedule as it is kept. */
typedef struct neoq_schedule_record {
    neoq_schedule_info info; /**< info.queue is the job's queue */
    bool stored;             /**< tended by everybody; else only by the neoqs that started it */
    neoq_job job;            /**< what each tick enqueues */
} neoq_schedule_record;

/** How far a run has come. */
typedef struct neoq_progress {
    int percent;    /**< 0..100 */
    char note[256]; /**< UTF-8 */
    neoq_time at;   /**< when it was set; 0 = never */
} neoq_progress;

/* Callbacks of the listing operations: NEOQ_OK to go on, anything else ends the listing with that status. */
typedef int (*neoq_each_job)(const neoq_job *job, void *arg);               /**< told a job; NEOQ_OK = go on */
typedef int (*neoq_each_run)(const neoq_run_info *run, void *arg);          /**< told a run; NEOQ_OK = go on */
typedef int (*neoq_each_queue)(const neoq_queue_info *queue, void *arg);    /**< told a queue; NEOQ_OK = go on */
typedef int (*neoq_each_worker)(const neoq_worker_info *worker, void *arg); /**< told a worker; NEOQ_OK = go on */
typedef int (*neoq_each_schedule)(const neoq_schedule_record *schedule,
                                  void *arg); /**< told a schedule; NEOQ_OK = go on */

/** The operations of a store. They return a neoq_status where they can fail. */
struct neoq_backend {
    uint32_t version;   /**< NEOQ_BACKEND_VERSION */
    uint32_t size;      /**< sizeof(neoq_backend) */
    const char *scheme; /**< "sqlite": what stands before the first ':' of a URL */
    bool local;         /**< all changes to a store come through the neoq that opened it */

    /** Of neoq_open(). *out is NULL on failure. */
    int (*open)(neoq_store **out, const neoq_store_config *config);
    /** No other operation is under way, and every run was handed to release(). */
    void (*close)(neoq_store *store);

    /** Jobs come checked and complete: id, payload_size, max_retries (-1 or more), unique (ON or OFF), fingerprint
     * (NULL only when OFF), retention. An id that is there already is NEOQ_OK and stores nothing. results has one
     * entry a job; NEOQ_EFULL at once where the queue is at its capacity. */
    int (*enqueue)(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results);

    /** Settles and claims, in one transaction. */
    int (*exchange)(neoq_store *store, neoq_exchange *exchange);
    /** The runtime needs the run's job no more. Each run that was claimed comes here once. */
    void (*release)(neoq_store *store, neoq_claimed *run);

    /** Sleeps until something may have changed since `seen`, until the steady instant, or until wake(). */
    void (*wait)(neoq_store *store, uint64_t seen, int64_t until);
    /** Ends every wait() that is under way. */
    void (*wake)(neoq_store *store);

    /** Joins, renews the lease, or leaves. NEOQ_ELOST: tend() found the lease over and gave the runs away; this id
     * never comes back to life. A lease that is over but was not found so by anybody is renewed. */
    int (*beat)(neoq_store *store, const neoq_beat *beat);

    /** Deletes what retention is over for (at most `limit` jobs), and hands out up to `limit` running jobs whose
     * worker's lease is over, to be settled as lost. */
    int (*tend)(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count);

    /** Tells each job of the filter, in order of id; filter->limit 0 = no limit. */
    int (*find)(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg);
    /** Tells one job. NEOQ_ENOTFOUND. */
    int (*get)(neoq_store *store, const char *id, neoq_each_job each, void *arg);
    /** Tells a job's runs, newest first, 25 at most. NEOQ_ENOTFOUND. */
    int (*runs)(neoq_store *store, const char *id, neoq_each_run each, void *arg);
    /** Steers a job; keep_until is for one that becomes dead. NEOQ_ENOTFOUND, NEOQ_ESTATE, NEOQ_EDUPLICATE. */
    int (*steer)(neoq_store *store, neoq_action action, const char *id, neoq_time keep_until);
    /** Of neoq_purge(). *purged is set on failure, too. */
    int (*purge)(neoq_store *store, const char *queue, neoq_state state, int64_t *purged);

    /** Tells each queue, by name. */
    int (*queues)(neoq_store *store, neoq_each_queue each, void *arg);
    /** Steers a queue; value is of NEOQ_QUEUE_CAPACITY. NEOQ_ENOTFOUND, NEOQ_ESTATE. */
    int (*set_queue)(neoq_store *store, const char *queue, neoq_queue_action action, int64_t value);
    /** Tells each worker whose lease is not over. */
    int (*workers)(neoq_store *store, neoq_each_worker each, void *arg);

    /** Tells each schedule, by name. */
    int (*schedules)(neoq_store *store, neoq_each_schedule each, void *arg);
    /** Puts the schedule; one of the same name and spec and kind keeps its last_at and next_at. */
    int (*set_schedule)(neoq_store *store, const neoq_schedule_record *schedule);
    /** NEOQ_ENOTFOUND. */
    int (*remove_schedule)(neoq_store *store, const char *name);
    /** If the schedule's next_at still is `expected`: moves it to `next`, with last_at = the last tick, and enqueues
     * the jobs, in one transaction. NEOQ_ELOST: somebody else did it. */
    int (*tick)(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
                const neoq_job *jobs, size_t count, neoq_enqueued *results);

    /** Of a running job. NEOQ_ELOST: that is not its epoch, or it does not run. */
    int (*set_progress)(neoq_store *store, const char *id, int64_t epoch, const neoq_progress *progress);
    /** progress->at is 0 where nothing was told. NEOQ_ENOTFOUND. */
    int (*get_progress)(neoq_store *store, const char *id, neoq_progress *progress);

    /* ---- From here on an operation may be NULL, and a table may end before it, as its `size` says. ---- */

    /** Of neoq_migrate(), without a store that is open. each and info are never NULL; info is zeroed. NULL: a store
     * without a schema. */
    int (*migrate)(const neoq_store_config *config, neoq_migration what, neoq_each_line each, void *arg,
                   neoq_schema_info *info);
    /** Of neoq_doctor(), without a store that is open. NULL: nothing more can be said than whether it opens. */
    int (*doctor)(const neoq_store_config *config, neoq_each_finding each, void *arg);

    /** The time by the store's own clock, which every neoq on it shares, however wrong this machine's is. Never blocks.
     * NULL: config->clock is as good. */
    neoq_time (*now)(neoq_store *store);

    /** How many exchange() may be under way at once to good effect; 0 is 1. No queue is claimed from by two of them. */
    uint32_t lanes;

    /** Whether, of the queues of a neoq on this store, those of more weight come first whenever they have jobs, instead
     * of all taking turns by weight. Asked once. NULL: they take turns. */
    bool (*strict)(neoq_store *store);
};

/**
 * The table behind a URL, also of neoq's own stores, for one that stands on another.
 * @param url  as of neoq_open()
 * @return NULL: it has no such scheme
 */
const neoq_backend *neoq_find_backend(const char *url);

/** What every table must have; the operations behind it are optional. */
#define NEOQ_BACKEND_LEAST_SIZE offsetof(neoq_backend, migrate)

#ifdef __cplusplus
}
#endif
#endif
