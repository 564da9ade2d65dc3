/* SPDX-License-Identifier: MIT
 *
 * What may be wrong with a server: whether it forgets jobs, keeps them over a restart, takes writes, and knows the time.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/jobs.h"
#include "backend/redis/slot.h"
#include "base/clock.h"
#include "base/error.h"

enum { CLOCK_APART_MS = 1000, OLDEST_MAJOR = 6, OLDEST_MINOR = 2 };

typedef struct examination {
    const rd_url *url;
    bool node; /* of a Cluster: what is well with it goes without saying */
    rd_connection *c;
    neoq_each_finding each;
    void *arg;
    char *info; /* as INFO says it */
} examination;

__attribute__((format(printf, 4, 5))) static void tell(const examination *x, neoq_finding_level level,
                                                       const char *name, const char *format, ...)
{
    char words[1024], of_node[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    if (x->node && level == NEOQ_FINDING_OK)
        return;
    snprintf(of_node, sizeof of_node, "%s of %s", name, x->url->shown);
    x->each(&(neoq_finding){.level = level, .name = x->node ? of_node : name, .words = words}, x->arg);
}

/* A line of INFO, copied to value; "" = it is not told. */
static const char *info_of(const examination *x, const char *name, char value[128])
{
    size_t size = strlen(name);
    *value = '\0';
    for (const char *line = x->info; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, size) == 0 && line[size] == ':') {
            snprintf(value, 128, "%.*s", (int)strcspn(line + size + 1, "\r\n"), line + size + 1);
            break;
        }
    }
    return value;
}

static int64_t number_of(const examination *x, const char *name)
{
    char value[128];
    return strtoll(info_of(x, name, value), NULL, 10);
}

/* ---- what it is ------------------------------------------------------------------------- */

static void check_version(const examination *x)
{
    char value[128], other[128];
    int major = 0, minor = 0;
    sscanf(info_of(x, "redis_version", value), "%d.%d", &major, &minor);
    const char *name = *info_of(x, "valkey_version", other) ? "Valkey" : "Redis";
    if (major < OLDEST_MAJOR || (major == OLDEST_MAJOR && minor < OLDEST_MINOR))
        tell(x, NEOQ_FINDING_BAD, "version", "%s %s: neoq needs what Redis 6.2 has", name, value);
    else
        tell(x, NEOQ_FINDING_OK, "version", "%s %s", name, *other ? other : value);
}

static void check_role(const examination *x)
{
    char role[128];
    if (strcmp(info_of(x, "role", role), "master") != 0)
        tell(x, NEOQ_FINDING_BAD, "writable", "the server is a replica, which takes no writes: name its master");
    else
        tell(x, NEOQ_FINDING_OK, "writable", "yes");
    int64_t replicas = number_of(x, "connected_slaves");
    if (replicas > 0)
        tell(x, NEOQ_FINDING_NOTE, "replicas",
             "%" PRId64 " connected; they follow a little behind, so a failover may take the last jobs that were "
             "acknowledged, and undo the last ends of runs",
             replicas);
    else
        tell(x, NEOQ_FINDING_NOTE, "replicas", "none: if this server is lost, so are its jobs");
}

/* ---- memory ----------------------------------------------------------------------------- */

static void check_eviction(const examination *x)
{
    char policy[128];
    info_of(x, "maxmemory_policy", policy);
    if (strcmp(policy, "noeviction") == 0)
        tell(x, NEOQ_FINDING_OK, "eviction", "noeviction: a full memory refuses jobs, and drops none");
    else
        tell(x, NEOQ_FINDING_BAD, "eviction",
             "maxmemory-policy is %s: when the memory is full the server drops keys, and jobs with them; set it to "
             "noeviction",
             *policy ? policy : "not told");
}

static void check_memory(const examination *x)
{
    int64_t used = number_of(x, "used_memory"), most = number_of(x, "maxmemory");
    double mib = (double)used / (1 << 20);
    if (most == 0)
        tell(x, NEOQ_FINDING_NOTE, "memory", "%.1f MiB used, and no bound: set maxmemory below what the machine has",
             mib);
    else if (used > most / 10 * 9)
        tell(x, NEOQ_FINDING_BAD, "memory", "%.1f of %.1f MiB used: jobs will be refused soon", mib,
             (double)most / (1 << 20));
    else
        tell(x, NEOQ_FINDING_OK, "memory", "%.1f of %.1f MiB used", mib, (double)most / (1 << 20));
}

