/* SPDX-License-Identifier: MIT
 *
 * Standard error: whole lines from any thread, and below them, on a terminal, one live line.
 */
#ifndef NEOQ_CLI_SCREEN_H
#define NEOQ_CLI_SCREEN_H

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct screen {
    pthread_mutex_t lock;
    bool terminal;    /* stderr is one */
    bool colour;      /* stdout is a terminal that wants colour */
    bool shown;       /* the live line is on the screen */
    int64_t drawn_at; /* when it was drawn last */
} screen;

void screen_init(screen *on);
size_t screen_columns(void); /* of the terminal that stdout is; 0: it is none */

/* True at most five times a second, and never where there is no terminal: time to draw the live line again. */
bool screen_due(screen *on);
void screen_draw(screen *on, const char *line);
void screen_clear(screen *on);

/* Writes the bytes to stderr as they are, the live line out of the way. */
void screen_write(screen *on, const char *bytes, size_t size);
void screen_line(screen *on, const char *prefix, const char *format, va_list arguments);

#endif
