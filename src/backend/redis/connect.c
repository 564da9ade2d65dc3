/* SPDX-License-Identifier: MIT
 *
 * From a URL to a connection that takes commands: dial, TLS, the first words. Where there are Sentinels, one of them says
 * which server is the master, and that server is asked whether it is: a Sentinel that was cut off from the others still
 * names the old one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/redis/connection.h"
#include "backend/redis/tls.h"
#include "base/error.h"

enum { SENTINEL_SECONDS = 2 }; /* to answer; the next one may know */

/* ---- one server ------------------------------------------------------------------------- */

static rd_connection *dial(const rd_url *url, const rd_host *host, const nq_bound *bound, rd_failure *failure)
{
    int fd = host ? rd_dial_host(host->name, host->port, bound, failure) : rd_dial_path(url->path, bound, failure);
    if (fd < 0)
        return NULL;
    rd_tls *tls = NULL;
    if (url->tls && !(tls = rd_tls_open(url, host->name, failure))) {
        close(fd);
        return NULL;
    }
    rd_connection *c = rd_connection_open(url, fd, tls);
    if (!c)
        rd_fail(failure, NEOQ_ENOMEM, false, "no memory for a connection");
    if (!c || !tls || rd_connection_shake_hands(c, bound, failure))
        return c;
    rd_disconnect(c);
    return NULL;
}

/* ---- the first words -------------------------------------------------------------------- */

static bool say(rd_connection *c, const char *const *argv)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    return rd_append(c, argc, argv, NULL) == NEOQ_OK;
}

/* Who we are. user and password may be NULL. */
static bool say_who(rd_connection *c, const char *user, const char *password)
{
    if (user)
        return say(c, (const char *const[]){"AUTH", user, password, NULL});
    return !password || say(c, (const char *const[]){"AUTH", password, NULL});
}

/* The next reply, which is to be freed; NULL: there is none. */
static redisReply *hear(rd_connection *c, const nq_bound *bound, rd_failure *failure)
{
    redisReply *reply;
    if (rd_reply(c, bound, &reply) == NEOQ_OK)
        return reply;
    if (rd_connection_silent(c))
        rd_fail(failure, NEOQ_ETIMEOUT, false, "the server did not answer in time");
    else
        rd_fail(failure, rd_connection_starved(c) ? NEOQ_ENOMEM : NEOQ_EBACKEND, false, "the connection broke: %s",
                rd_connection_words(c));
    return NULL;
}

/* All that is owed, and none of it an error. */
static bool hear_good(rd_connection *c, const nq_bound *bound, rd_failure *failure)
{
    bool good = true;
    while (good && rd_owed(c) > 0) {
        redisReply *reply = hear(c, bound, failure);
        good = reply && (!rd_is_error(reply, NULL) || rd_fail_refused(failure, reply));
        freeReplyObject(reply);
    }
    return good;
}

/* That a server is still loading its data is told by PING alone. */
static bool greet(rd_connection *c, const char *user, const char *password, int database, const nq_bound *bound,
                  rd_failure *failure)
{
    char number[16];
    snprintf(number, sizeof number, "%d", database);
    bool said = say_who(c, user, password) &&
                (database == 0 || say(c, (const char *const[]){"SELECT", number, NULL})) &&
                say(c, (const char *const[]){"PING", NULL});
    if (!said)
        return rd_fail(failure, NEOQ_ENOMEM, false, "no memory for the first words to the server");
    return hear_good(c, bound, failure);
}

/* Whether jobs can be written there. A user whom the server's ACL does not let ask is believed; our name in its list of
 * clients is no matter. */
static bool is_master(const rd_url *url, rd_connection *c, const nq_bound *bound, rd_failure *failure)
{
    if (!say(c, (const char *const[]){"ROLE", NULL}) ||
        !say(c, (const char *const[]){"CLIENT", "SETNAME", "neoq", NULL}))
        return rd_fail(failure, NEOQ_ENOMEM, false, "no memory for the first words to the server");
    redisReply *reply = hear(c, bound, failure);
    bool told = reply && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && reply->element[0]->str;
    bool good = reply && (!told || strcmp(reply->element[0]->str, "master") == 0);
    if (reply && !good)
        rd_fail(failure, NEOQ_EBACKEND, false, "it is no master but a %.20s%s", reply->element[0]->str,
                url->cluster ? "" : "; where Sentinels know the master, write redis+sentinel://");
    freeReplyObject(reply);
    reply = good ? hear(c, bound, failure) : NULL;
    good = reply != NULL;
    freeReplyObject(reply);
    return good;
}

