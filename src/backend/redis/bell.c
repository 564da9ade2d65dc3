/* SPDX-License-Identifier: MIT
 *
 * The version counts what may have changed; a waiter sleeps while it is what it has seen. Of several waiters one listens
 * (`listening` is its right to touch the connections), the others wait for what it hears; an eventfd gets it out of its
 * poll. There is no thread: whoever waits, asks or beats keeps the connections up.
 */
#include "backend/redis/bell.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backend/redis/pool.h"
#include "backend/redis/slot.h"
#include "backend/redis/store.h"
#include "base/clock.h"
#include "base/error.h"

enum {
    LISTS_MOST = 16, /* queues that have a connection each */
    CANCELS_MOST = 256,
    BLOCK_S = 30,      /* of a blocking command */
    PING_AFTER_S = 15, /* of silence */
    ANSWER_S = 5,      /* later than that is never */
    CONNECT_S = 2,
    UNREAD_MS = 100, /* how long a message may lie in the socket while nobody waits */
};

/* A connection that is listened on. */
typedef struct ear {
    rd_connection *c;
    int64_t silent_by; /* an answer is due by then; steady, of the machine */
    int64_t again_at;  /* when to connect once more */
    int failures;
    bool pinged; /* of the subscribed one */
} ear;

typedef struct bell_queue {
    struct bell_queue *next;
    ear ear;
    neoq_time due;     /* of the first job that was not ready when it was last looked; 0 = none */
    neoq_time awaited; /* of the first that came since; 0 = none */
    uint64_t awaited_at;
    bool empty;  /* when it was last looked */
    bool listed; /* it has one of the connections for lists */
    char name[];
} bell_queue;

struct rd_bell {
    const rd_url *url;
    rd_cluster *cluster; /* NULL = it is one server */
    const neoq_options *options;
    const neoq_clock *clock;
    atomic_uint_fast64_t version;
    atomic_int sleepers;
    int wake_fd;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    bool listening;
    uint64_t instant;   /* counts what is awaited */
    bell_queue *queues; /* never removed: whoever listens may hold on to one */
    size_t listed;
    char cancels[CANCELS_MOST][NEOQ_ID_SIZE];
    size_t cancel_count;

    /* Of who listens. */
    ear wakes;
    atomic_int_fast64_t read_at;
};

int rd_bell_open(rd_bell **out, const rd_url *url, rd_cluster *cluster, const neoq_options *options,
                 const neoq_clock *clock)
{
    rd_bell *bell = calloc(1, sizeof *bell);
    if (!bell)
        return nq_fail(NEOQ_ENOMEM, "no memory to listen to Redis");
    bell->url = url;
    bell->cluster = cluster;
    bell->options = options;
    bell->clock = clock;
    bell->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell->wake_fd < 0) {
        int error = errno;
        free(bell);
        return nq_fail(NEOQ_EBACKEND, "no descriptor to be woken by: %s", strerror(error));
    }
    pthread_mutex_init(&bell->mutex, NULL);
    nq_cond_init(&bell->changed);
    *out = bell;
    return NEOQ_OK;
}

void rd_bell_close(rd_bell *bell)
{
    if (!bell)
        return;
    rd_disconnect(bell->wakes.c);
    while (bell->queues) {
        bell_queue *queue = bell->queues;
        bell->queues = queue->next;
        rd_disconnect(queue->ear.c);
        free(queue);
    }
    close(bell->wake_fd);
    pthread_mutex_destroy(&bell->mutex);
    pthread_cond_destroy(&bell->changed);
    free(bell);
}

/* ---- ringing ---------------------------------------------------------------------------- */

