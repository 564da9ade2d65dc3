/* SPDX-License-Identifier: MIT
 *
 * TLS: a server with a certificate that it made itself, on a loopback address of the test's own.
 */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <neoq.h>

#include "postgres/support.h"

enum { BATCH = 1000, WIDE = 2000 /* bytes of payload: an answer takes many TLS records */ };

typedef struct tls_server {
    postgres_server *server;
    char address[32];
    char authority[64]; /* a file with the certificate */
} tls_server;

/* As the server's superuser. */
static void order(const tls_server *t, const char *text)
{
    assert_true(postgres_sql(t->server, "postgres", text, NULL, 0));
}

/* The server's file, as one of ours that libpq is to trust. */
static void copy_certificate(const tls_server *t, const char *name, char path[64])
{
    char certificate[8192], text[64];
    snprintf(text, sizeof text, "SELECT pg_read_file('%s')", name);
    assert_true(postgres_sql(t->server, "postgres", text, certificate, sizeof certificate));
    snprintf(path, 64, "/tmp/neoq-tls-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(strlen(certificate), write(fd, certificate, strlen(certificate)));
    close(fd);
}

/* The key is made where it is used, by the user whom the server runs as. */
static void start_tls(tls_server *t)
{
    char setting[64], text[512];
    snprintf(t->address, sizeof t->address, "127.%d.%d.%d", 1 + (int)getpid() % 250, 1 + (int)getpid() / 250 % 250,
             1 + (int)getpid() / 62500 % 250);
    snprintf(setting, sizeof setting, "listen_addresses=%s", t->address);
    t->server = postgres_start((const char *const[]){setting, "fsync=off", NULL});
    assert_non_null(t->server);
    snprintf(
        text, sizeof text,
        "COPY (SELECT 1) TO PROGRAM 'umask 077 && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=neoq"
        " -addext subjectAltName=IP:%s,DNS:db.test -keyout server.key -out server.crt 2>&1'",
        t->address);
    order(t, text);
    order(t, "COPY (SELECT 'hostssl all all 127.0.0.0/8 trust') TO PROGRAM 'cat >> pg_hba.conf'");
    order(t, "ALTER SYSTEM SET ssl = on");
    order(t, "SELECT pg_reload_conf()");
    copy_certificate(t, "server.crt", t->authority);
}

static void end_tls(tls_server *t)
{
    unlink(t->authority);
    postgres_end(t->server);
}

static void quiet(neoq_log_level level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

/* host: what the certificate is to be for. */
static int open_by(const tls_server *t, const char *host, const char *authority, neoq **nq)
{
    char url[512];
    snprintf(url, sizeof url,
             "postgres://postgres@/postgres?host=%s&hostaddr=%s&port=5432&sslmode=verify-full&sslrootcert=%s", host,
             t->address, authority);
    return neoq_open(nq, url, &(neoq_options){.log = quiet, .connect_timeout = NEOQ_SECONDS(10)});
}

/* A reload is heard of when the server gets to it. */
static neoq *open_in_time(const tls_server *t)
{
    neoq *nq = NULL;
    eventually(open_by(t, t->address, t->authority, &nq) == NEOQ_OK);
    return nq;
}

static int count(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    if (job->payload_size == WIDE && ((const char *)job->payload)[WIDE - 1] == 'x')
        sem_post(arg);
    return NEOQ_OK;
}

static void await(sem_t *ended, int jobs)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    for (int i = 0; i < jobs; i++)
        assert_int_equal(0, sem_timedwait(ended, &until));
}

static void enqueue_wide(neoq *nq, int jobs)
{
    static char payload[WIDE];
    static neoq_job all[BATCH];
    static neoq_enqueued results[BATCH];
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < jobs; i++)
        all[i] = (neoq_job){.queue = "wide", .payload = payload, .payload_size = WIDE, .unique = NEOQ_UNIQUE_OFF};
    assert_int_equal(NEOQ_OK, neoq_enqueue_many(nq, all, (size_t)jobs, results));
}

static void test_jobs_go_in_and_out_and_wake_a_worker_over_tls(void **state)
{
    (void)state;
    tls_server t = {0};
    sem_t ended;
    sem_init(&ended, 0, 0);
    start_tls(&t);
    neoq *worker = open_in_time(&t), *other = NULL;
    assert_int_equal(NEOQ_OK, open_by(&t, "db.test", t.authority, &other));
    assert_int_equal(NEOQ_OK, neoq_start(worker, &(neoq_handler){.queue = "wide", .handle = count, .arg = &ended}));
    enqueue_wide(other, BATCH);
    await(&ended, BATCH);
    enqueue_wide(other, 1); /* the worker sleeps, or soon will: the poll alone would take it 10 s */
    await(&ended, 1);
    char plain[16], secure[16];
    static const char counting[] = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)"
                                   " WHERE a.client_addr IS NOT NULL AND %s s.ssl";
    char text[256];
    snprintf(text, sizeof text, counting, "NOT");
    assert_true(postgres_sql(t.server, "postgres", text, plain, sizeof plain));
    snprintf(text, sizeof text, counting, "");
    assert_true(postgres_sql(t.server, "postgres", text, secure, sizeof secure));
    assert_string_equal("0", plain);
    assert_true(atoi(secure) >= 2);
    neoq_close(other);
    neoq_close(worker);
    end_tls(&t);
}

static void test_a_server_that_is_not_whom_it_says_is_refused_with_the_reason(void **state)
{
    (void)state;
    tls_server t = {0};
    neoq *nq = NULL;
    start_tls(&t);
    neoq_close(open_in_time(&t));
    assert_int_equal(NEOQ_EBACKEND, open_by(&t, "elsewhere.test", t.authority, &nq));
    assert_words("does not match host name");
    assert_int_equal(NEOQ_EBACKEND, open_by(&t, t.address, "/etc/ssl/certs/no-such-file.pem", &nq));
    assert_words("no-such-file.pem");
    order(&t, "COPY (SELECT 1) TO PROGRAM 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=stranger"
              " -keyout /dev/null -out stranger.crt 2>&1'");
    char stranger[64];
    copy_certificate(&t, "stranger.crt", stranger);
    assert_int_equal(NEOQ_EBACKEND, open_by(&t, t.address, stranger, &nq));
    assert_words("certificate verify failed");
    unlink(stranger);
    end_tls(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_go_in_and_out_and_wake_a_worker_over_tls),
        cmocka_unit_test(test_a_server_that_is_not_whom_it_says_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
