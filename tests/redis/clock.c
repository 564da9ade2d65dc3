/* SPDX-License-Identifier: MIT
 *
 * The server's clock, as a process knows it that never works, and so has no beat to look at it.
 */
#include "redis/support.h"

#include "backend/redis/redis.h"
#include "backend/redis/store.h"
#include "base/clock.h"

static const neoq_backend *const backend = &nq_redis_backend;

/* As if two minutes had passed since the last look, and the server's clock were set back an hour meanwhile. */
static void forget_time(neoq_store *store)
{
    store->server_clock.measured -= NEOQ_MINUTES(2);
    store->server_clock.offset += NEOQ_HOURS(1);
    store->server_clock.latest = 0;
}

static bool is_right(neoq_store *store)
{
    neoq_time now = nq_real_clock.now(&nq_real_clock); /* this machine's is the server's */
    neoq_duration apart = backend->now(store) - now;
    return apart > -NEOQ_MINUTES(1) && apart < NEOQ_MINUTES(1);
}

static void put_one(neoq_store *store)
{
    neoq_enqueued result;
    const neoq_job job = {.id = "01900000-0000-7000-8000-000000000001",
                          .queue = "q",
                          .payload = "1",
                          .payload_size = 1,
                          .unique = NEOQ_UNIQUE_OFF,
                          .state = NEOQ_READY,
                          .run_after = backend->now(store),
                          .created_at = backend->now(store)};
    assert_int_equal(NEOQ_OK, backend->enqueue(store, &job, 1, &result));
}

static void test_who_enqueues_looks_at_it_again(void **state)
{
    neoq_store *store = open_store(*state);
    assert_true(is_right(store));
    forget_time(store);
    assert_false(is_right(store));
    put_one(store);
    assert_true(is_right(store));
    backend->close(store);
}

static int pass_by(const neoq_job *job, void *arg)
{
    (void)job;
    (void)arg;
    return NEOQ_OK;
}

static void test_who_looks_at_jobs_looks_at_it_again(void **state)
{
    neoq_store *store = open_store(*state);
    forget_time(store);
    assert_int_equal(NEOQ_OK, backend->find(store, &(neoq_filter){.queue = "q"}, pass_by, NULL));
    assert_true(is_right(store));
    backend->close(store);
}

static void test_not_at_every_call(void **state)
{
    neoq_store *store = open_store(*state);
    int64_t measured = store->server_clock.measured;
    put_one(store);
    assert_true(store->server_clock.measured == measured);
    backend->close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_who_enqueues_looks_at_it_again),
        on_base(test_who_looks_at_jobs_looks_at_it_again),
        on_base(test_not_at_every_call),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
