/* SPDX-License-Identifier: MIT
 *
 * The program's own open() and kin, which everybody's calls come to. They hand on to the C library's, or to a
 * sanitizer's where there is one.
 */
#include "faults/denied.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *_Atomic name; /* of the call; NULL = none fails */
static int code;
static bool goes_on;
static atomic_llong left;
static atomic_bool denied;

void deny(const char *call, int error, int64_t nth, bool on)
{
    code = error;
    goes_on = on;
    atomic_store(&left, nth);
    atomic_store(&denied, false);
    atomic_store(&name, call);
}

bool deny_end(void)
{
    atomic_store(&name, NULL);
    return atomic_load(&denied);
}

static bool is_denied(const char *call)
{
    const char *which = atomic_load(&name);
    if (!which || strcmp(which, call) != 0)
        return false;
    long long before = atomic_fetch_sub(&left, 1);
    if (before > 1 || (before < 1 && !goes_on))
        return false;
    atomic_store(&denied, true);
    errno = code;
    return true;
}

/* A function that fails with `failure`, or does what the next one of its name does. */
#define DENIABLE(type, failure, call, parameters, arguments)                                                         \
    type call parameters;                                                                                            \
    type call parameters                                                                                             \
    {                                                                                                                \
        type(*real) parameters = (type(*) parameters)(uintptr_t)dlsym(RTLD_NEXT, #call);                             \
        return is_denied(#call) ? failure : real arguments;                                                          \
    }

DENIABLE(int, -1, mkdir, (const char *path, mode_t mode), (path, mode))
DENIABLE(int, -1, mknod, (const char *path, mode_t mode, dev_t device), (path, mode, device))
DENIABLE(int, -1, eventfd, (unsigned value, int flags), (value, flags))
DENIABLE(int, -1, inotify_init1, (int flags), (flags))
DENIABLE(int, -1, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask))
DENIABLE(int, -1, ftruncate64, (int fd, off_t size), (fd, size))
DENIABLE(ssize_t, -1, pwrite64, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at))
DENIABLE(ssize_t, -1, pread64, (int fd, void *bytes, size_t size, off_t at), (fd, bytes, size, at))
DENIABLE(int, -1, fdatasync, (int fd), (fd))
DENIABLE(int, -1, unlink, (const char *path), (path))
DENIABLE(int, -1, utimensat, (int folder, const char *path, const struct timespec times[2], int flags),
         (folder, path, times, flags))
DENIABLE(void *, MAP_FAILED, mmap64, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
         (at, size, protection, flags, fd, offset))
DENIABLE(int, -1, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
DENIABLE(int, -1, clone, (int (*run)(void *), void *stack, int flags, void *argument, ...),
         (run, stack, flags, argument))
DENIABLE(pid_t, -1, fork, (void), ())
DENIABLE(int, code, pthread_create,
         (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument),
         (thread, attributes, start, argument))

int open64(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))(uintptr_t)dlsym(RTLD_NEXT, "open64");
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return is_denied("open64") ? -1 : real(path, flags, mode);
}
