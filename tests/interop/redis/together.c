/* SPDX-License-Identifier: MIT
 *
 * Both sides work on a queue at once, and some of the workers are killed. together VERSION [PATTERN | slow]; VERSION is a
 * Go program's name.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interop/redis/sides.h"
#include "support/child.h"

enum { EACH = 150, BEFORE_THE_END = 10 };

/* The child that is to be killed does some jobs and then holds on to one. */
static int hold_the_last(neoq_ctx *ctx, void *arg)
{
    int *left = arg;
    if ((*left)-- > 0)
        return NEOQ_OK;
    child_say("holds");
    gate_wait(&(gate)GATE_INITIALIZER);
    return neoq_fail(ctx, "was not killed");
}

static int be_victim(const char *url)
{
    neoq *nq;
    int left = BEFORE_THE_END;
    if (neoq_open(&nq, url, &(neoq_options){.log = quiet, .lease = NEOQ_SECONDS(3)}) != NEOQ_OK)
        return 1;
    neoq_start(nq, &(neoq_handler){.queue = "work", .handle = hold_the_last, .arg = &left, .concurrency = 1});
    child_hear();
    neoq_close(nq);
    return 0;
}

static void enqueue_on_both_sides(store *s, neoq *nq)
{
    peer client = peer_start(asynq_version, s->url, "enqueue", NULL);
    for (int i = 0; i < EACH; i++) {
        static const neoq_duration soon[] = {NEOQ_MILLISECONDS(1), NEOQ_MILLISECONDS(1), NEOQ_MILLISECONDS(1)};
        put_job(nq,
                (neoq_job){.queue = "work",
                           .unique = NEOQ_UNIQUE_OFF,
                           .retention = NEOQ_HOURS(1),
                           .retry_waits = soon,
                           .retry_wait_count = 3},
                NULL);
        peer_tell(&client, "{\"type\":\"work\",\"queue\":\"work\",\"payload\":\"{}\",\"retention\":\"1h\"}");
        json_t *answer = peer_hear(&client);
        assert_string_equal("", peer_text(answer, "error"));
        json_decref(answer);
    }
    peer_finish(&client);
}

/* Takes in what the worker said, and counts the ends. */
static int ends_heard(peer *p)
{
    int ends = 0;
    while (peer_has_said(p)) {
        json_t *said = peer_hear(p);
        ends += strcmp(peer_text(said, "event"), "end") == 0;
        json_decref(said);
    }
    return ends;
}

static void test_both_sides_work_at_once_and_one_of_ours_is_killed(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    int there = 0;
    neoq *nq = open_here(s);
    enqueue_on_both_sides(s, nq);
    child victim = child_start("victim", s->url);
    child_expect(&victim, "holds");
    peer p = work_there(s, "sleep:5ms");
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    eventually((there += ends_heard(&p)) > 0 && recorded(&r) > 0);
    child_signal(&victim, SIGKILL);
    child_wait(&victim);
    eventually((there += ends_heard(&p), queue_of(nq, "work").done) == 2L * EACH);
    peer_finish(&p);
    neoq_queue_info queue = queue_of(nq, "work");
    assert_int_equal(0, queue.ready + queue.running + queue.retrying + queue.scheduled + queue.dead);
    assert_true(queue.failed >= 1); /* what it held, and what it had claimed ahead if its first jobs took a while */
    assert_int_equal(2 * EACH + queue.failed, queue.processed);
    assert_int_equal(2 * EACH, BEFORE_THE_END + there + (int)recorded(&r));
}

/* By hand, for its minute and a half: a lease of Go's is 30 s, and over half a minute late. */
static void test_what_a_killed_go_worker_held_is_run_here(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    patience p = patience_of(180);
    neoq *nq = open_here(s);
    peer victim = work_there(s, "wait");
    enqueue_on_both_sides(s, nq);
    json_decref(peer_expect(&victim, "start"));
    peer_kill(&victim);
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    while (queue_of(nq, "work").done < 2L * EACH)
        if (!patience_left(&p))
            fail_msg("%lld jobs are not done", (long long)(2L * EACH - queue_of(nq, "work").done));
    assert_int_equal(2 * EACH, recorded(&r));
    assert_int_equal(1, queue_of(nq, "work").failed);
}

int main(int argc, char **argv)
{
    const char *role, *url;
    if (child_role(argc, argv, &role, &url))
        return be_victim(url);
    const struct CMUnitTest tests[] = {on_store(test_both_sides_work_at_once_and_one_of_ours_is_killed)};
    const struct CMUnitTest slow[] = {on_store(test_what_a_killed_go_worker_held_is_run_here)};
    bool by_hand = argc == 3 && strcmp(argv[2], "slow") == 0;
    int status = sides_begin(by_hand ? 2 : argc, argv);
    if (status)
        return status;
    return by_hand ? cmocka_run_group_tests_name("together, by hand", slow, NULL, NULL)
                   : cmocka_run_group_tests_name("together", tests, NULL, NULL);
}
