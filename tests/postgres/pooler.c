/* SPDX-License-Identifier: MIT
 *
 * Behind pgbouncer, in transaction mode and in session mode.
 */
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "postgres/support.h"

/* ---- pgbouncer -------------------------------------------------------------------------- */

typedef struct bouncer {
    char folder[64];
    pid_t pid;
} bouncer;

static bool installed(void)
{
    static const char *const places[] = {"/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0)
            return true;
    print_message("skipped: pgbouncer is not installed (apt-get install pgbouncer)\n");
    return false;
}

static void write_file(const bouncer *p, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", p->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Not as root, which pgbouncer will not run as; and not for longer than the test. */
static void run_bouncer(const bouncer *p)
{
    char path[128];
    snprintf(path, sizeof path, "%s/pgbouncer.ini", p->folder);
    struct passwd *user = getpwnam("postgres");
    if (!user)
        user = getpwnam("nobody");
    if (geteuid() == 0 && user && (setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("PATH", "/usr/sbin:/usr/bin:/usr/local/bin", 1);
    execlp("pgbouncer", "pgbouncer", "-q", path, (char *)NULL);
    _exit(127);
}

/* Database NAME is in transaction mode, NAME_session in session mode; two connections to the server each. */
static void start_bouncer(base *b, bouncer *p)
{
    char text[2048];
    snprintf(p->folder, sizeof p->folder, "/tmp/neoq-bouncer-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    assert_int_equal(chmod(p->folder, 0777), 0);
    snprintf(text, sizeof text,
             "[databases]\n%s = host=%s\n%s_session = dbname=%s host=%s pool_mode=session\n"
             "[pgbouncer]\nlisten_port = 6432\nlisten_addr =\nunix_socket_dir = %s\nauth_type = trust\n"
             "auth_file = %s/users\npool_mode = transaction\ndefault_pool_size = 2\nlogfile = %s/log\n",
             b->database, postgres_folder(b->server), b->database, b->database, postgres_folder(b->server), p->folder,
             p->folder, p->folder);
    write_file(p, "pgbouncer.ini", text);
    write_file(p, "users", "\"postgres\" \"\"\n");
    fflush(NULL);
    p->pid = fork();
    if (p->pid == 0)
        run_bouncer(p);
    assert_true(p->pid > 0);
    snprintf(text, sizeof text, "host=%s port=6432 user=postgres dbname=%s", p->folder, b->database);
    eventually(PQping(text) == PQPING_OK);
}

static void stop_bouncer(bouncer *p)
{
    static const char *const files[] = {"pgbouncer.ini", "users", "log", ".s.PGSQL.6432"};
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", p->folder, files[i]);
        unlink(path);
    }
    rmdir(p->folder);
}

typedef struct bounced {
    base *base;
    bouncer bouncer;
} bounced;

static int setup(void **state)
{
    void *b = NULL;
    bounced *s = calloc(1, sizeof *s);
    if (!s || base_setup(&b) != 0)
        return -1;
    s->base = b;
    *state = s;
    if (installed())
        start_bouncer(s->base, &s->bouncer);
    return 0;
}

static int teardown(void **state)
{
    bounced *s = *state;
    void *b = s->base;
    for (size_t i = 0; i < s->base->opened_count; i++) {
        pg_bell_close(s->base->opened[i].bell);
        pg_pool_close(s->base->opened[i].pool);
        s->base->opened[i].bell = NULL;
        s->base->opened[i].pool = NULL;
    }
    if (s->bouncer.pid > 0)
        stop_bouncer(&s->bouncer);
    base_teardown(&b);
    free(s);
    return 0;
}

static pg_pool *pool_of(bounced *s, const char *suffix, const char *more)
{
    char url[1024];
    pg_pool *pool;
    if (s->bouncer.pid == 0)
        skip();
    snprintf(url, sizeof url, "postgres://postgres@/%s%s?host=%s&port=6432%s", s->base->database, suffix,
             s->bouncer.folder, more);
    if (try_pool(s->base, url, &pool) != NEOQ_OK)
        fail_msg("%s", neoq_error_message());
    return pool;
}

/* ---- tests ------------------------------------------------------------------------------ */

static void is_noticed(void **state)
{
    bounced *s = *state;
    pg_pool *pool = pool_of(s, "", "&pool_max_conns=4&pool_min_conns=4");
    assert_true(pg_pool_is_pooled(pool));
    assert_int_equal(log_lines(s->base, "a connection pooler stands between"), 1);
    assert_int_equal(log_lines(s->base, ""), 1);
    assert_answer(pool, "SELECT current_setting('statement_timeout')", "0");
    assert_answer(pool, "SELECT current_setting('idle_in_transaction_session_timeout')", "0");
    assert_answer(pool, "SELECT count(*)::text FROM pg_prepared_statements", "0");
}

static void may_be_told(void **state)
{
    bounced *s = *state;
    pg_pool *pool = pool_of(s, "", "&pooler=transaction");
    assert_true(pg_pool_is_pooled(pool));
    assert_answer(pool, "SELECT current_setting('statement_timeout')", "0");
    pool = pool_of(s, "_session", "&pooler=session");
    assert_false(pg_pool_is_pooled(pool));
    assert_answer(pool, "SELECT current_setting('statement_timeout')", "31s");
    assert_answer(pool, "SELECT count(*)::text FROM pg_prepared_statements", "2");
    assert_int_equal(log_lines(s->base, ""), 0);
}

static void *ask_many(void *arg)
{
    static const char *const texts[] = {"SELECT 'a'", "SELECT 'b'", "SELECT 'c'",
                                        "SELECT 'd' || pg_sleep(0.001)::text"};
    for (int i = 0; i < 200; i++)
        if (ask(arg, texts[i % 4], false, NULL) != NEOQ_OK)
            return strdup(neoq_error_message());
    return NULL;
}

static void hammer(pg_pool *pool, pg_pool *other)
{
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, i % 2 ? pool : other), 0);
    char *first = NULL;
    for (size_t i = 0; i < 8; i++) {
        void *failure;
        pthread_join(threads[i], &failure);
        if (first)
            free(failure);
        else
            first = failure;
    }
    if (first)
        fail_msg("%s", first);
}

static void statements_get_through(void **state)
{
    bounced *s = *state;
    hammer(pool_of(s, "", ""), pool_of(s, "", "&asynchronous_commit=on"));
}

/* Told wrongly that sessions are its own, it finds out by the statements that it prepared, or did not. */
static void is_noticed_late(void **state)
{
    bounced *s = *state;
    pg_pool *one = pool_of(s, "", "&pooler=session"), *two = pool_of(s, "", "&pooler=session");
    assert_false(pg_pool_is_pooled(one) || pg_pool_is_pooled(two));
    hammer(one, two);
    hammer(one, two);
    assert_in_range(log_lines(s->base, "though the URL says pooler=session"), 1, 2);
    assert_true(pg_pool_is_pooled(one) || pg_pool_is_pooled(two));
}

static void commits_need_not_be_waited_for(void **state)
{
    bounced *s = *state;
    pg_pool *relaxed = pool_of(s, "", "&asynchronous_commit=on"), *strict = pool_of(s, "", "");
    for (int i = 0; i < 10; i++) {
        assert_answer(relaxed, "SELECT current_setting('synchronous_commit')", "off");
        assert_answer(strict, "SELECT current_setting('synchronous_commit')", "on");
    }
    assert_refused(relaxed, "SELEKT", NEOQ_EBACKEND, "syntax");
    assert_answer(relaxed, "SELECT 'good'", "good");
}

static void is_not_listened_through(void **state)
{
    bounced *s = *state;
    pg_bell *bell = open_bell(s->base, pool_of(s, "", ""), &nq_real_clock);
    uint64_t seen = pg_bell_seen(bell);
    int64_t start = nq_steady();
    for (int i = 0; i < 3; i++) {
        pg_bell_wait(bell, seen, nq_steady() + NEOQ_SECONDS(20));
        assert_int_not_equal(seen, pg_bell_seen(bell)); /* for all that it knows, something changed */
        seen = pg_bell_seen(bell);
    }
    assert_in_range(milliseconds_since(start), 3 * 199, 10000);
    assert_false(pg_bell_listens(bell));
    pg_bell_announce(bell);
    start = nq_steady();
    pg_bell_wait(bell, seen, nq_steady() + NEOQ_SECONDS(20));
    assert_in_range(milliseconds_since(start), 0, 150);
}

static void is_listened_through_in_session_mode(void **state)
{
    bounced *s = *state;
    pg_pool *pool = pool_of(s, "_session", "&pooler=session&pool_max_conns=1");
    pg_bell *bell = open_bell(s->base, pool, &nq_real_clock);
    pg_bell *other = open_bell(s->base, open_pool(s->base, ""), &nq_real_clock);
    uint64_t seen = pg_bell_seen(bell);
    eventually(pg_bell_listens(bell) || (pg_bell_wait(bell, seen, nq_steady() + 50000), false));
    seen = pg_bell_seen(bell);
    pg_bell_announce(other);
    pg_bell_wait(bell, seen, nq_steady() + NEOQ_SECONDS(20));
    assert_int_not_equal(pg_bell_seen(bell), seen);
}

static void survives_its_restart(void **state)
{
    bounced *s = *state;
    pg_pool *pool = pool_of(s, "", "");
    char folder[64];
    assert_answer(pool, "SELECT 'a'", "a");
    kill(s->bouncer.pid, SIGKILL);
    waitpid(s->bouncer.pid, NULL, 0);
    snprintf(folder, sizeof folder, "%s", s->bouncer.folder);
    char path[128];
    snprintf(path, sizeof path, "%s/.s.PGSQL.6432", folder);
    unlink(path);
    s->bouncer.pid = fork();
    if (s->bouncer.pid == 0)
        run_bouncer(&s->bouncer);
    assert_answer(pool, "SELECT 'a'", "a");
}

#define on_bouncer(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_bouncer(is_noticed),
        on_bouncer(may_be_told),
        on_bouncer(statements_get_through),
        on_bouncer(is_noticed_late),
        on_bouncer(commits_need_not_be_waited_for),
        on_bouncer(is_not_listened_through),
        on_bouncer(is_listened_through_in_session_mode),
        on_bouncer(survives_its_restart),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
