/* SPDX-License-Identifier: MIT
 *
 * Reads arguments by the table that also makes the help.
 */
#include "args.h"

#include "cli.h"
#include "values.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_OPTIONS 40

const option_spec global_options[] = {
    {.name = "url",
     .kind = OPTION_TEXT,
     .offset = offsetof(session, url),
     .argument = "URL",
     .help = "the store: sqlite:PATH, memory:, postgres://... or redis://...; $NEOQ_URL where it is not given"},
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(session, json),
     .help = "results as one JSON object a line"},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_FLAG,
     .offset = offsetof(session, quiet),
     .help = "errors only on standard error"},
    {.name = "verbose",
     .letter = 'v',
     .kind = OPTION_FLAG,
     .offset = offsetof(session, verbose),
     .help = "say more on standard error"},
    {.name = "help", .letter = 'h', .kind = OPTION_FLAG, .help = "this help"},
    {0},
};

/* ---- near words --------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be put in, left out or changed (Levenshtein); words longer than 31 are far from all. */
static size_t distance(const char *a, const char *b)
{
    size_t row[32], a_size = strlen(a), b_size = strlen(b);
    if (a_size > 31 || b_size > 31)
        return 99;
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t above = row[j];
            row[j] = least(least(above, row[j - 1]) + 1, corner + (a[i - 1] != b[j - 1]));
            corner = above;
        }
    }
    return row[b_size];
}

const char *args_nearest(const char *word, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t near = strlen(word) / 3 + 2; /* farther than that is another word */
    for (size_t i = 0; i < count; i++) {
        size_t far = distance(word, words[i]);
        if (far < near) {
            near = far;
            best = words[i];
        }
    }
    return best;
}

/* ---- values ------------------------------------------------------------------------------- */

/* "enqueue: --in" or "--url": where an error is. */
static void where(const command *of, const option_spec *spec, char *text, size_t size)
{
    snprintf(text, size, "%s%s--%s", of != NULL ? of->name : "", of != NULL ? ": " : "", spec->name);
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
    if (!good)
        free(list.waits);
    else
        *out = list;
    return good;
}

static bool read_value(session *s, const command *of, const option_spec *spec, const char *text, void *value)
{
    char at[128];
    where(of, spec, at, sizeof at);
    switch (spec->kind) {
    case OPTION_FLAG: *(bool *)value = true; return true;
    case OPTION_TEXT: *(const char **)value = text; return true;
    case OPTION_INTEGER:
        if (value_integer(text, spec->min, spec->max, value))
            return true;
        complain(s, "%s: '%s' is not a whole number from %" PRId64 " to %" PRId64, at, text, spec->min, spec->max);
        return false;
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
    case OPTION_STATE:
        if (value_state(text, value))
            return true;
        complain(s, "%s: '%s' is no state: there are scheduled, ready, running, retrying, done, dead", at, text);
        return false;
    case OPTION_WAITS: return read_waits(s, at, spec, text, value);
    }
    return false;
}

/* ---- getopt ------------------------------------------------------------------------------- */

typedef struct reading {
    session *session;
    const command *of;
    void *values;
    bool *help;
    const option_spec *specs[MOST_OPTIONS];
    struct option longs[MOST_OPTIONS + 1];
    char letters[2 * MOST_OPTIONS + 4];
    int count;
} reading;

static void add_options(reading *r, const option_spec *specs)
{
    for (; specs != NULL && specs->name != NULL && r->count < MOST_OPTIONS; specs++) {
        int argument = specs->argument != NULL ? required_argument : no_argument;
        r->longs[r->count] = (struct option){specs->name, argument, NULL, 256 + r->count};
        r->specs[r->count++] = specs;
        if (specs->letter != 0) {
            size_t used = strlen(r->letters);
            snprintf(r->letters + used, sizeof r->letters - used, "%c%s", specs->letter, argument ? ":" : "");
        }
    }
}

static const option_spec *spec_of(const reading *r, int code)
{
    if (code >= 256 && code < 256 + r->count)
        return r->specs[code - 256];
    for (int i = 0; i < r->count; i++) {
        if (r->specs[i]->letter != 0 && r->specs[i]->letter == code)
            return r->specs[i];
    }
    return NULL;
}

