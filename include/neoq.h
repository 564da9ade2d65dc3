/* SPDX-License-Identifier: MIT
 *
 * neoq.h -- background jobs for C.
 *
 *   #include <neoq.h>
 *   #include <stdio.h>
 *
 *   static int hello(neoq_ctx *ctx, void *arg)
 *   {
 *       const neoq_job *job = neoq_ctx_job(ctx);
 *       (void)arg;
 *       printf("%s: %s\n", job->id, (const char *)job->payload);
 *       return NEOQ_OK;
 *   }
 *
 *   int main(void)
 *   {
 *       neoq *nq;
 *       if (neoq_open(&nq, "sqlite:jobs.db", NULL) != NEOQ_OK)
 *           return 1;
 *       neoq_start(nq, &(neoq_handler){.queue = "hello", .handle = hello, .concurrency = 4});
 *       neoq_enqueue(nq, &(neoq_job){.queue = "hello", .payload = "{\"message\": \"hi\"}"}, NULL);
 *       neoq_drain(nq, NEOQ_SECONDS(10));
 *       neoq_close(nq);
 *       return 0;
 *   }
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

typedef int64_t neoq_time;     /* microseconds since 1970-01-01T00:00:00Z; 0 = not set */
typedef int64_t neoq_duration; /* microseconds */

#define NEOQ_MILLISECONDS(n) ((neoq_duration)(n) * 1000)
#define NEOQ_SECONDS(n)      ((neoq_duration)(n) * 1000000)
#define NEOQ_MINUTES(n)      NEOQ_SECONDS((neoq_duration)(n) * 60)
#define NEOQ_HOURS(n)        NEOQ_MINUTES((neoq_duration)(n) * 60)
#define NEOQ_FOREVER         ((neoq_duration)-1)

neoq_time neoq_now(void);      /* of the machine's clock */

/* ---- status ----------------------------------------------------------------------------- */

typedef enum neoq_status {
    NEOQ_OK = 0,
    NEOQ_EINVAL = -1,       /* an argument or option is malformed; nothing was done */
    NEOQ_ENOMEM = -2,
    NEOQ_EDUPLICATE = -3,   /* a job with this fingerprint is already waiting or running */
    NEOQ_ENOTFOUND = -4,    /* no such job, queue or schedule */
    NEOQ_EEXIST = -5,       /* the queue already has a handler in this neoq */
    NEOQ_EFULL = -6,        /* the queue is at its capacity */
    NEOQ_ETIMEOUT = -7,     /* the time allowed ran out (connection, drain, shutdown) */
    NEOQ_EBACKEND = -8,     /* the store cannot be reached or refused the operation */
    NEOQ_ESCHEMA = -9,      /* the store holds another version's data: migrate first */
    NEOQ_ETOOBIG = -10,     /* payload larger than the limit */
    NEOQ_ESTATE = -11,      /* not possible in the job's or the neoq's present state */
    NEOQ_EUNSUPPORTED = -12,/* this backend cannot do it */
    NEOQ_ELOST = -13,       /* the lease on the job was lost; another worker may have it */
    NEOQ_EFAILED = -14,     /* a handler's own failure: see neoq_fail() and its kin */
    NEOQ_EUNKNOWN = -15     /* the answer was lost: the job may or may not be stored; repeating the same
                               call with the same id is safe and tells. Of stores behind a network, and
                               of a disk that fails at the last moment */
} neoq_status;

const char *neoq_status_name(int status);   /* "NEOQ_EDUPLICATE" */
/* This thread's last failure, in words; never NULL. Success does not clear it. Lives until this thread's next call. */
const char *neoq_error_message(void);

/* ---- jobs ------------------------------------------------------------------------------- */

#define NEOQ_ID_SIZE 128                    /* bytes for a job id in text, with its NUL */

