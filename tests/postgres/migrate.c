/* SPDX-License-Identifier: MIT
 *
 * Changing the schema while it is in use: nobody who writes waits for long, and old programs go on beside new ones.
 */
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/postgres/schema.h"
#include "postgres/support.h"

static const char *const tables[] = {"job", "tally", "ended", "run", "queue", "worker", "schedule"};
enum { TABLES = sizeof tables / sizeof *tables, FILES = 32 };

/* A plain session with the test's database. */
typedef struct talk {
    pg_settings settings;
    pg_session session;
} talk;

static void open_talk(talk *t, base *b)
{
    assert_int_equal(NEOQ_OK, pg_settings_parse(&t->settings, b->url, &b->options));
    assert_int_equal(NEOQ_OK, pg_session_open(&t->session, &t->settings));
}

static void close_talk(talk *t)
{
    pg_session_close(&t->session);
    pg_settings_free(&t->settings);
}

static void say(talk *t, const char *text)
{
    if (pg_session_run(&t->session, NEOQ_SECONDS(30), text, NULL) != NEOQ_OK)
        fail_msg("%s: %s", text, neoq_error_message());
}

static void assert_number(base *b, int64_t expected, const char *text)
{
    char answer[64] = "";
    assert_true(postgres_sql(b->server, b->database, text, answer, sizeof answer));
    if (strtoll(answer, NULL, 10) != expected)
        fail_msg("%s: %s", text, answer);
}

/* ---- a migration in a thread ------------------------------------------------------------ */

/* What a version 2 might be: a step, and all but the tables anew. */
static const pg_sql_file *files_of_version_2(const char *step)
{
    static pg_sql_file files[FILES];
    size_t count = 0;
    files[count++] = (pg_sql_file){"to_2.sql", step};
    for (const pg_sql_file *file = pg_sql_files; file->name; file++) {
        assert_true(count < FILES - 1);
        files[count++] = *file;
    }
    files[count] = (pg_sql_file){NULL, NULL};
    return files;
}

static const char next_step[] = "ALTER TABLE @schema@.job ADD COLUMN more text;"
                                "ALTER TABLE @schema@.queue ADD COLUMN more int NOT NULL DEFAULT 0";
static const char next_stamp[] = "UPDATE @schema@.meta SET value = '2' WHERE key = 'version'";

typedef struct migration {
    pthread_t thread;
    talk talk;
    const char *step;
    atomic_int tries;
    atomic_bool over;
    int status;
    char words[512];
} migration;

static int take_step(pg_session *s, void *arg)
{
    migration *m = arg;
    atomic_fetch_add(&m->tries, 1);
    int status = pg_schema_run_files(s, files_of_version_2(m->step), 1);
    return status == NEOQ_OK ? pg_session_run(s, NEOQ_SECONDS(30), next_stamp, NULL) : status;
}

static void *migrate_in_thread(void *arg)
{
    migration *m = arg;
    m->status = pg_schema_in_lock(&m->talk.session, take_step, m);
    snprintf(m->words, sizeof m->words, "%s", m->status ? neoq_error_message() : "");
    m->over = true;
    return NULL;
}

static void start_migration(migration *m, base *b, const char *step)
{
    *m = (migration){.step = step};
    open_talk(&m->talk, b);
    assert_int_equal(0, pthread_create(&m->thread, NULL, migrate_in_thread, m));
}

static int end_migration(migration *m)
{
    pthread_join(m->thread, NULL);
    close_talk(&m->talk);
    return m->status;
}

static void make_schema(base *b)
{
    assert_int_equal(NEOQ_OK, neoq_migrate(b->url, &b->options, NEOQ_MIGRATE_UP, NULL, NULL, NULL));
}

/* ---- locks ------------------------------------------------------------------------------ */

/* A writer who is kept waiting for more than 2 s is told so by the server, and its test fails. */
static void write_with_little_patience(talk *writer)
{
    say(writer, "SET lock_timeout = '2s'; SELECT @schema@.enqueue('q', '1', unique_job => false)");
}

