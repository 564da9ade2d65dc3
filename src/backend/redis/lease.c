/* SPDX-License-Identifier: MIT
 *
 * Workers and their leases, recovery, retention. A worker has one lease, and each of its runs the same in asynq's own
 * "lease", where Go's recoverers look, too; both are renewed by a beat.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/exchange.h"
#include "backend/redis/layout.h"
#include "backend/redis/look.h"
#include "base/error.h"

enum { PAGES_MOST = 50 /* of one queue in one round of upkeep */ };

/* ---- beating ---------------------------------------------------------------------------- */

/* What the server knows of a worker: a line each for its host and its place, and numbers. */
static void put_facts(neoq_store *store, rd_batch *batch, const neoq_beat *beat)
{
    const neoq_worker_info *w = &beat->worker;
    char place[NQ_PROCESS_PLACE_SIZE] = "";
    nq_place_of(store->place, w->pid, place);
    rd_putf(batch, "%.127s\n%s\n%d %d %d %" PRId64 " %" PRId64, w->host, place, w->pid, w->running, w->capacity,
            w->started_at, rd_now(store));
}

static int tell(neoq_store *store, const neoq_beat *beat, neoq_time until)
{
    rd_batch batch = {.urgent = true};
    rd_begin_script(&batch, RD_BEAT, RD_WORKER_LEASES);
    rd_put_text(&batch, RD_WORKER_FACTS);
    rd_put_int(&batch, beat->join);
    rd_put_text(&batch, beat->worker.id);
    if (beat->lease > 0)
        rd_put_time(&batch, until);
    else
        rd_put_text(&batch, "");
    put_facts(store, &batch, beat);
    int status = rd_send(store, &batch, true);
    if (status == NEOQ_OK && rd_number(batch.calls[0].reply, 0) == 0)
        status = nq_fail(NEOQ_ELOST, "worker %s lost its lease", beat->worker.id);
    rd_batch_free(&batch);
    return status;
}

static void note_pulse(neoq_store *store, const neoq_beat *beat, neoq_time until)
{
    pthread_mutex_lock(&store->hold_mutex);
    snprintf(store->pulse.worker, sizeof store->pulse.worker, "%s", beat->worker.id);
    store->pulse.lease = beat->lease;
    store->pulse.until = until;
    pthread_mutex_unlock(&store->hold_mutex);
}

static int by_queue(const void *a, const void *b)
{
    return strcmp((*(rd_hold *const *)a)->job->queue, (*(rd_hold *const *)b)->job->queue);
}

/* Puts a renewal of every run that is held here. hold_mutex is held. */
static void put_renewals(const neoq_store *store, rd_batch *batch, rd_hold **holds, size_t count, const char *score)
{
    qsort(holds, count, sizeof(rd_hold *), by_queue);
    size_t jobs = 0;
    for (size_t i = 0; i < count; i++) {
        const neoq_job *job = holds[i]->job;
        if (i == 0 || jobs == RD_PIECE || strcmp(holds[i - 1]->job->queue, job->queue) != 0) {
            char key[RD_KEY_SIZE];
            rd_begin_script(batch, RD_EXTEND, rd_queue_key(rd_home(store, job->queue), key));
            rd_put_copy(batch, score, strlen(score));
            jobs = 0;
        }
        rd_put_copy(batch, job->id, strlen(job->id));
        rd_put_int(batch, job->epoch);
        jobs++;
    }
}

/* The lease was, and with it all runs. */
static void note_loss(neoq_store *store)
{
    pthread_mutex_lock(&store->hold_mutex);
    for (rd_hold *hold = store->holds; hold; hold = hold->next)
        hold->over = true;
    pthread_mutex_unlock(&store->hold_mutex);
}

/* It was not renewed, as it is not running here any more: where nobody else could have taken it yet, it was settled. */
static void note_refusal(neoq_store *store, const char *id)
{
    pthread_mutex_lock(&store->hold_mutex);
    for (rd_hold *hold = store->holds; hold; hold = hold->next)
        if (strcmp(hold->job->id, id) == 0) {
            hold->renewing = 0;
            if (rd_now(store) < hold->until)
                hold->until = NQ_TIME_MAX;
        }
    pthread_mutex_unlock(&store->hold_mutex);
}

static void note_renewals(neoq_store *store, neoq_time until)
{
    pthread_mutex_lock(&store->hold_mutex);
    for (rd_hold *hold = store->holds; hold; hold = hold->next)
        if (hold->renewing == until && hold->until < until)
            hold->until = until;
    pthread_mutex_unlock(&store->hold_mutex);
}

/* Takes in what extend.lua answers. */
static void read_renewals(neoq_store *store, const redisReply *answer)
{
    bool lost = false;
    for (size_t i = 0; i < rd_items(answer); i++) {
        const char *id = rd_string(rd_item(answer, i));
        if (id && lost)
            note_refusal(store, id);
        else if (id && *id)
            rd_bell_cancel(store->bell, id);
        else
            lost = true;
    }
}

