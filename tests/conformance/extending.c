/* SPDX-License-Identifier: MIT
 *
 * neoq_register_backend(): a store of the user's own. This one keeps nothing; it shows what a store is given, and that
 * what it says comes back to the caller. (That a store means the same as the others is for the other programs.)
 */
#include "support/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct neoq_store {
    int opened;
};

static struct neoq_store the_store;
static neoq_options seen_options;
static char seen_url[64];

static int fake_open(neoq_store **out, const neoq_store_config *config)
{
    seen_options = *config->options;
    snprintf(seen_url, sizeof(seen_url), "%s", config->url);
    if (strcmp(config->url, "fake:down") == 0)
        return neoq_set_error(NEOQ_EBACKEND, "the fake %s is down", "store");
    the_store.opened++;
    *out = &the_store;
    return NEOQ_OK;
}

static void fake_close(neoq_store *self)
{
    self->opened--;
}

static int fake_enqueue(neoq_store *self, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    (void)self;
    for (size_t i = 0; i < count; i++) {
        bool complete = jobs[i].id && jobs[i].payload_size == strlen(jobs[i].payload) && jobs[i].max_retries == 23 &&
                        jobs[i].unique == NEOQ_UNIQUE_ON && jobs[i].fingerprint && jobs[i].run_after > 0;
        results[i].status = complete ? NEOQ_OK : NEOQ_EINVAL;
        snprintf(results[i].id, NEOQ_ID_SIZE, "%s", jobs[i].id);
    }
    return NEOQ_OK;
}

static int fake_queues(neoq_store *self, neoq_each_queue each, void *arg)
{
    (void)self;
    return each(&(neoq_queue_info){.name = "fake", .ready = 7}, arg);
}

static int fake_get(neoq_store *self, const char *id, neoq_each_job each, void *arg)
{
    (void)self;
    (void)each;
    (void)arg;
    return neoq_set_error(NEOQ_EBACKEND, "cannot reach %s", id);
}

static void fake_wake(neoq_store *self)
{
    (void)self;
}

/* What it cannot do. No operation may be missing. */
static int fake_exchange(neoq_store *self, neoq_exchange *exchange)
{
    (void)self;
    (void)exchange;
    return NEOQ_EUNSUPPORTED;
}

static void fake_release(neoq_store *self, neoq_claimed *run)
{
    (void)self;
    (void)run;
}

static void fake_wait(neoq_store *self, uint64_t seen, int64_t until)
{
    (void)self;
    (void)seen;
    (void)until;
}

static int fake_beat(neoq_store *self, const neoq_beat *beat)
{
    (void)self;
    (void)beat;
    return NEOQ_EUNSUPPORTED;
}

static int fake_tend(neoq_store *self, size_t limit, neoq_claimed *lost, size_t *lost_count)
{
    (void)self;
    (void)limit;
    (void)lost;
    (void)lost_count;
    return NEOQ_EUNSUPPORTED;
}

static int fake_find(neoq_store *self, const neoq_filter *filter, neoq_each_job each, void *arg)
{
    (void)self;
    (void)filter;
    (void)each;
    (void)arg;
    return NEOQ_EUNSUPPORTED;
}

static int fake_runs(neoq_store *self, const char *id, neoq_each_run each, void *arg)
{
    (void)self;
    (void)id;
    (void)each;
    (void)arg;
    return NEOQ_EUNSUPPORTED;
}

static int fake_steer(neoq_store *self, neoq_action action, const char *id, neoq_time keep_until)
{
    (void)self;
    (void)action;
    (void)id;
    (void)keep_until;
    return NEOQ_EUNSUPPORTED;
}

static int fake_purge(neoq_store *self, const char *queue, neoq_state state, int64_t *purged)
{
    (void)self;
    (void)queue;
    (void)state;
    (void)purged;
    return NEOQ_EUNSUPPORTED;
}

static int fake_set_queue(neoq_store *self, const char *queue, neoq_queue_action action, int64_t value)
{
    (void)self;
    (void)queue;
    (void)action;
    (void)value;
    return NEOQ_EUNSUPPORTED;
}

static int fake_workers(neoq_store *self, neoq_each_worker each, void *arg)
{
    (void)self;
    (void)each;
    (void)arg;
    return NEOQ_EUNSUPPORTED;
}

static int fake_schedules(neoq_store *self, neoq_each_schedule each, void *arg)
{
    (void)self;
    (void)each;
    (void)arg;
    return NEOQ_EUNSUPPORTED;
}

static int fake_set_schedule(neoq_store *self, const neoq_schedule_record *schedule)
{
    (void)self;
    (void)schedule;
    return NEOQ_EUNSUPPORTED;
}

