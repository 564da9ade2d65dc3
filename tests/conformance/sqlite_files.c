/* SPDX-License-Identifier: MIT
 *
 * Files that are missing, not ours, broken, read-only, full, or shared.
 */
#include "support/recorder.h"
#include "support/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int try_open(const char *path)
{
    neoq *nq = NULL;
    char url[512];
    snprintf(url, sizeof(url), "sqlite:%s", path);
    int status = neoq_open(&nq, url, &(neoq_options){.log = quiet, .connect_timeout = NEOQ_SECONDS(1)});
    if (status == NEOQ_OK) {
        assert_status(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q", .unique = NEOQ_UNIQUE_OFF}, NULL));
        neoq_close(nq);
    } else {
        assert_null(nq);
        assert_true(strlen(neoq_error_message()) > 0);
    }
    return status;
}

static void make_database(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    char *error = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_open(path, &db));
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
    sqlite3_close(db);
}

static int64_t number(const char *path, const char *query)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_open(path, &db));
    assert_int_equal(SQLITE_OK, sqlite3_prepare_v2(db, query, -1, &statement, NULL));
    assert_int_equal(SQLITE_ROW, sqlite3_step(statement));
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

static void write_file(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(size, fwrite(bytes, 1, size, file));
    fclose(file);
}

/* ---- what is there ---------------------------------------------------------------------- */

static void test_a_missing_file_is_made_and_a_missing_folder_is_not(void **state)
{
    store *s = *state;
    char path[300];
    assert_status(NEOQ_OK, try_open(s->path));
    snprintf(path, sizeof(path), "%s/no/such/jobs.db", s->folder);
    assert_status(NEOQ_EBACKEND, try_open(path));
    assert_words("jobs.db", neoq_error_message());
    assert_status(NEOQ_EBACKEND, try_open(s->folder));
    assert_status(NEOQ_EBACKEND, try_open("/proc/jobs.db"));
}

static void test_an_empty_file_is_a_new_store(void **state)
{
    store *s = *state;
    write_file(s->path, "", 0);
    assert_status(NEOQ_OK, try_open(s->path));
}

enum { OPENERS = 8, NEW_FILES = 40 };

typedef struct opener {
    pthread_t thread;
    pthread_barrier_t *start;
    const char *url;
    int status;
    char words[256];
} opener;

static void *open_at_once(void *arg)
{
    opener *o = arg;
    neoq *nq = NULL;
    pthread_barrier_wait(o->start);
    o->status = neoq_open(&nq, o->url, &(neoq_options){.log = quiet});
    snprintf(o->words, sizeof o->words, "%s", o->status == NEOQ_OK ? "" : neoq_error_message());
    neoq_close(nq);
    return NULL;
}

/* Whoever comes while another makes the tables sees none of them or all. */
static void test_many_open_a_new_file_at_once(void **state)
{
    store *s = *state;
    for (int n = 0; n < NEW_FILES; n++) {
        char url[512];
        opener openers[OPENERS];
        pthread_barrier_t start;
        snprintf(url, sizeof url, "sqlite:%s.new%d", s->path, n);
        pthread_barrier_init(&start, NULL, OPENERS);
        for (int i = 0; i < OPENERS; i++) {
            openers[i] = (opener){.start = &start, .url = url};
            assert_int_equal(0, pthread_create(&openers[i].thread, NULL, open_at_once, &openers[i]));
        }
        for (int i = 0; i < OPENERS; i++)
            pthread_join(openers[i].thread, NULL);
        for (int i = 0; i < OPENERS; i++) {
            assert_string_equal("", openers[i].words);
            assert_int_equal(NEOQ_OK, openers[i].status);
        }
        pthread_barrier_destroy(&start);
    }
}

static void test_a_file_that_is_no_database_is_refused_and_left_alone(void **state)
{
    store *s = *state;
    static char text[5000], back[5000];
    memset(text, 'x', sizeof(text));
    write_file(s->path, text, sizeof(text));
    int status = try_open(s->path);
    assert_true(status == NEOQ_EBACKEND || status == NEOQ_ESCHEMA);
    FILE *file = fopen(s->path, "rb");
    assert_non_null(file);
    size_t size = fread(back, 1, sizeof(back), file);
    fclose(file);
    assert_int_equal(sizeof(text), size);
    assert_memory_equal(text, back, sizeof(text));
}

