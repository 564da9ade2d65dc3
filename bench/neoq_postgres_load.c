/* SPDX-License-Identifier: MIT
 *
 * What the PostgreSQL store's rates do under a burden, and how much of a burden it is to its server.
 * Usage: neoq_postgres_load URL backlog [MOST] | queues [JOBS] | pinned [SECONDS [JOBS A SECOND]] |
 *        others [SECONDS] | life [JOBS] | idle [SECONDS] | migrate [ROWS]
 * The schema neoq of that database is created anew, and removed at the end. pinned and idle want pg_stat_statements.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

enum { CONCURRENCY = 4, THOUSAND = 1000 };

static const char *url;
static PGconn *conn; /* for the schema, and to look at statistics */

/* ---- backlog: the drain's rate with 10^4 jobs waiting, and with MOST ------------------------------ */

static double rate_with_waiting(uint64_t waiting, uint64_t count)
{
    neoq *nq = open_fresh(conn, url);
    fill_store(nq, NEOQ_UNIQUE_ON, waiting, 1);
    sql_settle(conn);
    double rate = rate_of_first(nq, count < waiting ? count : waiting, CONCURRENCY);
    neoq_close(nq);
    return rate;
}

static void print_backlog(uint64_t most)
{
    enum { FEW = 10000, SLICES = 9 };
    double few[SLICES];
    for (int i = 0; i < SLICES; i++)
        few[i] = rate_with_waiting(FEW, FEW);
    printf("neoq_postgres_drain_with_%d_waiting_jobs_per_s %.0f\n", FEW, median(few, SLICES));
    printf("neoq_postgres_drain_with_many_waiting_jobs_per_s %.0f\n", rate_with_waiting(most, 100000));
}

/* ---- queues: a drain of one queue, and of a thousand ---------------------------------------------- */

static double rate_of_queues(uint64_t queues, uint64_t jobs)
{
    goal g;
    set_goal(&g, jobs);
    neoq *nq = open_fresh(conn, url);
    fill_store(nq, NEOQ_UNIQUE_ON, jobs, queues);
    sql_settle(conn);
    int64_t start = now_ns();
    for (uint64_t i = 0; i < queues; i++) {
        char name[32];
        snprintf(name, sizeof name, queues > 1 ? "bench-%u" : "bench", (unsigned)i);
        neoq_handler handler = {.queue = name,
                                .handle = count_job,
                                .arg = &g,
                                .concurrency = queues > 1 ? 1 : CONCURRENCY};
        check(neoq_start(nq, &handler), "neoq_start");
    }
    check(neoq_drain(nq, NEOQ_MINUTES(10)), "neoq_drain");
    double rate = rate_of((double)jobs, start);
    if (g.count != jobs)
        check(NEOQ_EFAILED, "the drain lost jobs");
    neoq_close(nq);
    return rate;
}

static void print_queues(uint64_t jobs)
{
    double one[PASSES], thousand[PASSES];
    for (int i = 0; i < PASSES; i++) {
        one[i] = rate_of_queues(1, jobs);
        thousand[i] = rate_of_queues(THOUSAND, jobs);
    }
    printf("neoq_postgres_drain_1_queue_jobs_per_s %.0f\n", median(one, PASSES));
    printf("neoq_postgres_drain_1000_queues_jobs_per_s %.0f\n", median(thousand, PASSES));
}

/* ---- a stream of jobs at a steady rate ------------------------------------------------------------ */

typedef struct stream {
    pthread_t thread;
    neoq *nq;
    uint64_t rate;
    atomic_uint_fast64_t sent;
    atomic_bool stop;
} stream;

