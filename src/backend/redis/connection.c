/* SPDX-License-Identifier: MIT
 *
 * Bytes go one way: appended -> out -> (TLS) -> wire -> socket -> (TLS) -> reader -> replies. hiredis knows the protocol;
 * it does no I/O here.
 */
#include "backend/redis/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/redis/tls.h"
#include "base/buffer.h"
#include "base/error.h"

enum { CHUNK = 16384, KEPT = 1 << 20 /* of a buffer that was longer, once */ };
static const size_t most_sent = (size_t)1 << 30, most_read = (size_t)1 << 30, most_elements = (size_t)1 << 24;

/* How long an array may be, whatever the server says: hiredis has memory for all of it at once. */
typedef struct ration {
    redisReplyObjectFunctions functions, usual;
    size_t elements; /* of the reply that is being read */
    bool exceeded;
} ration;

struct rd_connection {
    const rd_url *url;
    int fd; /* -1 = closed */
    rd_tls *tls;
    nq_buffer out;  /* appended */
    nq_buffer wire; /* being sent, from `sent` on */
    size_t sent;
    redisReader *reader;
    redisReply *ready; /* by rd_await(), for rd_reply() */
    ration ration;
    size_t read, most; /* bytes of the reply that is being read, and how many there may be */
    size_t owed;       /* replies */
    bool touched;      /* something of what is owed was sent */
    bool mute;         /* nothing more can be sent; there may be more to read */
    bool ended;        /* nothing more can be read */
    bool silent, read_only, starved;
    char words[192]; /* why it ended */
};

/* ---- the reader ------------------------------------------------------------------------- */

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

static void *create_array(const redisReadTask *task, element_count elements)
{
    ration *r = task->privdata;
    r->elements += (size_t)elements;
    if (r->elements <= most_elements)
        return r->usual.createArray(task, elements);
    r->exceeded = true;
    return NULL;
}

static bool open_reader(rd_connection *c)
{
    c->reader = redisReaderCreate();
    if (!c->reader)
        return false;
    c->ration.usual = c->ration.functions = *c->reader->fn;
    c->ration.functions.createArray = create_array;
    c->reader->fn = &c->ration.functions;
    c->reader->privdata = &c->ration;
    return true;
}

/* ---- opening and closing ---------------------------------------------------------------- */

rd_connection *rd_connection_open(const rd_url *url, int fd, rd_tls *tls)
{
    rd_connection *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        rd_tls_close(tls);
        return NULL;
    }
    c->url = url;
    c->fd = fd;
    c->tls = tls;
    c->most = most_read;
    if (open_reader(c))
        return c;
    rd_disconnect(c);
    return NULL;
}

static void close_socket(rd_connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->mute = c->ended = true;
}

void rd_disconnect(rd_connection *c)
{
    if (!c)
        return;
    close_socket(c);
    rd_tls_close(c->tls);
    freeReplyObject(c->ready);
    if (c->reader)
        redisReaderFree(c->reader);
    nq_buffer_free(&c->out);
    nq_buffer_free(&c->wire);
    free(c);
}

/* ---- bytes out and in ------------------------------------------------------------------- */

/* The first reason is the one. */
static void end(rd_connection *c, const char *words)
{
    if (!*c->words)
        snprintf(c->words, sizeof c->words, "%s", words);
    c->ended = true;
}

static void end_starved(rd_connection *c, const char *words)
{
    c->starved = true;
    end(c, words);
}

static bool has_unsent(const rd_connection *c)
{
    return !c->mute && (c->sent < c->wire.size || c->out.size > 0);
}

/* What is appended becomes what is sent next. */
static void load_wire(rd_connection *c)
{
    if (c->wire.room > KEPT)
        nq_buffer_free(&c->wire);
    nq_buffer_clear(&c->wire);
    c->sent = 0;
    if (c->tls) {
        if (!rd_tls_seal(c->tls, c->out.data, c->out.size, &c->wire) || c->wire.failed)
            end(c, "the TLS session broke");
        nq_buffer_clear(&c->out);
    } else {
        nq_buffer other = c->wire;
        c->wire = c->out;
        c->out = other;
    }
}

