/* SPDX-License-Identifier: MIT
 *
 * Who goes with whom: calls that come while others are being stored wait, and one of them then takes all of them along
 * in one pipeline (base/group.h), a script call a queue and some thirty jobs. A call with many jobs goes by itself; the
 * server stores the first of them while the rest is encoded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/jobs.h"
#include "backend/redis/layout.h"
#include "base/error.h"
#include "base/uuid.h"

enum {
    MANY_JOBS = 100,
    JOBS_TOGETHER = 2000,
    BYTES_TOGETHER = 4 << 20,
    PIECE_BYTES = 256 << 10,
};

typedef struct rd_op {
    nq_member member; /* the first, so that one is the other */
    const neoq_job *jobs;
    size_t count, bytes;
    neoq_enqueued *results;
    int status;
    unsigned fates; /* of its jobs */
    char message[512];
} rd_op;

enum { STORED = 1, REFUSED = 2, UNKNOWN = 4 };

/* A job on its way. */
typedef struct load_job {
    const neoq_job *job;
    neoq_enqueued *result;
    rd_op *op;
    size_t place;      /* in the callers' order */
    size_t registered; /* the call that registers its queue */
    size_t call;       /* that stores it; SIZE_MAX = it came to none */
    bool gone;         /* another queue has it */
} load_job;

typedef struct rd_load {
    load_job *entries;
    size_t count;
    rd_batch batch;
} rd_load;

/* ---- ids of the caller's ----------------------------------------------------------------- */

/* Whether the id was made just now: then no other queue has it. */
static bool is_fresh(const neoq_job *job)
{
    uint8_t id[16];
    if (!nq_uuid_parse(job->id, id) || id[6] >> 4 != 7)
        return false;
    int64_t made = 0;
    for (int i = 0; i < 6; i++)
        made = made << 8 | id[i];
    int64_t age = job->created_at / 1000 - made;
    return age > -1000 && age < 1000;
}

static void ask_elsewhere(rd_batch *batch, const load_job *entry, const redisReply *queues)
{
    for (size_t i = 0; i < rd_items(queues); i++) {
        const char *queue = rd_string(rd_item(queues, i));
        if (!queue || strcmp(queue, entry->job->queue) == 0)
            continue;
        rd_begin(batch, "EXISTS");
        rd_putf(batch, "asynq:{%.200s}:t:%.36s", queue, entry->job->id);
    }
}

/* asynq's ids are a queue's own, neoq's are the store's: one that another queue has is not stored again. */
static int find_elsewhere(neoq_store *store, rd_load *load)
{
    rd_batch names = {0}, batch = {0};
    rd_begin(&names, "SMEMBERS");
    rd_put_text(&names, RD_QUEUES);
    int status = rd_read(store, &names);
    const redisReply *queues = status == NEOQ_OK ? names.calls[0].reply : NULL;
    for (size_t i = 0; i < load->count && status == NEOQ_OK; i++)
        if (!is_fresh(load->entries[i].job))
            ask_elsewhere(&batch, &load->entries[i], queues);
    if (status == NEOQ_OK)
        status = rd_read(store, &batch);
    size_t call = 0;
    for (size_t i = 0; i < load->count && status == NEOQ_OK; i++) {
        load_job *entry = &load->entries[i];
        if (is_fresh(entry->job))
            continue;
        for (size_t q = 0; q < rd_items(queues); q++) {
            const char *queue = rd_string(rd_item(queues, q));
            if (queue && strcmp(queue, entry->job->queue) != 0)
                entry->gone |= rd_number(batch.calls[call++].reply, 0) > 0;
        }
    }
    rd_batch_free(&batch);
    rd_batch_free(&names);
    return status;
}

/* ---- one pipeline ----------------------------------------------------------------------- */

