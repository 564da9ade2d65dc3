/* SPDX-License-Identifier: MIT
 *
 * Text that came from anywhere, made fit to be shown or sent: UTF-8, columns, base64.
 */
#ifndef NEOQ_CLI_TEXT_H
#define NEOQ_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The code point at the front of text (size > 0) and its length; -1 and 1 where it is not UTF-8. */
int32_t text_next(const char *text, size_t size, size_t *length);
bool text_is_utf8(const char *text, size_t size);

/* A copy in UTF-8, what is not replaced by U+FFFD; the caller frees. NULL: no memory. */
char *text_clean(const char *text, size_t size);

/*
 * A copy in at most `columns` columns of a terminal (0 = as many as it takes), on one line and without anything that
 * would steer the terminal; cut with an ellipsis. The caller frees.
 */
char *text_cell(const char *text, size_t size, size_t columns);
size_t text_columns(const char *text); /* how many a string made by text_cell() takes */

char *text_base64(const void *bytes, size_t size);

#endif
