/* SPDX-License-Identifier: MIT */
#include "support/postgres_server.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libpq-fe.h>

struct postgres_server {
    char folder[200];
    pid_t pid;
    int to;     /* orders; -1 of a server that is not ours */
    FILE *from; /* answers */
};

enum { ARGUMENTS = 64, ANSWER = 4096 };

static __attribute__((format(printf, 1, 2))) bool say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("PostgreSQL for tests: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return false;
}

/* ---- the script -------------------------------------------------------------------------- */

/* The answer's words go to words. False: it says "failed", or nothing, and that was said. */
static bool hear(postgres_server *s, const char *order, char words[ANSWER])
{
    char line[ANSWER] = "";
    words[0] = '\0';
    if (!fgets(line, sizeof(line), s->from))
        return say("%s: the script has ended", order);
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "ok", 2) != 0)
        return say("%s: %s", order, line);
    snprintf(words, ANSWER, "%s", line[2] ? line + 3 : "");
    return true;
}

static bool tell(postgres_server *s, const char *order, char words[ANSWER])
{
    char line[64];
    int size = snprintf(line, sizeof(line), "%s\n", order);
    if (s->to < 0)
        return say("%s: the server is not this test's own", order);
    if (write(s->to, line, (size_t)size) != size)
        return say("%s: %s", order, strerror(errno));
    return hear(s, order, words);
}

static void run_script(const char **arguments, int in, int out)
{
    dup2(in, 0);
    dup2(out, 1);
    execv(NEOQ_TEST_WITH_POSTGRES, (char *const *)arguments);
    fprintf(stderr, "%s: %s\n", NEOQ_TEST_WITH_POSTGRES, strerror(errno));
    _exit(127);
}

/* The script leaves its life to a process that is nobody's child, and ends at once. */
static bool begin_script(postgres_server *s, const char **arguments)
{
    int to[2], from[2], status;
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return say("pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_script(arguments, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    s->to = to[1];
    s->from = fdopen(from[0], "r");
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && s->from;
}

static postgres_server *start(const char **arguments)
{
    char words[ANSWER];
    postgres_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->to = -1;
    if (!begin_script(s, arguments) || !hear(s, "start", words)) {
        postgres_end(s);
        return NULL;
    }
    snprintf(s->folder, sizeof(s->folder), "%.190s", words);
    return s;
}

postgres_server *postgres_start(const char *const *settings)
{
    const char *arguments[ARGUMENTS] = {"with-postgres"};
    int count = 1;
    for (; settings && *settings && count < ARGUMENTS - 4; settings++) {
        arguments[count++] = "-c";
        arguments[count++] = *settings;
    }
    arguments[count] = "--control";
    return start(arguments);
}

postgres_server *postgres_start_standby(const postgres_server *of)
{
    return start((const char *[]){"with-postgres", "--standby-of", of->folder, "--control", NULL});
}

void postgres_end(postgres_server *s)
{
    if (!s)
        return;
    if (s->to >= 0)
        close(s->to);
    if (s->from) {
        while (fgetc(s->from) != EOF) /* it ends when all is gone */
            ;
        fclose(s->from);
    }
    free(s);
}

/* ---- the shared one ---------------------------------------------------------------------- */

static pthread_once_t shared_once = PTHREAD_ONCE_INIT;
static postgres_server *shared;

static void end_shared(void)
{
    postgres_end(shared);
}

static void find_shared(void)
{
    static postgres_server of_the_run = {.to = -1};
    const char *folder = getenv("NEOQ_TEST_POSTGRES");
    if (folder && *folder) {
        snprintf(of_the_run.folder, sizeof(of_the_run.folder), "%.190s", folder);
        shared = &of_the_run;
        return;
    }
    shared = postgres_start((const char *const[]){"fsync=off", NULL});
    if (!shared)
        return;
    atexit(end_shared);
    setenv("NEOQ_TEST_POSTGRES", shared->folder, 1); /* for our children */
}

postgres_server *postgres_shared(void)
{
    pthread_once(&shared_once, find_shared);
    return shared;
}

/* ---- what happens to servers ------------------------------------------------------------- */

static bool simply(postgres_server *s, const char *order)
{
    char words[ANSWER];
    return tell(s, order, words);
}

bool postgres_stop(postgres_server *s, postgres_manner manner)
{
    static const char *const orders[] = {
        [POSTGRES_FAST] = "stop fast", [POSTGRES_IMMEDIATE] = "stop immediate", [POSTGRES_KILL] = "kill"};
    return simply(s, orders[manner]);
}

bool postgres_again(postgres_server *s)
{
    return simply(s, "start");
}

bool postgres_restart(postgres_server *s, postgres_manner manner)
{
    return postgres_stop(s, manner) && postgres_again(s);
}

bool postgres_freeze(postgres_server *s)
{
    return simply(s, "freeze");
}

bool postgres_thaw(postgres_server *s)
{
    return simply(s, "thaw");
}

bool postgres_promote(postgres_server *s)
{
    return simply(s, "promote");
}

pid_t postgres_pid(const postgres_server *s)
{
    char path[240];
    int pid = 0;
    snprintf(path, sizeof(path), "%s/data/postmaster.pid", s->folder);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%d", &pid) != 1)
        pid = 0;
    if (file)
        fclose(file);
    return pid;
}

/* ---- databases --------------------------------------------------------------------------- */

const char *postgres_folder(const postgres_server *s)
{
    return s->folder;
}

char *postgres_url(const postgres_server *s, const char *database, char *url, size_t size)
{
    snprintf(url, size, "postgres://postgres@/%s?host=%s&port=5432", database, s->folder);
    return url;
}

bool postgres_sql(const postgres_server *s, const char *database, const char *sql, char *answer, size_t size)
{
    char url[512];
    PGconn *conn = PQconnectdb(postgres_url(s, database, url, sizeof(url)));
    PGresult *result = PQstatus(conn) == CONNECTION_OK ? PQexec(conn, sql) : NULL;
    ExecStatusType status = PQresultStatus(result);
    bool good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    if (!good)
        say("%s: %s", sql, PQerrorMessage(conn));
    else if (answer)
        snprintf(answer, size, "%s", PQntuples(result) > 0 && PQnfields(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(conn);
    return good;
}

bool postgres_create(const postgres_server *s, const char *template, char *name, size_t size)
{
    static atomic_int made;
    char sql[300];
    snprintf(name, size, "t_%d_%d", (int)getpid(), atomic_fetch_add(&made, 1));
    snprintf(sql, sizeof(sql), "CREATE DATABASE %s TEMPLATE %s", name, template ? template : "template0");
    return postgres_sql(s, "postgres", sql, NULL, 0);
}

bool postgres_drop(const postgres_server *s, const char *name)
{
    char sql[300];
    snprintf(sql, sizeof(sql), "DROP DATABASE IF EXISTS %s WITH (FORCE)", name);
    return postgres_sql(s, "postgres", sql, NULL, 0);
}
