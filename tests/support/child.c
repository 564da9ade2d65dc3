/* SPDX-License-Identifier: MIT */
#include "support/child.h"

#include "support/store.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

child child_start(const char *role, const char *url)
{
    int to[2], from[2];
    assert_int_equal(0, pipe(to));
    assert_int_equal(0, pipe(from));
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* even a frozen child does not outlive a test that failed */
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[0]);
        close(to[1]);
        close(from[0]);
        close(from[1]);
        execl("/proc/self/exe", "child", "--child", role, url, (char *)NULL);
        _exit(126);
    }
    close(to[0]);
    close(from[1]);
    return (child){pid, to[1], from[0]};
}

void child_expect(child *c, const char *line)
{
    char heard[128] = "";
    for (size_t size = 0; size < sizeof(heard) - 1;) {
        struct pollfd fd = {.fd = c->from, .events = POLLIN};
        if (poll(&fd, 1, PATIENCE_SECONDS * 1000) != 1)
            fail_msg("the child did not say \"%s\" but only \"%s\"", line, heard);
        if (read(c->from, heard + size, 1) != 1)
            fail_msg("the child ended before it said \"%s\"; it said \"%s\"", line, heard);
        if (heard[size] == '\n') {
            heard[size] = '\0';
            break;
        }
        size++;
    }
    assert_string_equal(line, heard);
}

void child_tell(child *c, char byte)
{
    assert_int_equal(1, write(c->to, &byte, 1));
}

int child_wait(child *c)
{
    return child_wait_long(c, PATIENCE_SECONDS);
}

int child_wait_long(child *c, int seconds)
{
    int status = 0;
    pid_t pid = 0;
    patience p = patience_of(seconds);
    while ((pid = waitpid(c->pid, &status, WNOHANG)) == 0 && patience_left(&p))
        ;
    if (pid == 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, &status, 0);
    }
    close(c->to);
    close(c->from);
    assert_int_equal(c->pid, pid);
    return status;
}

void child_signal(child *c, int number)
{
    assert_int_equal(0, kill(c->pid, number));
}

bool child_role(int argc, char **argv, const char **role, const char **url)
{
    if (argc != 4 || strcmp(argv[1], "--child") != 0)
        return false;
    *role = argv[2];
    *url = argv[3];
    return true;
}

void child_say(const char *line)
{
    char text[128];
    int size = snprintf(text, sizeof(text), "%s\n", line);
    if (write(1, text, (size_t)size) != size)
        _exit(125);
}

int child_hear(void)
{
    unsigned char byte;
    return read(0, &byte, 1) == 1 ? byte : -1;
}
