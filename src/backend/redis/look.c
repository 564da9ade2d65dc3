/* SPDX-License-Identifier: MIT
 *
 * A listing in order of id reads the ids of all jobs it may be about, a page of each container at a time, and keeps the
 * lowest: asynq has no index by id, and keeping one would cost every job two writes.
 */
#include "backend/redis/look.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/layout.h"
#include "base/error.h"

enum { PAGE = 1000, READ_PAGE = 1000, ROUNDS_MOST = 100 };

int rd_no_job(const char *id)
{
    return nq_fail(NEOQ_ENOTFOUND, "no job has the id %.127s", id);
}

int rd_no_queue(const char *name)
{
    return nq_fail(NEOQ_ENOTFOUND, "there is no queue \"%s\"", name);
}

/* ---- queues ----------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Of a queue that has all of ours. */
static int read_shared_name(const neoq_store *store, rd_names *names)
{
    names->names = malloc(sizeof(char *));
    if (!names->names)
        return nq_fail(NEOQ_ENOMEM, "no memory for the names of queues");
    names->names[names->count++] = rd_home(store, NULL);
    return NEOQ_OK;
}

int rd_names_read(neoq_store *store, rd_names *names)
{
    if (rd_is_shared(store))
        return read_shared_name(store, names);
    rd_batch batch = {0};
    rd_begin(&batch, "SMEMBERS");
    rd_put_text(&batch, RD_QUEUES);
    int status = rd_read(store, &batch);
    if (status == NEOQ_OK) {
        names->reply = batch.calls[0].reply;
        batch.calls[0].reply = NULL;
        names->names = malloc(rd_items(names->reply) * sizeof(char *) + 1);
        if (!names->names)
            status = nq_fail(NEOQ_ENOMEM, "no memory for the names of queues");
    }
    for (size_t i = 0; i < rd_items(names->reply) && status == NEOQ_OK; i++) {
        const char *name = rd_string(rd_item(names->reply, i));
        if (name && strlen(name) <= NQ_QUEUE_NAME_MAX && rd_queue_fits(store, name)) /* others are left to Go */
            names->names[names->count++] = name;
    }
    if (names->count > 0)
        qsort(names->names, names->count, sizeof(char *), by_name);
    rd_batch_free(&batch);
    return status;
}

void rd_names_free(rd_names *names)
{
    free(names->names);
    freeReplyObject(names->reply);
    *names = (rd_names){0};
}

int rd_queue_check(neoq_store *store, const char *queue)
{
    rd_batch batch = {0};
    rd_begin(&batch, "SISMEMBER");
    rd_put_text(&batch, RD_QUEUES);
    rd_put_text(&batch, queue);
    int status = rd_read(store, &batch);
    if (status == NEOQ_OK && rd_number(batch.calls[0].reply, 0) == 0)
        status = rd_no_queue(queue);
    rd_batch_free(&batch);
    return status;
}

/* The answer of counts.lua. */
enum { MORE, PAUSED, SCHEDULED, READY, RUNNING, RETRYING, DONE, DEAD, PROCESSED, FAILED, OLDEST };

static void put_counts(rd_batch *batch, const char *queue, neoq_time now)
{
    char key[RD_KEY_SIZE];
    rd_begin_script(batch, RD_COUNTS, rd_queue_key(queue, key));
    rd_put_time(batch, now);
}

static neoq_queue_info read_counts(const redisReply *answer, const char *name, neoq_time now)
{
    neoq_time oldest = rd_number(rd_item(answer, OLDEST), 0);
    neoq_queue_info info = {
        .paused = rd_number(rd_item(answer, PAUSED), 0) != 0,
        .scheduled = rd_number(rd_item(answer, SCHEDULED), 0),
        .ready = rd_number(rd_item(answer, READY), 0),
        .running = rd_number(rd_item(answer, RUNNING), 0),
        .retrying = rd_number(rd_item(answer, RETRYING), 0),
        .done = rd_number(rd_item(answer, DONE), 0),
        .dead = rd_number(rd_item(answer, DEAD), 0),
        .processed = rd_number(rd_item(answer, PROCESSED), 0),
        .failed = rd_number(rd_item(answer, FAILED), 0),
        .latency = oldest > 0 && oldest < now ? now - oldest : 0,
    };
    snprintf(info.name, sizeof info.name, "%s", name);
    return info;
}

