/* SPDX-License-Identifier: MIT
 *
 * One program run for one job.
 *
 * Whoever runs it waits on a pidfd, so that no other thread's child is ever reaped by mistake. While its leader is
 * not yet reaped, the group's number cannot be given to anybody else: that is when the group is killed.
 */
#include "child.h"

#include "launch.h"
#include "log_entry.h"
#include "spool.h"
#include "text.h"
#include "values.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_OUTPUT ((size_t)1 << 20)
#define LAST_WORDS  500 /* bytes of standard error that a failure keeps */

typedef enum ending { ENDED_ITSELF, TIMED_OUT, CANCELLED, HANDED_BACK } ending;

typedef struct run {
    const child_plan *plan;
    neoq_ctx *ctx;
    launched child;
    ending ending;
    bool killed;            /* SIGKILL was needed */
    int64_t until;          /* the next signal is due; -1 = none */
    char words[LAST_WORDS]; /* the last of standard error */
    size_t word_size;
    char line[2000]; /* of standard error, for the log */
    size_t line_size;
    char *output;
    size_t output_size, output_room;
    bool output_cut;
    int spool; /* the output again, for those who follow it; -1 = none */
} run;

/* ---- what it writes ----------------------------------------------------------------------- */

static void keep_words(run *r, const char *bytes, size_t size)
{
    if (size >= LAST_WORDS) {
        memcpy(r->words, bytes + size - LAST_WORDS, LAST_WORDS);
        r->word_size = LAST_WORDS;
        return;
    }
    if (r->word_size + size > LAST_WORDS) {
        size_t gone = r->word_size + size - LAST_WORDS;
        memmove(r->words, r->words + gone, r->word_size - gone);
        r->word_size -= gone;
    }
    memcpy(r->words + r->word_size, bytes, size);
    r->word_size += size;
}

static void end_spool(run *r)
{
    spool_end(r->spool, r->plan->spool, neoq_ctx_job(r->ctx));
    r->spool = -1;
}

static void keep_output(run *r, const char *bytes, size_t size)
{
    if (size > MOST_OUTPUT - r->output_size) {
        size = MOST_OUTPUT - r->output_size;
        r->output_cut = true;
    }
    if (r->output_size + size > r->output_room) {
        size_t room = (r->output_size + size) * 2;
        char *more = realloc(r->output, room);
        if (more == NULL) {
            r->output_cut = true;
            return;
        }
        r->output = more;
        r->output_room = room;
    }
    memcpy(r->output + r->output_size, bytes, size);
    r->output_size += size;
    if (!spool_write(r->spool, bytes, size))
        end_spool(r);
}

static void log_line(run *r)
{
    log_entry entry;
    r->line[r->line_size] = '\0';
    r->line_size = 0;
    log_begin(&entry, r->plan->session, NEOQ_LOG_INFO, r->line);
    log_text(&entry, "queue", neoq_ctx_job(r->ctx)->queue);
    log_text(&entry, "job", neoq_ctx_job(r->ctx)->id);
    log_text(&entry, "stream", "stderr");
    log_end(&entry);
}

/* Its standard error is ours: as it is, or in a log for machines a line an event, cut where it is too long for one. */
static void relay(run *r, const char *bytes, size_t size)
{
    if (r->plan->session->log_format == LOG_TEXT) {
        screen_write(&r->plan->session->screen, bytes, size);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != '\n')
            r->line[r->line_size++] = bytes[i] != '\0' ? bytes[i] : ' ';
        if (bytes[i] == '\n' || r->line_size == sizeof r->line - 1)
            log_line(r);
    }
}

/* Reads what is there, but not much more than a pipe holds: an endless writer does not keep us. Closes at the end. */
static void read_pipe(run *r, int *fd, bool errors)
{
    char bytes[4096];
    for (int turn = 0; *fd >= 0 && turn < 64; turn++) {
        ssize_t got = read(*fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            close(*fd);
            *fd = -1;
        } else if (errors) {
            relay(r, bytes, (size_t)got);
            keep_words(r, bytes, (size_t)got);
        } else {
            keep_output(r, bytes, (size_t)got);
            if (r->plan->commands)
                keep_words(r, bytes, (size_t)got);
        }
        if (got < (ssize_t)sizeof bytes)
            return;
    }
}

