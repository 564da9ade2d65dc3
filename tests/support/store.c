/* SPDX-License-Identifier: MIT */
#include "support/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const store_kind *kind;
static store *current; /* of the test that runs */

static const store_kind *find_kind(int argc, char **argv)
{
    if (argc < 2 && !store_kinds[1])
        return store_kinds[0];
    for (size_t i = 0; argc > 1 && store_kinds[i]; i++)
        if (strcmp(argv[1], store_kinds[i]->name) == 0)
            return store_kinds[i];
    return NULL;
}

bool store_choose(int argc, char **argv)
{
    kind = find_kind(argc, argv);
    if (!kind) {
        fprintf(stderr, "usage: %s STORE [PATTERN]\nSTORE is one of:", argc > 0 ? argv[0] : "test");
        for (size_t i = 0; store_kinds[i]; i++)
            fprintf(stderr, " %s", store_kinds[i]->name);
        fprintf(stderr, "\n");
        return false;
    }
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    return true;
}

bool store_is(const char *name)
{
    size_t size = strlen(name);
    return strncmp(kind->name, name, size) == 0 && strchr(":-", kind->name[size]);
}

const store_kind *store_chosen(void)
{
    return kind;
}

/* ---- what it says it cannot do ---------------------------------------------------------- */

/* And the calls that then say NEOQ_EUNSUPPORTED. */
static const struct lack {
    unsigned cannot;
    const char *words, *call;
} lacks[] = {
    {NEOQ_CANNOT_SHARE, "belongs to one neoq", NULL},
    {NEOQ_CANNOT_SCHEDULE, "keeps no schedules", "neoq_schedule("},
    {NEOQ_CANNOT_SCHEDULE, "keeps no schedules", "neoq_start_cron("},
    {NEOQ_CANNOT_LIMIT, "bounds no queue", "neoq_start("},
    {NEOQ_CANNOT_KEEP_RUNS, "keeps no history", "neoq_runs("},
    {NEOQ_CANNOT_KEEP_PROGRESS, "keeps no progress", "neoq_get_progress("},
};

static void close_all(store *s)
{
    while (s->opened_count > 0)
        neoq_close(s->opened[--s->opened_count]);
}

/* Handlers may still be about to look at what the test has on its stack. */
static void skip_for(const struct lack *lack)
{
    print_message("skipped: a store of this kind %s\n", lack->words);
    if (current)
        close_all(current);
    skip();
}

void skip_where(unsigned cannot)
{
    for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]); i++) {
        if (lacks[i].cannot & cannot & kind->cannot)
            skip_for(&lacks[i]);
    }
}

static void skip_where_refused(const char *call)
{
    for (size_t i = 0; kind && i < sizeof(lacks) / sizeof(lacks[0]); i++) {
        if ((lacks[i].cannot & kind->cannot) && lacks[i].call &&
            strncmp(call, lacks[i].call, strlen(lacks[i].call)) == 0)
            skip_for(&lacks[i]);
    }
}

bool store_is_shared(void)
{
    return !(kind->cannot & NEOQ_CANNOT_SHARE);
}

/* ---- one store a test ------------------------------------------------------------------- */

int store_setup(void **state)
{
    store *s = calloc(1, sizeof(*s));
    if (!s)
        return -1;
    *state = current = s;
    if (!kind->make(s) || neoq_clock_create(&s->clock, 0, 1) != NEOQ_OK)
        return -1;
    return neoq_clock_create(&s->other_clock, 0, 2);
}

int store_teardown(void **state)
{
    store *s = *state;
    for (size_t i = 0; i < sizeof(s->sets) / sizeof(s->sets[0]); i++)
        neoq_job_set_free(s->sets[i]);
    close_all(s);
    current = NULL;
    neoq_clock_destroy(s->clock);
    neoq_clock_destroy(s->other_clock);
    if (kind->drop)
        kind->drop(s);
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
    skip_where(NEOQ_CANNOT_SHARE);
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
    if (status == NEOQ_EUNSUPPORTED)
        skip_where_refused(call);
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

bool patience_going(const patience *p)
{
    return milliseconds() < p->until;
}

bool patience_left(const patience *p)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return patience_going(p);
}
