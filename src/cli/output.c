/* SPDX-License-Identifier: MIT
 *
 * Results on standard output: JSON objects, one a line, and tables that fit the terminal.
 */
#include "output.h"

#include "text.h"
#include "values.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LONGEST_CELL 200 /* columns of a cell where no terminal sets the width */

/* ---- JSON --------------------------------------------------------------------------------- */

void put_begin(json_line *line, FILE *out)
{
    line->out = out;
    line->between = "";
    putc('{', out);
}

void put_end(json_line *line)
{
    fputs("}\n", line->out);
}

static void print_string(FILE *out, const char *text, size_t size)
{
    json_t *string = json_stringn(text, size);
    if (string == NULL) { /* not UTF-8 */
        char *clean = need(text_clean(text, size));
        string = need(json_string(clean));
        free(clean);
    }
    json_dumpf(string, out, JSON_ENCODE_ANY);
    json_decref(string);
}

static void print_key(json_line *line, const char *key)
{
    fputs(line->between, line->out);
    line->between = ", ";
    if (key != NULL)
        fprintf(line->out, "\"%s\": ", key);
}

void put_open(json_line *line, const char *key, char bracket)
{
    print_key(line, key);
    putc(bracket, line->out);
    line->between = "";
}

void put_close(json_line *line, char bracket)
{
    putc(bracket, line->out);
    line->between = ", ";
}

void put_text(json_line *line, const char *key, const char *text)
{
    print_key(line, key);
    if (text == NULL)
        fputs("null", line->out);
    else
        print_string(line->out, text, strlen(text));
}

void put_integer(json_line *line, const char *key, int64_t value)
{
    print_key(line, key);
    fprintf(line->out, "%" PRId64, value);
}

void put_number(json_line *line, const char *key, double value, int decimals)
{
    print_key(line, key);
    fprintf(line->out, "%.*f", decimals, value);
}

void put_boolean(json_line *line, const char *key, bool value)
{
    print_key(line, key);
    fputs(value ? "true" : "false", line->out);
}

void put_instant(json_line *line, const char *key, neoq_time at)
{
    char text[INSTANT_SIZE];
    put_text(line, key, at == 0 ? NULL : format_instant(at, text));
}

/*
 * Puts JSON into the line as it stands, so that long numbers and the order of keys come through; line ends between
 * its parts become spaces (within strings there can be none). False where it is not JSON.
 */
static bool print_raw(json_line *line, const char *key, const char *text, size_t size)
{
    const size_t flags = JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
    json_t *value = size > 0 ? json_loadb(text, size, flags, NULL) : NULL;
    if (value == NULL)
        return false;
    json_decref(value);
    print_key(line, key);
    for (size_t i = 0; i < size; i++)
        putc_unlocked(text[i] == '\n' || text[i] == '\r' || text[i] == '\t' ? ' ' : text[i], line->out);
    return true;
}

static void print_base64(json_line *line, const char *key, const void *bytes, size_t size)
{
    char *text = need(text_base64(bytes, size));
    put_text(line, key, text);
    free(text);
}

static void print_result(json_line *line, const neoq_job *job)
{
    if (job->result == NULL) {
        put_text(line, "result", NULL);
    } else if (text_is_utf8(job->result, job->result_size)) {
        print_key(line, "result");
        print_string(line->out, job->result, job->result_size);
    } else {
        put_text(line, "result", NULL);
        print_base64(line, "result_base64", job->result, job->result_size);
    }
}

void put_job(json_line *line, const neoq_job *job)
{
    put_text(line, "id", job->id);
    put_text(line, "queue", job->queue);
    put_text(line, "state", state_name(job->state));
    if (!print_raw(line, "payload", job->payload, job->payload_size))
        print_base64(line, "payload_base64", job->payload, job->payload_size);
    put_text(line, "fingerprint", job->fingerprint);
    put_integer(line, "priority", job->priority);
    put_integer(line, "retries", job->retries);
    put_integer(line, "max_retries", job->max_retries < 0 ? 0 : job->max_retries);
    put_instant(line, "run_after", job->run_after);
    put_instant(line, "deadline", job->deadline);
    put_instant(line, "created_at", job->created_at);
    put_instant(line, "ran_at", job->ran_at);
    put_instant(line, "finished_at", job->finished_at);
    put_text(line, "error", job->error);
    print_result(line, job);
    if (job->metadata == NULL || !print_raw(line, "metadata", job->metadata, strlen(job->metadata)))
        put_text(line, "metadata", job->metadata);
}

