/* SPDX-License-Identifier: MIT
 *
 * neoq cron: schedules kept in the store, which any running `work` tends.
 */
#include "command_line.h"
#include "job_values.h"
#include "output.h"
#include "values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WORDS      1000 /* a schedule in English has room in it */
#define MOST_TICKS 1000000

typedef struct cron_values {
    const char *name;
    job_values job;
    int64_t count;   /* 0 = not said */
    neoq_time after; /* 0 = not said */
} cron_values;

#define AT(member) offsetof(cron_values, member)

static const option_spec options[] = {
    {.name = "name",
     .kind = OPTION_TEXT,
     .offset = AT(name),
     .argument = "NAME",
     .help = "the schedule's name, in place of one that is made; replaces the schedule that has it"},
    JOB_OPTIONS(cron_values, job, "no job is added while one of this fingerprint is unfinished"),
    {.name = "count",
     .letter = 'n',
     .kind = OPTION_INTEGER,
     .offset = AT(count),
     .argument = "N",
     .min = 1,
     .max = MOST_TICKS,
     .help = "next: so many instants; 1 where it is not given"},
    {.name = "after",
     .kind = OPTION_INSTANT,
     .offset = AT(after),
     .argument = "T",
     .help = "next: those after T; now where it is not given"},
    {0},
};

/* What was asked for, and with what. */
typedef struct request {
    session *session;
    const cron_values *values;
    char **words; /* of the command line that are no options */
    int word_count;
    char **command; /* those behind "--" */
    int command_count;
} request;

static void print_name(session *s, const char *name, const char *key)
{
    json_line line;
    if (!s->json) {
        puts(name);
        return;
    }
    put_begin(&line, stdout);
    put_text(&line, key, name);
    put_end(&line);
}

/* The library names the field; here it is told what a field may be. */
static int complain_spec(session *s, int status)
{
    complain(s, "%s", neoq_error_message());
    if (status == NEOQ_EINVAL)
        note(s, "a schedule is one word, in quotes: 'MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK', as in '30 2 * * "
                "1-5'; see "
                "neoq help cron");
    return exit_of(status);
}

/* ---- add ---------------------------------------------------------------------------------- */

/* So that the same line again makes no second schedule, and another line never replaces one. FNV-1a. */
static void make_name(char *name, size_t size, const char *spec, const neoq_job *job)
{
    const struct {
        const void *bytes;
        size_t size;
    } parts[] = {{spec, strlen(spec) + 1}, {job->payload, job->payload_size}};
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < 2; i++) {
        const unsigned char *bytes = parts[i].bytes;
        for (size_t at = 0; at < parts[i].size; at++)
            hash = (hash ^ bytes[at]) * 0x100000001b3;
    }
    snprintf(name, size, "%s-%08" PRIx64, job->queue, hash >> 32);
}

static int put_schedule(session *s, const char *name, const char *spec, const neoq_job *job)
{
    char made[512], words[WORDS], at[INSTANT_SIZE];
    neoq_time next = 0;
    neoq *nq;
    int status = neoq_cron_next(spec, neoq_now(), &next);
    if (status == NEOQ_OK)
        status = neoq_cron_describe(spec, words, sizeof words);
    if (status != NEOQ_OK)
        return complain_spec(s, status);
    if (name == NULL) {
        make_name(made, sizeof made, spec, job);
        name = made;
    }
    int exit_status = session_open(s, NULL, &nq);
    if (exit_status != EXIT_DONE)
        return exit_status;
    status = neoq_schedule(nq, name, spec, job);
    neoq_close(nq);
    if (status != NEOQ_OK)
        return complain_status(s, status, "schedule %s not made", name);
    print_name(s, name, "name");
    if (s->screen.terminal)
        note(s, "%s; next %s", words, format_instant(next, at));
    return EXIT_DONE;
}

/* SPEC QUEUE [PAYLOAD] */
static int add_job(const request *r)
{
    session *s = r->session;
    char *input = NULL;
    if (r->word_count < 2)
        return complain_usage(s, "cron: the queue is missing: neoq cron '%s' QUEUE [PAYLOAD]", r->words[0]);
    if (r->word_count > 3)
        return complain_usage(s, "cron: '%s' is a word too many: quote the schedule and the payload", r->words[3]);
    neoq_job job = {.queue = r->words[1], .payload = r->word_count > 2 ? r->words[2] : ""};
    job.payload_size = strlen(job.payload);
    if (strcmp(job.payload, "-") == 0) {
        job.payload = input = job_read_input(s, &command_cron, &job.payload_size);
        if (input == NULL)
            return EXIT_USAGE;
    }
    int exit_status = EXIT_USAGE;
    if (!job_payload_fits(s, &command_cron, job.payload_size))
        exit_status = EXIT_REFUSED;
    else if (job_describe(s, &command_cron, &r->values->job, &job))
        exit_status = put_schedule(s, r->values->name, r->words[0], &job);
    free(input);
    return exit_status;
}

