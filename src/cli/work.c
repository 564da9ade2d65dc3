/* SPDX-License-Identifier: MIT
 *
 * neoq work: runs a program once a job.
 *
 * The main thread only takes signals, and reaps what the programs left behind: orphans come to the subreaper's main
 * thread, while the programs themselves are children of the library's threads; __WNOTHREAD tells them apart, so that
 * no exit status is taken from the thread that waits for it. Nothing here runs by a timer while there is no work.
 */
#include "work.h"

#include "command_line.h"
#include "environment.h"
#include "values.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_AT_ONCE 1000
#define RELEASE_WAIT 10000            /* milliseconds, at the most */
#define MARGIN       NEOQ_SECONDS(10) /* more than a run ever takes to be killed */

typedef struct work_values {
    int64_t concurrency, memory;
    neoq_duration timeout, kill_after, cpu, snooze, lease;
    bool until_empty, keep_output, summary, commands;
    int log_format;
    text_list env;
} work_values;

#define AT(member) offsetof(work_values, member)

static const option_spec options[] = {
    {.name = "concurrency",
     .letter = 'c',
     .kind = OPTION_INTEGER,
     .offset = AT(concurrency),
     .argument = "N",
     .min = 1,
     .max = MOST_AT_ONCE,
     .help = "programs at once, a queue; as many as processors where it is not given (one with --commands)"},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .offset = AT(timeout),
     .argument = "D",
     .help = "SIGTERM to the program and its group after D; 30s where it is not given (never with --commands), "
             "0 = never"},
    {.name = "kill-after",
     .kind = OPTION_DURATION,
     .offset = AT(kill_after),
     .argument = "D",
     .min = 1,
     .max = NEOQ_HOURS(24),
     .help = "SIGKILL D after the SIGTERM; 5s where it is not given"},
    {.name = "memory",
     .kind = OPTION_SIZE,
     .offset = AT(memory),
     .argument = "BYTES",
     .min = 1 << 20,
     .help = "address space that each process of the program may have (512M, 2G); beyond it, none is given"},
    {.name = "cpu",
     .kind = OPTION_DURATION,
     .offset = AT(cpu),
     .argument = "D",
     .min = NEOQ_SECONDS(1),
     .max = NEOQ_HOURS(24),
     .help = "SIGXCPU to a process of it that has computed for D (whole seconds), and SIGKILL --kill-after later"},
    {.name = "snooze",
     .kind = OPTION_DURATION,
     .offset = AT(snooze),
     .argument = "D",
     .help = "when a program that exits with 75 is run again; 1m where it is not given"},
    {.name = "until-empty", .kind = OPTION_FLAG, .offset = AT(until_empty), .help = "end when the queues are empty"},
    {.name = "keep-output",
     .kind = OPTION_FLAG,
     .offset = AT(keep_output),
     .help = "the program's standard output becomes the job's result (1 MiB at the most)"},
    {.name = "commands",
     .kind = OPTION_FLAG,
     .offset = AT(commands),
     .help = "in place of QUEUE and COMMAND: run the commands that neoq -- COMMAND has enqueued"},
    {.name = "env",
     .kind = OPTION_TEXTS,
     .offset = AT(env),
     .argument = "NAME,...",
     .help = "hand these variables on, too; may be given more than once"},
    {.name = "summary",
     .kind = OPTION_FLAG,
     .offset = AT(summary),
     .help = "with --until-empty: name the slowest and the failed jobs at the end"},
    {.name = "lease",
     .kind = OPTION_DURATION,
     .offset = AT(lease),
     .argument = "D",
     .min = NEOQ_MILLISECONDS(100),
     .max = NEOQ_HOURS(24),
     .help = "if this worker crashes, its jobs are run again after D; 30s where it is not given"},
    {.name = "log-format",
     .kind = OPTION_CHOICE,
     .offset = AT(log_format),
     .argument = "text|logfmt|json",
     .help = "of standard error: text for people, or an event a line for machines"},
    {0},
};

/* ---- shared state ------------------------------------------------------------------------- */

bool work_stopping(work *w)
{
    pthread_mutex_lock(&w->lock);
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->lock);
    return stopping;
}

