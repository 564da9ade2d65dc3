/* SPDX-License-Identifier: MIT
 *
 * Workers and their leases, recovery, retention. Whose lease is over is told by the server's clock, which all workers share.
 */
#include "backend/postgres/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* ---- the pulse -------------------------------------------------------------------------- */

neoq_duration pg_lease_of(neoq_store *store, const char *worker)
{
    pthread_mutex_lock(&store->hold_mutex);
    const pg_pulse *pulse = &store->pulse;
    neoq_duration lease = store->real_time && strcmp(pulse->worker, worker) == 0 ? pulse->lease : 0;
    pthread_mutex_unlock(&store->hold_mutex);
    return lease;
}

void pg_note_renewal(neoq_store *store, bool upkeep)
{
    pthread_mutex_lock(&store->hold_mutex);
    store->pulse.renewed_at = store->clock->steady(store->clock);
    store->pulse.upkeep = upkeep;
    pthread_mutex_unlock(&store->hold_mutex);
}

/* Whether the server knows all that, and heard of this worker not long ago: then the next poll, which renews the lease by
 * the way, does it, too. Half a lease at the most goes by in silence. */
static bool is_known(neoq_store *store, const neoq_beat *beat)
{
    pthread_mutex_lock(&store->hold_mutex);
    const pg_pulse *pulse = &store->pulse;
    bool known = store->real_time && !beat->join && beat->lease > 0 && beat->lease == pulse->lease &&
                 strcmp(pulse->worker, beat->worker.id) == 0 && pulse->running == beat->worker.running &&
                 pulse->capacity == beat->worker.capacity &&
                 store->clock->steady(store->clock) - pulse->renewed_at < beat->lease / 3 + beat->lease / 60;
    pthread_mutex_unlock(&store->hold_mutex);
    return known;
}

static void note_beat(neoq_store *store, const neoq_beat *beat, bool upkeep)
{
    if (beat->lease == 0)
        return;
    pthread_mutex_lock(&store->hold_mutex);
    pg_pulse *pulse = &store->pulse;
    snprintf(pulse->worker, sizeof pulse->worker, "%s", beat->worker.id);
    pulse->running = beat->join ? 0 : beat->worker.running;
    pulse->capacity = beat->worker.capacity;
    pulse->lease = beat->lease;
    pulse->renewed_at = store->clock->steady(store->clock);
    pulse->upkeep = upkeep;
    pthread_mutex_unlock(&store->hold_mutex);
}

static int send_beat(neoq_store *store, const neoq_beat *beat, PGresult **rows)
{
    static const pg_statement statement = {"neoq_beat", "SELECT %s.beat($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"};
    const neoq_worker_info *worker = &beat->worker;
    char place[NQ_PROCESS_PLACE_SIZE] = "";
    if (beat->join)
        nq_place_of(store->place, worker->pid, place);
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    pg_put_bool(&b, beat->join);
    pg_put_text(&b, worker->id);
    pg_put_text(&b, worker->host);
    pg_put_text(&b, place);
    pg_put_int4(&b, worker->pid);
    pg_put_int8(&b, worker->started_at);
    pg_put_int4(&b, worker->running);
    pg_put_int4(&b, worker->capacity);
    pg_put_int8(&b, beat->lease);
    pthread_mutex_lock(&store->hold_mutex);
    pg_put_bool(&b, !store->unsure && !store->unsure_at);
    pthread_mutex_unlock(&store->hold_mutex);
    const pg_params *params = pg_built(&b);
    int status = params ? pg_pool_run_urgently(store->pool, &statement, params, rows) : NEOQ_ENOMEM;
    pg_build_free(&b);
    return status;
}

int pg_beat(neoq_store *store, const neoq_beat *beat)
{
    PGresult *rows = NULL;
    pg_pool_tend(store->pool);
    if (is_known(store, beat))
        return NEOQ_OK;
    int status = send_beat(store, beat, &rows);
    if (status == NEOQ_OK && PQgetisnull(rows, 0, 0)) {
        pg_hold_over(store);
        status = nq_fail(NEOQ_ELOST, "worker %s lost its lease", beat->worker.id);
    } else if (status == NEOQ_OK) {
        note_beat(store, beat, pg_bool(rows, 0, 0));
    }
    PQclear(rows);
    return status;
}

/* ---- upkeep ----------------------------------------------------------------------------- */

/* The rows of tend(). */
enum { NAME, PID, PLACE, TID, QUEUE, SALT, JOB };

