/* SPDX-License-Identifier: MIT
 *
 * What an idle worker's claim of one queue answers, which takes a shorter way than other exchanges.
 */
#include <stdio.h>
#include <string.h>

#include "backend/postgres/exchange.h"
#include "backend/postgres/postgres.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "postgres/support.h"

enum { ROOM = 10 };
static const char worker[] = "worker";

/* A store with a worker. */
static neoq_store *open_store(base *b)
{
    const neoq_store_config config = {.url = b->url, .options = &b->options, .clock = &nq_real_clock};
    neoq_store *store;
    assert_int_equal(NEOQ_OK, nq_postgres_backend.open(&store, &config));
    neoq_beat beat = {.worker = {.capacity = 1}, .lease = NEOQ_SECONDS(60), .join = true};
    snprintf(beat.worker.id, sizeof beat.worker.id, "%s", worker);
    assert_int_equal(NEOQ_OK, nq_postgres_backend.beat(store, &beat));
    return store;
}

static void enqueue(neoq_store *store, neoq_time run_after, char id[NQ_UUID_TEXT_SIZE])
{
    uint8_t raw[NQ_UUID_SIZE];
    nq_uuid_make(raw, nq_real_clock.now(&nq_real_clock), 0, nq_real_clock.random(&nq_real_clock));
    nq_uuid_format(raw, id);
    const neoq_job job = {.id = id,
                          .queue = "q",
                          .payload = "{}",
                          .payload_size = 2,
                          .created_at = nq_postgres_backend.now(store),
                          .run_after = run_after,
                          .unique = NEOQ_UNIQUE_OFF};
    neoq_enqueued result;
    assert_int_equal(NEOQ_OK, nq_postgres_backend.enqueue(store, &job, 1, &result));
    assert_int_equal(NEOQ_OK, result.status);
}

typedef struct claimed {
    neoq_exchange x;
    neoq_claim claim;
    neoq_claimed runs[ROOM];
    char cancels[ROOM][NEOQ_ID_SIZE];
} claimed;

static int claim(neoq_store *store, size_t limit, claimed *c)
{
    *c = (claimed){.claim = {.queue = "q", .limit = limit}};
    c->x = (neoq_exchange){.worker = worker,
                           .claims = &c->claim,
                           .claim_count = 1,
                           .runs = c->runs,
                           .cancels = c->cancels,
                           .cancel_room = ROOM};
    return nq_postgres_backend.exchange(store, &c->x);
}

/* Until then it is the worker's to run. */
static void release(neoq_store *store, claimed *c)
{
    for (size_t i = 0; i < c->x.run_count; i++)
        nq_postgres_backend.release(store, &c->runs[i]);
}

static void a_worker_without_a_lease_claims_nothing(void **state)
{
    base *b = *state;
    claimed c;
    char id[NQ_UUID_TEXT_SIZE];
    neoq_store *store = open_store(b);
    enqueue(store, 1, id);
    sql(b, "UPDATE neoq.worker SET lost = true");
    assert_int_equal(NEOQ_ELOST, claim(store, ROOM, &c));
    assert_int_equal(0, c.x.run_count);
    nq_postgres_backend.close(store);
    assert_answer(open_pool(b, ""), "SELECT count(*)::text FROM neoq.job WHERE worker IS NULL AND epoch = 0", "1");
}

static void a_free_slot_hears_of_a_cancellation(void **state)
{
    base *b = *state;
    claimed first, second;
    char id[NQ_UUID_TEXT_SIZE];
    neoq_store *store = open_store(b);
    enqueue(store, 1, id);
    assert_int_equal(NEOQ_OK, claim(store, ROOM, &first));
    assert_int_equal(1, first.x.run_count);
    assert_int_equal(0, first.x.cancel_count);
    assert_int_equal(NEOQ_OK, nq_postgres_backend.steer(store, NEOQ_ACTION_CANCEL, id, 0));
    assert_int_equal(NEOQ_OK, claim(store, ROOM, &second));
    assert_int_equal(0, second.x.run_count);
    assert_int_equal(1, second.x.cancel_count);
    assert_string_equal(id, second.cancels[0]);
    release(store, &first);
    nq_postgres_backend.close(store);
}

/* One that got something does not look for what falls due; so somebody has to look soon. */
static void a_claim_tells_when_to_look_again(void **state)
{
    base *b = *state;
    claimed first, second;
    char id[NQ_UUID_TEXT_SIZE];
    neoq_store *store = open_store(b);
    neoq_time before = nq_postgres_backend.now(store), later = before + NEOQ_HOURS(1);
    enqueue(store, 1, id);
    enqueue(store, later, id);
    assert_int_equal(NEOQ_OK, claim(store, ROOM, &first));
    assert_int_equal(1, first.x.run_count);
    assert_in_range(first.x.next_due, before, nq_postgres_backend.now(store) + NEOQ_SECONDS(1));
    assert_int_equal(NEOQ_OK, claim(store, ROOM, &second));
    assert_int_equal(0, second.x.run_count);
    assert_int_equal(later, second.x.next_due);
    release(store, &first);
    nq_postgres_backend.close(store);
}