/* ---- watching ----------------------------------------------------------------------------- */

static int64_t after(neoq_duration wait)
{
    return wait == NEOQ_FOREVER ? -1 : steady_now() + wait;
}

/* Asks the group to end, and remembers why. */
static void ask_to_end(run *r, ending why)
{
    if (r->ending != ENDED_ITSELF)
        return;
    r->ending = why;
    kill(-r->child.pid, SIGTERM);
    r->until = after(r->plan->kill_after);
}

static void force_to_end(run *r)
{
    r->killed = true;
    r->until = -1;
    kill(-r->child.pid, SIGKILL);
}

static int milliseconds_until(int64_t until)
{
    if (until < 0)
        return -1;
    int64_t left = until - steady_now();
    return left <= 0 ? 0 : left > 3600000000 ? 3600000 : (int)((left + 999) / 1000);
}

/* Until the program has ended; its exit status is not fetched yet. */
static void watch(run *r)
{
    enum { ENDED, ERRORS, OUTPUT, CANCEL, STOP, KILL, FDS };
    int cancel = neoq_ctx_cancel_fd(r->ctx), stop = r->plan->stop, at_once = r->plan->kill;
    r->until = after(r->plan->timeout);
    for (;;) {
        struct pollfd fds[FDS] = {
            [ENDED] = {r->child.pidfd, POLLIN, 0},
            [ERRORS] = {r->child.errors, POLLIN, 0},
            [OUTPUT] = {r->child.output, POLLIN, 0},
            [CANCEL] = {cancel, POLLIN, 0},
            [STOP] = {stop, POLLIN, 0},
            [KILL] = {at_once, POLLIN, 0},
        };
        if (poll(fds, FDS, milliseconds_until(r->until)) < 0 && errno != EINTR)
            return; /* cannot be; the group is killed behind us */
        if (fds[ERRORS].revents != 0)
            read_pipe(r, &r->child.errors, true);
        if (fds[OUTPUT].revents != 0)
            read_pipe(r, &r->child.output, false);
        if (fds[ENDED].revents != 0)
            return;
        if (fds[KILL].revents != 0) {
            ask_to_end(r, HANDED_BACK);
            force_to_end(r);
            at_once = -1;
        }
        if (fds[STOP].revents != 0) {
            ask_to_end(r, HANDED_BACK);
            stop = -1;
        }
        if (fds[CANCEL].revents != 0) {
            ask_to_end(r, CANCELLED);
            cancel = -1;
        }
        if (r->until >= 0 && steady_now() >= r->until) {
            if (r->ending == ENDED_ITSELF)
                ask_to_end(r, TIMED_OUT);
            else
                force_to_end(r);
        }
    }
}

/* The rest of the group goes with its leader, and the leader is laid to rest. */
static int reap(run *r, struct rusage *used)
{
    int status = 0;
    kill(-r->child.pid, SIGKILL);
    while (wait4(r->child.pid, &status, 0, used) < 0 && errno == EINTR)
        continue;
    read_pipe(r, &r->child.errors, true);
    read_pipe(r, &r->child.output, false);
    if (r->line_size > 0)
        log_line(r);
    return status;
}

/* ---- judging ------------------------------------------------------------------------------ */

/* ": the last of standard error", in UTF-8 and without the line end; empty if there is nothing. The caller frees. */
static char *last_words(const run *r)
{
    const char *from = r->words;
    size_t size = r->word_size, room = LAST_WORDS - 60; /* what stands before them is part of the error, too */
    if (size > room) {
        from += size - room;
        size = room;
    }
    while (size > 0 && (*from & 0xc0) == 0x80) { /* not from the middle of a letter */
        from++;
        size--;
    }
    while (size > 0 && strchr(" \t\r\n", from[size - 1]) != NULL)
        size--;
    char *text = text_clean(from, size), *out = NULL;
    if (text == NULL || asprintf(&out, "%s%s", *text ? ": " : "", text) < 0)
        out = NULL;
    free(text);
    return out;
}

