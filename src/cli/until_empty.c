/* SPDX-License-Identifier: MIT
 *
 * neoq work --until-empty: knows when there is nothing left to do, and shows how far it has come.
 *
 * neoq_drain() tells cheaply when this process has run out of work. Only then is the store asked what else there is:
 * jobs that another worker holds, perhaps one that crashed, and jobs that fall due soon.
 */
#include "values.h"
#include "work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOON  NEOQ_SECONDS(5)        /* a job that falls due within this is waited for */
#define SLICE NEOQ_MILLISECONDS(200) /* of waiting, between two looks at whether we are to stop */
#define PAGE  1000

typedef struct remains {
    int64_t ready, running; /* of queues that are not paused; running anywhere */
    int64_t waiting;        /* scheduled or retrying */
    int64_t paused;         /* ready, and not taken because their queue is paused */
    neoq_time next;         /* when the first of the waiting falls due; 0 = none */
} remains;

static bool is_ours(const work *w, const char *queue)
{
    for (size_t i = 0; i < w->queue_count; i++) {
        if (strcmp(w->queues[i].name, queue) == 0)
            return true;
    }
    return false;
}

static int count_jobs(work *w, remains *left)
{
    neoq_queue_info *queues;
    size_t count;
    *left = (remains){0};
    int status = neoq_queues(w->nq, &queues, &count);
    if (status != NEOQ_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        const neoq_queue_info *queue = &queues[i];
        if (!is_ours(w, queue->name))
            continue;
        left->running += queue->running;
        if (queue->paused) {
            left->paused += queue->ready + queue->scheduled + queue->retrying;
        } else {
            left->ready += queue->ready;
            left->waiting += queue->scheduled + queue->retrying;
        }
    }
    free(queues);
    return NEOQ_OK;
}

/* When the first waiting job of one queue and state falls due. */
static int find_next(work *w, const char *queue, neoq_state state, neoq_time *next)
{
    neoq_filter filter = {.queue = queue, .state = state, .limit = PAGE};
    char last[NEOQ_ID_SIZE];
    for (size_t found = PAGE; found == PAGE && !work_stopping(w);) {
        neoq_job_set *set;
        int status = neoq_find(w->nq, &filter, &set);
        if (status != NEOQ_OK)
            return status;
        found = neoq_job_set_count(set);
        for (size_t i = 0; i < found; i++) {
            const neoq_job *job = neoq_job_set_at(set, i);
            if (*next == 0 || job->run_after < *next)
                *next = job->run_after;
            snprintf(last, sizeof last, "%s", job->id);
        }
        filter.after_id = last;
        neoq_job_set_free(set);
    }
    return NEOQ_OK;
}

static int look(work *w, remains *left)
{
    int status = count_jobs(w, left);
    if (status != NEOQ_OK || left->ready > 0 || left->running > 0 || left->waiting == 0)
        return status;
    for (size_t i = 0; status == NEOQ_OK && i < w->queue_count; i++) {
        status = find_next(w, w->queues[i].name, NEOQ_SCHEDULED, &left->next);
        if (status == NEOQ_OK)
            status = find_next(w, w->queues[i].name, NEOQ_RETRYING, &left->next);
    }
    return status;
}

static bool is_empty(const remains *left)
{
    return left->ready == 0 && left->running == 0 && (left->waiting == 0 || left->next > neoq_now() + SOON);
}

/* ---- the live line ------------------------------------------------------------------------ */

typedef struct meter {
    int64_t drawn;          /* the runs that had ended when it was drawn */
    int64_t left;           /* jobs; -1 = not known */
    int64_t asked_at, cost; /* when the store was asked for them, and how long it took */
} meter;

static void draw(work *w, meter *m)
{
    report *r = &w->report;
    char line[200], remaining[48] = "";
    int64_t ended = report_ended(r), now = steady_now();
    if (w->session->quiet || (ended == m->drawn && m->drawn >= 0) || !screen_due(&w->session->screen))
        return;
    if (now - m->asked_at > 20 * m->cost) { /* a twentieth of the time at the most */
        remains left;
        m->left = count_jobs(w, &left) == NEOQ_OK ? left.ready + left.running : -1;
        m->asked_at = steady_now();
        m->cost = m->asked_at - now;
    }
    if (m->left >= 0)
        snprintf(remaining, sizeof remaining, "  %" PRId64 " left", m->left);
    double seconds = (double)(now - r->began) / 1e6;
    int running = work_running(w);
    pthread_mutex_lock(&r->lock);
    snprintf(line, sizeof line, "%" PRId64 " done  %" PRId64 " failed  %d running%s  %.1f/s", r->done, r->failed,
             running, remaining, seconds > 0 ? (double)r->ended / seconds : 0);
    pthread_mutex_unlock(&r->lock);
    screen_draw(&w->session->screen, line);
    m->drawn = ended;
}

/* ---- until empty -------------------------------------------------------------------------- */

static void tell_rest(work *w, const remains *left)
{
    char wait[48];
    if (left->waiting > 0)
        note(w->session, "%" PRId64 " job%s left for later, the next in %s", left->waiting,
             left->waiting == 1 ? " is" : "s are", format_duration(left->next - neoq_now(), wait));
    if (left->paused > 0)
        note(w->session, "%" PRId64 " job%s left on paused queues: neoq resume lets them run", left->paused,
             left->paused == 1 ? " is" : "s are");
}

int work_until_empty(work *w)
{
    meter m = {.drawn = -1};
    remains left = {0};
    bool told = false;
    int64_t looked_at = 0, cost = 0, seen = -1;
    while (!work_stopping(w)) {
        int status = neoq_drain(w->nq, SLICE);
        draw(w, &m);
        int64_t ended = report_ended(&w->report), now = steady_now();
        /* Busy, or asked a moment ago what takes the store a while to answer. */
        if ((status != NEOQ_OK && ended != seen) || now - looked_at < 10 * cost) {
            seen = ended;
            if (status == NEOQ_OK)
                report_wait(&w->report, ended, SLICE);
            continue;
        }
        seen = ended;
        status = look(w, &left);
        if (status != NEOQ_OK)
            return complain_status(w->session, status, "work: the queues cannot be counted");
        looked_at = steady_now();
        cost = looked_at - now;
        if (is_empty(&left)) {
            tell_rest(w, &left);
            return EXIT_DONE;
        }
        if (left.running > work_running(w) && left.ready == 0 && work_running(w) == 0 && !told) {
            note(w->session, "waiting for %" PRId64 " job%s that another worker holds", left.running,
                 left.running == 1 ? "" : "s");
            told = true;
        }
        report_wait(&w->report, ended, NEOQ_MILLISECONDS(50));
    }
    return EXIT_SOME_FAILED; /* stopped: not empty, for all we know */
}
