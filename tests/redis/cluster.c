/* SPDX-License-Identifier: MIT
 *
 * A Cluster: jobs are where they belong, whatever happens to slots and nodes meanwhile.
 */
#include "redis/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/redis/redis.h"
#include "backend/redis/slot.h"
#include "backend/redis/store.h"
#include "base/clock.h"
#include "support/redis_cluster.h"

/* ---- a Cluster a test -------------------------------------------------------------------- */

static redis_cluster *cluster;

static int end_cluster(void **state)
{
    redis_cluster_end(cluster);
    cluster = NULL;
    return base_teardown(state);
}

#define on_cluster(test) cmocka_unit_test_setup_teardown(test, base_setup, end_cluster)

static void start_cluster(redis_kind kind, int replicas, const char *const *settings)
{
    cluster = redis_cluster_start(kind, replicas, settings);
    assert_non_null(cluster);
}

static redis_server *node(int number)
{
    return redis_cluster_node(cluster, number);
}

static const char *url_with(const char *options)
{
    static char url[300];
    redis_cluster_url(cluster, url, sizeof url);
    snprintf(url + strlen(url), sizeof url - strlen(url), "%s", options);
    return url;
}

/* A queue whose keys are on that node; of several, number 0 and up. */
static const char *queue_on(int number, int which)
{
    static char names[64][16];
    static int next;
    char *name = names[next++ % 64], key[64];
    for (int i = 0; which >= 0; i++) {
        snprintf(name, sizeof names[0], "q%d", i);
        snprintf(key, sizeof key, "asynq:{%s}:neoq", name);
        which -= redis_cluster_home(cluster, key) == number;
    }
    return name;
}

static bool answers(int number, const char *expected, const char *format, const char *argument)
{
    char answer[16384], command[300];
    snprintf(command, sizeof command, format, argument);
    return redis_do(node(number), 0, answer, sizeof answer, command) && strcmp(answer, expected) == 0;
}

/* How often the words stand in what a node says. */
static int count_in(int number, const char *command, const char *words)
{
    char answer[32768];
    int count = 0;
    assert_true(redis_do(node(number), 0, answer, sizeof answer, command));
    for (const char *at = answer; (at = strstr(at, words)); at += strlen(words))
        count++;
    return count;
}

static int listeners(int number)
{
    return count_in(number, "CLIENT LIST", "cmd=blmove");
}

/* ---- many queues ------------------------------------------------------------------------- */

enum { QUEUES = 9, EACH = 40 };

static int count_run(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    atomic_fetch_add((atomic_int *)arg, 1);
    return NEOQ_OK;
}

static neoq *open_neoq(base *b, const char *url)
{
    neoq *nq;
    b->options.job_check_interval = b->options.poll_interval = NEOQ_HOURS(1); /* it hears, or does not */
    if (neoq_open(&nq, url, &b->options) != NEOQ_OK)
        fail_msg("%s", neoq_error_message());
    return nq;
}

static void put_everywhere(neoq *nq, char (*queues)[16], int each, int priority)
{
    static neoq_job jobs[QUEUES * EACH];
    static neoq_enqueued results[QUEUES * EACH];
    for (int i = 0; i < QUEUES * each; i++) /* one queue after the other, so that each piece is for all nodes */
        jobs[i] =
            (neoq_job){.queue = queues[i % QUEUES], .payload = "1", .priority = priority, .unique = NEOQ_UNIQUE_OFF};
    if (neoq_enqueue_many(nq, jobs, (size_t)(QUEUES * each), results) != NEOQ_OK)
        fail_msg("%s", neoq_error_message());
}

