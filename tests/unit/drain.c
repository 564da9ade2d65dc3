/* SPDX-License-Identifier: MIT
 *
 * A drain whose question to the store, what is left, is overtaken by a claim, over the memory store: the answer counts a
 * job as running that was ready when nothing ran here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <neoq.h>

#include "backend/memory/memory.h"
#include "support/gate.h"

static neoq *nq;
static int asked;  /* how often the store was */
static bool early; /* it was drained before the run was over */
static gate begun = GATE_INITIALIZER, drained = GATE_INITIALIZER, ended = GATE_INITIALIZER;

static int open_memory(neoq_store **out, const neoq_store_config *config)
{
    neoq_store_config memory = *config;
    memory.url = "memory:";
    return nq_memory_backend.open(out, &memory);
}

static int queues(neoq_store *store, neoq_each_queue each, void *arg)
{
    if (asked++ == 0) {
        assert_int_equal(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q", .payload = "{}"}, NULL));
        assert_true(gate_wait(&begun));
    }
    return nq_memory_backend.queues(store, each, arg);
}

/* It gives a drain that is wrong the time to say so. */
static int handle(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    gate_open(&begun);
    early = gate_wait_for(&drained, 200);
    gate_open(&ended);
    return NEOQ_OK;
}

static void test_a_claim_that_overtakes_the_question_is_waited_for(void **state)
{
    (void)state;
    static neoq_backend overtaken;
    overtaken = nq_memory_backend;
    overtaken.scheme = "overtaken";
    overtaken.size = sizeof overtaken;
    overtaken.open = open_memory;
    overtaken.queues = queues;
    neoq_register_backend(&overtaken);
    assert_int_equal(NEOQ_OK, neoq_open(&nq, "overtaken:", NULL));
    assert_int_equal(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "q", .handle = handle}));
    assert_int_equal(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(20)));
    gate_open(&drained);
    assert_true(gate_wait(&ended));
    assert_false(early);
    neoq_close(nq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_claim_that_overtakes_the_question_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
