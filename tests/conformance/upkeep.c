/* SPDX-License-Identifier: MIT
 *
 * neoq_migrate() and neoq_doctor(), which need no open neoq.
 */
#include "support/store.h"

#include <string.h>

static const neoq_options silent = {.log = quiet};

typedef struct tally {
    int lines, levels[NEOQ_FINDING_BAD + 1];
} tally;

static void count_line(const char *line, void *arg)
{
    tally *t = arg;
    assert_null(strchr(line, '\n'));
    t->lines++;
}

static void count_finding(const neoq_finding *finding, void *arg)
{
    tally *t = arg;
    assert_in_range(finding->level, NEOQ_FINDING_OK, NEOQ_FINDING_BAD);
    assert_true(strlen(finding->name) > 0 && strlen(finding->words) > 0);
    t->levels[finding->level]++;
}

static neoq_schema_info migrate(store *s, neoq_migration what)
{
    tally t = {0};
    neoq_schema_info info;
    assert_status(NEOQ_OK, neoq_migrate(s->url, &silent, what, count_line, &t, &info));
    return info;
}

static void test_malformed_calls_are_refused(void **state)
{
    store *s = *state;
    tally t = {0};
    neoq_options bad = {.lease = -5};
    assert_status(NEOQ_EINVAL, neoq_migrate(NULL, NULL, NEOQ_MIGRATE_STATUS, NULL, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_migrate("nosuch:", NULL, NEOQ_MIGRATE_STATUS, NULL, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_migrate(s->url, &silent, 0, NULL, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_migrate(s->url, &silent, NEOQ_MIGRATE_PRINT + 1, NULL, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_migrate(s->url, &bad, NEOQ_MIGRATE_STATUS, NULL, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_doctor(NULL, NULL, count_finding, &t));
    assert_status(NEOQ_EINVAL, neoq_doctor("nosuch:", NULL, count_finding, &t));
    assert_status(NEOQ_EINVAL, neoq_doctor(s->url, &silent, NULL, NULL));
    assert_status(NEOQ_EINVAL, neoq_doctor(s->url, &bad, count_finding, &t));
    assert_status(NEOQ_OK, neoq_migrate(s->url, &silent, NEOQ_MIGRATE_STATUS, NULL, NULL, NULL));
}

static void test_the_schema_can_be_made_before_anybody_opens_the_store(void **state)
{
    store *s = *state;
    if (!store_chosen()->has_schema) {
        assert_int_equal(0, migrate(s, NEOQ_MIGRATE_STATUS).known);
        assert_int_equal(0, migrate(s, NEOQ_MIGRATE_UP).known);
        assert_status(NEOQ_EUNSUPPORTED, neoq_migrate(s->url, &silent, NEOQ_MIGRATE_DOWN, NULL, NULL, NULL));
        return;
    }
    neoq_schema_info info = migrate(s, NEOQ_MIGRATE_UP);
    assert_true(info.version > 0);
    assert_int_equal(info.known, info.version);
    assert_true(info.compatible_from > 0 && info.compatible_from <= info.version);
    assert_true(info.migrated_at > 0);
    assert_true(info.jobs == 0);
    neoq *nq = store_open(s, NULL);
    put(nq, "q", "1", NULL);
    info = migrate(s, NEOQ_MIGRATE_UP);
    assert_int_equal(info.known, info.version);
    assert_true(info.jobs == 1);
}

static void test_it_is_not_removed_with_jobs_unless_that_is_said(void **state)
{
    store *s = *state;
    if (!store_chosen()->has_schema)
        skip();
    neoq_schema_info info;
    neoq *nq = store_open(s, NULL);
    put(nq, "q", "1", NULL);
    store_close(s, nq);
    assert_true(migrate(s, NEOQ_MIGRATE_PLAN_DOWN).jobs == 1);
    assert_status(NEOQ_ESTATE, neoq_migrate(s->url, &silent, NEOQ_MIGRATE_DOWN, NULL, NULL, &info));
    assert_true(info.jobs == 1);
    nq = store_open(s, NULL);
    assert_int_equal(1, jobs_in(nq, "q", NEOQ_READY));
    assert_status(NEOQ_OK, neoq_purge(nq, "q", 0, NULL));
    put(nq, "q", "2", NULL);
    store_close(s, nq);
    assert_int_equal(0, migrate(s, NEOQ_MIGRATE_DOWN_ANYWAY).version);
    assert_int_equal(0, migrate(s, NEOQ_MIGRATE_STATUS).version);
    nq = store_open(s, NULL);
    assert_int_equal(0, jobs_in(nq, "q", 0));
}

static void test_a_sound_store_has_no_bad_finding(void **state)
{
    store *s = *state;
    for (int opened = 0; opened < 2; opened++) {
        tally t = {0};
        assert_status(NEOQ_OK, neoq_doctor(s->url, &silent, count_finding, &t));
        assert_true(t.levels[NEOQ_FINDING_OK] + t.levels[NEOQ_FINDING_NOTE] > 0);
        /* A test's server may have been told not to care for power cuts; and a virtual clock is ahead. */
        if (!store_chosen()->is_lax && !opened)
            assert_int_equal(0, t.levels[NEOQ_FINDING_BAD]);
        if (!opened)
            put(store_open(s, NULL), "q", "1", NULL);
    }
}

int main(int argc, char **argv)
{
    if (!store_choose(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        on_store(test_malformed_calls_are_refused),
        on_store(test_the_schema_can_be_made_before_anybody_opens_the_store),
        on_store(test_it_is_not_removed_with_jobs_unless_that_is_said),
        on_store(test_a_sound_store_has_no_bad_finding),
    };
    return cmocka_run_group_tests_name("upkeep", tests, NULL, NULL);
}