static void test_queues_are_on_their_nodes_and_a_worker_serves_all(void **state)
{
    char queues[QUEUES][16], each[16];
    atomic_int ran = 0;
    start_cluster(REDIS_PORT, 0, NULL);
    neoq *producer = open_neoq(*state, url_with("")), *worker = open_neoq(*state, url_with(""));
    for (int i = 0; i < QUEUES; i++)
        snprintf(queues[i], sizeof queues[i], "%s", queue_on(i % CLUSTER_MASTERS, i / CLUSTER_MASTERS));
    put_everywhere(producer, queues, EACH, 0);
    snprintf(each, sizeof each, "%d", EACH);
    for (int i = 0; i < QUEUES; i++)
        assert_true(answers(i % CLUSTER_MASTERS, each, "LLEN asynq:{%s}:pending", queues[i]));

    for (int i = 0; i < QUEUES; i++)
        assert_int_equal(NEOQ_OK, neoq_start(worker, &(neoq_handler){.queue = queues[i],
                                                                     .handle = count_run,
                                                                     .arg = &ran,
                                                                     .concurrency = 2}));
    int expected = QUEUES * EACH;
    for (int priority = 0; priority < 2; priority++) { /* told by the list, and told by the neoq that enqueues it */
        eventually(atomic_load(&ran) == expected);
        for (int i = 0; i < CLUSTER_MASTERS; i++)
            eventually(listeners(i) == QUEUES / CLUSTER_MASTERS);
        put_everywhere(producer, queues, 1, priority);
        expected += QUEUES;
    }
    eventually(atomic_load(&ran) == expected);
    neoq_close(worker);
    neoq_close(producer);
}

/* ---- slots that move --------------------------------------------------------------------- */

/* Of a batch of one command. */
static void assert_sent(neoq_store *store, const char *command, const char *key, const char *value,
                        const char *expected)
{
    rd_batch batch = {0};
    rd_begin(&batch, command);
    rd_put_text(&batch, key);
    if (value)
        rd_put_text(&batch, value);
    if (rd_send(store, &batch, false) != NEOQ_OK)
        fail_msg("%s %s: %s", command, key, neoq_error_message());
    if (expected)
        assert_string_equal(expected, rd_string(batch.calls[0].reply));
    else
        assert_int_equal(REDIS_REPLY_NIL, batch.calls[0].reply->type);
    rd_batch_free(&batch);
}

static void test_a_key_is_found_before_while_and_after_it_moves(void **state)
{
    base *b = *state;
    neoq_store *store;
    const char *key = "{k}:1", *new_key = "{k}:2", *another = "{k}:3";
    start_cluster(REDIS_PORT, 0, NULL);
    int from = redis_cluster_home(cluster, key), to = (from + 1) % CLUSTER_MASTERS;
    const neoq_store_config config = {.url = url_with(""), .options = &b->options, .clock = &nq_real_clock};
    assert_int_equal(NEOQ_OK, nq_redis_backend.open(&store, &config));
    assert_sent(store, "SET", key, "a", "OK");
    assert_true(redis_cluster_open_slot(cluster, key, from, to));
    assert_sent(store, "GET", key, NULL, "a");
    assert_true(redis_cluster_move_keys(cluster, key, from, to, 1));
    assert_sent(store, "GET", key, NULL, "a");
    assert_sent(store, "GET", new_key, NULL, NULL);
    assert_sent(store, "SET", new_key, "b", "OK");
    assert_true(answers(from, "", "CLUSTER GETKEYSINSLOT %s 9", "1")); /* slot 1: there is nothing of others' */
    assert_true(redis_cluster_close_slot(cluster, key, to));
    assert_sent(store, "GET", key, NULL, "a");
    assert_sent(store, "GET", new_key, NULL, "b");
    assert_sent(store, "SET", another, "c", "OK");
    assert_true(answers(to, "c", "GET %s", another));
    assert_int_equal(0, count_in(from, "INFO errorstats", "errorstat_NOSCRIPT"));
    nq_redis_backend.close(store);
}