static void test_the_database_of_another_application_is_refused(void **state)
{
    store *s = *state;
    make_database(s->path, "PRAGMA application_id = 252006673; CREATE TABLE event(id INTEGER)");
    assert_status(NEOQ_ESCHEMA, try_open(s->path));
}

/* Jobs may live beside the application's own tables, and do them no harm. */
static void test_the_applications_own_file_is_welcome(void **state)
{
    store *s = *state;
    make_database(s->path, "CREATE TABLE orders(id INTEGER); INSERT INTO orders VALUES (1), (2);"
                           "PRAGMA user_version = 77");
    assert_status(NEOQ_OK, try_open(s->path));
    assert_status(NEOQ_OK, try_open(s->path));
    assert_int_equal(2, number(s->path, "SELECT count(*) FROM orders"));
    assert_int_equal(77, number(s->path, "PRAGMA user_version"));
}

/* Whatever number the store keeps its version in, a greater one is of a later neoq. */
static void test_a_newer_schema_is_refused(void **state)
{
    store *s = *state;
    assert_status(NEOQ_OK, try_open(s->path));
    sqlite3 *db = NULL;
    sqlite3_stmt *find = NULL;
    bool raised = false;
    assert_int_equal(SQLITE_OK, sqlite3_open(s->path, &db));
    /* In a table of its own, if there is one with a column named so; else in user_version. */
    assert_int_equal(
        SQLITE_OK, sqlite3_prepare_v2(db,
                                      "SELECT 'UPDATE \"' || m.name || '\" SET \"' || c.name || '\" = 9999' || "
                                      "CASE WHEN EXISTS (SELECT 1 FROM pragma_table_info(m.name) k WHERE k.name = "
                                      "'key') THEN ' WHERE key LIKE ''%version%'' OR key LIKE ''%schema%''' ELSE '' "
                                      "END FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' "
                                      "AND (c.name LIKE '%version%' OR (m.name LIKE 'neoq_meta%' AND c.name = "
                                      "'value'))",
                                      -1, &find, NULL));
    while (sqlite3_step(find) == SQLITE_ROW)
        raised |= sqlite3_exec(db, (const char *)sqlite3_column_text(find, 0), NULL, NULL, NULL) == SQLITE_OK;
    sqlite3_finalize(find);
    if (!raised)
        assert_int_equal(SQLITE_OK, sqlite3_exec(db, "PRAGMA user_version = 9999", NULL, NULL, NULL));
    sqlite3_close(db);
    assert_status(NEOQ_ESCHEMA, try_open(s->path));
}

/* Pages of the middle overwritten: never a crash, never a hang; an error with words, or what could still be read. */
static void test_a_corrupt_file_is_an_error_not_a_crash(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    for (int i = 0; i < 200; i++)
        put_job(nq,
                (neoq_job){.queue = "q",
                           .payload = "\"some payload, to fill pages with\"",
                           .unique = NEOQ_UNIQUE_OFF},
                NULL);
    store_close(s, nq);
    struct stat file;
    assert_int_equal(0, stat(s->path, &file));
    int fd = open(s->path, O_WRONLY);
    char garbage[4096];
    memset(garbage, 0xa5, sizeof(garbage));
    for (off_t at = sizeof(garbage); at < file.st_size; at += 2 * (off_t)sizeof(garbage))
        assert_int_equal(sizeof(garbage), pwrite(fd, garbage, sizeof(garbage), at));
    close(fd);
    neoq_options options = {.log = quiet};
    int status = neoq_testing_open(&nq, s->url, &options, s->clock, 0);
    if (status == NEOQ_OK) {
        neoq_job_set *set = NULL;
        recorder r = {RECORDER_INITIALIZER};
        neoq_handler handler = recording("q", &r);
        int found = neoq_find(nq, &(neoq_filter){.limit = 1000}, &set);
        neoq_job_set_free(set);
        neoq_start(nq, &handler);
        int put_status = neoq_enqueue(nq, &(neoq_job){.queue = "q", .unique = NEOQ_UNIQUE_OFF}, NULL);
        int drained = neoq_testing_drain(nq, NULL);
        neoq_close(nq);
        assert_true(found != NEOQ_OK || put_status != NEOQ_OK || drained != NEOQ_OK);
    } else {
        assert_true(status == NEOQ_EBACKEND || status == NEOQ_ESCHEMA);
    }
}

