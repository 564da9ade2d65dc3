/* SPDX-License-Identifier: MIT */
#define PG_LIBPQ_LOADER
#include "backend/postgres/libpq.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"

struct pg_libpq pg_libpq;
static bool loaded;

/* Where a function is: in the program, if it has libpq itself, or in the library. */
static bool find(void *library, const char *name, void *function)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found)
        found = dlsym(library, name);
    memcpy(function, &found, sizeof found); /* C knows no other way from an object's pointer to a function's */
    return found;
}

static void load(void)
{
    void *library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    loaded = true;
#define X(function) loaded = find(library, #function, &pg_libpq.function) && loaded;
    PG_LIBPQ_FUNCTIONS(X)
#undef X
}

int pg_load_libpq(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return loaded ? NEOQ_OK
                  : nq_fail(NEOQ_EUNSUPPORTED, "PostgreSQL needs libpq.so.5, which cannot be loaded: install it "
                                               "(Debian: libpq5)");
}
