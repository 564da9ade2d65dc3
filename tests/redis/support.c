/* SPDX-License-Identifier: MIT */
#include "redis/support.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/redis.h"
#include "base/clock.h"

static void record(neoq_log_level level, const char *message, void *arg)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    base *b = arg;
    pthread_mutex_lock(&b->mutex);
    size_t size = strlen(b->log);
    snprintf(b->log + size, sizeof b->log - size, "%s: %s\n", names[level], message);
    pthread_mutex_unlock(&b->mutex);
}

size_t log_lines(base *b, const char *words)
{
    size_t count = 0;
    pthread_mutex_lock(&b->mutex);
    for (const char *line = b->log; *line;) {
        size_t size = strcspn(line, "\n");
        const char *found = strstr(line, words);
        count += found && found < line + size;
        line += size + (line[size] == '\n');
    }
    pthread_mutex_unlock(&b->mutex);
    return count;
}

/* ---- servers ---------------------------------------------------------------------------- */

int base_setup(void **state)
{
    base *b = calloc(1, sizeof *b);
    if (!b)
        return -1;
    *state = b;
    pthread_mutex_init(&b->mutex, NULL);
    b->options =
        (neoq_options){.log = record, .log_arg = b, .log_level = NEOQ_LOG_INFO, .connect_timeout = NEOQ_SECONDS(10)};
    b->server = redis_shared();
    assert_non_null(b->server);
    b->database = redis_create(b->server);
    assert_true(b->database > 0);
    redis_url(b->server, b->database, b->url, sizeof b->url);
    return 0;
}

void own_server(base *b, redis_kind kind, const char *const *settings)
{
    redis_drop(b->server, b->database);
    b->server = redis_start(kind, settings);
    assert_non_null(b->server);
    b->own = true;
    b->database = 0;
    redis_url(b->server, 0, b->url, sizeof b->url);
}

int base_teardown(void **state)
{
    base *b = *state;
    for (size_t i = 0; i < b->pool_count; i++)
        rd_pool_close(b->pools[i]);
    for (size_t i = 0; i < b->url_count; i++)
        rd_url_free(&b->urls[i]);
    if (b->own)
        redis_end(b->server);
    else
        redis_drop(b->server, b->database);
    pthread_mutex_destroy(&b->mutex);
    free(b);
    return 0;
}

/* ---- Sentinels -------------------------------------------------------------------------- */

redis_server *start_sentinel(const redis_server *of, const char *more)
{
    char setting[64];
    snprintf(setting, sizeof setting, "sentinel=monitor main 127.0.0.1 %d 1", redis_port(of));
    redis_server *s =
        redis_start(REDIS_SENTINEL, (const char *const[]){setting, "sentinel=down-after-milliseconds main 300",
                                                          "sentinel=failover-timeout main 3000", more, NULL});
    assert_non_null(s);
    return s;
}

void watch(watched *w)
{
    char setting[64], answer[4096];
    w->master = redis_start(REDIS_PORT, NULL);
    assert_non_null(w->master);
    snprintf(setting, sizeof setting, "replicaof=127.0.0.1 %d", redis_port(w->master));
    w->replica = redis_start(REDIS_PORT, (const char *const[]){setting, NULL});
    assert_non_null(w->replica);
    eventually(redis_do(w->replica, 0, answer, sizeof answer, "INFO replication") &&
               strstr(answer, "master_link_status:up"));
    w->sentinel = start_sentinel(w->master, NULL);
    eventually(redis_do(w->sentinel, 0, answer, sizeof answer, "SENTINEL replicas main") && answer[0]);
}

void watch_end(watched *w)
{
    redis_end(w->sentinel);
    redis_end(w->replica);
    redis_end(w->master);
}

/* ---- connections ------------------------------------------------------------------------ */

nq_bound patiently(void)
{
    return nq_within(NEOQ_SECONDS(20));
}

