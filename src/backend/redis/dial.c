/* SPDX-License-Identifier: MIT */
#include "backend/redis/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/lookup.h"

/* A server that vanished without a word is noticed within half a minute even where nobody waits for an answer. */
static void set_tcp(int fd)
{
    static const struct {
        int level, name, value;
    } settings[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 15},
        {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 3}, {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        setsockopt(fd, settings[i].level, settings[i].name, &settings[i].value, sizeof settings[i].value);
}

/* 0: connected. ETIMEDOUT: the bound was reached. */
static int connect_within(int fd, const struct sockaddr *address, socklen_t size, const nq_bound *bound)
{
    if (connect(fd, address, size) == 0)
        return 0;
    if (errno == EAGAIN && address->sa_family == AF_UNIX)
        return ECONNREFUSED; /* nobody takes the connections that wait already */
    if (errno != EINPROGRESS && errno != EINTR)
        return errno;
    int error = 0;
    socklen_t length = sizeof error;
    if (!nq_wait_io(fd, POLLOUT, bound))
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

static int dial(const struct sockaddr *address, socklen_t size, const char *shown, const nq_bound *bound,
                rd_failure *failure)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = fd < 0 ? errno : connect_within(fd, address, size, bound);
    if (error == 0) {
        if (address->sa_family != AF_UNIX)
            set_tcp(fd);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    if (error == ETIMEDOUT)
        rd_fail(failure, NEOQ_ETIMEOUT, false, "%s did not answer in time", shown);
    else
        rd_fail(failure, NEOQ_EBACKEND, false, "%s: %s", shown, strerror(error));
    return -1;
}

int rd_dial_path(const char *path, const nq_bound *bound, rd_failure *failure)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    return dial((const struct sockaddr *)&address, sizeof address, path, bound, failure);
}

int rd_dial_host(const char *name, int port, const nq_bound *bound, rd_failure *failure)
{
    char shown[300], numbers[NI_MAXHOST], digits[8];
    struct addrinfo *all = NULL;
    size_t left = 0;
    int fd = -1;
    snprintf(digits, sizeof digits, "%d", port);
    int status = nq_lookup(name, digits, bound, &all);
    if (status != NEOQ_OK)
        rd_fail(failure, status, false, "%s", neoq_error_message());
    for (const struct addrinfo *one = all; one; one = one->ai_next)
        left++;
    for (const struct addrinfo *one = all; one && fd < 0; one = one->ai_next, left--) {
        nq_bound share = nq_share(bound, left);
        if (getnameinfo(one->ai_addr, one->ai_addrlen, numbers, sizeof numbers, NULL, 0, NI_NUMERICHOST) != 0)
            numbers[0] = '\0';
        if (strcmp(numbers, name) == 0)
            snprintf(shown, sizeof shown, "%.200s port %d", name, port);
        else
            snprintf(shown, sizeof shown, "%.200s (%.60s) port %d", name, numbers, port);
        fd = dial(one->ai_addr, one->ai_addrlen, shown, &share, failure);
    }
    if (all)
        freeaddrinfo(all);
    return fd;
}
