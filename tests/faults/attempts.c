/* SPDX-License-Identifier: MIT */
#include "faults/attempts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- handlers ------------------------------------------------------------------------------- */

/* Leaves behind all that a handler can, and fails the first time. */
static int try_twice(neoq_ctx *ctx, void *arg)
{
    ground *g = arg;
    g->runs++;
    assert_string_equal(g->payload, neoq_ctx_job(ctx)->payload);
    neoq_set_progress(ctx, 50, "half of it");
    neoq_set_result(ctx, "result", 6);
    return neoq_ctx_job(ctx)->retries == 0 ? neoq_fail(ctx, "not %s", "yet") : NEOQ_OK;
}

enum { MANY = 100 /* jobs of a call: more than go into one piece of a pipeline */ };

static int succeed(neoq_ctx *ctx, void *arg)
{
    ground *g = arg;
    g->runs++;
    return neoq_set_result(ctx, "result", 6) == NEOQ_ENOMEM ? neoq_fail(ctx, "no memory") : NEOQ_OK;
}

/* ---- what there is to begin with ------------------------------------------------------------ */

void nothing(ground *g)
{
    g->round++;
    snprintf(g->queue, sizeof g->queue, "q%d", g->round);
    snprintf(g->name, sizeof g->name, "schedule %d", g->round);
    size_t size = (size_t)snprintf(g->payload, sizeof g->payload, "{\"z\":%d", g->round);
    for (int i = 39; i >= 0; i--)
        size +=
            (size_t)snprintf(g->payload + size, sizeof g->payload - size, ",\"key %02d\":{\"b\":[1.50],\"a\":0}", i);
    snprintf(g->payload + size, sizeof g->payload - size, "}");
    g->runs = 0;
    g->set = NULL;
    g->list = NULL;
    g->other = NULL;
    g->clock = NULL;
    g->purged = 0;
    g->db = NULL;
    g->id[0] = '\0';
}

neoq_job job_of(const ground *g)
{
    static const neoq_duration waits[] = {NEOQ_SECONDS(1), NEOQ_SECONDS(2)};
    return (neoq_job){.queue = g->queue,
                      .payload = g->payload,
                      .metadata = "{\"trace\":\"1\"}",
                      .retention = NEOQ_HOURS(1),
                      .retry_waits = store_is("redis") ? NULL : waits,
                      .retry_wait_count = store_is("redis") ? 0 : 2};
}

static void a_job(ground *g)
{
    nothing(g);
    put_job(g->nq, job_of(g), g->id);
}

static void a_later_job(ground *g)
{
    nothing(g);
    neoq_job job = job_of(g);
    job.run_after = neoq_clock_time(g->s->clock) + NEOQ_HOURS(9999);
    put_job(g->nq, job, g->id);
}

static void ten_jobs(ground *g)
{
    nothing(g);
    for (int i = 0; i < 10; i++) {
        char payload[32];
        snprintf(payload, sizeof payload, "%d", i);
        put(g->nq, g->queue, payload, g->id);
    }
}

static void a_paused_queue(ground *g)
{
    a_job(g);
    assert_status(NEOQ_OK, neoq_pause(g->nq, g->queue));
}

static void a_schedule(ground *g)
{
    nothing(g);
    assert_status(NEOQ_OK,
                  neoq_schedule(g->nq, g->name, "TZ=Europe/Berlin 0 4 * * *", &(neoq_job){.queue = "ticks"}));
}

/* Its handler is in place. */
static void a_job_to_run(ground *g)
{
    a_job(g);
    assert_status(NEOQ_OK, neoq_start(g->nq, &(neoq_handler){.queue = g->queue, .handle = try_twice, .arg = g}));
}

static void ten_jobs_to_run(ground *g)
{
    ten_jobs(g);
    assert_status(NEOQ_OK, neoq_start(g->nq, &(neoq_handler){.queue = g->queue, .handle = succeed, .arg = g}));
}

static void a_job_that_ran(ground *g)
{
    a_job_to_run(g);
    work_one(g->nq);
}

/* ---- the calls ------------------------------------------------------------------------------- */

static int call_open(ground *g)
{
    neoq_options options = {.log = quiet, .connect_timeout = NEOQ_SECONDS(10)};
    return neoq_testing_open(&g->other, g->s->url, &options, g->s->clock, 0);
}

