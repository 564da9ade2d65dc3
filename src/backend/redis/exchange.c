/* SPDX-License-Identifier: MIT
 *
 * Settling and claiming: one pipeline of script calls, each some thirty jobs of one queue. A second one follows only
 * for runs whose cancellation had been asked for.
 */
#include "backend/redis/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/redis/layout.h"
#include "backend/redis/look.h"
#include "base/error.h"
#include "job/transition.h"

enum { LOST = 1, TO_CANCEL = 2 };       /* answers of done.lua and settle.lua */
enum { NEXT_DUE, ARRIVALS, FIRST_RUN }; /* items of the answer of claim.lua */
static const int64_t stats_kept = 90 * 86400, far_future = 253402300799;

/* A settlement and whose job it is about. */
typedef struct ending {
    neoq_settlement *s;
    const char *queue;
    const redisReply *message; /* NULL = as it is */
    rd_hold *hold;
    size_t call, number; /* where it is settled: the first of a call is number 1 */
    bool anyway;         /* though it was to be cancelled */
} ending;

typedef struct trip {
    neoq_exchange *x;
    rd_found *found; /* of settlements without a hold */
    size_t found_count;
    rd_batch batch;
    ending *endings;
    size_t ending_count;
    size_t claims_from;   /* the first call that claims */
    neoq_time now, until; /* and until when what it claims is nobody else's for sure */
    uint64_t sent;        /* an instant of the bell's */
    int64_t steady;       /* the same */
    bool lost;            /* the worker has no lease */
    bool starved;         /* memory: what was claimed is not all held here */
} trip;

const char *rd_lease_score(neoq_time until, char score[32])
{
    until += until % 1000000 == 0;
    snprintf(score, 32, "%" PRId64 ".%06" PRId64, until / 1000000, until % 1000000);
    return score;
}

static int no_memory(void)
{
    return nq_fail(NEOQ_ENOMEM, "no memory for a round trip to Redis");
}

/* ---- settling --------------------------------------------------------------------------- */

/* Such a run leaves nothing behind: two words are enough. */
static bool is_plain(const ending *e)
{
    return e->s->state == NEOQ_DONE && e->s->forget && !e->anyway;
}

static int in_order(const void *a, const void *b)
{
    const ending *x = a, *y = b;
    int order = strcmp(x->queue, y->queue);
    if (order == 0)
        order = is_plain(y) - is_plain(x);
    return order ? order : (x->s > y->s) - (x->s < y->s);
}

static void put_day(rd_batch *batch, neoq_time now)
{
    time_t seconds = (time_t)(now / 1000000);
    struct tm tm;
    char day[32] = "1970-01-01";
    if (gmtime_r(&seconds, &tm))
        strftime(day, sizeof day, "%Y-%m-%d", &tm);
    rd_put_copy(batch, day, strlen(day));
    rd_put_int(batch, (int64_t)seconds + stats_kept);
}

static const char *asynq_state(neoq_state state)
{
    switch (state) {
    case NEOQ_SCHEDULED: return "scheduled";
    case NEOQ_READY: return "pending";
    case NEOQ_RUNNING: return "active";
    case NEOQ_RETRYING: return "retry";
    case NEOQ_DONE: return "completed";
    case NEOQ_DEAD: return "archived";
    }
    return "archived";
}

static void put_record(rd_batch *batch, const neoq_settlement *s)
{
    size_t from = batch->text.size;
    nq_buffer_addf(&batch->text, "%" PRId64 " %" PRId64 " %.15s %d %d %" PRId64 " %" PRId64 "\n", s->started_at,
                   s->finished_at, s->outcome, s->exit_code, s->signal, s->cpu_time, s->peak_memory);
    nq_buffer_add_string(&batch->text, s->error ? s->error : "");
    rd_put_since(batch, from);
}

static void put_result(rd_batch *batch, const neoq_settlement *s)
{
    size_t from = batch->text.size;
    if (s->result && s->state >= NEOQ_DONE) {
        nq_buffer_add_char(&batch->text, '=');
        nq_buffer_add(&batch->text, s->result, s->result_size);
    }
    rd_put_since(batch, from);
}

static int64_t stamp_of(const neoq_settlement *s, neoq_time now)
{
    if (s->state != NEOQ_DONE)
        return now / 1000000;
    return s->keep_until ? (s->keep_until + 999999) / 1000000 : far_future;
}

