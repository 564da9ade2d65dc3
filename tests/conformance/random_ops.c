/* SPDX-License-Identifier: MIT
 *
 * The same random operations on two stores, memory and another, that must answer the same at each step: memory is the
 * model. Ids are given, time is virtual, and each side's randomness begins with the same seed.
 *
 *   random_ops [STEPS [SEED [sqlite:|postgres:|redis:]]]
 *
 * or NEOQ_RANDOM_STEPS and NEOQ_RANDOM_SEED; 100000, 1 and sqlite: otherwise.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <neoq.h>
#include <neoq/testing.h>

#include "support/postgres_server.h"
#include "support/redis_server.h"

enum { MOST_JOBS = 6, IDS_KEPT = 256, QUEUES = 4, TRACE = 25 };

static const char *const queue_names[QUEUES] = {"alpha", "beta", "gamma", "delta"};
static const char *const payloads[] = {NULL,       "{}", "{\"a\":1,\"b\":2}", "{ \"b\":2, \"a\":1 }", "[1,2]",
                                       "nonsense", "1"};
static const char *const metadatas[] = {NULL, "{}", "{\"trace\":\"x\"}"};
static const char *const fingerprints[] = {NULL, NULL, NULL, NULL, "own-1", "own-2"};

/* ---- chance ----------------------------------------------------------------------------- */

static uint64_t chance_state;

