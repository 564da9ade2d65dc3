/* SPDX-License-Identifier: MIT */
/**
 * @file
 * neoq.h -- background jobs for C.
 *
 *     #include <neoq.h>
 *     #include <stdio.h>
 *
 *     static int hello(neoq_ctx *ctx, void *arg)
 *     {
 *         const neoq_job *job = neoq_ctx_job(ctx);
 *         (void)arg;
 *         printf("%s: %s\n", job->id, (const char *)job->payload);
 *         return NEOQ_OK;
 *     }
 *
 *     int main(void)
 *     {
 *         neoq *nq;
 *         if (neoq_open(&nq, "sqlite:jobs.db", NULL) != NEOQ_OK)
 *             return 1;
 *         neoq_start(nq, &(neoq_handler){.queue = "hello", .handle = hello, .concurrency = 4});
 *         neoq_enqueue(nq, &(neoq_job){.queue = "hello", .payload = "{\"message\": \"hi\"}"}, NULL);
 *         neoq_drain(nq, NEOQ_SECONDS(10));
 *         neoq_close(nq);
 *         return 0;
 *     }
 *
 * Conventions. Every options struct may be zeroed: zero means the documented default. Functions
 * return NEOQ_OK or a negative status, and leave words about it in neoq_error_message(), which is
 * per thread. Strings, payloads and structs passed in are copied before the call returns; what a
 * pointer called arg points to is the caller's, and must live as long as it may be handed back.
 * Out-parameters are set on NEOQ_OK alone, unless it says otherwise. All functions may be called
 * from any thread, and from handlers, unless they say otherwise. Instants are UTC.
 *
 * Not repeated below, because nearly every function may return them: NEOQ_EINVAL (NULL where
 * something is needed, or malformed), NEOQ_ENOMEM, NEOQ_EBACKEND (the store failed; nothing was
 * done), NEOQ_ETIMEOUT (SQLite: another program held the file for longer than connect_timeout;
 * nothing was done), and NEOQ_ESTATE where this process is a fork() of the one that opened it: a
 * child opens a neoq of its own.
 */
#ifndef NEOQ_H
#define NEOQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- time ------------------------------------------------------------------------------- */

typedef int64_t neoq_time;     /**< microseconds since 1970-01-01T00:00:00Z; 0 = not set */
typedef int64_t neoq_duration; /**< microseconds */

#define NEOQ_MILLISECONDS(n) ((neoq_duration)(n) * 1000)              /**< n milliseconds */
#define NEOQ_SECONDS(n)      ((neoq_duration)(n) * 1000000)           /**< n seconds */
#define NEOQ_MINUTES(n)      NEOQ_SECONDS((neoq_duration)(n) * 60)    /**< n minutes */
#define NEOQ_HOURS(n)        NEOQ_MINUTES((neoq_duration)(n) * 60)    /**< n hours */
#define NEOQ_FOREVER         ((neoq_duration)-1)                      /**< where it says that it is possible */

/** The time of the machine's clock. @return never 0 */
neoq_time neoq_now(void);

/* ---- status ----------------------------------------------------------------------------- */

/** What most functions return. */
typedef enum neoq_status {
    NEOQ_OK = 0,            /**< done */
    NEOQ_EINVAL = -1,       /**< an argument or option is malformed; nothing was done */
    NEOQ_ENOMEM = -2,       /**< no memory was to be had */
    NEOQ_EDUPLICATE = -3,   /**< a job with this fingerprint is already waiting or running */
    NEOQ_ENOTFOUND = -4,    /**< no such job, queue or schedule */
    NEOQ_EEXIST = -5,       /**< the queue already has a handler in this neoq */
    NEOQ_EFULL = -6,        /**< the queue is at its capacity */
    NEOQ_ETIMEOUT = -7,     /**< the time allowed ran out (connection, drain, shutdown) */
    NEOQ_EBACKEND = -8,     /**< the store cannot be reached or refused the operation */
    NEOQ_ESCHEMA = -9,      /**< the store holds another version's data: migrate first */
    NEOQ_ETOOBIG = -10,     /**< payload larger than the limit */
    NEOQ_ESTATE = -11,      /**< not possible in the job's or the neoq's present state */
    NEOQ_EUNSUPPORTED = -12,/**< this backend cannot do it */
    NEOQ_ELOST = -13,       /**< the lease on the job was lost; another worker may have it */
    NEOQ_EFAILED = -14,     /**< a handler's own failure: see neoq_fail() and its kin */
    NEOQ_EUNKNOWN = -15     /**< the answer was lost: the job may or may not be stored; repeating the same
                                 call with the same id is safe and tells. Of stores behind a network, and
                                 of a disk that fails at the last moment */
} neoq_status;

