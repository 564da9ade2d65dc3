/* SPDX-License-Identifier: MIT
 *
 * The SQLite store at synchronous=FULL, to be held against raw_sqlite.
 * Usage: neoq_sqlite FILE bulk [ROWS] | single [JOBS] | wake [SAMPLES] | turns [PROCESSES]
 * FILE is created anew and removed at the end.
 */
#include "bench.h"

#include <inttypes.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 1000, THREADS = 16, CONCURRENCY = 4 };

static const char *file;
static char url[4096 + 8];

static const char *const unique_words[] = {[NEOQ_UNIQUE_ON] = "unique_on", [NEOQ_UNIQUE_OFF] = "unique_off"};

static void remove_files(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char path[4096 + 8];
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        snprintf(path, sizeof path, "%s%s", file, suffixes[i]);
        unlink(path);
    }
}

/* ---- bulk: neoq_enqueue_many() by a thousand, and running all that was enqueued before ------- */

static double measure_fill(neoq *nq, neoq_unique unique, uint64_t rows)
{
    int64_t start = now_ns();
    fill_store(nq, unique, rows, 1);
    return rate_of((double)rows, start);
}

static double measure_drain(neoq *nq, uint64_t rows)
{
    goal g;
    set_goal(&g, rows);
    int64_t start = now_ns();
    start_handler(nq, count_job, &g, CONCURRENCY);
    check(neoq_drain(nq, NEOQ_MINUTES(10)), "neoq_drain");
    double rate = rate_of((double)rows, start);
    if (g.count != rows)
        check(NEOQ_EFAILED, "the drain lost jobs");
    return rate;
}

static void print_bulk(neoq_unique unique, uint64_t rows)
{
    double fills[PASSES], drains[PASSES];
    for (int i = 0; i < PASSES; i++) {
        remove_files();
        neoq *nq = open_store(url);
        fills[i] = measure_fill(nq, unique, rows);
        drains[i] = measure_drain(nq, rows);
        neoq_close(nq);
    }
    printf("neoq_sqlite_%s_enqueue_1000_rows_per_s %.0f\n", unique_words[unique], median(fills, PASSES));
    printf("neoq_sqlite_%s_drain_rows_per_s %.0f\n", unique_words[unique], median(drains, PASSES));
}

/* ---- single: neoq_enqueue(), a job and a commit at a time ------------------------------------ */

static double measure_singles(neoq_unique unique, uint64_t threads, uint64_t jobs)
{
    remove_files();
    neoq *nq = open_store(url);
    double rate = rate_of_singles(nq, unique, threads, jobs);
    neoq_close(nq);
    return rate;
}

/* The two take turns, so that a change of the machine's mood hits both. */
static void print_singles(neoq_unique unique, uint64_t jobs)
{
    double ones[PASSES], many[PASSES];
    for (int i = 0; i < PASSES; i++) {
        ones[i] = measure_singles(unique, 1, jobs);
        many[i] = measure_singles(unique, THREADS, jobs);
    }
    printf("neoq_sqlite_%s_single_1_thread_jobs_per_s %.0f\n", unique_words[unique], median(ones, PASSES));
    printf("neoq_sqlite_%s_single_16_threads_jobs_per_s %.0f\n", unique_words[unique], median(many, PASSES));
}

/* ---- wake: from a call in another process to the handler's start, the worker asleep ---------- */

typedef struct arrivals {
    double *micros;
    size_t count, room;
    sem_t all;
} arrivals;

static int note_arrival(neoq_ctx *ctx, void *arg)
{
    arrivals *a = arg;
    int64_t now = now_ns(), sent = strtoll(neoq_ctx_job(ctx)->payload, NULL, 10);
    a->micros[a->count++] = (double)(now - sent) / 1e3;
    if (a->count == a->room)
        sem_post(&a->all);
    return NEOQ_OK;
}

/* The other process: the payload tells when it called. Pauses of 20 to 80 ms keep in step with no timer. */
static int enqueue_clock(uint64_t samples)
{
    neoq *nq = open_store(url);
    for (uint64_t i = 0; i < samples; i++) {
        char payload[32];
        pause_ns(20000000 + (long)(i * 7919 % 61) * 1000000);
        snprintf(payload, sizeof payload, "%" PRId64, now_ns());
        check(neoq_enqueue(nq, &(neoq_job){.queue = "bench", .payload = payload}, NULL), "neoq_enqueue");
    }
    neoq_close(nq);
    return 0;
}

