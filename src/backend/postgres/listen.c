/* SPDX-License-Identifier: MIT
 *
 * The version counts what may have changed; a waiter sleeps while it is what it has seen. Of several waiters one
 * reads the listening connection (`reading` is its right to touch it), the others wait for what it says; an eventfd
 * gets it out of its poll. The thread makes connections and sends; it never keeps a waiter waiting.
 */
#include "backend/postgres/listen.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

enum {
    TELL_EVERY_US = 1000,  /* at least between two; NOTIFY takes a lock on the whole database */
    TELL_MOST_US = 8000,   /* ... while there is always something to tell: whoever hears it is busy then */
    QUIET_LEAST_US = 4000, /* after which whoever enqueues may tell it himself */
    QUIET_SHARE = 8,       /* ... and so many times what that took, as he may have waited for others who tell */
    TELL_LIMIT_S = 5,
    USAGE_EVERY_S = 10, /* how often the server's notification queue is looked at, while we notify */
    PING_AFTER_S = 15,  /* of silence */
    PING_LIMIT_S = 5,
    UNREAD_S = 1, /* how long notifications may lie in the socket while nobody waits */
    THREAD_READS_S = 5,
};
static const char usage_limit[] = "0.1";

struct pg_bell {
    pg_pool *pool;
    const pg_settings *settings;
    const neoq_options *options;
    const neoq_clock *clock;

    atomic_uint_fast64_t version;
    atomic_int sleepers;
    atomic_bool dirty;               /* to be told to the others */
    char tag[17];                    /* what our own notifications carry: they say nothing new */
    atomic_int_fast64_t told, quiet; /* when it was told last; for how long before words are lent */
    atomic_int_fast64_t not_before;  /* when the announcement may be told */
    int wake_fd;                     /* gets the reader out of its poll */
    int stop_fd, hurry_fd;           /* end the thread's waits: of connecting to listen; of telling */

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* for waiters */
    PGconn *listening;      /* touched by who has set `reading`, or with the mutex while nobody has */
    bool reading;
    int64_t heard, pinged; /* when it last said something; when it was asked to, 0 = it was not */
    size_t host;

    pthread_cond_t work; /* for the thread; the rest is its own */
    pthread_t thread;
    bool threadless; /* the log says that there is none */
    bool has_thread, wants_ear, stop, stopped;
    int64_t listen_at, tell_at, read_at, tend_at, usage_at;
    int listen_failures, tell_failures;
    bool refused; /* the server does not let us listen, and the log says so */
    bool held_back;
    PGconn *telling;
    int64_t pause; /* until it tells again */
};

/* ---- ringing ---------------------------------------------------------------------------- */

