/* SPDX-License-Identifier: MIT
 *
 * Starting the program: its words, its environment, its descriptors. No shell reads any of them.
 */
#include "launch.h"

#include "command_line.h"
#include "environment.h"
#include "spool.h"
#include "text.h"
#include "values.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONGEST_WORD     ((size_t)128 * 1024) /* the kernel's limit for one argument, its NUL included */
#define LONGEST_VARIABLE ((size_t)64 * 1024)  /* of payload in NEOQ_PAYLOAD */
#define JOB_VARIABLES    6

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

int child_prepare(child_plan *plan, session *s, int word_count, char **words, const text_list *names)
{
    plan->session = s;
    plan->words = words;
    plan->word_count = (size_t)word_count;
    plan->program = plan->commands ? NULL : find_program(words[0]);
    if (plan->program == NULL && !plan->commands) {
        const char *why = strchr(words[0], '/') != NULL ? "is no program that may be run" : "is not in the $PATH";
        return complain_usage(s, "work: the command '%s' %s", words[0], why);
    }
    plan->environment = environment_allowed(names, &plan->environment_count);
    plan->spool = plan->keep_output ? spool_folder(s) : NULL;
    if (plan->spool != NULL)
        spool_sweep(plan->spool);
    return EXIT_DONE;
}

void child_forget(child_plan *plan)
{
    free(plan->program);
    free(plan->environment);
    free(plan->spool);
    plan->program = NULL;
    plan->environment = NULL;
    plan->spool = NULL;
}

/* ---- words --------------------------------------------------------------------------------- */

typedef struct words {
    char **list; /* NULL-terminated; those that differ from the plan's are owned */
    size_t count;
    const child_plan *plan;
    command_line line; /* of plan->commands: the list is its words */
    char *program;     /* where that was found */
    int folder;        /* and its folder; -1 = ours */
} words;

static void free_words(words *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->list[i] != w->plan->words[i])
            free(w->list[i]);
    }
    if (w->list != w->line.words)
        free(w->list);
    command_line_free(&w->line);
    free(w->program);
    if (w->folder >= 0)
        close(w->folder);
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

/* The words that the job itself is. A name with a slash is meant as seen from the folder. */
static bool read_words(words *w, const neoq_job *job, char *why, size_t why_size)
{
    if (!command_line_read(&w->line, job, why, why_size))
        return false;
    w->list = w->line.words;
    w->program = strchr(w->list[0], '/') != NULL ? need(strdup(w->list[0])) : find_program(w->list[0]);
    if (w->program == NULL) {
        snprintf(why, why_size, "%.100s cannot be started: it is not in the $PATH", w->list[0]);
        return false;
    }
    w->folder = open(w->line.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->folder < 0)
        snprintf(why, why_size, "its folder %.100s cannot be entered: %s", w->line.folder, strerror(errno));
    return w->folder >= 0;
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

static bool make_variables(variables *v, const child_plan *plan, const words *w, const neoq_job *job)
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
           (!text || add_variable(v, &count, "NEOQ_PAYLOAD=%s", (const char *)job->payload)) &&
           (w->line.folder == NULL || add_variable(v, &count, "PWD=%s", w->line.folder));
}

/* ---- descriptors --------------------------------------------------------------------------- */

typedef struct ends {
    int payload;        /* a memory file: the child may read it at its leisure, and nobody has to feed it */
    int errors, output; /* the writing ends; of plan->commands both in one, output */
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
    return e->payload >= 0 && (plan->commands || write_payload(e->payload, job)) &&
           (plan->commands || make_pipe(&child->errors, &e->errors)) &&
           (!plan->keep_output || make_pipe(&child->output, &e->output));
}

/* ---- the start ----------------------------------------------------------------------------- */

typedef struct birth {
    const child_plan *plan;
    const words *words;
    const char **variables;
    const ends *ends;
    int failed; /* where it tells why it did not come to be */
    pid_t parent;
} birth;

