/* SPDX-License-Identifier: MIT
 *
 * Memory that is refused. A program that is linked with scarce.c allocates by it, and so do the libraries it uses:
 * SQLite, libpq, hiredis, OpenSSL and the C library itself.
 */
#ifndef SCARCE_H
#define SCARCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum scarce_mode {
    SCARCE_ONCE,  /* that one allocation alone fails */
    SCARCE_ALWAYS /* and so do all that follow, until there is plenty again */
} scarce_mode;

/* The nth allocation from now on fails: this thread's, or, of all other threads together, theirs. */
void scarce_here(int64_t nth, scarce_mode mode);
void scarce_elsewhere(int64_t nth, scarce_mode mode);
/* There is plenty again. Whether something was refused. */
bool scarce_end(void);
/* How often, since it began. */
int64_t scarce_refusals(void);

/* What is allocated now and not freed, by any thread. */
int64_t scarce_live(void);

#endif
