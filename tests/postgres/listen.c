/* SPDX-License-Identifier: MIT
 *
 * Hearing of jobs: in this process, from others, and when the server goes and comes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <neoq/testing.h>

#include "base/clock.h"
#include "postgres/support.h"

static int64_t in(neoq_duration wait)
{
    return nq_steady() + wait;
}

/* Waits until the bell listens and what it said of that is over. */
static uint64_t settle(pg_bell *bell)
{
    uint64_t seen = pg_bell_seen(bell);
    eventually(pg_bell_listens(bell) || (pg_bell_wait(bell, seen, in(NEOQ_MILLISECONDS(50))), false));
    return pg_bell_seen(bell);
}

/* A bell on a pool of its own: as another process would have it. */
static pg_bell *bell_of(base *b, const char *more)
{
    return open_bell(b, open_pool(b, more), &nq_real_clock);
}

typedef struct waiter {
    pthread_t thread;
    pg_bell *bell;
    uint64_t seen;
    int64_t until, woke;
} waiter;

static void *wait_in_thread(void *arg)
{
    waiter *w = arg;
    pg_bell_wait(w->bell, w->seen, w->until);
    w->woke = nq_steady();
    return NULL;
}

static void start_waiter(waiter *w, pg_bell *bell, uint64_t seen, int64_t until)
{
    *w = (waiter){.bell = bell, .seen = seen, .until = until};
    assert_int_equal(pthread_create(&w->thread, NULL, wait_in_thread, w), 0);
}

static void assert_in_time(int64_t lasted)
{
    if (lasted > NEOQ_SECONDS(5))
        fail_msg("it took %lld ms", (long long)lasted / 1000);
}

/* Waits until the bell notices that the server is not there. */
static void lose(pg_bell *bell)
{
    eventually(!pg_bell_listens(bell) || (pg_bell_wait(bell, pg_bell_seen(bell), in(NEOQ_MILLISECONDS(50))), false));
}

/* ---- all is well ------------------------------------------------------------------------ */

static void a_ring_wakes_everybody(void **state)
{
    base *b = *state;
    pg_bell *bell = bell_of(b, "");
    for (int round = 0; round < 20; round++) {
        waiter waiters[5];
        uint64_t seen = settle(bell);
        for (size_t i = 0; i < 5; i++)
            start_waiter(&waiters[i], bell, seen, in(NEOQ_SECONDS(20)));
        int64_t rung = nq_steady();
        pg_bell_ring(bell);
        for (size_t i = 0; i < 5; i++) {
            pthread_join(waiters[i].thread, NULL);
            assert_in_time(waiters[i].woke - rung);
        }
    }
}

static void what_was_not_seen_is_not_waited_for(void **state)
{
    base *b = *state;
    pg_bell *bell = bell_of(b, "");
    uint64_t seen = settle(bell);
    pg_bell_ring(bell);
    int64_t start = nq_steady();
    pg_bell_wait(bell, seen, in(NEOQ_SECONDS(20)));
    assert_in_range(milliseconds_since(start), 0, 5000);
    seen = pg_bell_seen(bell);
    start = nq_steady();
    pg_bell_wait(bell, seen, in(NEOQ_MILLISECONDS(100)));
    assert_in_range(milliseconds_since(start), 99, 5000);
}

static void others_hear_of_it(void **state)
{
    base *b = *state;
    pg_bell *here = bell_of(b, ""), *there = bell_of(b, "");
    for (int i = 0; i < 50; i++) {
        waiter waiters[3];
        uint64_t seen = settle(there);
        for (size_t w = 0; w < 3; w++)
            start_waiter(&waiters[w], there, seen, in(NEOQ_SECONDS(20)));
        int64_t told = nq_steady();
        pg_bell_announce(here);
        for (size_t w = 0; w < 3; w++) {
            pthread_join(waiters[w].thread, NULL);
            assert_in_time(waiters[w].woke - told);
        }
    }
    assert_int_equal(log_lines(b, ""), 0);
}

static void another_schema_is_another_channel(void **state)
{
    base *b = *state;
    pg_bell *here = bell_of(b, "&schema=one"), *there = bell_of(b, "&schema=tw%22o"),
            *here_too = bell_of(b, "&schema=one");
    uint64_t seen_there = settle(there), seen_here_too = settle(here_too);
    pg_bell_announce(here);
    pg_bell_wait(here_too, seen_here_too, in(NEOQ_SECONDS(20)));
    assert_int_not_equal(pg_bell_seen(here_too), seen_here_too);
    pg_bell_wait(there, seen_there, in(NEOQ_MILLISECONDS(50)));
    assert_int_equal(pg_bell_seen(there), seen_there);
}

