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
#include <pthread.h>
#include <time.h>

#include <neoq.h>

#include "backend/memory/memory.h"

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    neoq *nq;
    int asked; /* how often the store was asked */
    bool begun, drained;
    bool early; /* it was drained before the run was over */
    bool ended;
} seen = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void await(const bool *what, int milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!*what && pthread_cond_timedwait(&seen.changed, &seen.mutex, &until) == 0)
        ;
}

static void tell(bool *what)
{
    pthread_mutex_lock(&seen.mutex);
    *what = true;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.mutex);
}

static int open_memory(neoq_store **out, const neoq_store_config *config)
{
    neoq_store_config memory = *config;
    memory.url = "memory:";
    return nq_memory_backend.open(out, &memory);
}

static int queues(neoq_store *store, neoq_each_queue each, void *arg)
{
    if (seen.asked++ == 0) {
        assert_int_equal(NEOQ_OK, neoq_enqueue(seen.nq, &(neoq_job){.queue = "q", .payload = "{}"}, NULL));
        pthread_mutex_lock(&seen.mutex);
        await(&seen.begun, 20000);
        pthread_mutex_unlock(&seen.mutex);
    }
    return nq_memory_backend.queues(store, each, arg);
}

/* It gives a drain that is wrong the time to say so. */
static int handle(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    tell(&seen.begun);
    pthread_mutex_lock(&seen.mutex);
    await(&seen.drained, 200);
    seen.early = seen.drained;
    pthread_mutex_unlock(&seen.mutex);
    tell(&seen.ended);
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
    assert_int_equal(NEOQ_OK, neoq_open(&seen.nq, "overtaken:", NULL));
    assert_int_equal(NEOQ_OK, neoq_start(seen.nq, &(neoq_handler){.queue = "q", .handle = handle}));
    assert_int_equal(NEOQ_OK, neoq_drain(seen.nq, NEOQ_SECONDS(20)));
    tell(&seen.drained);
    pthread_mutex_lock(&seen.mutex);
    await(&seen.ended, 20000);
    assert_false(seen.early);
    assert_true(seen.ended);
    pthread_mutex_unlock(&seen.mutex);
    neoq_close(seen.nq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_claim_that_overtakes_the_question_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
