/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/guards.h"

#include "backend/sqlite/jobs.h"

/* Few enough that neoq_fresh stays some seventy pages; enough to pay for a walk through a million entries. */
enum { MERGE_AFTER = 16384 };

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

static bool is_it(sq_tx *tx, int64_t rid, const char *fingerprint, int64_t queue)
{
    sqlite3_stmt *stmt = sq_prepare(tx->db, "SELECT 1 FROM neoq_jobs WHERE rid = ?1 AND queue = ?2 AND state < 5"
                                            " AND guard IS NOT NULL AND fingerprint = ?3");
    if (!stmt)
        return false;
    uint8_t raw[16];
    sqlite3_bind_int64(stmt, 1, rid);
    sqlite3_bind_int64(stmt, 2, queue);
    sq_bind_fingerprint(stmt, 3, fingerprint, raw);
    bool it = sq_step(tx->db, stmt);
    sqlite3_reset(stmt);
    return it;
}

int64_t sq_guard_find(sq_tx *tx, int64_t key, const char *fingerprint, int64_t queue)
{
    sqlite3_stmt *stmt = sq_ask(tx->db,
                                "SELECT rid FROM neoq_fresh WHERE key = ?1 UNION ALL"
                                " SELECT rid FROM neoq_guards WHERE key = ?1",
                                SQ_ARGS(key));
    int64_t found = 0;
    while (!found && sq_step(tx->db, stmt)) {
        int64_t rid = sqlite3_column_int64(stmt, 0);
        if (is_it(tx, rid, fingerprint, queue))
            found = rid;
    }
    if (stmt)
        sqlite3_reset(stmt);
    return found;
}

void sq_guard_new(sq_tx *tx, const int64_t *keys, size_t count, int64_t first_rid)
{
    for (size_t i = 0; i < count; i++) {
        if (keys[i] == 0)
            continue;
        sq_do(tx->db, "INSERT INTO neoq_fresh VALUES(?1, ?2, 0)", SQ_ARGS(keys[i], first_rid + (int64_t)i));
        tx->guard_changes++;
    }
}

void sq_guard_again(sq_tx *tx, int64_t key, int64_t rid)
{
    tx->guard_changes++;
    /* If its end was only noted so far, the note is taken back. */
    if (sq_do(tx->db, "DELETE FROM neoq_fresh WHERE key = ?1 AND rid = ?2", SQ_ARGS(key, rid)) == 0)
        sq_do(tx->db, "INSERT INTO neoq_fresh VALUES(?1, ?2, 0)", SQ_ARGS(key, rid));
}

void sq_guard_drop(sq_tx *tx, int64_t key, int64_t rid)
{
    if (key == 0)
        return;
    tx->guard_changes++;
    if (sq_do(tx->db, "DELETE FROM neoq_fresh WHERE key = ?1 AND rid = ?2", SQ_ARGS(key, rid)) == 0)
        sq_do(tx->db, "INSERT INTO neoq_fresh VALUES(?1, ?2, 1)", SQ_ARGS(key, rid));
}

void sq_guard_drop_queue(sq_tx *tx, int64_t queue)
{
    /* What is in neoq_fresh goes; of the rest the end is noted. */
    sq_do(tx->db,
          "INSERT INTO neoq_fresh SELECT guard, rid, 1 FROM neoq_jobs WHERE queue = ?1 AND state < 5"
          " AND guard IS NOT NULL ON CONFLICT DO UPDATE SET gone = 1",
          SQ_ARGS(queue));
    tx->guard_changes += MERGE_AFTER;
}

void sq_guard_merge(sq_tx *tx)
{
    if (!tx->own || tx->store->guard_changes + tx->guard_changes < MERGE_AFTER) {
        tx->store->guard_changes += tx->own ? tx->guard_changes : 0;
        return;
    }
    sq_run(tx->db,
           sq_prepare(tx->db, "INSERT OR IGNORE INTO neoq_guards SELECT key, rid FROM neoq_fresh WHERE NOT gone"));
    sq_run(tx->db, sq_prepare(tx->db, "DELETE FROM neoq_guards WHERE (key, rid) IN"
                                      " (SELECT key, rid FROM neoq_fresh WHERE gone)"));
    sq_run(tx->db, sq_prepare(tx->db, "DELETE FROM neoq_fresh"));
    tx->store->guard_changes = 0;
}