/* SPEC -- COMMAND [ARG]... */
static int add_command(const request *r)
{
    session *s = r->session;
    if (r->word_count > 1)
        return complain_usage(s, "cron: '%s' is a word too many: what stands behind -- is enqueued on the queue %s",
                              r->words[1], COMMANDS_QUEUE);
    char *payload = command_line_write(s, r->command_count, r->command);
    if (payload == NULL)
        return EXIT_USAGE;
    neoq_job job = command_line_job(payload), said = {0};
    int exit_status = EXIT_USAGE;
    if (job_describe(s, &command_cron, &r->values->job, &said)) {
        const job_values *v = &r->values->job;
        said.queue = job.queue;
        said.payload = job.payload;
        said.payload_size = job.payload_size;
        said.max_retries = v->max_retries < 0 ? job.max_retries : said.max_retries;
        said.retention = v->retain == 0 ? job.retention : said.retention;
        exit_status = put_schedule(s, r->values->name, r->words[0], &said);
    }
    free(payload);
    return exit_status;
}

/* ---- list, next, rm ----------------------------------------------------------------------- */

static void schedule_line(const neoq_schedule_info *schedule, const char *words)
{
    json_line line;
    put_begin(&line, stdout);
    put_text(&line, "name", schedule->name);
    put_text(&line, "spec", schedule->spec);
    put_text(&line, "words", words);
    put_text(&line, "queue", schedule->queue);
    put_instant(&line, "last_at", schedule->last_at);
    put_instant(&line, "next_at", schedule->next_at);
    put_end(&line);
}

static void schedule_row(table *t, const neoq_schedule_info *schedule, const char *words, neoq_time now)
{
    char at[INSTANT_SIZE], next[48], last[48];
    table_cell(t, "%s", schedule->name);
    table_cell(t, "%s", schedule->queue);
    table_cell(t, "%s", format_relative(schedule->last_at, now, last));
    table_cell(t, "%.19sZ (%s)", format_instant(schedule->next_at, at),
               format_relative(schedule->next_at, now, next));
    table_cell(t, "%s", schedule->spec);
    table_cell(t, "%s", words);
}

static int list(session *s, neoq *nq)
{
    static const table_column columns[] = {
        {.title = "NAME"}, {.title = "QUEUE"}, {.title = "LAST"},
        {.title = "NEXT"}, {.title = "SPEC"},  {.title = "IN WORDS", .cut = true},
    };
    neoq_schedule_info *schedules;
    size_t count;
    table t;
    int status = neoq_schedules(nq, &schedules, &count);
    if (status != NEOQ_OK)
        return complain_status(s, status, "the schedules cannot be listed");
    table_begin(&t, s, columns, sizeof columns / sizeof columns[0]);
    neoq_time now = neoq_now();
    for (size_t i = 0; i < count; i++) {
        char words[WORDS];
        if (neoq_cron_describe(schedules[i].spec, words, sizeof words) != NEOQ_OK)
            *words = '\0'; /* another program's, who knows other specs */
        if (s->json)
            schedule_line(&schedules[i], *words ? words : NULL);
        else
            schedule_row(&t, &schedules[i], words, now);
    }
    table_flush(&t);
    free(schedules);
    return EXIT_DONE;
}

static int run_list(const request *r)
{
    neoq *nq;
    if (r->word_count > 1)
        return complain_usage(r->session, "cron list takes no argument, and got '%s'", r->words[1]);
    int exit_status = session_open(r->session, NULL, &nq);
    if (exit_status == EXIT_DONE)
        exit_status = list(r->session, nq);
    neoq_close(nq);
    return exit_status;
}

static int run_next(const request *r)
{
    session *s = r->session;
    if (r->word_count != 2)
        return complain_usage(s, "cron next takes one schedule, and got %d words: quote it", r->word_count - 1);
    neoq_time at = r->values->after != 0 ? r->values->after : neoq_now();
    int64_t count = r->values->count != 0 ? r->values->count : 1;
    for (int64_t i = 0; i < count && !ferror(stdout); i++) {
        char text[INSTANT_SIZE];
        int status = neoq_cron_next(r->words[1], at, &at);
        if (status == NEOQ_ENOTFOUND && i > 0)
            break; /* there are no more: the years end with 9999 */
        if (status != NEOQ_OK)
            return complain_spec(s, status);
        print_name(s, format_instant(at, text), "at");
    }
    return EXIT_DONE;
}

