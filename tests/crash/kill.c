/* SPDX-License-Identifier: MIT
 *
 * kill -9, at every moment, of everybody: nothing is lost and nothing is done twice.
 *
 * Three producers and two workers share one store. Here they are killed, one or all of them, and started again, until
 * every job was asked for; some workers are frozen besides, until their lease is over, and thawed. Where the store has a
 * server, something bad happens to that, too. Then the survivors finish the work, and the checker compares what was
 * promised with what was done. Now and then, when all are dead, it looks at what they left behind.
 *
 * usage: crash_kill sqlite:|postgres:|postgres-server:|redis:|redis-server: [JOBS [MILLISECONDS [SEED]]]
 * MILLISECONDS between kills, on average. postgres: its connections are cut, one at a time; postgres-server: and single
 * backends and the postmaster are killed with -9, and the server is stopped in other ways.
 */
#include "crash.h"

#include <dirent.h>
#include <math.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE = 400, /* seconds for all of it */
    FROST = 900     /* milliseconds: more than a lease */
};

extern char **environ;

typedef struct victim {
    pid_t pid;      /* 0 = not there */
    bool over;      /* ended by itself, as it should */
    int64_t frozen; /* since then; 0 = it is not */
} victim;

typedef struct killer {
    plan plan;
    victim victims[SLOTS];
    unsigned random;
    double mean; /* milliseconds between kills */
    int kills, killed_all, frosts, looks, harms, wrong;
    int64_t began;
} killer;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void doze(double ms)
{
    int64_t ns = (int64_t)(ms * 1e6);
    nanosleep(&(struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000}, NULL);
}

static unsigned pick(killer *k, unsigned below)
{
    return (unsigned)rand_r(&k->random) % below;
}

/* ---- victims ---------------------------------------------------------------------------- */

static void start(killer *k, int slot)
{
    char name[24], number[12], jobs[12], seed[12];
    uint32_t sum = 0;
    for (int i = 0; i < STREAMS; i++)
        sum += k->plan.counts[i];
    snprintf(name, sizeof(name), "%s", k->plan.store->name);
    snprintf(number, sizeof(number), "%d", slot);
    snprintf(jobs, sizeof(jobs), "%" PRIu32, sum);
    snprintf(seed, sizeof(seed), "%" PRIu32, k->plan.seed);
    char *argv[] = {"crash_kill", "--victim", number, name, k->plan.url, k->plan.folder, jobs, seed, NULL};
    int error = posix_spawn(&k->victims[slot].pid, "/proc/self/exe", NULL, NULL, argv, environ);
    if (error) {
        printf("posix_spawn: %s\n", strerror(error));
        exit(2);
    }
}

/* Waits for the victim's end. The only ends that are right are our signal, and status 0 of one that may end. */
static void bury(killer *k, int slot, bool may_end)
{
    victim *v = &k->victims[slot];
    int status;
    if (waitpid(v->pid, &status, 0) != v->pid)
        abort();
    v->pid = 0;
    v->frozen = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return;
    v->over = true;
    if (may_end && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    if (may_end && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM && slot >= PRODUCERS)
        return; /* asked to leave before it had got as far as neoq_run() */
    printf("  WRONG: %s %d ended by itself: %s %d\n", slot < PRODUCERS ? "producer" : "worker", slot,
           WIFEXITED(status) ? "exit status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    k->wrong++;
}

static void notice_ends(killer *k)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        siginfo_t info = {0};
        if (k->victims[slot].pid != 0 &&
            waitid(P_PID, (id_t)k->victims[slot].pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0)
            bury(k, slot, slot < PRODUCERS);
    }
}

static void start_missing(killer *k)
{
    for (int slot = 0; slot < SLOTS; slot++)
        if (k->victims[slot].pid == 0 && !k->victims[slot].over)
            start(k, slot);
}

static void kill_one(killer *k, int slot)
{
    if (k->victims[slot].pid == 0)
        return;
    kill(k->victims[slot].pid, SIGKILL);
    bury(k, slot, slot < PRODUCERS);
    k->kills++;
}

static void kill_all(killer *k)
{
    for (int slot = 0; slot < SLOTS; slot++) /* first all signals: nobody may tidy up after another */
        if (k->victims[slot].pid != 0)
            kill(k->victims[slot].pid, SIGKILL);
    for (int slot = 0; slot < SLOTS; slot++)
        kill_one(k, slot);
    k->killed_all++;
}

static void freeze_one(killer *k, int slot)
{
    victim *v = &k->victims[slot];
    if (v->pid == 0 || v->frozen != 0)
        return;
    kill(v->pid, SIGSTOP);
    v->frozen = now_ms();
    k->frosts++;
}

static void thaw(killer *k, int64_t frozen_before)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        victim *v = &k->victims[slot];
        if (v->pid == 0 || v->frozen == 0 || v->frozen > frozen_before)
            continue;
        kill(v->pid, SIGCONT);
        v->frozen = 0;
    }
}

/* ---- files ------------------------------------------------------------------------------ */

static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(folder);
}

/* ---- the work of killing ---------------------------------------------------------------- */

static bool producing(const killer *k)
{
    for (int slot = 0; slot < PRODUCERS; slot++)
        if (!k->victims[slot].over)
            return true;
    return false;
}

static bool in_time(killer *k)
{
    if (now_ms() - k->began < PATIENCE * 1000)
        return true;
    printf("  WRONG: not done after %d s\n", PATIENCE);
    k->wrong++;
    return false;
}

