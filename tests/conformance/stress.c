/* SPDX-License-Identifier: MIT
 *
 * Many jobs of every fate, in many threads, in batches as they come: each must end as its payload says, and the counts
 * of its queue must add up. Where the store can be shared, two neoqs work at it.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = 1400, QUEUES = 3 };

typedef enum fate {
    AT_ONCE,     /* done, and not kept */
    KEPT,        /* done with a result */
    SECOND_TIME, /* fails once */
    NEVER,       /* fails twice, which is all it may */
    SNOOZES,     /* once, then done */
    DISCARDED,
    CANCELS_ITSELF,
    FATES
} fate;

static const char *const queue_names[QUEUES] = {"red", "green", "blue"};
static atomic_int runs_of_job[JOBS];

typedef struct worker {
    neoq *nq;
} worker;

static int handle(neoq_ctx *ctx, void *arg)
{
    worker *w = arg;
    const neoq_job *job = neoq_ctx_job(ctx);
    int number = atoi(job->payload);
    int before = atomic_fetch_add(&runs_of_job[number], 1);
    switch ((fate)(number % FATES)) {
    case KEPT: neoq_set_result(ctx, job->payload, job->payload_size); return NEOQ_OK;
    case SECOND_TIME: return before == 0 ? neoq_fail(ctx, "first %d", number) : NEOQ_OK;
    case NEVER: return neoq_fail(ctx, "always %d", number);
    case SNOOZES: return before == 0 ? neoq_snooze(ctx, NEOQ_MILLISECONDS(1)) : NEOQ_OK;
    case DISCARDED: return neoq_discard(ctx, "no use %d", number);
    case CANCELS_ITSELF: neoq_cancel(w->nq, job->id); return NEOQ_OK;
    case AT_ONCE:
    case FATES: break;
    }
    return NEOQ_OK;
}

static void start_all(worker *w, neoq *nq)
{
    w->nq = nq;
    for (int i = 0; i < QUEUES; i++) {
        neoq_handler handler = {.queue = queue_names[i], .handle = handle, .arg = w, .concurrency = 6};
        assert_status(NEOQ_OK, neoq_start(nq, &handler));
    }
}

static void enqueue_all(neoq *nq, char (*ids)[NEOQ_ID_SIZE])
{
    static const neoq_duration at_once[] = {0};
    neoq_job jobs[100];
    char payloads[100][16];
    neoq_enqueued results[100];
    for (int at = 0; at < JOBS; at += 100) {
        for (int i = 0; i < 100; i++) {
            fate f = (fate)((at + i) % FATES);
            snprintf(payloads[i], sizeof(payloads[i]), "%d", at + i);
            jobs[i] = (neoq_job){.queue = queue_names[(at + i) / FATES % QUEUES],
                                 .payload = payloads[i],
                                 .retry_waits = at_once,
                                 .retry_wait_count = 1,
                                 .retention = f == AT_ONCE ? 0 : NEOQ_FOREVER};
        }
        assert_status(NEOQ_OK, neoq_enqueue_many(nq, jobs, 100, results));
        for (int i = 0; i < 100; i++) {
            assert_int_equal(NEOQ_OK, results[i].status);
            strcpy(ids[at + i], results[i].id);
        }
    }
}

static bool all_ended(neoq *nq)
{
    for (int i = 0; i < QUEUES; i++) {
        neoq_queue_info queue = queue_of(nq, queue_names[i]);
        if (queue.scheduled + queue.ready + queue.running + queue.retrying > 0)
            return false;
    }
    return true;
}

static void wait_for_all(neoq *nq)
{
    patience p = patience_begin();
    while (!all_ended(nq)) {
        if (patience_left(&p))
            continue;
        for (int i = 0; i < QUEUES; i++) {
            neoq_queue_info q = queue_of(nq, queue_names[i]);
            print_error("%s%s: %d scheduled, %d ready, %d running, %d retrying\n", q.name,
                        q.paused ? " (paused)" : "", (int)q.scheduled, (int)q.ready, (int)q.running, (int)q.retrying);
        }
        fail_msg("waited %d s in vain for all jobs to end", PATIENCE_SECONDS);
    }
}

