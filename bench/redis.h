/* SPDX-License-Identifier: MIT
 *
 * redis.h -- what the programs that measure on a Redis share.
 */
#ifndef BENCH_REDIS_H
#define BENCH_REDIS_H

#include "bench.h"

#include <hiredis/hiredis.h>

static inline _Noreturn void redis_failed(const redisContext *conn, const redisReply *reply, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, reply ? reply->str : conn ? conn->errstr : "no memory");
    exit(1);
}

/* The answer to a command that must succeed; freed by the caller. */
static inline redisReply *redis_checked(redisContext *conn, void *answer, const char *what)
{
    redisReply *reply = answer;
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        redis_failed(conn, reply, what);
    return reply;
}

static inline void redis_do(redisContext *conn, const char *command)
{
    freeReplyObject(redis_checked(conn, redisCommand(conn, command), command));
}

/* redis+unix://PATH or redis://HOST:PORT, and no more than that. */
static inline redisContext *redis_connect(const char *url)
{
    static const char local[] = "redis+unix://";
    char host[256];
    int port;
    redisContext *conn = NULL;
    if (strncmp(url, local, sizeof local - 1) == 0)
        conn = redisConnectUnix(url + sizeof local - 1);
    else if (sscanf(url, "redis://%255[^:/]:%d", host, &port) == 2)
        conn = redisConnect(host, port);
    if (!conn || conn->err)
        redis_failed(conn, NULL, url);
    return conn;
}

/* What stands in a section of INFO after `line`, which begins one, and then after `field`; 0 = it is not there. */
static inline double redis_info(redisContext *conn, const char *section, const char *line, const char *field)
{
    redisReply *reply = redis_checked(conn, redisCommand(conn, "INFO %s", section), "INFO");
    const char *at = strstr(reply->str, line);
    at = at ? strstr(at, field) : NULL;
    double number = at ? strtod(at + strlen(field), NULL) : 0;
    freeReplyObject(reply);
    return number;
}

/* An empty server, and an empty file of its own, so that no measurement pays for what was written before it. */
static inline void redis_clear(redisContext *conn)
{
    redis_do(conn, "FLUSHALL SYNC");
    redis_do(conn, "BGREWRITEAOF");
    while (redis_info(conn, "persistence", "aof_rewrite_in_progress", ":") > 0 ||
           redis_info(conn, "persistence", "aof_rewrite_scheduled", ":") > 0)
        pause_ns(10000000);
}

/* A server that is ours alone: all that it has is deleted. */
static inline redisContext *redis_own(const char *url)
{
    redisContext *conn = redis_connect(url);
    redisReply *size = redis_checked(conn, redisCommand(conn, "DBSIZE"), "DBSIZE");
    if (size->integer > 0) {
        fprintf(stderr, "%s has keys, all of which would be deleted: use an empty Redis\n", url);
        exit(1);
    }
    freeReplyObject(size);
    return conn;
}

#endif