typedef enum neoq_state {
    NEOQ_SCHEDULED = 1,     /* waits for run_after */
    NEOQ_READY,             /* may be run now */
    NEOQ_RUNNING,           /* leased to a worker */
    NEOQ_RETRYING,          /* failed; waits for run_after to be run again */
    NEOQ_DONE,              /* succeeded and was kept (retention) */
    NEOQ_DEAD               /* out of retries, past its deadline, discarded or cancelled */
} neoq_state;

typedef enum neoq_unique {
    NEOQ_UNIQUE_DEFAULT = 0,/* what neoq_options says; that defaults to NEOQ_UNIQUE_ON */
    NEOQ_UNIQUE_ON,         /* no second unfinished job with this queue and fingerprint */
    NEOQ_UNIQUE_OFF
} neoq_unique;

#define NEOQ_NO_RETRIES (-1)

/*
 * A job: what neoq_enqueue() takes and what a handler sees. Fields marked * are set by neoq; neoq_enqueue() does not
 * look at them. Instants may lie between 1970 and 9999.
 */
typedef struct neoq_job {
    const char *id;              /* NULL = made by neoq (UUIDv7); else a UUID of yours, which makes a repeat safe */
    const char *queue;           /* 1..200 bytes of UTF-8 without control characters */
    const void *payload;         /* JSON by convention, any bytes allowed; NUL-terminated on reading */
    size_t payload_size;         /* 0 = payload is a NUL-terminated string */
    const char *fingerprint;     /* 1..256 bytes; NULL = MD5 of queue and payload, in hex, as Go's neoq computes it
                                    (not computed, and NULL on reading, where unique is off) */
    neoq_unique unique;
    neoq_time run_after;         /* 0 = now */
    neoq_time deadline;          /* after it the job is not run (any more), but dead when a worker meets it; 0 = none */
    int priority;                /* 0 = normal, higher runs first */
    int max_retries;             /* 0 = the default (23), NEOQ_NO_RETRIES = none */
    const neoq_duration *retry_waits; /* NULL = exponential backoff; else the wait before each retry, */
    size_t retry_wait_count;     /*        and their count (100 at most) is the number of retries */
    neoq_duration retention;     /* how long to keep the job once it is done; 0 = the option's, NEOQ_FOREVER */
    const char *metadata;        /* a JSON object of at most 64 KiB: trace context, tags; may be NULL */

    neoq_state state;            /* * */
    int retries;                 /* * retries so far: 0 on the first run; snoozes and releases do not count */
    int64_t epoch;               /* * number of this run; with id, a key that makes outside effects idempotent */
    neoq_time created_at;        /* * */
    neoq_time ran_at;            /* * when its last run began; 0 = never */
    neoq_time finished_at;       /* * */
    const char *error;           /* * words of the last failure, or NULL */
    const void *result;          /* * what neoq_set_result() left, NUL-terminated, or NULL */
    size_t result_size;          /* * */
} neoq_job;

/* ---- opening ---------------------------------------------------------------------------- */

typedef struct neoq neoq;        /* one open store, its workers and its schedules */

typedef enum neoq_log_level { NEOQ_LOG_ERROR = 1, NEOQ_LOG_WARN, NEOQ_LOG_INFO, NEOQ_LOG_DEBUG } neoq_log_level;
/* Called from any thread, several at once; message lives until it returns. Payloads are never logged. */
typedef void (*neoq_logger)(neoq_log_level level, const char *message, void *arg);

