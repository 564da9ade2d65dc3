/* SPDX-License-Identifier: MIT
 *
 * Jobs that go from one side to the other: what real asynq enqueues we run, what we enqueue it runs, and each sees what
 * the other made of it. jobs VERSION [PATTERN]; VERSION is a Go program's name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interop/redis/sides.h"

/* ---- now, and later ---------------------------------------------------------------------- */

static void test_what_go_enqueues_we_run(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    bool headers = strcmp(asynq_version, "asynq-0.24") != 0;
    neoq *nq = work_here(s, &r);
    enqueue_there(s, headers ? ",\"retry\":7,\"headers\":{\"trace\":\"1\"}" : ",\"retry\":7");
    eventually(!has_job(nq, ID));
    assert_int_equal(1, recorded(&r));
    assert_string_equal(ID, r.runs[0].id);
    assert_string_equal("{}", (const char *)r.runs[0].payload);
    assert_int_equal(7, r.runs[0].max_retries);
    if (headers)
        assert_non_null(strstr(r.runs[0].metadata, "\"trace\":\"1\""));
    json_t *all = peer_ask(asynq_version, s->url, "inspect", "work", NULL);
    json_t *queue = json_object_get(json_object_get(all, "queues"), "work");
    assert_int_equal(0, peer_number(queue, "size"));
    assert_int_equal(1, peer_number(queue, "processed"));
    assert_int_equal(0, peer_number(queue, "failed"));
    json_decref(all);
}

static void test_what_we_enqueue_go_runs(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    peer p = work_there(s, "ok");
    put_job(nq,
            (neoq_job){.queue = "work",
                       .payload = "{\"n\":1}",
                       .max_retries = 7,
                       .metadata = "{\"asynq_type\":\"mail:send\"}"},
            id);
    json_t *said = expect_of(&p, "start", id);
    assert_string_equal("mail:send", peer_text(said, "type"));
    assert_string_equal("{\"n\":1}", peer_text(said, "payload"));
    assert_int_equal(7, peer_number(said, "retry"));
    json_decref(said);
    eventually(!has_job(nq, id));
    assert_int_equal(1, queue_of(nq, "work").processed);
    peer_finish(&p);
}

static void test_what_go_schedules_we_run_then(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = open_here(s);
    enqueue_there(s, ",\"in\":\"2s\",\"retention\":\"1h\"");
    assert_int_equal(NEOQ_SCHEDULED, state_of(nq, ID));
    neoq_time due = store_job(s, nq, ID)->run_after;
    assert_true(due > neoq_now() - NEOQ_SECONDS(60));
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    eventually(state_of(nq, ID) == NEOQ_DONE);
    assert_true(store_job(s, nq, ID)->ran_at >= due);
}

static void test_what_we_schedule_go_runs_then(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    peer p = work_there(s, "ok");
    neoq_time due = neoq_now() + NEOQ_SECONDS(1);
    put_job(nq, (neoq_job){.queue = "work", .run_after = due}, id);
    json_decref(expect_of(&p, "start", id));
    assert_true(neoq_now() >= due);
    eventually(!has_job(nq, id));
    peer_finish(&p);
}

/* ---- at most once ------------------------------------------------------------------------ */

static void test_an_id_is_refused_by_either_side(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    put(nq, "work", "{}", id);
    assert_words("task ID conflicts", try_there(s, id, ""));
    enqueue_there(s, "");
    put_job(nq, (neoq_job){.id = ID, .queue = "work", .unique = NEOQ_UNIQUE_OFF}, NULL);
    assert_int_equal(2, queue_of(nq, "work").ready);
}

static void test_we_free_what_go_locked(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = open_here(s);
    enqueue_there(s, ",\"unique\":\"1h\"");
    assert_words("already exists", try_there(s, "another", ",\"unique\":\"1h\""));
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    eventually(!has_job(nq, ID));
    enqueue_there(s, ",\"unique\":\"1h\"");
    eventually(recorded(&r) == 2);
}

static void test_go_frees_what_we_locked(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    put(nq, "work", "{}", id);
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &(neoq_job){.queue = "work", .payload = "{}"}, NULL));
    peer p = work_there(s, "ok");
    eventually(!has_job(nq, id));
    peer_finish(&p);
    put(nq, "work", "{}", id);
    /* A task that Go lets die keeps the lock, which guards nothing. */
    p = work_there(s, "skip:no");
    eventually(state_of(nq, id) == NEOQ_DEAD);
    peer_finish(&p);
    put(nq, "work", "{}", id);
}

/* asynq's lock is of type and payload, ours of the fingerprint. */
static void test_a_fingerprint_is_no_lock_to_the_other_side(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    put(nq, "work", "{}", id);
    enqueue_there(s, ",\"unique\":\"1h\"");
    assert_int_equal(2, queue_of(nq, "work").ready);
}

/* ---- failures ---------------------------------------------------------------------------- */

static void test_what_fails_here_is_retried_there(void **state)
{
    store *s = *state;
    static recorder r = {.steps = {{.act = ACT_RETRY_IN, .wait = NEOQ_HOURS(1), .words = "boom"}},
                         .step_count = 1,
                         RECORDER_INITIALIZER};
    neoq *nq = work_here(s, &r);
    enqueue_there(s, "");
    eventually(state_of(nq, ID) == NEOQ_RETRYING);
    store_close(s, nq);
    assert_listed(s, "retry", ID, "boom");
    tell_there(s, "run", "work", ID);
    peer p = work_there(s, "ok");
    json_t *said = expect_of(&p, "start", ID);
    assert_int_equal(1, peer_number(said, "retried"));
    json_decref(said);
    peer_finish(&p);
    assert_false(has_job(open_here(s), ID));
}

