/* SPDX-License-Identifier: MIT
 *
 * The producers and the workers, any of which may be killed at any moment.
 */
#include "crash.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* A killed run costs a retry, and the oldest job is claimed first: the same few are hit again and again. */
enum { RETRIES = 90 };
static const neoq_duration no_waits[RETRIES];

/* A line of a log, and the last one, which says what went wrong. */
enum { NOTE_SIZE = 64, NOTE_MAX = 512 };

/* ---- plan ------------------------------------------------------------------------------- */

bool plan_make(plan *p, const char *store, const char *folder, uint32_t jobs, uint32_t seed)
{
    static const crash_store *const stores[] = {&crash_sqlite, &crash_postgres, &crash_postgres_server, &crash_redis,
                                                &crash_redis_server};
    *p = (plan){.seed = seed};
    for (size_t i = 0; i < sizeof(stores) / sizeof(stores[0]); i++)
        if (strcmp(stores[i]->name, store) == 0)
            p->store = stores[i];
    snprintf(p->folder, sizeof(p->folder), "%s", folder);
    for (int i = 0; i < SINGLES; i++)
        p->counts[i] = jobs / 10;
    p->counts[EXACT] = p->store && p->store->enqueue ? jobs / 50 : 0;
    p->counts[BATCHES] = jobs - SINGLES * p->counts[0] - p->counts[EXACT];
    return p->store != NULL;
}

void plan_id(const plan *p, uint32_t n, char id[37])
{
    snprintf(id, 37, "%08" PRIx32 "-0000-7000-8000-%012" PRIx32, p->seed, n);
}

uint32_t chance_of(uint32_t stream, uint32_t n)
{
    uint32_t x = (n * STREAMS + stream) * 2654435761u;
    x = (x ^ x >> 15) * 2246822519u;
    return x ^ x >> 13;
}

/* ---- notes ------------------------------------------------------------------------------ */

static int open_log(const plan *p, const char *name, int number, int flags)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s-%d.log", p->folder, name, number);
    int fd = open(path, flags | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        perror(path);
        _exit(4);
    }
    return fd;
}

/* The kernel may stop a killed write() where a page of the file ends. No line lies across one: each is filled up with
 * blanks to a part of a page. */
__attribute__((format(printf, 2, 3))) static void note(int fd, const char *format, ...)
{
    char line[NOTE_MAX];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (size > NOTE_MAX - 1)
        size = NOTE_MAX - 1;
    int whole = size < NOTE_SIZE ? NOTE_SIZE : NOTE_MAX;
    memset(line + size, ' ', (size_t)(whole - size));
    line[whole - 1] = '\n';
    if (write(fd, line, (size_t)whole) != whole) {
        perror("log");
        _exit(4);
    }
}

/* ---- producers -------------------------------------------------------------------------- */

typedef struct stream {
    const plan *plan;
    neoq *nq;
    void *db; /* of EXACT */
    int number, log;
    uint32_t next;      /* the first job that was never asked for */
    uint32_t in_flight; /* the last so many of these were not acknowledged */
    unsigned random;
} stream;

/* The stream's last line says where a killed process was. */
static void open_stream(stream *s, const plan *p, neoq *nq, int number)
{
    char text[257] = "";
    *s = (stream){.plan = p, .nq = nq, .number = number, .random = p->seed ^ (unsigned)getpid()};
    s->log = open_log(p, "asked", number, O_RDWR);
    off_t size = lseek(s->log, 0, SEEK_END);
    ssize_t got = pread(s->log, text, 256, size > 256 ? size - 256 : 0);
    if (got <= 0)
        return;
    text[got - 1] = '\0';
    const char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    char kind;
    uint32_t n, count;
    if (sscanf(line, "%c %" SCNu32 " %" SCNu32, &kind, &n, &count) != 3 || kind == 'x')
        _exit(4); /* said already */
    s->next = n + count;
    s->in_flight = kind == 'a' ? count : 0;
}

static neoq_job make_job(const stream *s, uint32_t n, char payload[32])
{
    uint32_t chance = chance_of((uint32_t)s->number, n);
    snprintf(payload, 32, "%d %" PRIu32, s->number, n);
    return (neoq_job){
        .queue = s->number == EXACT ? "exact" : "work",
        .payload = payload,
        .retry_waits = no_waits,
        .retry_wait_count = RETRIES,
        .retention = s->number == BATCHES ? NEOQ_FOREVER : 0,
        .run_after = chance % 32 == 30 ? neoq_now() + NEOQ_MILLISECONDS(50) : 0,
        .priority = chance % 32 == 31 ? 1 : 0,
    };
}

