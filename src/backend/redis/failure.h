/* SPDX-License-Identifier: MIT
 *
 * redis/failure.h -- what a refusal of the server means to neoq.
 *
 * An error reply begins with a word in capitals that tells what it is: "WRONGPASS ...", "READONLY ...". What Lua
 * scripts of ours raise is theirs to name.
 */
#ifndef NQ_REDIS_FAILURE_H
#define NQ_REDIS_FAILURE_H

#include <hiredis/hiredis.h>

#include <neoq/backend.h>

/* Why a connection could not be made. */
typedef struct rd_failure {
    int status;
    bool lasting;    /* no use in trying again soon: a wrong password, no such database, no right */
    char words[512]; /* in one line, without a password */
} rd_failure;

/* Fills it in, and returns false. */
bool rd_fail(rd_failure *failure, int status, bool lasting, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

bool rd_is_error(const redisReply *reply, const char *code); /* "NOSCRIPT"; NULL = any error */
/* Whether who asks again on a later connection may fare better: LOADING, READONLY, ... */
bool rd_error_passes(const redisReply *reply);
/* Of an error reply: sets the words, with a hint where there is one, and returns the status. */
int rd_refused(const char *shown, const redisReply *reply);
/* The same, as rd_fail(). */
bool rd_fail_refused(rd_failure *failure, const redisReply *reply);

#endif
