/* SPDX-License-Identifier: MIT
 *
 * runtime/runtime.h -- what the files of the runtime share.
 *
 * One mutex, nq->mutex, guards all of struct neoq that is not constant after opening. It is never held over a call to
 * the store, a handler, a callback or the logger. A run goes one way:
 *
 *   store --claim--> queue->local --> running --> nq->finished --settle--> store
 *
 * Threads of a neoq: executors, which run handlers and, between two runs, do the round trips to the store; the ticker,
 * which watches the time; and the heart, which keeps the lease. Whoever has nothing to run does the next useful thing: a round
 * trip if there is something to settle or to claim, waiting in the store if nobody waits there, sleeping otherwise.
 * So a job that arrives at an idle worker is claimed and run by the very thread that the store wakes.
 */
#ifndef NQ_RUNTIME_RUNTIME_H
#define NQ_RUNTIME_RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>

#include <neoq/backend.h>

#include "job/transition.h"

enum {
    NQ_BATCH_MAX = 1024,       /* runs claimed or settled in one round trip */
    NQ_AHEAD_MAX = 2048,       /* runs of a queue claimed and not begun */
    NQ_LANES_MAX = 2,          /* round trips under way at once */
    NQ_PREFETCH_MS = 100,      /* a queue's runs of so long may be claimed ahead */
    NQ_TEND_LIMIT = 1000,      /* lost runs and expired jobs a round */
    NQ_CANCELS_MAX = 64,       /* told in one round trip */
    NQ_HANDLERS_MAX = 1000,    /* queues of one neoq */
    NQ_CONCURRENCY_MAX = 10000 /* of one queue */
};

/* How a run ended; set under nq->mutex by the thread that ended it. */
typedef struct nq_end {
    nq_outcome outcome; /* 0 = has not ended */
    neoq_duration wait;
    char *error; /* owned */
} nq_end;

/* The child processes of a queue with NEOQ_PROCESS, and the place of one of them: children.h. */
typedef struct nq_children nq_children;
typedef struct nq_seat nq_seat;

/* One run of one job, from claim to settlement. */
struct neoq_ctx {
    struct neoq *nq;
    struct nq_queue *queue; /* NULL: another worker's run, settled as lost */
    neoq_claimed claimed;
    struct neoq_ctx *prev, *next; /* in the list that holds it */
    int refs;                     /* nq->mutex: the handler's, and the settlement's */
    int64_t expires;              /* steady; INT64_MAX = never */
    int64_t claimed_at;           /* steady */
    nq_outcome expiry;            /* what its expiry means: NQ_TIMEOUT or NQ_EXPIRED */
    atomic_int *stop; /* why ctx is cancelled: an nq_outcome; 0 = it is not. own_stop, or its child's too */
    atomic_int own_stop;
    atomic_int cancel_fd; /* -1 = not asked for */
    bool abandoned;       /* its end was decided while the handler went on */
    nq_seat *seat;        /* of the child that it runs in; NULL = it runs in a thread */
    int pressed;          /* nq->mutex: steps taken to end it there (children.c) */
    nq_end end;

    /* What the handler said; its thread's alone until the handler returns. */
    nq_end said;
    void *result;
    size_t result_size;
    int exit_code, signal;
    neoq_duration cpu_time;
    int64_t peak_memory;
    bool in_transaction; /* settled in the user's transaction */
};

typedef struct nq_run_list {
    neoq_ctx *head, *tail;
    size_t count;
} nq_run_list;

/* A queue with a handler. */
typedef struct nq_queue {
    struct nq_queue *next;
    neoq_handler handler; /* defaults filled in; queue points to name */
    char name[201];
    nq_children *children; /* NULL: handlers run in threads */
    bool stepped;          /* or in neoq_step() */
    bool away;         /* nobody stepped for so long that its runs went back: not claimed for until somebody does */
    nq_run_list local; /* claimed, not begun */
    int running;       /* begun, not ended or abandoned */
    bool hungry;       /* the store may have jobs that were not asked for yet */
    struct nq_trip *asking; /* the round trip that claims for it: one at a time, so that runs come in order */
    double pass;            /* the least runs next, and rises by 1 / weight (turns.c) */
    int number;             /* in the order of starting */
    size_t turn;            /* its place in nq->turns, from 1; 0 = it is not there */
    int64_t window_start;   /* steady: the rate of runs, measured anew every NQ_PREFETCH_MS */
    int64_t window_runs;
    size_t ahead; /* runs to be claimed beyond the free slots */
} nq_queue;

