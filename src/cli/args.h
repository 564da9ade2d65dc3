/* SPDX-License-Identifier: MIT
 *
 * One table a command drives both the reading of its arguments and its help.
 */
#ifndef NEOQ_CLI_ARGS_H
#define NEOQ_CLI_ARGS_H

#include <neoq.h>

typedef struct session session;

typedef enum option_kind {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char * */
    OPTION_INTEGER,  /* int64_t, min..max */
    OPTION_DURATION, /* neoq_duration, min..max */
    OPTION_KEEP,     /* neoq_duration, or the word "forever" */
    OPTION_INSTANT,  /* neoq_time */
    OPTION_STATE,    /* neoq_state */
    OPTION_WAITS     /* wait_list */
} option_kind;

typedef struct wait_list {
    neoq_duration *waits;
    size_t count;
} wait_list;

typedef struct option_spec {
    const char *name; /* NULL ends the table */
    char letter;      /* 0 = none */
    option_kind kind;
    size_t offset;        /* of the value in the struct that the table describes */
    const char *argument; /* its name in the help; NULL for a flag */
    const char *help;
    int64_t min, max;
} option_spec;

typedef struct command {
    const char *name;
    const char *arguments; /* as in "QUEUE [PAYLOAD]" */
    const char *summary;   /* one line */
    const char *details;   /* paragraphs below the options; may be NULL */
    const option_spec *options;
    int (*run)(session *s, int argc, char **argv); /* argv[0] is the command's name */
} command;

extern const option_spec global_options[];

/*
 * Reads the options of argv, and the global ones wherever they stand, up to "--"; moves the other words behind them.
 * Returns the index of the first word that is no option, or -1 after complaining. *help is set by -h and --help.
 */
int args_global(session *s, int argc, char **argv, bool *help);
int args_read(session *s, const command *of, void *values, int argc, char **argv);

/* Prints the help that the table holds; global == NULL for one command. */
void args_help(const command *of);
void args_help_options(const option_spec *options);

/* The one of `count` words that is most like `word`, or NULL if none is near. */
const char *args_nearest(const char *word, const char *const *words, size_t count);

#endif
