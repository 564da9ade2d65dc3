/* SPDX-License-Identifier: MIT
 *
 * neoq work: runs a program once a job.
 *
 * The main thread only takes signals, and reaps what the programs left behind: orphans come to the subreaper's main
 * thread, while the programs themselves are children of the library's threads; __WNOTHREAD tells them apart, so that
 * no exit status is taken from the thread that waits for it. Nothing here runs by a timer while there is no work.
 */
#include "work.h"

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
    int64_t concurrency;
    neoq_duration timeout, kill_after, snooze, lease;
    bool until_empty, keep_output, summary;
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
     .help = "programs at once, a queue; as many as processors where it is not given"},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .offset = AT(timeout),
     .argument = "D",
     .help = "SIGTERM to the program and its group after D; 30s where it is not given, 0 = never"},
    {.name = "kill-after",
     .kind = OPTION_DURATION,
     .offset = AT(kill_after),
     .argument = "D",
     .min = 1,
     .max = NEOQ_HOURS(24),
     .help = "SIGKILL D after the SIGTERM; 5s where it is not given"},
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
    return may;
}

static void end_program(work *w)
{
    pthread_mutex_lock(&w->lock);
    if (--w->running == 0)
        pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
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

static int start_queues(work *w)
{
    neoq_duration timeout = w->plan.timeout;
    int status = neoq_observe(w->nq, report_observe, &w->report);
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
        if (w->exit_status == EXIT_DONE && w->until_empty)
            w->exit_status = work_until_empty(w);
        else if (w->exit_status == EXIT_DONE)
            wait_for_stop(w);
        screen_clear(&w->session->screen);
        wait_for_users(w, false); /* if we were told to stop, shut() is at it already */
        neoq_shutdown(nq, NEOQ_FOREVER);
        wait_for_users(w, true);
        wait_for_programs(w);
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

/* Where the "--" before the command stands; argc if there is none. */
static int find_command_word(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            return i;
    }
    return argc;
}

static int64_t processors(void)
{
    int64_t count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > MOST_AT_ONCE ? MOST_AT_ONCE : count;
}

static int read_arguments(work *w, int argc, char **argv)
{
    work_values values = {.timeout = NEOQ_SECONDS(30), .kill_after = NEOQ_SECONDS(5), .snooze = NEOQ_MINUTES(1)};
    int split = find_command_word(argc, argv);
    int first = args_read(w->session, &command_work, &values, split, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (first == split)
        return complain_usage(w->session, "work: a queue is missing: neoq work QUEUE -- COMMAND");
    if (split + 1 >= argc)
        return complain_usage(w->session, "work: the command is missing: neoq work %s -- COMMAND", argv[first]);
    w->queues = need(calloc((size_t)(split - first), sizeof *w->queues));
    for (int i = first; i < split; i++) {
        if (!add_queue(w, argv[i], values.concurrency > 0 ? values.concurrency : processors()))
            return EXIT_USAGE;
    }
    w->until_empty = values.until_empty;
    w->summary = values.until_empty && (values.summary || w->session->screen.terminal);
    w->how.lease = values.lease;
    w->plan.timeout = values.timeout == 0 ? NEOQ_FOREVER : values.timeout;
    w->plan.kill_after = values.kill_after;
    w->plan.snooze = values.snooze;
    w->plan.keep_output = values.keep_output;
    w->plan.output_to_stderr = w->session->json;
    return child_prepare(&w->plan, w->session, argc - split - 1, argv + split + 1);
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
    .arguments = "QUEUE[=N]... [OPTION]... -- COMMAND [ARG]...",
    .summary = "Runs COMMAND once a job.",
    .details =
        "QUEUE=N runs N programs at once for that queue; --concurrency is for those without a number.\n"
        "\n"
        "The program finds the payload on standard input and in $NEOQ_PAYLOAD (if it is at most 64 KiB of text), "
        "and\n"
        "wherever an ARG has {}; beside it are $NEOQ_JOB_ID, $NEOQ_QUEUE, $NEOQ_RETRIES and $NEOQ_DEADLINE (RFC "
        "3339,\n"
        "empty if there is none). No shell sees them. $NEOQ_URL is not handed on.\n"
        "\n"
        "Its exit status says what becomes of the job:\n"
        "  0     done\n"
        "  75    run it again after --snooze; that costs no retry\n"
        "  65    it will never work: dead at once\n"
        "  76    failed, and the whole queue slows down for a while\n"
        "  else  failed, as when it is killed by a signal: retried by the job's policy; the last of its standard\n"
        "        error becomes the job's error\n"
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
        "Ctrl-C or SIGTERM: takes no more jobs, and ends when the running ones have. A second one ends them, with\n"
        "SIGTERM and after --kill-after SIGKILL; their jobs go back to the queue at no cost. A third kills at once.",
    .options = options,
    .run = run_work,
};
