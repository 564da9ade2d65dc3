/* SPDX-License-Identifier: MIT
 *
 * One run of one job: what a handler sees and says, and what its return means.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "runtime/children.h"
#include "runtime/process.h"

enum { CRASHES_MAX = 3 /* in a row: the job is dead */, ERROR_MAX = 511, RESULT_MAX = 16 << 20 };

/* The run whose handler is on this thread's stack. */
static _Thread_local neoq_ctx *current;

neoq_ctx *nq_run_current(const neoq *nq)
{
    return current && current->nq == nq ? current : NULL;
}

neoq_ctx *nq_run_enter(neoq_ctx *ctx)
{
    neoq_ctx *outer = current;
    current = ctx;
    return outer;
}

void nq_run_init(neoq_ctx *ctx, neoq *nq, nq_queue *queue, const neoq_claimed *claimed)
{
    *ctx = (neoq_ctx){
        .nq = nq,
        .queue = queue,
        .claimed = *claimed,
        .refs = 1,
        .expires = INT64_MAX,
        .stop = &ctx->own_stop,
        .cancel_fd = -1,
    };
}

void nq_run_free(neoq_ctx *ctx)
{
    int fd = atomic_load(&ctx->cancel_fd);
    if (fd >= 0)
        close(fd);
    if (ctx->claimed.hold)
        ctx->nq->backend->release(ctx->nq->store, &ctx->claimed);
    free(ctx->said.error);
    free(ctx->end.error);
    free(ctx->result);
    free(ctx);
}

void nq_list_add(nq_run_list *list, neoq_ctx *ctx)
{
    ctx->prev = list->tail;
    ctx->next = NULL;
    *(list->tail ? &list->tail->next : &list->head) = ctx;
    list->tail = ctx;
    list->count++;
}

void nq_list_remove(nq_run_list *list, neoq_ctx *ctx)
{
    *(ctx->prev ? &ctx->prev->next : &list->head) = ctx->next;
    *(ctx->next ? &ctx->next->prev : &list->tail) = ctx->prev;
    ctx->prev = ctx->next = NULL;
    list->count--;
}

void nq_list_splice(nq_run_list *list, nq_run_list *from)
{
    if (!from->head)
        return;
    from->head->prev = list->tail;
    *(list->tail ? &list->tail->next : &list->head) = from->head;
    list->tail = from->tail;
    list->count += from->count;
    *from = (nq_run_list){0};
}

int nq_run_handler(neoq_ctx *ctx)
{
    neoq *nq = ctx->nq;
    neoq_ctx *outer = nq_run_enter(ctx); /* by hand, a handler may work another job */
    int returned = ctx->queue->handler.handle(ctx, ctx->queue->handler.arg);
    nq_run_enter(outer);
    /* A handler that forked came back here twice. The child has no business in the parent's store. */
    if (*(volatile uint32_t *)nq->parent == 0)
        _exit(70);
    return returned;
}

/* ---- cancelling ------------------------------------------------------------------------- */

static void signal_fd(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void nq_run_stop(neoq_ctx *ctx, nq_outcome why)
{
    int none = 0;
    if (!atomic_compare_exchange_strong(ctx->stop, &none, (int)why))
        return;
    int fd = atomic_load(&ctx->cancel_fd);
    if (fd >= 0)
        signal_fd(fd);
    if (ctx->seat)
        nq_children_press(ctx);
}

bool neoq_ctx_cancelled(const neoq_ctx *ctx)
{
    if (!ctx)
        return false;
    /* By hand nobody else watches the time. */
    return atomic_load(ctx->stop) != 0 ||
           (ctx->nq->by_hand && ctx->nq->clock->steady(ctx->nq->clock) >= ctx->expires);
}

int neoq_ctx_cancel_fd(neoq_ctx *ctx)
{
    if (!ctx)
        return -1;
    int fd = atomic_load(&ctx->cancel_fd);
    if (fd >= 0)
        return fd;
    fd = ctx->nq->apart ? nq_child_cancel_fd(ctx->nq->store) : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        nq_fail(NEOQ_EBACKEND, "no descriptor for the cancellation of job %s: %s", ctx->claimed.job.id,
                strerror(errno));
        return -1;
    }
    int before = -1;
    if (!atomic_compare_exchange_strong(&ctx->cancel_fd, &before, fd)) {
        close(fd);
        return before;
    }
    /* Whoever stops the run sets `stop` before it looks for a descriptor; so one of the two sees the other. */
    if (atomic_load(ctx->stop) != 0)
        signal_fd(fd);
    return fd;
}

