/* SPDX-License-Identifier: MIT */
#include "support/redis_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLOTS = 16384, SETTINGS_MOST = 8, PATIENCE_S = 60 };

struct redis_cluster {
    redis_server *nodes[CLUSTER_NODES_MOST];
    char ids[CLUSTER_NODES_MOST][64];
    int count;
};

/* ---- waiting ----------------------------------------------------------------------------- */

typedef bool (*condition)(const redis_cluster *cluster, int node);

static bool all(const redis_cluster *cluster, int from, int end, condition holds)
{
    for (int i = from; i < end; i++)
        if (!holds(cluster, i))
            return false;
    return true;
}

/* Of the nodes from that one on. */
static bool wait_for(const redis_cluster *cluster, int from, int end, const char *what, condition holds)
{
    for (int i = 0; i < PATIENCE_S * 50; i++) {
        if (all(cluster, from, end, holds))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    fprintf(stderr, "Redis Cluster: waited %d s in vain: %s\n", PATIENCE_S, what);
    return false;
}

/* Whether it knows all others, and that all slots are served. */
static bool is_joined(const redis_cluster *cluster, int node)
{
    char answer[4096], known[64];
    snprintf(known, sizeof known, "cluster_known_nodes:%d\r", cluster->count);
    return redis_do(cluster->nodes[node], 0, answer, sizeof answer, "CLUSTER INFO") &&
           strstr(answer, "cluster_state:ok") && strstr(answer, "cluster_slots_ok:16384") && strstr(answer, known);
}

static bool follows(const redis_cluster *cluster, int node)
{
    char answer[4096];
    return redis_do(cluster->nodes[node], 0, answer, sizeof answer, "INFO replication") &&
           strstr(answer, "role:slave") && strstr(answer, "master_link_status:up");
}

/* Who votes has to know of the replicas. */
static bool knows_replicas(const redis_cluster *cluster, int node)
{
    char answer[4096];
    if (!redis_do(cluster->nodes[node], 0, answer, sizeof answer, "CLUSTER REPLICAS %s", cluster->ids[0]))
        return false;
    for (int i = CLUSTER_MASTERS; i < cluster->count; i++)
        if (!strstr(answer, cluster->ids[i]))
            return false;
    return true;
}

/* ---- start and end ----------------------------------------------------------------------- */

/* The nodes speak TLS with each other, too, so all have the certificate of the first. */
static void add_certificate(const redis_cluster *cluster, const char **settings)
{
    static const char *const files[][2] = {{"tls-cert-file", "server.crt"},
                                           {"tls-key-file", "server.key"},
                                           {"tls-ca-cert-file", "ca.crt"}};
    static char texts[3][300];
    settings[0] = "tls-cluster=yes";
    for (int i = 0; i < 3 && cluster->count > 0; i++) {
        snprintf(texts[i], sizeof texts[i], "%s=%s/%s", files[i][0], redis_folder(cluster->nodes[0]), files[i][1]);
        settings[1 + i] = texts[i];
    }
}

static bool start_nodes(redis_cluster *cluster, redis_kind kind, int count, const char *const *settings)
{
    const char *all_settings[SETTINGS_MOST + 1] = {"cluster-enabled=yes", "cluster-node-timeout=2000"};
    int used = 2;
    for (; settings && *settings && used < SETTINGS_MOST - 4; used++)
        all_settings[used] = *settings++;
    for (; cluster->count < count; cluster->count++) {
        int i = cluster->count;
        if (kind == REDIS_TLS)
            add_certificate(cluster, all_settings + used);
        cluster->nodes[i] = redis_start(kind, all_settings);
        if (!cluster->nodes[i] ||
            !redis_do(cluster->nodes[i], 0, cluster->ids[i], sizeof cluster->ids[i], "CLUSTER MYID"))
            return false;
    }
    return true;
}

static bool deal_slots(const redis_cluster *cluster)
{
    for (int i = 0; i < CLUSTER_MASTERS; i++)
        if (!redis_do(cluster->nodes[i], 0, NULL, 0, "CLUSTER ADDSLOTSRANGE %d %d", SLOTS * i / CLUSTER_MASTERS,
                      SLOTS * (i + 1) / CLUSTER_MASTERS - 1))
            return false;
    return true;
}

static bool join(const redis_cluster *cluster)
{
    for (int i = 0; i < cluster->count; i++)
        if (!redis_do(cluster->nodes[i], 0, NULL, 0, "CLUSTER SET-CONFIG-EPOCH %d", i + 1))
            return false;
    for (int i = 1; i < cluster->count; i++)
        if (!redis_do(cluster->nodes[i], 0, NULL, 0, "CLUSTER MEET 127.0.0.1 %d", redis_port(cluster->nodes[0])))
            return false;
    return deal_slots(cluster) && wait_for(cluster, 0, cluster->count, "all nodes know each other", is_joined);
}

static bool add_replicas(const redis_cluster *cluster)
{
    for (int i = CLUSTER_MASTERS; i < cluster->count; i++)
        if (!redis_do(cluster->nodes[i], 0, NULL, 0, "CLUSTER REPLICATE %s", cluster->ids[0]))
            return false;
    return wait_for(cluster, CLUSTER_MASTERS, cluster->count, "the replicas follow", follows) &&
           wait_for(cluster, 0, CLUSTER_MASTERS, "the replicas are known", knows_replicas);
}

redis_cluster *redis_cluster_start(redis_kind kind, int replicas, const char *const *settings)
{
    redis_cluster *cluster = calloc(1, sizeof *cluster);
    int count = CLUSTER_MASTERS + replicas;
    if (cluster && count <= CLUSTER_NODES_MOST && start_nodes(cluster, kind, count, settings) && join(cluster) &&
        add_replicas(cluster))
        return cluster;
    redis_cluster_end(cluster);
    return NULL;
}

void redis_cluster_end(redis_cluster *cluster)
{
    if (!cluster)
        return;
    for (int i = 0; i < CLUSTER_NODES_MOST; i++)
        redis_end(cluster->nodes[i]);
    free(cluster);
}

/* ---- what is in it ----------------------------------------------------------------------- */

redis_server *redis_cluster_node(const redis_cluster *cluster, int number)
{
    return cluster->nodes[number];
}

char *redis_cluster_url(const redis_cluster *cluster, char *url, size_t size)
{
    snprintf(url, size, "redis+cluster://127.0.0.1:%d,127.0.0.1:%d", redis_port(cluster->nodes[0]),
             redis_port(cluster->nodes[1]));
    return url;
}

bool redis_cluster_empty(const redis_cluster *cluster)
{
    for (int i = 0; i < CLUSTER_MASTERS; i++)
        if (!redis_do(cluster->nodes[i], 0, NULL, 0, "FLUSHALL"))
            return false;
    return true;
}

/* ---- slots that move --------------------------------------------------------------------- */

static int slot_of(const redis_cluster *cluster, const char *key)
{
    char answer[64];
    return redis_do(cluster->nodes[1], 0, answer, sizeof answer, "CLUSTER KEYSLOT %s", key) ? atoi(answer) : -1;
}

int redis_cluster_home(const redis_cluster *cluster, const char *key)
{
    int node = 0, slot = slot_of(cluster, key);
    while (slot >= SLOTS * (node + 1) / CLUSTER_MASTERS)
        node++;
    return node;
}

bool redis_cluster_open_slot(const redis_cluster *cluster, const char *key, int from, int to)
{
    int slot = slot_of(cluster, key);
    return redis_do(cluster->nodes[to], 0, NULL, 0, "CLUSTER SETSLOT %d IMPORTING %s", slot, cluster->ids[from]) &&
           redis_do(cluster->nodes[from], 0, NULL, 0, "CLUSTER SETSLOT %d MIGRATING %s", slot, cluster->ids[to]);
}

bool redis_cluster_move_keys(const redis_cluster *cluster, const char *key, int from, int to, int count)
{
    char moved[1024];
    int slot = slot_of(cluster, key);
    for (int n = 0; n != count; n++) {
        if (!redis_do(cluster->nodes[from], 0, moved, sizeof moved, "CLUSTER GETKEYSINSLOT %d 1", slot))
            return false;
        if (!*moved)
            return true;
        if (!redis_do(cluster->nodes[from], 0, NULL, 0, "MIGRATE 127.0.0.1 %d %s 0 5000",
                      redis_port(cluster->nodes[to]), moved))
            return false;
    }
    return true;
}

bool redis_cluster_close_slot(const redis_cluster *cluster, const char *key, int to)
{
    int slot = slot_of(cluster, key);
    for (int i = 0; i < CLUSTER_MASTERS; i++) {
        int node = (to + i) % CLUSTER_MASTERS; /* who has it from now on is told first */
        if (!redis_do(cluster->nodes[node], 0, NULL, 0, "CLUSTER SETSLOT %d NODE %s", slot, cluster->ids[to]))
            return false;
    }
    return true;
}
