/* SPDX-License-Identifier: MIT
 *
 * <neoq/testing.h> itself: the clock, working by hand, and assertions about what was enqueued.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <string.h>

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* ---- the clock -------------------------------------------------------------------------- */

static void test_a_clock_stands_until_it_is_moved(void **state)
{
    (void)state;
    neoq_clock *clock = NULL;
    assert_status(NEOQ_OK, neoq_clock_create(&clock, 0, 1));
    assert_true(neoq_clock_time(clock) == STORE_START);
    neoq_clock_advance(clock, 5);
    assert_true(neoq_clock_time(clock) == STORE_START + 5);
    neoq_clock_advance(clock, -5);
    assert_true(neoq_clock_time(clock) == STORE_START + 5);
    neoq_clock_set(clock, 1000);
    assert_true(neoq_clock_time(clock) == 1000);
    neoq_clock_destroy(clock);
    assert_status(NEOQ_OK, neoq_clock_create(&clock, 77, 1));
    assert_true(neoq_clock_time(clock) == 77);
    neoq_clock_destroy(clock);
    neoq_clock_destroy(NULL);
    assert_status(NEOQ_EINVAL, neoq_clock_create(NULL, 0, 1));
}

static void first_wait(store *s, uint64_t seed, char *id, neoq_duration *wait)
{
    neoq_clock *clock;
    assert_status(NEOQ_OK, neoq_clock_create(&clock, 0, seed));
    neoq *nq = store_open_on(s, clock, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "seeded", &r);
    put(nq, "seeded", NULL, id);
    work_one(nq);
    neoq_clock_advance(clock, NEOQ_SECONDS(16));
    work_one(nq);
    *wait = store_job(s, nq, id)->run_after - neoq_clock_time(clock);
    assert_status(NEOQ_OK, neoq_purge(nq, "seeded", 0, NULL));
    store_close(s, nq);
    neoq_clock_destroy(clock);
}

static void test_the_seed_decides_all_randomness(void **state)
{
    store *s = *state;
    char first[NEOQ_ID_SIZE], second[NEOQ_ID_SIZE], third[NEOQ_ID_SIZE];
    neoq_duration one, two, three;
    first_wait(s, 42, first, &one);
    first_wait(s, 42, second, &two);
    first_wait(s, 43, third, &three);
    assert_string_equal(first, second);
    assert_true(one == two);
    assert_string_not_equal(first, third);
}

/* ---- working by hand -------------------------------------------------------------------- */

static void test_work_one_runs_one_job_of_the_queue_named(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder one = {RECORDER_INITIALIZER}, two = {RECORDER_INITIALIZER};
    start(nq, "one", &one);
    start(nq, "two", &two);
    put(nq, "one", "1", NULL);
    put(nq, "one", "2", NULL);
    put(nq, "two", NULL, NULL);
    neoq_testing_counts counts = {.runs = 99, .dead = 99};
    assert_status(NEOQ_OK, neoq_testing_work_one(nq, "two", &counts));
    assert_int_equal(1, counts.runs);
    assert_int_equal(1, counts.done);
    assert_int_equal(0, counts.failed + counts.snoozed + counts.discarded + counts.cancelled + counts.timeout +
                            counts.dead);
    assert_status(NEOQ_ENOTFOUND, neoq_testing_work_one(nq, "two", NULL));
    assert_int_equal(0, one.count);
    assert_status(NEOQ_OK, neoq_testing_work_one(nq, NULL, NULL));
    assert_status(NEOQ_OK, neoq_testing_work_one(nq, NULL, NULL));
    assert_status(NEOQ_ENOTFOUND, neoq_testing_work_one(nq, NULL, &counts));
    assert_int_equal(2, one.count);
    assert_int_equal(1, two.count);
}

