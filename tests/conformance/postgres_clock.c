/* SPDX-License-Identifier: MIT
 *
 * A machine whose clock is wrong. This program's clock_gettime() stands in for the C library's and is wrong by `wrong`
 * seconds where it tells the wall time; the server is another process, and right.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { AN_HOUR = 3600 };

static atomic_long wrong;

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int result = (int)syscall(SYS_clock_gettime, clock, at);
    if (clock == CLOCK_REALTIME)
        at->tv_sec += atomic_load(&wrong);
    return result;
}

static bool is_right(neoq_time at)
{
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    neoq_time off = at - ((neoq_time)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    return off > -NEOQ_MINUTES(5) && off < NEOQ_MINUTES(5);
}

static neoq *open_wrong(store *s, long by)
{
    atomic_store(&wrong, by);
    return store_open_real(s, ON_HINTS_ALONE);
}

static void start(neoq *nq, const char *queue, recorder *r)
{
    neoq_handler handler = recording(queue, r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
}

static void check_one_life(store *s, long by)
{
    static recorder r[2] = {{RECORDER_INITIALIZER,
                             .steps = {{.act = ACT_RETRY_IN, .wait = NEOQ_MILLISECONDS(20), .words = "once"}, {0}},
                             .step_count = 2},
                            {RECORDER_INITIALIZER,
                             .steps = {{.act = ACT_RETRY_IN, .wait = NEOQ_MILLISECONDS(20), .words = "once"}, {0}},
                             .step_count = 2}};
    neoq *nq = open_wrong(s, by);
    char id[NEOQ_ID_SIZE];
    put_job(nq, (neoq_job){.queue = "life", .retention = NEOQ_FOREVER}, id);
    start(nq, "life", &r[by > 0]);
    eventually(state_of(nq, id) == NEOQ_DONE);
    const neoq_job *job = store_job(s, nq, id);
    assert_int_equal(2, job->epoch);
    assert_true(is_right(job->created_at) && is_right(job->run_after));
    assert_true(is_right(job->ran_at) && is_right(job->finished_at));
    neoq_run_info runs[25];
    assert_int_equal(2, runs_of(nq, id, runs));
    for (int i = 0; i < 2; i++)
        assert_true(is_right(runs[i].started_at) && runs[i].finished_at >= runs[i].started_at);
    store_close(s, nq);
    atomic_store(&wrong, 0);
}

static void test_a_clock_an_hour_ahead_changes_nothing(void **state)
{
    check_one_life(*state, AN_HOUR);
}

static void test_a_clock_an_hour_behind_changes_nothing(void **state)
{
    check_one_life(*state, -AN_HOUR);
}

/* The clock jumps between an hour ahead and an hour behind while it is waited. */
static size_t jump(recorder *r)
{
    atomic_store(&wrong, atomic_load(&wrong) > 0 ? -AN_HOUR : AN_HOUR);
    return recorded_ends(r);
}

static void test_ticks_are_those_of_the_servers_clock_and_each_is_one_job(void **state)
{
    store *s = *state;
    static recorder r = {RECORDER_INITIALIZER};
    neoq *right = open_wrong(s, 0), *ahead = open_wrong(s, AN_HOUR), *behind = open_wrong(s, -AN_HOUR);
    neoq *all[] = {right, ahead, behind};
    const neoq_job job = {.queue = "ticks", .retention = NEOQ_FOREVER, .unique = NEOQ_UNIQUE_OFF};
    assert_status(NEOQ_OK, neoq_schedule(right, "each second", "* * * * * *", &job));
    for (int i = 0; i < 3; i++)
        start(all[i], "ticks", &r);
    eventually(jump(&r) >= 3);
    neoq_job_set *set = NULL;
    assert_status(NEOQ_OK, neoq_find(right, &(neoq_filter){.queue = "ticks", .limit = 100}, &set));
    size_t count = neoq_job_set_count(set);
    assert_true(count >= 3);
    for (size_t i = 0; i < count; i++) {
        neoq_time at = neoq_job_set_at(set, i)->run_after;
        assert_true(is_right(at));
        for (size_t k = 0; k < i; k++)
            assert_true(at != neoq_job_set_at(set, k)->run_after);
    }
    neoq_job_set_free(set);
    atomic_store(&wrong, 0);
}

int main(int argc, char **argv)
{
    if (!store_choose(argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        on_store(test_a_clock_an_hour_ahead_changes_nothing),
        on_store(test_a_clock_an_hour_behind_changes_nothing),
        on_store(test_ticks_are_those_of_the_servers_clock_and_each_is_one_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
