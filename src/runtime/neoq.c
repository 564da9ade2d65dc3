/* SPDX-License-Identifier: MIT
 *
 * Opening and closing a neoq, and what every other file of the runtime leans on: whether it is usable, references,
 * threads, the log.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/memory/memory.h"
#include "backend/postgres/postgres.h"
#include "backend/redis/redis.h"
#include "backend/sqlite/sqlite.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "job/job.h"
#include "runtime/runtime.h"

/* ---- backends --------------------------------------------------------------------------- */

#define POSSIBLE_URLS "\"memory:\", \"sqlite:PATH\", \"postgres://...\" and \"redis://...\" are possible"

static const neoq_backend *const built_in[] = {&nq_memory_backend, &nq_sqlite_backend};

/* neoq_register_backend() has no neoq to hang its list on, so this is the library's only state that is not constant. */
static struct {
    pthread_mutex_t mutex;
    const neoq_backend *backends[16];
    size_t count;
} registered = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static const neoq_backend *find_backend(const char *url)
{
    const char *colon = strchr(url, ':');
    size_t size = colon ? (size_t)(colon - url) : 0;
    const neoq_backend *found = nq_is_postgres(url) ? &nq_postgres_backend
                                : nq_is_redis(url)  ? &nq_redis_backend
                                                    : NULL;
    for (size_t i = 0; size > 0 && i < sizeof built_in / sizeof *built_in; i++)
        if (strncmp(built_in[i]->scheme, url, size) == 0 && !built_in[i]->scheme[size])
            found = built_in[i];
    pthread_mutex_lock(&registered.mutex);
    for (size_t i = 0; size > 0 && i < registered.count; i++)
        if (strncmp(registered.backends[i]->scheme, url, size) == 0 && !registered.backends[i]->scheme[size])
            found = registered.backends[i];
    pthread_mutex_unlock(&registered.mutex);
    return found;
}

const neoq_backend *neoq_find_backend(const char *url)
{
    return url ? find_backend(url) : NULL;
}

/* How much of a URL may be shown: no further than its scheme. */
static int scheme_size(const char *url)
{
    return (int)strcspn(url, ":") + (strchr(url, ':') != NULL);
}

int neoq_register_backend(const neoq_backend *backend)
{
    if (!backend || backend->version != NEOQ_BACKEND_VERSION || backend->size < NEOQ_BACKEND_LEAST_SIZE)
        return nq_fail(NEOQ_EINVAL, "neoq_register_backend: the table is not of version %d", NEOQ_BACKEND_VERSION);
    /* From open on, the table is nothing but operations, and none but the optional ones may be missing. */
    const char *operations = (const char *)&backend->open;
    for (size_t at = offsetof(neoq_backend, open); at < NEOQ_BACKEND_LEAST_SIZE; at += sizeof backend->wake) {
        void (*operation)(void);
        memcpy(&operation, operations + (at - offsetof(neoq_backend, open)), sizeof operation);
        if (!operation)
            return nq_fail(NEOQ_EINVAL, "neoq_register_backend: an operation is missing from the table");
    }
    if (!backend->scheme || !*backend->scheme || strchr(backend->scheme, ':'))
        return nq_fail(NEOQ_EINVAL, "neoq_register_backend: the table names no scheme");
    char url[256];
    snprintf(url, sizeof url, "%.200s:", backend->scheme);
    if (find_backend(url))
        return nq_fail(NEOQ_EEXIST, "neoq_register_backend: there is a backend \"%.200s\" already", backend->scheme);
    int status = NEOQ_OK;
    pthread_mutex_lock(&registered.mutex);
    if (registered.count < sizeof registered.backends / sizeof *registered.backends)
        registered.backends[registered.count++] = backend;
    else
        status = NEOQ_EFULL;
    pthread_mutex_unlock(&registered.mutex);
    return status == NEOQ_OK ? status : nq_fail(status, "neoq_register_backend: no more than 16 are possible");
}

/* ---- options ---------------------------------------------------------------------------- */

static void default_to(neoq_duration *value, neoq_duration otherwise)
{
    if (*value == 0)
        *value = otherwise;
}

