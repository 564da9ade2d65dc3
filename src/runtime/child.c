/* SPDX-License-Identifier: MIT
 *
 * A child: runs handlers, one job at a time, until its socket is closed. The neoq that it inherited becomes another one
 * at the same address, whose store is the host: so a handler's own pointer to it still enqueues.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "job/pack.h"
#include "runtime/process.h"

enum { PEAK_GROWTH_KIB = 1024 /* a run that took more than that leaves the next one a peak of its own */ };

/* ---- the store: the host, which is asked ------------------------------------------------- */

struct neoq_store {
    pthread_mutex_t mutex; /* of a question and its answer */
    int socket;
    bool running; /* the host listens */
    nq_message answer;
};

/* The mutex is held. The answer's status, with its words; size: what it must bring besides if that is NEOQ_OK. */
static int ask(neoq_store *host, nq_word word, const nq_buffer *question, size_t size)
{
    const nq_answer_word *answer;
    if (!host->running)
        return nq_fail(NEOQ_ESTATE, "the run is over: its process has nobody to ask");
    if (question->failed)
        return nq_fail(NEOQ_ENOMEM, "no memory to ask the neoq's own process");
    if (!nq_wire_send(host->socket, word, question->data, question->size, -1, true))
        return nq_fail(NEOQ_EBACKEND, "the neoq's own process does not listen");
    if (!nq_wire_receive(host->socket, &host->answer) || host->answer.kind != NQ_WORD_ANSWER ||
        host->answer.body.size < sizeof *answer)
        return nq_fail(NEOQ_EUNKNOWN, "the neoq's own process has not answered");
    answer = (const nq_answer_word *)(const void *)host->answer.body.data;
    if (answer->status != NEOQ_OK)
        return nq_fail(answer->status, "%s", answer->words);
    if (host->answer.body.size != sizeof *answer + size)
        return nq_fail(NEOQ_EUNKNOWN, "the neoq's own process gave half an answer");
    return NEOQ_OK;
}

static int ask_to_enqueue(neoq_store *host, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    nq_buffer question = {0};
    size_t size = count * sizeof *results;
    for (size_t i = 0; i < count; i++) {
        neoq_job job = jobs[i];
        if (job.run_after == job.created_at)
            job.run_after = 0; /* now: the host knows better when that is, for the machine's clock may be wrong */
        nq_job_pack(&question, &job);
    }
    pthread_mutex_lock(&host->mutex);
    int status = ask(host, NQ_WORD_ENQUEUE, &question, size);
    if (status == NEOQ_OK)
        memcpy(results, host->answer.body.data + sizeof(nq_answer_word), size);
    pthread_mutex_unlock(&host->mutex);
    nq_buffer_free(&question);
    return status;
}

static int ask_to_set_progress(neoq_store *host, const char *id, int64_t epoch, const neoq_progress *progress)
{
    nq_buffer question = {0};
    (void)id;
    (void)epoch; /* the host knows whose we are */
    nq_buffer_add(&question, progress, sizeof *progress);
    pthread_mutex_lock(&host->mutex);
    int status = ask(host, NQ_WORD_PROGRESS, &question, 0);
    pthread_mutex_unlock(&host->mutex);
    nq_buffer_free(&question);
    return status;
}

int nq_child_cancel_fd(neoq_store *host)
{
    const nq_buffer nothing = {0};
    pthread_mutex_lock(&host->mutex);
    int status = ask(host, NQ_WORD_CANCEL_FD, &nothing, 0);
    int fd = status == NEOQ_OK ? host->answer.fd : -1;
    pthread_mutex_unlock(&host->mutex);
    return fd;
}

/* nq_usable() keeps everybody away from the rest. */
static const neoq_backend host_backend = {
    .version = NEOQ_BACKEND_VERSION,
    .size = sizeof host_backend,
    .scheme = "process",
    .enqueue = ask_to_enqueue,
    .set_progress = ask_to_set_progress,
};

/* ---- limits ----------------------------------------------------------------------------- */