static int call_open_new(ground *g)
{
    neoq_options options = {.log = quiet, .connect_timeout = NEOQ_SECONDS(10)};
    char url[700];
    snprintf(url, sizeof url, "%s.%d", g->s->url, g->round);
    return neoq_testing_open(&g->other, url, &options, g->s->clock, 0);
}

static int call_enqueue(ground *g)
{
    neoq_job job = job_of(g);
    return neoq_enqueue(g->nq, &job, g->id);
}

static int call_enqueue_many(ground *g)
{
    enum { COUNT = MANY + 2 }; /* the last two are duplicates */
    neoq_job jobs[COUNT];
    neoq_enqueued results[COUNT];
    char payloads[COUNT][16];
    for (int i = 0; i < COUNT; i++) {
        snprintf(payloads[i], sizeof payloads[i], "[%d]", i % MANY);
        jobs[i] = (neoq_job){.queue = g->queue, .payload = payloads[i]};
    }
    int status = neoq_enqueue_many(g->nq, jobs, COUNT, results);
    for (int i = 0; i < COUNT && status == NEOQ_OK; i++)
        if (results[i].status != NEOQ_OK && results[i].status != NEOQ_EDUPLICATE)
            status = results[i].status;
    return status;
}

static int call_start(ground *g)
{
    return neoq_start(g->nq, &(neoq_handler){.queue = g->queue, .handle = succeed, .arg = g, .capacity = 100});
}

static int call_start_cron(ground *g)
{
    return neoq_start_cron(g->nq, "TZ=Europe/Berlin */5 * * * *",
                           &(neoq_handler){.queue = g->queue, .handle = succeed, .arg = g});
}

static int call_cron_next(ground *g)
{
    neoq_time next;
    (void)g;
    return neoq_cron_next("TZ=Europe/Berlin 30 4 * * 1-5", STORE_START, &next);
}

static int call_schedule(ground *g)
{
    neoq_job job = job_of(g);
    return neoq_schedule(g->nq, g->name, "TZ=Europe/Berlin 0 4 * * *", &job);
}

static int call_unschedule(ground *g)
{
    return neoq_unschedule(g->nq, g->name);
}

static int call_tend(ground *g)
{
    return neoq_tend(g->nq);
}

static int call_find(ground *g)
{
    return neoq_find(g->nq, &(neoq_filter){.queue = g->queue}, &g->set);
}

static int call_get(ground *g)
{
    return neoq_get(g->nq, g->id, &g->set);
}

static int call_runs(ground *g)
{
    return neoq_runs(g->nq, g->id, (neoq_run_info **)&g->list, &g->count);
}

static int call_queues(ground *g)
{
    return neoq_queues(g->nq, (neoq_queue_info **)&g->list, &g->count);
}

static int call_workers(ground *g)
{
    return neoq_workers(g->nq, (neoq_worker_info **)&g->list, &g->count);
}

static int call_schedules(ground *g)
{
    return neoq_schedules(g->nq, (neoq_schedule_info **)&g->list, &g->count);
}

static int call_retry_now(ground *g)
{
    return neoq_retry_now(g->nq, g->id);
}

static int call_cancel(ground *g)
{
    return neoq_cancel(g->nq, g->id);
}

static int call_delete(ground *g)
{
    return neoq_delete(g->nq, g->id);
}

static int call_pause(ground *g)
{
    return neoq_pause(g->nq, g->queue);
}

static int call_resume(ground *g)
{
    return neoq_resume(g->nq, g->queue);
}

static int call_purge(ground *g)
{
    return neoq_purge(g->nq, g->queue, 0, &g->purged);
}

static int call_remove_queue(ground *g)
{
    return neoq_remove_queue(g->nq, g->queue);
}

static int call_get_progress(ground *g)
{
    int percent;
    char words[256];
    return neoq_get_progress(g->nq, g->id, &percent, words, sizeof words);
}

static int call_work_one(ground *g)
{
    return neoq_testing_work_one(g->nq, g->queue, NULL);
}

static int call_drain(ground *g)
{
    return neoq_testing_drain(g->nq, NULL);
}

