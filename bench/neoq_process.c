/* SPDX-License-Identifier: MIT
 *
 * Jobs that do nothing, run in child processes and, for comparison, in threads: two of either, the memory store, all jobs
 * waiting when it begins. To be held against raw_process. And how soon after a crash the next job runs, in the child that
 * replaced the old one, and the crashed job again. Usage: neoq_process [JOBS [CRASHES]]
 */
#include "bench.h"

#include <signal.h>
#include <sys/mman.h>

enum { HANDLERS = 2 };

static void *shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return need(memory == MAP_FAILED ? NULL : memory);
}

/* ---- jobs that do nothing ---------------------------------------------------------------- */

/* The goal is where both the children and this process see it. */
static double measure(goal *g, neoq_isolation isolation, uint64_t jobs)
{
    neoq *nq = open_store("memory:");
    memset(g, 0, sizeof *g);
    g->target = jobs;
    sem_init(&g->reached, 1, 0);
    fill_store(nq, NEOQ_UNIQUE_OFF, jobs, 1);
    const neoq_handler handler = {
        .queue = "bench", .handle = count_job, .arg = g, .concurrency = HANDLERS, .isolation = isolation};
    check(neoq_start(nq, &handler), "neoq_start");
    await_goal(g);
    neoq_close(nq);
    return (double)jobs * 1e9 / (double)(g->last_ns - g->first_ns);
}

static void measure_rates(uint64_t jobs)
{
    double processes[PASSES], threads[PASSES];
    goal *g = shared(sizeof *g);
    for (int i = 0; i < PASSES; i++) {
        processes[i] = measure(g, NEOQ_PROCESS, jobs);
        threads[i] = measure(g, NEOQ_THREAD, jobs);
    }
    printf("neoq_process_2_children_jobs_per_s %.0f\n", median(processes, PASSES));
    printf("neoq_process_2_threads_jobs_per_s %.0f\n", median(threads, PASSES));
    munmap(g, sizeof *g);
}

/* ---- crashes ----------------------------------------------------------------------------- */

typedef struct crash {
    sem_t ran; /* twice a crash */
    int64_t crashed_ns, next_ns, again_ns;
} crash;

static int crash_first(neoq_ctx *ctx, void *arg)
{
    crash *c = arg;
    const neoq_job *job = neoq_ctx_job(ctx);
    bool crashes = strcmp(job->payload, "crash") == 0;
    if (crashes && job->retries == 0) {
        c->crashed_ns = now_ns();
        raise(SIGKILL);
    }
    *(crashes ? &c->again_ns : &c->next_ns) = now_ns();
    sem_post(&c->ran);
    return NEOQ_OK;
}

static void measure_crashes(size_t count)
{
    double *next = need(calloc(count, sizeof *next)), *again = need(calloc(count, sizeof *again));
    const neoq_job jobs[] = {{.queue = "bench", .payload = "crash", .unique = NEOQ_UNIQUE_OFF},
                             {.queue = "bench", .payload = "next", .unique = NEOQ_UNIQUE_OFF}};
    neoq_enqueued results[2];
    crash *c = shared(sizeof *c);
    neoq *nq;
    check(neoq_open(&nq, "memory:", &(neoq_options){.log_level = NEOQ_LOG_ERROR}), "neoq_open");
    const neoq_handler handler = {
        .queue = "bench", .handle = crash_first, .arg = c, .concurrency = 1, .isolation = NEOQ_PROCESS};
    sem_init(&c->ran, 1, 0);
    check(neoq_start(nq, &handler), "neoq_start");
    for (size_t i = 0; i < count; i++) {
        check(neoq_enqueue_many(nq, jobs, 2, results), "neoq_enqueue_many");
        for (int ran = 0; ran < 2;)
            ran += sem_wait(&c->ran) == 0;
        next[i] = (double)(c->next_ns - c->crashed_ns) / 1e3;
        again[i] = (double)(c->again_ns - c->crashed_ns) / 1e3;
    }
    neoq_close(nq);
    print_latencies("neoq_process_crash_to_next", next, count);
    print_latencies("neoq_process_crash_to_retry", again, count);
    munmap(c, sizeof *c);
    free(next);
    free(again);
}

int main(int argc, char **argv)
{
    uint64_t jobs = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
    uint64_t crashes = argc > 2 ? strtoull(argv[2], NULL, 10) : 500;
    if (jobs == 0 || crashes == 0) {
        fputs("usage: neoq_process [JOBS [CRASHES]]\n", stderr);
        return 2;
    }
    measure_rates(jobs);
    measure_crashes(crashes);
    return 0;
}
