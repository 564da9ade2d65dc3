/* SPDX-License-Identifier: MIT
 *
 * The limits the PostgreSQL store is measured against: the least that a jobs table can do, by prepared statements.
 * Usage: raw_postgres URL insert [ROWS] | many [ROWS] | drain [ROWS] | notify [SAMPLES]
 * The table raw_jobs is created anew and removed at the end.
 */
#include "postgres.h"
#include "process.h"

#include <poll.h>
#include <pthread.h>

enum { BATCH = 1000, CONNECTIONS = 16, THREADS = 2, EACH = CONNECTIONS / THREADS };

static const char *url;

static PGconn *make_table(void)
{
    PGconn *conn = sql_connect(url);
    sql_do(conn, "DROP TABLE IF EXISTS raw_jobs");
    sql_do(conn, "CREATE TABLE raw_jobs(id bigserial PRIMARY KEY, queue text NOT NULL, payload jsonb NOT NULL,"
                 " status smallint NOT NULL DEFAULT 0, run_after timestamptz NOT NULL DEFAULT now())");
    sql_do(conn, "CREATE INDEX raw_ready ON raw_jobs(queue, run_after, id) WHERE status = 0");
    sql_settle(conn);
    return conn;
}

static void remove_table(PGconn *conn)
{
    sql_do(conn, "DROP TABLE raw_jobs");
    PQfinish(conn);
}

/* ---- insert: a row and a commit at a time, 16 connections of two threads --------------------- */

typedef struct inserter {
    pthread_t thread;
    PGconn *conns[EACH];
    uint64_t sent, received, rows;
} inserter;

static const char insert_sql[] = "INSERT INTO raw_jobs(queue, payload) VALUES('bench', $1)";

static void send_insert(inserter *in, PGconn *conn)
{
    char payload[] = PAYLOAD_67;
    const char *values[] = {payload};
    if (in->sent == in->rows)
        return;
    number_payload(payload, in->sent++);
    if (!PQsendQueryPrepared(conn, "insert", 1, values, NULL, NULL, 0) || PQflush(conn) != 0)
        sql_failed(conn, insert_sql);
}

static void receive_insert(inserter *in, PGconn *conn)
{
    PGresult *result;
    if (!PQconsumeInput(conn))
        sql_failed(conn, insert_sql);
    while (!PQisBusy(conn)) {
        if ((result = PQgetResult(conn))) {
            PQclear(sql_checked(conn, result, insert_sql));
            continue;
        }
        in->received++;
        send_insert(in, conn);
        return;
    }
}

static void *insert_rows(void *arg)
{
    inserter *in = arg;
    struct pollfd fds[EACH];
    for (int i = 0; i < EACH; i++) {
        fds[i] = (struct pollfd){.fd = PQsocket(in->conns[i]), .events = POLLIN};
        send_insert(in, in->conns[i]);
    }
    while (in->received < in->rows) {
        poll(fds, EACH, -1);
        for (int i = 0; i < EACH; i++)
            if (fds[i].revents != 0)
                receive_insert(in, in->conns[i]);
    }
    return NULL;
}

static double measure_insert(uint64_t rows)
{
    PGconn *conn = make_table();
    inserter inserters[THREADS];
    for (int t = 0; t < THREADS; t++) {
        inserters[t] = (inserter){.rows = rows / THREADS};
        for (int i = 0; i < EACH; i++) {
            inserters[t].conns[i] = sql_connect(url);
            sql_prepare(inserters[t].conns[i], "insert", insert_sql);
        }
    }
    int64_t start = now_ns();
    for (int t = 0; t < THREADS; t++)
        check(pthread_create(&inserters[t].thread, NULL, insert_rows, &inserters[t]), "pthread_create");
    for (int t = 0; t < THREADS; t++)
        pthread_join(inserters[t].thread, NULL);
    double rate = rate_of((double)(rows / THREADS * THREADS), start);
    for (int t = 0; t < THREADS; t++)
        for (int i = 0; i < EACH; i++)
            PQfinish(inserters[t].conns[i]);
    remove_table(conn);
    return rate;
}

/* ---- many: a thousand rows a statement, one connection ---------------------------------------- */

