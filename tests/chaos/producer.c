/* SPDX-License-Identifier: MIT
 *
 * Enqueues jobs of all kinds, in some threads, at the pace that the control asks for.
 */
#include "program.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, BATCH = 256 };

/* What is asked for with one call. */
typedef struct batch {
    int count;
    neoq_job jobs[BATCH];
    int64_t numbers[BATCH], traits[BATCH], due[BATCH];
    char payloads[BATCH][PAYLOAD], ids[BATCH][40], prints[BATCH][16];
    neoq_enqueued results[BATCH];
} batch;

typedef struct producer {
    program *program;
    int thread;
    unsigned random;
    uint32_t made;
    batch batch;
} producer;

static unsigned pick(producer *p, unsigned below)
{
    return (unsigned)rand_r(&p->random) % below;
}

/* ---- making jobs ------------------------------------------------------------------------ */

static void add_job(producer *p)
{
    /* a letter, how many of a thousand, its argument at most */
    static const struct {
        char letter;
        unsigned share, argument;
    } kinds[] = {
        {'n', 120, 60}, /* naps for so many milliseconds */
        {'f', 60, 3},   /* fails so often */
        {'r', 20, 2},   /* asks for a retry in 20 ms so often */
        {'z', 20, 2},   /* snoozes for 20 ms so often */
        {'d', 10, 1},   /* discards itself */
        {'x', 10, 1},   /* fails, and has no retries */
        {'e', 15, 1},   /* enqueues another */
        {'l', 10, 3},   /* takes longer than a lease, so many seconds */
        {'q', 735, 1},  /* does nothing */
    };
    /* In processes. */
    static const struct {
        char letter;
        unsigned share, argument;
    } crashes[] = {
        {'s', 30, 2}, /* SIGSEGV, so often */
        {'a', 30, 2}, /* abort() */
        {'o', 30, 2}, /* _exit(0) */
        {'m', 15, 1}, /* more memory than it may have */
        {'k', 10, 9}, /* SIGSEGV, always */
        {'g', 30, 2}, /* the same, so often, and leaves a process behind that goes on */
        {'t', 20, 1}, /* goes on beyond its timeout, and heeds no SIGTERM */
        {'n', 300, 60}, {'e', 30, 1}, {'f', 50, 2}, {'q', 455, 1},
    };
    batch *b = &p->batch;
    int i = b->count++;
    unsigned draw = pick(p, 1000), k = 0;
    bool apart = pick(p, 8) == 0, kept = pick(p, (unsigned)p->program->keep) == 0, own_id = pick(p, 2) == 0;
    bool delayed = pick(p, 32) == 0;
    char letter;
    unsigned argument;
    if (apart) {
        while (draw >= crashes[k].share)
            draw -= crashes[k++].share;
        letter = crashes[k].letter;
        argument = crashes[k].argument;
    } else {
        while (draw >= kinds[k].share)
            draw -= kinds[k++].share;
        letter = kinds[k].letter;
        argument = kinds[k].argument;
    }
    argument = 1 + pick(p, argument);
    int64_t number = (int64_t)p->program->process << 32 | (int64_t)p->thread << 28 | p->made++;
    b->numbers[i] = number;
    write_payload(b->payloads[i], number, letter, (int)argument);
    b->jobs[i] = (neoq_job){
        .queue = apart ? "apart" : "work",
        .payload = b->payloads[i],
        .max_retries = letter == 'x' ? NEOQ_NO_RETRIES : 0,
        .retention = kept ? NEOQ_FOREVER : 0,
        .priority = pick(p, 64) == 0,
    };
    if (letter != 'x')
        retry_soon(&b->jobs[i]);
    int print = 0;
    if (!apart && (letter == 'n' || letter == 'l')) { /* long enough for others to come meanwhile */
        print = 1 + (int)pick(p, FINGERPRINTS);
        snprintf(b->prints[i], sizeof(b->prints[i]), "print-%d", print);
        b->jobs[i].fingerprint = b->prints[i];
        b->jobs[i].queue = "unique";
    }
    if (own_id && !print) {
        snprintf(b->ids[i], sizeof(b->ids[i]), "%08x-0000-7000-8000-%012llx", p->program->seed,
                 (unsigned long long)number & 0xffffffffffffull);
        b->jobs[i].id = b->ids[i];
    }
    b->due[i] = 0;
    if (delayed && !print) {
        int64_t wait = 20000 + (int64_t)pick(p, 1500) * 1000;
        b->due[i] = record_now() + wait;
        b->jobs[i].run_after = neoq_now() + wait;
    }
    b->traits[i] =
        TRAITS((kept ? TRAIT_KEPT : 0) | (b->jobs[i].id ? TRAIT_OWN_ID : 0) | (b->due[i] ? TRAIT_DELAYED : 0), letter,
               argument, letter == 'x' ? 0 : RETRIES, print);
}