static void put_whole(trip *t, const ending *e)
{
    rd_batch *b = &t->batch;
    const neoq_settlement *s = e->s;
    rd_put_int(b, e->anyway);
    rd_put_text(b, asynq_state(s->state));
    if (!e->message)
        rd_put_text(b, "");
    else if (!rd_put_settled(b, e->message->str, e->message->len, s))
        b->failed = true;
    rd_put_time(b, s->run_after);
    rd_put_time(b, s->started_at);
    put_record(b, s);
    rd_put_int(b, stamp_of(s, t->now));
    rd_put_time(b, s->finished_at);
    if (s->keep_until)
        rd_put_time(b, s->keep_until);
    else
        rd_put_text(b, "");
    put_result(b, s);
    bool ended = s->state != NEOQ_SCHEDULED && s->state != NEOQ_READY;
    rd_put_text(b, !ended ? "" : s->state == NEOQ_DONE ? "p" : "f");
    rd_put_int(b, s->slow_down);
}

static void put_wake(rd_batch *batch, const char *queue)
{
    rd_begin(batch, "PUBLISH");
    rd_put_text(batch, RD_WAKE_CHANNEL);
    rd_put_text(batch, queue);
}

static void put_endings(trip *t)
{
    const char *queue = NULL;
    bool plain = false, back = false;
    size_t jobs = 0;
    for (size_t i = 0; i < t->ending_count; i++) {
        ending *e = &t->endings[i];
        bool other = !queue || strcmp(queue, e->queue) != 0;
        if (other && back)
            put_wake(&t->batch, queue);
        back = back && !other;
        if (other || plain != is_plain(e) || jobs == RD_PIECE) {
            char key[RD_KEY_SIZE];
            queue = e->queue;
            plain = is_plain(e);
            jobs = 0;
            rd_begin_script(&t->batch, plain ? RD_DONE : RD_SETTLE, rd_queue_key(queue, key));
            if (!plain)
                rd_put_time(&t->batch, t->now);
            put_day(&t->batch, t->now);
        }
        e->call = t->batch.call_count - 1;
        rd_put_text(&t->batch, e->s->id);
        rd_put_int(&t->batch, e->s->epoch);
        if (!plain)
            put_whole(t, e);
        back = back || e->s->state < NEOQ_DONE;
        e->number = ++jobs;
    }
    if (back)
        put_wake(&t->batch, queue);
}

static int code_of(const redisReply *answer, size_t number)
{
    for (size_t i = 0; i < rd_items(answer); i++)
        if (rd_number(rd_item(rd_item(answer, i), 0), 0) == (int64_t)number)
            return (int)rd_number(rd_item(rd_item(answer, i), 1), LOST);
    return 0;
}

/* A run that is not this worker's any more. Where the answer to an earlier try was lost and nobody else could have taken
 * the run yet, it was that try that ended it. */
static int refusal(neoq_store *store, const ending *e)
{
    if (!e->hold || !e->hold->unsure)
        return nq_fail(NEOQ_ELOST, "run %lld of job %s is not this worker's any more", (long long)e->s->epoch,
                       e->s->id);
    pthread_mutex_lock(&store->hold_mutex);
    bool leased = !e->hold->over && rd_now(store) < e->hold->until;
    pthread_mutex_unlock(&store->hold_mutex);
    return leased ? NEOQ_OK
                  : nq_fail(NEOQ_EUNKNOWN, "whether run %lld of job %s was settled is not known",
                            (long long)e->s->epoch, e->s->id);
}

/* Takes in what became of a run. False: it is to be cancelled instead. */
static bool read_ending(neoq_store *store, const trip *t, ending *e)
{
    int code = code_of(rd_answer_of(&t->batch, e->call), e->number);
    if (code == TO_CANCEL) {
        nq_heed_cancel(e->s);
        e->anyway = true;
        return false;
    }
    if (e->hold)
        e->hold->answered = true;
    e->s->status = code == LOST ? refusal(store, e) : NEOQ_OK;
    if (e->s->status == NEOQ_OK && (e->s->state == NEOQ_SCHEDULED || e->s->state == NEOQ_RETRYING))
        rd_bell_await(store->bell, e->queue, e->s->run_after);
    return true;
}

static void read_endings(neoq_store *store, trip *t)
{
    size_t left = 0;
    for (size_t i = 0; i < t->ending_count; i++)
        if (!read_ending(store, t, &t->endings[i]))
            t->endings[left++] = t->endings[i];
    t->ending_count = left;
}

/* ---- claiming --------------------------------------------------------------------------- */

/* How long the worker's lease lasts. until: its end, which is that of its runs' leases, too; 0 = not known. */
static neoq_duration read_pulse(neoq_store *store, const char *worker, neoq_time *until)
{
    pthread_mutex_lock(&store->hold_mutex);
    const rd_pulse *pulse = &store->pulse;
    bool known = strcmp(pulse->worker, worker) == 0;
    neoq_duration lease = known ? pulse->lease : store->options->lease;
    *until = known ? pulse->until : 0;
    pthread_mutex_unlock(&store->hold_mutex);
    return lease;
}

/* A lease that is not renewed in time is not lengthened by claims, but to half of one from when the server takes the
 * claim: that may be long after now. */
