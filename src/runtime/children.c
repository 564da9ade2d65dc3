/* SPDX-License-Identifier: MIT
 *
 * The children of a queue. An executor that has a run to make takes a seat, hands the run to the child that sits there,
 * and waits for its end: one thread a child at work, which answers what the child asks meanwhile. The ticker watches the
 * time, as it does for threads, but here it can enforce it.
 */
#include "runtime/children.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/utf8.h"
#include "job/job.h"
#include "job/pack.h"
#include "runtime/process.h"

enum {
    DEFAULT_RECYCLE_AFTER = 1000,
    DEFAULT_KILL_AFTER_S = 5,
    ASKED_S = 1,          /* from the cancellation of the context to SIGTERM */
    PRESSED_HARD = 2,     /* it was asked, had its SIGTERM: all that is left is SIGKILL */
    BEGINNINGS_MAX = 5,   /* children that end before they take the run up */
    LAST_BREATH_MS = 500, /* for what was killed, but by nobody who could tell of its end, to be gone */
    AGAIN_MS = 100        /* until a signal that found no room on its way is sent once more */
};

/* A place for a child, which is there from its first run on. */
struct nq_seat {
    struct nq_seat *next; /* idle ones: the one that was used last comes first */
    nq_window *window;
    int socket; /* -1: nobody sits here */
    int runs;   /* that this child has made */
    neoq_duration cpu;
    neoq_duration remaining; /* of the run, when it began */
    nq_message message;
    nq_pace pace;
    nq_buffer out;
    atomic_bool signalled; /* set under nq->mutex */

    nq_fork_server *server; /* these two: under nq->mutex, but for who sits here */
    uint64_t serial;
};

struct nq_children {
    nq_origin origin;
    nq_seat *seats, *idle;
    size_t count;

    pthread_mutex_t mutex; /* of what follows */
    nq_fork_server *server;
    uint64_t serial; /* given out last */
};

/* ---- making them ------------------------------------------------------------------------ */

int nq_children_make(nq_children **out, neoq *nq, const neoq_handler *handler)
{
    size_t count = (size_t)handler->concurrency;
    nq_children *c = calloc(1, sizeof *c);
    nq_seat *seats = calloc(count, sizeof *seats);
    nq_window *windows =
        mmap(NULL, count * sizeof *windows, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!c || !seats || windows == MAP_FAILED) {
        free(c);
        free(seats);
        if (windows != MAP_FAILED)
            munmap(windows, count * sizeof *windows);
        return nq_fail(NEOQ_ENOMEM, "neoq_start: no memory");
    }
    c->origin = (nq_origin){.nq = nq, .handler = *handler, .windows = windows};
    c->seats = seats;
    c->count = count;
    if (handler->recycle_after == 0)
        c->origin.handler.recycle_after = DEFAULT_RECYCLE_AFTER;
    if (handler->kill_after == 0)
        c->origin.handler.kill_after = NEOQ_SECONDS(DEFAULT_KILL_AFTER_S);
    pthread_mutex_init(&c->mutex, NULL);
    for (size_t i = count; i-- > 0;) {
        seats[i] = (nq_seat){.next = c->idle, .window = &windows[i], .socket = -1};
        c->idle = &seats[i];
    }
    c->server = nq_fork_server_start(&c->origin);
    if (!c->server) {
        nq_children_free(c);
        return NEOQ_ENOMEM;
    }
    *out = c;
    return NEOQ_OK;
}

/* The fork server, with a reference; one in the place of `broken`, which is gone. NULL: none could be forked. */
static nq_fork_server *take_server(nq_children *c, const nq_fork_server *broken, uint64_t *serial)
{
    nq_fork_server *old = NULL;
    pthread_mutex_lock(&c->mutex);
    if (!c->server || c->server == broken) {
        old = c->server;
        c->server = nq_fork_server_start(&c->origin);
    }
    nq_fork_server *server = c->server;
    if (server)
        server->refs++;
    *serial = ++c->serial;
    if (old && --old->refs > 0)
        old = NULL;
    pthread_mutex_unlock(&c->mutex);
    if (old)
        nq_fork_server_end(old);
    return server;
}

static void give_back_server(nq_children *c, nq_fork_server *server)
{
    pthread_mutex_lock(&c->mutex);
    bool last = --server->refs == 0;
    pthread_mutex_unlock(&c->mutex);
    if (last)
        nq_fork_server_end(server);
}