static int fake_remove_schedule(neoq_store *self, const char *name)
{
    (void)self;
    (void)name;
    return NEOQ_EUNSUPPORTED;
}

static int fake_tick(neoq_store *self, const char *name, neoq_time expected, neoq_time last, neoq_time next,
                     const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    (void)self;
    (void)name;
    (void)expected;
    (void)last;
    (void)next;
    (void)jobs;
    (void)count;
    (void)results;
    return NEOQ_EUNSUPPORTED;
}

static int fake_set_progress(neoq_store *self, const char *id, int64_t epoch, const neoq_progress *progress)
{
    (void)self;
    (void)id;
    (void)epoch;
    (void)progress;
    return NEOQ_EUNSUPPORTED;
}

static int fake_get_progress(neoq_store *self, const char *id, neoq_progress *progress)
{
    (void)self;
    (void)id;
    (void)progress;
    return NEOQ_EUNSUPPORTED;
}

static const neoq_backend fake = {
    .version = NEOQ_BACKEND_VERSION,
    .size = sizeof(neoq_backend),
    .scheme = "fake",
    .open = fake_open,
    .close = fake_close,
    .enqueue = fake_enqueue,
    .wake = fake_wake,
    .exchange = fake_exchange,
    .release = fake_release,
    .wait = fake_wait,
    .beat = fake_beat,
    .tend = fake_tend,
    .find = fake_find,
    .runs = fake_runs,
    .steer = fake_steer,
    .purge = fake_purge,
    .set_queue = fake_set_queue,
    .workers = fake_workers,
    .schedules = fake_schedules,
    .set_schedule = fake_set_schedule,
    .remove_schedule = fake_remove_schedule,
    .tick = fake_tick,
    .set_progress = fake_set_progress,
    .get_progress = fake_get_progress,
    .queues = fake_queues,
    .get = fake_get,
};

static void test_a_table_that_is_malformed_is_refused(void **state)
{
    (void)state;
    neoq_backend other = fake;
    other.version = NEOQ_BACKEND_VERSION + 1;
    assert_status(NEOQ_EINVAL, neoq_register_backend(&other));
    other = fake;
    other.size = 16;
    assert_status(NEOQ_EINVAL, neoq_register_backend(&other));
    other = fake;
    other.wake = NULL;
    assert_status(NEOQ_EINVAL, neoq_register_backend(&other));
    other = fake;
    other.scheme = NULL;
    assert_status(NEOQ_EINVAL, neoq_register_backend(&other));
    other.scheme = "";
    assert_status(NEOQ_EINVAL, neoq_register_backend(&other));
    other.scheme = "sqlite";
    assert_status(NEOQ_EEXIST, neoq_register_backend(&other));
}

static void test_a_registered_store_is_opened_by_its_scheme(void **state)
{
    (void)state;
    neoq *nq = NULL;
    assert_status(NEOQ_EINVAL, neoq_open(&nq, "fake:here", NULL));
    assert_status(NEOQ_OK, neoq_register_backend(&fake));
    assert_status(NEOQ_EEXIST, neoq_register_backend(&fake));
    assert_status(NEOQ_OK, neoq_open(&nq, "fake:here", &(neoq_options){.log = quiet, .retention = NEOQ_HOURS(1)}));
    assert_string_equal("fake:here", seen_url);
    assert_int_equal(1, the_store.opened);
    /* Options come with every default filled in. */
    assert_true(seen_options.lease == NEOQ_SECONDS(30));
    assert_true(seen_options.poll_interval == NEOQ_SECONDS(10));
    assert_true(seen_options.job_check_interval == NEOQ_SECONDS(1));
    assert_true(seen_options.shutdown_timeout == NEOQ_SECONDS(8));
    assert_true(seen_options.connect_timeout == NEOQ_SECONDS(30));
    assert_true(seen_options.dead_retention == NEOQ_HOURS(24 * 90));
    assert_true(seen_options.retention == NEOQ_HOURS(1));
    assert_true(seen_options.capacity_wait == NEOQ_FOREVER || seen_options.capacity_wait > NEOQ_HOURS(24 * 365));
    assert_int_equal(NEOQ_UNIQUE_ON, seen_options.unique);
    assert_int_equal(1 << 20, seen_options.max_payload);
    assert_int_equal(NEOQ_LOG_INFO, seen_options.log_level);
    assert_string_equal("neoq", seen_options.schema);
    neoq_close(nq);
    assert_int_equal(0, the_store.opened);
}

