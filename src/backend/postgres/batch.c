/* SPDX-License-Identifier: MIT
 *
 * A batch of jobs as the parameters of one statement, and what its answer says of each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/jobs.h"
#include "base/error.h"
#include "base/uuid.h"

int pg_batch_add(pg_batch *batch, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    size_t before = batch->count;
    if (count > INT32_MAX - before)
        return nq_fail(NEOQ_EINVAL, "%zu jobs are too many for one call", count);
    pg_entry *entries = realloc(batch->entries, (before + count) * sizeof *entries + 1);
    if (!entries)
        return nq_fail(NEOQ_ENOMEM, "no memory to store %zu jobs", count);
    batch->entries = entries;
    for (size_t i = 0; i < count; i++) {
        pg_entry *entry = &entries[before + i];
        *entry = (pg_entry){.job = &jobs[i], .result = &results[i], .place = (int32_t)(before + i)};
        if (!nq_uuid_parse(jobs[i].id, entry->id))
            return nq_fail(NEOQ_EINVAL, "\"%.64s\" is not a job's id", jobs[i].id);
        memcpy(results[i].id, jobs[i].id, NQ_UUID_TEXT_SIZE);
        results[i].status = NEOQ_OK;
    }
    batch->count = before + count;
    return NEOQ_OK;
}

void pg_batch_free(pg_batch *batch)
{
    free(batch->entries);
    batch->entries = NULL;
    batch->count = 0;
}

/* ---- queues ----------------------------------------------------------------------------- */

/* Fills in what is remembered; how many are missing. */
static size_t address_known(neoq_store *store, pg_batch *batch)
{
    size_t missing = 0;
    const pg_queue *queue = NULL;
    batch->awaited = pg_bell_is_awaited(store->bell);
    pthread_mutex_lock(&store->queue_mutex);
    for (size_t i = 0; i < batch->count; i++) {
        pg_entry *entry = &batch->entries[i];
        if (!queue || strcmp(queue->name, entry->job->queue) != 0)
            queue = pg_queue_known(store, entry->job->queue);
        entry->queue = queue ? queue->id : 0;
        if (entry->queue)
            entry->print = pg_print_of(entry->job, queue->salt);
        missing += !entry->queue;
        batch->awaited = batch->awaited && queue && queue->asked;
    }
    pthread_mutex_unlock(&store->queue_mutex);
    return missing;
}

static int remember_queues(neoq_store *store, const PGresult *rows)
{
    int status = NEOQ_OK;
    pthread_mutex_lock(&store->queue_mutex);
    for (int row = 0; row < PQntuples(rows) && status == NEOQ_OK; row++) {
        pg_queue *queue = pg_queue_named(store, pg_text(rows, row, 0));
        if (queue) {
            queue->id = (int32_t)pg_int(rows, row, 1);
            memcpy(queue->salt, pg_uuid(rows, row, 2), sizeof queue->salt);
        } else {
            status = nq_fail(NEOQ_ENOMEM, "no memory for a queue");
        }
    }
    pthread_mutex_unlock(&store->queue_mutex);
    return status;
}

static int look_up_queues(neoq_store *store, const pg_batch *batch)
{
    static const pg_statement statement = {"neoq_queues_for_jobs", "SELECT * FROM %s.queues_for_jobs($1, $2)"};
    pg_build b = {0};
    pg_array_begin(&b, PG_TEXT);
    for (size_t i = 0; i < batch->count; i++)
        if (!batch->entries[i].queue)
            pg_put_text(&b, batch->entries[i].job->queue);
    pg_array_end(&b);
    pg_array_begin(&b, PG_UUID);
    for (size_t i = 0; i < batch->count; i++)
        if (!batch->entries[i].queue)
            pg_put_uuid(&b, batch->entries[i].id);
    pg_array_end(&b);
    const pg_params *params = pg_built(&b);
    PGresult *rows = NULL;
    int status = params ? pg_pool_run(store->pool, &statement, params, true, &rows) : NEOQ_ENOMEM;
    if (status == NEOQ_OK)
        status = remember_queues(store, rows);
    PQclear(rows);
    pg_build_free(&b);
    return status == NEOQ_EUNKNOWN ? nq_fail(NEOQ_EBACKEND, "no job was stored: %s", neoq_error_message()) : status;
}

