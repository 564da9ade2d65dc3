/* SPDX-License-Identifier: MIT
 *
 * The configuration files: the machine's, and the user's, which has the last word on each key; or the one of --config.
 * Keys before the first section are options of every command, keys of a section are options of that command: the same
 * tables read them.
 */
#include "settings.h"

#include "base/near.h"
#include "cli.h"
#include "config.h"
#include "option.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_NAMES 100

typedef struct source {
    char *path;
    mode_t mode;
    config config;
} source;

typedef struct settings {
    source sources[2]; /* a later one wins */
    size_t count;
} settings;

/* ---- reading ------------------------------------------------------------------------------- */

/* What fits, and one byte more than may be: the parser tells. NULL, and errno. */
static char *read_file(int fd, size_t *size)
{
    char *text = need(malloc(CONFIG_LONGEST + 1));
    *size = 0;
    while (*size <= CONFIG_LONGEST) {
        ssize_t got = read(fd, text + *size, CONFIG_LONGEST + 1 - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(text);
            return NULL;
        }
        if (got == 0)
            break;
        *size += (size_t)got;
    }
    return text;
}

/* False after complaining. A file that is not there is none, unless it was asked for. Takes over path. */
static bool add_source(session *s, char *path, bool asked_for)
{
    settings *all = s->settings;
    source *to = &all->sources[all->count];
    config_error error;
    struct stat about;
    size_t size;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && !asked_for && (errno == ENOENT || errno == ENOTDIR)) {
        free(path);
        return true;
    }
    char *text = fd >= 0 ? read_file(fd, &size) : NULL;
    bool good = text != NULL && fstat(fd, &about) == 0;
    if (!good) {
        complain(s, "the configuration file %s cannot be read: %s; --config FILE names another, /dev/null none", path,
                 strerror(errno));
    } else {
        good = config_parse(text, size, &to->config, &error);
        if (!good && error.line > 0)
            complain(s, "%s:%d: %s", path, error.line, error.words);
        else if (!good)
            complain(s, "%s: %s", path, error.words);
    }
    if (fd >= 0)
        close(fd);
    free(text);
    if (!good) {
        free(path);
        return false;
    }
    to->path = path;
    to->mode = about.st_mode;
    all->count++;
    return true;
}

static char *user_path(void)
{
    const char *folder = getenv("XDG_CONFIG_HOME"), *home = home_folder();
    char *path = NULL;
    int size;
    if (folder != NULL && *folder == '/') /* a relative one is to be ignored, says its specification */
        size = asprintf(&path, "%s/neoq/neoq.conf", folder);
    else if (home != NULL)
        size = asprintf(&path, "%s/.config/neoq/neoq.conf", home);
    else
        return NULL;
    return need(size < 0 ? NULL : path);
}

static bool read_sources(session *s)
{
    if (s->config_file != NULL)
        return add_source(s, need(strdup(s->config_file)), true);
    char *user = user_path();
    if (!add_source(s, need(strdup(SYSTEM_SETTINGS)), false)) {
        free(user);
        return false;
    }
    return user == NULL || add_source(s, user, false);
}

/* ---- checking ------------------------------------------------------------------------------ */

static bool is_settable(const option_spec *spec)
{
    return spec->kind != OPTION_HELP && strcmp(spec->name, "config") != 0;
}

static size_t option_names(const option_spec *options, const char **names)
{
    size_t count = 0;
    for (; options != NULL && options->name != NULL && count < MOST_NAMES; options++) {
        if (is_settable(options))
            names[count++] = options->name;
    }
    return count;
}

static void complain_near(session *s, const char *at, const char *what, const char *word, const char *near,
                          const char *otherwise)
{
    if (near != NULL)
        complain(s, "%s: there is no %s '%s': did you mean %s?", at, what, word, near);
    else
        complain(s, "%s: there is no %s '%s': %s", at, what, word, otherwise);
}