static uint64_t chance_bits(void)
{
    uint64_t z = chance_state += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static int chance(int among)
{
    return (int)(chance_bits() % (uint64_t)among);
}

/* ---- what is to be done: decided once, done on both sides ------------------------------- */

typedef enum kind {
    ENQUEUE,
    ENQUEUE_MANY,
    WORK,
    DRAIN,
    ADVANCE,
    CANCEL,
    RETRY,
    DELETE,
    PAUSE,
    RESUME,
    PURGE,
    REMOVE,
    TEND,
    FIND,
    GET,
    QUEUE_LIST,
    RUN_LIST,
    PROGRESS,
    SET_SCHEDULE,
    UNSCHEDULE,
    SCHEDULE_LIST
} kind;

static const char *const kind_names[] = {"enqueue",   "enqueue_many", "work_one", "drain",  "advance", "cancel",
                                         "retry_now", "delete",       "pause",    "resume", "purge",   "remove_queue",
                                         "tend",      "find",         "get",      "queues", "runs",    "get_progress",
                                         "schedule",  "unschedule",   "schedules"};

/* How often, in a thousand. */
static const int kind_shares[] = {300, 40, 290, 3, 90, 20, 20, 20, 8, 12, 3, 1, 15, 40, 50, 20, 40, 10, 6, 5, 7};

typedef enum outcome { DONE, FAIL, RETRY_IN, SNOOZE, DISCARD, SLOW, GARBAGE, OVERTIME, OUTCOMES } outcome;

typedef struct plan {
    kind kind;
    neoq_job jobs[MOST_JOBS];
    char ids[MOST_JOBS][NEOQ_ID_SIZE];
    neoq_duration waits[MOST_JOBS][3];
    size_t count;
    const char *queue;
    char id[NEOQ_ID_SIZE];
    neoq_state state;
    neoq_duration duration;
    size_t limit;
    /* of the handler */
    outcome outcome;
    bool with_result, with_progress, cancels_itself, enqueues;
} plan;

static char known_ids[IDS_KEPT][NEOQ_ID_SIZE];
static uint64_t known_count;

static void new_id(char *id)
{
    uint64_t a = chance_bits(), b = chance_bits();
    snprintf(id, NEOQ_ID_SIZE, "0190%04x-%04x-7%03x-8%03x-%012" PRIx64, (unsigned)(a & 0xffff),
             (unsigned)(a >> 16 & 0xffff), (unsigned)(a >> 32 & 0xfff), (unsigned)(a >> 48 & 0xfff),
             b & 0xffffffffffff);
    memcpy(known_ids[known_count++ % IDS_KEPT], id, NEOQ_ID_SIZE);
}

static void some_id(char *id)
{
    uint64_t count = known_count < IDS_KEPT ? known_count : IDS_KEPT;
    if (count == 0 || chance(50) == 0)
        strcpy(id, "0190ffff-ffff-7fff-8fff-ffffffffffff");
    else
        memcpy(id, known_ids[chance((int)count)], NEOQ_ID_SIZE);
}

static const char *some_queue(void)
{
    return queue_names[chance(QUEUES)];
}

#define ONE_OF(list) ((list)[chance((int)(sizeof(list) / sizeof((list)[0])))])

static void plan_job(plan *p, size_t i, neoq_time now)
{
    static const int max_retries[] = {0, 0, NEOQ_NO_RETRIES, 1, 2, 5};
    static const neoq_duration retentions[] = {0, 0, 0, NEOQ_SECONDS(10), NEOQ_MINUTES(5), NEOQ_FOREVER};
    neoq_job *job = &p->jobs[i];
    *job = (neoq_job){0};
    if (chance(30) == 0)
        some_id(p->ids[i]);
    else
        new_id(p->ids[i]);
    job->id = p->ids[i];
    job->queue = some_queue();
    job->payload = ONE_OF(payloads);
    job->metadata = ONE_OF(metadatas);
    job->fingerprint = ONE_OF(fingerprints);
    job->unique = chance(3);
    job->priority = chance(3) ? 0 : chance(5) - 2;
    job->max_retries = ONE_OF(max_retries);
    job->retention = ONE_OF(retentions);
    if (chance(3) == 0)
        job->run_after = now + NEOQ_SECONDS(chance(120) - 20);
    if (chance(6) == 0)
        job->deadline = now + NEOQ_SECONDS(chance(180) - 10);
    if (chance(3) == 0) {
        job->retry_wait_count = (size_t)chance(3) + 1;
        job->retry_waits = p->waits[i];
        for (size_t k = 0; k < job->retry_wait_count; k++)
            p->waits[i][k] = NEOQ_SECONDS(chance(60));
    }
}

static void plan_handler(plan *p)
{
    static const outcome outcomes[] = {DONE,     DONE,   DONE,    DONE, FAIL,    FAIL,
                                       RETRY_IN, SNOOZE, DISCARD, SLOW, GARBAGE, OVERTIME};
    p->outcome = ONE_OF(outcomes);
    p->with_result = chance(3) == 0;
    p->with_progress = chance(5) == 0;
    p->cancels_itself = chance(20) == 0;
    p->enqueues = chance(10) == 0;
}

static kind some_kind(void)
{
    int ticket = chance(1000), i = 0;
    while (ticket >= kind_shares[i])
        ticket -= kind_shares[i++];
    return (kind)i;
}

static void make_plan(plan *p, neoq_time now)
{
    memset(p, 0, sizeof(*p));
    p->kind = some_kind();
    p->count = p->kind == ENQUEUE_MANY ? (size_t)chance(MOST_JOBS) + 1 : 1;
    for (size_t i = 0; i < p->count; i++)
        plan_job(p, i, now);
    p->queue = chance(4) ? some_queue() : NULL;
    if (!p->queue && (p->kind == PAUSE || p->kind == RESUME || p->kind == PURGE || p->kind == REMOVE))
        p->queue = some_queue();
    some_id(p->id);
    p->state = (neoq_state)chance(NEOQ_DEAD + 1);
    p->duration = chance(20) ? NEOQ_MILLISECONDS(chance(20000)) : NEOQ_MINUTES(chance(30));
    p->limit = (size_t)chance(20) + 1;
    plan_handler(p);
}

/* ---- the two sides ---------------------------------------------------------------------- */

typedef struct side {
    const char *name;
    neoq_clock *clock;
    neoq *nq;
    const plan *doing;
    char answer[1 << 16];
    size_t size;
} side;

__attribute__((format(printf, 2, 3))) static void say(side *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(s->answer + s->size, sizeof(s->answer) - s->size, format, arguments);
    va_end(arguments);
    s->size += (size_t)size;
    if (s->size >= sizeof(s->answer))
        s->size = sizeof(s->answer) - 1;
}

static void say_bytes(side *s, const char *name, const void *bytes, size_t size)
{
    if (bytes)
        say(s, " %s=%zu:%.*s", name, size, (int)size, (const char *)bytes);
    else
        say(s, " %s=NULL", name);
}

static void say_text(side *s, const char *name, const char *text)
{
    say_bytes(s, name, text, text ? strlen(text) : 0);
}

/* Instants are told as what has passed since the clock began: shorter, and easier on the eye. */
static int64_t since(neoq_time time)
{
    return time == 0 ? -1 : time - (neoq_time)1893456000 * 1000000;
}

static void say_job(side *s, const neoq_job *job)
{
    say(s, "%s %s state=%d epoch=%" PRId64 " retries=%d/%d prio=%d unique=%d", job->id, job->queue, (int)job->state,
        job->epoch, job->retries, job->max_retries, job->priority, (int)job->unique);
    say(s,
        " after=%" PRId64 " deadline=%" PRId64 " created=%" PRId64 " ran=%" PRId64 " finished=%" PRId64
        " retention=%" PRId64,
        since(job->run_after), since(job->deadline), since(job->created_at), since(job->ran_at),
        since(job->finished_at), job->retention);
    say_bytes(s, "payload", job->payload, job->payload_size);
    say_text(s, "print", job->fingerprint);
    say_text(s, "metadata", job->metadata);
    say_text(s, "error", job->error);
    say_bytes(s, "result", job->result, job->result_size);
    for (size_t i = 0; job->retry_waits && i < job->retry_wait_count; i++)
        say(s, " wait=%" PRId64, job->retry_waits[i]);
    say(s, "\n");
}

/* ---- a run ------------------------------------------------------------------------------ */

static int handle(neoq_ctx *ctx, void *arg)
{
    side *s = arg;
    const plan *p = s->doing;
    say(s, "run: ");
    say_job(s, neoq_ctx_job(ctx));
    if (p->with_progress)
        say(s, "progress %d\n", neoq_set_progress(ctx, 30, "on the way"));
    if (p->with_result)
        say(s, "result %d\n", neoq_set_result(ctx, "result", 6));
    if (p->enqueues) {
        char id[NEOQ_ID_SIZE] = "";
        say(s, "child %d", neoq_enqueue(s->nq, &p->jobs[0], id));
        say(s, " %s\n", id);
    }
    if (p->cancels_itself)
        say(s, "cancel %d\n", neoq_cancel(s->nq, neoq_ctx_job(ctx)->id));
    switch (p->outcome) {
    case FAIL: return neoq_fail(ctx, "failed %d", 7);
    case RETRY_IN: return neoq_retry_in(ctx, NEOQ_SECONDS(13), "again");
    case SNOOZE: return neoq_snooze(ctx, NEOQ_SECONDS(11));
    case DISCARD: return neoq_discard(ctx, "no use");
    case SLOW: return neoq_slow_down(ctx, "slower");
    case GARBAGE: return 42;
    case OVERTIME: neoq_clock_advance(s->clock, NEOQ_SECONDS(31)); return NEOQ_OK;
    case DONE:
    case OUTCOMES: break;
    }
    return NEOQ_OK;
}

static void say_counts(side *s, const neoq_testing_counts *c)
{
    say(s,
        " runs=%" PRId64 " done=%" PRId64 " failed=%" PRId64 " snoozed=%" PRId64 " discarded=%" PRId64
        " cancelled=%" PRId64 " timeout=%" PRId64 " dead=%" PRId64 "\n",
        c->runs, c->done, c->failed, c->snoozed, c->discarded, c->cancelled, c->timeout, c->dead);
}

/* ---- operations ------------------------------------------------------------------------- */

static void do_enqueue_many(side *s, const plan *p)
{
    neoq_enqueued results[MOST_JOBS];
    memset(results, 0, sizeof(results));
    say(s, "%d", neoq_enqueue_many(s->nq, p->jobs, p->count, results));
    for (size_t i = 0; i < p->count; i++)
        say(s, " %d %s", results[i].status, results[i].id);
}

static void do_find(side *s, const plan *p)
{
    neoq_job_set *set = NULL;
    neoq_filter filter = {.queue = p->queue,
                          .state = p->state,
                          .limit = p->limit,
                          .after_id = p->with_result ? p->id : NULL};
    say(s, "%d\n", neoq_find(s->nq, &filter, &set));
    for (size_t i = 0; i < neoq_job_set_count(set); i++)
        say_job(s, neoq_job_set_at(set, i));
    neoq_job_set_free(set);
}

static void do_get(side *s, const plan *p)
{
    neoq_job_set *set = NULL;
    say(s, "%d ", neoq_get(s->nq, p->id, &set));
    if (neoq_job_set_count(set) > 0)
        say_job(s, neoq_job_set_at(set, 0));
    neoq_job_set_free(set);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const neoq_queue_info *)a)->name, ((const neoq_queue_info *)b)->name);
}