/* The hard limit on time comes so much later that the program may end in an orderly way. False: errno. */
static bool set_limits(const child_plan *plan)
{
    const struct rlimit memory = {(rlim_t)plan->memory, (rlim_t)plan->memory};
    const rlim_t seconds = (rlim_t)plan->cpu, more = (rlim_t)((plan->kill_after + 999999) / 1000000);
    const struct rlimit cpu = {seconds, seconds + more};
    return (plan->memory == 0 || setrlimit(RLIMIT_AS, &memory) == 0) &&
           (plan->cpu == 0 || setrlimit(RLIMIT_CPU, &cpu) == 0);
}

static bool set_folder(const words *w)
{
    return w->folder < 0 || fchdir(w->folder) == 0;
}

static bool set_descriptors(const birth *b)
{
    const ends *e = b->ends;
    int output = e->output >= 0 ? e->output : b->plan->output_to_stderr ? STDERR_FILENO : STDOUT_FILENO;
    return dup2(e->payload, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
           dup2(e->errors >= 0 ? e->errors : e->output, STDERR_FILENO) >= 0 &&
           syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
}

static const char *program_of(const words *w)
{
    return w->program != NULL ? w->program : w->plan->program;
}

/* A worker that dies takes it along, lest it goes on beside the retry. The kernel looks at the thread that forked, which
 * waits for the run's end. */
static bool die_with(pid_t parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

/* The child, until it is the program: a group of its own, and signals as a program expects to find them, whatever we have
 * done to ours. Its parent has other threads, so it makes system calls alone. */
_Noreturn static void become(const birth *b)
{
    static const int ours[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGCHLD, SIGPIPE};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        signal(ours[i], SIG_DFL);
    if (die_with(b->parent) && setpgid(0, 0) == 0 && set_folder(b->words) && set_descriptors(b) &&
        set_limits(b->plan) && sigprocmask(SIG_SETMASK, &none, NULL) == 0)
        execve(program_of(b->words), b->words->list, (char *const *)(uintptr_t)b->variables);
    int error = errno;
    _exit(write(b->failed, &error, sizeof error) == (ssize_t)sizeof error ? 127 : 126);
}

/* Why there is no program. 0: there is one, and so the other end of the pipe was closed. */
static int hear_failure(int fd)
{
    int error = 0;
    ssize_t got;
    while ((got = read(fd, &error, sizeof error)) < 0 && errno == EINTR)
        continue;
    return got == (ssize_t)sizeof error ? error : 0;
}

/* Not posix_spawn(), which knows of no limits. Returns when the program is there. */
static int spawn(const child_plan *plan, const words *w, const variables *v, const ends *e, pid_t *pid)
{
    birth b = {.plan = plan, .words = w, .variables = v->list, .ends = e, .parent = getpid()};
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return errno;
    b.failed = fds[1];
    *pid = fork();
    int error = *pid < 0 ? errno : 0;
    if (*pid == 0)
        become(&b);
    close(fds[1]);
    if (error == 0)
        error = hear_failure(fds[0]);
    close(fds[0]);
    while (error != 0 && *pid > 0 && waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return error;
}

/* Starts it; errno otherwise. */
static int start(const child_plan *plan, const neoq_job *job, const words *w, launched *child)
{
    ends e = {-1, -1, -1};
    variables v = {0};
    int error = 0;
    if (!make_variables(&v, plan, w, job))
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

static void say_why(int error, const char *program, char *why, size_t why_size)
{
    if (error == ENOEXEC)
        snprintf(why, why_size, "%.100s cannot be started: it is no program, and no script that begins with #!",
                 program);
    else if (error == E2BIG)
        snprintf(why, why_size,
                 "%.80s cannot be started: its arguments and environment are too long; read the payload "
                 "from standard input",
                 program);
    else
        snprintf(why, why_size, "%.100s cannot be started: %s", program, strerror(error));
}

bool launch(const child_plan *plan, const neoq_job *job, launched *child, char *why, size_t why_size)
{
    words w = {.plan = plan, .folder = -1};
    *child = (launched){.pid = -1, .pidfd = -1, .errors = -1, .output = -1};
    bool good = plan->commands ? read_words(&w, job, why, why_size) : make_words(&w, job, why, why_size);
    int error = good ? start(plan, job, &w, child) : 0;
    if (error != 0)
        say_why(error, program_of(&w), why, why_size);
    free_words(&w);
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
