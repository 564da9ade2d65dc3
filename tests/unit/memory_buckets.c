/* SPDX-License-Identifier: MIT
 *
 * memory/buckets: whoever made the ids, no search is long; and those of a neoq lie in the order in which they were made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/memory/table.h"
#include "base/uuid.h"

enum { JOBS = 5000, LONGEST = 40 };

typedef void make_id(uint64_t number, char id[NQ_UUID_TEXT_SIZE]);

static void make_own(uint64_t number, char id[NQ_UUID_TEXT_SIZE])
{
    uint8_t bytes[NQ_UUID_SIZE];
    nq_uuid_make(bytes, INT64_C(1700000000000000) + (int64_t)number / 3, number, number * 0x9E3779B97F4A7C15ULL);
    nq_uuid_format(bytes, id);
}

/* RFC 9562, section 5.1: one machine's differ in the lowest bits of the time alone, which come first. */
static void make_version_1(uint64_t number, char id[NQ_UUID_TEXT_SIZE])
{
    snprintf(id, NQ_UUID_TEXT_SIZE, "%08" PRIx64 "-58cc-1372-a567-0e02b2c3d479", number & 0xffffffff);
}

static void make_counted(uint64_t number, char id[NQ_UUID_TEXT_SIZE])
{
    snprintf(id, NQ_UUID_TEXT_SIZE, "00000000-0000-0000-0000-%012" PRIx64, number & 0xffffffffffff);
}

static int longest_of(const mem_buckets *ids)
{
    int longest = 0;
    for (size_t i = 0; i < ids->size; i++) {
        int length = 0;
        for (const mem_job *job = ids->heads[i]; job; job = job->id_next)
            length++;
        longest = length > longest ? length : longest;
    }
    return longest;
}

static void find_all(const mem_buckets *ids, mem_job *const *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_ptr_equal(jobs[i], mem_ids_find(ids, jobs[i]->id));
}

/* Adds so many jobs after those that are there, of which none is lost when all digits begin to count. */
static void add(mem_buckets *ids, mem_job **jobs, size_t *count, make_id *make)
{
    for (size_t i = 0; i < JOBS; i++, ++*count) {
        char id[NQ_UUID_TEXT_SIZE];
        make(*count, id);
        assert_null(mem_ids_find(ids, id));
        jobs[*count] = mem_job_make(&(neoq_job){.id = id, .payload = ""});
        assert_non_null(jobs[*count]);
        bool before = ids->mixed;
        assert_true(mem_ids_add(ids, jobs[*count]));
        if (ids->mixed != before)
            find_all(ids, jobs, *count + 1);
    }
}

/* Takes out every other one, and then the rest. */
static void take_out(mem_buckets *ids, mem_job **jobs, size_t count)
{
    for (size_t i = 0; i < count; i += 2)
        mem_ids_remove(ids, jobs[i]);
    for (size_t i = 0; i < count; i++)
        assert_ptr_equal(i % 2 ? jobs[i] : NULL, mem_ids_find(ids, jobs[i]->id));
    for (size_t i = 1; i < count; i += 2)
        mem_ids_remove(ids, jobs[i]);
    assert_int_equal(0, ids->count);
    for (size_t i = 0; i < count; i++)
        mem_job_drop(jobs[i]);
    free(ids->heads);
}

static void test_own_ids_do_not_meet(void **state)
{
    static mem_job *jobs[JOBS];
    mem_buckets ids = {0};
    size_t count = 0;
    (void)state;
    add(&ids, jobs, &count, make_own);
    assert_false(ids.mixed);
    assert_int_equal(1, longest_of(&ids));
    take_out(&ids, jobs, count);
}

static void check_others(make_id *make)
{
    static mem_job *jobs[2 * JOBS];
    mem_buckets ids = {0};
    size_t count = 0;
    add(&ids, jobs, &count, make_own);
    add(&ids, jobs, &count, make);
    assert_true(longest_of(&ids) <= LONGEST);
    take_out(&ids, jobs, count);
}

static void test_ids_of_version_1_lie_apart(void **state)
{
    (void)state;
    check_others(make_version_1);
}

static void test_ids_that_count_lie_apart(void **state)
{
    (void)state;
    check_others(make_counted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_ids_do_not_meet),
        cmocka_unit_test(test_ids_of_version_1_lie_apart),
        cmocka_unit_test(test_ids_that_count_lie_apart),
    };
    return cmocka_run_group_tests_name("buckets", tests, NULL, NULL);
}
