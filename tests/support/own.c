/* SPDX-License-Identifier: MIT
 *
 * The store of whoever runs the installed suite, as neoq_conformance tells of it.
 */
#include "support/store.h"

#include <stdio.h>
#include <stdlib.h>

static bool make(store *s)
{
    if (neoq_conformance.make(s->url, sizeof(s->url)) == NEOQ_OK)
        return true;
    print_error("no store was made: %s\n", neoq_error_message());
    return false;
}

static void drop(store *s)
{
    if (neoq_conformance.drop && s->url[0])
        neoq_conformance.drop(s->url);
}

static store_kind own = {.name = "own", .make = make, .drop = drop};
const store_kind *const store_kinds[] = {&own, NULL};

/* Before main(), for the programs that child_start() starts, too. */
__attribute__((constructor)) static void register_own(void)
{
    const neoq_backend *backend = neoq_conformance.backend();
    if (!backend || neoq_register_backend(backend) != NEOQ_OK) {
        fprintf(stderr, "the store cannot be registered: %s\n", backend ? neoq_error_message() : "there is no table");
        exit(2);
    }
    own.cannot = neoq_conformance.cannot;
    own.has_schema = backend->size > offsetof(neoq_backend, migrate) && backend->migrate;
    own.has_clock = backend->size > offsetof(neoq_backend, now) && backend->now;
}
