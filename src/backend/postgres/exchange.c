/* SPDX-License-Identifier: MIT
 *
 * Settling and claiming: one statement, and what it answered; a shorter one for a claim alone. A second one follows
 * only where a run's row was moved since it was claimed, or a claim that began further on came back short.
 */
#include "backend/postgres/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/uuid.h"
#include "job/transition.h"

/* What an exchange still has to ask for. */
typedef struct trip {
    neoq_exchange *x;
    neoq_settlement **plain, **whole; /* see is_plain() */
    size_t plain_count, whole_count;
    pg_ask *asks;
    pg_ask **open; /* asks that are not over */
    size_t open_count;
    neoq_time now; /* as the server was told; the earliest, if there were several rounds */
    bool first, lost, starved;
} trip;

/* The rows of exchange(): their kinds and columns. */
enum { MISSED = 1, SETTLED, CLAIMED, CANCEL, DUE, NO_LEASE, QUEUE, RENEWED };
enum { KIND, PLACE, FLAG, AT, TID, JOB };

/* ---- what is asked ---------------------------------------------------------------------- */

/* The usual end: done, nothing to be kept, and its row is where it was when it was claimed. */
static bool is_plain(const neoq_settlement *s)
{
    return s->forget && s->state == NEOQ_DONE && s->hold && !s->slow_down;
}

static void put_id(pg_build *b, const neoq_settlement *s)
{
    uint8_t raw[16];
    if (s->hold)
        pg_put_uuid(b, ((const pg_hold *)s->hold)->id);
    else
        pg_put_uuid(b, nq_uuid_parse(s->id, raw) ? raw : NULL);
}

/* An array with one item of each settlement s. */
#define COLUMN(type, list, count, put)                                                                               \
    do {                                                                                                             \
        pg_array_begin(b, type);                                                                                     \
        for (size_t i = 0; i < (count); i++) {                                                                       \
            const neoq_settlement *s = (list)[i];                                                                    \
            put;                                                                                                     \
        }                                                                                                            \
        pg_array_end(b);                                                                                             \
    } while (0)
#define PLAIN(type, put) COLUMN(type, t->plain, t->plain_count, put)
#define WHOLE(type, put) COLUMN(type, t->whole, t->whole_count, put)

static void put_settlements(pg_build *b, const trip *t)
{
    PLAIN(PG_UUID, put_id(b, s));
    PLAIN(PG_INT4, pg_put_int4(b, (int32_t)s->epoch));
    PLAIN(PG_TID, pg_put_tid(b, ((const pg_hold *)s->hold)->tid));
    WHOLE(PG_UUID, put_id(b, s));
    WHOLE(PG_INT4, pg_put_int4(b, (int32_t)s->epoch));
    WHOLE(PG_INT4, pg_put_int4(b, (int32_t)s->state));
    WHOLE(PG_BOOL, pg_put_bool(b, s->forget));
    WHOLE(PG_INT8, pg_put_int8(b, s->run_after));
    WHOLE(PG_INT8, pg_put_int8(b, s->keep_until));
    WHOLE(PG_INT8, pg_put_int8(b, s->cancel_keep_until));
    WHOLE(PG_TEXT, pg_put_text(b, s->error));
    WHOLE(PG_BYTEA, pg_put_bytea(b, s->result, s->result_size));
    WHOLE(PG_BOOL, pg_put_bool(b, s->slow_down));
    WHOLE(PG_TEXT, pg_put_text(b, s->outcome));
    WHOLE(PG_INT8, pg_put_int8(b, s->started_at));
    WHOLE(PG_INT8, pg_put_int8(b, s->finished_at));
    WHOLE(PG_INT4, pg_put_int4(b, s->exit_code));
    WHOLE(PG_INT4, pg_put_int4(b, s->signal));
    WHOLE(PG_INT8, pg_put_int8(b, s->cpu_time));
    WHOLE(PG_INT8, pg_put_int8(b, s->peak_memory));
}

