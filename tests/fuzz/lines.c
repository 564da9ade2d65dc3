/* SPDX-License-Identifier: MIT
 *
 * The reader of `neoq enqueue --lines`, with a small buffer, so that its ends are soon reached. A byte tells how much
 * one read() may bring; the rest is the file. Every line becomes a job, in order and whole, but for empty ones; one that
 * is too long ends the reading.
 */
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/enqueue.h"
#include "cli/output.h"
#include "fuzz.h"

static size_t chunk; /* what a read brings at the most */

static ssize_t read_little(int fd, void *bytes, size_t size);

#undef MAX_PAYLOAD
#define MAX_PAYLOAD ((size_t)40)
#define ROOM        ((size_t)64)
#define BATCH       5
#define read        read_little
#include "cli/lines.c"
#undef read

static ssize_t read_little(int fd, void *bytes, size_t size)
{
    return read(fd, bytes, size < chunk ? size : chunk);
}

/* ---- the store: what is to become of the file ----------------------------------------------- */

static const char *expected, *expected_end;
static int64_t total;

/* Where the next line that is no empty one ends, with *line at its begin; NULL: there is none. */
static const char *next_line(const char **line)
{
    while (expected < expected_end) {
        const char *end = memchr(expected, '\n', (size_t)(expected_end - expected));
        if (!end)
            end = expected_end;
        *line = expected;
        expected = end < expected_end ? end + 1 : end;
        if (end > *line && end[-1] == '\r')
            end--;
        if (end > *line)
            return end;
    }
    return NULL;
}

void enqueue_surely(neoq *nq, neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    (void)nq;
    insist(count > 0 && count <= BATCH);
    for (size_t i = 0; i < count; i++) {
        const char *line, *end = next_line(&line);
        insist(end != NULL && jobs[i].payload_size == (size_t)(end - line));
        insist(memcmp(jobs[i].payload, line, jobs[i].payload_size) == 0);
        total++;
        results[i].status = jobs[i].payload_size % 7 == 6 ? NEOQ_EDUPLICATE : NEOQ_OK;
    }
}

/* ---- the command's own: nothing is shown ------------------------------------------------------ */

void complain(session *s, const char *format, ...)
{
    (void)s;
    (void)format;
}

void *need(void *memory)
{
    insist(memory != NULL);
    return memory;
}

int64_t steady_now(void)
{
    return 0;
}

int exit_of(int status)
{
    return -status;
}

bool screen_due(screen *on)
{
    (void)on;
    return true;
}

void screen_draw(screen *on, const char *line)
{
    (void)on;
    insist(strlen(line) < 160);
}

void screen_clear(screen *on)
{
    (void)on;
}

void put_begin(json_line *line, FILE *out)
{
    (void)line;
    (void)out;
}

void put_integer(json_line *line, const char *key, int64_t value)
{
    (void)line;
    (void)key;
    total -= value;
}

void put_end(json_line *line)
{
    (void)line;
    insist(total == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int file = -1;
    if (file < 0)
        file = memfd_create("lines", 0);
    if (size == 0)
        return 0;
    chunk = 1 + data[0] % ROOM;
    total = 0;
    data++;
    size--;
    insist(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size && lseek(file, 0, SEEK_SET) == 0);
    expected = (const char *)data;
    expected_end = expected + size;
    session s = {.json = true};
    int status = enqueue_lines(&s, NULL, &(neoq_job){.queue = "q"}, file, "-");
    const char *line, *end = next_line(&line);
    if (status == EXIT_DONE)
        insist(end == NULL);
    else
        insist(status == EXIT_REFUSED && end != NULL && (size_t)(end - line) > MAX_PAYLOAD);
    return 0;
}
