/* SPDX-License-Identifier: MIT
 *
 * A script that keeps a server for a test (scripts/with-postgres, with-redis: --control), driven through a pipe: a line for
 * each order, and a line "ok WORDS" or "failed ..." for its answer. It ends with the program that started it, however that
 * ends, and leaves nothing behind.
 */
#ifndef TESTS_CONTROL_H
#define TESTS_CONTROL_H

#include <stdbool.h>
#include <stdio.h>

enum { CONTROL_ARGUMENTS = 64, CONTROL_ANSWER = 4096 };

typedef struct control {
    const char *name; /* for messages on stderr: "Redis" */
    int to;           /* orders; -1: there is no script */
    FILE *from;       /* answers */
} control;

/* Each but control_end() is false where it failed, which it has said on stderr. words may be NULL. */
bool control_begin(control *c, const char *name, const char *script, const char **arguments,
                   char words[CONTROL_ANSWER]);
bool control_tell(control *c, const char *order);
void control_end(control *c); /* when the server is gone */

/* A line about it on stderr; false. */
bool control_say(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
