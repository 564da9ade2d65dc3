/* SPDX-License-Identifier: MIT
 *
 * No second unfinished job of one queue and fingerprint.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* Asserts that the job is refused, and that id names the one that exists. */
static void refused(neoq *nq, neoq_job job, const char *existing)
{
    char id[NEOQ_ID_SIZE] = "";
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &job, id));
    assert_string_equal(existing, id);
}

static void test_a_second_unfinished_job_is_refused_with_the_id_of_the_first(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "unique", "{\"a\":1}", id);
    refused(nq, (neoq_job){.queue = "unique", .payload = "{\"a\":1}"}, id);
    assert_status(NEOQ_EDUPLICATE, neoq_enqueue(nq, &(neoq_job){.queue = "unique", .payload = "{\"a\":1}"}, NULL));
    assert_int_equal(1, jobs_in(nq, "unique", 0));
    put(nq, "unique", "{\"a\":2}", NULL);
    assert_int_equal(2, jobs_in(nq, "unique", 0));
}

static void test_a_job_waiting_for_its_time_is_unfinished(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "unique", .run_after = STORE_START + NEOQ_HOURS(1)}, id);
    refused(nq, (neoq_job){.queue = "unique"}, id);
}

static void test_json_that_differs_in_order_and_space_is_the_same(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "unique", "{\"a\":1,\"b\":[1,2,{\"c\":null}]}", id);
    refused(nq, (neoq_job){.queue = "unique", .payload = " { \"b\" : [1, 2, {\"c\":null}],\n\t\"a\": 1 } "}, id);
    put(nq, "unique", "{\"a\":1,\"b\":[2,1,{\"c\":null}]}", NULL);
}

static void test_the_same_payload_on_another_queue_is_another_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    put(nq, "one", "{}", NULL);
    put(nq, "two", "{}", NULL);
    assert_int_equal(1, jobs_in(nq, "two", 0));
}

static void test_unique_off_lets_all_in(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    for (int i = 0; i < 3; i++)
        put_job(nq, (neoq_job){.queue = "many", .unique = NEOQ_UNIQUE_OFF}, NULL);
    /* Those are no obstacle to a unique one either: it is the first of its kind. */
    char id[NEOQ_ID_SIZE];
    put(nq, "many", NULL, id);
    refused(nq, (neoq_job){.queue = "many"}, id);
    put_job(nq, (neoq_job){.queue = "many", .unique = NEOQ_UNIQUE_OFF}, NULL);
    assert_int_equal(5, jobs_in(nq, "many", 0));
}

static void test_unique_may_be_off_by_default_and_on_for_a_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.unique = NEOQ_UNIQUE_OFF});
    put(nq, "many", NULL, NULL);
    put(nq, "many", NULL, NULL);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "many", .unique = NEOQ_UNIQUE_ON}, id);
    refused(nq, (neoq_job){.queue = "many", .unique = NEOQ_UNIQUE_ON}, id);
    assert_int_equal(3, jobs_in(nq, "many", 0));
}

static void test_a_fingerprint_of_ones_own_decides(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "own", .payload = "1", .fingerprint = "customer 7"}, id);
    refused(nq, (neoq_job){.queue = "own", .payload = "2", .fingerprint = "customer 7"}, id);
    put_job(nq, (neoq_job){.queue = "own", .payload = "1", .fingerprint = "customer 8"}, NULL);
    put_job(nq, (neoq_job){.queue = "other", .payload = "1", .fingerprint = "customer 7"}, NULL);
    assert_string_equal("customer 7", store_job(s, nq, id)->fingerprint);
}

static void enqueue_its_twin(neoq_ctx *ctx, recorder *r)
{
    char id[NEOQ_ID_SIZE] = "";
    int *status = ((void **)r->about)[1];
    *status = neoq_enqueue(((void **)r->about)[0], &(neoq_job){.queue = "unique"}, id);
    if (*status == NEOQ_EDUPLICATE && strcmp(id, neoq_ctx_job(ctx)->id) != 0)
        *status = NEOQ_EFAILED;
}

static void test_a_running_job_is_unfinished(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    int status = 0;
    void *about[] = {nq, &status};
    recorder r = {RECORDER_INITIALIZER, .inside = enqueue_its_twin, .about = about};
    start(nq, "unique", &r);
    put(nq, "unique", NULL, NULL);
    work_one(nq);
    assert_status(NEOQ_EDUPLICATE, status);
}

static void test_a_retrying_job_is_unfinished(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER,
                  .steps = {{.act = ACT_FAIL}, {.act = ACT_SNOOZE, .wait = NEOQ_HOURS(1)}, {.act = ACT_DONE}},
                  .step_count = 3};
    start(nq, "unique", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "unique", NULL, id);
    work_one(nq);
    assert_int_equal(NEOQ_RETRYING, state_of(nq, id));
    refused(nq, (neoq_job){.queue = "unique"}, id);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(16));
    refused(nq, (neoq_job){.queue = "unique"}, id);
    work_one(nq);
    assert_int_equal(NEOQ_SCHEDULED, state_of(nq, id));
    refused(nq, (neoq_job){.queue = "unique"}, id);
}

static void test_it_is_free_again_once_done(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "unique", &r);
    put(nq, "unique", NULL, NULL);
    work_one(nq);
    put_job(nq, (neoq_job){.queue = "unique", .retention = NEOQ_FOREVER}, NULL);
    work_one(nq);
    assert_int_equal(1, jobs_in(nq, "unique", NEOQ_DONE));
    put(nq, "unique", NULL, NULL);
}