static void do_queues(side *s)
{
    neoq_queue_info *list = NULL;
    size_t count = 0;
    say(s, "%d\n", neoq_queues(s->nq, &list, &count));
    if (count > 0)
        qsort(list, count, sizeof(*list), by_name);
    for (size_t i = 0; i < count; i++)
        say(s,
            "%s paused=%d %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " processed=%" PRId64
            " failed=%" PRId64 " latency=%" PRId64 "\n",
            list[i].name, list[i].paused, list[i].scheduled, list[i].ready, list[i].running, list[i].retrying,
            list[i].done, list[i].dead, list[i].processed, list[i].failed, list[i].latency);
    free(list);
}

static void do_runs(side *s, const plan *p)
{
    neoq_run_info *list = NULL;
    size_t count = 0;
    say(s, "%d\n", neoq_runs(s->nq, p->id, &list, &count));
    for (size_t i = 0; i < count; i++)
        say(s, "%" PRId64 " %" PRId64 "..%" PRId64 " %s \"%s\" %d %d\n", list[i].epoch, since(list[i].started_at),
            since(list[i].finished_at), list[i].outcome, list[i].error, list[i].exit_code, list[i].signal);
    free(list);
}

static void do_schedules(side *s)
{
    neoq_schedule_info *list = NULL;
    size_t count = 0;
    say(s, "%d\n", neoq_schedules(s->nq, &list, &count));
    for (size_t i = 0; i < count; i++)
        say(s, "%s %s %s %" PRId64 " %" PRId64 "\n", list[i].name, list[i].spec, list[i].queue,
            since(list[i].last_at), since(list[i].next_at));
    free(list);
}

