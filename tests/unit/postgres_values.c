/* SPDX-License-Identifier: MIT
 *
 * Values on their way to PostgreSQL and back: the bytes that the protocol's binary formats ask for, and each type through
 * a real server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "backend/postgres/values.h"
#include "support/postgres_server.h"

static void has_bytes(const pg_params *p, int at, const void *bytes, size_t size)
{
    assert_int_equal(size, p->lengths[at]);
    assert_non_null(p->values[at]);
    assert_memory_equal(bytes, p->values[at], size);
}

static void numbers_have_their_highest_byte_first(void **state)
{
    (void)state;
    pg_build b = {0};
    pg_put_int8(&b, -2);
    pg_put_int4(&b, 0x01020304);
    pg_put_bool(&b, true);
    pg_put_tid(&b, (pg_tid){0x0a0b0c0d, 0x0e0f});
    const pg_params *p = pg_built(&b);
    assert_int_equal(4, p->count);
    has_bytes(p, 0, "\xff\xff\xff\xff\xff\xff\xff\xfe", 8);
    has_bytes(p, 1, "\1\2\3\4", 4);
    has_bytes(p, 2, "\1", 1);
    has_bytes(p, 3, "\x0a\x0b\x0c\x0d\x0e\x0f", 6);
    pg_build_free(&b);
}

static void null_and_nothing_are_told_apart(void **state)
{
    (void)state;
    pg_build b = {0};
    pg_put_text(&b, NULL);
    pg_put_text(&b, "");
    pg_put_bytea(&b, NULL, 0);
    pg_put_bytea(&b, "", 0);
    pg_put_int8_or_null(&b, 0);
    pg_put_int8s(&b, NULL, 0);
    pg_put_int8s(&b, (int64_t[]){0}, 0);
    const pg_params *p = pg_built(&b);
    assert_null(p->values[0]);
    has_bytes(p, 1, "", 0);
    assert_null(p->values[2]);
    has_bytes(p, 3, "", 0);
    assert_null(p->values[4]);
    assert_null(p->values[5]);
    has_bytes(p, 6, "\0\0\0\0\0\0\0\0\0\0\0\x14", 12);
    pg_build_free(&b);
}

static void an_array_holds_its_items_and_nulls(void **state)
{
    (void)state;
    pg_build b = {0};
    pg_array_begin(&b, PG_TEXT);
    pg_put_text(&b, "ab");
    pg_put_text(&b, NULL);
    pg_array_end(&b);
    const pg_params *p = pg_built(&b);
    static const char bytes[] = "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\2\0\0\0\1\0\0\0\2ab\xff\xff\xff\xff";
    has_bytes(p, 0, bytes, sizeof bytes - 1);
    assert_int_equal(1009, p->types[0]);
    pg_build_clear(&b);
    pg_put_int4(&b, 7);
    p = pg_built(&b);
    assert_int_equal(1, p->count);
    has_bytes(p, 0, "\0\0\0\7", 4);
    pg_build_free(&b);
}

static void a_fingerprint_is_its_guard_or_beside_it(void **state)
{
    (void)state;
    static const uint8_t salt[16] = {1, 2, 3};
    neoq_job job = {.fingerprint = "000102030405060708090a0b0c0d0e0f", .unique = NEOQ_UNIQUE_ON};
    pg_print print = pg_print_of(&job, salt);
    assert_true(print.guarded);
    assert_null(print.text);
    assert_memory_equal("\1\3\1\3\4\5\6\7\x8\x9\xa\xb\xc\xd\xe\xf", print.guard, 16);
    static const char *const others[] = {"000102030405060708090A0B0C0D0E0F", "00010203", "x",
                                         "000102030405060708090a0b0c0d0e0f0"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        job.fingerprint = others[i];
        print = pg_print_of(&job, salt);
        assert_true(print.guarded);
        assert_string_equal(others[i], print.text);
    }
    job.unique = NEOQ_UNIQUE_OFF;
    print = pg_print_of(&job, salt);
    assert_false(print.guarded);
    assert_string_equal(others[3], print.text);
}

/* ---- through a server ------------------------------------------------------------------- */

static PGresult *ask(const char *sql, pg_build *b)
{
    char url[512];
    PGconn *conn = PQconnectdb(postgres_url(postgres_shared(), "postgres", url, sizeof url));
    assert_int_equal(CONNECTION_OK, PQstatus(conn));
    const pg_params *p = pg_built(b);
    assert_non_null(p);
    int formats[PG_PARAMS_MAX];
    for (int i = 0; i < p->count; i++)
        formats[i] = 1;
    PGresult *rows = PQexecParams(conn, sql, p->count, p->types, p->values, p->lengths, formats, 1);
    if (PQresultStatus(rows) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(conn));
    PQfinish(conn);
    pg_build_free(b);
    return rows;
}

