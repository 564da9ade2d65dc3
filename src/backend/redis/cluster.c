/* SPDX-License-Identifier: MIT */
#include "backend/redis/cluster.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/batch.h"
#include "backend/redis/slot.h"
#include "base/clock.h"
#include "base/error.h"

enum {
    NODES_MOST = 4096,
    ANSWER_S = 2,   /* to tell the map; the next one may know */
    STRIDE = 10125, /* from slot to slot, so that few steps come to each node */
};

struct rd_cluster {
    const rd_url *url;
    const neoq_options *options;
    _Atomic(rd_node *) owners[RD_SLOTS]; /* NULL = nobody */

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    rd_node *nodes; /* new ones come in front, none ever goes */
    size_t node_count;
    uint64_t version; /* counts the maps that were read */
    bool looking;     /* somebody reads one */
    unsigned turn;    /* who is asked first */
};

/* ---- nodes ------------------------------------------------------------------------------ */

static rd_node *make_node(const rd_cluster *cluster, const rd_host *host)
{
    rd_node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    bool v6 = strchr(host->name, ':');
    size_t room = strlen(host->name) + 16;
    node->host = (rd_host){.name = strdup(host->name), .port = host->port};
    node->url = *cluster->url;
    node->url.hosts = &node->host;
    node->url.host_count = 1;
    node->url.shown = malloc(room);
    if (node->host.name && node->url.shown && rd_pool_create(&node->pool, &node->url, cluster->options) == NEOQ_OK) {
        snprintf(node->url.shown, room, "%s%s%s:%d", v6 ? "[" : "", host->name, v6 ? "]" : "", host->port);
        return node;
    }
    free(node->host.name);
    free(node->url.shown);
    free(node);
    return NULL;
}

/* The node of that address, be it a new one; NULL: no memory, or there are too many. The mutex is held. */
static rd_node *node_at(rd_cluster *cluster, const rd_host *host)
{
    rd_node *node = cluster->nodes;
    while (node && (node->host.port != host->port || strcmp(node->host.name, host->name) != 0))
        node = node->next;
    if (node || cluster->node_count == NODES_MOST || !(node = make_node(cluster, host)))
        return node;
    node->next = cluster->nodes;
    cluster->nodes = node;
    cluster->node_count++;
    return node;
}

/* Nodes may not know their own address: then it is the one by which they were asked. "?" is one that has no name, though
 * it is to be called by one. False: it cannot be reached. */
static bool read_host(const char *name, int64_t port, const rd_host *from, rd_host *host)
{
    if (name && strcmp(name, "?") == 0)
        return false;
    *host = (rd_host){.name = name && *name ? (char *)name : from->name, .port = (int)port};
    return port > 0 && port < 65536;
}

rd_node *rd_cluster_node(rd_cluster *cluster, unsigned slot)
{
    return atomic_load_explicit(&cluster->owners[slot], memory_order_acquire);
}

static bool serves(rd_cluster *cluster, const rd_node *node)
{
    for (unsigned slot = 0; slot < RD_SLOTS; slot++)
        if (rd_cluster_node(cluster, slot) == node)
            return true;
    return false;
}

static rd_node *first_node(rd_cluster *cluster)
{
    pthread_mutex_lock(&cluster->mutex);
    rd_node *first = cluster->nodes;
    pthread_mutex_unlock(&cluster->mutex);
    return first;
}

void rd_cluster_each(rd_cluster *cluster, void (*each)(rd_node *node, void *arg), void *arg)
{
    for (rd_node *node = first_node(cluster); node; node = node->next)
        if (serves(cluster, node))
            each(node, arg);
}

rd_node *rd_cluster_any(rd_cluster *cluster, unsigned turn)
{
    rd_node *node = NULL;
    for (unsigned i = 0, slot = turn * STRIDE; i < RD_SLOTS && !node; i++, slot++)
        node = rd_cluster_node(cluster, slot % RD_SLOTS);
    return node;
}

/* ---- redirections ----------------------------------------------------------------------- */

