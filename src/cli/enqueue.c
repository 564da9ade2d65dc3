/* SPDX-License-Identifier: MIT
 *
 * neoq enqueue: one job from an argument or standard input; with --lines, many.
 */
#include "enqueue.h"

#include "job_values.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT_ANSWERED  1 /* no status of the library's */
#define MOST_ATTEMPTS 5

typedef struct enqueue_values {
    neoq_time at, deadline;
    neoq_duration in;
    job_values job;
    const char *lines;
    bool no_unique;
} enqueue_values;

#define AT(member) offsetof(enqueue_values, member)

static const option_spec options[] = {
    {.name = "at",
     .kind = OPTION_INSTANT,
     .offset = AT(at),
     .argument = "T",
     .help = "run it at T: 2026-01-31T08:00:00Z, or +2h"},
    {.name = "in", .kind = OPTION_DURATION, .offset = AT(in), .argument = "D", .help = "run it after D: 30s, 5m, 2h"},
    {.name = "deadline",
     .kind = OPTION_INSTANT,
     .offset = AT(deadline),
     .argument = "T",
     .help = "do not run it after T; it is dead then"},
    JOB_OPTIONS(enqueue_values, job, "what makes it a duplicate, instead of queue and payload"),
    {.name = "no-unique",
     .kind = OPTION_FLAG,
     .offset = AT(no_unique),
     .help = "enqueue it even if it is a duplicate"},
    {.name = "lines",
     .kind = OPTION_TEXT,
     .offset = AT(lines),
     .argument = "FILE",
     .help = "a job a line of FILE (- = standard input)"},
    {0},
};

/* ---- the job ------------------------------------------------------------------------------ */

/* Fills in what the options say; false after complaining. */
static bool describe(session *s, const enqueue_values *values, const char *queue, neoq_job *job)
{
    if (values->at != 0 && values->in >= 0) {
        complain(s, "enqueue: --at and --in both say when: give one of them");
        return false;
    }
    *job = (neoq_job){
        .queue = queue,
        .unique = values->no_unique ? NEOQ_UNIQUE_OFF : NEOQ_UNIQUE_DEFAULT,
        .run_after = values->in > 0 ? neoq_now() + values->in : values->at,
        .deadline = values->deadline,
    };
    return job_describe(s, &command_enqueue, &values->job, job);
}

void enqueue_surely(neoq *nq, neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    for (int attempt = 1; attempt <= MOST_ATTEMPTS; attempt++) {
        bool unknown = false;
        for (size_t i = 0; i < count; i++)
            results[i] = (neoq_enqueued){.status = NOT_ANSWERED};
        int status = neoq_enqueue_many(nq, jobs, count, results);
        for (size_t i = 0; i < count; i++) {
            if (results[i].status == NOT_ANSWERED)
                results[i].status = status;
            unknown |= results[i].status == NEOQ_EUNKNOWN;
            if (results[i].status == NEOQ_EUNKNOWN && results[i].id[0] != '\0' && jobs[i].id == NULL)
                jobs[i].id = need(strdup(results[i].id)); /* kept until the process ends: it is rare */
        }
        if (!unknown)
            return;
    }
}

/* ---- one ---------------------------------------------------------------------------------- */

int enqueue_one(session *s, neoq *nq, const neoq_job *job)
{
    char id[NEOQ_ID_SIZE] = "", first_id[NEOQ_ID_SIZE];
    neoq_job again = *job;
    int status = neoq_enqueue(nq, &again, id);
    for (int attempt = 1; status == NEOQ_EUNKNOWN && id[0] != '\0' && attempt < MOST_ATTEMPTS; attempt++) {
        memcpy(first_id, id, sizeof id);
        again.id = first_id; /* stored or not: with its id the question can be asked again */
        status = neoq_enqueue(nq, &again, id);
    }
    if (status == NEOQ_EDUPLICATE) {
        complain(s, "a duplicate: job %s on queue %s is not finished yet; --no-unique enqueues it all the same", id,
                 job->queue);
        return EXIT_REFUSED;
    }
    if (status != NEOQ_OK)
        return complain_status(s, status, "not enqueued on %s", job->queue);
    if (s->json) {
        json_line line;
        put_begin(&line, stdout);
        put_text(&line, "id", id);
        put_text(&line, "queue", job->queue);
        put_end(&line);
    } else {
        puts(id);
    }
    return EXIT_DONE;
}

