/* SPDX-License-Identifier: MIT
 *
 * The server: what it loses, what it cannot clean up, how many it lets in.
 */
#include "backend/postgres/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { OLDEST_SERVER = 130000, HORIZON_MINUTES = 5 };

void pg_tell(const pg_examination *x, neoq_finding_level level, const char *name, const char *format, ...)
{
    char words[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    x->each(&(neoq_finding){.level = level, .name = name, .words = words}, x->arg);
}

PGresult *pg_ask(pg_examination *x, const char *name, const char *sql)
{
    PGresult *rows = NULL;
    if (pg_session_run(&x->session, NEOQ_SECONDS(30), sql, &rows) == NEOQ_OK)
        return rows;
    pg_tell(x, NEOQ_FINDING_NOTE, name, "cannot be told: %s", x->session.failure.words);
    return NULL;
}

/* ---- what it is, and what it loses ------------------------------------------------------ */

static void check_version(pg_examination *x)
{
    int version = PQserverVersion(x->session.handle);
    const char *words = PQparameterStatus(x->session.handle, "server_version");
    if (version < OLDEST_SERVER)
        pg_tell(x, NEOQ_FINDING_BAD, "version", "PostgreSQL %s: neoq needs %d or later", words ? words : "?",
                OLDEST_SERVER / 10000);
    else
        pg_tell(x, NEOQ_FINDING_OK, "version", "PostgreSQL %s", words ? words : "?");
}

static void check_writable(pg_examination *x)
{
    PGresult *rows = pg_ask(x, "writable", "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')");
    if (!rows)
        return;
    if (*pg_text_at(rows, 0, 0) == 't')
        pg_tell(x, NEOQ_FINDING_BAD, "writable",
                "the server is a standby: name the others in the URL, too, and the writable one is found");
    else if (strcmp(pg_text_at(rows, 0, 1), "on") == 0)
        pg_tell(x, NEOQ_FINDING_BAD, "writable",
                "transactions are read-only here: set default_transaction_read_only = off for this role or database");
    else
        pg_tell(x, NEOQ_FINDING_OK, "writable", "yes");
    PQclear(rows);
}

static void check_durable_setting(pg_examination *x, const char *name, const char *value, const char *danger)
{
    if (strcmp(value, "on") == 0)
        pg_tell(x, NEOQ_FINDING_OK, name, "on");
    else
        pg_tell(x, NEOQ_FINDING_BAD, name, "%s: %s; set it to on", value, danger);
}

static void check_commit(pg_examination *x, const char *value, const char *source)
{
    if (x->settings->asynchronous_commit)
        pg_tell(x, NEOQ_FINDING_NOTE, "synchronous_commit",
                "neoq sets it off for its own transactions, by the option asynchronous_commit: a crash of the server "
                "may take the last moments; the server's is %s",
                value);
    else if (strcmp(value, "off") == 0)
        pg_tell(x, NEOQ_FINDING_BAD, "synchronous_commit",
                "off (%s): a crash of the server takes jobs that were acknowledged; set it to on, for this role or "
                "database at the least",
                source);
    else
        pg_tell(x, NEOQ_FINDING_OK, "synchronous_commit", "%s", value);
}

static void check_durability(pg_examination *x)
{
    PGresult *rows = pg_ask(x, "fsync",
                            "SELECT current_setting('fsync'), current_setting('full_page_writes'),"
                            " current_setting('synchronous_commit'),"
                            " (SELECT source FROM pg_settings WHERE name = 'synchronous_commit'),"
                            " current_setting('autovacuum'), current_setting('track_counts'),"
                            " current_setting('server_encoding')");
    if (!rows)
        return;
    check_durable_setting(x, "fsync", pg_text_at(rows, 0, 0),
                          "a power cut may lose jobs that were acknowledged, or the whole database");
    check_durable_setting(x, "full_page_writes", pg_text_at(rows, 0, 1),
                          "a power cut may damage pages that were being written");
    check_commit(x, pg_text_at(rows, 0, 2), pg_text_at(rows, 0, 3));
    if (strcmp(pg_text_at(rows, 0, 4), "on") != 0 || strcmp(pg_text_at(rows, 0, 5), "on") != 0)
        pg_tell(x, NEOQ_FINDING_BAD, "autovacuum",
                "off: the tables grow and slow down for ever; set autovacuum and track_counts to on");
    else
        pg_tell(x, NEOQ_FINDING_OK, "autovacuum", "on");
    const char *encoding = pg_text_at(rows, 0, 6);
    if (strcmp(encoding, "UTF8") == 0)
        pg_tell(x, NEOQ_FINDING_OK, "encoding", "UTF8");
    else
        pg_tell(x, NEOQ_FINDING_NOTE, "encoding",
                "%s: text that it lacks (in queue names, fingerprints, errors) is refused; payloads may be any bytes",
                encoding);
    PQclear(rows);
}

/* ---- what holds back the vacuum --------------------------------------------------------- */

/* Appends ", text" where there is room. */
static void add_item(char *list, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void add_item(char *list, size_t size, const char *format, ...)
{
    size_t used = strlen(list);
    va_list args;
    if (used > 0)
        used += (size_t)snprintf(list + used, size - used, "; ");
    if (used >= size)
        return;
    va_start(args, format);
    vsnprintf(list + used, size - used, format, args);
    va_end(args);
}

/* Dead rows stay as long as a snapshot of this database is older than they are. */
static void check_transactions(pg_examination *x)
{
    char sql[1024], list[1024] = "";
    snprintf(sql, sizeof sql,
             "SELECT pid, coalesce(usename::text, ''), application_name, state,"
             " (extract(epoch FROM clock_timestamp() - xact_start) / 60)::int"
             " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
             " AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)"
             " AND xact_start < clock_timestamp() - interval '%d minutes' ORDER BY xact_start LIMIT 5",
             x->horizon_minutes);
    PGresult *rows = pg_ask(x, "transactions", sql);
    if (!rows)
        return;
    for (int i = 0; i < PQntuples(rows); i++)
        add_item(list, sizeof list, "pid %s, user %s, application \"%s\", %s for %s min", pg_text_at(rows, i, 0),
                 pg_text_at(rows, i, 1), pg_text_at(rows, i, 2), pg_text_at(rows, i, 3), pg_text_at(rows, i, 4));
    if (*list)
        pg_tell(x, NEOQ_FINDING_NOTE, "transactions",
                "open for more than %d minutes, so that no vacuum can clean up behind the jobs: %s; end them "
                "(pg_terminate_backend)",
                x->horizon_minutes, list);
    else
        pg_tell(x, NEOQ_FINDING_OK, "transactions", "none has been open for more than %d minutes",
                x->horizon_minutes);
    PQclear(rows);
}

/* A slot does not tell since when it stands still: so it goes by how far behind it is. One that somebody reads from, and
 * that keeps up, holds nothing back. */
static void check_slots(pg_examination *x)
{
    char list[1024] = "";
    bool bad = false;
    PGresult *rows = pg_ask(
        x, "replication slots",
        "SELECT * FROM (SELECT slot_name, slot_type, CASE WHEN active THEN 'in use' ELSE 'not in use' END,"
        " greatest(age(xmin), age(catalog_xmin), 0) AS behind, pg_size_pretty(w.kept), coalesce(w.kept, 0)"
        " > 1073741824 OR greatest(age(xmin), age(catalog_xmin)) > 1000000 AS bad, active FROM pg_replication_slots,"
        " LATERAL (SELECT CASE WHEN NOT pg_is_in_recovery() THEN"
        " pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) END AS kept) w WHERE NOT temporary) s"
        " WHERE bad OR NOT active ORDER BY bad DESC, behind DESC LIMIT 5");
    if (!rows)
        return;
    for (int i = 0; i < PQntuples(rows); i++) {
        bad = bad || *pg_text_at(rows, i, 5) == 't';
        add_item(list, sizeof list, "slot \"%s\" (%s, %s), %s transactions and %s of WAL behind",
                 pg_text_at(rows, i, 0), pg_text_at(rows, i, 1), pg_text_at(rows, i, 2), pg_text_at(rows, i, 3),
                 PQgetisnull(rows, i, 4) ? "no" : pg_text_at(rows, i, 4));
    }
    if (*list)
        pg_tell(x, bad ? NEOQ_FINDING_BAD : NEOQ_FINDING_NOTE, "replication slots",
                "hold back the vacuum and keep WAL: %s; drop those that nobody needs (pg_drop_replication_slot)",
                list);
    else
        pg_tell(x, NEOQ_FINDING_OK, "replication slots", "none holds anything back");
    PQclear(rows);
}

static void check_prepared(pg_examination *x)
{
    char sql[512], list[1024] = "";
    snprintf(sql, sizeof sql,
             "SELECT gid, owner, (extract(epoch FROM clock_timestamp() - prepared) / 60)::int FROM pg_prepared_xacts"
             " WHERE database = current_database() AND prepared < clock_timestamp() - interval '%d minutes'"
             " ORDER BY prepared LIMIT 5",
             x->horizon_minutes);
    PGresult *rows = pg_ask(x, "prepared transactions", sql);
    if (!rows)
        return;
    for (int i = 0; i < PQntuples(rows); i++)
        add_item(list, sizeof list, "\"%s\" of %s, for %s min", pg_text_at(rows, i, 0), pg_text_at(rows, i, 1),
                 pg_text_at(rows, i, 2));
    if (*list)
        pg_tell(x, NEOQ_FINDING_BAD, "prepared transactions",
                "left prepared for more than %d minutes; they hold back the vacuum, and their locks, until COMMIT "
                "PREPARED or ROLLBACK PREPARED: %s",
                x->horizon_minutes, list);
    else
        pg_tell(x, NEOQ_FINDING_OK, "prepared transactions", "none is older than %d minutes", x->horizon_minutes);
    PQclear(rows);
}

/* ---- the way to it ---------------------------------------------------------------------- */

static void check_clock(pg_examination *x)
{
    neoq_time before = x->clock->now(x->clock);
    PGresult *rows = pg_ask(x, "clock", "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8");
    if (!rows)
        return;
    neoq_time after = x->clock->now(x->clock);
    int64_t off = pg_number_at(rows, 0, 0) - (before + (after - before) / 2);
    double seconds = (double)off / 1e6, error = (double)(after - before) / 2e6;
    if (off > NEOQ_SECONDS(1) || off < -NEOQ_SECONDS(1))
        pg_tell(
            x, NEOQ_FINDING_NOTE, "clock",
            "the server's is %+.1f s from this machine's: neoq goes by the server's, so times that are given here "
            "fall due by that much off; set the wrong one",
            seconds);
    else
        pg_tell(x, NEOQ_FINDING_OK, "clock", "the server's is %+.3f s from this machine's, give or take %.3f s",
                seconds, error);
    PQclear(rows);
}

/* A pooler keeps the real backend's number from us, and may change the backend with each transaction. */
static void check_pooler(pg_examination *x)
{
    PGresult *rows = pg_ask(x, "pooler", "SELECT pg_backend_pid()");
    if (!rows)
        return;
    bool between = pg_number_at(rows, 0, 0) != PQbackendPID(x->session.handle);
    if (x->settings->pooler)
        pg_tell(x, between ? NEOQ_FINDING_OK : NEOQ_FINDING_NOTE, "pooler",
                between ? "one stands between, by transactions, as the URL says: workers poll, and hear no NOTIFY"
                        : "the URL says pooler=transaction, and none stands between: without it workers hear of jobs "
                          "at once");
    else if (between && x->settings->pooler_told)
        pg_tell(x, NEOQ_FINDING_OK, "pooler", "one stands between, by sessions, as the URL says");
    else if (between)
        pg_tell(
            x, NEOQ_FINDING_NOTE, "pooler",
            "one stands between: neoq takes it for one that pools transactions, and polls; say pooler=transaction "
            "or pooler=session in the URL");
    else
        pg_tell(x, NEOQ_FINDING_OK, "pooler", "none stands between");
    PQclear(rows);
}

static void check_notifications(pg_examination *x)
{
    PGresult *rows = pg_ask(x, "notifications", "SELECT round((pg_notification_queue_usage() * 100)::numeric, 1)");
    if (!rows)
        return;
    double percent = strtod(pg_text_at(rows, 0, 0), NULL);
    neoq_finding_level level = percent > 50 ? NEOQ_FINDING_BAD : percent > 10 ? NEOQ_FINDING_NOTE : NEOQ_FINDING_OK;
    pg_tell(x, level, "notifications", "the server's queue is %.1f %% full%s", percent,
            level == NEOQ_FINDING_OK ? ""
                                     : ": a session that listens stays in a transaction; end it, before every NOTIFY "
                                       "of the server fails");
    PQclear(rows);
}

static void check_connections(pg_examination *x)
{
    PGresult *rows = pg_ask(
        x, "connections",
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
        " (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user)");
    if (!rows)
        return;
    int64_t most = pg_number_at(rows, 0, 0), used = pg_number_at(rows, 0, 1), limit = pg_number_at(rows, 0, 2);
    int64_t left = most - used, of_role = limit < 0 ? left : limit - pg_number_at(rows, 0, 3);
    if (of_role < left)
        left = of_role;
    /* Ours, and one each to listen and to notify. */
    int64_t wanted = x->settings->max_conns + 2;
    if (left < 1)
        pg_tell(x, NEOQ_FINDING_BAD, "connections",
                "%" PRId64 " of %" PRId64 " are in use, and none is left for this role: raise max_connections or the "
                "role's limit, or put a pooler between",
                used, most);
    else if (left < wanted)
        pg_tell(x, NEOQ_FINDING_NOTE, "connections",
                "%" PRId64 " are left of %" PRId64 ", and one process may take %" PRId64
                ": lower pool_max_conns or raise max_connections",
                left, most, wanted);
    else
        pg_tell(x, NEOQ_FINDING_OK, "connections",
                "%" PRId64 " are left of %" PRId64 "; one process takes %" PRId64 " at the most", left, most, wanted);
    PQclear(rows);
}

void pg_examine_server(pg_examination *x)
{
    check_version(x);
    check_writable(x);
    check_durability(x);
    check_transactions(x);
    check_slots(x);
    check_prepared(x);
    check_clock(x);
    check_pooler(x);
    check_notifications(x);
    check_connections(x);
}

int pg_doctor(const neoq_store_config *config, neoq_each_finding each, void *arg)
{
    pg_settings settings;
    int status = pg_settings_parse(&settings, config->url, config->options);
    if (status == NEOQ_OK)
        status = pg_render_check(&settings);
    if (status != NEOQ_OK) {
        pg_settings_free(&settings);
        return status;
    }
    pg_examination x = {
        .settings = &settings, .clock = config->clock, .each = each, .arg = arg, .horizon_minutes = HORIZON_MINUTES};
    if (pg_session_open(&x.session, &settings) != NEOQ_OK) {
        pg_tell(&x, NEOQ_FINDING_BAD, "reachable", "%s", neoq_error_message());
    } else {
        pg_tell(&x, NEOQ_FINDING_OK, "reachable", "%s, as the role %s", settings.shown, PQuser(x.session.handle));
        pg_examine_server(&x);
        pg_examine_schema(&x);
        pg_session_close(&x.session);
    }
    pg_settings_free(&settings);
    return NEOQ_OK;
}
