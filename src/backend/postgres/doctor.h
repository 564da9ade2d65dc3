/* SPDX-License-Identifier: MIT
 *
 * postgres/doctor.h -- what may be wrong with a server, a database or a role.
 */
#ifndef NQ_POSTGRES_DOCTOR_H
#define NQ_POSTGRES_DOCTOR_H

#include <neoq/backend.h>

#include "backend/postgres/session.h"

/* neoq_backend.doctor. An unreachable server is a finding. */
int pg_doctor(const neoq_store_config *config, neoq_each_finding each, void *arg);

/* An examination under way. */
typedef struct pg_examination {
    pg_session session;
    const pg_settings *settings;
    const neoq_clock *clock;
    neoq_each_finding each;
    void *arg;
    int horizon_minutes; /* what holds back the vacuum for longer is told */
} pg_examination;

void pg_tell(const pg_examination *x, neoq_finding_level level, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The rows of one question; NULL: it was told under that name that they could not be had. */
PGresult *pg_ask(pg_examination *x, const char *name, const char *sql);

/* doctor.c: what the server is like, whatever is in it. */
void pg_examine_server(pg_examination *x);
/* doctor_schema.c: neoq's own tables and rights. */
void pg_examine_schema(pg_examination *x);

#endif