static void put_claims(neoq_store *store, trip *t)
{
    const neoq_exchange *x = t->x;
    char score[32], key[RD_KEY_SIZE];
    t->claims_from = t->batch.call_count;
    t->sent = rd_bell_instant(store->bell);
    t->steady = nq_steady();
    if (!x->worker || x->claim_count == 0)
        return;
    neoq_duration least = read_pulse(store, x->worker, &t->until) / 2;
    rd_lease_score(t->until > t->now + least ? t->until : t->now + least, score);
    rd_begin(&t->batch, "ZSCORE");
    rd_put_text(&t->batch, RD_WORKER_LEASES);
    rd_put_text(&t->batch, x->worker);
    for (size_t i = 0; i < x->claim_count; i++)
        for (size_t left = x->claims[i].limit, most; left > 0; left -= most) {
            most = left < RD_PIECE ? left : RD_PIECE;
            rd_begin_script(&t->batch, RD_CLAIM, rd_queue_key(rd_home(store, x->claims[i].queue), key));
            rd_put_time(&t->batch, t->now);
            rd_put_int(&t->batch, (int64_t)most);
            rd_put_text(&t->batch, x->worker);
            rd_put_copy(&t->batch, score, strlen(score));
            rd_put_int(&t->batch, store->real_time ? least : 0);
            if (rd_is_shared(store))
                rd_put_text(&t->batch, x->claims[i].queue);
        }
}

static void take_runs(neoq_store *store, trip *t, redisReply *answer, const char *queue)
{
    for (size_t i = FIRST_RUN; i < rd_items(answer); i += RD_ROW_WIDTH)
        if (rd_hold_run(store, answer, i, queue, t->now, t->until, &t->x->runs[t->x->run_count]))
            t->x->run_count++;
        else
            t->starved = true;
}

/* Takes in what one piece of a claim got. */
static void read_claim(neoq_store *store, trip *t, const char *queue, size_t most, redisReply *answer)
{
    const redisReply *first = rd_item(answer, NEXT_DUE);
    const char *home = rd_home(store, queue);
    if (rd_is_text(first, "closed")) {
        rd_bell_note(store->bell, home, t->sent, false, 0);
    } else if (rd_is_text(first, "slow")) {
        rd_bell_note(store->bell, home, t->sent, false, rd_number(rd_item(answer, 1), 0));
    } else {
        bool empty = rd_items(answer) < FIRST_RUN + most * RD_ROW_WIDTH;
        int64_t arrivals = rd_number(rd_item(answer, ARRIVALS), 0);
        rd_arrivals_take(store->arrivals, home, t->steady, arrivals, arrivals);
        rd_bell_note(store->bell, home, t->sent, empty, rd_number(first, 0));
        take_runs(store, t, answer, queue);
    }
}

static void read_claims(neoq_store *store, trip *t)
{
    neoq_exchange *x = t->x;
    size_t call = t->claims_from;
    if (!x->worker || x->claim_count == 0)
        return;
    t->lost = !rd_string(t->batch.calls[call++].reply);
    for (size_t i = 0; i < x->claim_count; i++)
        for (size_t left = x->claims[i].limit, most; left > 0; left -= most) {
            most = left < RD_PIECE ? left : RD_PIECE;
            read_claim(store, t, x->claims[i].queue, most, t->batch.calls[call++].reply);
        }
}

/* A worker without a lease claims nothing: what it got goes back. */
static int give_back(neoq_store *store, neoq_exchange *x)
{
    neoq_settlement *list = calloc(x->run_count + 1, sizeof *list);
    for (size_t i = 0; list && i < x->run_count; i++)
        list[i] = (neoq_settlement){.id = x->runs[i].job.id,
                                    .epoch = x->runs[i].job.epoch,
                                    .hold = x->runs[i].hold,
                                    .state = NEOQ_READY,
                                    .run_after = x->runs[i].job.run_after,
                                    .error = x->runs[i].job.error,
                                    .outcome = "released",
                                    .started_at = x->runs[i].job.ran_at,
                                    .finished_at = x->runs[i].job.ran_at};
    if (list)
        rd_exchange_once(store, &(neoq_exchange){.settlements = list, .settlement_count = x->run_count});
    while (x->run_count > 0)
        rd_release(store, &x->runs[--x->run_count]);
    free(list);
    return nq_fail(NEOQ_ELOST, "worker %.63s has no lease", x->worker);
}

/* ---- rounds ----------------------------------------------------------------------------- */

static void add_ending(trip *t, neoq_settlement *s, rd_hold *hold, const char *queue, const redisReply *message)
{
    t->endings[t->ending_count++] = (ending){.s = s, .queue = queue, .message = message, .hold = hold};
}

