/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <neoq.h>

#include "base/error.h"

/* The folder of the file; made if only it is missing. */
static int prepare_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) : 1;
    if (size >= sizeof folder)
        return nq_fail(NEOQ_EINVAL, "the path of the SQLite file is longer than %zu bytes", sizeof folder - 1);
    memcpy(folder, slash ? path : ".", size);
    folder[slash && size == 0 ? 1 : size] = '\0';
    if (slash && size == 0)
        folder[0] = '/';
    struct stat info;
    if (stat(folder, &info) == 0)
        return S_ISDIR(info.st_mode) ? NEOQ_OK : nq_fail(NEOQ_EBACKEND, "%s: %s is not a folder", path, folder);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return nq_fail(NEOQ_EBACKEND, "%s: the folder %s cannot be made: %s", path, folder, strerror(errno));
    return NEOQ_OK;
}

static const char *network_kind(unsigned long type)
{
    switch (type) {
    case 0x6969: return "NFS";
    case 0x517B: return "SMB";
    case 0xFF534D42: return "CIFS";
    case 0xFE534D42: return "SMB2";
    case 0x01021997: return "9p";
    case 0x65735546: return "FUSE";
    case 0x5346414F: return "AFS";
    case 0x00C36400: return "Ceph";
    case 0x73757245: return "Coda";
    default: return NULL;
    }
}

bool sq_network_kind(const char *path, const char **kind)
{
    struct statfs info;
    *kind = NULL;
    if (statfs(path, &info) != 0)
        return false;
    *kind = network_kind((unsigned long)info.f_type & 0xffffffffUL);
    return true;
}

int sq_prepare_file(const char *path, bool network_allowed)
{
    int status = prepare_folder(path);
    if (status != NEOQ_OK)
        return status;
    struct stat info;
    int error = stat(path, &info) == 0 ? 0 : errno;
    if (error == ENOENT) {
        /* Never opened by us: closing it would drop SQLite's locks. */
        if (mknod(path, S_IFREG | 0600, 0) != 0 && errno != EEXIST)
            return nq_fail(NEOQ_EBACKEND, "%s: it cannot be made: %s", path, strerror(errno));
    } else if (error != 0) {
        return nq_fail(NEOQ_EBACKEND, "%s: %s", path, strerror(error));
    }
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return nq_fail(NEOQ_EBACKEND, "%s: it is not a regular file", path);
    const char *network = NULL;
    if (!network_allowed && !sq_network_kind(path, &network))
        return nq_fail(NEOQ_EBACKEND, "%s: its file system cannot be told: %s", path, strerror(errno));
    if (network)
        return nq_fail(NEOQ_EBACKEND,
                       "%s is on a network file system (%s), where SQLite's locks may fail; "
                       "add ?network=yes to the URL if you know that they hold",
                       path, network);
    return NEOQ_OK;
}

int sq_parse_url(const char *url, char **path, bool *network)
{
    const char *at = url + strlen("sqlite:");
    size_t size = strcspn(at, "?");
    const char *query = at + size;
    *network = strcmp(query, "?network=yes") == 0;
    bool has_host = size >= 2 && at[0] == '/' && at[1] == '/' && (size == 2 || at[2] != '/');
    if (size == 0 || has_host) /* which may come with a password */
        return nq_fail(NEOQ_EINVAL,
                       "URL \"sqlite:%s\": sqlite: is followed by the path of a file, as in "
                       "sqlite:/var/lib/app/jobs.db",
                       has_host ? "//..." : "");
    if (*query && !*network)
        return nq_fail(NEOQ_EINVAL, "URL \"%.200s\": \"%.100s\" is not known; ?network=yes is all that may follow",
                       url, query);
    if (size >= 1 && at[0] == ':')
        return nq_fail(NEOQ_EINVAL, "URL \"%.200s\": for jobs in memory, use memory:", url);
    *path = strndup(at, size);
    return *path ? NEOQ_OK : nq_fail(NEOQ_ENOMEM, "no memory to open %s", url);
}