static void every_type_comes_back(void **state)
{
    (void)state;
    static const uint8_t uuid[16] = {0xde, 0xad, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 0xff};
    pg_build b = {0};
    pg_put_bool(&b, true);
    pg_put_int4(&b, INT32_MIN);
    pg_put_int8(&b, INT64_MIN);
    pg_put_text(&b, "\xc3\xa4\xe2\x82\xac");
    pg_put_bytea(&b, "a\0b", 3);
    pg_put_uuid(&b, uuid);
    pg_put_tid(&b, (pg_tid){4000000000u, 65535});
    pg_put_int8s(&b, (int64_t[]){1, -1, INT64_MAX}, 3);
    PGresult *rows = ask("SELECT $1, $2, $3, $4, $5, $6, $7, $8, (-5)::int2, NULL::int8, ''::bytea, NULL::bytea", &b);
    int64_t items[3];
    size_t size;
    assert_true(pg_bool(rows, 0, 0));
    assert_true(pg_int(rows, 0, 1) == INT32_MIN);
    assert_true(pg_int(rows, 0, 2) == INT64_MIN);
    assert_string_equal("\xc3\xa4\xe2\x82\xac", pg_text(rows, 0, 3));
    assert_memory_equal("a\0b", pg_bytea(rows, 0, 4, &size), 4); /* a NUL behind it */
    assert_int_equal(3, size);
    assert_memory_equal(uuid, pg_uuid(rows, 0, 5), 16);
    assert_true(pg_tid_at(rows, 0, 6).block == 4000000000u && pg_tid_at(rows, 0, 6).offset == 65535);
    assert_int_equal(3, pg_int8s(rows, 0, 7, items, 3));
    assert_true(items[0] == 1 && items[1] == -1 && items[2] == INT64_MAX);
    assert_int_equal(0, pg_int8s(rows, 0, 7, items, 2));
    assert_int_equal(-5, pg_int(rows, 0, 8));
    assert_int_equal(0, pg_int(rows, 0, 9));
    assert_string_equal("", pg_bytea(rows, 0, 10, &size));
    assert_int_equal(0, size);
    assert_null(pg_bytea(rows, 0, 11, &size));
    assert_int_equal(0, size);
    PQclear(rows);
}

static void arrays_of_every_type_arrive(void **state)
{
    (void)state;
    static const uint8_t uuid[16] = {1};
    static const pg_type types[] = {PG_BOOL, PG_INT4, PG_INT8, PG_TEXT, PG_BYTEA, PG_UUID, PG_TID};
    pg_build b = {0};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        pg_array_begin(&b, types[i]);
        for (int n = 0; n < 1000; n++) {
            switch (n % 2 ? types[i] : 0) {
            case PG_BOOL: pg_put_bool(&b, true); break;
            case PG_INT4: pg_put_int4(&b, n); break;
            case PG_INT8: pg_put_int8(&b, n); break;
            case PG_TEXT: pg_put_text(&b, "x"); break;
            case PG_BYTEA: pg_put_bytea(&b, "y", 1); break;
            case PG_UUID: pg_put_uuid(&b, uuid); break;
            case PG_TID: pg_put_tid(&b, (pg_tid){1, 1}); break;
            default: pg_put_null(&b, types[i]); break;
            }
        }
        pg_array_end(&b);
    }
    PGresult *rows = ask("SELECT count(*), count(a), count(b), count(c), count(d), count(e), count(f), count(g),"
                         " sum(b), min(d) FROM unnest($1, $2, $3, $4, $5, $6, $7) u(a, b, c, d, e, f, g)",
                         &b);
    assert_int_equal(1000, pg_int(rows, 0, 0));
    for (int i = 1; i <= 7; i++)
        assert_int_equal(500, pg_int(rows, 0, i));
    assert_int_equal(250000, pg_int(rows, 0, 8));
    assert_string_equal("x", pg_text(rows, 0, 9));
    PQclear(rows);
}

int main(void)
{
    if (pg_load_libpq() != NEOQ_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_have_their_highest_byte_first),
        cmocka_unit_test(null_and_nothing_are_told_apart),
        cmocka_unit_test(an_array_holds_its_items_and_nulls),
        cmocka_unit_test(a_fingerprint_is_its_guard_or_beside_it),
        cmocka_unit_test(every_type_comes_back),
        cmocka_unit_test(arrays_of_every_type_arrive),
    };
    return cmocka_run_group_tests_name("postgres_values", tests, NULL, NULL);
}
