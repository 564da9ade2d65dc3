/* SPDX-License-Identifier: MIT
 *
 * Workers and their leases, recovery, retention.
 *
 * A lease ends on the machine's steady clock, which all processes on one file share. A worker whose process is gone
 * from this machine need not be waited for: its lease counts as over at once.
 */
#include "backend/sqlite/jobs.h"
#include "backend/sqlite/manage.h"
#include "backend/sqlite/schema.h"
#include "base/error.h"
#include "base/place.h"
#include "job/job.h"

static bool is_gone(const char *here, const char *place, int pid, int64_t lease_until, int64_t steady)
{
    return lease_until < steady || nq_place_other_boot(place, here) || nq_place_is_gone(here, place, pid);
}

bool sq_count_workers(sq_db *db, const neoq_clock *clock, int *live, int *gone)
{
    char here[NQ_PLACE_SIZE];
    int64_t steady = clock->steady(clock);
    sqlite3_stmt *stmt = sq_prepare(db, "SELECT place, pid, lease_until, lost FROM neoq_workers");
    nq_place_find(here);
    *live = *gone = 0;
    while (sq_step(db, stmt)) {
        const char *place = (const char *)sqlite3_column_text(stmt, 0);
        bool over = sqlite3_column_int(stmt, 3) || is_gone(here, place ? place : "", sqlite3_column_int(stmt, 1),
                                                           sqlite3_column_int64(stmt, 2), steady);
        ++*(over ? gone : live);
    }
    return db->status == NEOQ_OK;
}

/* ---- beats ------------------------------------------------------------------------------ */

static int join(sq_tx *tx, const neoq_beat *beat)
{
    char place[NQ_PROCESS_PLACE_SIZE];
    nq_place_of(tx->store->place, beat->worker.pid, place);
    sqlite3_stmt *stmt = sq_prepare(tx->db, "INSERT INTO neoq_workers(id, host, pid, place, started_at, seen_at,"
                                            " lease_until, running, capacity)"
                                            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8)");
    if (!stmt)
        return tx->db->status;
    const neoq_clock *clock = tx->store->clock;
    sqlite3_bind_text(stmt, 1, beat->worker.id, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, beat->worker.host, -1, SQLITE_STATIC);
    sqlite3_bind_int(stmt, 3, beat->worker.pid);
    sqlite3_bind_text(stmt, 4, place, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 5, beat->worker.started_at);
    sqlite3_bind_int64(stmt, 6, tx->now);
    sqlite3_bind_int64(stmt, 7, clock->steady(clock) + beat->lease);
    sqlite3_bind_int(stmt, 8, beat->worker.capacity);
    sq_run(tx->db, stmt);
    return tx->db->status;
}

/* Lost workers are kept until their last run is settled. */
static void bury_workers(sq_tx *tx)
{
    sq_run(tx->db, sq_prepare(tx->db, "DELETE FROM neoq_workers WHERE lost AND NOT EXISTS"
                                      " (SELECT 1 FROM neoq_running r WHERE r.worker = neoq_workers.rid)"));
}

static int renew(sq_tx *tx, const neoq_beat *beat)
{
    sqlite3_stmt *stmt = sq_prepare(tx->db, "UPDATE neoq_workers SET seen_at = ?2, lease_until = ?3, running = ?4,"
                                            " capacity = ?5, lost = ?6 WHERE id = ?1 AND NOT lost");
    if (!stmt)
        return tx->db->status;
    const neoq_clock *clock = tx->store->clock;
    sqlite3_bind_text(stmt, 1, beat->worker.id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 2, tx->now);
    sqlite3_bind_int64(stmt, 3, clock->steady(clock) + beat->lease);
    sqlite3_bind_int(stmt, 4, beat->worker.running);
    sqlite3_bind_int(stmt, 5, beat->worker.capacity);
    sqlite3_bind_int(stmt, 6, beat->lease == 0);
    int changed = sq_run(tx->db, stmt);
    if (beat->lease == 0)
        bury_workers(tx);
    if (tx->db->status == NEOQ_OK && changed == 0)
        return nq_fail(NEOQ_ELOST, "worker %s lost its lease", beat->worker.id);
    return tx->db->status;
}

static int beat_in(sq_tx *tx, void *arg)
{
    const neoq_beat *beat = arg;
    return beat->join ? join(tx, beat) : renew(tx, beat);
}

int sq_beat(neoq_store *store, const neoq_beat *beat)
{
    return sq_write_hastily(store, beat_in, (void *)(uintptr_t)beat);
}

/* ---- recovery and retention ------------------------------------------------------------- */

typedef struct tend_args {
    size_t limit;
    neoq_claimed *lost;
    size_t lost_count;
    int64_t gone[256];
    size_t gone_count;
} tend_args;

/*
 * As of which instant leases are judged. While somebody held the write lock for long, nobody could renew his; when that is
 * over everybody has the time of a beat for it. Beats of our own find such a lock, too, so none goes unnoticed.
 */
