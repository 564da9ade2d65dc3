/* SPDX-License-Identifier: MIT
 *
 * postgres/postgres.h -- the store in a PostgreSQL database. docs/postgres.md describes it.
 */
#ifndef NQ_POSTGRES_POSTGRES_H
#define NQ_POSTGRES_POSTGRES_H

#include <neoq/backend.h>

extern const neoq_backend nq_postgres_backend;

/* Whether the URL is for it: postgres://, postgresql://, or a libpq DSN. */
bool nq_is_postgres(const char *url);

#endif
