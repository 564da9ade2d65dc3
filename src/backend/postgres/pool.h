/* SPDX-License-Identifier: MIT
 *
 * postgres/pool.h -- the connections of a store.
 *
 * They are made when they are needed, up to max_conns. When none can be had, one caller at a time tries, with growing
 * and jittered pauses (50 ms to 2 s), so that a server that comes back is not stormed. The log has one line when
 * connections are not to be had any more and one when they are again.
 */
#ifndef NQ_POSTGRES_POOL_H
#define NQ_POSTGRES_POOL_H

#include "backend/postgres/connection.h"
#include "backend/postgres/url.h"

typedef struct pg_pool pg_pool;

/* Connects once, so that an unreachable server or a wrong password is told at once; creates the database where it
 * does not exist and the role may. settings, log and clock are borrowed until pg_pool_close(). */
int pg_pool_open(pg_pool **out, const pg_settings *settings, const neoq_options *options, const neoq_clock *clock);
void pg_pool_close(pg_pool *pool); /* NULL is allowed; every connection was given back */

/* Takes a connection that works, or waits for one up to the connect timeout; connects anew where one broke, no faster
 * than its backoff (with jitter) allows. NEOQ_ETIMEOUT; NEOQ_EBACKEND at once where waiting would not help (a wrong
 * password). */
int pg_pool_take(pg_pool *pool, pg_conn **conn);
void pg_pool_give(pg_pool *pool, pg_conn *conn); /* a broken one is closed here */

/* Take, run, give. A statement that was not sent, or whose repetition is harmless (`again`), is tried once more on
 * another connection within the call's deadline when its connection turned out broken. */
int pg_pool_run(pg_pool *pool, const pg_statement *statement, const pg_params *params, bool again, PGresult **rows);

/* The same, but waits no longer than patience for a connection: for who tries again anyway, and must not be held up
 * by a server that is away (a worker that is to end). */
int pg_pool_run_within(pg_pool *pool, neoq_duration patience, const pg_statement *statement, const pg_params *params,
                       bool again, PGresult **rows);

/* The same of what may be repeated, but where all connections are taken it has one more, which is closed again: for the
 * beat, which no load is to hold up. */
int pg_pool_run_urgently(pg_pool *pool, const pg_statement *statement, const pg_params *params, PGresult **rows);

/* What the status of a statement that only reads comes to: an answer that was lost is a mere failure, NEOQ_EBACKEND. */
int pg_only_read(int status);

/* The server's time by this pool's reckoning. */
neoq_time pg_pool_now(pg_pool *pool);

/* Whether a transaction pooler stands between; once true, it stays so. */
bool pg_pool_is_pooled(const pg_pool *pool);

/* Closes what has been idle or open for too long, and opens up to min_conns; does nothing until the next period.
 * pg_pool_give() sees to it, too. */
void pg_pool_tend(pg_pool *pool);

#endif
