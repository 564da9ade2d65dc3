/* SPDX-License-Identifier: MIT */
#include "backend/postgres/failure.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is(const char *state, const char *const *list)
{
    for (; *list; list++)
        if (strncmp(state, *list, strlen(*list)) == 0)
            return true;
    return false;
}

void pg_one_line(char *out, size_t room, const char *words)
{
    size_t n = 0;
    bool gap = false;
    for (const char *at = words ? words : ""; *at && n + 4 < room; at++) {
        if (*at == '\n' || *at == '\t') {
            gap = true;
            continue;
        }
        if (gap && n > 0) {
            out[n++] = ';';
            out[n++] = ' ';
        }
        gap = false;
        out[n++] = *at;
    }
    out[n] = '\0';
}

/* ---- statements ------------------------------------------------------------------------- */

/* The server's main sentence. Detail and context may hold what is in the rows; so may what follows the colon in
 * "invalid input syntax for type uuid: ...". */
static void take_words(pg_failure *failure, const PGconn *conn, const PGresult *result)
{
    const char *primary = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    if (!primary && result)
        primary = PQresultErrorMessage(result);
    if (!primary || !*primary)
        primary = PQerrorMessage(conn);
    if (!*primary)
        primary = "the connection was closed";
    pg_one_line(failure->words, sizeof failure->words, primary);
    char *colon = strncmp(failure->state, "22", 2) == 0 ? strchr(failure->words, ':') : NULL;
    if (colon)
        *colon = '\0';
}

static int status_of(const char *state)
{
    static const char *const schema[] = {"3F000", "42P01", "42883", "42703", "42704", NULL};
    static const char *const input[] = {"22021", "22P02", "22P03", "22P05", "22003", NULL};
    static const char *const unknown[] = {"08007", "40003", NULL};
    if (strncmp(state, "NQ0", 3) == 0)
        return -atoi(state + 3);
    if (is(state, schema))
        return NEOQ_ESCHEMA;
    if (is(state, input))
        return NEOQ_EINVAL;
    if (is(state, unknown))
        return NEOQ_EUNKNOWN;
    return NEOQ_EBACKEND;
}

void pg_failure_read(pg_failure *failure, const PGconn *conn, const PGresult *result)
{
    /* The server refuses all that this connection could ask, and has rolled back. A server that shuts down (57P01) or
     * whose backend crashed (57P02) may have committed just before it said so. */
    static const char *const unusable[] = {"25006", "57P03", "57P04", "25P03", "57P05", NULL};
    *failure = (pg_failure){.status = NEOQ_EUNKNOWN, .broken = true};
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    if (state)
        snprintf(failure->state, sizeof failure->state, "%s", state);
    take_words(failure, conn, result);
    if (!state)
        return;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    bool fatal = severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
    failure->undone = is(state, unusable);
    failure->broken = fatal || failure->undone || PQstatus(conn) != CONNECTION_OK;
    failure->status = fatal && !failure->undone ? NEOQ_EUNKNOWN : status_of(state);
}

bool pg_is_starved(const PGconn *conn)
{
    return strstr(PQerrorMessage(conn), "out of memory") != NULL;
}

/* ---- connecting ------------------------------------------------------------------------- */

/* "FATAL:  3D000: database ..." -> where "3D000: " begins. */
static char *find_state(char *words)
{
    for (char *at = strstr(words, ":  "); at; at = strstr(at + 1, ":  ")) {
        size_t n = 0;
        while (n < 5 && (isdigit((unsigned char)at[3 + n]) || isupper((unsigned char)at[3 + n])))
            n++;
        if (n == 5 && at[8] == ':' && at[9] == ' ')
            return at + 3;
    }
    return NULL;
}

/* "; LOCATION:  InitPostgres, postinit.c:1024": of no use to the user. */
static void drop_location(char *words)
{
    char *source = strstr(words, ".c:");
    while (source && source > words && *source != ';')
        source--;
    if (source && source > words)
        *source = '\0';
}

void pg_failure_connect(pg_failure *failure, const PGconn *conn)
{
    *failure = (pg_failure){.status = NEOQ_EBACKEND, .broken = true, .undone = true};
    if (!conn) {
        failure->status = NEOQ_ENOMEM;
        snprintf(failure->words, sizeof failure->words, "no memory for a connection");
        return;
    }
    pg_one_line(failure->words, sizeof failure->words, PQerrorMessage(conn));
    char *state = find_state(failure->words);
    if (!state && pg_is_starved(conn))
        failure->status = NEOQ_ENOMEM;
    if (state) {
        snprintf(failure->state, sizeof failure->state, "%.5s", state);
        memmove(state, state + 7, strlen(state + 7) + 1);
        drop_location(failure->words);
    }
}

bool pg_failure_lasting(const pg_failure *failure)
{
    static const char *const lasting[] = {"28", "3D000", "42501", NULL};
    return failure->status == NEOQ_EINVAL || failure->status == NEOQ_ENOMEM ||
           (*failure->state && is(failure->state, lasting));
}
