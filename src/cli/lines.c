/* SPDX-License-Identifier: MIT
 *
 * neoq enqueue --lines: streams a file of any length in batches. One buffer of fixed size holds the batch's bytes: a
 * batch ends at 1,000 lines, at a full buffer, or when a slow writer leaves us waiting.
 */
#include "enqueue.h"

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOW_WRITER 20 /* milliseconds to wait for company before a short batch goes out */
#ifndef BATCH          /* a fuzz target takes less, so that it comes to the ends of it */
#define BATCH 1000
#define ROOM  (MAX_PAYLOAD + 65536)
#endif

typedef struct input {
    int fd;
    bool ended;
    char *bytes;    /* ROOM of them */
    size_t begin;   /* where the batch's first line begins */
    size_t line;    /* where the line being read begins */
    size_t scanned; /* no line end between line and here */
    size_t end;
    int64_t read, total; /* bytes; total 0 = not known */
} input;

typedef struct lines {
    session *session;
    neoq *nq;
    const char *file;
    input in;
    neoq_job jobs[BATCH];
    neoq_enqueued results[BATCH];
    int64_t numbers[BATCH]; /* of the lines */
    const neoq_job *pattern;
    size_t count;
    int64_t number; /* of the last line read */
    int64_t enqueued, duplicate, refused;
    int64_t began;
    bool too_long; /* the line being read */
    int exit_status;
} lines;

/* ---- a batch ------------------------------------------------------------------------------ */

/* Counts what became of one line; false if the store itself failed, which ends the reading. */
static bool count_result(lines *l, size_t i, const char *why)
{
    int status = l->results[i].status;
    switch (status) {
    case NEOQ_OK: l->enqueued++; return true;
    case NEOQ_EDUPLICATE: l->duplicate++; return true;
    case NEOQ_EFULL:
    case NEOQ_ETOOBIG:
        if (l->refused++ == 0)
            complain(l->session, "%s, line %" PRId64 ": refused: %s", l->file, l->numbers[i],
                     status == NEOQ_EFULL ? "the queue is at its capacity" : why);
        l->exit_status = EXIT_REFUSED;
        return true;
    default:
        complain(l->session, "%s, line %" PRId64 ": %s", l->file, l->numbers[i], why);
        l->exit_status = exit_of(status);
        return false;
    }
}

static void draw(lines *l)
{
    char line[160];
    double seconds = (double)(steady_now() - l->began) / 1e6;
    double rate = seconds > 0 ? (double)l->enqueued / seconds : 0;
    if (l->session->quiet || !screen_due(&l->session->screen))
        return;
    if (l->in.total > 0) {
        double part = (double)l->in.read / (double)l->in.total;
        int filled = (int)(part * 24);
        snprintf(line, sizeof line, "[%.*s%.*s] %3.0f%%  %" PRId64 " enqueued  %.0f/s", filled > 24 ? 24 : filled,
                 "========================", filled > 24 ? 0 : 24 - filled, "                        ",
                 part > 1 ? 100 : part * 100, l->enqueued, rate);
    } else {
        snprintf(line, sizeof line, "%" PRId64 " enqueued  %.0f/s", l->enqueued, rate);
    }
    screen_draw(&l->session->screen, line);
}

static bool flush_batch(lines *l)
{
    bool good = true;
    if (l->count == 0)
        return true;
    enqueue_surely(l->nq, l->jobs, l->count, l->results);
    char *why = need(strdup(neoq_error_message()));
    for (size_t i = 0; good && i < l->count; i++) /* the same words once, not a thousand times */
        good = count_result(l, i, *why ? why : neoq_status_name(l->results[i].status));
    free(why);
    l->count = 0;
    l->in.begin = l->in.line;
    draw(l);
    return good;
}

/* ---- lines -------------------------------------------------------------------------------- */

/* Without the carriage return before its end. */
static size_t bare_size(const char *text, size_t size)
{
    return size > 0 && text[size - 1] == '\r' ? size - 1 : size;
}

static bool add_line(lines *l, const char *text, size_t size)
{
    size = bare_size(text, size);
    l->number++;
    if (size == 0)
        return true;
    neoq_job *job = &l->jobs[l->count];
    *job = *l->pattern;
    job->payload = text;
    job->payload_size = size;
    l->numbers[l->count++] = l->number;
    return l->count < BATCH || flush_batch(l);
}