/* A run that nobody holds here is found by its id; one that is nowhere is lost. */
static int find_run(neoq_store *store, trip *t, neoq_settlement *s)
{
    rd_found *grown = realloc(t->found, t->x->settlement_count * sizeof *grown);
    if (!grown)
        return no_memory();
    t->found = grown;
    int status = rd_locate(store, s->id, &grown[t->found_count]);
    t->found_count += status == NEOQ_OK;
    return status == NEOQ_ENOTFOUND ? NEOQ_OK : status;
}

static int start(neoq_store *store, trip *t)
{
    const neoq_exchange *x = t->x;
    int status = NEOQ_OK;
    for (size_t i = 0; i < x->claim_count; i++) {
        if (!rd_queue_fits(store, x->claims[i].queue))
            return rd_queue_misfit(x->claims[i].queue);
        if (!rd_bell_know(store->bell, rd_home(store, x->claims[i].queue)))
            return no_memory();
    }
    t->now = rd_now(store);
    t->endings = malloc(x->settlement_count * sizeof *t->endings + 1);
    if (!t->endings)
        return no_memory();
    for (size_t i = 0; i < x->settlement_count && status == NEOQ_OK; i++) {
        neoq_settlement *s = &x->settlements[i];
        rd_hold *hold = s->hold;
        s->status = NEOQ_ELOST;
        s->cancelled = false;
        s->slow_down = s->slow_down && !rd_is_shared(store); /* it would be everybody's queue */
        if (hold)
            add_ending(t, s, hold, rd_home(store, hold->job->queue), hold->message);
        else
            status = find_run(store, t, s);
    }
    for (size_t i = 0, found = 0; i < x->settlement_count && found < t->found_count; i++) {
        neoq_settlement *s = &x->settlements[i];
        if (!s->hold && strcmp(s->id, t->found[found].view.job.id) == 0) {
            add_ending(t, s, NULL, t->found[found].queue, rd_item(t->found[found].row, RD_LOOK_MESSAGE));
            found++;
        }
    }
    if (t->ending_count > 0)
        qsort(t->endings, t->ending_count, sizeof *t->endings, in_order);
    return status;
}

/* Whether some of a batch that failed may have been done. */
static bool may_be_done(const rd_batch *batch, int status)
{
    bool done = status == NEOQ_EUNKNOWN;
    for (size_t i = 0; i < batch->call_count; i++)
        done = done || batch->calls[i].reply;
    return done;
}

int rd_exchange_once(neoq_store *store, neoq_exchange *x)
{
    trip t = {.x = x};
    int status = start(store, &t);
    for (bool first = true; status == NEOQ_OK && (first || t.ending_count > 0); first = false) {
        put_endings(&t);
        if (first)
            put_claims(store, &t);
        status = rd_send(store, &t.batch, false);
        if (status == NEOQ_OK) {
            read_endings(store, &t);
            if (first)
                read_claims(store, &t);
            if (t.starved) { /* as if its answer had been lost: else whoever claimed would think that there is no job */
                rd_hold_unsure(store, x);
                status = nq_fail(NEOQ_ENOMEM, "no memory for claimed jobs");
            }
        } else if (!first || may_be_done(&t.batch, status)) {
            rd_hold_unsure(store, x);
        }
        rd_batch_free(&t.batch);
    }
    free(t.endings);
    while (t.found_count > 0)
        rd_found_free(&t.found[--t.found_count]);
    free(t.found);
    while (status != NEOQ_OK && x->run_count > 0)
        rd_release(store, &x->runs[--x->run_count]);
    return status == NEOQ_OK && t.lost ? give_back(store, x) : status;
}

static void collect_cancels(neoq_store *store, neoq_exchange *x)
{
    x->cancel_count = rd_bell_cancels(store->bell, x->cancels, x->cancel_room);
    size_t kept = 0;
    for (size_t i = 0; i < x->cancel_count; i++)
        if (rd_is_held(store, x->cancels[i]))
            memmove(x->cancels[kept++], x->cancels[i], NEOQ_ID_SIZE);
    x->cancel_count = kept;
}

int rd_exchange(neoq_store *store, neoq_exchange *x)
{
    x->run_count = x->cancel_count = 0;
    x->seen = rd_bell_seen(store->bell);
    int status = x->worker ? rd_give_back_strays(store, x->worker) : NEOQ_OK;
    if (status == NEOQ_OK && (x->settlement_count > 0 || x->claim_count > 0)) {
        pthread_rwlock_rdlock(&store->exchange_lock);
        status = rd_exchange_once(store, x);
        if (status == NEOQ_OK && x->run_count > 0 && rd_is_shared(store))
            rd_end_spent(store, x);
        pthread_rwlock_unlock(&store->exchange_lock);
    }
    if (status == NEOQ_OK && x->worker)
        collect_cancels(store, x);
    x->next_due = rd_bell_next_due(store->bell);
    return status;
}