static void signal_fd(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void empty_fd(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

void pg_bell_ring(pg_bell *bell)
{
    atomic_fetch_add(&bell->version, 1);
    if (atomic_load(&bell->sleepers) == 0)
        return; /* who comes now sees the new version */
    pthread_mutex_lock(&bell->mutex);
    if (bell->reading)
        signal_fd(bell->wake_fd);
    pthread_cond_broadcast(&bell->changed);
    pthread_mutex_unlock(&bell->mutex);
}

/* ---- hearing ---------------------------------------------------------------------------- */

/* Takes in what the server said. Gives whether it was news; *lost: the connection is of no more use. */
static bool take_in(pg_bell *bell, bool *lost)
{
    PGconn *conn = bell->listening;
    bool news = false;
    *lost = !PQconsumeInput(conn);
    bell->heard = nq_steady();
    for (PGnotify *note; (note = PQnotifies(conn)) != NULL; PQfreemem(note))
        news = news || strcmp(note->extra, bell->tag) != 0;
    while (!PQisBusy(conn)) {
        PGresult *result = PQgetResult(conn);
        if (!result)
            break;
        bell->pinged = 0; /* the answer */
        PQclear(result);
    }
    *lost = *lost || PQstatus(conn) != CONNECTION_OK;
    return news;
}

/* Asks a silent server whether it is there. False: it has not answered in time. */
static bool ping(pg_bell *bell, int64_t now)
{
    if (bell->pinged)
        return PQflush(bell->listening) >= 0 && now - bell->pinged < NEOQ_SECONDS(PING_LIMIT_S);
    if (now - bell->heard < NEOQ_SECONDS(PING_AFTER_S))
        return true;
    bell->pinged = now;
    return PQsendQuery(bell->listening, "") && PQflush(bell->listening) >= 0;
}

/* The mutex is held. What was said meanwhile is lost, so everybody looks for himself. */
static void lose_ear(pg_bell *bell)
{
    PQfinish(bell->listening);
    bell->listening = NULL;
    bell->listen_at = nq_steady() + nq_redial_pause(++bell->listen_failures);
    atomic_fetch_add(&bell->version, 1);
    pthread_cond_broadcast(&bell->changed);
    pthread_cond_signal(&bell->work);
}

static int milliseconds(int64_t left)
{
    return left < 0 ? -1 : left > NEOQ_HOURS(1) ? 3600000 : (int)((left + 999) / 1000);
}

/* Waits once for the server to speak or for a ring. The caller has set `reading`; the mutex is free. Gives whether
 * there is news; *lost as above. */
static bool read_once(pg_bell *bell, int64_t until, bool *lost)
{
    struct pollfd fds[] = {{.fd = bell->wake_fd, .events = POLLIN},
                           {.fd = PQsocket(bell->listening), .events = POLLIN}};
    int64_t left = bell->clock->left(bell->clock, until);
    int64_t next_ping =
        bell->pinged ? bell->pinged + NEOQ_SECONDS(PING_LIMIT_S) : bell->heard + NEOQ_SECONDS(PING_AFTER_S);
    int64_t silence = next_ping - nq_steady();
    silence = silence > 0 ? silence : 0;
    *lost = fds[1].fd < 0;
    if (*lost)
        return false;
    int ready = poll(fds, 2, milliseconds(left >= 0 && left < silence ? left : silence));
    if (ready > 0 && fds[0].revents)
        empty_fd(bell->wake_fd);
    bool news = ready > 0 && fds[1].revents && take_in(bell, lost);
    if (!*lost)
        *lost = !ping(bell, nq_steady());
    return news;
}

/* The mutex is held before and after. */
static void read_as_reader(pg_bell *bell, int64_t until)
{
    bool lost;
    bell->reading = true;
    pthread_mutex_unlock(&bell->mutex);
    bool news = read_once(bell, until, &lost);
    pthread_mutex_lock(&bell->mutex);
    bell->reading = false;
    if (lost)
        lose_ear(bell);
    if (news) {
        atomic_fetch_add(&bell->version, 1);
        pthread_cond_broadcast(&bell->changed);
    }
}

/* While nobody waits: notifications that are not read would pile up at the server. The mutex is held. */
static void read_unread(pg_bell *bell)
{
    bool lost;
    if (!bell->listening || bell->reading)
        return;
    if (take_in(bell, &lost))
        atomic_fetch_add(&bell->version, 1);
    if (lost)
        lose_ear(bell);
}

uint64_t pg_bell_seen(pg_bell *bell)
{
    if (pthread_mutex_trylock(&bell->mutex) == 0) {
        if (bell->listening && !bell->reading && nq_steady() - bell->heard > NEOQ_SECONDS(UNREAD_S))
            read_unread(bell);
        pthread_mutex_unlock(&bell->mutex);
    }
    return atomic_load(&bell->version);
}

/* ---- the thread: connecting ------------------------------------------------------------- */

/* The channel's name, quoted as the schema's is. */
static bool command(pg_bell *bell, PGconn *conn, const char *format, const nq_bound *bound, pg_failure *failure)
{
    char sql[512];
    snprintf(sql, sizeof sql, format, bell->settings->quoted_schema);
    return pg_command(conn, sql, bound, NULL, failure);
}

/* A line when the server refuses us this connection though it answers, and one when it has come to its mind. */
static void tell_log(pg_bell *bell, const pg_failure *failure)
{
    bool refused = failure && *failure->state && strncmp(failure->state, "57P", 3) != 0;
    if (refused && !bell->refused)
        nq_log(bell->options, NEOQ_LOG_WARN,
               "PostgreSQL %s: no connection to LISTEN on, so jobs of other processes are looked for every %g s: %s",
               bell->settings->shown, (double)bell->options->job_check_interval / 1e6, failure->words);
    else if (!failure && bell->refused)
        nq_log(bell->options, NEOQ_LOG_INFO, "PostgreSQL %s: listening again", bell->settings->shown);
    bell->refused = failure ? bell->refused || refused : false;
}

/* The session may be idle for ever; but should this process be stopped, the server is not to hold messages for it. */
static const char listen_sql[] =
    "SELECT set_config(name, CASE name WHEN 'tcp_user_timeout' THEN '60000' ELSE '0' END, false)"
    " FROM pg_settings WHERE name IN ('tcp_user_timeout', 'idle_session_timeout');"
    " LISTEN %s";

/* The mutex is held before and after. */
static void connect_ear(pg_bell *bell)
{
    pg_failure failure;
    size_t host = bell->host;
    pthread_mutex_unlock(&bell->mutex);
    nq_bound bound = nq_within(bell->settings->connect_timeout);
    bound.stop_fd = bell->stop_fd;
    PGconn *conn = pg_dial(bell->settings, NULL, &host, &bound, &failure);
    if (conn && !command(bell, conn, listen_sql, &bound, &failure)) {
        PQfinish(conn);
        conn = NULL;
    }
    tell_log(bell, conn ? NULL : &failure);
    pthread_mutex_lock(&bell->mutex);
    bell->host = host;
    if (!conn) {
        bell->listen_at = nq_steady() + nq_redial_pause(++bell->listen_failures);
        return;
    }
    bell->listening = conn;
    bell->listen_failures = 0;
    bell->heard = nq_steady();
    bell->pinged = 0;
    atomic_fetch_add(&bell->version, 1); /* what was said before it listened */
    pthread_cond_broadcast(&bell->changed);
}

/* ---- the thread: telling ---------------------------------------------------------------- */

/* A queue that fills up makes every NOTIFY fail, and every transaction with one. Somebody does not listen to what he
 * asked for. */
static bool may_tell(pg_bell *bell, int64_t now, const nq_bound *bound, pg_failure *failure)
{
    PGresult *row;
    char sql[96];
    if (now < bell->usage_at)
        return !bell->held_back;
    snprintf(sql, sizeof sql, "SELECT pg_notification_queue_usage() > %s", usage_limit);
    if (!pg_command(bell->telling, sql, bound, &row, failure))
        return false;
    bool full = *PQgetvalue(row, 0, 0) == 't';
    PQclear(row);
    if (full && !bell->held_back)
        nq_log(bell->options, NEOQ_LOG_WARN,
               "PostgreSQL %s: the server's notification queue fills up, so neoq does not notify other processes, "
               "which find "
               "jobs by polling; look for a session that LISTENs and is idle in a transaction",
               bell->settings->shown);
    else if (!full && bell->held_back)
        nq_log(bell->options, NEOQ_LOG_INFO, "PostgreSQL %s: notifying other processes again", bell->settings->shown);
    bell->held_back = full;
    bell->usage_at = now + NEOQ_SECONDS(USAGE_EVERY_S);
    *failure = (pg_failure){0};
    return !full;
}

static bool connect_mouth(pg_bell *bell, const nq_bound *bound, pg_failure *failure)
{
    size_t host = bell->host;
    bell->telling = pg_dial(bell->settings, NULL, &host, bound, failure);
    return bell->telling && command(bell, bell->telling, "SET synchronous_commit = off", bound, failure);
}

static void hang_up(pg_bell *bell)
{
    if (bell->telling)
        PQfinish(bell->telling);
    bell->telling = NULL;
}

static void set_quiet(pg_bell *bell, int64_t quiet)
{
    atomic_store(&bell->quiet, quiet > QUIET_LEAST_US ? quiet : QUIET_LEAST_US);
}

int64_t pg_bell_pause(int64_t before, int64_t since)
{
    bool steadily = since < 2 * before;
    return !steadily ? TELL_EVERY_US : before < TELL_MOST_US ? before * 2 : TELL_MOST_US;
}

/* Without the mutex. What is announced from now on is told by the next one. */
static void tell_others(pg_bell *bell)
{
    pg_failure failure = {0};
    int64_t now = nq_steady();
    nq_bound bound = nq_within(NEOQ_SECONDS(TELL_LIMIT_S));
    bound.stop_fd = bell->hurry_fd;
    atomic_store(&bell->dirty, false);
    bool can = bell->telling || connect_mouth(bell, &bound, &failure);
    bool may = can && may_tell(bell, now, &bound, &failure);
    char sql[64];
    snprintf(sql, sizeof sql, "NOTIFY %%s, '%s'", bell->tag);
    if (may && command(bell, bell->telling, sql, &bound, &failure)) {
        bell->pause = pg_bell_pause(bell->pause, now - bell->told);
        bell->told = now;
        bell->tell_failures = 0;
        bell->tell_at = now + bell->pause;
        set_quiet(bell, atomic_load(&bell->quiet) / 2); /* once it may have been something else that took so long */
        return;
    }
    atomic_store(&bell->dirty, true); /* once it can be told, it will be */
    bell->tell_failures++;
    if (can && !may && bell->held_back) {
        bell->tell_at = bell->usage_at;
        return;
    }
    hang_up(bell);
    bell->tell_at = nq_steady() + nq_redial_pause(bell->tell_failures);
}

/* ---- the thread ------------------------------------------------------------------------- */

static int64_t when_to_tell(const pg_bell *bell)
{
    int64_t not_before = atomic_load(&bell->not_before);
    return bell->tell_at < not_before ? not_before : bell->tell_at;
}

/* One step, if something is due; else false, and *until when the next one will be. The mutex is held before and
 * after. */
static bool work_once(pg_bell *bell, int64_t now, int64_t *until)
{
    bool listens = bell->wants_ear && !bell->stop && !pg_pool_is_pooled(bell->pool);
    if (listens && !bell->listening && now >= bell->listen_at) {
        connect_ear(bell);
        return true;
    }
    bool dirty = atomic_load(&bell->dirty);
    int64_t tell_at = when_to_tell(bell);
    if ((dirty && now >= tell_at) || now >= bell->tend_at) {
        bool tells = dirty && now >= tell_at;
        bell->tend_at = now >= bell->tend_at ? now + bell->settings->health_check_period : bell->tend_at;
        pthread_mutex_unlock(&bell->mutex);
        if (tells)
            tell_others(bell);
        else if (bell->telling && now - bell->told >= bell->settings->max_conn_idle_time)
            hang_up(bell);
        pg_pool_tend(bell->pool);
        pthread_mutex_lock(&bell->mutex);
        return true;
    }
    if (now >= bell->read_at) {
        bell->read_at = now + NEOQ_SECONDS(THREAD_READS_S);
        read_unread(bell);
    }
    *until = bell->tend_at;
    if (listens && !bell->listening && bell->listen_at < *until)
        *until = bell->listen_at;
    if (dirty && tell_at < *until)
        *until = tell_at;
    if (bell->listening && bell->read_at < *until)
        *until = bell->read_at;
    return false;
}

static void *work(void *arg)
{
    pg_bell *bell = arg;
    pthread_mutex_lock(&bell->mutex);
    while (!bell->stop || (atomic_load(&bell->dirty) && bell->tell_failures == 0)) {
        int64_t until;
        if (!work_once(bell, nq_steady(), &until))
            nq_cond_wait(&bell->work, &bell->mutex, &nq_real_clock, until);
    }
    bell->stopped = true;
    pthread_cond_broadcast(&bell->changed);
    pthread_mutex_unlock(&bell->mutex);
    hang_up(bell);
    return NULL;
}

/* The mutex is held. */
static void call_thread(pg_bell *bell)
{
    if (bell->has_thread || bell->stop) {
        pthread_cond_signal(&bell->work);
        return;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bell->has_thread = pthread_create(&bell->thread, NULL, work, bell) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (bell->has_thread)
        return;
    atomic_store(&bell->dirty, false); /* the next announcement tries again */
    if (bell->threadless)
        return;
    bell->threadless = true;
    nq_log(
        bell->options, NEOQ_LOG_WARN,
        "PostgreSQL %s: no thread to be had to notify other processes or to hear of them; jobs are found by polling",
        bell->settings->shown);
}

const char *pg_bell_lend(pg_bell *bell)
{
    int64_t now = nq_steady(), told = atomic_load(&bell->told);
    bool quiet = now - told >= atomic_load(&bell->quiet) && !atomic_load(&bell->dirty);
    return quiet && !pg_pool_is_pooled(bell->pool) && atomic_compare_exchange_strong(&bell->told, &told, now)
               ? bell->tag
               : NULL;
}

void pg_bell_lent(pg_bell *bell, int64_t took)
{
    set_quiet(bell, took * QUIET_SHARE);
    pg_bell_ring(bell);
}

bool pg_bell_is_awaited(pg_bell *bell)
{
    return atomic_load(&bell->sleepers) > 0;
}

static void announce(pg_bell *bell, int64_t delay)
{
    pg_bell_ring(bell);
    if (pg_pool_is_pooled(bell->pool) || atomic_exchange(&bell->dirty, true))
        return;
    atomic_store(&bell->not_before, nq_steady() + delay);
    pthread_mutex_lock(&bell->mutex);
    call_thread(bell);
    pthread_mutex_unlock(&bell->mutex);
}

void pg_bell_announce(pg_bell *bell)
{
    announce(bell, 0);
}

void pg_bell_announce_later(pg_bell *bell)
{
    announce(bell, TELL_EVERY_US);
}

/* ---- waiting ---------------------------------------------------------------------------- */

void pg_bell_wait(pg_bell *bell, uint64_t seen, int64_t until)
{
    const neoq_clock *clock = bell->clock;
    atomic_fetch_add(&bell->sleepers, 1);
    pthread_mutex_lock(&bell->mutex);
    bool pooled = pg_pool_is_pooled(bell->pool);
    if (!pooled && !(bell->wants_ear && bell->has_thread)) {
        bell->wants_ear = true;
        call_thread(bell);
    }
    if (pooled && bell->listening && !bell->reading)
        lose_ear(bell); /* it was found out after we began to listen: there is nothing to be heard */
    if (!bell->listening) {
        int64_t look = nq_time_add(clock->steady(clock), bell->options->job_check_interval);
        until = look < until ? look : until;
    }
    while (atomic_load(&bell->version) == seen && clock->left(clock, until) != 0) {
        if (bell->listening && !bell->reading)
            read_as_reader(bell, until);
        else
            nq_cond_wait(&bell->changed, &bell->mutex, clock, until);
    }
    if (!bell->listening && atomic_load(&bell->version) == seen)
        atomic_fetch_add(&bell->version, 1); /* who hears nothing cannot say that nothing changed */
    if (!bell->reading)
        pthread_cond_signal(&bell->changed); /* another waiter may have to read now */
    pthread_mutex_unlock(&bell->mutex);
    atomic_fetch_sub(&bell->sleepers, 1);
}

bool pg_bell_listens(pg_bell *bell)
{
    pthread_mutex_lock(&bell->mutex);
    bool listens = bell->listening != NULL;
    pthread_mutex_unlock(&bell->mutex);
    return listens;
}

/* ---- open and close --------------------------------------------------------------------- */

int pg_bell_open(pg_bell **out, pg_pool *pool, const pg_settings *settings, const neoq_options *options,
                 const neoq_clock *clock)
{
    *out = NULL;
    pg_bell *bell = calloc(1, sizeof *bell);
    if (!bell)
        return nq_fail(NEOQ_ENOMEM, "no memory to hear of new jobs");
    bell->pool = pool;
    bell->settings = settings;
    bell->options = options;
    bell->clock = clock;
    bell->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bell->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bell->hurry_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&bell->mutex, NULL);
    nq_cond_init(&bell->changed);
    nq_cond_init(&bell->work);
    bell->tend_at = nq_steady() + settings->health_check_period;
    atomic_init(&bell->told, INT64_MIN / 2);
    atomic_init(&bell->quiet, QUIET_LEAST_US);
    snprintf(bell->tag, sizeof bell->tag, "%016" PRIx64, nq_real_clock.random(&nq_real_clock)); /* no test's seed */
    if (bell->wake_fd < 0 || bell->stop_fd < 0 || bell->hurry_fd < 0) {
        nq_fail(NEOQ_EBACKEND, "PostgreSQL %s: no descriptor to be had: %s", settings->shown, strerror(errno));
        pg_bell_close(bell);
        return NEOQ_EBACKEND;
    }
    *out = bell;
    return NEOQ_OK;
}

static void stop_thread(pg_bell *bell)
{
    int64_t until = nq_steady() + NEOQ_SECONDS(1);
    pthread_mutex_lock(&bell->mutex);
    bell->stop = true;
    signal_fd(bell->stop_fd);
    pthread_cond_signal(&bell->work);
    while (bell->has_thread && !bell->stopped && nq_cond_wait(&bell->changed, &bell->mutex, &nq_real_clock, until))
        ;
    pthread_mutex_unlock(&bell->mutex);
    signal_fd(bell->hurry_fd);
    if (bell->has_thread)
        pthread_join(bell->thread, NULL);
}

void pg_bell_close(pg_bell *bell)
{
    if (!bell)
        return;
    stop_thread(bell);
    if (bell->listening)
        PQfinish(bell->listening);
    const int fds[] = {bell->wake_fd, bell->stop_fd, bell->hurry_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_cond_destroy(&bell->changed);
    pthread_cond_destroy(&bell->work);
    pthread_mutex_destroy(&bell->mutex);
    free(bell);
}
