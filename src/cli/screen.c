/* SPDX-License-Identifier: MIT
 *
 * Standard error: whole lines from any thread, and below them, on a terminal, one live line.
 */
#include "screen.h"

#include "cli.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DRAW_EVERY 200000 /* microseconds */

void screen_init(screen *on)
{
    const char *type = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    bool dumb = type == NULL || *type == '\0' || strcmp(type, "dumb") == 0;
    pthread_mutex_init(&on->lock, NULL);
    on->terminal = isatty(STDERR_FILENO) && !dumb;
    on->colour = isatty(STDOUT_FILENO) && !dumb && (no_colour == NULL || *no_colour == '\0');
    on->shown = false;
    on->drawn_at = 0;
}

size_t screen_columns(void)
{
    struct winsize size = {0};
    if (!isatty(STDOUT_FILENO))
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void write_all(const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(STDERR_FILENO, bytes, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return; /* nobody reads it: nothing to be done about that */
        bytes += done;
        size -= (size_t)done;
    }
}

static void clear_locked(screen *on)
{
    if (on->shown)
        write_all("\r\033[K", 4);
    on->shown = false;
}

bool screen_due(screen *on)
{
    if (!on->terminal)
        return false;
    pthread_mutex_lock(&on->lock);
    bool due = steady_now() - on->drawn_at >= DRAW_EVERY;
    pthread_mutex_unlock(&on->lock);
    return due;
}

void screen_draw(screen *on, const char *line)
{
    struct winsize size = {0};
    if (!on->terminal)
        return;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        size.ws_col = 80;
    char *fitted = text_cell(line, strlen(line), size.ws_col > 1 ? (size_t)size.ws_col - 1 : 1);
    if (fitted == NULL)
        return;
    pthread_mutex_lock(&on->lock);
    clear_locked(on);
    write_all(fitted, strlen(fitted));
    on->shown = true;
    on->drawn_at = steady_now();
    pthread_mutex_unlock(&on->lock);
    free(fitted);
}

void screen_clear(screen *on)
{
    pthread_mutex_lock(&on->lock);
    clear_locked(on);
    pthread_mutex_unlock(&on->lock);
}

void screen_write(screen *on, const char *bytes, size_t size)
{
    pthread_mutex_lock(&on->lock);
    clear_locked(on);
    write_all(bytes, size);
    pthread_mutex_unlock(&on->lock);
}

void screen_line(screen *on, const char *prefix, const char *format, va_list arguments)
{
    char small[1024], *line = NULL;
    int size = vasprintf(&line, format, arguments);
    if (size < 0)
        return;
    char *clean = text_cell(line, (size_t)size, 0); /* may quote what anybody enqueued */
    int whole = snprintf(small, sizeof small, "%s%s\n", prefix, clean != NULL ? clean : line);
    if (whole > 0 && (size_t)whole < sizeof small) {
        screen_write(on, small, (size_t)whole);
    } else {
        char *big = NULL;
        whole = asprintf(&big, "%s%s\n", prefix, clean != NULL ? clean : line);
        if (whole > 0) {
            screen_write(on, big, (size_t)whole);
            free(big);
        }
    }
    free(clean);
    free(line);
}
