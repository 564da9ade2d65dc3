/* SPDX-License-Identifier: MIT
 *
 * The PostgreSQL store's rates and its latency, to be held against raw_postgres.
 * Usage: neoq_postgres URL single [JOBS] | many [ROWS] | drain [JOBS] | wake [SAMPLES]
 * The schema neoq of that database is created anew, and removed at the end.
 */
#include "postgres.h"
#include "wake.h"

enum { BATCH = 1000, MOST_THREADS = 64, CONCURRENCY = 4, WORKERS = 2 };

static const char *url;
static PGconn *conn; /* for the schema */

static const char *const unique_words[] = {[NEOQ_UNIQUE_ON] = "unique_on", [NEOQ_UNIQUE_OFF] = "unique_off"};

/* ---- single: neoq_enqueue(), a job a call ------------------------------------------------------ */

static double measure_singles(neoq_unique unique, uint64_t threads, uint64_t jobs)
{
    neoq *nq = open_fresh(conn, url);
    fill_store(nq, unique, 1, 1); /* so that the queue is there */
    double rate = rate_of_singles(nq, unique, threads, jobs / threads);
    neoq_close(nq);
    return rate;
}

/* Those of different numbers of threads take turns, so that a change of the machine's mood hits all. */
static void print_singles(neoq_unique unique, uint64_t jobs)
{
    static const uint64_t threads[] = {1, 16, MOST_THREADS};
    enum { COUNT = sizeof threads / sizeof threads[0] };
    double rates[COUNT][PASSES];
    for (int pass = 0; pass < PASSES; pass++)
        for (int i = 0; i < COUNT; i++)
            rates[i][pass] = measure_singles(unique, threads[i], threads[i] == 1 ? jobs / 8 : jobs);
    for (int i = 0; i < COUNT; i++)
        printf("neoq_postgres_%s_single_%" PRIu64 "_threads_jobs_per_s %.0f\n", unique_words[unique], threads[i],
               median(rates[i], PASSES));
}

/* ---- many: neoq_enqueue_many() by a thousand, one thread ---------------------------------------- */

static void print_many(neoq_unique unique, uint64_t rows)
{
    double rates[PASSES];
    for (int i = 0; i < PASSES; i++) {
        neoq *nq = open_fresh(conn, url);
        int64_t start = now_ns();
        fill_store(nq, unique, rows, 1);
        rates[i] = rate_of((double)rows, start);
        neoq_close(nq);
    }
    printf("neoq_postgres_%s_enqueue_1000_rows_per_s %.0f\n", unique_words[unique], median(rates, PASSES));
}

/* ---- drain: jobs that do nothing, by this process and by two others ------------------------------ */

static double measure_drain(neoq_unique unique, uint64_t jobs)
{
    neoq *nq = open_fresh(conn, url);
    fill_store(nq, unique, jobs, 1);
    double rate = rate_of_drain(nq, jobs, CONCURRENCY);
    neoq_close(nq);
    return rate;
}

/* Another process: says that it is there, waits for the start, drains, and says how many it ran and when it was done. */
static int drain_in_child(uint64_t jobs)
{
    goal g;
    set_goal(&g, jobs);
    neoq *nq = open_store(url);
    puts("there");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    start_handler(nq, count_job, &g, CONCURRENCY);
    check(neoq_drain(nq, NEOQ_MINUTES(10)), "neoq_drain");
    printf("%" PRIu64 " %" PRId64 "\n", (uint64_t)g.count, now_ns());
    neoq_close(nq);
    return 0;
}

static double measure_drain_of_two(neoq_unique unique, uint64_t jobs)
{
    child children[WORKERS];
    char line[32];
    uint64_t ran, total = 0;
    int64_t done, last = 0;
    neoq *nq = open_fresh(conn, url);
    fill_store(nq, unique, jobs, 1);
    neoq_close(nq);
    for (int i = 0; i < WORKERS; i++) {
        children[i] = start_child(url, "drain-child", jobs);
        need(fgets(line, sizeof line, children[i].from));
    }
    int64_t start = now_ns();
    for (int i = 0; i < WORKERS; i++) {
        fputc('\n', children[i].to);
        fflush(children[i].to);
    }
    for (int i = 0; i < WORKERS; i++) {
        if (fscanf(children[i].from, "%" SCNu64 " %" SCNd64, &ran, &done) != 2)
            check(NEOQ_EFAILED, "the other process");
        total += ran;
        last = done > last ? done : last;
        end_child(&children[i]);
    }
    if (total != jobs)
        check(NEOQ_EFAILED, "the drain of two lost jobs");
    return (double)jobs * 1e9 / (double)(last - start);
}

static void print_drains(neoq_unique unique, uint64_t jobs)
{
    double ones[PASSES], twos[PASSES];
    for (int i = 0; i < PASSES; i++) {
        ones[i] = measure_drain(unique, jobs);
        twos[i] = measure_drain_of_two(unique, jobs);
    }
    printf("neoq_postgres_%s_drain_jobs_per_s %.0f\n", unique_words[unique], median(ones, PASSES));
    printf("neoq_postgres_%s_drain_2_processes_jobs_per_s %.0f\n", unique_words[unique], median(twos, PASSES));
}

/* ---------------------------------------------------------------------------------------------- */

static bool run(const char *what, uint64_t number)
{
    if (strcmp(what, "single") == 0) {
        print_singles(NEOQ_UNIQUE_ON, number ? number : 40000);
        print_singles(NEOQ_UNIQUE_OFF, number ? number : 40000);
    } else if (strcmp(what, "many") == 0 && number % BATCH == 0) {
        print_many(NEOQ_UNIQUE_ON, number ? number : 200000);
        print_many(NEOQ_UNIQUE_OFF, number ? number : 200000);
    } else if (strcmp(what, "drain") == 0) {
        print_drains(NEOQ_UNIQUE_ON, number ? number : 100000);
        print_drains(NEOQ_UNIQUE_OFF, number ? number : 100000);
    } else if (strcmp(what, "wake") == 0) {
        neoq *nq = open_fresh(conn, url);
        print_wakes(nq, url, "postgres", number ? number : 500);
        neoq_close(nq);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "";
    uint64_t number = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    url = argc > 1 ? argv[1] : "";
    if (strcmp(what, "drain-child") == 0)
        return drain_in_child(number);
    if (strcmp(what, "enqueue-child") == 0)
        return enqueue_in_child(url);
    conn = sql_connect(url);
    if (!run(what, number)) {
        fputs("usage: neoq_postgres URL single [JOBS] | many [ROWS (in thousands)] | drain [JOBS] | wake [SAMPLES]\n",
              stderr);
        return 2;
    }
    sql_do(conn, "DROP SCHEMA IF EXISTS neoq CASCADE");
    PQfinish(conn);
    return 0;
}
