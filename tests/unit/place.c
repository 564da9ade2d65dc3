/* SPDX-License-Identifier: MIT
 *
 * base/place: naming a process, and telling whether it is gone, also where there is no descriptor to look with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/place.h"

/* None that is not there already can be had, until it is given the old limit back. */
static struct rlimit use_up_descriptors(void)
{
    struct rlimit before, none;
    assert_int_equal(0, getrlimit(RLIMIT_NOFILE, &before));
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(0, setrlimit(RLIMIT_NOFILE, &none));
    return before;
}

static void a_process_is_there_until_it_is_gone(void **state)
{
    char here[NQ_PLACE_SIZE], place[NQ_PROCESS_PLACE_SIZE];
    (void)state;
    nq_place_find(here);
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    nq_place_of(here, pid, place);
    assert_false(nq_place_is_gone(here, place, pid));
    kill(pid, SIGKILL);
    assert_int_equal(pid, waitpid(pid, NULL, 0));
    assert_true(nq_place_is_gone(here, place, pid));
}

static void without_a_descriptor_none_is_said_to_be_gone(void **state)
{
    char here[NQ_PLACE_SIZE], place[NQ_PROCESS_PLACE_SIZE];
    (void)state;
    nq_place_find(here);
    nq_place_of(here, getpid(), place);
    struct rlimit before = use_up_descriptors();
    bool gone = nq_place_is_gone(here, place, getpid());
    setrlimit(RLIMIT_NOFILE, &before);
    assert_false(gone);
}

static void without_a_descriptor_no_other_boot_is_made_up(void **state)
{
    char here[NQ_PLACE_SIZE], unread[NQ_PLACE_SIZE];
    (void)state;
    nq_place_find(here);
    struct rlimit before = use_up_descriptors();
    nq_place_find(unread);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_false(nq_place_other_boot(here, unread));
    assert_false(nq_place_other_boot(unread, here));
    assert_false(nq_place_other_boot(here, here));
    assert_true(nq_place_other_boot(here, "of-another-boot/1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_is_there_until_it_is_gone),
        cmocka_unit_test(without_a_descriptor_none_is_said_to_be_gone),
        cmocka_unit_test(without_a_descriptor_no_other_boot_is_made_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
