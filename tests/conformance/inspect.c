/* SPDX-License-Identifier: MIT
 *
 * Looking: find, get, queues, workers.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOBODY "0190a0b0-0000-7000-8000-0000000000ff"

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

/* Job number i has an id that sorts by i, although they are put in another order. */
static void put_numbered(neoq *nq, int count)
{
    for (int i = 0; i < count; i++) {
        int number = (i * 37) % count;
        char id[NEOQ_ID_SIZE], payload[16];
        snprintf(id, sizeof(id), "0190a0b0-0000-7000-8000-%012x", number);
        snprintf(payload, sizeof(payload), "%d", number);
        put_job(nq, (neoq_job){.id = id, .queue = number % 2 ? "odd" : "even", .payload = payload}, NULL);
    }
}

/* ---- find ------------------------------------------------------------------------------- */

/* Reads all that the filter lets through, page by page, and checks their order. */
static size_t read_pages(neoq *nq, neoq_filter filter, size_t *pages)
{
    size_t total = 0;
    char last[NEOQ_ID_SIZE] = "";
    for (*pages = 0; *pages < 1000; ++*pages) {
        neoq_job_set *set = NULL;
        filter.after_id = last[0] ? last : NULL;
        assert_status(NEOQ_OK, neoq_find(nq, &filter, &set));
        size_t count = neoq_job_set_count(set);
        assert_true(count <= filter.limit);
        for (size_t i = 0; i < count; i++) {
            const neoq_job *job = neoq_job_set_at(set, i);
            assert_true(strcmp(job->id, last) > 0);
            if (filter.queue)
                assert_string_equal(filter.queue, job->queue);
            strcpy(last, job->id);
        }
        neoq_job_set_free(set);
        if (count == 0)
            return total;
        total += count;
    }
    return total;
}

static void test_pages_are_complete_in_order_and_without_repeats(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    put_numbered(nq, 100);
    size_t pages;
    assert_int_equal(100, read_pages(nq, (neoq_filter){.limit = 7}, &pages));
    assert_int_equal(15, pages);
    assert_int_equal(50, read_pages(nq, (neoq_filter){.limit = 10, .queue = "odd"}, &pages));
    assert_int_equal(5, pages);
    assert_int_equal(50, read_pages(nq, (neoq_filter){.limit = 1, .queue = "even", .state = NEOQ_READY}, &pages));
    assert_int_equal(0, read_pages(nq, (neoq_filter){.limit = 10, .state = NEOQ_DEAD}, &pages));
}

static void test_a_limit_of_0_is_100(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    put_numbered(nq, 150);
    neoq_job_set *set = NULL;
    assert_status(NEOQ_OK, neoq_find(nq, &(neoq_filter){0}, &set));
    assert_int_equal(100, neoq_job_set_count(set));
    neoq_job_set_free(set);
    assert_status(NEOQ_OK, neoq_find(nq, NULL, &set));
    assert_int_equal(100, neoq_job_set_count(set));
    neoq_job_set_free(set);
}

static void test_one_may_page_on_from_a_job_that_is_gone(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    put_numbered(nq, 10);
    const char *gone = "0190a0b0-0000-7000-8000-000000000004";
    assert_status(NEOQ_OK, neoq_delete(nq, gone));
    neoq_job_set *set = NULL;
    assert_status(NEOQ_OK, neoq_find(nq, &(neoq_filter){.after_id = gone}, &set));
    assert_int_equal(5, neoq_job_set_count(set));
    assert_string_equal("5", (const char *)neoq_job_set_at(set, 0)->payload);
    neoq_job_set_free(set);
}

static void test_a_find_that_finds_nothing_is_an_empty_set(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_job_set *set = NULL;
    assert_status(NEOQ_OK, neoq_find(nq, &(neoq_filter){.queue = "nowhere"}, &set));
    assert_int_equal(0, neoq_job_set_count(set));
    assert_null(neoq_job_set_at(set, 0));
    neoq_job_set_free(set);
    neoq_job_set_free(NULL);
}

