/* SPDX-License-Identifier: MIT */
#include "backend/redis/failure.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

bool rd_fail(rd_failure *failure, int status, bool lasting, const char *format, ...)
{
    va_list args;
    failure->status = status;
    failure->lasting = lasting || status == NEOQ_ENOMEM; /* who is short of memory does not wait for it */
    va_start(args, format);
    vsnprintf(failure->words, sizeof failure->words, format, args);
    va_end(args);
    return false;
}

/* Without what a log or a terminal would stumble over. */
static void one_line(char *out, size_t room, const char *words, size_t size)
{
    nq_utf8_clean(words, size, out, room);
    for (char *at = out; *at; at++)
        if (iscntrl((unsigned char)*at))
            *at = ' ';
}

/* ---- error replies ---------------------------------------------------------------------- */

/* What is known of a code; the first that fits counts, and "" fits any. */
typedef struct meaning {
    const char *code;
    bool passes; /* it is the state of the server, which changes */
    const char *hint;
} meaning;

static const meaning meanings[] = {
    {"LOADING", true, ""},
    {"READONLY", true,
     "; it is a replica: name the Sentinels in the URL (redis+sentinel://), and the master is found"},
    {"MASTERDOWN", true, ""},
    {"CLUSTERDOWN", true, ""},
    {"TRYAGAIN", true, ""},
    {"BUSY", true, "; a script that ran for too long holds it up"},
    {"UNBLOCKED", true, ""},
    {"NOREPLICAS", true, "; too few of its replicas follow it for min-replicas-to-write"},
    {"MISCONF", true, "; it cannot save its data, and takes none until it can"},
    {"OOM", false, "; its memory is full: see maxmemory"},
    {"ERR max number of clients", true, "; see maxclients"},
    {"WRONGPASS", false, "; see the user and the password in the URL"},
    {"NOAUTH", false, "; write redis://user:password@host or redis://:password@host"},
    {"ERR AUTH", false, "; the URL has a password and the server has none"},
    {"NOPERM", false, "; have the server's ACL grant the user this right"},
    {"MOVED", false, "; it is a node of a Cluster: write redis+cluster://"},
    {"ERR This instance has cluster support disabled", false, "; a server by itself is named by redis://"},
    {"", false, ""},
};

static const meaning *meaning_of(const redisReply *reply)
{
    const meaning *m = meanings;
    while (strncmp(reply->str, m->code, strlen(m->code)) != 0)
        m++;
    return m;
}

bool rd_is_error(const redisReply *reply, const char *code)
{
    if (!reply || reply->type != REDIS_REPLY_ERROR)
        return false;
    size_t size = code ? strlen(code) : 0;
    return strncmp(reply->str, code ? code : "", size) == 0 && (!code || !isalnum((unsigned char)reply->str[size]));
}

bool rd_error_passes(const redisReply *reply)
{
    return rd_is_error(reply, NULL) && meaning_of(reply)->passes;
}

/* The server's words, with a hint where there is one. */
static void explain(const redisReply *reply, char *out, size_t room)
{
    char words[400];
    one_line(words, sizeof words, reply->str, reply->len);
    char *data = strstr(words, ", with args"); /* of a command that it does not know: a payload, a password */
    if (data)
        *data = '\0';
    snprintf(out, room, "%s%s", words, meaning_of(reply)->hint);
}

int rd_refused(const char *shown, const redisReply *reply)
{
    char words[512];
    explain(reply, words, sizeof words);
    return nq_fail(NEOQ_EBACKEND, "Redis %s: %s", shown, words);
}

bool rd_fail_refused(rd_failure *failure, const redisReply *reply)
{
    char words[sizeof failure->words];
    explain(reply, words, sizeof words);
    return rd_fail(failure, NEOQ_EBACKEND, !rd_error_passes(reply), "%s", words);
}
