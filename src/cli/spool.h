/* SPDX-License-Identifier: MIT
 *
 * The output of a run that is under way, in a file of its own, for `neoq log -f` of the same user on the same machine.
 * When the run ends the file goes, as the store has the output then.
 */
#ifndef NEOQ_CLI_SPOOL_H
#define NEOQ_CLI_SPOOL_H

#include "cli.h"

/* The folder of these files, made; the caller frees. NULL after complaining. */
char *spool_folder(session *s);
/* Removes the files that crashed workers left in it. */
void spool_sweep(const char *folder);

/* The writer's. -1: it cannot be; everything below takes that. */
int spool_begin(const char *folder, const neoq_job *job);
bool spool_write(int fd, const char *bytes,
                 size_t size); /* false: the disk is full; end it, so that there is no gap */
void spool_end(int fd, const char *folder, const neoq_job *job);

/* The reader's: -1 where this run of the job (by id and epoch) is not under way here. */
int spool_read(const char *folder, const neoq_job *job);
bool spool_ended(int fd);

#endif
