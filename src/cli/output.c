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

#define LONGEST_CELL 4096 /* bytes of a payload that a table shows */

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

void put_result(json_line *line, const neoq_job *job)
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
    put_result(line, job);
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

void table_begin(table *t, session *s, const table_column *columns, size_t count)
{
    *t = (table){.columns = columns, .count = count, .screen = screen_columns(), .colour = s->screen.colour};
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
    if (size < LONGEST_CELL && text_is_utf8(text, size))
        add_cell(t, need(text_cell(text, size, t->screen)));
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
    char *fitted = need(text_cell(text, strlen(text), t->screen != 0 ? t->width[column] : 0));
    size_t width = text_columns(fitted), pad = t->width[column] > width ? t->width[column] - width : 0;
    bool right = t->columns[column].right;
    if (t->left_out[column]) {
        ; /* nothing of it */
    } else if (*fitted != '\0') {
        printf("%*s%s%s%s", *owed + (right ? (int)pad : 0), "", colour ? colour : "", fitted,
               colour ? "\033[0m" : "");
        *owed = 2 + (right ? 0 : (int)pad);
    } else {
        *owed += 2 + (int)pad;
    }
    if (column + 1 == t->count) {
        putchar('\n');
        *owed = 0;
    }
    free(fitted);
}

/* ---- fitting ------------------------------------------------------------------------------- */

/* How many columns of the terminal are missing. */
static size_t excess(const table *t)
{
    size_t all = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (!t->left_out[i])
            all += t->width[i] + (all > 0 ? 2 : 0);
    }
    return all > t->screen ? all - t->screen : 0;
}

static void cut_texts(table *t)
{
    for (size_t i = t->count; i-- > 0;) {
        size_t title = strlen(t->columns[i].title), missing = excess(t);
        if (t->columns[i].cut && !t->left_out[i] && t->width[i] > title)
            t->width[i] = t->width[i] - title > missing ? t->width[i] - missing : title;
    }
}

static bool leave_one_out(table *t)
{
    size_t least = t->count;
    for (size_t i = 0; i < t->count; i++) {
        int leave = t->columns[i].leave;
        if (leave > 0 && !t->left_out[i] && (least == t->count || leave < t->columns[least].leave))
            least = i;
    }
    if (least < t->count)
        t->left_out[least] = true;
    return least < t->count;
}

static void cut_widest(table *t)
{
    size_t widest = 0;
    for (size_t i = 1; i < t->count; i++) {
        if (!t->left_out[i] && (t->left_out[widest] || t->width[i] > t->width[widest]))
            widest = i;
    }
    if (t->width[widest] > 1)
        t->width[widest]--;
}

/* Makes the columns fit the terminal. Which are left out is settled once the titles stand. */
static void fit(table *t)
{
    size_t whole[MOST_COLUMNS];
    if (t->screen == 0)
        return;
    memcpy(whole, t->width, sizeof whole);
    cut_texts(t);
    while (excess(t) > 0 && !t->titled && leave_one_out(t)) {
        memcpy(t->width, whole, sizeof whole);
        cut_texts(t);
    }
    for (size_t missing = excess(t); missing > 0; missing--)
        cut_widest(t);
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
        print_cell(t, i % t->count, t->cells[i], t->colour ? colour_of(t->cells[i]) : NULL, &owed);
        free(t->cells[i]);
    }
    free(t->cells);
    t->cells = NULL;
    t->used = t->room = 0;
}

/* ---- words --------------------------------------------------------------------------------- */

void print_wrapped(const char *words, size_t column, size_t columns)
{
    size_t at = column;
    while (*words != '\0') {
        size_t size = strcspn(words, " ");
        if (columns > 0 && at > column && at + 1 + size > columns) {
            printf("\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", (int)size, words);
        at += size;
        words += size + strspn(words + size, " ");
    }
    putchar('\n');
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