static int call_advance(ground *g)
{
    return neoq_testing_advance(g->nq, NEOQ_MINUTES(1), NULL);
}

static int call_tend_by_hand(ground *g)
{
    return neoq_testing_tend(g->nq);
}

static int call_enqueued(ground *g)
{
    return neoq_testing_enqueued(g->nq, g->queue, g->payload);
}

static int call_not_enqueued(ground *g)
{
    return neoq_testing_not_enqueued(g->nq, g->queue, "other");
}

static int call_shutdown(ground *g)
{
    return neoq_shutdown(g->nq, NEOQ_SECONDS(1));
}

static int call_clock(ground *g)
{
    return neoq_clock_create(&g->clock, 0, 1);
}

static int call_migrate(ground *g)
{
    neoq_schema_info info;
    return neoq_migrate(g->s->url, NULL, NEOQ_MIGRATE_STATUS, NULL, NULL, &info);
}

static int call_migrate_up(ground *g)
{
    return neoq_migrate(g->s->url, NULL, NEOQ_MIGRATE_UP, NULL, NULL, NULL);
}

static int call_migrate_print(ground *g)
{
    return neoq_migrate(g->s->url, NULL, NEOQ_MIGRATE_PRINT, NULL, NULL, NULL);
}

static void take_finding(const neoq_finding *finding, void *arg)
{
    (void)arg;
    assert_true(finding->name[0] && finding->words[0]);
}

static int call_doctor(ground *g)
{
    return neoq_doctor(g->s->url, NULL, take_finding, g);
}

/* ---- what has become of it ------------------------------------------------------------------ */

/* The answer of a network store may be lost; then it may have happened. */
static bool unknown(int status)
{
    return status == NEOQ_EUNKNOWN;
}

static void no_matter(ground *g, int status)
{
    (void)g;
    (void)status;
}

static void check_other(ground *g, int status)
{
    assert_true((status == NEOQ_OK) == (g->other != NULL));
    neoq_close(g->other);
}

static void check_new(ground *g, int status)
{
    check_other(g, status);
    assert_status(NEOQ_OK, call_open_new(g));
    put(g->other, g->queue, "1", NULL);
    neoq_close(g->other);
}

static void check_enqueued(ground *g, int status)
{
    size_t jobs = jobs_in(g->nq, g->queue, 0);
    assert_true(jobs == (status == NEOQ_OK) || (unknown(status) && jobs == 1));
    int again = call_enqueue(g);
    assert_true(again == (jobs > 0 ? NEOQ_EDUPLICATE : NEOQ_OK));
}

static void check_duplicate(ground *g, int status)
{
    (void)status;
    assert_int_equal(1, jobs_in(g->nq, g->queue, 0));
}

/* On Redis many go in pieces, and each has an answer of its own; what stood in `results` came back as the status. */
static void check_many(ground *g, int status)
{
    size_t jobs = jobs_in(g->nq, g->queue, 0);
    assert_true(jobs == (status == NEOQ_OK ? MANY : 0) || (unknown(status) && jobs <= MANY));
    assert_status(NEOQ_OK, call_enqueue_many(g));
    assert_int_equal(MANY, jobs_in(g->nq, g->queue, 0));
}

static void check_started(ground *g, int status)
{
    if (status != NEOQ_OK)
        assert_status(NEOQ_OK, call_start(g));
    put(g->nq, g->queue, "1", NULL);
    drain(g->nq);
    assert_int_equal(1, g->runs);
}

static void check_cron(ground *g, int status)
{
    if (status != NEOQ_OK)
        assert_status(NEOQ_OK, call_start_cron(g));
    assert_status(NEOQ_OK, neoq_testing_advance(g->nq, NEOQ_MINUTES(5), NULL));
    assert_int_equal(1, g->runs);
}

static size_t schedules_named(ground *g)
{
    neoq_schedule_info *all;
    size_t count, found = 0;
    assert_status(NEOQ_OK, neoq_schedules(g->nq, &all, &count));
    for (size_t i = 0; i < count; i++)
        found += strcmp(all[i].name, g->name) == 0;
    free(all);
    return found;
}

