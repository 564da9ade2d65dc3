/* SPDX-License-Identifier: MIT
 *
 * A schedule that comes while the ticker reads which there are, over the memory store: its answer, which does not tell
 * of it, is held up until the schedule is due.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <neoq/testing.h>

#include "backend/memory/memory.h"
#include "support/gate.h"

static gate were_read = GATE_INITIALIZER; /* the schedules, once */
static gate due = GATE_INITIALIZER;       /* the one that came meanwhile is */
static gate ran = GATE_INITIALIZER;

static int open_memory(neoq_store **out, const neoq_store_config *config)
{
    neoq_store_config memory = *config;
    memory.url = "memory:";
    return nq_memory_backend.open(out, &memory);
}

static int schedules(neoq_store *store, neoq_each_schedule each, void *arg)
{
    int status = nq_memory_backend.schedules(store, each, arg);
    gate_open(&were_read);
    gate_wait(&due);
    return status;
}

static int set_schedule(neoq_store *store, const neoq_schedule_record *schedule)
{
    gate_wait(&were_read);
    return nq_memory_backend.set_schedule(store, schedule);
}

static int handle(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    gate_open(&ran);
    return NEOQ_OK;
}

static void test_a_schedule_that_comes_while_they_are_read_ticks_in_time(void **state)
{
    (void)state;
    static neoq_backend slow;
    slow = nq_memory_backend;
    slow.scheme = "slow";
    slow.size = sizeof slow;
    slow.open = open_memory;
    slow.schedules = schedules;
    slow.set_schedule = set_schedule;
    neoq_register_backend(&slow);
    neoq_clock *clock = NULL;
    neoq *nq = NULL;
    assert_int_equal(NEOQ_OK, neoq_clock_create(&clock, 0, 1));
    assert_int_equal(NEOQ_OK, neoq_testing_open(&nq, "slow:", NULL, clock, NEOQ_TESTING_THREADS));
    assert_int_equal(NEOQ_OK, neoq_start_cron(nq, "@every 2s", &(neoq_handler){.queue = "q", .handle = handle}));
    neoq_clock_advance(clock, NEOQ_SECONDS(2)); /* sooner than they are read again by themselves */
    gate_open(&due);
    assert_true(gate_wait(&ran));
    neoq_close(nq);
    neoq_clock_destroy(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_schedule_that_comes_while_they_are_read_ticks_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
