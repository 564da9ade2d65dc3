/* SPDX-License-Identifier: MIT
 *
 * libpq's own list of hosts has one weakness: without blocking calls it waits for ever on a host that takes the
 * connection and says nothing. So each host, and each address of its name, is tried by itself with its share of the time.
 */
#include "backend/postgres/dial.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/lookup.h"

enum { SILENCE_S = 3 /* after which an address that says nothing is left for the next */ };

/* ---- waiting ---------------------------------------------------------------------------- */

bool pg_flush(PGconn *conn, const nq_bound *bound)
{
    while (PQflush(conn) == 1) {
        if (!nq_wait_io(PQsocket(conn), POLLIN | POLLOUT, bound))
            return false;
        if (!PQconsumeInput(conn))
            return true;
    }
    return true;
}

/* Waits for something to read. Under TLS the rest of a record may wait in the library, where poll() does not see it:
 * so no wait is long. */
static bool wait_for_input(PGconn *conn, const nq_bound *bound)
{
    nq_bound slice = *bound;
    int64_t soon = nq_steady() + NEOQ_MILLISECONDS(20);
    bool last = !PQsslInUse(conn) || soon >= bound->until;
    if (!last)
        slice.until = soon;
    if (nq_wait_io(PQsocket(conn), POLLIN, &slice))
        return true;
    struct pollfd stop = {.fd = bound->stop_fd, .events = POLLIN};
    return !last && poll(&stop, 1, 0) <= 0;
}

PGresult *pg_next_result(PGconn *conn, const nq_bound *bound, bool *late)
{
    while (PQisBusy(conn)) {
        if (!wait_for_input(conn, bound)) {
            *late = true;
            return NULL;
        }
        if (!PQconsumeInput(conn))
            break; /* what came before the end is still to be read */
    }
    return PQgetResult(conn);
}

bool pg_end_pipeline(PGconn *conn, const nq_bound *bound, bool *late)
{
    /* Without memory to tell that the end came, libpq goes on as if it were to come: but it has more to say then. */
    size_t said = strlen(PQerrorMessage(conn));
    while (PQisBusy(conn)) {
        if (strlen(PQerrorMessage(conn)) > said)
            return false;
        *late = !wait_for_input(conn, bound);
        if (*late)
            return false;
        if (!PQconsumeInput(conn))
            break; /* what came before the end is still to be read */
    }
    PGresult *sync = PQgetResult(conn);
    bool ended = PQresultStatus(sync) == PGRES_PIPELINE_SYNC && PQexitPipelineMode(conn);
    PQclear(sync);
    return ended;
}

bool pg_command(PGconn *conn, const char *sql, const nq_bound *bound, PGresult **row, pg_failure *failure)
{
    PGresult *kept = NULL, *result;
    bool late = false, failed = false;
    if (row)
        *row = NULL;
    if (!PQsendQuery(conn, sql)) {
        pg_failure_read(failure, conn, NULL);
        failure->undone = true;
        return false;
    }
    late = !pg_flush(conn, bound);
    while (!late && (result = pg_next_result(conn, bound, &late)) != NULL) {
        ExecStatusType type = PQresultStatus(result);
        if (failed) {
            PQclear(result);
            continue;
        }
        PQclear(kept);
        kept = result;
        failed = type != PGRES_TUPLES_OK && type != PGRES_COMMAND_OK && type != PGRES_EMPTY_QUERY;
    }
    bool done = !late && !failed && kept;
    if (!done)
        pg_failure_read(failure, conn, kept);
    if (late)
        snprintf(failure->words, sizeof failure->words, "the server did not answer in time");
    if (done && row)
        *row = kept;
    else
        PQclear(kept);
    return done;
}

/* ---- one host --------------------------------------------------------------------------- */

static size_t items(const char *list)
{
    size_t n = list && *list ? 1 : 0;
    for (; list && *list; list++)
        n += *list == ',';
    return n;
}