/** The name of a status, as "NEOQ_EDUPLICATE". @param status any number @return a constant, never NULL */
const char *neoq_status_name(int status);
/**
 * This thread's last failure, in words. Success does not clear it.
 * @return never NULL; lives until this thread's next call
 */
const char *neoq_error_message(void);

/* ---- jobs ------------------------------------------------------------------------------- */

#define NEOQ_ID_SIZE 128                    /**< bytes for a job id in text, with its NUL */

/** Where a job stands. */
typedef enum neoq_state {
    NEOQ_SCHEDULED = 1,     /**< waits for run_after */
    NEOQ_READY,             /**< may be run now */
    NEOQ_RUNNING,           /**< leased to a worker */
    NEOQ_RETRYING,          /**< failed; waits for run_after to be run again */
    NEOQ_DONE,              /**< succeeded and was kept (retention) */
    NEOQ_DEAD               /**< out of retries, past its deadline, discarded or cancelled */
} neoq_state;

/** Whether a second job of the same fingerprint is refused while the first is unfinished. */
typedef enum neoq_unique {
    NEOQ_UNIQUE_DEFAULT = 0,/**< what neoq_options says; that defaults to NEOQ_UNIQUE_ON */
    NEOQ_UNIQUE_ON,         /**< no second unfinished job with this queue and fingerprint */
    NEOQ_UNIQUE_OFF         /**< as many as you like */
} neoq_unique;

#define NEOQ_NO_RETRIES (-1) /**< for max_retries: the first failure is the last */

/**
 * A job: what neoq_enqueue() takes and what a handler sees. Fields marked * are set by neoq; neoq_enqueue() does not
 * look at them. Instants may lie between 1970 and 9999.
 */
typedef struct neoq_job {
    const char *id;              /**< NULL = made by neoq (UUIDv7); else a UUID of yours, which makes a repeat safe */
    const char *queue;           /**< 1..200 bytes of UTF-8 without control characters */
    const void *payload;         /**< JSON by convention, any bytes allowed; NUL-terminated on reading */
    size_t payload_size;         /**< bytes; 0 = payload is a NUL-terminated string */
    const char *fingerprint;     /**< 1..256 bytes; NULL = MD5 of queue and payload, in hex, as Go's neoq computes it
                                      (not computed, and NULL on reading, where unique is off) */
    neoq_unique unique;          /**< 0 = the option's */
    neoq_time run_after;         /**< 0 = now */
    neoq_time deadline;          /**< after it the job is not run any more, but dead when a worker meets it; 0 = none */
    int priority;                /**< 0 = normal, higher runs first */
    int max_retries;             /**< 0 = the default (23), NEOQ_NO_RETRIES = none */
    const neoq_duration *retry_waits; /**< NULL = exponential backoff; else the wait before each retry, */
    size_t retry_wait_count;     /**<        and their count (100 at most) is the number of retries */
    neoq_duration retention;     /**< how long to keep the job once it is done; 0 = the option's, NEOQ_FOREVER */
    const char *metadata;        /**< a JSON object of at most 64 KiB: trace context, tags; may be NULL */

    neoq_state state;            /**< * where it stands */
    int retries;                 /**< * retries so far: 0 on the first run; snoozes and releases do not count */
    int64_t epoch;               /**< * number of this run; with id, a key that makes outside effects idempotent */
    neoq_time created_at;        /**< * when it was enqueued */
    neoq_time ran_at;            /**< * when its last run began; 0 = never */
    neoq_time finished_at;       /**< * when it was done or dead; 0 = it is neither */
    const char *error;           /**< * words of the last failure, or NULL */
    const void *result;          /**< * what neoq_set_result() left, NUL-terminated, or NULL */
    size_t result_size;          /**< * bytes of it */
} neoq_job;

/* ---- opening ---------------------------------------------------------------------------- */

typedef struct neoq neoq;        /**< one open store, its workers and its schedules */

/** How much it matters. */
typedef enum neoq_log_level {
    NEOQ_LOG_ERROR = 1, /**< jobs stand still, or may be lost */
    NEOQ_LOG_WARN,      /**< something failed, and is tried again */
    NEOQ_LOG_INFO,      /**< what an operator may want to know */
    NEOQ_LOG_DEBUG      /**< what a developer may */
} neoq_log_level;
/** Called from any thread, several at once; message lives until it returns. Payloads are never logged. */
typedef void (*neoq_logger)(neoq_log_level level, const char *message, void *arg);