static void check_scheduled(ground *g, int status)
{
    size_t found = schedules_named(g);
    assert_true(found == (status == NEOQ_OK) || unknown(status));
    assert_status(NEOQ_OK, call_schedule(g));
    assert_status(NEOQ_OK, call_unschedule(g));
}

static void check_unscheduled(ground *g, int status)
{
    size_t found = schedules_named(g);
    assert_true(found == (status != NEOQ_OK) || unknown(status));
    assert_status(found ? NEOQ_OK : NEOQ_ENOTFOUND, call_unschedule(g));
}

static void check_tending(ground *g, int status)
{
    (void)status;
    assert_status(NEOQ_OK, neoq_tend(g->nq));
}

static void check_set(ground *g, int status)
{
    assert_true((status == NEOQ_OK) == (g->set != NULL));
    if (g->set)
        assert_int_equal(jobs_in(g->nq, g->queue, 0), neoq_job_set_count(g->set));
    neoq_job_set_free(g->set);
}

static void check_list(ground *g, int status)
{
    if (status == NEOQ_OK)
        assert_non_null(g->list);
    free(g->list);
}

static void check_schedules(ground *g, int status)
{
    check_list(g, status);
    assert_status(NEOQ_OK, call_unschedule(g));
}

static void check_retried(ground *g, int status)
{
    neoq_state state = state_of(g->nq, g->id);
    assert_true(state == (status == NEOQ_OK ? NEOQ_READY : NEOQ_SCHEDULED) || unknown(status));
    assert_status(NEOQ_OK, neoq_delete(g->nq, g->id));
}

static void check_cancelled(ground *g, int status)
{
    neoq_state state = state_of(g->nq, g->id);
    assert_true(state == (status == NEOQ_OK ? NEOQ_DEAD : NEOQ_READY) || unknown(status));
    assert_status(NEOQ_OK, neoq_delete(g->nq, g->id));
}

static void check_deleted(ground *g, int status)
{
    bool there = has_job(g->nq, g->id);
    assert_true(there == (status != NEOQ_OK) || unknown(status));
    assert_status(there ? NEOQ_OK : NEOQ_ENOTFOUND, neoq_delete(g->nq, g->id));
}

static void check_paused(ground *g, int status)
{
    assert_true(queue_of(g->nq, g->queue).paused == (status == NEOQ_OK) || unknown(status));
    assert_status(NEOQ_OK, neoq_pause(g->nq, g->queue));
    assert_status(NEOQ_OK, neoq_remove_queue(g->nq, g->queue));
}

static void check_resumed(ground *g, int status)
{
    assert_true(queue_of(g->nq, g->queue).paused == (status != NEOQ_OK) || unknown(status));
    assert_status(NEOQ_OK, neoq_resume(g->nq, g->queue));
    assert_status(NEOQ_OK, neoq_remove_queue(g->nq, g->queue));
}

static void check_purged(ground *g, int status)
{
    size_t left = jobs_in(g->nq, g->queue, 0);
    assert_true(left == 10 - (size_t)g->purged || unknown(status));
    assert_true(left == 0 || status != NEOQ_OK);
    assert_status(NEOQ_OK, neoq_purge(g->nq, g->queue, 0, NULL));
    assert_int_equal(0, jobs_in(g->nq, g->queue, 0));
}

static void check_removed(ground *g, int status)
{
    bool there = queue_of(g->nq, g->queue).name[0];
    assert_true(there == (status != NEOQ_OK) || unknown(status));
    assert_status(there ? NEOQ_OK : NEOQ_ENOTFOUND, neoq_remove_queue(g->nq, g->queue));
}

/* Whatever was refused, and wherever, the job has its two runs and is done. */
static void check_run(ground *g, int status)
{
    (void)status;
    assert_status(NEOQ_OK, neoq_testing_advance(g->nq, SOON, NULL));
    assert_int_equal(2, g->runs);
}

static void check_drained(ground *g, int status)
{
    if (status == NEOQ_OK)
        assert_int_equal(0, jobs_in(g->nq, g->queue, NEOQ_READY));
    assert_status(NEOQ_OK, neoq_testing_advance(g->nq, SOON, NULL));
    assert_int_equal(0, jobs_in(g->nq, g->queue, 0));
    assert_true(g->runs >= 10 && g->runs <= 11); /* one whose result found no memory has a second */
}

