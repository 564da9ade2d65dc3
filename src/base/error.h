/* SPDX-License-Identifier: MIT
 *
 * base/error.h -- a status and words about it.
 *
 * A function that fails returns a negative neoq_status and leaves a sentence for this thread; the caller passes the
 * status on. The sentence says what was wrong, where, and what to do.
 */
#ifndef NQ_BASE_ERROR_H
#define NQ_BASE_ERROR_H

#include <neoq.h>

/* Sets this thread's message and returns status: `return nq_fail(NEOQ_EINVAL, "...")`. */
int nq_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