static int32_t limit_of(const pg_ask *ask)
{
    return ask->left > INT32_MAX ? INT32_MAX : (int32_t)ask->left;
}

/* An array with one item of each claim that is not over. */
#define CLAIM(type, put)                                                                                             \
    do {                                                                                                             \
        pg_array_begin(b, type);                                                                                     \
        for (size_t i = 0; i < t->open_count; i++) {                                                                 \
            const pg_ask *ask = t->open[i];                                                                          \
            put;                                                                                                     \
        }                                                                                                            \
        pg_array_end(b);                                                                                             \
    } while (0)

static void put_claims(pg_build *b, const trip *t)
{
    CLAIM(PG_TEXT, pg_put_text(b, ask->claim->queue));
    CLAIM(PG_INT4, pg_put_int4(b, ask->known));
    CLAIM(PG_INT4, pg_put_int4(b, limit_of(ask)));
    CLAIM(PG_BOOL, pg_put_bool(b, !ask->skipping));
    CLAIM(PG_INT4, pg_put_int4(b, ask->from.rank));
    CLAIM(PG_INT8, pg_put_int8(b, ask->from.run_after));
    CLAIM(PG_INT8, pg_put_int8(b, ask->from.arrival));
}

/* A worker that only claims, and from one queue. */
static bool is_one_claim(const trip *t)
{
    return t->x->worker && t->open_count == 1 && t->plain_count + t->whole_count == 0;
}

static void put_claim(pg_build *b, const pg_ask *ask)
{
    pg_put_text(b, ask->claim->queue);
    pg_put_int4(b, ask->known);
    pg_put_int4(b, limit_of(ask));
    pg_put_bool(b, !ask->skipping);
    pg_put_int4(b, ask->from.rank);
    pg_put_int8(b, ask->from.run_after);
    pg_put_int8(b, ask->from.arrival);
}

static int send_trip(neoq_store *store, trip *t, PGresult **rows)
{
    static const pg_statement exchange = {
        "neoq_exchange",
        "SELECT * FROM %s.exchange($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,"
        "$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31)"};
    static const pg_statement claim = {"neoq_claim", "SELECT * FROM %s.claim($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"};
    const pg_statement *statement = is_one_claim(t) ? &claim : &exchange;
    pg_build b = {0};
    size_t room = t->x->cancel_room;
    neoq_time now = pg_now(store);
    t->now = t->now && t->now < now ? t->now : now;
    pg_put_int8(&b, now);
    pg_put_text(&b, t->x->worker);
    if (statement == &claim) {
        put_claim(&b, t->open[0]);
    } else {
        put_settlements(&b, t);
        put_claims(&b, t);
    }
    pg_put_int4(&b, !t->first || !t->x->cancels ? 0 : room > INT32_MAX ? INT32_MAX : (int32_t)room);
    pg_put_int8(&b, t->first && t->x->worker ? pg_lease_of(store, t->x->worker) : 0);
    const pg_params *params = pg_built(&b);
    /* The runtime tries again by itself, and may have to end meanwhile. */
    int status =
        params ? pg_pool_run_within(store->pool, NEOQ_SECONDS(1), statement, params, false, rows) : NEOQ_ENOMEM;
    pg_build_free(&b);
    return status;
}

/* ---- what is answered ------------------------------------------------------------------- */

static void settled(neoq_settlement *s, bool cancelled)
{
    s->status = NEOQ_OK;
    if (cancelled)
        nq_heed_cancel(s);
}

static bool is_over(neoq_store *store, const pg_hold *hold)
{
    pthread_mutex_lock(&store->hold_mutex);
    bool over = hold->over;
    pthread_mutex_unlock(&store->hold_mutex);
    return over;
}

/* Of a run whose settlement had no answer before: as it has an epoch that only this worker had, and the worker lives, it was
 * that settlement that ended it. Else nobody knows. */