static void check_shut_down(ground *g, int status)
{
    (void)status;
    assert_status(NEOQ_OK, neoq_shutdown(g->nq, NEOQ_SECONDS(1)));
    put(g->nq, g->queue, "2", NULL);
}

static void check_clock(ground *g, int status)
{
    if (status == NEOQ_OK)
        neoq_clock_destroy(g->clock);
}

/* ---- all of them ----------------------------------------------------------------------------- */

const attempt attempts[] = {
    {"open", LOOKS, NEOQ_OK, nothing, call_open, check_other},
    {"enqueue", 0, NEOQ_OK, nothing, call_enqueue, check_enqueued},
    {"enqueue a duplicate", 0, NEOQ_EDUPLICATE, a_job, call_enqueue, check_duplicate},
    {"enqueue_many", 0, NEOQ_OK, nothing, call_enqueue_many, check_many},
    {"start", FRESH, NEOQ_OK, nothing, call_start, check_started},
    {"start_cron", FRESH, NEOQ_OK, nothing, call_start_cron, check_cron},
    {"cron_next", 0, NEOQ_OK, nothing, call_cron_next, no_matter},
    {"schedule", 0, NEOQ_OK, nothing, call_schedule, check_scheduled},
    {"unschedule", 0, NEOQ_OK, a_schedule, call_unschedule, check_unscheduled},
    {"tend", FRESH, NEOQ_OK, nothing, call_tend, check_tending},
    {"find", LOOKS, NEOQ_OK, ten_jobs, call_find, check_set},
    {"get", LOOKS, NEOQ_OK, a_job, call_get, check_set},
    {"runs", FRESH | LOOKS, NEOQ_OK, a_job_that_ran, call_runs, check_list},
    {"queues", LOOKS, NEOQ_OK, a_job, call_queues, check_list},
    {"workers", FRESH | LOOKS, NEOQ_OK, a_job_to_run, call_workers, check_list},
    {"schedules", LOOKS, NEOQ_OK, a_schedule, call_schedules, check_schedules},
    {"retry_now", 0, NEOQ_OK, a_later_job, call_retry_now, check_retried},
    {"cancel", 0, NEOQ_OK, a_job, call_cancel, check_cancelled},
    {"delete", 0, NEOQ_OK, a_job, call_delete, check_deleted},
    {"pause", 0, NEOQ_OK, a_job, call_pause, check_paused},
    {"resume", 0, NEOQ_OK, a_paused_queue, call_resume, check_resumed},
    {"purge", 0, NEOQ_OK, ten_jobs, call_purge, check_purged},
    {"remove_queue", 0, NEOQ_OK, ten_jobs, call_remove_queue, check_removed},
    {"get_progress", FRESH | LOOKS, NEOQ_OK, a_job_that_ran, call_get_progress, no_matter},
    {"a run", FRESH, NEOQ_OK, a_job_to_run, call_work_one, check_run},
    {"ten runs", FRESH, NEOQ_OK, ten_jobs_to_run, call_drain, check_drained},
    {"a minute", FRESH, NEOQ_OK, a_job_to_run, call_advance, check_run},
    {"testing_tend", FRESH, NEOQ_OK, a_job_to_run, call_tend_by_hand, check_run},
    {"testing_enqueued", LOOKS, NEOQ_OK, a_job, call_enqueued, no_matter},
    {"testing_not_enqueued", LOOKS, NEOQ_OK, a_job, call_not_enqueued, no_matter},
    {"shutdown", FRESH, NEOQ_OK, a_job_that_ran, call_shutdown, check_shut_down},
    {"clock_create", LOOKS, NEOQ_OK, nothing, call_clock, check_clock},
    {"doctor", LOOKS, NEOQ_OK, a_job, call_doctor, no_matter},
    {"migrate status", A_SCHEMA | LOOKS, NEOQ_OK, nothing, call_migrate, no_matter},
    {"migrate up", A_SCHEMA, NEOQ_OK, nothing, call_migrate_up, no_matter},
    {"migrate print", A_SCHEMA | LOOKS, NEOQ_OK, nothing, call_migrate_print, no_matter},
    {"open a new one", A_FILE, NEOQ_OK, nothing, call_open_new, check_new},
    {0},
};
