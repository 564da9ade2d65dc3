/* SPDX-License-Identifier: MIT
 *
 * Starting the program: its words, its environment, its descriptors. No shell reads any of them.
 */
#include "launch.h"

#include "text.h"
#include "values.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONGEST_WORD     ((size_t)128 * 1024) /* the kernel's limit for one argument, its NUL included */
#define LONGEST_VARIABLE ((size_t)64 * 1024)  /* of payload in NEOQ_PAYLOAD */
#define JOB_VARIABLES    5

extern char **environ;

/* ---- before the first ---------------------------------------------------------------------- */

static bool is_program(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISREG(about.st_mode) && access(path, X_OK) == 0;
}

/* The path of the program, looked for as execvp() does; NULL if there is none. */
static char *find_program(const char *name)
{
    const char *path = getenv("PATH");
    char *found = NULL;
    if (strchr(name, '/') != NULL)
        return is_program(name) ? need(strdup(name)) : NULL;
    if (path == NULL)
        path = "/bin:/usr/bin";
    for (const char *end; *name != '\0'; path = end + 1) {
        end = path + strcspn(path, ":");
        int size = asprintf(&found, "%.*s%s%s", (int)(end - path), path, end > path ? "/" : "./", name);
        need(size < 0 ? NULL : found);
        if (is_program(found))
            return found;
        free(found);
        if (*end == '\0')
            break;
    }
    return NULL;
}

/* Ours to keep: the store's URL may hold a password, and the others are the job's. */
static bool is_withheld(const char *variable)
{
    static const char *const names[] = {"NEOQ_URL=",     "NEOQ_JOB_ID=",   "NEOQ_QUEUE=",
                                        "NEOQ_RETRIES=", "NEOQ_DEADLINE=", "NEOQ_PAYLOAD="};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

int child_prepare(child_plan *plan, session *s, int word_count, char **words)
{
    size_t count = 0;
    plan->session = s;
    plan->words = words;
    plan->word_count = (size_t)word_count;
    plan->program = find_program(words[0]);
    if (plan->program == NULL) {
        const char *why = strchr(words[0], '/') != NULL ? "is no program that may be run" : "is not in the $PATH";
        return complain_usage(s, "work: the command '%s' %s", words[0], why);
    }
    while (environ[count] != NULL)
        count++;
    plan->environment = need(calloc(count + 1, sizeof *plan->environment));
    for (size_t i = 0; i < count; i++) {
        if (!is_withheld(environ[i]))
            plan->environment[plan->environment_count++] = environ[i];
    }
    return EXIT_DONE;
}

void child_forget(child_plan *plan)
{
    free(plan->program);
    free(plan->environment);
    plan->program = NULL;
    plan->environment = NULL;
}

/* ---- words --------------------------------------------------------------------------------- */

typedef struct words {
    char **list; /* NULL-terminated; those that differ from the plan's are owned */
    size_t count;
    const child_plan *plan;
} words;

static void free_words(words *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->list[i] != w->plan->words[i])
            free(w->list[i]);
    }
    free(w->list);
}

/* The word, which has a "{}", with the payload in the place of every one. NULL: too long, or no memory. */
static char *fill_in(const char *word, const neoq_job *job)
{
    size_t size = strlen(word), places = 0;
    for (const char *at = word; (at = strstr(at, "{}")) != NULL; at += 2)
        places++;
    if (job->payload_size > LONGEST_WORD / places || size + places * job->payload_size >= LONGEST_WORD + 2 * places)
        return NULL;
    char *filled = malloc(size + places * job->payload_size + 1), *to = filled;
    for (const char *at = word; filled != NULL;) {
        const char *place = strstr(at, "{}");
        size_t bare = place != NULL ? (size_t)(place - at) : strlen(at);
        memcpy(to, at, bare);
        to += bare;
        if (place == NULL)
            break;
        memcpy(to, job->payload, job->payload_size);
        to += job->payload_size;
        at = place + 2;
    }
    if (filled != NULL)
        *to = '\0';
    return filled;
}

/* False, and why, where the payload does not go into an argument. */
static bool make_words(words *w, const neoq_job *job, char *why, size_t why_size)
{
    w->list = calloc(w->plan->word_count + 1, sizeof *w->list);
    if (w->list == NULL) {
        snprintf(why, why_size, "out of memory");
        return false;
    }
    for (w->count = 0; w->count < w->plan->word_count; w->count++) {
        char *word = w->plan->words[w->count];
        if (w->count > 0 && strstr(word, "{}") != NULL) {
            if (memchr(job->payload, '\0', job->payload_size) != NULL) {
                snprintf(why, why_size,
                         "the payload holds a NUL byte, and so cannot stand for {} in an argument: "
                         "read it from standard input");
                return false;
            }
            word = fill_in(word, job);
            if (word == NULL) {
                snprintf(why, why_size,
                         "the payload (%zu bytes) is too long to stand for {} in an argument (128 KiB at "
                         "the most): read it from standard input",
                         job->payload_size);
                return false;
            }
        }
        w->list[w->count] = word;
    }
    return true;
}

/* ---- the environment ----------------------------------------------------------------------- */

typedef struct variables {
    const char **list; /* the plan's, and behind them the job's */
    char *own[JOB_VARIABLES];
    size_t own_count;
} variables;

static void free_variables(variables *v)
{
    for (size_t i = 0; i < v->own_count; i++)
        free(v->own[i]);
    free(v->list);
}

