/* SPDX-License-Identifier: MIT
 *
 * Settling by the store's own table: what the runtime does seldom or never.
 */
#include "redis/support.h"

#include <stdio.h>
#include <string.h>

#include "backend/redis/exchange.h"
#include "backend/redis/redis.h"
#include "base/clock.h"

static const neoq_backend *const backend = &nq_redis_backend;

static void beat(neoq_store *store, neoq_duration lease, bool join)
{
    const neoq_beat it = {.worker = {.id = "0123", .host = "here", .pid = 1}, .lease = lease, .join = join};
    assert_int_equal(NEOQ_OK, backend->beat(store, &it));
}

static void pulse(neoq_store *store, bool join)
{
    beat(store, NEOQ_SECONDS(30), join);
}

/* With a worker that may claim. */
static neoq_store *open_joined(base *b)
{
    neoq_store *store = open_store(b);
    pulse(store, true);
    return store;
}

/* Puts that many jobs, whose ids end with their number from 1 on. */
static void put_at(neoq_store *store, size_t count, neoq_time run_after)
{
    enum { MOST = 9 };
    neoq_job jobs[MOST];
    char ids[MOST][37];
    neoq_enqueued results[MOST];
    assert_true(count <= MOST);
    for (size_t i = 0; i < count; i++) {
        snprintf(ids[i], sizeof ids[i], "01900000-0000-7000-8000-%012u", (unsigned)i + 1);
        jobs[i] = (neoq_job){.id = ids[i],
                             .queue = "q",
                             .payload = "1",
                             .payload_size = 1,
                             .max_retries = 3,
                             .unique = NEOQ_UNIQUE_OFF,
                             .state = NEOQ_READY,
                             .run_after = run_after,
                             .created_at = backend->now(store)};
    }
    assert_int_equal(NEOQ_OK, backend->enqueue(store, jobs, count, results));
}

static void put_new(neoq_store *store, size_t count)
{
    put_at(store, count, backend->now(store));
}

static void claim(neoq_store *store, neoq_claimed *runs, size_t count)
{
    const neoq_claim all = {.queue = "q", .limit = count};
    neoq_exchange x = {.worker = "0123", .claims = &all, .claim_count = 1, .runs = runs};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    assert_int_equal(count, x.run_count);
}

static void claim_new(neoq_store *store, neoq_claimed *runs, size_t count)
{
    put_new(store, count);
    claim(store, runs, count);
}

static neoq_claimed claim_one(neoq_store *store)
{
    neoq_claimed run = {0};
    claim_new(store, &run, 1);
    return run;
}

static neoq_settlement ending(const neoq_claimed *run)
{
    return (neoq_settlement){.id = run->job.id,
                             .epoch = run->job.epoch,
                             .state = NEOQ_RETRYING,
                             .run_after = run->job.run_after + NEOQ_HOURS(1),
                             .error = "boom",
                             .outcome = "failed",
                             .started_at = run->job.ran_at,
                             .finished_at = run->job.ran_at};
}

static int check_job(const neoq_job *job, void *arg)
{
    (void)arg;
    assert_int_equal(NEOQ_RETRYING, job->state);
    assert_string_equal("boom", job->error);
    return NEOQ_OK;
}

static void test_a_run_is_found_by_its_id(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed run = claim_one(store);
    neoq_settlement list[2] = {ending(&run), ending(&run)};
    list[0].id = "01900000-0000-7000-8000-00000000ffff"; /* nobody's */
    neoq_exchange x = {.settlements = list, .settlement_count = 2};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    assert_int_equal(NEOQ_ELOST, list[0].status);
    assert_int_equal(NEOQ_OK, list[1].status);
    assert_int_equal(NEOQ_OK, backend->get(store, run.job.id, check_job, NULL));
    backend->release(store, &run);
    backend->close(store);
}