/* "MOVED 3999 10.0.0.1:6381", "ASK 3999 :6381". */
rd_node *rd_cluster_follow(rd_cluster *cluster, const rd_host *from, const redisReply *said)
{
    char name[256] = "";
    unsigned slot;
    int begin = 0;
    rd_host host;
    bool moved = rd_is_error(said, "MOVED");
    if ((!moved && !rd_is_error(said, "ASK")) || sscanf(said->str, "%*s %u %n", &slot, &begin) != 1 || begin == 0 ||
        slot >= RD_SLOTS)
        return NULL;
    const char *address = said->str + begin, *colon = strrchr(address, ':');
    if (!colon || (size_t)(colon - address) >= sizeof name)
        return NULL;
    memcpy(name, address, (size_t)(colon - address));
    if (!read_host(name, strtol(colon + 1, NULL, 10), from, &host))
        return NULL;
    pthread_mutex_lock(&cluster->mutex);
    rd_node *node = node_at(cluster, &host);
    if (node && moved)
        atomic_store_explicit(&cluster->owners[slot], node, memory_order_release);
    pthread_mutex_unlock(&cluster->mutex);
    return node;
}

/* ---- the map ---------------------------------------------------------------------------- */

/* A range is {first slot, last slot, {address, port, ...} of the master, replicas}. */
static bool take_range(rd_cluster *cluster, const redisReply *range, const rd_host *from, rd_node **owners)
{
    rd_host host;
    int64_t first = rd_number(rd_item(range, 0), -1), last = rd_number(rd_item(range, 1), -1);
    const redisReply *master = rd_item(range, 2);
    if (first < 0 || first > last || last >= RD_SLOTS || !master)
        return false;
    if (!read_host(rd_string(rd_item(master, 0)), rd_number(rd_item(master, 1), 0), from, &host))
        return true; /* nobody's, for us */
    rd_node *node = node_at(cluster, &host);
    for (int64_t slot = first; slot <= last && node; slot++)
        owners[slot] = node;
    return node != NULL;
}

/* Takes the answer to CLUSTER SLOTS as the map, or leaves that as it is. */
static bool take_map(rd_cluster *cluster, const redisReply *ranges, const rd_host *from, rd_failure *failure)
{
    rd_node **owners = calloc(RD_SLOTS, sizeof *owners);
    bool good = owners != NULL;
    pthread_mutex_lock(&cluster->mutex);
    for (size_t i = 0; i < rd_items(ranges) && good; i++)
        good = take_range(cluster, rd_item(ranges, i), from, owners);
    for (unsigned slot = 0; slot < RD_SLOTS && good; slot++)
        atomic_store_explicit(&cluster->owners[slot], owners[slot], memory_order_release);
    cluster->version += good;
    pthread_mutex_unlock(&cluster->mutex);
    free(owners);
    return good || rd_fail(failure, NEOQ_EBACKEND, false, "it tells of slots what cannot be read");
}

static bool ask_host(rd_cluster *cluster, const rd_host *host, const nq_bound *bound, rd_failure *failure)
{
    static const char *const words[] = {"CLUSTER", "SLOTS"};
    nq_bound own = nq_sooner(bound, NEOQ_SECONDS(ANSWER_S));
    redisReply *reply = NULL;
    rd_connection *c = rd_connect_any(cluster->url, host, &own, failure);
    bool good = false;
    if (c && (rd_append(c, 2, words, NULL) != NEOQ_OK || rd_reply(c, &own, &reply) != NEOQ_OK))
        rd_fail(failure, NEOQ_EBACKEND, false, "%s", neoq_error_message());
    else if (reply && rd_is_error(reply, NULL))
        rd_fail_refused(failure, reply);
    else if (reply)
        good = take_map(cluster, reply, host, failure);
    freeReplyObject(reply);
    rd_disconnect(c);
    return good;
}