static void look_at_itself(neoq_ctx *ctx, recorder *r)
{
    void **about = r->about;
    size_t *found = about[1];
    neoq_job_set *set = NULL;
    if (neoq_find(about[0], &(neoq_filter){.state = NEOQ_RUNNING}, &set) == NEOQ_OK && neoq_job_set_count(set) == 1 &&
        neoq_job_set_at(set, 0)->state == NEOQ_RUNNING &&
        strcmp(neoq_job_set_at(set, 0)->id, neoq_ctx_job(ctx)->id) == 0)
        ++*found;
    neoq_job_set_free(set);
}

static void test_find_by_state(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    size_t seen_running = 0;
    void *about[] = {nq, &seen_running};
    recorder r = {RECORDER_INITIALIZER, .inside = look_at_itself, .about = about,
                  .steps = {{.act = ACT_DONE}, {.act = ACT_FAIL}, {.act = ACT_DISCARD}}, .step_count = 3};
    start(nq, "states", &r);
    put_job(nq, (neoq_job){.queue = "states", .payload = "1", .retention = NEOQ_FOREVER}, NULL);
    work_one(nq);
    put(nq, "states", "2", NULL);
    work_one(nq);
    put(nq, "states", "3", NULL);
    work_one(nq);
    put_job(nq, (neoq_job){.queue = "states", .payload = "4", .run_after = STORE_START + NEOQ_SECONDS(20)}, NULL);
    put(nq, "states", "5", NULL);
    put(nq, "others", "6", NULL);
    static const neoq_state states[] = {NEOQ_DONE, NEOQ_RETRYING, NEOQ_DEAD, NEOQ_SCHEDULED, NEOQ_READY};
    for (int i = 0; i < 5; i++) {
        neoq_job_set *set = NULL;
        assert_status(NEOQ_OK, neoq_find(nq, &(neoq_filter){.queue = "states", .state = states[i]}, &set));
        assert_int_equal(1, neoq_job_set_count(set));
        assert_int_equal(states[i], neoq_job_set_at(set, 0)->state);
        assert_int_equal('1' + i, *(const char *)neoq_job_set_at(set, 0)->payload);
        neoq_job_set_free(set);
    }
    assert_int_equal(3, seen_running);
    assert_int_equal(6, jobs_in(nq, NULL, 0));
}

static void test_waiting_jobs_read_as_ready_once_they_are_due(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}}, .step_count = 1};
    start(nq, "due", &r);
    char retrying[NEOQ_ID_SIZE], scheduled[NEOQ_ID_SIZE];
    put(nq, "due", "1", retrying);
    work_one(nq);
    put_job(nq, (neoq_job){.queue = "due", .payload = "2", .run_after = STORE_START + NEOQ_SECONDS(30)}, scheduled);
    neoq_queue_info queue = queue_of(nq, "due");
    assert_int_equal(1, queue.retrying);
    assert_int_equal(1, queue.scheduled);
    assert_int_equal(0, queue.ready);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(30));
    assert_int_equal(NEOQ_READY, state_of(nq, retrying));
    assert_int_equal(NEOQ_READY, state_of(nq, scheduled));
    assert_int_equal(2, jobs_in(nq, "due", NEOQ_READY));
    assert_int_equal(0, jobs_in(nq, "due", NEOQ_RETRYING));
    assert_int_equal(0, jobs_in(nq, "due", NEOQ_SCHEDULED));
    queue = queue_of(nq, "due");
    assert_int_equal(0, queue.retrying);
    assert_int_equal(0, queue.scheduled);
    assert_int_equal(2, queue.ready);
}

/* ---- get -------------------------------------------------------------------------------- */

