/* SPDX-License-Identifier: MIT */
#include "base/bound.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"

int64_t nq_steady(void)
{
    return nq_real_clock.steady(&nq_real_clock);
}

nq_bound nq_within(neoq_duration limit)
{
    return (nq_bound){nq_time_add(nq_steady(), limit), -1};
}

nq_bound nq_sooner(const nq_bound *bound, neoq_duration limit)
{
    nq_bound own = *bound;
    int64_t until = nq_within(limit).until;
    if (until < own.until)
        own.until = until;
    return own;
}

nq_bound nq_share(const nq_bound *bound, size_t parts)
{
    int64_t now = nq_steady();
    nq_bound share = *bound;
    if (bound->until != INT64_MAX)
        share.until = now + (bound->until - now) / (int64_t)parts;
    return share;
}

bool nq_wait_io(int fd, short events, const nq_bound *bound)
{
    struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = bound->stop_fd, .events = POLLIN}};
    if (fd < 0)
        return true; /* closed: whoever reads will be told */
    for (;;) {
        int64_t left = bound->until == INT64_MAX ? NEOQ_HOURS(1) : bound->until - nq_steady();
        if (left > NEOQ_HOURS(1))
            left = NEOQ_HOURS(1);
        int ready = poll(fds, 2, left > 0 ? (int)((left + 999) / 1000) : 0);
        if (fds[1].revents && ready > 0)
            return false;
        if (ready > 0 || (ready < 0 && errno != EINTR))
            return true;
        if (ready == 0 && left <= 0)
            return false;
    }
}

neoq_duration nq_redial_pause(int n)
{
    neoq_duration most = n > 6 ? NEOQ_SECONDS(2) : NEOQ_MILLISECONDS(50) << (n > 0 ? n - 1 : 0);
    if (most > NEOQ_SECONDS(2))
        most = NEOQ_SECONDS(2);
    return most - (neoq_duration)(nq_real_clock.random(&nq_real_clock) % (uint64_t)(most / 2));
}

void nq_redial_failed(nq_redial *redial, int64_t now)
{
    if (now >= redial->next)
        redial->next = now + nq_redial_pause(++redial->failures);
}