/* Mostly a while; now and then so short that the victims have hardly begun. */
static double next_wait(killer *k)
{
    double uniform = (pick(k, 1000000) + 1) / 1e6;
    if (pick(k, 10) == 0)
        return uniform * 8;
    double wait = -log(uniform) * k->mean;
    return wait < 8 * k->mean ? wait : 8 * k->mean;
}

static void kill_them(killer *k)
{
    for (int after = 20; after > 0 && k->wrong == 0 && in_time(k); after -= !producing(k)) {
        start_missing(k);
        doze(next_wait(k));
        notice_ends(k);
        thaw(k, now_ms() - FROST);
        if (k->plan.store->harm && pick(k, 2) == 0) {
            k->plan.store->harm(pick(k, 1 << 16));
            k->harms++;
        }
        if (pick(k, 25) == 0)
            freeze_one(k, PRODUCERS + (int)pick(k, WORKERS));
        if (pick(k, 8) > 0) {
            int slot = (int)pick(k, SLOTS);
            if (k->victims[slot].frozen == 0 || pick(k, 8) == 0)
                kill_one(k, slot);
            continue;
        }
        kill_all(k);
        if (pick(k, 2) == 0) {
            k->wrong += check_store(&k->plan, false);
            k->looks++;
        }
    }
    thaw(k, INT64_MAX);
}

static int64_t unfinished(neoq *nq)
{
    neoq_queue_info *queues;
    size_t count;
    int64_t sum = 0;
    if (neoq_queues(nq, &queues, &count) != NEOQ_OK)
        return -1;
    for (size_t i = 0; i < count; i++)
        sum += queues[i].scheduled + queues[i].ready + queues[i].running + queues[i].retrying;
    free(queues);
    return sum;
}

/* The workers of now finish everything and are asked to leave. */
static void let_them_finish(killer *k)
{
    neoq *nq;
    start_missing(k);
    if (neoq_open(&nq, k->plan.url, NULL) != NEOQ_OK) {
        printf("  WRONG: cannot open the store: %s\n", neoq_error_message());
        k->wrong++;
        return;
    }
    int64_t left, asked = now_ms();
    while ((left = unfinished(nq)) != 0 && in_time(k)) {
        doze(20);
        notice_ends(k);
        if (now_ms() - asked > 60000) {
            printf("  WRONG: %" PRId64 " jobs are unfinished, and nobody has finished them in a minute\n", left);
            k->wrong++;
            break;
        }
    }
    neoq_close(nq);
    for (int slot = PRODUCERS; slot < SLOTS; slot++)
        if (k->victims[slot].pid != 0) {
            kill(k->victims[slot].pid, SIGTERM);
            bury(k, slot, true);
        }
}

static int run(killer *k)
{
    k->began = now_ms();
    kill_them(k);
    double seconds = (double)(now_ms() - k->began) / 1000;
    printf("%d kills in %.1f s, %d times of all at once; %d workers frozen; the store looked at %d times\n", k->kills,
           seconds, k->killed_all, k->frosts, k->looks);
    if (k->harms > 0)
        printf("%d times: %s\n", k->harms, k->plan.store->server);
    fflush(stdout);
    if (k->wrong == 0)
        let_them_finish(k);
    kill_all(k);
    if (k->wrong == 0) /* else the work is half done, and all of that is wrong */
        k->wrong += check_history(&k->plan);
    k->wrong += check_store(&k->plan, true);
    return k->wrong;
}

static uint32_t seed_wanted(int argc, char **argv)
{
    const char *text = argc > 4 ? argv[4] : getenv("NEOQ_TEST_SEED");
    return text ? (uint32_t)strtoul(text, NULL, 10) : (uint32_t)time(NULL) ^ (uint32_t)getpid();
}

/* --victim SLOT STORE URL FOLDER JOBS SEED */
static int be_victim(char **argv)
{
    plan p;
    if (!plan_make(&p, argv[3], argv[5], (uint32_t)strtoul(argv[6], NULL, 10), (uint32_t)strtoul(argv[7], NULL, 10)))
        return 2;
    snprintf(p.url, sizeof(p.url), "%s", argv[4]);
    return victim_main(&p, (int)strtol(argv[2], NULL, 10));
}

int main(int argc, char **argv)
{
    static killer k;
    if (argc == 8 && strcmp(argv[1], "--victim") == 0)
        return be_victim(argv);
    const char *where = getenv("TMPDIR");
    char folder[100];
    snprintf(folder, sizeof(folder), "%.80s/neoq-crash-XXXXXX", where && *where ? where : "/tmp");
    if (!mkdtemp(folder)) {
        perror(folder);
        return 2;
    }
    uint32_t seed = seed_wanted(argc, argv), jobs = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100000;
    if (argc < 2 || !plan_make(&k.plan, argv[1], folder, jobs, seed)) {
        rmdir(folder);
        fputs("usage: crash_kill sqlite:|postgres:|postgres-server:|redis:|redis-server: [JOBS [MILLISECONDS "
              "[SEED]]]\n",
              stderr);
        return 2;
    }
    k.random = seed;
    k.mean = argc > 3 ? strtod(argv[3], NULL) : 30;
    printf("crash_kill: %s %" PRIu32 " jobs, a kill each %.0f ms, seed %" PRIu32 "\n", argv[1], jobs, k.mean, seed);
    fflush(stdout);
    if (!k.plan.store->begin(&k.plan, k.plan.url, sizeof(k.plan.url)))
        return 2;
    int wrong = run(&k);
    if (wrong == 0)
        remove_folder(folder);
    else
        printf("%d things are WRONG; %s is kept\n", wrong, folder);
    k.plan.store->end();
    return wrong != 0;
}