static void nothing_to_look_for_is_told_too(void **state)
{
    base *b = *state;
    claimed c;
    neoq_store *store = open_store(b);
    assert_int_equal(NEOQ_OK, claim(store, ROOM, &c));
    assert_int_equal(0, c.x.run_count);
    assert_int_equal(0, c.x.next_due);
    nq_postgres_backend.close(store);
}

/* A sixth of the lease is over, and the beat, which is on its way, need not go. */
static void a_claim_renews_the_lease(void **state)
{
    base *b = *state;
    claimed c;
    neoq_store *store = open_store(b);
    pg_pool *pool = open_pool(b, "");
    sql(b, "UPDATE neoq.worker SET lease_until = lease_until - 30000000");
    assert_int_equal(NEOQ_OK, claim(store, ROOM, &c));
    assert_answer(
        pool, "SELECT (lease_until > (extract(epoch FROM clock_timestamp()) + 45) * 1000000)::text FROM neoq.worker",
        "true");
    nq_postgres_backend.close(store);
}

static int settle(neoq_store *store, claimed *c, const char *by, int expected)
{
    neoq_settlement end = {.id = c->runs[0].job.id,
                           .epoch = c->runs[0].job.epoch,
                           .hold = c->runs[0].hold,
                           .state = NEOQ_DONE,
                           .outcome = "done",
                           .forget = true,
                           .started_at = c->runs[0].job.ran_at,
                           .finished_at = c->runs[0].job.ran_at};
    neoq_exchange x = {.worker = by, .settlements = &end, .settlement_count = 1};
    assert_int_equal(expected, nq_postgres_backend.exchange(store, &x));
    return end.status;
}

/* A run that was settled, and refused once more; as if the first try had had no answer. */
static neoq_store *settle_unsure(base *b, claimed *c)
{
    char id[NQ_UUID_TEXT_SIZE];
    neoq_store *store = open_store(b);
    enqueue(store, 1, id);
    assert_int_equal(NEOQ_OK, claim(store, ROOM, c));
    assert_int_equal(1, c->x.run_count);
    assert_int_equal(NEOQ_OK, settle(store, c, worker, NEOQ_OK));
    assert_int_equal(NEOQ_ELOST, settle(store, c, worker, NEOQ_OK));
    ((pg_hold *)c->runs[0].hold)->unsure = true;
    return store;
}

/* As long as the worker has its lease, it was the try before that settled the run; else nobody knows. */
static void a_refusal_after_a_lost_answer_is_understood_within_the_lease(void **state)
{
    base *b = *state;
    claimed c;
    neoq_store *store = settle_unsure(b, &c);
    assert_int_equal(NEOQ_OK, settle(store, &c, worker, NEOQ_OK));
    sql(b, "UPDATE neoq.worker SET lost = true");
    assert_int_equal(NEOQ_EUNKNOWN, settle(store, &c, worker, NEOQ_ELOST));
    release(store, &c);
    nq_postgres_backend.close(store);
}

/* The worker that joined in its place has a lease, but not on that run. */
static void who_joined_anew_does_not_know_either(void **state)
{
    base *b = *state;
    claimed c;
    neoq_store *store = settle_unsure(b, &c);
    sql(b, "UPDATE neoq.worker SET lost = true");
    neoq_beat beat = {.worker = {.running = 1, .capacity = 1}, .lease = NEOQ_SECONDS(60)};
    snprintf(beat.worker.id, sizeof beat.worker.id, "%s", worker);
    assert_int_equal(NEOQ_ELOST, nq_postgres_backend.beat(store, &beat));
    beat.join = true;
    snprintf(beat.worker.id, sizeof beat.worker.id, "another");
    assert_int_equal(NEOQ_OK, nq_postgres_backend.beat(store, &beat));
    assert_int_equal(NEOQ_EUNKNOWN, settle(store, &c, "another", NEOQ_OK));
    release(store, &c);
    nq_postgres_backend.close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(a_worker_without_a_lease_claims_nothing),
        on_base(a_free_slot_hears_of_a_cancellation),
        on_base(a_claim_tells_when_to_look_again),
        on_base(nothing_to_look_for_is_told_too),
        on_base(a_claim_renews_the_lease),
        on_base(a_refusal_after_a_lost_answer_is_understood_within_the_lease),
        on_base(who_joined_anew_does_not_know_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