static void do_purge(side *s, const plan *p)
{
    int64_t purged = -1;
    say(s, "%d", neoq_purge(s->nq, p->queue, p->state, &purged));
    say(s, " %" PRId64, purged);
}

static void do_progress(side *s, const plan *p)
{
    int percent = -7;
    char note[64] = "?";
    say(s, "%d", neoq_get_progress(s->nq, p->id, &percent, note, sizeof(note)));
    say(s, " %d %s", percent, note);
}

static void do_one(side *s, const plan *p)
{
    neoq_testing_counts counts;
    char id[NEOQ_ID_SIZE] = "";
    memset(&counts, 0, sizeof(counts));
    switch (p->kind) {
    case ENQUEUE:
        say(s, "%d", neoq_enqueue(s->nq, &p->jobs[0], id));
        say(s, " %s", id);
        break;
    case ENQUEUE_MANY: do_enqueue_many(s, p); break;
    case WORK:
        say(s, "%d", neoq_testing_work_one(s->nq, p->queue, &counts));
        say_counts(s, &counts);
        break;
    case DRAIN:
        say(s, "%d", neoq_testing_drain(s->nq, &counts));
        say_counts(s, &counts);
        break;
    case ADVANCE: neoq_clock_advance(s->clock, p->duration); break;
    case CANCEL: say(s, "%d", neoq_cancel(s->nq, p->id)); break;
    case RETRY: say(s, "%d", neoq_retry_now(s->nq, p->id)); break;
    case DELETE: say(s, "%d", neoq_delete(s->nq, p->id)); break;
    case PAUSE: say(s, "%d", neoq_pause(s->nq, p->queue)); break;
    case RESUME: say(s, "%d", neoq_resume(s->nq, p->queue)); break;
    case PURGE: do_purge(s, p); break;
    case REMOVE: say(s, "%d", neoq_remove_queue(s->nq, p->queue)); break;
    case TEND: say(s, "%d", neoq_testing_tend(s->nq)); break;
    case FIND: do_find(s, p); break;
    case GET: do_get(s, p); break;
    case QUEUE_LIST: do_queues(s); break;
    case RUN_LIST: do_runs(s, p); break;
    case PROGRESS: do_progress(s, p); break;
    case SET_SCHEDULE:
        say(s, "%d",
            neoq_schedule(
                s->nq, p->with_result ? "one" : "two", p->enqueues ? "@every 7s" : "* * * * *",
                &(neoq_job){.queue = p->jobs[0].queue, .unique = p->jobs[0].unique, .payload = p->jobs[0].payload}));
        break;
    case UNSCHEDULE: say(s, "%d", neoq_unschedule(s->nq, p->with_result ? "one" : "two")); break;
    case SCHEDULE_LIST: do_schedules(s); break;
    }
}

