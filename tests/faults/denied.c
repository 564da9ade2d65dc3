/* SPDX-License-Identifier: MIT
 *
 * The program's own open() and kin, which everybody's calls come to. They hand on to the C library's, or to a
 * sanitizer's where there is one.
 */
#include "faults/denied.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* What all processes share. */
static struct denial {
    const char *_Atomic name; /* of the call, at one address in all of them; NULL = none fails */
    int code;
    bool goes_on;
    atomic_llong left;
    atomic_bool denied;
} * now;

void deny(const char *call, int error, int64_t nth, bool on)
{
    if (!now)
        now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (now == MAP_FAILED)
        abort();
    now->code = error;
    now->goes_on = on;
    atomic_store(&now->left, nth);
    atomic_store(&now->denied, false);
    atomic_store(&now->name, call);
}

bool deny_end(void)
{
    if (!now)
        return false;
    atomic_store(&now->name, NULL);
    return atomic_load(&now->denied);
}

static bool is_denied(const char *call)
{
    const char *which = now ? atomic_load(&now->name) : NULL;
    if (!which || strcmp(which, call) != 0)
        return false;
    long long before = atomic_fetch_sub(&now->left, 1);
    if (before > 1 || (before < 1 && !now->goes_on))
        return false;
    atomic_store(&now->denied, true);
    errno = now->code;
    return true;
}

/* What the next one of its name is. */
#define REAL(call, type, ...) ((type(*)(__VA_ARGS__))(uintptr_t)dlsym(RTLD_NEXT, #call))

/* A function that fails with `failure`, or does what the next one of its name does. */
#define DENIABLE(type, failure, call, parameters, arguments)                                                         \
    type call parameters;                                                                                            \
    type call parameters                                                                                             \
    {                                                                                                                \
        type(*real) parameters = (type(*) parameters)(uintptr_t)dlsym(RTLD_NEXT, #call);                             \
        return is_denied(#call) ? failure : real arguments;                                                          \
    }

/* ---- files ---------------------------------------------------------------------------------- */

DENIABLE(int, -1, mkdir, (const char *path, mode_t mode), (path, mode))
DENIABLE(int, -1, mknod, (const char *path, mode_t mode, dev_t device), (path, mode, device))
DENIABLE(int, -1, access, (const char *path, int mode), (path, mode))
DENIABLE(int, -1, stat64, (const char *path, struct stat64 *info), (path, info))
DENIABLE(int, -1, lstat64, (const char *path, struct stat64 *info), (path, info))
DENIABLE(int, -1, fstat64, (int fd, struct stat64 *info), (fd, info))
DENIABLE(int, -1, statfs64, (const char *path, struct statfs64 *info), (path, info))
DENIABLE(int, -1, statvfs64, (const char *path, struct statvfs64 *info), (path, info))
DENIABLE(int, -1, ftruncate64, (int fd, off_t size), (fd, size))
DENIABLE(ssize_t, -1, pwrite64, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at))
DENIABLE(ssize_t, -1, pread64, (int fd, void *bytes, size_t size, off_t at), (fd, bytes, size, at))
DENIABLE(ssize_t, -1, read, (int fd, void *bytes, size_t size), (fd, bytes, size))
DENIABLE(int, -1, fdatasync, (int fd), (fd))
DENIABLE(int, -1, unlink, (const char *path), (path))
DENIABLE(int, -1, utimensat, (int folder, const char *path, const struct timespec times[2], int flags),
         (folder, path, times, flags))
DENIABLE(FILE *, NULL, fopen64, (const char *path, const char *mode), (path, mode))
DENIABLE(DIR *, NULL, opendir, (const char *path), (path))

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return is_denied("open64") ? -1 : REAL(open64, int, const char *, int, ...)(path, flags, mode);
}

/* Only where a lock is taken. */
int fcntl64(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    struct flock *lock = va_arg(arguments, struct flock *);
    va_end(arguments);
    if (command == F_SETLK && lock->l_type != F_UNLCK && is_denied("fcntl64"))
        return -1;
    return REAL(fcntl64, int, int, int, ...)(fd, command, lock);
}

/* ---- descriptors, memory, processes --------------------------------------------------------- */

DENIABLE(int, -1, eventfd, (unsigned value, int flags), (value, flags))
DENIABLE(int, -1, signalfd, (int fd, const sigset_t *signals, int flags), (fd, signals, flags))
DENIABLE(int, -1, inotify_init1, (int flags), (flags))
DENIABLE(int, -1, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask))
DENIABLE(void *, MAP_FAILED, mmap64, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
         (at, size, protection, flags, fd, offset))
DENIABLE(int, -1, mprotect, (void *at, size_t size, int protection), (at, size, protection))
DENIABLE(int, -1, madvise, (void *at, size_t size, int advice), (at, size, advice))
DENIABLE(int, -1, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
DENIABLE(ssize_t, -1, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
DENIABLE(ssize_t, -1, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
DENIABLE(int, -1, clone, (int (*run)(void *), void *stack, int flags, void *argument, ...),
         (run, stack, flags, argument))
DENIABLE(pid_t, -1, fork, (void), ())
DENIABLE(int, now->code, pthread_create,
         (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument),
         (thread, attributes, start, argument))
DENIABLE(int, -1, timer_create, (clockid_t clock, struct sigevent *event, timer_t *timer), (clock, event, timer))
DENIABLE(int, -1, setrlimit64, (__rlimit_resource_t resource, const struct rlimit64 *limit), (resource, limit))

/* pidfd_open() is made by it. */
long syscall(long number, ...)
{
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_pidfd_open && is_denied("pidfd_open"))
        return -1;
    return REAL(syscall, long, long, ...)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
