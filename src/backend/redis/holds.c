/* SPDX-License-Identifier: MIT
 *
 * The runs that are held here. Where the answer to a claim was lost, runs may be this worker's that nobody here knows of:
 * they are looked for, and given back.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/redis/exchange.h"
#include "backend/redis/layout.h"
#include "base/error.h"

_Static_assert(sizeof(rd_hold) % 8 == 0, "a job is copied behind it");

enum { ID, MESSAGE, FACTS, PLACE, EPOCH, RAN = RD_ROW_WIDTH };

bool rd_hold_run(neoq_store *store, redisReply *reply, size_t from, const char *queue, neoq_time ran_at,
                 neoq_time until, neoq_claimed *run)
{
    rd_view view;
    neoq_job *copy;
    const char *id = rd_string(rd_item(reply, from + ID));
    const rd_row told = {.id = rd_item(reply, from + ID),
                         .message = rd_item(reply, from + MESSAGE),
                         .facts = rd_item(reply, from + FACTS),
                         .place = rd_item(reply, from + PLACE),
                         .epoch = rd_item(reply, from + EPOCH),
                         .ran = ran_at ? NULL : rd_item(reply, from + RAN)};
    int status = NEOQ_EBACKEND;
    if (rd_items(reply) < from + RD_ROW_WIDTH)
        return false;
    if (id && strlen(id) < NEOQ_ID_SIZE)
        status = rd_view_read(&view, &told, rd_tenant(store, queue), 0);
    if (status == NEOQ_ENOMEM)
        return false;
    bool read = status == NEOQ_OK;
    if (!read)
        view = (rd_view){.job = {.id = id ? id : "",
                                 .queue = queue,
                                 .payload = "",
                                 .epoch = rd_number(told.epoch, 0),
                                 .max_retries = NEOQ_NO_RETRIES}};
    view.job.state = NEOQ_RUNNING;
    view.job.result = NULL;
    view.job.result_size = 0;
    if (ran_at) /* the enqueuer's clock may be a little ahead: claim.lua reckons with that, too */
        view.job.ran_at = ran_at > view.job.run_after ? ran_at : view.job.run_after;
    rd_hold *hold = nq_job_copy_behind(&view.job, sizeof *hold, &copy);
    if (read)
        rd_view_clear(&view);
    if (!hold)
        return false;
    *hold = (rd_hold){.message = reply->element[from + MESSAGE], .job = copy, .until = until};
    reply->element[from + MESSAGE] = NULL;
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

void rd_release(neoq_store *store, neoq_claimed *run)
{
    rd_hold *hold = run->hold;
    run->hold = NULL;
    if (!hold)
        return;
    pthread_mutex_lock(&store->hold_mutex);
    *(hold->previous ? &hold->previous->next : &store->holds) = hold->next;
    if (hold->next)
        hold->next->previous = hold->previous;
    if (!hold->answered)
        store->unsure = true;
    pthread_mutex_unlock(&store->hold_mutex);
    freeReplyObject(hold->message);
    free(hold);
}

/* ---- lost answers ----------------------------------------------------------------------- */

void rd_hold_unsure(neoq_store *store, const neoq_exchange *x)
{
    for (size_t i = 0; i < x->settlement_count; i++)
        if (x->settlements[i].hold)
            ((rd_hold *)x->settlements[i].hold)->unsure = true;
    pthread_mutex_lock(&store->hold_mutex);
    store->unsure = store->unsure || (x->worker && x->claim_count > 0);
    pthread_mutex_unlock(&store->hold_mutex);
}

bool rd_is_held(neoq_store *store, const char *id)
{
    pthread_mutex_lock(&store->hold_mutex);
    const rd_hold *hold = store->holds;
    while (hold && strcmp(hold->job->id, id) != 0)
        hold = hold->next;
    pthread_mutex_unlock(&store->hold_mutex);
    return hold != NULL;
}

/* Gives back the strays on one page of a queue's leases; the next page, or -1. */
static int give_back_page(neoq_store *store, const char *worker, const char *queue, int64_t *from)
{
    char key[RD_KEY_SIZE];
    rd_batch ask = {0}, tell = {0};
    rd_begin_script(&ask, RD_STRAYS, rd_queue_key(queue, key));
    rd_put_text(&ask, worker);
    rd_put_int(&ask, *from);
    int status = rd_send_within(store, NEOQ_SECONDS(1), &ask, true);
    const redisReply *rows = status == NEOQ_OK ? ask.calls[0].reply : NULL;
    *from = rd_number(rd_item(rows, 0), -1);
    for (size_t i = 1; i < rd_items(rows); i++) {
        const redisReply *row = rd_item(rows, i);
        const char *id = rd_string(rd_item(row, 0)), *epoch = rd_string(rd_item(row, 1));
        if (!id || !epoch || rd_is_held(store, id))
            continue;
        rd_begin_script(&tell, RD_RELEASE, key);
        rd_put_time(&tell, rd_now(store));
        rd_put_text(&tell, id);
        rd_put_text(&tell, epoch);
    }
    if (status == NEOQ_OK)
        status = rd_send(store, &tell, true);
    rd_batch_free(&tell);
    rd_batch_free(&ask);
    return status;
}

typedef struct search {
    neoq_store *store;
    const char *worker;
    int status;
} search;

static void search_queue(const char *queue, void *arg)
{
    search *s = arg;
    for (int64_t from = 0; from >= 0 && s->status == NEOQ_OK;)
        s->status = give_back_page(s->store, s->worker, queue, &from);
}

int rd_give_back_strays(neoq_store *store, const char *worker)
{
    pthread_mutex_lock(&store->hold_mutex);
    bool unsure = store->unsure;
    pthread_mutex_unlock(&store->hold_mutex);
    if (!unsure)
        return NEOQ_OK;
    search s = {store, worker, NEOQ_OK};
    pthread_rwlock_wrlock(&store->exchange_lock);
    rd_bell_each(store->bell, search_queue, &s);
    if (s.status == NEOQ_OK) {
        pthread_mutex_lock(&store->hold_mutex);
        store->unsure = false;
        pthread_mutex_unlock(&store->hold_mutex);
    }
    pthread_rwlock_unlock(&store->exchange_lock);
    return s.status;
}