/* ---- comparing -------------------------------------------------------------------------- */

static char trace[TRACE][600];

static void remember(long step, const plan *p)
{
    snprintf(trace[step % TRACE], sizeof(trace[0]),
             "step %ld: %s queue=%s id=%s job=%s on %s payload=%s unique=%d "
             "outcome=%d duration=%" PRId64 " state=%d",
             step, kind_names[p->kind], p->queue ? p->queue : "(any)", p->id, p->ids[0], p->jobs[0].queue,
             p->jobs[0].payload ? (const char *)p->jobs[0].payload : "NULL", (int)p->jobs[0].unique, (int)p->outcome,
             p->duration, (int)p->state);
}

static int differ(long step, const char *what, const side *a, const side *b)
{
    fprintf(stderr, "the stores differ at step %ld (%s). What came before:\n", step, what);
    for (long i = step >= TRACE ? step - TRACE + 1 : 0; i <= step; i++)
        fprintf(stderr, "  %s\n", trace[i % TRACE]);
    fprintf(stderr, "%s:\n%s\n%s:\n%s\n", a->name, a->answer, b->name, b->answer);
    return 1;
}

static void begin_answer(side *s, const plan *p)
{
    s->doing = p;
    s->size = 0;
    s->answer[0] = '\0';
}

static int list_all(side *sides, long step)
{
    char after[2][NEOQ_ID_SIZE] = {"", ""};
    for (;;) {
        size_t counts[2];
        for (int i = 0; i < 2; i++) {
            neoq_job_set *set = NULL;
            begin_answer(&sides[i], NULL);
            say(&sides[i], "%d\n",
                neoq_find(sides[i].nq, &(neoq_filter){.limit = 100, .after_id = after[i][0] ? after[i] : NULL},
                          &set));
            counts[i] = neoq_job_set_count(set);
            for (size_t k = 0; k < counts[i]; k++)
                say_job(&sides[i], neoq_job_set_at(set, k));
            if (counts[i] > 0)
                strcpy(after[i], neoq_job_set_at(set, counts[i] - 1)->id);
            neoq_job_set_free(set);
        }
        if (strcmp(sides[0].answer, sides[1].answer) != 0)
            return differ(step, "the whole listing", &sides[0], &sides[1]);
        if (counts[0] < 100)
            return 0;
    }
}

static int run_steps(side *sides, long steps)
{
    static plan p;
    for (long step = 0; step < steps; step++) {
        make_plan(&p, neoq_clock_time(sides[0].clock));
        remember(step, &p);
        for (int i = 0; i < 2; i++) {
            begin_answer(&sides[i], &p);
            do_one(&sides[i], &p);
        }
        size_t told = strlen(trace[step % TRACE]);
        snprintf(trace[step % TRACE] + told, sizeof(trace[0]) - told, " -> %.50s", sides[0].answer);
        if (strcmp(sides[0].answer, sides[1].answer) != 0)
            return differ(step, kind_names[p.kind], &sides[0], &sides[1]);
        if (neoq_clock_time(sides[0].clock) != neoq_clock_time(sides[1].clock))
            return differ(step, "the clocks", &sides[0], &sides[1]);
        if (step % 1000 == 999 && list_all(sides, step) != 0)
            return 1;
    }
    return list_all(sides, steps - 1);
}