int work_running(work *w)
{
    pthread_mutex_lock(&w->lock);
    int running = w->running;
    pthread_mutex_unlock(&w->lock);
    return running;
}

/* False: too late to begin. */
static bool begin_program(work *w)
{
    pthread_mutex_lock(&w->lock);
    bool may = !w->ending;
    w->running += may;
    pthread_mutex_unlock(&w->lock);
    service_changed(&w->service);
    return may;
}

static void end_program(work *w)
{
    pthread_mutex_lock(&w->lock);
    if (--w->running == 0)
        pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    service_changed(&w->service);
}

/*
 * A job that is handed back waits here, its program gone, until the library has released it: hurry() sees to that.
 * So nobody else begins it while this program still runs.
 */
static int handle(neoq_ctx *ctx, void *arg)
{
    work *w = arg;
    bool handed_back;
    struct pollfd released = {.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN};
    if (!begin_program(w))
        return neoq_snooze(ctx, 0); /* claimed in the moment in which we were told to stop */
    int outcome = child_run(&w->plan, ctx, &handed_back);
    end_program(w);
    while (handed_back && poll(&released, 1, RELEASE_WAIT) < 0 && errno == EINTR)
        continue;
    return outcome;
}

/* ---- the keeper --------------------------------------------------------------------------- */

static void observe(const neoq_job *job, const neoq_run_info *run, void *arg)
{
    work *w = arg;
    report_observe(job, run, &w->report);
    service_changed(&w->service);
}

static void tell_counts(void *arg, char *words, size_t size)
{
    work *w = arg;
    report_counts(&w->report, work_running(w), words, size);
}

static int start_queues(work *w)
{
    neoq_duration timeout = w->plan.timeout;
    int status = neoq_observe(w->nq, observe, w);
    if (status != NEOQ_OK)
        return complain_status(w->session, status, "work: the runs cannot be observed");
    if (timeout != NEOQ_FOREVER)
        timeout += w->plan.kill_after + MARGIN; /* the program's own is enforced by child_run() */
    for (size_t i = 0; i < w->queue_count; i++) {
        const neoq_handler handler = {.queue = w->queues[i].name,
                                      .handle = handle,
                                      .arg = w,
                                      .timeout = timeout,
                                      .concurrency = w->queues[i].concurrency};
        status = neoq_start(w->nq, &handler);
        if (status == NEOQ_ESTATE)
            break; /* a signal came sooner: shut() has begun */
        if (status != NEOQ_OK)
            return complain_status(w->session, status, "work: the queue %s cannot be worked", w->queues[i].name);
    }
    return EXIT_DONE;
}

static void announce_store(work *w, neoq *nq)
{
    pthread_mutex_lock(&w->lock);
    w->nq = nq;
    w->opened = true;
    pthread_mutex_unlock(&w->lock);
}

