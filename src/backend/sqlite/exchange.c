/* SPDX-License-Identifier: MIT
 *
 * Settling and claiming.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/sqlite/guards.h"
#include "backend/sqlite/jobs.h"
#include "backend/sqlite/schema.h"
#include "base/error.h"
#include "job/job.h"
#include "job/transition.h"

/* What a claimed run holds: where its row is, and what it guards. The memory of its view follows in the same block. */
typedef struct hold {
    int64_t rid, queue, guard;
} hold;

void sq_release(neoq_claimed *run)
{
    free(run->hold);
    run->hold = NULL;
}

static bool take_hold(hold place, const neoq_job *view, neoq_claimed *run)
{
    neoq_job *copy;
    hold *held = nq_job_copy_behind(view, sizeof *held, &copy);
    if (!held)
        return false;
    *held = place;
    run->job = *copy;
    run->hold = held;
    return true;
}

bool sq_hold_running(sqlite3_stmt *stmt, neoq_claimed *run)
{
    neoq_job view;
    sq_job_texts texts;
    sq_read_job(stmt, (const char *)sqlite3_column_text(stmt, SQ_JOB_COLUMN_COUNT), &view, &texts);
    view.state = NEOQ_RUNNING;
    view.epoch = sqlite3_column_int64(stmt, SQ_JOB_COLUMN_COUNT + 1);
    view.ran_at = sqlite3_column_int64(stmt, SQ_JOB_COLUMN_COUNT + 2);
    return take_hold((hold){.rid = sqlite3_column_int64(stmt, 0)}, &view, run);
}

/* ---- settle ----------------------------------------------------------------------------- */

/* The row in neoq_running, gone by now. */
typedef struct ended {
    int64_t rid, queue, guard, worker;
    bool cancel;
} ended;

/* Takes the run out of neoq_running. False: it is not there at this epoch. */
static bool take_out(sq_tx *tx, int64_t rid, int64_t epoch, ended *e)
{
    sqlite3_stmt *stmt =
        sq_ask(tx->db,
               "SELECT j.queue, j.guard, r.worker, r.cancel FROM neoq_running r JOIN neoq_jobs j ON j.rid = r.rid"
               " WHERE r.rid = ?1 AND r.epoch = ?2",
               SQ_ARGS(rid, epoch));
    if (!sq_step(tx->db, stmt))
        return false;
    *e = (ended){rid, sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2),
                 sqlite3_column_int(stmt, 3) != 0};
    sqlite3_reset(stmt);
    return sq_do(tx->db, "DELETE FROM neoq_running WHERE rid = ?1", SQ_ARGS(rid)) == 1;
}

static void slow_queue(sq_tx *tx, int64_t queue)
{
    sqlite3_stmt *stmt = sq_ask(tx->db, "SELECT slow_wait FROM neoq_queues WHERE id = ?1", SQ_ARGS(queue));
    neoq_duration wait = sq_step(tx->db, stmt) ? sqlite3_column_int64(stmt, 0) : 0;
    if (stmt)
        sqlite3_reset(stmt);
    wait = nq_slower(wait);
    sq_do(tx->db, "UPDATE neoq_queues SET slow_wait = ?2, slow_until = ?3 WHERE id = ?1",
          SQ_ARGS(queue, wait, tx->now + wait));
}

/* Counts a run that ended; what is snoozed or given back has not ended. */
static void count_run(sq_tx *tx, int64_t queue, const neoq_settlement *s)
{
    sq_tally *tally = sq_tally_of(tx, queue);
    if (!tally || s->state == NEOQ_SCHEDULED || s->state == NEOQ_READY)
        return;
    tally->processed++;
    if (s->state != NEOQ_DONE)
        tally->failed++;
    else
        tally->reset = true;
    if (s->slow_down) {
        tally->reset = false; /* this one is later */
        slow_queue(tx, queue);
    }
}

