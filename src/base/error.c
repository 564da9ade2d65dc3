/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

#include <neoq/backend.h>

static _Thread_local char message[1024];

static int set_message(int status, const char *format, va_list args)
{
    /* An argument may point into the old message ("...: %s", neoq_error_message()), so it is made aside. */
    char made[sizeof message];
    vsnprintf(made, sizeof made, format, args);
    snprintf(message, sizeof message, "%s", made);
    return status;
}

int nq_fail(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message(status, format, args);
    va_end(args);
    return status;
}

int neoq_set_error(int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message(status, format, args);
    va_end(args);
    return status;
}

const char *neoq_error_message(void)
{
    return message;
}

const char *neoq_status_name(int status)
{
    switch (status) {
    case NEOQ_OK: return "NEOQ_OK";
    case NEOQ_EINVAL: return "NEOQ_EINVAL";
    case NEOQ_ENOMEM: return "NEOQ_ENOMEM";
    case NEOQ_EDUPLICATE: return "NEOQ_EDUPLICATE";
    case NEOQ_ENOTFOUND: return "NEOQ_ENOTFOUND";
    case NEOQ_EEXIST: return "NEOQ_EEXIST";
    case NEOQ_EFULL: return "NEOQ_EFULL";
    case NEOQ_ETIMEOUT: return "NEOQ_ETIMEOUT";
    case NEOQ_EBACKEND: return "NEOQ_EBACKEND";
    case NEOQ_ESCHEMA: return "NEOQ_ESCHEMA";
    case NEOQ_ETOOBIG: return "NEOQ_ETOOBIG";
    case NEOQ_ESTATE: return "NEOQ_ESTATE";
    case NEOQ_EUNSUPPORTED: return "NEOQ_EUNSUPPORTED";
    case NEOQ_ELOST: return "NEOQ_ELOST";
    case NEOQ_EFAILED: return "NEOQ_EFAILED";
    case NEOQ_EUNKNOWN: return "NEOQ_EUNKNOWN";
    default: return "NEOQ_(not a status)";
    }
}
