/* SPDX-License-Identifier: MIT
 *
 * Memory that is refused to everybody but the caller: the threads that fetch, run, settle, renew leases, listen and tick.
 * Nobody is told but the log, and it costs nothing but time: each job is run and settled once.
 */
#include "faults/attempts.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { JOBS = 6, SHORTAGE = 4 /* refusals until there is plenty again, where all are refused */ };

static atomic_int runs[JOBS], ends[JOBS], ended;

static int count_run(neoq_ctx *ctx, void *arg)
{
    (void)arg;
    atomic_fetch_add(&runs[atoi(neoq_ctx_job(ctx)->payload)], 1);
    neoq_set_progress(ctx, 50, "half of it");
    neoq_set_result(ctx, "result", 6);
    return NEOQ_OK;
}

static void count_end(const neoq_job *job, const neoq_run_info *run, void *arg)
{
    (void)run;
    (void)arg;
    atomic_fetch_add(&ends[atoi(job->payload)], job->state == NEOQ_DONE);
    atomic_fetch_add(&ended, 1);
}

/* In real time, for the stores' own threads know no other. */
static void six_jobs(ground *g)
{
    nothing(g);
    atomic_store(&ended, 0);
    g->other = store_open_real(g->s, &(neoq_options){.poll_interval = NEOQ_SECONDS(1)});
    assert_status(NEOQ_OK, neoq_observe(g->other, count_end, NULL));
    for (int i = 0; i < JOBS; i++) {
        char payload[16];
        snprintf(payload, sizeof payload, "%d", i);
        atomic_store(&runs[i], 0);
        atomic_store(&ends[i], 0);
        put_job(g->other, (neoq_job){.queue = g->queue, .payload = payload, .retention = NEOQ_HOURS(1)}, NULL);
    }
}

static int call_start(ground *g)
{
    neoq_handler handler = {.queue = g->queue, .handle = count_run, .concurrency = 2};
    scarce_elsewhere(g->nth, g->mode);
    int status = neoq_start(g->other, &handler);
    eventually(atomic_load(&ended) == JOBS || scarce_refusals() >= SHORTAGE);
    scarce_end();
    return status;
}

static void check_ended(ground *g, int status)
{
    assert_int_equal(NEOQ_OK, status);
    eventually(atomic_load(&ended) >= JOBS);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(1, atomic_load(&runs[i]));
        assert_int_equal(1, atomic_load(&ends[i]));
    }
    assert_int_equal(JOBS, jobs_in(g->other, g->queue, NEOQ_DONE));
    assert_int_equal(JOBS, jobs_in(g->other, g->queue, 0));
    neoq_remove_queue(g->other, g->queue);
    store_close(g->s, g->other);
}

const attempt threads[] = {
    {"threads", BY_ITSELF, NEOQ_OK, six_jobs, call_start, check_ended},
    {0},
};
