/* SPDX-License-Identifier: MIT
 *
 * The resolver has no bound but its own, which may be minutes. So a name is looked up on a thread of its own, and who
 * does not want to wait any longer leaves it behind: it ends when the resolver does.
 */
#include "base/lookup.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"

typedef struct lookup {
    atomic_int owners; /* who asks and the thread; the last one frees it */
    int done;          /* an eventfd: readable once the thread is through */
    atomic_bool over;  /* ... and what it found may be read */
    char *name, *port;
    struct addrinfo *found;
    int error; /* of getaddrinfo() */
} lookup;

static const struct addrinfo any_stream = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

static void leave(lookup *l)
{
    if (atomic_fetch_sub(&l->owners, 1) > 1)
        return;
    if (l->found)
        freeaddrinfo(l->found);
    if (l->done >= 0)
        close(l->done);
    free(l->name);
    free(l->port);
    free(l);
}

static void *look_up(void *arg)
{
    lookup *l = arg;
    l->error = getaddrinfo(l->name, l->port, &any_stream, &l->found);
    atomic_store(&l->over, true);
    eventfd_write(l->done, 1);
    leave(l);
    return NULL;
}

static lookup *begin(const char *name, const char *port)
{
    lookup *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    atomic_init(&l->owners, 1);
    atomic_init(&l->over, false);
    l->port = port ? strdup(port) : NULL;
    l->name = strdup(name);
    l->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->name && (l->port || !port) && l->done >= 0)
        return l;
    leave(l);
    return NULL;
}

/* Signals are for the program's own threads. */
static bool run_apart(lookup *l)
{
    pthread_t thread;
    pthread_attr_t apart;
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_init(&apart);
    pthread_attr_setdetachstate(&apart, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    atomic_fetch_add(&l->owners, 1);
    bool runs = pthread_create(&thread, &apart, look_up, l) == 0;
    if (!runs)
        atomic_fetch_sub(&l->owners, 1);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&apart);
    return runs;
}

/* An address needs no resolver. */
static struct addrinfo *read_address(const char *name, const char *port)
{
    struct addrinfo hints = any_stream, *found = NULL;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    return getaddrinfo(name, port, &hints, &found) == 0 ? found : NULL;
}

int nq_lookup(const char *name, const char *port, const nq_bound *bound, struct addrinfo **found)
{
    int status = NEOQ_OK;
    *found = read_address(name, port);
    if (*found)
        return NEOQ_OK;
    lookup *l = begin(name, port);
    if (!l || !run_apart(l)) {
        status = nq_fail(NEOQ_ENOMEM, "no memory or no thread to look up the host \"%.200s\"", name);
    } else if (!nq_wait_io(l->done, POLLIN, bound) || !atomic_load(&l->over)) {
        status = nq_fail(NEOQ_ETIMEOUT, "looking up the host \"%.200s\" took too long", name);
    } else if (l->error != 0) {
        status = nq_fail(NEOQ_EBACKEND, "the host \"%.200s\" is not known: %s", name, gai_strerror(l->error));
    } else {
        *found = l->found;
        l->found = NULL;
    }
    if (l)
        leave(l);
    return status;
}