static void test_what_fails_there_is_retried_here(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = open_here(s);
    peer p = work_there(s, "fail:boom");
    put_job(nq, (neoq_job){.queue = "work", .payload = "{}"}, id);
    json_decref(expect_of(&p, "end", id));
    peer_finish(&p);
    assert_int_equal(NEOQ_RETRYING, state_of(nq, id));
    assert_string_equal("boom", store_job(s, nq, id)->error);
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    assert_status(NEOQ_OK, neoq_retry_now(nq, id));
    eventually(!has_job(nq, id));
    assert_int_equal(1, r.runs[0].retries);
    assert_string_equal("boom", r.runs[0].error);
}

static void test_what_dies_here_is_run_again_there(void **state)
{
    store *s = *state;
    static recorder r = {.steps = {{.act = ACT_DISCARD, .words = "no"}}, .step_count = 1, RECORDER_INITIALIZER};
    neoq *nq = work_here(s, &r);
    enqueue_there(s, "");
    eventually(state_of(nq, ID) == NEOQ_DEAD);
    store_close(s, nq);
    assert_listed(s, "archived", ID, "no");
    tell_there(s, "run", "work", ID);
    peer p = work_there(s, "ok");
    json_decref(expect_of(&p, "end", ID));
    peer_finish(&p);
    assert_false(has_job(open_here(s), ID));
}

static void test_what_dies_there_is_run_again_here(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    static recorder r = {RECORDER_INITIALIZER};
    neoq *nq = open_here(s);
    peer p = work_there(s, "skip:no");
    put(nq, "work", "{}", id);
    eventually(state_of(nq, id) == NEOQ_DEAD);
    peer_finish(&p);
    assert_words("no", store_job(s, nq, id)->error);
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    assert_status(NEOQ_OK, neoq_retry_now(nq, id));
    eventually(!has_job(nq, id));
    assert_int_equal(1, recorded(&r));
}

/* ---- results ----------------------------------------------------------------------------- */

static int give(neoq_ctx *ctx, void *arg)
{
    (void)arg;
    return neoq_set_result(ctx, "{\"sum\":3}", 9);
}

static void test_what_we_leave_behind_go_finds(void **state)
{
    store *s = *state;
    neoq *nq = open_here(s);
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "work", .handle = give}));
    enqueue_there(s, ",\"retention\":\"1h\"");
    eventually(state_of(nq, ID) == NEOQ_DONE);
    json_t *task = listed(s, "completed", ID);
    assert_string_equal("{\"sum\":3}", peer_text(task, "result"));
    assert_string_equal("1h0m0s", peer_text(task, "retention"));
    assert_true(peer_number(task, "completed_at") > 0);
    json_decref(task);
}

static void test_what_go_leaves_behind_we_find(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    peer p = work_there(s, "result:three");
    put_job(nq, (neoq_job){.queue = "work", .retention = NEOQ_HOURS(1)}, id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(5, job->result_size);
    assert_string_equal("three", job->result);
    assert_true(job->finished_at > 0);
    peer_finish(&p);
}

/* ---- deadlines --------------------------------------------------------------------------- */

/* Past it: we do not run what Go enqueued. */
static void test_a_deadline_of_go_holds_here(void **state)
{
    store *s = *state;
    char more[64];
    static recorder r = {RECORDER_INITIALIZER};
    int64_t deadline = neoq_now() / 1000000 + 1;
    neoq *nq = open_here(s);
    snprintf(more, sizeof more, ",\"deadline\":%lld", (long long)deadline);
    enqueue_there(s, more);
    assert_true(store_job(s, nq, ID)->deadline == NEOQ_SECONDS(deadline));
    eventually(neoq_now() > NEOQ_SECONDS(deadline));
    neoq_handler handler = recording("work", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    eventually(state_of(nq, ID) == NEOQ_DEAD);
    assert_int_equal(0, recorded(&r));
}

/* And Go not what we did: to it that is a failure. */
static void test_a_deadline_of_ours_holds_there(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq_time deadline = neoq_now() / 1000000 * 1000000 + NEOQ_SECONDS(2);
    neoq *nq = open_here(s);
    put_job(nq, (neoq_job){.queue = "work", .deadline = deadline, .max_retries = NEOQ_NO_RETRIES}, id);
    json_t *task = listed(s, "pending", id);
    assert_int_equal(deadline / 1000000, peer_number(task, "deadline"));
    json_decref(task);
    eventually(neoq_now() > deadline);
    peer p = work_there(s, "ok");
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_words("deadline exceeded", store_job(s, nq, id)->error);
    peer_finish(&p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_what_go_enqueues_we_run),           on_store(test_what_we_enqueue_go_runs),
        on_store(test_what_go_schedules_we_run_then),     on_store(test_what_we_schedule_go_runs_then),
        on_store(test_an_id_is_refused_by_either_side),   on_store(test_we_free_what_go_locked),
        on_store(test_go_frees_what_we_locked),           on_store(test_a_fingerprint_is_no_lock_to_the_other_side),
        on_store(test_what_fails_here_is_retried_there),  on_store(test_what_fails_there_is_retried_here),
        on_store(test_what_dies_here_is_run_again_there), on_store(test_what_dies_there_is_run_again_here),
        on_store(test_what_we_leave_behind_go_finds),     on_store(test_what_go_leaves_behind_we_find),
        on_store(test_a_deadline_of_go_holds_here),       on_store(test_a_deadline_of_ours_holds_there),
    };
    int status = sides_begin(argc, argv);
    return status ? status : cmocka_run_group_tests_name("jobs", tests, NULL, NULL);
}