/* Waits for the threads that use the store; closing: and lets no other begin. */
static void wait_for_users(work *w, bool closing)
{
    pthread_mutex_lock(&w->lock);
    w->closing = closing;
    while (w->users > 0)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for_programs(work *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->running > 0)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void wait_for_stop(work *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->stopping)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void *keep(void *arg)
{
    work *w = arg;
    neoq *nq;
    w->exit_status = session_open(w->session, &w->how, &nq);
    if (w->exit_status == EXIT_DONE) {
        announce_store(w, nq);
        w->exit_status = start_queues(w);
        if (w->exit_status == EXIT_DONE)
            service_begin(&w->service, nq, tell_counts, w);
        if (w->exit_status == EXIT_DONE && w->until_empty)
            w->exit_status = work_until_empty(w);
        else if (w->exit_status == EXIT_DONE)
            wait_for_stop(w);
        service_stopping(&w->service);
        screen_clear(&w->session->screen);
        wait_for_users(w, false); /* if we were told to stop, shut() is at it already */
        neoq_shutdown(nq, NEOQ_FOREVER);
        wait_for_users(w, true);
        wait_for_programs(w);
        service_end(&w->service);
        neoq_close(nq);
    }
    eventfd_write(w->finished, 1);
    return NULL;
}

/* ---- signals ------------------------------------------------------------------------------ */

static void end_use(work *w)
{
    pthread_mutex_lock(&w->lock);
    w->users--;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* Lets the running programs finish. */
static void *shut(void *arg)
{
    work *w = arg;
    neoq_shutdown(w->nq, NEOQ_FOREVER);
    end_use(w);
    return NULL;
}

/* Once the programs have ended, shortens that: the library releases the runs, at no cost. */
static void *hurry(void *arg)
{
    work *w = arg;
    wait_for_programs(w);
    neoq_shutdown(w->nq, NEOQ_MILLISECONDS(50)); /* those that ended by themselves have time to say so */
    end_use(w);
    return NULL;
}

/* Both wait, and the main thread must not: it takes the next signal. */
static void apart(work *w, void *(*action)(void *))
{
    pthread_t thread;
    pthread_mutex_lock(&w->lock);
    bool usable = w->opened && !w->closing;
    w->users += usable;
    pthread_mutex_unlock(&w->lock);
    if (!usable)
        return;
    if (pthread_create(&thread, NULL, action, w) == 0)
        pthread_detach(thread);
    else
        end_use(w);
}

static void stop_taking(work *w)
{
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    int running = w->running;
    pthread_mutex_unlock(&w->lock);
    apart(w, shut);
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (running > 0)
        note(w->session, "stopping: %d running job%s may finish (again to stop at once)", running,
             running == 1 ? "" : "s");
}

/* SIGINT, SIGTERM and (unless nohup has it ignored) SIGHUP; SIGCHLD for the strays. */
static int catch_signals(void)
{
    struct sigaction hangup;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&set, SIGHUP);
    signal(SIGCHLD, SIG_DFL); /* ignored, children would vanish without an exit status */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static void reap_strays(void)
{
    while (waitpid(-1, NULL, WNOHANG | __WNOTHREAD) > 0)
        continue;
}

/* What the asked-th request to stop does. */
static void stop(work *w, int asked)
{
    if (asked == 1) {
        stop_taking(w);
    } else if (asked == 2) {
        note(w->session, "stopping at once: running jobs go back to their queue");
        eventfd_write(w->plan.stop, 1);
        apart(w, hurry);
    } else {
        eventfd_write(w->plan.kill, 1);
    }
}

/* Until the keeper has ended. */
static void serve_signals(work *w, int signals)
{
    struct pollfd fds[2] = {{signals, POLLIN, 0}, {w->finished, POLLIN, 0}};
    int asked = 0;
    while (fds[1].revents == 0) {
        struct signalfd_siginfo signal;
        if (poll(fds, 2, -1) < 0)
            fds[0].revents = fds[1].revents = 0;
        if (fds[0].revents == 0 || read(signals, &signal, sizeof signal) != (ssize_t)sizeof signal)
            continue;
        reap_strays();
        if (signal.ssi_signo == SIGCHLD)
            continue;
        pthread_mutex_lock(&w->lock);
        bool opened = w->opened;
        pthread_mutex_unlock(&w->lock);
        if (!opened)
            _exit(EXIT_STORE); /* the store has not answered yet, and nothing has begun */
        stop(w, ++asked);
    }
}

/* ---- the beginning and the end ------------------------------------------------------------ */

/* Six descriptors a run, and some for the store. */
static void raise_descriptor_limit(const work *w)
{
    struct rlimit limit;
    rlim_t most = 100;
    for (size_t i = 0; i < w->queue_count; i++)
        most += (rlim_t)w->queues[i].concurrency * 8;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < most) {
        limit.rlim_cur = limit.rlim_max < most ? limit.rlim_max : most;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int finish(work *w)
{
    report *r = &w->report;
    int exit_status = w->exit_status;
    if (!w->until_empty || exit_status > EXIT_SOME_FAILED)
        return exit_status;
    report_totals(r);
    if (w->summary && !w->session->quiet)
        report_summary(r);
    return r->failed > 0 || r->dead > 0 ? EXIT_SOME_FAILED : exit_status;
}

static int work_on(work *w)
{
    pthread_t keeper;
    int signals = catch_signals();
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    report_init(&w->report, w->session);
    w->report.summary = w->summary;
    w->finished = eventfd(0, EFD_CLOEXEC);
    w->plan.stop = eventfd(0, EFD_CLOEXEC);
    w->plan.kill = eventfd(0, EFD_CLOEXEC);
    raise_descriptor_limit(w);
    prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);
    int error = signals < 0 || w->finished < 0 || w->plan.stop < 0 || w->plan.kill < 0 ? errno : 0;
    if (error == 0)
        error = pthread_create(&keeper, NULL, keep, w);
    if (error != 0) {
        complain(w->session, "work: cannot begin: %s", strerror(error));
        return EXIT_SOME_FAILED;
    }
    serve_signals(w, signals);
    pthread_join(keeper, NULL);
    reap_strays();
    return finish(w);
}

/* ---- arguments ---------------------------------------------------------------------------- */

/* QUEUE or QUEUE=N. False after complaining. */
static bool add_queue(work *w, const char *word, int64_t concurrency)
{
    const char *number = strrchr(word, '=');
    size_t size = number != NULL ? (size_t)(number - word) : strlen(word);
    if (number != NULL && !value_integer(number + 1, 1, MOST_AT_ONCE, &concurrency)) {
        complain(w->session, "work: '%s': behind the = stands how many programs run at once, from 1 to %d", word,
                 MOST_AT_ONCE);
        return false;
    }
    char *name = need(strndup(word, size));
    for (size_t i = 0; i < w->queue_count; i++) {
        if (strcmp(w->queues[i].name, name) == 0) {
            complain(w->session, "work: the queue %s is named twice", name);
            free(name);
            return false;
        }
    }
    w->queues[w->queue_count++] = (work_queue){name, (int)concurrency};
    return true;
}

static int64_t processors(void)
{
    int64_t count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > MOST_AT_ONCE ? MOST_AT_ONCE : count;
}

/* Never less than was said. */
static int64_t whole_seconds(neoq_duration duration)
{
    return (duration + NEOQ_SECONDS(1) - 1) / NEOQ_SECONDS(1);
}

/* The queues of the words from first up to split, where the program to run for them stands. */
static int read_queues(work *w, const work_values *values, int first, int split, int argc, char **argv)
{
    session *s = w->session;
    if (first == split)
        return complain_usage(s, "work: a queue is missing: neoq work QUEUE -- COMMAND");
    if (split + 1 >= argc)
        return complain_usage(s, "work: the command is missing: neoq work %s -- COMMAND", argv[first]);
    w->queues = need(calloc((size_t)(split - first), sizeof *w->queues));
    for (int i = first; i < split; i++) {
        if (!add_queue(w, argv[i], values->concurrency > 0 ? values->concurrency : processors()))
            return EXIT_USAGE;
        if (strcmp(w->queues[w->queue_count - 1].name, COMMANDS_QUEUE) == 0)
            return complain_usage(s, "work: what waits on the queue " COMMANDS_QUEUE
                                     " are commands, which neoq work --commands runs, and nothing else");
    }
    return EXIT_DONE;
}

/* The one queue whose jobs are commands. */
static int read_commands(work *w, const work_values *values, int first, int argc, char **argv)
{
    if (first < argc)
        return complain_usage(w->session,
                              "work: --commands stands in place of a queue and a command, and '%s' is a word "
                              "too many",
                              argv[first]);
    w->queues = need(calloc(1, sizeof *w->queues));
    w->plan.commands = true;
    return add_queue(w, COMMANDS_QUEUE, values->concurrency > 0 ? values->concurrency : 1) ? EXIT_DONE : EXIT_USAGE;
}

static int read_arguments(work *w, int argc, char **argv)
{
    work_values values = {.timeout = -1, .kill_after = NEOQ_SECONDS(5), .snooze = NEOQ_MINUTES(1)};
    int split = args_split(argc, argv), exit_status = EXIT_USAGE;
    int first = args_read(w->session, &command_work, &values, split, argv);
    if (first >= 0 && environment_check(w->session, &values.env))
        exit_status = values.commands ? read_commands(w, &values, first, argc, argv)
                                      : read_queues(w, &values, first, split, argc, argv);
    if (values.timeout < 0)
        values.timeout = values.commands ? 0 : NEOQ_SECONDS(30);
    w->until_empty = values.until_empty;
    w->summary = values.until_empty && (values.summary || w->session->screen.terminal);
    w->how.lease = values.lease;
    w->session->log_format = (log_format)values.log_format;
    service_prepare(&w->service, w->session);
    w->plan.timeout = values.timeout == 0 ? NEOQ_FOREVER : values.timeout;
    w->plan.kill_after = values.kill_after;
    w->plan.memory = values.memory;
    w->plan.cpu = whole_seconds(values.cpu);
    w->plan.snooze = values.snooze;
    w->plan.keep_output = values.keep_output || values.commands;
    w->plan.output_to_stderr = w->session->json;
    if (exit_status == EXIT_DONE)
        exit_status = child_prepare(&w->plan, w->session, argc - split - 1, argv + split + 1, &values.env);
    free(values.env.texts);
    return exit_status;
}

static int run_work(session *s, int argc, char **argv)
{
    work *w = need(calloc(1, sizeof *w));
    w->session = s;
    int exit_status = read_arguments(w, argc, argv);
    if (exit_status == EXIT_DONE)
        exit_status = work_on(w);
    for (size_t i = 0; i < w->queue_count; i++)
        free(w->queues[i].name);
    free(w->queues);
    child_forget(&w->plan);
    free(w);
    return exit_status;
}

const command command_work = {
    .name = "work",
    .arguments = "QUEUE[=N]... [OPTION]... -- COMMAND [ARG]... | --commands [OPTION]...",
    .summary = "Runs COMMAND once a job; with --commands, the jobs of neoq -- COMMAND.",
    .details =
        "QUEUE=N runs N programs at once for that queue; --concurrency is for those without a number.\n"
        "\n"
        "The program finds the payload on standard input and in $NEOQ_PAYLOAD (if it is at most 64 KiB of text), "
        "and\n"
        "wherever an ARG has {}; beside it are $NEOQ_JOB_ID, $NEOQ_QUEUE, $NEOQ_RETRIES and $NEOQ_DEADLINE (RFC "
        "3339,\n"
        "empty if there is none). No shell sees them. Of the environment of neoq itself it gets PATH, HOME, USER,\n"
        "LOGNAME, SHELL, LANG, LANGUAGE, LC_*, TZ, TERM and TMPDIR, and what --env names: no password of a "
        "store.\n"
        "\n"
        "Its exit status says what becomes of the job:\n"
        "  0     done\n"
        "  75    run it again after --snooze; that costs no retry\n"
        "  65    it will never work: dead at once\n"
        "  76    failed, and the whole queue slows down for a while\n"
        "  else  failed, as when it is killed by a signal: retried by the job's policy; the last of its standard\n"
        "        error becomes the job's error\n"
        "\n"
        "With --commands the job itself is the command (neoq help -- --). Its exit status has no meaning but 0 and "
        "not "
        "0,\n"
        "nothing stands on its standard input, and all that it writes is kept.\n"
        "\n"
        "Each program has a process group of its own; what is left of the group when the program ends is killed.\n"
        "\n"
        "--until-empty ends when the queues hold nothing that is ready, running (also for other workers: the jobs of "
        "a\n"
        "crashed one come back after its lease), or due within 5 seconds. It prints \"N done, M failed, K dead\": "
        "runs\n"
        "that were done, runs that failed, jobs that died; exit status 1 if any failed or died, or if it was "
        "stopped\n"
        "before. With --json it prints an object for each run that ended, and the totals last; the program's own\n"
        "standard output then goes to standard error.\n"
        "\n"
        "--log-format logfmt and json have the keys time, level and msg, and of a run that ended (which -v tells) "
        "queue, "
        "job, outcome, seconds, retries, state and error. A program's standard error is logged a line an event, with "
        "queue, job and stream.\n"
        "\n"
        "As a service of systemd (Type=notify) it tells when it is ready, its counts, and that it stops; with "
        "WatchdogSec= it gives a sign of life as long as it renews its lease and asks the store for jobs. Allow more "
        "than twice the 30 seconds that a store may take to answer. The unit neoq-work@.service is an example.\n"
        "\n"
        "Ctrl-C or SIGTERM: takes no more jobs, and ends when the running ones have. A second one ends them, with\n"
        "SIGTERM and after --kill-after SIGKILL; their jobs go back to the queue at no cost. A third kills at once.",
    .options = options,
    .run = run_work,
};
