/* SPDX-License-Identifier: MIT
 *
 * Handlers in processes of their own: what they find, what they leave, and what the program sees of them: nothing.
 */
#include "support/apart.h"
#include "support/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int count_descriptors(neoq_ctx *ctx, void *arg)
{
    common *c = arg;
    (void)ctx;
    note_run(c);
    for (int fd = 3; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            c->descriptors++;
    return NEOQ_OK;
}

static void test_a_child_has_no_descriptor_but_its_socket(void **state)
{
    common *c = make_common();
    neoq *nq = start_apart(*state, apart(count_descriptors, c), c);
    char id[NEOQ_ID_SIZE];
    put(nq, "apart", NULL, id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_int_equal(1, c->descriptors);
}

/* ---- what a run leaves ------------------------------------------------------------------- */

/* Not even a zombie of it is left. */
static bool is_gone(pid_t pid)
{
    return kill(pid, 0) != 0;
}

/* Lives as long as the test, and does not keep open what that writes to: nobody who waits for its end waits for us. */
_Noreturn static void stay_on(const common *c)
{
    signal(SIGTERM, SIG_IGN);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    while (!is_gone(c->test))
        usleep(20000);
    _exit(0);
}

/* A process whose parent is gone. */
static void leave_behind(common *c, bool leaves_group)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (leaves_group)
            setsid();
        pid = fork();
        if (pid == 0)
            stay_on(c);
        atomic_store(&c->stray, pid);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static int leave_a_stray(neoq_ctx *ctx, void *arg)
{
    const char *how = neoq_ctx_job(ctx)->payload;
    common *c = arg;
    if (note_run(c) > 0) {
        c->stray_seen = !is_gone(c->stray);
        return NEOQ_OK;
    }
    leave_behind(c, strcmp(how, "fail in the group") != 0 && strcmp(how, "crash in the group") != 0);
    if (strncmp(how, "crash", 5) == 0)
        abort();
    return neoq_fail(ctx, "failed");
}

static void leave_and(store *s, const char *how)
{
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq *nq = start_apart(s, apart(leave_a_stray, c), c);
    put_job(nq, retried_at_once(how), id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_true(c->stray > 0);
    assert_int_equal(0, c->stray_seen);
    assert_int_not_equal(c->pids[0], c->pids[1]);
    store_close(s, nq);
}

static void test_what_a_crashed_run_left_is_gone_before_the_retry(void **state)
{
    leave_and(*state, "crash");
}

static void test_what_a_failed_run_left_is_gone_before_the_retry(void **state)
{
    leave_and(*state, "fail");
}

static void test_the_same_of_what_stayed_in_the_group(void **state)
{
    leave_and(*state, "crash in the group");
    leave_and(*state, "fail in the group");
}

static void test_a_child_is_replaced_after_so_many_runs(void **state)
{
    common *c = make_common();
    neoq_handler handler = apart(count_descriptors, c);
    handler.recycle_after = 4;
    neoq *nq = start_apart(*state, handler, c);
    for (int i = 0; i < 12; i++)
        put_job(nq, (neoq_job){.queue = "apart", .unique = NEOQ_UNIQUE_OFF}, NULL);
    eventually(jobs_in(nq, "apart", NEOQ_DONE) == 12);
    for (int i = 0; i < 12; i++)
        assert_true((i < 4 || c->pids[i] != c->pids[i - 4]) && c->pids[i] == c->pids[i / 4 * 4]);
}

/* Each job's first run may crash in one way or another, and leave something behind in each. */
static int crash_now_and_then(neoq_ctx *ctx, void *arg)
{
    common *c = arg;
    int run = note_run(c);
    if (neoq_ctx_job(ctx)->retries > 0 || run % 50 != 0)
        return NEOQ_OK;
    atomic_fetch_add(&c->told, 1);
    if (run % 100 == 0)
        leave_behind(c, run % 200 == 0);
    switch (run / 50 % 4) {
    case 0: raise(SIGSEGV); break;
    case 1: _exit(0);
    case 2: abort();
    default: kill(0, SIGKILL); /* the whole group */
    }
    return NEOQ_OK;
}

static void put_many(neoq *nq, int64_t count)
{
    enum { BATCH = 1000 };
    static neoq_job jobs[BATCH];
    static neoq_enqueued results[BATCH];
    for (int i = 0; i < BATCH; i++)
        jobs[i] = (neoq_job){.queue = "apart", .unique = NEOQ_UNIQUE_OFF};
    for (int64_t left = count; left > 0; left -= BATCH)
        assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, left < BATCH ? (size_t)left : BATCH, results));
}

/* NEOQ_TEST_RUNS says how many. */
static void test_many_runs_leave_nobody(void **state)
{
    store *s = *state;
    common *c = make_common();
    const char *wanted = getenv("NEOQ_TEST_RUNS");
    int64_t count = wanted ? atoll(wanted) : 4000;
    bool pooled = store_is("postgres") || store_is("redis"); /* connections come and go */
    int at_first = descriptors_of(getpid());
    neoq_handler handler = apart(crash_now_and_then, c);
    handler.concurrency = 3;
    handler.recycle_after = 70;
    handler.timeout = NEOQ_FOREVER;
    neoq *nq = start_apart(s, handler, c);
    put_many(nq, 400);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS)));
    int before = descriptors_of(getpid());
    put_many(nq, count - 400);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(PATIENCE_SECONDS + count / 200)));
    pid_t server = c->server;
    eventually(queue_of(nq, "apart").done == count); /* a retry may be due by the server's clock alone */
    assert_int_equal(count + c->told, c->runs);
    assert_int_equal(c->told, c->crashes);
    assert_true(c->told > count / 60);
    eventually(children_of(server, false) == 3);     /* one that was sent home may be on its way */
    eventually(descriptors_of(server) == 3 + 3 + 3); /* 0 to 2; its host, the end of that, signals; a child each */
    eventually(children_of(server, true) == 0);
    assert_int_equal(0, children_of(getpid(), false));
    assert_true(pooled || before == descriptors_of(getpid()));
    print_message("%d runs, %d of them crashes\n", c->runs, c->crashes);
    store_close(s, nq);
    eventually(!is_alive(server));
    assert_int_equal(at_first, descriptors_of(getpid()));
}