static int check_began(const neoq_job *job, void *arg)
{
    assert_int_equal(NEOQ_RUNNING, job->state);
    assert_true(job->ran_at == *(neoq_time *)arg);
    return NEOQ_OK;
}

/* The enqueuer's clock may be ahead. */
static void test_a_run_begins_no_sooner_than_it_was_to(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed run;
    neoq_time later = backend->now(store) + NEOQ_HOURS(1);
    put_at(store, 1, later);
    claim(store, &run, 1);
    assert_true(run.job.run_after == later);
    assert_true(run.job.ran_at == later);
    assert_int_equal(NEOQ_OK, backend->get(store, run.job.id, check_began, &later));
    backend->release(store, &run);
    backend->close(store);
}

static void test_another_epoch_is_lost(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed run = claim_one(store);
    neoq_settlement list[2] = {ending(&run), ending(&run)};
    list[0].epoch++;
    list[1].epoch--;
    neoq_exchange x = {.settlements = list, .settlement_count = 2};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    assert_int_equal(NEOQ_ELOST, list[0].status);
    assert_int_equal(NEOQ_ELOST, list[1].status);
    backend->release(store, &run);
    backend->close(store);
}

static int settle(neoq_store *store, neoq_claimed *run)
{
    neoq_settlement end = ending(run);
    end.hold = run->hold;
    neoq_exchange x = {.worker = "0123", .settlements = &end, .settlement_count = 1};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    return end.status;
}

/* As long as nobody else could have taken the run, it was the try before that settled it. */
static void test_a_refusal_after_a_lost_answer_is_understood_within_the_lease(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed run = claim_one(store);
    rd_hold *hold = run.hold;
    assert_true(hold->until > backend->now(store) + NEOQ_SECONDS(20));
    hold->until = 0;
    pulse(store, false);
    assert_true(hold->until > backend->now(store) + NEOQ_SECONDS(20));
    assert_int_equal(NEOQ_OK, settle(store, &run));
    assert_int_equal(NEOQ_ELOST, settle(store, &run));
    hold->unsure = true; /* as if the first had had no answer */
    assert_int_equal(NEOQ_OK, settle(store, &run));
    pulse(store, false); /* which finds it settled, and nobody can take it any more */
    assert_true(hold->until == NQ_TIME_MAX);
    assert_int_equal(NEOQ_OK, settle(store, &run));
    backend->release(store, &run);
    backend->close(store);
}

static void test_a_refusal_after_the_lease_says_nothing(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed runs[2] = {0};
    claim_new(store, runs, 2);
    for (int i = 0; i < 2; i++) {
        rd_hold *hold = runs[i].hold;
        assert_int_equal(NEOQ_OK, settle(store, &runs[i]));
        hold->unsure = true;
        assert_int_equal(NEOQ_OK, settle(store, &runs[i]));
    }
    ((rd_hold *)runs[0].hold)->until = backend->now(store);
    pulse(store, false); /* which finds it taken away */
    assert_int_equal(NEOQ_EUNKNOWN, settle(store, &runs[0]));
    const neoq_beat leave = {.worker = {.id = "0123"}}, beat = {.worker = {.id = "0123"}, .lease = NEOQ_SECONDS(30)};
    assert_int_equal(NEOQ_OK, backend->beat(store, &leave));
    assert_int_equal(NEOQ_ELOST, backend->beat(store, &beat));
    assert_int_equal(NEOQ_EUNKNOWN, settle(store, &runs[1]));
    backend->release(store, &runs[0]);
    backend->release(store, &runs[1]);
    backend->close(store);
}

static int64_t server_time(const redis_server *server)
{
    char answer[64];
    int seconds, microseconds;
    assert_true(redis_do(server, 0, answer, sizeof answer, "TIME"));
    assert_int_equal(2, sscanf(answer, "%d %d", &seconds, &microseconds));
    return seconds * INT64_C(1000000) + microseconds;
}

