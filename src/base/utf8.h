/* SPDX-License-Identifier: MIT
 *
 * base/utf8.h -- UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF.
 *
 * Pure functions; they allocate nothing and need no NUL at the end of what they read.
 */
#ifndef NQ_BASE_UTF8_H
#define NQ_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NQ_UTF8_REPLACEMENT 0xFFFDu /* stands where bytes were no character */

/* True if all of it is UTF-8. NUL is a character like any other; no bytes at all are valid. */
bool nq_utf8_valid(const char *bytes, size_t size);

/*
 * The character that bytes begin with: its length, 1 to 4, and in *point its number. 0 if they begin with none (also
 * if size cuts it short); the caller then steps over one byte, as Go and the Unicode standard's practice do.
 */
size_t nq_utf8_decode(const char *bytes, size_t size, uint32_t *point);

/* Writes point (at most U+10FFFF, no surrogate) as 1 to 4 bytes to out, without a NUL, and returns their count. */
size_t nq_utf8_encode(uint32_t point, char out[4]);

/*
 * Copies text of unknown origin so that every store takes it: each byte that is no UTF-8, and each NUL, becomes U+FFFD.
 * out holds room bytes (at least 1); what does not fit is cut off, never within a character. out is NUL-terminated and
 * must not overlap bytes. Returns the length without the NUL.
 */
size_t nq_utf8_clean(const char *bytes, size_t size, char *out, size_t room);

#endif