/* Item n of a list; a list of one stands for all. NULL: it does not fit, or there is none. */
static const char *item(const char *list, size_t n, char *out, size_t room)
{
    if (items(list) <= 1)
        return list;
    for (; n > 0 && *list; list++)
        n -= *list == ',';
    size_t size = strcspn(list, ",");
    if (size >= room)
        return NULL;
    memcpy(out, list, size);
    out[size] = '\0';
    return out;
}

static const char *value_of(const PQconninfoOption *options, const char *name)
{
    for (; options->keyword; options++)
        if (strcmp(options->keyword, name) == 0)
            return options->val;
    return NULL;
}

typedef struct attempt {
    const PQconninfoOption *options;
    const char *database; /* NULL = the options' own */
    const char *attrs;    /* instead of target_session_attrs; NULL = the options' own */
    size_t host;
    const char *address; /* of that host; NULL = the options' own */
} attempt;

static PGconn *start(const attempt *a)
{
    enum { MOST = 64 };
    const char *keywords[MOST + 1] = {NULL}, *values[MOST + 1] = {NULL};
    char parts[3][512];
    static const char *const lists[] = {"host", "hostaddr", "port"};
    size_t count = 0;
    for (const PQconninfoOption *option = a->options; option->keyword && count < MOST; option++) {
        const char *value = option->val;
        if (strcmp(option->keyword, "dbname") == 0 && a->database)
            value = a->database;
        if (strcmp(option->keyword, "target_session_attrs") == 0 && a->attrs)
            value = a->attrs;
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
            if (strcmp(option->keyword, lists[i]) == 0)
                value = item(value, a->host, parts[i], sizeof parts[i]);
        if (strcmp(option->keyword, "hostaddr") == 0 && a->address)
            value = a->address;
        if (!value)
            continue;
        keywords[count] = option->keyword;
        values[count++] = value;
    }
    return PQconnectStartParams(keywords, values, 0);
}

static void be_quiet(void *arg, const PGresult *notice)
{
    (void)arg;
    (void)notice;
}

/* heard_by: when TCP must have got an answer. */
static bool shake_hands(PGconn *conn, const nq_bound *bound, int64_t heard_by)
{
    PostgresPollingStatusType want = PQstatus(conn) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (want == PGRES_POLLING_READING || want == PGRES_POLLING_WRITING) {
        nq_bound limit = *bound;
        if (PQstatus(conn) == CONNECTION_STARTED && heard_by < limit.until)
            limit.until = heard_by;
        if (!nq_wait_io(PQsocket(conn), want == PGRES_POLLING_READING ? POLLIN : POLLOUT, &limit))
            return false;
        want = PQconnectPoll(conn);
    }
    return true;
}

/* Adds the words of one host's failure to those of the others. */
static void add_failure(pg_failure *to, const pg_failure *one)
{
    char words[sizeof to->words];
    snprintf(words, sizeof words, "%.250s%s%.250s", to->words, *to->words ? "; " : "", one->words);
    *to = *one;
    snprintf(to->words, sizeof to->words, "%s", words);
}

static PGconn *dial_one(const attempt *a, const nq_bound *bound, int64_t heard_by, pg_failure *failure)
{
    PGconn *conn = start(a);
    if (!conn) {
        pg_failure_connect(failure, NULL);
        return NULL;
    }
    PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* with the SQLSTATE, which nothing else would tell */
    PQsetNoticeReceiver(conn, be_quiet, NULL);
    bool in_time = shake_hands(conn, bound, heard_by);
    if (in_time && PQstatus(conn) == CONNECTION_OK && PQsetnonblocking(conn, 1) == 0)
        return conn;
    pg_failure_connect(failure, conn);
    if (!in_time) {
        const char *host = PQhost(conn);
        failure->status = NEOQ_ETIMEOUT;
        snprintf(failure->words, sizeof failure->words, "%s:%s did not answer in time",
                 host && *host ? host : "the server", PQport(conn) ? PQport(conn) : "");
    }
    PQfinish(conn);
    return NULL;
}