/* ---- durability ------------------------------------------------------------------------- */

/* A setting, copied to value; false: it may not be asked for. Rights to all settings are rights to its passwords, so who
 * is careful does not grant them. */
static bool setting(const examination *x, const char *name, char value[128])
{
    const char *const words[] = {"CONFIG", "GET", name};
    redisReply *reply;
    nq_bound bound = nq_within(x->url->call_timeout);
    if (rd_descriptor(x->c) < 0 || rd_command(x->c, &bound, 3, words, &reply) != NEOQ_OK)
        return false;
    const char *text = rd_string(rd_item(reply, 1));
    snprintf(value, 128, "%s", text ? text : "");
    freeReplyObject(reply);
    return text != NULL;
}

static void check_log(const examination *x)
{
    char when[128], truncates[128];
    if (!setting(x, "appendfsync", when))
        tell(x, NEOQ_FINDING_NOTE, "persistence",
             "there is a log, but how soon it is on the disk cannot be told, for CONFIG GET is refused here: a power "
             "cut takes nothing (appendfsync always), a second or two (everysec) or minutes (no) of jobs");
    else if (strcmp(when, "always") == 0)
        tell(x, NEOQ_FINDING_OK, "persistence",
             "every write is on the disk before it is answered (appendfsync always)");
    else if (strcmp(when, "no") == 0)
        tell(x, NEOQ_FINDING_BAD, "persistence",
             "appendfsync is no: a power cut may take minutes of jobs; set it to everysec or always");
    else
        tell(x, NEOQ_FINDING_NOTE, "persistence",
             "the log is on the disk each second (appendfsync %s): a power cut may take the last second or two of "
             "what "
             "was acknowledged",
             when);
    if (setting(x, "aof-load-truncated", truncates) && strcmp(truncates, "yes") == 0)
        tell(x, NEOQ_FINDING_NOTE, "crashes",
             "a crash may leave half a script at the end of the log, and this server goes on from there "
             "(aof-load-truncated yes): have the log written anew after one (BGREWRITEAOF), or set it to no and mend "
             "the log with redis-check-aof --fix");
}

static void check_snapshots(const examination *x)
{
    char save[128];
    if (!setting(x, "save", save))
        tell(x, NEOQ_FINDING_BAD, "persistence",
             "there is no log, and whether there are snapshots cannot be told, for CONFIG GET is refused here: a "
             "restart "
             "loses what came since the last one, or every job; set appendonly yes");
    else if (*save)
        tell(x, NEOQ_FINDING_BAD, "persistence",
             "snapshots alone (save %s): a restart loses what came since the last one; set appendonly yes", save);
    else
        tell(x, NEOQ_FINDING_BAD, "persistence", "none: a restart of the server loses every job; set appendonly yes");
}

static void check_persistence(const examination *x)
{
    char value[128];
    if (number_of(x, "aof_enabled"))
        check_log(x);
    else
        check_snapshots(x);
    if (strcmp(info_of(x, "aof_last_write_status", value), "err") == 0 ||
        strcmp(info_of(x, "rdb_last_bgsave_status", value), "err") == 0)
        tell(x, NEOQ_FINDING_BAD, "disk", "the last write of the server to its disk failed: see its log");
}

/* ---- time ------------------------------------------------------------------------------- */

static void check_clock(const examination *x)
{
    static const char *const words[] = {"TIME"};
    redisReply *reply;
    nq_bound bound = nq_within(x->url->call_timeout);
    int64_t begun = nq_steady();
    if (rd_descriptor(x->c) < 0 || rd_command(x->c, &bound, 1, words, &reply) != NEOQ_OK) {
        tell(x, NEOQ_FINDING_NOTE, "clock", "cannot be told: %s", neoq_error_message());
        return;
    }
    int64_t there = rd_number(rd_item(reply, 0), 0) * 1000000 + rd_number(rd_item(reply, 1), 0);
    freeReplyObject(reply);
    int64_t apart = (neoq_now() - (nq_steady() - begun) / 2 - there) / 1000;
    if (apart > CLOCK_APART_MS || apart < -CLOCK_APART_MS)
        tell(x, NEOQ_FINDING_NOTE, "clock",
             "this machine's is %" PRId64
             " ms %s the server's: neoq goes by the server's, but asynq by each machine's",
             apart > 0 ? apart : -apart, apart > 0 ? "ahead of" : "behind");
    else
        tell(x, NEOQ_FINDING_OK, "clock", "within %d ms of the server's", CLOCK_APART_MS);
}

