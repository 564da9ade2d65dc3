/* SPDX-License-Identifier: MIT
 *
 * neoq_migrate() and neoq_doctor(): about a store rather than with it, so neither needs an open neoq.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "runtime/runtime.h"

static void ignore_line(const char *line, void *arg)
{
    (void)line;
    (void)arg;
}

/* Of a store without such an operation, whether it opens is all that can be told. */
static int try_open(const neoq_backend *backend, const neoq_store_config *config)
{
    neoq_store *store;
    int status = backend->open(&store, config);
    if (status == NEOQ_OK)
        backend->close(store);
    return status;
}

/* ---- migrate ---------------------------------------------------------------------------- */

static int without_schema(const neoq_backend *backend, const neoq_store_config *config, neoq_migration what,
                          neoq_each_line each, void *arg)
{
    if (what != NEOQ_MIGRATE_STATUS && what != NEOQ_MIGRATE_UP)
        return nq_fail(NEOQ_EUNSUPPORTED, "a %s store has no schema: there is nothing to print or to remove",
                       backend->scheme);
    int status = try_open(backend, config);
    if (status != NEOQ_OK)
        return status;
    char line[256];
    snprintf(line, sizeof line, "a %.100s store has no schema: nothing to do", backend->scheme);
    each(line, arg);
    return NEOQ_OK;
}

int neoq_migrate(const char *url, const neoq_options *options, neoq_migration what, neoq_each_line each, void *arg,
                 neoq_schema_info *info)
{
    const neoq_backend *backend;
    neoq_options filled;
    neoq_schema_info ignored;
    int status = nq_look_up("neoq_migrate", url, options, &backend, &filled);
    if (status != NEOQ_OK)
        return status;
    if (what < NEOQ_MIGRATE_STATUS || what > NEOQ_MIGRATE_PRINT)
        return nq_fail(NEOQ_EINVAL, "neoq_migrate: %d is not a neoq_migration", (int)what);
    if (!each)
        each = ignore_line;
    if (!info)
        info = &ignored;
    *info = (neoq_schema_info){0};
    const neoq_store_config config = {.url = url, .options = &filled, .clock = &nq_real_clock};
    if (!NQ_OFFERS(backend, migrate))
        return without_schema(backend, &config, what, each, arg);
    return backend->migrate(&config, what, each, arg, info);
}

/* ---- doctor ----------------------------------------------------------------------------- */

static void tell(neoq_each_finding each, void *arg, neoq_finding_level level, const char *name, const char *words)
{
    each(&(neoq_finding){.level = level, .name = name, .words = words}, arg);
}

int neoq_doctor(const char *url, const neoq_options *options, neoq_each_finding each, void *arg)
{
    const neoq_backend *backend;
    neoq_options filled;
    int status = nq_look_up("neoq_doctor", url, options, &backend, &filled);
    if (status != NEOQ_OK)
        return status;
    if (!each)
        return nq_fail(NEOQ_EINVAL, "neoq_doctor: nobody is there to be told: each is NULL");
    const neoq_store_config config = {.url = url, .options = &filled, .clock = &nq_real_clock};
    if (NQ_OFFERS(backend, doctor))
        return backend->doctor(&config, each, arg);
    status = try_open(backend, &config);
    if (status == NEOQ_EINVAL || status == NEOQ_ENOMEM)
        return status;
    if (status != NEOQ_OK) {
        tell(each, arg, NEOQ_FINDING_BAD, "reachable", neoq_error_message());
        return NEOQ_OK;
    }
    tell(each, arg, NEOQ_FINDING_OK, "reachable", "the store opens");
    if (backend->local)
        tell(each, arg, NEOQ_FINDING_OK, "nothing to check",
             "the jobs live in this process's memory alone, and end with it");
    else
        tell(each, arg, NEOQ_FINDING_NOTE, "nothing to check", "this kind of store has no checks of its own");
    return NEOQ_OK;
}