/* NULL: the options' own address. */
static PGconn *dial_addresses(attempt *a, const struct addrinfo *addresses, const nq_bound *bound,
                              pg_failure *failure)
{
    size_t left = 1;
    for (const struct addrinfo *at = addresses; at && at->ai_next; at = at->ai_next)
        left++;
    for (const struct addrinfo *at = addresses; left > 0; at = at ? at->ai_next : NULL, left--) {
        pg_failure one;
        char text[NI_MAXHOST];
        nq_bound share = nq_share(bound, left);
        bool readable =
            at && getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0;
        a->address = readable ? text : NULL;
        PGconn *conn = dial_one(a, &share, left == 1 ? INT64_MAX : nq_steady() + NEOQ_SECONDS(SILENCE_S), &one);
        a->address = NULL;
        if (conn)
            return conn;
        add_failure(failure, &one);
        if (one.status == NEOQ_ENOMEM || *one.state) /* the server itself has spoken */
            return NULL;
    }
    return NULL;
}

/* ---- all hosts -------------------------------------------------------------------------- */

/* Whether libpq would have to find the host's addresses: it is neither a socket's folder nor has it one given. */
static bool wants_lookup(const char *hostaddr, const char *host)
{
    return !(hostaddr && *hostaddr) && host && *host && *host != '/' && *host != '@';
}

static PGconn *dial_host(attempt *a, const nq_bound *bound, pg_failure *failure)
{
    char room[512];
    struct addrinfo *addresses = NULL;
    const char *host = item(value_of(a->options, "host"), a->host, room, sizeof room);
    if (wants_lookup(value_of(a->options, "hostaddr"), host)) {
        int status = nq_lookup(host, NULL, bound, &addresses);
        if (status != NEOQ_OK) {
            pg_failure unknown = {.status = status, .broken = true, .undone = true};
            snprintf(unknown.words, sizeof unknown.words, "%s", neoq_error_message());
            add_failure(failure, &unknown);
            return NULL;
        }
    }
    PGconn *conn = dial_addresses(a, addresses, bound, failure);
    if (addresses)
        freeaddrinfo(addresses);
    return conn;
}

static PGconn *dial_all(attempt *a, size_t hosts, size_t *first, const nq_bound *bound, pg_failure *failure)
{
    for (size_t n = 0; n < hosts; n++) {
        nq_bound share = nq_share(bound, hosts - n);
        a->host = (*first + n) % hosts;
        PGconn *conn = dial_host(a, &share, failure);
        if (conn) {
            *first = a->host;
            return conn;
        }
        if (failure->status == NEOQ_ENOMEM)
            return NULL;
    }
    return NULL;
}

PGconn *pg_dial(const pg_settings *settings, const char *database, size_t *first, const nq_bound *bound,
                pg_failure *failure)
{
    *failure = (pg_failure){.status = NEOQ_EBACKEND};
    PQconninfoOption *options = PQconninfoParse(settings->conninfo, NULL);
    if (!options) {
        pg_failure_connect(failure, NULL);
        return NULL;
    }
    attempt a = {.options = options, .database = database};
    size_t hosts = items(value_of(options, "host")), addresses = items(value_of(options, "hostaddr"));
    hosts = hosts > addresses ? hosts : addresses;
    if (hosts == 0)
        hosts = 1;
    const char *attrs = value_of(options, "target_session_attrs");
    bool two_rounds = hosts > 1 && attrs && strcmp(attrs, "prefer-standby") == 0;
    size_t from = attrs && strcmp(attrs, "any") == 0 ? 0 : *first % hosts; /* "any": the first that can be had */
    if (two_rounds)
        a.attrs = "standby";
    PGconn *conn = dial_all(&a, hosts, &from, bound, failure);
    if (!conn && two_rounds) {
        a.attrs = "any";
        conn = dial_all(&a, hosts, &from, bound, failure);
    }
    *first = from;
    PQconninfoFree(options);
    return conn;
}