/* The option that a setting is of; NULL after complaining. */
static const option_spec *find_option(session *s, const source *from, const config_entry *entry)
{
    const command *of = args_command(entry->section);
    const option_spec *options = of != NULL ? of->options : global_options;
    const char *names[MOST_NAMES];
    char at[512], otherwise[96];
    snprintf(at, sizeof at, "%s:%d", from->path, entry->line);
    if (of == NULL && *entry->section != '\0') {
        size_t count = 0;
        for (const command *const *listed = commands; *listed != NULL && count < MOST_NAMES; listed++)
            names[count++] = (*listed)->name;
        complain_near(s, at, "command", entry->section, nq_near(entry->section, names, count),
                      "sections are named for commands, which neoq help lists");
        return NULL;
    }
    const option_spec *found = args_find(options, entry->key);
    if (found != NULL && is_settable(found))
        return found;
    if (of == NULL)
        snprintf(otherwise, sizeof otherwise, "before the first section stand options of every command");
    else if (args_find(global_options, entry->key) != NULL)
        snprintf(otherwise, sizeof otherwise, "options of every command stand before the first section");
    else
        snprintf(otherwise, sizeof otherwise, "neoq help %s lists its options", of->name);
    complain_near(s, at, of != NULL ? "option of that command" : "key", entry->key,
                  nq_near(entry->key, names, option_names(options, names)), otherwise);
    return NULL;
}

/* That all names are known, also those of other commands: a mistake is told now, not when it has lain there a year. */
static bool check(session *s)
{
    for (size_t i = 0; i < s->settings->count; i++) {
        const source *from = &s->settings->sources[i];
        for (size_t k = 0; k < from->config.count; k++) {
            if (find_option(s, from, &from->config.entries[k]) == NULL)
                return false;
        }
    }
    return true;
}

/* ---- applying ------------------------------------------------------------------------------ */

static bool apply_section(session *s, const char *section, void *values)
{
    for (size_t i = 0; i < s->settings->count; i++) {
        const source *from = &s->settings->sources[i];
        for (size_t k = 0; k < from->config.count; k++) {
            const config_entry *entry = &from->config.entries[k];
            char at[512];
            if (strcmp(entry->section, section) != 0)
                continue;
            snprintf(at, sizeof at, "%s:%d: %s", from->path, entry->line, entry->key);
            if (!option_read(s, at, find_option(s, from, entry), entry->value, values))
                return false;
        }
    }
    return true;
}

static void warn_of_password(session *s)
{
    for (size_t i = 0; i < s->settings->count; i++) {
        const source *from = &s->settings->sources[i];
        for (size_t k = 0; k < from->config.count; k++) {
            if ((from->mode & S_IROTH) != 0 && url_has_password(from->config.entries[k].value))
                note(s,
                     "warning: %s:%d: this holds a password, and every user of this machine may read it: chmod o-r",
                     from->path, from->config.entries[k].line);
        }
    }
}

/* A flag of the command line can only say yes; so can a setting beside it. */
static bool apply_global(session *s)
{
    session said = {0};
    if (!apply_section(s, "", &said))
        return false;
    s->config_url = said.url;
    s->json |= said.json;
    s->quiet |= said.quiet;
    s->verbose |= said.verbose;
    return true;
}

bool settings_apply(session *s, const command *of, void *values)
{
    if (s->settings == NULL) {
        s->settings = need(calloc(1, sizeof *s->settings));
        if (!read_sources(s) || !check(s) || !apply_global(s))
            return false;
        warn_of_password(s);
    }
    return apply_section(s, of->name, values);
}

void settings_free(session *s)
{
    if (s->settings == NULL)
        return;
    for (size_t i = 0; i < s->settings->count; i++) {
        config_free(&s->settings->sources[i].config);
        free(s->settings->sources[i].path);
    }
    free(s->settings);
    s->settings = NULL;
}
