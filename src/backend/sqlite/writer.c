/* SPDX-License-Identifier: MIT
 *
 * Transactions that take along the work of several callers, checkpoints.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/sqlite/guards.h"
#include "backend/sqlite/store.h"
#include "base/error.h"
#include "job/transition.h"

enum { CHECKPOINT_PAGES = 14000, STALL_S = 1 /* more than our own transactions ever take */ };

/* ---- tallies ---------------------------------------------------------------------------- */

void sq_tx_begin(sq_tx *tx, neoq_store *store, sq_db *db, bool own)
{
    *tx = (sq_tx){.store = store, .db = db, .own = own, .now = store->clock->now(store->clock)};
    db->status = NEOQ_OK;
}

void sq_tx_free(sq_tx *tx)
{
    free(tx->tallies);
}

sq_tally *sq_tally_of(sq_tx *tx, int64_t queue)
{
    for (size_t i = tx->tally_count; i-- > 0;)
        if (tx->tallies[i].queue == queue)
            return &tx->tallies[i];
    if (tx->tally_count == tx->tally_room) {
        size_t room = tx->tally_room ? tx->tally_room * 2 : 4;
        sq_tally *tallies = realloc(tx->tallies, room * sizeof *tallies);
        if (!tallies) {
            if (tx->db->status == NEOQ_OK)
                tx->db->status = nq_fail(NEOQ_ENOMEM, "%s: no memory for a transaction", tx->store->path);
            return NULL;
        }
        tx->tallies = tallies;
        tx->tally_room = room;
    }
    sq_tally *tally = &tx->tallies[tx->tally_count++];
    *tally = (sq_tally){.queue = queue};
    return tally;
}

void sq_count(sq_tx *tx, int64_t queue, int from, int to)
{
    sq_tally *tally = sq_tally_of(tx, queue);
    if (!tally)
        return;
    if (from)
        tally->counts[from]--;
    if (to)
        tally->counts[to]++;
}

static void flush_slowing(sq_tx *tx, const sq_tally *tally)
{
    if (tally->reset)
        sq_do(tx->db, "UPDATE neoq_queues SET slow_wait = 0, slow_until = 0 WHERE id = ?1 AND slow_wait > 0",
              SQ_ARGS(tally->queue));
}

int sq_tx_flush(sq_tx *tx)
{
    for (size_t i = 0; i < tx->tally_count && tx->db->status == NEOQ_OK; i++) {
        const sq_tally *t = &tx->tallies[i];
        sq_do(tx->db,
              "UPDATE neoq_queues SET scheduled = scheduled + ?2, ready = ready + ?3, running = running + ?4,"
              " retrying = retrying + ?5, done = done + ?6, dead = dead + ?7, processed = processed + ?8,"
              " failed = failed + ?9 WHERE id = ?1",
              SQ_ARGS(t->queue, t->counts[NEOQ_SCHEDULED], t->counts[NEOQ_READY], t->counts[NEOQ_RUNNING],
                      t->counts[NEOQ_RETRYING], t->counts[NEOQ_DONE], t->counts[NEOQ_DEAD], t->processed, t->failed));
        flush_slowing(tx, t);
    }
    if (tx->db->status == NEOQ_OK)
        sq_guard_merge(tx);
    return tx->db->status;
}

/* ---- queues by name --------------------------------------------------------------------- */

void sq_forget_queues(neoq_store *store)
{
    for (size_t i = 0; i < store->queue_count; i++)
        free(store->queues[i].name);
    store->queue_count = 0;
}

