/* SPDX-License-Identifier: MIT
 *
 * System calls that fail for want of descriptors, memory, disk or permission: a life of a store in an SQLite file, with
 * the first call of a kind failing, then the second, and so on until none fails any more; once with only that one
 * failing, once with all that follow. Whatever fails says so; what was enqueued is run; and afterwards all is as ever.
 */
#include "support/store.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <neoq/backend.h>

#include "faults/denied.h"
#include "support/apart.h"

enum { JOBS = 3, MOST = 2000 };

/* How the jobs are run. */
typedef enum way {
    BY_HAND, /* where nothing happens beside; and it is looked at from outside */
    IN_THREADS,
    IN_PROCESSES, /* with bounds on memory and time */
    TALKING,      /* the same: what they and we say to each other */
    CRASHING,     /* the same, and each leaves a process behind when it crashes, once */
    IN_A_LOOP,    /* of the program's: neoq_fd(), neoq_step() */
    IN_MAIN,      /* neoq_run() */
    WAYS
} way;

static const char *const way_names[WAYS] = {"by-hand",  "threads", "processes", "messages",
                                            "crashing", "loop",    "main"};

typedef struct fault {
    way way;
    const char *call;
    int error;
} fault;

/*
 * What the library and SQLite make of calls (nm -D --undefined-only, strace -c) that may fail for want of descriptors,
 * memory, disk or permission: each where it is made. Left out, because they cannot fail so, or nobody heeds it:
 *
 *   read(), write()       of eventfds, and poll() of so few that the kernel needs no memory for it; read() of /proc is in
 *   close(), munmap(),    nothing could be done about it, and all that matters was synchronised before
 *   fcntl() that unlocks
 *   fchmod(), fchown()    SQLite's try to give the WAL the owner and mode of the file: the same process made both
 *   getcwd(), readlink()  of paths that are relative or symbolic links: as lstat(), which is in
 *   rmdir(), utime(),     of SQLite's that are made for other journals, locks and mappings than ours
 *   mremap(), rename()
 *   getrandom(), getrusage(), getrlimit(), gethostname(), clock_gettime(), prctl(), kill(), setpgid(), waitid(),
 *   timer_settime(), sem_wait(), pthread_cond_wait(), futexes: nothing is asked for that might be short
 */
static const fault faults[] = {
    {BY_HAND, "open64", EMFILE},
    {BY_HAND, "open64", EACCES},
    {BY_HAND, "stat64", EACCES},
    {BY_HAND, "lstat64", ENOMEM},
    {BY_HAND, "fstat64", ENOMEM},
    {BY_HAND, "statfs64", ENOMEM},
    {BY_HAND, "statvfs64", EACCES},
    {BY_HAND, "access", EACCES},
    {BY_HAND, "mkdir", EACCES},
    {BY_HAND, "mkdir", ENOSPC},
    {BY_HAND, "mknod", EACCES},
    {BY_HAND, "mknod", ENOSPC},
    {BY_HAND, "read", ENOMEM},
    {BY_HAND, "fcntl64", ENOLCK},
    {BY_HAND, "eventfd", EMFILE},
    {BY_HAND, "inotify_init1", EMFILE},
    {BY_HAND, "inotify_add_watch", ENOSPC},
    {BY_HAND, "ftruncate64", EIO},
    {BY_HAND, "ftruncate64", ENOSPC},
    {BY_HAND, "pwrite64", ENOSPC},
    {BY_HAND, "pwrite64", EIO},
    {BY_HAND, "pread64", EIO},
    {BY_HAND, "fdatasync", EIO},
    {BY_HAND, "mmap64", ENOMEM},
    {BY_HAND, "madvise", ENOMEM},
    {BY_HAND, "unlink", EACCES},
    {BY_HAND, "utimensat", EACCES},
    {IN_THREADS, "pthread_create", EAGAIN},
    {IN_THREADS, "eventfd", EMFILE},
    {IN_THREADS, "inotify_init1", EMFILE},
    {IN_PROCESSES, "mmap64", ENOMEM},
    {IN_PROCESSES, "mprotect", ENOMEM},
    {IN_PROCESSES, "pidfd_open", EMFILE},
    {IN_PROCESSES, "socketpair", EMFILE},
    {IN_PROCESSES, "fork", EAGAIN},
    {IN_PROCESSES, "fork", ENOMEM},
    {IN_PROCESSES, "clone", EAGAIN},
    {IN_PROCESSES, "pthread_create", EAGAIN},
    {IN_PROCESSES, "eventfd", EMFILE},
    {IN_PROCESSES, "signalfd", ENFILE},
    {TALKING, "sendmsg", ENOBUFS},
    {TALKING, "recvmsg", ENOMEM},
    {IN_PROCESSES, "timer_create", EAGAIN},
    {IN_PROCESSES, "setrlimit64", EPERM},
    {IN_PROCESSES, "fopen64", EMFILE},
    {CRASHING, "fopen64", EMFILE},
    {CRASHING, "opendir", EMFILE},
    {IN_A_LOOP, "eventfd", EMFILE},
    {IN_A_LOOP, "pthread_create", EAGAIN},
    {IN_MAIN, "signalfd", EMFILE},
    {IN_MAIN, "eventfd", EMFILE},
};

