/* SPDX-License-Identifier: MIT
 *
 * base/place.h -- naming a process for good, and telling whether it still is.
 *
 * A pid means something in one pid namespace of one boot; with the instant at which the process began, it names it.
 */
#ifndef NQ_BASE_PLACE_H
#define NQ_BASE_PLACE_H

#include <stdbool.h>

enum { NQ_PLACE_SIZE = 96, NQ_PROCESS_PLACE_SIZE = 128 };

/* This process's boot and pid namespace: "boot/namespace". */
void nq_place_find(char here[NQ_PLACE_SIZE]);
/* A process of here: "boot/namespace/start". */
void nq_place_of(const char *here, int pid, char place[NQ_PROCESS_PLACE_SIZE]);
/* Whether they are known to be of two boots; of one that could not be read nothing is known. */
bool nq_place_other_boot(const char *a, const char *b);
/* Whether the process of that place is known to be gone; false also where nothing can be said from here. */
bool nq_place_is_gone(const char *here, const char *place, int pid);

#endif
