/* SPDX-License-Identifier: MIT */
#include "postgres/support.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static void record(neoq_log_level level, const char *message, void *arg)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    base *b = arg;
    pthread_mutex_lock(&b->mutex);
    size_t size = strlen(b->log);
    snprintf(b->log + size, sizeof b->log - size, "%s: %s\n", names[level], message);
    pthread_mutex_unlock(&b->mutex);
}

size_t log_lines(base *b, const char *words)
{
    size_t count = 0;
    pthread_mutex_lock(&b->mutex);
    for (const char *line = b->log; *line;) {
        size_t size = strcspn(line, "\n");
        const char *found = strstr(line, words);
        count += found && found < line + size;
        line += size + (line[size] == '\n');
    }
    pthread_mutex_unlock(&b->mutex);
    return count;
}

/* ---- databases -------------------------------------------------------------------------- */

static void use_server(base *b, postgres_server *server)
{
    assert_non_null(server);
    b->server = server;
    assert_true(postgres_create(server, NULL, b->database, sizeof b->database));
    postgres_url(server, b->database, b->url, sizeof b->url);
}

int base_setup(void **state)
{
    base *b = calloc(1, sizeof *b);
    if (!b)
        return -1;
    *state = b;
    pthread_mutex_init(&b->mutex, NULL);
    b->options = (neoq_options){.log = record,
                                .log_arg = b,
                                .log_level = NEOQ_LOG_INFO,
                                .schema = "neoq",
                                .connect_timeout = NEOQ_SECONDS(10),
                                .job_check_interval = NEOQ_MILLISECONDS(200)};
    use_server(b, postgres_shared());
    return 0;
}

void own_server(base *b, const char *const *settings)
{
    postgres_drop(b->server, b->database);
    b->own = true;
    use_server(b, postgres_start(settings));
}

int base_teardown(void **state)
{
    base *b = *state;
    for (size_t i = 0; i < b->opened_count; i++)
        pg_bell_close(b->opened[i].bell);
    for (size_t i = 0; i < b->opened_count; i++) {
        pg_pool_close(b->opened[i].pool);
        pg_settings_free(&b->opened[i].settings);
    }
    if (b->own)
        postgres_end(b->server);
    else
        postgres_drop(b->server, b->database);
    pthread_mutex_destroy(&b->mutex);
    free(b);
    return 0;
}

void sql(base *b, const char *text)
{
    assert_true(postgres_sql(b->server, b->database, text, NULL, 0));
}

/* ---- pools and bells -------------------------------------------------------------------- */

int try_pool(base *b, const char *url, pg_pool **pool)
{
    struct open_pool *o = &b->opened[b->opened_count];
    assert_true(b->opened_count < sizeof b->opened / sizeof *b->opened);
    int status = pg_settings_parse(&o->settings, url, &b->options);
    if (status == NEOQ_OK)
        status = pg_pool_open(&o->pool, &o->settings, &b->options, &nq_real_clock);
    if (status == NEOQ_OK)
        b->opened_count++;
    else
        pg_settings_free(&o->settings);
    *pool = o->pool;
    return status;
}

pg_pool *open_pool(base *b, const char *more)
{
    char url[1024];
    pg_pool *pool;
    snprintf(url, sizeof url, "%s%s", b->url, more);
    if (try_pool(b, url, &pool) != NEOQ_OK)
        fail_msg("%s", neoq_error_message());
    return pool;
}

pg_bell *open_bell(base *b, pg_pool *pool, const neoq_clock *clock)
{
    struct open_pool *o = b->opened;
    while (o->pool != pool)
        o++;
    assert_null(o->bell);
    assert_int_equal(pg_bell_open(&o->bell, pool, &o->settings, &b->options, clock), NEOQ_OK);
    return o->bell;
}

void close_bell(base *b, pg_bell *bell)
{
    struct open_pool *o = b->opened;
    while (o->bell != bell)
        o++;
    pg_bell_close(bell);
    o->bell = NULL;
}

/* A statement is known by its address, which must stay its own as long as the connections live. */
static const pg_statement *statement_of(const char *text)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pg_statement statements[256];
    static char names[256][16];
    size_t i = 0;
    pthread_mutex_lock(&mutex);
    while (statements[i].text && strcmp(statements[i].text, text) != 0)
        i++;
    if (!statements[i].text) {
        snprintf(names[i], sizeof names[i], "test_%zu", i);
        statements[i] = (pg_statement){names[i], text};
    }
    pthread_mutex_unlock(&mutex);
    return &statements[i];
}

int ask(pg_pool *pool, const char *text, bool again, char *answer)
{
    PGresult *rows;
    int status = pg_pool_run(pool, statement_of(text), NULL, again, &rows);
    if (status == NEOQ_OK && answer)
        snprintf(answer, 256, "%.*s", PQntuples(rows) ? PQgetlength(rows, 0, 0) : 0,
                 PQntuples(rows) ? PQgetvalue(rows, 0, 0) : "");
    PQclear(rows);
    return status;
}

void assert_answer(pg_pool *pool, const char *text, const char *expected)
{
    char answer[256];
    if (ask(pool, text, false, answer) != NEOQ_OK)
        fail_msg("%s: %s", text, neoq_error_message());
    assert_string_equal(answer, expected);
}

void assert_words(const char *words)
{
    if (!strstr(neoq_error_message(), words))
        fail_msg("\"%s\" is not in: %s", words, neoq_error_message());
}

void assert_refused(pg_pool *pool, const char *text, int status, const char *words)
{
    int got = ask(pool, text, false, NULL);
    if (got != status)
        fail_msg("%s: %s, %s", text, neoq_status_name(got), got ? neoq_error_message() : "");
    assert_words(words);
}

/* ---- time ------------------------------------------------------------------------------- */

int64_t milliseconds_since(int64_t start)
{
    return (nq_steady() - start) / 1000;
}

bool patient(int64_t start)
{
    poll(NULL, 0, 5);
    return milliseconds_since(start) < 20000;
}