static rd_connection *connect_to(const rd_url *url, const rd_host *host, const nq_bound *bound, rd_failure *failure)
{
    rd_connection *c = dial(url, host, bound, failure);
    if (!c ||
        (greet(c, url->user, url->password, url->database, bound, failure) && is_master(url, c, bound, failure)))
        return c;
    rd_disconnect(c);
    return NULL;
}

rd_connection *rd_connect_any(const rd_url *url, const rd_host *host, const nq_bound *bound, rd_failure *failure)
{
    *failure = (rd_failure){0};
    rd_connection *c = dial(url, host, bound, failure);
    if (!c || greet(c, url->user, url->password, 0, bound, failure))
        return c;
    rd_disconnect(c);
    return NULL;
}

/* ---- by way of Sentinels ---------------------------------------------------------------- */

static bool read_address(const redisReply *reply, rd_host *master)
{
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !reply->element[0]->str ||
        !reply->element[1]->str)
        return false;
    int port = atoi(reply->element[1]->str);
    master->name = port > 0 && port < 65536 ? strdup(reply->element[0]->str) : NULL;
    master->port = port;
    return master->name != NULL;
}

/* The address that this Sentinel has for the master; its name is to be freed. */
static bool ask_sentinel(const rd_url *url, const rd_host *sentinel, const nq_bound *bound, rd_host *master,
                         rd_failure *failure)
{
    nq_bound own = nq_sooner(bound, NEOQ_SECONDS(SENTINEL_SECONDS));
    rd_connection *c = dial(url, sentinel, &own, failure);
    redisReply *reply = NULL;
    bool good = c && greet(c, url->sentinel_user, url->sentinel_password, 0, &own, failure);
    if (good) {
        say(c, (const char *const[]){"SENTINEL", "get-master-addr-by-name", url->master, NULL});
        reply = hear(c, &own, failure);
        good = read_address(reply, master);
    }
    if (reply && rd_is_error(reply, NULL))
        rd_fail_refused(failure, reply);
    else if (reply && !good)
        rd_fail(failure, NEOQ_EBACKEND, reply->type == REDIS_REPLY_NIL, "it knows no master \"%.100s\"", url->master);
    freeReplyObject(reply);
    rd_disconnect(c);
    return good;
}

static rd_connection *connect_to_master(const rd_url *url, const rd_host *sentinel, const nq_bound *bound,
                                        rd_failure *failure)
{
    rd_host master = {0};
    rd_failure one;
    if (!ask_sentinel(url, sentinel, bound, &master, &one)) {
        rd_fail(failure, one.status, one.lasting, "Sentinel %.100s:%d: %.300s", sentinel->name, sentinel->port,
                one.words);
        return NULL;
    }
    rd_connection *c = connect_to(url, &master, bound, &one);
    if (!c)
        rd_fail(failure, one.status, one.lasting, "%.100s:%d, the master by Sentinel %.100s:%d: %.250s", master.name,
                master.port, sentinel->name, sentinel->port, one.words);
    free(master.name);
    return c;
}

/* Adds one's words to those of the others; only what each of them will say again lasts. */
static void add_failure(rd_failure *to, const rd_failure *one)
{
    char words[sizeof to->words];
    snprintf(words, sizeof words, "%.250s%s%.250s", to->words, *to->words ? "; " : "", one->words);
    bool lasting = one->lasting && (to->lasting || !*to->words);
    rd_fail(to, one->status, lasting, "%s", words);
}

static rd_connection *connect_by_sentinels(const rd_url *url, const nq_bound *bound, rd_failure *failure)
{
    rd_connection *c = NULL;
    for (size_t i = 0; i < url->host_count && !c; i++) {
        rd_failure one = {0};
        nq_bound share = *bound;
        if (bound->until != INT64_MAX)
            share = nq_sooner(bound, (bound->until - nq_steady()) / (int64_t)(url->host_count - i));
        c = connect_to_master(url, &url->hosts[i], &share, &one);
        if (!c)
            add_failure(failure, &one);
    }
    return c;
}

rd_connection *rd_connect(const rd_url *url, const nq_bound *bound, rd_failure *failure)
{
    *failure = (rd_failure){0};
    if (url->master)
        return connect_by_sentinels(url, bound, failure);
    return connect_to(url, url->path ? NULL : &url->hosts[0], bound, failure);
}
