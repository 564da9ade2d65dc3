/* SPDX-License-Identifier: MIT
 *
 * Handlers in processes that enqueue: their process has no store, and asks the one that has.
 */
#include "support/child.h"
#include "support/store.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static neoq *host; /* as it is forked, the neoq of handlers */
static pid_t host_pid;

static neoq_handler apart(neoq_handle handle)
{
    return (neoq_handler){.queue = "apart", .handle = handle, .concurrency = 1, .isolation = NEOQ_PROCESS};
}

/* ---- whose clock it is -------------------------------------------------------------------- */

static int enqueue_next(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    return neoq_enqueue(host, &(neoq_job){.queue = "next"}, NULL);
}

static void test_what_a_handler_enqueues_has_the_time_of_the_process_with_the_store(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq_job_set *set;
    neoq_clock_set(s->clock, NEOQ_SECONDS(1000000000)); /* 2001 */
    host = store_open_threads(s, &(neoq_options){.retention = NEOQ_FOREVER});
    neoq_handler handler = apart(enqueue_next);
    assert_status(NEOQ_OK, neoq_start(host, &handler));
    put(host, "apart", NULL, id);
    eventually(state_of(host, id) == NEOQ_DONE);
    const neoq_time now = s->clock->now(s->clock); /* it stands still */
    assert_status(NEOQ_OK, neoq_find(host, &(neoq_filter){.queue = "next"}, &set));
    assert_int_equal(1, neoq_job_set_count(set));
    const neoq_job *next = neoq_job_set_at(set, 0);
    assert_int_equal(NEOQ_READY, next->state);
    assert_true(llabs(next->created_at - now) < NEOQ_MINUTES(1));
    assert_true(llabs(next->run_after - now) < NEOQ_MINUTES(1));
    neoq_job_set_free(set);
}

/* ---- an answer that is lost ---------------------------------------------------------------- */

/* What that thread does: 'R' runs, 'S' waits for something, 'T' is stopped. */
static char state_of_thread(pid_t pid, const char *thread)
{
    char path[80], line[300], doing;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", (int)pid, thread);
    FILE *file = fopen(path, "re");
    if (!file || !fgets(line, sizeof line, file) || sscanf(line, "%*d (%*[^)]) %c", &doing) != 1)
        _exit(1);
    fclose(file);
    return doing;
}

/* Until all threads of that process do so: a signal that stops it has been sent, and not yet heard by each. */
static void await_state(pid_t pid, char wanted)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    for (bool all = false; !all;) {
        DIR *threads = opendir(path);
        all = threads != NULL;
        for (struct dirent *entry; threads && (entry = readdir(threads)) != NULL;)
            all = all && (entry->d_name[0] == '.' || state_of_thread(pid, entry->d_name) == wanted);
        if (threads)
            closedir(threads);
    }
}

/* Its host stands still while it is asked, and dies then; the fork server stands still, so that it kills nobody for that. */
static int ask_who_does_not_answer(neoq_ctx *ctx, void *arg)
{
    pid_t self = getpid(), server = getppid();
    (void)ctx;
    (void)arg;
    kill(server, SIGSTOP);
    kill(host_pid, SIGSTOP);
    await_state(host_pid, 'T');
    if (fork() == 0) {
        await_state(self, 'S');
        kill(host_pid, SIGKILL);
        _exit(0);
    }
    child_say(neoq_status_name(neoq_enqueue(host, &(neoq_job){.queue = "next"}, NULL)));
    kill(server, SIGCONT);
    return NEOQ_OK;
}

static int be_the_host(const char *url)
{
    neoq_handler handler = apart(ask_who_does_not_answer);
    host_pid = getpid();
    if (neoq_open(&host, url, &(neoq_options){.log = quiet}) != NEOQ_OK || neoq_start(host, &handler) != NEOQ_OK ||
        neoq_enqueue(host, &(neoq_job){.queue = "apart"}, NULL) != NEOQ_OK)
        return 1;
    for (;;)
        pause();
}

static void test_where_that_process_dies_it_is_unknown_whether_the_job_is_stored(void **state)
{
    store *s = *state;
    child c = child_start("host", s->url);
    child_expect(&c, "NEOQ_EUNKNOWN");
    child_wait(&c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_what_a_handler_enqueues_has_the_time_of_the_process_with_the_store),
        on_store(test_where_that_process_dies_it_is_unknown_whether_the_job_is_stored),
    };
    const char *role, *url;
    if (child_role(argc, argv, &role, &url))
        return be_the_host(url);
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("process_enqueue", tests, NULL, NULL);
}