/* What is due is made ready first, so the counts are those of now. */
static int count_again(neoq_store *store, const char *name, neoq_time now, neoq_queue_info *info)
{
    int status = NEOQ_OK;
    bool more = true;
    for (int round = 0; round < ROUNDS_MOST && more && status == NEOQ_OK; round++) {
        rd_batch batch = {0};
        put_counts(&batch, name, now);
        status = rd_read(store, &batch);
        if (status == NEOQ_OK) {
            more = rd_number(rd_item(batch.calls[0].reply, MORE), 0) != 0;
            *info = read_counts(batch.calls[0].reply, name, now);
        }
        rd_batch_free(&batch);
    }
    return status;
}

int rd_queues(neoq_store *store, neoq_each_queue each, void *arg)
{
    rd_names names = {0};
    rd_batch batch = {0};
    neoq_time now = rd_now(store);
    if (rd_is_shared(store))
        return rd_count_tenants(store, each, arg);
    int status = rd_names_read(store, &names);
    for (size_t i = 0; i < names.count; i++)
        put_counts(&batch, names.names[i], now);
    if (status == NEOQ_OK)
        status = rd_read(store, &batch);
    for (size_t i = 0; i < names.count && status == NEOQ_OK; i++) {
        const redisReply *answer = batch.calls[i].reply;
        neoq_queue_info info = read_counts(answer, names.names[i], now);
        if (rd_number(rd_item(answer, MORE), 0))
            status = count_again(store, names.names[i], now, &info);
        if (status == NEOQ_OK)
            status = each(&info, arg);
    }
    rd_batch_free(&batch);
    rd_names_free(&names);
    return status;
}

/* ---- one job ---------------------------------------------------------------------------- */

static rd_row row_of(const redisReply *answer)
{
    enum { MESSAGE, STATE, FACTS, PLACE, EPOCH, RAN, END, RESULT, SINCE, SCORE };
    return (rd_row){
        .message = rd_item(answer, MESSAGE),
        .state = rd_item(answer, STATE),
        .facts = rd_item(answer, FACTS),
        .place = rd_item(answer, PLACE),
        .epoch = rd_item(answer, EPOCH),
        .ran = rd_item(answer, RAN),
        .end = rd_item(answer, END),
        .result = rd_item(answer, RESULT),
        .since = rd_item(answer, SINCE),
        .score = rd_item(answer, SCORE),
    };
}

static int take_found(neoq_store *store, redisReply *answer, const char *queue, rd_found *found)
{
    const rd_row row = row_of(rd_item(answer, 0));
    snprintf(found->queue, sizeof found->queue, "%s", queue);
    int status = rd_view_read(&found->view, &row, rd_tenant(store, found->queue), rd_now(store));
    if (status == NEOQ_OK) {
        found->row = answer->element[0];
        answer->element[0] = NULL;
    }
    return status;
}

int rd_locate(neoq_store *store, const char *id, rd_found *found)
{
    rd_names names = {0};
    rd_batch batch = {0};
    *found = (rd_found){0};
    int status = rd_names_read(store, &names);
    for (size_t i = 0; i < names.count; i++) {
        char key[RD_KEY_SIZE];
        rd_begin_script(&batch, RD_LOOK, rd_queue_key(names.names[i], key));
        rd_put_text(&batch, id);
    }
    if (status == NEOQ_OK)
        status = rd_read(store, &batch);
    size_t at = 0;
    while (status == NEOQ_OK && at < names.count && !rd_item(batch.calls[at].reply, 0))
        at++;
    if (status == NEOQ_OK)
        status = at < names.count ? take_found(store, batch.calls[at].reply, names.names[at], found) : rd_no_job(id);
    rd_batch_free(&batch);
    rd_names_free(&names);
    return status;
}

void rd_found_free(rd_found *found)
{
    rd_view_clear(&found->view);
    freeReplyObject(found->row);
}

int rd_get(neoq_store *store, const char *id, neoq_each_job each, void *arg)
{
    rd_found found;
    int status = rd_locate(store, id, &found);
    if (status != NEOQ_OK)
        return status;
    status = each(&found.view.job, arg);
    rd_found_free(&found);
    return status;
}

/* ---- its runs --------------------------------------------------------------------------- */

static void put_task_fields(rd_batch *batch, const rd_found *found)
{
    rd_begin(batch, "HMGET");
    rd_putf(batch, "asynq:{%.200s}:t:%.127s", found->queue, found->view.job.id);
}

/* A record of settle.lua's: the worker, numbers and the outcome, the error; a line each. */
static bool read_run(const char *text, neoq_run_info *run)
{
    const char *numbers = strchr(text, '\n'), *error = numbers ? strchr(numbers + 1, '\n') : NULL;
    if (!error)
        return false;
    snprintf(run->worker, sizeof run->worker, "%.*s", (int)(numbers - text), text);
    snprintf(run->error, sizeof run->error, "%s", error + 1);
    return sscanf(numbers + 1, "%" SCNd64 " %" SCNd64 " %15s %d %d %" SCNd64 " %" SCNd64, &run->started_at,
                  &run->finished_at, run->outcome, &run->exit_code, &run->signal, &run->cpu_time,
                  &run->peak_memory) == 7;
}