/* Its own announcement is known already when it comes back from the server. */
static void does_not_hear_itself(void **state)
{
    base *b = *state;
    pg_bell *bell = bell_of(b, ""), *other = bell_of(b, "");
    uint64_t seen = settle(bell), seen_other = settle(other);
    pg_bell_announce(bell);
    pg_bell_wait(other, seen_other, in(NEOQ_SECONDS(20)));
    pg_bell_wait(bell, seen + 1, in(NEOQ_MILLISECONDS(50)));
    assert_int_equal(pg_bell_seen(bell), seen + 1);
}

static void a_burst_is_few_notifications(void **state)
{
    base *b = *state;
    pg_bell *here = bell_of(b, ""), *there = bell_of(b, "");
    settle(there);
    int64_t start = nq_steady();
    for (int i = 0; i < 100000; i++)
        pg_bell_announce(here);
    int64_t lasted = milliseconds_since(start);
    uint64_t seen = pg_bell_seen(there);
    pg_bell_wait(there, seen, in(NEOQ_MILLISECONDS(300)));
    /* One notification a millisecond at the most, and as many wakes. */
    assert_in_range(pg_bell_seen(there), 2, (uintmax_t)lasted + 310);
}

static void what_was_announced_last_is_told(void **state)
{
    base *b = *state;
    pg_bell *there = bell_of(b, "");
    for (int i = 0; i < 5; i++) {
        uint64_t seen = settle(there);
        pg_bell *here = bell_of(b, "");
        pg_bell_announce(here);
        close_bell(b, here);
        pg_bell_wait(there, seen, in(NEOQ_SECONDS(20)));
        assert_int_not_equal(pg_bell_seen(there), seen);
    }
}

static void hears_while_nobody_waits(void **state)
{
    base *b = *state;
    pg_bell *here = bell_of(b, ""), *there = bell_of(b, "");
    uint64_t seen = settle(there);
    pg_bell_announce(here);
    eventually(pg_bell_seen(there) != seen);
}

static void on_a_virtual_clock(void **state)
{
    base *b = *state;
    neoq_clock *clock;
    assert_int_equal(neoq_clock_create(&clock, 0, 1), NEOQ_OK);
    pg_bell *bell = open_bell(b, open_pool(b, ""), clock);
    pg_bell *other = bell_of(b, "");
    uint64_t seen = pg_bell_seen(bell);
    int64_t until = clock->steady(clock) + NEOQ_HOURS(1);
    while (!pg_bell_listens(bell)) { /* the first wait ends when it does */
        pg_bell_wait(bell, seen, until);
        seen = pg_bell_seen(bell);
    }
    waiter w;
    start_waiter(&w, bell, seen, until);
    pg_bell_announce(other);
    pthread_join(w.thread, NULL);
    seen = pg_bell_seen(bell);
    start_waiter(&w, bell, seen, until);
    neoq_clock_advance(clock, NEOQ_HOURS(2));
    pg_bell_ring(bell); /* as the runtime does when its clock was moved */
    pthread_join(w.thread, NULL);
    close_bell(b, bell);
    neoq_clock_destroy(clock);
}

/* With them a transaction tells the others, and its own process hears nothing that it does not know. */
static void lends_its_words_now_and_then(void **state)
{
    base *b = *state;
    pg_bell *here = bell_of(b, ""), *there = bell_of(b, "");
    uint64_t seen_here = settle(here), seen_there = settle(there);
    char words[64], notify[128];
    int64_t start = nq_steady();
    const char *lent = pg_bell_lend(here);
    assert_non_null(lent);
    snprintf(words, sizeof words, "%s", lent);
    intmax_t again = 0;
    for (int i = 0; i < 100; i++)
        again += pg_bell_lend(here) != NULL;
    assert_in_range(again, 0, milliseconds_since(start) / 4);
    snprintf(notify, sizeof notify, "NOTIFY neoq, '%s'", words);
    sql(b, notify);
    pg_bell_wait(there, seen_there, in(NEOQ_SECONDS(20)));
    assert_int_not_equal(pg_bell_seen(there), seen_there);
    pg_bell_wait(here, seen_here, in(NEOQ_MILLISECONDS(50)));
    assert_int_equal(pg_bell_seen(here), seen_here);
}

