/* SPDX-License-Identifier: MIT
 *
 * Handlers in processes of their own: what becomes of a run whose process dies, and of its job.
 */
#include "support/apart.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- one crash --------------------------------------------------------------------------- */

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Winfinite-recursion"
#endif
static int dig(volatile char *above)
{
    volatile char here[4096];
    here[0] = above[0];
    return here[0] == 0 ? dig(here) + here[0] : 0;
}

/* Crashes on the first run as its job says. */
static int crash_once(neoq_ctx *ctx, void *arg)
{
    const char *how = neoq_ctx_job(ctx)->payload;
    volatile char byte = 0;
    if (note_run(arg) > 0)
        return NEOQ_OK;
    if (strcmp(how, "segv") == 0)
        raise(SIGSEGV);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "exit") == 0)
        _exit(0);
    if (strcmp(how, "overflow") == 0)
        return dig(&byte);
    return neoq_discard(ctx, "still here");
}

static void crash_as(store *s, const char *how, int number, const char *words)
{
    common *c = make_common();
    neoq *nq = start_apart(s, apart(crash_once, c), c);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "apart", .payload = how}, id); /* by the default policy: the first at once */
    eventually(state_of(nq, id) >= NEOQ_DONE);
    assert_crashed_once(nq, c, id, number, words);
}

static void test_a_segmentation_fault_fails_one_run(void **state)
{
    crash_as(*state, "segv", SIGSEGV, "killed by signal 11 (SIGSEGV)");
}

static void test_an_abort_fails_one_run(void **state)
{
    crash_as(*state, "abort", SIGABRT, "killed by signal 6 (SIGABRT)");
}

static void test_an_exit_even_with_status_0_fails_one_run(void **state)
{
    crash_as(*state, "exit", 0, "exited with status 0 before the run was over");
}

static void test_a_stack_overflow_fails_one_run(void **state)
{
    crash_as(*state, "overflow", SIGSEGV, "SIGSEGV");
}

/* ---- several ----------------------------------------------------------------------------- */

static int crash_always(neoq_ctx *ctx, void *arg)
{
    const char *how = neoq_ctx_job(ctx)->payload;
    int run = note_run(arg);
    if (strcmp(how, "always") == 0 || run % 3 != 2)
        _exit(9);
    return neoq_fail(ctx, "not this time");
}

static void test_three_crashes_in_a_row_are_death_whatever_the_retries(void **state)
{
    store *s = *state;
    common *c = make_common();
    neoq *nq = start_apart(s, apart(crash_always, c), c);
    char id[NEOQ_ID_SIZE];
    put_job(nq, retried_at_once("always"), id);
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(3, c->runs);
    assert_words("crashed 3 times: the run's process exited with status 9", store_job(s, nq, id)->error);
    neoq_run_info runs[25];
    assert_int_equal(3, runs_of(nq, id, runs));
    assert_string_equal("crashed", runs[0].outcome);
    assert_int_equal(9, runs[0].exit_code);
}

static void test_crashes_with_another_end_between_them_are_not_in_a_row(void **state)
{
    common *c = make_common();
    neoq *nq = start_apart(*state, apart(crash_always, c), c);
    char id[NEOQ_ID_SIZE];
    put_job(nq, retried_at_once("two of three"), id);
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(9, c->runs); /* all of its retries */
}

/* ---- not of the run's doing -------------------------------------------------------------- */

/* Its server is killed while a run is under way, and before the next one. */
static int kill_server(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    if (note_run(arg) > 0)
        return NEOQ_OK;
    kill(getppid(), SIGKILL);
    for (;;)
        pause();
}

static void test_a_killed_fork_server_is_replaced(void **state)
{
    common *c = make_common();
    neoq *nq = start_apart(*state, apart(kill_server, c), c);
    char id[NEOQ_ID_SIZE];
    put(nq, "apart", NULL, id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    neoq_run_info runs[25];
    assert_int_equal(2, runs_of(nq, id, runs));
    assert_string_equal("lost", runs[1].outcome);
    eventually(!is_alive(c->pids[0]));
    assert_int_equal(0, kill(c->server, SIGKILL));
    eventually(!is_alive(c->pids[1]));
    put_job(nq, (neoq_job){.queue = "apart", .payload = "again"}, id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_int_equal(3, c->runs);
}

static int count_run(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    note_run(arg);
    return NEOQ_OK;
}

static void test_a_child_that_dies_idle_costs_no_run(void **state)
{
    common *c = make_common();
    neoq *nq = start_apart(*state, apart(count_run, c), c);
    char id[NEOQ_ID_SIZE];
    put(nq, "apart", "1", id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    assert_int_equal(0, kill(c->pids[0], SIGKILL));
    put(nq, "apart", "2", id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    neoq_run_info runs[25];
    assert_int_equal(1, runs_of(nq, id, runs));
    assert_int_equal(2, c->runs);
    assert_int_equal(0, c->crashes);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_segmentation_fault_fails_one_run),
        on_store(test_an_abort_fails_one_run),
        on_store(test_an_exit_even_with_status_0_fails_one_run),
        on_store(test_a_stack_overflow_fails_one_run),
        on_store(test_three_crashes_in_a_row_are_death_whatever_the_retries),
        on_store(test_crashes_with_another_end_between_them_are_not_in_a_row),
        on_store(test_a_killed_fork_server_is_replaced),
        on_store(test_a_child_that_dies_idle_costs_no_run),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("process_crash", tests, NULL, NULL);
}