/** Durations are positive, or NEOQ_FOREVER where it says so. An option that a store has no use for is ignored. */
typedef struct neoq_options {
    neoq_logger log;                    /**< NULL = stderr */
    void *log_arg;                      /**< handed to it */
    neoq_log_level log_level;           /**< what matters less is not logged; 0 = INFO */
    neoq_duration job_check_interval;   /**< look for due future jobs where the store cannot wake us; 0 = 1 s */
    neoq_duration poll_interval;        /**< look for missed jobs where notification failed; 0 = 10 s */
    neoq_duration lease;                /**< a crashed worker's job is run again after this; 0 = 30 s. Renewed, and
                                             others' looked at, six times as often */
    neoq_duration shutdown_timeout;     /**< for running jobs to finish in; 0 = 8 s, NEOQ_FOREVER = all they need */
    neoq_duration connect_timeout;      /**< for the store to answer (SQLite: to be let write); 0 = 30 s */
    neoq_duration retention;            /**< keep done jobs; 0 = delete at once, NEOQ_FOREVER = keep */
    neoq_duration dead_retention;       /**< keep dead jobs, whatever their own retention; 0 = 90 days, NEOQ_FOREVER */
    neoq_duration capacity_wait;        /**< wait on a full queue before NEOQ_EFULL; 0 = for ever */
    neoq_unique unique;                 /**< of jobs that do not say; 0 = NEOQ_UNIQUE_ON */
    size_t max_payload;                 /**< bytes; 0 = 1 MiB, 512 MiB at the most */
    int max_connections;                /**< 0 = the backend's default */
    neoq_duration idle_transaction_timeout; /**< Postgres; 0 = 30 s */
    bool asynchronous_commit;           /**< Postgres, SQLite: faster, may lose the last moments on power loss */
    const char *schema;                 /**< Postgres: schema name; Redis: unused. NULL = "neoq" */
} neoq_options;

/**
 * Opens a store. Starts no thread. Several neoqs may be open on one file, in one process or in many; each "memory:" is
 * a store of its own.
 * @param[out] out  the caller's to neoq_close(); NULL on failure
 * @param url       "memory:", "sqlite:PATH", "postgres://..." or a libpq DSN ("host=... dbname=..."),
 *                  `redis://[user:pw@]host[:port][/db]` (also "rediss://", "redis+unix://PATH", "redis+sentinel://",
 *                  "redis+cluster://"), or a scheme registered with neoq_register_backend()
 * @param options   NULL = the defaults
 * @return NEOQ_ESCHEMA: the store holds a newer version's jobs, or is another program's, or its schema is not there and
 *         may not be made by this role: see neoq_migrate()
 */
int neoq_open(neoq **out, const char *url, const neoq_options *options);
/**
 * Shuts down as neoq_shutdown(nq, 0) does, and frees. In a child of fork() it does nothing, and neither does it from a
 * handler of nq. A handler that never heeded its cancellation keeps its thread, and what that needs.
 * @param nq  not in use by another thread; NULL is allowed
 */
void neoq_close(neoq *nq);

/* ---- enqueueing ------------------------------------------------------------------------- */

/**
 * Stores the job; when it returns NEOQ_OK the job is as durable as the store makes it. An id that is stored already is
 * NEOQ_OK and stores nothing. It goes on working after neoq_shutdown().
 * @param nq,job   the store, and what to store
 * @param[out] id  the job's, or that of its duplicate; NULL, or NEOQ_ID_SIZE bytes
 * @return NEOQ_EDUPLICATE: a job of this queue and fingerprint is unfinished; id holds it.
 *         NEOQ_EFULL: the queue was at its capacity for capacity_wait; in a handler, at once.
 *         NEOQ_ETOOBIG: payload or metadata
 */
int neoq_enqueue(neoq *nq, const neoq_job *job, char *id);

/** What became of one job of neoq_enqueue_many(). */
typedef struct neoq_enqueued {
    int status;            /**< as of neoq_enqueue() */
    char id[NEOQ_ID_SIZE]; /**< as of neoq_enqueue() */
} neoq_enqueued;
/**
 * All jobs in one transaction (Redis: one a queue, in pieces); a duplicate does not stop the others. Jobs for a full
 * queue are not part of the transaction: they go in one by one as there is room.
 * @param nq,jobs,count  the store, and what to store
 * @param[out] results   one entry a job, or NULL
 * @return NEOQ_OK: each job's own answer is in results. Otherwise nothing was stored; if a job was malformed, its
 *         result is that status, and NEOQ_ESTATE the others'
 */
int neoq_enqueue_many(neoq *nq, const neoq_job *jobs, size_t count, neoq_enqueued *results);

/* ---- handling --------------------------------------------------------------------------- */

typedef struct neoq_ctx neoq_ctx;                         /**< one run of one job; lives until its handler returns */
/**
 * A handler. NEOQ_OK, or what neoq_fail() and its kin return; any other value is a failure too. Called from threads of
 * neoq's own, as many at once as concurrency says, with all signals blocked (of NEOQ_STEP: by neoq_step()). A job may
 * be run more than once.
 */
