/* SPDX-License-Identifier: MIT
 *
 * Handlers in processes of their own: runs that take too much, or too long, or are to end.
 */
#include "support/apart.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- limits ------------------------------------------------------------------------------ */

static const size_t little = (size_t)16 << 20, limit = (size_t)64 << 20, much = (size_t)256 << 20;

/* Asked of the kernel: the sanitizers' malloc() would end the program in its own way. */
static bool take_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED && munmap(memory, size) == 0;
}

static int take_too_much(neoq_ctx *ctx, void *arg)
{
    const char *what = neoq_ctx_job(ctx)->payload;
    int run = note_run(arg);
    if (!take_memory(little))
        return neoq_discard(ctx, "not even a little memory");
    if (run > 0)
        return NEOQ_OK;
    if (strcmp(what, "memory") == 0 && !take_memory(much))
        abort();
    if (strcmp(what, "memory, heeded") == 0 && !take_memory(much))
        return neoq_fail(ctx, "no memory");
    for (volatile int64_t i = 0; strcmp(what, "cpu") == 0; i++)
        ;
    return neoq_discard(ctx, "still here");
}

static int take_all(neoq_ctx *ctx, void *arg)
{
    static char result[4 << 20];
    note_run(arg);
    neoq_set_result(ctx, result, sizeof result);
    while (mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        ;
    return NEOQ_OK;
}

/* The limit is the handler's. */
static void test_a_run_that_took_all_memory_may_still_end(void **state)
{
    store *s = *state;
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq_handler handler = apart(take_all, c);
    if (SANITIZED)
        skip(); /* they want some for themselves */
    handler.memory_limit = limit;
    neoq *nq = start_apart(s, handler, c);
    put_job(nq, retried_at_once("all"), id);
    eventually(state_of(nq, id) >= NEOQ_DONE);
    assert_int_equal(1, c->runs);
    assert_int_equal(4 << 20, store_job(s, nq, id)->result_size);
}

static neoq *run_limited(store *s, common *c, const char *what, char *id)
{
    neoq_handler handler = apart(take_too_much, c);
    handler.memory_limit = limit;
    handler.cpu_limit = NEOQ_MILLISECONDS(100);
    neoq *nq = start_apart(s, handler, c);
    put_job(nq, retried_at_once(what), id);
    eventually(state_of(nq, id) >= NEOQ_DONE);
    return nq;
}

static void test_a_run_that_takes_too_much_memory_is_refused_it(void **state)
{
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq *nq = run_limited(*state, c, "memory", id);
    assert_crashed_once(nq, c, id, SIGABRT, "SIGABRT");
}

/* The next run in the same child has as much as the first. */
static void test_a_run_that_is_refused_memory_may_say_so_and_end(void **state)
{
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq_run_info runs[25];
    neoq *nq = run_limited(*state, c, "memory, heeded", id);
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
    assert_int_equal(2, runs_of(nq, id, runs));
    assert_string_equal("no memory", runs[1].error);
    assert_int_equal(c->pids[0], c->pids[1]);
}

static void test_a_run_that_takes_too_much_processor_time_fails(void **state)
{
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq_run_info runs[25];
    neoq *nq = run_limited(*state, c, "cpu", id);
    assert_crashed_once(nq, c, id, SIGXCPU, "exceeded its cpu_limit of 0.100 s");
    runs_of(nq, id, runs);
    assert_true(runs[1].cpu_time >= NEOQ_MILLISECONDS(100));
}

/* ---- time: on the virtual clock, which stands while a child does its part ----------------- */

enum { BEGUN = 1, CANCELLED, TERMINATED }; /* what is told */

static common *staying; /* in the child */

static void note_sigterm(int number)
{
    (void)number;
    atomic_store(&staying->told, TERMINATED);
}

static int stay(neoq_ctx *ctx, void *arg)
{
    const char *how = neoq_ctx_job(ctx)->payload;
    staying = arg;
    if (note_run(staying) > 0)
        return NEOQ_OK;
    if (strcmp(how, "ignore") == 0)
        signal(SIGTERM, note_sigterm);
    atomic_store(&staying->told, BEGUN);
    while (!neoq_ctx_cancelled(ctx))
        sched_yield();
    atomic_store(&staying->told, CANCELLED);
    while (strcmp(how, "heed") != 0)
        pause();
    return NEOQ_OK;
}

static neoq *start_staying(store *s, common *c, const char *how, neoq_time deadline, char *id)
{
    neoq_handler handler = apart(stay, c);
    handler.timeout = NEOQ_SECONDS(20);
    handler.kill_after = NEOQ_SECONDS(7);
    neoq *nq = store_open_threads(s, &(neoq_options){.retention = NEOQ_FOREVER});
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    neoq_job job = retried_at_once(how);
    job.deadline = deadline;
    put_job(nq, job, id);
    eventually(c->told == BEGUN);
    return nq;
}

/* Waits until the run was told, and whoever told it has settled when the next step is due: that holds the mutex, which
 * this call takes. */
static void await_told(const common *c, neoq *nq, int what)
{
    eventually(c->told == what);
    assert_status(NEOQ_OK, neoq_tend(nq));
}

/* From the first run's cancellation on: time passes until signal number ends it (0: none has to). */
static void end_by(store *s, const common *c, neoq *nq, int number)
{
    await_told(c, nq, CANCELLED);
    if (number != 0)
        neoq_clock_advance(s->clock, NEOQ_SECONDS(1));
    if (number == SIGKILL) {
        await_told(c, nq, TERMINATED);
        neoq_clock_advance(s->clock, NEOQ_SECONDS(7));
    }
}

/* How many seconds the one run took, once it is over. */
static int64_t seconds_taken(neoq *nq, const char *id)
{
    neoq_run_info runs[25];
    eventually(runs_of(nq, id, runs) == 1 && runs[0].finished_at > 0);
    return (runs[0].finished_at - runs[0].started_at) / NEOQ_SECONDS(1);
}

static void time_out_as(store *s, const char *how, int number, int seconds)
{
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq_run_info runs[25];
    neoq *nq = start_staying(s, c, how, 0, id);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(20));
    end_by(s, c, nq, number);
    assert_int_equal(seconds, seconds_taken(nq, id));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(1)); /* for the retry */
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_int_equal(2, runs_of(nq, id, runs));
    assert_string_equal("timeout", runs[1].outcome);
    assert_words("exceeded its timeout of 20.000 s", runs[1].error);
    assert_int_equal(number, runs[1].signal);
    assert_int_equal(1, c->crashes);
    if (number)
        assert_int_not_equal(c->pids[0], c->pids[1]);
    else
        assert_int_equal(c->pids[0], c->pids[1]);
    store_close(s, nq);
}

