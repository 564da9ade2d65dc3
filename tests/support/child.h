/* SPDX-License-Identifier: MIT
 *
 * A second process: the test program once more, so that it can be stopped, killed or let fall without taking the test
 * with it. It is executed anew, not forked, for a forked child may not start threads under the sanitizers.
 */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct child {
    pid_t pid;
    int to, from; /* its standard input and output */
} child;

/* Runs `main_of` of the same program as "program --child ROLE URL". Asserts success. */
child child_start(const char *role, const char *url);
/* Reads a line from it, without the newline; asserts that one comes in the time of a test's patience. */
void child_expect(child *c, const char *line);
void child_tell(child *c, char byte);
/* Waits for its end, for a test's patience or for so many seconds, and returns its wait status; asserts that it comes. */
int child_wait(child *c);
int child_wait_long(child *c, int seconds);
void child_signal(child *c, int number);

/* In the child: true if argv says so. */
bool child_role(int argc, char **argv, const char **role, const char **url);
void child_say(const char *line);
/* Blocks until the parent tells something; its byte, or -1 when the parent is gone. */
int child_hear(void);

#endif