/* Nobody sits there any more; a child that was idle ends when it finds its socket closed. */
static void clear_seat(nq_children *c, nq_seat *seat)
{
    neoq *nq = c->origin.nq;
    if (seat->socket < 0)
        return;
    shutdown(seat->socket, SHUT_RDWR); /* closed alone it would stay open in a child that the host forked */
    close(seat->socket);
    seat->socket = -1;
    pthread_mutex_lock(&nq->mutex);
    nq_fork_server *server = seat->server;
    seat->server = NULL;
    atomic_store(&seat->signalled, false);
    pthread_mutex_unlock(&nq->mutex);
    give_back_server(c, server);
}

/* Orders a child for the seat. NULL in *server: there is nobody to order it from. */
static bool order_child(nq_children *c, nq_seat *seat, nq_fork_server **server, uint64_t *serial)
{
    int ends[2], error = nq_wire_pair(ends);
    nq_order_word order = {.window = (size_t)(seat->window - c->origin.windows)};
    if (error != 0) {
        nq_fail(NEOQ_EBACKEND, "no socket to a child process: %s", strerror(error));
        return false;
    }
    atomic_store(&seat->window->pid, 0); /* whoever sat here is gone or going, and his number anybody's */
    *server = take_server(c, NULL, &order.serial);
    if (*server && !nq_fork_server_spawn(*server, &order, ends[1])) {
        nq_fork_server *broken = *server;
        *server = take_server(c, broken, &order.serial);
        give_back_server(c, broken);
        if (*server && !nq_fork_server_spawn(*server, &order, ends[1])) {
            give_back_server(c, *server);
            *server = NULL;
            nq_fail(NEOQ_EBACKEND, "the fork server is gone");
        }
    }
    close(ends[1]);
    *serial = order.serial;
    if (*server)
        seat->socket = ends[0];
    else
        close(ends[0]);
    return *server != NULL;
}

/* Whether a child sits there that a run may be handed to. A signal is on its way for a while, and may reach the child
 * after the run that it was meant for: so a child that was signalled gets no other. */
static bool is_manned(const nq_seat *seat)
{
    return seat->socket >= 0 && !atomic_load(&seat->signalled);
}

/* Sees to it that one does. False: see neoq_error_message(). */
static bool fill_seat(nq_children *c, nq_seat *seat)
{
    nq_fork_server *server;
    uint64_t serial;
    if (is_manned(seat))
        return true;
    clear_seat(c, seat);
    if (!order_child(c, seat, &server, &serial))
        return false;
    seat->runs = 0;
    seat->cpu = 0;
    pthread_mutex_lock(&c->origin.nq->mutex);
    seat->server = server;
    seat->serial = serial;
    pthread_mutex_unlock(&c->origin.nq->mutex);
    return true;
}

void nq_children_free(nq_children *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++) {
        clear_seat(c, &c->seats[i]);
        nq_buffer_free(&c->seats[i].message.body);
        nq_buffer_free(&c->seats[i].out);
    }
    if (c->server)
        nq_fork_server_end(c->server);
    pthread_mutex_destroy(&c->mutex);
    munmap(c->origin.windows, c->count * sizeof *c->origin.windows);
    free(c->seats);
    free(c);
}

/* ---- who sits where, and how he is made to leave: nq->mutex is held ----------------------- */

void nq_children_seat(neoq_ctx *ctx)
{
    nq_children *c = ctx->queue->children;
    nq_seat *seat = c->idle; /* there are as many as runs may be under way */
    c->idle = seat->next;
    seat->remaining = NEOQ_FOREVER;
    if (ctx->expires != INT64_MAX)
        seat->remaining = ctx->expires - ctx->nq->clock->steady(ctx->nq->clock);
    atomic_store(&seat->window->stop, 0);
    ctx->seat = seat;
    ctx->stop = &seat->window->stop;
    ctx->pressed = 0;
}

void nq_children_unseat(neoq_ctx *ctx)
{
    nq_children *c = ctx->queue->children;
    nq_seat *seat = ctx->seat;
    atomic_store(&ctx->own_stop, atomic_load(ctx->stop));
    ctx->stop = &ctx->own_stop;
    ctx->seat = NULL;
    seat->next = c->idle;
    c->idle = seat;
}

/* False: it was not sent. */
static bool signal_child(nq_seat *seat, int number)
{
    const nq_order_word order = {.serial = seat->serial, .signal = number};
    if (!seat->server)
        return true; /* nobody is there to be hit */
    atomic_store(&seat->signalled, true);
    return nq_fork_server_signal(seat->server, &order);
}

/* The ticker takes the next step then. */
static void next_step(neoq_ctx *ctx, neoq_duration wait)
{
    ctx->expires = nq_time_add(ctx->nq->clock->steady(ctx->nq->clock), wait);
    if (ctx->expires < ctx->nq->ticker_until)
        pthread_cond_signal(&ctx->nq->ticking);
}