static void test_at_its_timeout_a_run_is_asked_to_end(void **state)
{
    time_out_as(*state, "heed", 0, 20);
}

static void test_a_second_after_it_was_asked_it_gets_sigterm(void **state)
{
    time_out_as(*state, "go on", SIGTERM, 21);
}

static void test_kill_after_that_it_gets_sigkill(void **state)
{
    time_out_as(*state, "ignore", SIGKILL, 28);
}

static void test_at_its_deadline_the_run_is_ended_and_the_job_dead(void **state)
{
    store *s = *state;
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq *nq = start_staying(s, c, "go on", STORE_START + NEOQ_SECONDS(5), id);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(5));
    end_by(s, c, nq, SIGTERM);
    assert_int_equal(6, seconds_taken(nq, id));
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
    assert_words("deadline", store_job(s, nq, id)->error);
    assert_int_equal(1, c->runs);
}

static void test_a_cancelled_run_is_ended_and_the_job_dead(void **state)
{
    store *s = *state;
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq *nq = start_staying(s, c, "ignore", 0, id);
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    end_by(s, c, nq, SIGKILL);
    assert_int_equal(8, seconds_taken(nq, id));
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("cancelled", runs[0].outcome);
    assert_false(is_alive(c->pids[0]));
}

static void test_a_shutdown_kills_what_does_not_end_and_gives_it_back(void **state)
{
    common *c = make_common();
    char id[NEOQ_ID_SIZE];
    neoq_run_info runs[25];
    neoq *nq = start_apart(*state, apart(stay, c), c);
    put(nq, "apart", "ignore", id);
    eventually(c->told == BEGUN);
    assert_status(NEOQ_ETIMEOUT, neoq_shutdown(nq, 1));
    assert_false(is_alive(c->pids[0]));
    assert_int_equal(NEOQ_READY, state_of(nq, id));
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("released", runs[0].outcome);
}

/* ---- a signal that comes too late: the fork server, which delivers it, stands still meanwhile ---------------------- */

enum { LEAVING = TERMINATED + 1, LOOKING };

/* The first run ends when it is told to, whatever it is asked; another, in the same process, is there to be hit. */
static int leave(neoq_ctx *ctx, void *arg)
{
    common *c = arg;
    if (note_run(c) > 0) {
        while (getpid() == c->pids[0])
            pause();
        return NEOQ_OK;
    }
    atomic_store(&c->told, BEGUN);
    while (!neoq_ctx_cancelled(ctx))
        sched_yield();
    atomic_store(&c->told, CANCELLED);
    while (c->told == CANCELLED)
        sched_yield();
    return NEOQ_OK;
}