static int run_rm(const request *r)
{
    session *s = r->session;
    neoq *nq;
    if (r->word_count < 2)
        return complain_usage(s, "cron rm: which? Usage: neoq cron rm NAME...; neoq cron list lists them");
    int worst = EXIT_DONE, exit_status = session_open(s, NULL, &nq);
    if (exit_status != EXIT_DONE)
        return exit_status;
    for (int i = 1; i < r->word_count; i++) {
        int status = neoq_unschedule(nq, r->words[i]);
        if (status == NEOQ_OK)
            print_name(s, r->words[i], "removed");
        else
            worst = complain_status(s, status, "schedule %s not removed", r->words[i]);
    }
    neoq_close(nq);
    return worst;
}

/* ---- the command -------------------------------------------------------------------------- */

static bool said_of_a_job(const cron_values *v)
{
    return v->name != NULL || v->job.max_retries >= 0 || v->job.waits.count > 0 || v->job.priority != 0 ||
           v->job.fingerprint != NULL || v->job.metadata != NULL || v->job.retain != 0;
}

static int run_request(const request *r)
{
    static const struct {
        const char *word;
        int (*run)(const request *r);
    } others[] = {{"list", run_list}, {"next", run_next}, {"rm", run_rm}};
    const cron_values *v = r->values;
    if (r->word_count == 0)
        return complain_usage(r->session,
                              "cron: a schedule is missing: neoq cron '30 2 * * *' QUEUE [PAYLOAD], or list, "
                              "next or rm");
    const char *word = r->words[0];
    if ((v->count != 0 || v->after != 0) && strcmp(word, "next") != 0)
        return complain_usage(r->session, "cron: -n and --after are for cron next");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(others[i].word, word) != 0)
            continue;
        if (said_of_a_job(v) || r->command_count > 0)
            return complain_usage(r->session,
                                  "cron %s makes no schedule, and so takes neither a name nor what is said of "
                                  "jobs",
                                  word);
        return others[i].run(r);
    }
    return r->command_count > 0 ? add_command(r) : add_job(r);
}

static int run_cron(session *s, int argc, char **argv)
{
    cron_values values = {.job.max_retries = -1};
    int split = args_split(argc, argv), first = args_read(s, &command_cron, &values, split, argv);
    int exit_status = EXIT_USAGE;
    if (first >= 0 && split == argc - 1)
        exit_status = complain_usage(s, "cron: the command is missing behind --");
    else if (first >= 0)
        exit_status = run_request(&(request){s, &values, argv + first, split - first, argv + split + 1,
                                             split < argc ? argc - split - 1 : 0});
    free(values.job.waits.waits);
    return exit_status;
}

const command command_cron = {
    .name = "cron",
    .arguments = "SPEC QUEUE [PAYLOAD] | SPEC -- COMMAND [ARG]... | list | next SPEC | rm NAME...",
    .summary = "Enqueues a job again and again, by a schedule; lists schedules, tells when, removes them.",
    .details =
        "SPEC is one word, in quotes: five fields (minute, hour, day of month, month, day of week), six with the\n"
        "second first, or @hourly, @daily, @weekly, @monthly, @yearly, @every 90m. It is about UTC, or about the "
        "zone\n"
        "that stands before it: 'TZ=Europe/Berlin 30 2 * * 1-5' is \"at 02:30, Monday to Friday, Europe/Berlin\".\n"
        "\n"
        "The schedule is kept in the store. Any running neoq work on it, whatever its queues, enqueues the job when\n"
        "its time has come: once, however many they are. They hear of a new schedule within 5 seconds (a sixth of\n"
        "their --lease). Of the ticks that nobody was there for, those of the last minute are made up for, else the\n"
        "latest of the last hour. The same SPEC, QUEUE and PAYLOAD again make no second schedule. PAYLOAD - is\n"
        "standard input; without one the jobs have none. Behind -- stands a command for neoq work --commands.\n"
        "\n"
        "  cron list       the schedules, also in words, and when they are due\n"
        "  cron next SPEC  prints the next instants (UTC); needs no store\n"
        "  cron rm NAME    removes it; jobs that it has enqueued stay",
    .options = options,
    .run = run_cron,
};
