/* SPDX-License-Identifier: MIT
 *
 * neoq -- COMMAND: enqueues the command line itself. `work --commands` runs it.
 */
#include "command_line.h"
#include "enqueue.h"

#include <stdlib.h>

/* Somebody at a terminal may not know that another command is needed. */
static void hint(session *s, neoq *nq)
{
    neoq_worker_info *workers;
    size_t count;
    if (!s->screen.terminal || s->quiet || neoq_workers(nq, &workers, &count) != NEOQ_OK)
        return;
    free(workers);
    if (count == 0)
        note(s, "nobody is at work: neoq work --commands runs it");
}

static int run_commands(session *s, int argc, char **argv)
{
    neoq *nq;
    if (argc < 2)
        return complain_usage(s, "a command is missing: neoq -- make -j8 enqueues \"make -j8\"");
    char *payload = command_line_write(s, argc - 1, argv + 1);
    if (payload == NULL)
        return EXIT_USAGE;
    const neoq_job job = command_line_job(payload);
    int exit_status = session_open(s, &(neoq_options){.capacity_wait = NEOQ_MILLISECONDS(1)}, &nq);
    if (exit_status == EXIT_DONE)
        exit_status = enqueue_one(s, nq, &job);
    if (exit_status == EXIT_DONE)
        hint(s, nq);
    neoq_close(nq);
    free(payload);
    return exit_status;
}

const command command_commands = {
    .name = "--",
    .arguments = "COMMAND [ARG]...",
    .summary = "Enqueues a command, to be run by neoq work --commands; prints the job's id.",
    .details =
        "The command is run in the folder in which it was enqueued, once: it is not retried, not even if its worker\n"
        "crashes, and it may be enqueued again before it has run. No shell reads its words, which must be UTF-8. It\n"
        "gets the environment of its worker (neoq help work), not that of this shell, and nothing on standard "
        "input.\n"
        "What it writes (standard output and standard error, 1 MiB of it) is kept with its exit status for 7 days,\n"
        "90 if it failed: neoq log ID shows it, neoq wait ID waits for its end.\n"
        "\n"
        "    neoq -- make -j8        enqueues it\n"
        "    neoq work --commands    runs what is enqueued, one after another (-c 4: four at once)\n"
        "\n"
        "The job is on the queue \"commands\"; its payload is {\"command\": [WORD, ...], \"folder\": FOLDER}. "
        "Whoever may\n"
        "write to the store can have commands run by those who run neoq work --commands on it.",
    .run = run_commands,
};