void nq_children_press(neoq_ctx *ctx)
{
    switch (ctx->pressed++) {
    case 0: next_step(ctx, NEOQ_SECONDS(ASKED_S)); break;
    case 1:
        signal_child(ctx->seat, SIGTERM); /* where it finds no room, SIGKILL follows all the same */
        next_step(ctx, ctx->queue->children->origin.handler.kill_after);
        break;
    default: nq_children_kill(ctx); break;
    }
}

void nq_children_kill(neoq_ctx *ctx)
{
    ctx->pressed = PRESSED_HARD;
    ctx->expires = INT64_MAX;
    if (!signal_child(ctx->seat, SIGKILL)) /* a fork server that stands still is full of orders: it may go on */
        next_step(ctx, NEOQ_MILLISECONDS(AGAIN_MS));
}

static void order_kill(neoq_ctx *ctx)
{
    pthread_mutex_lock(&ctx->nq->mutex);
    nq_children_kill(ctx);
    pthread_mutex_unlock(&ctx->nq->mutex);
}

void nq_children_force(neoq_ctx *ctx)
{
    if (ctx->seat->server)
        nq_fork_server_kill(ctx->seat->server);
}

/* ---- what a child asks ------------------------------------------------------------------- */

/* A child that gets none would wait for ever: it is killed. */
static void answer(neoq_ctx *ctx, int status, const void *more, size_t size, int fd)
{
    nq_buffer body = {0};
    nq_answer_word word = {.status = status};
    if (status != NEOQ_OK)
        nq_utf8_clean(neoq_error_message(), strlen(neoq_error_message()), word.words, sizeof word.words);
    nq_buffer_add(&body, &word, sizeof word);
    nq_buffer_add(&body, more, size);
    bool sent = nq_wire_send(ctx->seat->socket, NQ_WORD_ANSWER, body.data, body.size, fd, true);
    nq_buffer_free(&body);
    if (!sent)
        order_kill(ctx);
}

/* The jobs of a question; NULL: it is malformed, or there is no memory. */
static neoq_job *read_jobs(const nq_buffer *body, size_t *count)
{
    const char *at = body->data;
    size_t size = body->size, room = 0;
    neoq_job *jobs = NULL;
    for (*count = 0; size > 0; ++*count) {
        if (*count == room) {
            room = room ? 2 * room : 1;
            neoq_job *more = realloc(jobs, room * sizeof *jobs);
            if (!more)
                break;
            jobs = more;
        }
        if (!nq_job_unpack(&at, &size, &jobs[*count]))
            break;
    }
    if (size == 0)
        return jobs;
    free(jobs);
    return NULL;
}

/* They are checked like anybody's: a child may have gone mad. */
static void answer_enqueue(neoq_ctx *ctx)
{
    nq_seat *seat = ctx->seat;
    size_t count = 0;
    neoq_job *jobs = read_jobs(&seat->message.body, &count);
    neoq_enqueued *results = jobs ? calloc(count, sizeof *results) : NULL;
    int status = results ? neoq_enqueue_many(ctx->nq, jobs, count, results)
                         : nq_fail(NEOQ_ENOMEM, "no memory for what a child process enqueues");
    answer(ctx, status, results, status == NEOQ_OK ? count * sizeof *results : 0, -1);
    free(results);
    free(jobs);
}

static void answer_progress(neoq_ctx *ctx)
{
    nq_seat *seat = ctx->seat;
    neoq_progress progress;
    int status = NEOQ_EINVAL;
    if (seat->message.body.size == sizeof progress) {
        memcpy(&progress, seat->message.body.data, sizeof progress);
        progress.note[sizeof progress.note - 1] = '\0';
        status = neoq_set_progress(ctx, progress.percent, progress.note);
    }
    answer(ctx, status, NULL, 0, -1);
}

static void answer_cancel_fd(neoq_ctx *ctx)
{
    int fd = neoq_ctx_cancel_fd(ctx);
    answer(ctx, fd >= 0 ? NEOQ_OK : NEOQ_EBACKEND, NULL, 0, fd);
}

/* ---- how a run ends ---------------------------------------------------------------------- */

