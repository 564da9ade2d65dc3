/* SPDX-License-Identifier: MIT
 *
 * What is synced to the disk, and what a failing sync means. This program's fsync() and fdatasync() stand in for the C
 * library's, also for SQLite: they count, and may be told to fail.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int syncs;    /* so far */
static atomic_int failures; /* so many of the next are to fail */

int fdatasync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    if (atomic_load(&failures) > 0 && atomic_fetch_sub(&failures, 1) > 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fdatasync(fd);
}

static neoq_time seen_at(neoq *nq)
{
    neoq_worker_info *workers = NULL;
    size_t count = 0;
    assert_status(NEOQ_OK, neoq_workers(nq, &workers, &count));
    neoq_time at = count == 1 ? workers[0].seen_at : 0;
    free(workers);
    return at;
}

/* A worker's next beat, which is in the file when this returns. */
static void beat(store *s, neoq *nq)
{
    neoq_clock_advance(s->clock, NEOQ_SECONDS(5));
    eventually(seen_at(nq) == neoq_clock_time(s->clock));
}

static void put_synced(neoq *nq)
{
    int before = atomic_load(&syncs);
    put_job(nq, (neoq_job){.queue = "nobody works this", .unique = NEOQ_UNIQUE_OFF}, NULL);
    assert_true(atomic_load(&syncs) > before);
}

static void test_jobs_are_synced_and_beats_are_not(void **state)
{
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    static recorder r;
    neoq_handler handler = recording("idle", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    beat(s, nq);
    put_synced(nq);
    for (int round = 0; round < 3; round++) {
        int before = atomic_load(&syncs);
        beat(s, nq);
        beat(s, nq);
        assert_int_equal(before, atomic_load(&syncs));
        put_synced(nq);
        put_synced(nq);
    }
}

static void test_nothing_is_synced_where_that_was_asked_for(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.asynchronous_commit = true});
    put(nq, "queue", "1", NULL);
    int before = atomic_load(&syncs);
    put(nq, "queue", "2", NULL);
    assert_int_equal(before, atomic_load(&syncs));
}

static void test_a_job_whose_sync_fails_is_unknown_until_it_is_sent_again(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    put(nq, "queue", "before", NULL);
    const char *id = "0198f3a0-0000-7000-8000-000000000001";
    neoq_job job = {.id = id, .queue = "queue", .payload = "{}"};
    atomic_store(&failures, 2); /* a job that fails in company is tried alone once more */
    int status = neoq_enqueue(nq, &job, NULL);
    atomic_store(&failures, 0);
    assert_int_equal(NEOQ_EUNKNOWN, status);
    assert_words("same ids", neoq_error_message());
    assert_status(NEOQ_OK, neoq_enqueue(nq, &job, NULL));
    assert_true(has_job(nq, id));
    assert_int_equal(2, jobs_in(nq, "queue", NEOQ_READY));
    store_close(s, nq);
    nq = store_open(s, NULL);
    assert_int_equal(2, jobs_in(nq, "queue", NEOQ_READY));
}

/* The row number of what was undone goes to another process's job. */
static void test_what_comes_in_the_place_of_what_was_undone_is_seen(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL), *other = store_open(s, NULL);
    put(nq, "queue", "1", NULL);
    put(nq, "queue", "2", NULL);
    atomic_store(&failures, 2);
    int status = neoq_enqueue(nq, &(neoq_job){.queue = "queue", .payload = "undone"}, NULL);
    atomic_store(&failures, 0);
    assert_int_equal(NEOQ_EUNKNOWN, status);
    put(other, "queue", "3", NULL);
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &(neoq_job){.queue = "queue", .payload = "3"}, NULL));
    put(nq, "queue", "undone", NULL);
}

int main(int argc, char **argv)
{
    if (!store_choose(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        on_store(test_jobs_are_synced_and_beats_are_not),
        on_store(test_nothing_is_synced_where_that_was_asked_for),
        on_store(test_a_job_whose_sync_fails_is_unknown_until_it_is_sent_again),
        on_store(test_what_comes_in_the_place_of_what_was_undone_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