/* Durations are positive, or NEOQ_FOREVER where it says so. An option that a store has no use for is ignored. */
typedef struct neoq_options {
    neoq_logger log;                    /* NULL = stderr */
    void *log_arg;
    neoq_log_level log_level;           /* 0 = INFO */
    neoq_duration job_check_interval;   /* look for due future jobs where the store cannot wake us; 0 = 1 s */
    neoq_duration poll_interval;        /* look for missed jobs where notification failed; 0 = 10 s */
    neoq_duration lease;                /* a crashed worker's job is run again after this; 0 = 30 s. Renewed, and
                                           others' looked at, six times as often */
    neoq_duration shutdown_timeout;     /* what running jobs get to finish in; 0 = 8 s, NEOQ_FOREVER = all they need */
    neoq_duration connect_timeout;      /* for the store to answer (SQLite: to be let write); 0 = 30 s */
    neoq_duration retention;            /* keep done jobs; 0 = delete at once, NEOQ_FOREVER = keep */
    neoq_duration dead_retention;       /* keep dead jobs, whatever their own retention; 0 = 90 days, NEOQ_FOREVER */
    neoq_duration capacity_wait;        /* wait on a full queue before NEOQ_EFULL; 0 = for ever */
    neoq_unique unique;                 /* of jobs that do not say; 0 = NEOQ_UNIQUE_ON */
    size_t max_payload;                 /* bytes; 0 = 1 MiB, 512 MiB at the most */
    int max_connections;                /* 0 = the backend's default */
    neoq_duration idle_transaction_timeout; /* Postgres; 0 = 30 s */
    bool asynchronous_commit;           /* Postgres, SQLite: faster, may lose the last moments on power loss */
    const char *schema;                 /* Postgres: schema name; Redis: unused. NULL = "neoq" */
} neoq_options;

/*
 * url: "memory:", "sqlite:PATH", "postgres://..." or a libpq DSN ("host=... dbname=..."), or a scheme registered with
 * neoq_register_backend(). Planned, and refused with NEOQ_EINVAL until then: "redis://[user:pw@]host[:port][/db]",
 * "rediss://", "redis+unix://PATH". options may be NULL. *out is the caller's to neoq_close(); it is NULL on failure. Starts no
 * thread. NEOQ_ESCHEMA: the store holds a newer version's jobs, or is another program's, or its schema is not there and
 * may not be made by this role: see neoq_migrate(). Several neoqs may be open on one file, in one process or in many;
 * each "memory:" is a store of its own.
 */
int neoq_open(neoq **out, const char *url, const neoq_options *options);
/*
 * Shuts down as neoq_shutdown(nq, 0) does, and frees. nq may not be in use by another thread. NULL is allowed; in a
 * child of fork() it does nothing, and neither does it from a handler of nq. A handler that never heeded its
 * cancellation keeps its thread, and what that needs.
 */
void neoq_close(neoq *nq);

/* ---- enqueueing ------------------------------------------------------------------------- */

/*
 * Stores the job; when it returns NEOQ_OK the job is as durable as the store makes it. id may be NULL; else it takes
 * NEOQ_ID_SIZE bytes. An id that is stored already is NEOQ_OK and stores nothing.
 *   NEOQ_EDUPLICATE  a job of this queue and fingerprint is unfinished; id holds it
 *   NEOQ_EFULL       the queue was at its capacity for capacity_wait; in a handler, at once
 *   NEOQ_ETOOBIG     payload or metadata
 * It goes on working after neoq_shutdown().
 */
int neoq_enqueue(neoq *nq, const neoq_job *job, char *id);

typedef struct neoq_enqueued { int status; char id[NEOQ_ID_SIZE]; } neoq_enqueued;
/*
 * All jobs in one transaction (Redis: one a queue, in pieces); a duplicate does not stop the others. NEOQ_OK: each
 * job's own answer, as of neoq_enqueue(), is in results, which has one entry a job or is NULL. Otherwise nothing was
 * stored; if a job was malformed, its result is that status, and NEOQ_ESTATE the others'. Jobs for a full queue are not
 * part of the transaction: they go in one by one as there is room.
 */
int neoq_enqueue_many(neoq *nq, const neoq_job *jobs, size_t count, neoq_enqueued *results);

/* ---- handling --------------------------------------------------------------------------- */

typedef struct neoq_ctx neoq_ctx;                         /* one run of one job; lives until its handler returns */
/*
 * NEOQ_OK, or what neoq_fail() and its kin return; any other value is a failure too. Called from threads of neoq's own,
 * as many at once as concurrency says, with all signals blocked. A job may be run more than once.
 */