static int with_store(session *s, const neoq_job *job, const char *file)
{
    neoq *nq;
    neoq_options how = {.capacity_wait = NEOQ_MILLISECONDS(1)}; /* a full queue is told, not waited for */
    int fd = file != NULL ? lines_open(s, file) : -1;
    if (file != NULL && fd < 0)
        return EXIT_USAGE;
    int exit_status = session_open(s, &how, &nq);
    if (exit_status == EXIT_DONE)
        exit_status = file != NULL ? enqueue_lines(s, nq, job, fd, file) : enqueue_one(s, nq, job);
    neoq_close(nq);
    if (fd > STDIN_FILENO)
        close(fd);
    return exit_status;
}

/* The payload is the word, or standard input where that is "-" or absent. Returns the exit status. */
static int enqueue_payload(session *s, neoq_job *job, const char *word)
{
    char *input = NULL;
    int exit_status = EXIT_USAGE;
    if (word == NULL && isatty(STDIN_FILENO))
        return complain_usage(s, "enqueue: the payload is missing: neoq enqueue %s PAYLOAD, or pipe it in",
                              job->queue);
    if (word == NULL || strcmp(word, "-") == 0) {
        input = job_read_input(s, &command_enqueue, &job->payload_size);
        job->payload = input;
    } else {
        job->payload = word;
        job->payload_size = strlen(word);
    }
    if (!job_payload_fits(s, &command_enqueue, job->payload_size)) {
        exit_status = EXIT_REFUSED;
    } else if (job->payload != NULL) {
        exit_status = with_store(s, job, NULL);
    }
    free(input);
    return exit_status;
}

static int run_enqueue(session *s, int argc, char **argv)
{
    enqueue_values values = {.in = -1, .job.max_retries = -1};
    neoq_job job;
    int exit_status = EXIT_USAGE, first = args_read(s, &command_enqueue, &values, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    int words = argc - first;
    if (words == 0)
        exit_status = complain_usage(s, "enqueue: the queue is missing: neoq enqueue QUEUE [PAYLOAD]");
    else if (words > 2)
        exit_status = complain_usage(s, "enqueue: '%s' is a word too many: quote the payload", argv[first + 2]);
    else if (values.lines != NULL && words > 1)
        exit_status =
            complain_usage(s, "enqueue: the payloads come from --lines, so '%s' is a word too many", argv[first + 1]);
    else if (values.lines != NULL && values.job.fingerprint != NULL)
        exit_status = complain_usage(s, "enqueue: --fingerprint would make every line a duplicate of the first");
    else if (!describe(s, &values, argv[first], &job))
        exit_status = EXIT_USAGE;
    else if (values.lines != NULL)
        exit_status = with_store(s, &job, values.lines);
    else
        exit_status = enqueue_payload(s, &job, words > 1 ? argv[first + 1] : NULL);
    free(values.job.waits.waits);
    return exit_status;
}

const command command_enqueue = {
    .name = "enqueue",
    .arguments = "QUEUE [PAYLOAD]",
    .summary = "Enqueues a job and prints its id; with --lines, a job a line of a file.",
    .details =
        "PAYLOAD is JSON by convention, but any bytes will do; - or none reads standard input, as it is.\n"
        "A job is refused (exit status 5) while one of the same queue and payload is unfinished.\n"
        "\n"
        "--lines FILE enqueues in batches of 1,000 and prints \"N enqueued, M duplicate\". Duplicates are counted\n"
        "and skipped. Empty lines are skipped; the carriage return before a line end is not part of the line.\n"
        "A line longer than a job may be (1 MiB) ends the reading with its number and exit status 5: what stands\n"
        "before it is enqueued. What a full queue refuses is counted, too (\", R refused\"; exit status 5).",
    .options = options,
    .run = run_enqueue,
};
