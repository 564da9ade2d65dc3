/* SPDX-License-Identifier: MIT
 *
 * Results on standard output: JSON objects, one a line, and tables that fit the terminal.
 */
#ifndef NEOQ_CLI_OUTPUT_H
#define NEOQ_CLI_OUTPUT_H

#include "cli.h"

#include <stdio.h>

/* ---- JSON: one object, its keys in the order of the calls ---------------------------------- */

typedef struct json_line {
    FILE *out;
    const char *between; /* what the next key is to be parted from the last by */
} json_line;

void put_begin(json_line *line, FILE *out);
void put_end(json_line *line);                                 /* closes the object and ends the line */
void put_open(json_line *line, const char *key, char bracket); /* a value of its own: '{' or '[' */
void put_close(json_line *line, char bracket);

/* A NULL key is a member of a list. Text that is not UTF-8 is made so; NULL is null, and so is the instant 0. */
void put_text(json_line *line, const char *key, const char *text);
void put_integer(json_line *line, const char *key, int64_t value);
void put_number(json_line *line, const char *key, double value, int decimals);
void put_boolean(json_line *line, const char *key, bool value);
void put_instant(json_line *line, const char *key, neoq_time at);
void put_job(json_line *line, const neoq_job *job); /* the keys of a job, without the braces */
void put_result(json_line *line, const neoq_job *job);
void put_run(json_line *line, const neoq_run_info *run);

/* ---- tables -------------------------------------------------------------------------------- */

#define MOST_COLUMNS 14

/* Where the terminal is too narrow, what may be cut is cut down to its title; then columns are left out; then all are
 * cut. What does not go to a terminal is whole. */
typedef struct table_column {
    const char *title;
    bool right; /* numbers */
    bool cut;   /* of texts that tell something by their beginning */
    int leave;  /* left out sooner the less it is; 0 = never */
} table_column;

typedef struct table {
    const table_column *columns;
    size_t count, width[MOST_COLUMNS], screen; /* screen: columns of the terminal, 0 = none */
    bool colour, titled, left_out[MOST_COLUMNS];
    char **cells;
    size_t used, room;
} table;

void table_begin(table *t, session *s, const table_column *columns, size_t count);
void table_cell(table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_bytes(table *t, const void *bytes, size_t size); /* on one line */
void table_flush(table *t);                                 /* prints what there is; more may follow */

/* ---- words --------------------------------------------------------------------------------- */

/* Words from the given column on, and below each other where the columns end (0 = never), and the end of the line. */
void print_wrapped(const char *words, size_t column, size_t columns);

/* How long before or after now: "in 5m", "3s ago", "-" for 0. */
const char *format_relative(neoq_time at, neoq_time now, char text[48]);

#endif
