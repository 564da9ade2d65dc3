/* SPDX-License-Identifier: MIT
 *
 * The manual page, in the language of scdoc(5), made of the same tables as the help.
 */
#include "manual.h"

#include "cli.h"
#include "help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text as it is: what means something to scdoc gets a backslash. */
static void put_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("\\_*`#[]|<>~-.", *text) != NULL)
            putchar('\\');
        putchar(*text);
    }
}

static void put_bold(const char *text)
{
    putchar('*');
    put_plain(text);
    putchar('*');
}

/* A name, and below it, set in, what is said of it. */
static void begin_item(const char *name)
{
    put_bold(name);
}

static void end_item(const char *words)
{
    printf("\n\t");
    put_plain(words);
    printf("\n\n");
}

static void put_entries(const char *title, const help_entry *entries)
{
    printf("# %s\n\n", title);
    for (; entries->name != NULL; entries++) {
        begin_item(entries->name);
        end_item(entries->words);
    }
}

static void put_options(const option_spec *options)
{
    for (const option_spec *spec = options; spec != NULL && spec->name != NULL; spec++) {
        char name[64];
        if (spec->letter != 0)
            printf("*-%c*, ", spec->letter);
        snprintf(name, sizeof name, "--%s", spec->name);
        begin_item(name);
        if (spec->argument != NULL) {
            printf(" _");
            put_plain(spec->argument);
            putchar('_');
        }
        end_item(spec->help);
    }
}

/* Lines that are left as they are stand together between fences. */
static void put_details(const char *details)
{
    bool as_is, fenced = false;
    for (char *block; (block = help_block(&details, &as_is)) != NULL; free(block)) {
        bool literal = as_is && *block != '\0';
        if (literal != fenced)
            puts(literal ? "```" : "```\n");
        fenced = literal;
        if (literal) {
            puts(block);
        } else {
            put_plain(block);
            printf(*block != '\0' ? "\n\n" : "");
        }
    }
    if (fenced)
        puts("```\n");
}

static void put_command(const command *of)
{
    printf("## neoq ");
    put_plain(of->name);
    printf("\n\n");
    put_bold("neoq");
    putchar(' ');
    put_bold(of->name);
    printf(*of->arguments != '\0' ? " " : "");
    put_plain(of->arguments);
    printf("%s\n\n", of->options != NULL && strstr(of->arguments, "OPTION") == NULL ? " \\[OPTION\\]\\.\\.\\." : "");
    put_plain(of->summary);
    printf("\n\n");
    if (of->details != NULL)
        put_details(of->details);
    put_options(of->options);
}

static void put_configuration(void)
{
    printf("# CONFIGURATION\n\n");
    put_plain("What the command line does not say, the environment may, then a configuration file: the user's, then "
              "the machine's; --config names one to be read in their place. It has lines of");
    printf(" _key_ = _value_. ");
    put_plain("Keys before the first section are options of every command (url, json, quiet, verbose); those of a "
              "section are the long options of the command it is named for. An option without a value takes yes or "
              "no. Double quotes around a value keep the blanks in it. A line that begins with # or ; is a comment.");
    printf("\n\n```\n"
           "url = postgres://worker:secret@db.example.org/jobs\n"
           "\n"
           "[work]\n"
           "concurrency = 4\n"
           "timeout = 5m\n"
           "\n"
           "[enqueue]\n"
           "retry-waits = 1m,10m,1h\n"
           "```\n\n");
    put_plain("Names that are not known are errors, with the line they stand in. A file that holds a password should "
              "not be readable for all: neoq warns of that.");
    printf("\n\n");
}

void manual_print(void)
{
    printf("neoq(1) \"neoq %s\" \"User Commands\"\n\n# NAME\n\n", neoq_version());
    printf("neoq - background jobs that survive crashes\n\n# SYNOPSIS\n\n");
    printf("*neoq* \\[--url _URL_\\] \\[--json\\] \\[-q|-v\\] _COMMAND_ ...\n\n# DESCRIPTION\n\n");
    put_plain(
        "Puts jobs on a queue in a store (an SQLite file, a PostgreSQL database, a Redis), runs them, looks after "
        "them. Results go to standard output, a table or with --json one object a line; everything else goes to "
        "standard error. A table that is wider than the terminal is cut; what is not for a terminal is whole.");
    printf("\n\n# OPTIONS\n\n");
    put_plain("Of every command, before it or behind it:");
    printf("\n\n");
    put_options(global_options);
    put_entries("VALUES", help_values);
    printf("# COMMANDS\n\n");
    for (const command *const *of = commands; *of != NULL; of++)
        put_command(*of);
    put_configuration();
    put_entries("ENVIRONMENT", help_environment);
    put_entries("FILES", help_files);
    put_entries("EXIT STATUS", help_exits);
    printf("# SEE ALSO\n\n*systemd.service*(5), *crontab*(5)\n");
}
