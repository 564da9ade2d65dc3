/* SPDX-License-Identifier: MIT
 *
 * Schedules kept in the store: neoq_schedule() and what tends them.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t schedules(neoq *nq, neoq_schedule_info *found, size_t room)
{
    neoq_schedule_info *list = NULL;
    size_t count = 0;
    assert_status(NEOQ_OK, neoq_schedules(nq, &list, &count));
    assert_true(count <= room);
    if (count > 0)
        memcpy(found, list, count * sizeof(*list));
    free(list);
    return count;
}

static void test_a_schedule_is_listed_with_its_ticks(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_schedule_info found[4];
    assert_int_equal(0, schedules(nq, found, 4));
    assert_status(NEOQ_OK, neoq_schedule(nq, "report", "0 * * * *", &(neoq_job){.queue = "reports"}));
    assert_int_equal(1, schedules(nq, found, 4));
    assert_string_equal("report", found[0].name);
    assert_string_equal("0 * * * *", found[0].spec);
    assert_string_equal("reports", found[0].queue);
    assert_true(found[0].last_at == 0);
    assert_true(found[0].next_at == STORE_START + NEOQ_HOURS(1));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    assert_int_equal(1, schedules(nq, found, 4));
    assert_true(found[0].last_at == STORE_START + NEOQ_HOURS(1));
    assert_true(found[0].next_at == STORE_START + NEOQ_HOURS(2));
}

static void test_a_tick_enqueues_a_copy_of_the_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_DISCARD}}, .step_count = 1};
    neoq_handler handler = recording("copies", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    char payload[] = "{\"kind\":\"daily\"}";
    neoq_job job = {.queue = "copies",
                    .payload = payload,
                    .priority = 4,
                    .max_retries = 7,
                    .metadata = "{\"tag\":1}",
                    .fingerprint = "daily"};
    assert_status(NEOQ_OK, neoq_schedule(nq, "daily", "@daily", &job));
    memset(payload, 'x', sizeof(payload) - 1);
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(48), NULL));
    assert_int_equal(2, r.count);
    for (int i = 0; i < 2; i++) {
        assert_string_equal("{\"kind\":\"daily\"}", (const char *)r.runs[i].payload);
        assert_int_equal(4, r.runs[i].priority);
        assert_int_equal(7, r.runs[i].max_retries);
        assert_string_equal("{\"tag\":1}", r.runs[i].metadata);
        assert_string_equal("daily", r.runs[i].fingerprint);
        assert_int_equal(0, r.runs[i].retries);
    }
    assert_string_not_equal(r.runs[0].id, r.runs[1].id);
}

static void test_a_payload_of_a_schedule_is_any_bytes(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    assert_status(NEOQ_OK, neoq_schedule(nq, "bytes", "@hourly",
                                         &(neoq_job){.queue = "copies", .payload = "a\0\xff", .payload_size = 3}));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), NULL));
    neoq_job_set *set = NULL;
    assert_status(NEOQ_OK, neoq_find(nq, &(neoq_filter){.queue = "copies"}, &set));
    assert_int_equal(1, neoq_job_set_count(set));
    const neoq_job *job = neoq_job_set_at(set, 0);
    bool same = job->payload_size == 3 && memcmp(job->payload, "a\0\xff", 3) == 0;
    neoq_job_set_free(set);
    assert_true(same);
}

static void test_a_schedule_of_the_same_name_is_replaced(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_schedule_info found[4];
    assert_status(NEOQ_OK, neoq_schedule(nq, "report", "0 * * * *", &(neoq_job){.queue = "old"}));
    assert_status(NEOQ_OK, neoq_schedule(nq, "report", "*/10 * * * *", &(neoq_job){.queue = "new"}));
    assert_int_equal(1, schedules(nq, found, 4));
    assert_string_equal("*/10 * * * *", found[0].spec);
    assert_string_equal("new", found[0].queue);
    assert_true(found[0].next_at == STORE_START + NEOQ_MINUTES(10));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_MINUTES(10), NULL));
    assert_int_equal(1, jobs_in(nq, "new", 0));
    assert_int_equal(0, jobs_in(nq, "old", 0));
}

static void test_unschedule_ends_it(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_schedule_info found[4];
    assert_status(NEOQ_ENOTFOUND, neoq_unschedule(nq, "report"));
    assert_status(NEOQ_OK, neoq_schedule(nq, "report", "* * * * *", &(neoq_job){.queue = "reports"}));
    assert_status(NEOQ_OK, neoq_schedule(nq, "other", "* * * * *", &(neoq_job){.queue = "others"}));
    assert_status(NEOQ_OK, neoq_unschedule(nq, "report"));
    assert_status(NEOQ_ENOTFOUND, neoq_unschedule(nq, "report"));
    assert_int_equal(1, schedules(nq, found, 4));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_MINUTES(2), NULL));
    assert_int_equal(0, jobs_in(nq, "reports", 0));
    assert_true(jobs_in(nq, "others", 0) > 0);
}

/* Each tick makes a job, although the last one's still waits; unless uniqueness was asked for. */
static void test_ticks_displace_each_other_only_if_asked_to(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_job once = {.queue = "once", .unique = NEOQ_UNIQUE_ON}, each = {.queue = "each"};
    assert_status(NEOQ_OK, neoq_schedule(nq, "one", "* * * * *", &once));
    assert_status(NEOQ_OK, neoq_schedule(nq, "many", "* * * * *", &each));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_MINUTES(5), NULL));
    assert_int_equal(1, jobs_in(nq, "once", 0));
    assert_int_equal(5, jobs_in(nq, "each", 0));
}

