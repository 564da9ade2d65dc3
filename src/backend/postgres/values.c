/* SPDX-License-Identifier: MIT
 *
 * Every number goes over the wire with its highest byte first; a value in an array has its size before it, -1 for null.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* as in job/fingerprint.c: the sum is an identity, no protection */

#include "backend/postgres/values.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <openssl/md5.h>

#include "base/error.h"
#include "base/uuid.h"
#include "job/job.h"

_Static_assert((int)PG_RETRY_WAITS_MAX == (int)NQ_RETRY_WAITS_MAX, "a job's waits fit in pg_job_texts");

/* ---- bytes ------------------------------------------------------------------------------ */

static void write_int4(char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (char)(value >> (24 - 8 * i));
}

static void write_int8(char *to, uint64_t value)
{
    write_int4(to, (uint32_t)(value >> 32));
    write_int4(to + 4, (uint32_t)value);
}

static uint64_t read_number(const char *from, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value = value << 8 | (unsigned char)from[i];
    return value;
}

/* ---- parameters ------------------------------------------------------------------------- */

static Oid array_of(pg_type item)
{
    switch (item) {
    case PG_BOOL: return 1000;
    case PG_BYTEA: return 1001;
    case PG_INT8: return 1016;
    case PG_INT4: return 1007;
    case PG_TEXT: return 1009;
    case PG_TID: return 1010;
    case PG_UUID: return 2951;
    }
    return 0;
}

/* The next parameter's number; its bytes begin here. Too many of them are a mistake in this program. */
static int begin_param(pg_build *b, Oid type)
{
    pg_params *p = &b->params;
    assert(p->count < PG_PARAMS_MAX && b->item == 0);
    if (p->count == PG_PARAMS_MAX) {
        b->bytes.failed = true;
        return PG_PARAMS_MAX - 1;
    }
    int at = p->count++;
    p->types[at] = type;
    p->values[at] = NULL;
    p->lengths[at] = 0;
    b->starts[at] = b->bytes.size;
    return at;
}

/* Room for the next value's bytes, as a parameter or as an item; NULL: no memory. */
static char *put(pg_build *b, pg_type type, size_t size)
{
    assert(b->item == 0 || b->item == type);
    size_t prefix = b->item ? 4 : 0;
    int at = b->item ? 0 : begin_param(b, type);
    if (size > INT32_MAX || !nq_buffer_reserve(&b->bytes, prefix + size)) {
        b->bytes.failed = true;
        return NULL;
    }
    char *to = b->bytes.data + b->bytes.size;
    if (b->item) {
        write_int4(to, (uint32_t)size);
        b->item_count++;
    } else {
        b->params.lengths[at] = (int)size;
        b->params.values[at] = ""; /* not null */
    }
    b->bytes.size += prefix + size;
    b->bytes.data[b->bytes.size] = '\0';
    return to + prefix;
}

void pg_put_null(pg_build *b, pg_type type)
{
    if (!b->item) {
        begin_param(b, type);
        return;
    }
    assert(b->item == type);
    b->item_count++;
    b->item_null = true;
    nq_buffer_add(&b->bytes, "\xff\xff\xff\xff", 4);
}

void pg_put_bool(pg_build *b, bool value)
{
    char *to = put(b, PG_BOOL, 1);
    if (to)
        *to = value;
}

void pg_put_int4(pg_build *b, int32_t value)
{
    char *to = put(b, PG_INT4, 4);
    if (to)
        write_int4(to, (uint32_t)value);
}

void pg_put_int8(pg_build *b, int64_t value)
{
    char *to = put(b, PG_INT8, 8);
    if (to)
        write_int8(to, (uint64_t)value);
}

void pg_put_int8_or_null(pg_build *b, int64_t value)
{
    if (value)
        pg_put_int8(b, value);
    else
        pg_put_null(b, PG_INT8);
}

static void put_bytes(pg_build *b, pg_type type, const void *bytes, size_t size)
{
    if (!bytes) {
        pg_put_null(b, type);
        return;
    }
    char *to = put(b, type, size);
    if (to && size > 0)
        memcpy(to, bytes, size);
}

void pg_put_text(pg_build *b, const char *text)
{
    put_bytes(b, PG_TEXT, text, text ? strlen(text) : 0);
}

void pg_put_bytea(pg_build *b, const void *bytes, size_t size)
{
    put_bytes(b, PG_BYTEA, bytes, size);
}