static void print_wake(uint64_t samples)
{
    char number[24];
    int status = 1;
    arrivals a = {.micros = need(calloc(samples, sizeof *a.micros)), .room = samples};
    sem_init(&a.all, 0, 0);
    remove_files();
    neoq *nq = open_store(url);
    start_handler(nq, note_arrival, &a, 1);
    snprintf(number, sizeof number, "%" PRIu64, samples);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "neoq_sqlite", file, "enqueue-clock", number, (char *)NULL);
        _exit(127);
    }
    waitpid(child, &status, 0);
    check(status == 0 ? NEOQ_OK : NEOQ_EFAILED, "the other process");
    while (sem_wait(&a.all) != 0)
        ;
    neoq_close(nq);
    print_latencies("neoq_sqlite_wake", a.micros, samples);
    free(a.micros);
}

/* ---- turns: processes that enqueue singly without a pause, and the longest that any waited --- */

enum { TURNS_S = 4 };

typedef struct turns {
    uint64_t calls;
    int64_t longest; /* ns */
} turns;

static void take_turns(turns *t)
{
    neoq *nq = open_store(url);
    int64_t end = now_ns() + TURNS_S * INT64_C(1000000000);
    for (int64_t began = now_ns(); began < end;) {
        check(neoq_enqueue(nq, &(neoq_job){.queue = "bench", .unique = NEOQ_UNIQUE_OFF}, NULL), "neoq_enqueue");
        int64_t ended = now_ns();
        t->longest = ended - began > t->longest ? ended - began : t->longest;
        t->calls++;
        began = ended;
    }
    neoq_close(nq);
}

static void print_turns(uint64_t processes)
{
    size_t size = processes * sizeof(turns);
    turns *all = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), sum = {0};
    check(all != MAP_FAILED ? NEOQ_OK : NEOQ_ENOMEM, "mmap");
    remove_files();
    for (uint64_t i = 0; i < processes; i++)
        if (fork() == 0) {
            take_turns(&all[i]);
            _exit(0);
        }
    for (uint64_t i = 0; i < processes; i++) {
        int status = 1;
        check(wait(&status) > 0 && status == 0 ? NEOQ_OK : NEOQ_EFAILED, "a process");
    }
    for (uint64_t i = 0; i < processes; i++) {
        sum.calls += all[i].calls;
        sum.longest = all[i].longest > sum.longest ? all[i].longest : sum.longest;
    }
    munmap(all, size);
    printf("neoq_sqlite_%" PRIu64 "_processes_jobs_per_s %.0f\n", processes, (double)sum.calls / TURNS_S);
    printf("neoq_sqlite_%" PRIu64 "_processes_longest_ms %.0f\n", processes, (double)sum.longest / 1e6);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "";
    uint64_t number = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    file = argc > 1 ? argv[1] : "";
    snprintf(url, sizeof url, "sqlite:%s", file);
    if (strcmp(what, "enqueue-clock") == 0)
        return enqueue_clock(number);
    if (strcmp(what, "bulk") == 0 && number % BATCH == 0) {
        print_bulk(NEOQ_UNIQUE_OFF, number ? number : 200000);
        print_bulk(NEOQ_UNIQUE_ON, number ? number : 200000);
    } else if (strcmp(what, "single") == 0) {
        print_singles(NEOQ_UNIQUE_OFF, number ? number : 1000);
        print_singles(NEOQ_UNIQUE_ON, number ? number : 1000);
    } else if (strcmp(what, "wake") == 0) {
        print_wake(number ? number : 200);
    } else if (strcmp(what, "turns") == 0) {
        print_turns(number ? number : 8);
    } else {
        fputs("usage: neoq_sqlite FILE bulk [ROWS (in thousands)] | single [JOBS] | wake [SAMPLES] | turns "
              "[PROCESSES]\n",
              stderr);
        return 2;
    }
    remove_files();
    return 0;
}