/* ---- the program itself ------------------------------------------------------------------ */

static atomic_int child_signals;

static void count_signal(int number)
{
    (void)number;
    atomic_fetch_add(&child_signals, 1);
}

static void test_the_programs_own_children_and_signals_are_left_alone(void **state)
{
    common *c = make_common();
    struct sigaction action = {.sa_handler = count_signal}, before, now;
    int status = 0;
    assert_int_equal(0, sigaction(SIGCHLD, &action, &before));
    pid_t own = fork();
    if (own == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    neoq *nq = start_apart(*state, apart(leave_a_stray, c), c);
    char id[NEOQ_ID_SIZE];
    put_job(nq, retried_at_once("crash"), id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_int_equal(0, waitpid(-1, &status, WNOHANG)); /* there is none but its own */
    if (!SANITIZED)                                     /* see deliver() in fork_server.c */
        assert_int_equal(0, child_signals);
    assert_int_equal(1, children_of(getpid(), false));
    kill(own, SIGKILL);
    assert_int_equal(own, waitpid(own, &status, 0));
    assert_true(WIFSIGNALED(status));
    store_close(*state, nq);
    assert_int_equal(-1, waitpid(-1, &status, WNOHANG));
    assert_int_equal(ECHILD, errno);
    assert_int_equal(0, sigaction(SIGCHLD, &before, &now));
    assert_ptr_equal(count_signal, now.sa_handler);
}

enum { NOT_ALLOWED = 77 };

static int say_and_stay(neoq_ctx *ctx, void *arg)
{
    char line[100];
    (void)ctx;
    (void)arg;
    snprintf(line, sizeof line, "running %d %d", getpid(), getppid());
    child_say(line);
    while (pause() < 0)
        ;
    return NEOQ_OK;
}

/* Crashes, and a stray that the first of all processes would inherit. */
static int be_the_first(neoq *nq, common *c)
{
    char id[NEOQ_ID_SIZE];
    neoq_handler handler = apart(leave_a_stray, c);
    neoq_job job = retried_at_once("crash");
    if (neoq_start(nq, &handler) != NEOQ_OK || neoq_enqueue(nq, &job, id) != NEOQ_OK)
        return 3;
    for (int i = 0; i < 2000 && state_of(nq, id) != NEOQ_DONE; i++)
        usleep(10000);
    if (state_of(nq, id) != NEOQ_DONE)
        return 4;
    if (c->stray_seen)
        return 5;
    neoq_close(nq);
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 6;
}

/* Where /proc cannot tell of strays, the group is killed all the same. */
static int be_without_proc(neoq *nq, common *c)
{
    char id[NEOQ_ID_SIZE];
    neoq_handler handler = apart(leave_a_stray, c);
    neoq_job job = retried_at_once("crash in the group");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("none", "/proc", "tmpfs", 0, NULL) != 0)
        return NOT_ALLOWED;
    if (neoq_start(nq, &handler) != NEOQ_OK || neoq_enqueue(nq, &job, id) != NEOQ_OK)
        return 3;
    for (int i = 0; i < 2000 && c->runs < 2; i++)
        usleep(10000);
    for (int i = 0; i < 2000 && !is_gone(c->stray); i++)
        usleep(10000);
    return c->runs < 2 ? 4 : is_gone(c->stray) ? 0 : 5;
}

static int be_a_program(const char *role, const char *url)
{
    neoq *nq = NULL;
    common *c = make_common();
    if (neoq_open(&nq, url, &(neoq_options){.log = quiet, .retention = NEOQ_FOREVER}) != NEOQ_OK)
        return 1;
    if (strcmp(role, "first") == 0)
        return be_the_first(nq, c);
    if (strcmp(role, "without proc") == 0)
        _exit(be_without_proc(nq, c)); /* a look for leaks would want /proc, too */
    neoq_handler handler = apart(say_and_stay, c);
    if (neoq_start(nq, &handler) != NEOQ_OK || neoq_enqueue(nq, &(neoq_job){.queue = "apart"}, NULL) != NEOQ_OK)
        return 2;
    for (;;)
        pause();
}

static void test_nothing_outlives_a_killed_program(void **state)
{
    store *s = *state;
    char line[100] = "";
    int pid = 0, server = 0;
    child c = child_start("staying", s->url);
    for (size_t size = 0; size < sizeof line - 1 && read(c.from, line + size, 1) == 1 && line[size] != '\n'; size++)
        ;
    assert_int_equal(2, sscanf(line, "running %d %d", &pid, &server));
    assert_true(is_alive(pid) && is_alive(server));
    child_signal(&c, SIGKILL);
    child_wait(&c);
    eventually(!is_alive(pid) && !is_alive(server));
}

/* Runs this program as that role, in a namespace of its own. */
static void be_in_namespace(const store *s, int flags, const char *role)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(flags) != 0)
            _exit(NOT_ALLOWED);
        child c = child_start(role, s->url);
        _exit(waitpid(c.pid, &status, 0) == c.pid && WIFEXITED(status) ? WEXITSTATUS(status) : 99);
    }
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_ALLOWED) {
        print_message("skipped: such namespaces are not allowed here\n");
        skip();
    }
    assert_int_equal(0, WEXITSTATUS(status));
}

static void test_it_works_as_the_first_process_of_a_pid_namespace(void **state)
{
    be_in_namespace(*state, CLONE_NEWPID, "first");
}

static void test_without_proc_the_group_goes_all_the_same(void **state)
{
    be_in_namespace(*state, CLONE_NEWNS, "without proc");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_child_has_no_descriptor_but_its_socket),
        on_store(test_what_a_crashed_run_left_is_gone_before_the_retry),
        on_store(test_what_a_failed_run_left_is_gone_before_the_retry),
        on_store(test_the_same_of_what_stayed_in_the_group),
        on_store(test_a_child_is_replaced_after_so_many_runs),
        on_store(test_many_runs_leave_nobody),
        on_store(test_the_programs_own_children_and_signals_are_left_alone),
        on_store(test_nothing_outlives_a_killed_program),
        on_store(test_it_works_as_the_first_process_of_a_pid_namespace),
        on_store(test_without_proc_the_group_goes_all_the_same),
    };
    const char *role, *url;
    if (child_role(argc, argv, &role, &url))
        return be_a_program(role, url);
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("process_hygiene", tests, NULL, NULL);
}