static void nobody_waits_behind_a_migration_that_waits(void **state)
{
    base *b = *state;
    talk holder, writer;
    migration m;
    int64_t written = 0;
    make_schema(b);
    open_talk(&holder, b);
    open_talk(&writer, b);
    say(&holder, "BEGIN; SELECT @schema@.enqueue('held', '1')");
    start_migration(&m, b, next_step);
    while (m.tries < 3 && !m.over) {
        write_with_little_patience(&writer);
        written++;
    }
    assert_false(m.over);
    say(&holder, "COMMIT");
    if (end_migration(&m) != NEOQ_OK)
        fail_msg("%s", m.words);
    write_with_little_patience(&writer);
    assert_number(b, written + 2, "SELECT count(*) FROM neoq.job WHERE more IS NULL");
    close_talk(&holder);
    close_talk(&writer);
}

/* Each of the tables is let go after a while in which the migration waits for it. Were each waited for by itself, that
 * would add up for whoever waits behind. */
typedef struct holders {
    pthread_t thread;
    base *base;
    talk talks[TABLES];
    bool failed;
} holders;

static bool is_waited_for(base *b, const char *table)
{
    char text[160], answer[8] = "";
    snprintf(text, sizeof text,
             "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
             " AND relation = 'neoq.%s'::regclass",
             table);
    return postgres_sql(b->server, b->database, text, answer, sizeof answer) && *answer == '1';
}

static void *let_go_in_thread(void *arg)
{
    holders *h = arg;
    for (size_t i = 0; i < TABLES; i++) {
        for (int64_t start = nq_steady(); !h->failed && !is_waited_for(h->base, tables[i]);)
            h->failed = !patient(start);
        poll(NULL, 0, 400);
        h->failed |= pg_session_run(&h->talks[i].session, NEOQ_SECONDS(30), "COMMIT", NULL) != NEOQ_OK;
    }
    return NULL;
}

static void locks_are_waited_for_together(void **state)
{
    base *b = *state;
    holders h = {.base = b};
    talk writer;
    migration m;
    make_schema(b);
    open_talk(&writer, b);
    for (size_t i = 0; i < TABLES; i++) {
        char text[96];
        snprintf(text, sizeof text, "BEGIN; LOCK TABLE @schema@.%s IN ROW EXCLUSIVE MODE", tables[i]);
        open_talk(&h.talks[i], b);
        say(&h.talks[i], text);
    }
    assert_int_equal(0, pthread_create(&h.thread, NULL, let_go_in_thread, &h));
    start_migration(&m, b, next_step);
    while (!m.over)
        write_with_little_patience(&writer);
    pthread_join(h.thread, NULL);
    assert_false(h.failed);
    if (end_migration(&m) != NEOQ_OK)
        fail_msg("%s", m.words);
    for (size_t i = 0; i < TABLES; i++)
        close_talk(&h.talks[i]);
    close_talk(&writer);
}

/* A step that would read every job, or write them anew, is for another way. */
static void a_step_that_takes_long_is_undone(void **state)
{
    base *b = *state;
    migration m;
    make_schema(b);
    start_migration(&m, b, "ALTER TABLE @schema@.job ADD COLUMN more text; SELECT pg_sleep(60)");
    assert_int_equal(NEOQ_EBACKEND, end_migration(&m));
    assert_non_null(strstr(m.words, "to_2.sql"));
    assert_non_null(strstr(m.words, "statement timeout"));
    assert_int_equal(1, m.tries);
    assert_number(b, 0,
                  "SELECT count(*) FROM pg_attribute WHERE attrelid = 'neoq.job'::regclass AND attname = 'more'");
}

/* ---- a deadlock ------------------------------------------------------------------------- */

typedef struct crossing {
    pthread_t thread;
    base *base;
    talk other;
    int tries, status;
} crossing;

static void *cross_in_thread(void *arg)
{
    crossing *c = arg;
    c->status = pg_session_run(&c->other.session, NEOQ_SECONDS(30),
                               "LOCK TABLE @schema@.job IN ROW EXCLUSIVE MODE; COMMIT", NULL);
    return NULL;
}

static bool waits_for_job(base *b)
{
    char answer[8] = "";
    return postgres_sql(b->server, b->database,
                        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'neoq.job'::regclass", answer,
                        sizeof answer) &&
           *answer == '1';
}