static int by_queue(const void *a, const void *b)
{
    const load_job *x = a, *y = b;
    int order = strcmp(x->job->queue, y->job->queue);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

/* asynq's tools know the queues that are registered. */
static void put_registration(rd_batch *batch, const char *queue)
{
    rd_begin(batch, "SADD");
    rd_put_text(batch, RD_QUEUES);
    rd_put_text(batch, queue);
}

/* What a list does not wake for is told. */
static bool is_plain(const neoq_job *job)
{
    return job->state == NEOQ_READY && job->priority == 0;
}

/* A load on its way into its batch: by queue, and in pieces. */
typedef struct loading {
    neoq_store *store;
    rd_load *load;
    neoq_time now;
    size_t at;         /* the next entry */
    const char *queue; /* of those before */
    size_t registered; /* by this call */
    bool tells;
} loading;

static void begin_queue(rd_batch *batch, loading *l, const char *queue)
{
    l->queue = queue;
    put_registration(batch, rd_home(l->store, queue));
    l->registered = batch->call_count - 1;
}

static void end_queue(rd_batch *batch, loading *l)
{
    rd_begin(batch, "PUBLISH");
    rd_put_text(batch, RD_WAKE_CHANNEL);
    rd_put_text(batch, l->queue);
    l->tells = false;
}

/* The jobs of one script call. */
static void put_jobs(rd_batch *batch, loading *l)
{
    char key[RD_KEY_SIZE];
    rd_begin_script(batch, RD_ENQUEUE, rd_queue_key(rd_home(l->store, l->queue), key));
    rd_put_time(batch, l->now);
    for (size_t jobs = 0, bytes = 0; l->at < l->load->count && jobs < RD_PIECE && bytes <= PIECE_BYTES; jobs++) {
        const load_job *entry = &l->load->entries[l->at];
        if (strcmp(l->queue, entry->job->queue) != 0)
            break;
        rd_put_job(l->store, batch, entry->job);
        l->tells = l->tells || !is_plain(entry->job) || rd_is_shared(l->store);
        bytes += entry->job->payload_size;
        l->at++;
    }
}

/* For the batch's `more`. Without memory what was begun is not sent. */
static bool put_piece(rd_batch *batch, void *arg)
{
    loading *l = arg;
    size_t before = batch->call_count, from = l->at;
    const neoq_job *job = from < l->load->count ? l->load->entries[from].job : NULL;
    bool other = !job || !l->queue || strcmp(l->queue, job->queue) != 0;
    if (other && l->tells)
        end_queue(batch, l);
    if (other && job)
        begin_queue(batch, l, job->queue);
    if (job)
        put_jobs(batch, l);
    if (batch->failed || batch->text.failed)
        batch->call_count = before;
    for (size_t i = from; i < l->at && batch->call_count > before; i++) {
        l->load->entries[i].registered = l->registered;
        l->load->entries[i].call = batch->call_count - 1;
    }
    return batch->call_count > before;
}

/* Of a call that answered: what it tells of its jobs. */
static void read_answer(const redisReply *answer, const load_job *entries, size_t count)
{
    for (size_t i = 0; i < rd_items(answer); i++) {
        size_t number = rd_stored_number(rd_item(answer, i), count);
        if (number > 0)
            rd_read_stored(rd_item(answer, i), entries[number - 1].result);
    }
}

static unsigned fate_of(const redisReply *reply, int status)
{
    if (reply)
        return reply->type == REDIS_REPLY_ERROR ? REFUSED : STORED;
    return status == NEOQ_EUNKNOWN ? UNKNOWN : REFUSED;
}

/* What the last item of an answer tells: how many had arrived before. */
static void take_arrivals(neoq_store *store, const redisReply *answer, const char *queue, int64_t sent, size_t count)
{
    size_t items = rd_items(answer);
    int64_t before = items > 0 ? rd_number(rd_item(answer, items - 1), -1) : -1;
    if (before >= 0)
        rd_arrivals_take(store->arrivals, queue, sent, before, before + (int64_t)count);
}

static void read_answers(neoq_store *store, rd_load *load, int64_t sent, int status)
{
    for (size_t i = 0, end; i < load->count; i = end) {
        const redisReply *reply = rd_answer_of(&load->batch, load->entries[i].call);
        unsigned fate = fate_of(reply, status);
        if (fate == STORED && fate_of(rd_answer_of(&load->batch, load->entries[i].registered), status) != STORED)
            fate = UNKNOWN; /* it is in a queue that upkeep may not know of; repeated, it registers that */
        for (end = i; end < load->count && load->entries[end].call == load->entries[i].call; end++)
            load->entries[end].op->fates |= fate;
        read_answer(reply, &load->entries[i], end - i);
        take_arrivals(store, reply, rd_home(store, load->entries[i].job->queue), sent, end - i);
    }
}

static void fail_op(rd_op *op, int status)
{
    op->status = status;
    snprintf(op->message, sizeof op->message, "%s", neoq_error_message());
}

/* Of an op whose jobs went out in several calls, some may have been stored and others not: then its caller repeats it. */
static void judge(rd_op *op, int status)
{
    if (op->fates != REFUSED && op->fates & ~(unsigned)STORED)
        status = NEOQ_EUNKNOWN;
    else if (op->fates != REFUSED)
        status = NEOQ_OK;
    if (status != NEOQ_OK)
        fail_op(op, status);
}

/* ---- together --------------------------------------------------------------------------- */

static bool gather(const neoq_store *store, rd_load *load, nq_member *first, const nq_member *end)
{
    size_t room = 0;
    for (const nq_member *member = first; member != end; member = member->next)
        room += ((const rd_op *)member)->count;
    load->entries = malloc(room * sizeof *load->entries);
    if (!load->entries)
        return false;
    for (nq_member *member = first; member != end; member = member->next) {
        rd_op *op = (rd_op *)member;
        for (size_t i = 0; i < op->count; i++) {
            op->results[i] = (neoq_enqueued){.status = NEOQ_OK};
            snprintf(op->results[i].id, sizeof op->results[i].id, "%s", rd_task_id(store, &op->jobs[i]));
            load->entries[load->count] = (load_job){
                .job = &op->jobs[i], .result = &op->results[i], .op = op, .place = load->count, .call = SIZE_MAX};
            load->count++;
        }
    }
    return true;
}

static void drop_gone(rd_load *load)
{
    size_t kept = 0;
    for (size_t i = 0; i < load->count; i++)
        if (!load->entries[i].gone)
            load->entries[kept++] = load->entries[i];
    load->count = kept;
}

static int by_id(const void *a, const void *b)
{
    const load_job *x = a, *y = b;
    int order = strcmp(x->job->id, y->job->id);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

/* Of jobs with one id the first is to be stored, and the others looked at once it is. Takes those out of the load and
 * into the other. False: no memory. */
static bool put_off_repeats(rd_load *load, rd_load *later)
{
    size_t kept = 0;
    later->entries = malloc(load->count * sizeof *later->entries + 1);
    if (!later->entries)
        return false;
    qsort(load->entries, load->count, sizeof *load->entries, by_id);
    for (size_t i = 0; i < load->count; i++)
        if (kept > 0 && strcmp(load->entries[kept - 1].job->id, load->entries[i].job->id) == 0)
            later->entries[later->count++] = load->entries[i];
        else
            load->entries[kept++] = load->entries[i];
    load->count = kept;
    return true;
}

static bool all_fresh(const rd_load *load)
{
    for (size_t i = 0; i < load->count; i++)
        if (!is_fresh(load->entries[i].job))
            return false;
    return true;
}

static int send_load(neoq_store *store, rd_load *load)
{
    if (load->count > 0)
        qsort(load->entries, load->count, sizeof *load->entries, by_queue);
    loading l = {.store = store, .load = load, .now = rd_now(store)};
    load->batch = (rd_batch){.rings = true, .more = put_piece, .arg = &l};
    int64_t sent = nq_steady();
    int status = rd_send(store, &load->batch, false);
    read_answers(store, load, sent, status);
    for (size_t i = 0; i < load->count; i++)
        if (load->entries[i].job->state == NEOQ_SCHEDULED)
            rd_bell_await(store->bell, rd_home(store, load->entries[i].job->queue), load->entries[i].job->run_after);
    return status;
}

/* It did not come to storing these. */
static void refuse(const rd_load *load)
{
    for (size_t i = 0; i < load->count; i++)
        load->entries[i].op->fates |= REFUSED;
}

/* Ids that were given need more care than those of neoq's making. */
static int store_load(neoq_store *store, rd_load *load)
{
    if (rd_is_shared(store) || all_fresh(load))
        return send_load(store, load);
    rd_load later = {0};
    int status =
        put_off_repeats(load, &later) ? find_elsewhere(store, load) : nq_fail(NEOQ_ENOMEM, "no memory for the jobs");
    if (status == NEOQ_OK) {
        drop_gone(load);
        status = send_load(store, load);
    } else {
        refuse(load);
    }
    if (status != NEOQ_OK)
        refuse(&later);
    else if (later.count > 0)
        status = store_load(store, &later);
    rd_batch_free(&later.batch);
    free(later.entries);
    return status;
}

static void store_ops(neoq_store *store, nq_member *first, const nq_member *end)
{
    rd_load load = {0};
    int status =
        gather(store, &load, first, end) ? store_load(store, &load) : nq_fail(NEOQ_ENOMEM, "no memory for the jobs");
    for (nq_member *member = first; member != end; member = member->next) {
        rd_op *op = (rd_op *)member;
        if (!load.entries)
            op->fates = REFUSED;
        judge(op, status);
    }
    rd_batch_free(&load.batch);
    free(load.entries);
    rd_bell_ring(store->bell);
}

/* All who wait, by pipelines that are not too large. */
static void serve(nq_member *first, void *arg)
{
    neoq_store *store = arg;
    while (first) {
        const rd_op *op = (const rd_op *)first;
        size_t jobs = op->count, bytes = op->bytes;
        nq_member *end = first->next;
        while (end && (jobs += ((const rd_op *)end)->count) <= JOBS_TOGETHER &&
               (bytes += ((const rd_op *)end)->bytes) <= BYTES_TOGETHER)
            end = end->next;
        store_ops(store, first, end);
        first = end;
    }
}

static size_t bytes_of(const neoq_job *jobs, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += jobs[i].payload_size;
    return bytes;
}

/* The one with fewer callers. */
static nq_group *emptiest_lane(neoq_store *store)
{
    nq_group *emptiest = &store->lanes[0];
    for (int i = 1; i < RD_LANES; i++)
        if (atomic_load(&store->lanes[i].members) < atomic_load(&emptiest->members))
            emptiest = &store->lanes[i];
    return emptiest;
}

static int check_job(const neoq_store *store, const neoq_job *job)
{
    if (!rd_queue_fits(store, job->queue))
        return rd_queue_misfit(job->queue);
    return rd_is_shared(store) ? rd_layout_check(store, job, !is_fresh(job)) : NEOQ_OK;
}

int rd_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    rd_op op = {.jobs = jobs, .count = count, .bytes = bytes_of(jobs, count), .results = results};
    if (count == 0)
        return NEOQ_OK;
    for (size_t i = 0; i < count; i++) {
        int status = check_job(store, &jobs[i]);
        if (status != NEOQ_OK)
            return status;
    }
    if (count >= MANY_JOBS)
        store_ops(store, &op.member, NULL);
    else
        nq_group_join(emptiest_lane(store), &op.member, serve, store);
    if (op.status != NEOQ_OK)
        return nq_fail(op.status, "%s", op.message);
    rd_mind_time(store);
    return NEOQ_OK;
}