static void read_lost(neoq_store *store, const trip *t)
{
    if (t->lost)
        pg_hold_over(store);
    for (size_t i = 0; i < t->whole_count; i++) {
        neoq_settlement *s = t->whole[i];
        const pg_hold *hold = s->hold;
        if (s->status == NEOQ_ELOST && hold && hold->unsure)
            s->status = is_over(store, hold) ? NEOQ_EUNKNOWN : NEOQ_OK;
    }
}

static void note_returns(neoq_store *store, const trip *t)
{
    for (size_t i = 0; i < t->whole_count; i++) {
        const neoq_settlement *s = t->whole[i];
        if (s->status != NEOQ_OK || s->state >= NEOQ_DONE)
            continue;
        const pg_hold *hold = s->hold;
        if (hold && hold->queue)
            pg_note_return(store, hold->queue, hold->place.rank, s->run_after);
        else
            pg_queues_rewind(store);
    }
}

static void note_queue(neoq_store *store, pg_ask *ask, const PGresult *rows, int row)
{
    bool due = pg_int(rows, row, KIND) == DUE;
    if (!due)
        ask->known = (int32_t)pg_int(rows, row, AT);
    else if (!PQgetisnull(rows, row, FLAG))
        ask->closed = true;
    pthread_mutex_lock(&store->queue_mutex);
    pg_queue *queue = pg_queue_known(store, ask->claim->queue);
    if (queue && due) {
        pg_queue_await(queue, pg_int(rows, row, AT));
    } else if (queue) {
        queue->id = ask->known;
        memcpy(queue->salt, pg_uuid(rows, row, JOB), sizeof queue->salt);
    }
    pthread_mutex_unlock(&store->queue_mutex);
}

static void add_cancel(neoq_exchange *x, const uint8_t *id)
{
    if (x->cancel_count < x->cancel_room)
        nq_uuid_format(id, x->cancels[x->cancel_count++]);
}

/* All rows but claimed jobs. How many claimed jobs there are. */
static int read_answer(neoq_store *store, trip *t, const PGresult *rows)
{
    int claimed = 0;
    size_t missed = 0;
    for (size_t i = 0; i < t->plain_count; i++)
        t->plain[i]->status = NEOQ_OK;
    for (int row = 0; row < PQntuples(rows); row++) {
        size_t place = (size_t)pg_int(rows, row, PLACE) - 1;
        switch (pg_int(rows, row, KIND)) {
        case MISSED: t->plain[place]->status = NEOQ_ELOST; break;
        case SETTLED: settled(t->whole[place], pg_bool(rows, row, FLAG)); break;
        case CLAIMED: claimed++; break;
        case CANCEL: add_cancel(t->x, pg_uuid(rows, row, JOB)); break;
        case NO_LEASE: t->lost = true; break;
        case RENEWED: pg_note_renewal(store, pg_bool(rows, row, FLAG)); break;
        default: note_queue(store, t->open[place], rows, row);
        }
    }
    read_lost(store, t);
    note_returns(store, t);
    for (size_t i = 0; i < t->plain_count; i++)
        if (t->plain[i]->status == NEOQ_ELOST)
            t->whole[missed++] = t->plain[i];
    t->whole_count = missed; /* whole has room for all settlements */
    t->plain_count = 0;
    return claimed;
}

/* A claimed job's row, and what its place in the order is by. */
typedef struct claimed_row {
    int row;
    pg_ask *ask;
    pg_place place;
} claimed_row;

static int in_order(const void *a, const void *b)
{
    const claimed_row *x = a, *y = b;
    return x->ask != y->ask ? (x->ask > y->ask) - (x->ask < y->ask) : pg_compare_places(&x->place, &y->place);
}

static int by_queue(const void *a, const void *b)
{
    const pg_ask *x = *(pg_ask *const *)a, *y = *(pg_ask *const *)b;
    return (x->known > y->known) - (x->known < y->known);
}