/* "{"..."}" of a thousand JSON texts. */
static void write_array(char *array, uint64_t first)
{
    char payload[] = PAYLOAD_67, *to = array;
    *to++ = '{';
    for (uint64_t i = 0; i < BATCH; i++) {
        number_payload(payload, first + i);
        *to++ = '"';
        for (const char *from = payload; *from; from++) {
            if (*from == '"')
                *to++ = '\\';
            *to++ = *from;
        }
        *to++ = '"';
        *to++ = i + 1 < BATCH ? ',' : '}';
    }
    *to = '\0';
}

static double fill(PGconn *conn, uint64_t rows)
{
    static char array[BATCH * 2 * sizeof PAYLOAD_67];
    const char *values[] = {array};
    sql_prepare(conn, "many", "INSERT INTO raw_jobs(queue, payload) SELECT 'bench', unnest($1::jsonb[])");
    int64_t start = now_ns();
    for (uint64_t done = 0; done < rows; done += BATCH) {
        write_array(array, done);
        PQclear(sql_checked(conn, PQexecPrepared(conn, "many", 1, values, NULL, NULL, 0), "INSERT by a thousand"));
    }
    return rate_of((double)rows, start);
}

static double measure_many(uint64_t rows)
{
    PGconn *conn = make_table();
    double rate = fill(conn, rows);
    remove_table(conn);
    return rate;
}

/* ---- drain: claim a thousand, delete a thousand, two connections -------------------------------- */

typedef struct drainer {
    pthread_t thread;
    PGconn *conn;
    uint64_t rows;
} drainer;

static const char claim_sql[] =
    "UPDATE raw_jobs SET status = 1 WHERE id IN (SELECT id FROM raw_jobs WHERE queue = 'bench'"
    " AND status = 0 AND run_after <= now() ORDER BY run_after, id LIMIT $1"
    " FOR UPDATE SKIP LOCKED) RETURNING id, payload";
static const char delete_sql[] = "DELETE FROM raw_jobs WHERE id = ANY($1)";

/* The ids of a claim as an array. */
static void write_ids(char *array, const PGresult *claimed)
{
    char *to = array;
    for (int i = 0; i < PQntuples(claimed); i++)
        to += sprintf(to, "%c%s", i == 0 ? '{' : ',', PQgetvalue(claimed, i, 0));
    strcpy(to, "}");
}

static void *drain_rows(void *arg)
{
    drainer *d = arg;
    char array[BATCH * 21 + 2];
    const char *batch[] = {"1000"}, *ids[] = {array};
    for (;;) {
        PGresult *claimed =
            sql_checked(d->conn, PQexecPrepared(d->conn, "claim", 1, batch, NULL, NULL, 0), claim_sql);
        int count = PQntuples(claimed);
        write_ids(array, claimed);
        PQclear(claimed);
        if (count == 0)
            return NULL;
        PQclear(sql_checked(d->conn, PQexecPrepared(d->conn, "delete", 1, ids, NULL, NULL, 0), delete_sql));
        d->rows += (uint64_t)count;
    }
}

static double measure_drain(uint64_t rows)
{
    PGconn *conn = make_table();
    drainer drainers[2];
    fill(conn, rows);
    sql_do(conn, "ANALYZE raw_jobs"); /* else the plan may be one of an empty table */
    for (int i = 0; i < 2; i++) {
        drainers[i] = (drainer){.conn = sql_connect(url)};
        sql_prepare(drainers[i].conn, "claim", claim_sql);
        sql_prepare(drainers[i].conn, "delete", delete_sql);
    }
    int64_t start = now_ns();
    for (int i = 0; i < 2; i++)
        check(pthread_create(&drainers[i].thread, NULL, drain_rows, &drainers[i]), "pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(drainers[i].thread, NULL);
    double rate = rate_of((double)rows, start);
    if (drainers[0].rows + drainers[1].rows != rows)
        check(NEOQ_EFAILED, "the drain lost rows");
    for (int i = 0; i < 2; i++)
        PQfinish(drainers[i].conn);
    remove_table(conn);
    return rate;
}

/* ---- notify: from the call of an INSERT that notifies to the row that the listener has claimed --- */

static const char notify_sql[] = "WITH i AS (INSERT INTO raw_jobs(queue, payload) VALUES('bench', $1) RETURNING id)"
                                 " SELECT pg_notify('raw_jobs', id::text) FROM i";
static const char claim_one_sql[] = "UPDATE raw_jobs SET status = 1 WHERE id = (SELECT id FROM raw_jobs WHERE"
                                    " queue = 'bench' AND status = 0 AND run_after <= now() ORDER BY run_after, id"
                                    " LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, payload";

typedef struct listener {
    pthread_t thread;
    PGconn *conn;
    uint64_t samples;
    double *micros;
    sem_t claimed;
} listener;

static void await_notification(PGconn *conn)
{
    PGnotify *notification;
    while (!(notification = PQnotifies(conn))) {
        struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};
        poll(&fd, 1, -1);
        if (!PQconsumeInput(conn))
            sql_failed(conn, "LISTEN");
    }
    PQfreemem(notification);
}