static void test_get_reads_one_job_or_not_found(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "one", "{\"a\":1}", id);
    put(nq, "one", "{\"a\":2}", NULL);
    assert_string_equal("{\"a\":1}", (const char *)store_job(s, nq, id)->payload);
    neoq_job_set *set = (neoq_job_set *)&set;
    assert_status(NEOQ_ENOTFOUND, neoq_get(nq, NOBODY, &set));
    assert_null(set);
}

static void test_a_set_outlives_its_jobs(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    char id[NEOQ_ID_SIZE];
    put(nq, "one", "{\"a\":1}", id);
    const neoq_job *job = store_job(s, nq, id);
    assert_status(NEOQ_OK, neoq_delete(nq, id));
    store_close(s, nq);
    assert_string_equal(id, job->id);
    assert_string_equal("{\"a\":1}", (const char *)job->payload);
}

/* ---- queues ----------------------------------------------------------------------------- */

static void count_running(neoq_ctx *ctx, recorder *r)
{
    void **about = r->about;
    (void)ctx;
    neoq_queue_info *queues = NULL;
    size_t count = 0;
    if (neoq_queues(about[0], &queues, &count) == NEOQ_OK && count == 1)
        *(int64_t *)about[1] = queues[0].running;
    free(queues);
}

static void test_queues_tell_their_counts(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    int64_t running = -1;
    void *about[] = {nq, &running};
    recorder r = {RECORDER_INITIALIZER, .inside = count_running, .about = about,
                  .steps = {{.act = ACT_DONE}, {.act = ACT_FAIL}, {.act = ACT_DISCARD}}, .step_count = 3};
    start(nq, "counted", &r);
    put_job(nq, (neoq_job){.queue = "counted", .payload = "1", .retention = NEOQ_FOREVER}, NULL);
    work_one(nq);
    put(nq, "counted", "2", NULL);
    work_one(nq);
    put(nq, "counted", "3", NULL);
    work_one(nq);
    for (int i = 0; i < 4; i++)
        put_job(nq, (neoq_job){.queue = "counted", .unique = NEOQ_UNIQUE_OFF}, NULL);
    put_job(nq, (neoq_job){.queue = "counted", .payload = "4", .run_after = STORE_START + NEOQ_HOURS(1)}, NULL);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(7));
    neoq_queue_info queue = queue_of(nq, "counted");
    assert_string_equal("counted", queue.name);
    assert_int_equal(1, running);
    assert_int_equal(1, queue.scheduled);
    assert_int_equal(4, queue.ready);
    assert_int_equal(0, queue.running);
    assert_int_equal(1, queue.retrying);
    assert_int_equal(1, queue.done);
    assert_int_equal(1, queue.dead);
    assert_int_equal(3, queue.processed);
    assert_in_range(queue.failed, 1, 2);
    assert_false(queue.paused);
    assert_true(queue.latency == NEOQ_SECONDS(7));
}

static void test_latency_is_the_age_of_the_oldest_ready_job(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    put_job(nq, (neoq_job){.queue = "late", .payload = "1", .run_after = STORE_START + NEOQ_SECONDS(10)}, NULL);
    assert_true(queue_of(nq, "late").latency == 0);
    neoq_clock_advance(s->clock, NEOQ_SECONDS(15));
    assert_true(queue_of(nq, "late").latency == NEOQ_SECONDS(5));
    put(nq, "late", "2", NULL);
    assert_true(queue_of(nq, "late").latency == NEOQ_SECONDS(5));
}

static void test_counts_of_runs_outlive_their_jobs(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    recorder r = {RECORDER_INITIALIZER, .steps = {{.act = ACT_FAIL}, {.act = ACT_DONE}}, .step_count = 2};
    start(nq, "counted", &r);
    char id[NEOQ_ID_SIZE];
    put(nq, "counted", "1", id);
    work_one(nq);
    assert_int_equal(1, queue_of(nq, "counted").processed);
    assert_int_equal(1, queue_of(nq, "counted").failed);
    assert_status(NEOQ_OK, neoq_delete(nq, id));
    put(nq, "counted", "2", NULL);
    work_one(nq);
    neoq_queue_info queue = queue_of(nq, "counted");
    assert_int_equal(2, queue.processed);
    assert_int_equal(1, queue.failed);
}

