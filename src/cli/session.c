/* SPDX-License-Identifier: MIT
 *
 * The session: which store, how it is opened, words on stderr, exit statuses.
 */
#include "cli.h"

#include "log_entry.h"

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

bool url_has_password(const char *url)
{
    char *copy = need(strdup(url));
    blot(copy);
    bool blotted = strcmp(copy, url) != 0;
    free(copy);
    return blotted || strstr(url, "password=") != NULL;
}

static void say(session *s, neoq_log_level level, const char *format, va_list arguments)
{
    log_entry entry;
    char *words = NULL;
    if (s->log_format == LOG_TEXT) {
        screen_line(&s->screen, "neoq: ", format, arguments);
    } else if (vasprintf(&words, format, arguments) >= 0) {
        log_begin(&entry, s, level, words);
        log_end(&entry);
        free(words);
    }
}

void note(session *s, const char *format, ...)
{
    va_list arguments;
    if (s->quiet)
        return;
    va_start(arguments, format);
    say(s, NEOQ_LOG_INFO, format, arguments);
    va_end(arguments);
}

void complain(session *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(s, NEOQ_LOG_ERROR, format, arguments);
    va_end(arguments);
}

int complain_usage(session *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(s, NEOQ_LOG_ERROR, format, arguments);
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

/* Makes the folders of path that are not there yet, for their owner alone. On failure path ends with the first. */
static bool make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return false;
        *slash = '/';
    }
    return true;
}

const char *home_folder(void)
{
    const char *home = getenv("HOME");
    if (home != NULL && *home == '/')
        return home;
    const struct passwd *me = getpwuid(getuid());
    return me != NULL ? me->pw_dir : NULL;
}

char *session_state_path(session *s, const char *name)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = home_folder();
    char *path = NULL;
    int size;
    if (state != NULL && *state == '/') { /* a relative one is to be ignored, says its specification */
        size = asprintf(&path, "%s/neoq/%s", state, name);
    } else {
        if (home == NULL) {
            complain(s, "there is no home folder to keep jobs and their output in: set $XDG_STATE_HOME");
            return NULL;
        }
        size = asprintf(&path, "%s/.local/state/neoq/%s", home, name);
    }
    need(size < 0 ? NULL : path);
    if (!make_folders(path)) {
        complain(s, "the folder %s cannot be made: %s", path, strerror(errno));
        free(path);
        return NULL;
    }
    return path;
}

static char *default_url(session *s)
{
    char *path = session_state_path(s, "jobs.db"), *url = NULL;
    if (path == NULL) {
        complain(s, "name a store with --url or $NEOQ_URL");
        return NULL;
    }
    int size = asprintf(&url, "sqlite:%s", path);
    free(path);
    return need(size < 0 ? NULL : url);
}

const char *session_url(session *s)
{
    if (s->url == NULL || *s->url == '\0')
        s->url = getenv("NEOQ_URL");
    if (s->url == NULL || *s->url == '\0')
        s->url = s->config_url;
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
    if (s->log_format == LOG_TEXT) {
        complain(s, "%s%s", names[level <= NEOQ_LOG_DEBUG ? level : 0], words);
    } else {
        log_entry entry;
        log_begin(&entry, s, level, words);
        log_end(&entry);
    }
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
