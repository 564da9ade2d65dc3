/* SPDX-License-Identifier: MIT */
#include "backend/redis/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/exchange.h"
#include "base/error.h"
#include "base/json.h"
#include "job/transition.h"

#define SHARED_QUEUE "default"

bool rd_is_shared(const neoq_store *store)
{
    return store->url.layout == RD_NEOQ;
}

const char *rd_home(const neoq_store *store, const char *queue)
{
    return rd_is_shared(store) ? SHARED_QUEUE : queue;
}

const char *rd_tenant(const neoq_store *store, const char *home)
{
    return rd_is_shared(store) ? NULL : home;
}

int rd_layout_refuses(const neoq_store *store, const char *what)
{
    if (!rd_is_shared(store))
        return NEOQ_OK;
    return nq_fail(NEOQ_EUNSUPPORTED, "%s is not possible with layout=neoq: all queues are one queue of asynq's",
                   what);
}

/* ---- jobs ------------------------------------------------------------------------------- */

const char *rd_task_id(const neoq_store *store, const neoq_job *job)
{
    return rd_is_shared(store) && job->unique == NEOQ_UNIQUE_ON ? job->fingerprint : job->id;
}

/* Go neoq runs a job as often as it may be retried, not once more. */
int32_t rd_task_retries(const neoq_store *store, const neoq_job *job)
{
    int32_t retries = job->max_retries < 0 ? 0 : job->max_retries;
    return retries + (rd_is_shared(store) && retries < INT32_MAX);
}

/* Go neoq knows maps, and none at all. */
static int check_payload(const neoq_job *job)
{
    nq_buffer canonical = {0};
    if (job->payload_size == 0)
        return NEOQ_OK;
    int status = nq_json_canonical(job->payload, job->payload_size, &canonical);
    bool object = status == NEOQ_OK && canonical.size > 0 && *canonical.data == '{';
    nq_buffer_free(&canonical);
    if (object)
        return NEOQ_OK;
    if (status == NEOQ_ENOMEM)
        return nq_fail(NEOQ_ENOMEM, "no memory to look at a payload");
    return nq_fail(NEOQ_EUNSUPPORTED, "queue \"%s\": with layout=neoq a payload is a JSON object, or empty",
                   job->queue);
}

int rd_layout_check(const neoq_store *store, const neoq_job *job, bool own_id)
{
    if (!rd_is_shared(store))
        return NEOQ_OK;
    bool unique = job->unique == NEOQ_UNIQUE_ON;
    if (unique && own_id)
        return nq_fail(NEOQ_EUNSUPPORTED,
                       "queue \"%s\": with layout=neoq a unique job's id is its fingerprint; %s cannot be it",
                       job->queue, job->id);
    if (unique && job->fingerprint && strlen(job->fingerprint) >= NEOQ_ID_SIZE)
        return nq_fail(NEOQ_EUNSUPPORTED,
                       "queue \"%s\": with layout=neoq a fingerprint is an id, and has up to %d bytes", job->queue,
                       NEOQ_ID_SIZE - 1);
    return check_payload(job);
}

/* ---- runs that there are not ------------------------------------------------------------- */

static bool is_spent(const neoq_claimed *run)
{
    rd_task task;
    const redisReply *message = ((const rd_hold *)run->hold)->message;
    return message && rd_task_decode(message->str, (size_t)message->len, &task) == NEOQ_OK &&
           task.retries >= task.max_retries;
}

void rd_end_spent(neoq_store *store, neoq_exchange *x)
{
    size_t spent = 0, kept = 0;
    neoq_claimed *runs = malloc(x->run_count * sizeof *runs + 1);
    neoq_settlement *list = malloc(x->run_count * sizeof *list + 1);
    neoq_time now = rd_now(store);
    for (size_t i = 0; i < x->run_count && runs && list; i++) {
        const neoq_job *job = &x->runs[i].job;
        if (!is_spent(&x->runs[i])) {
            x->runs[kept++] = x->runs[i];
            continue;
        }
        runs[spent] = x->runs[i];
        list[spent++] = (neoq_settlement){.id = job->id,
                                          .epoch = job->epoch,
                                          .hold = x->runs[i].hold,
                                          .state = NEOQ_DEAD,
                                          .run_after = job->run_after,
                                          .keep_until = nq_keep_until(now, store->options->dead_retention),
                                          .error = "the job has exceeded the maximum number of retries",
                                          .outcome = nq_outcome_word(NQ_DISCARDED),
                                          .started_at = job->ran_at,
                                          .finished_at = job->ran_at};
    }
    if (spent > 0) {
        x->run_count = kept;
        rd_exchange_once(store, &(neoq_exchange){.settlements = list, .settlement_count = spent});
        rd_bell_ring(store->bell); /* there may be others behind them */
    }
    while (spent > 0)
        rd_release(store, &runs[--spent]);
    free(runs);
    free(list);
}

