/* SPDX-License-Identifier: MIT
 *
 * postgres/dial.h -- connecting, sending and reading, each with a bound.
 */
#ifndef NQ_POSTGRES_DIAL_H
#define NQ_POSTGRES_DIAL_H

#include "backend/postgres/libpq.h"

#include "backend/postgres/failure.h"
#include "backend/postgres/url.h"
#include "base/bound.h"

/*
 * Connects, to `database` or where NULL to the settings' own. Of several servers it begins with number *first and
 * sets that to the one that was taken; each gets its share of the time. The connection is non-blocking and says
 * nothing on stderr. NULL: failure tells why; NEOQ_ETIMEOUT when the bound was reached.
 */
PGconn *pg_dial(const pg_settings *settings, const char *database, size_t *first, const nq_bound *bound,
                pg_failure *failure);

/* Sends all that is to be sent; false: the bound was reached before it was. A broken connection shows in reading. */
bool pg_flush(PGconn *conn, const nq_bound *bound);
/* The next result, as PQgetResult(). *late: the bound was reached. */
PGresult *pg_next_result(PGconn *conn, const nq_bound *bound, bool *late);
/* What follows the results of a pipeline; it is left then. False: it did not come, and the connection is of no use. */
bool pg_end_pipeline(PGconn *conn, const nq_bound *bound, bool *late);
/* One command in the simple protocol. False: it failed, as failure tells; *row, which may be NULL, is its result. */
bool pg_command(PGconn *conn, const char *sql, const nq_bound *bound, PGresult **row, pg_failure *failure);

#endif