static size_t queue_position(const neoq_store *store, const char *name, bool *found)
{
    size_t low = 0, high = store->queue_count;
    *found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, store->queues[middle].name);
        if (order == 0)
            *found = true;
        if (order <= 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Without memory for it the queue is simply not remembered. */
static void remember_queue(neoq_store *store, const char *name, int64_t id, int64_t capacity)
{
    bool found;
    size_t at = queue_position(store, name, &found);
    sq_queue_id *queues = realloc(store->queues, (store->queue_count + 1) * sizeof *queues);
    char *copy = strdup(name);
    if (queues)
        store->queues = queues;
    if (!queues || !copy || found) {
        free(copy);
        return;
    }
    memmove(queues + at + 1, queues + at, (store->queue_count - at) * sizeof *queues);
    queues[at] = (sq_queue_id){copy, id, capacity};
    store->queue_count++;
}

static int64_t look_up_queue(sq_db *db, const char *name, int64_t *capacity)
{
    sqlite3_stmt *stmt = sq_prepare(db, "SELECT id, capacity FROM neoq_queues WHERE name = ?1");
    if (!stmt)
        return 0;
    sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
    int64_t id = 0;
    if (sq_step(db, stmt)) {
        id = sqlite3_column_int64(stmt, 0);
        *capacity = sqlite3_column_int64(stmt, 1);
        sqlite3_reset(stmt);
    }
    return id;
}

int64_t sq_queue_of(sq_tx *tx, const char *name, bool make, int64_t *capacity)
{
    int64_t ignored;
    capacity = capacity ? capacity : &ignored;
    *capacity = 0;
    bool found = false;
    size_t at = tx->own ? queue_position(tx->store, name, &found) : 0;
    if (found) {
        *capacity = tx->store->queues[at].capacity;
        return tx->store->queues[at].id;
    }
    int64_t id = look_up_queue(tx->db, name, capacity);
    if (id == 0 && make && tx->db->status == NEOQ_OK) {
        sqlite3_stmt *stmt = sq_prepare(tx->db, "INSERT INTO neoq_queues(name) VALUES(?1)");
        if (stmt)
            sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
        if (sq_run(tx->db, stmt) == 1)
            id = sqlite3_last_insert_rowid(tx->db->handle);
    }
    if (id > 0 && tx->own)
        remember_queue(tx->store, name, id, *capacity);
    return id;
}

/* ---- checkpoints ------------------------------------------------------------------------ */

/*
 * SQLite before 3.51.3 can corrupt a database when a checkpoint runs while another connection's commit resets the WAL.
 * Here nobody can commit meanwhile: the checkpoint is made by the reader's connection while the writer's holds the
 * write lock, and no connection checkpoints by itself.
 */
static void checkpoint(neoq_store *store)
{
    sq_courtesy_give_way(&store->courtesy);
    int begun = sqlite3_exec(store->writer.handle, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    sq_courtesy_served(&store->courtesy);
    if (begun != SQLITE_OK)
        return;
    int left = 0, copied = 0;
    pthread_mutex_lock(&store->read_mutex);
    int result = sqlite3_wal_checkpoint_v2(store->reader.handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &left, &copied);
    pthread_mutex_unlock(&store->read_mutex);
    sqlite3_exec(store->writer.handle, "COMMIT", NULL, NULL, NULL);
    /* A reader may hold it back; then the next try is not made at every commit. */
    bool complete = result == SQLITE_OK && left == copied;
    store->next_checkpoint = complete ? CHECKPOINT_PAGES : store->wal_pages + CHECKPOINT_PAGES / 4;
}

static int count_wal_pages(void *arg, sqlite3 *handle, const char *name, int pages)
{
    (void)handle;
    (void)name;
    ((neoq_store *)arg)->wal_pages = pages;
    return SQLITE_OK;
}

/* ---- one transaction -------------------------------------------------------------------- */

static void notice_others(neoq_store *store)
{
    sq_db *db = &store->writer;
    sqlite3_stmt *stmt = sq_prepare(db, "PRAGMA data_version");
    if (!sq_step(db, stmt))
        return;
    int64_t version = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    if (version != store->data_version) { /* somebody else wrote, and may have removed one */
        sq_forget_queues(store);
        sq_guards_changed(store);
    }
    store->data_version = version;
}

static bool roll_back(sq_db *db, sqlite3_stmt *rollback)
{
    if (!sqlite3_get_autocommit(db->handle)) {
        sqlite3_step(rollback);
        sqlite3_reset(rollback);
    }
    return sqlite3_get_autocommit(db->handle);
}

static int begin(neoq_store *store, sq_tx *tx)
{
    sq_db *db = &store->writer;
    sqlite3_wal_hook(db->handle, count_wal_pages, store);
    sq_tx_begin(tx, store, db, true);
    /* Prepared while there is memory: nobody else can write while a transaction stands open. */
    tx->rollback = sq_prepare(db, "ROLLBACK");
    if (tx->rollback && !roll_back(db, tx->rollback))
        db->status = sq_error(db->handle, "ending the transaction before");
    sq_courtesy_give_way(&store->courtesy);
    int64_t asked = store->clock->steady(store->clock);
    bool begun = sq_run(db, sq_prepare(db, "BEGIN IMMEDIATE")) >= 0;
    sq_courtesy_served(&store->courtesy);
    int64_t got = store->clock->steady(store->clock);
    if (got - asked > NEOQ_SECONDS(STALL_S))
        atomic_store(&store->stalled_at, got);
    if (!begun)
        return db->status;
    tx->now = store->clock->now(store->clock); /* another process may have held the lock for a while */
    notice_others(store);
    return store->writer.status;
}

static int end(neoq_store *store, sq_tx *tx, int status)
{
    sq_db *db = &store->writer;
    if (status == NEOQ_OK)
        status = sq_tx_flush(tx);
    if (status == NEOQ_OK) {
        sq_run(db, sq_prepare(db, "COMMIT"));
        status = db->status;
        /* The commit may have reached the disk before the error did: after a restart it may be there. */
        if (status != NEOQ_OK && (sqlite3_errcode(db->handle) & 0xff) == SQLITE_IOERR)
            status = nq_fail(NEOQ_EUNKNOWN,
                             "%s: writing failed at the last moment (%s): what was being stored may be"
                             " there or not; do the same again, with the same ids",
                             store->path, sqlite3_errmsg(db->handle));
    }
    if (status != NEOQ_OK) {
        roll_back(db, tx->rollback);
        sq_forget_queues(store);
        sq_guards_forget(store);
    } else if (tx->announce) {
        sq_announce(store->wal_path);
    }
    sq_tx_free(tx);
    return status;
}

/* A commit is synced unless every op in it can do without; one that is makes those before it safe too. SQLite obeys
 * this pragma while it compiles it, so a prepared one would work only once. */
static int set_haste(neoq_store *store, const nq_member *first)
{
    bool hasty = true;
    for (const nq_member *member = first; member; member = member->next)
        hasty = hasty && ((const sq_op *)member)->hasty;
    if (hasty == store->hasty || store->options->asynchronous_commit)
        return NEOQ_OK;
    const char *pragma = hasty ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL";
    if (sqlite3_exec(store->writer.handle, pragma, NULL, NULL, NULL) != SQLITE_OK)
        return sq_error(store->writer.handle, "setting how much is synced");
    store->hasty = hasty;
    return NEOQ_OK;
}

/* Runs the ops in one transaction. Not NEOQ_OK: none of them happened. */
static int write_together(neoq_store *store, nq_member *first)
{
    sq_tx tx;
    int status = set_haste(store, first);
    if (status != NEOQ_OK)
        return status; /* rather nothing than something that is only seemingly safe */
    status = begin(store, &tx);
    for (nq_member *member = first; member && status == NEOQ_OK; member = member->next) {
        sq_op *op = (sq_op *)member;
        op->status = op->work(&tx, op->arg);
        if (op->status != NEOQ_OK)
            snprintf(op->message, sizeof op->message, "%s", neoq_error_message());
        status = store->writer.status;
    }
    return end(store, &tx, status);
}

static void write_batch(neoq_store *store, nq_member *first)
{
    int status = write_together(store, first);
    if (status == NEOQ_OK)
        return;
    bool alone = !first->next;
    for (nq_member *member = first, *next; member; member = next) {
        sq_op *op = (sq_op *)member;
        next = member->next;
        member->next = NULL;
        /* One bad op does not fail its company: each is tried by itself. */
        if (!alone)
            status = write_together(store, member);
        if (status != NEOQ_OK) {
            op->status = status;
            snprintf(op->message, sizeof op->message, "%s", neoq_error_message());
        }
        member->next = next;
    }
}

/* ---- group commit ----------------------------------------------------------------------- */

static void serve(nq_member *first, void *arg)
{
    neoq_store *store = arg;
    write_batch(store, first);
    if (store->wal_pages >= store->next_checkpoint)
        checkpoint(store);
}

static int submit(neoq_store *store, sq_work work, void *arg, bool hasty)
{
    sq_op op;
    op.hasty = hasty;
    op.work = work;
    op.arg = arg;
    op.status = NEOQ_OK;
    op.message[0] = '\0';
    nq_group_join(&store->writers, &op.member, serve, store);
    return op.status == NEOQ_OK ? NEOQ_OK : nq_fail(op.status, "%s", op.message);
}

int sq_write(neoq_store *store, sq_work work, void *arg)
{
    return submit(store, work, arg, false);
}

int sq_write_hastily(neoq_store *store, sq_work work, void *arg)
{
    return submit(store, work, arg, true);
}

void sq_announce(const char *wal_path)
{
    /* Touching it is an event for whoever watches it, and needs no descriptor: closing one of a database file would
     * drop this process's locks on it. */
    utimensat(AT_FDCWD, wal_path, NULL, 0);
}