/* Hands on every whole line in the buffer; false where reading must end. */
static bool take_lines(lines *l)
{
    input *in = &l->in;
    while (!l->too_long) {
        const char *text = in->bytes + in->line, *end = memchr(in->bytes + in->scanned, '\n', in->end - in->scanned);
        size_t size = (end != NULL ? (size_t)(end - in->bytes) : in->end) - in->line;
        in->scanned = in->line + size;
        l->too_long = bare_size(text, size) > MAX_PAYLOAD;
        if (l->too_long || end == NULL)
            break;
        in->line = in->scanned = in->scanned + 1;
        if (!add_line(l, text, size))
            return false;
    }
    return true;
}

static void complain_too_long(lines *l)
{
    if (!flush_batch(l))
        return;
    complain(l->session,
             "%s, line %" PRId64 ": longer than %zu bytes (1 MiB), the most a job may hold; the lines before it are "
             "enqueued, it and those behind it are not",
             l->file, l->number + 1, MAX_PAYLOAD);
    l->exit_status = EXIT_REFUSED;
}

/* ---- the file ----------------------------------------------------------------------------- */

/* Room for more bytes behind the ones that are still needed. */
static bool make_room(lines *l)
{
    input *in = &l->in;
    if (in->end < ROOM)
        return true;
    if (in->begin == 0 && !flush_batch(l))
        return false;
    if (l->count == 0)
        in->begin = in->line;
    size_t moved = in->begin;
    memmove(in->bytes, in->bytes + moved, in->end - moved);
    for (size_t i = 0; i < l->count; i++)
        l->jobs[i].payload = (const char *)l->jobs[i].payload - moved;
    in->begin = 0;
    in->line -= moved;
    in->scanned -= moved;
    in->end -= moved;
    return true;
}

/* More bytes; what has been read already does not wait long for them. */
static bool read_more(lines *l)
{
    input *in = &l->in;
    struct pollfd ready = {.fd = in->fd, .events = POLLIN};
    if (l->count > 0 && poll(&ready, 1, SLOW_WRITER) == 0) {
        if (!flush_batch(l))
            return false;
    }
    if (!make_room(l))
        return false;
    ssize_t got = read(in->fd, in->bytes + in->end, ROOM - in->end < 65536 ? ROOM - in->end : 65536);
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0) {
        int error = errno;
        flush_batch(l);
        complain(l->session, "%s cannot be read: %s", l->file, strerror(error));
        l->exit_status = EXIT_USAGE;
        return false;
    }
    in->ended = got == 0;
    in->end += (size_t)got;
    in->read += got;
    return true;
}

static void read_lines(lines *l)
{
    input *in = &l->in;
    for (;;) {
        if (!take_lines(l))
            return;
        if (l->too_long) {
            complain_too_long(l);
            return;
        }
        if (in->ended)
            break;
        if (!read_more(l))
            return;
    }
    size_t left = in->end - in->line; /* a last line without a line end */
    const char *last = in->bytes + in->line;
    in->line = in->end;
    if (left == 0 || add_line(l, last, left))
        flush_batch(l);
}

static void print_totals(const lines *l)
{
    if (l->session->json) {
        json_line line;
        put_begin(&line, stdout);
        put_integer(&line, "enqueued", l->enqueued);
        put_integer(&line, "duplicate", l->duplicate);
        put_integer(&line, "refused", l->refused);
        put_end(&line);
        return;
    }
    printf("%" PRId64 " enqueued, %" PRId64 " duplicate", l->enqueued, l->duplicate);
    if (l->refused > 0)
        printf(", %" PRId64 " refused", l->refused);
    putchar('\n');
}

int lines_open(session *s, const char *file)
{
    bool standard = strcmp(file, "-") == 0;
    struct stat about;
    int fd = standard ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0) {
        complain(s, "enqueue: --lines: %s cannot be opened: %s", file, strerror(errno));
    } else if (S_ISDIR(about.st_mode)) {
        complain(s, "enqueue: --lines: %s is a folder, not a file", file);
        close(fd);
    } else {
        return fd;
    }
    return -1;
}

int enqueue_lines(session *s, neoq *nq, const neoq_job *pattern, int fd, const char *file)
{
    struct stat about;
    lines *l = need(calloc(1, sizeof *l));
    l->session = s;
    l->nq = nq;
    l->file = strcmp(file, "-") == 0 ? "standard input" : file;
    l->pattern = pattern;
    l->began = steady_now();
    l->in.fd = fd;
    l->in.total = fstat(fd, &about) == 0 && S_ISREG(about.st_mode) ? about.st_size : 0;
    l->in.bytes = need(malloc(ROOM));
    read_lines(l);
    screen_clear(&s->screen);
    print_totals(l);
    int exit_status = l->exit_status;
    free(l->in.bytes);
    free(l);
    return exit_status;
}