/* Of the worker's lease there may be little left, if the server was long in taking it. */
static int renew_runs(neoq_store *store, neoq_time until, neoq_duration lease)
{
    rd_batch batch = {.urgent = true};
    char score[32];
    size_t count = 0;
    neoq_time least = rd_now(store) + lease / 2;
    until = until > least ? until : least;
    rd_lease_score(until, score);
    pthread_mutex_lock(&store->hold_mutex);
    for (const rd_hold *hold = store->holds; hold; hold = hold->next)
        count++;
    rd_hold **holds = malloc(count * sizeof(rd_hold *) + 1);
    count = 0;
    for (rd_hold *hold = holds ? store->holds : NULL; hold; hold = hold->next) {
        hold->renewing = hold->over ? 0 : until;
        if (!hold->over)
            holds[count++] = hold;
    }
    if (holds)
        put_renewals(store, &batch, holds, count, score);
    pthread_mutex_unlock(&store->hold_mutex);
    int status = holds ? rd_send(store, &batch, true) : nq_fail(NEOQ_ENOMEM, "no memory to renew the leases of runs");
    free(holds);
    for (size_t i = 0; i < batch.call_count && status == NEOQ_OK; i++)
        read_renewals(store, batch.calls[i].reply);
    if (status == NEOQ_OK)
        note_renewals(store, until);
    rd_batch_free(&batch);
    return status;
}

int rd_beat(neoq_store *store, const neoq_beat *beat)
{
    rd_measure_time(store);
    rd_bell_tend(store->bell);
    neoq_time until = rd_now(store) + beat->lease;
    int status = tell(store, beat, until);
    if (status == NEOQ_ELOST)
        note_loss(store);
    if (status != NEOQ_OK)
        return status;
    note_pulse(store, beat, until);
    status = beat->lease > 0 ? renew_runs(store, until, beat->lease) : NEOQ_OK;
    /* For people alone: that it fails is no reason to think the lease lost. */
    if (status == NEOQ_OK && beat->lease > 0)
        rd_show_worker(store, beat);
    else if (status == NEOQ_OK)
        rd_hide_worker(store, &beat->worker);
    return status;
}

/* ---- reading workers -------------------------------------------------------------------- */

typedef struct facts {
    neoq_worker_info info;
    char place[NQ_PROCESS_PLACE_SIZE];
} facts;

static bool read_facts(const char *id, const char *text, facts *f)
{
    *f = (facts){0};
    snprintf(f->info.id, sizeof f->info.id, "%s", id);
    const char *place = strchr(text, '\n'), *numbers = place ? strchr(place + 1, '\n') : NULL;
    if (!numbers)
        return false;
    snprintf(f->info.host, sizeof f->info.host, "%.*s", (int)(place - text), text);
    snprintf(f->place, sizeof f->place, "%.*s", (int)(numbers - place - 1), place + 1);
    return sscanf(numbers + 1, "%d %d %d %" SCNd64 " %" SCNd64, &f->info.pid, &f->info.running, &f->info.capacity,
                  &f->info.started_at, &f->info.seen_at) == 5;
}

int rd_workers(neoq_store *store, neoq_each_worker each, void *arg)
{
    rd_batch ids = {0}, batch = {0};
    rd_begin(&ids, "ZRANGEBYSCORE");
    rd_put_text(&ids, RD_WORKER_LEASES);
    rd_put_time(&ids, rd_now(store));
    rd_put_text(&ids, "+inf");
    int status = rd_read(store, &ids);
    const redisReply *list = status == NEOQ_OK ? ids.calls[0].reply : NULL;
    for (size_t i = 0; i < rd_items(list); i++) {
        rd_begin(&batch, "HGET");
        rd_put_text(&batch, RD_WORKER_FACTS);
        rd_put_text(&batch, rd_string(rd_item(list, i)));
    }
    if (status == NEOQ_OK)
        status = rd_read(store, &batch);
    for (size_t i = 0; i < rd_items(list) && status == NEOQ_OK; i++) {
        facts f;
        const char *text = rd_string(batch.calls[i].reply);
        if (text && read_facts(rd_string(rd_item(list, i)), text, &f))
            status = each(&f.info, arg);
    }
    rd_batch_free(&batch);
    rd_batch_free(&ids);
    return status;
}

/* ---- upkeep ----------------------------------------------------------------------------- */

/* The names of workers whose processes can be seen from here to be gone: they need not be waited for. Puts them behind
 * `end`, and says how many. */
static size_t put_gone(neoq_store *store, const redisReply *all, rd_batch *batch)
{
    size_t gone = 0;
    for (size_t i = 0; i + 1 < rd_items(all); i += 2) {
        const char *id = rd_string(rd_item(all, i)), *text = rd_string(rd_item(all, i + 1));
        facts f;
        if (!id || !text || !read_facts(id, text, &f) || !nq_place_is_gone(store->place, f.place, f.info.pid))
            continue;
        if (batch)
            rd_put_text(batch, id);
        gone++;
    }
    return gone;
}

