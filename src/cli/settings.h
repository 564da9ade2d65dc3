/* SPDX-License-Identifier: MIT
 *
 * The configuration files: which there are, and their settings as values of the tables that read the command line.
 */
#ifndef NEOQ_CLI_SETTINGS_H
#define NEOQ_CLI_SETTINGS_H

#include "args.h"

#define SYSTEM_SETTINGS "/etc/neoq/neoq.conf"

/* Reads the files, once, and puts what they say of the session and of this command into place. False: complained. */
bool settings_apply(session *s, const command *of, void *values);
void settings_free(session *s);

#endif
