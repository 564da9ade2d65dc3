/* SPDX-License-Identifier: MIT
 *
 * base/log.h -- a line for whoever opened the neoq: to his function, or to stderr.
 */
#ifndef NQ_BASE_LOG_H
#define NQ_BASE_LOG_H

#include <neoq.h>

/* printf's way. Nothing where the options ask for less than this level. */
void nq_log(const neoq_options *options, neoq_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
