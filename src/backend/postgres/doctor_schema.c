/* SPDX-License-Identifier: MIT
 *
 * neoq's own schema: whether it is there, whose it is, what this role may do in it, and how its tables fare.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/doctor.h"
#include "backend/postgres/schema.h"
#include "base/error.h"

/* Whether there are tables to look into. */
static bool check_version(pg_examination *x)
{
    neoq_schema_info info = {0};
    int status = pg_schema_look(&x->session, &info);
    if (status != NEOQ_OK) {
        pg_tell(x, NEOQ_FINDING_BAD, "schema", "%s", neoq_error_message());
    } else if (info.version == 0) {
        PGresult *rows = pg_ask(x, "schema",
                                "SELECT CASE WHEN to_regnamespace('@schema_in_literal@') IS NULL"
                                " THEN has_database_privilege(current_database(), 'CREATE')"
                                " ELSE has_schema_privilege('@schema_in_literal@', 'CREATE') END");
        bool may = rows && *pg_text_at(rows, 0, 0) == 't';
        PQclear(rows);
        pg_tell(
            x, may ? NEOQ_FINDING_NOTE : NEOQ_FINDING_BAD, "schema",
            may ? "there is none yet: the first neoq that connects as this role makes it"
                : "there is none yet, and this role may not make it: let the database's owner run neoq migrate up, "
                  "or what neoq migrate print writes");
    } else if (info.version == PG_SCHEMA_VERSION) {
        pg_tell(x, NEOQ_FINDING_OK, "schema", "%s, version %d", x->settings->schema, info.version);
    } else {
        pg_tell(x, NEOQ_FINDING_NOTE, "schema", "%s has version %d, and this neoq's is %d: they work together%s",
                x->settings->schema, info.version, PG_SCHEMA_VERSION,
                info.version < PG_SCHEMA_VERSION ? "; its owner may run neoq migrate up" : "");
    }
    return status == NEOQ_OK && info.version > 0;
}

/* ---- rights ----------------------------------------------------------------------------- */

static void check_owner(pg_examination *x)
{
    PGresult *rows = pg_ask(x, "owner",
                            "SELECT r.rolname, r.rolsuper FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner"
                            " WHERE n.nspname = @schema_literal@");
    if (!rows)
        return;
    if (*pg_text_at(rows, 0, 1) == 't')
        pg_tell(x, NEOQ_FINDING_NOTE, "owner",
                "the schema is the superuser %s's, with whose rights its functions run: an ordinary role would do",
                pg_text_at(rows, 0, 0));
    else
        pg_tell(x, NEOQ_FINDING_OK, "owner", "the schema is %s's", pg_text_at(rows, 0, 0));
    PQclear(rows);
}

/* What this role was granted, by itself or by being a member, and which of the functions for that it may not call. */
static void check_granted(pg_examination *x)
{
    PGresult *rows = pg_ask(
        x, "grants",
        "WITH mine AS (SELECT DISTINCT m.value AS kind FROM @schema@.meta m JOIN pg_roles r"
        " ON m.key = 'granted ' || m.value || ' ' || r.rolname WHERE pg_has_role(current_user, r.oid, 'USAGE'))"
        " SELECT (SELECT string_agg(kind, ', ' ORDER BY kind) FROM mine),"
        " (SELECT string_agg(DISTINCT p.oid::regprocedure::text, ', ') FROM mine, pg_proc p"
        " WHERE p.pronamespace = '@schema_in_literal@'::regnamespace AND p.proname = ANY"
        " (@schema@.functions_of(kind) || @schema@.functions_of('anyone'))"
        " AND NOT has_function_privilege(p.oid, 'EXECUTE'))");
    if (!rows)
        return;
    const char *kinds = pg_text_at(rows, 0, 0), *missing = pg_text_at(rows, 0, 1);
    if (!*kinds && pg_number_at(rows, 0, 2) > 0)
        pg_tell(x, NEOQ_FINDING_NOTE, "grants",
                "this role may call %s of the functions, by other grants than those of grant_to()",
                pg_text_at(rows, 0, 2));
    else if (!*kinds)
        pg_tell(x, NEOQ_FINDING_BAD, "grants",
                "this role was granted nothing: the schema's owner lets it work with SELECT %s.grant_to('%s', "
                "'worker'), or enqueuer, viewer, operator",
                x->settings->quoted_schema, PQuser(x->session.handle));
    else if (*missing)
        pg_tell(x, NEOQ_FINDING_BAD, "grants",
                "this role was granted %s, and lacks EXECUTE on %.600s: let the schema's "
                "owner run grant_to() again",
                kinds, missing);
    else
        pg_tell(x, NEOQ_FINDING_OK, "grants", "this role was granted %s", kinds);
    PQclear(rows);
}