/* Ends the leases of the runs of workers that are gone, in one queue. */
static int abandon(neoq_store *store, const char *queue, const redisReply *workers)
{
    int64_t from = 0;
    int status = NEOQ_OK;
    while (from >= 0 && status == NEOQ_OK) {
        char key[RD_KEY_SIZE], score[32];
        rd_batch batch = {0};
        rd_begin_script(&batch, RD_ABANDON, rd_queue_key(queue, key));
        rd_put_text(&batch, rd_lease_score(rd_now(store) - NEOQ_SECONDS(1), score));
        rd_put_int(&batch, from);
        put_gone(store, workers, &batch);
        status = rd_send(store, &batch, true);
        if (status == NEOQ_OK)
            from = rd_number(batch.calls[0].reply, -1);
        rd_batch_free(&batch);
    }
    return status;
}

static int reap(neoq_store *store, const redisReply *workers)
{
    rd_batch batch = {0};
    rd_begin_script(&batch, RD_REAP, RD_WORKER_LEASES);
    rd_put_text(&batch, RD_WORKER_FACTS);
    rd_put_time(&batch, rd_now(store));
    put_gone(store, workers, &batch);
    int status = rd_send(store, &batch, true);
    rd_batch_free(&batch);
    return status;
}

static int bury_workers(neoq_store *store, const rd_names *queues)
{
    rd_batch batch = {0};
    rd_begin(&batch, "HGETALL");
    rd_put_text(&batch, RD_WORKER_FACTS);
    int status = rd_send(store, &batch, true);
    const redisReply *workers = status == NEOQ_OK ? batch.calls[0].reply : NULL;
    if (put_gone(store, workers, NULL) > 0)
        for (size_t i = 0; i < queues->count && status == NEOQ_OK; i++)
            status = abandon(store, queues->names[i], workers);
    if (status == NEOQ_OK)
        status = reap(store, workers);
    rd_batch_free(&batch);
    return status;
}

typedef struct upkeep {
    size_t limit, deleted;
    neoq_claimed *lost;
    size_t lost_count;
} upkeep;

/* Takes in what a page of upkeep came to. True: there may be another; *from: where it begins. */
static bool take_page(neoq_store *store, upkeep *u, redisReply *answer, const char *queue, int64_t *from)
{
    size_t rows = rd_items(answer), deleted = (size_t)rd_number(rd_item(answer, 0), 0);
    *from = rd_number(rd_item(answer, 1), 0);
    u->deleted += deleted;
    for (size_t i = 2; i < rows && u->lost_count < u->limit; i++)
        u->lost_count += rd_hold_run(store, answer->element[i], 0, queue, 0, 0, &u->lost[u->lost_count]);
    return *from > 0 || (deleted == RD_PIECE && u->deleted < u->limit) || rows == RD_PIECE + 2;
}

static void put_tend(neoq_store *store, rd_batch *batch, const char *queue, const upkeep *u, int64_t from)
{
    char key[RD_KEY_SIZE];
    size_t left = u->deleted < u->limit ? u->limit - u->deleted : 0, lost = u->limit - u->lost_count;
    rd_begin_script(batch, RD_TEND, rd_queue_key(queue, key));
    rd_put_time(batch, rd_now(store));
    rd_put_int(batch, (int64_t)(left < RD_PIECE ? left : RD_PIECE));
    rd_put_int(batch, (int64_t)(lost < RD_PIECE ? lost : RD_PIECE));
    rd_put_int(batch, from);
}

/* One more page of a queue that has more to do. */
static int tend_on(neoq_store *store, const char *queue, upkeep *u, int64_t from)
{
    int status = NEOQ_OK;
    bool more = true;
    for (int page = 0; page < PAGES_MOST && more && status == NEOQ_OK && u->lost_count < u->limit; page++) {
        rd_batch batch = {0};
        put_tend(store, &batch, queue, u, from);
        status = rd_send(store, &batch, true);
        more = status == NEOQ_OK && take_page(store, u, batch.calls[0].reply, queue, &from);
        rd_batch_free(&batch);
    }
    return status;
}

static int tend_queues(neoq_store *store, const rd_names *queues, upkeep *u)
{
    rd_batch batch = {0};
    for (size_t i = 0; i < queues->count; i++)
        put_tend(store, &batch, queues->names[i], u, 0);
    int status = rd_send(store, &batch, true);
    for (size_t i = 0; i < queues->count && status == NEOQ_OK; i++) {
        int64_t from;
        if (take_page(store, u, batch.calls[i].reply, queues->names[i], &from))
            status = tend_on(store, queues->names[i], u, from);
    }
    rd_batch_free(&batch);
    return status;
}

int rd_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count)
{
    rd_names queues = {0};
    upkeep u = {.limit = limit, .lost = lost};
    int status = rd_names_read(store, &queues);
    if (status == NEOQ_OK)
        status = bury_workers(store, &queues);
    if (status == NEOQ_OK)
        status = tend_queues(store, &queues, &u);
    *lost_count = u.lost_count;
    rd_names_free(&queues);
    return u.lost_count > 0 ? NEOQ_OK : status;
}
