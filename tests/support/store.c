/* SPDX-License-Identifier: MIT */
#include "support/store.h"

#include "support/postgres_server.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *scheme;

bool store_choose(int argc, char **argv)
{
    static const char *const schemes[] = {"memory:", "sqlite:", "postgres:"};
    scheme = NULL;
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]) && argc > 1; i++) {
        if (strcmp(argv[1], schemes[i]) == 0)
            scheme = schemes[i];
    }
    if (!scheme) {
        fprintf(stderr, "usage: %s memory:|sqlite:|postgres: [PATTERN]\n", argc > 0 ? argv[0] : "test");
        return false;
    }
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    return true;
}

bool store_is_memory(void)
{
    return strcmp(scheme, "memory:") == 0;
}

bool store_is_postgres(void)
{
    return strcmp(scheme, "postgres:") == 0;
}

void store_needs_sharing(void)
{
    if (store_is_memory()) {
        print_message("skipped: a memory store belongs to one neoq\n");
        skip();
    }
}

/* ---- one store a test ------------------------------------------------------------------- */

/* In memory where possible: the tests are about meaning, and a disk would only make them slow. */
static const char *base_folder(void)
{
    const char *folder = getenv("NEOQ_TEST_FOLDER");
    if (folder)
        return folder;
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

int store_setup(void **state)
{
    store *s = calloc(1, sizeof(*s));
    if (!s)
        return -1;
    *state = s;
    if (store_is_memory()) {
        snprintf(s->url, sizeof(s->url), "%s", scheme);
    } else if (store_is_postgres()) {
        const postgres_server *server = postgres_shared();
        if (!server || !postgres_create(server, NULL, s->database, sizeof(s->database)))
            return -1;
        postgres_url(server, s->database, s->url, sizeof(s->url));
    } else {
        snprintf(s->folder, sizeof(s->folder), "%.90s/neoq-XXXXXX", base_folder());
        if (!mkdtemp(s->folder))
            return -1;
        snprintf(s->path, sizeof(s->path), "%s/jobs.db", s->folder);
        snprintf(s->url, sizeof(s->url), "%s%s", scheme, s->path);
    }
    if (neoq_clock_create(&s->clock, 0, 1) != NEOQ_OK)
        return -1;
    return neoq_clock_create(&s->other_clock, 0, 2);
}

static void remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[512];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof(path), "%.200s/%s", folder, entry->d_name);
        unlink(path);
    }
    closedir(dir);
    rmdir(folder);
}

int store_teardown(void **state)
{
    store *s = *state;
    for (size_t i = 0; i < sizeof(s->sets) / sizeof(s->sets[0]); i++)
        neoq_job_set_free(s->sets[i]);
    while (s->opened_count > 0)
        neoq_close(s->opened[--s->opened_count]);
    neoq_clock_destroy(s->clock);
    neoq_clock_destroy(s->other_clock);
    if (s->folder[0])
        remove_folder(s->folder);
    if (s->database[0])
        postgres_drop(postgres_shared(), s->database);
    free(s);
    return 0;
}

/* ---- opening ---------------------------------------------------------------------------- */

void quiet(neoq_log_level level, const char *message, void *arg)
{
    (void)arg;
    if (getenv("NEOQ_TEST_LOG"))
        fprintf(stderr, "log %d: %s\n", (int)level, message);
}

static neoq_options quietly(const neoq_options *options)
{
    neoq_options o = options ? *options : (neoq_options){0};
    if (!o.log)
        o.log = quiet;
    return o;
}

static neoq *remember(store *s, neoq *nq)
{
    assert_non_null(nq);
    assert_true(s->opened_count < sizeof(s->opened) / sizeof(s->opened[0]));
    s->opened[s->opened_count++] = nq;
    return nq;
}

static neoq *open_virtual(store *s, neoq_clock *clock, const neoq_options *options, int flags)
{
    neoq *nq = NULL;
    neoq_options o = quietly(options);
    assert_status(NEOQ_OK, neoq_testing_open(&nq, s->url, &o, clock, flags));
    return remember(s, nq);
}

neoq *store_open(store *s, const neoq_options *options)
{
    return open_virtual(s, s->clock, options, 0);
}

neoq *store_open_threads(store *s, const neoq_options *options)
{
    return open_virtual(s, s->clock, options, NEOQ_TESTING_THREADS);
}

neoq *store_open_on(store *s, neoq_clock *clock, const neoq_options *options)
{
    return open_virtual(s, clock, options, 0);
}