/* ---- where nothing can be written ------------------------------------------------------- */

/* A tmpfs of its own in the store's folder; false where that is not allowed. */
static bool mount_small(store *s, char *path, size_t size)
{
    snprintf(path, size, "%s/small", s->folder);
    if (mkdir(path, 0700) == 0 && mount("tmpfs", path, "tmpfs", 0, "size=2m") == 0)
        return true;
    rmdir(path);
    print_message("skipped: mounting a tmpfs is not allowed here (%s)\n", strerror(errno));
    return false;
}

static void unmount_small(const char *path)
{
    umount2(path, MNT_DETACH);
    rmdir(path);
}

static void test_a_read_only_file_is_refused(void **state)
{
    store *s = *state;
    char folder[200], path[256];
    if (!mount_small(s, folder, sizeof(folder)))
        skip();
    snprintf(path, sizeof(path), "%s/jobs.db", folder);
    int before = try_open(path);
    int remounted = mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL);
    int after = remounted == 0 ? try_open(path) : 0;
    unmount_small(folder);
    assert_status(NEOQ_OK, before);
    assert_int_equal(0, remounted);
    assert_status(NEOQ_EBACKEND, after);
}

/* How many jobs went in before the disk was full; -1 if it never was. */
static int fill_up(neoq *nq, int *refusal)
{
    static char payload[20001];
    memset(payload, 'p', sizeof(payload) - 1);
    for (int i = 0; i < 1000; i++) {
        *refusal =
            neoq_enqueue(nq, &(neoq_job){.queue = "full", .payload = payload, .unique = NEOQ_UNIQUE_OFF}, NULL);
        if (*refusal != NEOQ_OK)
            return i;
    }
    return -1;
}

static void test_a_full_disk_is_an_error_and_loses_nothing(void **state)
{
    store *s = *state;
    char folder[200], url[256];
    if (!mount_small(s, folder, sizeof(folder)))
        skip();
    snprintf(url, sizeof(url), "sqlite:%s/jobs.db", folder);
    neoq *nq = NULL;
    neoq_options options = {.log = quiet};
    int opened = neoq_testing_open(&nq, url, &options, s->clock, 0), refusal = NEOQ_OK, again = NEOQ_OK;
    int stored = opened == NEOQ_OK ? fill_up(nq, &refusal) : 0;
    char words[200];
    snprintf(words, sizeof(words), "%s", neoq_error_message());
    size_t found = opened == NEOQ_OK ? jobs_in(nq, "full", NEOQ_READY) : 0;
    int grown = mount(NULL, folder, NULL, MS_REMOUNT, "size=16m");
    if (opened == NEOQ_OK)
        again = neoq_enqueue(nq, &(neoq_job){.queue = "full"}, NULL);
    neoq_close(nq);
    nq = NULL;
    int reopened = neoq_testing_open(&nq, url, &options, s->clock, 0);
    size_t left = reopened == NEOQ_OK ? jobs_in(nq, "full", NEOQ_READY) : 0;
    neoq_close(nq);
    unmount_small(folder);
    assert_status(NEOQ_OK, opened);
    assert_true(stored > 0);
    assert_status(NEOQ_EBACKEND, refusal);
    assert_true(strlen(words) > 0);
    assert_int_equal(stored, found);
    assert_int_equal(0, grown);
    assert_status(NEOQ_OK, again);
    assert_status(NEOQ_OK, reopened);
    assert_int_equal(stored + 1, left);
}