static void doze(long microseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = microseconds * 1000}, NULL);
}

/* Whether it may be so because the server is away; then it is given a moment. */
static bool is_away(const plan *p, int status)
{
    bool away =
        p->store->may_be_away && (status == NEOQ_EBACKEND || status == NEOQ_ETIMEOUT || status == NEOQ_EUNKNOWN);
    if (away)
        doze(20000);
    return away;
}

/* Where it was not stored it is asked for again, and where that is not known it is not. */
static void ask_for_one(stream *s, uint32_t n)
{
    int status;
    char payload[32], id[NEOQ_ID_SIZE];
    neoq_job job = make_job(s, n, payload);
    do {
        id[0] = '\0';
        note(s->log, "a %" PRIu32 " 1", n);
        status = neoq_enqueue(s->nq, &job, id);
    } while (status != NEOQ_OK && is_away(s->plan, status) && status != NEOQ_EUNKNOWN);
    if (status == NEOQ_OK)
        note(s->log, "k %" PRIu32 " 1 %s", n, id);
    else if (status != NEOQ_EUNKNOWN || !s->plan->store->may_be_away)
        note(s->log, "x enqueue %" PRIu32 ": %s: %s", n, neoq_status_name(status), neoq_error_message());
}

static int ask_for_these(neoq *nq, const neoq_job *jobs, uint32_t count)
{
    static neoq_enqueued results[BATCH_MAX];
    int status = neoq_enqueue_many(nq, jobs, count, results);
    for (uint32_t i = 0; i < count && status == NEOQ_OK; i++)
        if (results[i].status != NEOQ_OK || strcmp(results[i].id, jobs[i].id) != 0)
            status = results[i].status != NEOQ_OK ? results[i].status : NEOQ_ESTATE;
    return status;
}

static void ask_for_many(stream *s, uint32_t first, uint32_t count)
{
    static neoq_job jobs[BATCH_MAX];
    static char payloads[BATCH_MAX][32], ids[BATCH_MAX][37];
    int status;
    for (uint32_t i = 0; i < count; i++) {
        jobs[i] = make_job(s, first + i, payloads[i]);
        plan_id(s->plan, first + i, ids[i]);
        jobs[i].id = ids[i];
    }
    do {
        note(s->log, "a %" PRIu32 " %" PRIu32, first, count);
        status = ask_for_these(s->nq, jobs, count);
    } while (status != NEOQ_OK && is_away(s->plan, status));
    if (status == NEOQ_OK)
        note(s->log, "k %" PRIu32 " %" PRIu32 " %s", first, count, count == 1 ? ids[0] : "-");
    else
        note(s->log, "x enqueue_many %" PRIu32 " %" PRIu32 ": %s: %s", first, count, neoq_status_name(status),
             neoq_error_message());
}

/* Up to the commit. Where it fails all is rolled back. */
static int begin_wish(stream *s, uint32_t n, char id[NEOQ_ID_SIZE])
{
    const crash_store *store = s->plan->store;
    char payload[32], sql[100];
    neoq_job job = make_job(s, n, payload);
    snprintf(sql, sizeof(sql), "INSERT INTO crash_wishes VALUES(%" PRIu32 ")", n);
    if (!s->db && !(s->db = store->connect(s->plan)))
        return NEOQ_EBACKEND;
    bool begun = store->run(s->db, "BEGIN") && store->run(s->db, sql);
    return begun ? store->enqueue(s->nq, s->db, &job, id) : NEOQ_EBACKEND;
}

static void drop_connection(stream *s)
{
    s->plan->store->disconnect(s->db);
    s->db = NULL;
}

