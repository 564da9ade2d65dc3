/* SPDX-License-Identifier: MIT
 *
 * The help: what the tables hold, and a few lists that are not of one command.
 */
#include "help.h"

#include "cli.h"
#include "output.h"
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDEST 96 /* columns; longer lines are hard to read */

const help_entry help_values[] = {
    {"Durations", "250ms, 30s, 5m, 2h, 1d, or a sum such as 1h30m"},
    {"Instants", "2026-01-31T08:00:00Z (RFC 3339), or +2h for two hours from now"},
    {"States", "scheduled, ready, running, retrying, done, dead"},
    {0},
};

const help_entry help_environment[] = {
    {"NEOQ_URL", "the store, where --url does not name one. A URL that holds a password belongs here or in a "
                 "configuration file: other users see the command line"},
    {"XDG_STATE_HOME",
     "the folder of neoq/jobs.db, the store where nothing names one; ~/.local/state where it is not "
     "set"},
    {"XDG_CONFIG_HOME", "the folder of neoq/neoq.conf; ~/.config where it is not set"},
    {"NO_COLOR", "anything: no colours, not even on a terminal; a TERM of dumb means the same"},
    {"NOTIFY_SOCKET", "set by systemd, beside WATCHDOG_USEC: where work tells how it is"},
    {0},
};

const help_entry help_files[] = {
    {SYSTEM_SETTINGS, "settings of this machine"},
    {"~/.config/neoq/neoq.conf", "settings of one user, which win over the machine's"},
    {"~/.local/state/neoq/jobs.db", "the store where nothing names one"},
    {0},
};

const help_entry help_exits[] = {
    {"0", "done"},
    {"1", "the work ran, and some of it failed"},
    {"2", "usage: unknown option, malformed value, bad configuration file; nothing was done"},
    {"3", "no such job, queue or schedule"},
    {"4", "the store cannot be reached, or holds another version's data"},
    {"5", "refused: duplicate, queue full, wrong state"},
    {0},
};

static size_t width(void)
{
    size_t columns = screen_columns();
    return columns == 0 || columns > WIDEST ? WIDEST : columns;
}

char *help_block(const char **at, bool *as_is)
{
    size_t used = 0;
    if (**at == '\0')
        return NULL;
    *as_is = **at == ' ' || **at == '\n';
    char *block = need(calloc(strlen(*at) + 2, 1));
    do {
        size_t size = strcspn(*at, "\n");
        if (used > 0)
            block[used++] = ' ';
        memcpy(block + used, *at, size);
        used += size;
        *at += size + ((*at)[size] == '\n');
    } while (!*as_is && **at != '\0' && **at != '\n' && **at != ' ');
    return block;
}

static void print_entries(const char *title, const help_entry *entries, int column)
{
    printf("\n%s:\n", title);
    for (; entries->name != NULL; entries++) {
        printf("  %-*s ", column - 3, entries->name);
        if (strlen(entries->name) > (size_t)column - 3)
            printf("\n%*s", column, "");
        print_wrapped(entries->words, (size_t)column, width());
    }
}

static void print_options(const option_spec *options)
{
    enum { COLUMN = 29 };
    for (const option_spec *spec = options; spec != NULL && spec->name != NULL; spec++) {
        char left[96], letter[8] = "    ";
        if (spec->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", spec->letter);
        snprintf(left, sizeof left, "  %s--%s %s", letter, spec->name, spec->argument ? spec->argument : "");
        printf("%-*s ", COLUMN - 1, left);
        if (strlen(left) > COLUMN - 1)
            printf("\n%*s", COLUMN, "");
        print_wrapped(spec->help, COLUMN, width());
    }
}

static void print_details(const char *details)
{
    bool as_is;
    putchar('\n');
    for (char *block; (block = help_block(&details, &as_is)) != NULL; free(block)) {
        if (as_is)
            puts(block);
        else
            print_wrapped(block, 0, width());
    }
}

void help_command(const command *of)
{
    printf("Usage: neoq %s%s%s%s\n\n", of->name, *of->arguments ? " " : "", of->arguments,
           of->options != NULL && strstr(of->arguments, "OPTION") == NULL ? " [OPTION]..." : "");
    print_wrapped(of->summary, 0, width());
    if (of->details != NULL)
        print_details(of->details);
    if (of->options != NULL) {
        printf("\nOptions:\n");
        print_options(of->options);
    }
    putchar('\n');
    print_wrapped("Everywhere: --url URL, --config FILE, --json, -q, -v, -h. See also: neoq help", 0, width());
}

void help_general(void)
{
    printf("Usage: neoq [--url URL] [--json] [-q|-v] COMMAND ...\n\n");
    print_wrapped("Background jobs that survive crashes: put them on a queue, and let workers run them.", 0, width());
    printf("\nCommands:\n");
    for (const command *const *of = commands; *of != NULL; of++) {
        printf("  %-11s ", (*of)->name);
        print_wrapped((*of)->summary, 14, width());
    }
    printf("\nOptions of every command:\n");
    print_options(global_options);
    print_entries("Values", help_values, 13);
    print_entries("Environment", help_environment, 19);
    print_entries("Files", help_files, 31);
    print_entries("Exit status", help_exits, 6);
    printf("\nneoq help COMMAND tells more of one.\n");
}
