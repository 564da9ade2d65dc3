/* SPDX-License-Identifier: MIT
 *
 * postgres/dial.h -- connecting, and every wait for a socket, with a bound.
 */
#ifndef NQ_POSTGRES_DIAL_H
#define NQ_POSTGRES_DIAL_H

#include "backend/postgres/libpq.h"

#include "backend/postgres/failure.h"
#include "backend/postgres/url.h"

/* Networks know real time alone, whatever clock the store is on. */
typedef struct pg_bound {
    int64_t until; /* steady instant of nq_real_clock; INT64_MAX = none */
    int stop_fd;   /* the wait is over, too, when this becomes readable; -1 = none */
} pg_bound;

int64_t pg_steady(void);
pg_bound pg_within(neoq_duration limit);

/* Waits until the socket is ready for one of the events, or has failed. False: the bound was reached. */
bool pg_wait_io(int fd, short events, const pg_bound *bound);

/*
 * Connects, to `database` or where NULL to the settings' own. Of several servers it begins with number *first and
 * sets that to the one that was taken; each gets its share of the time. The connection is non-blocking and says
 * nothing on stderr. NULL: failure tells why; NEOQ_ETIMEOUT when the bound was reached. (Only looking up a host's
 * name is not bounded by it, but by the resolver's own timeout.)
 */
PGconn *pg_dial(const pg_settings *settings, const char *database, size_t *first, const pg_bound *bound,
                pg_failure *failure);

/* Sends all that is to be sent; false: the bound was reached before it was. A broken connection shows in reading. */
bool pg_flush(PGconn *conn, const pg_bound *bound);
/* The next result, as PQgetResult(). *late: the bound was reached. */
PGresult *pg_next_result(PGconn *conn, const pg_bound *bound, bool *late);
/* One command in the simple protocol. False: it failed, as failure tells; *row, which may be NULL, is its result. */
bool pg_command(PGconn *conn, const char *sql, const pg_bound *bound, PGresult **row, pg_failure *failure);

#endif
