/* SPDX-License-Identifier: MIT
 *
 * One program run for one job: started in a process group of its own, fed the payload, watched, and judged by its
 * exit status. Job data reaches it as bytes on standard input, in the environment, or inside an argument, never
 * through a shell.
 */
#ifndef NEOQ_CLI_CHILD_H
#define NEOQ_CLI_CHILD_H

#include "cli.h"

/* What all runs have in common. Fixed before the first. */
typedef struct child_plan {
    session *session;
    char *program;      /* where the command's first word was found */
    char *const *words; /* the command; "{}" in all but the first is the payload */
    size_t word_count;
    const char **environment; /* what of ours is handed on */
    size_t environment_count;
    neoq_duration timeout;    /* NEOQ_FOREVER = none */
    neoq_duration kill_after; /* from SIGTERM to SIGKILL */
    neoq_duration snooze;
    int64_t memory;        /* bytes of address space that each of its processes may have; 0 = as many as we */
    int64_t cpu;           /* whole seconds of processor time, the same; 0 = as many as we */
    bool commands;         /* the job itself is the command: see command_line.h; keep_output is set then */
    bool keep_output;      /* standard output becomes the job's result (of commands, standard error, too) */
    char *spool;           /* the folder of spool.h; NULL = none */
    bool output_to_stderr; /* standard output is ours alone */
    int stop;              /* readable when runs must be handed back: SIGTERM, and SIGKILL after kill_after */
    int kill;              /* readable when nothing may be waited for: SIGKILL */
} child_plan;

/*
 * Finds the program as execvp() would, and what of the environment is handed on: names are those of --env. Complains;
 * returns the exit status.
 */
int child_prepare(child_plan *plan, session *s, int word_count, char **words, const text_list *names);
void child_forget(child_plan *plan);

/*
 * Runs the program for the context's job; what it returns, the handler returns. For any thread but the main one.
 * *handed_back: plan->stop ended it, and the job is to go back to its queue.
 */
int child_run(const child_plan *plan, neoq_ctx *ctx, bool *handed_back);

#endif