/* No script may see a half of its queue. */
static void test_jobs_wait_while_their_slot_moves_and_none_is_lost(void **state)
{
    const char *key = "asynq:{q}:neoq";
    start_cluster(REDIS_PORT, 0, NULL);
    int from = redis_cluster_home(cluster, key), to = (from + 1) % CLUSTER_MASTERS;
    flow *f = flow_start(*state, url_with(""));
    for (int i = 0; i < SOME; i++) /* which nobody runs: so there is something to move */
        assert_int_equal(NEOQ_OK, neoq_enqueue(f->nq,
                                               &(neoq_job){.queue = "q",
                                                           .unique = NEOQ_UNIQUE_OFF,
                                                           .payload = "0",
                                                           .run_after = neoq_now() + NEOQ_HOURS(1)},
                                               NULL));
    assert_true(redis_cluster_open_slot(cluster, key, from, to));
    for (int i = 0; i < 4; i++) {
        int before = count_in(from, "INFO commandstats", "cmdstat_evalsha");
        assert_int_equal(1, before);
        assert_true(redis_cluster_move_keys(cluster, key, from, to, 40));
        eventually(count_in(from, "INFO errorstats", "errorstat_TRYAGAIN") > 0);
    }
    int asked = atomic_load(&f->asked);
    assert_true(redis_cluster_move_keys(cluster, key, from, to, -1));
    eventually(count_in(to, "INFO errorstats", "errorstat_TRYAGAIN") > 0);
    assert_true(atomic_load(&f->asked) <= asked + 1); /* it waits */
    assert_true(redis_cluster_close_slot(cluster, key, to));
    assert_int_equal(0, atomic_load(&f->unknown));
    flow_end_unharmed(f);
    assert_true(answers(to, "1", "EXISTS %s", key));
}

static void test_an_idle_worker_follows_its_queue(void **state)
{
    atomic_int ran = 0;
    const char *key = "asynq:{q}:neoq";
    start_cluster(REDIS_PORT, 0, NULL);
    int from = redis_cluster_home(cluster, key), to = (from + 1) % CLUSTER_MASTERS;
    neoq *worker = open_neoq(*state, url_with(""));
    assert_int_equal(NEOQ_OK, neoq_start(worker, &(neoq_handler){.queue = "q", .handle = count_run, .arg = &ran}));
    eventually(listeners(from) == 1);
    assert_true(redis_cluster_open_slot(cluster, key, from, to));
    assert_true(redis_cluster_move_keys(cluster, key, from, to, -1));
    assert_true(redis_cluster_close_slot(cluster, key, to));
    eventually(listeners(to) == 1 && listeners(from) == 0);
    neoq *producer = open_neoq(*state, url_with(""));
    assert_int_equal(NEOQ_OK, neoq_enqueue(producer, &(neoq_job){.queue = "q"}, NULL));
    eventually(atomic_load(&ran) == 1);
    neoq_close(producer);
    neoq_close(worker);
}

/* ---- nodes that go ----------------------------------------------------------------------- */

static long long offset_of(int number, const char *name)
{
    char answer[4096];
    assert_true(redis_do(node(number), 0, answer, sizeof answer, "INFO replication"));
    const char *at = strstr(answer, name);
    return at ? atoll(at + strlen(name)) : -1;
}

/* What the replica has heard of is there, and the work goes on with it. */
static void test_a_replica_takes_the_place_of_its_master(void **state)
{
    char ends[16], answer[4096];
    neoq_queue_info *queues;
    size_t count;
    start_cluster(REDIS_PORT, 1, NULL);
    const char *old = queue_on(0, 0);
    flow *f = flow_start(*state, url_with(""));
    for (int i = 0; i < SOME; i++)
        assert_int_equal(NEOQ_OK, neoq_enqueue(f->nq, &(neoq_job){.queue = old, .unique = NEOQ_UNIQUE_OFF}, NULL));
    snprintf(ends, sizeof ends, "%d", SOME);
    assert_true(answers(0, ends, "LLEN asynq:{%s}:pending", old));
    long long written = offset_of(0, "master_repl_offset:");
    eventually(offset_of(CLUSTER_MASTERS, "slave_repl_offset:") >= written);
    assert_true(redis_kill(node(0)));
    flow_goes_on(f);
    eventually(redis_do(node(CLUSTER_MASTERS), 0, answer, sizeof answer, "ROLE") &&
               strncmp(answer, "master", 6) == 0);
    flow_goes_on(f);
    flow_stop_producing(f);
    assert_int_equal(NEOQ_OK, neoq_queues(f->nq, &queues, &count));
    for (size_t i = 0; i < count; i++)
        if (strcmp(queues[i].name, old) == 0)
            assert_int_equal(SOME, queues[i].ready);
    assert_int_equal(2, count);
    free(queues);
    assert_int_equal(0, atomic_load(&f->refused));
    flow_end(f);
}