/* Sends what the socket takes. A server that has closed its end may have said before why: that is still read. */
void rd_push(rd_connection *c)
{
    while (has_unsent(c)) {
        if (c->sent == c->wire.size)
            load_wire(c);
        ssize_t n =
            c->sent < c->wire.size ? send(c->fd, c->wire.data + c->sent, c->wire.size - c->sent, MSG_NOSIGNAL) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n < 0) {
            c->mute = true;
            return;
        }
        c->touched = c->touched || (n > 0 && c->owed > 0);
        c->sent += (size_t)n;
    }
}

static void feed(rd_connection *c, const char *bytes, size_t size)
{
    c->read += size;
    if (redisReaderFeed(c->reader, bytes, size) != REDIS_OK)
        end_starved(c, "no memory for the reply");
}

static void feed_sealed(rd_connection *c, const char *bytes, size_t size)
{
    char plain[CHUNK], words[128];
    int n;
    if (!rd_tls_put(c->tls, bytes, size)) {
        end_starved(c, "no memory for TLS");
        return;
    }
    while ((n = rd_tls_take(c->tls, plain, sizeof plain, &c->wire, words)) > 0)
        feed(c, plain, (size_t)n);
    if (n < 0)
        end(c, words);
    else if (c->wire.failed)
        end_starved(c, "no memory for TLS");
}

/* Takes what the socket has. */
static void pull(rd_connection *c)
{
    char bytes[CHUNK];
    ssize_t n;
    do
        n = recv(c->fd, bytes, sizeof bytes, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n < 0)
        end(c, strerror(errno));
    else if (n == 0)
        end(c, "the server closed the connection");
    else if (c->tls)
        feed_sealed(c, bytes, (size_t)n);
    else
        feed(c, bytes, (size_t)n);
}

bool rd_connection_shake_hands(rd_connection *c, const nq_bound *bound, rd_failure *failure)
{
    char bytes[CHUNK];
    for (;;) {
        rd_tls_state state = rd_tls_shake_hands(c->tls, failure);
        rd_tls_drain(c->tls, &c->wire);
        rd_push(c);
        if (state == RD_TLS_DONE)
            return true;
        if (state == RD_TLS_FAILED)
            return false;
        if (!nq_wait_io(c->fd, (short)(POLLIN | (has_unsent(c) ? POLLOUT : 0)), bound))
            return rd_fail(failure, NEOQ_ETIMEOUT, false,
                           "the server did not answer in time; does it speak TLS on this port?");
        ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
        if (n > 0 && !rd_tls_put(c->tls, bytes, (size_t)n))
            return rd_fail(failure, NEOQ_ENOMEM, false, "no memory for TLS");
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
            return rd_fail(failure, NEOQ_EBACKEND, false,
                           "the server closed the connection in TLS's handshake; does it speak TLS on this port?");
    }
}

/* ---- replies ---------------------------------------------------------------------------- */

/* A whole reply of those that were read, or NULL. */
static redisReply *next_reply(rd_connection *c)
{
    void *reply = NULL;
    if (redisReaderGetReply(c->reader, &reply) != REDIS_OK) {
        char words[sizeof c->words];
        snprintf(words, sizeof words, "it does not speak Redis's protocol: %.120s", c->reader->errstr);
        if (c->reader->err == REDIS_ERR_OOM && !c->ration.exceeded)
            end_starved(c, "no memory for the reply");
        end(c, c->ration.exceeded ? "a reply is too long" : words);
        return NULL;
    }
    if (!reply) {
        if (c->read > c->most)
            end(c, "a reply is too long");
        return NULL;
    }
    c->read = c->ration.elements = 0;
    return reply;
}

static void settle(rd_connection *c, const redisReply *reply)
{
    /* The second is what a blocking command hears from a master that becomes a replica. */
    if (rd_is_error(reply, "READONLY") || rd_is_error(reply, "UNBLOCKED"))
        c->read_only = true;
    if (c->owed > 0)
        c->owed--;
    if (c->owed == 0 && !has_unsent(c))
        c->touched = false;
}

static int fail_late(rd_connection *c)
{
    c->silent = true;
    end(c, "the server did not answer in time");
    close_socket(c);
    return nq_fail(c->touched ? NEOQ_EUNKNOWN : NEOQ_ETIMEOUT, "Redis %s: %s; %s", c->url->shown, c->words,
                   c->touched ? "whether it was done is not known" : "nothing was done");
}