/* The claimed rows, whose asks are found by their queues. How many. `asks` is room for the open ones. */
static int take_rows(const trip *t, const PGresult *rows, pg_ask **asks, claimed_row *list)
{
    int count = 0;
    memcpy(asks, t->open, t->open_count * sizeof(pg_ask *));
    qsort(asks, t->open_count, sizeof(pg_ask *), by_queue);
    for (int row = 0; row < PQntuples(rows); row++) {
        if (pg_int(rows, row, KIND) != CLAIMED)
            continue;
        const pg_ask key = {.known = (int32_t)pg_int(rows, row, PLACE)}, *sought = &key;
        pg_ask **found = bsearch(&sought, asks, t->open_count, sizeof(pg_ask *), by_queue);
        if (found)
            list[count++] = (claimed_row){.row = row,
                                          .ask = *found,
                                          .place = {(int32_t)pg_int(rows, row, JOB + 1), pg_int(rows, row, JOB + 2),
                                                    pg_int(rows, row, AT)}};
    }
    qsort(list, (size_t)count, sizeof *list, in_order);
    return count;
}

/* Without memory for it, a run is one that nobody here knows of: then the exchange is as if its answer had been lost. */
static void take_runs(neoq_store *store, trip *t, const PGresult *rows, int count)
{
    claimed_row *list = malloc((size_t)count * sizeof *list + 1);
    pg_ask **asks = malloc(t->open_count * sizeof(pg_ask *) + 1);
    uint8_t salt[16] = {0};
    int taken = list && asks ? take_rows(t, rows, asks, list) : 0;
    bool kept = taken == count;
    for (int i = 0; i < taken; i++) {
        pg_ask *ask = list[i].ask;
        if (i == 0 || ask != list[i - 1].ask) {
            pthread_mutex_lock(&store->queue_mutex);
            const pg_queue *queue = pg_queue_known(store, ask->claim->queue);
            if (queue)
                memcpy(salt, queue->salt, sizeof salt);
            pthread_mutex_unlock(&store->queue_mutex);
        }
        ask->got++;
        ask->last = list[i].place;
        neoq_claimed *run = &t->x->runs[t->x->run_count];
        if (!pg_hold_run(store, rows, list[i].row, JOB, TID, ask->claim->queue, salt, run)) {
            kept = false;
            continue;
        }
        ((pg_hold *)run->hold)->claim = (int)(ask - t->asks);
        ((pg_hold *)run->hold)->place = list[i].place;
        t->x->run_count++;
    }
    free(list);
    free(asks);
    t->starved = !kept;
}

/* ---- rounds ----------------------------------------------------------------------------- */

static int start(neoq_store *store, trip *t)
{
    neoq_exchange *x = t->x;
    size_t claims = x->worker ? x->claim_count : 0;
    t->plain = malloc(2 * x->settlement_count * sizeof(neoq_settlement *) + 1);
    t->asks = malloc(claims * sizeof *t->asks + 1);
    t->open = malloc(claims * sizeof(pg_ask *) + 1);
    bool room = t->plain && t->asks && t->open;
    t->whole = room ? t->plain + x->settlement_count : NULL;
    for (size_t i = 0; room && i < x->settlement_count; i++) {
        neoq_settlement *s = &x->settlements[i];
        s->status = NEOQ_ELOST;
        s->cancelled = false;
        if (is_plain(s))
            t->plain[t->plain_count++] = s;
        else
            t->whole[t->whole_count++] = s;
    }
    for (size_t i = 0; room && i < claims; i++) {
        room = pg_ask_plan(store, &t->asks[i], &x->claims[i]);
        if (t->asks[i].left > 0)
            t->open[t->open_count++] = &t->asks[i];
    }
    return room ? NEOQ_OK : nq_fail(NEOQ_ENOMEM, "no memory for a round trip to PostgreSQL");
}

