/* SPDX-License-Identifier: MIT
 *
 * Starting the program: its words, its environment, its descriptors.
 */
#ifndef NEOQ_CLI_LAUNCH_H
#define NEOQ_CLI_LAUNCH_H

#include "child.h"

#include <sys/types.h>

typedef struct launched {
    pid_t pid; /* also the number of its process group */
    int pidfd;
    int errors; /* its standard error: does not block; -1 once at its end */
    int output; /* its standard output where it is kept, else -1 */
} launched;

/* False, and why, where it cannot be started: nothing is left behind then. */
bool launch(const child_plan *plan, const neoq_job *job, launched *child, char *why, size_t why_size);
void launch_close(launched *child);

#endif
