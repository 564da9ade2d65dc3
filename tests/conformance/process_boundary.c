/* SPDX-License-Identifier: MIT
 *
 * Handlers in processes of their own: what crosses the boundary.
 */
#include "support/apart.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

static int look_at_job(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    note_run(arg);
    bool same = job->payload_size == 300000 && ((const char *)job->payload)[299999] == 7 &&
                ((const char *)job->payload)[300000] == '\0' && job->priority == 3 && job->retries == 0 &&
                job->epoch == 1 && strcmp(job->metadata, "{\"a\":1}") == 0 && strcmp(job->queue, "apart") == 0 &&
                strcmp(job->fingerprint, "print") == 0 && job->retry_wait_count == 8 && job->retry_waits[7] == 1 &&
                job->deadline > 0 && job->ran_at > 0 && neoq_ctx_remaining(ctx) > NEOQ_SECONDS(1) &&
                neoq_ctx_remaining(ctx) <= NEOQ_SECONDS(30) && !neoq_ctx_cancelled(ctx);
    if (!same)
        return neoq_discard(ctx, "not the same");
    static char result[200001];
    memset(result, 'r', 200000);
    return neoq_set_result(ctx, result, 200000);
}

static void test_the_job_and_its_result_cross_whatever_their_size(void **state)
{
    store *s = *state;
    common *c = make_common();
    neoq *nq = start_apart(s, apart(look_at_job, c), c);
    static char payload[300000];
    char id[NEOQ_ID_SIZE];
    payload[299999] = 7;
    neoq_job job = retried_at_once(payload);
    job.payload_size = sizeof payload;
    job.priority = 3;
    job.metadata = "{\"a\":1}";
    job.fingerprint = "print";
    job.deadline = neoq_now() + NEOQ_HOURS(1);
    put_job(nq, job, id);
    eventually(state_of(nq, id) >= NEOQ_DONE);
    const neoq_job *done = store_job(s, nq, id);
    assert_int_equal(NEOQ_DONE, done->state);
    assert_int_equal(200000, done->result_size);
    assert_int_equal('r', ((const char *)done->result)[199999]);
    assert_int_not_equal(getpid(), c->pids[0]);
}

static int do_as_told(neoq_ctx *ctx, void *arg)
{
    const char *what = neoq_ctx_job(ctx)->payload;
    note_run(arg);
    neoq_set_progress(ctx, 40, what);
    neoq_set_result(ctx, what, strlen(what));
    if (strcmp(what, "fail") == 0)
        return neoq_fail(ctx, "no such address: %d", 7);
    if (strcmp(what, "retry in") == 0)
        return neoq_retry_in(ctx, NEOQ_HOURS(1), "busy");
    if (strcmp(what, "snooze") == 0)
        return neoq_snooze(ctx, NEOQ_HOURS(1));
    if (strcmp(what, "discard") == 0)
        return neoq_discard(ctx, "gone");
    if (strcmp(what, "exit") == 0)
        neoq_set_exit(ctx, 3, 0, 5, 6);
    return strcmp(what, "return") == 0 ? 42 : NEOQ_OK;
}

static void test_every_outcome_crosses(void **state)
{
    static const struct {
        const char *what, *outcome, *error;
        neoq_state state;
    } cases[] = {
        {"done", "done", "", NEOQ_DONE},
        {"fail", "failed", "no such address: 7", NEOQ_RETRYING},
        {"retry in", "failed", "busy", NEOQ_RETRYING},
        {"snooze", "snoozed", "", NEOQ_SCHEDULED},
        {"discard", "discarded", "gone", NEOQ_DEAD},
        {"return", "failed", "the handler returned 42", NEOQ_RETRYING},
        {"exit", "done", "", NEOQ_DONE},
    };
    store *s = *state;
    common *c = make_common();
    neoq *nq = start_apart(s, apart(do_as_told, c), c);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char id[NEOQ_ID_SIZE], note[64];
        int percent;
        neoq_run_info runs[25];
        put_job(nq, (neoq_job){.queue = "apart", .payload = cases[i].what}, id);
        eventually(runs_of(nq, id, runs) == 1 && runs[0].finished_at > 0);
        assert_string_equal(cases[i].outcome, runs[0].outcome);
        assert_string_equal(cases[i].error, runs[0].error);
        assert_int_equal(cases[i].state, state_of(nq, id));
        assert_int_equal(strcmp(cases[i].what, "exit") == 0 ? 3 : 0, runs[0].exit_code);
        assert_true(runs[0].peak_memory > 0);
        if (cases[i].state == NEOQ_DONE)
            assert_string_equal(cases[i].what, (const char *)store_job(s, nq, id)->result);
        if (cases[i].state == NEOQ_SCHEDULED) {
            assert_status(NEOQ_OK, neoq_get_progress(nq, id, &percent, note, sizeof note));
            assert_true(percent == 40 || percent == -1); /* it is the running job's */
        }
    }
    assert_int_equal(c->pids[0], c->pids[6]); /* one child for them all */
    assert_int_equal(0, c->crashes);
}

