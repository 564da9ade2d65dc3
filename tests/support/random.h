/* SPDX-License-Identifier: MIT
 *
 * Numbers that look random and are the same on every machine, by xorshift64*: a test says where they begin.
 */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stdint.h>

/* The next one. The state is what it begins with at first: not 0. */
static inline uint64_t random_from(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

#endif