/* Where a failure is to be looked for. */
static struct {
    const fault *fault;
    int64_t nth;
    bool on;
    const char *step;
} now;

/* What handlers tell, also where they run in a child. */
typedef struct told {
    atomic_int runs[JOBS], stray[JOBS];
} told;

/* What became of a life. */
typedef struct life {
    store *s;
    way way;
    char url[600];
    int status[JOBS]; /* of the enqueues */
    int enqueued;
    told *told;
    neoq *_Atomic runs_main; /* is in neoq_run(), for whoever sees that all jobs have run to shut down: once */
    atomic_int ended;
} life;

/* Leaves a process of another group behind. */
_Noreturn static void crash(told *t, int job)
{
    pid_t self = getpid();
    if (fork() == 0) {
        setsid();
        atomic_store(&t->stray[job], getpid());
        for (;;)
            pause();
    }
    while (getppid() > 1 && getpid() == self && atomic_load(&t->stray[job]) == 0)
        sched_yield();
    _exit(3);
}

static void shut_down_at_the_end(life *l)
{
    neoq *nq = atomic_load(&l->ended) >= l->enqueued ? atomic_exchange(&l->runs_main, NULL) : NULL;
    if (nq)
        neoq_shutdown(nq, 0);
}

static int count(neoq_ctx *ctx, void *arg)
{
    life *l = arg;
    int i = atoi(neoq_ctx_job(ctx)->payload);
    neoq_ctx_cancel_fd(ctx); /* -1 where there is no descriptor */
    if (i >= 0 && i < JOBS) {
        int before = atomic_fetch_add(&l->told->runs[i], 1);
        if (l->way == CRASHING && before == 0)
            crash(l->told, i);
    }
    atomic_fetch_add(&l->ended, 1);
    shut_down_at_the_end(l);
    return NEOQ_OK;
}

static int open_one(life *l, neoq **nq)
{
    neoq_options options = {.log = quiet,
                            .lease = l->way == BY_HAND ? NEOQ_MINUTES(1) : NEOQ_SECONDS(2),
                            .job_check_interval = NEOQ_MILLISECONDS(20),
                            .poll_interval = NEOQ_MILLISECONDS(200)};
    if (now.fault->error == ENOLCK) /* SQLite takes it for a lock that somebody else has, and so do we */
        options.connect_timeout = NEOQ_MILLISECONDS(20);
    return l->way == BY_HAND ? neoq_testing_open(nq, l->url, &options, l->s->clock, 0)
                             : neoq_open(nq, l->url, &options);
}

static int start(life *l, neoq *nq)
{
    neoq_handler handler = {.queue = "q", .handle = count, .arg = l, .concurrency = 2};
    if (l->way == IN_A_LOOP)
        handler.isolation = NEOQ_STEP;
    if (l->way == IN_PROCESSES || l->way == TALKING || l->way == CRASHING) {
        handler.isolation = NEOQ_PROCESS;
        handler.memory_limit = (size_t)1 << 30;
        handler.cpu_limit = NEOQ_SECONDS(60);
    }
    return neoq_start(nq, &handler);
}

/* ---- working -------------------------------------------------------------------------------- */

static bool is_drained(neoq *nq)
{
    neoq_queue_info *queues;
    size_t count;
    if (neoq_queues(nq, &queues, &count) != NEOQ_OK)
        return false;
    int64_t left = count == 1 ? queues->scheduled + queues->ready + queues->running + queues->retrying : 0;
    free(queues);
    return left == 0;
}

static int loop(neoq *nq, int seconds)
{
    patience p = patience_of(seconds);
    struct pollfd fd = {.fd = neoq_fd(nq), .events = POLLIN};
    if (fd.fd < 0)
        return NEOQ_EBACKEND;
    while (!is_drained(nq)) {
        if (!patience_going(&p)) {
            neoq_set_error(NEOQ_ETIMEOUT, "it is not drained");
            return NEOQ_ETIMEOUT;
        }
        if (poll(&fd, 1, 20) > 0)
            while (neoq_step(nq) == NEOQ_OK)
                ;
    }
    return NEOQ_OK;
}

