/* SPDX-License-Identifier: MIT
 *
 * neoq log: what a job's run wrote.
 *
 * The store has it when the run has ended. Until then it is in the worker's spool, for those on its machine. Both are
 * the same bytes: what is missing of the one is taken from the other.
 */
#include "cli.h"
#include "output.h"
#include "spool.h"
#include "values.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define SOONEST  20   /* milliseconds between two looks at the store, */
#define LATEST   1000 /* at first and in the end */
#define PATIENCE 200  /* between two looks, when a spool that is not there yet will not come any more */

typedef struct log_values {
    bool follow;
} log_values;

static const option_spec options[] = {
    {.name = "follow",
     .letter = 'f',
     .kind = OPTION_FLAG,
     .offset = offsetof(log_values, follow),
     .help = "wait for the job to end, and show what it writes as it does"},
    {0},
};

typedef struct follower {
    session *session;
    neoq *nq;
    const char *id;
    char *folder;    /* of the spools */
    int spool;       /* of the run under way; -1 = none is open */
    int64_t epoch;   /* the run that was shown last */
    size_t shown;    /* bytes of it */
    bool seen, told; /* the job was there; it was said that it runs elsewhere */
    int watch;       /* inotify; -1 = none */
    int pause;       /* milliseconds until the store is asked again */
} follower;

/* Shows what there is more of the spool; closes it at its end. */
static void show_spool(follower *f)
{
    char bytes[65536];
    ssize_t got;
    bool ended = f->spool >= 0 && spool_ended(f->spool); /* asked first: what is there then is all */
    while (f->spool >= 0 && (got = read(f->spool, bytes, sizeof bytes)) > 0) {
        fwrite(bytes, 1, (size_t)got, stdout);
        f->shown += (size_t)got;
    }
    fflush(stdout);
    if (ended) {
        close(f->spool);
        f->spool = -1;
        f->pause = SOONEST; /* the store is about to know */
    }
}

static void open_spool(follower *f, const neoq_job *job)
{
    char path[64];
    if (f->spool >= 0 || job->epoch == f->epoch)
        return;
    f->spool = spool_read(f->folder, job);
    if (f->spool < 0)
        return;
    f->epoch = job->epoch;
    f->shown = 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", f->spool);
    if (f->watch < 0)
        f->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (f->watch >= 0)
        inotify_add_watch(f->watch, path, IN_MODIFY | IN_ATTRIB);
}

/* What the store has kept of the last run, behind what was shown of it already. */
static void show_result(follower *f, const neoq_job *job)
{
    session *s = f->session;
    json_line line;
    size_t shown = job->epoch == f->epoch ? f->shown : 0;
    if (s->json) {
        put_begin(&line, stdout);
        put_text(&line, "id", job->id);
        put_text(&line, "state", state_name(job->state));
        put_result(&line, job);
        put_end(&line);
    } else if (job->result_size > shown) {
        fwrite((const char *)job->result + shown, 1, job->result_size - shown, stdout);
    }
    if (job->result == NULL && shown == 0)
        note(s, "no output of job %s is kept: neoq work --keep-output keeps it", job->id);
}

/* One look. True while there is more to come. */
static bool look(follower *f, bool follow, int *exit_status)
{
    neoq_job_set *set;
    int status = neoq_get(f->nq, f->id, &set);
    if (status == NEOQ_ENOTFOUND && f->seen) {
        show_spool(f);
        note(f->session, "job %s has ended, and was not to be kept", f->id);
        return false;
    }
    if (status != NEOQ_OK) {
        *exit_status = complain_status(f->session, status, "job %s", f->id);
        return false;
    }
    const neoq_job *job = neoq_job_set_at(set, 0);
    bool running = job->state == NEOQ_RUNNING, more = follow && job->state != NEOQ_DONE && job->state != NEOQ_DEAD;
    f->seen = true;
    if (running && !f->session->json)
        open_spool(f, job);
    show_spool(f);
    if (running && f->epoch != job->epoch && !f->told && (!follow || f->pause >= PATIENCE)) {
        note(f->session, "job %s runs, and its output is not to be had here: %s", f->id,
             follow ? "what is kept of it is shown when it has ended" : "neoq log -f waits for its end");
        f->told = true;
    }
    if (!more && !(running && f->epoch == job->epoch))
        show_result(f, job);
    neoq_job_set_free(set);
    return more;
}

/* Until the spool grows or ends, or until it is time to ask the store again. */
static void pause_following(follower *f)
{
    char events[4096];
    struct pollfd fd = {f->spool >= 0 ? f->watch : -1, POLLIN, 0};
    int ready = poll(&fd, 1, f->pause);
    if (ready > 0) {
        while (read(f->watch, events, sizeof events) > 0)
            continue;
    }
}

static void follow(follower *f, int *exit_status)
{
    while (look(f, true, exit_status) && !ferror(stdout)) {
        int64_t ask_at = steady_now() + f->pause * 1000;
        do {
            pause_following(f);
            show_spool(f);
        } while (f->spool >= 0 && !ferror(stdout) && steady_now() < ask_at);
        if (f->pause < LATEST)
            f->pause = f->pause * 3 / 2;
    }
}

static int run_log(session *s, int argc, char **argv)
{
    log_values values = {0};
    follower f = {.session = s, .spool = -1, .watch = -1, .epoch = -1, .pause = SOONEST};
    int first = args_read(s, &command_log, &values, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (argc - first != 1)
        return complain_usage(s, "log takes one id, and got %d: neoq jobs lists them", argc - first);
    f.id = argv[first];
    int exit_status = session_open(s, NULL, &f.nq);
    if (exit_status == EXIT_DONE) {
        f.folder = spool_folder(s);
        if (values.follow)
            follow(&f, &exit_status);
        else
            look(&f, false, &exit_status);
    }
    neoq_close(f.nq);
    if (f.spool >= 0)
        close(f.spool);
    if (f.watch >= 0)
        close(f.watch);
    free(f.folder);
    return exit_status;
}

const command command_log = {
    .name = "log",
    .arguments = "ID",
    .summary = "Shows what a job's last run wrote.",
    .details =
        "It is kept, up to 1 MiB, of jobs that neoq work --keep-output runs (standard output), and of those of\n"
        "neoq work --commands (standard output and standard error), for as long as the job itself is kept.\n"
        "\n"
        "While the job runs, its output is to be had by the user who runs it, on the same machine, from a file in\n"
        "~/.local/state/neoq/output (or below $XDG_STATE_HOME). -f shows it as it grows, run after run, until the "
        "job\n"
        "is done or dead. From anywhere else, -f waits for the end, and shows then what the store has.",
    .options = options,
    .run = run_log,
};