static void check_rights(pg_examination *x)
{
    PGresult *rows = pg_ask(x, "grants",
                            "SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_namespace"
                            " WHERE nspname = @schema_literal@");
    if (!rows)
        return;
    bool owner = *pg_text_at(rows, 0, 0) == 't';
    PQclear(rows);
    if (owner)
        pg_tell(x, NEOQ_FINDING_OK, "grants", "this role may do what the schema's owner may");
    else
        check_granted(x);
}

/* ---- tables ----------------------------------------------------------------------------- */

/* Statistics are a few seconds old, and counts of rows are estimates. */
static void check_dead_rows(pg_examination *x)
{
    char list[512] = "";
    PGresult *rows = pg_ask(x, "dead rows",
                            "SELECT relname, n_dead_tup, n_live_tup, coalesce(last_autovacuum, last_vacuum)::text"
                            " FROM pg_stat_user_tables WHERE schemaname = @schema_literal@"
                            " AND n_dead_tup > 100000 + 2 * n_live_tup ORDER BY n_dead_tup DESC");
    PGresult *sums =
        pg_ask(x, "size",
               "SELECT sum(n_dead_tup), sum(n_live_tup), pg_size_pretty(sum(pg_total_relation_size(relid)))"
               " FROM pg_stat_user_tables WHERE schemaname = @schema_literal@");
    for (int i = 0; rows && i < PQntuples(rows); i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s has %s dead and %s live rows", used ? "; " : "",
                 pg_text_at(rows, i, 0), pg_text_at(rows, i, 1), pg_text_at(rows, i, 2));
    }
    if (rows && *list)
        pg_tell(x, NEOQ_FINDING_NOTE, "dead rows",
                "%s: the vacuum does not keep up, or something above holds it back", list);
    else if (rows && sums)
        pg_tell(x, NEOQ_FINDING_OK, "dead rows", "%s, of %s live ones", pg_text_at(sums, 0, 0),
                pg_text_at(sums, 0, 1));
    if (sums)
        pg_tell(x, NEOQ_FINDING_OK, "size", "%s in tables and indexes", pg_text_at(sums, 0, 2));
    PQclear(rows);
    PQclear(sums);
}

/* Told to those who may see it. */
static void check_jobs(pg_examination *x)
{
    PGresult *rows = NULL;
    int status =
        pg_session_run(&x->session, NEOQ_SECONDS(30),
                       "WITH t AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 AS now)"
                       " SELECT coalesce(sum(q.ready) FILTER (WHERE NOT q.paused), 0), coalesce(sum(q.dead), 0),"
                       " count(*) FILTER (WHERE q.paused), (SELECT count(*) FROM t, @schema@.list_workers(t.now))"
                       " FROM t, @schema@.list_queues(t.now) q",
                       &rows);
    if (status != NEOQ_OK)
        return;
    int64_t ready = pg_number_at(rows, 0, 0), workers = pg_number_at(rows, 0, 3);
    if (ready > 0 && workers == 0)
        pg_tell(x, NEOQ_FINDING_NOTE, "jobs", "%" PRId64 " ready and no worker to run them; %s dead", ready,
                pg_text_at(rows, 0, 1));
    else
        pg_tell(x, NEOQ_FINDING_OK, "jobs", "%" PRId64 " ready, %s dead, %s queues paused, %" PRId64 " workers",
                ready, pg_text_at(rows, 0, 1), pg_text_at(rows, 0, 2), workers);
    PQclear(rows);
}

void pg_examine_schema(pg_examination *x)
{
    if (!check_version(x))
        return;
    check_owner(x);
    check_rights(x);
    check_dead_rows(x);
    check_jobs(x);
}
