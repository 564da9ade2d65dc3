/* SPDX-License-Identifier: MIT
 *
 * The text of a configuration file as a list of settings.
 */
#include "config.h"

#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    config *out;
    config_error *error;
    const char *section;
    int line;
} parser;

static bool wrong(const parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool wrong(const parser *p, const char *format, ...)
{
    va_list arguments;
    p->error->line = p->line;
    va_start(arguments, format);
    vsnprintf(p->error->words, sizeof p->error->words, format, arguments);
    va_end(arguments);
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Without the blanks on both sides; changes the text. */
static char *trim(char *text)
{
    while (is_blank(*text))
        text++;
    for (size_t size = strlen(text); size > 0 && is_blank(text[size - 1]); size--)
        text[size - 1] = '\0';
    return text;
}

/* Small letters, digits and - : how options and commands are named. */
static bool is_name(const char *text)
{
    return *text != '\0' && *text != '-' && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static bool take_section(parser *p, char *line)
{
    char *end = strchr(line, ']');
    if (end == NULL || end[1] != '\0')
        return wrong(p, "a section is written [work], alone on its line");
    *end = '\0';
    p->section = trim(line + 1);
    if (!is_name(p->section))
        return wrong(p, "'[%.60s]' cannot be the name of a section, which is a command's, such as [work]",
                     p->section);
    return true;
}

/* What the quotes enclose, where there are any; NULL after complaining. */
static char *take_quotes(const parser *p, char *value)
{
    size_t size = strlen(value);
    if (*value != '"')
        return value;
    if (size < 2 || value[size - 1] != '"') {
        wrong(p, "the value begins with a quote, and does not end with one");
        return NULL;
    }
    value[size - 1] = '\0';
    return value + 1;
}

static bool take_setting(parser *p, char *line)
{
    config *out = p->out;
    char *equals = strchr(line, '=');
    if (equals == NULL)
        return wrong(p, "'%.60s' is no setting: write key = value", line);
    *equals = '\0';
    const char *key = trim(line), *value = take_quotes(p, trim(equals + 1));
    if (value == NULL)
        return false;
    if (!is_name(key))
        return wrong(p, "'%.60s' cannot be a key, which is an option without its --, such as url", key);
    for (size_t i = 0; i < out->count; i++) {
        const config_entry *other = &out->entries[i];
        if (strcmp(other->key, key) == 0 && strcmp(other->section, p->section) == 0)
            return wrong(p, "%s is set twice, the first time in line %d", key, other->line);
    }
    if (out->count == CONFIG_MOST)
        return wrong(p, "no more than %d settings are allowed", CONFIG_MOST);
    out->entries[out->count++] = (config_entry){p->section, key, value, p->line};
    return true;
}

static bool take_line(parser *p, char *line)
{
    if (!text_is_utf8(line, strlen(line)))
        return wrong(p, "this line is not UTF-8");
    line = trim(line);
    if (*line == '\0' || *line == '#' || *line == ';')
        return true;
    return *line == '[' ? take_section(p, line) : take_setting(p, line);
}

static bool take_lines(parser *p, char *text)
{
    for (char *line; (line = strsep(&text, "\n")) != NULL;) {
        p->line++;
        if (!take_line(p, line))
            return false;
    }
    return true;
}

bool config_parse(const char *text, size_t size, config *out, config_error *error)
{
    static const char mark[] = "\xef\xbb\xbf"; /* some editors begin a file with it */
    parser p = {.out = out, .error = error, .section = ""};
    const char *zero = size > 0 ? memchr(text, '\0', size) : NULL;
    *out = (config){0};
    if (size > CONFIG_LONGEST)
        return wrong(&p, "it is longer than %zu bytes", CONFIG_LONGEST);
    if (zero != NULL) {
        p.line = 1;
        for (const char *at = text; (at = memchr(at, '\n', (size_t)(zero - at))) != NULL; at++)
            p.line++;
        return wrong(&p, "this line has a NUL byte: it is no text");
    }
    if (size >= 3 && memcmp(text, mark, 3) == 0) {
        text += 3;
        size -= 3;
    }
    out->text = malloc(size + 1);
    out->entries = calloc(CONFIG_MOST, sizeof *out->entries);
    bool good = out->text != NULL && out->entries != NULL;
    if (good) {
        if (size > 0)
            memcpy(out->text, text, size);
        out->text[size] = '\0';
        good = take_lines(&p, out->text);
    } else {
        wrong(&p, "there is no memory to read it");
    }
    if (!good)
        config_free(out);
    return good;
}

void config_free(config *parsed)
{
    free(parsed->entries);
    free(parsed->text);
    *parsed = (config){0};
}
