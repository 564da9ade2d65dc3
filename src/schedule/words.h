/* SPDX-License-Identifier: MIT
 *
 * schedule/words.h -- a cron expression in English, and the queue name that is made of it.
 *
 * Go's neoq names the queue of a cron handler after an English description of the expression: "0 30 9 * * MON-FRI" is
 * "At 09:30 AM, Monday through Friday", and the queue at_0930_am_monday_through_friday. A program that works beside
 * one in Go must arrive at the same name, so every oddity of that description is kept: five fields begin with the
 * minute, six with the second unless the last ends in a year, and repeated ranges are said twice.
 */
#ifndef NQ_SCHEDULE_WORDS_H
#define NQ_SCHEDULE_WORDS_H

#include <stddef.h>

/*
 * Puts the description, NUL-terminated, into out. The expression need not be one that nq_cron_parse() takes.
 * NEOQ_EINVAL, with words, where Go refuses it or panics, and if it does not fit into size bytes.
 */
int nq_cron_describe(const char *spec, char *out, size_t size);

/*
 * Puts the queue's name into out. A TZ= or CRON_TZ= prefix is left aside. An expression that begins with @, or that Go
 * cannot describe, is called "cron_" and the expression, each run of other characters than ASCII letters and digits
 * turned to one "_", none at the ends: "@every 1h30m" gives cron_every_1h30m. NEOQ_EINVAL for an empty expression, and
 * for a name of more than 200 bytes or of size bytes.
 */
int nq_cron_queue_name(const char *spec, char *out, size_t size);

#endif