static void enqueue_children(neoq_ctx *ctx, recorder *r)
{
    if (neoq_ctx_job(ctx)->priority > 0) {
        for (int i = 0; i < 2; i++)
            neoq_enqueue(r->about,
                         &(neoq_job){.queue = "tree",
                                     .unique = NEOQ_UNIQUE_OFF,
                                     .priority = neoq_ctx_job(ctx)->priority - 1},
                         NULL);
    }
}

static void test_drain_runs_also_what_handlers_enqueue(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .inside = enqueue_children, .about = nq};
    start(nq, "tree", &r);
    put_job(nq, (neoq_job){.queue = "tree", .priority = 4}, NULL);
    neoq_testing_counts counts = drain(nq);
    assert_int_equal(31, counts.runs);
    assert_int_equal(31, counts.done);
    counts = drain(nq);
    assert_int_equal(0, counts.runs);
}

static void test_counts_are_by_outcome(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER,
                  .steps = {{.act = ACT_DONE},
                            {.act = ACT_FAIL},
                            {.act = ACT_SNOOZE, .wait = NEOQ_HOURS(1)},
                            {.act = ACT_DISCARD},
                            {.act = ACT_FAIL}},
                  .step_count = 5};
    start(nq, "mixed", &r);
    for (int i = 0; i < 4; i++)
        put_job(nq, (neoq_job){.queue = "mixed", .unique = NEOQ_UNIQUE_OFF}, NULL);
    put_job(nq, (neoq_job){.queue = "mixed", .priority = -1, .max_retries = NEOQ_NO_RETRIES}, NULL);
    neoq_testing_counts counts = drain(nq);
    assert_int_equal(5, counts.runs);
    assert_int_equal(1, counts.done);
    assert_int_equal(2, counts.failed);
    assert_int_equal(1, counts.snoozed);
    assert_int_equal(1, counts.discarded);
    assert_int_equal(2, counts.dead);
    assert_int_equal(0, counts.cancelled + counts.timeout);
}

static void test_advance_goes_from_one_due_moment_to_the_next(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}, {.act = ACT_DONE}}, .step_count = 2};
    start(nq, "due", &r);
    assert_status(NEOQ_OK, neoq_schedule(nq, "late", "30 0 * * *", &(neoq_job){.queue = "due", .payload = "3"}));
    put_job(nq, (neoq_job){.queue = "due", .payload = "1", .run_after = STORE_START + NEOQ_SECONDS(10) + 7}, NULL);
    put_job(nq, (neoq_job){.queue = "due", .payload = "2", .run_after = STORE_START + NEOQ_MINUTES(5)}, NULL);
    neoq_testing_counts counts;
    assert_status(NEOQ_OK, neoq_testing_advance(nq, NEOQ_HOURS(1), &counts));
    assert_int_equal(4, counts.runs);
    static const neoq_duration at[] = {NEOQ_SECONDS(10) + 7, NEOQ_SECONDS(26) + 7, NEOQ_MINUTES(5), NEOQ_MINUTES(30)};
    for (int i = 0; i < 4; i++)
        assert_true(r.runs[i].ran_at == STORE_START + at[i]);
    assert_true(neoq_clock_time(s->clock) == STORE_START + NEOQ_HOURS(1));
}

static void test_advance_runs_what_is_ready_already(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER};
    start(nq, "due", &r);
    put(nq, "due", NULL, NULL);
    neoq_testing_counts counts;
    assert_status(NEOQ_OK, neoq_testing_advance(nq, 0, &counts));
    assert_int_equal(1, counts.done);
    assert_true(neoq_clock_time(s->clock) == STORE_START);
}

static void test_a_neoq_with_threads_is_not_worked_by_hand(void **state)
{
    store *s = *state;
    neoq *threads = store_open_threads(s, NULL);
    assert_status(NEOQ_ESTATE, neoq_testing_work_one(threads, NULL, NULL));
    assert_status(NEOQ_ESTATE, neoq_testing_drain(threads, NULL));
    assert_status(NEOQ_ESTATE, neoq_testing_advance(threads, NEOQ_SECONDS(1), NULL));
}