/* The child is gone, and said why. */
static nq_end gone_end(neoq_ctx *ctx, const nq_gone_word *gone)
{
    int stop = atomic_load(ctx->stop);
    if (gone->error != 0)
        return (nq_end){NQ_FAILED, 0, nq_text("no process can be made for the run: %s", strerror(gone->error))};
    ctx->exit_code = WIFEXITED(gone->status) ? WEXITSTATUS(gone->status) : 0;
    ctx->signal = WIFSIGNALED(gone->status) ? WTERMSIG(gone->status) : 0;
    ctx->cpu_time = gone->cpu_so_far - ctx->seat->cpu;
    ctx->peak_memory = gone->peak_memory;
    if (stop != 0)
        return nq_run_stopped_end(ctx, (nq_outcome)stop);
    if (WIFSIGNALED(gone->status))
        return nq_run_killed_end(ctx, WTERMSIG(gone->status));
    char words[100];
    snprintf(words, sizeof words, "the run's process exited with status %d before the run was over", ctx->exit_code);
    return nq_run_crash_end(ctx, words);
}

/* The child is gone, and nobody is left to say why: so is the fork server. It may be nobody's fault but the machine's. */
static nq_end lost_end(neoq_ctx *ctx)
{
    int stop = atomic_load(ctx->stop);
    if (stop != 0)
        return nq_run_stopped_end(ctx, (nq_outcome)stop);
    return (nq_end){NQ_LOST, 0, nq_text("the run's process was lost with its fork server")};
}

/* What the child says of its end. False: it makes no sense. */
static bool take_end(neoq_ctx *ctx, nq_end_word *end)
{
    const nq_buffer *body = &ctx->seat->message.body;
    if (body->size < sizeof *end)
        return false;
    memcpy(end, body->data, sizeof *end);
    size_t rest = body->size - sizeof *end;
    if (end->error_size > rest || end->result_size != rest - end->error_size || end->outcome > NQ_RELEASED)
        return false;
    ctx->said = (nq_end){end->outcome, end->wait, NULL};
    if (end->has_error)
        ctx->said.error = nq_text("%.*s", (int)end->error_size, body->data + sizeof *end);
    ctx->exit_code = end->exit_code;
    ctx->signal = end->signal;
    ctx->cpu_time = end->cpu_time;
    ctx->peak_memory = end->peak_memory;
    ctx->seat->cpu = end->cpu_so_far;
    ctx->seat->runs++;
    return !end->has_result ||
           neoq_set_result(ctx, body->data + sizeof *end + end->error_size, end->result_size) == NEOQ_OK;
}

static nq_end returned_end(neoq_ctx *ctx, int returned)
{
    int stop = atomic_load(ctx->stop);
    if (stop == NQ_TIMEOUT || stop == NQ_EXPIRED)
        return nq_run_stopped_end(ctx, (nq_outcome)stop); /* over is over, whatever it said then */
    return nq_run_verdict(ctx, returned);
}

/* ---- a run ------------------------------------------------------------------------------ */

static bool server_gone(const nq_seat *seat, int timeout, bool *heard)
{
    struct pollfd fds[] = {{.fd = seat->socket, .events = POLLIN}, {.fd = seat->server->socket}};
    while (poll(fds, 2, timeout) < 0 && errno == EINTR)
        ;
    *heard = fds[0].revents != 0;
    return fds[1].revents != 0;
}

/* The child dies when its fork server does; the rest of its group is ours to kill then. Returns when all is gone. */
static void kill_orphans(nq_seat *seat)
{
    pid_t pid = atomic_load(&seat->window->pid);
    struct pollfd end = {.fd = seat->socket, .events = POLLIN};
    if (pid > 0)
        kill(-pid, SIGKILL);
    while (poll(&end, 1, LAST_BREATH_MS) > 0 && nq_wire_skip(seat->socket) != 0)
        ;
}

/* The next message. False: the child is gone, or its fork server and all that was theirs; or there is no memory. */
static bool hear(nq_seat *seat)
{
    bool heard = nq_pace_linger(&seat->pace, seat->socket), gone = false;
    if (!heard) {
        gone = server_gone(seat, -1, &heard);
        nq_pace_waited(&seat->pace);
    }
    if (heard && nq_wire_receive(seat->socket, &seat->message))
        return true;
    if (gone || server_gone(seat, 0, &heard))
        kill_orphans(seat);
    return false;
}

/* Kills it, and returns when nothing of it is left. */
static void kill_child(neoq_ctx *ctx)
{
    nq_seat *seat = ctx->seat;
    bool heard;
    int kind = NQ_WORD_END;
    order_kill(ctx);
    while (kind != 0 && kind != NQ_WORD_GONE) {
        server_gone(seat, -1, &heard);
        kind = heard ? nq_wire_skip(seat->socket) : 0;
    }
    if (kind == 0 && server_gone(seat, 0, &heard))
        kill_orphans(seat);
}