/* When the leases of all runs end, of one run. */
static int64_t run_lease(const redis_server *server)
{
    char answer[128];
    double score;
    assert_true(redis_do(server, 0, answer, sizeof answer, "ZRANGE asynq:{q}:lease 0 -1 WITHSCORES"));
    assert_int_equal(1, sscanf(answer, "%*s %lf", &score));
    return (int64_t)(score * 1e6);
}

/* Else whoever tends would take the run away at once, and it would run twice. */
static void test_a_claim_that_waited_for_the_server_has_a_lease_still(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    neoq_store *store = open_store(b);
    beat(store, NEOQ_SECONDS(2), true);
    put_new(store, 1);
    int64_t since = server_time(b->server);
    assert_true(redis_do(b->server, 0, NULL, 0, "CLIENT PAUSE 1500 ALL"));
    neoq_claimed run;
    claim(store, &run, 1);
    assert_true(run_lease(b->server) >= since + NEOQ_MILLISECONDS(1500) + NEOQ_SECONDS(1));
    backend->release(store, &run);
    backend->close(store);
}

static void test_a_renewal_that_waited_for_the_server_takes_nothing_away(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    neoq_store *store = open_store(b);
    beat(store, NEOQ_SECONDS(2), true);
    neoq_claimed run = claim_one(store);
    int64_t since = server_time(b->server);
    /* The beat's look at the clock passes, its worker's renewal does not. */
    assert_true(redis_do(b->server, 0, NULL, 0, "CLIENT PAUSE 1500 WRITE"));
    beat(store, NEOQ_SECONDS(2), false);
    assert_true(run_lease(b->server) >= since + NEOQ_MILLISECONDS(1500) + NEOQ_SECONDS(1));
    backend->release(store, &run);
    backend->close(store);
}

/* Nobody settled the run that was released: whoever asks next gives it back first. */
static void test_a_run_that_nobody_holds_is_given_back(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed run = claim_one(store), again;
    int64_t epoch = run.job.epoch;
    backend->release(store, &run);
    const neoq_claim one = {.queue = "q", .limit = 1};
    neoq_exchange x = {.worker = "0123", .claims = &one, .claim_count = 1, .runs = &again};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    assert_int_equal(1, x.run_count);
    assert_int_equal(epoch + 1, again.job.epoch);
    assert_int_equal(0, again.job.retries);
    backend->release(store, &again);
    backend->close(store);
}

/* All that are ready, in this order, by the last digits of their ids. */
static void assert_ready(neoq_store *store, const char *numbers)
{
    neoq_claimed runs[9];
    const neoq_claim all = {.queue = "q", .limit = 9};
    neoq_exchange x = {.worker = "0123", .claims = &all, .claim_count = 1, .runs = runs};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    assert_int_equal(strlen(numbers), x.run_count);
    for (size_t i = 0; i < x.run_count; i++) {
        assert_int_equal(numbers[i], runs[i].job.id[strlen(runs[i].job.id) - 1]);
        backend->release(store, &runs[i]);
    }
}

/* Though it went when others did, and came to be there last. */
static void test_what_is_given_back_has_the_place_it_had(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed runs[3];
    claim_new(store, runs, 3);
    for (int i = 2; i >= 0; i--) {
        neoq_settlement back = ending(&runs[i]);
        back.state = NEOQ_READY;
        back.run_after = runs[i].job.run_after;
        back.hold = runs[i].hold;
        neoq_exchange x = {.settlements = &back, .settlement_count = 1};
        assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
        assert_int_equal(NEOQ_OK, back.status);
        backend->release(store, &runs[i]);
    }
    assert_ready(store, "123");
    backend->close(store);
}

static void test_what_nobody_holds_has_the_place_it_had(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed runs[2];
    put_new(store, 3);
    claim(store, runs, 2);
    backend->release(store, &runs[1]);
    backend->release(store, &runs[0]);
    assert_ready(store, "123");
    backend->close(store);
}

