/* SPDX-License-Identifier: MIT
 *
 * process.h -- another process that takes part in a measurement.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include "bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct child {
    pid_t pid;
    FILE *to, *from;
} child;

/* This program once more, with arguments URL ROLE NUMBER. */
static inline child start_child(const char *url, const char *role, uint64_t number)
{
    int to[2], from[2];
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    check(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), "pipe2");
    child c = {.pid = fork()};
    if (c.pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execl("/proc/self/exe", "neoq", url, role, text, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    c.to = need(fdopen(to[1], "w"));
    c.from = need(fdopen(from[0], "r"));
    return c;
}

static inline void end_child(child *c)
{
    int status = 1;
    fclose(c->to);
    fclose(c->from);
    waitpid(c->pid, &status, 0);
    check(status == 0 ? NEOQ_OK : NEOQ_EFAILED, "the other process");
}

#endif