/* All there are: nodes that are known, and the URL's. */
static size_t list_hosts(rd_cluster *cluster, const rd_host ***out, size_t *first)
{
    size_t count = 0;
    pthread_mutex_lock(&cluster->mutex);
    const rd_host **hosts = malloc((cluster->node_count + cluster->url->host_count) * sizeof *hosts);
    for (const rd_node *node = cluster->nodes; node && hosts; node = node->next)
        hosts[count++] = &node->host;
    *first = cluster->version > 0 ? cluster->turn++ : 0;
    pthread_mutex_unlock(&cluster->mutex);
    for (size_t i = 0; i < cluster->url->host_count && hosts; i++)
        hosts[count++] = &cluster->url->hosts[i];
    *out = hosts;
    return count;
}

/* Another one begins each time, for one that is cut off from the others tells an old map. The words are those of the
 * first that failed, but what one knows for certain is told. */
static bool ask_in_turn(rd_cluster *cluster, const nq_bound *bound, rd_failure *failure)
{
    const rd_host **hosts;
    size_t first, count = list_hosts(cluster, &hosts, &first);
    bool found = false;
    rd_fail(failure, NEOQ_ENOMEM, false, "no memory for the nodes of a Cluster");
    for (size_t i = 0; i < count && !found && (i == 0 || nq_steady() < bound->until); i++) {
        const rd_host *host = hosts[(first + i) % count];
        nq_bound share = nq_share(bound, count - i);
        rd_failure one;
        found = ask_host(cluster, host, &share, &one);
        if (!found && (i == 0 || (one.lasting && !failure->lasting)))
            rd_fail(failure, one.status, one.lasting, "%.100s:%d: %.350s", host->name, host->port, one.words);
    }
    free(hosts);
    return found;
}

uint64_t rd_cluster_seen(rd_cluster *cluster)
{
    pthread_mutex_lock(&cluster->mutex);
    uint64_t version = cluster->version;
    pthread_mutex_unlock(&cluster->mutex);
    return version;
}

bool rd_cluster_look(rd_cluster *cluster, uint64_t seen, const nq_bound *bound, rd_failure *failure)
{
    pthread_mutex_lock(&cluster->mutex);
    bool waited = cluster->looking;
    while (cluster->looking && nq_steady() < bound->until)
        nq_cond_wait(&cluster->changed, &cluster->mutex, &nq_real_clock, bound->until);
    bool news = cluster->version != seen, mine = !news && !waited;
    cluster->looking = cluster->looking || mine;
    pthread_mutex_unlock(&cluster->mutex);
    if (!mine)
        return news || rd_fail(failure, NEOQ_EBACKEND, false, "no node tells who serves what");
    news = ask_in_turn(cluster, bound, failure);
    pthread_mutex_lock(&cluster->mutex);
    cluster->looking = false;
    pthread_cond_broadcast(&cluster->changed);
    pthread_mutex_unlock(&cluster->mutex);
    return news;
}

/* ---- open and close --------------------------------------------------------------------- */

int rd_cluster_open(rd_cluster **out, const rd_url *url, const neoq_options *options)
{
    rd_failure failure;
    nq_bound bound = nq_within(url->connect_timeout);
    rd_cluster *cluster = calloc(1, sizeof *cluster);
    *out = NULL;
    if (!cluster)
        return nq_fail(NEOQ_ENOMEM, "no memory for a Cluster");
    cluster->url = url;
    cluster->options = options;
    pthread_mutex_init(&cluster->mutex, NULL);
    nq_cond_init(&cluster->changed);
    if (!rd_cluster_look(cluster, 0, &bound, &failure)) {
        rd_cluster_close(cluster);
        return nq_fail(failure.status, "Redis %s: %s", url->shown, failure.words);
    }
    *out = cluster;
    return NEOQ_OK;
}

void rd_cluster_close(rd_cluster *cluster)
{
    if (!cluster)
        return;
    while (cluster->nodes) {
        rd_node *node = cluster->nodes;
        cluster->nodes = node->next;
        rd_pool_close(node->pool);
        free(node->host.name);
        free(node->url.shown);
        free(node);
    }
    pthread_cond_destroy(&cluster->changed);
    pthread_mutex_destroy(&cluster->mutex);
    free(cluster);
}