void rd_bell_ring(rd_bell *bell)
{
    uint64_t one = 1;
    atomic_fetch_add(&bell->version, 1);
    if (atomic_load(&bell->sleepers) == 0)
        return; /* who comes now sees the new version */
    pthread_mutex_lock(&bell->mutex);
    if (bell->listening)
        while (write(bell->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    pthread_cond_broadcast(&bell->changed);
    pthread_mutex_unlock(&bell->mutex);
}

/* ---- queues ----------------------------------------------------------------------------- */

/* The mutex is held. */
static bell_queue *find_queue(rd_bell *bell, const char *name)
{
    bell_queue *queue = bell->queues;
    while (queue && strcmp(queue->name, name) != 0)
        queue = queue->next;
    return queue;
}

static bell_queue *make_queue(rd_bell *bell, const char *name)
{
    bell_queue *queue = find_queue(bell, name);
    size_t size = strlen(name) + 1;
    if (queue || !(queue = calloc(1, sizeof *queue + size)))
        return queue;
    memcpy(queue->name, name, size);
    /* A list that has the jobs of others, too, is no sign of work. */
    queue->listed = bell->listed < LISTS_MOST && bell->url->layout == RD_ASYNQ;
    bell->listed += queue->listed;
    queue->next = bell->queues;
    bell->queues = queue;
    return queue;
}

bool rd_bell_know(rd_bell *bell, const char *name)
{
    pthread_mutex_lock(&bell->mutex);
    bool known = make_queue(bell, name);
    pthread_mutex_unlock(&bell->mutex);
    return known;
}

uint64_t rd_bell_instant(rd_bell *bell)
{
    pthread_mutex_lock(&bell->mutex);
    uint64_t instant = bell->instant;
    pthread_mutex_unlock(&bell->mutex);
    return instant;
}

void rd_bell_note(rd_bell *bell, const char *name, uint64_t sent, bool empty, neoq_time due)
{
    pthread_mutex_lock(&bell->mutex);
    bell_queue *queue = make_queue(bell, name);
    if (queue) {
        queue->empty = empty;
        queue->due = due;
        if (queue->awaited_at <= sent) /* else it may not have seen that one */
            queue->awaited = 0;
    }
    pthread_mutex_unlock(&bell->mutex);
}

void rd_bell_await(rd_bell *bell, const char *name, neoq_time due)
{
    pthread_mutex_lock(&bell->mutex);
    bell_queue *queue = find_queue(bell, name);
    if (queue) {
        queue->awaited_at = ++bell->instant;
        if (queue->awaited == 0 || due < queue->awaited)
            queue->awaited = due;
    }
    pthread_mutex_unlock(&bell->mutex);
}

neoq_time rd_bell_next_due(rd_bell *bell)
{
    neoq_time due = 0;
    pthread_mutex_lock(&bell->mutex);
    for (const bell_queue *queue = bell->queues; queue; queue = queue->next) {
        if (queue->due && (due == 0 || queue->due < due))
            due = queue->due;
        if (queue->awaited && (due == 0 || queue->awaited < due))
            due = queue->awaited;
    }
    pthread_mutex_unlock(&bell->mutex);
    return due;
}

void rd_bell_each(rd_bell *bell, void (*each)(const char *queue, void *arg), void *arg)
{
    pthread_mutex_lock(&bell->mutex);
    const bell_queue *queue = bell->queues;
    pthread_mutex_unlock(&bell->mutex);
    for (; queue; queue = queue->next) /* new ones come in front */
        each(queue->name, arg);
}

/* ---- cancellations ---------------------------------------------------------------------- */

void rd_bell_cancel(rd_bell *bell, const char *id)
{
    if (!id || strlen(id) >= NEOQ_ID_SIZE)
        return;
    pthread_mutex_lock(&bell->mutex);
    if (bell->cancel_count < CANCELS_MOST) /* a beat finds the rest */
        snprintf(bell->cancels[bell->cancel_count++], NEOQ_ID_SIZE, "%s", id);
    pthread_mutex_unlock(&bell->mutex);
    atomic_fetch_add(&bell->version, 1);
}

size_t rd_bell_cancels(rd_bell *bell, char (*ids)[NEOQ_ID_SIZE], size_t room)
{
    pthread_mutex_lock(&bell->mutex);
    size_t count = bell->cancel_count < room ? bell->cancel_count : room;
    bell->cancel_count -= count;
    if (count > 0)
        memcpy(ids, bell->cancels[bell->cancel_count], count * sizeof *ids);
    pthread_mutex_unlock(&bell->mutex);
    return count;
}

/* ---- the connections: of who listens ----------------------------------------------------- */

static void lose(ear *e)
{
    rd_disconnect(e->c);
    e->c = NULL;
    e->pinged = false;
    e->again_at = nq_steady() + nq_redial_pause(++e->failures);
}

/* Whom to listen to: of a Cluster the node that has the list, or for messages any. NULL = there is none. */
static const rd_url *find_speaker(rd_bell *bell, const ear *e, const char *list)
{
    if (!bell->cluster)
        return bell->url;
    const rd_node *node = list ? rd_cluster_node(bell->cluster, rd_slot(list, strlen(list)))
                               : rd_cluster_any(bell->cluster, (unsigned)e->failures);
    return node ? &node->url : NULL;
}

/* Connects, unless that failed a moment ago. What was said meanwhile is lost, so everybody looks for himself. list NULL:
 * it is to be subscribed. */
static bool connect_ear(rd_bell *bell, ear *e, const char *list)
{
    rd_failure failure;
    if (e->c)
        return true;
    if (nq_steady() < e->again_at)
        return false;
    nq_bound bound = nq_within(NEOQ_SECONDS(CONNECT_S));
    bound.stop_fd = bell->wake_fd;
    const rd_url *url = find_speaker(bell, e, list);
    e->c = url ? rd_connect(url, &bound, &failure) : NULL;
    if (!e->c) {
        lose(e);
        return false;
    }
    return true;
}

static bool subscribe(rd_bell *bell)
{
    static const char *const words[] = {"SUBSCRIBE", RD_WAKE_CHANNEL, RD_CANCEL};
    ear *e = &bell->wakes;
    if (e->c)
        return true;
    if (!connect_ear(bell, e, NULL))
        return false;
    if (rd_append(e->c, 3, words, NULL) != NEOQ_OK) {
        lose(e);
        return false;
    }
    e->silent_by = nq_steady() + NEOQ_SECONDS(ANSWER_S);
    e->pinged = true; /* it is to say that we are subscribed */
    atomic_fetch_add(&bell->version, 1);
    return true;
}

/* Moves the tail of the list to where it is, once there is one. */
static bool block_on(rd_bell *bell, bell_queue *queue)
{
    ear *e = &queue->ear;
    char list[RD_KEY_SIZE], seconds[16];
    snprintf(list, sizeof list, "asynq:{%s}:pending", queue->name);
    if (!queue->listed || !connect_ear(bell, e, list))
        return false;
    if (rd_owed(e->c) > 0)
        return true;
    snprintf(seconds, sizeof seconds, "%d", BLOCK_S);
    const char *const words[] = {"BLMOVE", list, list, "RIGHT", "RIGHT", seconds};
    if (rd_append(e->c, 6, words, NULL) != NEOQ_OK) {
        lose(e);
        return false;
    }
    e->silent_by = nq_steady() + NEOQ_SECONDS(BLOCK_S + ANSWER_S);
    return true;
}

/* Takes in what a subscribed connection said. Gives whether it was news. */
static bool hear_message(rd_bell *bell, const redisReply *said)
{
    ear *e = &bell->wakes;
    if (said->type == REDIS_REPLY_ERROR) { /* the user may not subscribe: then it has to be looked for */
        lose(e);
        return false;
    }
    e->failures = 0;
    e->pinged = false;
    e->silent_by = nq_steady() + NEOQ_SECONDS(PING_AFTER_S);
    if (!rd_is_text(rd_item(said, 0), "message"))
        return false;
    if (rd_is_text(rd_item(said, 1), RD_CANCEL))
        rd_bell_cancel(bell, rd_string(rd_item(said, 2)));
    return true;
}

static bool hear_list(rd_bell *bell, bell_queue *queue, const redisReply *said)
{
    queue->ear.failures = 0;
    if (said->type == REDIS_REPLY_ERROR) /* it is loading, a replica by now, the slot has moved: connect anew */
        lose(&queue->ear);
    if (said->type == REDIS_REPLY_NIL)
        return false;
    pthread_mutex_lock(&bell->mutex);
    queue->empty = false; /* until a claim says so again */
    pthread_mutex_unlock(&bell->mutex);
    return true;
}

/* Takes in what came, without waiting; queue NULL = of the subscribed one. */
static bool hear(rd_bell *bell, ear *e, bell_queue *queue)
{
    static const nq_bound at_once = {.until = 0, .stop_fd = -1};
    bool news = false;
    while (e->c && rd_await(e->c, &at_once)) {
        redisReply *said;
        if (rd_reply(e->c, &at_once, &said) != NEOQ_OK) {
            lose(e);
            return true;
        }
        news = (queue ? hear_list(bell, queue, said) : hear_message(bell, said)) || news;
        freeReplyObject(said);
    }
    return news;
}

/* Looks after a connection that says nothing. False: it was lost. */
static bool check_silence(ear *e, bool subscribed)
{
    static const char *const ping[] = {"PING"};
    if (!e->c || rd_owed(e->c) + subscribed == 0 || nq_steady() < e->silent_by)
        return true;
    if (subscribed && !e->pinged && rd_append(e->c, 1, ping, NULL) == NEOQ_OK) {
        e->pinged = true;
        e->silent_by = nq_steady() + NEOQ_SECONDS(ANSWER_S);
        return true;
    }
    lose(e);
    return false;
}

/* ---- waiting ---------------------------------------------------------------------------- */

/* What a waiter polls. */
typedef struct ears {
    struct pollfd fds[LISTS_MOST + 2];
    ear *ears[LISTS_MOST + 2];
    bell_queue *queues[LISTS_MOST + 2]; /* NULL = the subscribed one */
    nfds_t count;
    bool deaf; /* to something: it has to be looked for */
    bool news; /* somebody had spoken already */
} ears;

/* Hears what is there, and sends what is appended: only then is there something to poll for. */
static void add_ear(rd_bell *bell, ears *all, ear *e, bell_queue *queue)
{
    all->news = hear(bell, e, queue) || all->news;
    if (!e->c || all->count >= sizeof all->fds / sizeof *all->fds)
        return;
    all->fds[all->count] = (struct pollfd){.fd = rd_descriptor(e->c), .events = POLLIN};
    all->ears[all->count] = e;
    all->queues[all->count++] = queue;
}

/* Sees that all are up, and collects them. */
static void prick_up(rd_bell *bell, ears *all)
{
    *all = (ears){.fds = {{.fd = bell->wake_fd, .events = POLLIN}}, .count = 1};
    all->deaf = !subscribe(bell);
    add_ear(bell, all, &bell->wakes, NULL);
    pthread_mutex_lock(&bell->mutex);
    bell_queue *queue = bell->queues;
    pthread_mutex_unlock(&bell->mutex);
    for (; queue; queue = queue->next) {
        pthread_mutex_lock(&bell->mutex);
        bool empty = queue->empty;
        pthread_mutex_unlock(&bell->mutex);
        if (empty && !block_on(bell, queue))
            all->deaf = true;
        add_ear(bell, all, &queue->ear, queue);
    }
}

static int milliseconds(int64_t left)
{
    return left < 0 ? -1 : left > NEOQ_HOURS(1) ? 3600000 : (int)((left + 999) / 1000);
}

static int64_t until_silence(const ears *all)
{
    int64_t first = INT64_MAX;
    for (nfds_t i = 1; i < all->count; i++)
        if (all->ears[i]->silent_by < first && (rd_owed(all->ears[i]->c) > 0 || !all->queues[i]))
            first = all->ears[i]->silent_by;
    int64_t left = first == INT64_MAX ? NEOQ_HOURS(1) : first - nq_steady();
    return left > 0 ? left : 0;
}

/* Waits once for somebody to speak or for a ring. The caller has set `listening`; the mutex is free. Gives whether there
 * may be news. */
static bool listen_once(rd_bell *bell, int64_t until)
{
    ears all;
    prick_up(bell, &all);
    bool news = all.news;
    int64_t left = bell->clock->left(bell->clock, until), silence = until_silence(&all);
    bool looks = all.deaf && (left < 0 || left > bell->options->job_check_interval);
    if (looks)
        left = bell->options->job_check_interval;
    if (news)
        left = 0;
    int ready = poll(all.fds, all.count, milliseconds(left >= 0 && left < silence ? left : silence));
    if (ready == 0 && looks)
        news = true;
    if (ready > 0 && all.fds[0].revents) {
        uint64_t count;
        while (read(bell->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
            ;
    }
    for (nfds_t i = 1; i < all.count; i++) {
        if (ready > 0 && all.fds[i].revents)
            news = hear(bell, all.ears[i], all.queues[i]) || news;
        news = !check_silence(all.ears[i], !all.queues[i]) || news;
    }
    bell->read_at = nq_steady();
    return news;
}

void rd_bell_wait(rd_bell *bell, uint64_t seen, int64_t until)
{
    atomic_fetch_add(&bell->sleepers, 1);
    pthread_mutex_lock(&bell->mutex);
    while (atomic_load(&bell->version) == seen && bell->clock->left(bell->clock, until) != 0) {
        if (bell->listening) {
            nq_cond_wait(&bell->changed, &bell->mutex, bell->clock, until);
            continue;
        }
        bell->listening = true;
        pthread_mutex_unlock(&bell->mutex);
        bool news = listen_once(bell, until);
        pthread_mutex_lock(&bell->mutex);
        bell->listening = false;
        if (news)
            atomic_fetch_add(&bell->version, 1);
        pthread_cond_broadcast(&bell->changed);
    }
    pthread_mutex_unlock(&bell->mutex);
    atomic_fetch_sub(&bell->sleepers, 1);
}

/* Subscribes, and reads what came while nobody waits. */
static void look_in(rd_bell *bell, bool connects)
{
    pthread_mutex_lock(&bell->mutex);
    bool mine = !bell->listening;
    bell->listening = true;
    pthread_mutex_unlock(&bell->mutex);
    if (!mine)
        return;
    if (connects)
        subscribe(bell);
    if (hear(bell, &bell->wakes, NULL) || !check_silence(&bell->wakes, true))
        atomic_fetch_add(&bell->version, 1);
    bell->read_at = nq_steady();
    pthread_mutex_lock(&bell->mutex);
    bell->listening = false;
    pthread_cond_broadcast(&bell->changed);
    pthread_mutex_unlock(&bell->mutex);
}

uint64_t rd_bell_seen(rd_bell *bell)
{
    if (nq_steady() - atomic_load(&bell->read_at) > UNREAD_MS * 1000)
        look_in(bell, false);
    return atomic_load(&bell->version);
}

void rd_bell_tend(rd_bell *bell)
{
    look_in(bell, true);
}
