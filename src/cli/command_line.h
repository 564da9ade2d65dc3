/* SPDX-License-Identifier: MIT
 *
 * A command line as a job's payload: {"command": ["make", "-j8"], "folder": "/home/ada/project"}.
 */
#ifndef NEOQ_CLI_COMMAND_LINE_H
#define NEOQ_CLI_COMMAND_LINE_H

#include "cli.h"

#define COMMANDS_QUEUE "commands"

typedef struct command_line {
    char **words; /* ended by NULL; one at the least */
    char *folder; /* where it is to be run */
} command_line;

/* The payload, which the caller frees; NULL after complaining: JSON holds text, and so no words that are not UTF-8. */
char *command_line_write(session *s, int word_count, char **words);

/*
 * The job of a payload: run as one means it who types a command, that is once, however often it was typed before; and
 * what it wrote can be read when it is over.
 */
neoq_job command_line_job(const char *payload);

/* False, and why, where the payload is none. */
bool command_line_read(command_line *line, const neoq_job *job, char *why, size_t why_size);
void command_line_free(command_line *line); /* also of one that is zeroed */

#endif