/* A schedule that this neoq started with neoq_start_cron(). */
typedef struct nq_own_schedule {
    struct nq_own_schedule *next;
    char name[256];
} nq_own_schedule;

typedef enum nq_phase {
    NQ_OPEN = 1,
    NQ_STOPPING, /* takes no jobs; running ones go on */
    NQ_STOPPED,
    NQ_CLOSED /* a handler that was given up still runs */
} nq_phase;

struct neoq {
    const neoq_backend *backend;
    neoq_store *store;
    neoq_options options; /* defaults filled in */
    const neoq_clock *clock;
    bool by_hand;                 /* testing: no threads, the test runs the jobs */
    bool apart;                   /* it stands in for the host's in a child process: it can enqueue (child.c) */
    uint32_t *parent;             /* not 0; a page that a fork() empties in the child */
    atomic_uint_fast64_t counter; /* of ids */
    neoq_observer observer;
    void *observer_arg;

    pthread_mutex_t mutex;
    pthread_cond_t idle;    /* executors sleep here */
    pthread_cond_t ticking; /* the ticker sleeps here */
    pthread_cond_t resting; /* and here the heart, between two beats */
    pthread_cond_t ended;   /* signalled after each round trip, for whoever waits for runs to end */
    nq_phase phase;
    int refs; /* the user's, and one a thread */

    bool strict;      /* weightier queues come first; else they take turns by weight */
    nq_queue *queues; /* as they were started; if strict, the weightiest first */
    nq_queue **turns; /* a heap: queues with a run to begin and a free slot */
    size_t turn_count;
    bool processes;   /* some queue runs its jobs in children */
    double pass;      /* of the queue that had its turn last */
    double step_pass; /* the same of those run by neoq_step() */
    nq_run_list running, finished;
    nq_queue *asks_next;   /* with it the next round trip begins to claim; NULL = the first */
    struct nq_trip *trips; /* as many as there are lanes */
    int lanes;
    int settling;       /* runs in the round trips under way */
    int exchanging;     /* round trips under way */
    uint64_t exchanges; /* those that were ever begun */
    bool waiting;       /* a thread sleeps in the store, or stands in for it */
    bool looking;       /* a thread looks for cancellations now and then, as all slots are taken */
    /* Of a local store, in which nobody needs to wait while all are busy: whether nobody does, and whether whoever
     * changed the store has said so since the last round trip. Read without the mutex. */
    atomic_bool unattended, poked;
    int64_t waiting_until;              /* steady: it does so no later than this */
    int64_t exchange_after;             /* steady: the store failed; not before this */
    int failures;                       /* of round trips in a row */
    int64_t due;                        /* steady: when the store is to be asked again without a hint */
    uint64_t seen;                      /* for the store's wait() */
    int threads, idlers, wakes, strays; /* executors; asleep; woken but not yet up; given up with their run */
    int thread_limit;
    int enders; /* threads that wait for `ended` */

    neoq_worker_info worker;
    bool joined, ticker_runs, heart_runs, tending;
    bool beating;                                              /* a beat is under way */
    int64_t ticker_until, next_beat, next_tend, next_schedule; /* steady */
    int64_t schedules_read;                                    /* steady */
    nq_own_schedule *own_schedules;
    int64_t stop_until; /* steady; of the shutdown under way */
    bool stopper;       /* a thread waits in neoq_shutdown() for the runs to end */
    bool forced;        /* and had to stop some of them */
    int stop_fd;        /* readable once shutdown began; -1 = nobody asked */
    int step_fd;        /* readable while neoq_step() has something to do; -1 = nobody asked */
    bool step_fd_is_up;
};

/* ---- neoq.c ----------------------------------------------------------------------------- */

/* Whether the backend's table goes on to this operation; a table may be older than the library. */
#define NQ_OFFERS(backend, operation)                                                                                \
    ((backend)->size >= offsetof(neoq_backend, operation) + sizeof(backend)->operation &&                            \
     (backend)->operation != NULL)

/* The time by which jobs are enqueued, run and retried: the store's. */
static inline neoq_time nq_now(const neoq *nq)
{
    return NQ_OFFERS(nq->backend, now) ? nq->backend->now(nq->store) : nq->clock->now(nq->clock);
}

/* NEOQ_OK, or why this neoq cannot be used: NULL, or opened by the parent of this process. */
int nq_usable(const neoq *nq);
/* The same of who only wants to enqueue, which a handler in a child process may, too. */
int nq_usable_to_enqueue(const neoq *nq);
/* The backend of a URL, and the options with every default filled in. caller is named in the words of a refusal. */
int nq_look_up(const char *caller, const char *url, const neoq_options *options, const neoq_backend **backend,
               neoq_options *filled);