/* ---- counting --------------------------------------------------------------------------- */

typedef struct census {
    neoq_queue_info *queues;
    size_t count, room;
} census;

static neoq_queue_info *queue_of(census *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->queues[i].name, name) == 0)
            return &t->queues[i];
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 16;
        neoq_queue_info *grown = realloc(t->queues, room * sizeof *grown);
        if (!grown)
            return NULL;
        t->queues = grown;
        t->room = room;
    }
    neoq_queue_info *queue = &t->queues[t->count++];
    *queue = (neoq_queue_info){0};
    snprintf(queue->name, sizeof queue->name, "%s", name);
    return queue;
}

static int64_t *field_of(neoq_queue_info *queue, neoq_state state)
{
    switch (state) {
    case NEOQ_SCHEDULED: return &queue->scheduled;
    case NEOQ_READY: return &queue->ready;
    case NEOQ_RUNNING: return &queue->running;
    case NEOQ_RETRYING: return &queue->retrying;
    case NEOQ_DONE: return &queue->done;
    case NEOQ_DEAD: return &queue->dead;
    }
    return &queue->ready;
}

/* A page of a container: type, how many of it, and how many of those are due. */
static int add_page(census *t, const redisReply *answer, neoq_state state)
{
    for (size_t i = 1; i + 2 < rd_items(answer); i += 3) {
        const char *name = rd_string(rd_item(answer, i));
        int64_t all = rd_number(rd_item(answer, i + 1), 0), due = rd_number(rd_item(answer, i + 2), 0);
        neoq_queue_info *queue = name && strlen(name) < sizeof queue->name ? queue_of(t, name) : NULL;
        if (!name || strlen(name) >= sizeof queue->name)
            continue; /* Go's alone */
        if (!queue)
            return nq_fail(NEOQ_ENOMEM, "no memory to count jobs");
        *field_of(queue, state) += all - due;
        queue->ready += due;
    }
    return NEOQ_OK;
}

static int add_container(neoq_store *store, census *t, const char *container, neoq_state state)
{
    int status = NEOQ_OK;
    for (int64_t from = 0; from >= 0 && status == NEOQ_OK;) {
        char key[RD_KEY_SIZE];
        rd_batch batch = {0};
        rd_begin_script(&batch, RD_CENSUS, rd_queue_key(SHARED_QUEUE, key));
        rd_put_time(&batch, rd_now(store));
        rd_put_text(&batch, container);
        rd_put_int(&batch, from);
        status = rd_read(store, &batch);
        const redisReply *answer = status == NEOQ_OK ? batch.calls[0].reply : NULL;
        if (status == NEOQ_OK)
            status = add_page(t, answer, state);
        from = rd_number(rd_item(answer, 0), -1);
        rd_batch_free(&batch);
    }
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const neoq_queue_info *)a)->name, ((const neoq_queue_info *)b)->name);
}

int rd_count_tenants(neoq_store *store, neoq_each_queue each, void *arg)
{
    static const struct {
        const char *name;
        neoq_state state;
    } containers[] = {{"pending", NEOQ_READY},  {"scheduled", NEOQ_SCHEDULED}, {"retry", NEOQ_RETRYING},
                      {"active", NEOQ_RUNNING}, {"completed", NEOQ_DONE},      {"archived", NEOQ_DEAD}};
    census t = {0};
    int status = NEOQ_OK;
    for (size_t i = 0; i < sizeof containers / sizeof *containers && status == NEOQ_OK; i++)
        status = add_container(store, &t, containers[i].name, containers[i].state);
    if (t.count > 0)
        qsort(t.queues, t.count, sizeof *t.queues, by_name);
    for (size_t i = 0; i < t.count && status == NEOQ_OK; i++)
        status = each(&t.queues[i], arg);
    free(t.queues);
    return status;
}
