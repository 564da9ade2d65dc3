/* SPDX-License-Identifier: MIT */
#include "support/apart.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

common *make_common(void)
{
    common *c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(c != MAP_FAILED);
    c->test = getpid();
    return c;
}

int note_run(common *c)
{
    int run = atomic_fetch_add(&c->runs, 1);
    if (run < 16)
        atomic_store(&c->pids[run], getpid());
    atomic_store(&c->server, getppid());
    return run;
}

static void note_crash(const neoq_job *job, const char *error, void *arg)
{
    common *c = arg;
    (void)job;
    atomic_store(&c->crash_pid, getpid());
    if (atomic_fetch_add(&c->crashes, 1) == 0)
        snprintf(c->crash_error, sizeof c->crash_error, "%s", error);
}

neoq_handler apart(neoq_handle handle, common *c)
{
    return (neoq_handler){.queue = "apart",
                          .handle = handle,
                          .arg = c,
                          .concurrency = 1,
                          .isolation = NEOQ_PROCESS,
                          .on_crash = note_crash};
}

neoq *start_apart(store *s, neoq_handler handler, common *c)
{
    neoq *nq = store_open_real(s, &(neoq_options){.retention = NEOQ_FOREVER});
    c->nq = nq;
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    return nq;
}

neoq_job retried_at_once(const char *payload)
{
    static const neoq_duration at_once[] = {1, 1, 1, 1, 1, 1, 1, 1};
    return (neoq_job){.queue = "apart", .payload = payload, .retry_waits = at_once, .retry_wait_count = 8};
}

void assert_crashed_once(neoq *nq, const common *c, const char *id, int number, const char *words)
{
    neoq_run_info runs[25];
    assert_int_equal(NEOQ_DONE, state_of(nq, id));
    assert_int_equal(2, runs_of(nq, id, runs));
    assert_string_equal("done", runs[0].outcome);
    assert_string_equal("crashed", runs[1].outcome);
    assert_words(words, runs[1].error);
    assert_int_equal(number, runs[1].signal);
    assert_int_equal(0, runs[1].exit_code);
    assert_true(runs[1].peak_memory > 0);
    assert_true(runs[1].finished_at >= runs[1].started_at);
    assert_int_equal(1, c->crashes);
    assert_string_equal(runs[1].error, c->crash_error);
    assert_int_equal(getpid(), c->crash_pid);
    assert_int_not_equal(c->pids[0], c->pids[1]);
}

/* ---- processes -------------------------------------------------------------------------- */

/* False: there is none of that name. */
static bool look_at(const char *name, char *state, pid_t *parent)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/stat", name);
    FILE *file = atoi(name) > 0 ? fopen(path, "r") : NULL;
    bool found = file && fscanf(file, "%*d (%*[^)]) %c %d", state, parent) == 2;
    if (file)
        fclose(file);
    return found;
}

bool is_alive(pid_t pid)
{
    char name[20], state;
    pid_t parent;
    snprintf(name, sizeof name, "%d", pid);
    return look_at(name, &state, &parent) && state != 'Z' && state != 'X';
}

int children_of(pid_t parent, bool zombies)
{
    DIR *proc = opendir("/proc");
    int count = 0;
    assert_non_null(proc);
    for (const struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        char state;
        pid_t of;
        if (look_at(entry->d_name, &state, &of) && of == parent && (!zombies || state == 'Z'))
            count++;
    }
    closedir(proc);
    return count;
}

int descriptors_of(pid_t pid)
{
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *fds = opendir(path);
    assert_non_null(fds);
    for (const struct dirent *entry; (entry = readdir(fds)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(fds);
    return count - (pid == getpid()); /* the one that looks */
}
