/* SPDX-License-Identifier: MIT
 *
 * The value of an option, read as its table says. Where it comes from is the caller's to know: a word of the command
 * line, or a line of a configuration file.
 */
#include "option.h"

#include "base/near.h"
#include "cli.h"
#include "values.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_choices = "scheduled|ready|running|retrying|done|dead";

const char *option_choices(const option_spec *spec)
{
    return spec->kind == OPTION_STATE ? state_choices : spec->kind == OPTION_CHOICE ? spec->argument : NULL;
}

/* Complains of a word that is none of the choices, and names the nearest. */
static void complain_choice(session *s, const char *at, const char *choices, const char *text)
{
    const char *words[16], *near = NULL;
    char *copy = need(strdup(choices)), *rest = copy;
    size_t count = 0;
    for (char *word; (word = strsep(&rest, "|")) != NULL && count < 16;)
        words[count++] = word;
    near = nq_near(text, words, count);
    char list[256] = "";
    for (size_t i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i > 0 ? ", " : "", words[i]);
    complain(s, "%s: '%s' is none of %s%s%s%s", at, text, list, near != NULL ? ": did you mean " : "",
             near != NULL ? near : "", near != NULL ? "?" : "");
    free(copy);
}

/* The number of the choice, from 0; -1 after complaining. */
static int read_choice(session *s, const char *at, const char *choices, const char *text)
{
    size_t size = strlen(text);
    int number = 0;
    for (const char *word = choices; size > 0; number++) {
        size_t length = strcspn(word, "|");
        if (length == size && memcmp(word, text, size) == 0)
            return number;
        if (word[length] == '\0')
            break;
        word += length + 1;
    }
    complain_choice(s, at, choices, text);
    return -1;
}

static bool read_flag(session *s, const char *at, const char *text, bool *out)
{
    static const char words[] = "yes|no|on|off|true|false|1|0";
    int number = text != NULL ? read_choice(s, at, words, text) : 0;
    if (number >= 0)
        *out = number % 2 == 0;
    return number >= 0;
}

static bool read_size(session *s, const char *at, const option_spec *spec, const char *text, int64_t *out)
{
    int64_t value;
    if (!value_size(text, &value)) {
        complain(s, "%s: '%s' is no number of bytes: write 64K, 512M or 2G (of 1024 each)", at, text);
        return false;
    }
    if (value < spec->min) {
        complain(s, "%s: %s is out of range: %" PRId64 " bytes are the least", at, text, spec->min);
        return false;
    }
    *out = value;
    return true;
}

static bool read_duration(session *s, const char *at, const option_spec *spec, const char *text, neoq_duration *out)
{
    char least_text[DURATION_SIZE], most_text[DURATION_SIZE];
    neoq_duration value;
    if (!value_duration(text, &value)) {
        complain(s, "%s: '%s' is not a duration: write 250ms, 30s, 5m, 2h, 1d or a sum such as 1h30m", at, text);
        return false;
    }
    neoq_duration most = spec->max != 0 ? spec->max : DURATION_LONGEST;
    if (value < spec->min || value > most) {
        complain(s, "%s: %s is out of range: allowed are %s to %s", at, text, format_duration(spec->min, least_text),
                 format_duration(most, most_text));
        return false;
    }
    *out = value;
    return true;
}

static bool read_waits(session *s, const char *at, const option_spec *spec, const char *text, wait_list *out)
{
    wait_list list = {0};
    char *copy = need(strdup(text)), *rest = copy;
    bool good = true;
    for (char *word; good && (word = strsep(&rest, ",")) != NULL;) {
        list.waits = need(realloc(list.waits, (list.count + 1) * sizeof *list.waits));
        good = read_duration(s, at, spec, word, &list.waits[list.count++]);
    }
    free(copy);
    if (!good) {
        free(list.waits);
        return false;
    }
    free(out->waits); /* of an earlier one, which this replaces */
    *out = list;
    return true;
}

static bool read_state(session *s, const char *at, const char *text, neoq_state *out)
{
    if (value_state(text, out))
        return true;
    complain_choice(s, at, state_choices, text);
    return false;
}

static bool add_text(const char *text, text_list *list)
{
    list->texts = need(realloc(list->texts, (list->count + 1) * sizeof *list->texts));
    list->texts[list->count++] = text;
    return true;
}

bool option_read(session *s, const char *at, const option_spec *spec, const char *text, void *values)
{
    void *value = (char *)values + spec->offset;
    switch (spec->kind) {
    case OPTION_FLAG: return read_flag(s, at, text, value);
    case OPTION_TEXT: *(const char **)value = text; return true;
    case OPTION_INTEGER:
        if (value_integer(text, spec->min, spec->max, value))
            return true;
        complain(s, "%s: '%s' is not a whole number from %" PRId64 " to %" PRId64, at, text, spec->min, spec->max);
        return false;
    case OPTION_SIZE: return read_size(s, at, spec, text, value);
    case OPTION_KEEP:
        if (strcmp(text, "forever") == 0) {
            *(neoq_duration *)value = NEOQ_FOREVER;
            return true;
        }
        return read_duration(s, at, spec, text, value);
    case OPTION_DURATION: return read_duration(s, at, spec, text, value);
    case OPTION_INSTANT:
        if (value_instant(text, value))
            return true;
        complain(s, "%s: '%s' is no instant: write 2026-01-31T08:00:00Z (RFC 3339) or +2h for two hours from now", at,
                 text);
        return false;
    case OPTION_STATE: return read_state(s, at, text, value);
    case OPTION_WAITS: return read_waits(s, at, spec, text, value);
    case OPTION_TEXTS: return add_text(text, value);
    case OPTION_CHOICE: {
        int number = read_choice(s, at, spec->argument, text);
        if (number >= 0)
            *(int *)value = number;
        return number >= 0;
    }
    case OPTION_HELP: break;
    }
    return false;
}
