/* SPDX-License-Identifier: MIT
 *
 * One table a command drives the reading of its arguments and of its settings, its help, its completions and its part
 * of the manual page.
 */
#ifndef NEOQ_CLI_ARGS_H
#define NEOQ_CLI_ARGS_H

#include <neoq.h>

typedef struct session session;

typedef enum option_kind {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char * */
    OPTION_INTEGER,  /* int64_t, min..max */
    OPTION_SIZE,     /* int64_t, bytes, from min on */
    OPTION_DURATION, /* neoq_duration, min..max */
    OPTION_KEEP,     /* neoq_duration, or the word "forever" */
    OPTION_INSTANT,  /* neoq_time */
    OPTION_STATE,    /* neoq_state */
    OPTION_WAITS,    /* wait_list */
    OPTION_CHOICE,   /* int: which word of the argument, "a|b|c", from 0 */
    OPTION_TEXTS,    /* text_list; may be given again and again */
    OPTION_HELP      /* has no value, and no place for one */
} option_kind;

typedef struct wait_list {
    neoq_duration *waits;
    size_t count;
} wait_list;

typedef struct text_list {
    const char **texts; /* the array is the caller's to free */
    size_t count;
} text_list;

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
    const char *details;   /* paragraphs; lines that begin with a blank are left as they are; may be NULL */
    const option_spec *options;
    bool bare;                                     /* needs no configuration file, and so no good one */
    int (*run)(session *s, int argc, char **argv); /* argv[0] is the command's name */
} command;

extern const command *const commands[]; /* ends with NULL; in the order of the help */
extern const option_spec global_options[];

/*
 * Reads the options of argv, and the global ones wherever they stand, up to "--"; moves the other words behind them.
 * What the command line does not say, the configuration files may. Returns the index of the first word that is no
 * option, or -1 after complaining. *help is set by -h and --help.
 */
int args_global(session *s, int argc, char **argv, bool *help);
int args_read(session *s, const command *of, void *values, int argc, char **argv);

/* The option of that name; NULL: there is none. */
const option_spec *args_find(const option_spec *options, const char *name);
/* The command of that name, without words; NULL: there is none. */
const command *args_command(const char *name);
/* Where the "--" before a command line stands, up to which args_read() is to read; argc if there is none. */
int args_split(int argc, char **argv);

#endif