static void complain_unknown(const reading *r, const char *word)
{
    const char *names[MOST_OPTIONS], *in = r->of != NULL ? r->of->name : NULL, *near = NULL;
    char bare[64];
    if (optopt >= 256) {
        complain(r->session, "--%s takes no value", spec_of(r, optopt)->name);
        return;
    }
    if (optopt != 0) {
        complain(r->session, "unknown option -%c: see neoq help%s%s; a word that begins with - goes behind --",
                 optopt, in != NULL ? " " : "", in != NULL ? in : "");
        return;
    }
    for (int i = 0; i < r->count; i++)
        names[i] = r->specs[i]->name;
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    near = args_nearest(bare, names, (size_t)r->count);
    if (near != NULL)
        complain(r->session, "unknown option %s: did you mean --%s?", word, near);
    else
        complain(r->session, "unknown option %s: see neoq help%s%s", word, in != NULL ? " " : "",
                 in != NULL ? in : "");
}

static int read_options(reading *r, int argc, char **argv)
{
    opterr = 0;
    optind = 0; /* glibc: begin anew */
    for (int code; (code = getopt_long(argc, argv, r->letters, r->longs, NULL)) != -1;) {
        const option_spec *spec = spec_of(r, code);
        if (code == ':') {
            spec = spec_of(r, optopt);
            complain(r->session, "--%s needs a value: %s", spec->name, spec->argument);
            return -1;
        }
        if (spec == NULL) {
            complain_unknown(r, argv[optind - 1]);
            return -1;
        }
        bool global = spec >= global_options && spec->offset < sizeof(session) &&
                      spec < global_options + sizeof global_options / sizeof global_options[0];
        if (global && spec->letter == 'h')
            *r->help = true;
        else if (!read_value(r->session, global ? NULL : r->of, spec, optarg,
                             (char *)(global ? (void *)r->session : r->values) + spec->offset))
            return -1;
    }
    return optind;
}

int args_global(session *s, int argc, char **argv, bool *help)
{
    reading r = {.session = s, .help = help, .letters = "+:"};
    add_options(&r, global_options);
    return read_options(&r, argc, argv);
}

int args_read(session *s, const command *of, void *values, int argc, char **argv)
{
    bool help = false;
    reading r = {.session = s, .of = of, .values = values, .help = &help, .letters = ":"};
    add_options(&r, of->options);
    add_options(&r, global_options);
    int first = read_options(&r, argc, argv);
    if (first >= 0 && help) {
        args_help(of);
        exit(fflush(stdout) == 0 ? EXIT_DONE : EXIT_SOME_FAILED);
    }
    return first;
}

/* ---- help --------------------------------------------------------------------------------- */

/* Words from the given column on, broken at 96 columns. */
static void print_wrapped(const char *words, int column)
{
    int at = column;
    while (*words != '\0') {
        int size = (int)strcspn(words, " ");
        if (at > column && at + 1 + size > 96) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", size, words);
        at += size;
        words += size + strspn(words + size, " ");
    }
    putchar('\n');
}

void args_help_options(const option_spec *options)
{
    for (const option_spec *spec = options; spec != NULL && spec->name != NULL; spec++) {
        char left[64], letter[8] = "    ";
        if (spec->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", spec->letter);
        snprintf(left, sizeof left, "  %s--%s %s", letter, spec->name, spec->argument ? spec->argument : "");
        printf("%-28s ", left);
        print_wrapped(spec->help, 29);
    }
}

void args_help(const command *of)
{
    printf("Usage: neoq %s%s%s%s\n\n%s\n", of->name, *of->arguments ? " " : "", of->arguments,
           of->options != NULL && strstr(of->arguments, "OPTION") == NULL ? " [OPTION]..." : "", of->summary);
    if (of->details != NULL)
        printf("\n%s\n", of->details);
    if (of->options != NULL) {
        printf("\nOptions:\n");
        args_help_options(of->options);
    }
    printf("\nEverywhere: --url URL, --json, -q, -v, -h. See also: neoq help\n");
}
