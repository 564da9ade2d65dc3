/* SPDX-License-Identifier: MIT */
#include "interop/redis/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS = 16, PATIENCE_SECONDS = 60 };

static void find_program(const char *program, char path[512])
{
    snprintf(path, 512, "%s/%s", NEOQ_TEST_PEERS, program);
}

void peers_or_skip(void)
{
    static const char *const all[] = {"asynq-0.26", "asynq-0.24", "neoq", "asynqmon"};
    char path[512];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        find_program(all[i], path);
        if (access(path, X_OK) == 0)
            continue;
        printf("SKIPPED: %s was not built; tests/interop/redis/build says why\n", all[i]);
        exit(77);
    }
}

static void run(const char *path, const char **arguments, int in, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a test that failed */
    dup2(in, 0);
    dup2(out, 1);
    execv(path, (char *const *)arguments);
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    _exit(127);
}

peer peer_start(const char *program, const char *url, const char *subcommand, const char *const *more)
{
    char path[512];
    const char *arguments[ARGUMENTS] = {program, url, subcommand};
    int to[2], from[2], count = 3;
    find_program(program, path);
    for (; more && *more && count < ARGUMENTS - 1; more++)
        arguments[count++] = *more;
    assert_int_equal(0, pipe2(to, O_CLOEXEC));
    assert_int_equal(0, pipe2(from, O_CLOEXEC));
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        run(path, arguments, to[0], from[1]);
    close(to[0]);
    close(from[1]);
    return (peer){pid, to[1], fdopen(from[0], "r")};
}

void peer_tell(peer *p, const char *line)
{
    size_t size = strlen(line);
    assert_int_equal(size, write(p->to, line, size));
    assert_int_equal(1, write(p->to, "\n", 1));
}

static bool says_within(peer *p, int milliseconds)
{
    setvbuf(p->from, NULL, _IONBF, 0); /* so that poll() sees what there is */
    struct pollfd fd = {.fd = fileno(p->from), .events = POLLIN};
    return poll(&fd, 1, milliseconds) == 1;
}

bool peer_has_said(peer *p)
{
    return says_within(p, 0);
}

json_t *peer_hear(peer *p)
{
    static char line[1 << 20];
    json_error_t error;
    if (!says_within(p, PATIENCE_SECONDS * 1000))
        fail_msg("the Go program says nothing");
    if (!fgets(line, sizeof line, p->from))
        fail_msg("the Go program has ended");
    json_t *said = json_loads(line, JSON_ALLOW_NUL, &error);
    if (!said)
        fail_msg("the Go program said \"%.200s\": %s", line, error.text);
    return said;
}

json_t *peer_expect(peer *p, const char *event)
{
    for (;;) {
        json_t *said = peer_hear(p);
        const char *what = json_string_value(json_object_get(said, "event"));
        if (what && strcmp(what, event) == 0)
            return said;
        json_decref(said);
    }
}

void peer_finish(peer *p)
{
    int status;
    if (p->to >= 0)
        close(p->to);
    p->to = -1;
    while (fgetc(p->from) != EOF)
        ;
    fclose(p->from);
    assert_int_equal(p->pid, waitpid(p->pid, &status, 0));
    assert_int_equal(0, status);
}

void peer_kill(peer *p)
{
    int status;
    assert_int_equal(0, kill(p->pid, SIGKILL));
    assert_int_equal(p->pid, waitpid(p->pid, &status, 0));
    close(p->to);
    fclose(p->from);
}

json_t *peer_ask(const char *program, const char *url, const char *subcommand, const char *argument, const char *line)
{
    peer p = peer_start(program, url, subcommand, (const char *const[]){argument, NULL});
    if (line)
        peer_tell(&p, line);
    json_t *answer = peer_hear(&p);
    peer_finish(&p);
    return answer;
}

const char *peer_text(json_t *of, const char *name)
{
    const char *value = json_string_value(json_object_get(of, name));
    return value ? value : "";
}

int64_t peer_number(json_t *of, const char *name)
{
    return json_integer_value(json_object_get(of, name));
}
