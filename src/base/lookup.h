/* SPDX-License-Identifier: MIT
 *
 * base/lookup.h -- the addresses of a host's name, within a bound.
 */
#ifndef NQ_BASE_LOOKUP_H
#define NQ_BASE_LOOKUP_H

#include <netdb.h>

#include "base/bound.h"

/* port may be NULL. *found is to be freed by freeaddrinfo(). NEOQ_EBACKEND: the name is not known; NEOQ_ETIMEOUT: the
 * bound was reached; NEOQ_ENOMEM: nor is there a thread to look it up. */
int nq_lookup(const char *name, const char *port, const nq_bound *bound, struct addrinfo **found);

#endif