/* ---- asking for them -------------------------------------------------------------------- */

static void note_asked(const batch *b)
{
    for (int i = 0; i < b->count; i++) {
        record r = {.kind = RECORD_ASKED,
                    .queue = (uint16_t)b->jobs[i].queue[0],
                    .job = b->numbers[i],
                    .epoch = b->traits[i],
                    .value = b->due[i]};
        record_id(b->jobs[i].id, r.id);
        record_write(r);
    }
}

static void note_answer(int64_t number, int status, const char *id)
{
    record r = {.job = number, .detail = (uint8_t)-status};
    switch (status) {
    case NEOQ_OK: r.kind = RECORD_OK; break;
    case NEOQ_EUNKNOWN: r.kind = RECORD_UNKNOWN; break;
    case NEOQ_EDUPLICATE: r.kind = RECORD_DUPLICATE; break;
    default: r.kind = RECORD_REFUSED; break;
    }
    if (status == NEOQ_OK || status == NEOQ_EDUPLICATE)
        record_id(id, r.id);
    record_write(r);
    if (!is_away(status) && status != NEOQ_OK && status != NEOQ_EDUPLICATE)
        record_wrong(status, "enqueue of job %lld: %s", (long long)number, neoq_error_message());
}

static int ask(producer *p)
{
    batch *b = &p->batch;
    int status;
    note_asked(b);
    if (b->count == 1) {
        char id[NEOQ_ID_SIZE] = "";
        status = neoq_enqueue(p->program->nq, &b->jobs[0], id);
        note_answer(b->numbers[0], status, id);
        return status;
    }
    status = neoq_enqueue_many(p->program->nq, b->jobs, (size_t)b->count, b->results);
    for (int i = 0; i < b->count; i++)
        note_answer(b->numbers[i], status == NEOQ_OK ? b->results[i].status : status, b->results[i].id);
    return status;
}

/* Those whose repeat is safe: with an id of ours, and kept when they are done. */
static void keep_repeatable(batch *b)
{
    int left = 0;
    for (int i = 0; i < b->count; i++) {
        if (!(b->traits[i] & TRAIT_KEPT) || !(b->traits[i] & TRAIT_OWN_ID))
            continue;
        b->numbers[left] = b->numbers[i];
        b->traits[left] = b->traits[i];
        b->due[left] = b->due[i];
        memmove(b->payloads[left], b->payloads[i], PAYLOAD);
        memmove(b->ids[left], b->ids[i], sizeof(b->ids[0]));
        b->jobs[left] = b->jobs[i];
        b->jobs[left].payload = b->payloads[left];
        b->jobs[left].id = b->ids[left];
        left++;
    }
    b->count = left;
}

/* ---- the pace --------------------------------------------------------------------------- */

/* How many may be asked for now; 0 = that was all. */
static int take(const producer *p, int wanted)
{
    control *c = p->program->control;
    for (;;) {
        int64_t asked = atomic_load(&c->asked), begun = atomic_load(&c->begun);
        int64_t allowed = begun == 0 ? 0 : (record_now() - begun) / 1000 * atomic_load(&c->rate) / 1000;
        if (atomic_load(&c->stop) || asked >= atomic_load(&c->limit))
            return 0;
        if (wanted > atomic_load(&c->limit) - asked)
            wanted = (int)(atomic_load(&c->limit) - asked);
        if (asked + wanted > allowed)
            doze(5000);
        else if (atomic_compare_exchange_strong(&c->asked, &asked, asked + wanted))
            return wanted;
    }
}

static void *produce_some(void *arg)
{
    producer *p = arg;
    for (;;) {
        int count = take(p, pick(p, 2) == 0 ? 1 : 1 + (int)pick(p, BATCH));
        if (count == 0)
            return NULL;
        p->batch.count = 0;
        while (count-- > 0)
            add_job(p);
        int status = ask(p);
        while (is_away(status)) { /* one refused and one unknown are told from each other by the checker */
            doze(50000);
            keep_repeatable(&p->batch);
            if (p->batch.count == 0 || atomic_load(&p->program->control->stop))
                break;
            status = ask(p);
        }
    }
}

int produce(program *p)
{
    static producer producers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        producers[i] = (producer){.program = p, .thread = i};
        producers[i].random = p->seed * 2654435761u ^ p->process * 40503u ^ (unsigned)i * 97u;
        if (pthread_create(&threads[i], NULL, produce_some, &producers[i]) != 0)
            return 4;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
