/* SPDX-License-Identifier: MIT
 *
 * runtime/process.h -- NEOQ_PROCESS: what its three kinds of process share. docs/isolation.md tells how it all works.
 *
 *   the host      opened the neoq; its executors hand runs to children, one thread a child   (children.c)
 *   fork server   one a queue; makes children, signals them, lays them to rest               (fork_server.c)
 *   child         runs one job at a time, many in its life                                   (child.c)
 */
#ifndef NQ_RUNTIME_PROCESS_H
#define NQ_RUNTIME_PROCESS_H

#include <sys/types.h>

#include "runtime/runtime.h"
#include "runtime/wire.h"

/* What host and child both see of a child at work. */
typedef struct nq_window {
    atomic_int stop;  /* why the run is to end: an nq_outcome; 0 = it is not */
    atomic_int begun; /* the child has taken the run up; whoever hands the next one over takes it back */
    atomic_int pid;
    char apart[52]; /* a line of the cache each */
} nq_window;

/* ---- messages: to the child, and from it ------------------------------------------------- */

typedef enum nq_word {
    NQ_WORD_RUN = 1,   /* to the child: nq_run_word, and the job */
    NQ_WORD_END,       /* nq_end_word, the error and the result */
    NQ_WORD_ENQUEUE,   /* the jobs; the answer has their results behind it */
    NQ_WORD_PROGRESS,  /* a neoq_progress */
    NQ_WORD_CANCEL_FD, /* nothing; the descriptor comes with the answer */
    NQ_WORD_ANSWER,    /* to the child: nq_answer_word */
    NQ_WORD_GONE,      /* by the fork server, in the child's place: nq_gone_word */
    NQ_WORD_SPAWN,     /* to the fork server: nq_order_word, and the child's end of its socket */
    NQ_WORD_SIGNAL     /* to the fork server: nq_order_word */
} nq_word;

typedef struct nq_run_word {
    neoq_duration remaining;
} nq_run_word;

typedef struct nq_end_word {
    int returned;
    nq_outcome outcome; /* what the handler said; 0 = nothing */
    neoq_duration wait;
    bool has_error, has_result;
    bool leaves_some; /* processes that the run began are still there */
    size_t error_size, result_size;
    int exit_code, signal; /* by neoq_set_exit(), as are the next two unless they are 0 */
    neoq_duration cpu_time;
    int64_t peak_memory;
    neoq_duration cpu_so_far; /* of the child's whole life */
} nq_end_word;

typedef struct nq_answer_word {
    int status;
    char words[1020];
} nq_answer_word;

typedef struct nq_gone_word {
    int error;  /* an errno: it could not be made */
    int status; /* as of wait(2) */
    neoq_duration cpu_so_far;
    int64_t peak_memory;
} nq_gone_word;

typedef struct nq_order_word {
    uint64_t serial; /* of the child: never used twice */
    size_t window;   /* of NQ_WORD_SPAWN: which is the child's */
    int signal;      /* of NQ_WORD_SIGNAL, to its process group */
} nq_order_word;

/* ---- fork_server.c ---------------------------------------------------------------------- */

/* What a fork server and its children need to know, as it is at the moment of the fork. */
typedef struct nq_origin {
    neoq *nq;
    neoq_handler handler;
    nq_window *windows;
} nq_origin;

/* The host's end of a fork server. It ends, with its children, when the last reference is given back. */
typedef struct nq_fork_server {
    int refs; /* its user's to guard */
    int socket, pidfd;
} nq_fork_server;

/* Forks it from this process as it is now. NULL: see neoq_error_message(). */
nq_fork_server *nq_fork_server_start(const nq_origin *origin);
void nq_fork_server_end(nq_fork_server *server);
/* At once, with its children: for one that takes no orders. */
void nq_fork_server_kill(const nq_fork_server *server);
/* Any thread. child is the child's end of its socket. False: the fork server is gone. */
bool nq_fork_server_spawn(const nq_fork_server *server, const nq_order_word *order, int child);
/* Waits for nobody. False: the fork server is gone, or stands still and has no room for one more order. */
bool nq_fork_server_signal(const nq_fork_server *server, const nq_order_word *order);

/* ---- child.c ---------------------------------------------------------------------------- */

/* Of the run in this child: the host's, which is asked for it. -1: there is none. */
int nq_child_cancel_fd(neoq_store *host);
/* The life of a child, in which nothing but `socket` is open. */
_Noreturn void nq_child_live(const nq_origin *origin, nq_window *window, int socket);

/* All but 0 to 2 and these two, of which either may be -1. */
void nq_close_all_but(int first, int second);

#endif
