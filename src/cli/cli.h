/* SPDX-License-Identifier: MIT
 *
 * What every command shares: the session (where the store is, how loud to be), exit statuses, and words on stderr.
 * The command is written on <neoq.h> alone.
 */
#ifndef NEOQ_CLI_H
#define NEOQ_CLI_H

#include <neoq.h>

#include "args.h"
#include "screen.h"

/* The exit statuses of the command: part of its grammar, the same for every subcommand. */
enum { EXIT_DONE = 0, EXIT_SOME_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_FOUND = 3, EXIT_STORE = 4, EXIT_REFUSED = 5 };

#define MAX_PAYLOAD ((size_t)1 << 20) /* the library's default */

typedef enum log_format { LOG_TEXT, LOG_LOGFMT, LOG_JSON } log_format;

typedef struct session {
    const char *url;         /* NULL until a command asks for it: see session_url() */
    char *own_url;           /* what of it is to be freed */
    const char *config_file; /* --config */
    const char *config_url;  /* the url of a configuration file */
    struct settings *settings;
    bool json;
    bool quiet;
    bool verbose;
    log_format log_format;
    screen screen; /* stderr, shared by everybody who writes there */
} session;

/* Which exit status a status of the library becomes. */
int exit_of(int status);

/* The store's URL: --url, $NEOQ_URL, a configuration file's, or the file below the state folder (whose folders it
 * makes). NULL: complained. */
const char *session_url(session *s);
/* "sqlite" of "sqlite:jobs.db": what may be shown of a URL that may hold a password. */
void session_scheme(session *s, char *scheme, size_t size);
bool url_has_password(const char *url);
/* The home folder of whoever runs this; NULL: there is none. */
const char *home_folder(void);
/* The path of a file of ours, whose folders it makes: the caller frees. NULL: complained. */
char *session_state_path(session *s, const char *name);
/* Where the library's log goes, and how much of it. */
void session_options(session *s, neoq_options *options);
/* Opens the store; options may be NULL. On failure complains and returns the exit status. */
int session_open(session *s, const neoq_options *options, neoq **out);

/* "neoq: words" on stderr. A note is left out under --quiet. complain_usage() returns EXIT_USAGE. */
void note(session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
void complain(session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
int complain_usage(session *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "neoq: words: what the library says", and the exit status of it. */
int complain_status(session *s, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Memory for the command's own small needs; a process without any left ends here with words. */
void *need(void *memory);

int64_t steady_now(void); /* microseconds that only go forward */

extern const command command_enqueue, command_work, command_jobs, command_job, command_queues, command_bench;
extern const command command_retry, command_cancel, command_delete, command_pause, command_resume, command_purge;
extern const command command_workers, command_migrate, command_doctor, command_completion;
extern const command command_cron, command_commands, command_log, command_wait, command_explain;
extern const command command_version, command_help;

#endif