typedef int (*neoq_handle)(neoq_ctx *ctx, void *arg);
/** Called from the thread that renews the lease: it must not take long. Pointers live until it returns. */
typedef void (*neoq_recover)(const neoq_job *job, const char *error, void *arg);

/** Where a handler runs. */
typedef enum neoq_isolation {
    NEOQ_THREAD = 0,        /**< handlers share the process; timeouts are cooperative */
    NEOQ_PROCESS,           /**< each runs in a child process: a crash costs one run, a timeout kills. The children
                                 are copies of the program as it is in neoq_start(): start these queues before
                                 threads of yours. In a handler neoq itself can only enqueue: docs/isolation.md */
    NEOQ_STEP               /**< each runs in a thread of yours, within its neoq_step() */
} neoq_isolation;

/** What runs the jobs of a queue. */
typedef struct neoq_handler {
    const char *queue;          /**< whose jobs it runs */
    neoq_handle handle;         /**< called for each */
    void *arg;                  /**< handed to handle and on_crash */
    int concurrency;            /**< runs at once, 10,000 at the most; 0 = 50, of NEOQ_STEP 1 */
    neoq_duration timeout;      /**< of one run; 0 = 30 s, NEOQ_FOREVER = none */
    int64_t capacity;           /**< enqueueing waits while so many jobs wait in the queue, for every neoq on the
                                     store; 0 = leaves the bound as it is, at first none */
    int weight;                 /**< share of this queue among the queues of this neoq, up to 1,000,000; 0 = 1 */
    neoq_isolation isolation;   /**< 0 = NEOQ_THREAD */
    neoq_recover on_crash;      /**< after a run that crashed, or was given up after its time; in the parent */
    neoq_duration kill_after;   /**< NEOQ_PROCESS: from SIGTERM to SIGKILL; 0 = 5 s */
    size_t memory_limit;        /**< NEOQ_PROCESS: bytes of address space of a run, beyond its child's; 0 = none */
    neoq_duration cpu_limit;    /**< NEOQ_PROCESS: processor time of one run; 0 = none */
    int recycle_after;          /**< NEOQ_PROCESS: runs before a child is replaced; 0 = 1000 */
} neoq_handler;

/**
 * Runs the jobs of a queue from now on, and makes this neoq a worker: it takes a lease, recovers the jobs of dead
 * workers, and tends the schedules.
 * @param nq,handler  the store, and what runs its jobs
 * @return NEOQ_EEXIST: the queue has a handler here; NEOQ_EFULL: 1,000 queues have; NEOQ_ESTATE: it was shut down
 */
int neoq_start(neoq *nq, const neoq_handler *handler);
/**
 * Runs handler on a cron schedule. However many processes start the same schedule on one store, each tick is enqueued
 * once. Each tick's job has no payload. Where clocks change, a fixed time that is skipped runs once, right after the
 * gap, and one that is repeated runs the first time.
 * @param nq       the store
 * @param spec     five fields, six with seconds first, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`,
 *                 `@every DURATION`; a leading "TZ=Area/City " or "CRON_TZ=..." sets the zone (UTC otherwise)
 * @param handler  its queue may be NULL: then it is derived from the spec; else it has 195 bytes at the most
 * @return NEOQ_EINVAL names the field of a malformed spec; otherwise as neoq_start()
 */
int neoq_start_cron(neoq *nq, const char *spec, const neoq_handler *handler);
/**
 * The first tick after an instant. Needs no store.
 * @param spec       as of neoq_start_cron()
 * @param after      the tick is later than this
 * @param[out] next  the tick
 * @return NEOQ_ENOTFOUND: none within 100 years
 */
int neoq_cron_next(const char *spec, neoq_time after, neoq_time *next);
/**
 * The schedule in English, as in "at 02:30, Monday to Friday, Europe/Berlin". Needs no store.
 * @param spec             as of neoq_start_cron()
 * @param[out] words,size  cut to that many bytes with their NUL; 1,000 are enough for any
 * @return NEOQ_EINVAL names the field of a malformed spec
 */
int neoq_cron_describe(const char *spec, char *words, size_t size);

/**
 * Schedules kept in the store: each tick enqueues a copy of job, once, by whichever neoq on the store is tending it
 * (any that has started a handler or called neoq_tend()). A schedule of the same name is replaced. Unless the job sets
 * `unique` or a fingerprint of its own, a tick's job is made even while the job of the tick before is unfinished.
 * Ticks that nobody was there for are made up for: all of the last minute, else the latest of the last hour.
 * @param nq    the store
 * @param name  1..200 bytes
 * @param spec  as of neoq_start_cron(), 255 bytes at the most
 * @param job   may have no id, run_after or deadline
 * @return NEOQ_EINVAL, too, where it has
 */
