/* SPDX-License-Identifier: MIT
 *
 * base/decimal.h -- JSON numbers as doubles, written with the fewest digits that read back to them.
 */
#ifndef NQ_BASE_DECIMAL_H
#define NQ_BASE_DECIMAL_H

#include <stddef.h>

/*
 * Reads the size bytes at number, a well-formed JSON number, as the nearest double and writes that at to, without a NUL,
 * as Go's encoding/json does (strconv.FormatFloat with precision -1; an exponent below 1e-6 and from 1e21 on): no more
 * than six bytes for each byte read. Returns the end of what was written; NULL if the number is beyond a double, to is
 * then unspecified. Does not depend on the locale and allocates nothing.
 */
char *nq_decimal_write(const char *number, size_t size, char *to);

#endif
