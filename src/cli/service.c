/* SPDX-License-Identifier: MIT
 *
 * A worker as a service. The protocol is sd_notify(3)'s: datagrams of lines to the socket that $NOTIFY_SOCKET names.
 *
 * One thread tells. It sleeps until a sign of life is due or something has changed, and tells of changes once a second
 * at the most. A sign of life is withheld while neoq's own threads are overdue for longer than one pulse: then systemd
 * restarts a worker that is stuck, which a thread that only looks after itself could never bring about.
 */
#include "service.h"

#include "values.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define STATUS_EVERY NEOQ_SECONDS(1)
#define IDLE         NEOQ_HOURS(1)

/* ---- telling ------------------------------------------------------------------------------- */

static void tell(service *sv, const char *lines)
{
    ssize_t sent;
    do
        sent = sendto(sv->fd, lines, strlen(lines), MSG_NOSIGNAL, (const struct sockaddr *)&sv->address,
                      sv->address_size);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && sv->session->verbose)
        note(sv->session, "work: $NOTIFY_SOCKET does not take what it is told: %s", strerror(errno));
}

static void tell_status(service *sv, const char *before)
{
    char words[200], lines[256];
    sv->words(sv->worker, words, sizeof words);
    snprintf(lines, sizeof lines, "%sSTATUS=%s%s", before, atomic_load(&sv->stopping) ? "stopping: " : "", words);
    tell(sv, lines);
}

/* ---- the thread ---------------------------------------------------------------------------- */

static void sleep_until(const service *sv, int64_t until)
{
    struct pollfd wake = {.fd = sv->wake, .events = POLLIN};
    eventfd_t count;
    int64_t left = until - steady_now();
    if (left > 0 && poll(&wake, 1, (int)((left + 999) / 1000)) > 0)
        eventfd_read(sv->wake, &count);
}

static void *serve(void *arg)
{
    service *sv = arg;
    int64_t next_pulse = sv->pulse > 0 ? 0 : INT64_MAX, next_status = steady_now() + STATUS_EVERY;
    while (!atomic_load(&sv->ended)) {
        int64_t now = steady_now();
        if (now >= next_pulse) {
            if (neoq_stalled(sv->nq) < sv->pulse)
                tell(sv, "WATCHDOG=1");
            next_pulse = now + sv->pulse;
        }
        if (now >= next_status && atomic_exchange(&sv->changed, false)) {
            tell_status(sv, "");
            next_status = now + STATUS_EVERY;
        }
        int64_t until = next_pulse < now + IDLE ? next_pulse : now + IDLE;
        if (atomic_load(&sv->changed) && next_status < until)
            until = next_status;
        sleep_until(sv, until);
    }
    return NULL;
}

void service_begin(service *sv, neoq *nq, service_words words, void *worker)
{
    if (sv->fd < 0)
        return;
    sv->nq = nq;
    sv->words = words;
    sv->worker = worker;
    tell_status(sv, "READY=1\n");
    sv->begun = pthread_create(&sv->thread, NULL, serve, sv) == 0;
    if (!sv->begun)
        complain(sv->session, "work: there is no thread to tell the watchdog: it will restart this worker");
}

/* Once a status at the most: what happens in between finds the flag up. */
void service_changed(service *sv)
{
    if (sv->fd >= 0 && !atomic_exchange(&sv->changed, true))
        eventfd_write(sv->wake, 1);
}

void service_stopping(service *sv)
{
    if (sv->fd < 0 || sv->words == NULL || atomic_exchange(&sv->stopping, true))
        return;
    tell_status(sv, "STOPPING=1\n");
}

void service_end(service *sv)
{
    if (!sv->begun)
        return;
    atomic_store(&sv->ended, true);
    eventfd_write(sv->wake, 1);
    pthread_join(sv->thread, NULL);
    sv->begun = false;
}

/* ---- who wants to know --------------------------------------------------------------------- */

/* A path, or behind an @ a name in the abstract namespace, in which the NUL before it is part of the address. */
static bool read_address(service *sv, const char *name)
{
    size_t size = strlen(name);
    if ((*name != '/' && *name != '@') || size < 2 || size >= sizeof sv->address.sun_path)
        return false;
    sv->address.sun_family = AF_UNIX;
    memcpy(sv->address.sun_path, name, size);
    if (*name == '@')
        sv->address.sun_path[0] = '\0';
    sv->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    return true;
}

/* Half of what the watchdog allows, so that one that is late does no harm. */
static neoq_duration read_pulse(void)
{
    const char *allowed = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    int64_t usec, whose;
    if (allowed == NULL || !value_integer(allowed, 2, INT64_MAX, &usec))
        return 0;
    if (pid != NULL && (!value_integer(pid, 1, INT32_MAX, &whose) || whose != getpid()))
        return 0; /* it is another process that is watched */
    return usec / 2;
}

void service_prepare(service *sv, session *s)
{
    const char *name = getenv("NOTIFY_SOCKET");
    const struct timeval bound = {.tv_sec = 1};
    *sv = (service){.session = s, .fd = -1, .wake = -1};
    if (name != NULL && *name != '\0') {
        if (!read_address(sv, name)) {
            note(s, "work: $NOTIFY_SOCKET is '%.100s', which is neither a path nor @NAME: nobody is told", name);
        } else {
            sv->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
            sv->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            if (sv->fd < 0 || sv->wake < 0) {
                note(s, "work: $NOTIFY_SOCKET cannot be told: %s", strerror(errno));
                sv->fd = -1;
            } else {
                setsockopt(sv->fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
            }
        }
        sv->pulse = read_pulse();
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}