int neoq_schedule(neoq *nq, const char *name, const char *spec, const neoq_job *job);
/** Removes a schedule; jobs of past ticks stay. @param nq,name the store, and the schedule's @return NEOQ_ENOTFOUND */
int neoq_unschedule(neoq *nq, const char *name);
/** Schedules, recovery, retention, without a handler. @param nq the store @return NEOQ_ESTATE: was shut down */
int neoq_tend(neoq *nq);

typedef struct neoq_run_info neoq_run_info;
/**
 * Told of each run that ended here, once the store has written it down: job as it is now (job->state tells what became
 * of it), run as in neoq_runs(). It is called from threads of neoq's own, several at once; both pointers live until it
 * returns. While it runs, other ends wait to be written down: it must not take long. A run whose end was refused
 * (NEOQ_ELOST), or of whose end nobody knows (its answer and then the lease were lost), is not told.
 */
typedef void (*neoq_observer)(const neoq_job *job, const neoq_run_info *run, void *arg);
/**
 * Sets the observer, one a neoq, before neoq_start().
 * @param nq        the store
 * @param observer  NULL = none
 * @param arg       handed to it
 * @return NEOQ_ESTATE: this neoq works already
 */
int neoq_observe(neoq *nq, neoq_observer observer, void *arg);

/**
 * Waits until the started queues hold nothing runnable: no job ready (in a queue that is not paused), none running
 * here. Jobs whose time has not come, and retries that wait, are not waited for.
 * @param nq       the store
 * @param timeout  may be NEOQ_FOREVER
 * @return NEOQ_ETIMEOUT; NEOQ_ESTATE: in a handler, or after shutdown
 */
int neoq_drain(neoq *nq, neoq_duration timeout);
/**
 * Takes no more jobs, lets running ones finish for so long, then cancels their contexts and gives the jobs back at
 * once, at no cost; a handler that goes on is not waited for. Other neoqs go on. Asked again, from any thread, the
 * earlier of the two times holds; once over, it is NEOQ_OK. From a handler it returns NEOQ_OK at once. Afterwards one
 * may still enqueue, look and steer.
 * @param nq       the store
 * @param timeout  0 = the option's; may be NEOQ_FOREVER
 * @return NEOQ_ETIMEOUT: runs were stopped and given back.
 *         NEOQ_EBACKEND: the store did not take the last outcomes within 5 s: those jobs run again after the lease
 */
int neoq_shutdown(neoq *nq, neoq_duration timeout);
/**
 * A daemon's main loop: until SIGINT or SIGTERM, or a neoq_shutdown() elsewhere; then neoq_shutdown(nq, 0). It blocks
 * both signals in the calling thread while it runs, and takes those that come until it returns: other threads of yours
 * must block them too.
 * @param nq  the store, on which handlers were started
 * @return that of neoq_shutdown()
 */
int neoq_run(neoq *nq);
/**
 * For how long neoq's own threads have been overdue, which renew the lease, wait in the store and make round trips to
 * it: next to 0 while they go their rounds, whatever handlers do. A store that does not answer holds them up for
 * connect_timeout at the most. For watchdogs.
 * @param nq  the store
 * @return 0 after neoq_shutdown(), and where nothing was started
 */
neoq_duration neoq_stalled(neoq *nq);

/**
 * For a program with an event loop of its own. The handlers of queues with NEOQ_STEP are called by neoq_step() alone,
 * in the thread that calls it, with its signals; everything that could keep the loop waiting (the store, the lease,
 * retries, schedules) is done by threads of neoq's own. The loop polls this descriptor, and calls neoq_step() when it
 * is readable:
 *
 *     struct pollfd fds[] = {{.fd = neoq_fd(nq), .events = POLLIN}, ...};
 *     while (poll(fds, n, -1) > 0)
 *         if (fds[0].revents)
 *             neoq_step(nq);
 *
 * A job that nobody steps to for the time of its handler's timeout goes back, for others to take, until somebody
 * steps.
 * @param nq  the store
 * @return readable while neoq_step() has something to do; always the same, and neoq's own: do not read or close it. -1:
 *         no descriptor was to be had
 */
int neoq_fd(neoq *nq);
/**
 * Runs the next job, one. Several threads may call it at once, and a handler, as far as concurrency lets them.
 * @param nq  the store
 * @return NEOQ_OK: its handler was called, whatever came of it; NEOQ_ENOTFOUND: none is ready; NEOQ_ESTATE: shut down
 */
int neoq_step(neoq *nq);

/** @name Of a run: any thread, until its handler returns
 * @{ */