typedef int (*neoq_handle)(neoq_ctx *ctx, void *arg);
/* Called from the thread that renews the lease: it must not take long. Pointers live until it returns. */
typedef void (*neoq_recover)(const neoq_job *job, const char *error, void *arg);

typedef enum neoq_isolation {
    NEOQ_THREAD = 0,        /* handlers share the process; timeouts are cooperative */
    NEOQ_PROCESS            /* each runs in a child process: a crash costs one run, a timeout kills. Planned:
                               NEOQ_EUNSUPPORTED until then */
} neoq_isolation;

typedef struct neoq_handler {
    const char *queue;
    neoq_handle handle;
    void *arg;
    int concurrency;            /* runs at once, 10,000 at the most; 0 = 50 */
    neoq_duration timeout;      /* of one run; 0 = 30 s, NEOQ_FOREVER = none */
    int64_t capacity;           /* enqueueing waits while so many jobs wait in the queue, for every neoq on the store;
                                   0 = leaves the bound as it is, at first none */
    int weight;                 /* share of this queue among the queues of this neoq, up to 1,000,000; 0 = 1 */
    neoq_isolation isolation;
    neoq_recover on_crash;      /* after a run that exceeded its time was given up */
    neoq_duration kill_after;   /* NEOQ_PROCESS: from SIGTERM to SIGKILL; 0 = 5 s */
    size_t memory_limit;        /* NEOQ_PROCESS: bytes of address space a run may take; 0 = none */
    neoq_duration cpu_limit;    /* NEOQ_PROCESS: processor time of one run; 0 = none */
    int recycle_after;          /* NEOQ_PROCESS: runs before a child is replaced; 0 = 1000 */
} neoq_handler;

/*
 * Runs the jobs of a queue from now on, and makes this neoq a worker: it takes a lease, recovers the jobs of dead
 * workers, and tends the schedules. NEOQ_EEXIST: the queue has a handler here; NEOQ_EFULL: 1,000 queues have;
 * NEOQ_ESTATE: it was shut down.
 */
int neoq_start(neoq *nq, const neoq_handler *handler);
/*
 * Runs handler on a cron schedule: five fields, six with seconds first, or @hourly, @daily, @weekly,
 * @monthly, @yearly, @every DURATION; a leading "TZ=Area/City " or "CRON_TZ=..." sets the zone (UTC
 * otherwise). However many processes start the same schedule on one store, each tick is enqueued once.
 * handler->queue may be NULL: then it is derived from the spec; else it has 195 bytes at the most. Each
 * tick's job has no payload. Where clocks change, a fixed time that is skipped runs once, right after the
 * gap, and one that is repeated runs the first time. NEOQ_EINVAL names the field of a malformed spec;
 * otherwise as neoq_start().
 */
int neoq_start_cron(neoq *nq, const char *spec, const neoq_handler *handler);
/* The first tick after `after`. NEOQ_ENOTFOUND: none within 100 years. Needs no store. */
int neoq_cron_next(const char *spec, neoq_time after, neoq_time *next);

/*
 * Schedules kept in the store: each tick enqueues a copy of job, once, by whichever neoq on the store is tending it
 * (any that has started a handler or called neoq_tend()). A schedule of the same name is replaced. Unless the job sets
 * `unique` or a fingerprint of its own, a tick's job is made even while the job of the tick before is unfinished.
 * Ticks that nobody was there for are made up for: all of the last minute, else the latest of the last hour. name is
 * 1..200 bytes, spec 255 at the most; job may have no id, run_after or deadline (NEOQ_EINVAL).
 */
int neoq_schedule(neoq *nq, const char *name, const char *spec, const neoq_job *job);
int neoq_unschedule(neoq *nq, const char *name);      /* NEOQ_ENOTFOUND; jobs of past ticks stay */
int neoq_tend(neoq *nq);        /* schedules, recovery, retention, without a handler. NEOQ_ESTATE: was shut down */

