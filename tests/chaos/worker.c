/* SPDX-License-Identifier: MIT
 *
 * Runs jobs, each as its payload says, and writes down what happens: in the handler what it does, and in the process
 * that has the store what neoq tells of the run.
 */
#include "program.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMORY_LIMIT = 64 << 20, THREAD_RUNS = 16, CHILD_RUNS = 3 };

void write_payload(char payload[PAYLOAD], int64_t number, char behaviour, int argument)
{
    snprintf(payload, PAYLOAD, "%lld %c %d", (long long)number, behaviour, argument);
}

void retry_soon(neoq_job *job)
{
    static const neoq_duration waits[RETRIES]; /* none */
    job->retry_waits = waits;
    job->retry_wait_count = RETRIES;
}

/* ---- what job it is --------------------------------------------------------------------- */

typedef struct run {
    int64_t number;
    char behaviour;
    int argument;
    record about;
} run;

/* A tick has no number of ours: its schedule's letter and its instant, which its id begins with, make one. */
static int64_t number_of_tick(char letter, const uint8_t id[16])
{
    int64_t milliseconds = 0;
    for (int i = 0; i < 6; i++)
        milliseconds = milliseconds << 8 | id[i];
    return (int64_t)1 << 62 | (int64_t)(letter & 0xf) << 48 | milliseconds;
}

static bool read_job(const neoq_job *job, run *r)
{
    long long number;
    *r = (run){.about = {.queue = (uint16_t)job->queue[0], .epoch = job->epoch}};
    record_id(job->id, r->about.id);
    if (strncmp(job->queue, "tick", 4) == 0) {
        r->number = number_of_tick(job->queue[4], r->about.id);
        r->behaviour = 'q';
    } else if (sscanf(job->payload, "%lld %c %d", &number, &r->behaviour, &r->argument) == 3) {
        r->number = number;
    } else {
        return false;
    }
    r->about.job = r->number;
    return true;
}

static void note(const run *r, enum record_kind kind, char detail, int64_t value)
{
    record one = r->about;
    one.kind = (uint8_t)kind;
    one.detail = (uint8_t)detail;
    one.value = value;
    record_write(one);
}

/* ---- what it does ----------------------------------------------------------------------- */

/* False: it was cancelled meanwhile. */
static bool nap(neoq_ctx *ctx, const run *r, int milliseconds)
{
    struct pollfd fd = {.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN};
    for (; milliseconds > 0; milliseconds -= 20) {
        if (poll(&fd, 1, milliseconds < 20 ? milliseconds : 20) > 0)
            return false;
        note(r, RECORD_EFFECT, 0, 0);
    }
    return true;
}

_Noreturn static void crash(const run *r)
{
    note(r, RECORD_CRASHING, r->behaviour, 0);
    switch (r->behaviour) {
    case 'a': abort();
    case 'o': _exit(0);
    case 'm':
        for (;;) { /* as a program does that does not look at what malloc() says */
            volatile char *more = malloc(1 << 20);
            more[0] = 1;
        }
    default: raise(SIGSEGV);
    }
    _exit(99);
}

/* A process that goes on for two seconds, if it is let; in every second run it leaves the group besides. */
static void leave_one(const run *r)
{
    if (fork() != 0)
        return;
    if (r->about.epoch % 2 == 0)
        setsid();
    for (int i = 0; i < 100; i++) {
        note(r, RECORD_EFFECT, 0, 0);
        doze(20000);
    }
    _exit(0);
}

/* Beyond its timeout, whatever anybody says. */
_Noreturn static void never_end(const run *r)
{
    signal(SIGTERM, SIG_IGN);
    for (;;) {
        note(r, RECORD_EFFECT, 0, 0);
        doze(50000);
    }
}

static int enqueue_another(const program *p, const run *r)
{
    char payload[PAYLOAD], id[NEOQ_ID_SIZE] = "";
    /* No other run enqueues one of this number. */
    int64_t number = r->number | (int64_t)1 << 60 | (r->about.epoch & 0x7f) << 52;
    neoq_job job = {.queue = "work", .payload = payload};
    retry_soon(&job);
    write_payload(payload, number, 'q', 0);
    record_write((record){.kind = RECORD_ASKED, .queue = 'w', .job = number, .epoch = TRAITS(0, 'q', 0, RETRIES, 0)});
    int status = neoq_enqueue(p->nq, &job, id);
    record answer = {.kind = RECORD_OK, .job = number, .detail = (uint8_t)-status};
    if (status == NEOQ_OK)
        record_id(id, answer.id);
    else
        answer.kind = status == NEOQ_EUNKNOWN ? RECORD_UNKNOWN : RECORD_REFUSED;
    record_write(answer);
    return status;
}

static int end(const run *r, char verdict, int returned)
{
    note(r, RECORD_ENDING, verdict, 0);
    return returned;
}

