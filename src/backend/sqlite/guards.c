/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/guards.h"

#include "backend/sqlite/jobs.h"
#include "base/error.h"

enum {
    MERGE_AFTER = 16384, /* read in a millisecond, and enough to pay for a walk through a million entries */
    SCANNED_MOST = 512   /* by a transaction of the user's, which has no map */
};

int64_t sq_guard_key(const char *fingerprint, int64_t queue)
{
    uint64_t key = 0;
    uint8_t raw[16];
    if (sq_pack_fingerprint(fingerprint, raw)) {
        for (int i = 0; i < 8; i++)
            key = key << 8 | raw[i];
    } else {
        key = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
        for (const char *at = fingerprint; *at; at++)
            key = (key ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
    }
    key ^= (uint64_t)queue * UINT64_C(0x9e3779b97f4a7c15);
    return key ? (int64_t)key : 1;
}

typedef enum speaks_of { ENDED, ANOTHER, THIS } speaks_of;

/* Of which job an entry speaks: keys of two fingerprints may agree. */
static speaks_of look_at(sq_tx *tx, int64_t rid, const char *fingerprint, int64_t queue)
{
    sqlite3_stmt *stmt = sq_prepare(tx->db, "SELECT queue = ?2 AND fingerprint = ?3 FROM neoq_jobs"
                                            " WHERE rid = ?1 AND state < 5 AND guard IS NOT NULL");
    if (!stmt)
        return ENDED;
    uint8_t raw[16];
    sqlite3_bind_int64(stmt, 1, rid);
    sqlite3_bind_int64(stmt, 2, queue);
    sq_bind_fingerprint(stmt, 3, fingerprint, raw);
    speaks_of it = !sq_step(tx->db, stmt) ? ENDED : sqlite3_column_int(stmt, 0) ? THIS : ANOTHER;
    sqlite3_reset(stmt);
    return it;
}

/* ---- the merge -------------------------------------------------------------------------- */

/* In the order of the keys, so that a page of neoq_guards is written once for all its entries. */
static void merge(sq_tx *tx)
{
    sq_run(tx->db,
           sq_prepare(tx->db, "INSERT OR IGNORE INTO neoq_guards SELECT key, rid FROM neoq_fresh WHERE NOT gone"
                              " ORDER BY key"));
    sq_run(tx->db, sq_prepare(tx->db, "DELETE FROM neoq_guards WHERE (key, rid) IN"
                                      " (SELECT key, rid FROM neoq_fresh WHERE gone)"));
    sq_run(tx->db, sq_prepare(tx->db, "DELETE FROM neoq_fresh"));
}

/* ---- the fresh ones, by key ------------------------------------------------------------- */

void sq_guards_changed(neoq_store *store)
{
    store->fresh_current = false;
}

void sq_guards_forget(neoq_store *store)
{
    sq_keymap_clear(&store->fresh);
    store->fresh_seen = 0;
    store->fresh_current = false;
}

static void remember(sq_tx *tx, int64_t key, int64_t rid)
{
    if (sq_keymap_add(&tx->store->fresh, key, rid))
        tx->store->fresh_seen = rid;
    else if (tx->db->status == NEOQ_OK)
        tx->db->status = nq_fail(NEOQ_ENOMEM, "%s: no memory for what is unique", tx->store->path);
}

/* What was merged meanwhile may stay in the map. */
static void catch_up(sq_tx *tx)
{
    neoq_store *store = tx->store;
    if (store->fresh_current)
        return;
    if (store->fresh.count > 2 * MERGE_AFTER)
        sq_guards_forget(store);
    sqlite3_stmt *stmt = sq_ask(tx->db, "SELECT key, rid FROM neoq_fresh WHERE rid > ?1 AND NOT gone ORDER BY rid",
                                SQ_ARGS(store->fresh_seen));
    while (sq_step(tx->db, stmt))
        remember(tx, sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1));
    store->fresh_current = tx->db->status == NEOQ_OK;
}

static int64_t find_in_map(sq_tx *tx, int64_t key, const char *fingerprint, int64_t queue)
{
    catch_up(tx);
    size_t at = 0;
    for (int64_t *rid; (rid = sq_keymap_next(&tx->store->fresh, key, &at));) {
        speaks_of it = look_at(tx, *rid, fingerprint, queue);
        if (it == THIS)
            return *rid;
        if (it == ENDED)
            *rid = 0; /* should it live again, it gets an entry in neoq_guards */
    }
    return 0;
}