typedef struct putter {
    neoq *nq;
    int status;
    atomic_bool ended;
} putter;

/* Its result does not fit on the disk, so the run's end cannot be written. */
static int leave_much(neoq_ctx *ctx, void *arg)
{
    static char result[1 << 20];
    gate_wait(arg);
    memset(result, 'r', sizeof(result));
    neoq_set_result(ctx, result, sizeof(result));
    return NEOQ_OK;
}

static void *close_it(void *arg)
{
    putter *p = arg;
    neoq_close(p->nq);
    atomic_store(&p->ended, true);
    return NULL;
}

static void fill_file(const char *path)
{
    FILE *file = fopen(path, "wb");
    static char zeros[4096];
    while (file && fwrite(zeros, 1, sizeof(zeros), file) == sizeof(zeros))
        ;
    if (file)
        fclose(file);
}

static void test_closing_ends_also_when_the_disk_is_full(void **state)
{
    static gate hold = GATE_INITIALIZER;
    static putter p;
    store *s = *state;
    char folder[200], url[256], filler[256], id[NEOQ_ID_SIZE];
    if (!mount_small(s, folder, sizeof(folder)))
        skip();
    snprintf(url, sizeof(url), "sqlite:%s/jobs.db", folder);
    snprintf(filler, sizeof(filler), "%s/filler", folder);
    neoq_options options = {.log = quiet, .shutdown_timeout = NEOQ_MILLISECONDS(500)};
    int opened = neoq_open(&p.nq, url, &options);
    int started = neoq_start(p.nq, &(neoq_handler){.queue = "q", .handle = leave_much, .arg = &hold});
    int enqueued = neoq_enqueue(p.nq, &(neoq_job){.queue = "q", .retention = NEOQ_FOREVER}, id);
    bool running = false;
    for (patience w = patience_begin(); enqueued == NEOQ_OK && !running && patience_left(&w);)
        running = state_of(p.nq, id) == NEOQ_RUNNING;
    fill_file(filler);
    gate_open(&hold);
    pthread_t thread;
    pthread_create(&thread, NULL, close_it, &p);
    for (patience w = patience_begin(); !atomic_load(&p.ended) && patience_left(&w);)
        ;
    bool closed = atomic_load(&p.ended);
    unlink(filler); /* with room again, it ends in any case */
    pthread_join(thread, NULL);
    neoq *nq = NULL;
    int reopened = neoq_open(&nq, url, &options);
    bool there = reopened == NEOQ_OK && has_job(nq, id);
    neoq_close(nq);
    unmount_small(folder);
    assert_status(NEOQ_OK, opened);
    assert_status(NEOQ_OK, started);
    assert_status(NEOQ_OK, enqueued);
    assert_true(running);
    assert_true(closed);
    assert_true(there);
}

/* ---- who else is there ------------------------------------------------------------------ */

static void test_a_reader_keeps_nobody_from_writing(void **state)
{
    store *s = *state;
    neoq *nq = store_open(s, NULL);
    sqlite3 *db = NULL;
    assert_int_equal(SQLITE_OK, sqlite3_open(s->path, &db));
    put(nq, "q", "1", NULL);
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, "BEGIN; SELECT * FROM sqlite_master", NULL, NULL, NULL));
    put(nq, "q", "2", NULL);
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
    sqlite3_close(db);
    assert_int_equal(2, jobs_in(nq, "q", NEOQ_READY));
}

static void *put_one(void *arg)
{
    putter *p = arg;
    p->status = neoq_enqueue(p->nq, &(neoq_job){.queue = "q"}, NULL);
    atomic_store(&p->ended, true);
    return NULL;
}