static void add_run(sq_tx *tx, const ended *e, const neoq_settlement *s)
{
    sqlite3_stmt *stmt = sq_prepare(tx->db, "INSERT OR REPLACE INTO neoq_runs SELECT ?1, ?2, (SELECT id FROM"
                                            " neoq_workers WHERE rid = ?3), ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11");
    if (!stmt)
        return;
    const int64_t numbers[] = {e->rid, s->epoch, e->worker, s->started_at, s->finished_at};
    for (int i = 0; i < 5; i++)
        sqlite3_bind_int64(stmt, i + 1, numbers[i]);
    sqlite3_bind_text(stmt, 6, s->outcome, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 7, s->error, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 8, s->exit_code);
    sqlite3_bind_int(stmt, 9, s->signal);
    sqlite3_bind_int64(stmt, 10, s->cpu_time);
    sqlite3_bind_int64(stmt, 11, s->peak_memory);
    sq_run(tx->db, stmt);
    sq_do(tx->db,
          "DELETE FROM neoq_runs WHERE rid = ?1 AND epoch <= (SELECT epoch FROM neoq_runs WHERE rid = ?1"
          " ORDER BY epoch DESC LIMIT 1 OFFSET ?2)",
          SQ_ARGS(e->rid, NQ_RUNS_KEPT));
}

static void write_job(sq_tx *tx, const ended *e, const neoq_settlement *s)
{
    bool over = s->state >= NEOQ_DONE;
    sqlite3_stmt *stmt =
        sq_prepare(tx->db, over ? "UPDATE neoq_jobs SET " SQ_KEEP_CREATED ", state = ?2, run_after = ?3, epoch = ?4,"
                                  " ran_at = ?5, error = ?6, keep_until = ?7, finished_at = ?8,"
                                  " result = ?9 WHERE rid = ?1"
                                : "UPDATE neoq_jobs SET " SQ_KEEP_CREATED ", state = ?2, run_after = ?3, epoch = ?4,"
                                  " ran_at = ?5, error = ?6 WHERE rid = ?1");
    if (!stmt)
        return;
    const int64_t numbers[] = {e->rid, (int64_t)s->state, s->run_after, s->epoch, s->started_at};
    for (int i = 0; i < 5; i++)
        sqlite3_bind_int64(stmt, i + 1, numbers[i]);
    sqlite3_bind_text(stmt, 6, s->error, -1, SQLITE_STATIC);
    if (over) {
        sqlite3_bind_int64(stmt, 7, s->keep_until ? s->keep_until : INT64_MAX);
        sqlite3_bind_int64(stmt, 8, s->finished_at);
        sqlite3_bind_blob64(stmt, 9, s->result, s->result_size, SQLITE_STATIC);
    }
    sq_run(tx->db, stmt);
    if (s->state == NEOQ_READY)
        sq_make_ready(tx, e->rid);
    tx->announce |= !over; /* another process may be free for it */
}

static bool settle_slowly(sq_tx *tx, int64_t rid, neoq_settlement *s)
{
    ended e;
    if (!take_out(tx, rid, s->epoch, &e))
        return false;
    if (e.cancel)
        nq_heed_cancel(s);
    if (s->forget || s->state >= NEOQ_DONE)
        sq_guard_drop(tx, e.guard, rid);
    count_run(tx, e.queue, s);
    sq_count(tx, e.queue, NEOQ_RUNNING, s->forget ? 0 : (int)s->state);
    if (s->forget) {
        sq_delete_job(tx, rid);
    } else {
        add_run(tx, &e, s);
        write_job(tx, &e, s);
    }
    return true;
}

/* Counts of a settled run that leaves nothing behind. */
static void count_forgotten(sq_tx *tx, int64_t queue, const neoq_settlement *s)
{
    count_run(tx, queue, s);
    sq_count(tx, queue, NEOQ_RUNNING, 0);
}

/* The usual end: done, nothing to be kept. */
static bool settle_fast(sq_tx *tx, const hold *held, neoq_settlement *s)
{
    if (sq_do(tx->db, "DELETE FROM neoq_running WHERE rid = ?1 AND epoch = ?2 AND cancel = 0",
              SQ_ARGS(held->rid, s->epoch)) != 1)
        return false;
    if (s->epoch > 1)
        sq_do(tx->db, "DELETE FROM neoq_runs WHERE rid = ?1", SQ_ARGS(held->rid));
    sq_do(tx->db, "DELETE FROM neoq_jobs WHERE rid = ?1", SQ_ARGS(held->rid));
    sq_guard_drop(tx, held->guard, held->rid);
    count_forgotten(tx, held->queue, s);
    return true;
}

static const hold *fast_hold(const neoq_settlement *s)
{
    const hold *held = s->hold;
    return s->forget && held && held->queue ? held : NULL;
}

static int by_row(const void *a, const void *b)
{
    int64_t x = fast_hold(*(neoq_settlement *const *)a)->rid, y = fast_hold(*(neoq_settlement *const *)b)->rid;
    return (x > y) - (x < y);
}

