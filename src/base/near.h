/* SPDX-License-Identifier: MIT
 *
 * base/near.h -- which word was meant.
 */
#ifndef NQ_BASE_NEAR_H
#define NQ_BASE_NEAR_H

#include <stddef.h>

/* The word of the list that is most like `word`; NULL: none is like it. */
const char *nq_near(const char *word, const char *const *words, size_t count);

#endif