/* The job and its row of crash_wishes: both or neither. */
static void wish_for_one(stream *s, uint32_t n)
{
    const crash_store *store = s->plan->store;
    char id[NEOQ_ID_SIZE] = "";
    note(s->log, "a %" PRIu32 " 1", n);
    int status;
    while ((status = begin_wish(s, n, id)) != NEOQ_OK && is_away(s->plan, status))
        drop_connection(s);
    if (status == NEOQ_OK && n % 16 == 15) {
        store->run(s->db, "ROLLBACK");
        note(s->log, "r %" PRIu32 " 1", n);
    } else if (status == NEOQ_OK && store->run(s->db, "COMMIT")) {
        note(s->log, "k %" PRIu32 " 1 %s", n, id);
        return;
    } else if (status != NEOQ_OK || !store->may_be_away) {
        note(s->log, "x wish %" PRIu32 ": %s: %s; %s", n, neoq_status_name(status), neoq_error_message(),
             s->db ? store->words(s->db) : "");
    }
    if (store->may_be_away) /* it may be a broken one */
        drop_connection(s);
}

static void *produce(void *arg)
{
    stream *s = arg;
    uint32_t count = s->plan->counts[s->number];
    if (s->in_flight > 0 && s->number == BATCHES)
        ask_for_many(s, s->next - s->in_flight, s->in_flight);
    while (s->next < count) {
        uint32_t batch = s->number == BATCHES ? 1 + (uint32_t)rand_r(&s->random) % BATCH_MAX : 1;
        if (batch > count - s->next)
            batch = count - s->next;
        if (s->number == BATCHES)
            ask_for_many(s, s->next, batch);
        else if (s->number == EXACT)
            wish_for_one(s, s->next);
        else
            ask_for_one(s, s->next);
        s->next += batch;
    }
    return NULL;
}

static int producer(const plan *p, neoq *nq, int slot)
{
    static stream streams[SINGLES];
    pthread_t threads[SINGLES];
    if (slot == 0) {
        for (int i = 0; i < SINGLES; i++) {
            open_stream(&streams[i], p, nq, i);
            if (pthread_create(&threads[i], NULL, produce, &streams[i]) != 0)
                return 4;
        }
        for (int i = 0; i < SINGLES; i++)
            pthread_join(threads[i], NULL);
    } else {
        open_stream(&streams[0], p, nq, slot == 1 ? BATCHES : EXACT);
        produce(&streams[0]);
        if (streams[0].db)
            p->store->disconnect(streams[0].db);
    }
    return 0;
}

/* ---- workers ---------------------------------------------------------------------------- */

typedef struct worker {
    const plan *plan;
    int log;
} worker;

/* Which job is it? False if it is none that can have been asked for. */
static bool recognize(const worker *w, const neoq_job *job, uint32_t *number, uint32_t *n)
{
    char again[32];
    int got = sscanf(job->payload, "%" SCNu32 " %" SCNu32, number, n);
    bool known = got == 2 && *number < STREAMS && *n < w->plan->counts[*number];
    if (known) {
        snprintf(again, sizeof(again), "%" PRIu32 " %" PRIu32, *number, *n);
        known = job->payload_size == strlen(again) && memcmp(again, job->payload, strlen(again)) == 0;
    }
    if (!known)
        note(w->log, "x job %s has a payload of nobody's", job->id);
    return known;
}

/* One kind of job in many does not end at the first run; some take a while, so that they are caught at it. */
static bool ends_otherwise(neoq_ctx *ctx, const neoq_job *job, uint32_t chance, int *result)
{
    if (chance % 8 == 0)
        doze(chance % 4096);
    if (job->epoch > 1)
        return false;
    switch (chance % 32) {
    case 1: *result = neoq_fail(ctx, "on purpose"); return true;
    case 2: *result = neoq_retry_in(ctx, NEOQ_MILLISECONDS(20), "on purpose"); return true;
    case 3: *result = neoq_snooze(ctx, NEOQ_MILLISECONDS(20)); return true;
    default: return false;
    }
}

static int handle(neoq_ctx *ctx, void *arg)
{
    const worker *w = arg;
    const neoq_job *job = neoq_ctx_job(ctx);
    uint32_t number, n;
    int result = NEOQ_OK;
    if (!recognize(w, job, &number, &n))
        return neoq_discard(ctx, "not ours");
    note(w->log, "b %" PRIu32 " %" PRIu32 " %" PRId64 " %s", number, n, job->epoch, job->id);
    if (ends_otherwise(ctx, job, chance_of(number, n), &result))
        return result;
    note(w->log, "d %" PRIu32 " %" PRIu32 " %" PRId64 " %s", number, n, job->epoch, job->id);
    return result;
}