void pg_put_uuid(pg_build *b, const uint8_t *uuid)
{
    put_bytes(b, PG_UUID, uuid, 16);
}

void pg_put_tid(pg_build *b, pg_tid tid)
{
    char *to = put(b, PG_TID, 6);
    if (!to)
        return;
    write_int4(to, tid.block);
    to[4] = (char)(tid.offset >> 8);
    to[5] = (char)tid.offset;
}

/* ---- arrays ----------------------------------------------------------------------------- */

/* Dimensions, whether there are nulls, type of the items; then of the one dimension, its length and where it starts. */
enum { ARRAY_EMPTY = 12, ARRAY_HEAD = 20 };

void pg_array_begin(pg_build *b, pg_type item)
{
    begin_param(b, array_of(item));
    b->item = item;
    b->item_count = 0;
    b->item_null = false;
    char head[ARRAY_HEAD] = {0};
    nq_buffer_add(&b->bytes, head, sizeof head);
}

void pg_array_end(pg_build *b)
{
    assert(b->item != 0);
    int at = b->params.count - 1;
    pg_type item = b->item;
    b->item = 0;
    if (b->bytes.failed)
        return;
    if (b->item_count == 0) /* an array without items has no dimension */
        b->bytes.size = b->starts[at] + ARRAY_EMPTY;
    char *head = b->bytes.data + b->starts[at];
    size_t size = b->bytes.size - b->starts[at];
    write_int4(head, b->item_count > 0);
    write_int4(head + 4, b->item_null);
    write_int4(head + 8, (uint32_t)item);
    if (b->item_count > 0) {
        write_int4(head + 12, (uint32_t)b->item_count);
        write_int4(head + 16, 1);
    }
    b->bytes.failed = size > INT32_MAX;
    b->params.lengths[at] = (int)size;
    b->params.values[at] = "";
}

void pg_put_int8s(pg_build *b, const int64_t *items, size_t count)
{
    if (!items) {
        begin_param(b, array_of(PG_INT8));
        return;
    }
    pg_array_begin(b, PG_INT8);
    for (size_t i = 0; i < count; i++)
        pg_put_int8(b, items[i]);
    pg_array_end(b);
}

const pg_params *pg_built(pg_build *b)
{
    assert(b->item == 0);
    if (b->bytes.failed) {
        nq_fail(NEOQ_ENOMEM, "no memory for what is to be sent to PostgreSQL");
        return NULL;
    }
    for (int i = 0; i < b->params.count; i++)
        if (b->params.values[i])
            b->params.values[i] = b->bytes.data ? b->bytes.data + b->starts[i] : "";
    return &b->params;
}

void pg_build_clear(pg_build *b)
{
    nq_buffer_clear(&b->bytes);
    b->params.count = 0;
    b->item = 0;
}

void pg_build_free(pg_build *b)
{
    nq_buffer_free(&b->bytes);
    pg_build_clear(b);
}

/* ---- rows ------------------------------------------------------------------------------- */

/* The value's bytes; NULL for null, and where it has another size than is wanted. */
static const char *value_of(const PGresult *rows, int row, int column, int size)
{
    if (PQgetisnull(rows, row, column) || PQgetlength(rows, row, column) != size)
        return NULL;
    return PQgetvalue(rows, row, column);
}

int64_t pg_int(const PGresult *rows, int row, int column)
{
    if (PQgetisnull(rows, row, column))
        return 0;
    const char *value = PQgetvalue(rows, row, column);
    switch (PQgetlength(rows, row, column)) {
    case 2: return (int16_t)read_number(value, 2);
    case 4: return (int32_t)read_number(value, 4);
    case 8: return (int64_t)read_number(value, 8);
    default: return 0;
    }
}

bool pg_bool(const PGresult *rows, int row, int column)
{
    const char *value = value_of(rows, row, column, 1);
    return value && *value;
}

const char *pg_text(const PGresult *rows, int row, int column)
{
    return PQgetisnull(rows, row, column) ? NULL : PQgetvalue(rows, row, column);
}

const void *pg_bytea(const PGresult *rows, int row, int column, size_t *size)
{
    *size = (size_t)PQgetlength(rows, row, column);
    return PQgetisnull(rows, row, column) ? NULL : PQgetvalue(rows, row, column);
}

const uint8_t *pg_uuid(const PGresult *rows, int row, int column)
{
    return (const uint8_t *)value_of(rows, row, column, 16);
}