static void test_a_real_neoq_is_not_worked_by_hand(void **state)
{
    store *s = *state;
    neoq *real = store_open_real(s, NULL);
    assert_status(NEOQ_ESTATE, neoq_testing_work_one(real, NULL, NULL));
    assert_status(NEOQ_ESTATE, neoq_testing_drain(real, NULL));
    assert_status(NEOQ_ESTATE, neoq_testing_advance(real, NEOQ_SECONDS(1), NULL));
}

/* ---- what was enqueued ------------------------------------------------------------------ */

static void test_enqueued_and_not_enqueued(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    assert_status(NEOQ_ENOTFOUND, neoq_testing_enqueued(nq, "mail", NULL));
    assert_status(NEOQ_OK, neoq_testing_not_enqueued(nq, "mail", NULL));
    char id[NEOQ_ID_SIZE];
    put(nq, "mail", "{\"to\":\"ada\"}", id);
    assert_status(NEOQ_OK, neoq_testing_enqueued(nq, "mail", "{\"to\":\"ada\"}"));
    assert_status(NEOQ_OK, neoq_testing_enqueued(nq, "mail", NULL));
    assert_status(NEOQ_ENOTFOUND, neoq_testing_enqueued(nq, "mail", "{ \"to\":\"ada\"}"));
    assert_words("ada", neoq_error_message());
    assert_status(NEOQ_ENOTFOUND, neoq_testing_enqueued(nq, "post", NULL));
    assert_status(NEOQ_EEXIST, neoq_testing_not_enqueued(nq, "mail", "{\"to\":\"ada\"}"));
    assert_words(id, neoq_error_message());
    assert_status(NEOQ_EEXIST, neoq_testing_not_enqueued(nq, "mail", NULL));
    assert_status(NEOQ_OK, neoq_testing_not_enqueued(nq, "mail", "{\"to\":\"bob\"}"));
}

static void test_finished_jobs_are_not_enqueued(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.retention = NEOQ_FOREVER});
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_DONE}, {.act = ACT_DISCARD}, {.act = ACT_FAIL}},
                  .step_count = 3};
    start(nq, "mail", &r);
    for (int i = 0; i < 2; i++) {
        put(nq, "mail", "1", NULL);
        work_one(nq);
        assert_status(NEOQ_ENOTFOUND, neoq_testing_enqueued(nq, "mail", "1"));
    }
    put(nq, "mail", "1", NULL);
    work_one(nq);
    assert_status(NEOQ_OK, neoq_testing_enqueued(nq, "mail", "1"));
}

static void test_among_many_jobs_the_one_is_found(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, &(neoq_options){.asynchronous_commit = true});
    for (int i = 0; i < 500; i++)
        put_job(nq, (neoq_job){.queue = "mail", .payload = "0", .unique = NEOQ_UNIQUE_OFF}, NULL);
    put(nq, "mail", "1", NULL);
    assert_status(NEOQ_OK, neoq_testing_enqueued(nq, "mail", "1"));
    assert_status(NEOQ_EEXIST, neoq_testing_not_enqueued(nq, "mail", "1"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_clock_stands_until_it_is_moved),
        on_store(test_the_seed_decides_all_randomness),
        on_store(test_work_one_runs_one_job_of_the_queue_named),
        on_store(test_drain_runs_also_what_handlers_enqueue),
        on_store(test_counts_are_by_outcome),
        on_store(test_advance_goes_from_one_due_moment_to_the_next),
        on_store(test_advance_runs_what_is_ready_already),
        on_store(test_a_neoq_with_threads_is_not_worked_by_hand),
        on_store(test_a_real_neoq_is_not_worked_by_hand),
        on_store(test_enqueued_and_not_enqueued),
        on_store(test_finished_jobs_are_not_enqueued),
        on_store(test_among_many_jobs_the_one_is_found),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("testing_api", tests, NULL, NULL);
}
