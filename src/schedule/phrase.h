/* SPDX-License-Identifier: MIT
 *
 * schedule/phrase.h -- a schedule in English, for people to read.
 *
 * It says what the parsed expression matches, not how it was written: "at 02:30, Monday to Friday, Europe/Berlin".
 * (words.h has the description that Go's neoq makes its queue names of.)
 */
#ifndef NQ_SCHEDULE_PHRASE_H
#define NQ_SCHEDULE_PHRASE_H

#include <stddef.h>

#include "schedule/cron.h"

/* Puts the phrase, NUL-terminated, into out; what does not fit is cut off. NEOQ_ENOMEM. */
int nq_cron_phrase(const nq_cron *cron, char *out, size_t size);

#endif
