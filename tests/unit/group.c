/* SPDX-License-Identifier: MIT */

/* base/group: everybody is served once, by one thread at a time, and with whoever waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <string.h>

#include "base/group.h"

typedef struct call {
    nq_member member; /* the first */
    int served;
    pthread_t by;
} call;

typedef struct counter {
    nq_group group;
    atomic_int busy, overlaps;
    atomic_int turns;
    size_t sizes[8]; /* of the first turns */
    sem_t hold;      /* the first turn lasts until it is posted */
    bool holds;
} counter;

static void serve(nq_member *first, void *arg)
{
    counter *c = arg;
    if (atomic_exchange(&c->busy, 1))
        atomic_fetch_add(&c->overlaps, 1);
    int turn = atomic_fetch_add(&c->turns, 1);
    size_t size = 0;
    for (nq_member *member = first; member; member = member->next, size++) {
        ((call *)member)->served++;
        ((call *)member)->by = pthread_self();
    }
    if (turn < 8)
        c->sizes[turn] = size;
    if (turn == 0 && c->holds)
        sem_wait(&c->hold);
    atomic_store(&c->busy, 0);
}

static void begin(counter *c)
{
    memset(c, 0, sizeof *c);
    nq_group_init(&c->group);
    sem_init(&c->hold, 0, 0);
}

static void end(counter *c)
{
    assert_int_equal(0, c->overlaps);
    assert_int_equal(0, c->group.members);
    assert_int_equal(0, c->group.waiting);
    nq_group_destroy(&c->group);
    sem_destroy(&c->hold);
}

static void test_one_alone_serves_itself(void **unused)
{
    (void)unused;
    counter c;
    begin(&c);
    for (int i = 0; i < 3; i++) {
        call own = {.served = 0};
        nq_group_join(&c.group, &own.member, serve, &c);
        assert_int_equal(1, own.served);
        assert_true(pthread_equal(pthread_self(), own.by));
    }
    assert_int_equal(3, c.turns);
    end(&c);
}

static void *join_once(void *arg)
{
    counter *c = arg;
    call own = {.served = 0};
    nq_group_join(&c->group, &own.member, serve, c);
    return own.served == 1 ? c : NULL;
}

static void test_who_waits_is_served_together(void **unused)
{
    (void)unused;
    enum { WAITING = 5 };
    counter c;
    pthread_t leader, threads[WAITING];
    void *right;
    begin(&c);
    c.holds = true;
    assert_int_equal(0, pthread_create(&leader, NULL, join_once, &c));
    while (c.turns == 0)
        sched_yield();
    for (int i = 0; i < WAITING; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, join_once, &c));
    while (c.group.waiting < WAITING)
        sched_yield();
    assert_int_equal(1 + WAITING, c.group.members);
    sem_post(&c.hold);
    pthread_join(leader, &right);
    assert_non_null(right);
    for (int i = 0; i < WAITING; i++) {
        pthread_join(threads[i], &right);
        assert_non_null(right);
    }
    assert_int_equal(2, c.turns);
    assert_int_equal(1, c.sizes[0]);
    assert_int_equal(WAITING, c.sizes[1]);
    end(&c);
}

enum { THREADS = 24, ROUNDS = 300 };

static void *join_often(void *arg)
{
    counter *c = arg;
    for (int i = 0; i < ROUNDS; i++)
        if (!join_once(c))
            return NULL;
    return c;
}

static void test_everybody_is_served_once(void **unused)
{
    (void)unused;
    counter c;
    pthread_t threads[THREADS];
    begin(&c);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, join_often, &c));
    for (int i = 0; i < THREADS; i++) {
        void *right;
        pthread_join(threads[i], &right);
        assert_non_null(right);
    }
    assert_in_range(c.turns, 1, THREADS * ROUNDS);
    end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_alone_serves_itself),
        cmocka_unit_test(test_who_waits_is_served_together),
        cmocka_unit_test(test_everybody_is_served_once),
    };
    return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