pg_tid pg_tid_at(const PGresult *rows, int row, int column)
{
    const char *value = value_of(rows, row, column, 6);
    return value ? (pg_tid){(uint32_t)read_number(value, 4), (uint16_t)read_number(value + 4, 2)} : (pg_tid){0};
}

size_t pg_int8s(const PGresult *rows, int row, int column, int64_t *items, size_t room)
{
    int size = PQgetlength(rows, row, column);
    if (size < ARRAY_HEAD) /* null, or empty */
        return 0;
    const char *value = PQgetvalue(rows, row, column);
    size_t count = read_number(value + 12, 4);
    if (count > room || (size_t)size != ARRAY_HEAD + count * (4 + 8))
        return 0;
    for (size_t i = 0; i < count; i++)
        items[i] = (int64_t)read_number(value + ARRAY_HEAD + i * (4 + 8) + 4, 8);
    return count;
}

void pg_copy_text(const PGresult *rows, int row, int column, char *out, size_t room)
{
    const char *text = pg_text(rows, row, column);
    snprintf(out, room, "%s", text ? text : "");
}

/* ---- jobs ------------------------------------------------------------------------------- */

static void mix(const uint8_t a[16], const uint8_t b[16], uint8_t out[16])
{
    for (int i = 0; i < 16; i++)
        out[i] = a[i] ^ b[i];
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether the text is an MD5 in hex as neoq writes it; its 16 bytes then. */
static bool read_md5(const char *text, uint8_t out[16])
{
    for (int i = 0; i < 32; i++) {
        int value = hex_value(text[i]);
        if (value < 0)
            return false;
        out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | value : value << 4);
    }
    return text[32] == '\0';
}

static const char *write_md5(const uint8_t guard[16], const uint8_t salt[16], char out[33])
{
    uint8_t raw[16];
    mix(guard, salt, raw);
    for (int i = 0; i < 16; i++) {
        out[2 * i] = "0123456789abcdef"[raw[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[raw[i] & 15];
    }
    out[32] = '\0';
    return out;
}

pg_print pg_print_of(const neoq_job *job, const uint8_t salt[16])
{
    pg_print print = {.guarded = job->fingerprint && job->unique == NEOQ_UNIQUE_ON, .text = job->fingerprint};
    if (!print.guarded)
        return print;
    uint8_t sum[16];
    if (read_md5(job->fingerprint, sum))
        print.text = NULL;
    else
        MD5((const unsigned char *)job->fingerprint, strlen(job->fingerprint), sum);
    mix(sum, salt, print.guard);
    return print;
}

void pg_read_job(const PGresult *rows, int row, int column, const char *queue, const uint8_t *salt, neoq_job *view,
                 pg_job_texts *texts)
{
    static const uint8_t none[16];
    const uint8_t *id = pg_uuid(rows, row, column), *guard = pg_uuid(rows, row, column + 8);
    nq_uuid_format(id ? id : none, texts->id);
    *view = (neoq_job){
        .id = texts->id,
        .queue = queue,
        .priority = (int)-pg_int(rows, row, column + 1),
        .run_after = pg_int(rows, row, column + 2),
        .created_at = pg_int(rows, row, column + (PQgetisnull(rows, row, column + 3) ? 2 : 3)),
        .max_retries = (int)pg_int(rows, row, column + 4),
        .retries = (int)pg_int(rows, row, column + 5),
        .epoch = pg_int(rows, row, column + 6),
        .ran_at = pg_int(rows, row, column + 7),
        .unique = guard ? NEOQ_UNIQUE_ON : NEOQ_UNIQUE_OFF,
        .fingerprint = pg_text(rows, row, column + 9),
        .deadline = pg_int(rows, row, column + 11),
        .retention = pg_int(rows, row, column + 12),
        .metadata = pg_text(rows, row, column + 14),
        .error = pg_text(rows, row, column + 15),
    };
    view->payload = pg_bytea(rows, row, column + 10, &view->payload_size);
    if (!view->fingerprint && guard && salt)
        view->fingerprint = write_md5(guard, salt, texts->fingerprint);
    view->retry_wait_count = pg_int8s(rows, row, column + 13, texts->retry_waits, PG_RETRY_WAITS_MAX);
    if (view->retry_wait_count > 0)
        view->retry_waits = texts->retry_waits;
}