neoq_duration neoq_ctx_remaining(const neoq_ctx *ctx)
{
    if (!ctx || ctx->expires == INT64_MAX)
        return NEOQ_FOREVER;
    int64_t left = ctx->expires - ctx->nq->clock->steady(ctx->nq->clock);
    return left > 0 && atomic_load(ctx->stop) == 0 ? left : 0;
}

const neoq_job *neoq_ctx_job(const neoq_ctx *ctx)
{
    return ctx ? &ctx->claimed.job : NULL;
}

/* ---- what a handler says ---------------------------------------------------------------- */

/* Error texts are kept, shown and stored: valid UTF-8, bounded. */
static char *clean_text(const char *text)
{
    char *clean = malloc(ERROR_MAX + 1);
    if (clean)
        nq_utf8_clean(text, strlen(text), clean, ERROR_MAX + 1);
    return clean;
}

static void say(neoq_ctx *ctx, nq_outcome outcome, neoq_duration wait, const char *format, va_list args)
{
    char text[4 * ERROR_MAX];
    vsnprintf(text, sizeof text, format ? format : "", args);
    free(ctx->said.error);
    ctx->said = (nq_end){outcome, wait, text[0] ? clean_text(text) : NULL};
}

int neoq_fail(neoq_ctx *ctx, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (ctx)
        say(ctx, NQ_FAILED, 0, format, args);
    va_end(args);
    return NEOQ_EFAILED;
}

int neoq_retry_in(neoq_ctx *ctx, neoq_duration wait, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (ctx)
        say(ctx, NQ_RETRY_IN, wait > 0 ? wait : 0, format, args);
    va_end(args);
    return NEOQ_EFAILED;
}

int neoq_discard(neoq_ctx *ctx, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (ctx)
        say(ctx, NQ_DISCARDED, 0, format, args);
    va_end(args);
    return NEOQ_EFAILED;
}

int neoq_slow_down(neoq_ctx *ctx, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (ctx)
        say(ctx, NQ_SLOW, 0, format, args);
    va_end(args);
    return NEOQ_EFAILED;
}

int neoq_snooze(neoq_ctx *ctx, neoq_duration wait)
{
    if (ctx) {
        free(ctx->said.error);
        ctx->said = (nq_end){NQ_SNOOZED, wait > 0 ? wait : 0, NULL};
    }
    return NEOQ_EFAILED;
}

/* Whether a run still counts: NEOQ_ELOST once its end was decided without its handler. */
static int check_run(neoq_ctx *ctx, const char *function)
{
    if (!ctx)
        return nq_fail(NEOQ_EINVAL, "%s: the ctx is NULL", function);
    pthread_mutex_lock(&ctx->nq->mutex);
    bool abandoned = ctx->abandoned;
    pthread_mutex_unlock(&ctx->nq->mutex);
    if (abandoned)
        return nq_fail(NEOQ_ELOST, "%s: run %lld of job %s is over", function, (long long)ctx->claimed.job.epoch,
                       ctx->claimed.job.id);
    return NEOQ_OK;
}

int neoq_set_result(neoq_ctx *ctx, const void *result, size_t size)
{
    int status = check_run(ctx, "neoq_set_result");
    if (status != NEOQ_OK)
        return status;
    if (size > RESULT_MAX)
        return nq_fail(NEOQ_ETOOBIG, "neoq_set_result: %zu bytes; the limit is %d", size, RESULT_MAX);
    if (!result && size > 0)
        return nq_fail(NEOQ_EINVAL, "neoq_set_result: the result is NULL but its size is %zu", size);
    char *copy = result ? malloc(size + 1) : NULL;
    if (result && !copy)
        return nq_fail(NEOQ_ENOMEM, "neoq_set_result: no memory");
    if (copy) {
        memcpy(copy, result, size);
        copy[size] = '\0';
    }
    free(ctx->result);
    ctx->result = copy;
    ctx->result_size = size;
    return NEOQ_OK;
}

int neoq_set_exit(neoq_ctx *ctx, int exit_code, int signal, neoq_duration cpu_time, int64_t peak_memory)
{
    int status = check_run(ctx, "neoq_set_exit");
    if (status != NEOQ_OK)
        return status;
    ctx->exit_code = exit_code;
    ctx->signal = signal;
    ctx->cpu_time = cpu_time;
    ctx->peak_memory = peak_memory;
    return NEOQ_OK;
}

