/* SPDX-License-Identifier: MIT */
#include "base/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, out, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    out[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* When the process began, in clock ticks since boot: with its pid, it names it for good. 0 = there is none, or nothing
 * can be said for want of a descriptor, say: *known is false then. */
static unsigned long long process_start(int pid, bool *known)
{
    char path[40], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    errno = 0;
    *known = read_file(path, text, sizeof text) || errno == ENOENT || errno == ESRCH;
    char *at = strrchr(text, ')'); /* the name before it may hold anything */
    char state = at && at[1] ? at[2] : 'X';
    unsigned long long start = 0;
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at)
        start = strtoull(at + 1, NULL, 10);
    return state == 'Z' || state == 'X' ? 0 : start;
}

void nq_place_find(char here[NQ_PLACE_SIZE])
{
    char boot[48] = "";
    struct stat space;
    read_file("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    boot[strcspn(boot, "\n")] = '\0';
    unsigned long long number = stat("/proc/self/ns/pid", &space) == 0 ? (unsigned long long)space.st_ino : 0;
    snprintf(here, NQ_PLACE_SIZE, "%s/%llu", boot, number);
}

void nq_place_of(const char *here, int pid, char place[NQ_PROCESS_PLACE_SIZE])
{
    bool known;
    snprintf(place, NQ_PROCESS_PLACE_SIZE, "%s/%llu", here, process_start(pid, &known));
}

bool nq_place_other_boot(const char *a, const char *b)
{
    size_t of_a = strcspn(a, "/"), of_b = strcspn(b, "/");
    return of_a > 0 && of_b > 0 && (of_a != of_b || memcmp(a, b, of_a) != 0);
}

bool nq_place_is_gone(const char *here, const char *place, int pid)
{
    size_t size = strlen(here);
    if (strncmp(place, here, size) != 0 || place[size] != '/')
        return false;
    unsigned long long start = strtoull(place + size + 1, NULL, 10);
    bool known;
    return start != 0 && process_start(pid, &known) != start && known;
}