/* A commit that took an hour may have waited for all the others who told something. */
static void lends_rarely_what_takes_long(void **state)
{
    base *b = *state;
    pg_bell *bell = bell_of(b, "");
    int64_t until = in(NEOQ_MILLISECONDS(20));
    assert_non_null(pg_bell_lend(bell));
    pg_bell_lent(bell, NEOQ_HOURS(1));
    while (nq_steady() < until)
        assert_null(pg_bell_lend(bell));
    pg_bell_lent(bell, 1);
    eventually(pg_bell_lend(bell) != NULL);
}

/* What the thread is about to tell need not be told by anybody else. */
static void lends_nothing_while_there_is_something_to_tell(void **state)
{
    base *b = *state;
    pg_bell *bell = bell_of(b, "");
    int64_t announced = nq_steady();
    pg_bell_announce_later(bell);
    const char *lent = pg_bell_lend(bell);
    assert_true(!lent || nq_steady() - announced > NEOQ_MILLISECONDS(1));
}

static void what_is_announced_later_is_told_too(void **state)
{
    base *b = *state;
    pg_bell *here = bell_of(b, ""), *there = bell_of(b, "");
    uint64_t seen_here = settle(here), seen_there = settle(there);
    pg_bell_announce_later(here);
    assert_int_equal(pg_bell_seen(here), seen_here + 1);
    pg_bell_wait(there, seen_there, in(NEOQ_SECONDS(20)));
    assert_int_not_equal(pg_bell_seen(there), seen_there);
}

static void knows_whether_somebody_waits(void **state)
{
    base *b = *state;
    pg_bell *bell = bell_of(b, "");
    waiter w;
    uint64_t seen = settle(bell);
    assert_false(pg_bell_is_awaited(bell));
    start_waiter(&w, bell, seen, in(NEOQ_SECONDS(20)));
    eventually(pg_bell_is_awaited(bell));
    pg_bell_ring(bell);
    pthread_join(w.thread, NULL);
    assert_false(pg_bell_is_awaited(bell));
}

/* The transaction itself tells: no session has ever sent a NOTIFY by itself. */
static void an_enqueue_tells_while_it_is_quiet(void **state)
{
    base *b = *state;
    neoq *nq;
    char sessions[32] = "";
    assert_int_equal(NEOQ_OK, neoq_open(&nq, b->url, &b->options));
    pg_bell *there = bell_of(b, "");
    uint64_t seen = settle(there);
    int status = neoq_enqueue(nq, &(neoq_job){.queue = "q"}, NULL);
    pg_bell_wait(there, seen, in(NEOQ_SECONDS(20)));
    bool asked = postgres_sql(b->server, b->database,
                              "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                              " AND query LIKE 'NOTIFY%'",
                              sessions, sizeof sessions);
    neoq_close(nq);
    assert_int_equal(NEOQ_OK, status);
    assert_int_not_equal(pg_bell_seen(there), seen);
    assert_true(asked);
    assert_string_equal("0", sessions);
}

/* Who LISTENs and does not read fills the server's queue, and a full one fails everybody's NOTIFY. */
static void holds_back_where_the_queue_fills_up(void **state)
{
    base *b = *state;
    sql(b, "CREATE SCHEMA fake; CREATE TABLE fake.usage AS SELECT 0.5::float8 AS u;"
           "CREATE FUNCTION fake.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql AS 'SELECT u FROM "
           "fake.usage'");
    pg_bell *there = bell_of(b, ""), *here = bell_of(b, "&options=-csearch_path%3Dfake%2Cpg_catalog");
    uint64_t seen = settle(there);
    pg_bell_announce(here);
    eventually(log_lines(b, "notification queue fills up") == 1);
    pg_bell_announce(here);
    pg_bell_wait(there, seen, in(NEOQ_MILLISECONDS(200)));
    assert_int_equal(pg_bell_seen(there), seen);
    sql(b, "UPDATE fake.usage SET u = 0.05");
    pg_bell_wait(there, seen, in(NEOQ_SECONDS(20)));
    assert_int_not_equal(pg_bell_seen(there), seen); /* what was announced meanwhile was not forgotten */
    assert_int_equal(log_lines(b, "notifying other processes again"), 1);
    assert_int_equal(log_lines(b, ""), 2);
}

/* ---- servers that go and come ----------------------------------------------------------- */