/* A batch each 10 ms; what it falls behind it makes good. */
static void *send_stream(void *arg)
{
    enum { MOST = 1000 };
    stream *s = arg;
    static char payloads[MOST][sizeof PAYLOAD_67];
    static neoq_job jobs[MOST];
    int64_t start = now_ns();
    while (!s->stop) {
        uint64_t due = (uint64_t)((double)(now_ns() - start) * (double)s->rate / 1e9), count = due - s->sent;
        if (count > MOST)
            count = MOST;
        for (uint64_t i = 0; i < count; i++) {
            memcpy(payloads[i], PAYLOAD_67, sizeof PAYLOAD_67);
            number_payload(payloads[i], s->sent + i);
            jobs[i] = (neoq_job){.queue = "bench", .payload = payloads[i], .payload_size = sizeof PAYLOAD_67 - 1};
        }
        if (count > 0)
            check(neoq_enqueue_many(s->nq, jobs, count, NULL), "neoq_enqueue_many");
        s->sent += count;
        if (count < MOST)
            pause_ns(10000000);
    }
    return NULL;
}

/* ---- pinned: claims while a transaction holds a snapshot, and before ------------------------------ */

enum { LOOK = 10, BURST = 50000, BURSTS = 5 };

typedef struct claims {
    double calls, milliseconds;
} claims;

/* Calls of the statement that settles and claims, all in all. */
static claims claims_now(void)
{
    PGresult *result = sql_checked(
        conn,
        PQexec(conn, "SELECT coalesce(sum(calls), 0), coalesce(sum(total_exec_time), 0) FROM pg_stat_statements WHERE"
                     " query ~* '(exchange|claim)' AND query !~ 'pg_stat_statements'"),
        "pg_stat_statements");
    claims now = {strtod(PQgetvalue(result, 0, 0), NULL), strtod(PQgetvalue(result, 0, 1), NULL)};
    PQclear(result);
    return now;
}

/* The median, over tenths of a second, of a claim's mean time on the server. */
static double claim_ms(uint64_t seconds)
{
    double *windows = need(calloc(seconds * 10, sizeof *windows));
    size_t count = 0;
    claims last = claims_now();
    for (uint64_t i = 0; i < seconds * 10; i++) {
        pause_ns(100000000);
        claims now = claims_now();
        if (now.calls > last.calls)
            windows[count++] = (now.milliseconds - last.milliseconds) / (now.calls - last.calls);
        last = now;
    }
    double middle = count > 0 ? median(windows, count) : 0;
    free(windows);
    return middle;
}

/* How fast a burst of jobs on top of the stream is run: what counts is when as many as were sent have been run, but for
 * those of the last tenth of a second. `before`: what was sent beside the stream. */
static double burst_rate(neoq *nq, stream *s, goal *g, uint64_t before)
{
    check(neoq_pause(nq, "bench"), "neoq_pause");
    fill_store(s->nq, NEOQ_UNIQUE_OFF, BURST, 1);
    uint64_t started_with = g->count;
    int64_t start = now_ns();
    check(neoq_resume(nq, "bench"), "neoq_resume");
    while (before + BURST + s->sent > g->count + s->rate / 10)
        pause_ns(1000000);
    return rate_of((double)(g->count - started_with), start);
}

/* One lasts a few tenths of a second, in which anything may happen. before: jobs of earlier bursts. */
static double median_burst(neoq *nq, stream *s, goal *g, uint64_t before)
{
    double rates[BURSTS];
    for (uint64_t i = 0; i < BURSTS; i++)
        rates[i] = burst_rate(nq, s, g, before + i * BURST);
    return median(rates, BURSTS);
}

