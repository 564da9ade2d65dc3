/* SPDX-License-Identifier: MIT */

/* postgres/claims: where a claim begins, by what those before it got and took. No server: the answers are made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <neoq/testing.h>

#include "backend/postgres/exchange.h"

#define START ((neoq_time)1893456000 * 1000000)

enum { DEAR = 50000, LIMIT = 100 };

typedef struct world {
    neoq_clock *clock;
    neoq_options options;
    neoq_store store;
    pg_queue *queue;
} world;

static const neoq_claim claim = {"q", LIMIT};

static int begin(void **state)
{
    static world w;
    w = (world){.options = {.poll_interval = NEOQ_SECONDS(10)}};
    if (neoq_clock_create(&w.clock, START, 1) != NEOQ_OK)
        return -1;
    w.store.clock = w.clock;
    w.store.options = &w.options;
    pthread_mutex_init(&w.store.queue_mutex, NULL);
    w.queue = pg_queue_named(&w.store, "q");
    *state = &w;
    return w.queue ? 0 : -1;
}

static int end(void **state)
{
    world *w = *state;
    pg_queues_free(&w->store);
    pthread_mutex_destroy(&w->store.queue_mutex);
    neoq_clock_destroy(w->clock);
    return 0;
}

static pg_ask plan(world *w)
{
    pg_ask ask;
    assert_true(pg_ask_plan(&w->store, &ask, &claim));
    return ask;
}

/* A claim that got so many jobs, the last of them due at `last`, in so long. Whether it is to go on from the first. */
static bool claim_got(world *w, size_t got, neoq_time last, int64_t duration)
{
    pg_ask ask = plan(w);
    ask.got = got;
    ask.last = (pg_place){0, last, 7};
    return pg_ask_note(&w->store, &ask, duration);
}

/* Claims have become dear, and the queue was read up to `last`. */
static void become_dear(world *w, neoq_time last)
{
    claim_got(w, 10, last, DEAR);
    assert_false(plan(w).skipping); /* once may be chance */
    claim_got(w, 10, last, DEAR);
    assert_true(plan(w).skipping);
}

static void test_full_batches_go_on_where_the_last_ended(void **state)
{
    world *w = *state;
    assert_false(claim_got(w, LIMIT, START + 5, 1000));
    pg_ask next = plan(w);
    assert_true(next.skipping);
    assert_int_equal(START + 5, next.from.run_after);
    assert_int_equal(7, next.from.arrival);
    neoq_clock_advance(w->clock, NEOQ_SECONDS(1));
    assert_false(plan(w).skipping); /* a look at the beginning is due */
}

static void test_one_that_comes_back_short_goes_on_from_the_first(void **state)
{
    world *w = *state;
    claim_got(w, LIMIT, START + 5, 1000);
    assert_true(claim_got(w, 3, START + 8, 1000));
}

static void test_where_that_is_dear_it_is_left_for_twenty_times_as_long(void **state)
{
    world *w = *state;
    become_dear(w, START);
    assert_false(claim_got(w, 0, 0, 100));
    assert_int_equal(START + 20 * DEAR, pg_next_due(&w->store, START));
    neoq_clock_advance(w->clock, 20 * DEAR - 1);
    assert_true(plan(w).skipping);
    neoq_clock_advance(w->clock, 1);
    assert_false(plan(w).skipping);
}

static void test_it_is_left_for_a_minute_at_the_most(void **state)
{
    world *w = *state;
    claim_got(w, 10, START, NEOQ_SECONDS(30));
    claim_got(w, 10, START, NEOQ_SECONDS(30));
    neoq_clock_advance(w->clock, NEOQ_MINUTES(1) - 1);
    assert_true(plan(w).skipping);
    neoq_clock_advance(w->clock, 1);
    assert_false(plan(w).skipping);
}

static void test_a_dear_queue_that_is_caught_up_with_is_read_from_a_little_before_the_end(void **state)
{
    world *w = *state;
    become_dear(w, START);
    claim_got(w, 3, START + NEOQ_SECONDS(1), 100);
    assert_int_equal(START + NEOQ_MILLISECONDS(900), plan(w).from.run_after);
    claim_got(w, LIMIT, START + NEOQ_SECONDS(2), 100); /* in the middle of it there is nothing to catch */
    assert_int_equal(START + NEOQ_SECONDS(2), plan(w).from.run_after);
}

static void test_a_paused_queue_teaches_nothing(void **state)
{
    world *w = *state;
    become_dear(w, START);
    pg_ask ask = plan(w);
    ask.closed = true;
    assert_false(pg_ask_note(&w->store, &ask, 100));
    assert_true(plan(w).skipping);
    assert_int_equal(START, plan(w).from.run_after);
    neoq_clock_advance(w->clock, 20 * DEAR); /* also not when it would have begun with the first */
    ask = plan(w);
    assert_false(ask.skipping);
    ask.closed = true;
    assert_false(pg_ask_note(&w->store, &ask, 100));
    assert_true(w->queue->dear);
}

static void test_what_comes_in_before_is_not_passed_by(void **state)
{
    world *w = *state;
    claim_got(w, LIMIT, START + 50, 1000);
    pg_queue_lower(w->queue, 0, START + 20);
    assert_int_equal(START + 20, plan(w).from.run_after);
    pg_ask ask = plan(w); /* and not either while a claim is under way */
    pg_queue_lower(w->queue, -1, START + 90);
    ask.got = LIMIT;
    ask.last = (pg_place){0, START + 70, 7};
    assert_false(pg_ask_note(&w->store, &ask, 1000));
    assert_int_equal(-1, plan(w).from.rank);
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_world(test_full_batches_go_on_where_the_last_ended),
        in_world(test_one_that_comes_back_short_goes_on_from_the_first),
        in_world(test_where_that_is_dear_it_is_left_for_twenty_times_as_long),
        in_world(test_it_is_left_for_a_minute_at_the_most),
        in_world(test_a_dear_queue_that_is_caught_up_with_is_read_from_a_little_before_the_end),
        in_world(test_a_paused_queue_teaches_nothing),
        in_world(test_what_comes_in_before_is_not_passed_by),
    };
    return cmocka_run_group_tests_name("postgres_claims", tests, NULL, NULL);
}