static bool hand_over(neoq_ctx *ctx)
{
    nq_seat *seat = ctx->seat;
    const nq_run_word word = {.remaining = seat->remaining};
    atomic_store(&seat->window->begun, 0);
    nq_buffer_clear(&seat->out);
    nq_buffer_add(&seat->out, &word, sizeof word);
    nq_job_pack(&seat->out, &ctx->claimed.job);
    return !seat->out.failed && nq_wire_send(seat->socket, NQ_WORD_RUN, seat->out.data, seat->out.size, -1, true);
}

/* Answers until the run has ended, and tells how. False: the child had ended before it took the run up. */
static bool attend(neoq_ctx *ctx, nq_end *end)
{
    nq_children *c = ctx->queue->children;
    nq_seat *seat = ctx->seat;
    nq_end_word word = {0};
    for (;;) {
        bool heard = hear(seat);
        int kind = heard ? seat->message.kind : 0;
        if (kind == NQ_WORD_ENQUEUE) {
            answer_enqueue(ctx);
        } else if (kind == NQ_WORD_PROGRESS) {
            answer_progress(ctx);
        } else if (kind == NQ_WORD_CANCEL_FD) {
            answer_cancel_fd(ctx);
        } else if (kind == NQ_WORD_END && take_end(ctx, &word)) {
            *end = returned_end(ctx, word.returned);
            if (word.leaves_some)
                kill_child(ctx);
            if (word.leaves_some || seat->runs >= c->origin.handler.recycle_after)
                clear_seat(c, seat);
            return true;
        } else if (kind == NQ_WORD_GONE && seat->message.body.size == sizeof(nq_gone_word)) {
            const nq_gone_word *gone = (const nq_gone_word *)(const void *)seat->message.body.data;
            bool begun = gone->error != 0 || atomic_load(&seat->window->begun);
            if (begun)
                *end = gone_end(ctx, gone);
            clear_seat(c, seat);
            return begun;
        } else {
            bool begun = atomic_load(&seat->window->begun), more;
            if (heard || !server_gone(seat, 0, &more))
                kill_child(ctx);
            *end = heard ? nq_run_crash_end(ctx, "the run's process wrote nonsense on its socket") : lost_end(ctx);
            clear_seat(c, seat);
            return begun || heard;
        }
    }
}

static nq_end run_in_child(neoq_ctx *ctx)
{
    nq_children *c = ctx->queue->children;
    nq_end end = {0};
    for (int i = 0; i < BEGINNINGS_MAX; i++) {
        if (!fill_seat(c, ctx->seat))
            return (nq_end){NQ_FAILED, 0, nq_text("%s", neoq_error_message())};
        /* Whoever stops the run from now on finds a child to signal. */
        int stop = atomic_load(ctx->stop);
        if (stop != 0)
            return nq_run_stopped_end(ctx, (nq_outcome)stop);
        if (!hand_over(ctx))
            clear_seat(c, ctx->seat);
        else if (attend(ctx, &end))
            return end;
        free(end.error);
        end.error = NULL;
    }
    return (nq_end){NQ_FAILED, 0, nq_text("%d processes ended before they could begin the run", BEGINNINGS_MAX)};
}

static void tell_crash(neoq_ctx *ctx, const nq_end *end)
{
    const neoq_handler *handler = &ctx->queue->handler;
    int stop = atomic_load(ctx->stop);
    bool crashed = end->outcome == NQ_CRASHED || end->outcome == NQ_POISONED || end->outcome == NQ_LOST;
    bool expired = end->outcome == NQ_TIMEOUT || end->outcome == NQ_EXPIRED;
    if (handler->on_crash && (expired || (crashed && stop == 0)))
        handler->on_crash(&ctx->claimed.job, end->error ? end->error : "", handler->arg);
}

/* At once, and not when the next run is waiting for it. */
static void replace_child(neoq_ctx *ctx)
{
    neoq *nq = ctx->nq;
    pthread_mutex_lock(&nq->mutex);
    bool wanted = nq->phase == NQ_OPEN;
    pthread_mutex_unlock(&nq->mutex);
    if (wanted && !fill_seat(ctx->queue->children, ctx->seat))
        nq_log(&nq->options, NEOQ_LOG_WARN, "queue %s: %s", ctx->queue->name, neoq_error_message());
}

nq_end nq_children_run(neoq_ctx *ctx)
{
    neoq_ctx *outer = nq_run_enter(ctx);
    nq_end end = run_in_child(ctx);
    nq_run_enter(outer);
    if (!is_manned(ctx->seat))
        replace_child(ctx);
    tell_crash(ctx, &end);
    return end;
}