/*
 * Settles count runs whose rows follow each other and whose epochs are equal: rid ... rid + count - 1. If every one of
 * those rows is running at that epoch, all go at once; otherwise each is looked at by itself.
 */
static bool settle_row_of(sq_tx *tx, neoq_settlement **row, size_t count)
{
    int64_t first = fast_hold(row[0])->rid, last = first + (int64_t)count - 1, epoch = row[0]->epoch;
    sqlite3_stmt *stmt = sq_ask(tx->db,
                                "SELECT count(*) FROM neoq_running WHERE rid BETWEEN ?1 AND ?2 AND epoch = ?3"
                                " AND cancel = 0",
                                SQ_ARGS(first, last, epoch));
    bool whole = sq_step(tx->db, stmt) && sqlite3_column_int64(stmt, 0) == (int64_t)count;
    if (stmt)
        sqlite3_reset(stmt);
    if (!whole)
        return false;
    sq_do(tx->db, "DELETE FROM neoq_running WHERE rid BETWEEN ?1 AND ?2", SQ_ARGS(first, last));
    sq_do(tx->db, "DELETE FROM neoq_jobs WHERE rid BETWEEN ?1 AND ?2", SQ_ARGS(first, last));
    if (epoch > 1)
        sq_do(tx->db, "DELETE FROM neoq_runs WHERE rid BETWEEN ?1 AND ?2", SQ_ARGS(first, last));
    for (size_t i = 0; i < count; i++) {
        const hold *held = fast_hold(row[i]);
        sq_guard_drop(tx, held->guard, held->rid);
        count_forgotten(tx, held->queue, row[i]);
        row[i]->cancelled = false;
        row[i]->status = NEOQ_OK;
    }
    return true;
}

/* Settles what can be settled in rows; the status of the rest is left at 1. */
static void settle_rows(sq_tx *tx, neoq_exchange *x)
{
    enum { WORTH_IT = 8 };
    size_t count = 0;
    neoq_settlement **sorted = malloc(x->settlement_count * sizeof(neoq_settlement *));
    for (size_t i = 0; i < x->settlement_count; i++) {
        x->settlements[i].status = 1;
        if (sorted && fast_hold(&x->settlements[i]))
            sorted[count++] = &x->settlements[i];
    }
    if (count >= WORTH_IT)
        qsort(sorted, count, sizeof *sorted, by_row);
    for (size_t i = 0, next; count >= WORTH_IT && i < count && tx->db->status == NEOQ_OK; i = next) {
        for (next = i + 1; next < count && sorted[next]->epoch == sorted[i]->epoch &&
                           fast_hold(sorted[next])->rid == fast_hold(sorted[i])->rid + (int64_t)(next - i);)
            next++;
        if (next - i >= WORTH_IT)
            settle_row_of(tx, sorted + i, next - i);
    }
    free(sorted);
}

static void settle(sq_tx *tx, neoq_settlement *s)
{
    const hold *held = s->hold, *fast = fast_hold(s);
    int64_t rid = held ? held->rid : sq_find_id(tx->db, s->id);
    s->cancelled = false;
    bool settled = fast && settle_fast(tx, fast, s);
    if (!settled && rid > 0)
        settled = settle_slowly(tx, rid, s);
    s->status = settled ? NEOQ_OK : NEOQ_ELOST;
}

/* ---- claim ------------------------------------------------------------------------------ */

/* Runs claimed from one priority of one queue. */
typedef struct slice {
    int64_t queue, priority;
    size_t limit, count;
    int64_t last_run_after, last_rid, epoch;
    bool same_epoch; /* of all: epoch */
} slice;

static bool read_claimed(sqlite3_stmt *stmt, const slice *s, const char *queue, neoq_time now, neoq_claimed *run)
{
    neoq_job view;
    sq_job_texts texts;
    sq_read_job(stmt, queue, &view, &texts);
    view.state = NEOQ_RUNNING;
    view.epoch++;
    view.ran_at = now;
    view.result = NULL;
    view.result_size = 0;
    hold place = {sqlite3_column_int64(stmt, 0), s->queue, sqlite3_column_int64(stmt, SQ_JOB_GUARD)};
    return take_hold(place, &view, run);
}

