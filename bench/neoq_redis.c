/* SPDX-License-Identifier: MIT
 *
 * The Redis store's rates and its latency, to be held against raw_redis and asynq, and how much of a burden it is.
 * Usage: neoq_redis URL single [JOBS] | many [JOBS] | drain [JOBS] | wake [SAMPLES] | idle [SECONDS] | backlog [MOST]
 * All that this Redis has is deleted. backlog wants Redis 7.
 */
#include "redis.h"
#include "wake.h"

enum { CONCURRENCY = 4, THREADS = 16, THOUSAND = 1000 };

static const char *url;
static redisContext *conn; /* to clear the server, and to look at its statistics */

static const char *const unique_words[] = {[NEOQ_UNIQUE_ON] = "unique_on", [NEOQ_UNIQUE_OFF] = "unique_off"};

static neoq *open_empty(void)
{
    redis_clear(conn);
    return open_store(url);
}

/* ---- rates ------------------------------------------------------------------------------------- */

static double measure_single(neoq_unique unique, uint64_t jobs)
{
    neoq *nq = open_empty();
    fill_store(nq, unique, 1, 1); /* so that the queue is there, and the scripts */
    double rate = rate_of_singles(nq, unique, THREADS, jobs / THREADS);
    neoq_close(nq);
    return rate;
}

static double measure_many(neoq_unique unique, uint64_t jobs)
{
    neoq *nq = open_empty();
    int64_t start = now_ns();
    fill_store(nq, unique, jobs, 1);
    double rate = rate_of((double)jobs, start);
    neoq_close(nq);
    return rate;
}

static double measure_drain(neoq_unique unique, uint64_t jobs)
{
    neoq *nq = open_empty();
    fill_store(nq, unique, jobs, 1);
    double rate = rate_of_drain(nq, jobs, CONCURRENCY);
    neoq_close(nq);
    return rate;
}

/* With and without uniqueness in turn, so that a change of the machine's mood hits both. */
static void print_rates(const char *what, double (*measure)(neoq_unique, uint64_t), uint64_t jobs)
{
    static const neoq_unique uniques[] = {NEOQ_UNIQUE_ON, NEOQ_UNIQUE_OFF};
    double rates[2][PASSES];
    for (int pass = 0; pass < PASSES; pass++)
        for (int i = 0; i < 2; i++)
            rates[i][pass] = measure(uniques[i], jobs);
    for (int i = 0; i < 2; i++)
        printf("neoq_redis_%s_%s_jobs_per_s %.0f\n", unique_words[uniques[i]], what, median(rates[i], PASSES));
}

/* ---- idle: commands of a worker with nothing to do ----------------------------------------------- */

/* Those that scripts call are counted with the scripts that call them. A name may be "config|resetstat". */
static void print_commands(char *statistics, uint64_t seconds)
{
    char name[64], *rest;
    double calls, all = 0;
    for (char *line = strtok_r(statistics, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
        if (sscanf(line, "cmdstat_%63[^:]:calls=%lf", name, &calls) != 2 || strcmp(name, "info") == 0 ||
            strncmp(name, "config", 6) == 0)
            continue;
        all += calls;
        printf("neoq_redis_idle_%s_per_s %.3f\n", name, calls / (double)seconds);
    }
    printf("neoq_redis_idle_commands_per_s %.3f\n", all / (double)seconds);
}

static void print_idle(uint64_t seconds)
{
    goal g;
    set_goal(&g, 1);
    neoq *nq = open_empty();
    start_handler(nq, count_job, &g, CONCURRENCY);
    fill_store(nq, NEOQ_UNIQUE_ON, 1, 1);
    await_goal(&g);
    sleep(5);
    redis_do(conn, "CONFIG RESETSTAT");
    sleep((unsigned)seconds);
    redisReply *statistics = redis_checked(conn, redisCommand(conn, "INFO commandstats"), "INFO");
    print_commands(statistics->str, seconds);
    freeReplyObject(statistics);
    neoq_close(nq);
}

/* ---- backlog: the drain's rate with 10^4 jobs waiting, and with MOST ------------------------------ */

/* By the server's own account, which has all scripts in one. */
static double script_p99(void)
{
    return redis_info(conn, "latencystats", "latency_percentiles_usec_evalsha:", "p99=");
}

static void print_waiting(const char *amount, uint64_t waiting, uint64_t count, double *rate)
{
    neoq *nq = open_empty();
    redis_do(conn, "CONFIG RESETSTAT");
    fill_store(nq, NEOQ_UNIQUE_ON, waiting, 1);
    double filling = script_p99();
    redis_do(conn, "CONFIG RESETSTAT");
    *rate = rate_of_first(nq, count < waiting ? count : waiting, CONCURRENCY);
    if (amount)
        printf("neoq_redis_script_p99_us_filling_%s %.1f\nneoq_redis_script_p99_us_draining_%s %.1f\n", amount,
               filling, amount, script_p99());
    neoq_close(nq);
}

static void print_backlog(uint64_t most)
{
    enum { FEW = 10000, SLICES = 9 };
    double few[SLICES], many;
    for (int i = 0; i < SLICES; i++)
        print_waiting(i + 1 < SLICES ? NULL : "few", FEW, FEW, &few[i]);
    print_waiting("many", most, 100000, &many);
    printf("neoq_redis_drain_with_few_waiting_jobs_per_s %.0f\n", median(few, SLICES));
    printf("neoq_redis_drain_with_many_waiting_jobs_per_s %.0f\n", many);
}

/* ---------------------------------------------------------------------------------------------- */

static bool run(const char *what, uint64_t number)
{
    if (strcmp(what, "single") == 0 && number % THREADS == 0) {
        print_rates("single_16_threads", measure_single, number ? number : 80000);
    } else if (strcmp(what, "many") == 0 && number % THOUSAND == 0) {
        print_rates("enqueue_1000", measure_many, number ? number : 200000);
    } else if (strcmp(what, "drain") == 0) {
        print_rates("drain", measure_drain, number ? number : 100000);
    } else if (strcmp(what, "wake") == 0) {
        neoq *nq = open_empty();
        print_wakes(nq, url, "redis", number ? number : 500);
        neoq_close(nq);
    } else if (strcmp(what, "idle") == 0) {
        print_idle(number ? number : 20);
    } else if (strcmp(what, "backlog") == 0) {
        print_backlog(number ? number : 1000000);
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
    if (strcmp(what, "enqueue-child") == 0)
        return enqueue_in_child(url);
    conn = redis_own(url);
    if (!run(what, number)) {
        fputs("usage: neoq_redis URL single [JOBS (in sixteens)] | many [JOBS (in thousands)] | drain [JOBS] |"
              " wake [SAMPLES] | idle [SECONDS] | backlog [MOST]\n",
              stderr);
        return 2;
    }
    redis_clear(conn);
    redisFree(conn);
    return 0;
}
