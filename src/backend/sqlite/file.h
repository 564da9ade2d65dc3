/* SPDX-License-Identifier: MIT
 *
 * sqlite/file.h -- the file before SQLite opens it: its name, its folder, its rights, what it lies on.
 */
#ifndef NQ_SQLITE_FILE_H
#define NQ_SQLITE_FILE_H

#include <stdbool.h>

/* "sqlite:PATH[?network=yes]"; *path is the caller's to free. */
int sq_parse_url(const char *url, char **path, bool *network);

/* Creates the file as nobody else's business before SQLite would create it as everybody's. */
int sq_prepare_file(const char *path, bool network_allowed);

/* *kind: what kind of network file system the path is on, or NULL; their locks do not hold between machines, or not at
 * all. False leaves errno: it cannot be told. */
bool sq_network_kind(const char *path, const char **kind);

#endif