typedef struct life {
    nq_queue queue;
    neoq *nq;
    nq_window *window;
    neoq_store host;
    struct rlimit space; /* as inherited */
    timer_t timer;
    bool timed;
    nq_pace pace;
    neoq_duration cpu;        /* used before the run */
    long peak, children_peak; /* KiB: before the run */
} life;

/* Bytes of address space that are taken; 0: see errno. */
static size_t space_taken(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%zu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* What the run may take, beyond what is there already. The hard limit stays, so that the next run may have as much.
 * False: see errno. */
static bool limit_memory(const life *l, size_t bytes)
{
    struct rlimit limit = l->space;
    if (bytes == 0)
        return true;
    size_t taken = space_taken();
    if (taken == 0)
        return false;
    if (bytes < limit.rlim_cur - taken)
        limit.rlim_cur = taken + bytes;
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

static void unlimit_memory(const life *l, size_t bytes)
{
    if (bytes > 0)
        setrlimit(RLIMIT_AS, &l->space);
}

/* RLIMIT_CPU counts whole seconds of a whole life; this timer, those of one run. False: see errno. */
static bool limit_cpu(life *l, neoq_duration duration)
{
    const struct itimerspec at = {.it_value = {.tv_sec = duration / 1000000, .tv_nsec = duration % 1000000 * 1000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGXCPU};
    if (duration > 0 && !l->timed)
        l->timed = timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &l->timer) == 0;
    return duration == 0 || (l->timed && timer_settime(l->timer, 0, &at, NULL) == 0);
}

static void unlimit_cpu(const life *l)
{
    if (l->timed)
        timer_settime(l->timer, 0, &(struct itimerspec){0}, NULL);
}

/* ---- what it used ------------------------------------------------------------------------ */

static neoq_duration cpu_of(const struct rusage *used)
{
    return (neoq_duration)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000000 + used->ru_utime.tv_usec +
           used->ru_stime.tv_usec;
}

static void forget_peak(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "5", 1) != 1)
        errno = 0; /* peaks are those of the whole life then */
    close(fd);
}

/* Since it was called last. end may be NULL. */
static void measure(life *l, nq_end_word *end)
{
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    neoq_duration cpu = cpu_of(&self) + cpu_of(&children);
    long most = self.ru_maxrss;
    if (children.ru_maxrss > l->children_peak && children.ru_maxrss > most)
        most = children.ru_maxrss;
    if (end && end->cpu_time == 0)
        end->cpu_time = cpu - l->cpu;
    if (end && end->peak_memory == 0)
        end->peak_memory = (int64_t)most * 1024;
    if (end)
        end->cpu_so_far = cpu;
    if (self.ru_maxrss > l->peak + PEAK_GROWTH_KIB) {
        forget_peak();
        getrusage(RUSAGE_SELF, &self);
        l->peak = self.ru_maxrss;
    }
    l->children_peak = children.ru_maxrss;
    l->cpu = cpu;
}

/* Lays to rest what the run left dead. Whether it left something alive: whatever it began is our descendant, even what
 * left our group, because orphans come to us. */
static bool leaves_some(void)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
        ;
    return pid == 0;
}

/* ---- a run ------------------------------------------------------------------------------ */

static void tell_end(const life *l, const neoq_ctx *ctx, nq_end_word *end)
{
    nq_buffer body = {0};
    end->outcome = ctx->said.outcome;
    end->wait = ctx->said.wait;
    end->has_error = ctx->said.error != NULL;
    end->error_size = ctx->said.error ? strlen(ctx->said.error) : 0;
    end->has_result = ctx->result != NULL;
    end->result_size = ctx->result_size;
    const void *word = end;
    size_t size = sizeof *end;
    if (end->has_error || end->has_result) {
        nq_buffer_add(&body, end, sizeof *end);
        nq_buffer_add(&body, ctx->said.error, end->error_size);
        nq_buffer_add(&body, ctx->result, end->result_size);
        if (body.failed)
            abort(); /* a run without memory to say how it ended has crashed */
        word = body.data;
        size = body.size;
    }
    if (!nq_wire_send(l->host.socket, NQ_WORD_END, word, size, -1, true))
        _exit(1); /* the host, if it is there, waits for the run's end or for ours */
    nq_buffer_free(&body);
}

