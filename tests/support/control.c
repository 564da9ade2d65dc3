/* SPDX-License-Identifier: MIT */
#include "support/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool control_say(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s for tests: ", name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return false;
}

static bool hear(control *c, const char *order, char words[CONTROL_ANSWER])
{
    char line[CONTROL_ANSWER] = "";
    if (!fgets(line, sizeof line, c->from))
        return control_say(c->name, "%s: the script has ended", order);
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "ok", 2) != 0)
        return control_say(c->name, "%s: %s", order, line);
    if (words)
        snprintf(words, CONTROL_ANSWER, "%s", line[2] ? line + 3 : "");
    return true;
}

bool control_tell(control *c, const char *order)
{
    char line[64];
    int size = snprintf(line, sizeof line, "%s\n", order);
    if (c->to < 0)
        return control_say(c->name, "%s: the server is not this test's own", order);
    if (write(c->to, line, (size_t)size) != size)
        return control_say(c->name, "%s: %s", order, strerror(errno));
    return hear(c, order, NULL);
}

static void run_script(const char *script, const char **arguments, int in, int out)
{
    dup2(in, 0);
    dup2(out, 1);
    execv(script, (char *const *)arguments);
    fprintf(stderr, "%s: %s\n", script, strerror(errno));
    _exit(127);
}

/* The script leaves its life to a process that is nobody's child, and ends at once. */
bool control_begin(control *c, const char *name, const char *script, const char **arguments,
                   char words[CONTROL_ANSWER])
{
    int to[2], from[2], status;
    *c = (control){.name = name, .to = -1};
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        return control_say(name, "pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_script(script, arguments, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    c->to = to[1];
    c->from = fdopen(from[0], "r");
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && c->from && hear(c, "start", words);
}

void control_end(control *c)
{
    if (c->to >= 0)
        close(c->to);
    if (c->from) {
        while (fgetc(c->from) != EOF) /* it ends when all is gone */
            ;
        fclose(c->from);
    }
}
