/* SPDX-License-Identifier: MIT
 *
 * The memory store, to be held against raw_memory.
 * Usage: neoq_memory throughput [JOBS] | latency [SAMPLES] | bytes [JOBS] | cost [MOST]
 */
#include "bench.h"

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const unique_words[] = {[NEOQ_UNIQUE_ON] = "unique_on", [NEOQ_UNIQUE_OFF] = "unique_off"};

static void enqueue(neoq *nq, neoq_unique unique, uint64_t from, uint64_t to)
{
    char payload[] = PAYLOAD_64;
    const neoq_job job = {.queue = "bench", .payload = payload, .payload_size = 64, .unique = unique};
    for (uint64_t i = from; i < to; i++) {
        number_payload(payload, i);
        check(neoq_enqueue(nq, &job, NULL), "neoq_enqueue");
    }
}

/* ---- throughput: enqueued one at a time by one thread while they are run --------------------- */

static double measure_throughput(neoq_unique unique, int concurrency, uint64_t jobs)
{
    goal g;
    set_goal(&g, jobs);
    neoq *nq = open_store("memory:");
    start_handler(nq, count_job, &g, concurrency);
    int64_t start = now_ns();
    enqueue(nq, unique, 0, jobs);
    await_goal(&g);
    double rate = (double)jobs * 1e9 / (double)(now_ns() - start);
    neoq_close(nq);
    return rate;
}

static void print_throughput(uint64_t jobs)
{
    static const int concurrencies[] = {4, 2, 1};
    for (size_t c = 0; c < sizeof concurrencies / sizeof concurrencies[0]; c++)
        for (neoq_unique unique = NEOQ_UNIQUE_ON; unique <= NEOQ_UNIQUE_OFF; unique++) {
            double rates[PASSES];
            for (int i = 0; i < PASSES; i++)
                rates[i] = measure_throughput(unique, concurrencies[c], jobs);
            printf("neoq_memory_%s_c%d_jobs_per_s %.0f\n", unique_words[unique], concurrencies[c],
                   median(rates, PASSES));
        }
}

/* ---- latency: from the call to the handler's start, one job at a time, the worker asleep ----- */

typedef struct arrivals {
    int64_t *sent_ns;
    double *micros;
    size_t count, samples;
    sem_t all;
} arrivals;

static int note_arrival(neoq_ctx *ctx, void *arg)
{
    int64_t now = now_ns();
    (void)ctx;
    arrivals *a = arg;
    a->micros[a->count] = (double)(now - a->sent_ns[a->count]) / 1e3;
    if (++a->count == a->samples)
        sem_post(&a->all);
    return NEOQ_OK;
}

static void print_latency(neoq_unique unique, size_t samples)
{
    char name[64];
    arrivals a = {.sent_ns = need(calloc(samples, sizeof *a.sent_ns)),
                  .micros = need(calloc(samples, sizeof *a.micros)),
                  .samples = samples};
    sem_init(&a.all, 0, 0);
    neoq *nq = open_store("memory:");
    start_handler(nq, note_arrival, &a, 1);
    for (size_t i = 0; i < samples; i++) {
        pause_ns(1000000);
        a.sent_ns[i] = now_ns();
        enqueue(nq, unique, i, i + 1);
    }
    while (sem_wait(&a.all) != 0)
        ;
    neoq_close(nq);
    snprintf(name, sizeof name, "neoq_memory_%s_latency", unique_words[unique]);
    print_latencies(name, a.micros, samples);
    free(a.sent_ns);
    free(a.micros);
}

/* ---- bytes: what a waiting job takes beside its payload -------------------------------------- */

static double resident(void)
{
    long size, pages = 0;
    FILE *file = need(fopen("/proc/self/statm", "r"));
    if (fscanf(file, "%ld %ld", &size, &pages) != 2)
        check(NEOQ_EBACKEND, "/proc/self/statm");
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* In a process of its own, so that no freed memory is there to be used again. */
static void print_bytes(neoq_unique unique, uint64_t jobs)
{
    enum { STEPS = 20 };
    double worst = 0, now = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child > 0) {
        int status;
        waitpid(child, &status, 0);
        check(status == 0 ? NEOQ_OK : NEOQ_EFAILED, "bytes");
        return;
    }
    neoq *nq = open_store("memory:");
    enqueue(nq, unique, 0, 1);
    malloc_trim(0);
    double before = resident();
    for (uint64_t i = 1; i <= STEPS; i++) {
        enqueue(nq, unique, 1 + jobs * (i - 1) / STEPS, 1 + jobs * i / STEPS);
        now = (resident() - before) / ((double)jobs * (double)i / STEPS) - 64;
        worst = now > worst ? now : worst;
    }
    printf("neoq_memory_%s_bytes_a_job %.0f\n", unique_words[unique], now);
    printf("neoq_memory_%s_bytes_a_job_worst %.0f\n", unique_words[unique], worst);
    fflush(stdout);
    _exit(0);
}

/* ---- cost: of a job, by how many wait -------------------------------------------------------- */

static void print_cost(neoq_unique unique, uint64_t waiting)
{
    uint64_t times = waiting >= 200000 ? 1 : 200000 / waiting;
    int64_t filling = 0, draining = 0;
    for (uint64_t i = 0; i < times; i++) {
        goal g;
        set_goal(&g, waiting);
        neoq *nq = open_store("memory:");
        int64_t start = now_ns();
        enqueue(nq, unique, 0, waiting);
        filling += now_ns() - start;
        start_handler(nq, count_job, &g, 1);
        await_goal(&g);
        draining += g.last_ns - g.first_ns;
        neoq_close(nq);
    }
    double jobs = (double)(waiting * times);
    printf("neoq_memory_%s_enqueue_ns_at_%llu %.0f\n", unique_words[unique], (unsigned long long)waiting,
           (double)filling / jobs);
    printf("neoq_memory_%s_drain_ns_at_%llu %.0f\n", unique_words[unique], (unsigned long long)waiting,
           (double)draining / jobs);
    printf("neoq_memory_%s_cost_ns_at_%llu %.0f\n", unique_words[unique], (unsigned long long)waiting,
           (double)(filling + draining) / jobs);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    uint64_t number = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (strcmp(what, "throughput") == 0) {
        print_throughput(number ? number : 500000);
    } else if (strcmp(what, "latency") == 0) {
        print_latency(NEOQ_UNIQUE_OFF, number ? (size_t)number : 2000);
        print_latency(NEOQ_UNIQUE_ON, number ? (size_t)number : 2000);
    } else if (strcmp(what, "bytes") == 0) {
        print_bytes(NEOQ_UNIQUE_OFF, number ? number : 1000000);
        print_bytes(NEOQ_UNIQUE_ON, number ? number : 1000000);
    } else if (strcmp(what, "cost") == 0) {
        for (uint64_t waiting = 1000; waiting <= (number ? number : 10000000); waiting *= 10) {
            print_cost(NEOQ_UNIQUE_OFF, waiting);
            print_cost(NEOQ_UNIQUE_ON, waiting);
        }
    } else {
        fputs("usage: neoq_memory throughput [JOBS] | latency [SAMPLES] | bytes [JOBS] | cost [MOST]\n", stderr);
        return 2;
    }
    return 0;
}