/* As long as the test likes, but at the first run's end alone. */
static void look_at_crash(const neoq_job *job, const char *error, void *arg)
{
    common *c = arg;
    (void)job;
    (void)error;
    if (c->runs > 1)
        return;
    atomic_store(&c->told, LOOKING);
    while (c->told == LOOKING)
        sched_yield();
}

static neoq *start_leaving(store *s, common *c, bool looked_at)
{
    char id[NEOQ_ID_SIZE];
    neoq_handler handler = apart(leave, c);
    if (looked_at)
        handler.on_crash = look_at_crash;
    handler.timeout = NEOQ_SECONDS(20);
    handler.kill_after = NEOQ_SECONDS(7);
    neoq *nq = store_open_threads(s, &(neoq_options){.retention = NEOQ_FOREVER});
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put_job(nq, (neoq_job){.queue = "apart", .max_retries = NEOQ_NO_RETRIES}, id);
    eventually(c->told == BEGUN);
    kill(c->server, SIGSTOP);
    return nq;
}

/* Time passes, and whatever was due in it is done. */
static void pass(store *s, neoq *nq, int seconds)
{
    neoq_clock_advance(s->clock, NEOQ_SECONDS(seconds) + 1);
    eventually(neoq_stalled(nq) == 0);
}

/* The signal for the first run is on its way. That run ends, and the next one's process is not the one to be hit. */
static void leave_unhit(common *c, neoq *nq)
{
    char id[NEOQ_ID_SIZE];
    neoq_run_info runs[25];
    atomic_store(&c->told, LEAVING);
    put(nq, "apart", "next", id);
    eventually(!is_alive(c->pids[0]) || c->runs == 2);
    kill(c->server, SIGCONT);
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_string_equal("done", runs[0].outcome);
    assert_int_equal(2, c->runs);
}

static void test_a_sigterm_that_comes_too_late_does_not_hit_the_next_run(void **state)
{
    common *c = make_common();
    neoq *nq = start_leaving(*state, c, false);
    pass(*state, nq, 20);
    await_told(c, nq, CANCELLED);
    pass(*state, nq, 1);
    leave_unhit(c, nq);
}

static void test_a_sigkill_that_comes_too_late_does_not_hit_the_next_run(void **state)
{
    common *c = make_common();
    neoq *nq = start_leaving(*state, c, false);
    pass(*state, nq, 20);
    await_told(c, nq, CANCELLED);
    pass(*state, nq, 1);
    pass(*state, nq, 7);
    leave_unhit(c, nq);
}

/* The first run is over, but not yet done with. */
static void test_nor_does_a_sigterm_that_is_sent_too_late(void **state)
{
    common *c = make_common();
    neoq *nq = start_leaving(*state, c, true);
    pass(*state, nq, 20);
    await_told(c, nq, CANCELLED);
    atomic_store(&c->told, LEAVING);
    eventually(c->told == LOOKING);
    pass(*state, nq, 1);
    leave_unhit(c, nq);
}

/* Another, whose clock is ahead, finds the worker dead. */
static void test_nor_does_the_sigkill_of_a_worker_that_lost_its_lease(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    common *c = make_common();
    neoq *nq = start_leaving(s, c, false), *other = store_open_on(s, s->other_clock, NULL);
    neoq_clock_advance(s->other_clock, NEOQ_MINUTES(2));
    assert_status(NEOQ_OK, neoq_testing_tend(other));
    neoq_clock_advance(s->clock, NEOQ_SECONDS(5));
    await_told(c, nq, CANCELLED);
    leave_unhit(c, nq);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_run_that_takes_too_much_memory_is_refused_it),
        on_store(test_a_run_that_is_refused_memory_may_say_so_and_end),
        on_store(test_a_run_that_took_all_memory_may_still_end),
        on_store(test_a_run_that_takes_too_much_processor_time_fails),
        on_store(test_at_its_timeout_a_run_is_asked_to_end),
        on_store(test_a_second_after_it_was_asked_it_gets_sigterm),
        on_store(test_kill_after_that_it_gets_sigkill),
        on_store(test_at_its_deadline_the_run_is_ended_and_the_job_dead),
        on_store(test_a_cancelled_run_is_ended_and_the_job_dead),
        on_store(test_a_shutdown_kills_what_does_not_end_and_gives_it_back),
        on_store(test_a_sigterm_that_comes_too_late_does_not_hit_the_next_run),
        on_store(test_a_sigkill_that_comes_too_late_does_not_hit_the_next_run),
        on_store(test_nor_does_a_sigterm_that_is_sent_too_late),
        on_store(test_nor_does_the_sigkill_of_a_worker_that_lost_its_lease),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("process_stop", tests, NULL, NULL);
}
