/* SPDX-License-Identifier: MIT
 *
 * A drain whose question to the store, what is left, is overtaken by a claim, over the memory store: the answer counts a
 * job as running that was ready when nothing ran here; or does not count one that came and was done meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <unistd.h>

#include <neoq/testing.h>

#include "backend/memory/memory.h"
#include "runtime/runtime.h"
#include "support/gate.h"

static neoq *nq;
static int asked;       /* how often the store was */
static bool until_done; /* it answers only when the job that came meanwhile is done */
static bool early;      /* it was drained before the run was over */
static gate begun = GATE_INITIALIZER, drained = GATE_INITIALIZER, ended = GATE_INITIALIZER;

static int open_memory(neoq_store **out, const neoq_store_config *config)
{
    neoq_store_config memory = *config;
    memory.url = "memory:";
    return nq_memory_backend.open(out, &memory);
}

static void await_idle(void)
{
    for (bool idle = false; !idle; sched_yield()) {
        pthread_mutex_lock(&nq->mutex);
        idle = nq->exchanging == 0 && nq->settling == 0 && !nq->running.head && !nq->finished.head;
        pthread_mutex_unlock(&nq->mutex);
    }
}

static int queues(neoq_store *store, neoq_each_queue each, void *arg)
{
    if (asked++ == 0) {
        assert_int_equal(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q", .payload = "{}"}, NULL));
        assert_true(gate_wait(&begun));
        if (until_done)
            await_idle();
    }
    return nq_memory_backend.queues(store, each, arg);
}

/* It gives a drain that is wrong the time to say so. */
static int handle(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    gate_open(&begun);
    early = !until_done && gate_wait_for(&drained, 200);
    gate_open(&ended);
    return NEOQ_OK;
}

static void overtake(const char *scheme)
{
    static neoq_backend overtaken[2];
    neoq_backend *backend = &overtaken[until_done];
    *backend = nq_memory_backend;
    backend->scheme = scheme;
    backend->size = sizeof *backend;
    backend->open = open_memory;
    backend->queues = queues;
    neoq_register_backend(backend);
    asked = 0;
    begun = drained = ended = (gate)GATE_INITIALIZER;
}

static void test_a_claim_that_overtakes_the_question_is_waited_for(void **state)
{
    (void)state;
    until_done = false;
    overtake("overtaken");
    assert_int_equal(NEOQ_OK, neoq_open(&nq, "overtaken:", NULL));
    assert_int_equal(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "q", .handle = handle}));
    assert_int_equal(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(20)));
    gate_open(&drained);
    assert_true(gate_wait(&ended));
    assert_false(early);
    neoq_close(nq);
}

/* The clock stands still: whoever waits for time to pass waits for ever. */
static void test_one_that_is_over_by_then_is_not(void **state)
{
    (void)state;
    neoq_clock *clock = NULL;
    until_done = true;
    overtake("outrun");
    assert_int_equal(NEOQ_OK, neoq_clock_create(&clock, 0, 1));
    assert_int_equal(NEOQ_OK, neoq_testing_open(&nq, "outrun:", NULL, clock, NEOQ_TESTING_THREADS));
    assert_int_equal(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "q", .handle = handle}));
    alarm(60);
    assert_int_equal(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(20)));
    alarm(0);
    assert_true(asked >= 2);
    neoq_close(nq);
    neoq_clock_destroy(clock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_claim_that_overtakes_the_question_is_waited_for),
        cmocka_unit_test(test_one_that_is_over_by_then_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