static int64_t judged_at(neoq_store *store)
{
    int64_t steady = store->clock->steady(store->clock), stalled = atomic_load(&store->stalled_at);
    neoq_duration beat = store->options->lease / 6 + NEOQ_SECONDS(1);
    return stalled != 0 && steady - stalled < beat ? 0 : steady;
}

static void find_gone(neoq_store *store, sq_db *db, tend_args *args)
{
    int64_t steady = judged_at(store);
    sqlite3_stmt *stmt = sq_prepare(db, "SELECT rid, place, pid, lease_until FROM neoq_workers WHERE NOT lost");
    args->gone_count = 0;
    while (args->gone_count < sizeof args->gone / sizeof *args->gone && sq_step(db, stmt)) {
        const char *place = (const char *)sqlite3_column_text(stmt, 1);
        if (is_gone(store->place, place ? place : "", sqlite3_column_int(stmt, 2), sqlite3_column_int64(stmt, 3),
                    steady))
            args->gone[args->gone_count++] = sqlite3_column_int64(stmt, 0);
    }
    if (stmt)
        sqlite3_reset(stmt);
}

static void forget_expired(sq_tx *tx, size_t limit)
{
    struct expired {
        int64_t rid, queue;
        int state;
    } expired[64];
    for (size_t count = 64, done = 0; count == 64 && done < limit && tx->db->status == NEOQ_OK; done += count) {
        sqlite3_stmt *stmt = sq_ask(tx->db,
                                    "SELECT rid, queue, state FROM neoq_jobs WHERE state IN (5, 6)"
                                    " AND state <> 2 AND " SQ_MOMENT " <= ?1 LIMIT 64",
                                    SQ_ARGS(tx->now));
        for (count = 0; count < 64 && sq_step(tx->db, stmt); count++)
            expired[count] = (struct expired){sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1),
                                              sqlite3_column_int(stmt, 2)};
        if (stmt)
            sqlite3_reset(stmt);
        for (size_t i = 0; i < count; i++) {
            sq_delete_job(tx, expired[i].rid);
            sq_count(tx, expired[i].queue, expired[i].state, 0);
        }
    }
}

static void hand_out_lost(sq_tx *tx, tend_args *args)
{
    while (args->lost_count > 0) /* of a try that was rolled back */
        sq_release(&args->lost[--args->lost_count]);
    sqlite3_stmt *stmt = sq_ask(tx->db,
                                "SELECT " SQ_JOB_COLUMNS ", q.name, r.epoch, r.ran_at FROM neoq_workers w"
                                " CROSS JOIN neoq_running r ON r.worker = w.rid JOIN neoq_jobs j ON j.rid = r.rid"
                                " JOIN neoq_queues q ON q.id = j.queue WHERE w.lost LIMIT ?1",
                                SQ_ARGS((int64_t)args->limit));
    while (args->lost_count < args->limit && sq_step(tx->db, stmt)) {
        if (!sq_hold_running(stmt, &args->lost[args->lost_count]))
            break; /* without memory it is left for another round */
        args->lost_count++;
    }
    if (stmt)
        sqlite3_reset(stmt);
}

static int tend(sq_tx *tx, void *arg)
{
    tend_args *args = arg;
    find_gone(tx->store, tx->db, args);
    for (size_t i = 0; i < args->gone_count; i++)
        sq_do(tx->db, "UPDATE neoq_workers SET lost = 1 WHERE rid = ?1", SQ_ARGS(args->gone[i]));
    bury_workers(tx);
    forget_expired(tx, args->limit);
    hand_out_lost(tx, args);
    return tx->db->status;
}

/* Mostly there is nothing to do, and that is seen without writing. */
static bool tend_useful(neoq_store *store, tend_args *args)
{
    pthread_mutex_lock(&store->read_mutex);
    sq_db *db = &store->reader;
    db->status = NEOQ_OK;
    find_gone(store, db, args);
    sqlite3_stmt *stmt = sq_ask(db,
                                "SELECT EXISTS(SELECT 1 FROM neoq_workers WHERE lost) OR"
                                " EXISTS(SELECT 1 FROM neoq_jobs WHERE state IN (5, 6) AND state <> 2"
                                " AND " SQ_MOMENT " <= ?1)",
                                SQ_ARGS(store->clock->now(store->clock)));
    bool useful = args->gone_count > 0 || !sq_step(db, stmt) || sqlite3_column_int(stmt, 0) != 0;
    if (stmt)
        sqlite3_reset(stmt);
    pthread_mutex_unlock(&store->read_mutex);
    return useful;
}

int sq_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count)
{
    tend_args args = {.limit = limit, .lost = lost};
    *lost_count = 0;
    if (!tend_useful(store, &args))
        return NEOQ_OK;
    int status = sq_write(store, tend, &args);
    if (status != NEOQ_OK)
        while (args.lost_count > 0)
            sq_release(&lost[--args.lost_count]);
    *lost_count = args.lost_count;
    return status;
}
