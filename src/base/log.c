/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void nq_log(const neoq_options *options, neoq_log_level level, const char *format, ...)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    if (level > options->log_level)
        return;
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (options->log)
        options->log(level, message, options->log_arg);
    else
        fprintf(stderr, "neoq: %s: %s\n", names[level], message);
}
