/* SPDX-License-Identifier: MIT
 *
 * neoq: background jobs from the shell. Reads the global options and hands over to a command.
 */
#include "base/near.h"
#include "cli.h"
#include "help.h"
#include "manual.h"
#include "output.h"
#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const command *const commands[] = {
    &command_enqueue, &command_work,     &command_jobs,       &command_job,     &command_retry,   &command_cancel,
    &command_delete,  &command_queues,   &command_pause,      &command_resume,  &command_purge,   &command_workers,
    &command_cron,    &command_commands, &command_log,        &command_wait,    &command_explain, &command_migrate,
    &command_doctor,  &command_bench,    &command_completion, &command_version, &command_help,    NULL,
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] - 1 };

/* Agreed, and not made yet. */
static const char *const later[] = {"copy", "top", "serve"};
enum { LATER_COUNT = sizeof later / sizeof later[0] };

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
    const char *near = nq_near(name, names, COMMAND_COUNT);
    if (near != NULL)
        complain(s, "there is no command '%s': did you mean %s?", name, near);
    else
        complain(s, "there is no command '%s': neoq help lists them", name);
    return NULL;
}

static int run_help(session *s, int argc, char **argv)
{
    bool scdoc = false;
    int first = args_read(s, &command_help, &scdoc, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first == argc && argc > 1 && strcmp(argv[argc - 1], "--") == 0)
        first--; /* as in main() */
    if (scdoc || first == argc) {
        (scdoc ? manual_print : help_general)();
        return EXIT_DONE;
    }
    const command *about = find_command(s, argv[first]);
    if (about == NULL)
        return EXIT_USAGE;
    help_command(about);
    return EXIT_DONE;
}

static const option_spec help_options[] = {
    {.name = "scdoc", .kind = OPTION_FLAG, .help = "all of it, as the source of the manual page, for scdoc(1)"},
    {0},
};

const command command_help = {.name = "help",
                              .arguments = "[COMMAND]",
                              .summary = "Tells how to use neoq, or one of its commands.",
                              .options = help_options,
                              .run = run_help,
                              .bare = true};

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

const command command_version = {
    .name = "version", .arguments = "", .summary = "Prints the version.", .run = run_version, .bare = true};

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
    setlocale(LC_CTYPE, "C.UTF-8"); /* for wcwidth(): text is UTF-8 here, whatever the terminal's language */
    signal(SIGPIPE, SIG_IGN);
    screen_init(&s.screen);
    int first = args_global(&s, argc, argv, &help);
    if (first < 0)
        return EXIT_USAGE;
    if (help) {
        help_general();
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
    settings_free(&s);
    return exit_status;
}
