/* SPDX-License-Identifier: MIT
 *
 * Jobs and queues that one side steers and the other works on, and what asynq's inspector shows of ours.
 * steering VERSION [PATTERN]; VERSION is a Go program's name.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interop/redis/sides.h"
#include "support/redis_server.h"

/* ---- steering ---------------------------------------------------------------------------- */

static void await_cancel(neoq_ctx *ctx, recorder *r)
{
    struct pollfd fd = {.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN};
    (void)r;
    poll(&fd, 1, PATIENCE_SECONDS * 1000);
}

/* Somebody hears what is told of cancellations. That is told once, and asynq's server may be ready before it listens. */
static bool is_heard(store *s)
{
    static char clients[1 << 16];
    char listening[40];
    snprintf(listening, sizeof listening, " db=%d sub=", s->number);
    return redis_do(redis_shared(), s->number, clients, sizeof clients, "CLIENT LIST TYPE pubsub") &&
           strstr(clients, listening);
}

static void test_go_cancels_a_run_of_ours(void **state)
{
    store *s = *state;
    static recorder r = {.inside = await_cancel, RECORDER_INITIALIZER};
    neoq *nq = work_here(s, &r);
    enqueue_there(s, "");
    eventually(recorded(&r) == 1 && is_heard(s));
    tell_there(s, "cancel", ID, NULL);
    eventually(state_of(nq, ID) == NEOQ_DEAD);
    assert_listed(s, "archived", ID, "cancelled");
}

/* Go runs the job meanwhile. To it that is a failure. */
static void cancel_there(store *s, neoq *nq, const char *id)
{
    peer p = work_there(s, "wait");
    json_decref(expect_of(&p, "start", id));
    eventually(is_heard(s));
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    /* Whoever was heard may have been the worker before, whose connection is about to go: so it is told again. */
    eventually(peer_has_said(&p) ||
               (redis_do(redis_shared(), s->number, NULL, 0, "PUBLISH asynq:cancel %s", id), false));
    json_t *said = expect_of(&p, "end", id);
    assert_string_equal("context canceled", peer_text(said, "error"));
    json_decref(said);
    peer_finish(&p);
    assert_int_equal(NEOQ_RETRYING, state_of(nq, id));
}

static void test_a_run_of_gos_that_we_cancel_is_not_retried_here(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = open_here(s);
    enqueue_there(s, ",\"unique\":\"1h\"");
    cancel_there(s, nq, ID);
    assert_true(redis_do(redis_shared(), s->number, NULL, 0, "ZADD asynq:{work}:retry XX 2 " ID)); /* it is due */
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    eventually(state_of(nq, ID) == NEOQ_DEAD);
    assert_int_equal(0, recorded(&r));
    assert_listed(s, "archived", ID, "context canceled");
    assert_string_equal("", try_there(s, "another", ",\"unique\":\"1h\"")); /* what it locked is free */
}

static void test_what_we_cancelled_there_can_be_wanted_again(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE], other[NEOQ_ID_SIZE];
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = open_here(s);
    put(nq, "work", "1", id);
    cancel_there(s, nq, id);
    /* Go tries it again after 15 s, which a busy machine may need to come to the next. */
    assert_true(redis_do(redis_shared(), s->number, NULL, 0, "ZADD asynq:{work}:retry XX 4102444800 %s", id));
    put(nq, "work", "2", other);
    cancel_there(s, nq, other);
    tell_there(s, "run", "work", id);
    assert_status(NEOQ_OK, neoq_retry_now(nq, other));
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    eventually(!has_job(nq, id) && !has_job(nq, other));
    assert_int_equal(2, recorded(&r));
}

static void test_a_queue_that_go_pauses_rests_here(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    enqueue_there(s, "");
    tell_there(s, "pause", "work", NULL);
    neoq *nq = work_here(s, &r);
    assert_true(queue_of(nq, "work").paused);
    assert_status(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(20)));
    assert_int_equal(0, recorded(&r));
    tell_there(s, "unpause", "work", NULL);
    eventually(!has_job(nq, ID));
}

