/* SPDX-License-Identifier: MIT
 *
 * System calls that fail for want of descriptors, memory, disk or permission: a life of a store in an SQLite file, with
 * the first call of a kind failing, then the second, and so on until none fails any more; once with only that one
 * failing, once with all that follow. Whatever fails says so; what was enqueued is run; and afterwards all is as ever.
 */
#include "support/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <neoq/backend.h>

#include "faults/denied.h"

enum { JOBS = 3, MOST = 2000 };

/* By hand, where nothing happens beside; in threads; in child processes. */
typedef enum way { BY_HAND, IN_THREADS, IN_PROCESSES } way;

typedef struct fault {
    const char *call;
    int error;
    way way;
} fault;

static const fault faults[] = {
    {"open64", EMFILE, BY_HAND},
    {"open64", EACCES, BY_HAND},
    {"mkdir", EACCES, BY_HAND},
    {"mkdir", ENOSPC, BY_HAND},
    {"mknod", EACCES, BY_HAND},
    {"mknod", ENOSPC, BY_HAND},
    {"eventfd", EMFILE, BY_HAND},
    {"inotify_init1", EMFILE, BY_HAND},
    {"inotify_add_watch", ENOSPC, BY_HAND},
    {"ftruncate64", EIO, BY_HAND},
    {"ftruncate64", ENOSPC, BY_HAND},
    {"pwrite64", ENOSPC, BY_HAND},
    {"pwrite64", EIO, BY_HAND},
    {"pread64", EIO, BY_HAND},
    {"fdatasync", EIO, BY_HAND},
    {"mmap64", ENOMEM, BY_HAND},
    {"unlink", EACCES, BY_HAND},
    {"utimensat", EACCES, BY_HAND},
    {"pthread_create", EAGAIN, IN_THREADS},
    {"eventfd", EMFILE, IN_THREADS},
    {"inotify_init1", EMFILE, IN_THREADS},
    {"mmap64", ENOMEM, IN_PROCESSES},
    {"socketpair", EMFILE, IN_PROCESSES},
    {"fork", EAGAIN, IN_PROCESSES},
    {"fork", ENOMEM, IN_PROCESSES},
    {"clone", EAGAIN, IN_PROCESSES},
    {"pthread_create", EAGAIN, IN_PROCESSES},
};

/* Where a failure is to be looked for. */
static struct {
    const fault *fault;
    int64_t nth;
    bool on;
    const char *step;
} now;

/* What became of a life. */
typedef struct life {
    store *s;
    way way;
    char url[600];
    int status[JOBS]; /* of the enqueues */
    atomic_int *runs; /* JOBS of them, which children see, too */
} life;

/* Counts, also where it runs in a child. */
static int count(neoq_ctx *ctx, void *arg)
{
    life *l = arg;
    int i = atoi(neoq_ctx_job(ctx)->payload);
    neoq_ctx_cancel_fd(ctx); /* -1 where there is no descriptor */
    if (i >= 0 && i < JOBS)
        atomic_fetch_add(&l->runs[i], 1);
    return NEOQ_OK;
}

static int open_one(life *l, neoq **nq)
{
    neoq_options options = {.log = quiet,
                            .lease = l->way == BY_HAND ? NEOQ_MINUTES(1) : NEOQ_SECONDS(2),
                            .job_check_interval = NEOQ_MILLISECONDS(20),
                            .poll_interval = NEOQ_MILLISECONDS(200)};
    return l->way == BY_HAND ? neoq_testing_open(nq, l->url, &options, l->s->clock, 0)
                             : neoq_open(nq, l->url, &options);
}

static int start(life *l, neoq *nq)
{
    return neoq_start(nq, &(neoq_handler){.queue = "q",
                                          .handle = count,
                                          .arg = l,
                                          .concurrency = 2,
                                          .isolation = l->way == IN_PROCESSES ? NEOQ_PROCESS : NEOQ_THREAD});
}

static int work(const life *l, neoq *nq, neoq_duration longest)
{
    return l->way == BY_HAND ? neoq_testing_advance(nq, NEOQ_SECONDS(10), NULL) : neoq_drain(nq, longest);
}

/* A failure that says what it is. */
static int said(const char *step, int status)
{
    now.step = step;
    if (status != NEOQ_OK) {
        if (status != NEOQ_EBACKEND && status != NEOQ_ENOMEM && status != NEOQ_EUNKNOWN && status != NEOQ_ETIMEOUT)
            fail_msg("%s: %s: %s", step, neoq_status_name(status), neoq_error_message());
        assert_true(neoq_error_message()[0]);
        if (getenv("NEOQ_TEST_LOG"))
            print_message("%s: %s: %s\n", step, neoq_status_name(status), neoq_error_message());
    }
    neoq_set_error(NEOQ_OK, "%s", "");
    return status;
}

