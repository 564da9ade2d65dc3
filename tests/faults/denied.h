/* SPDX-License-Identifier: MIT
 *
 * System calls that fail. A program that is linked with denied.c makes some of them by it, and so do the libraries, and
 * so do the processes that it forks.
 */
#ifndef DENIED_H
#define DENIED_H

#include <stdbool.h>
#include <stdint.h>

/* The nth call of that name from now on fails with that error, in any thread of any of these processes; and all that
 * follow, if `on`. */
void deny(const char *call, int error, int64_t nth, bool on);
/* Whether one failed. From now on none does. */
bool deny_end(void);

#endif
