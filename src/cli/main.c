/* SPDX-License-Identifier: MIT
 *
 * neoq: background jobs from the shell. Reads the global options and hands over to a command.
 */
#include "cli.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const command *const commands[] = {
    &command_enqueue, &command_work,   &command_jobs,  &command_job,     &command_retry, &command_cancel,
    &command_delete,  &command_queues, &command_pause, &command_resume,  &command_purge, &command_workers,
    &command_migrate, &command_doctor, &command_bench, &command_version, &command_help,
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

/* Agreed, and not made yet. */
static const char *const later[] = {"cron", "--", "log", "wait", "explain", "copy", "top", "serve"};
enum { LATER_COUNT = sizeof later / sizeof later[0] };

static void general_help(void)
{
    printf(
        "Usage: neoq [--url URL] [--json] [-q|-v] COMMAND ...\n\nBackground jobs that survive crashes: put them on a "
        "queue, and let workers run them.\n\nCommands:\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    printf("\nOptions of every command:\n");
    args_help_options(global_options);
    printf("\nWithout --url and $NEOQ_URL the store is the file ~/.local/state/neoq/jobs.db. A URL that holds a\n"
           "password belongs in $NEOQ_URL, where other users do not see it.\n"
           "Durations: 250ms, 30s, 5m, 2h, 1d, 1h30m. Instants: 2026-01-31T08:00:00Z, or +2h.\n"
           "Exit status: 0 done, 1 some of the work failed, 2 usage, 3 no such job or queue,\n"
           "4 the store cannot be reached, 5 refused (duplicate, queue full, wrong state).\n"
           "\nneoq help COMMAND tells more of one.\n");
}

/* The command of that name; otherwise complains, and returns NULL. */
static const command *find_command(session *s, const char *name)
{
    const char *names[COMMAND_COUNT];
    for (int i = 0; i < COMMAND_COUNT; i++) {
        names[i] = commands[i]->name;
        if (strcmp(names[i], name) == 0)
            return commands[i];
    }
    for (int i = 0; i < LATER_COUNT; i++) {
        if (strcmp(later[i], name) == 0) {
            complain(s, "%s: not in this version yet", name);
            return NULL;
        }
    }
    const char *near = args_nearest(name, names, COMMAND_COUNT);
    if (near != NULL)
        complain(s, "there is no command '%s': did you mean %s?", name, near);
    else
        complain(s, "there is no command '%s': neoq help lists them", name);
    return NULL;
}

static int run_help(session *s, int argc, char **argv)
{
    int first = args_read(s, &command_help, NULL, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first == argc) {
        general_help();
        return EXIT_DONE;
    }
    const command *about = find_command(s, argv[first]);
    if (about == NULL)
        return EXIT_USAGE;
    args_help(about);
    return EXIT_DONE;
}

const command command_help = {.name = "help",
                              .arguments = "[COMMAND]",
                              .summary = "Tells how to use neoq, or one of its commands.",
                              .run = run_help};

static int run_version(session *s, int argc, char **argv)
{
    int first = args_read(s, &command_version, NULL, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first < argc)
        return complain_usage(s, "version takes no argument, and got '%s'", argv[first]);
    if (s->json) {
        json_line line;
        put_begin(&line, stdout);
        put_text(&line, "version", neoq_version());
        put_end(&line);
    } else {
        printf("neoq %s\n", neoq_version());
    }
    return EXIT_DONE;
}

const command command_version = {.name = "version",
                                 .arguments = "",
                                 .summary = "Prints the version.",
                                 .run = run_version};

/* A child gets pipes on 0, 1 and 2: no descriptor of ours may lie there, even if we were started without them. */
static void hold_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

/* What was printed must have arrived: a full disk is a failure, a reader that left (as head does) is not. */
static int flushed(session *s, int exit_status)
{
    errno = 0;
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (!failed || errno == EPIPE)
        return exit_status;
    complain(s, "the results cannot be written to standard output: %s", errno ? strerror(errno) : "write error");
    return exit_status == EXIT_DONE ? EXIT_SOME_FAILED : exit_status;
}

int main(int argc, char **argv)
{
    session s = {0};
    bool help = false;
    hold_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    screen_init(&s.screen);
    int first = args_global(&s, argc, argv, &help);
    if (first < 0)
        return EXIT_USAGE;
    if (help) {
        general_help();
        return flushed(&s, EXIT_DONE);
    }
    if (first > 1 && strcmp(argv[first - 1], "--") == 0)
        first--; /* getopt has stepped over it, and it is a command here */
    if (first == argc)
        return complain_usage(&s, "a command is missing: neoq help lists them");
    const command *chosen = find_command(&s, argv[first]);
    if (chosen == NULL)
        return EXIT_USAGE;
    int exit_status = flushed(&s, chosen->run(&s, argc - first, argv + first));
    free(s.own_url);
    return exit_status;
}
