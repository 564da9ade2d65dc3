/* SPDX-License-Identifier: MIT
 *
 * What asynq's tools see of a worker: a server with its queues, the runs that it has under way, and the schedules that it
 * tends. It is gone by itself when the worker beats no more.
 */
#include "backend/redis/exchange.h"
#include "backend/redis/layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RUNS_SHOWN = 100,
    PAYLOAD_SHOWN = 4096, /* a longer one is not */
    QUEUES_SHOWN = 1000,
    SHORTEST_LIFE_S = 10, /* asynq's */
};

typedef struct naming {
    char server[320], workers[320], schedulers[320];
} naming;

static naming names_of(const neoq_worker_info *worker)
{
    naming n;
    snprintf(n.server, sizeof n.server, "asynq:servers:{%.127s:%d:%.63s}", worker->host, worker->pid, worker->id);
    snprintf(n.workers, sizeof n.workers, "asynq:workers:{%.127s:%d:%.63s}", worker->host, worker->pid, worker->id);
    snprintf(n.schedulers, sizeof n.schedulers, "asynq:schedulers:{%.127s:%d:%.63s}", worker->host, worker->pid,
             worker->id);
    return n;
}

/* ---- the server ------------------------------------------------------------------------- */

typedef struct queue_list {
    rd_entry items[QUEUES_SHOWN];
    size_t count;
} queue_list;

static void add_queue(const char *queue, void *arg)
{
    queue_list *list = arg;
    if (list->count < QUEUES_SHOWN)
        list->items[list->count++] = (rd_entry){.name = rd_text(queue), .number = 1};
}

static void put_server(neoq_store *store, rd_batch *batch, const neoq_beat *beat, const naming *n, int64_t life)
{
    const neoq_worker_info *w = &beat->worker;
    queue_list *queues = calloc(1, sizeof *queues);
    if (!queues)
        return;
    rd_bell_each(store->bell, add_queue, queues);
    const rd_server server = {
        .host = rd_text(w->host),
        .id = rd_text(w->id),
        .status = rd_text("active"),
        .pid = w->pid,
        .concurrency = w->capacity,
        .active_workers = w->running,
        .strict = store->url.strict,
        .started = rd_stamp_of(w->started_at),
        .queues = {queues->items, queues->count},
    };
    rd_begin(batch, "SET");
    rd_put_copy(batch, n->server, strlen(n->server));
    size_t from = batch->text.size;
    batch->failed = rd_server_encode(&server, &batch->text) != NEOQ_OK || batch->failed;
    rd_put_since(batch, from);
    rd_put_text(batch, "EX");
    rd_put_int(batch, life);
    free(queues);
}

/* ---- its runs --------------------------------------------------------------------------- */

static void put_run(const neoq_store *store, rd_batch *batch, const rd_hold *hold, const neoq_worker_info *w)
{
    rd_task task;
    const neoq_job *job = hold->job;
    const redisReply *message = hold->message;
    if (!message || rd_task_decode(message->str, (size_t)message->len, &task) != NEOQ_OK)
        return;
    const rd_worker run = {
        .host = rd_text(w->host),
        .server_id = rd_text(w->id),
        .task_id = rd_text(job->id),
        .task_type = task.type,
        .payload = task.payload.size <= PAYLOAD_SHOWN ? task.payload : (rd_bytes){0},
        .queue = rd_text(rd_home(store, job->queue)),
        .pid = w->pid,
        .started = rd_stamp_of(job->ran_at),
        .deadline = rd_stamp_of(job->deadline ? job->deadline : job->ran_at + NEOQ_SECONDS(task.timeout)),
    };
    rd_put_copy(batch, job->id, strlen(job->id));
    size_t from = batch->text.size;
    batch->failed = rd_worker_encode(&run, &batch->text) != NEOQ_OK || batch->failed;
    rd_put_since(batch, from);
}

static void put_runs(neoq_store *store, rd_batch *batch, const neoq_worker_info *w, const naming *n, int64_t life)
{
    size_t shown = 0;
    rd_begin(batch, "DEL");
    rd_put_copy(batch, n->workers, strlen(n->workers));
    pthread_mutex_lock(&store->hold_mutex);
    if (store->holds) {
        rd_begin(batch, "HSET");
        rd_put_copy(batch, n->workers, strlen(n->workers));
        for (const rd_hold *hold = store->holds; hold && shown < RUNS_SHOWN; hold = hold->next, shown++)
            put_run(store, batch, hold, w);
        if (!batch->failed && batch->calls[batch->call_count - 1].count < 4) /* none that can be shown */
            batch->call_count--;
    }
    pthread_mutex_unlock(&store->hold_mutex);
    rd_begin(batch, "EXPIRE");
    rd_put_copy(batch, n->workers, strlen(n->workers));
    rd_put_int(batch, life);
}

static void put_index(rd_batch *batch, const char *index, int64_t until, const char *key)
{
    rd_begin(batch, "ZADD");
    rd_put_text(batch, index);
    rd_put_int(batch, until);
    rd_put_copy(batch, key, strlen(key));
}

int rd_show_worker(neoq_store *store, const neoq_beat *beat)
{
    const naming n = names_of(&beat->worker);
    int64_t life = beat->lease / 3 / 1000000, until;
    rd_batch batch = {0};
    life = life > SHORTEST_LIFE_S ? life : SHORTEST_LIFE_S;
    until = rd_now(store) / 1000000 + life;
    put_index(&batch, "asynq:servers", until, n.server);
    put_index(&batch, "asynq:workers", until, n.workers);
    put_server(store, &batch, beat, &n, life);
    put_runs(store, &batch, &beat->worker, &n, life);
    rd_put_agenda(store->agenda, &batch, n.schedulers, until, life);
    int status = rd_send(store, &batch, true);
    rd_batch_free(&batch);
    return status;
}

int rd_hide_worker(neoq_store *store, const neoq_worker_info *worker)
{
    const naming n = names_of(worker);
    rd_batch batch = {0};
    rd_begin(&batch, "ZREM");
    rd_put_text(&batch, "asynq:servers");
    rd_put_text(&batch, n.server);
    rd_begin(&batch, "ZREM");
    rd_put_text(&batch, "asynq:workers");
    rd_put_text(&batch, n.workers);
    rd_begin(&batch, "DEL");
    rd_put_text(&batch, n.server);
    rd_put_text(&batch, n.workers);
    rd_put_no_agenda(store->agenda, &batch, n.schedulers);
    int status = rd_send(store, &batch, true);
    rd_batch_free(&batch);
    return status;
}