/* The payload tells when it was called. */
static void *listen_and_claim(void *arg)
{
    listener *l = arg;
    for (uint64_t i = 0; i < l->samples; i++) {
        await_notification(l->conn);
        PGresult *claimed =
            sql_checked(l->conn, PQexecPrepared(l->conn, "claim", 0, NULL, NULL, NULL, 0), claim_one_sql);
        if (PQntuples(claimed) != 1)
            check(NEOQ_EFAILED, "a notification without a row");
        l->micros[i] = (double)(now_ns() - strtoll(PQgetvalue(claimed, 0, 1), NULL, 10)) / 1e3;
        PQclear(claimed);
        sem_post(&l->claimed);
    }
    return NULL;
}

static void notify_clock(PGconn *conn, uint64_t number)
{
    char payload[32];
    const char *values[] = {payload};
    pause_before(number);
    snprintf(payload, sizeof payload, "%" PRId64, now_ns());
    PQclear(sql_checked(conn, PQexecPrepared(conn, "notify", 1, values, NULL, NULL, 0), notify_sql));
}

/* The other process: a call for each byte it hears. */
static int notify_in_child(void)
{
    PGconn *conn = sql_connect(url);
    sql_prepare(conn, "notify", notify_sql);
    for (uint64_t i = 0; getchar() != EOF; i++)
        notify_clock(conn, i);
    PQfinish(conn);
    return 0;
}

static void print_notify(uint64_t samples)
{
    PGconn *conn = make_table();
    listener l = {.conn = sql_connect(url), .samples = 2 * samples};
    l.micros = need(calloc(l.samples, sizeof *l.micros));
    sem_init(&l.claimed, 0, 0);
    sql_do(l.conn, "LISTEN raw_jobs");
    sql_prepare(l.conn, "claim", claim_one_sql);
    sql_prepare(conn, "notify", notify_sql);
    check(pthread_create(&l.thread, NULL, listen_and_claim, &l), "pthread_create");
    child c = start_child(url, "notify-child", samples);
    for (uint64_t i = 0; i < samples; i++) {
        notify_clock(conn, i);
        await(&l.claimed);
    }
    for (uint64_t i = 0; i < samples; i++) {
        fputc('\n', c.to);
        fflush(c.to);
        await(&l.claimed);
    }
    end_child(&c);
    pthread_join(l.thread, NULL);
    print_latencies("raw_postgres_notify", l.micros, samples);
    print_latencies("raw_postgres_notify_by_process", l.micros + samples, samples);
    PQfinish(l.conn);
    free(l.micros);
    remove_table(conn);
}

/* ---------------------------------------------------------------------------------------------- */

static void print_median(const char *name, double (*measure)(uint64_t), uint64_t number)
{
    double rates[PASSES];
    for (int i = 0; i < PASSES; i++)
        rates[i] = measure(number);
    printf("raw_postgres_%s_rows_per_s %.0f\n", name, median(rates, PASSES));
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "";
    uint64_t number = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    url = argc > 1 ? argv[1] : "";
    if (strcmp(what, "notify-child") == 0)
        return notify_in_child();
    if (strcmp(what, "insert") == 0) {
        print_median("insert_1_16_connections", measure_insert, number ? number : 40000);
    } else if (strcmp(what, "many") == 0 && number % BATCH == 0) {
        print_median("insert_1000", measure_many, number ? number : 200000);
    } else if (strcmp(what, "drain") == 0 && number % BATCH == 0) {
        print_median("drain_1000", measure_drain, number ? number : 100000);
    } else if (strcmp(what, "notify") == 0) {
        print_notify(number ? number : 500);
    } else {
        fputs("usage: raw_postgres URL insert [ROWS] | many [ROWS (in thousands)] | drain [ROWS (in thousands)] |"
              " notify [SAMPLES]\n",
              stderr);
        return 2;
    }
    return 0;
}