static void read_slice(sq_tx *tx, slice *s, const char *queue, neoq_exchange *x)
{
    sqlite3_stmt *stmt = sq_ask(tx->db,
                                "SELECT " SQ_JOB_COLUMNS ", q.run_after FROM neoq_ready q CROSS JOIN neoq_jobs j"
                                " ON j.rid = q.rid WHERE q.queue = ?1 AND q.priority = ?2"
                                " ORDER BY q.run_after, q.rid LIMIT ?3",
                                SQ_ARGS(s->queue, s->priority, (int64_t)s->limit));
    while (s->count < s->limit && sq_step(tx->db, stmt)) {
        if (!read_claimed(stmt, s, queue, tx->now, &x->runs[x->run_count])) {
            tx->db->status = nq_fail(NEOQ_ENOMEM, "%s: no memory for claimed jobs", tx->store->path);
            break;
        }
        int64_t epoch = x->runs[x->run_count++].job.epoch;
        s->same_epoch = s->count++ == 0 || (s->same_epoch && epoch == s->epoch);
        s->epoch = epoch;
        s->last_rid = sqlite3_column_int64(stmt, 0);
        s->last_run_after = sqlite3_column_int64(stmt, SQ_JOB_COLUMN_COUNT);
    }
    if (stmt)
        sqlite3_reset(stmt);
}

static void mark_slice(sq_tx *tx, const slice *s, int64_t worker)
{
    if (s->same_epoch) /* as on nearly all first runs: the wide rows need not be looked at again */
        sq_do(tx->db,
              "INSERT INTO neoq_running(rid, epoch, worker, ran_at) SELECT rid, ?6, ?3, ?4 FROM neoq_ready"
              " WHERE queue = ?1 AND priority = ?2 ORDER BY run_after, rid LIMIT ?5",
              SQ_ARGS(s->queue, s->priority, worker, tx->now, (int64_t)s->count, s->epoch));
    else
        sq_do(tx->db,
              "INSERT INTO neoq_running(rid, epoch, worker, ran_at) SELECT q.rid, j.epoch + 1, ?3, ?4"
              " FROM neoq_ready q CROSS JOIN neoq_jobs j ON j.rid = q.rid WHERE q.queue = ?1 AND q.priority = ?2"
              " ORDER BY q.run_after, q.rid LIMIT ?5",
              SQ_ARGS(s->queue, s->priority, worker, tx->now, (int64_t)s->count));
    sq_do(tx->db, "DELETE FROM neoq_ready WHERE queue = ?1 AND priority = ?2 AND (run_after, rid) <= (?3, ?4)",
          SQ_ARGS(s->queue, s->priority, s->last_run_after, s->last_rid));
}

/* The most urgent priority of the queue after this one, negated as in the table. False: there is none. */
static bool next_priority(sq_db *db, int64_t queue, int64_t after, int64_t *priority)
{
    sqlite3_stmt *stmt = sq_ask(db,
                                "SELECT priority FROM neoq_ready WHERE queue = ?1 AND priority > ?2"
                                " ORDER BY priority LIMIT 1",
                                SQ_ARGS(queue, after));
    if (!sq_step(db, stmt))
        return false;
    *priority = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    return true;
}

/* Whether the queue may be claimed from now; sets next_due if it is to be again. */
static bool open_queue(sq_db *db, int64_t queue, neoq_time now, neoq_exchange *x)
{
    sqlite3_stmt *stmt = sq_ask(db, "SELECT paused, slow_until FROM neoq_queues WHERE id = ?1", SQ_ARGS(queue));
    if (!sq_step(db, stmt))
        return false;
    bool paused = sqlite3_column_int(stmt, 0) != 0;
    neoq_time slow_until = sqlite3_column_int64(stmt, 1);
    sqlite3_reset(stmt);
    if (!paused && slow_until > now && (x->next_due == 0 || slow_until < x->next_due))
        x->next_due = slow_until;
    return !paused && slow_until <= now;
}

static void claim(sq_tx *tx, const neoq_claim *c, int64_t worker, neoq_exchange *x)
{
    int64_t queue = sq_queue_of(tx, c->queue, false, NULL);
    if (queue == 0 || !open_queue(tx->db, queue, tx->now, x))
        return;
    size_t left = c->limit;
    slice s = {.queue = queue, .priority = INT64_MIN};
    while (left > 0 && tx->db->status == NEOQ_OK && next_priority(tx->db, queue, s.priority, &s.priority)) {
        s.limit = left;
        s.count = 0;
        read_slice(tx, &s, c->queue, x);
        if (s.count == 0)
            break;
        mark_slice(tx, &s, worker);
        left -= s.count;
        sq_tally *tally = sq_tally_of(tx, queue);
        if (tally) {
            tally->counts[NEOQ_READY] -= (int64_t)s.count;
            tally->counts[NEOQ_RUNNING] += (int64_t)s.count;
        }
    }
}

