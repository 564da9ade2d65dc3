/* SPDX-License-Identifier: MIT
 *
 * The checker.
 */
#include "crash.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- complaints: the first few in words ------------------------------------------------- */

static int complaints;

void complain(const char *format, ...)
{
    va_list arguments;
    if (++complaints > 20)
        return;
    va_start(arguments, format);
    fputs("  WRONG: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

static int since(int before)
{
    fflush(stdout);
    return complaints - before;
}

/* ---- the store -------------------------------------------------------------------------- */

int check_store(const plan *p, bool last)
{
    int before = complaints;
    p->store->check(p, last);
    return since(before);
}

/* ---- what is known of a job ------------------------------------------------------------- */

enum { EPOCHS = 128 };

typedef struct known {
    uint64_t id;       /* hashed; 0 = nobody said it */
    uint64_t begun[2]; /* a bit an epoch */
    uint32_t done;     /* the epoch that saw it to its end; the last of them */
    bool asked, stored, rolled_back, kept;
} known;

typedef struct history {
    const plan *plan;
    known *jobs[STREAMS];
    uint64_t asked, stored, runs, ended, again; /* counts for the report */
} history;

static known *job_of(history *h, unsigned long number, unsigned long n)
{
    return number < STREAMS && n < h->plan->counts[number] ? &h->jobs[number][n] : NULL;
}

static uint64_t hash(const char *id)
{
    uint64_t x = 14695981039346656037u;
    for (; *id; id++)
        x = (x ^ (unsigned char)*id) * 1099511628211u;
    return x;
}

static void same_id(known *job, unsigned long number, unsigned long n, const char *id)
{
    if (strcmp(id, "-") == 0)
        return;
    if (job->id != 0 && job->id != hash(id))
        complain("job %lu of stream %lu has a second id: %s", n, number, id);
    job->id = hash(id);
}

/* ---- reading the logs ------------------------------------------------------------------- */

/* False: the line is not one of ours. */
static bool read_asked(history *h, unsigned long number, const char *line)
{
    char kind, id[40] = "-";
    unsigned long first, count;
    int fields = sscanf(line, "%c %lu %lu %39s", &kind, &first, &count, id);
    if (fields < 3 || (fields < 4) != (kind != 'k'))
        return false;
    for (unsigned long n = first; n < first + count; n++) {
        known *job = job_of(h, number, n);
        if (!job)
            return false;
        h->asked += kind == 'a' && !job->asked;
        h->stored += kind == 'k';
        job->asked |= kind == 'a';
        job->stored |= kind == 'k';
        job->rolled_back |= kind == 'r';
        same_id(job, number, n, id);
    }
    return true;
}

static void begin_run(history *h, known *job, unsigned long number, unsigned long n, unsigned long epoch)
{
    uint64_t bit = (uint64_t)1 << epoch % 64, *word = &job->begun[epoch / 64 % 2];
    if (!job->asked)
        complain("job %lu of stream %lu was run, and never asked for", n, number);
    if (*word & bit)
        complain("job %lu of stream %lu was run twice at epoch %lu", n, number, epoch);
    h->again += (job->begun[0] | job->begun[1]) != 0;
    *word |= bit;
    h->runs++;
}

static bool read_ran(history *h, unsigned long worker, const char *line)
{
    char kind, id[40];
    unsigned long number, n, epoch;
    (void)worker;
    if (sscanf(line, "%c %lu %lu %lu %39s", &kind, &number, &n, &epoch, id) != 5)
        return false;
    known *job = job_of(h, number, n);
    if (!job || epoch == 0)
        return false;
    if (epoch >= EPOCHS) {
        complain("job %lu of stream %lu needed %lu runs", n, number, epoch);
        return true;
    }
    same_id(job, number, n, id);
    if (kind == 'b') {
        begin_run(h, job, number, n, epoch);
        return true;
    }
    if (!(job->begun[epoch / 64] >> epoch % 64 & 1))
        complain("job %lu of stream %lu ended epoch %lu, which did not begin", n, number, epoch);
    h->ended += job->done == 0;
    if (job->done < epoch)
        job->done = (uint32_t)epoch;
    return true;
}

static void read_log(history *h, const char *name, unsigned long number,
                     bool (*read_line)(history *, unsigned long, const char *))
{
    char path[200], line[520];
    snprintf(path, sizeof(path), "%s/%s-%lu.log", h->plan->folder, name, number);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == 'x' || !read_line(h, number, line))
            complain("%s-%lu.log: %s", name, number, line);
    }
    if (file)
        fclose(file);
    else
        complain("%s: cannot be read", path);
}

/* ---- the kept jobs ---------------------------------------------------------------------- */

static void look_at_kept(history *h, const neoq_job *job)
{
    unsigned long number, n;
    known *about = NULL;
    if (sscanf(job->payload, "%lu %lu", &number, &n) == 2)
        about = job_of(h, number, n);
    if (!about || number != BATCHES)
        complain("job %s (%s, state %d) is still there: %s", job->id, (const char *)job->payload, (int)job->state,
                 job->error ? job->error : "");
    else if (job->state != NEOQ_DONE || job->epoch != (int64_t)about->done)
        complain("job %s is in state %d at epoch %" PRId64 ", and was last done at epoch %" PRIu32 ": %s", job->id,
                 (int)job->state, job->epoch, about->done, job->error ? job->error : "");
    else
        about->kept = true;
}