/* The row of crash_effects and the end of the job: both or neither. */
static int take_effect(const worker *w, neoq_ctx *ctx, void *db, const char *effect)
{
    const crash_store *store = w->plan->store;
    bool begun = db && store->run(db, "BEGIN") && store->run(db, effect);
    return begun ? store->finish(ctx, db) : NEOQ_EBACKEND;
}

static int handle_exactly(neoq_ctx *ctx, void *arg)
{
    const worker *w = arg;
    const crash_store *store = w->plan->store;
    const neoq_job *job = neoq_ctx_job(ctx);
    uint32_t number, n;
    int result = NEOQ_OK;
    char sql[120];
    if (!recognize(w, job, &number, &n))
        return neoq_discard(ctx, "not ours");
    note(w->log, "b %" PRIu32 " %" PRIu32 " %" PRId64 " %s", number, n, job->epoch, job->id);
    if (ends_otherwise(ctx, job, chance_of(number, n), &result))
        return result;
    snprintf(sql, sizeof(sql), "INSERT INTO crash_effects VALUES(%" PRIu32 ", %" PRId64 ")", n, job->epoch);
    void *db = store->connect(w->plan);
    result = take_effect(w, ctx, db, sql);
    note(w->log, "d %" PRIu32 " %" PRIu32 " %" PRId64 " %s", number, n, job->epoch, job->id);
    if (result == NEOQ_OK && store->run(db, "COMMIT")) {
        store->disconnect(db);
        return NEOQ_OK;
    }
    bool may_be = result == NEOQ_ELOST || (result == NEOQ_OK && store->may_be_away) || is_away(w->plan, result);
    if (!may_be)
        note(w->log, "x finish of %s: %s: %s; %s", job->id, neoq_status_name(result), neoq_error_message(),
             db ? store->words(db) : "");
    store->disconnect(db); /* rolls back */
    return neoq_fail(ctx, "rolled back");
}

static int work(const plan *p, neoq *nq, int slot)
{
    worker w = {.plan = p, .log = open_log(p, "ran", slot - PRODUCERS, O_WRONLY)};
    neoq_handler handlers[] = {{.queue = "work", .handle = handle, .arg = &w, .concurrency = 8},
                               {.queue = "exact", .handle = handle_exactly, .arg = &w, .concurrency = 2}};
    int status = NEOQ_OK;
    for (int i = 0, attempts = 0; i < 2 && status == NEOQ_OK; i++)
        while ((status = neoq_start(nq, &handlers[i])) != NEOQ_OK && ++attempts < 1000 && is_away(p, status))
            ;
    if (status == NEOQ_OK)
        status = neoq_run(nq);
    neoq_shutdown(nq, NEOQ_SECONDS(30)); /* w lives no longer than this */
    if (status == NEOQ_OK)
        return 0;
    fprintf(stderr, "worker: %s: %s\n", neoq_status_name(status), neoq_error_message());
    return 3;
}

/* ---- life ------------------------------------------------------------------------------- */

static void hush(neoq_log_level level, const char *message, void *arg)
{
    (void)arg;
    if (getenv("NEOQ_TEST_LOG"))
        fprintf(stderr, "%d: log %d: %s\n", (int)getpid(), (int)level, message);
}

static int open_store(const plan *p, neoq **nq)
{
    int status, attempts = 0;
    neoq_options options = {.log_level = NEOQ_LOG_ERROR,
                            .log = p->store->may_be_away ? hush : NULL,
                            .job_check_interval = NEOQ_MILLISECONDS(50),
                            .lease = NEOQ_MILLISECONDS(600)};
    while ((status = neoq_open(nq, p->url, &options)) != NEOQ_OK && ++attempts < 1000 && is_away(p, status))
        ;
    return status;
}

int victim_main(const plan *p, int slot)
{
    neoq *nq;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int status = open_store(p, &nq);
    if (status != NEOQ_OK) {
        fprintf(stderr, "victim %d cannot open the store: %s: %s\n", slot, neoq_status_name(status),
                neoq_error_message());
        return 3;
    }
    if (p->store->prepare && !p->store->prepare(p))
        return 4;
    int result = slot < PRODUCERS ? producer(p, nq, slot) : work(p, nq, slot);
    neoq_close(nq);
    return result;
}
