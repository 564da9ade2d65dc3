/* SPDX-License-Identifier: MIT
 *
 * What the programs that `work` runs get of our environment: the variables of a short list and those that --env names.
 * So no password of the store reaches them, nor anything else that was meant for us alone.
 */
#ifndef NEOQ_CLI_ENVIRONMENT_H
#define NEOQ_CLI_ENVIRONMENT_H

#include "cli.h"

/* False after complaining: one of the texts is no list of names, parted by commas. */
bool environment_check(session *s, const text_list *names);
/* The variables that may be handed on, count of them: the array is the caller's to free. */
const char **environment_allowed(const text_list *names, size_t *count);

#endif