static int tell_runs(const rd_found *found, const redisReply *fields, neoq_each_run each, void *arg)
{
    const neoq_job *job = &found->view.job;
    int status = NEOQ_OK, told = 0;
    if (job->state == NEOQ_RUNNING) {
        neoq_run_info run = {.epoch = job->epoch, .started_at = job->ran_at};
        const char *last = rd_string(rd_item(fields, 0));
        if (last) /* see keys.lua */
            sscanf(last, "%*d %*d %63[^\n]", run.worker);
        status = each(&run, arg);
        told++;
    }
    for (int i = 0; i <= NQ_RUNS_KEPT && told < NQ_RUNS_KEPT && status == NEOQ_OK; i++) {
        neoq_run_info run = {.epoch = job->epoch - i};
        const char *text = rd_string(rd_item(fields, (size_t)i + 1));
        if (text && read_run(text, &run)) {
            status = each(&run, arg);
            told++;
        }
    }
    return status;
}

int rd_runs(neoq_store *store, const char *id, neoq_each_run each, void *arg)
{
    rd_found found;
    rd_batch batch = {0};
    int status = rd_locate(store, id, &found);
    if (status != NEOQ_OK)
        return status;
    put_task_fields(&batch, &found);
    rd_put_text(&batch, "nq:run");
    for (int i = 0; i <= NQ_RUNS_KEPT; i++)
        rd_putf(&batch, "nq:run:%" PRId64, found.view.job.epoch - i);
    status = rd_read(store, &batch);
    if (status == NEOQ_OK)
        status = tell_runs(&found, batch.calls[0].reply, each, arg);
    rd_batch_free(&batch);
    rd_found_free(&found);
    return status;
}

int rd_get_progress(neoq_store *store, const char *id, neoq_progress *progress)
{
    rd_found found;
    rd_batch batch = {0};
    *progress = (neoq_progress){.percent = -1};
    int status = rd_locate(store, id, &found);
    if (status != NEOQ_OK)
        return status;
    put_task_fields(&batch, &found);
    rd_put_text(&batch, "nq:progress");
    status = rd_read(store, &batch);
    const char *text = status == NEOQ_OK ? rd_string(rd_item(batch.calls[0].reply, 0)) : NULL;
    int note = 0;
    if (text && sscanf(text, "%" SCNd64 " %d %n", &progress->at, &progress->percent, &note) == 2)
        snprintf(progress->note, sizeof progress->note, "%s", text + note);
    rd_batch_free(&batch);
    rd_found_free(&found);
    return status;
}

/* ---- listing ---------------------------------------------------------------------------- */

/* An id and where it was seen. */
typedef struct seen {
    char id[NEOQ_ID_SIZE];
    size_t queue;
} seen;

/* The lowest ids of those that were seen. */
typedef struct sieve {
    const char *after;
    seen *list;
    size_t count, room, most;
    bool cut; /* there are more */
} sieve;

static int by_id(const void *a, const void *b)
{
    return strcmp(((const seen *)a)->id, ((const seen *)b)->id);
}

/* In order, each once, and no more than are wanted. */
static void shake(sieve *s)
{
    size_t kept = 0;
    if (s->count > 0)
        qsort(s->list, s->count, sizeof *s->list, by_id);
    for (size_t i = 0; i < s->count; i++)
        if (kept == 0 || strcmp(s->list[kept - 1].id, s->list[i].id) != 0)
            s->list[kept++] = s->list[i];
    s->cut = s->cut || kept > s->most;
    s->count = kept < s->most ? kept : s->most;
}

static void sift(sieve *s, const redisReply *ids, size_t queue)
{
    for (size_t i = 0; i < rd_items(ids); i++) {
        const char *id = rd_string(rd_item(ids, i));
        if (!id || strlen(id) >= NEOQ_ID_SIZE || (s->after && strcmp(id, s->after) <= 0))
            continue;
        if (s->count == s->room)
            shake(s);
        snprintf(s->list[s->count].id, NEOQ_ID_SIZE, "%s", id);
        s->list[s->count++].queue = queue;
    }
}

/* asynq's containers, and which of neoq's states they may hold. */
static const struct container {
    const char *name;
    bool list;
    neoq_state state;
    bool ready; /* may hold ready jobs, too */
} containers[] = {
    {"pending", true, NEOQ_READY, true},    {"scheduled", false, NEOQ_SCHEDULED, true},
    {"retry", false, NEOQ_RETRYING, true},  {"active", true, NEOQ_RUNNING, false},
    {"completed", false, NEOQ_DONE, false}, {"archived", false, NEOQ_DEAD, false},
};