static void live(life *l)
{
    neoq_duration soon[100]; /* a run fails where no child can be had */
    neoq *nq = NULL;
    for (size_t i = 0; i < sizeof soon / sizeof *soon; i++)
        soon[i] = NEOQ_MILLISECONDS(100);
    for (int i = 0; i < JOBS; i++)
        l->status[i] = NEOQ_EBACKEND;
    if (said("open", open_one(l, &nq)) != NEOQ_OK) {
        assert_null(nq);
        return;
    }
    for (int i = 0; i < JOBS; i++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%d", i);
        neoq_job job = {.queue = "q", .payload = payload, .retry_waits = soon, .retry_wait_count = 100};
        l->status[i] = said("enqueue", neoq_enqueue(nq, &job, NULL));
    }
    if (said("start", start(l, nq)) == NEOQ_OK)
        said("work", work(l, nq, NEOQ_SECONDS(2))); /* in vain, where all fail */
    neoq_close(nq);
}

/* Nothing fails any more: what was enqueued comes to its end, and what was refused never began. */
static void live_on(life *l)
{
    neoq *nq = NULL;
    now.step = "afterwards";
    assert_status(NEOQ_OK, open_one(l, &nq));
    assert_status(NEOQ_OK, start(l, nq));
    put(nq, "q", "99", NULL);
    assert_status(NEOQ_OK, work(l, nq, NEOQ_SECONDS(30)));
    if (l->way == BY_HAND) /* a minute later no failed round trip is waited for */
        assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_MINUTES(2), NULL));
    else
        eventually(jobs_in(nq, "q", 0) == 0);
    assert_int_equal(0, jobs_in(nq, "q", 0));
    neoq_close(nq);
    for (int i = 0; i < JOBS; i++) {
        int runs = atomic_load(&l->runs[i]);
        /* One whose end could not be written down runs again. */
        if (l->status[i] == NEOQ_OK ? runs < 1 || runs > 2 : l->status[i] != NEOQ_EUNKNOWN && runs > 0)
            fail_msg("job %d, of which it said %s, was run %d times", i, neoq_status_name(l->status[i]), runs);
    }
}

static bool sweep_one(const fault *f, int64_t nth, bool on)
{
    void *of_store;
    now.fault = f;
    now.nth = nth;
    now.on = on;
    assert_int_equal(0, store_setup(&of_store));
    life l = {.s = of_store, .way = f->way};
    l.runs = mmap(NULL, JOBS * sizeof *l.runs, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(l.runs != MAP_FAILED);
    snprintf(l.url, sizeof l.url, "sqlite:%s/new/jobs.db", l.s->folder);
    deny(f->call, f->error, nth, on);
    live(&l);
    bool denied = deny_end();
    live_on(&l);
    char path[600];
    const char *const ends[] = {"jobs.db", "jobs.db-wal", "jobs.db-shm", ""};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s/new/%s", l.s->folder, ends[i]);
        remove(path);
    }
    munmap(l.runs, JOBS * sizeof *l.runs);
    store_teardown(&of_store);
    return denied;
}

static void sweep(void **state)
{
    const fault *f = *state;
    int64_t counts[2], few = getenv("NEOQ_TEST_EVERY") ? MOST : 12;
    for (int on = 0; on < 2; on++) {
        int64_t nth = 1;
        /* There are hundreds of some, much alike: NEOQ_TEST_EVERY=1 has each of them fail. */
        for (; sweep_one(f, nth, on); nth += nth < few ? 1 : nth / 3)
            assert_true(nth < MOST);
        counts[on] = nth - 1;
    }
    print_message("%s, %s: %" PRId64 " and %" PRId64 " failures\n", f->call, strerrorname_np(f->error), counts[0],
                  counts[1]);
    now.fault = NULL;
}

static int tell_where(void **state)
{
    (void)state;
    deny_end();
    if (now.fault)
        print_error("%s no. %" PRId64 "%s failing with %s, at: %s\n", now.fault->call, now.nth,
                    now.on ? " and all that follow" : "", strerrorname_np(now.fault->error), now.step);
    now.fault = NULL;
    return 0;
}

int main(int argc, char **argv)
{
    enum { COUNT = sizeof faults / sizeof *faults };
    struct CMUnitTest tests[COUNT];
    char names[COUNT][64];
    char *const arguments[] = {argv[0], "sqlite:", argc > 1 ? argv[1] : NULL, NULL};
    if (!store_choose(argc > 1 ? 3 : 2, (char **)(uintptr_t)arguments))
        return 2;
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "%s %s %d", faults[i].call, strerrorname_np(faults[i].error),
                 (int)faults[i].way);
        tests[i] = (struct CMUnitTest){.name = names[i],
                                       .test_func = sweep,
                                       .teardown_func = tell_where,
                                       .initial_state = (void *)(uintptr_t)&faults[i]};
    }
    return _cmocka_run_group_tests("calls", tests, COUNT, NULL, NULL);
}
