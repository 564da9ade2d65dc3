/* SPDX-License-Identifier: MIT
 *
 * base/json.h -- JSON text in its one canonical form.
 *
 * Canonical is what Go's encoding/json (1.22 and later) writes for the value it has decoded: no white space, the members
 * of every object in the order of their names' bytes, the last of equal names alone, strings with '<', '>', '&', U+2028
 * and U+2029 escaped, bytes that are no UTF-8 and lone surrogates replaced by U+FFFD. Numbers without point and exponent
 * that fit int64_t or uint64_t keep their digits; all others are read as a double and written with the fewest digits that
 * read back to it. Two texts of the same value become the same bytes, and canonical text becomes itself.
 *
 * Refused, as Go refuses it: what is not JSON by RFC 8259, a byte order mark, more than 10,000 levels, numbers beyond a
 * double (1e309; too small ones become 0 or -0). Unlike Go's decoding into a map, any value may stand at the top; and
 * where Go misplaces the point of a number (more than 800 digits before it, and an exponent), here it is read right.
 *
 * Independent of the locale. Needs a few KiB of stack at any depth, and time in proportion to the size (n log n for the
 * members of an object that are not in order).
 */
#ifndef NQ_BASE_JSON_H
#define NQ_BASE_JSON_H

#include <stddef.h>

#include "base/buffer.h"

/* Levels of arrays and objects within each other: Go's maxNestingDepth. */
#define NQ_JSON_MAX_DEPTH 10000

/*
 * No input byte makes more than six bytes of output (such as '<' within a string), and putting members in order takes
 * as much again. A buffer with this much room left is not reallocated by nq_json_canonical.
 */
#define NQ_JSON_CANONICAL_ROOM(size) (12 * (size) + 2)

/*
 * Appends the canonical form of text to out. On failure out holds what it held before, and no words are left for
 * neoq_error_message(): whether a payload has to be JSON is the caller's to say.
 *
 * NEOQ_OK; NEOQ_EINVAL: text is not JSON as above; NEOQ_ENOMEM.
 */
int nq_json_canonical(const char *text, size_t size, nq_buffer *out);

#endif