/* ---- exchange --------------------------------------------------------------------------- */

static int64_t find_worker(sq_db *db, const char *id)
{
    sqlite3_stmt *stmt = sq_prepare(db, "SELECT rid FROM neoq_workers WHERE id = ?1 AND NOT lost");
    if (!stmt)
        return 0;
    sqlite3_bind_text(stmt, 1, id, -1, SQLITE_STATIC);
    int64_t rid = sq_step(db, stmt) ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    return rid;
}

static void collect_cancels(sq_db *db, int64_t worker, neoq_exchange *x)
{
    sqlite3_stmt *stmt = sq_ask(db,
                                "SELECT " SQ_JOB_COLUMNS " FROM neoq_running r JOIN neoq_jobs j ON j.rid = r.rid"
                                " WHERE r.worker = ?1 AND r.cancel",
                                SQ_ARGS(worker));
    while (x->cancel_count < x->cancel_room && sq_step(db, stmt)) {
        neoq_job view;
        sq_job_texts texts;
        sq_read_job(stmt, "", &view, &texts);
        memcpy(x->cancels[x->cancel_count++], texts.id, sizeof texts.id);
    }
    if (stmt)
        sqlite3_reset(stmt);
}

static neoq_time next_due(sq_db *db)
{
    sqlite3_stmt *stmt = sq_prepare(db, "SELECT min(at) FROM (SELECT * FROM (SELECT min(" SQ_MOMENT
                                        ") AS at FROM neoq_jobs WHERE state = 1 AND state <> 2) UNION ALL"
                                        " SELECT min(" SQ_MOMENT ") FROM neoq_jobs WHERE state = 4 AND state <> 2)");
    neoq_time due = sq_step(db, stmt) ? sqlite3_column_int64(stmt, 0) : 0;
    if (stmt)
        sqlite3_reset(stmt);
    return due;
}

bool sq_exchange_useful(neoq_store *store, sq_db *db, neoq_exchange *x)
{
    neoq_time now = store->clock->now(store->clock);
    db->status = NEOQ_OK;
    x->next_due = next_due(db);
    bool useful = x->next_due > 0 && x->next_due <= now;
    if (!x->worker)
        return useful;
    int64_t worker = find_worker(db, x->worker), priority;
    if (worker == 0)
        return true; /* the writer will find out and say so */
    for (size_t i = 0; i < x->claim_count && !useful; i++) {
        sqlite3_stmt *stmt = sq_prepare(db, "SELECT id FROM neoq_queues WHERE name = ?1");
        if (stmt)
            sqlite3_bind_text(stmt, 1, x->claims[i].queue, -1, SQLITE_STATIC);
        int64_t queue = sq_step(db, stmt) ? sqlite3_column_int64(stmt, 0) : 0;
        if (stmt)
            sqlite3_reset(stmt);
        useful = queue > 0 && open_queue(db, queue, now, x) && next_priority(db, queue, INT64_MIN, &priority);
    }
    collect_cancels(db, worker, x);
    return useful;
}

static void drop_runs(neoq_exchange *x)
{
    while (x->run_count > 0)
        sq_release(&x->runs[--x->run_count]);
}

int sq_exchange(sq_tx *tx, void *exchange)
{
    neoq_exchange *x = exchange;
    drop_runs(x); /* of a try that was rolled back */
    x->cancel_count = 0;
    settle_rows(tx, x);
    for (size_t i = 0; i < x->settlement_count && tx->db->status == NEOQ_OK; i++)
        if (x->settlements[i].status == 1)
            settle(tx, &x->settlements[i]);
    sq_promote(tx);
    x->next_due = next_due(tx->db);
    if (!x->worker || tx->db->status != NEOQ_OK)
        return tx->db->status;
    int64_t worker = find_worker(tx->db, x->worker);
    if (worker == 0 && tx->db->status == NEOQ_OK)
        return nq_fail(NEOQ_ELOST, "worker %.63s has no lease", x->worker);
    for (size_t i = 0; i < x->claim_count && tx->db->status == NEOQ_OK; i++)
        claim(tx, &x->claims[i], worker, x);
    collect_cancels(tx->db, worker, x);
    if (tx->db->status != NEOQ_OK)
        drop_runs(x);
    return tx->db->status;
}
