/* SPDX-License-Identifier: MIT
 *
 * redis/url.h -- what a URL asks for.
 *
 *   redis://[user:password@]host[:port][/db]                 one server
 *   rediss://...                                             the same, over TLS
 *   redis+unix://[user:password@]/path/to/socket             one server, on this machine
 *   redis+sentinel://[user:password@]host[:port],.../master[/db]
 *                                                            the server that Sentinels call the master; with
 *                                                            "rediss" all of them are spoken to over TLS
 *   redis+cluster://[user:password@]host[:port],...          the nodes of a Cluster, any of which tells the others;
 *                                                            with "rediss" over TLS
 *
 * IPv6 addresses stand in brackets, and %xx for any byte that has a meaning here. Options follow a '?'.
 */
#ifndef NQ_REDIS_URL_H
#define NQ_REDIS_URL_H

#include <neoq/backend.h>

/* Whose arrangement of keys and queues the store keeps to: asynq's own, or that of Go neoq on asynq. */
typedef enum rd_layout { RD_ASYNQ, RD_NEOQ } rd_layout;

typedef struct rd_host {
    char *name; /* or an address, without brackets */
    int port;
} rd_host;

typedef struct rd_url {
    char *shown; /* for messages: without a password */
    char *path;  /* of the socket; NULL = hosts */
    rd_host *hosts;
    size_t host_count; /* 1, or that of the Sentinels, or of nodes */
    char *master;      /* the Sentinels' name for it; NULL = hosts[0] is the server */
    char *user, *password, *sentinel_user, *sentinel_password; /* NULL = none */
    int database;
    bool tls;
    bool cluster;          /* hosts are some of its nodes */
    char *ca, *cert, *key; /* files; NULL = the system's authorities, no certificate of our own */
    char *tls_name;        /* whom the certificate is to be for; NULL = the host */

    int max_conns; /* to each server */
    neoq_duration max_conn_idle_time;
    neoq_duration connect_timeout; /* for a connection to be had */
    neoq_duration call_timeout;    /* for one call to be answered */

    rd_layout layout;
    bool strict;         /* a queue of less weight waits until the weightier ones are empty */
    bool allow_eviction; /* jobs may be on a server that forgets them when its memory is full */
} rd_url;

/* Whether the scheme is one of ours. */
bool rd_is_url(const char *text);

/* NEOQ_EINVAL names what is wrong and what it may be, without a password. Options of neoq_options that the URL names
 * too: the URL wins. */
int rd_url_parse(rd_url *out, const char *text, const neoq_options *options);
void rd_url_free(rd_url *url);

#endif