int neoq_set_progress(neoq_ctx *ctx, int percent, const char *note)
{
    int status = check_run(ctx, "neoq_set_progress");
    if (status != NEOQ_OK)
        return status;
    if (percent < 0 || percent > 100)
        return nq_fail(NEOQ_EINVAL, "neoq_set_progress: %d is not a percentage (0..100)", percent);
    neoq_progress progress = {.percent = percent, .at = nq_now(ctx->nq)};
    if (note)
        nq_utf8_clean(note, strlen(note), progress.note, sizeof progress.note);
    return ctx->nq->backend->set_progress(ctx->nq->store, ctx->claimed.job.id, ctx->claimed.job.epoch, &progress);
}

/* ---- what its return means -------------------------------------------------------------- */

char *nq_text(const char *format, ...)
{
    char *text = malloc(ERROR_MAX + 1);
    va_list args;
    va_start(args, format);
    if (text)
        vsnprintf(text, ERROR_MAX + 1, format, args);
    va_end(args);
    return text;
}

nq_end nq_run_stopped_end(neoq_ctx *ctx, nq_outcome why)
{
    switch (why) {
    case NQ_CANCELLED: return (nq_end){NQ_CANCELLED, 0, nq_text("cancelled")};
    case NQ_TIMEOUT:
        return (nq_end){NQ_TIMEOUT, 0,
                        nq_text("the run exceeded its timeout of %.3f s", (double)ctx->queue->handler.timeout / 1e6)};
    case NQ_EXPIRED: return (nq_end){NQ_EXPIRED, 0, nq_text("the job's deadline passed while it ran")};
    default: return (nq_end){why, 0, NULL};
    }
}

/* Whether the run's job has crashed its process in each of the runs before this one, as often as it takes. */
typedef struct history {
    int64_t epoch; /* of this run */
    int crashes;
} history;

static int count_crash(const neoq_run_info *run, void *arg)
{
    history *h = arg;
    if (run->epoch >= h->epoch)
        return NEOQ_OK;
    if (strcmp(run->outcome, nq_outcome_word(NQ_CRASHED)) != 0 || ++h->crashes >= CRASHES_MAX)
        return NEOQ_ENOTFOUND; /* enough */
    return NEOQ_OK;
}

nq_end nq_run_crash_end(neoq_ctx *ctx, const char *words)
{
    history h = {.epoch = ctx->claimed.job.epoch, .crashes = 1};
    ctx->nq->backend->runs(ctx->nq->store, ctx->claimed.job.id, count_crash, &h);
    if (h.crashes >= CRASHES_MAX)
        return (nq_end){NQ_POISONED, 0, nq_text("crashed %d times: %s", CRASHES_MAX, words)};
    return (nq_end){NQ_CRASHED, 0, nq_text("%s", words)};
}

nq_end nq_run_killed_end(neoq_ctx *ctx, int number)
{
    char words[200];
    const char *name = sigabbrev_np(number);
    snprintf(words, sizeof words, "the run's process was killed by signal %d (SIG%s)", number, name ? name : "?");
    if (number == SIGXCPU && ctx->queue->handler.cpu_limit > 0)
        snprintf(words + strlen(words), sizeof words - strlen(words), ": the run exceeded its cpu_limit of %.3f s",
                 (double)ctx->queue->handler.cpu_limit / 1e6);
    return nq_run_crash_end(ctx, words);
}

nq_end nq_run_verdict(neoq_ctx *ctx, int returned)
{
    const neoq *nq = ctx->nq;
    int stop = atomic_load(ctx->stop);
    if (ctx->in_transaction)
        /* If the user's transaction committed, the store refuses this, and all is well: see settled_elsewhere(). */
        return (nq_end){NQ_FAILED, 0, nq_text("the transaction in which the run was finished did not commit")};
    if (stop == NQ_CANCELLED)
        return nq_run_stopped_end(ctx, NQ_CANCELLED);
    if (nq->by_hand && nq->clock->steady(nq->clock) >= ctx->expires)
        return nq_run_stopped_end(ctx, ctx->expiry);
    if (returned == NEOQ_OK)
        return (nq_end){NQ_DONE, 0, NULL};
    if (ctx->said.outcome && (returned == NEOQ_EFAILED || ctx->said.outcome == NQ_FAILED)) {
        nq_end said = ctx->said;
        ctx->said.error = NULL;
        if (!said.error && said.outcome != NQ_SNOOZED)
            said.error = nq_text("the handler failed without a word");
        return said;
    }
    if (returned == NEOQ_EFAILED)
        return (nq_end){NQ_FAILED, 0, nq_text("the handler failed without a word")};
    return (nq_end){NQ_FAILED, 0, nq_text("the handler returned %d", returned)};
}
