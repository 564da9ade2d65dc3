/* SPDX-License-Identifier: MIT
 *
 * Whose turn it is: stride scheduling. Of the queues that have a run to begin and a slot for it, the next is the one with
 * the least pass; each run raises its queue's pass by 1 / weight. They stand in a heap, so that a thousand queues cost a
 * run hardly more than one.
 *
 * On a store that wants it strict, the weightiest of them is next, whatever it had; and a run takes a slot from each
 * lighter queue, too, so that those have what the weightier leave.
 */
#include <stdlib.h>

#include "base/error.h"
#include "runtime/runtime.h"

bool nq_turns_before(const neoq *nq, const nq_queue *a, const nq_queue *b)
{
    if (nq->strict && a->handler.weight != b->handler.weight)
        return a->handler.weight > b->handler.weight;
    return a->pass != b->pass ? a->pass < b->pass : a->number < b->number;
}

static void put(neoq *nq, nq_queue *queue, size_t at)
{
    nq->turns[at] = queue;
    queue->turn = at + 1;
}

/* Moves the queue from `at` to where it belongs. */
static void sift(neoq *nq, nq_queue *queue, size_t at)
{
    while (at > 0 && nq_turns_before(nq, queue, nq->turns[(at - 1) / 2])) {
        put(nq, nq->turns[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    for (size_t child; (child = 2 * at + 1) < nq->turn_count; at = child) {
        if (child + 1 < nq->turn_count && nq_turns_before(nq, nq->turns[child + 1], nq->turns[child]))
            child++;
        if (!nq_turns_before(nq, nq->turns[child], queue))
            break;
        put(nq, nq->turns[child], at);
    }
    put(nq, queue, at);
}

int nq_turns_reserve(neoq *nq, size_t count)
{
    nq_queue **turns = realloc(nq->turns, count * sizeof(nq_queue *));
    if (!turns)
        return nq_fail(NEOQ_ENOMEM, "no memory for %zu queues", count);
    nq->turns = turns;
    return NEOQ_OK;
}

void nq_turns_update(neoq *nq, nq_queue *queue)
{
    bool ready = queue->local.count > 0 && queue->running < queue->handler.concurrency;
    if (queue->stepped) {
        nq_step_signal(nq); /* no executor's turn */
    } else if (ready) {
        sift(nq, queue, queue->turn ? queue->turn - 1 : nq->turn_count++);
    } else if (queue->turn) {
        size_t at = queue->turn - 1;
        nq_queue *last = nq->turns[--nq->turn_count];
        queue->turn = 0;
        if (last != queue)
            sift(nq, last, at);
    }
}

int nq_turns_slots(const neoq *nq, const nq_queue *queue)
{
    int slots = queue->handler.concurrency;
    const nq_queue *other = nq->strict ? nq->queues : NULL;
    for (; other && other->handler.weight > queue->handler.weight && slots > 0; other = other->next)
        slots -= other->running + (int)other->local.count;
    return slots > 0 ? slots : 0;
}

nq_queue *nq_turns_first(const neoq *nq)
{
    nq_queue *first = nq->turn_count > 0 ? nq->turns[0] : NULL;
    return first && first->running < nq_turns_slots(nq, first) ? first : NULL;
}

void nq_turns_take(neoq *nq, nq_queue *queue)
{
    *(queue->stepped ? &nq->step_pass : &nq->pass) = queue->pass;
    queue->pass += 1.0 / queue->handler.weight;
}

void nq_turns_join(const neoq *nq, nq_queue *queue)
{
    double pass = queue->stepped ? nq->step_pass : nq->pass;
    if (queue->running == 0 && queue->local.count == 0 && queue->pass < pass)
        queue->pass = pass;
}
