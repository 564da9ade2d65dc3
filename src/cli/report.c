/* SPDX-License-Identifier: MIT
 *
 * What became of the runs.
 */
#include "report.h"

#include "log_entry.h"
#include "output.h"
#include "text.h"
#include "values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void report_init(report *r, session *s)
{
    pthread_condattr_t attributes;
    *r = (report){.session = s, .began = steady_now()};
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* ---- one run ------------------------------------------------------------------------------ */

/* A stretch of bytes, shown in a fixed field. */
static void show(char *field, size_t size, const void *bytes, size_t count)
{
    char *cell = bytes != NULL ? text_cell(bytes, count, size / 2) : NULL;
    snprintf(field, size, "%s", cell != NULL ? cell : "");
    free(cell);
}

static void remember(reported *slot, const neoq_job *job, const char *error, neoq_duration took)
{
    snprintf(slot->id, sizeof slot->id, "%s", job->id);
    show(slot->queue, sizeof slot->queue, job->queue, strlen(job->queue));
    show(slot->payload, sizeof slot->payload, job->payload, job->payload_size);
    show(slot->error, sizeof slot->error, error, error != NULL ? strlen(error) : 0);
    slot->took = took;
}

/* The slowest are kept in order, by insertion. */
static void remember_slow(report *r, const neoq_job *job, neoq_duration took)
{
    size_t at = r->slow_count;
    while (at > 0 && r->slow[at - 1].took < took)
        at--;
    if (at == MOST_SLOW)
        return;
    if (r->slow_count < MOST_SLOW)
        r->slow_count++;
    memmove(&r->slow[at + 1], &r->slow[at], (r->slow_count - at - 1) * sizeof r->slow[0]);
    remember(&r->slow[at], job, NULL, took);
}

static void remember_bad(report *r, const neoq_job *job, const char *error, neoq_duration took)
{
    if (r->bad_count == MOST_FAILED)
        r->bad_more++;
    else
        remember(&r->bad[r->bad_count++], job, error, took);
}

static bool is_failure(const char *outcome)
{
    return strcmp(outcome, "failed") == 0 || strcmp(outcome, "timeout") == 0 || strcmp(outcome, "crashed") == 0;
}

static void count(report *r, const neoq_job *job, const neoq_run_info *run)
{
    bool dead = job->state == NEOQ_DEAD, failed = is_failure(run->outcome);
    neoq_duration took = run->finished_at > run->started_at ? run->finished_at - run->started_at : 0;
    r->ended++;
    r->done += strcmp(run->outcome, "done") == 0;
    r->failed += failed;
    r->dead += dead;
    if (!r->summary)
        return;
    remember_slow(r, job, took);
    if (failed || dead)
        remember_bad(r, job, *run->error ? run->error : job->error ? job->error : run->outcome, took);
}

static void print_run(const neoq_job *job, const neoq_run_info *run)
{
    json_line line;
    put_begin(&line, stdout);
    put_job(&line, job);
    put_open(&line, "run", '{');
    put_run(&line, run);
    put_close(&line, '}');
    put_end(&line);
    fflush(stdout); /* whoever reads wants it now */
}

static void say(session *s, const neoq_job *job, const neoq_run_info *run)
{
    char took[DURATION_SIZE];
    neoq_duration wait = run->finished_at > run->started_at ? run->finished_at - run->started_at : 0;
    if (s->log_format != LOG_TEXT) {
        log_entry entry;
        bool bad = job->state == NEOQ_DEAD || is_failure(run->outcome);
        log_begin(&entry, s, bad ? NEOQ_LOG_WARN : NEOQ_LOG_INFO, "run ended");
        log_text(&entry, "queue", job->queue);
        log_text(&entry, "job", job->id);
        log_text(&entry, "outcome", run->outcome);
        log_number(&entry, "seconds", (double)wait / 1e6, 6);
        log_number(&entry, "retries", job->retries, 0);
        log_text(&entry, "state", state_name(job->state));
        log_text(&entry, "error", *run->error != '\0' ? run->error : NULL);
        log_end(&entry);
        return;
    }
    note(s, "%s %s: %s in %s%s%s%s", job->queue, job->id, run->outcome, format_duration(wait, took),
         job->state == NEOQ_DEAD ? ", dead" : "", *run->error ? ": " : "", run->error);
}

void report_observe(const neoq_job *job, const neoq_run_info *run, void *arg)
{
    report *r = arg;
    pthread_mutex_lock(&r->lock);
    count(r, job, run);
    if (r->session->json)
        print_run(job, run);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (r->session->verbose)
        say(r->session, job, run);
}

/* ---- waiting ------------------------------------------------------------------------------ */

int64_t report_ended(report *r)
{
    pthread_mutex_lock(&r->lock);
    int64_t ended = r->ended;
    pthread_mutex_unlock(&r->lock);
    return ended;
}

void report_wait(report *r, int64_t ended, neoq_duration wait)
{
    int64_t until = steady_now() + wait;
    struct timespec at = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    int error = 0;
    pthread_mutex_lock(&r->lock);
    while (r->ended == ended && error == 0)
        error = pthread_cond_timedwait(&r->changed, &r->lock, &at);
    pthread_mutex_unlock(&r->lock);
}

/* ---- the end ------------------------------------------------------------------------------ */

void report_counts(report *r, int running, char *words, size_t size)
{
    pthread_mutex_lock(&r->lock);
    snprintf(words, size, "%d running; %" PRId64 " done, %" PRId64 " failed, %" PRId64 " dead", running, r->done,
             r->failed, r->dead);
    pthread_mutex_unlock(&r->lock);
}

void report_totals(report *r)
{
    if (!r->session->json) {
        printf("%" PRId64 " done, %" PRId64 " failed, %" PRId64 " dead\n", r->done, r->failed, r->dead);
        return;
    }
    json_line line;
    put_begin(&line, stdout);
    put_integer(&line, "done", r->done);
    put_integer(&line, "failed", r->failed);
    put_integer(&line, "dead", r->dead);
    put_number(&line, "seconds", (double)(steady_now() - r->began) / 1e6, 6);
    put_end(&line);
}

static void summary_line(session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void summary_line(session *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    screen_line(&s->screen, "", format, arguments);
    va_end(arguments);
}

void report_summary(report *r)
{
    session *s = r->session;
    char took[DURATION_SIZE];
    fflush(stdout);
    if (r->slow_count > 0)
        summary_line(s, "slowest:");
    for (size_t i = 0; i < r->slow_count; i++)
        summary_line(s, "  %8s  %s  %s  %s", format_duration(r->slow[i].took, took), r->slow[i].id, r->slow[i].queue,
                     r->slow[i].payload);
    if (r->bad_count > 0)
        summary_line(s, "failed:");
    for (size_t i = 0; i < r->bad_count; i++)
        summary_line(s, "  %s  %s  %s  %s", r->bad[i].id, r->bad[i].queue, r->bad[i].payload, r->bad[i].error);
    if (r->bad_more > 0)
        summary_line(s, "  and %" PRId64 " more: neoq jobs --state retrying, neoq jobs --state dead", r->bad_more);
}