/** The job that is run. @param ctx the run @return lives as long as ctx */
const neoq_job *neoq_ctx_job(const neoq_ctx *ctx);
/** Whether to stop. @param ctx the run @return true: timeout, deadline, cancel, lost lease or shutdown */
bool neoq_ctx_cancelled(const neoq_ctx *ctx);
/**
 * Becomes readable when cancelled; for poll().
 * @param ctx  the run
 * @return neoq's own: do not read or close it; -1: no descriptor was to be had
 */
int neoq_ctx_cancel_fd(neoq_ctx *ctx);
/** The time to timeout or deadline. @param ctx the run @return 0 = over, NEOQ_FOREVER = there is neither */
neoq_duration neoq_ctx_remaining(const neoq_ctx *ctx);
/** @} */

/** @name What becomes of a run: the handler's thread
 * Each returns what the handler should return; the last one called counts, and only if the handler does not return
 * NEOQ_OK. Words are kept as valid UTF-8, 511 bytes of them. A negative wait is 0.
 * @{ */
/** Fails; retried by the job's policy. @param ctx,format the run, and the words @return for the handler to return */
int neoq_fail(neoq_ctx *ctx, const char *format, ...);
/** Fails; retried after wait. @param ctx,wait,format the run, the wait, the words @return for the handler to return */
int neoq_retry_in(neoq_ctx *ctx, neoq_duration wait, const char *format, ...);
/** Run again after wait; costs no retry. @param ctx,wait the run, and how long @return for the handler to return */
int neoq_snooze(neoq_ctx *ctx, neoq_duration wait);
/** Dead at once. @param ctx,format the run, and the words @return for the handler to return */
int neoq_discard(neoq_ctx *ctx, const char *format, ...);
/**
 * Fails, and backs the whole queue off: 100 ms, doubling to 60 s.
 * @param ctx,format  the run, and the words
 * @return for the handler to return
 */
int neoq_slow_down(neoq_ctx *ctx, const char *format, ...);
/** @} */

/** @name What a run tells: the handler's thread
 * Each of the three is NEOQ_ELOST once the run is over without its handler: time to return.
 * @{ */
/**
 * Tells how far the run has come: neoq_get_progress().
 * @param ctx      the run
 * @param percent  0..100
 * @param note     may be NULL, 255 bytes are kept
 * @return NEOQ_ELOST
 */
int neoq_set_progress(neoq_ctx *ctx, int percent, const char *note);
/**
 * Stored when the run ends, with a job that is kept; the last call counts.
 * @param ctx          the run
 * @param result,size  any bytes, copied
 * @return NEOQ_ETOOBIG: above 16 MiB; NEOQ_ELOST
 */
int neoq_set_result(neoq_ctx *ctx, const void *result, size_t size);
/**
 * What a program that the handler ran left behind, for the run's record (neoq_run_info).
 * @param ctx               the run
 * @param exit_code,signal  one of them 0
 * @param cpu_time          of the program's own
 * @param peak_memory       bytes; 0 = not known
 * @return NEOQ_ELOST
 */
int neoq_set_exit(neoq_ctx *ctx, int exit_code, int signal, neoq_duration cpu_time, int64_t peak_memory);
/** @} */

/* ---- looking and steering --------------------------------------------------------------- */

typedef struct neoq_job_set neoq_job_set;             /**< jobs read from a store; owns their memory */
/** Which jobs. */
typedef struct neoq_filter {
    const char *queue;          /**< NULL = all */
    neoq_state state;           /**< 0 = all */
    const char *after_id;       /**< page on from this job, which may be gone by now; NULL = from the first */
    size_t limit;               /**< 0 = 100 */
} neoq_filter;

/**
 * Reads jobs in order of id, which for ids made by neoq is that of making.
 * @param nq        the store
 * @param filter    NULL = the first 100 of all
 * @param[out] out  the caller's to neoq_job_set_free(); NULL on failure
 * @return nothing found is NEOQ_OK and an empty set
 */
int neoq_find(neoq *nq, const neoq_filter *filter, neoq_job_set **out);
/** Reads one job. @param nq,id the store, and the job's @param[out] out as of neoq_find() @return NEOQ_ENOTFOUND */
int neoq_get(neoq *nq, const char *id, neoq_job_set **out);
/** How many. @param set may be NULL: none @return jobs in it */
size_t neoq_job_set_count(const neoq_job_set *set);
/** One of them. @param set,i from 0 on @return lives as long as set; NULL beyond the last */
const neoq_job *neoq_job_set_at(const neoq_job_set *set, size_t i);
/** Frees it, and the jobs in it. @param set NULL is allowed */
void neoq_job_set_free(neoq_job_set *set);

/** @name Steering a job
 * NEOQ_ENOTFOUND: no such job; NEOQ_ESTATE: not in the state it is in.
 * @{ */
/**
 * Dead, retrying or scheduled -> ready.
 * @param nq,id  the store, and the job's
 * @return NEOQ_EDUPLICATE: dead, and another job with its fingerprint lives; NEOQ_ENOTFOUND; NEOQ_ESTATE
 */
