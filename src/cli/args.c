/* SPDX-License-Identifier: MIT
 *
 * Reads arguments by the table that also makes the help.
 */
#include "args.h"

#include "base/near.h"
#include "cli.h"
#include "help.h"
#include "option.h"
#include "settings.h"

#include <getopt.h>
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
    {.name = "config",
     .kind = OPTION_TEXT,
     .offset = offsetof(session, config_file),
     .argument = "FILE",
     .help = "read FILE instead of the configuration files in their usual places; /dev/null = none"},
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
    {.name = "help", .letter = 'h', .kind = OPTION_HELP, .help = "this help"},
    {0},
};

const option_spec *args_find(const option_spec *options, const char *name)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (strcmp(options->name, name) == 0)
            return options;
    }
    return NULL;
}

const command *args_command(const char *name)
{
    for (const command *const *at = commands; *at != NULL; at++) {
        if (strcmp((*at)->name, name) == 0)
            return *at;
    }
    return NULL;
}

/* ---- getopt ------------------------------------------------------------------------------- */

typedef struct given {
    const option_spec *spec;
    const char *text;
} given;

typedef struct reading {
    session *session;
    const command *of; /* NULL: what stands before the command */
    const option_spec *specs[MOST_OPTIONS];
    struct option longs[MOST_OPTIONS + 1];
    char letters[2 * MOST_OPTIONS + 4];
    int count;
    given *given; /* as they stand in argv */
    int given_count;
    bool help;
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
    near = nq_near(bare, names, (size_t)r->count);
    if (near != NULL)
        complain(r->session, "unknown option %s: did you mean --%s?", word, near);
    else
        complain(r->session, "unknown option %s: see neoq help%s%s", word, in != NULL ? " " : "",
                 in != NULL ? in : "");
}

/* Gathers what is given, without a look at the values: the configuration files come before them. */
static int gather(reading *r, int argc, char **argv)
{
    r->given = need(calloc((size_t)argc + 1, sizeof *r->given));
    opterr = 0;
    optind = 0; /* glibc: begin anew */
    for (int code, room = argc; (code = getopt_long(argc, argv, r->letters, r->longs, NULL)) != -1;) {
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
        if (r->given_count == room) /* -vvvv: several in a word */
            r->given = need(realloc(r->given, (size_t)(room *= 2) * sizeof *r->given));
        r->given[r->given_count++] = (given){spec, optarg};
        r->help |= spec->kind == OPTION_HELP;
    }
    return optind;
}

static bool is_global(const option_spec *spec)
{
    return spec >= global_options && spec < global_options + sizeof global_options / sizeof global_options[0];
}

/* Puts the global options, or the others, where they go. */
static bool put_options(const reading *r, bool global, void *values)
{
    bool good = true;
    for (int i = 0; good && i < r->given_count; i++) {
        const option_spec *spec = r->given[i].spec;
        char at[128];
        if (is_global(spec) != global || spec->kind == OPTION_HELP)
            continue;
        snprintf(at, sizeof at, "%s%s--%s", global ? "" : r->of->name, global ? "" : ": ", spec->name);
        good = option_read(r->session, at, spec, r->given[i].text, values);
    }
    return good;
}

int args_global(session *s, int argc, char **argv, bool *help)
{
    reading r = {.session = s, .letters = "+:"};
    add_options(&r, global_options);
    int first = gather(&r, argc, argv);
    if (first >= 0 && !put_options(&r, true, s))
        first = -1;
    *help = r.help;
    free(r.given);
    return first;
}

int args_read(session *s, const command *of, void *values, int argc, char **argv)
{
    reading r = {.session = s, .of = of, .letters = ":"};
    add_options(&r, of->options);
    add_options(&r, global_options);
    int first = gather(&r, argc, argv);
    if (first >= 0 && r.help) {
        help_command(of);
        exit(fflush(stdout) == 0 ? EXIT_DONE : EXIT_SOME_FAILED);
    }
    if (first >= 0 &&
        !(put_options(&r, true, s) && (of->bare || settings_apply(s, of, values)) && put_options(&r, false, values)))
        first = -1;
    free(r.given);
    return first;
}

int args_split(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return i;
    }
    return argc;
}
