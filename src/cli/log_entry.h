/* SPDX-License-Identifier: MIT
 *
 * The log of a worker, for machines: logfmt or JSON, an event a line. Text for people goes to the screen as it is.
 */
#ifndef NEOQ_CLI_LOG_ENTRY_H
#define NEOQ_CLI_LOG_ENTRY_H

#include "cli.h"
#include "output.h"

/* One line: begun, filled, and written to standard error by a single write. */
typedef struct log_entry {
    session *session;
    json_line json;
    FILE *out; /* NULL: no memory for it */
    char *text;
    size_t size;
} log_entry;

void log_begin(log_entry *entry, session *s, neoq_log_level level, const char *message);
void log_text(log_entry *entry, const char *key, const char *text); /* a NULL text is left out */
void log_number(log_entry *entry, const char *key, double value, int decimals);
void log_end(log_entry *entry);

#endif
