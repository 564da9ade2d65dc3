/* SPDX-License-Identifier: MIT
 *
 * What migrations and the doctor decide by themselves, and what of the doctor cannot be waited for from outside.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <neoq/testing.h>

#include "backend/postgres/doctor.h"
#include "backend/postgres/schema.h"
#include "support/postgres_server.h"

static neoq_options plain = {.schema = "neoq", .connect_timeout = NEOQ_SECONDS(30), .log_level = NEOQ_LOG_ERROR};

/* ---- versions --------------------------------------------------------------------------- */

static void a_library_works_with_a_range_of_schemas(void **state)
{
    (void)state;
    static const struct {
        int version, compatible_from, own, oldest;
        pg_schema_verdict verdict;
    } cases[] = {
        {0, 0, 1, 1, PG_SCHEMA_TOO_OLD}, {1, 1, 1, 1, PG_SCHEMA_FITS},    {2, 1, 1, 1, PG_SCHEMA_FITS},
        {2, 2, 1, 1, PG_SCHEMA_TOO_NEW}, {2, 0, 1, 1, PG_SCHEMA_TOO_NEW}, {1, 1, 2, 1, PG_SCHEMA_BEHIND},
        {0, 0, 2, 1, PG_SCHEMA_TOO_OLD}, {1, 1, 3, 2, PG_SCHEMA_TOO_OLD}, {3, 2, 2, 1, PG_SCHEMA_FITS},
        {5, 2, 3, 2, PG_SCHEMA_TOO_NEW}, {4, 4, 3, 2, PG_SCHEMA_TOO_NEW}, {4, 3, 3, 2, PG_SCHEMA_FITS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int verdict = (int)pg_schema_judge(cases[i].version, cases[i].compatible_from, cases[i].own, cases[i].oldest);
        if (verdict != (int)cases[i].verdict)
            fail_msg("case %zu: %d", i, verdict);
    }
}

/* ---- names ------------------------------------------------------------------------------ */

static void the_schemas_name_is_put_in_place(void **state)
{
    (void)state;
    static const char sql[] = "@schema@.a @schema_literal@@schema_in_literal@, b@schema.de @schemata@ @schema";
    pg_settings settings = {.schema = (char *)"a b", .quoted_schema = (char *)"\"a b\""};
    char *text = pg_render(sql, &settings);
    assert_string_equal("\"a b\".a 'a b'\"a b\", b@schema.de @schemata@ @schema", text);
    free(text);
    static const char *const refused[] = {"o'brien", "$$", "a\\b", "@schema@"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        settings.schema = (char *)(uintptr_t)refused[i];
        assert_int_equal(NEOQ_EINVAL, pg_render_check(&settings));
    }
    settings.schema = (char *)"Jobs \"of\" 50%";
    assert_int_equal(NEOQ_OK, pg_render_check(&settings));
}

static void the_files_are_built_in(void **state)
{
    (void)state;
    size_t count = 0;
    for (const pg_sql_file *file = pg_sql_files; file->name; file++, count++)
        assert_non_null(strstr(file->text, "SPDX-License-Identifier: MIT"));
    assert_true(count >= 5);
    assert_string_equal("tables.sql", pg_sql_files[0].name);
    assert_string_equal("grants.sql", pg_sql_files[count - 1].name);
}

static void a_step_is_taken_from_below_its_version(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        bool wanted[4]; /* from version 0, 1, 2, 3 */
    } cases[] = {
        {"tables.sql", {true, false, false, false}},
        {"to_2.sql", {false, true, false, false}},
        {"to_3.sql", {false, true, true, false}},
        {"look.sql", {true, true, true, true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int version = 0; version < 4; version++)
            assert_int_equal(cases[i].wanted[version], pg_schema_wants(cases[i].file, version));
}

/* On tables that are there, as a step from the version before will have it. */
static void all_but_the_tables_can_be_made_anew(void **state)
{
    (void)state;
    char url[512], database[64];
    postgres_server *server = postgres_shared();
    assert_non_null(server);
    assert_true(postgres_create(server, NULL, database, sizeof database));
    postgres_url(server, database, url, sizeof url);
    assert_int_equal(NEOQ_OK, neoq_migrate(url, &plain, NEOQ_MIGRATE_UP, NULL, NULL, NULL));
    pg_settings settings;
    pg_session session;
    assert_int_equal(NEOQ_OK, pg_settings_parse(&settings, url, &plain));
    assert_int_equal(NEOQ_OK, pg_session_open(&session, &settings));
    for (const pg_sql_file *file = pg_sql_files; file->name; file++)
        if (pg_schema_wants(file->name, 1) && pg_session_run(&session, NEOQ_SECONDS(30), file->text, NULL) != NEOQ_OK)
            fail_msg("%s: %s", file->name, neoq_error_message());
    pg_session_close(&session);
    pg_settings_free(&settings);
    postgres_drop(server, database);
}

/* ---- the doctor, without its patience ----------------------------------------------------- */

typedef struct heard {
    const char *wanted;
    neoq_finding_level level;
    char words[1024];
} heard;

static void hear(const neoq_finding *finding, void *arg)
{
    heard *h = arg;
    if (strcmp(finding->name, h->wanted) != 0)
        return;
    h->level = finding->level;
    snprintf(h->words, sizeof h->words, "%s", finding->words);
}

static heard examine(const char *url, const char *name, int horizon_minutes, const neoq_clock *clock)
{
    heard h = {.wanted = name};
    pg_settings settings;
    assert_int_equal(NEOQ_OK, pg_settings_parse(&settings, url, &plain));
    pg_examination x = {
        .settings = &settings, .clock = clock, .each = hear, .arg = &h, .horizon_minutes = horizon_minutes};
    assert_int_equal(NEOQ_OK, pg_session_open(&x.session, &settings));
    pg_examine_server(&x);
    pg_session_close(&x.session);
    pg_settings_free(&settings);
    return h;
}

static void expect(const heard *h, neoq_finding_level level, const char *words)
{
    if (h->level != level || !strstr(h->words, words))
        fail_msg("%s: level %d, \"%s\"; expected %d, \"%s\"", h->wanted, (int)h->level, h->words, (int)level, words);
}

static void old_transactions_are_told_with_their_owners(void **state)
{
    (void)state;
    static const char *const settings[] = {"max_prepared_transactions=2", "fsync=off", NULL};
    char url[512], database[64];
    neoq_clock *clock;
    assert_int_equal(NEOQ_OK, neoq_clock_create(&clock, 0, 1));
    postgres_server *server = postgres_start(settings);
    assert_non_null(server);
    assert_true(postgres_create(server, NULL, database, sizeof database));
    postgres_url(server, database, url, sizeof url);
    heard h = examine(url, "prepared transactions", 0, clock);
    expect(&h, NEOQ_FINDING_OK, "none");
    assert_true(postgres_sql(server, database, "CREATE TABLE t (x int)", NULL, 0));

    PGconn *other = PQconnectdb(url);
    PQclear(PQexec(other, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'forgotten'"));
    h = examine(url, "prepared transactions", 0, clock);
    expect(&h, NEOQ_FINDING_BAD, "\"forgotten\" of postgres, for 0 min");
    h = examine(url, "prepared transactions", 5, clock);
    expect(&h, NEOQ_FINDING_OK, "5 minutes");

    char pid[64];
    PQclear(PQexec(other, "BEGIN; INSERT INTO t VALUES (2)"));
    snprintf(pid, sizeof pid, "pid %d, user postgres", PQbackendPID(other));
    h = examine(url, "transactions", 0, clock);
    expect(&h, NEOQ_FINDING_NOTE, pid);
    expect(&h, NEOQ_FINDING_NOTE, "idle in transaction");
    h = examine(url, "transactions", 5, clock);
    expect(&h, NEOQ_FINDING_OK, "5 minutes");
    PQfinish(other);

    h = examine(url, "clock", 5, clock);
    expect(&h, NEOQ_FINDING_NOTE, "goes by the server's");
    postgres_end(server);
    neoq_clock_destroy(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_library_works_with_a_range_of_schemas),
        cmocka_unit_test(the_schemas_name_is_put_in_place),
        cmocka_unit_test(the_files_are_built_in),
        cmocka_unit_test(a_step_is_taken_from_below_its_version),
        cmocka_unit_test(all_but_the_tables_can_be_made_anew),
        cmocka_unit_test(old_transactions_are_told_with_their_owners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
