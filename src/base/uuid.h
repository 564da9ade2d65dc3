/* SPDX-License-Identifier: MIT
 *
 * base/uuid.h -- UUIDs of RFC 9562: version 7 made, any version read and written.
 *
 * Pure functions: the caller brings clock, counter and randomness. They allocate nothing.
 */
#ifndef NQ_BASE_UUID_H
#define NQ_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define NQ_UUID_SIZE      16
#define NQ_UUID_TEXT_SIZE 37 /* with its NUL */

/*
 * A version 7 UUID (RFC 9562, section 5.7; the counter as its section 6.2, method 1, has it):
 *
 *     48 bits  milliseconds of unix_micros; before 1970 counts as 0
 *      4 bits  version 7
 *     12 bits  the counter's bits 31..20
 *      2 bits  variant 10
 *     20 bits  the counter's bits 19..0
 *     42 bits  the low bits of random
 *
 * Ids made with unix_micros that never goes back and a counter that goes up by one each compare (memcmp on the bytes,
 * strcmp on the text) in the order in which they were made, as long as the counter's low 32 bits do not wrap within one
 * millisecond. random keeps ids of different processes apart: its 42 bits must come from the system's generator.
 */
void nq_uuid_make(uint8_t out[NQ_UUID_SIZE], int64_t unix_micros, uint64_t counter, uint64_t random);

/* 8-4-4-4-12, lower-case, NUL-terminated. */
void nq_uuid_format(const uint8_t in[NQ_UUID_SIZE], char out[NQ_UUID_TEXT_SIZE]);

/*
 * Reads 8-4-4-4-12 hex digits of either case and nothing else: no braces, no "urn:uuid:", no blanks. Any version and
 * variant passes, also nil and max. False for anything else, and for NULL; out is then unspecified.
 */
bool nq_uuid_parse(const char *text, uint8_t out[NQ_UUID_SIZE]);

#endif
