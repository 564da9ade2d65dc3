/* SPDX-License-Identifier: MIT
 *
 * The value of an option, read as its table says.
 */
#ifndef NEOQ_CLI_OPTION_H
#define NEOQ_CLI_OPTION_H

#include "args.h"

/*
 * Puts the value of text into its place in the struct that the table describes. False after complaining; `at` begins
 * the words of that, and says where the text stands. Of a flag a NULL text is yes. Text is not copied.
 */
bool option_read(session *s, const char *at, const option_spec *spec, const char *text, void *values);

/* The words that a value is one of, as in "a|b|c"; NULL where it is none of a few. */
const char *option_choices(const option_spec *spec);

#endif
