/* SPDX-License-Identifier: MIT */

/* Two round trips at once, over the memory store told to have two lanes: a trip that claims is held up until another
 * goes out beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <neoq.h>

#include "backend/memory/memory.h"

enum { JOBS = 30000, BATCH = 1000, MUCH = 300 /* finished runs: more than are worth a trip beside another */ };

/* What the store sees. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int under_way, most;
    int claiming, most_claiming; /* for the one queue there is */
    int beside, company;         /* trips that joined the one that is held up; those that were joined */
    size_t here;                 /* runs that were claimed and are not on their way back */
    char worker[64];             /* who beat last */
    int losses;                  /* that the log tells of */
    int rejoined;                /* trips during which the worker joined anew */
    bool lose;                   /* the next trip that joins one held up with runs finds the lease lost */
    bool bait;                   /* such a one is held up */
    struct {
        char id[NEOQ_ID_SIZE];
        int64_t epoch;
    } stale[BATCH * 2]; /* what was claimed meanwhile */
    size_t stale_count;
} seen = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* The mutex is held. */
static bool await(bool (*condition)(const char *worker), const char *worker)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    while (!condition(worker))
        if (pthread_cond_timedwait(&seen.changed, &seen.mutex, &until) != 0)
            return false;
    return true;
}

static bool has_company(const char *worker)
{
    (void)worker;
    return seen.beside > 0;
}

static bool joined_anew(const char *worker)
{
    return strcmp(seen.worker, worker) != 0;
}

/* A trip that claims, alone, while there is much to run. */
static void hold_up(const neoq_exchange *x)
{
    bool bait = seen.bait = seen.lose && x->run_count > 0;
    seen.company += await(has_company, NULL);
    if (!bait)
        return;
    seen.rejoined += await(joined_anew, x->worker);
    for (size_t i = 0; i < x->run_count; i++, seen.stale_count++) {
        snprintf(seen.stale[seen.stale_count].id, NEOQ_ID_SIZE, "%s", x->runs[i].job.id);
        seen.stale[seen.stale_count].epoch = x->runs[i].job.epoch;
    }
}

static int open_memory(neoq_store **out, const neoq_store_config *config)
{
    neoq_store_config memory = *config;
    memory.url = "memory:";
    return nq_memory_backend.open(out, &memory);
}

static int exchange(neoq_store *store, neoq_exchange *x)
{
    pthread_mutex_lock(&seen.mutex);
    bool alone = ++seen.under_way == 1, claims = x->claim_count > 0;
    seen.most = seen.under_way > seen.most ? seen.under_way : seen.most;
    seen.beside = alone ? 0 : seen.beside + 1;
    seen.claiming += claims;
    seen.most_claiming = seen.claiming > seen.most_claiming ? seen.claiming : seen.most_claiming;
    seen.here -= x->settlement_count;
    bool much = seen.here >= MUCH;
    bool lost = seen.bait && seen.lose;
    seen.lose = seen.lose && !lost;
    pthread_mutex_unlock(&seen.mutex);
    int status = nq_memory_backend.exchange(store, x);
    pthread_mutex_lock(&seen.mutex);
    pthread_cond_broadcast(&seen.changed);
    seen.here += x->run_count;
    if (claims && alone && much)
        hold_up(x);
    seen.under_way--;
    seen.claiming -= claims;
    pthread_mutex_unlock(&seen.mutex);
    return lost ? NEOQ_ELOST : status;
}

static int beat(neoq_store *store, const neoq_beat *b)
{
    int status = nq_memory_backend.beat(store, b);
    pthread_mutex_lock(&seen.mutex);
    snprintf(seen.worker, sizeof seen.worker, "%s", b->worker.id);
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.mutex);
    return status;
}

/* What the handler saw. */
static int runs, next_number, out_of_order, stale_runs;

/* What it enqueues makes the runtime ask anew for every queue. */
static int handle(neoq_ctx *ctx, void *nq)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    int number = atoi(job->payload);
    out_of_order += number != next_number;
    next_number = number + 1;
    runs++;
    pthread_mutex_lock(&seen.mutex);
    for (size_t i = 0; i < seen.stale_count; i++)
        stale_runs += strcmp(seen.stale[i].id, job->id) == 0 && seen.stale[i].epoch == job->epoch;
    pthread_mutex_unlock(&seen.mutex);
    return neoq_enqueue(nq, &(neoq_job){.queue = "nobody works this", .payload = "{}"}, NULL);
}

static void note_loss(neoq_log_level level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    pthread_mutex_lock(&seen.mutex);
    seen.losses += strstr(line, "the lease was lost") != NULL;
    pthread_mutex_unlock(&seen.mutex);
}

static void run_jobs(void)
{
    static neoq_backend two_lanes;
    static char payloads[BATCH][12];
    static neoq_job jobs[BATCH];
    static neoq_enqueued results[BATCH];
    two_lanes = nq_memory_backend;
    two_lanes.scheme = "lanes";
    two_lanes.size = sizeof two_lanes;
    two_lanes.local = false;
    two_lanes.lanes = 2;
    two_lanes.open = open_memory;
    two_lanes.exchange = exchange;
    two_lanes.beat = beat;
    neoq_register_backend(&two_lanes); /* it is there already in the second test */
    seen.most = seen.most_claiming = seen.company = 0;
    seen.here = 0;
    runs = next_number = out_of_order = stale_runs = 0;
    neoq *nq = NULL;
    assert_int_equal(NEOQ_OK, neoq_open(&nq, "lanes:", &(neoq_options){.log = note_loss, .unique = NEOQ_UNIQUE_OFF}));
    for (int at = 0; at < JOBS; at += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            snprintf(payloads[i], sizeof payloads[i], "%d", at + i);
            jobs[i] = (neoq_job){.queue = "q", .payload = payloads[i]};
        }
        assert_int_equal(NEOQ_OK, neoq_enqueue_many(nq, jobs, BATCH, results));
    }
    neoq_handler handler = {.queue = "q", .handle = handle, .arg = nq, .concurrency = 1};
    assert_int_equal(NEOQ_OK, neoq_start(nq, &handler));
    assert_int_equal(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(60)));
    neoq_close(nq);
}

static void test_what_is_finished_goes_out_beside_a_claim_and_runs_stay_in_order(void **state)
{
    (void)state;
    run_jobs();
    assert_int_equal(JOBS, runs);
    assert_int_equal(0, out_of_order);
    assert_true(seen.company > 0);
    assert_int_equal(2, seen.most);
    assert_int_equal(1, seen.most_claiming);
}

static void test_what_is_claimed_beside_the_loss_of_the_lease_is_given_back(void **state)
{
    (void)state;
    seen.lose = true;
    run_jobs();
    assert_false(seen.lose);
    assert_int_equal(1, seen.rejoined);
    assert_int_equal(1, seen.losses);
    assert_true(seen.stale_count > 0);
    assert_int_equal(0, stale_runs);
    assert_int_equal(JOBS, runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_finished_goes_out_beside_a_claim_and_runs_stay_in_order),
        cmocka_unit_test(test_what_is_claimed_beside_the_loss_of_the_lease_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