static int work(const life *l, neoq *nq, int seconds)
{
    switch (l->way) {
    case BY_HAND: return neoq_testing_advance(nq, NEOQ_SECONDS(10), NULL);
    case IN_A_LOOP: return loop(nq, seconds);
    default: return neoq_drain(nq, NEOQ_SECONDS(seconds));
    }
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

/* Whether all jobs were run, be it before it came to the main loop. */
static bool run_main(life *l, neoq *nq)
{
    if (l->enqueued == 0)
        return false;
    atomic_store(&l->runs_main, nq);
    shut_down_at_the_end(l);
    said("run", neoq_run(nq));
    return atomic_exchange(&l->runs_main, NULL) == NULL;
}

static void take_finding(const neoq_finding *finding, void *arg)
{
    (void)arg;
    assert_true(finding->name[0] && finding->words[0]);
}

/* From outside. */
static void look(const char *url)
{
    neoq_schema_info info;
    said("doctor", neoq_doctor(url, NULL, take_finding, NULL));
    if (said("migrate", neoq_migrate(url, NULL, NEOQ_MIGRATE_STATUS, NULL, NULL, &info)) == NEOQ_OK)
        assert_true(info.version == info.known);
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
        l->enqueued += l->status[i] == NEOQ_OK;
    }
    if (said("start", start(l, nq)) == NEOQ_OK && !(l->way == IN_MAIN && run_main(l, nq)))
        said("work", work(l, nq, 2)); /* in vain, where all fail */
    neoq_close(nq);
    if (l->way == BY_HAND)
        look(l->url);
}

/* Nothing fails any more: what was enqueued comes to its end, and what was refused never began. */
static void live_on(life *l)
{
    neoq *nq = NULL;
    now.step = "afterwards";
    assert_status(NEOQ_OK, open_one(l, &nq));
    assert_status(NEOQ_OK, start(l, nq));
    put(nq, "q", "99", NULL);
    assert_status(NEOQ_OK, work(l, nq, 30));
    if (l->way == BY_HAND) /* a minute later no failed round trip is waited for */
        assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_MINUTES(2), NULL));
    else
        eventually(jobs_in(nq, "q", 0) == 0);
    assert_int_equal(0, jobs_in(nq, "q", 0));
    neoq_close(nq);
    for (int i = 0; i < JOBS; i++) {
        int runs = atomic_load(&l->told->runs[i]), crashes = l->way == CRASHING,
            stray = atomic_load(&l->told->stray[i]);
        /* One whose end could not be written down runs again. */
        if (l->status[i] == NEOQ_OK ? runs < 1 + crashes || runs > 2 + crashes
                                    : l->status[i] != NEOQ_EUNKNOWN && runs > 0)
            fail_msg("job %d, of which it said %s, was run %d times", i, neoq_status_name(l->status[i]), runs);
        if (stray > 0 && is_alive(stray)) {
            kill(stray, SIGKILL);
            fail_msg("what the first run of job %d left behind is alive", i);
        }
    }
}

/* For seconds, while nothing but time would help: by SQLite for want of a lock, and by a fork server which looks for what
 * a child has left. Such a call is not made to fail with all that follow. */
static bool is_tried_again(const fault *f)
{
    return f->error == ENOLCK || strcmp(f->call, "fopen64") == 0 || strcmp(f->call, "opendir") == 0;
}

static bool sweep_one(const fault *f, int64_t nth, bool on)
{
    void *of_store;
    now.fault = f;
    now.nth = nth;
    now.on = on;
    assert_int_equal(0, store_setup(&of_store));
    int descriptors = descriptors_of(getpid());
    life l = {.s = of_store, .way = f->way};
    l.told = mmap(NULL, sizeof *l.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(l.told != MAP_FAILED);
    snprintf(l.url, sizeof l.url, "sqlite:%s/new/jobs.db", l.s->folder);
    deny(f->call, f->error, nth, on);
    live(&l);
    bool denied = deny_end();
    live_on(&l);
    assert_int_equal(descriptors, descriptors_of(getpid()));
    assert_int_equal(0, children_of(getpid(), false));
    char path[600];
    const char *const ends[] = {"jobs.db", "jobs.db-wal", "jobs.db-shm", ""};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(path, sizeof path, "%s/new/%s", l.s->folder, ends[i]);
        remove(path);
    }
    munmap(l.told, sizeof *l.told);
    store_teardown(&of_store);
    return denied;
}