static int judge_exit(const run *r, int code, const char *words)
{
    if (r->plan->commands && code != 0) /* it does not know that it is a job, and so cannot ask for anything */
        return neoq_fail(r->ctx, "exit status %d%s", code, words);
    switch (code) {
    case 0: return NEOQ_OK;
    case 75: return neoq_snooze(r->ctx, r->plan->snooze);
    case 65: return neoq_discard(r->ctx, "exit status 65%s", words);
    case 76: return neoq_slow_down(r->ctx, "exit status 76%s", words);
    default: return neoq_fail(r->ctx, "exit status %d%s", code, words);
    }
}

static int judge_signal(const run *r, int number, const char *words)
{
    const char *name = sigabbrev_np(number);
    char limit[64] = "";
    if (number == SIGXCPU && r->plan->cpu > 0)
        snprintf(limit, sizeof limit, ": it computed for longer than --cpu %" PRId64 "s", r->plan->cpu);
    return neoq_fail(r->ctx, "killed by signal %d (SIG%s)%s%s", number, name ? name : "?", limit, words);
}

/* Once a run was told to end, its exit status says nothing about the job any more, not even 0. */
static int judge(const run *r, int status)
{
    char wait[DURATION_SIZE], *kept = last_words(r);
    const char *words = kept != NULL ? kept : "", *force = r->killed ? ", and by SIGKILL only" : "";
    int outcome;
    switch (r->ending) {
    case HANDED_BACK: outcome = neoq_snooze(r->ctx, 0); break;
    case CANCELLED: outcome = neoq_fail(r->ctx, "cancelled%s%s", force, words); break;
    case TIMED_OUT:
        outcome = neoq_fail(r->ctx, "timed out after %s%s%s", format_duration(r->plan->timeout, wait), force, words);
        break;
    default:
        if (WIFSIGNALED(status))
            outcome = judge_signal(r, WTERMSIG(status), words);
        else
            outcome = judge_exit(r, WEXITSTATUS(status), words);
    }
    free(kept);
    return outcome;
}

static void leave_record(run *r, int status, const struct rusage *used)
{
    neoq_duration cpu = (neoq_duration)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000000 +
                        used->ru_utime.tv_usec + used->ru_stime.tv_usec;
    neoq_set_exit(r->ctx, WIFEXITED(status) ? WEXITSTATUS(status) : 0, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                  cpu, (int64_t)used->ru_maxrss * 1024);
    if (!r->plan->keep_output || r->ending == HANDED_BACK)
        return;
    if (neoq_set_result(r->ctx, r->output != NULL ? r->output : "", r->output_size) != NEOQ_OK)
        note(r->plan->session, "job %s: its output is not kept: %s", neoq_ctx_job(r->ctx)->id, neoq_error_message());
    else if (r->output_cut)
        note(r->plan->session, "job %s: its output is longer than 1 MiB; the rest is not kept",
             neoq_ctx_job(r->ctx)->id);
}

int child_run(const child_plan *plan, neoq_ctx *ctx, bool *handed_back)
{
    run r = {.plan = plan, .ctx = ctx, .spool = -1};
    struct rusage used = {0};
    char why[300];
    *handed_back = false;
    if (!launch(plan, neoq_ctx_job(ctx), &r.child, why, sizeof why)) {
        if (plan->commands)
            neoq_set_exit(ctx, 127, 0, 0, 0); /* as a shell has it */
        return neoq_fail(ctx, "%s", why);
    }
    if (plan->spool != NULL)
        r.spool = spool_begin(plan->spool, neoq_ctx_job(ctx));
    watch(&r);
    int status = reap(&r, &used);
    leave_record(&r, status, &used);
    int outcome = judge(&r, status);
    *handed_back = r.ending == HANDED_BACK;
    end_spool(&r);
    launch_close(&r.child);
    free(r.output);
    return outcome;
}