int neoq_retry_now(neoq *nq, const char *id);
/**
 * Waiting -> dead; running -> its ctx is cancelled, then dead, whatever the handler returns.
 * @param nq,id  the store, and the job's
 * @return NEOQ_ENOTFOUND; NEOQ_ESTATE: done or dead
 */
int neoq_cancel(neoq *nq, const char *id);
/** Not while running. @param nq,id the store, and the job's @return NEOQ_ENOTFOUND; NEOQ_ESTATE: it runs */
int neoq_delete(neoq *nq, const char *id);
/** @} */

/** A queue, as neoq_queues() tells. */
typedef struct neoq_queue_info {
    char name[201];                                   /**< UTF-8 */
    bool paused;                                      /**< neoq_pause() */
    int64_t scheduled;                                /**< jobs now, as all five that follow */
    int64_t ready;                                    /**< may be run, unless the queue is paused */
    int64_t running;                                  /**< leased to a worker */
    int64_t retrying;                                 /**< failed, and to be run again */
    int64_t done;                                     /**< kept */
    int64_t dead;                                     /**< kept */
    int64_t processed;                                /**< runs so far, but for snoozes and releases */
    int64_t failed;                                   /**< those of them that failed */
    neoq_duration latency;                            /**< age of the oldest ready job */
} neoq_queue_info;

/* Of this and its kin below, *out is the caller's to free(), and not NULL on NEOQ_OK, even if count is 0. */
/** All queues, by name. @param nq the store @param[out] out,count the caller's to free(); how many @return a status */
int neoq_queues(neoq *nq, neoq_queue_info **out, size_t *count);

/** One run of a job, as neoq_runs() and the observer tell. */
struct neoq_run_info {
    int64_t epoch;                                    /**< its number */
    char worker[64];                                  /**< as neoq_worker_info.id */
    neoq_time started_at;                             /**< when it began */
    neoq_time finished_at;                            /**< 0 = still running */
    char outcome[16];                                 /**< done failed snoozed discarded timeout crashed cancelled lost
                                                           released */
    char error[512];                                  /**< words; "" = none */
    int exit_code;                                    /**< of a process; 0 otherwise */
    int signal;                                       /**< that ended a process; 0 otherwise */
    neoq_duration cpu_time;                           /**< of a process; 0 otherwise */
    int64_t peak_memory;                              /**< bytes; 0 = not known */
};
/**
 * A job's runs, newest first, 25 at most.
 * @param nq,id           the store, and the job's
 * @param[out] out,count  the caller's to free(), and how many
 * @return NEOQ_ENOTFOUND
 */
int neoq_runs(neoq *nq, const char *id, neoq_run_info **out, size_t *count);

/** A worker, as neoq_workers() tells. */
typedef struct neoq_worker_info {
    char id[64];                                      /**< made by neoq */
    char host[128];                                   /**< its machine */
    int pid;                                          /**< its process there */
    neoq_time started_at;                             /**< when it began */
    neoq_time seen_at;                                /**< when it last renewed its lease */
    int running;                                      /**< runs now */
    int capacity;                                     /**< runs at the most */
} neoq_worker_info;
/** Those that live. @param nq the store @param[out] out,count the caller's to free(); how many @return a status */
int neoq_workers(neoq *nq, neoq_worker_info **out, size_t *count);

/** A schedule, as neoq_schedules() tells. */
typedef struct neoq_schedule_info {
    char name[201];                                   /**< UTF-8 */
    char spec[256];                                   /**< as of neoq_start_cron() */
    char queue[201];                                  /**< of the job that each tick enqueues */
    neoq_time last_at;                                /**< its last tick; 0 = none yet */
    neoq_time next_at;                                /**< its next */
} neoq_schedule_info;
/** All of them, by name. @param nq the store @param[out] out,count the caller's to free(); how many @return a status */
int neoq_schedules(neoq *nq, neoq_schedule_info **out, size_t *count);

/** @name Steering a queue
 * NEOQ_ENOTFOUND: no job was ever enqueued on this queue.
 * @{ */
/** Running jobs finish, no other begins, on any worker. @param nq,queue the store, and which @return NEOQ_ENOTFOUND */
int neoq_pause(neoq *nq, const char *queue);
/** Ends a pause. @param nq,queue the store, and which @return NEOQ_ENOTFOUND */
int neoq_resume(neoq *nq, const char *queue);
/**
 * Deletes jobs of a queue.
 * @param nq,queue     the store, and which
 * @param state        those in it; 0 = all but running
 * @param[out] purged  how many; may be NULL. Set on failure, too: a large purge is several transactions
 * @return NEOQ_ENOTFOUND; NEOQ_ESTATE: state is NEOQ_RUNNING
 */