static int tell_progress(neoq_ctx *ctx, void *arg)
{
    common *c = arg;
    note_run(c);
    atomic_store(&c->statuses[0], neoq_set_progress(ctx, 40, "forty"));
    atomic_store(&c->statuses[1], neoq_set_progress(ctx, 101, NULL));
    atomic_store(&c->told, 1);
    struct pollfd fd = {.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN};
    bool woken = fd.fd >= 0 && poll(&fd, 1, PATIENCE_SECONDS * 1000) == 1 && neoq_ctx_cancelled(ctx);
    atomic_store(&c->told, woken ? 2 : 3);
    return NEOQ_OK;
}

static void test_progress_goes_out_and_a_cancellation_comes_in(void **state)
{
    common *c = make_common();
    neoq *nq = start_apart(*state, apart(tell_progress, c), c);
    char id[NEOQ_ID_SIZE], note[64];
    int percent = 0;
    put(nq, "apart", NULL, id);
    eventually(c->told == 1);
    assert_int_equal(NEOQ_OK, c->statuses[0]);
    assert_int_equal(NEOQ_EINVAL, c->statuses[1]);
    assert_status(NEOQ_OK, neoq_get_progress(nq, id, &percent, note, sizeof note));
    assert_int_equal(40, percent);
    assert_string_equal("forty", note);
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    eventually(state_of(nq, id) == NEOQ_DEAD);
    assert_int_equal(2, c->told);
    assert_int_equal(0, c->crashes);
}

static int enqueue_more(neoq_ctx *ctx, void *arg)
{
    common *c = arg;
    neoq_enqueued results[2];
    neoq_job two[] = {{.queue = "next", .payload = "2"}, {.queue = "next", .payload = "1"}};
    neoq_queue_info *queues;
    size_t count;
    (void)ctx;
    c->statuses[0] = neoq_enqueue(c->nq, &(neoq_job){.queue = "next", .payload = "1"}, c->ids[0]);
    c->statuses[1] = neoq_enqueue(c->nq, &(neoq_job){.queue = "next", .payload = "1"}, c->ids[1]);
    c->statuses[2] = neoq_enqueue(c->nq, &(neoq_job){.queue = "bad\nname"}, NULL);
    c->statuses[3] = neoq_enqueue_many(c->nq, two, 2, results);
    c->statuses[4] = results[1].status;
    c->statuses[5] = neoq_enqueue(c->nq, &(neoq_job){.queue = "full", .payload = "2"}, NULL);
    c->statuses[6] = neoq_queues(c->nq, &queues, &count);
    return NEOQ_OK;
}

static int nothing(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    return NEOQ_OK;
}

static void test_a_handler_enqueues_through_the_process_that_has_the_store(void **state)
{
    common *c = make_common();
    neoq *nq = start_apart(*state, apart(enqueue_more, c), c);
    char id[NEOQ_ID_SIZE];
    neoq_handler full = {.queue = "full", .handle = nothing, .capacity = 1};
    assert_status(NEOQ_OK, neoq_start(nq, &full));
    put_job(nq, (neoq_job){.queue = "full", .run_after = neoq_now() + NEOQ_HOURS(1)}, NULL);
    put(nq, "apart", NULL, id);
    eventually(state_of(nq, id) == NEOQ_DONE);
    static const int expected[] = {NEOQ_OK,         NEOQ_EDUPLICATE, NEOQ_EINVAL, NEOQ_OK,
                                   NEOQ_EDUPLICATE, NEOQ_EFULL,      NEOQ_ESTATE};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(expected[i], c->statuses[i]);
    assert_string_equal(c->ids[0], c->ids[1]);
    assert_int_equal(2, jobs_in(nq, "next", NEOQ_READY));
    assert_true(has_job(nq, c->ids[0]));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_the_job_and_its_result_cross_whatever_their_size),
        on_store(test_every_outcome_crosses),
        on_store(test_progress_goes_out_and_a_cancellation_comes_in),
        on_store(test_a_handler_enqueues_through_the_process_that_has_the_store),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("process_boundary", tests, NULL, NULL);
}