static void test_no_queues_in_a_new_store(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    neoq_queue_info *queues = NULL;
    size_t count = 7;
    assert_status(NEOQ_OK, neoq_queues(nq, &queues, &count));
    assert_int_equal(0, count);
    free(queues);
}

/* ---- workers ---------------------------------------------------------------------------- */

static void test_workers_are_listed(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static recorder r = {RECORDER_INITIALIZER, .hold = &hold};
    store *s = *state;
    neoq *nq = store_open_real(s, &(neoq_options){.lease = NEOQ_SECONDS(1)});
    neoq_handler handler = recording("work", &r);
    handler.concurrency = 3;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put(nq, "work", "1", NULL);
    put(nq, "work", "2", NULL);
    eventually(recorded_running(&r) == 2);
    neoq_worker_info *workers = NULL;
    size_t count = 0;
    bool as_it_is = false;
    /* The number of runs is told with the worker's next beat. */
    for (patience p = patience_begin(); !as_it_is && patience_left(&p); free(workers)) {
        assert_status(NEOQ_OK, neoq_workers(nq, &workers, &count));
        as_it_is = count == 1 && workers[0].running == 2;
    }
    assert_true(as_it_is);
    assert_status(NEOQ_OK, neoq_workers(nq, &workers, &count));
    char host[128] = "";
    gethostname(host, sizeof(host) - 1);
    neoq_worker_info worker = workers[0];
    free(workers);
    assert_int_equal(3, worker.capacity);
    assert_int_equal(getpid(), worker.pid);
    assert_string_equal(host, worker.host);
    assert_true(strlen(worker.id) > 0);
    assert_true(worker.started_at > 0 && worker.seen_at >= worker.started_at);
    /* By the store's clock, which a server's is known no better than to the time that its answer takes. */
    assert_true(worker.seen_at <= neoq_now() + (store_chosen()->has_clock ? NEOQ_SECONDS(5) : 0));
    gate_open(&hold);
}

static void test_a_worker_leaves_the_list_when_it_shuts_down(void **state)
{
    static recorder r = {RECORDER_INITIALIZER};
    store *s = *state;
    neoq *nq = store_open_real(s, NULL);
    neoq_worker_info *workers = NULL;
    size_t count = 7;
    assert_status(NEOQ_OK, neoq_workers(nq, &workers, &count));
    assert_int_equal(0, count);
    free(workers);
    start(nq, "work", &r);
    put(nq, "work", NULL, NULL);
    eventually(recorded_ends(&r) == 1);
    assert_status(NEOQ_OK, neoq_shutdown(nq, 0));
    assert_status(NEOQ_OK, neoq_workers(nq, &workers, &count));
    assert_int_equal(0, count);
    free(workers);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_pages_are_complete_in_order_and_without_repeats),
        on_store(test_a_limit_of_0_is_100),
        on_store(test_one_may_page_on_from_a_job_that_is_gone),
        on_store(test_a_find_that_finds_nothing_is_an_empty_set),
        on_store(test_find_by_state),
        on_store(test_waiting_jobs_read_as_ready_once_they_are_due),
        on_store(test_get_reads_one_job_or_not_found),
        on_store(test_a_set_outlives_its_jobs),
        on_store(test_queues_tell_their_counts),
        on_store(test_latency_is_the_age_of_the_oldest_ready_job),
        on_store(test_counts_of_runs_outlive_their_jobs),
        on_store(test_no_queues_in_a_new_store),
        on_store(test_workers_are_listed),
        on_store(test_a_worker_leaves_the_list_when_it_shuts_down),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