int neoq_purge(neoq *nq, const char *queue, neoq_state state, int64_t *purged);
/**
 * Forgets the queue with all its jobs and counts.
 * @param nq,queue  the store, and which
 * @return NEOQ_ESTATE: a job of it runs; NEOQ_ENOTFOUND
 */
int neoq_remove_queue(neoq *nq, const char *queue);
/** @} */
/**
 * What the running job last told by neoq_set_progress().
 * @param nq,id               the store, and the job's
 * @param[out] percent        0..100; -1 if it told nothing
 * @param[out] note,note_size its words, cut to that many bytes with their NUL; NULL, or room for them
 * @return NEOQ_ENOTFOUND
 */
int neoq_get_progress(neoq *nq, const char *id, int *percent, char *note, size_t note_size);

/* ---- the store itself ------------------------------------------------------------------- */

/** What neoq_migrate() is to do. */
typedef enum neoq_migration {
    NEOQ_MIGRATE_STATUS = 1,    /**< changes nothing; `info` tells what is there */
    NEOQ_MIGRATE_UP,            /**< makes what is missing, or brings it to this library's version */
    NEOQ_MIGRATE_DOWN,          /**< one version back; from the first one it removes everything of neoq's.
                                     NEOQ_ESTATE while there are jobs or live workers */
    NEOQ_MIGRATE_DOWN_ANYWAY,   /**< the same, jobs or not */
    NEOQ_MIGRATE_PLAN_DOWN,     /**< tells what DOWN would remove */
    NEOQ_MIGRATE_PRINT          /**< the SQL of UP, for whoever may run it; needs no store that answers */
} neoq_migration;

/** What a store holds. */
typedef struct neoq_schema_info {
    int version;                /**< of what the store holds; 0 = nothing of neoq's yet */
    int known;                  /**< what this library makes; 0 = stores of this kind have no schema */
    int compatible_from;        /**< the oldest library that works with what the store holds, by what it knows */
    neoq_time migrated_at;      /**< 0 = not recorded */
    int64_t jobs;               /**< in any state */
    int workers;                /**< that live */
} neoq_schema_info;

/** Told a line, without its end; it lives until the callback returns. */
typedef void (*neoq_each_line)(const char *line, void *arg);
/**
 * neoq_open() makes and upgrades the schema by itself where it may. This is for where it may not, or should not: it
 * needs no neoq and no schema.
 * @param url,options  as of neoq_open()
 * @param what         to do
 * @param each,arg     told a line at a time what was done, or the SQL; may be NULL
 * @param[out] info    of afterwards; may be NULL. Set, as far as it is known, on NEOQ_ESCHEMA and NEOQ_ESTATE, too
 * @return NEOQ_ESCHEMA: too new for this library, or another program's; NEOQ_EUNSUPPORTED: nothing to print or to
 *         remove; NEOQ_ESTATE: see NEOQ_MIGRATE_DOWN
 */
int neoq_migrate(const char *url, const neoq_options *options, neoq_migration what, neoq_each_line each, void *arg,
                 neoq_schema_info *info);

/** How bad a finding is. */
typedef enum neoq_finding_level {
    NEOQ_FINDING_OK = 1, /**< as it should be */
    NEOQ_FINDING_NOTE,   /**< worth knowing */
    NEOQ_FINDING_BAD     /**< jobs may be lost, stand still, or cannot be had at all */
} neoq_finding_level;
/** What neoq_doctor() found. */
typedef struct neoq_finding {
    neoq_finding_level level;   /**< how bad */
    const char *name;           /**< what was looked at: "fsync", "free space"; the same from version to version */
    const char *words;          /**< what was found and, unless it is OK, what to do */
} neoq_finding;
/** Told a finding; the pointers live until it returns. */
typedef void (*neoq_each_finding)(const neoq_finding *finding, void *arg);
/**
 * Checks the store, and changes nothing in it.
 * @param url,options  as of neoq_open()
 * @param each,arg     told each finding
 * @return a store that cannot be reached is a finding, too, and NEOQ_OK: another status is about the call (a malformed
 *         URL)
 */
int neoq_doctor(const char *url, const neoq_options *options, neoq_each_finding each, void *arg);

/* ---- extending -------------------------------------------------------------------------- */

typedef struct neoq_backend neoq_backend;             /**< the operations a store offers: neoq/backend.h */
/**
 * Adds a kind of store, before neoq_open().
 * @param backend  the table; it must live on
 * @return NEOQ_EEXIST: its scheme is taken; NEOQ_EFULL: 16 are registered
 */
int neoq_register_backend(const neoq_backend *backend);

/** The library's version. @return "0.1.0" */
const char *neoq_version(void);

#ifdef __cplusplus
}
#endif
#endif