/*
 * Calls observer after each run that ended here, once the store has written it down: job as it is now (job->state
 * tells what became of it), run as in neoq_runs(). It is called from threads of neoq's own, several at once; both
 * pointers live until it returns. One observer a neoq, set before neoq_start(): NEOQ_ESTATE afterwards. While it runs,
 * other ends wait to be written down: it must not take long. A run whose end was refused (NEOQ_ELOST) is not told.
 */
typedef struct neoq_run_info neoq_run_info;
typedef void (*neoq_observer)(const neoq_job *job, const neoq_run_info *run, void *arg);
int neoq_observe(neoq *nq, neoq_observer observer, void *arg);

/*
 * Waits until the started queues hold nothing runnable: no job ready (in a queue that is not paused), none running
 * here. Jobs whose time has not come, and retries that wait, are not waited for. NEOQ_ETIMEOUT; NEOQ_ESTATE in a
 * handler, and after shutdown. timeout may be NEOQ_FOREVER.
 */
int neoq_drain(neoq *nq, neoq_duration timeout);
/*
 * Takes no more jobs, lets running ones finish for so long (0 = the option's, or NEOQ_FOREVER), then cancels their
 * contexts and gives the jobs back at once, at no cost; a handler that goes on is not waited for. Other neoqs go on.
 *   NEOQ_ETIMEOUT   runs were stopped and given back
 *   NEOQ_EBACKEND   the store did not take the last outcomes within 5 s: those jobs run again after the lease
 * Asked again, from any thread, the earlier of the two times holds; once over, it is NEOQ_OK. From a handler it returns
 * NEOQ_OK at once. Afterwards one may still enqueue, look and steer.
 */
int neoq_shutdown(neoq *nq, neoq_duration timeout);
/*
 * A daemon's main loop: until SIGINT or SIGTERM, or a neoq_shutdown() elsewhere; then neoq_shutdown(nq, 0), and its
 * status. It blocks both signals in the calling thread while it runs: other threads of yours must block them too.
 */
int neoq_run(neoq *nq);

/* These four: any thread, until the handler returns. */
const neoq_job *neoq_ctx_job(const neoq_ctx *ctx);    /* lives as long as ctx */
bool neoq_ctx_cancelled(const neoq_ctx *ctx);         /* timeout, deadline, cancel, lost lease or shutdown */
int neoq_ctx_cancel_fd(neoq_ctx *ctx);                /* becomes readable when cancelled; for poll(). neoq's own: do not
                                                         read or close it. -1: no descriptor was to be had */
neoq_duration neoq_ctx_remaining(const neoq_ctx *ctx);/* to timeout or deadline: 0 = over, NEOQ_FOREVER = neither */

/*
 * Each returns what the handler should return; the last one called counts, and only if the handler does not return
 * NEOQ_OK. These and the neoq_set_...() below: the handler's thread. Words are kept as valid UTF-8, 511 bytes of them.
 * A negative wait is 0.
 */
int neoq_fail(neoq_ctx *ctx, const char *format, ...);                          /* retried by the job's policy */
int neoq_retry_in(neoq_ctx *ctx, neoq_duration wait, const char *format, ...);  /* retried after wait */
int neoq_snooze(neoq_ctx *ctx, neoq_duration wait);                             /* run again later; costs no retry */
int neoq_discard(neoq_ctx *ctx, const char *format, ...);                       /* dead at once */
int neoq_slow_down(neoq_ctx *ctx, const char *format, ...);                     /* fail, and back the whole queue off: 100 ms, doubling to 60 s */