static int fill_options(neoq_options *o)
{
    const struct {
        const char *name;
        neoq_duration *value, otherwise;
        bool forever;
    } durations[] = {
        {"options: job_check_interval", &o->job_check_interval, NEOQ_SECONDS(1), false},
        {"options: poll_interval", &o->poll_interval, NEOQ_SECONDS(10), false},
        {"options: lease", &o->lease, NEOQ_SECONDS(30), false},
        {"options: shutdown_timeout", &o->shutdown_timeout, NEOQ_SECONDS(8), true},
        {"options: connect_timeout", &o->connect_timeout, NEOQ_SECONDS(30), false},
        {"options: retention", &o->retention, 0, true},
        {"options: dead_retention", &o->dead_retention, NEOQ_HOURS(24 * 90), true},
        {"options: capacity_wait", &o->capacity_wait, NEOQ_FOREVER, true},
        {"options: idle_transaction_timeout", &o->idle_transaction_timeout, NEOQ_SECONDS(30), true},
    };
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        int status = nq_duration_check(durations[i].name, *durations[i].value, durations[i].forever);
        if (status != NEOQ_OK)
            return status;
        default_to(durations[i].value, durations[i].otherwise);
    }
    if (o->log_level < 0 || o->log_level > NEOQ_LOG_DEBUG)
        return nq_fail(NEOQ_EINVAL, "options: log_level %d is not a neoq_log_level", (int)o->log_level);
    if (o->unique < NEOQ_UNIQUE_DEFAULT || o->unique > NEOQ_UNIQUE_OFF)
        return nq_fail(NEOQ_EINVAL, "options: unique %d is not a neoq_unique", (int)o->unique);
    if (o->max_connections < 0)
        return nq_fail(NEOQ_EINVAL, "options: max_connections cannot be negative");
    if (o->log_level == 0)
        o->log_level = NEOQ_LOG_INFO;
    if (o->unique == NEOQ_UNIQUE_DEFAULT)
        o->unique = NEOQ_UNIQUE_ON;
    if (o->max_payload == 0)
        o->max_payload = (size_t)1 << 20;
    if (o->max_payload > (size_t)512 << 20)
        return nq_fail(NEOQ_EINVAL, "options: max_payload %zu is more than 512 MiB", o->max_payload);
    if (!o->schema)
        o->schema = "neoq";
    return NEOQ_OK;
}

/* ---- log -------------------------------------------------------------------------------- */

/* ---- open and close --------------------------------------------------------------------- */

int nq_usable_to_enqueue(const neoq *nq)
{
    if (!nq)
        return nq_fail(NEOQ_EINVAL, "the neoq is NULL");
    if (*(volatile uint32_t *)nq->parent == 0)
        return nq_fail(NEOQ_ESTATE, "this neoq was opened before fork(): open one of this process's own");
    return NEOQ_OK;
}

int nq_usable(const neoq *nq)
{
    int status = nq_usable_to_enqueue(nq);
    if (status == NEOQ_OK && nq->apart)
        return nq_fail(NEOQ_ESTATE, "in the process of a NEOQ_PROCESS handler, this neoq can only enqueue");
    return status;
}

/* A clock of virtual time was moved: nobody who sleeps can tell. */
static void clock_moved(void *arg)
{
    nq_wake_all(arg);
}

static neoq *make(const neoq_options *options, const neoq_clock *clock, bool by_hand)
{
    neoq *nq = calloc(1, sizeof *nq);
    if (!nq)
        return NULL;
    nq->parent =
        mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (nq->parent == MAP_FAILED) {
        free(nq);
        return NULL;
    }
    if (madvise(nq->parent, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) != 0 && errno == ENOMEM) {
        munmap(nq->parent, (size_t)sysconf(_SC_PAGESIZE));
        free(nq);
        return NULL;
    }
    *nq->parent = 1;
    nq->options = *options;
    nq->clock = clock;
    nq->by_hand = by_hand;
    nq->phase = NQ_OPEN;
    nq->refs = 1;
    nq->stop_fd = nq->step_fd = -1;
    nq->stop_until = INT64_MAX;
    atomic_init(&nq->counter, clock->random(clock) >> 32);
    pthread_mutex_init(&nq->mutex, NULL);
    nq_cond_init(&nq->idle);
    nq_cond_init(&nq->ticking);
    nq_cond_init(&nq->resting);
    nq_cond_init(&nq->ended);
    return nq;
}

static void destroy(neoq *nq)
{
    nq_clock_unsubscribe(nq->clock, nq);
    while (nq->queues) {
        nq_queue *queue = nq->queues;
        nq->queues = queue->next;
        nq_queue_free(queue);
    }
    if (nq->store)
        nq->backend->close(nq->store);
    free(nq->turns);
    while (nq->own_schedules) {
        nq_own_schedule *schedule = nq->own_schedules;
        nq->own_schedules = schedule->next;
        free(schedule);
    }
    if (nq->stop_fd >= 0)
        close(nq->stop_fd);
    if (nq->step_fd >= 0)
        close(nq->step_fd);
    nq_trips_free(nq);
    munmap(nq->parent, (size_t)sysconf(_SC_PAGESIZE));
    pthread_mutex_destroy(&nq->mutex);
    pthread_cond_destroy(&nq->idle);
    pthread_cond_destroy(&nq->ticking);
    pthread_cond_destroy(&nq->resting);
    pthread_cond_destroy(&nq->ended);
    free(nq);
}

void nq_ref(neoq *nq)
{
    nq->refs++;
}

void nq_unref(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    bool last = --nq->refs == 0;
    pthread_mutex_unlock(&nq->mutex);
    if (last)
        destroy(nq);
}

int nq_look_up(const char *caller, const char *url, const neoq_options *options, const neoq_backend **backend,
               neoq_options *filled)
{
    if (!url)
        return nq_fail(NEOQ_EINVAL, "%s: the URL is NULL; " POSSIBLE_URLS, caller);
    *filled = options ? *options : (neoq_options){0};
    int status = fill_options(filled);
    if (status != NEOQ_OK)
        return status;
    *backend = find_backend(url);
    if (!*backend) /* the URL itself may hold a password */
        return nq_fail(NEOQ_EINVAL, "URL \"%.*s...\": no such scheme; " POSSIBLE_URLS, scheme_size(url), url);
    return NEOQ_OK;
}