static void assert_fate(store *s, neoq *nq, const char *id, int number)
{
    static const int runs[FATES] = {1, 1, 2, 2, 2, 1, 1};
    static const neoq_state states[FATES] = {0, NEOQ_DONE, NEOQ_DONE, NEOQ_DEAD, NEOQ_DONE, NEOQ_DEAD, NEOQ_DEAD};
    static const char *const last[FATES] = {"", "done", "done", "failed", "done", "discarded", "cancelled"};
    fate f = (fate)(number % FATES);
    assert_int_equal(runs[f], atomic_load(&runs_of_job[number]));
    assert_int_equal(states[f], state_of(nq, id));
    if (f == AT_ONCE)
        return;
    const neoq_job *job = store_job(s, nq, id);
    neoq_run_info history[25];
    assert_int_equal(number, atoi(job->payload));
    assert_int_equal(job->epoch, runs_of(nq, id, history));
    int handed_on = 0; /* claimed ahead, and not begun within a second */
    for (int64_t i = 0; i < job->epoch; i++)
        handed_on += strcmp(history[i].outcome, "released") == 0;
    assert_int_equal(runs[f] + handed_on, job->epoch);
    assert_string_equal(last[f], history[0].outcome);
    assert_int_equal(job->epoch, history[0].epoch);
    assert_true(job->ran_at >= job->created_at);
    assert_true(job->finished_at >= job->ran_at);
    if (f == KEPT)
        assert_memory_equal(job->payload, job->result, job->payload_size);
    if (f == NEVER)
        assert_words("always", job->error);
}

/* 1400 jobs: 200 of each fate. A snooze does not count as processed: its run is to come yet. */
static void assert_counts(neoq *nq)
{
    int64_t done = 0, dead = 0, processed = 0;
    for (int i = 0; i < QUEUES; i++) {
        neoq_queue_info queue = queue_of(nq, queue_names[i]);
        assert_int_equal(queue.done, jobs_in(nq, queue_names[i], NEOQ_DONE));
        assert_int_equal(queue.dead, jobs_in(nq, queue_names[i], NEOQ_DEAD));
        assert_int_equal(0, queue.running + queue.ready + queue.scheduled + queue.retrying);
        assert_true(queue.latency == 0);
        done += queue.done;
        dead += queue.dead;
        processed += queue.processed;
    }
    assert_int_equal(3 * JOBS / FATES, done);
    assert_int_equal(3 * JOBS / FATES, dead);
    assert_int_equal(9 * JOBS / FATES, processed);
}

static void every_fate(store *s, int neoqs)
{
    static worker workers[2];
    static char ids[JOBS][NEOQ_ID_SIZE];
    neoq *nq = NULL;
    for (int i = 0; i < JOBS; i++)
        atomic_store(&runs_of_job[i], 0);
    for (int i = 0; i < neoqs; i++) {
        nq = store_open_real(s, ON_HINTS_ALONE);
        start_all(&workers[i], nq);
    }
    enqueue_all(nq, ids);
    wait_for_all(nq);
    for (int i = 0; i < JOBS; i++)
        assert_fate(s, nq, ids[i], i);
    assert_counts(nq);
}

static void test_each_job_meets_its_fate(void **state)
{
    every_fate(*state, 1);
}

static void test_each_job_meets_its_fate_also_where_two_work(void **state)
{
    skip_where(NEOQ_CANNOT_SHARE);
    every_fate(*state, 2);
}

/* Steering from outside while handlers run: nothing is run twice, nothing is left over, and counts add up. */
static void test_steering_while_handlers_run(void **state)
{
    static worker w;
    static char ids[JOBS][NEOQ_ID_SIZE];
    store *s = *state;
    for (int i = 0; i < JOBS; i++)
        atomic_store(&runs_of_job[i], 0);
    neoq *nq = store_open_real(s, ON_HINTS_ALONE);
    start_all(&w, nq);
    enqueue_all(nq, ids);
    for (int i = 0; i < JOBS; i += 5) {
        neoq_cancel(nq, ids[i]);
        neoq_delete(nq, ids[i + 1]);
        neoq_retry_now(nq, ids[i + 2]);
        if (i % 50 == 0)
            neoq_pause(nq, queue_names[i / 50 % QUEUES]);
        else if (i % 50 == 25)
            neoq_resume(nq, queue_names[i / 50 % QUEUES]);
    }
    for (int i = 0; i < QUEUES; i++)
        assert_status(NEOQ_OK, neoq_resume(nq, queue_names[i]));
    wait_for_all(nq);
    for (int i = 0; i < QUEUES; i++) {
        neoq_queue_info queue = queue_of(nq, queue_names[i]);
        assert_int_equal(queue.done, jobs_in(nq, queue_names[i], NEOQ_DONE));
        assert_int_equal(queue.dead, jobs_in(nq, queue_names[i], NEOQ_DEAD));
        assert_int_equal(queue.done + queue.dead, jobs_in(nq, queue_names[i], 0));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_each_job_meets_its_fate),
        on_store(test_each_job_meets_its_fate_also_where_two_work),
        on_store(test_steering_while_handlers_run),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
