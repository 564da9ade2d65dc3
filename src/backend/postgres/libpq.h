/* SPDX-License-Identifier: MIT
 *
 * postgres/libpq.h -- <libpq-fe.h>, but libpq is loaded when it is first needed.
 *
 * libpq brings a dozen libraries along (Kerberos, LDAP, TLS), which cost a process some four megabytes and
 * milliseconds. A program that keeps its jobs in a file should not pay for them. The functions are called by their own
 * names; if the program uses libpq itself, they are the same ones.
 */
#ifndef NQ_POSTGRES_LIBPQ_H
#define NQ_POSTGRES_LIBPQ_H

#include <libpq-fe.h>

/* Loads it, once a process: before any other call. NEOQ_EUNSUPPORTED: it is not there. Any thread. */
int pg_load_libpq(void);

/* clang-format off */
#define PG_LIBPQ_FUNCTIONS(X) \
    X(PQbackendPID) X(PQclear) X(PQconndefaults) X(PQconnectPoll) X(PQconnectStartParams) X(PQconninfoFree) \
    X(PQconninfoParse) X(PQconsumeInput) X(PQdb) X(PQenterPipelineMode) X(PQerrorMessage) X(PQescapeIdentifier) \
    X(PQexecParams) X(PQexitPipelineMode) X(PQfinish) X(PQflush) X(PQfreemem) X(PQgetResult) X(PQgetisnull) \
    X(PQgetlength) X(PQgetvalue) X(PQhost) X(PQisBusy) X(PQnotifies) X(PQntuples) X(PQparameterStatus) \
    X(PQpipelineStatus) X(PQpipelineSync) X(PQport) X(PQresultErrorField) X(PQresultErrorMessage) X(PQresultStatus) \
    X(PQsendPrepare) X(PQsendQuery) X(PQsendQueryParams) X(PQsendQueryPrepared) X(PQserverVersion) \
    X(PQsetErrorVerbosity) X(PQsetNoticeReceiver) X(PQsetnonblocking) X(PQsocket) X(PQsslInUse) X(PQstatus) \
    X(PQtransactionStatus) X(PQuser)
/* clang-format on */

/* Filled by pg_load_libpq(), and the same from then on. */
extern struct pg_libpq {
#define X(function) __typeof__(&function) function;
    PG_LIBPQ_FUNCTIONS(X)
#undef X
} pg_libpq;

#ifndef PG_LIBPQ_LOADER
#define PQbackendPID         pg_libpq.PQbackendPID
#define PQclear              pg_libpq.PQclear
#define PQconndefaults       pg_libpq.PQconndefaults
#define PQconnectPoll        pg_libpq.PQconnectPoll
#define PQconnectStartParams pg_libpq.PQconnectStartParams
#define PQconninfoFree       pg_libpq.PQconninfoFree
#define PQconninfoParse      pg_libpq.PQconninfoParse
#define PQconsumeInput       pg_libpq.PQconsumeInput
#define PQdb                 pg_libpq.PQdb
#define PQenterPipelineMode  pg_libpq.PQenterPipelineMode
#define PQerrorMessage       pg_libpq.PQerrorMessage
#define PQescapeIdentifier   pg_libpq.PQescapeIdentifier
#define PQexecParams         pg_libpq.PQexecParams
#define PQexitPipelineMode   pg_libpq.PQexitPipelineMode
#define PQfinish             pg_libpq.PQfinish
#define PQflush              pg_libpq.PQflush
#define PQfreemem            pg_libpq.PQfreemem
#define PQgetResult          pg_libpq.PQgetResult
#define PQgetisnull          pg_libpq.PQgetisnull
#define PQgetlength          pg_libpq.PQgetlength
#define PQgetvalue           pg_libpq.PQgetvalue
#define PQhost               pg_libpq.PQhost
#define PQisBusy             pg_libpq.PQisBusy
#define PQnotifies           pg_libpq.PQnotifies
#define PQntuples            pg_libpq.PQntuples
#define PQparameterStatus    pg_libpq.PQparameterStatus
#define PQpipelineStatus     pg_libpq.PQpipelineStatus
#define PQpipelineSync       pg_libpq.PQpipelineSync
#define PQport               pg_libpq.PQport
#define PQresultErrorField   pg_libpq.PQresultErrorField
#define PQresultErrorMessage pg_libpq.PQresultErrorMessage
#define PQresultStatus       pg_libpq.PQresultStatus
#define PQsendPrepare        pg_libpq.PQsendPrepare
#define PQsendQuery          pg_libpq.PQsendQuery
#define PQsendQueryParams    pg_libpq.PQsendQueryParams
#define PQsendQueryPrepared  pg_libpq.PQsendQueryPrepared
#define PQserverVersion      pg_libpq.PQserverVersion
#define PQsetErrorVerbosity  pg_libpq.PQsetErrorVerbosity
#define PQsetNoticeReceiver  pg_libpq.PQsetNoticeReceiver
#define PQsetnonblocking     pg_libpq.PQsetnonblocking
#define PQsocket             pg_libpq.PQsocket
#define PQsslInUse           pg_libpq.PQsslInUse
#define PQstatus             pg_libpq.PQstatus
#define PQtransactionStatus  pg_libpq.PQtransactionStatus
#define PQuser               pg_libpq.PQuser
#endif

#endif