static void assert_hears(pg_bell *there, pg_bell *here)
{
    uint64_t seen = settle(there);
    pg_bell_announce(here);
    int64_t start = nq_steady();
    while (pg_bell_seen(there) == seen && milliseconds_since(start) < 20000)
        pg_bell_wait(there, seen, in(NEOQ_SECONDS(1)));
    assert_int_not_equal(pg_bell_seen(there), seen);
    assert_in_range(milliseconds_since(start), 0, 5000);
}

static void listens_again_after_it_was_terminated(void **state)
{
    base *b = *state;
    pg_bell *here = bell_of(b, ""), *there = bell_of(b, "");
    for (int i = 0; i < 5; i++) {
        uint64_t seen = settle(there);
        assert_hears(there, here);
        seen = settle(there);
        sql(b, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
               "AND query ~ '^SELECT set_config.*LISTEN|NOTIFY' AND pid <> pg_backend_pid()");
        pg_bell_wait(there, seen, in(NEOQ_SECONDS(20)));
        assert_int_not_equal(pg_bell_seen(there), seen); /* something may have been missed */
        assert_hears(there, here);
    }
}

static void hears_after_a_restart(void **state)
{
    base *b = *state;
    own_server(b, NULL);
    pg_bell *here = bell_of(b, ""), *there = bell_of(b, "");
    settle(there);
    for (int i = 0; i < 3; i++) {
        assert_true(postgres_stop(b->server, i == 2 ? POSTGRES_KILL : POSTGRES_FAST));
        lose(there);
        pg_bell_announce(here); /* cannot be told now */
        assert_true(postgres_again(b->server));
        settle(there);
        assert_hears(there, here);
    }
    assert_int_equal(log_lines(b, ""), 0); /* the pool tells of servers that are away */
}

/* While the server is away, nobody sleeps for long, nor too little. */
static void looks_more_often_without_ears(void **state)
{
    base *b = *state;
    own_server(b, NULL);
    pg_bell *bell = bell_of(b, "");
    settle(bell);
    assert_true(postgres_stop(b->server, POSTGRES_FAST));
    lose(bell);
    int64_t start = nq_steady();
    for (int i = 0; i < 5; i++)
        pg_bell_wait(bell, pg_bell_seen(bell), in(NEOQ_SECONDS(20)));
    assert_in_range(milliseconds_since(start), 5 * 199, 5000);
}

static void notices_that_nobody_answers(void **state)
{
    base *b = *state;
    own_server(b, NULL);
    pg_bell *bell = bell_of(b, "");
    uint64_t seen = settle(bell);
    assert_true(postgres_freeze(b->server));
    int64_t start = nq_steady();
    pg_bell_wait(bell, seen, in(NEOQ_SECONDS(60)));
    assert_false(pg_bell_listens(bell));
    assert_in_range(milliseconds_since(start), 15000, 30000);
    assert_true(postgres_thaw(b->server));
    settle(bell);
}

static void closes_though_nobody_answers(void **state)
{
    base *b = *state;
    own_server(b, NULL);
    pg_bell *bell = bell_of(b, "");
    settle(bell);
    assert_true(postgres_freeze(b->server));
    pg_bell_announce(bell);
    int64_t start = nq_steady();
    close_bell(b, bell);
    assert_in_range(milliseconds_since(start), 0, 3000);
    assert_true(postgres_thaw(b->server));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_base(a_ring_wakes_everybody),
        on_base(what_was_not_seen_is_not_waited_for),
        on_base(others_hear_of_it),
        on_base(another_schema_is_another_channel),
        on_base(does_not_hear_itself),
        on_base(a_burst_is_few_notifications),
        on_base(what_was_announced_last_is_told),
        on_base(hears_while_nobody_waits),
        on_base(on_a_virtual_clock),
        on_base(holds_back_where_the_queue_fills_up),
        on_base(listens_again_after_it_was_terminated),
        on_base(hears_after_a_restart),
        on_base(lends_its_words_now_and_then),
        on_base(lends_rarely_what_takes_long),
        on_base(lends_nothing_while_there_is_something_to_tell),
        on_base(what_is_announced_later_is_told_too),
        on_base(knows_whether_somebody_waits),
        on_base(an_enqueue_tells_while_it_is_quiet),
        on_base(looks_more_often_without_ears),
        on_base(notices_that_nobody_answers),
        on_base(closes_though_nobody_answers),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