static void test_any_neoq_on_the_store_tends_it(void **state)
{
    store *s = *state;
    neoq *one, *two;
    open_two(s, &one, &two);
    assert_status(NEOQ_OK, neoq_schedule(one, "report", "* * * * *", &(neoq_job){.queue = "reports"}));
    store_close(s, one);
    assert_status(NEOQ_OK, neoq_testing_advance(two, NEOQ_MINUTES(1), NULL));
    assert_int_equal(1, jobs_in(two, "reports", NEOQ_READY));
}

static void test_two_that_tend_make_one_job_a_tick(void **state)
{
    store *s = *state;
    neoq *one, *two;
    open_two(s, &one, &two);
    neoq_job job = {.queue = "reports", .unique = NEOQ_UNIQUE_OFF};
    assert_status(NEOQ_OK, neoq_schedule(one, "report", "* * * * *", &job));
    /* Scheduling the same again, as each process of a fleet does at its start, is no new schedule. */
    assert_status(NEOQ_OK, neoq_schedule(two, "report", "* * * * *", &job));
    for (int i = 0; i < 10; i++) {
        neoq_clock_advance(s->clock, NEOQ_MINUTES(1));
        assert_status(NEOQ_OK, neoq_testing_tend(one));
        assert_status(NEOQ_OK, neoq_testing_tend(two));
    }
    assert_int_equal(10, jobs_in(one, "reports", NEOQ_READY));
}

static void test_scheduling_the_same_again_keeps_its_ticks(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_job job = {.queue = "reports"};
    neoq_schedule_info found[2];
    assert_status(NEOQ_OK, neoq_schedule(nq, "report", "0 * * * *", &job));
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_MINUTES(70), NULL));
    assert_status(NEOQ_OK, neoq_schedule(nq, "report", "0 * * * *", &job));
    assert_int_equal(1, schedules(nq, found, 2));
    assert_true(found[0].last_at == STORE_START + NEOQ_HOURS(1));
    assert_true(found[0].next_at == STORE_START + NEOQ_HOURS(2));
}

static void test_it_survives_the_neoq_that_made_it_and_catches_up(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_job job = {.queue = "reports", .unique = NEOQ_UNIQUE_OFF};
    assert_status(NEOQ_OK, neoq_schedule(nq, "report", "*/10 * * * *", &job));
    store_close(s, nq);
    neoq_clock_advance(s->clock, NEOQ_HOURS(5) + NEOQ_MINUTES(5));
    nq = store_open(s, NULL);
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_status(NEOQ_OK, neoq_testing_tend(nq));
    assert_int_equal(1, jobs_in(nq, "reports", NEOQ_READY));
}

static void test_neoq_tend_makes_a_neoq_without_handler_tend(void **state)
{
    store *s = *state;
    neoq *nq = store_open_threads(s, NULL);
    neoq_job job = {.queue = "reports"};
    assert_status(NEOQ_OK, neoq_schedule(nq, "report", "* * * * *", &job));
    assert_status(NEOQ_OK, neoq_tend(nq));
    neoq_clock_advance(s->clock, NEOQ_MINUTES(1));
    eventually(jobs_in(nq, "reports", 0) == 1);
}

static void test_what_is_malformed_is_refused(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_job job = {.queue = "reports"};
    neoq_schedule_info found[1];
    char long_name[202];
    memset(long_name, 'n', 201);
    long_name[201] = '\0';
    assert_status(NEOQ_EINVAL, neoq_schedule(nq, NULL, "* * * * *", &job));
    assert_status(NEOQ_EINVAL, neoq_schedule(nq, "", "* * * * *", &job));
    assert_status(NEOQ_EINVAL, neoq_schedule(nq, long_name, "* * * * *", &job));
    assert_status(NEOQ_EINVAL, neoq_schedule(nq, "report", NULL, &job));
    assert_status(NEOQ_EINVAL, neoq_schedule(nq, "report", "* * * * *", NULL));
    assert_status(NEOQ_EINVAL, neoq_schedule(nq, "report", "* * * * *", &(neoq_job){.queue = ""}));
    assert_status(NEOQ_EINVAL, neoq_unschedule(nq, NULL));
    assert_status(NEOQ_EINVAL, neoq_schedule(nq, "report", "* 25 * * *", &job));
    assert_words("hour", neoq_error_message());
    assert_int_equal(0, schedules(nq, found, 1));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_schedule_is_listed_with_its_ticks),
        on_store(test_a_tick_enqueues_a_copy_of_the_job),
        on_store(test_a_payload_of_a_schedule_is_any_bytes),
        on_store(test_a_schedule_of_the_same_name_is_replaced),
        on_store(test_unschedule_ends_it),
        on_store(test_ticks_displace_each_other_only_if_asked_to),
        on_store(test_any_neoq_on_the_store_tends_it),
        on_store(test_two_that_tend_make_one_job_a_tick),
        on_store(test_scheduling_the_same_again_keeps_its_ticks),
        on_store(test_it_survives_the_neoq_that_made_it_and_catches_up),
        on_store(test_neoq_tend_makes_a_neoq_without_handler_tend),
        on_store(test_what_is_malformed_is_refused),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