/* ---- a node of a Cluster ---------------------------------------------------------------- */

/* What it thinks of the whole: it takes no jobs while some slots are nobody's, or it is alone. */
static void check_state(const examination *x)
{
    static const char *const words[] = {"CLUSTER", "INFO"};
    redisReply *reply;
    nq_bound bound = nq_within(x->url->call_timeout);
    if (rd_descriptor(x->c) < 0 || rd_command(x->c, &bound, 2, words, &reply) != NEOQ_OK)
        return;
    if (reply->str && !strstr(reply->str, "cluster_state:ok"))
        tell(x, NEOQ_FINDING_BAD, "state",
             "cluster_state is not ok: it takes no jobs until the nodes that are away come back");
    freeReplyObject(reply);
}

/* ---- all of it -------------------------------------------------------------------------- */

static void examine(examination *x)
{
    static const char *const words[] = {"INFO"};
    redisReply *reply;
    nq_bound bound = nq_within(x->url->call_timeout);
    if (rd_command(x->c, &bound, 1, words, &reply) != NEOQ_OK) {
        tell(x, NEOQ_FINDING_BAD, "reachable", "%s", neoq_error_message());
        return;
    }
    tell(x, NEOQ_FINDING_OK, "reachable", "%s answers", x->url->shown);
    x->info = reply->str;
    if (x->info) {
        check_version(x);
        check_role(x);
        check_eviction(x);
        check_memory(x);
        check_persistence(x);
    }
    check_clock(x);
    if (x->node)
        check_state(x);
    freeReplyObject(reply);
}

static void connect_and_examine(examination *x)
{
    rd_failure failure;
    nq_bound bound = nq_within(x->url->connect_timeout);
    x->c = rd_connect(x->url, &bound, &failure);
    if (x->c)
        examine(x);
    else
        tell(x, NEOQ_FINDING_BAD, "reachable", "%s", failure.words);
    rd_disconnect(x->c);
}

/* ---- a Cluster -------------------------------------------------------------------------- */

static void examine_node(rd_node *node, void *arg)
{
    const examination *whole = arg;
    connect_and_examine(&(examination){.url = &node->url, .node = true, .each = whole->each, .arg = whole->arg});
}

static void count_node(rd_node *node, void *arg)
{
    (void)node;
    ++*(unsigned *)arg;
}

static void check_slots(const examination *x, rd_cluster *cluster)
{
    unsigned nodes = 0, orphans = 0;
    rd_cluster_each(cluster, count_node, &nodes);
    for (unsigned slot = 0; slot < RD_SLOTS; slot++)
        orphans += !rd_cluster_node(cluster, slot);
    if (orphans > 0)
        tell(x, NEOQ_FINDING_BAD, "slots",
             "%u of %u are served by no node: calls about queues there wait and fail; see redis-cli --cluster fix",
             orphans, RD_SLOTS);
    else
        tell(x, NEOQ_FINDING_OK, "slots", "all %u are served, by %u nodes", RD_SLOTS, nodes);
}

static void examine_cluster(examination *x, const neoq_options *options)
{
    rd_cluster *cluster;
    if (rd_cluster_open(&cluster, x->url, options) != NEOQ_OK) {
        tell(x, NEOQ_FINDING_BAD, "reachable", "%s", neoq_error_message());
        return;
    }
    tell(x, NEOQ_FINDING_OK, "reachable", "%s answers", x->url->shown);
    check_slots(x, cluster);
    rd_cluster_each(cluster, examine_node, x);
    rd_cluster_close(cluster);
}

int rd_doctor(const neoq_store_config *config, neoq_each_finding each, void *arg)
{
    rd_url url = {0};
    int status = rd_url_parse(&url, config->url, config->options);
    examination x = {.url = &url, .each = each, .arg = arg};
    if (status == NEOQ_OK && url.cluster)
        examine_cluster(&x, config->options);
    else if (status == NEOQ_OK)
        connect_and_examine(&x);
    rd_url_free(&url);
    return status;
}
