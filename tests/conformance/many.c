/* SPDX-License-Identifier: MIT
 *
 * neoq_enqueue_many(): many jobs in one transaction, a result each.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_A "0190a0b0-0000-7000-8000-00000000000a"

static void test_each_job_has_its_result(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    const neoq_job jobs[] = {{.queue = "one", .payload = "1"},
                             {.queue = "two", .payload = "2", .id = ID_A},
                             {.queue = "one", .payload = "3", .run_after = STORE_START + 10}};
    neoq_enqueued results[3];
    memset(results, 'x', sizeof(results));
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 3, results));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(NEOQ_OK, results[i].status);
        assert_string_equal(jobs[i].payload, store_job(s, nq, results[i].id)->payload);
        assert_string_equal(jobs[i].queue, store_job(s, nq, results[i].id)->queue);
    }
    assert_string_equal(ID_A, results[1].id);
    assert_int_equal(1, jobs_in(nq, "one", NEOQ_SCHEDULED));
}

static void test_duplicates_of_the_store_do_not_stop_the_others(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "many", "2", id);
    const neoq_job jobs[] = {{.queue = "many", .payload = "1"},
                             {.queue = "many", .payload = "2"},
                             {.queue = "many", .payload = "3"}};
    neoq_enqueued results[3];
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 3, results));
    assert_int_equal(NEOQ_OK, results[0].status);
    assert_int_equal(NEOQ_EDUPLICATE, results[1].status);
    assert_string_equal(id, results[1].id);
    assert_int_equal(NEOQ_OK, results[2].status);
    assert_int_equal(3, jobs_in(nq, "many", NEOQ_READY));
}

static void test_duplicates_within_the_call_do_not_stop_the_others(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    const neoq_job jobs[] = {{.queue = "many", .payload = "{\"a\":1}"},
                             {.queue = "many", .payload = "{ \"a\": 1 }"},
                             {.queue = "many", .payload = "{\"a\":1}", .unique = NEOQ_UNIQUE_OFF},
                             {.queue = "many", .payload = "3"}};
    neoq_enqueued results[4];
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 4, results));
    assert_int_equal(NEOQ_OK, results[0].status);
    assert_int_equal(NEOQ_EDUPLICATE, results[1].status);
    assert_string_equal(results[0].id, results[1].id);
    assert_int_equal(NEOQ_OK, results[2].status);
    assert_int_equal(NEOQ_OK, results[3].status);
    assert_int_equal(3, jobs_in(nq, "many", 0));
}

/* Some stores begin a call of this size in the hope that there are none. */
static void test_of_twins_in_a_longer_call_the_first_is_stored(void **state)
{
    enum { JOBS = 24, HALF = JOBS / 2 };
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char payloads[JOBS][16];
    neoq_job jobs[JOBS];
    neoq_enqueued results[JOBS];
    for (int i = 0; i < JOBS; i++) {
        snprintf(payloads[i], sizeof payloads[i], "{\"n\":%d}", i % HALF);
        jobs[i] = (neoq_job){.queue = "many", .payload = payloads[i]};
    }
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, JOBS, results));
    for (int i = 0; i < HALF; i++) {
        assert_int_equal(NEOQ_OK, results[i].status);
        assert_int_equal(NEOQ_EDUPLICATE, results[HALF + i].status);
        assert_string_equal(results[i].id, results[HALF + i].id);
    }
    assert_int_equal(HALF, jobs_in(nq, "many", NEOQ_READY));
}

static void test_an_id_that_is_there_is_ok_and_no_second_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    const neoq_job jobs[] = {{.queue = "many", .payload = "1", .id = ID_A}, {.queue = "many", .payload = "2"}};
    neoq_enqueued results[2];
    put_job(nq, jobs[0], NULL);
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 2, results));
    assert_int_equal(NEOQ_OK, results[0].status);
    assert_string_equal(ID_A, results[0].id);
    assert_int_equal(2, jobs_in(nq, "many", 0));
}

static void test_results_may_be_null(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    const neoq_job jobs[] = {{.queue = "many", .payload = "1"}, {.queue = "many", .payload = "1"}};
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 2, NULL));
    assert_int_equal(1, jobs_in(nq, "many", 0));
}