static void test_jobs_reach_it_complete_and_its_answers_come_back(void **state)
{
    (void)state;
    neoq *nq = NULL;
    neoq_register_backend(&fake);
    assert_status(NEOQ_OK, neoq_open(&nq, "fake:", &(neoq_options){.log = quiet}));
    assert_status(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q", .payload = "{}"}, NULL));
    assert_int_equal(7, queue_of(nq, "fake").ready);
    neoq_job_set *set = NULL;
    assert_status(NEOQ_EBACKEND, neoq_get(nq, "0190a0b0-0000-7000-8000-00000000000a", &set));
    assert_words("cannot reach 0190a0b0", neoq_error_message());
    neoq_close(nq);
    nq = NULL;
    assert_status(NEOQ_EBACKEND, neoq_open(&nq, "fake:down", &(neoq_options){.log = quiet}));
    assert_string_equal("the fake store is down", neoq_error_message());
    assert_null(nq);
}

/* ---- optional operations ---------------------------------------------------------------- */

static void count_line(const char *line, void *arg)
{
    (void)line;
    ++*(int *)arg;
}

static void note_level(const neoq_finding *finding, void *arg)
{
    neoq_finding_level *worst = arg;
    if (finding->level > *worst)
        *worst = finding->level;
}

static void try_upkeep(const char *here, const char *down)
{
    neoq_schema_info info = {.version = 7};
    neoq_finding_level worst = 0;
    int lines = 0;
    assert_status(NEOQ_OK, neoq_migrate(here, NULL, NEOQ_MIGRATE_STATUS, count_line, &lines, &info));
    assert_int_equal(1, lines);
    assert_int_equal(0, info.known + info.version);
    assert_status(NEOQ_EUNSUPPORTED, neoq_migrate(here, NULL, NEOQ_MIGRATE_PRINT, NULL, NULL, NULL));
    assert_status(NEOQ_EBACKEND, neoq_migrate(down, NULL, NEOQ_MIGRATE_UP, NULL, NULL, NULL));
    assert_status(NEOQ_OK, neoq_doctor(here, NULL, note_level, &worst));
    assert_int_equal(NEOQ_FINDING_NOTE, worst);
    assert_status(NEOQ_OK, neoq_doctor(down, NULL, note_level, &worst));
    assert_int_equal(NEOQ_FINDING_BAD, worst);
    assert_int_equal(0, the_store.opened);
}

static void test_a_table_may_end_before_the_optional_operations(void **state)
{
    (void)state;
    static neoq_backend *older; /* registered for good */
    older = malloc(NEOQ_BACKEND_LEAST_SIZE);
    assert_non_null(older);
    memcpy(older, &fake, NEOQ_BACKEND_LEAST_SIZE);
    older->size = NEOQ_BACKEND_LEAST_SIZE;
    older->scheme = "older";
    assert_status(NEOQ_OK, neoq_register_backend(older));
    neoq_register_backend(&fake);
    try_upkeep("fake:here", "fake:down");
    try_upkeep("older:here", "fake:down");
}

static int fake_migrate(const neoq_store_config *config, neoq_migration what, neoq_each_line each, void *arg,
                        neoq_schema_info *info)
{
    assert_true(config->options->lease == NEOQ_SECONDS(30));
    assert_int_equal(0, info->version);
    info->version = (int)what;
    each("a line", arg);
    return NEOQ_OK;
}

static int fake_doctor(const neoq_store_config *config, neoq_each_finding each, void *arg)
{
    each(&(neoq_finding){.level = NEOQ_FINDING_OK, .name = "url", .words = config->url}, arg);
    return NEOQ_OK;
}

static void test_optional_operations_are_used(void **state)
{
    (void)state;
    static neoq_backend whole;
    neoq_schema_info info;
    neoq_finding_level worst = 0;
    whole = fake;
    whole.scheme = "whole";
    whole.migrate = fake_migrate;
    whole.doctor = fake_doctor;
    assert_status(NEOQ_OK, neoq_register_backend(&whole));
    assert_status(NEOQ_OK, neoq_migrate("whole:", NULL, NEOQ_MIGRATE_PRINT, NULL, NULL, &info));
    assert_int_equal(NEOQ_MIGRATE_PRINT, info.version);
    assert_status(NEOQ_OK, neoq_migrate("whole:", NULL, NEOQ_MIGRATE_UP, NULL, NULL, NULL));
    assert_status(NEOQ_OK, neoq_doctor("whole:", NULL, note_level, &worst));
    assert_int_equal(NEOQ_FINDING_OK, worst);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_table_that_is_malformed_is_refused),
        cmocka_unit_test(test_a_registered_store_is_opened_by_its_scheme),
        cmocka_unit_test(test_jobs_reach_it_complete_and_its_answers_come_back),
        cmocka_unit_test(test_a_table_may_end_before_the_optional_operations),
        cmocka_unit_test(test_optional_operations_are_used),
    };
    return cmocka_run_group_tests_name("extending", tests, NULL, NULL);
}
