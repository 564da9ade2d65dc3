/* SPDX-License-Identifier: MIT
 *
 * The runs that are held here. Where the answer to a claim was lost, runs may be this worker's that nobody here knows of,
 * and as long as it lives no other may have them: they are looked for, and given back.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/exchange.h"
#include "base/error.h"
#include "base/uuid.h"
#include "job/job.h"

_Static_assert(sizeof(pg_hold) % 8 == 0, "a job is copied behind it");

bool pg_hold_run(neoq_store *store, const PGresult *rows, int row, int column, int tid_column, const char *name,
                 const uint8_t *salt, neoq_claimed *run)
{
    neoq_job view, *copy;
    pg_job_texts texts;
    pg_read_job(rows, row, column, name, salt, &view, &texts);
    view.state = NEOQ_RUNNING;
    pg_hold *hold = nq_job_copy_behind(&view, sizeof *hold, &copy);
    if (!hold)
        return false;
    pthread_mutex_lock(&store->queue_mutex);
    *hold = (pg_hold){.queue = pg_queue_known(store, name), .tid = pg_tid_at(rows, row, tid_column)};
    pthread_mutex_unlock(&store->queue_mutex);
    memcpy(hold->id, pg_uuid(rows, row, column), sizeof hold->id);
    hold->place = (pg_place){pg_rank_of(view.priority), view.run_after, INT64_MIN};
    run->job = *copy;
    run->hold = hold;
    pthread_mutex_lock(&store->hold_mutex);
    hold->next = store->holds;
    if (hold->next)
        hold->next->previous = hold;
    store->holds = hold;
    pthread_mutex_unlock(&store->hold_mutex);
    return true;
}

void pg_release(neoq_store *store, neoq_claimed *run)
{
    pg_hold *hold = run->hold;
    run->hold = NULL;
    if (!hold)
        return;
    pthread_mutex_lock(&store->hold_mutex);
    if (hold->previous)
        hold->previous->next = hold->next;
    else
        store->holds = hold->next;
    if (hold->next)
        hold->next->previous = hold->previous;
    if (!hold->answered)
        store->unsure = true;
    pthread_mutex_unlock(&store->hold_mutex);
    free(hold);
}

/* ---- lost answers ----------------------------------------------------------------------- */

void pg_hold_unsure(neoq_store *store, const neoq_exchange *x)
{
    for (size_t i = 0; i < x->settlement_count; i++)
        if (x->settlements[i].hold)
            ((pg_hold *)x->settlements[i].hold)->unsure = true;
    pthread_mutex_lock(&store->hold_mutex);
    store->unsure = store->unsure || (x->worker && x->claim_count > 0);
    pthread_mutex_unlock(&store->hold_mutex);
}

void pg_hold_over(neoq_store *store)
{
    pthread_mutex_lock(&store->hold_mutex);
    for (pg_hold *hold = store->holds; hold; hold = hold->next)
        hold->over = true;
    pthread_mutex_unlock(&store->hold_mutex);
}

static bool is_held(neoq_store *store, const uint8_t *id)
{
    pthread_mutex_lock(&store->hold_mutex);
    const pg_hold *hold = store->holds;
    while (hold && memcmp(hold->id, id, sizeof hold->id) != 0)
        hold = hold->next;
    pthread_mutex_unlock(&store->hold_mutex);
    return hold != NULL;
}

static int find_strays(neoq_store *store, const char *worker, PGresult **rows)
{
    static const pg_statement statement = {"neoq_running_of", "SELECT * FROM %s.running_of($1)"};
    pg_build b = {0};
    pg_put_text(&b, worker);
    const pg_params *params = pg_built(&b);
    int status =
        params ? pg_pool_run_within(store->pool, NEOQ_SECONDS(1), &statement, params, true, rows) : NEOQ_ENOMEM;
    pg_build_free(&b);
    return status;
}

/* Settles those that nobody holds as released. */
static int give_back(neoq_store *store, const PGresult *rows)
{
    size_t count = 0, room = (size_t)PQntuples(rows);
    neoq_settlement *settlements = calloc(room + 1, sizeof *settlements);
    char(*ids)[NQ_UUID_TEXT_SIZE] = calloc(room + 1, sizeof *ids);
    int status = settlements && ids ? NEOQ_OK : nq_fail(NEOQ_ENOMEM, "no memory for runs that were lost sight of");
    for (int row = 0; row < (int)room && status == NEOQ_OK; row++) {
        const uint8_t *id = pg_uuid(rows, row, 0);
        if (is_held(store, id))
            continue;
        nq_uuid_format(id, ids[count]);
        settlements[count] = (neoq_settlement){
            .id = ids[count],
            .epoch = pg_int(rows, row, 1),
            .state = NEOQ_READY,
            .run_after = pg_int(rows, row, 2),
            .outcome = "released",
            .started_at = pg_int(rows, row, 3),
            .finished_at = pg_now(store),
        };
        count++;
    }
    if (status == NEOQ_OK && count > 0)
        status = pg_exchange_once(store, &(neoq_exchange){.settlements = settlements, .settlement_count = count});
    free(settlements);
    free(ids);
    return status;
}

/*
 * The lost statement may still be under way in the server, at the longest until its own limit there: so they are looked
 * for at once, and once more after that.
 */
int pg_give_back_strays(neoq_store *store, const char *worker)
{
    int64_t steady = store->clock->steady(store->clock);
    pthread_mutex_lock(&store->hold_mutex);
    bool unsure = store->unsure, due = unsure || (store->unsure_at && store->unsure_at <= steady);
    pthread_mutex_unlock(&store->hold_mutex);
    if (!due)
        return NEOQ_OK;
    PGresult *rows = NULL;
    pthread_rwlock_wrlock(&store->exchange_lock);
    int status = find_strays(store, worker, &rows);
    if (status == NEOQ_OK)
        status = give_back(store, rows);
    if (status == NEOQ_OK) {
        pthread_mutex_lock(&store->hold_mutex);
        store->unsure = false;
        store->unsure_at = unsure ? steady + 2 * store->settings.call_timeout : 0;
        pthread_mutex_unlock(&store->hold_mutex);
    }
    pthread_rwlock_unlock(&store->exchange_lock);
    PQclear(rows);
    return status;
}
