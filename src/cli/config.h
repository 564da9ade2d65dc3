/* SPDX-License-Identifier: MIT
 *
 * The text of a configuration file as a list of settings. It knows nothing of options and touches no file.
 */
#ifndef NEOQ_CLI_CONFIG_H
#define NEOQ_CLI_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_LONGEST ((size_t)64 * 1024) /* bytes of a file */
#define CONFIG_MOST    1000                /* settings of a file */

typedef struct config_entry {
    const char *section; /* "" before the first one */
    const char *key, *value;
    int line;
} config_entry;

typedef struct config {
    config_entry *entries; /* as they stand in the file */
    size_t count;
    char *text; /* what they point into */
} config;

typedef struct config_error {
    int line; /* 0: the whole of it */
    char words[160];
} config_error;

/*
 * Lines of "key = value" below lines of "[section]"; the value is what remains of the line, without the blanks around
 * it, or what stands between double quotes. A line that begins with # or ; is a comment. A key stands once a section.
 * False, and *error, where the text is none of that, or longer than it may be, or when memory ran out: then there is
 * nothing to free.
 */
bool config_parse(const char *text, size_t size, config *out, config_error *error);
void config_free(config *parsed);

#endif