static int64_t first_alive(sq_tx *tx, sqlite3_stmt *stmt, const char *fingerprint, int64_t queue)
{
    int64_t found = 0;
    while (!found && sq_step(tx->db, stmt)) {
        int64_t rid = sqlite3_column_int64(stmt, 0);
        if (look_at(tx, rid, fingerprint, queue) == THIS)
            found = rid;
    }
    if (stmt)
        sqlite3_reset(stmt);
    return found;
}

static int64_t find_by_scan(sq_tx *tx, int64_t key, const char *fingerprint, int64_t queue)
{
    sqlite3_stmt *stmt = sq_ask(tx->db, "SELECT rid FROM neoq_fresh WHERE key = ?1 AND NOT gone", SQ_ARGS(key));
    int64_t found = first_alive(tx, stmt, fingerprint, queue);
    /* That the next of the transaction be found sooner. */
    if (stmt && sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_FULLSCAN_STEP, 1) > SCANNED_MOST && !tx->own)
        merge(tx);
    return found;
}

static int64_t find_merged(sq_tx *tx, int64_t key, const char *fingerprint, int64_t queue)
{
    sqlite3_stmt *stmt = sq_ask(tx->db, "SELECT rid FROM neoq_guards WHERE key = ?1", SQ_ARGS(key));
    return first_alive(tx, stmt, fingerprint, queue);
}

int64_t sq_guard_find(sq_tx *tx, int64_t key, const char *fingerprint, int64_t queue)
{
    /* What is fresh in the store is the writer's alone; and a process that asks once does not pay for the map. */
    bool mapped = tx->own && tx->store->fresh_asked;
    if (tx->own)
        tx->store->fresh_asked = true;
    int64_t found = mapped ? find_in_map(tx, key, fingerprint, queue) : find_by_scan(tx, key, fingerprint, queue);
    return found ? found : find_merged(tx, key, fingerprint, queue);
}

/* ---- beginnings and ends ---------------------------------------------------------------- */

void sq_guard_new(sq_tx *tx, const int64_t *keys, size_t count, int64_t first_rid)
{
    for (size_t i = 0; i < count; i++) {
        if (keys[i] == 0)
            continue;
        int64_t rid = first_rid + (int64_t)i;
        sq_do(tx->db, "INSERT INTO neoq_fresh(rid, key, gone) VALUES(?1, ?2, 0)", SQ_ARGS(rid, keys[i]));
        if (tx->own && tx->store->fresh_current)
            remember(tx, keys[i], rid);
        tx->guard_changes++;
    }
}

void sq_guard_again(sq_tx *tx, int64_t key, int64_t rid)
{
    /* The note of its end is taken back. Not into neoq_fresh: others look there for new row numbers only. */
    sq_do(tx->db, "DELETE FROM neoq_fresh WHERE rid = ?1", SQ_ARGS(rid));
    sq_do(tx->db, "INSERT OR IGNORE INTO neoq_guards VALUES(?1, ?2)", SQ_ARGS(key, rid));
}

void sq_guard_drop(sq_tx *tx, int64_t key, int64_t rid)
{
    if (key == 0)
        return;
    tx->guard_changes++;
    if (sq_do(tx->db, "DELETE FROM neoq_fresh WHERE rid = ?1", SQ_ARGS(rid)) == 0)
        sq_do(tx->db, "INSERT INTO neoq_fresh(rid, key, gone) VALUES(?1, ?2, 1)", SQ_ARGS(rid, key));
}

void sq_guard_drop_queue(sq_tx *tx, int64_t queue)
{
    /* What is in neoq_fresh goes; of the rest the end is noted. */
    sq_do(tx->db,
          "INSERT INTO neoq_fresh(rid, key, gone) SELECT rid, guard, 1 FROM neoq_jobs WHERE queue = ?1 AND state < 5"
          " AND guard IS NOT NULL ON CONFLICT DO UPDATE SET gone = 1",
          SQ_ARGS(queue));
    tx->guard_changes += MERGE_AFTER;
}

void sq_guard_merge(sq_tx *tx)
{
    if (!tx->own)
        return;
    tx->store->guard_changes += tx->guard_changes;
    if (tx->store->guard_changes < MERGE_AFTER)
        return;
    merge(tx);
    sq_keymap_clear(&tx->store->fresh);
    tx->store->guard_changes = 0;
}
