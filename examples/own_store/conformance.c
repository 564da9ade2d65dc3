/* SPDX-License-Identifier: MIT
 *
 * What neoq's conformance suite is to know of the store. There is nothing that it cannot do.
 */
#include <neoq/conformance.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sealed.h"

static const neoq_backend *backend(void)
{
    return sealed_backend("open sesame");
}

/* A file in a folder of its own: SQLite puts others beside it. */
static int make(char *url, size_t size)
{
    const char *folder = getenv("TMPDIR");
    snprintf(url, size, "sealed:%s/sealed-XXXXXX", folder ? folder : "/tmp");
    if (!mkdtemp(strchr(url, '/')))
        return neoq_set_error(NEOQ_EBACKEND, "no folder for %s", url);
    strncat(url, "/jobs.db", size - strlen(url) - 1);
    return NEOQ_OK;
}

static void drop(const char *url)
{
    char path[512];
    size_t size = (size_t)(strrchr(url, '/') - strchr(url, '/'));
    snprintf(path, sizeof path, "%.*s", (int)size, strchr(url, '/'));
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
        unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(path);
}

const neoq_conformance_store neoq_conformance = {.backend = backend, .make = make, .drop = drop};