int nq_open(neoq **out, const char *url, const neoq_options *options, const neoq_clock *clock, bool by_hand);
void nq_ref(neoq *nq);   /* nq->mutex is held */
void nq_unref(neoq *nq); /* nq->mutex is not held; the last one frees */
/* Runs start(nq) in a thread of neoq's own, with all signals blocked. nq->mutex is held; takes a reference. */
int nq_spawn(neoq *nq, void (*start)(neoq *nq));
void nq_wake_all(neoq *nq); /* every sleeper looks again; nq->mutex is not held */

/* ---- enqueue.c -------------------------------------------------------------------------- */

/* nq_job_check() and the id and the fingerprint: what the store takes. id_text and print_text have room. */
int nq_prepare_job(neoq *nq, const neoq_job *job, neoq_time now, char id_text[37], char print_text[33],
                   neoq_job *out);

/* Words for one job's result, in the thread that asked: the store may have made it in another's. Returns its status. */
int nq_enqueued_words(const neoq_job *job, const neoq_enqueued *result);

/* Puts a prepared job where it goes: into the store, or into a transaction of the user's (where). */
typedef int (*nq_put)(neoq *nq, void *where, const neoq_job *job, neoq_enqueued *result);
/* One job: prepares it, puts it, and tells. id may be NULL. */
int nq_enqueue_one(neoq *nq, const neoq_job *job, char *id, nq_put put, void *where);

/* ---- transaction.c: a transaction of the user's, on a connection of his ------------------ */

/* Whether nq can be used, and is open on that store. */
int nq_opened_on(const neoq *nq, const neoq_backend *backend);
/* The store's part: settles the run as done within the transaction. */
typedef int (*nq_finish)(neoq_store *store, void *transaction, const neoq_job *job, neoq_time keep_until,
                         const void *result, size_t result_size);
/* caller is named in the words of a refusal. */
int nq_finish_within(neoq_ctx *ctx, const neoq_backend *backend, const char *caller, nq_finish finish,
                     void *transaction);

/* ---- run.c: one run --------------------------------------------------------------------- */

/* In memory that nq_run_free() frees. */
void nq_run_init(neoq_ctx *ctx, neoq *nq, nq_queue *queue, const neoq_claimed *claimed);
/* Calls the handler in this thread. nq->mutex is not held. Returns what it returned. */
int nq_run_handler(neoq_ctx *ctx);
/* What the handler's return value and words mean. Its thread, after it returned. */
nq_end nq_run_verdict(neoq_ctx *ctx, int returned);
/* Of one whose process was killed by a signal, or ended otherwise before its time; too often, and the job is dead. */
nq_end nq_run_killed_end(neoq_ctx *ctx, int signal);
nq_end nq_run_crash_end(neoq_ctx *ctx, const char *words);
/* Words for an end, which owns them. */
char *nq_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* How a run ends that was stopped for this reason. */
nq_end nq_run_stopped_end(neoq_ctx *ctx, nq_outcome why);
/* Cancels: ctx is told, and its fd becomes readable. First reason wins. nq->mutex is held. */
void nq_run_stop(neoq_ctx *ctx, nq_outcome why);
/* The run whose handler runs in this thread, or in a child that this thread serves; or NULL. */
neoq_ctx *nq_run_current(const neoq *nq);
/* From now on it is this one, or none. Returns which it was. */
neoq_ctx *nq_run_enter(neoq_ctx *ctx);
void nq_run_free(neoq_ctx *ctx);

void nq_list_add(nq_run_list *list, neoq_ctx *ctx);
void nq_list_remove(nq_run_list *list, neoq_ctx *ctx);
void nq_list_splice(nq_run_list *list, nq_run_list *from); /* appends all of from, and empties it */

/* ---- exchange.c: round trips ------------------------------------------------------------ */

/* Whether there is something to settle or to ask for. nq->mutex is held, as for the next three. */
bool nq_exchange_useful(const neoq *nq, int64_t steady);
/* Whether it is worth doing by a thread that could run a job instead: it takes a while, in which others run what is here.
 * Not so in a local store. */
bool nq_exchange_pressing(const neoq *nq, int64_t steady);
bool nq_saturated(const neoq *nq); /* no queue could take a run */
/* One round trip, where a lane is free: settles what finished, claims for whoever is hungry. Drops and retakes
 * nq->mutex. want, if not NULL, is the one queue to claim one job for (testing by hand). */
