/* SPDX-License-Identifier: MIT */

/* runtime/turns: the heap against a look through all queues, over random changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "runtime/runtime.h"
#include "support/random.h"

enum { QUEUES = 200, STEPS = 200000, SEED = 20261122 };

static uint64_t state = SEED;

static uint64_t next_random(uint64_t below)
{
    return random_from(&state) % below;
}

/* The next of those that have a run to begin and a slot: by pass, or the weightiest; that one may have to wait. */
static nq_queue *strictly_first_by_looking(nq_queue *queues)
{
    nq_queue *first = NULL;
    int taken = 0;
    for (int i = 0; i < QUEUES; i++)
        if (queues[i].local.count > 0 && queues[i].running < queues[i].handler.concurrency &&
            (!first || queues[i].handler.weight > first->handler.weight ||
             (queues[i].handler.weight == first->handler.weight && queues[i].pass < first->pass)))
            first = &queues[i];
    for (int i = 0; i < QUEUES && first; i++)
        if (queues[i].handler.weight > first->handler.weight)
            taken += queues[i].running + (int)queues[i].local.count;
    return first && first->running + taken < first->handler.concurrency ? first : NULL;
}

static nq_queue *first_by_looking(nq_queue *queues)
{
    nq_queue *first = NULL;
    for (int i = 0; i < QUEUES; i++)
        if (queues[i].local.count > 0 && queues[i].running < queues[i].handler.concurrency &&
            (!first || queues[i].pass < first->pass))
            first = &queues[i];
    return first;
}

static void begin_queues(neoq *nq, nq_queue *queues)
{
    assert_int_equal(NEOQ_OK, nq_turns_reserve(nq, QUEUES));
    for (int i = 0; i < QUEUES; i++) {
        queues[i].handler.weight = 1 + (int)next_random(4);
        queues[i].handler.concurrency = 1 + (int)next_random(3);
        queues[i].number = i;
        queues[i].next = i + 1 < QUEUES ? &queues[i + 1] : NULL;
    }
}

static void change(neoq *nq, nq_queue *queue)
{
    switch (next_random(3)) {
    case 0: /* runs come in */
        nq_turns_join(nq, queue);
        queue->local.count += 1 + next_random(5);
        break;
    case 1: /* one ends */ queue->running -= queue->running > 0; break;
    default: /* what has not begun is given back */
        if (next_random(10) == 0)
            queue->local.count = 0;
    }
    nq_turns_update(nq, queue);
}

static void test_the_first_is_the_one_with_the_least_pass(void **unused)
{
    (void)unused;
    neoq *nq = calloc(1, sizeof *nq);
    nq_queue *queues = calloc(QUEUES, sizeof *queues);
    int taken = 0;
    assert_true(nq && queues);
    assert_null(nq_turns_first(nq));
    begin_queues(nq, queues);
    for (int step = 0; step < STEPS; step++) {
        nq_queue *first = nq_turns_first(nq);
        assert_ptr_equal(first_by_looking(queues), first);
        if (!first || next_random(2)) {
            change(nq, &queues[next_random(QUEUES)]);
            continue;
        }
        nq_turns_take(nq, first);
        first->local.count--;
        first->running++;
        nq_turns_update(nq, first);
        taken++;
    }
    assert_in_range(taken, STEPS / 10, STEPS);
    free(nq->turns);
    free(nq);
    free(queues);
}

static int by_weight(const void *a, const void *b)
{
    return ((const nq_queue *)b)->handler.weight - ((const nq_queue *)a)->handler.weight;
}

static void test_if_strict_the_weightiest_is_first_and_takes_slots_of_the_lighter(void **unused)
{
    (void)unused;
    neoq *nq = calloc(1, sizeof *nq);
    nq_queue *queues = calloc(QUEUES, sizeof *queues);
    int taken[5] = {0}, waited = 0;
    assert_true(nq && queues);
    begin_queues(nq, queues);
    qsort(queues, QUEUES, sizeof *queues, by_weight);
    for (int i = 0; i < QUEUES; i++) {
        queues[i].number = i;
        queues[i].next = i + 1 < QUEUES ? &queues[i + 1] : NULL;
        queues[i].handler.concurrency = 1 + (int)next_random(400);
    }
    nq->queues = queues;
    nq->strict = true;
    for (int step = 0; step < STEPS; step++) {
        nq_queue *first = nq_turns_first(nq);
        assert_ptr_equal(strictly_first_by_looking(queues), first);
        if (!first || next_random(2)) {
            waited += !first && nq->turn_count > 0;
            change(nq, &queues[next_random(QUEUES)]);
            continue;
        }
        nq_turns_take(nq, first);
        first->local.count--;
        first->running++;
        nq_turns_update(nq, first);
        taken[first->handler.weight]++;
    }
    assert_in_range(waited, 1, STEPS);
    for (int weight = 1; weight <= 4; weight++)
        assert_in_range(taken[weight], 1, STEPS);
    free(nq->turns);
    free(nq);
    free(queues);
}

/* After a pause it goes on where the others are, and does not hold them up until it has caught up. */
static void test_a_queue_that_had_nothing_to_run_saves_up_no_turns(void **unused)
{
    (void)unused;
    neoq *nq = calloc(1, sizeof *nq);
    nq_queue *queues = calloc(QUEUES, sizeof *queues), *busy = &queues[0], *late = &queues[1];
    assert_true(nq && queues);
    begin_queues(nq, queues);
    busy->handler.weight = late->handler.weight = 1;
    busy->handler.concurrency = late->handler.concurrency = 1000;
    busy->local.count = late->local.count = 1000;
    nq_turns_update(nq, busy);
    for (int i = 0; i < 100; i++)
        nq_turns_take(nq, busy);
    late->local.count = 0;
    nq_turns_join(nq, late);
    late->local.count = 1000;
    nq_turns_update(nq, late);
    int turns[2] = {0};
    for (int i = 0; i < 100; i++) {
        nq_queue *queue = nq_turns_first(nq);
        nq_turns_take(nq, queue);
        nq_turns_update(nq, queue);
        turns[queue == late]++;
    }
    assert_in_range(turns[1], 50, 51);
    free(nq->turns);
    free(nq);
    free(queues);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_is_the_one_with_the_least_pass),
        cmocka_unit_test(test_if_strict_the_weightiest_is_first_and_takes_slots_of_the_lighter),
        cmocka_unit_test(test_a_queue_that_had_nothing_to_run_saves_up_no_turns),
    };
    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
