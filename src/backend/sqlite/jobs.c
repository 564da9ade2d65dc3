/* SPDX-License-Identifier: MIT
 *
 * Enqueueing, and reading a job's row.
 */
#include "backend/sqlite/jobs.h"
#include "backend/sqlite/guards.h"
#include "backend/sqlite/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/uuid.h"
#include "job/job.h"

/* ---- columns ---------------------------------------------------------------------------- */

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool sq_pack_fingerprint(const char *text, uint8_t raw[16])
{
    for (int i = 0; i < 32; i++) {
        int value = hex_value(text[i]);
        if (value < 0)
            return false;
        raw[i / 2] = (uint8_t)(i % 2 ? raw[i / 2] | value : value << 4);
    }
    return text[32] == '\0';
}

void sq_bind_fingerprint(sqlite3_stmt *stmt, int at, const char *fingerprint, uint8_t raw[16])
{
    if (!fingerprint)
        sqlite3_bind_null(stmt, at);
    else if (sq_pack_fingerprint(fingerprint, raw))
        sqlite3_bind_blob(stmt, at, raw, 16, SQLITE_STATIC);
    else
        sqlite3_bind_text(stmt, at, fingerprint, -1, SQLITE_STATIC);
}

const char *sq_read_fingerprint(sqlite3_stmt *stmt, int at, char text[257])
{
    int type = sqlite3_column_type(stmt, at);
    if (type == SQLITE_NULL)
        return NULL;
    if (type == SQLITE_TEXT) {
        snprintf(text, 257, "%s", (const char *)sqlite3_column_text(stmt, at));
        return text;
    }
    const uint8_t *raw = sqlite3_column_blob(stmt, at);
    for (int i = 0; i < 16 && sqlite3_column_bytes(stmt, at) == 16; i++) {
        text[2 * i] = "0123456789abcdef"[raw[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[raw[i] & 15];
    }
    text[32] = '\0';
    return text;
}

static const char *text_at(sqlite3_stmt *stmt, int at)
{
    return (const char *)sqlite3_column_text(stmt, at);
}

static void read_retry_waits(sqlite3_stmt *stmt, int at, neoq_job *view, neoq_duration waits[100])
{
    size_t size = (size_t)sqlite3_column_bytes(stmt, at);
    if (size == 0 || size > NQ_RETRY_WAITS_MAX * sizeof *waits)
        return;
    memcpy(waits, sqlite3_column_blob(stmt, at), size);
    view->retry_waits = waits;
    view->retry_wait_count = size / sizeof *waits;
}

void sq_read_job(sqlite3_stmt *stmt, const char *queue, neoq_job *view, sq_job_texts *texts)
{
    const uint8_t *id = sqlite3_column_blob(stmt, 1);
    static const uint8_t none[16];
    nq_uuid_format(id && sqlite3_column_bytes(stmt, 1) == 16 ? id : none, texts->id);
    *view = (neoq_job){
        .id = texts->id,
        .queue = queue,
        .state = (neoq_state)sqlite3_column_int(stmt, 2),
        .priority = sqlite3_column_int(stmt, 3),
        .run_after = sqlite3_column_int64(stmt, 4),
        .created_at = sqlite3_column_int64(stmt, sqlite3_column_type(stmt, 5) == SQLITE_NULL ? 4 : 5),
        .max_retries = sqlite3_column_int(stmt, 6),
        .retries = sqlite3_column_int(stmt, 7),
        .epoch = sqlite3_column_int64(stmt, 8),
        .ran_at = sqlite3_column_int64(stmt, 9),
        .unique = sqlite3_column_type(stmt, 10) == SQLITE_NULL ? NEOQ_UNIQUE_OFF : NEOQ_UNIQUE_ON,
        .fingerprint = sq_read_fingerprint(stmt, 11, texts->fingerprint),
        .payload = sqlite3_column_blob(stmt, 12),
        .payload_size = (size_t)sqlite3_column_bytes(stmt, 12),
        .deadline = sqlite3_column_int64(stmt, 13),
        .retention = sqlite3_column_int64(stmt, 14),
        .metadata = text_at(stmt, 16),
        .finished_at = sqlite3_column_int64(stmt, 17),
        .error = text_at(stmt, 18),
        .result = sqlite3_column_blob(stmt, 19),
        .result_size = (size_t)sqlite3_column_bytes(stmt, 19),
    };
    if (sqlite3_column_type(stmt, 15) != SQLITE_NULL)
        read_retry_waits(stmt, 15, view, texts->retry_waits);
    if (!view->result && sqlite3_column_type(stmt, 19) != SQLITE_NULL)
        view->result = "";
}

int64_t sq_find_id(sq_db *db, const char *id)
{
    uint8_t raw[16];
    sqlite3_stmt *stmt = nq_uuid_parse(id, raw) ? sq_prepare(db, "SELECT rid FROM neoq_jobs WHERE id = ?1") : NULL;
    if (!stmt)
        return 0;
    sqlite3_bind_blob(stmt, 1, raw, sizeof raw, SQLITE_STATIC);
    int64_t rid = 0;
    if (sq_step(db, stmt)) {
        rid = sqlite3_column_int64(stmt, 0);
        sqlite3_reset(stmt);
    }
    return rid;
}

/* ---- places ----------------------------------------------------------------------------- */

void sq_make_ready(sq_tx *tx, int64_t rid)
{
    sq_do(tx->db, "INSERT INTO neoq_ready SELECT queue, -priority, run_after, rid FROM neoq_jobs WHERE rid = ?1",
          SQ_ARGS(rid));
}

void sq_delete_job(sq_tx *tx, int64_t rid)
{
    sq_do(tx->db, "DELETE FROM neoq_runs WHERE rid = ?1", SQ_ARGS(rid));
    sq_do(tx->db, "DELETE FROM neoq_jobs WHERE rid = ?1", SQ_ARGS(rid));
}

void sq_promote(sq_tx *tx)
{
    /* A bound on what one transaction moves; the rest follows in the next, which comes at once. */
    enum { LIMIT = 5000 };
    struct due {
        int64_t rid, queue;
        int state;
    } due[64];
    for (int moved = 0, found = 1; found && moved < LIMIT; moved += found) {
        sqlite3_stmt *stmt =
            sq_ask(tx->db,
                   "SELECT rid, queue, state FROM neoq_jobs WHERE state IN (1, 4) AND state <> 2 AND " SQ_MOMENT
                   " <= ?1"
                   " LIMIT 64",
                   SQ_ARGS(tx->now));
        for (found = 0; found < 64 && sq_step(tx->db, stmt); found++)
            due[found] = (struct due){sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                                      sqlite3_column_int(stmt, 2)};
        if (stmt)
            sqlite3_reset(stmt);
        for (int i = 0; i < found && tx->db->status == NEOQ_OK; i++) {
            sq_do(tx->db, "UPDATE neoq_jobs SET state = 2, retries = retries + (state = 4) WHERE rid = ?1",
                  SQ_ARGS(due[i].rid));
            sq_make_ready(tx, due[i].rid);
            sq_count(tx, due[i].queue, due[i].state, NEOQ_READY);
        }
        if (tx->db->status != NEOQ_OK)
            return;
    }
}

/* ---- enqueue ---------------------------------------------------------------------------- */

#define JOB_INSERT                                                                                                   \
    "INSERT INTO neoq_jobs(rid, id, queue, state, priority, run_after, created_at, max_retries, guard,"              \
    " fingerprint, payload, deadline, retention, retry_waits, metadata) VALUES"
#define JOB_ROW   "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
#define READY_ROW "(?,?,?,?)"
#define FIVE(row) row "," row "," row "," row "," row
#define TEN(row)  FIVE(row) "," FIVE(row)
#define HUNDRED(row)                                                                                                 \
    TEN(row)                                                                                                         \
    "," TEN(row) "," TEN(row) "," TEN(row) "," TEN(row) "," TEN(row) "," TEN(row) "," TEN(row) "," TEN(row) "," TEN( \
        row)

enum { JOB_BINDINGS = 15, READY_BINDINGS = 4 };
static const char insert_one[] = JOB_INSERT JOB_ROW " ON CONFLICT DO NOTHING";
static const char insert_hundred[] = JOB_INSERT HUNDRED(JOB_ROW) " ON CONFLICT DO NOTHING";
static const char ready_one[] = "INSERT INTO neoq_ready VALUES" READY_ROW;
static const char ready_hundred[] = "INSERT INTO neoq_ready VALUES" HUNDRED(READY_ROW);

/* Up to a hundred jobs on their way in. */
typedef struct group {
    const neoq_job *jobs;
    neoq_enqueued *results;
    size_t count;
    int64_t first_rid, guards[SQ_INSERT_ROWS];
    struct {
        int64_t queue;
        uint8_t id[16], print[16];
        bool in;
    } rows[SQ_INSERT_ROWS];
} group;

/* 0 is NULL. What was bound before stays bound, so every parameter is set each time. */
static void bind_optional(sqlite3_stmt *stmt, int at, int64_t value)
{
    if (value)
        sqlite3_bind_int64(stmt, at, value);
    else
        sqlite3_bind_null(stmt, at);
}

static void bind_job(sqlite3_stmt *stmt, int at, group *g, size_t i)
{
    const neoq_job *job = &g->jobs[i];
    sqlite3_bind_int64(stmt, at, g->first_rid + (int64_t)i);
    sqlite3_bind_blob(stmt, at + 1, g->rows[i].id, 16, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, at + 2, g->rows[i].queue);
    sqlite3_bind_int(stmt, at + 3, (int)job->state);
    sqlite3_bind_int(stmt, at + 4, job->priority);
    sqlite3_bind_int64(stmt, at + 5, job->run_after);
    bind_optional(stmt, at + 6, job->created_at == job->run_after ? 0 : job->created_at);
    sqlite3_bind_int(stmt, at + 7, job->max_retries);
    bind_optional(stmt, at + 8, g->guards[i]);
    sq_bind_fingerprint(stmt, at + 9, job->fingerprint, g->rows[i].print);
    sqlite3_bind_blob64(stmt, at + 10, job->payload_size ? job->payload : "", job->payload_size, SQLITE_STATIC);
    bind_optional(stmt, at + 11, job->deadline);
    bind_optional(stmt, at + 12, job->retention);
    sqlite3_bind_blob64(stmt, at + 13, job->retry_waits, job->retry_wait_count * sizeof *job->retry_waits,
                        SQLITE_STATIC);
    sqlite3_bind_text(stmt, at + 14, job->metadata, -1, SQLITE_STATIC);
}

static void bind_ready(sqlite3_stmt *stmt, int at, const group *g, size_t i)
{
    sqlite3_bind_int64(stmt, at, g->rows[i].queue);
    sqlite3_bind_int64(stmt, at + 1, -(int64_t)g->jobs[i].priority);
    sqlite3_bind_int64(stmt, at + 2, g->jobs[i].run_after);
    sqlite3_bind_int64(stmt, at + 3, g->first_rid + (int64_t)i);
}

/* What became of a job whose row was not made: twin is the unfinished job of its fingerprint, 0 = there is none. */
static void refuse(sq_tx *tx, group *g, size_t i, int64_t twin)
{
    neoq_enqueued *result = &g->results[i];
    g->rows[i].in = false;
    g->guards[i] = 0;
    if (twin == 0 || sq_find_id(tx->db, g->jobs[i].id))
        return; /* the same call once more */
    result->status = NEOQ_EDUPLICATE;
    sqlite3_stmt *stmt = sq_ask(tx->db, "SELECT id FROM neoq_jobs WHERE rid = ?1", SQ_ARGS(twin));
    if (sq_step(tx->db, stmt)) {
        const uint8_t *id = sqlite3_column_blob(stmt, 0);
        if (sqlite3_column_bytes(stmt, 0) == 16)
            nq_uuid_format(id, result->id);
        sqlite3_reset(stmt);
    }
}

static int64_t twin_of(sq_tx *tx, const group *g, size_t i)
{
    return g->guards[i] ? sq_guard_find(tx, g->guards[i], g->jobs[i].fingerprint, g->rows[i].queue) : 0;
}

/* Whether no job of the group has a twin, among the others or in the file. */
static bool all_single(sq_tx *tx, const group *g)
{
    for (size_t i = 0; i < g->count; i++)
        for (size_t k = 0; k < i && g->guards[i]; k++)
            if (g->guards[i] == g->guards[k])
                return false;
    for (size_t i = 0; i < g->count; i++)
        if (twin_of(tx, g, i))
            return false;
    return true;
}

/* Some of the group were there already: which? */
static void sort_out(sq_tx *tx, group *g)
{
    for (size_t i = 0; i < g->count; i++)
        g->rows[i].in = false;
    sqlite3_stmt *stmt = sq_ask(tx->db, "SELECT rid FROM neoq_jobs WHERE rid BETWEEN ?1 AND ?2",
                                SQ_ARGS(g->first_rid, g->first_rid + (int64_t)g->count - 1));
    while (sq_step(tx->db, stmt))
        g->rows[sqlite3_column_int64(stmt, 0) - g->first_rid].in = true;
    for (size_t i = 0; i < g->count; i++)
        if (!g->rows[i].in)
            refuse(tx, g, i, 0);
}

static void insert_together(sq_tx *tx, group *g)
{
    sqlite3_stmt *stmt = sq_prepare(tx->db, insert_hundred);
    for (size_t i = 0; stmt && i < g->count; i++)
        bind_job(stmt, 1 + JOB_BINDINGS * (int)i, g, i);
    if (sq_run(tx->db, stmt) < SQ_INSERT_ROWS)
        sort_out(tx, g);
    sq_guard_new(tx, g->guards, g->count, g->first_rid);
}

static void insert_each(sq_tx *tx, group *g)
{
    for (size_t i = 0; i < g->count && tx->db->status == NEOQ_OK; i++) {
        int64_t twin = twin_of(tx, g, i);
        sqlite3_stmt *stmt = twin ? NULL : sq_prepare(tx->db, insert_one);
        if (stmt)
            bind_job(stmt, 1, g, i);
        if (!stmt || sq_run(tx->db, stmt) != 1)
            refuse(tx, g, i, twin);
        sq_guard_new(tx, g->guards + i, 1, g->first_rid + (int64_t)i);
    }
}

static void insert_ready(sq_tx *tx, const group *g)
{
    size_t ready = 0;
    for (size_t i = 0; i < g->count; i++)
        ready += g->rows[i].in && g->jobs[i].state == NEOQ_READY;
    if (ready == SQ_INSERT_ROWS) {
        sqlite3_stmt *stmt = sq_prepare(tx->db, ready_hundred);
        for (size_t i = 0; stmt && i < g->count; i++)
            bind_ready(stmt, 1 + READY_BINDINGS * (int)i, g, i);
        sq_run(tx->db, stmt);
        return;
    }
    for (size_t i = 0; i < g->count && ready > 0; i++)
        if (g->rows[i].in && g->jobs[i].state == NEOQ_READY) {
            sqlite3_stmt *stmt = sq_prepare(tx->db, ready_one);
            if (stmt)
                bind_ready(stmt, 1, g, i);
            sq_run(tx->db, stmt);
        }
}

static void insert_group(sq_tx *tx, group *g)
{
    for (size_t i = 0; i < g->count; i++) {
        const neoq_job *job = &g->jobs[i];
        g->guards[i] = job->unique == NEOQ_UNIQUE_ON ? sq_guard_key(job->fingerprint, g->rows[i].queue) : 0;
    }
    if (g->count == SQ_INSERT_ROWS && all_single(tx, g))
        insert_together(tx, g);
    else
        insert_each(tx, g);
    if (tx->db->status != NEOQ_OK)
        return;
    insert_ready(tx, g);
    for (size_t i = 0; i < g->count; i++)
        if (g->rows[i].in)
            sq_count(tx, g->rows[i].queue, 0, (int)g->jobs[i].state);
}

static int64_t last_rid(sq_tx *tx)
{
    sqlite3_stmt *stmt = sq_prepare(tx->db, "SELECT seq FROM sqlite_sequence WHERE name = 'neoq_jobs'");
    int64_t rid = 0;
    if (sq_step(tx->db, stmt)) {
        rid = sqlite3_column_int64(stmt, 0);
        sqlite3_reset(stmt);
    }
    return rid;
}

/* How many more jobs a bounded queue takes. */
static int64_t room_in(sq_tx *tx, int64_t queue, int64_t capacity)
{
    sqlite3_stmt *stmt =
        sq_ask(tx->db, "SELECT scheduled + ready + retrying FROM neoq_queues WHERE id = ?1", SQ_ARGS(queue));
    int64_t waiting = 0;
    if (sq_step(tx->db, stmt)) {
        waiting = sqlite3_column_int64(stmt, 0);
        sqlite3_reset(stmt);
    }
    const sq_tally *tally = sq_tally_of(tx, queue);
    if (tally)
        waiting += tally->counts[NEOQ_SCHEDULED] + tally->counts[NEOQ_READY] + tally->counts[NEOQ_RETRYING];
    return capacity - waiting;
}

/* Starts a group with the next jobs. One for a bounded queue stands alone, because there its room is looked at first.
 * Returns how many jobs it took; g->count is 0 if the one it took was refused. */
static size_t gather(sq_tx *tx, const sq_enqueue_args *args, size_t at, group *g)
{
    g->jobs = args->jobs + at;
    g->results = args->results + at;
    g->count = 0;
    while (g->count < SQ_INSERT_ROWS && at + g->count < args->count) {
        size_t i = g->count;
        int64_t capacity;
        memcpy(g->results[i].id, g->jobs[i].id, 37);
        g->results[i].status = NEOQ_OK;
        g->rows[i].queue = sq_queue_of(tx, g->jobs[i].queue, false, &capacity);
        if (g->rows[i].queue == 0 && tx->db->status == NEOQ_OK) {
            /* A job that is there already, under another queue's name, does not make this one. */
            if (sq_find_id(tx->db, g->jobs[i].id))
                return i > 0 ? i : 1;
            g->rows[i].queue = sq_queue_of(tx, g->jobs[i].queue, true, &capacity);
        }
        if (tx->db->status != NEOQ_OK || !nq_uuid_parse(g->jobs[i].id, g->rows[i].id))
            return 1;
        if (capacity > 0 && i > 0)
            break;
        g->rows[i].in = true;
        if (capacity > 0 && room_in(tx, g->rows[i].queue, capacity) <= 0 && !sq_find_id(tx->db, g->jobs[i].id)) {
            g->results[i].status = NEOQ_EFULL;
            return 1;
        }
        g->count++;
        if (capacity > 0)
            break;
    }
    return g->count;
}

int sq_enqueue(sq_tx *tx, void *enqueue_args)
{
    sq_enqueue_args *args = enqueue_args;
    if (tx->last_rid == 0)
        tx->last_rid = last_rid(tx);
    int64_t rid = tx->last_rid + 1;
    group g;
    for (size_t at = 0; at < args->count && tx->db->status == NEOQ_OK;) {
        size_t taken = gather(tx, args, at, &g);
        g.first_rid = rid;
        if (g.count > 0 && tx->db->status == NEOQ_OK)
            insert_group(tx, &g);
        rid += (int64_t)g.count;
        at += taken;
    }
    tx->last_rid = rid - 1;
    tx->announce = true;
    return tx->db->status;
}
