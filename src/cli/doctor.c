/* SPDX-License-Identifier: MIT
 *
 * neoq doctor: what may be wrong with the store, a line a finding.
 */
#include "cli.h"
#include "output.h"
#include "text.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct doctor_values {
    const char *schema;
} doctor_values;

static const option_spec options[] = {
    {.name = "schema",
     .kind = OPTION_TEXT,
     .offset = offsetof(doctor_values, schema),
     .argument = "NAME",
     .help = "Postgres: the schema's name, where the URL does not say; neoq where neither does"},
    {0},
};

enum { NAME_COLUMN = 6, WORDS_COLUMN = 27 };

typedef struct diagnosis {
    session *session;
    size_t columns; /* of the terminal; 0 = none: a finding is one line, however long */
    int counts[NEOQ_FINDING_BAD + 1];
} diagnosis;

static const char *const levels[] = {"", "ok", "note", "bad"};

static void print_finding(const diagnosis *d, const neoq_finding *finding)
{
    static const char *const colours[] = {"", "\033[32m", "\033[33m", "\033[31m"};
    bool colour = d->session->screen.colour;
    char *words = need(text_cell(finding->words, strlen(finding->words), 0));
    printf("%s%-*s%s", colour ? colours[finding->level] : "", NAME_COLUMN, levels[finding->level],
           colour ? "\033[0m" : "");
    printf("%-*s ", WORDS_COLUMN - NAME_COLUMN - 1, finding->name);
    print_wrapped(words, WORDS_COLUMN, d->columns);
    free(words);
}

static void tell(const neoq_finding *finding, void *arg)
{
    diagnosis *d = arg;
    json_line line;
    d->counts[finding->level]++;
    if (!d->session->json) {
        print_finding(d, finding);
        fflush(stdout); /* some checks take their time */
        return;
    }
    put_begin(&line, stdout);
    put_text(&line, "level", levels[finding->level]);
    put_text(&line, "name", finding->name);
    put_text(&line, "words", finding->words);
    put_end(&line);
}

static int run_doctor(session *s, int argc, char **argv)
{
    doctor_values values = {0};
    diagnosis d = {.session = s, .columns = screen_columns()};
    int first = args_read(s, &command_doctor, &values, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first < argc)
        return complain_usage(s, "doctor takes no argument, and got '%s'", argv[first]);
    if (session_url(s) == NULL)
        return EXIT_STORE;
    neoq_options o = {.schema = values.schema};
    session_options(s, &o);
    int status = neoq_doctor(s->url, &o, tell, &d);
    if (status != NEOQ_OK)
        return complain_status(s, status, "the store cannot be looked at");
    return d.counts[NEOQ_FINDING_BAD] > 0 ? EXIT_SOME_FAILED : EXIT_DONE;
}

const command command_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "Checks the store: a line a finding.",
    .details = "ok: as it should be. note: worth knowing. bad: jobs may be lost, stand still, or cannot be had at "
               "all; then\n"
               "the exit status is 1. It changes nothing in the store, and may be run while others are at work.",
    .options = options,
    .run = run_doctor,
};