static bool add_variable(variables *v, size_t *count, const char *format, ...) __attribute__((format(printf, 3, 4)));

static bool add_variable(variables *v, size_t *count, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size < 0)
        return false;
    v->own[v->own_count++] = text;
    v->list[(*count)++] = text;
    return true;
}

static bool make_variables(variables *v, const child_plan *plan, const neoq_job *job)
{
    char deadline[INSTANT_SIZE] = "";
    size_t count = plan->environment_count;
    bool text = job->payload_size <= LONGEST_VARIABLE && memchr(job->payload, '\0', job->payload_size) == NULL &&
                text_is_utf8(job->payload, job->payload_size);
    v->list = calloc(count + JOB_VARIABLES + 1, sizeof *v->list);
    if (v->list == NULL)
        return false;
    memcpy(v->list, plan->environment, count * sizeof *v->list);
    if (job->deadline != 0)
        format_instant(job->deadline, deadline);
    return add_variable(v, &count, "NEOQ_JOB_ID=%s", job->id) &&
           add_variable(v, &count, "NEOQ_QUEUE=%s", job->queue) &&
           add_variable(v, &count, "NEOQ_RETRIES=%d", job->retries) &&
           add_variable(v, &count, "NEOQ_DEADLINE=%s", deadline) &&
           (!text || add_variable(v, &count, "NEOQ_PAYLOAD=%s", (const char *)job->payload));
}

/* ---- descriptors --------------------------------------------------------------------------- */

typedef struct ends {
    int payload;        /* a memory file: the child may read it at its leisure, and nobody has to feed it */
    int errors, output; /* the writing ends */
} ends;

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool write_payload(int fd, const neoq_job *job)
{
    const char *bytes = job->payload;
    for (size_t left = job->payload_size; left > 0;) {
        ssize_t done = write(fd, bytes, left);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes += done;
        left -= (size_t)done;
    }
    return lseek(fd, 0, SEEK_SET) == 0;
}

static bool make_pipe(int *reading, int *writing)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    *reading = fds[0];
    *writing = fds[1];
    return fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0; /* our end only */
}

static bool make_ends(const child_plan *plan, const neoq_job *job, launched *child, ends *e)
{
    e->payload = memfd_create("payload", MFD_CLOEXEC);
    return e->payload >= 0 && write_payload(e->payload, job) && make_pipe(&child->errors, &e->errors) &&
           (!plan->keep_output || make_pipe(&child->output, &e->output));
}

/* ---- the start ----------------------------------------------------------------------------- */

static int set_actions(posix_spawn_file_actions_t *actions, const child_plan *plan, const ends *e)
{
    int output = e->output >= 0 ? e->output : plan->output_to_stderr ? STDERR_FILENO : -1;
    int error = posix_spawn_file_actions_adddup2(actions, e->payload, STDIN_FILENO);
    if (error == 0 && output >= 0)
        error = posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(actions, e->errors, STDERR_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    return error;
}

/* A group of its own, and signals as a program expects to find them, whatever we have done to ours. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    static const int ours[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGCHLD, SIGPIPE};
    sigset_t none, normal;
    sigemptyset(&none);
    sigemptyset(&normal);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        sigaddset(&normal, ours[i]);
    int error =
        posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (error == 0)
        error = posix_spawnattr_setpgroup(attributes, 0);
    if (error == 0)
        error = posix_spawnattr_setsigmask(attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attributes, &normal);
    return error;
}

static int spawn(const child_plan *plan, const words *w, const variables *v, const ends *e, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = set_actions(&actions, plan, e);
        if (error == 0)
            error = set_attributes(&attributes);
        if (error == 0)
            error = posix_spawn(pid, plan->program, &actions, &attributes, w->list, (char *const *)v->list);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Starts it; errno otherwise. */
static int start(const child_plan *plan, const neoq_job *job, const words *w, launched *child)
{
    ends e = {-1, -1, -1};
    variables v = {0};
    int error = 0;
    if (!make_variables(&v, plan, job))
        error = ENOMEM;
    else if (!make_ends(plan, job, child, &e))
        error = errno;
    else
        error = spawn(plan, w, &v, &e, &child->pid);
    if (error == 0) {
        child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
        if (child->pidfd < 0) { /* out of descriptors: what cannot be watched must not run */
            error = errno;
            kill(-child->pid, SIGKILL);
            while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
                continue;
        }
    }
    shut(&e.payload);
    shut(&e.errors);
    shut(&e.output);
    free_variables(&v);
    return error;
}

bool launch(const child_plan *plan, const neoq_job *job, launched *child, char *why, size_t why_size)
{
    words w = {.plan = plan};
    *child = (launched){.pid = -1, .pidfd = -1, .errors = -1, .output = -1};
    bool good = make_words(&w, job, why, why_size);
    int error = good ? start(plan, job, &w, child) : 0;
    if (w.list != NULL)
        free_words(&w);
    if (error == ENOEXEC)
        snprintf(why, why_size, "%s cannot be started: it is no program, and no script that begins with #!",
                 plan->program);
    else if (error == E2BIG)
        snprintf(why, why_size,
                 "%s cannot be started: its arguments and environment are too long; read the payload "
                 "from standard input",
                 plan->program);
    else if (error != 0)
        snprintf(why, why_size, "%s cannot be started: %s", plan->program, strerror(error));
    if (!good || error != 0)
        launch_close(child);
    return good && error == 0;
}

void launch_close(launched *child)
{
    shut(&child->pidfd);
    shut(&child->errors);
    shut(&child->output);
}
