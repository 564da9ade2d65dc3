/* SPDX-License-Identifier: MIT */
#include "environment.h"

#include <stdlib.h>
#include <string.h>

extern char **environ;

/* Told in the help of `work`. */
static const char *const always[] = {"PATH", "HOME",     "USER", "LOGNAME", "SHELL",
                                     "LANG", "LANGUAGE", "TZ",   "TERM",    "TMPDIR"};
/* The job's: never ours, which may be those of a job that we are the program of. */
static const char *const jobs_own[] = {"NEOQ_JOB_ID", "NEOQ_QUEUE", "NEOQ_RETRIES", "NEOQ_DEADLINE", "NEOQ_PAYLOAD"};

static bool is_one_of(const char *name, size_t size, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0)
            return true;
    }
    return false;
}

static bool is_named(const char *name, size_t size, const text_list *lists)
{
    for (size_t i = 0; i < lists->count; i++) {
        for (const char *at = lists->texts[i];; at++) {
            size_t word = strcspn(at, ",");
            if (word == size && memcmp(at, name, size) == 0)
                return true;
            at += word;
            if (*at == '\0')
                break;
        }
    }
    return false;
}

bool environment_check(session *s, const text_list *names)
{
    for (size_t i = 0; i < names->count; i++) {
        const char *text = names->texts[i];
        if (strchr(text, '=') != NULL) {
            complain(s, "work: --env takes names, whose values are those that neoq itself was given, and got '%s'",
                     text);
            return false;
        }
        if (*text == '\0' || *text == ',' || text[strlen(text) - 1] == ',' || strstr(text, ",,") != NULL) {
            complain(s, "work: --env '%s': a name is missing: write --env CC,CFLAGS", text);
            return false;
        }
    }
    return true;
}

const char **environment_allowed(const text_list *names, size_t *count)
{
    size_t most = 0;
    *count = 0;
    while (environ[most] != NULL)
        most++;
    const char **allowed = need(calloc(most + 1, sizeof *allowed));
    for (size_t i = 0; i < most; i++) {
        const char *name = environ[i];
        size_t size = strcspn(name, "=");
        if (is_one_of(name, size, jobs_own, sizeof jobs_own / sizeof jobs_own[0]))
            continue;
        if (strncmp(name, "LC_", 3) == 0 || is_one_of(name, size, always, sizeof always / sizeof always[0]) ||
            is_named(name, size, names))
            allowed[(*count)++] = name;
    }
    return allowed;
}