static bool may_hold(const struct container *c, neoq_state state)
{
    return state == 0 || c->state == state || (c->ready && state == NEOQ_READY);
}

static int read_container(neoq_store *store, sieve *s, const char *queue, size_t number, const struct container *c)
{
    int status = NEOQ_OK;
    size_t found = READ_PAGE;
    for (size_t from = 0; found == READ_PAGE && status == NEOQ_OK; from += READ_PAGE) {
        rd_batch batch = {0};
        rd_begin(&batch, c->list ? "LRANGE" : "ZRANGE");
        rd_putf(&batch, "asynq:{%.200s}:%s", queue, c->name);
        rd_put_int(&batch, (int64_t)from);
        rd_put_int(&batch, (int64_t)from + READ_PAGE - 1);
        status = rd_read(store, &batch);
        found = status == NEOQ_OK ? rd_items(batch.calls[0].reply) : 0;
        if (status == NEOQ_OK)
            sift(s, batch.calls[0].reply, number);
        rd_batch_free(&batch);
    }
    return status;
}

static int gather(neoq_store *store, const rd_names *names, const neoq_filter *filter, sieve *s)
{
    int status = NEOQ_OK;
    s->count = 0;
    s->cut = false;
    for (size_t q = 0; q < names->count; q++)
        for (size_t i = 0; i < sizeof containers / sizeof *containers && status == NEOQ_OK; i++)
            if ((!filter->queue || rd_is_shared(store) || strcmp(filter->queue, names->names[q]) == 0) &&
                may_hold(&containers[i], filter->state))
                status = read_container(store, s, names->names[q], q, &containers[i]);
    shake(s);
    return status;
}

static bool is_wanted(const neoq_job *job, const neoq_filter *filter)
{
    return (filter->state == 0 || job->state == filter->state) &&
           (!filter->queue || strcmp(job->queue, filter->queue) == 0);
}

/* Reads those that were seen, and tells of those that are wanted, up to *left. */
static int tell(neoq_store *store, const rd_names *names, const neoq_filter *filter, const sieve *s, size_t *left,
                neoq_each_job each, void *arg)
{
    int status = NEOQ_OK;
    neoq_time now = rd_now(store);
    for (size_t from = 0; from<s->count && * left> 0 && status == NEOQ_OK; from += RD_PIECE) {
        rd_batch batch = {0};
        size_t end = from + RD_PIECE < s->count ? from + RD_PIECE : s->count;
        for (size_t i = from; i < end; i++) {
            char key[RD_KEY_SIZE];
            rd_begin_script(&batch, RD_LOOK, rd_queue_key(names->names[s->list[i].queue], key));
            rd_put_text(&batch, s->list[i].id);
        }
        status = rd_read(store, &batch);
        for (size_t i = from; i<end && * left> 0 && status == NEOQ_OK; i++) {
            rd_view view;
            const redisReply *answer = rd_item(batch.calls[i - from].reply, 0);
            const rd_row row = row_of(answer);
            const char *queue = rd_tenant(store, names->names[s->list[i].queue]);
            int read = answer ? rd_view_read(&view, &row, queue, now) : NEOQ_EINVAL;
            if (read == NEOQ_ENOMEM)
                status = read;
            if (read != NEOQ_OK) /* gone by now, or nothing that can be read */
                continue;
            if (is_wanted(&view.job, filter)) {
                status = each(&view.job, arg);
                --*left;
            }
            rd_view_clear(&view);
        }
        rd_batch_free(&batch);
    }
    return status;
}

int rd_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg)
{
    rd_names names = {0};
    char after[NEOQ_ID_SIZE];
    size_t left = filter->limit > 0 ? filter->limit : SIZE_MAX;
    sieve s = {.after = filter->after_id, .most = left < PAGE ? left : PAGE};
    s.room = 4 * PAGE;
    s.list = malloc(s.room * sizeof *s.list);
    int status = s.list ? rd_names_read(store, &names) : nq_fail(NEOQ_ENOMEM, "no memory to list jobs");
    for (bool more = true; more && left > 0 && status == NEOQ_OK;) {
        status = gather(store, &names, filter, &s);
        if (status == NEOQ_OK)
            status = tell(store, &names, filter, &s, &left, each, arg);
        more = s.cut && s.count > 0;
        if (more) {
            memcpy(after, s.list[s.count - 1].id, sizeof after);
            s.after = after;
        }
    }
    free(s.list);
    rd_names_free(&names);
    if (status == NEOQ_OK)
        rd_mind_time(store);
    return status;
}
