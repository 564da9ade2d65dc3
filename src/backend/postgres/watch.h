/* SPDX-License-Identifier: MIT
 *
 * postgres/watch.h -- hearing of the end of users' transactions that jobs were enqueued in.
 *
 * Such a transaction does not notify, so its commit wakes nobody. Instead a thread of this process, made at the first
 * need, asks the server now and then whether it is over, and rings the bell then: 5 ms after the commit at first, within
 * a tenth of a second of a transaction that takes long. Only a hint: what it misses, the workers' poll finds.
 */
#ifndef NQ_POSTGRES_WATCH_H
#define NQ_POSTGRES_WATCH_H

#include <neoq/backend.h>

typedef struct pg_watch pg_watch;

pg_watch *pg_watch_open(neoq_store *store); /* NULL: no memory, or no thread to be had */
void pg_watch_close(pg_watch *watch);       /* before the store's pool and bell; NULL is allowed */
void pg_watch_add(pg_watch *watch, int64_t transaction);

#endif