static void test_a_writer_that_holds_the_file_is_waited_for(void **state)
{
    static putter p = {.status = 1};
    store *s = *state;
    sqlite3 *db = NULL;
    pthread_t thread;
    p.nq = store_open_real(s, NULL);
    assert_int_equal(SQLITE_OK, sqlite3_open(s->path, &db));
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, "BEGIN IMMEDIATE; CREATE TABLE mine(a)", NULL, NULL, NULL));
    assert_int_equal(0, pthread_create(&thread, NULL, put_one, &p));
    patience a_moment = patience_begin();
    for (int i = 0; i < 100; i++)
        patience_left(&a_moment);
    bool ended_early = atomic_load(&p.ended);
    assert_int_equal(SQLITE_OK, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
    sqlite3_close(db);
    eventually(atomic_load(&p.ended));
    pthread_join(thread, NULL);
    assert_false(ended_early);
    assert_status(NEOQ_OK, p.status);
}

static void test_what_was_acknowledged_is_there_after_reopening(void **state)
{
    store *s = *state;
    char id[NEOQ_ID_SIZE];
    neoq *nq = store_open(s, NULL);
    put_job(nq,
            (neoq_job){.queue = "q",
                       .payload = "{\"a\":1}",
                       .priority = 2,
                       .metadata = "{\"m\":1}",
                       .deadline = STORE_START + NEOQ_HOURS(9)},
            id);
    store_close(s, nq);
    nq = store_open(s, NULL);
    const neoq_job *job = store_job(s, nq, id);
    assert_string_equal("{\"a\":1}", (const char *)job->payload);
    assert_string_equal("{\"m\":1}", job->metadata);
    assert_int_equal(2, job->priority);
    assert_true(job->created_at == STORE_START);
    assert_true(job->deadline == STORE_START + NEOQ_HOURS(9));
}

/* Stands in for the C library's: says that everything lies on NFS. */
static bool all_is_nfs;

int statfs(const char *path, struct statfs *info)
{
    int result = (int)syscall(SYS_statfs, path, info);
    if (all_is_nfs)
        info->f_type = 0x6969;
    return result;
}

static void test_a_network_file_system_is_refused_unless_it_is_asked_for(void **state)
{
    store *s = *state;
    all_is_nfs = true;
    int status = try_open(s->path);
    char words[512], path[300];
    snprintf(words, sizeof(words), "%s", neoq_error_message());
    snprintf(path, sizeof(path), "%s?network=yes", s->path);
    int allowed = try_open(path);
    all_is_nfs = false;
    assert_int_equal(NEOQ_EBACKEND, status);
    assert_words("NFS", words);
    assert_words("?network=yes", words);
    assert_int_equal(NEOQ_OK, allowed);
}

static void test_odd_paths_work(void **state)
{
    store *s = *state;
    static const char *const names[] = {"it's.db", "a b.db", "100%25.db", "?mode=ro", "#x.db", "\xc3\xa9.db"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[300];
        snprintf(path, sizeof(path), "%s/%s", s->folder, names[i]);
        if (try_open(path) != NEOQ_OK) {
            /* A query of options may be refused; a file of another name may not be made silently. */
            assert_non_null(strchr("?#", names[i][0]));
            continue;
        }
        struct stat file;
        if (!strchr("?#", names[i][0]))
            assert_int_equal(0, stat(path, &file));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_a_missing_file_is_made_and_a_missing_folder_is_not),
        on_store(test_an_empty_file_is_a_new_store),
        on_store(test_many_open_a_new_file_at_once),
        on_store(test_a_file_that_is_no_database_is_refused_and_left_alone),
        on_store(test_the_database_of_another_application_is_refused),
        on_store(test_the_applications_own_file_is_welcome),
        on_store(test_a_newer_schema_is_refused),
        on_store(test_a_corrupt_file_is_an_error_not_a_crash),
        on_store(test_a_read_only_file_is_refused),
        on_store(test_a_full_disk_is_an_error_and_loses_nothing),
        on_store(test_closing_ends_also_when_the_disk_is_full),
        on_store(test_a_reader_keeps_nobody_from_writing),
        on_store(test_a_writer_that_holds_the_file_is_waited_for),
        on_store(test_what_was_acknowledged_is_there_after_reopening),
        on_store(test_a_network_file_system_is_refused_unless_it_is_asked_for),
        on_store(test_odd_paths_work),
    };
    if (!store_choose(argc, argv))
        return 2;
    return cmocka_run_group_tests_name("sqlite_files", tests, NULL, NULL);
}