/* Each of the three is NEOQ_ELOST once the run is over without its handler: time to return. */
int neoq_set_progress(neoq_ctx *ctx, int percent, const char *note); /* 0..100; note may be NULL, 255 bytes are kept */
/* Stored when the run ends, with a job that is kept; the last call counts. NEOQ_ETOOBIG above 16 MiB. */
int neoq_set_result(neoq_ctx *ctx, const void *result, size_t size);
/* What a program that the handler ran left behind, for the run's record (neoq_run_info). */
int neoq_set_exit(neoq_ctx *ctx, int exit_code, int signal, neoq_duration cpu_time, int64_t peak_memory);

/* ---- looking and steering --------------------------------------------------------------- */

typedef struct neoq_job_set neoq_job_set;             /* jobs read from a store; owns their memory */
typedef struct neoq_filter {
    const char *queue;          /* NULL = all */
    neoq_state state;           /* 0 = all */
    const char *after_id;       /* page on from this job, which may be gone by now; NULL = from the first */
    size_t limit;               /* 0 = 100 */
} neoq_filter;

/* In order of id, which for ids made by neoq is that of making. filter may be NULL. *out is the caller's to free, and
 * NULL on failure; nothing found is an empty set. */
int neoq_find(neoq *nq, const neoq_filter *filter, neoq_job_set **out);
int neoq_get(neoq *nq, const char *id, neoq_job_set **out);                     /* one job, or NEOQ_ENOTFOUND */
size_t neoq_job_set_count(const neoq_job_set *set);
const neoq_job *neoq_job_set_at(const neoq_job_set *set, size_t i);             /* lives as long as set; NULL beyond */
void neoq_job_set_free(neoq_job_set *set);                                      /* NULL is allowed */

/* NEOQ_ENOTFOUND: no such job; NEOQ_ESTATE: not in the state it is in. */
int neoq_retry_now(neoq *nq, const char *id);         /* dead, retrying or scheduled -> ready. NEOQ_EDUPLICATE: dead,
                                                         and another job with its fingerprint lives */
int neoq_cancel(neoq *nq, const char *id);            /* waiting -> dead; running -> its ctx is cancelled, then dead,
                                                         whatever the handler returns */
int neoq_delete(neoq *nq, const char *id);            /* not while running */

typedef struct neoq_queue_info {
    char name[201];
    bool paused;
    int64_t scheduled, ready, running, retrying, done, dead; /* jobs now */
    int64_t processed, failed;                        /* runs since the store was made, but for snoozes and releases */
    neoq_duration latency;                            /* age of the oldest ready job */
} neoq_queue_info;

/* This and its kin below: *out is the caller's to free(), and not NULL on NEOQ_OK, even if count is 0. */
int neoq_queues(neoq *nq, neoq_queue_info **out, size_t *count);                /* by name */

struct neoq_run_info {                                /* one run of a job */
    int64_t epoch;
    char worker[64];
    neoq_time started_at, finished_at;                /* finished_at 0 = still running */
    char outcome[16];                                 /* done failed snoozed discarded timeout crashed cancelled lost released */
    char error[512];
    int exit_code, signal;                            /* of a process; 0 otherwise */
    neoq_duration cpu_time;
    int64_t peak_memory;                              /* bytes; 0 = not known */
};
int neoq_runs(neoq *nq, const char *id, neoq_run_info **out, size_t *count);    /* newest first, 25 at most */

typedef struct neoq_worker_info {
    char id[64], host[128];
    int pid;
    neoq_time started_at, seen_at;
    int running, capacity;                            /* runs now, runs at the most */
} neoq_worker_info;
int neoq_workers(neoq *nq, neoq_worker_info **out, size_t *count);              /* those that live */

typedef struct neoq_schedule_info {
    char name[201], spec[256], queue[201];
    neoq_time last_at, next_at;
} neoq_schedule_info;
int neoq_schedules(neoq *nq, neoq_schedule_info **out, size_t *count);          /* by name */

/* NEOQ_ENOTFOUND: no job was ever enqueued on this queue. */
int neoq_pause(neoq *nq, const char *queue);          /* running jobs finish, no other begins, on any worker */
int neoq_resume(neoq *nq, const char *queue);
/* Deletes jobs of this state (0 = all but running; NEOQ_RUNNING is NEOQ_ESTATE). purged may be NULL; it is set on
 * failure, too: a large purge is several transactions. */