static void test_it_is_free_again_once_dead(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}, {.act = ACT_DISCARD}}, .step_count = 2};
    start(nq, "unique", &r);
    put_job(nq, (neoq_job){.queue = "unique", .max_retries = NEOQ_NO_RETRIES}, NULL);
    work_one(nq);
    put(nq, "unique", NULL, NULL);
    work_one(nq);
    put(nq, "unique", NULL, NULL);
    assert_int_equal(2, jobs_in(nq, "unique", NEOQ_DEAD));
    assert_int_equal(1, jobs_in(nq, "unique", NEOQ_READY));
}

static void test_it_is_free_again_once_past_its_deadline(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "unique", &r);
    put_job(nq, (neoq_job){.queue = "unique", .deadline = STORE_START + 1}, NULL);
    neoq_clock_advance(s->clock, 2);
    drain(nq);
    put(nq, "unique", NULL, NULL);
}

static void test_it_is_free_again_once_cancelled_or_deleted_or_purged(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "unique", NULL, id);
    assert_status(NEOQ_OK, neoq_cancel(nq, id));
    put(nq, "unique", NULL, id);
    assert_status(NEOQ_OK, neoq_delete(nq, id));
    put(nq, "unique", NULL, id);
    assert_status(NEOQ_OK, neoq_purge(nq, "unique", 0, NULL));
    put(nq, "unique", NULL, id);
}

static void test_a_dead_job_whose_twin_lives_cannot_be_retried(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char dead[NEOQ_ID_SIZE], twin[NEOQ_ID_SIZE];
    put(nq, "unique", NULL, dead);
    assert_status(NEOQ_OK, neoq_cancel(nq, dead));
    put(nq, "unique", NULL, twin);
    assert_status(NEOQ_EDUPLICATE, neoq_retry_now(nq, dead));
    assert_int_equal(NEOQ_DEAD, state_of(nq, dead));
    assert_status(NEOQ_OK, neoq_delete(nq, twin));
    assert_status(NEOQ_OK, neoq_retry_now(nq, dead));
    refused(nq, (neoq_job){.queue = "unique"}, dead);
}

static void test_two_neoqs_on_one_store_share_it(void **state)
{
    store *s = *state;
    neoq *one, *two;
    open_two(s, &one, &two);
    char id[NEOQ_ID_SIZE];
    put(one, "unique", NULL, id);
    refused(two, (neoq_job){.queue = "unique"}, id);
}

enum { SAME_JOBS = 64, SAME_ROUNDS = 20 };

/* Enqueues the same jobs, by one call a round, from the first or from the last. */
typedef struct twin_caller {
    neoq *nq;
    bool backwards;
    int stored, refused, failed;
} twin_caller;

static void *put_the_same(void *arg)
{
    twin_caller *c = arg;
    for (int round = 0; round < SAME_ROUNDS; round++) {
        char payloads[SAME_JOBS][32];
        neoq_job jobs[SAME_JOBS];
        neoq_enqueued results[SAME_JOBS];
        for (int i = 0; i < SAME_JOBS; i++) {
            snprintf(payloads[i], sizeof payloads[i], "{\"n\":%d}",
                     round * SAME_JOBS + (c->backwards ? SAME_JOBS - 1 - i : i));
            jobs[i] = (neoq_job){.queue = "unique", .payload = payloads[i]};
        }
        neoq_enqueue_many(c->nq, jobs, SAME_JOBS, results);
        for (int i = 0; i < SAME_JOBS; i++) {
            c->stored += results[i].status == NEOQ_OK;
            c->refused += results[i].status == NEOQ_EDUPLICATE;
            c->failed += results[i].status != NEOQ_OK && results[i].status != NEOQ_EDUPLICATE;
        }
    }
    return NULL;
}

static void test_calls_with_the_same_jobs_in_opposite_orders_get_on(void **state)
{
    store *s = *state;
    twin_caller callers[2] = {{.backwards = false}, {.backwards = true}};
    pthread_t threads[2];
    open_two(s, &callers[0].nq, &callers[1].nq);
    for (int i = 0; i < 2; i++)
        assert_int_equal(0, pthread_create(&threads[i], NULL, put_the_same, &callers[i]));
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(0, callers[0].failed + callers[1].failed);
    assert_int_equal(SAME_JOBS * SAME_ROUNDS, callers[0].stored + callers[1].stored);
    assert_int_equal(SAME_JOBS * SAME_ROUNDS, callers[0].refused + callers[1].refused);
    assert_int_equal(SAME_JOBS * SAME_ROUNDS, jobs_in(callers[0].nq, "unique", 0));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_second_unfinished_job_is_refused_with_the_id_of_the_first),
        on_store(test_a_job_waiting_for_its_time_is_unfinished),
        on_store(test_json_that_differs_in_order_and_space_is_the_same),
        on_store(test_the_same_payload_on_another_queue_is_another_job),
        on_store(test_unique_off_lets_all_in),
        on_store(test_unique_may_be_off_by_default_and_on_for_a_job),
        on_store(test_a_fingerprint_of_ones_own_decides),
        on_store(test_a_running_job_is_unfinished),
        on_store(test_a_retrying_job_is_unfinished),
        on_store(test_it_is_free_again_once_done),
        on_store(test_it_is_free_again_once_dead),
        on_store(test_it_is_free_again_once_past_its_deadline),
        on_store(test_it_is_free_again_once_cancelled_or_deleted_or_purged),
        on_store(test_a_dead_job_whose_twin_lives_cannot_be_retried),
        on_store(test_two_neoqs_on_one_store_share_it),
        on_store(test_calls_with_the_same_jobs_in_opposite_orders_get_on),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("unique", tests, NULL, NULL);
}