neoq *store_open_real(store *s, const neoq_options *options)
{
    neoq *nq = NULL;
    neoq_options o = quietly(options);
    assert_status(NEOQ_OK, neoq_open(&nq, s->url, &o));
    return remember(s, nq);
}

void open_two(store *s, neoq **first, neoq **second)
{
    store_needs_sharing();
    *first = store_open(s, NULL);
    *second = store_open(s, NULL);
}

void store_close(store *s, neoq *nq)
{
    for (size_t i = 0; i < s->opened_count; i++) {
        if (s->opened[i] != nq)
            continue;
        s->opened[i] = s->opened[--s->opened_count];
        neoq_close(nq);
        return;
    }
    fail_msg("this neoq was not opened by the store");
}

/* ---- short forms ------------------------------------------------------------------------ */

char *put_job(neoq *nq, neoq_job job, char *id)
{
    char own[NEOQ_ID_SIZE];
    assert_status(NEOQ_OK, neoq_enqueue(nq, &job, id ? id : own));
    return id;
}

char *put(neoq *nq, const char *queue, const char *payload, char *id)
{
    return put_job(nq, (neoq_job){.queue = queue, .payload = payload}, id);
}

const neoq_job *store_job(store *s, neoq *nq, const char *id)
{
    neoq_job_set **set = &s->sets[s->set_next++ % (sizeof(s->sets) / sizeof(s->sets[0]))];
    neoq_job_set_free(*set);
    *set = NULL;
    assert_status(NEOQ_OK, neoq_get(nq, id, set));
    assert_int_equal(1, neoq_job_set_count(*set));
    const neoq_job *job = neoq_job_set_at(*set, 0);
    assert_string_equal(id, job->id);
    return job;
}

neoq_state state_of(neoq *nq, const char *id)
{
    neoq_job_set *set = NULL;
    int status = neoq_get(nq, id, &set);
    if (status == NEOQ_ENOTFOUND)
        return 0;
    assert_status(NEOQ_OK, status);
    neoq_state state = neoq_job_set_at(set, 0)->state;
    neoq_job_set_free(set);
    return state;
}

bool has_job(neoq *nq, const char *id)
{
    return state_of(nq, id) != 0;
}

neoq_queue_info queue_of(neoq *nq, const char *queue)
{
    neoq_queue_info *queues = NULL, found = {0};
    size_t count = 0;
    assert_status(NEOQ_OK, neoq_queues(nq, &queues, &count));
    for (size_t i = 0; i < count; i++) {
        if (strcmp(queues[i].name, queue) == 0)
            found = queues[i];
    }
    free(queues);
    return found;
}

size_t jobs_in(neoq *nq, const char *queue, neoq_state state)
{
    neoq_job_set *set = NULL;
    assert_status(NEOQ_OK, neoq_find(nq, &(neoq_filter){.queue = queue, .state = state, .limit = 10000}, &set));
    size_t count = neoq_job_set_count(set);
    neoq_job_set_free(set);
    return count;
}

size_t runs_of(neoq *nq, const char *id, neoq_run_info runs[25])
{
    neoq_run_info *found = NULL;
    size_t count = 0;
    assert_status(NEOQ_OK, neoq_runs(nq, id, &found, &count));
    assert_true(count <= 25);
    if (count > 0)
        memcpy(runs, found, count * sizeof(*found));
    free(found);
    return count;
}

neoq_testing_counts work_one(neoq *nq)
{
    neoq_testing_counts counts = {0};
    assert_status(NEOQ_OK, neoq_testing_work_one(nq, NULL, &counts));
    return counts;
}

neoq_testing_counts drain(neoq *nq)
{
    neoq_testing_counts counts = {0};
    assert_status(NEOQ_OK, neoq_testing_drain(nq, &counts));
    return counts;
}

void status_is(int expected, int status, const char *call, const char *file, int line)
{
    if (status == expected)
        return;
    print_error("%s: %s, not %s: %s\n", call, neoq_status_name(status), neoq_status_name(expected),
                neoq_error_message());
    _fail(file, line);
}

void words_in(const char *words, const char *text, const char *what, const char *file, int line)
{
    if (text && strstr(text, words))
        return;
    print_error("%s is \"%s\", which does not say \"%s\"\n", what, text ? text : "(null)", words);
    _fail(file, line);
}

/* ---- waiting in real time --------------------------------------------------------------- */

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

patience patience_begin(void)
{
    return patience_of(PATIENCE_SECONDS);
}

patience patience_of(int seconds)
{
    return (patience){milliseconds() + seconds * 1000};
}

bool patience_left(const patience *p)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return milliseconds() < p->until;
}