static int by_id(const void *a, const void *b)
{
    const pg_entry *x = a, *y = b;
    int order = memcmp(x->id, y->id, 16);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

/* Of entries with one id, the first in the caller's order is to be stored. Ids of neoq's own making ascend. */
static void mark_repeats(pg_batch *batch)
{
    bool ascending = true;
    for (size_t i = 1; i < batch->count && ascending; i++)
        ascending = memcmp(batch->entries[i - 1].id, batch->entries[i].id, 16) < 0;
    if (ascending)
        return;
    qsort(batch->entries, batch->count, sizeof *batch->entries, by_id);
    for (size_t i = 1; i < batch->count; i++) {
        batch->entries[i].repeat = memcmp(batch->entries[i - 1].id, batch->entries[i].id, 16) == 0;
        batch->hopeful = batch->hopeful && !batch->entries[i].repeat;
    }
}

/* By guard, so that two batches with guards in common never wait for each other in a circle; of twins, the first first. */
static int in_order(const void *a, const void *b)
{
    const pg_entry *x = a, *y = b;
    if (x->repeat != y->repeat)
        return x->repeat - y->repeat;
    int order = memcmp(x->print.guarded ? x->print.guard : x->id, y->print.guarded ? y->print.guard : y->id, 16);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

int pg_batch_address(neoq_store *store, pg_batch *batch)
{
    if (address_known(store, batch) > 0) {
        int status = look_up_queues(store, batch);
        if (status != NEOQ_OK)
            return status;
        address_known(store, batch);
        size_t kept = 0;
        for (size_t i = 0; i < batch->count; i++)
            if (batch->entries[i].queue)
                batch->entries[kept++] = batch->entries[i];
        batch->count = kept;
    }
    mark_repeats(batch);
    if (!batch->hopeful && batch->count > 1)
        qsort(batch->entries, batch->count, sizeof *batch->entries, in_order);
    return NEOQ_OK;
}

/* ---- parameters ------------------------------------------------------------------------- */

static void put_queues(pg_build *b, const pg_batch *batch)
{
    pg_array_begin(b, PG_INT4);
    for (size_t i = 0; i < batch->count; i++) {
        bool seen = i > 0 && batch->entries[i].queue == batch->entries[i - 1].queue;
        for (size_t j = 0; j < i && !seen; j++)
            seen = batch->entries[j].queue == batch->entries[i].queue;
        if (!seen)
            pg_put_int4(b, batch->entries[i].queue);
    }
    pg_array_end(b);
}

static void put_extremes(pg_build *b, const pg_batch *batch)
{
    const uint8_t *lowest = batch->entries[0].id, *highest = lowest;
    for (size_t i = 1; i < batch->count; i++) {
        const uint8_t *id = batch->entries[i].id;
        lowest = memcmp(id, lowest, 16) < 0 ? id : lowest;
        highest = memcmp(id, highest, 16) > 0 ? id : highest;
    }
    pg_put_uuid(b, lowest);
    pg_put_uuid(b, highest);
}

int32_t pg_rank_of(int priority)
{
    return priority == INT32_MIN ? INT32_MAX : -priority;
}

/* One column of the jobs: nothing at all where it has only nulls. */
typedef bool (*put_item)(pg_build *b, const pg_entry *entry); /* b NULL: only tells whether it is not null */

static void put_column(pg_build *b, pg_batch *batch, pg_type type, put_item put)
{
    bool any = false;
    for (size_t i = 0; i < batch->count && !any; i++)
        any = put(NULL, &batch->entries[i]);
    pg_array_begin(b, type);
    for (size_t i = 0; i < batch->count && any; i++)
        put(b, &batch->entries[i]);
    pg_array_end(b);
}

static bool put_created_at(pg_build *b, const pg_entry *e)
{
    bool same = e->job->created_at == e->job->run_after;
    if (b)
        pg_put_int8_or_null(b, same ? 0 : e->job->created_at);
    return !same;
}

static bool put_guard(pg_build *b, const pg_entry *e)
{
    if (b)
        pg_put_uuid(b, e->print.guarded ? e->print.guard : NULL);
    return e->print.guarded;
}

static bool put_fingerprint(pg_build *b, const pg_entry *e)
{
    if (b)
        pg_put_text(b, e->print.text);
    return e->print.text != NULL;
}

static bool put_deadline(pg_build *b, const pg_entry *e)
{
    if (b)
        pg_put_int8_or_null(b, e->job->deadline);
    return e->job->deadline != 0;
}

static bool put_retention(pg_build *b, const pg_entry *e)
{
    if (b)
        pg_put_int8_or_null(b, e->job->retention);
    return e->job->retention != 0;
}

/* As the text of a bigint[]: arrays of arrays would have to be equally long. */
static bool put_retry_waits(pg_build *b, const pg_entry *e)
{
    char text[PG_RETRY_WAITS_MAX * 21 + 3];
    size_t size = 1;
    if (b && e->job->retry_waits) {
        text[0] = '{';
        for (size_t i = 0; i < e->job->retry_wait_count && i < PG_RETRY_WAITS_MAX; i++)
            size += (size_t)snprintf(text + size, sizeof text - size, i ? ",%lld" : "%lld",
                                     (long long)e->job->retry_waits[i]);
        snprintf(text + size, sizeof text - size, "}");
    }
    if (b)
        pg_put_text(b, e->job->retry_waits ? text : NULL);
    return e->job->retry_waits != NULL;
}

static bool put_metadata(pg_build *b, const pg_entry *e)
{
    if (b)
        pg_put_text(b, e->job->metadata);
    return e->job->metadata != NULL;
}

static bool put_payload(pg_build *b, const pg_entry *e)
{
    if (b)
        pg_put_bytea(b, e->job->payload_size ? e->job->payload : "", e->job->payload_size);
    return true;
}

static bool put_id(pg_build *b, const pg_entry *e)
{
    if (b)
        pg_put_uuid(b, e->id);
    return true;
}

static void put_numbers(pg_build *b, const pg_batch *batch)
{
    pg_array_begin(b, PG_INT4);
    for (size_t i = 0; i < batch->count; i++)
        pg_put_int4(b, batch->entries[i].queue);
    pg_array_end(b);
    pg_array_begin(b, PG_INT4);
    for (size_t i = 0; i < batch->count; i++)
        pg_put_int4(b, pg_rank_of(batch->entries[i].job->priority));
    pg_array_end(b);
    pg_array_begin(b, PG_INT8);
    for (size_t i = 0; i < batch->count; i++)
        pg_put_int8(b, batch->entries[i].job->run_after);
    pg_array_end(b);
}

void pg_put_batch(pg_build *b, pg_batch *batch)
{
    put_queues(b, batch);
    put_extremes(b, batch);
    pg_array_begin(b, PG_INT4);
    for (size_t i = 0; i < batch->count; i++)
        pg_put_int4(b, batch->entries[i].place);
    pg_array_end(b);
    put_column(b, batch, PG_UUID, put_id);
    put_numbers(b, batch);
    put_column(b, batch, PG_INT8, put_created_at);
    pg_array_begin(b, PG_INT4);
    for (size_t i = 0; i < batch->count; i++)
        pg_put_int4(b, batch->entries[i].job->max_retries);
    pg_array_end(b);
    put_column(b, batch, PG_UUID, put_guard);
    put_column(b, batch, PG_TEXT, put_fingerprint);
    put_column(b, batch, PG_INT8, put_deadline);
    put_column(b, batch, PG_INT8, put_retention);
    put_column(b, batch, PG_TEXT, put_retry_waits);
    put_column(b, batch, PG_TEXT, put_metadata);
    put_column(b, batch, PG_BYTEA, put_payload);
}

void pg_put_entry(pg_build *b, const pg_entry *e)
{
    pg_put_int4(b, e->queue);
    put_id(b, e);
    pg_put_int4(b, pg_rank_of(e->job->priority));
    pg_put_int8(b, e->job->run_after);
    put_created_at(b, e);
    pg_put_int4(b, e->job->max_retries);
    put_guard(b, e);
    put_fingerprint(b, e);
    put_deadline(b, e);
    put_retention(b, e);
    put_retry_waits(b, e);
    put_metadata(b, e);
    put_payload(b, e);
}

/* ---- the answer ------------------------------------------------------------------------- */

static void forget_queues(neoq_store *store, const pg_batch *batch)
{
    pthread_mutex_lock(&store->queue_mutex);
    for (size_t i = 0; i < batch->count; i++) {
        pg_queue *queue = pg_queue_known(store, batch->entries[i].job->queue);
        if (queue)
            queue->id = 0;
    }
    pthread_mutex_unlock(&store->queue_mutex);
}

static int by_place(const void *a, const void *b)
{
    const pg_entry *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

bool pg_batch_read(neoq_store *store, pg_batch *batch, const PGresult *rows)
{
    int count = PQntuples(rows);
    size_t left = 0;
    if (count == 1 && pg_int(rows, 0, 0) == -1) {
        forget_queues(store, batch);
        return false;
    }
    if (count > 0)
        qsort(batch->entries, batch->count, sizeof *batch->entries, by_place);
    for (int row = 0; row < count; row++) {
        const pg_entry key = {.place = (int32_t)pg_int(rows, row, 0)};
        pg_entry *entry = bsearch(&key, batch->entries, batch->count, sizeof key, by_place);
        int status = (int)pg_int(rows, row, 1);
        const uint8_t *twin = pg_uuid(rows, row, 2);
        if (!entry)
            continue;
        entry->again = status > 0;
        if (!entry->again)
            entry->result->status = status;
        if (!entry->again && twin)
            nq_uuid_format(twin, entry->result->id);
    }
    for (size_t i = 0; i < batch->count; i++)
        if (batch->entries[i].again) {
            batch->entries[left] = batch->entries[i];
            batch->entries[left++].again = false;
        }
    batch->count = left;
    return true;
}