static void look_at_store(history *h)
{
    neoq *nq;
    neoq_filter filter = {.limit = 1000};
    char last[NEOQ_ID_SIZE];
    size_t found = filter.limit;
    if (neoq_open(&nq, h->plan->url, NULL) != NEOQ_OK) {
        complain("cannot open the store: %s", neoq_error_message());
        return;
    }
    while (found == filter.limit) {
        neoq_job_set *set;
        if (neoq_find(nq, &filter, &set) != NEOQ_OK) {
            complain("cannot read the store: %s", neoq_error_message());
            break;
        }
        found = neoq_job_set_count(set);
        for (size_t i = 0; i < found; i++)
            look_at_kept(h, neoq_job_set_at(set, i));
        if (found > 0)
            snprintf(last, sizeof(last), "%s", neoq_job_set_at(set, found - 1)->id);
        filter.after_id = last;
        neoq_job_set_free(set);
    }
    neoq_close(nq);
}

/* Rows of a table, as how often each n is in it. */
typedef struct tally {
    const char *sql;
    uint32_t *counts, limit;
} tally;

static void count_row(int64_t n, void *arg)
{
    const tally *t = arg;
    if (n < 0 || n >= t->limit)
        complain("%s: row %" PRId64 " is nobody's", t->sql, n);
    else
        t->counts[n]++;
}

/* Freed by the caller. */
static uint32_t *count_rows(const plan *p, const char *sql)
{
    tally t = {sql, calloc(p->counts[EXACT] + 1, sizeof(uint32_t)), p->counts[EXACT]};
    void *db = p->store->connect(p);
    if (!db || !t.counts)
        abort();
    p->store->read(db, sql, count_row, &t);
    p->store->disconnect(db);
    return t.counts;
}

/* A wish that was committed has its job, that job its effect, and each of them once. */
static void check_transactions(history *h)
{
    uint32_t *wishes = count_rows(h->plan, "SELECT n FROM crash_wishes");
    uint32_t *effects = count_rows(h->plan, "SELECT n FROM crash_effects");
    for (uint32_t n = 0; n < h->plan->counts[EXACT]; n++) {
        const known *job = &h->jobs[EXACT][n];
        if (wishes[n] > 1 || effects[n] != wishes[n])
            complain("wish %" PRIu32 " is there %" PRIu32 " times, its effect %" PRIu32 " times", n, wishes[n],
                     effects[n]);
        if (job->stored && wishes[n] == 0)
            complain("wish %" PRIu32 " was committed, and is not there", n);
        if (wishes[n] == 0 && (job->begun[0] | job->begun[1]))
            complain("wish %" PRIu32 " was not committed, and its job was run", n);
    }
    free(wishes);
    free(effects);
}

/* ---- all of it -------------------------------------------------------------------------- */

static void check_job(const history *h, uint32_t number, uint32_t n)
{
    const known *job = &h->jobs[number][n];
    bool begun = (job->begun[0] | job->begun[1]) != 0;
    if (job->stored && job->done == 0)
        complain("job %" PRIu32 " of stream %" PRIu32 " was stored, and is LOST: it %s", n, number,
                 begun ? "began, and never ended" : "never began");
    if (begun && job->done == 0)
        complain("job %" PRIu32 " of stream %" PRIu32 " was begun, and never ended", n, number);
    if (job->rolled_back && begun)
        complain("job %" PRIu32 " of stream %" PRIu32 " was rolled back, and run", n, number);
    if (!job->asked)
        complain("job %" PRIu32 " of stream %" PRIu32 " was not asked for: the test is wrong", n, number);
    if (number == BATCHES && !job->kept)
        complain("job %" PRIu32 " of stream %" PRIu32 " was to be kept, and is not there", n, number);
}

int check_history(const plan *p)
{
    int before = complaints;
    history h = {.plan = p};
    for (int i = 0; i < STREAMS; i++)
        if (!(h.jobs[i] = calloc(p->counts[i] + 1, sizeof(known))))
            abort();
    for (unsigned long i = 0; i < STREAMS; i++)
        read_log(&h, "asked", i, read_asked);
    for (unsigned long i = 0; i < WORKERS; i++)
        read_log(&h, "ran", i, read_ran);
    look_at_store(&h);
    if (p->store->enqueue)
        check_transactions(&h);
    for (uint32_t number = 0; number < STREAMS; number++)
        for (uint32_t n = 0; n < p->counts[number]; n++)
            check_job(&h, number, n);
    printf("%" PRIu64 " jobs asked for, %" PRIu64 " acknowledged, %" PRIu64 " run to their end, in %" PRIu64
           " runs, %" PRIu64 " of them repeats\n",
           h.asked, h.stored, h.ended, h.runs, h.again);
    for (int i = 0; i < STREAMS; i++)
        free(h.jobs[i]);
    return since(before);
}