static void test_a_node_that_comes_back_is_waited_for(void **state)
{
    start_cluster(REDIS_PORT, 0, (const char *const[]){"appendonly=yes", "appendfsync=always", NULL});
    flow *f = flow_start(*state, url_with(""));
    int home = redis_cluster_home(cluster, "asynq:{q}:neoq");
    assert_true(redis_kill(node(home)));
    assert_true(redis_again(node(home)));
    flow_end_unharmed(f);
}

static void test_slots_without_a_node_are_told_until_they_have_one(void **state)
{
    base *b = *state;
    char slot[16];
    start_cluster(REDIS_PORT, 0, NULL);
    snprintf(slot, sizeof slot, "%u", rd_slot("q", 1));
    b->options.connect_timeout = NEOQ_SECONDS(1);
    neoq *nq = open_neoq(b, url_with(""));
    for (int i = 0; i < CLUSTER_MASTERS; i++)
        assert_true(redis_do(node(i), 0, NULL, 0, "CLUSTER DELSLOTS %s", slot));
    for (int i = 0; i < CLUSTER_MASTERS; i++)
        eventually(count_in(i, "CLUSTER INFO", "cluster_state:fail") == 1);
    assert_int_equal(NEOQ_EBACKEND, neoq_enqueue(nq, &(neoq_job){.queue = "q"}, NULL));
    assert_words("no node serves slot");
    assert_int_equal(NEOQ_EBACKEND, neoq_enqueue(nq, &(neoq_job){.queue = queue_on(1, 0)}, NULL));
    assert_words("CLUSTERDOWN");
    assert_true(redis_do(node(0), 0, NULL, 0, "CLUSTER ADDSLOTS %s", slot));
    eventually(neoq_enqueue(nq, &(neoq_job){.queue = "q"}, NULL) == NEOQ_OK);
    assert_true(answers(0, "1", "LLEN asynq:{%s}:pending", "q"));
    neoq_close(nq);
}

/* ---- what it is -------------------------------------------------------------------------- */

static void assert_not_opened(base *b, const char *url, const char *words)
{
    neoq *nq;
    assert_int_equal(NEOQ_EBACKEND, neoq_open(&nq, url, &b->options));
    assert_words(words);
}

static void test_a_url_that_names_what_is_not_there_is_refused(void **state)
{
    base *b = *state;
    char url[300];
    start_cluster(REDIS_PORT, 0, NULL);
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", redis_port(node(0)));
    assert_not_opened(b, url, "write redis+cluster://");
    assert_not_opened(b, "redis+cluster://127.0.0.1:1", "refused");
    snprintf(url, sizeof url, "redis+cluster://u:wrong@127.0.0.1:1,127.0.0.1:%d", redis_port(node(0)));
    assert_not_opened(b, url, "WRONGPASS");
    own_server(b, REDIS_PORT, NULL);
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d", redis_port(b->server));
    assert_not_opened(b, url, "named by redis://");

    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:1,127.0.0.1:%d", redis_port(node(2))); /* one is enough */
    neoq *nq = open_neoq(b, url);
    assert_int_equal(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q"}, NULL));
    neoq_close(nq);
}

/* It would be in the list of all queues, and stop whoever goes through that. */
static void test_a_name_that_would_part_its_keys_is_refused(void **state)
{
    neoq_queue_info *queues;
    size_t count;
    start_cluster(REDIS_PORT, 0, NULL);
    neoq *nq = open_neoq(*state, url_with(""));
    assert_int_equal(NEOQ_EINVAL, neoq_enqueue(nq, &(neoq_job){.queue = "}x"}, NULL));
    assert_words("may not begin with");
    assert_int_equal(NEOQ_EINVAL, neoq_start(nq, &(neoq_handler){.queue = "}x", .handle = count_run, .capacity = 1}));
    assert_int_equal(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "x}"}, NULL));
    int home = redis_cluster_home(cluster, "asynq:queues");
    assert_true(answers(home, "x}", "SMEMBERS %s", "asynq:queues"));
    assert_true(answers(home, "1", "SADD asynq:queues %s", "}y")); /* as asynq does */
    assert_int_equal(NEOQ_OK, neoq_queues(nq, &queues, &count));
    assert_int_equal(1, count);
    free(queues);
    neoq_close(nq);
}