static void sweep(void **state)
{
    const fault *f = *state;
    int64_t counts[2] = {0}, few = getenv("NEOQ_TEST_EVERY") ? MOST : 12;
    for (int on = 0; on < (is_tried_again(f) ? 1 : 2); on++) {
        int64_t nth = 1;
        /* There are hundreds of some, much alike: NEOQ_TEST_EVERY=1 has each of them fail. */
        for (; sweep_one(f, nth, on); nth += nth < few ? 1 : nth / 3)
            assert_true(nth < MOST);
        counts[on] = nth - 1;
        if (nth == 1)
            fail_msg("%s was never called", f->call);
    }
    print_message("%s, %s: %" PRId64 " and %" PRId64 " failures\n", f->call, strerrorname_np(f->error), counts[0],
                  counts[1]);
    now.fault = NULL;
}

/* ---- a signal on its way -------------------------------------------------------------------- */

static int heed_nothing(neoq_ctx *ctx, void *arg)
{
    told *t = arg;
    (void)ctx;
    signal(SIGTERM, SIG_IGN);
    atomic_store(&t->stray[0], getpid());
    while (getppid() > 0)
        pause();
    return NEOQ_OK;
}

/* Time passes, and whatever was due in it is done. */
static void pass(const store *s, neoq *nq, neoq_duration time)
{
    neoq_clock_advance(s->clock, time + 1);
    eventually(neoq_stalled(nq) == 0);
}

/* The ticker may have heard late of the run's end, and be a step behind what was waited for. */
static bool is_gone_in_time(const store *s, neoq *nq, pid_t pid)
{
    pass(s, nq, NEOQ_SECONDS(1));
    return !is_alive(pid);
}

/* As with a fork server that stands still, whose socket is full of orders. */
static void a_signal_that_finds_no_room_is_sent_once_more(void **state)
{
    char id[NEOQ_ID_SIZE];
    told *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t != MAP_FAILED);
    neoq *nq = store_open_threads(*state, NULL);
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "q",
                                                          .handle = heed_nothing,
                                                          .arg = t,
                                                          .concurrency = 1,
                                                          .isolation = NEOQ_PROCESS,
                                                          .timeout = NEOQ_SECONDS(5),
                                                          .kill_after = NEOQ_SECONDS(2)}));
    put_job(nq, (neoq_job){.queue = "q", .max_retries = NEOQ_NO_RETRIES}, id);
    eventually(atomic_load(&t->stray[0]) > 0);
    deny("sendmsg", EAGAIN, 1, true);
    pass(*state, nq, NEOQ_SECONDS(5)); /* it is told */
    pass(*state, nq, NEOQ_SECONDS(1)); /* SIGTERM */
    pass(*state, nq, NEOQ_SECONDS(2)); /* SIGKILL */
    assert_true(deny_end());
    assert_true(is_alive(atomic_load(&t->stray[0])));
    eventually(is_gone_in_time(*state, nq, atomic_load(&t->stray[0])));
    eventually(state_of(nq, id) == NEOQ_DEAD);
    store_close(*state, nq);
    munmap(t, sizeof *t);
}

/* ---- all of them ---------------------------------------------------------------------------- */

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

/* The second argument is a way: without it, all of them. */
int main(int argc, char **argv)
{
    enum { COUNT = sizeof faults / sizeof *faults };
    struct CMUnitTest tests[COUNT + 1];
    char names[COUNT][64];
    size_t count = 0;
    if (!store_choose(argc > 1 ? 2 : argc, argv))
        return 2;
    for (size_t i = 0; i < COUNT; i++) {
        if (argc > 2 && strcmp(argv[2], way_names[faults[i].way]) != 0)
            continue;
        snprintf(names[count], sizeof names[count], "%s %s %s", way_names[faults[i].way], faults[i].call,
                 strerrorname_np(faults[i].error));
        tests[count] = (struct CMUnitTest){.name = names[count],
                                           .test_func = sweep,
                                           .teardown_func = tell_where,
                                           .initial_state = (void *)(uintptr_t)&faults[i]};
        count++;
    }
    if (argc < 3 || strcmp(argv[2], way_names[IN_PROCESSES]) == 0)
        tests[count++] = (struct CMUnitTest)on_store(a_signal_that_finds_no_room_is_sent_once_more);
    if (argc > 3)
        cmocka_set_test_filter(argv[3]);
    return count > 0 ? _cmocka_run_group_tests("calls", tests, count, NULL, NULL) : 2;
}