void put_run(json_line *line, const neoq_run_info *run)
{
    put_integer(line, "epoch", run->epoch);
    put_text(line, "worker", run->worker);
    put_instant(line, "started_at", run->started_at);
    put_instant(line, "finished_at", run->finished_at);
    put_text(line, "outcome", *run->outcome != '\0' ? run->outcome : NULL);
    put_text(line, "error", *run->error != '\0' ? run->error : NULL);
    put_integer(line, "exit_code", run->exit_code);
    put_integer(line, "signal", run->signal);
    put_number(line, "cpu_seconds", (double)run->cpu_time / 1e6, 6);
    put_integer(line, "peak_bytes", run->peak_memory);
}

/* ---- tables ------------------------------------------------------------------------------- */

static size_t terminal_columns(void)
{
    struct winsize size = {0};
    if (!isatty(STDOUT_FILENO))
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void table_begin(table *t, session *s, const table_column *columns, size_t count)
{
    *t = (table){.columns = columns, .count = count, .screen = terminal_columns(), .colour = s->screen.colour};
    for (size_t i = 0; i < count; i++)
        t->width[i] = strlen(columns[i].title);
}

static void add_cell(table *t, char *text)
{
    size_t column = t->used % t->count, width = text_columns(text);
    if (t->used == t->room) {
        t->room = t->room ? t->room * 2 : 64;
        t->cells = need(realloc(t->cells, t->room * sizeof *t->cells));
    }
    t->cells[t->used++] = text;
    if (width > t->width[column])
        t->width[column] = width;
}

void table_cell(table *t, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    need(size < 0 ? NULL : text);
    add_cell(t, need(text_cell(text, (size_t)size, 0)));
    free(text);
}

void table_bytes(table *t, const void *bytes, size_t size)
{
    const char *text = bytes != NULL ? bytes : "";
    if (text_is_utf8(text, size < 4096 ? size : 0))
        add_cell(t, need(text_cell(text, size, LONGEST_CELL)));
    else
        table_cell(t, "(%zu bytes)", size);
}

static const char *colour_of(const char *cell)
{
    static const char *const colours[][2] = {{"dead", "\033[31m"},   {"failed", "\033[31m"},
                                             {"done", "\033[32m"},   {"retrying", "\033[33m"},
                                             {"paused", "\033[33m"}, {"running", "\033[36m"}};
    for (size_t i = 0; i < sizeof colours / sizeof colours[0]; i++) {
        if (strcmp(cell, colours[i][0]) == 0)
            return colours[i][1];
    }
    return NULL;
}

/* One cell, behind the blanks that the last one left owing: so that no line ends in blanks. */
static void print_cell(const table *t, size_t column, const char *text, const char *colour, int *owed)
{
    size_t width = text_columns(text), pad = t->width[column] > width ? t->width[column] - width : 0;
    bool right = t->columns[column].right;
    if (*text != '\0') {
        printf("%*s%s%s%s", *owed + (right ? (int)pad : 0), "", colour ? colour : "", text, colour ? "\033[0m" : "");
        *owed = 2 + (right ? 0 : (int)pad);
    } else {
        *owed += 2 + (int)pad;
    }
    if (column + 1 == t->count) {
        putchar('\n');
        *owed = 0;
    }
}

/* The cut column gets what the others leave of the terminal, but never less than its title. */
static void fit(table *t)
{
    size_t others = 0, last = t->count - 1;
    if (t->screen == 0 || !t->columns[last].cut)
        return;
    for (size_t i = 0; i < last; i++)
        others += t->width[i] + 2;
    size_t least = strlen(t->columns[last].title), left = t->screen > others ? t->screen - others : 0;
    if (t->width[last] > left)
        t->width[last] = left > least ? left : least;
}

void table_flush(table *t)
{
    int owed = 0;
    fit(t);
    if (!t->titled && t->used > 0) {
        for (size_t i = 0; i < t->count; i++)
            print_cell(t, i, t->columns[i].title, t->colour ? "\033[1m" : NULL, &owed);
        t->titled = true;
    }
    for (size_t i = 0; i < t->used; i++) {
        size_t column = i % t->count;
        char *cell = t->cells[i];
        if (t->screen != 0 && t->columns[column].cut && text_columns(cell) > t->width[column]) {
            cell = need(text_cell(t->cells[i], strlen(t->cells[i]), t->width[column]));
            free(t->cells[i]);
        }
        print_cell(t, column, cell, t->colour ? colour_of(cell) : NULL, &owed);
        free(cell);
    }
    free(t->cells);
    t->cells = NULL;
    t->used = t->room = 0;
}

const char *format_relative(neoq_time at, neoq_time now, char text[48])
{
    char wait[DURATION_SIZE];
    if (at == 0)
        snprintf(text, 48, "-");
    else if (at > now)
        snprintf(text, 48, "in %s", format_duration(at - now, wait));
    else
        snprintf(text, 48, "%s ago", format_duration(now - at, wait));
    return text;
}
