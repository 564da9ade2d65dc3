/* SPDX-License-Identifier: MIT
 *
 * The session: which store, how it is opened, words on stderr, exit statuses.
 */
#include "cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int exit_of(int status)
{
    switch (status) {
    case NEOQ_OK: return EXIT_DONE;
    case NEOQ_EFAILED:
    case NEOQ_ENOMEM: return EXIT_SOME_FAILED;
    case NEOQ_EINVAL: return EXIT_USAGE;
    case NEOQ_ENOTFOUND: return EXIT_NOT_FOUND;
    case NEOQ_EDUPLICATE:
    case NEOQ_EEXIST:
    case NEOQ_EFULL:
    case NEOQ_ETOOBIG:
    case NEOQ_ESTATE:
    case NEOQ_EUNSUPPORTED: return EXIT_REFUSED;
    default: return EXIT_STORE; /* backend, schema, timeout, lost, unknown */
    }
}

int64_t steady_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void *need(void *memory)
{
    if (memory == NULL) {
        fputs("neoq: out of memory\n", stderr);
        exit(EXIT_SOME_FAILED);
    }
    return memory;
}

/* ---- words -------------------------------------------------------------------------------- */

/* Blots out the password of every URL in the words ("://user:word@"). */
static void blot(char *words)
{
    for (char *at = words; (at = strstr(at, "://")) != NULL;) {
        at += 3;
        char *end = at + strcspn(at, "/@ \"'"), *colon = memchr(at, ':', (size_t)(end - at));
        if (*end == '@' && colon != NULL)
            memset(colon + 1, '*', (size_t)(end - colon - 1));
    }
}

void note(session *s, const char *format, ...)
{
    va_list arguments;
    if (s->quiet)
        return;
    va_start(arguments, format);
    screen_line(&s->screen, "neoq: ", format, arguments);
    va_end(arguments);
}

void complain(session *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    screen_line(&s->screen, "neoq: ", format, arguments);
    va_end(arguments);
}

int complain_usage(session *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    screen_line(&s->screen, "neoq: ", format, arguments);
    va_end(arguments);
    return EXIT_USAGE;
}

int complain_status(session *s, int status, const char *format, ...)
{
    char *why = need(strdup(neoq_error_message())), *what = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&what, format, arguments);
    va_end(arguments);
    blot(why);
    complain(s, "%s: %s", size >= 0 ? what : "failed", *why != '\0' ? why : neoq_status_name(status));
    if (size >= 0)
        free(what);
    free(why);
    return exit_of(status);
}

/* ---- the store ---------------------------------------------------------------------------- */

/* Makes the folders of path that are not there yet, for their owner alone. */
static bool make_folders(session *s, char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
        if (!made)
            complain(s, "the folder %s cannot be made: %s; name a store with --url or $NEOQ_URL", path,
                     strerror(errno));
        *slash = '/';
        if (!made)
            return false;
    }
    return true;
}

static char *default_url(session *s)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *url = NULL;
    int size;
    if (state != NULL && *state == '/') { /* a relative one is to be ignored, says its specification */
        size = asprintf(&url, "sqlite:%s/neoq/jobs.db", state);
    } else {
        if (home == NULL || *home != '/') {
            const struct passwd *me = getpwuid(getuid());
            home = me != NULL ? me->pw_dir : NULL;
        }
        if (home == NULL) {
            complain(s, "there is no home folder to keep jobs in: name a store with --url or $NEOQ_URL");
            return NULL;
        }
        size = asprintf(&url, "sqlite:%s/.local/state/neoq/jobs.db", home);
    }
    need(size < 0 ? NULL : url);
    if (!make_folders(s, url + strlen("sqlite:"))) {
        free(url);
        return NULL;
    }
    return url;
}

const char *session_url(session *s)
{
    if (s->url == NULL || *s->url == '\0')
        s->url = getenv("NEOQ_URL");
    if (s->url == NULL || *s->url == '\0')
        s->url = s->own_url = default_url(s);
    return s->url;
}

void session_scheme(session *s, char *scheme, size_t size)
{
    const char *url = session_url(s);
    snprintf(scheme, size, "%.*s", url != NULL ? (int)strcspn(url, ":") : 0, url != NULL ? url : "");
}

static void log_line(neoq_log_level level, const char *message, void *arg)
{
    session *s = arg;
    static const char *const names[] = {"", "", "warning: ", "", "debug: "};
    char *words = strdup(message);
    if (words == NULL)
        return;
    blot(words);
    complain(s, "%s%s", names[level <= NEOQ_LOG_DEBUG ? level : 0], words);
    free(words);
}

void session_options(session *s, neoq_options *options)
{
    options->log = log_line;
    options->log_arg = s;
    options->log_level = s->quiet ? NEOQ_LOG_ERROR : s->verbose ? NEOQ_LOG_INFO : NEOQ_LOG_WARN;
}

int session_open(session *s, const neoq_options *options, neoq **out)
{
    neoq_options o = options != NULL ? *options : (neoq_options){0};
    *out = NULL;
    if (session_url(s) == NULL)
        return EXIT_STORE;
    session_options(s, &o);
    int status = neoq_open(out, s->url, &o);
    if (status == NEOQ_OK)
        return EXIT_DONE;
    complain_status(s, status, "the store cannot be opened");
    return status == NEOQ_EUNSUPPORTED || status == NEOQ_EINVAL ? EXIT_USAGE : EXIT_STORE;
}