/* In the first try: the other has `tally` and wants `job`, which we have. */
static int lock_across(pg_session *s, void *arg)
{
    crossing *c = arg;
    int status = pg_session_run(s, NEOQ_SECONDS(30),
                                "SET LOCAL deadlock_timeout = '10ms';"
                                " LOCK TABLE @schema@.job IN ACCESS EXCLUSIVE MODE",
                                NULL);
    if (status == NEOQ_OK && ++c->tries == 1) {
        assert_int_equal(0, pthread_create(&c->thread, NULL, cross_in_thread, c));
        eventually(waits_for_job(c->base));
    }
    return status ? status : pg_session_run(s, NEOQ_SECONDS(30), "LOCK TABLE @schema@.tally", NULL);
}

static void a_deadlock_is_given_way_to(void **state)
{
    base *b = *state;
    crossing c = {.base = b};
    talk ours;
    make_schema(b);
    open_talk(&ours, b);
    open_talk(&c.other, b);
    say(&c.other, "BEGIN; LOCK TABLE @schema@.tally IN ROW EXCLUSIVE MODE");
    int status = pg_schema_in_lock(&ours.session, lock_across, &c);
    pthread_join(c.thread, NULL);
    assert_int_equal(NEOQ_OK, status);
    assert_int_equal(NEOQ_OK, c.status);
    assert_int_equal(2, c.tries);
    close_talk(&c.other);
    close_talk(&ours);
}

/* ---- old beside new --------------------------------------------------------------------- */

/* A program that knows version 1: it enqueues, and works, until it is told to end. */
typedef struct program {
    neoq *nq;
    pthread_t thread;
    atomic_long sent, ran;
    atomic_bool stop;
    atomic_int status;
} program;

static int count_run(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    atomic_fetch_add((atomic_long *)arg, 1);
    return NEOQ_OK;
}

static void *enqueue_in_thread(void *arg)
{
    program *p = arg;
    while (!p->stop && p->status == NEOQ_OK) {
        p->status = neoq_enqueue(p->nq, &(neoq_job){.queue = "q", .unique = NEOQ_UNIQUE_OFF}, NULL);
        p->sent += p->status == NEOQ_OK;
    }
    return NULL;
}

static void start_program(program *p, base *b)
{
    *p = (program){.nq = NULL};
    assert_int_equal(NEOQ_OK, neoq_open(&p->nq, b->url, &b->options));
    const neoq_handler handler = {.queue = "q", .handle = count_run, .arg = &p->ran, .concurrency = 2};
    assert_int_equal(NEOQ_OK, neoq_start(p->nq, &handler));
    assert_int_equal(0, pthread_create(&p->thread, NULL, enqueue_in_thread, p));
}

static void eventually_both(const program *p, long more)
{
    long sent = p->sent + more, ran = p->ran + more;
    eventually((p->sent >= sent && p->ran >= ran) || p->status != NEOQ_OK);
}

static void stop_sending(program *p)
{
    p->stop = true;
    pthread_join(p->thread, NULL);
    assert_int_equal(NEOQ_OK, p->status);
}

static long end_program(program *p)
{
    assert_int_equal(NEOQ_OK, neoq_drain(p->nq, NEOQ_SECONDS(30)));
    neoq_close(p->nq);
    return p->sent - p->ran;
}

static void old_programs_go_on_beside_new_ones(void **state)
{
    base *b = *state;
    program old, late;
    migration m;
    neoq *refused;
    start_program(&old, b);
    eventually_both(&old, 100);
    start_migration(&m, b, next_step);
    if (end_migration(&m) != NEOQ_OK)
        fail_msg("%s", m.words);
    eventually_both(&old, 100);
    start_program(&late, b); /* an old one that is started only now */
    eventually_both(&late, 100);
    assert_number(b, 2, "SELECT value FROM neoq.meta WHERE key = 'version'");
    stop_sending(&old);
    stop_sending(&late);
    long lost = end_program(&old);
    lost += end_program(&late); /* what one sent the other may have run */
    assert_int_equal(0, lost);
    assert_number(b, 0, "SELECT count(*) FROM neoq.job");
    assert_int_equal(0, log_lines(b, "error: ") + log_lines(b, "warning: "));
    sql(b, "UPDATE neoq.meta SET value = '2' WHERE key = 'compatible_from'");
    assert_int_equal(NEOQ_ESCHEMA, neoq_open(&refused, b->url, &b->options));
    assert_words("use the newer one");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_base(nobody_waits_behind_a_migration_that_waits), on_base(locks_are_waited_for_together),
        on_base(a_step_that_takes_long_is_undone),           on_base(a_deadlock_is_given_way_to),
        on_base(old_programs_go_on_beside_new_ones),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