static void test_a_worker_without_a_lease_claims_nothing(void **state)
{
    neoq_store *store = open_joined(*state);
    neoq_claimed run = claim_one(store), again;
    neoq_settlement back = ending(&run);
    back.state = NEOQ_READY;
    back.run_after = run.job.run_after;
    back.hold = run.hold;
    const neoq_claim one = {.queue = "q", .limit = 1};
    neoq_exchange x = {.worker = "nobody",
                       .settlements = &back,
                       .settlement_count = 1,
                       .claims = &one,
                       .claim_count = 1,
                       .runs = &again};
    assert_int_equal(NEOQ_ELOST, backend->exchange(store, &x));
    assert_int_equal(NEOQ_OK, back.status);
    assert_int_equal(0, x.run_count);
    backend->release(store, &run);
    x = (neoq_exchange){.worker = "0123", .claims = &one, .claim_count = 1, .runs = &again};
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    assert_int_equal(1, x.run_count);
    backend->release(store, &again);
    backend->close(store);
}

/* The runs with these numbers. */
static void end_runs(neoq_store *store, neoq_claimed *runs, const char *numbers)
{
    neoq_settlement list[9];
    neoq_exchange x = {.settlements = list};
    for (const char *number = numbers; *number; number++) {
        neoq_settlement *s = &list[x.settlement_count++];
        *s = ending(&runs[*number - '1']);
        s->hold = runs[*number - '1'].hold;
        s->state = NEOQ_DONE;
        s->forget = true;
    }
    assert_int_equal(NEOQ_OK, backend->exchange(store, &x));
    for (const char *number = numbers; *number; number++) {
        assert_int_equal(NEOQ_OK, list[number - numbers].status);
        backend->release(store, &runs[*number - '1']);
    }
}

/* The last digits of the ids. */
static void assert_active(base *b, const char *numbers)
{
    char answer[1000], last[10] = "";
    size_t count = 0;
    assert_true(redis_do(b->server, b->database, answer, sizeof answer, "LRANGE asynq:{q}:active 0 -1"));
    for (const char *id = answer; *id; id += strcspn(id, " "), id += *id == ' ') {
        assert_true(count < sizeof last - 1);
        last[count++] = id[strcspn(id, " ") - 1];
    }
    assert_string_equal(numbers, last);
}

/* Those that leave may be all of the list's end, most of it, few of it, or somewhere else. */
static void test_who_is_still_active_stays_in_order(void **state)
{
    base *b = *state;
    neoq_claimed runs[9];
    neoq_store *store = open_joined(b);
    claim_new(store, runs, 9);
    assert_active(b, "987654321");
    end_runs(store, runs, "12");
    assert_active(b, "9876543");
    end_runs(store, runs, "64");
    assert_active(b, "98753");
    end_runs(store, runs, "9");
    assert_active(b, "8753");
    end_runs(store, runs, "3758");
    assert_active(b, "");
    backend->close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_a_run_is_found_by_its_id),
        on_base(test_a_run_begins_no_sooner_than_it_was_to),
        on_base(test_another_epoch_is_lost),
        on_base(test_a_refusal_after_a_lost_answer_is_understood_within_the_lease),
        on_base(test_a_refusal_after_the_lease_says_nothing),
        on_base(test_a_claim_that_waited_for_the_server_has_a_lease_still),
        on_base(test_a_renewal_that_waited_for_the_server_takes_nothing_away),
        on_base(test_a_run_that_nobody_holds_is_given_back),
        on_base(test_what_is_given_back_has_the_place_it_had),
        on_base(test_what_nobody_holds_has_the_place_it_had),
        on_base(test_a_worker_without_a_lease_claims_nothing),
        on_base(test_who_is_still_active_stays_in_order),
    };
    return cmocka_run_group_tests_name("settle", tests, NULL, NULL);
}