static void print_pinned(uint64_t seconds, uint64_t rate)
{
    goal g;
    set_goal(&g, 0);
    sql_do(conn, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    neoq *nq = open_fresh(conn, url);
    start_handler(nq, count_job, &g, CONCURRENCY);
    stream s = {.nq = open_store(url), .rate = rate};
    check(pthread_create(&s.thread, NULL, send_stream, &s), "pthread_create");
    sleep(2);
    double claim_before = claim_ms(LOOK), burst_before = median_burst(nq, &s, &g, 0);

    PGconn *pin = sql_connect(url);
    sql_do(pin, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    sql_number(pin, "SELECT 1");
    sleep((unsigned)(seconds > LOOK ? seconds - LOOK : 0));
    double claim_after = claim_ms(LOOK), burst_after = median_burst(nq, &s, &g, BURSTS * BURST);

    s.stop = true;
    pthread_join(s.thread, NULL);
    sql_do(pin, "ROLLBACK");
    PQfinish(pin);
    neoq_close(s.nq);
    neoq_close(nq);
    printf("neoq_postgres_claim_ms_at_%" PRIu64 " %.3f\n", rate, claim_before);
    printf("neoq_postgres_claim_ms_at_%" PRIu64 "_pinned %.3f\n", rate, claim_after);
    printf("neoq_postgres_drain_jobs_per_s_at_%" PRIu64 " %.0f\n", rate, burst_before);
    printf("neoq_postgres_drain_jobs_per_s_at_%" PRIu64 "_pinned %.0f\n", rate, burst_after);
}

/* ---- others: commits of other sessions while 64 clients enqueue ----------------------------------- */

enum { CLIENTS = 64, OTHERS = 4 };

typedef struct session {
    pthread_t thread;
    neoq *nq;
    PGconn *conn;
    uint64_t number, commits;
    atomic_bool *stop;
} session;

static void *commit_rows(void *arg)
{
    session *s = arg;
    while (!*s->stop) {
        sql_do(s->conn, "INSERT INTO bench_others(words) VALUES('a row of somebody else')");
        s->commits++;
    }
    return NULL;
}

/* A hundred a second each: the same burden whether its cost is high or low. */
static void *enqueue_steadily(void *arg)
{
    session *s = arg;
    char payload[] = PAYLOAD_67;
    int64_t next = now_ns();
    for (uint64_t i = 0; !*s->stop; i++) {
        number_payload(payload, s->number << 24 | i);
        check(neoq_enqueue(s->nq, &(neoq_job){.queue = "bench", .payload = payload}, NULL), "neoq_enqueue");
        next += 10000000;
        int64_t left = next - now_ns();
        if (left > 0)
            pause_ns(left);
    }
    return NULL;
}

/* What the library finds instead of libpq's: so its NOTIFY, and nothing else, can be taken away from it. */
static atomic_bool without_notify;
static atomic_uint notifications, taken_away;

int PQsendQuery(PGconn *to, const char *query)
{
    int (*send_query)(PGconn *, const char *) = (int (*)(PGconn *, const char *))dlsym(RTLD_NEXT, "PQsendQuery");
    if (strncmp(query, "NOTIFY", 6) == 0) {
        atomic_fetch_add(without_notify ? &taken_away : &notifications, 1);
        query = without_notify ? "RESET application_name" : query;
    }
    return send_query(to, query);
}

/* Somebody hears it, for it is notifications that are told to somebody which cost. */
static void *listen_only(void *arg)
{
    session *s = arg;
    sql_do(s->conn, "LISTEN neoq");
    while (!*s->stop) {
        PGnotify *notification;
        struct pollfd fd = {.fd = PQsocket(s->conn), .events = POLLIN};
        poll(&fd, 1, 100);
        PQconsumeInput(s->conn);
        while ((notification = PQnotifies(s->conn)))
            PQfreemem(notification);
    }
    return NULL;
}

static void start_sessions(session *sessions, int count, void *(*live)(void *), neoq *nq, atomic_bool *stop)
{
    for (int i = 0; i < count; i++) {
        sessions[i] = (session){.nq = nq, .conn = nq ? NULL : sql_connect(url), .number = (uint64_t)i, .stop = stop};
        check(pthread_create(&sessions[i].thread, NULL, live, &sessions[i]), "pthread_create");
    }
}

static uint64_t end_sessions(session *sessions, int count)
{
    uint64_t commits = 0;
    for (int i = 0; i < count; i++) {
        pthread_join(sessions[i].thread, NULL);
        PQfinish(sessions[i].conn);
        commits += sessions[i].commits;
    }
    return commits;
}

static double others_rate(bool notify, uint64_t seconds)
{
    session others[OTHERS], clients[CLIENTS], listener;
    atomic_bool stop = false, stop_others = false;
    neoq *nq = open_fresh(conn, url);
    without_notify = !notify;
    sql_do(conn, "DROP TABLE IF EXISTS bench_others");
    sql_do(conn, "CREATE TABLE bench_others(id bigserial PRIMARY KEY, words text)");
    start_sessions(&listener, 1, listen_only, NULL, &stop);
    start_sessions(clients, CLIENTS, enqueue_steadily, nq, &stop);
    sleep(1);
    start_sessions(others, OTHERS, commit_rows, NULL, &stop_others);
    sleep((unsigned)seconds);
    stop_others = true;
    uint64_t commits = end_sessions(others, OTHERS);
    stop = true;
    end_sessions(clients, CLIENTS);
    end_sessions(&listener, 1);
    neoq_close(nq);
    sql_do(conn, "DROP TABLE bench_others");
    return (double)commits / (double)seconds;
}

static void print_others(uint64_t seconds)
{
    double with[PASSES], without[PASSES];
    for (int i = 0; i < PASSES; i++) {
        with[i] = others_rate(true, seconds);
        without[i] = others_rate(false, seconds);
    }
    if (notifications == 0 || taken_away == 0)
        check(NEOQ_EFAILED, "no NOTIFY came by");
    printf("neoq_postgres_others_commits_per_s %.0f\n", median(with, PASSES));
    printf("neoq_postgres_others_commits_per_s_without_notify %.0f\n", median(without, PASSES));
}

/* ---- life: what a job costs the server from its enqueueing to its end ------------------------------ */

/* Row versions that became garbage in the schema. */
static double dead_tuples(void)
{
    sleep(2); /* sessions tell their counts late */
    return sql_number(conn, "SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE schemaname = 'neoq'");
}

static double wal_bytes(void)
{
    return sql_number(conn, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn");
}

static void print_life(neoq_unique unique, uint64_t jobs)
{
    goal g;
    set_goal(&g, jobs);
    neoq *nq = open_fresh(conn, url);
    double dead = dead_tuples(), wal = wal_bytes();
    fill_store(nq, unique, jobs, 1);
    double enqueued = wal_bytes();
    start_handler(nq, count_job, &g, CONCURRENCY);
    check(neoq_drain(nq, NEOQ_MINUTES(10)), "neoq_drain");
    double drained = wal_bytes();
    neoq_close(nq);
    const char *words = unique == NEOQ_UNIQUE_ON ? "on" : "off";
    printf("neoq_postgres_unique_%s_wal_bytes_enqueue %.0f\n", words, (enqueued - wal) / (double)jobs);
    printf("neoq_postgres_unique_%s_wal_bytes_run %.0f\n", words, (drained - enqueued) / (double)jobs);
    printf("neoq_postgres_unique_%s_dead_tuples %.3f\n", words, (dead_tuples() - dead) / (double)jobs);
}

/* ---- idle: statements of a worker with nothing to do ---------------------------------------------- */

static const char calls_sql[] = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d"
                                " ON d.oid = s.dbid WHERE datname = current_database()"
                                " AND query !~ 'pg_stat_statements'";

static void print_idle(uint64_t seconds)
{
    goal g;
    set_goal(&g, 1);
    sql_do(conn, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    neoq *nq = open_fresh(conn, url);
    start_handler(nq, count_job, &g, CONCURRENCY);
    fill_store(nq, NEOQ_UNIQUE_ON, 1, 1);
    await_goal(&g);
    sleep(5);
    double before = sql_number(conn, calls_sql);
    sleep((unsigned)seconds);
    double after = sql_number(conn, calls_sql);
    neoq_close(nq);
    printf("neoq_postgres_idle_queries_per_s %.3f\n", (after - before) / (double)seconds);
}

/* ---- migrate: the longest that an enqueue takes while the schema of a full table is changed --------- */

typedef struct writer {
    pthread_t thread;
    neoq *nq;
    atomic_bool stop;
    atomic_int_fast64_t longest_ns;
} writer;

/* One call after the other, until the schema is gone or it is told to stop. */
static void *write_on(void *arg)
{
    writer *w = arg;
    for (int status = NEOQ_OK; !w->stop && status == NEOQ_OK;) {
        int64_t start = now_ns();
        status = neoq_enqueue(w->nq, &(neoq_job){.queue = "writes", .unique = NEOQ_UNIQUE_OFF}, NULL);
        int64_t lasted = now_ns() - start;
        if (lasted > w->longest_ns)
            w->longest_ns = lasted;
    }
    return NULL;
}

/* From call to call of this: the longest of that time. */
static void print_longest(writer *w, const char *name)
{
    printf("neoq_postgres_migrate_%s_longest_enqueue_ms %.1f\n", name, (double)w->longest_ns / 1e6);
    fflush(stdout);
    w->longest_ns = 0;
}

/* What `neoq migrate print` writes, without the tables: all that a later version makes anew. */
typedef struct script {
    char *text;
    size_t size;
    int files;
} script;

static void add_line(const char *line, void *arg)
{
    script *s = arg;
    size_t size = strlen(line);
    s->files += strncmp(line, "-- SPDX", 7) == 0;
    if (s->files < 2 || strcmp(line, "COMMIT;") == 0)
        return;
    s->text = need(realloc(s->text, s->size + size + 2));
    memcpy(s->text + s->size, line, size);
    memcpy(s->text + s->size + size, "\n", 2);
    s->size += size + 1;
}

static void print_migrations(uint64_t rows)
{
    script anew = {0};
    writer w = {.nq = open_fresh(conn, url)};
    fill_store(w.nq, NEOQ_UNIQUE_ON, rows, 1);
    sql_settle(conn);
    check(neoq_migrate(url, NULL, NEOQ_MIGRATE_PRINT, add_line, &anew, NULL), "neoq_migrate");
    check(pthread_create(&w.thread, NULL, write_on, &w), "pthread_create");
    sleep(5);
    print_longest(&w, "no");
    for (int step = 0; step < 2; step++) {
        sql_do(conn, "BEGIN; SET LOCAL lock_timeout = 500");
        if (step)
            sql_do(conn,
                   "LOCK TABLE neoq.job, neoq.tally, neoq.ended, neoq.run, neoq.queue, neoq.worker, neoq.schedule;"
                   "ALTER TABLE neoq.job ADD COLUMN more text, ADD COLUMN less int NOT NULL DEFAULT 0");
        sql_do(conn, anew.text);
        sql_do(conn, "COMMIT");
        sleep(1);
        print_longest(&w, step ? "step" : "anew");
    }
    check(neoq_migrate(url, NULL, NEOQ_MIGRATE_DOWN_ANYWAY, NULL, NULL, NULL), "neoq_migrate");
    w.stop = true;
    pthread_join(w.thread, NULL);
    print_longest(&w, "down");
    neoq_close(w.nq);
    free(anew.text);
}

/* ---------------------------------------------------------------------------------------------- */

static bool run(const char *what, uint64_t number, const char *more)
{
    if (strcmp(what, "backlog") == 0) {
        print_backlog(number ? number : 10000000);
    } else if (strcmp(what, "queues") == 0) {
        print_queues(number ? number : 300000);
    } else if (strcmp(what, "pinned") == 0) {
        print_pinned(number ? number : 600, more ? strtoull(more, NULL, 10) : 1000);
    } else if (strcmp(what, "others") == 0) {
        print_others(number ? number : 10);
    } else if (strcmp(what, "life") == 0) {
        print_life(NEOQ_UNIQUE_ON, number ? number : 100000);
        print_life(NEOQ_UNIQUE_OFF, number ? number : 100000);
    } else if (strcmp(what, "idle") == 0) {
        print_idle(number ? number : 60);
    } else if (strcmp(what, "migrate") == 0) {
        print_migrations(number ? number : 10000000);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    url = argc > 1 ? argv[1] : "";
    conn = sql_connect(url);
    if (!run(argc > 2 ? argv[2] : "", argc > 3 ? strtoull(argv[3], NULL, 10) : 0, argc > 4 ? argv[4] : NULL)) {
        fputs("usage: neoq_postgres_load URL backlog [MOST] | queues [JOBS] | pinned [SECONDS [JOBS A SECOND]] |"
              " others [SECONDS] | life [JOBS] | idle [SECONDS] | migrate [ROWS]\n",
              stderr);
        return 2;
    }
    sql_do(conn, "DROP SCHEMA IF EXISTS neoq CASCADE");
    PQfinish(conn);
    return 0;
}