int nq_open(neoq **out, const char *url, const neoq_options *options, const neoq_clock *clock, bool by_hand)
{
    if (!out)
        return nq_fail(NEOQ_EINVAL, "neoq_open: out is NULL");
    *out = NULL;
    neoq_options filled;
    const neoq_backend *backend;
    int status = nq_look_up("neoq_open", url, options, &backend, &filled);
    if (status != NEOQ_OK)
        return status;
    neoq *nq = make(&filled, clock, by_hand);
    if (!nq)
        return nq_fail(NEOQ_ENOMEM, "neoq_open: no memory");
    nq->backend = backend;
    atomic_init(&nq->unattended, backend->local);
    neoq_store_config config = {.url = url, .options = &nq->options, .clock = clock};
    status = nq_trips_make(nq);
    if (status == NEOQ_OK)
        status = backend->open(&nq->store, &config);
    nq->strict = status == NEOQ_OK && NQ_OFFERS(backend, strict) && backend->strict(nq->store);
    nq->options.schema = NULL; /* the caller's string; the store has made of it what it needs */
    if (status == NEOQ_OK)
        status = nq_clock_subscribe(clock, clock_moved, nq);
    if (status != NEOQ_OK) {
        destroy(nq);
        return status;
    }
    *out = nq;
    return NEOQ_OK;
}

int neoq_open(neoq **out, const char *url, const neoq_options *options)
{
    return nq_open(out, url, options, &nq_real_clock, false);
}

void neoq_close(neoq *nq)
{
    /* A child's copy shares the parent's threads, files and locks in name only: nothing of it can be closed safely. */
    if (!nq || nq_usable(nq) != NEOQ_OK)
        return;
    if (nq_run_current(nq)) {
        nq_log(&nq->options, NEOQ_LOG_ERROR, "neoq_close() was called by a handler that runs under it: ignored");
        return;
    }
    neoq_shutdown(nq, 0);
    pthread_mutex_lock(&nq->mutex);
    nq->phase = NQ_CLOSED;
    /* Threads that are not in a handler end at once. One that is in a handler which does not heed its cancellation
     * keeps what it needs alive by its reference, and frees it when it comes back. */
    nq->enders++;
    int64_t until = nq_real_clock.steady(&nq_real_clock) + NEOQ_SECONDS(5);
    while (nq->refs > 1 + nq->strays && nq_cond_wait(&nq->ended, &nq->mutex, &nq_real_clock, until))
        ;
    nq->enders--;
    pthread_mutex_unlock(&nq->mutex);
    nq_unref(nq);
}

int neoq_observe(neoq *nq, neoq_observer observer, void *arg)
{
    int status = nq_usable(nq);
    if (status != NEOQ_OK)
        return status;
    pthread_mutex_lock(&nq->mutex);
    bool started = nq->joined || nq->queues;
    if (!started) {
        nq->observer = observer;
        nq->observer_arg = arg;
    }
    pthread_mutex_unlock(&nq->mutex);
    return started ? nq_fail(NEOQ_ESTATE, "neoq_observe: only before the first neoq_start()") : NEOQ_OK;
}

const char *neoq_version(void)
{
    return NEOQ_VERSION;
}

/* ---- threads ---------------------------------------------------------------------------- */

typedef struct beginning {
    neoq *nq;
    void (*start)(neoq *nq);
} beginning;

static void *begin_thread(void *arg)
{
    beginning begun = *(beginning *)arg;
    free(arg);
    begun.start(begun.nq);
    pthread_mutex_lock(&begun.nq->mutex);
    pthread_cond_broadcast(&begun.nq->ended);
    bool last = --begun.nq->refs == 0;
    pthread_mutex_unlock(&begun.nq->mutex);
    if (last)
        destroy(begun.nq);
    return NULL;
}

int nq_spawn(neoq *nq, void (*start)(neoq *nq))
{
    beginning *begun = malloc(sizeof *begun);
    if (!begun)
        return nq_fail(NEOQ_ENOMEM, "no memory for a thread");
    *begun = (beginning){nq, start};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int failed = pthread_create(&thread, &attributes, begin_thread, begun);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (failed) {
        free(begun);
        return nq_fail(NEOQ_ENOMEM, "no thread can be made: %s", strerror(failed));
    }
    nq_ref(nq);
    return NEOQ_OK;
}

void nq_wake_all(neoq *nq)
{
    pthread_mutex_lock(&nq->mutex);
    pthread_cond_broadcast(&nq->idle);
    pthread_cond_broadcast(&nq->ticking);
    pthread_cond_broadcast(&nq->resting);
    pthread_cond_broadcast(&nq->ended);
    pthread_mutex_unlock(&nq->mutex);
    nq->backend->wake(nq->store);
}