/* "level name" of each finding, in lines. */
static void note_finding(const neoq_finding *finding, void *arg)
{
    char *all = arg;
    snprintf(all + strlen(all), 8192 - strlen(all), "%d %s: %s\n", (int)finding->level, finding->name,
             finding->words);
}

static void test_the_doctor_sees_nodes_and_slots(void **state)
{
    base *b = *state;
    char all[8192] = "", words[64];
    start_cluster(REDIS_PORT, 0, NULL);
    const neoq_store_config config = {.url = url_with(""), .options = &b->options, .clock = &nq_real_clock};
    assert_int_equal(NEOQ_OK, nq_redis_backend.doctor(&config, note_finding, all));
    assert_non_null(strstr(all, "slots: all 16384 are served, by 3 nodes"));
    assert_null(strstr(all, "version of")); /* what is well */
    assert_null(strstr(all, "state of"));
    for (int i = 0; i < CLUSTER_MASTERS; i++) {
        snprintf(words, sizeof words, "persistence of 127.0.0.1:%d: none", redis_port(node(i)));
        assert_non_null(strstr(all, words));
    }
    for (int i = 0; i < CLUSTER_MASTERS; i++)
        assert_true(redis_do(node(i), 0, NULL, 0, "CLUSTER DELSLOTS 7 8"));
    for (int i = 0; i < CLUSTER_MASTERS; i++)
        eventually(count_in(i, "CLUSTER INFO", "cluster_state:fail") == 1);
    all[0] = '\0';
    assert_int_equal(NEOQ_OK, nq_redis_backend.doctor(&config, note_finding, all));
    assert_non_null(strstr(all, "slots: 2 of 16384 are served by no node"));
    assert_non_null(strstr(all, "state of 127.0.0.1:"));
}

/* TLS, a user and packaging/redis.acl, on each node. */
static void test_each_node_is_spoken_to_as_the_url_says(void **state)
{
    base *b = *state;
    char url[400], words[4096];
    start_cluster(REDIS_TLS, 0, (const char *const[]){"aclfile=" NEOQ_TEST_ACL, NULL});
    for (int i = 0; i < CLUSTER_MASTERS; i++)
        assert_true(redis_do(node(i), 0, NULL, 0, "ACL SETUSER neoq >secret"));
    snprintf(url, sizeof url, "rediss+cluster://neoq:secret@127.0.0.1:%d?ca=%s/ca.crt", redis_port(node(0)),
             redis_folder(node(0)));
    flow *f = flow_start(b, url);
    const char *key = "asynq:{q}:neoq";
    int from = redis_cluster_home(cluster, key), to = (from + 1) % CLUSTER_MASTERS;
    assert_true(redis_cluster_open_slot(cluster, key, from, to));
    eventually(count_in(from, "INFO errorstats", "errorstat_TRYAGAIN") > 0);
    assert_true(redis_cluster_move_keys(cluster, key, from, to, -1));
    eventually(count_in(to, "INFO errorstats", "errorstat_TRYAGAIN") > 0);
    assert_true(redis_cluster_close_slot(cluster, key, to));
    flow_end_unharmed(f);
    for (int i = 0; i < CLUSTER_MASTERS; i++) {
        assert_true(redis_do(node(i), 0, words, sizeof words, "ACL LOG"));
        assert_string_equal("", words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_cluster(test_queues_are_on_their_nodes_and_a_worker_serves_all),
        on_cluster(test_a_key_is_found_before_while_and_after_it_moves),
        on_cluster(test_jobs_wait_while_their_slot_moves_and_none_is_lost),
        on_cluster(test_an_idle_worker_follows_its_queue),
        on_cluster(test_a_replica_takes_the_place_of_its_master),
        on_cluster(test_a_node_that_comes_back_is_waited_for),
        on_cluster(test_slots_without_a_node_are_told_until_they_have_one),
        on_cluster(test_a_url_that_names_what_is_not_there_is_refused),
        on_cluster(test_a_name_that_would_part_its_keys_is_refused),
        on_cluster(test_the_doctor_sees_nodes_and_slots),
        on_cluster(test_each_node_is_spoken_to_as_the_url_says),
    };
    return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}