static int handle(neoq_ctx *ctx, void *arg)
{
    const program *p = arg;
    const neoq_job *job = neoq_ctx_job(ctx);
    run r;
    if (!read_job(job, &r)) {
        record_wrong(NEOQ_EINVAL, "job %s has a payload of nobody's", job->id);
        return neoq_discard(ctx, "not ours");
    }
    note(&r, RECORD_START, r.behaviour, job->retries);
    bool again = job->retries < r.argument;
    switch (r.behaviour) {
    case 'n':
        if (!nap(ctx, &r, r.argument))
            return end(&r, 'c', neoq_fail(ctx, "cancelled"));
        break;
    case 'l':
        if (!nap(ctx, &r, r.argument * 1000))
            return end(&r, 'c', neoq_fail(ctx, "cancelled"));
        break;
    case 'f':
        if (again)
            return end(&r, 'f', neoq_fail(ctx, "on purpose"));
        break;
    case 'x': return end(&r, 'f', neoq_fail(ctx, "on purpose"));
    case 'r':
        if (again)
            return end(&r, 'f', neoq_retry_in(ctx, NEOQ_MILLISECONDS(20), "on purpose"));
        break;
    case 'z':
        if (job->epoch <= r.argument)
            return end(&r, 'z', neoq_snooze(ctx, NEOQ_MILLISECONDS(20)));
        break;
    case 'd': return end(&r, 'd', neoq_discard(ctx, "on purpose"));
    case 'e': enqueue_another(p, &r); break;
    case 't':
        if (job->retries == 0)
            never_end(&r);
        break;
    case 'g':
        if (again)
            leave_one(&r);
        /* fall through */
    case 's':
    case 'a':
    case 'o':
    case 'm':
        if (again)
            crash(&r);
        break;
    case 'k': crash(&r);
    default: break;
    }
    return end(&r, 'o', NEOQ_OK);
}

/* ---- what neoq tells of it --------------------------------------------------------------- */

/* done failed snoozed discarded timeout crashed cancelled lost released: their first letters, but for the second c. */
static char outcome_letter(const char *outcome)
{
    return strcmp(outcome, "crashed") == 0 ? 'k' : strcmp(outcome, "discarded") == 0 ? 'x' : outcome[0];
}

static void observe(const neoq_job *job, const neoq_run_info *info, void *arg)
{
    run r;
    (void)arg;
    if (!read_job(job, &r))
        return;
    r.about.epoch = info->epoch;
    note(&r, RECORD_FINISH, outcome_letter(info->outcome), (int64_t)job->state);
}

static void notice_crash(const neoq_job *job, const char *error, void *arg)
{
    run r;
    (void)error;
    (void)arg;
    if (read_job(job, &r))
        note(&r, RECORD_CRASH, 0, 0);
}

/* ---- starting --------------------------------------------------------------------------- */

static int start_one(program *p, const neoq_handler *handler, const char *spec)
{
    int status, tries = 0;
    do
        status = spec ? neoq_start_cron(p->nq, spec, handler) : neoq_start(p->nq, handler);
    while (status != NEOQ_OK && status != NEOQ_EEXIST && is_away(status) && ++tries < 300 && (doze(50000), true));
    return status == NEOQ_EEXIST ? NEOQ_OK : status;
}

static int put_schedule(program *p)
{
    neoq_job tick = {.queue = "tick-stored", .payload = "tick"};
    int status, tries = 0;
    retry_soon(&tick);
    do
        status = neoq_schedule(p->nq, "each second", "* * * * * *", &tick);
    while (status != NEOQ_OK && is_away(status) && ++tries < 300 && (doze(50000), true));
    return status;
}

int start_handlers(program *p)
{
    bool both = strcmp(p->role, "both") == 0;
    neoq_handler in_children = {.queue = "apart",
                                .handle = handle,
                                .arg = p,
                                .concurrency = CHILD_RUNS,
                                .isolation = NEOQ_PROCESS,
                                .timeout = NEOQ_SECONDS(1),
                                .kill_after = NEOQ_MILLISECONDS(500),
                                .memory_limit = MEMORY_LIMIT,
                                .recycle_after = 200,
                                .on_crash = notice_crash};
    neoq_handler in_threads[] = {
        {.queue = "work", .handle = handle, .arg = p, .concurrency = THREAD_RUNS, .weight = 4},
        {.queue = "unique", .handle = handle, .arg = p, .concurrency = THREAD_RUNS / 2},
        {.queue = "tick-stored", .handle = handle, .arg = p, .concurrency = 2},
    };
    int status = neoq_observe(p->nq, observe, p);
    if (status == NEOQ_OK && (both || strcmp(p->role, "children") == 0))
        status = start_one(p, &in_children, NULL);
    if (status != NEOQ_OK || strcmp(p->role, "children") == 0)
        return status;
    for (size_t i = 0; i < sizeof(in_threads) / sizeof(in_threads[0]) && status == NEOQ_OK; i++)
        status = start_one(p, &in_threads[i], NULL);
    if (status == NEOQ_OK)
        status = start_one(p, &(neoq_handler){.queue = "tick:own", .handle = handle, .arg = p}, "* * * * * *");
    return status == NEOQ_OK ? put_schedule(p) : status;
}
