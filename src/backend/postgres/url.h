/* SPDX-License-Identifier: MIT
 *
 * postgres/url.h -- what a URL or DSN asks for.
 */
#ifndef NQ_POSTGRES_URL_H
#define NQ_POSTGRES_URL_H

#include <neoq/backend.h>

typedef struct pg_settings {
    char *conninfo; /* for libpq: without neoq's own options; holds the password, never shown */
    char *shown;    /* host, port and database, for messages */
    char *database;
    char *schema;        /* as given */
    char *quoted_schema; /* as it stands in SQL */
    int max_conns, min_conns;
    neoq_duration max_conn_lifetime, max_conn_lifetime_jitter, max_conn_idle_time, health_check_period;
    neoq_duration connect_timeout;          /* for a connection to be had */
    neoq_duration call_timeout;             /* for one statement to be answered */
    neoq_duration idle_transaction_timeout; /* 0 = none */
    bool asynchronous_commit;
    bool pooler; /* a transaction pooler stands between: no LISTEN, no prepared statements, no session settings */
    bool pooler_told; /* ... or none does, and the URL says so: nothing is to be found out */
} pg_settings;

/* NEOQ_EINVAL names the option that is wrong and what it may be. Options of neoq_options that the URL names too: the
 * URL wins. */
int pg_settings_parse(pg_settings *out, const char *url, const neoq_options *options);
void pg_settings_free(pg_settings *settings);

/* Whether a URL without a scheme is a libpq DSN: "host=... dbname=...". */
bool pg_is_dsn(const char *url);

#endif
