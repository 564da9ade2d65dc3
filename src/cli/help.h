/* SPDX-License-Identifier: MIT
 *
 * The help, and what it shares with the manual page.
 */
#ifndef NEOQ_CLI_HELP_H
#define NEOQ_CLI_HELP_H

#include "args.h"

/* A name and what is to be said of it; NULL ends a list. */
typedef struct help_entry {
    const char *name, *words;
} help_entry;

extern const help_entry help_values[], help_environment[], help_files[], help_exits[];

void help_general(void);
void help_command(const command *of);

/*
 * The details of a command, a block at a time: a paragraph whose lines are joined, or (as_is) a line that begins with
 * a blank, or an empty line. The caller frees; NULL at the end.
 */
char *help_block(const char **at, bool *as_is);

#endif