static int run_handler(life *l, neoq_ctx *ctx)
{
    l->host.running = true;
    atomic_store(&l->window->begun, 1);
    const neoq_handler *handler = &l->queue.handler;
    int returned = NEOQ_EFAILED;
    if (!limit_cpu(l, handler->cpu_limit))
        neoq_fail(ctx, "its cpu_limit cannot be set: %s", strerror(errno));
    else if (!limit_memory(l, handler->memory_limit))
        neoq_fail(ctx, "its memory_limit cannot be set: %s", strerror(errno));
    else
        returned = nq_run_handler(ctx);
    unlimit_cpu(l);
    unlimit_memory(l, handler->memory_limit);
    pthread_mutex_lock(&l->host.mutex); /* a thread of the handler's may be asking just now */
    l->host.running = false;
    pthread_mutex_unlock(&l->host.mutex);
    return returned;
}

static void run(life *l, const nq_message *message)
{
    const char *at = message->body.data;
    size_t size = message->body.size;
    neoq_ctx ctx = {.nq = l->nq, .queue = &l->queue, .refs = 1, .stop = &l->window->stop, .cancel_fd = -1};
    nq_run_word word;
    if (message->kind != NQ_WORD_RUN || size < sizeof word)
        return;
    memcpy(&word, at, sizeof word);
    at += sizeof word;
    size -= sizeof word;
    if (!nq_job_unpack(&at, &size, &ctx.claimed.job))
        return;
    ctx.expires = nq_time_add(nq_real_clock.steady(&nq_real_clock), word.remaining);
    nq_end_word end = {.returned = run_handler(l, &ctx)};
    end.exit_code = ctx.exit_code;
    end.signal = ctx.signal;
    end.cpu_time = ctx.cpu_time;
    end.peak_memory = ctx.peak_memory;
    end.leaves_some = leaves_some();
    measure(l, &end);
    int cancel_fd = atomic_load(&ctx.cancel_fd);
    if (cancel_fd >= 0)
        close(cancel_fd);
    tell_end(l, &ctx, &end);
    free(ctx.said.error);
    free(ctx.result);
}

/* ---- its life --------------------------------------------------------------------------- */

/* In the place of the neoq that cannot be used any more. What that owned is not ours to free. */
static void inhabit(neoq *nq, neoq_store *host)
{
    neoq fresh = {.backend = &host_backend,
                  .store = host,
                  .options = nq->options,
                  .clock = &nq_real_clock,
                  .parent = nq->parent,
                  .phase = NQ_OPEN,
                  .refs = 1,
                  .stop_fd = -1,
                  .stop_until = INT64_MAX,
                  .apart = true};
    memcpy(nq, &fresh, sizeof fresh);
    *nq->parent = 1;
    nq_clock_reseed(); /* our brothers and we have the same past */
    atomic_init(&nq->counter, nq_real_clock.random(&nq_real_clock) >> 32);
    pthread_mutex_init(&nq->mutex, NULL);
    nq_cond_init(&nq->idle);
    nq_cond_init(&nq->ticking);
    nq_cond_init(&nq->resting);
    nq_cond_init(&nq->ended);
}

static bool hear(life *l, nq_message *message)
{
    bool there = nq_pace_linger(&l->pace, l->host.socket), heard = nq_wire_receive(l->host.socket, message);
    if (!there)
        nq_pace_waited(&l->pace);
    return heard;
}

_Noreturn void nq_child_live(const nq_origin *origin, nq_window *window, int socket)
{
    life l = {.queue = {.handler = origin->handler},
              .nq = origin->nq,
              .window = window,
              .host = {.socket = socket, .answer = NQ_MESSAGE_INITIALIZER}};
    nq_message message = NQ_MESSAGE_INITIALIZER;
    pthread_mutex_init(&l.host.mutex, NULL);
    inhabit(l.nq, &l.host);
    getrlimit(RLIMIT_AS, &l.space);
    measure(&l, NULL);
    atomic_store(&window->pid, getpid());
    while (hear(&l, &message))
        run(&l, &message);
    _exit(0);
}