static void test_no_jobs_are_ok(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_enqueued results[1];
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, NULL, 0, NULL));
    assert_status(NEOQ_OK, neoq_enqueue_many(nq, &(neoq_job){.queue = "many"}, 0, results));
    assert_int_equal(0, jobs_in(nq, NULL, 0));
}

static void one_is_malformed(store *s, neoq_job malformed, int status)
{
    neoq *nq = store_open(s, &(neoq_options){.max_payload = 100});
    const neoq_job jobs[] = {{.queue = "many", .payload = "1"}, malformed, {.queue = "many", .payload = "3"}};
    neoq_enqueued results[3];
    memset(results, 'x', sizeof(results));
    assert_status(status, neoq_enqueue_many(nq, jobs, 3, results));
    assert_int_equal(NEOQ_ESTATE, results[0].status);
    assert_int_equal(status, results[1].status);
    assert_int_equal(NEOQ_ESTATE, results[2].status);
    assert_status(status, neoq_enqueue_many(nq, jobs, 3, NULL));
    assert_int_equal(0, jobs_in(nq, NULL, 0));
    store_close(s, nq);
}

static void test_one_malformed_job_and_nothing_is_stored(void **state)
{
    store *s = *state;
    char big[102];
    memset(big, '1', sizeof(big));
    big[101] = '\0';
    one_is_malformed(s, (neoq_job){.queue = NULL}, NEOQ_EINVAL);
    one_is_malformed(s, (neoq_job){.queue = "many", .id = "x"}, NEOQ_EINVAL);
    one_is_malformed(s, (neoq_job){.queue = "many", .run_after = -1}, NEOQ_EINVAL);
    one_is_malformed(s, (neoq_job){.queue = "many", .payload = big}, NEOQ_ETOOBIG);
}

static void test_many_jobs_in_one_call(void **state)
{
    store *s = *state;
    size_t count = store_is("memory") ? 1000000 : 100000;
    neoq *nq = store_open(s, &(neoq_options){.asynchronous_commit = true});
    neoq_job *jobs = calloc(count, sizeof(*jobs));
    neoq_enqueued *results = malloc(count * sizeof(*results));
    assert_non_null(jobs);
    assert_non_null(results);
    for (size_t i = 0; i < count; i++)
        jobs[i] = (neoq_job){.queue = "many", .payload = "{}", .unique = NEOQ_UNIQUE_OFF};
    int status = neoq_enqueue_many(nq, jobs, count, results);
    size_t stored = 0;
    for (size_t i = 0; i < count; i++)
        stored += results[i].status == NEOQ_OK;
    free(results);
    free(jobs);
    assert_status(NEOQ_OK, status);
    assert_int_equal(count, stored);
    assert_int_equal(count, queue_of(nq, "many").ready);
}

static void test_a_call_is_seen_whole_or_not_at_all(void **state)
{
    store *s = *state;
    neoq *one, *two;
    open_two(s, &one, &two);
    neoq_job jobs[50];
    for (int i = 0; i < 50; i++)
        jobs[i] = (neoq_job){.queue = "many", .unique = NEOQ_UNIQUE_OFF};
    assert_status(NEOQ_OK, neoq_enqueue_many(one, jobs, 50, NULL));
    assert_int_equal(50, jobs_in(two, "many", NEOQ_READY));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_each_job_has_its_result),
        on_store(test_duplicates_of_the_store_do_not_stop_the_others),
        on_store(test_duplicates_within_the_call_do_not_stop_the_others),
        on_store(test_of_twins_in_a_longer_call_the_first_is_stored),
        on_store(test_an_id_that_is_there_is_ok_and_no_second_job),
        on_store(test_results_may_be_null),
        on_store(test_no_jobs_are_ok),
        on_store(test_one_malformed_job_and_nothing_is_stored),
        on_store(test_many_jobs_in_one_call),
        on_store(test_a_call_is_seen_whole_or_not_at_all),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("many", tests, NULL, NULL);
}