const rd_url *read_url(base *b, const char *text)
{
    assert_true(b->url_count < sizeof b->urls / sizeof *b->urls);
    rd_url *url = &b->urls[b->url_count];
    if (rd_url_parse(url, text ? text : b->url, &b->options) != NEOQ_OK)
        fail_msg("%s: %s", text ? text : b->url, neoq_error_message());
    b->url_count++;
    return url;
}

rd_connection *open_connection(base *b, const char *text)
{
    rd_failure failure;
    nq_bound bound = patiently();
    rd_connection *c = rd_connect(read_url(b, text), &bound, &failure);
    if (!c)
        fail_msg("no connection: %s", failure.words);
    return c;
}

void assert_no_connection(base *b, const char *text, neoq_duration patience, int status, const char *words)
{
    rd_failure failure;
    nq_bound bound = nq_within(patience);
    rd_connection *c = rd_connect(read_url(b, text), &bound, &failure);
    assert_null(c);
    if (failure.status != status || !strstr(failure.words, words))
        fail_msg("expected %s and \"%s\", got %s and \"%s\"", neoq_status_name(status), words,
                 neoq_status_name(failure.status), failure.words);
}

rd_pool *open_pool(base *b, const char *more)
{
    char text[700];
    rd_pool *pool;
    snprintf(text, sizeof text, "%s%s", b->url, more);
    assert_true(b->pool_count < sizeof b->pools / sizeof *b->pools);
    if (rd_pool_open(&pool, read_url(b, text), &b->options) != NEOQ_OK)
        fail_msg("no pool: %s", neoq_error_message());
    b->pools[b->pool_count++] = pool;
    return pool;
}

neoq_store *open_store(base *b)
{
    neoq_store *store = NULL;
    b->options.lease = NEOQ_SECONDS(30);
    b->options.job_check_interval = NEOQ_SECONDS(1);
    const neoq_store_config config = {.url = b->url, .options = &b->options, .clock = &nq_real_clock};
    assert_int_equal(NEOQ_OK, nq_redis_backend.open(&store, &config));
    return store;
}

/* ---- commands --------------------------------------------------------------------------- */

typedef struct words {
    int count;
    const char *words[16];
    char text[512];
} words;

static void split(const char *command, words *out)
{
    char *rest = NULL;
    snprintf(out->text, sizeof out->text, "%s", command);
    out->count = 0;
    for (char *word = strtok_r(out->text, " ", &rest); word && out->count < 16; word = strtok_r(NULL, " ", &rest))
        out->words[out->count++] = word;
}

int append(rd_connection *c, const char *command)
{
    words w;
    split(command, &w);
    return rd_append(c, w.count, w.words, NULL);
}

static void compare(redisReply *reply, const char *expected)
{
    char number[32];
    snprintf(number, sizeof number, "%lld", reply->integer);
    const char *got = reply->type == REDIS_REPLY_INTEGER ? number : reply->str;
    assert_non_null(got);
    if (strncmp(got, expected, strlen(expected)) != 0)
        fail_msg("expected \"%s\", got \"%s\"", expected, got);
    freeReplyObject(reply);
}

void assert_reply(rd_connection *c, const char *expected)
{
    redisReply *reply;
    nq_bound bound = patiently();
    if (rd_reply(c, &bound, &reply) != NEOQ_OK)
        fail_msg("expected \"%s\", got: %s", expected, neoq_error_message());
    compare(reply, expected);
}

void assert_answer(rd_pool *pool, const char *command, const char *expected)
{
    words w;
    redisReply *reply;
    split(command, &w);
    if (rd_pool_command(pool, w.count, w.words, true, &reply) != NEOQ_OK)
        fail_msg("%s: %s", command, neoq_error_message());
    compare(reply, expected);
}

void assert_words(const char *expected)
{
    if (!strstr(neoq_error_message(), expected))
        fail_msg("expected \"%s\" in \"%s\"", expected, neoq_error_message());
}

/* ---- time ------------------------------------------------------------------------------- */

int64_t milliseconds_since(int64_t start)
{
    return (nq_steady() - start) / 1000;
}

bool patient(int64_t start)
{
    poll(NULL, 0, 5);
    return milliseconds_since(start) < 20000;
}
