/* SPDX-License-Identifier: MIT */
#include "support/postgres_server.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "support/control.h"

struct postgres_server {
    char folder[200];
    control control; /* of one that is ours */
};

static postgres_server *start(const char **arguments)
{
    char words[CONTROL_ANSWER];
    postgres_server *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    if (!control_begin(&s->control, "PostgreSQL", NEOQ_TEST_WITH_POSTGRES, arguments, words)) {
        postgres_end(s);
        return NULL;
    }
    snprintf(s->folder, sizeof(s->folder), "%.190s", words);
    return s;
}

postgres_server *postgres_start(const char *const *settings)
{
    const char *arguments[CONTROL_ARGUMENTS] = {"with-postgres"};
    int count = 1;
    for (; settings && *settings && count < CONTROL_ARGUMENTS - 4; settings++) {
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
    control_end(&s->control);
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
    static postgres_server of_the_run = {.control = {.name = "PostgreSQL", .to = -1}};
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

bool postgres_stop(postgres_server *s, postgres_manner manner)
{
    static const char *const orders[] = {
        [POSTGRES_FAST] = "stop fast", [POSTGRES_IMMEDIATE] = "stop immediate", [POSTGRES_KILL] = "kill"};
    return control_tell(&s->control, orders[manner]);
}

bool postgres_again(postgres_server *s)
{
    return control_tell(&s->control, "start");
}

bool postgres_restart(postgres_server *s, postgres_manner manner)
{
    return postgres_stop(s, manner) && postgres_again(s);
}

bool postgres_freeze(postgres_server *s)
{
    return control_tell(&s->control, "freeze");
}

bool postgres_thaw(postgres_server *s)
{
    return control_tell(&s->control, "thaw");
}

bool postgres_promote(postgres_server *s)
{
    return control_tell(&s->control, "promote");
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
        control_say("PostgreSQL", "%s: %s", sql, PQerrorMessage(conn));
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
