/* SPDX-License-Identifier: MIT
 *
 * postgres/values.h -- a statement's parameters and its rows, in PostgreSQL's binary formats.
 *
 *     pg_build b = {0};
 *     pg_put_text(&b, queue);
 *     pg_array_begin(&b, PG_INT8);
 *     for (size_t i = 0; i < count; i++)
 *         pg_put_int8(&b, jobs[i].run_after);
 *     pg_array_end(&b);
 *     const pg_params *params = pg_built(&b);
 *     int status = params ? pg_pool_run(pool, &statement, params, false, &rows) : NEOQ_ENOMEM;
 *     pg_build_free(&b);
 *
 * A put is the next parameter or, between pg_array_begin() and pg_array_end(), the next item of that array. All bytes
 * are copied into one block that grows, and that pg_build_free() frees. Memory that ran out is told once, by pg_built().
 */
#ifndef NQ_POSTGRES_VALUES_H
#define NQ_POSTGRES_VALUES_H

#include "backend/postgres/connection.h"
#include "base/buffer.h"

/* What may be put: the server's numbers of the types. */
typedef enum pg_type {
    PG_BOOL = 16,
    PG_BYTEA = 17,
    PG_INT8 = 20,
    PG_INT4 = 23,
    PG_TEXT = 25,
    PG_TID = 27,
    PG_UUID = 2950
} pg_type;

enum { PG_PARAMS_MAX = sizeof((pg_params *)0)->values / sizeof(char *) };

/* Where a row stands (ctid). */
typedef struct pg_tid {
    uint32_t block;
    uint16_t offset;
} pg_tid;

typedef struct pg_build {
    pg_params params; /* values are set by pg_built(): until then the block may move */
    nq_buffer bytes;
    size_t starts[PG_PARAMS_MAX];
    pg_type item; /* of the array that is open; 0 = none is */
    int32_t item_count;
    bool item_null; /* it holds a null */
} pg_build;

/* A pointer that is NULL puts null; so does pg_put_null(), which as a parameter needs the type. */
void pg_put_bool(pg_build *b, bool value);
void pg_put_int4(pg_build *b, int32_t value);
void pg_put_int8(pg_build *b, int64_t value);
void pg_put_text(pg_build *b, const char *text);
void pg_put_bytea(pg_build *b, const void *bytes, size_t size);
void pg_put_uuid(pg_build *b, const uint8_t *uuid);
void pg_put_tid(pg_build *b, pg_tid tid);
void pg_put_null(pg_build *b, pg_type type);

/* As pg_put_int8(), but null for 0. */
void pg_put_int8_or_null(pg_build *b, int64_t value);
/* A whole parameter bigint[]; items NULL = null. */
void pg_put_int8s(pg_build *b, const int64_t *items, size_t count);

void pg_array_begin(pg_build *b, pg_type item);
void pg_array_end(pg_build *b);

/* The parameters, good until the next put or pg_build_free(). NULL: no memory (NEOQ_ENOMEM, in words). */
const pg_params *pg_built(pg_build *b);
/* Takes all parameters out again and keeps the memory. */
void pg_build_clear(pg_build *b);
void pg_build_free(pg_build *b);

/* ---- rows ------------------------------------------------------------------------------- */

/*
 * Each gives 0, false or NULL for null. Pointers live as long as rows. Texts and bytes are followed by a NUL that size
 * does not count: libpq puts one behind every value, whichever its format (pqRowProcessor(), "even if it's binary").
 */
int64_t pg_int(const PGresult *rows, int row, int column); /* smallint, int or bigint */
bool pg_bool(const PGresult *rows, int row, int column);
const char *pg_text(const PGresult *rows, int row, int column);
const void *pg_bytea(const PGresult *rows, int row, int column, size_t *size);
const uint8_t *pg_uuid(const PGresult *rows, int row, int column); /* 16 bytes */
pg_tid pg_tid_at(const PGresult *rows, int row, int column);
/* Reads a bigint[] without nulls: how many items it has, or 0 if there are more than room. */
size_t pg_int8s(const PGresult *rows, int row, int column, int64_t *items, size_t room);
/* Copies a text into room bytes; "" for null. What does not fit is cut off. */
void pg_copy_text(const PGresult *rows, int row, int column, char *out, size_t room);

/* ---- jobs ------------------------------------------------------------------------------- */

/*
 * What every statement that gives whole jobs gives of each, in this order and one after the other:
 *
 *    0 id uuid          4 max_retries int    8 guard uuid          12 retention bigint
 *    1 rank int         5 retries int        9 fingerprint text    13 retry_waits bigint[]
 *    2 run_after bigint 6 epoch int         10 payload bytea       14 metadata text
 *    3 created_at bigint 7 ran_at bigint    11 deadline bigint     15 error text
 *
 * created_at null = run_after; guard null = unique is off; fingerprint null = it is in the guard.
 */
enum { PG_JOB_COLUMNS = 16, PG_RETRY_WAITS_MAX = 100 };

/* Of a view of a row, what is not in the row as it is needed. */
typedef struct pg_job_texts {
    char id[37], fingerprint[33];
    neoq_duration retry_waits[PG_RETRY_WAITS_MAX];
} pg_job_texts;

/* Reads the job whose columns begin at column. queue and salt are its queue's; the view borrows queue, rows and texts.
 * state, finished_at and result are left 0. */
void pg_read_job(const PGresult *rows, int row, int column, const char *queue, const uint8_t *salt, neoq_job *view,
                 pg_job_texts *texts);

/* A job's fingerprint as it is stored. */
typedef struct pg_print {
    uint8_t guard[16];
    bool guarded;     /* guard is to be stored */
    const char *text; /* to be stored, or NULL; borrowed of the job */
} pg_print;
pg_print pg_print_of(const neoq_job *job, const uint8_t salt[16]);

#endif
