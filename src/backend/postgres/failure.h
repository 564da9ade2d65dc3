/* SPDX-License-Identifier: MIT
 *
 * postgres/failure.h -- what a failure of the server means to neoq.
 *
 * PostgreSQL tells by a five-letter SQLSTATE what went wrong. Functions of ours raise 'NQ0nn' for the neoq_status
 * -nn, with the words that the caller is to see: 'NQ006' is NEOQ_EFULL.
 */
#ifndef NQ_POSTGRES_FAILURE_H
#define NQ_POSTGRES_FAILURE_H

#include "backend/postgres/libpq.h"

#include <neoq/backend.h>

typedef struct pg_failure {
    int status;
    bool broken;     /* the connection is of no more use */
    bool undone;     /* the statement was surely not done, and may be repeated on another connection */
    char state[6];   /* "" = not the server's own words */
    char words[512]; /* in one line, without data */
} pg_failure;

/* Of a statement's result that is a failure; NULL = there was none. */
void pg_failure_read(pg_failure *failure, const PGconn *conn, const PGresult *result);
/* Of a connection that could not be made, where the verbosity is PQERRORS_VERBOSE. */
void pg_failure_connect(pg_failure *failure, const PGconn *conn);
/* No use in trying again soon: a wrong password, no such database, no right. */
bool pg_failure_lasting(const pg_failure *failure);

/* libpq itself found no memory, by its last words. */
bool pg_is_starved(const PGconn *conn);

/* libpq's words in one line. */
void pg_one_line(char *out, size_t room, const char *words);

#endif