/* Whatever the answer, it is one: nobody has to look after these runs any more. */
static void note_answers(const neoq_exchange *x)
{
    for (size_t i = 0; i < x->settlement_count; i++)
        if (x->settlements[i].hold)
            ((pg_hold *)x->settlements[i].hold)->answered = true;
}

/* What the round took beyond what its settlements explain, for the claims to learn from. */
static int64_t lasted(const neoq_store *store, int64_t begun, size_t settlements)
{
    int64_t lasted = store->clock->steady(store->clock) - begun - 40 * (int64_t)settlements;
    return lasted > 0 ? lasted : 0;
}

static int go_round(neoq_store *store, trip *t)
{
    PGresult *rows = NULL;
    size_t settlements = t->plain_count + t->whole_count, open = 0;
    int64_t begun = store->clock->steady(store->clock);
    int status = send_trip(store, t, &rows);
    if (status == NEOQ_OK) {
        int claimed = read_answer(store, t, rows);
        if (claimed > 0)
            take_runs(store, t, rows, claimed);
        int64_t duration = lasted(store, begun, settlements);
        for (size_t i = 0; i < t->open_count && !t->lost; i++)
            if (pg_ask_note(store, t->open[i], duration))
                t->open[open++] = t->open[i];
        t->open_count = open;
        t->first = false;
    }
    PQclear(rows);
    return t->starved ? nq_fail(NEOQ_ENOMEM, "no memory for claimed jobs") : status;
}

/* Runs go out claim by claim, each queue's in its order. */
static int by_claim(const void *a, const void *b)
{
    const pg_hold *x = ((const neoq_claimed *)a)->hold, *y = ((const neoq_claimed *)b)->hold;
    return x->claim != y->claim ? x->claim - y->claim : pg_compare_places(&x->place, &y->place);
}

/* As if nothing had been done: what was settled is found out when it is asked for again, what was claimed is given back. */
static void undo(neoq_store *store, neoq_exchange *x)
{
    pg_hold_unsure(store, x);
    while (x->run_count > 0)
        pg_release(store, &x->runs[--x->run_count]);
    x->cancel_count = 0;
}

int pg_exchange_once(neoq_store *store, neoq_exchange *x)
{
    trip t = {.x = x, .first = true};
    int status = start(store, &t);
    while (status == NEOQ_OK && (t.first || t.whole_count > 0 || t.open_count > 0)) {
        size_t runs = x->run_count;
        bool first = t.first;
        status = go_round(store, &t);
        if (status == NEOQ_EUNKNOWN || t.starved || (status != NEOQ_OK && !first))
            undo(store, x);
        else if (x->run_count > runs && runs > 0)
            qsort(x->runs, x->run_count, sizeof *x->runs, by_claim);
    }
    free(t.plain);
    free(t.asks);
    free(t.open);
    if (status == NEOQ_OK)
        note_answers(x);
    x->next_due = pg_next_due(store, t.now);
    if (status == NEOQ_OK && t.lost)
        status = nq_fail(NEOQ_ELOST, "worker %.63s has no lease", x->worker);
    return status;
}

/* Whether a job was given back, or is to be run again: other processes may be free for it. */
static bool gave_back(const neoq_exchange *x)
{
    for (size_t i = 0; i < x->settlement_count; i++)
        if (x->settlements[i].status == NEOQ_OK && x->settlements[i].state < NEOQ_DONE)
            return true;
    return false;
}

int pg_exchange(neoq_store *store, neoq_exchange *x)
{
    x->run_count = x->cancel_count = 0;
    x->next_due = 0;
    x->seen = pg_bell_seen(store->bell);
    int status = x->worker ? pg_give_back_strays(store, x->worker) : NEOQ_OK;
    if (status != NEOQ_OK)
        return status;
    pthread_rwlock_rdlock(&store->exchange_lock);
    status = pg_exchange_once(store, x);
    pthread_rwlock_unlock(&store->exchange_lock);
    if (status == NEOQ_OK && gave_back(x))
        pg_bell_announce(store->bell);
    return status;
}
