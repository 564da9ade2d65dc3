/* SPDX-License-Identifier: MIT */
#include "support/redis_server.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "support/control.h"

struct redis_server {
    char folder[200];
    char url[300]; /* its main one */
    int port;
    control control; /* of one that is ours */
};

enum { DATABASES = 4096 };

/* What stands behind the last colon before an option: "rediss://127.0.0.1:7000?ca=...". */
static int port_of(const char *url)
{
    const char *colon = strstr(url, "127.0.0.1:");
    return colon ? atoi(strchr(colon, ':') + 1) : 0;
}

static void set_url(redis_server *s, const char *url)
{
    snprintf(s->url, sizeof(s->url), "%.290s", url);
    s->port = port_of(url);
}

redis_server *redis_start(redis_kind kind, const char *const *settings)
{
    static const char *const kinds[] = {"--socket", "--port", "--tls", "--sentinel"};
    const char *arguments[CONTROL_ARGUMENTS] = {"with-redis", kinds[kind]};
    int count = 2;
    for (; settings && *settings && count < CONTROL_ARGUMENTS - 4; settings++) {
        arguments[count++] = "-c";
        arguments[count++] = *settings;
    }
    arguments[count] = "--control";

    char words[CONTROL_ANSWER];
    redis_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    if (!control_begin(&s->control, "Redis", NEOQ_TEST_WITH_REDIS, arguments, words)) {
        redis_end(s);
        return NULL;
    }
    size_t folder = strcspn(words, " ");
    snprintf(s->folder, sizeof(s->folder), "%.*s", (int)folder, words);
    set_url(s, words + folder + (words[folder] != '\0'));
    return s;
}

void redis_end(redis_server *s)
{
    if (!s)
        return;
    control_end(&s->control);
    free(s);
}

/* ---- the shared one ---------------------------------------------------------------------- */

static pthread_once_t shared_once = PTHREAD_ONCE_INIT;
static redis_server *shared;

static void end_shared(void)
{
    redis_end(shared);
}

static void find_shared(void)
{
    static redis_server of_the_run = {.control = {.name = "Redis", .to = -1}};
    const char *url = getenv("NEOQ_TEST_REDIS");
    if (url && *url) {
        set_url(&of_the_run, url);
        shared = &of_the_run;
        return;
    }
    shared = redis_start(REDIS_SOCKET, NULL);
    if (!shared)
        return;
    atexit(end_shared);
    setenv("NEOQ_TEST_REDIS", shared->url, 1); /* for our children */
}

redis_server *redis_shared(void)
{
    pthread_once(&shared_once, find_shared);
    return shared;
}

/* ---- what happens to servers ------------------------------------------------------------- */

bool redis_stop(redis_server *s)
{
    return control_tell(&s->control, "stop");
}

bool redis_kill(redis_server *s)
{
    return control_tell(&s->control, "kill");
}

bool redis_again(redis_server *s)
{
    return control_tell(&s->control, "start");
}

bool redis_freeze(redis_server *s)
{
    return control_tell(&s->control, "freeze");
}

bool redis_thaw(redis_server *s)
{
    return control_tell(&s->control, "thaw");
}

/* ---- what is in them --------------------------------------------------------------------- */

const char *redis_folder(const redis_server *s)
{
    return s->folder;
}

int redis_port(const redis_server *s)
{
    return s->port;
}

/* The socket's path; "" = it is known by its port alone. */
static void find_socket(const redis_server *s, char path[256])
{
    static const char unix_scheme[] = "redis+unix://";
    path[0] = '\0';
    if (s->folder[0])
        snprintf(path, 256, "%s/socket", s->folder);
    else if (strncmp(s->url, unix_scheme, sizeof(unix_scheme) - 1) == 0)
        snprintf(path, 256, "%.*s", (int)strcspn(s->url + sizeof(unix_scheme) - 1, "?"),
                 s->url + sizeof(unix_scheme) - 1);
}

char *redis_url(const redis_server *s, int database, char *url, size_t size)
{
    char path[256];
    find_socket(s, path);
    if (path[0])
        snprintf(url, size, "redis+unix://%s?db=%d", path, database);
    else
        snprintf(url, size, "redis://127.0.0.1:%d?db=%d", s->port, database);
    return url;
}

static redisContext *connect_to(const redis_server *s)
{
    char path[256];
    const struct timeval limit = {.tv_sec = 10};
    find_socket(s, path);
    redisContext *context =
        path[0] ? redisConnectUnixWithTimeout(path, limit) : redisConnectWithTimeout("127.0.0.1", s->port, limit);
    if (context && !context->err)
        redisSetTimeout(context, limit);
    return context;
}

static void write_reply(const redisReply *reply, char *answer, size_t size)
{
    size_t used = strlen(answer);
    if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(answer + used, size - used, "%lld", reply->integer);
    else if (reply->str)
        snprintf(answer + used, size - used, "%s", reply->str);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        used = strlen(answer);
        snprintf(answer + used, size - used, "%s", i > 0 ? " " : "");
        write_reply(reply->element[i], answer, size);
    }
}

bool redis_do(const redis_server *s, int database, char *answer, size_t size, const char *format, ...)
{
    char ignored[CONTROL_ANSWER];
    if (!answer) {
        answer = ignored;
        size = sizeof(ignored);
    }
    answer[0] = '\0';
    redisContext *context = connect_to(s);
    redisReply *reply =
        context && !context->err && database > 0 ? redisCommand(context, "SELECT %d", database) : NULL;
    freeReplyObject(reply);
    va_list arguments;
    va_start(arguments, format);
    reply = context && !context->err ? redisvCommand(context, format, arguments) : NULL;
    va_end(arguments);
    bool good = reply && reply->type != REDIS_REPLY_ERROR;
    if (reply)
        write_reply(reply, answer, size);
    else
        snprintf(answer, size, "%s", context ? context->errstr : "no memory");
    if (!good)
        control_say("Redis", "%s: %s", format, answer);
    freeReplyObject(reply);
    if (context)
        redisFree(context);
    return good;
}

/* Database 0 keeps the count. */
int redis_create(const redis_server *s)
{
    char answer[64];
    if (!redis_do(s, 0, answer, sizeof(answer), "INCR neoq:test:databases"))
        return -1;
    int database = 1 + atoi(answer) % (DATABASES - 1);
    return redis_drop(s, database) ? database : -1;
}

bool redis_drop(const redis_server *s, int database)
{
    return redis_do(s, database, NULL, 0, "FLUSHDB");
}