static int fail_broken(rd_connection *c)
{
    close_socket(c);
    if (c->silent)
        return fail_late(c);
    return nq_fail(c->touched ? NEOQ_EUNKNOWN : NEOQ_EBACKEND, "Redis %s: the connection broke (%s)%s", c->url->shown,
                   c->words,
                   c->touched ? " before the answer came; whether it was done is not known" : "; nothing was done");
}

/* Waits until there is a reply in `ready`, or the connection has ended. False: the bound was reached. */
static bool wait_for_reply(rd_connection *c, const nq_bound *bound)
{
    while (!c->ready && !(c->ready = next_reply(c)) && !c->ended) {
        rd_push(c);
        if (c->ended)
            continue;
        if (!nq_wait_io(c->fd, (short)(POLLIN | (has_unsent(c) ? POLLOUT : 0)), bound))
            return false;
        pull(c);
    }
    return true;
}

int rd_reply(rd_connection *c, const nq_bound *bound, redisReply **out)
{
    *out = NULL;
    if (!wait_for_reply(c, bound))
        return fail_late(c);
    if (!c->ready)
        return fail_broken(c);
    *out = c->ready;
    c->ready = NULL;
    settle(c, *out);
    return NEOQ_OK;
}

bool rd_await(rd_connection *c, const nq_bound *bound)
{
    return wait_for_reply(c, bound);
}

/* ---- commands --------------------------------------------------------------------------- */

/* Redis itself takes no command that is longer. False: it is. */
static bool fits(int argc, const char *const *argv, const size_t *lengths)
{
    size_t sum = 0;
    for (int i = 0; i < argc; i++) {
        size_t size = lengths ? lengths[i] : strlen(argv[i]);
        if (size > most_sent || (sum += size + 32) > most_sent)
            return false;
    }
    return true;
}

int rd_append(rd_connection *c, int argc, const char *const *argv, const size_t *lengths)
{
    char *command = NULL;
    if (!fits(argc, argv, lengths))
        return nq_fail(NEOQ_ETOOBIG, "Redis %s: the command is longer than 1 GiB", c->url->shown);
    int size = redisFormatCommandArgv(&command, argc, (const char **)argv, lengths);
    if (size < 0 || !nq_buffer_reserve(&c->out, (size_t)size)) {
        redisFreeCommand(command);
        c->out.failed = false; /* it holds what it held */
        return nq_fail(NEOQ_ENOMEM, "no memory for a command to Redis");
    }
    nq_buffer_add(&c->out, command, (size_t)size);
    redisFreeCommand(command);
    c->owed++;
    return NEOQ_OK;
}

int rd_command(rd_connection *c, const nq_bound *bound, int argc, const char *const *argv, redisReply **out)
{
    *out = NULL;
    int status = rd_append(c, argc, argv, NULL);
    if (status == NEOQ_OK)
        status = rd_reply(c, bound, out);
    if (status == NEOQ_OK && rd_is_error(*out, NULL)) {
        status = rd_refused(c->url->shown, *out);
        freeReplyObject(*out);
        *out = NULL;
    }
    return status;
}

/* ---- the rest --------------------------------------------------------------------------- */

int rd_descriptor(const rd_connection *c)
{
    return c->fd;
}

size_t rd_owed(const rd_connection *c)
{
    return c->owed;
}

const char *rd_connection_words(const rd_connection *c)
{
    return c->words;
}

bool rd_connection_silent(const rd_connection *c)
{
    return c->silent;
}

bool rd_connection_starved(const rd_connection *c)
{
    return c->starved;
}

void rd_connection_set_most(rd_connection *c, size_t bytes)
{
    c->most = bytes;
}

bool rd_connection_read_only(const rd_connection *c)
{
    return c->read_only;
}

bool rd_connection_fit(const rd_connection *c)
{
    bool unread = c->ready || c->reader->pos < c->reader->len;
    return !c->ended && !c->mute && c->owed == 0 && !unread && c->out.size == 0;
}

bool rd_connection_alive(rd_connection *c)
{
    struct pollfd fd = {.fd = c->fd, .events = POLLIN};
    /* An idle server says nothing, but that it closes the connection, or what TLS has to say. */
    for (int reads = 0; reads < 8 && !c->ended && poll(&fd, 1, 0) > 0; reads++)
        pull(c);
    return rd_connection_fit(c);
}
