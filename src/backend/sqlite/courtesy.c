/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/courtesy.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { MOMENT_US = 500, MOMENTS = 4 };

/* Open file description locks, not the process's: SQLite's own must not go with this descriptor. */
static bool lock(const sq_courtesy *courtesy, int command, short *type)
{
    struct flock byte = {.l_type = *type, .l_whence = SEEK_SET, .l_len = 1};
    bool done = courtesy->fd >= 0 && fcntl(courtesy->fd, command, &byte) == 0;
    *type = byte.l_type;
    return done;
}

void sq_courtesy_open(sq_courtesy *courtesy, const char *wal_path)
{
    *courtesy = (sq_courtesy){.fd = open(wal_path, O_RDWR | O_CLOEXEC)};
}

void sq_courtesy_close(sq_courtesy *courtesy)
{
    if (courtesy->fd >= 0)
        close(courtesy->fd);
    courtesy->fd = -1;
}

bool sq_courtesy_wanted(const sq_courtesy *courtesy)
{
    short type = F_WRLCK;
    return lock(courtesy, F_OFD_GETLK, &type) && type != F_UNLCK;
}

void sq_courtesy_give_way(const sq_courtesy *courtesy)
{
    for (int i = 0; i < MOMENTS && sq_courtesy_wanted(courtesy); i++)
        nanosleep(&(struct timespec){.tv_nsec = MOMENT_US * 1000}, NULL);
}

void sq_courtesy_ask(sq_courtesy *courtesy)
{
    short type = F_RDLCK; /* several may ask at a time */
    if (!courtesy->asks)
        courtesy->asks = lock(courtesy, F_OFD_SETLK, &type);
}

void sq_courtesy_served(sq_courtesy *courtesy)
{
    short type = F_UNLCK;
    if (courtesy->asks)
        lock(courtesy, F_OFD_SETLK, &type);
    courtesy->asks = false;
}
