/* SPDX-License-Identifier: MIT
 *
 * A Go program that a test drives: it is told lines of JSON, and says some. See main.go of asynq, neoq and
 * asynqmon. All functions assert success.
 */
#ifndef TESTS_INTEROP_PEER_H
#define TESTS_INTEROP_PEER_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

typedef struct peer {
    pid_t pid;
    int to; /* its standard input; -1 = closed */
    FILE *from;
} peer;

/* Ends this program with status 77, and a word, where the Go programs were not built. */
void peers_or_skip(void);

/* program: "asynq-0.26", "asynq-0.24", "neoq" or "asynqmon". more: arguments behind the subcommand, ended by NULL; may be NULL. */
peer peer_start(const char *program, const char *url, const char *subcommand, const char *const *more);
void peer_tell(peer *p, const char *line);
json_t *peer_hear(peer *p);  /* the next line, which comes within a minute */
bool peer_has_said(peer *p); /* or has ended: a peer_hear() would not wait */
/* Hears until a line has this "event", and gives that. */
json_t *peer_expect(peer *p, const char *event);
const char *peer_text(json_t *of, const char *name); /* a member; "" = there is none */
int64_t peer_number(json_t *of, const char *name);
void peer_finish(peer *p); /* closes its input, and waits for its end */
void peer_kill(peer *p);   /* SIGKILL */

/* Starts one, tells it the line if it is not NULL, hears a line, and ends it. */
json_t *peer_ask(const char *program, const char *url, const char *subcommand, const char *argument,
                 const char *line);

#endif