static int ask(neoq_store *store, size_t limit, PGresult **rows)
{
    static const pg_statement statement = {"neoq_tend", "SELECT * FROM %s.tend($1,$2,$3)"};
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    pg_put_int4(&b, limit > INT32_MAX ? INT32_MAX : (int32_t)limit);
    pg_put_text(&b, store->place);
    const pg_params *params = pg_built(&b);
    int status = params ? pg_pool_run(store->pool, &statement, params, true, rows) : NEOQ_ENOMEM;
    pg_build_free(&b);
    return status;
}

/* Without memory a run is left for another time. */
static void take_runs(neoq_store *store, const PGresult *rows, size_t limit, neoq_claimed *lost, size_t *count)
{
    for (int row = 0; row < PQntuples(rows) && *count < limit; row++)
        if (!pg_text(rows, row, NAME) && pg_hold_run(store, rows, row, JOB, TID, pg_text(rows, row, QUEUE),
                                                     pg_uuid(rows, row, SALT), &lost[*count]))
            ++*count;
}

/* ---- neighbours ------------------------------------------------------------------------- */

/* Remembers the workers beside this one; without memory, until the next time. */
static void note_neighbours(neoq_store *store, const PGresult *rows)
{
    size_t count = 0, room = (size_t)PQntuples(rows);
    pg_neighbour *neighbours = malloc(room * sizeof *neighbours + 1);
    for (int row = 0; neighbours && row < (int)room; row++) {
        if (!pg_text(rows, row, NAME))
            continue;
        pg_neighbour *neighbour = &neighbours[count++];
        pg_copy_text(rows, row, NAME, neighbour->name, sizeof neighbour->name);
        pg_copy_text(rows, row, PLACE, neighbour->place, sizeof neighbour->place);
        neighbour->pid = (int)pg_int(rows, row, PID);
    }
    pthread_mutex_lock(&store->hold_mutex);
    free(store->pulse.neighbours);
    store->pulse.neighbours = neighbours;
    store->pulse.neighbour_count = count;
    store->pulse.tended_at = store->clock->steady(store->clock);
    store->pulse.upkeep = count < room; /* lost runs: until they are settled */
    pthread_mutex_unlock(&store->hold_mutex);
}

/* Puts the names of those whose processes are gone; how many. A process that is gone need not be waited for. */
static size_t put_gone(neoq_store *store, pg_build *b)
{
    size_t gone = 0;
    pg_array_begin(b, PG_TEXT);
    pthread_mutex_lock(&store->hold_mutex);
    for (size_t i = 0; i < store->pulse.neighbour_count; i++) {
        const pg_neighbour *neighbour = &store->pulse.neighbours[i];
        if (!nq_place_is_gone(store->place, neighbour->place, neighbour->pid))
            continue;
        pg_put_text(b, neighbour->name);
        gone++;
    }
    pthread_mutex_unlock(&store->hold_mutex);
    pg_array_end(b);
    return gone;
}

/* Ends the leases of neighbours that are gone. Whether there were some. */
static bool end_leases(neoq_store *store)
{
    static const pg_statement statement = {"neoq_end_leases", "SELECT %s.end_leases($1,$2)"};
    pg_build b = {0};
    pg_put_int8(&b, pg_now(store));
    bool found = put_gone(store, &b) > 0;
    const pg_params *params = pg_built(&b);
    PGresult *answer = NULL;
    found = found && params && pg_pool_run(store->pool, &statement, params, true, &answer) == NEOQ_OK;
    PQclear(answer);
    pg_build_free(&b);
    return found;
}

/* Whether there is nothing to do, for all that is known: then nobody is asked, for a lease at the most. */
static bool is_quiet(neoq_store *store)
{
    pthread_mutex_lock(&store->hold_mutex);
    const pg_pulse *pulse = &store->pulse;
    int64_t steady = store->clock->steady(store->clock);
    bool quiet = store->real_time && pulse->tended_at && !pulse->upkeep && steady - pulse->tended_at < pulse->lease &&
                 steady - pulse->renewed_at < pulse->lease / 2;
    pthread_mutex_unlock(&store->hold_mutex);
    return quiet;
}

int pg_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count)
{
    PGresult *rows = NULL;
    *lost_count = 0;
    if (!end_leases(store) && is_quiet(store))
        return NEOQ_OK;
    int status = ask(store, limit, &rows);
    if (status == NEOQ_OK) {
        note_neighbours(store, rows);
        if (end_leases(store)) { /* seen for the first time, and gone already */
            PQclear(rows);
            rows = NULL;
            status = ask(store, limit, &rows);
            if (status == NEOQ_OK)
                note_neighbours(store, rows);
        }
    }
    if (status == NEOQ_OK)
        take_runs(store, rows, limit, lost, lost_count);
    PQclear(rows);
    return status;
}