int nq_exchange(neoq *nq, nq_queue *want);
/* Ends a run that has begun: to be settled as `end` says. Takes over end.error. */
void nq_end_run(neoq_ctx *ctx, nq_end end);
/* The same while its handler goes on, in a thread that no longer counts. */
void nq_give_up(neoq_ctx *ctx, nq_end end);
/* Gives back what the queue claimed and has not begun. */
void nq_release_local(neoq *nq, nq_queue *queue);
/* Gives up what the store did not take before the end: the end of the lease gives those jobs back. */
void nq_drop_finished(neoq *nq);
/* steady: when the oldest round trip under way began; INT64_MAX = none is. nq->mutex is held. */
int64_t nq_exchange_began(const neoq *nq);
int nq_trips_make(neoq *nq);
void nq_trips_free(neoq *nq);

/* ---- turns.c: whose turn it is; nq->mutex is held ---------------------------------------- */

int nq_turns_reserve(neoq *nq, size_t count);    /* room for so many queues */
void nq_turns_update(neoq *nq, nq_queue *queue); /* after a change of what waits or runs there */
nq_queue *nq_turns_first(const neoq *nq);        /* NULL: none may begin a run */
bool nq_turns_before(const neoq *nq, const nq_queue *a, const nq_queue *b);
/* Runs of the queue that may be under way at once now: its concurrency, less what weightier queues take of it. */
int nq_turns_slots(const neoq *nq, const nq_queue *queue);
void nq_turns_take(neoq *nq, nq_queue *queue);       /* it begins a run */
void nq_turns_join(const neoq *nq, nq_queue *queue); /* runs come in: one that had none does not save up its turns */

/* ---- worker.c: queues and executors ----------------------------------------------------- */

void nq_executor(neoq *nq);
/* Runs the handler and takes in what came of it. nq->mutex is held before and after. False: the run was given up
 * meanwhile. */
bool nq_execute(neoq *nq, neoq_ctx *ctx);
/* Sees to it that somebody is up for what there is to do. nq->mutex is held. */
void nq_call_help(neoq *nq);
/* The next run to begin, taken from its queue's local list and begun; NULL = none may begin. nq->mutex is held.
 * queue NULL = any. */
neoq_ctx *nq_begin_next(neoq *nq, nq_queue *queue);
/* The store was changed by this process: sees to it that it is asked, if nobody waits there. Any thread, no mutex. */
void nq_poke(neoq *nq);
nq_queue *nq_find_queue(const neoq *nq, const char *name);
/* neoq_start(), with what is to be done before the queue's first job: if it fails, nothing is started. */
typedef int (*nq_before_start)(neoq *nq, void *arg);
int nq_start(neoq *nq, const neoq_handler *handler, nq_before_start before, void *arg);
void nq_queue_free(nq_queue *queue);
/* Stops the run of this job, if it runs here. nq->mutex is held. */
void nq_stop_running(neoq *nq, const char *id, nq_outcome why);
void nq_worker_lost(neoq *nq); /* drops everything claimed under the lost lease; nq->mutex is held */

/* ---- step.c: runs in the caller's own event loop ------------------------------------------ */

/* After a change of what there is to step: the descriptor says so. nq->mutex is held. */
void nq_step_signal(neoq *nq);

/* ---- heart.c: the lease ------------------------------------------------------------------ */

/* Registers the worker, and starts the heart's and the ticker's threads unless by hand. */
int nq_join(neoq *nq);
/* One beat, which joins anew if the lease was lost. nq->mutex is not held. */
int nq_beat_now(neoq *nq);
neoq_duration nq_beat_interval(const neoq *nq);
void nq_tell_of_loss(const neoq *nq); /* in the log; nq->mutex is not held */

/* ---- ticker.c: time, recovery ------------------------------------------------------------ */

void nq_ticker(neoq *nq);
/* Schedules, recovery, retention: what is due (all of it if `all`). nq->mutex is not held. */
int nq_tend_now(neoq *nq, bool all);
/* Ends runs past their time. nq->mutex is held and may be dropped and retaken. */
void nq_expire_runs(neoq *nq, int64_t steady);

/* ---- schedule.c ------------------------------------------------------------------------- */

/* Enqueues the ticks that are due and sets nq->next_schedule. nq->mutex is not held. */
int nq_tick_schedules(neoq *nq);
/* Something changed in the store: another process's schedule, for all we know, which is looked for soon, though not at
 * each change. nq->mutex is held. */
void nq_hear_of_schedules(neoq *nq);

#endif
