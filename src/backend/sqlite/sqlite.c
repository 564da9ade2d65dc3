/* SPDX-License-Identifier: MIT
 *
 * Opening the store, waking across processes, and the table of operations.
 */
#include "backend/sqlite/sqlite.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "backend/sqlite/doctor.h"
#include "backend/sqlite/file.h"
#include "backend/sqlite/jobs.h"
#include "backend/sqlite/look.h"
#include "backend/sqlite/manage.h"
#include "backend/sqlite/schema.h"
#include "backend/sqlite/store.h"
#include "base/error.h"

/* Fingerprints are entered all over their index; what of it is in memory need not be read to be written. */
enum { WRITER_PAGES = 16384, READER_PAGES = 500 };

/* ---- waking ----------------------------------------------------------------------------- */

/* An eventfd for wake(), and a watch on the WAL: whoever enqueues touches it after the commit (sq_announce()). Without
 * the watch the poll finds what it would have told. */
static int open_bells(neoq_store *store)
{
    store->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (store->wake_fd < 0)
        return nq_fail(NEOQ_EBACKEND, "%s: no descriptor to be had: %s", store->path, strerror(errno));
    store->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (store->notify_fd >= 0 && inotify_add_watch(store->notify_fd, store->wal_path, IN_ATTRIB) < 0) {
        close(store->notify_fd);
        store->notify_fd = -1;
    }
    return NEOQ_OK;
}

static void empty(int fd)
{
    char bytes[4096];
    while (fd >= 0 && read(fd, bytes, sizeof bytes) > 0)
        ;
}

static void sq_wait(neoq_store *store, uint64_t seen, int64_t until)
{
    /* Without a watch, as often as the option for due jobs says. */
    int64_t most =
        store->notify_fd < 0 ? store->clock->steady(store->clock) + store->options->job_check_interval : until;
    if (most > until)
        most = until;
    struct pollfd fds[] = {{.fd = store->wake_fd, .events = POLLIN}, {.fd = store->notify_fd, .events = POLLIN}};
    while (atomic_load(&store->version) == seen) {
        int64_t left = store->clock->left(store->clock, most);
        if (left == 0)
            return;
        int wait = left < 0 ? -1 : left > NEOQ_HOURS(1) ? 3600000 : (int)((left + 999) / 1000);
        int ready = poll(fds, 2, wait);
        if (ready < 0 && errno != EINTR)
            return;
        if (ready > 0) {
            empty(store->wake_fd);
            empty(store->notify_fd);
            return;
        }
    }
    empty(store->wake_fd);
}

static void sq_wake(neoq_store *store)
{
    atomic_fetch_add(&store->version, 1);
    uint64_t one = 1;
    while (write(store->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* ---- open and close --------------------------------------------------------------------- */

static void sq_close(neoq_store *store)
{
    sq_forget_queues(store);
    free(store->queues);
    sq_keymap_free(&store->fresh);
    sq_db_close(&store->reader);
    sq_db_close(&store->writer);
    sq_courtesy_close(&store->courtesy);
    if (store->wake_fd >= 0)
        close(store->wake_fd);
    if (store->notify_fd >= 0)
        close(store->notify_fd);
    nq_group_destroy(&store->writers);
    pthread_mutex_destroy(&store->read_mutex);
    free(store->path);
    free(store->wal_path);
    free(store);
}

static int open_file(neoq_store *store, const neoq_store_config *config)
{
    bool network;
    int status = sq_parse_url(config->url, &store->path, &network);
    if (status == NEOQ_OK)
        status = sq_prepare_file(store->path, network);
    if (status == NEOQ_OK)
        status = sq_db_open(&store->writer, store->path, true, config->options);
    if (status == NEOQ_OK)
        status = sq_schema_check(store->writer.handle, store->path);
    if (status == NEOQ_OK)
        status = sq_db_tune(&store->writer, config->options, WRITER_PAGES);
    if (status == NEOQ_OK)
        status = sq_schema_prepare(store->writer.handle, store->path);
    if (status == NEOQ_OK)
        status = sq_db_open(&store->reader, store->path, false, config->options);
    if (status == NEOQ_OK)
        status = sq_db_tune(&store->reader, config->options, READER_PAGES);
    if (status != NEOQ_OK)
        return status;
    /* SQLite made the path absolute; a later chdir() does no harm. */
    const char *wal = sqlite3_filename_wal(sqlite3_db_filename(store->writer.handle, "main"));
    store->wal_path = strdup(wal ? wal : "");
    if (!store->wal_path)
        return nq_fail(NEOQ_ENOMEM, "no memory to open %s", config->url);
    sq_courtesy_open(&store->courtesy, store->wal_path);
    store->writer.courtesy = &store->courtesy;
    return open_bells(store);
}

static int sq_open(neoq_store **out, const neoq_store_config *config)
{
    neoq_store *store = calloc(1, sizeof *store);
    if (!store)
        return nq_fail(NEOQ_ENOMEM, "no memory to open %s", config->url);
    store->options = config->options;
    store->clock = config->clock;
    store->wake_fd = store->notify_fd = store->courtesy.fd = -1;
    store->next_checkpoint = 1000;
    nq_group_init(&store->writers);
    pthread_mutex_init(&store->read_mutex, NULL);
    nq_place_find(store->place);
    int status = open_file(store, config);
    if (status != NEOQ_OK) {
        sq_close(store);
        return status;
    }
    *out = store;
    return NEOQ_OK;
}

/* ---- operations ------------------------------------------------------------------------- */

static int enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    sq_enqueue_args args = {jobs, count, results};
    return sq_write(store, sq_enqueue, &args);
}

static int exchange(neoq_store *store, neoq_exchange *x)
{
    x->run_count = x->cancel_count = 0;
    x->seen = atomic_load(&store->version);
    if (x->settlement_count == 0) {
        pthread_mutex_lock(&store->read_mutex);
        bool useful = sq_exchange_useful(store, &store->reader, x);
        int status = store->reader.status;
        pthread_mutex_unlock(&store->read_mutex);
        if (status != NEOQ_OK || !useful)
            return status;
    }
    int status = sq_write(store, sq_exchange, x);
    while (status != NEOQ_OK && x->run_count > 0) /* the commit failed, and with it the claims */
        sq_release(&x->runs[--x->run_count]);
    return status;
}

static void release(neoq_store *store, neoq_claimed *run)
{
    (void)store;
    sq_release(run);
}

const neoq_backend nq_sqlite_backend = {
    .version = NEOQ_BACKEND_VERSION,
    .size = sizeof(neoq_backend),
    .scheme = "sqlite",
    .open = sq_open,
    .close = sq_close,
    .enqueue = enqueue,
    .exchange = exchange,
    .release = release,
    .wait = sq_wait,
    .wake = sq_wake,
    .beat = sq_beat,
    .tend = sq_tend,
    .find = sq_find,
    .get = sq_get,
    .runs = sq_runs,
    .steer = sq_steer,
    .purge = sq_purge,
    .queues = sq_queues,
    .set_queue = sq_set_queue,
    .workers = sq_workers,
    .schedules = sq_schedules,
    .set_schedule = sq_set_schedule,
    .remove_schedule = sq_remove_schedule,
    .tick = sq_tick,
    .set_progress = sq_set_progress,
    .get_progress = sq_get_progress,
    .migrate = sq_migrate,
    .doctor = sq_doctor,
};
