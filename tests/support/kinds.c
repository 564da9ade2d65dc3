/* SPDX-License-Identifier: MIT
 *
 * The stores that come with neoq, for the conformance suite.
 */
#include "support/postgres_server.h"
#include "support/redis_cluster.h"
#include "support/redis_server.h"
#include "support/store.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool make_memory(store *s)
{
    snprintf(s->url, sizeof(s->url), "memory:");
    return true;
}

/* ---- SQLite ----------------------------------------------------------------------------- */

/* In memory where possible: the tests are about meaning, and a disk would only make them slow. */
static const char *base_folder(void)
{
    const char *folder = getenv("NEOQ_TEST_FOLDER");
    if (folder)
        return folder;
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

static bool make_file(store *s)
{
    snprintf(s->folder, sizeof(s->folder), "%.90s/neoq-XXXXXX", base_folder());
    if (!mkdtemp(s->folder))
        return false;
    snprintf(s->path, sizeof(s->path), "%s/jobs.db", s->folder);
    snprintf(s->url, sizeof(s->url), "sqlite:%s", s->path);
    return true;
}

static void remove_folder(store *s)
{
    DIR *dir = opendir(s->folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[512];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%.200s/%s", s->folder, entry->d_name);
        unlink(path);
    }
    closedir(dir);
    rmdir(s->folder);
}

/* ---- PostgreSQL ------------------------------------------------------------------------- */

static bool make_postgres(store *s)
{
    const postgres_server *server = postgres_shared();
    if (!server || !postgres_create(server, NULL, s->database, sizeof(s->database)))
        return false;
    postgres_url(server, s->database, s->url, sizeof(s->url));
    return true;
}

static void drop_postgres(store *s)
{
    if (s->database[0])
        postgres_drop(postgres_shared(), s->database);
}

/* ---- Redis ------------------------------------------------------------------------------ */

static bool make_redis(store *s)
{
    const redis_server *server = redis_shared();
    if (!server || (s->number = redis_create(server)) < 0)
        return false;
    redis_url(server, s->number, s->url, sizeof(s->url));
    return true;
}

static void drop_redis(store *s)
{
    if (s->url[0])
        redis_drop(redis_shared(), s->number);
}

static bool make_layout(store *s)
{
    bool made = make_redis(s);
    size_t size = strlen(s->url);
    snprintf(s->url + size, sizeof(s->url) - size, "%clayout=neoq", strchr(s->url, '?') ? '&' : '?');
    return made;
}

static redis_server *limited;

static void end_limited(void)
{
    redis_end(limited);
}

/* One whose user of packaging/redis.acl is ours. */
static redis_server *limited_redis(void)
{
    const char *const settings[] = {"aclfile=" NEOQ_TEST_ACL, NULL};
    if (limited)
        return limited;
    limited = redis_start(REDIS_PORT, settings);
    if (!limited || !redis_do(limited, 0, NULL, 0, "ACL SETUSER neoq >secret"))
        return NULL;
    atexit(end_limited);
    return limited;
}

static bool make_limited(store *s)
{
    const redis_server *server = limited_redis();
    if (!server || (s->number = redis_create(server)) < 0)
        return false;
    snprintf(s->url, sizeof(s->url), "redis://neoq:secret@127.0.0.1:%d/%d", redis_port(server), s->number);
    return true;
}

static void drop_limited(store *s)
{
    if (s->url[0])
        redis_drop(limited, s->number);
}

static redis_cluster *cluster;

static void end_cluster(void)
{
    redis_cluster_end(cluster);
}

/* It has one database, so a test finds it empty. */
static bool make_cluster(store *s)
{
    if (!cluster) {
        cluster = redis_cluster_start(REDIS_PORT, 0, NULL);
        if (!cluster)
            return false;
        atexit(end_cluster);
    }
    redis_cluster_url(cluster, s->url, sizeof(s->url));
    return redis_cluster_empty(cluster);
}

/* ---- one that says what it cannot do ------------------------------------------------------ */

static int refuse_capacity(neoq_store *self, const char *queue, neoq_queue_action action, int64_t value)
{
    if (action == NEOQ_QUEUE_CAPACITY && value > 0)
        return neoq_set_error(NEOQ_EUNSUPPORTED, "no queue is bounded here");
    return neoq_find_backend("memory:")->set_queue(self, queue, action, value);
}

static int refuse_schedule(neoq_store *self, const neoq_schedule_record *schedule)
{
    (void)self;
    return neoq_set_error(NEOQ_EUNSUPPORTED, "schedule \"%s\" cannot be kept here", schedule->info.name);
}

static int refuse_runs(neoq_store *self, const char *id, neoq_each_run each, void *arg)
{
    (void)self, (void)each, (void)arg;
    return neoq_set_error(NEOQ_EUNSUPPORTED, "no history of job %s is kept here", id);
}

static int refuse_to_set_progress(neoq_store *self, const char *id, int64_t epoch, const neoq_progress *progress)
{
    (void)self, (void)epoch, (void)progress;
    return neoq_set_error(NEOQ_EUNSUPPORTED, "no progress of job %s is kept here", id);
}

static int refuse_to_get_progress(neoq_store *self, const char *id, neoq_progress *progress)
{
    return refuse_to_set_progress(self, id, 0, progress);
}

static int open_lame(neoq_store **out, const neoq_store_config *config)
{
    neoq_store_config memory = *config;
    memory.url = "memory:";
    return neoq_find_backend("memory:")->open(out, &memory);
}

static bool make_lame(store *s)
{
    snprintf(s->url, sizeof(s->url), "lame:");
    return true;
}

/* The store in memory without what a store may be without. Before main(), for the programs that child_start() starts. */
__attribute__((constructor)) static void register_lame(void)
{
    static neoq_backend lame;
    lame = *neoq_find_backend("memory:");
    lame.scheme = "lame";
    lame.open = open_lame;
    lame.set_queue = refuse_capacity;
    lame.set_schedule = refuse_schedule;
    lame.runs = refuse_runs;
    lame.set_progress = refuse_to_set_progress;
    lame.get_progress = refuse_to_get_progress;
    neoq_register_backend(&lame);
}

/* ---- all of them ------------------------------------------------------------------------ */

/* Redis has asynq's keys and nothing to migrate. */
static const store_kind kinds[] = {
    {.name = "memory:", .make = make_memory, .cannot = NEOQ_CANNOT_SHARE},
    {.name = "sqlite:", .make = make_file, .drop = remove_folder, .has_schema = true},
    {.name = "postgres:",
     .make = make_postgres,
     .drop = drop_postgres,
     .has_schema = true,
     .has_clock = true,
     .is_lax = true},
    {.name = "redis:", .make = make_redis, .drop = drop_redis, .is_lax = true},
    {.name = "redis-layout:", .make = make_layout, .drop = drop_redis, .is_lax = true},
    {.name = "redis-acl:", .make = make_limited, .drop = drop_limited, .is_lax = true},
    {.name = "redis-cluster:", .make = make_cluster, .is_lax = true},
    {.name = "lame:",
     .make = make_lame,
     .cannot = NEOQ_CANNOT_SHARE | NEOQ_CANNOT_SCHEDULE | NEOQ_CANNOT_LIMIT | NEOQ_CANNOT_KEEP_RUNS |
               NEOQ_CANNOT_KEEP_PROGRESS},
};

const store_kind *const store_kinds[] = {&kinds[0], &kinds[1], &kinds[2], &kinds[3], &kinds[4],
                                         &kinds[5], &kinds[6], &kinds[7], NULL};