int neoq_purge(neoq *nq, const char *queue, neoq_state state, int64_t *purged);
/* Forgets the queue with all its jobs and counts. NEOQ_ESTATE while a job of it runs, NEOQ_ENOTFOUND. */
int neoq_remove_queue(neoq *nq, const char *queue);
/* What the running job last told by neoq_set_progress(): percent -1 and an empty note if nothing. note may be NULL. */
int neoq_get_progress(neoq *nq, const char *id, int *percent, char *note, size_t note_size);

/* ---- the store itself ------------------------------------------------------------------- */

typedef enum neoq_migration {
    NEOQ_MIGRATE_STATUS = 1,    /* changes nothing; `info` tells what is there */
    NEOQ_MIGRATE_UP,            /* makes what is missing, or brings it to this library's version */
    NEOQ_MIGRATE_DOWN,          /* one version back; from the first one it removes everything of neoq's.
                                   NEOQ_ESTATE while there are jobs or live workers */
    NEOQ_MIGRATE_DOWN_ANYWAY,   /* the same, jobs or not */
    NEOQ_MIGRATE_PLAN_DOWN,     /* tells what DOWN would remove */
    NEOQ_MIGRATE_PRINT          /* the SQL of UP, for whoever may run it; needs no store that answers */
} neoq_migration;

typedef struct neoq_schema_info {
    int version;                /* of what the store holds; 0 = nothing of neoq's yet */
    int known;                  /* what this library makes; 0 = stores of this kind have no schema */
    int compatible_from;        /* the oldest library that works with what the store holds, by what it knows */
    neoq_time migrated_at;      /* 0 = not recorded */
    int64_t jobs;               /* in any state */
    int workers;                /* that live */
} neoq_schema_info;

typedef void (*neoq_each_line)(const char *line, void *arg); /* without its end; lives until it returns */
/*
 * neoq_open() makes and upgrades the schema by itself where it may. This is for where it may not, or should not: it
 * needs no neoq and no schema. each is told a line at a time what was done (or the SQL) and may be NULL, and so may
 * info, which is of afterwards and is set, as far as it is known, on NEOQ_ESCHEMA and NEOQ_ESTATE, too.
 * NEOQ_ESCHEMA: too new for this library, or another program's; NEOQ_EUNSUPPORTED: nothing to print or to remove.
 */
int neoq_migrate(const char *url, const neoq_options *options, neoq_migration what, neoq_each_line each, void *arg,
                 neoq_schema_info *info);

typedef enum neoq_finding_level { NEOQ_FINDING_OK = 1, NEOQ_FINDING_NOTE, NEOQ_FINDING_BAD } neoq_finding_level;
typedef struct neoq_finding {
    neoq_finding_level level;   /* BAD: jobs may be lost, stand still, or cannot be had at all */
    const char *name;           /* what was looked at: "fsync", "free space"; the same from version to version */
    const char *words;          /* what was found and, unless it is OK, what to do */
} neoq_finding;
typedef void (*neoq_each_finding)(const neoq_finding *finding, void *arg); /* the pointers live until it returns */
/*
 * Checks the store, and changes nothing in it. A store that cannot be reached is a finding, too, and NEOQ_OK: another
 * status is about the call (a malformed URL).
 */
int neoq_doctor(const char *url, const neoq_options *options, neoq_each_finding each, void *arg);

/* ---- extending -------------------------------------------------------------------------- */

typedef struct neoq_backend neoq_backend;             /* the operations a store offers: <neoq/backend.h> */
/* Before neoq_open(); the table must live on. NEOQ_EEXIST: its scheme is taken; NEOQ_EFULL: 16 are registered. */
int neoq_register_backend(const neoq_backend *backend);

const char *neoq_version(void);                       /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif
