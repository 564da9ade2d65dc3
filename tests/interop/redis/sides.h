/* SPDX-License-Identifier: MIT
 *
 * One Redis, and two sides that work on the queue "work" there: a neoq of this program, and real asynq, which
 * `asynq_version` names. All functions assert success.
 */
#ifndef TESTS_INTEROP_SIDES_H
#define TESTS_INTEROP_SIDES_H

#include "interop/redis/peer.h"
#include "support/recorder.h"
#include "support/store.h"

#define ID "3f2b6c1e-8d4a-4f6b-9c2d-1a2b3c4d5e6f"

/* A Go program's name; sides_main() sets it. */
extern const char *asynq_version;

neoq *open_here(store *s);
neoq *work_here(store *s, recorder *r); /* ... which handles the queue */

/* The payload is the state that the job shall come to: "retry", "archived", "active" while the gate `held` is closed;
 * any other is done with the result "found". */
int by_payload(neoq_ctx *ctx, void *held);

/* An asynq server on the queue that does with tasks of the type "work" as `how` says. */
peer work_there(store *s, const char *how);
/* Enqueues there a task of the type "work": more are further members, "" or ",\"retry\":3". Gives its words of refusal,
 * or "". */
const char *try_there(store *s, const char *id, const char *more);
void enqueue_there(store *s, const char *more); /* the job ID, which is not refused */
void tell_there(store *s, const char *subcommand, const char *argument, const char *id);

/* What asynq's inspector, whose answer `all` is, lists of the job in this state; NULL = nothing. */
json_t *find_listed(json_t *all, const char *state, const char *id);
json_t *listed(store *s, const char *state, const char *id); /* asks it; to be freed */
void assert_listed(store *s, const char *state, const char *id, const char *error);
json_t *expect_of(peer *p, const char *event, const char *id); /* the next event of its kind, which is that job's */

/* The main() of a program PROGRAM VERSION [PATTERN]: 0 = the tests may run; else what it ends with. */
int sides_begin(int argc, char **argv);

#endif
