/* SPDX-License-Identifier: MIT
 *
 * What becomes of jobs, coming in and running, when something happens to their server: nothing that docs/redis.md does not
 * say, and the work goes on.
 */
#include "redis/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what passes ------------------------------------------------------------------------ */

static void test_a_replica_is_waited_out(void **state)
{
    char answer[64];
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    flow *f = flow_start(b, NULL);
    assert_true(redis_do(b->server, 0, NULL, 0, "REPLICAOF 127.0.0.1 1"));
    int asked = atomic_load(&f->asked);
    eventually(log_lines(b, "it is no master") > 0);
    assert_true(atomic_load(&f->asked) <= asked + 1); /* it waits */
    assert_true(redis_do(b->server, 0, answer, sizeof answer, "REPLICAOF NO ONE"));
    assert_int_equal(0, atomic_load(&f->unknown));
    flow_end_unharmed(f);
}

static void *be_busy(void *arg)
{
    redis_do(arg, 0, NULL, 0, "EVAL %s 0", "while true do end"); /* which ends by SCRIPT KILL */
    return NULL;
}

static void test_a_script_that_runs_long_is_waited_out(void **state)
{
    char answer[256];
    base *b = *state;
    pthread_t thread;
    own_server(b, REDIS_SOCKET, (const char *const[]){"lua-time-limit=50", NULL});
    flow *f = flow_start(b, NULL);
    assert_int_equal(0, pthread_create(&thread, NULL, be_busy, b->server));
    eventually(!redis_do(b->server, 0, answer, sizeof answer, "GET x") && strncmp(answer, "BUSY", 4) == 0);
    assert_true(redis_do(b->server, 0, NULL, 0, "SCRIPT KILL"));
    pthread_join(thread, NULL);
    assert_int_equal(0, atomic_load(&f->unknown));
    flow_end_unharmed(f);
}

static void test_a_server_that_loads_its_data_is_waited_for(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET,
               (const char *const[]){"save=3600 1", "key-load-delay=1000",
                                     "loading-process-events-interval-bytes=1024", NULL});
    assert_true(redis_do(b->server, 0, NULL, 0, "EVAL %s 0",
                         "for i = 1, 300 do redis.call('SET', 'key' .. i, string.rep('x', 500)) end"));
    flow *f = flow_start(b, NULL);
    assert_true(redis_stop(b->server)); /* which saves all */
    assert_true(redis_again(b->server));
    flow_end_unharmed(f);
}

static void test_forgotten_scripts_are_sent_again(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    flow *f = flow_start(b, NULL);
    for (int i = 0; i < 20; i++)
        assert_true(redis_do(b->server, 0, NULL, 0, "SCRIPT FLUSH"));
    assert_int_equal(0, atomic_load(&f->unknown));
    flow_end_unharmed(f);
}

static void test_a_full_memory_refuses_jobs_until_there_is_room(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    flow *f = flow_start(b, NULL);
    assert_true(redis_do(b->server, 0, NULL, 0, "CONFIG SET maxmemory 1"));
    eventually(atomic_load(&f->refused) > 0);
    eventually(flow_all_ran(f)); /* for what is there can be done */
    assert_true(redis_do(b->server, 0, NULL, 0, "CONFIG SET maxmemory 0"));
    flow_goes_on(f);
    assert_non_null(strstr(f->words, "OOM"));
    assert_int_equal(0, atomic_load(&f->unknown));
    flow_end_complete(f);
}

/* ---- what a crash takes ----------------------------------------------------------------- */

static void test_a_log_on_the_disk_loses_nothing(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, (const char *const[]){"appendonly=yes", "appendfsync=always", NULL});
    flow *f = flow_start(b, NULL);
    assert_true(redis_kill(b->server));
    assert_true(redis_again(b->server));
    flow_end_unharmed(f);
}

/* What was written before is there. */
static void test_a_log_each_second_keeps_what_is_older(void **state)
{
    char answer[4096];
    neoq_queue_info *queues;
    size_t count;
    base *b = *state;
    own_server(b, REDIS_SOCKET, (const char *const[]){"appendonly=yes", "appendfsync=everysec", NULL});
    flow *f = flow_start(b, NULL);
    for (int i = 0; i < SOME; i++)
        assert_int_equal(NEOQ_OK, neoq_enqueue(f->nq, &(neoq_job){.queue = "old", .unique = NEOQ_UNIQUE_OFF}, NULL));
    eventually(redis_do(b->server, 0, answer, sizeof answer, "INFO persistence") &&
               strstr(answer, "aof_buffer_length:0") && strstr(answer, "aof_pending_bio_fsync:0"));
    assert_true(redis_kill(b->server));
    assert_true(redis_again(b->server));
    flow_goes_on(f);
    flow_stop_producing(f);
    assert_int_equal(NEOQ_OK, neoq_queues(f->nq, &queues, &count));
    assert_int_equal(2, count);
    assert_string_equal("old", queues[0].name);
    assert_int_equal(SOME, queues[0].ready);
    free(queues);
    flow_end(f);
}

static void test_without_a_log_all_is_lost_and_work_goes_on(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    flow *f = flow_start(b, NULL);
    assert_true(redis_kill(b->server));
    assert_true(redis_again(b->server));
    flow_goes_on(f);
    flow_stop_producing(f);
    flow_end(f);
}

/* ---- a failover ------------------------------------------------------------------------- */

/* What the replica has heard of is there, and the work goes on with it. */
static void test_a_replica_that_is_made_master_takes_over(void **state)
{
    char url[100], ends[64], answer[4096];
    neoq_queue_info *queues;
    size_t count;
    watched w;
    watch(&w);
    snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:%d/main", redis_port(w.sentinel));
    flow *f = flow_start(*state, url);
    for (int i = 0; i < SOME; i++)
        assert_int_equal(NEOQ_OK, neoq_enqueue(f->nq, &(neoq_job){.queue = "old", .unique = NEOQ_UNIQUE_OFF}, NULL));
    snprintf(ends, sizeof ends, "%d", SOME);
    eventually(redis_do(w.replica, 0, answer, sizeof answer, "LLEN asynq:{old}:pending") &&
               strcmp(answer, ends) == 0);
    assert_true(redis_kill(w.master));
    flow_goes_on(f);
    flow_stop_producing(f);
    assert_int_equal(NEOQ_OK, neoq_queues(f->nq, &queues, &count));
    assert_int_equal(2, count);
    assert_string_equal("old", queues[0].name);
    assert_int_equal(SOME, queues[0].ready);
    free(queues);
    assert_int_equal(0, atomic_load(&f->refused));
    flow_end(f);
    watch_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_a_replica_is_waited_out),
        on_base(test_a_script_that_runs_long_is_waited_out),
        on_base(test_a_server_that_loads_its_data_is_waited_for),
        on_base(test_forgotten_scripts_are_sent_again),
        on_base(test_a_full_memory_refuses_jobs_until_there_is_room),
        on_base(test_a_log_on_the_disk_loses_nothing),
        on_base(test_a_log_each_second_keeps_what_is_older),
        on_base(test_without_a_log_all_is_lost_and_work_goes_on),
        on_base(test_a_replica_that_is_made_master_takes_over),
    };
    return cmocka_run_group_tests_name("outage", tests, NULL, NULL);
}
