/* SPDX-License-Identifier: MIT
 *
 * redis/dial.h -- a socket to a server, within a bound.
 */
#ifndef NQ_REDIS_DIAL_H
#define NQ_REDIS_DIAL_H

#include "backend/redis/failure.h"
#include "backend/redis/url.h"
#include "base/bound.h"

/* Non-blocking sockets, connected; -1: failure tells why, NEOQ_ETIMEOUT when the bound was reached. Of a name's
 * addresses each gets its share of the time. */
int rd_dial_path(const char *path, const nq_bound *bound, rd_failure *failure);
int rd_dial_host(const char *name, int port, const nq_bound *bound, rd_failure *failure);

#endif