/* ---- opening ---------------------------------------------------------------------------- */

static void no_log(neoq_log_level level, const char *message, void *arg)
{
    (void)level;
    (void)message;
    (void)arg;
}

static int open_side(side *s, const char *name, const char *url, uint64_t seed)
{
    neoq_options options = {.log = no_log, .asynchronous_commit = true, .dead_retention = NEOQ_MINUTES(20)};
    s->name = name;
    if (neoq_clock_create(&s->clock, 0, seed) != NEOQ_OK ||
        neoq_testing_open(&s->nq, url, &options, s->clock, 0) != NEOQ_OK)
        return 1;
    /* No handler for the last queue: its jobs are left alone. */
    for (int i = 0; i < QUEUES - 1; i++) {
        neoq_handler handler = {.queue = queue_names[i], .handle = handle, .arg = s, .weight = i + 1};
        if (neoq_start(s->nq, &handler) != NEOQ_OK)
            return 1;
    }
    return 0;
}

static uint64_t setting(int argc, char **argv, int i, const char *variable, uint64_t standard)
{
    const char *text = argc > i ? argv[i] : getenv(variable);
    return text ? strtoull(text, NULL, 10) : standard;
}

static int compare(const char *url, uint64_t steps, uint64_t seed)
{
    static side sides[2];
    int result = 2;
    if (open_side(&sides[0], "memory", "memory:", seed) == 0 && open_side(&sides[1], "the other", url, seed) == 0)
        result = run_steps(sides, (long)steps);
    else
        fprintf(stderr, "cannot open: %s\n", neoq_error_message());
    for (int i = 0; i < 2; i++) {
        neoq_close(sides[i].nq);
        neoq_clock_destroy(sides[i].clock);
    }
    return result;
}

static int compare_with_sqlite(uint64_t steps, uint64_t seed)
{
    char folder[] = "/dev/shm/neoq-random-XXXXXX", folder_here[] = "/tmp/neoq-random-XXXXXX", url[64], path[64];
    char *made = mkdtemp(folder);
    if (!made && !(made = mkdtemp(folder_here)))
        return 2;
    snprintf(url, sizeof(url), "sqlite:%s/jobs.db", made);
    int result = compare(url, steps, seed);
    static const char *const files[] = {"jobs.db", "jobs.db-wal", "jobs.db-shm"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", made, files[i]);
        unlink(path);
    }
    rmdir(made);
    return result;
}

static int compare_with_postgres(uint64_t steps, uint64_t seed)
{
    const postgres_server *server = postgres_shared();
    char database[64], url[512];
    if (!server || !postgres_create(server, NULL, database, sizeof(database)))
        return 2;
    int result = compare(postgres_url(server, database, url, sizeof(url)), steps, seed);
    postgres_drop(server, database);
    return result;
}

static int compare_with_redis(uint64_t steps, uint64_t seed)
{
    redis_server *server = redis_shared();
    char url[512];
    int database = server ? redis_create(server) : -1;
    if (database < 0)
        return 2;
    int result = compare(redis_url(server, database, url, sizeof(url)), steps, seed);
    redis_drop(server, database);
    return result;
}

int main(int argc, char **argv)
{
    uint64_t steps = setting(argc, argv, 1, "NEOQ_RANDOM_STEPS", 100000);
    uint64_t seed = setting(argc, argv, 2, "NEOQ_RANDOM_SEED", 1);
    const char *store = argc > 3 ? argv[3] : "sqlite:";
    printf("random_ops: %" PRIu64 " steps, seed %" PRIu64 ", memory: and %s\n", steps, seed, store);
    fflush(stdout);
    chance_state = seed;
    if (strcmp(store, "postgres:") == 0)
        return compare_with_postgres(steps, seed);
    return strcmp(store, "redis:") == 0 ? compare_with_redis(steps, seed) : compare_with_sqlite(steps, seed);
}