/* The other queue is the lesser one: that its task is run first is what tells. */
static void test_a_queue_that_we_pause_rests_there(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE], other[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    put(nq, "work", "{}", id);
    put(nq, "other", "{}", other);
    assert_status(NEOQ_OK, neoq_pause(nq, "work"));
    peer p = peer_start(asynq_version, s->url, "work",
                        (const char *const[]){"{\"queues\":{\"work\":2,\"other\":1},\"strict\":true}", NULL});
    json_decref(expect_of(&p, "end", other));
    json_t *all = peer_ask(asynq_version, s->url, "inspect", "work", NULL);
    assert_true(json_is_true(json_object_get(json_object_get(json_object_get(all, "queues"), "work"), "paused")));
    assert_non_null(find_listed(all, "pending", id));
    json_decref(all);
    assert_status(NEOQ_OK, neoq_resume(nq, "work"));
    json_decref(expect_of(&p, "end", id));
    peer_finish(&p);
}

static void test_what_go_archives_by_hand_is_dead_here(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    put(nq, "work", "{}", id);
    tell_there(s, "archive", "work", id);
    assert_int_equal(NEOQ_DEAD, state_of(nq, id));
    assert_true(store_job(s, nq, id)->finished_at > 0);
    put(nq, "work", "{}", id); /* what is dead guards no fingerprint */
    tell_there(s, "delete", "work", id);
    assert_false(has_job(nq, id));
}

/* ---- what the inspector shows ------------------------------------------------------------ */

static bool shows_run(store *s, const char *id)
{
    json_t *all = peer_ask(asynq_version, s->url, "inspect", "work", NULL), *server;
    json_t *servers = json_object_get(all, "servers");
    size_t i;
    bool shown = false;
    json_array_foreach(servers, i, server)
    {
        json_t *run = json_array_get(json_object_get(server, "runs"), 0);
        shown = shown || (peer_number(server, "pid") == getpid() && peer_number(server, "concurrency") == 1 &&
                          strcmp(peer_text(server, "status"), "active") == 0 &&
                          json_object_get(json_object_get(server, "queues"), "work") &&
                          strcmp(peer_text(run, "id"), id) == 0 && strcmp(peer_text(run, "payload"), "active") == 0);
    }
    json_decref(all);
    return shown;
}

static void test_gos_inspector_shows_ours_in_every_state(void **state)
{
    store *s = *state;
    static const char *const states[] = {"completed", "retry", "archived", "active", "pending", "scheduled"};
    static gate held = GATE_INITIALIZER;
    char ids[6][NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "work",
                                                          .handle = by_payload,
                                                          .arg = &held,
                                                          .concurrency = 1,
                                                          .timeout = NEOQ_FOREVER}));
    for (size_t i = 0; i < 6; i++) {
        if (i == 4) { /* lest it be claimed ahead */
            eventually(state_of(nq, ids[3]) == NEOQ_RUNNING);
            assert_status(NEOQ_OK, neoq_pause(nq, "work"));
        }
        put_job(nq,
                (neoq_job){.queue = "work",
                           .payload = states[i],
                           .retention = NEOQ_HOURS(1),
                           .run_after = i == 5 ? neoq_now() + NEOQ_HOURS(1) : 0},
                ids[i]);
    }
    eventually(shows_run(s, ids[3]));
    for (size_t i = 0; i < 6; i++) {
        json_t *task = listed(s, states[i], ids[i]);
        assert_string_equal(states[i], peer_text(task, "state"));
        assert_string_equal(states[i], peer_text(task, "payload"));
        assert_string_equal("work", peer_text(task, "type"));
        assert_string_equal(i == 1 ? "later" : i == 2 ? "never" : "", peer_text(task, "error"));
        assert_false(json_is_true(json_object_get(task, "orphaned")));
        assert_int_equal(i == 1 || i == 5, peer_number(task, "next_at") > neoq_now() / 1000000 + 3000);
        json_decref(task);
    }
    gate_open(&held);
    eventually(state_of(nq, ids[3]) == NEOQ_DONE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_go_cancels_a_run_of_ours),
        on_store(test_a_run_of_gos_that_we_cancel_is_not_retried_here),
        on_store(test_what_we_cancelled_there_can_be_wanted_again),
        on_store(test_a_queue_that_go_pauses_rests_here),
        on_store(test_a_queue_that_we_pause_rests_there),
        on_store(test_what_go_archives_by_hand_is_dead_here),
        on_store(test_gos_inspector_shows_ours_in_every_state),
    };
    int status = sides_begin(argc, argv);
    return status ? status : cmocka_run_group_tests_name("steering", tests, NULL, NULL);
}
