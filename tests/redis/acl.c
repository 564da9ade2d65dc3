/* SPDX-License-Identifier: MIT
 *
 * packaging/redis.acl: its user can do all that the store does, nothing else, and none of its grants is one too many.
 */
#include "redis/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/redis/redis.h"
#include "base/clock.h"

enum { WORDS_MOST = 100 };
static const neoq_backend *const backend = &nq_redis_backend;
static const neoq_job plain = {
    .queue = "q", .payload = "1", .payload_size = 1, .max_retries = 3, .unique = NEOQ_UNIQUE_OFF};

typedef struct trial {
    redis_server *server;
    neoq_options options;
    neoq_store_config config;
    neoq_store *store;
    char url[200];
    char rule[2048], *words[WORDS_MOST]; /* behind the user's name */
    size_t count;
    int ids;
    bool good; /* nothing has failed so far */
} trial;

/* ---- the rule --------------------------------------------------------------------------- */

static void read_rule(trial *t)
{
    char *rest = NULL;
    FILE *file = fopen(NEOQ_TEST_ACL, "r");
    assert_non_null(file);
    assert_non_null(fgets(t->rule, sizeof t->rule, file));
    fclose(file);
    t->rule[strcspn(t->rule, "\n")] = '\0';
    assert_string_equal("user", strtok_r(t->rule, " ", &rest));
    assert_string_equal("neoq", strtok_r(NULL, " ", &rest));
    for (char *word; (word = strtok_r(NULL, " ", &rest)); t->words[t->count++] = word)
        assert_true(t->count < WORDS_MOST);
}

static bool is_grant(const char *word)
{
    return strchr("+~&", *word) != NULL;
}

/* Those that one server has no use for: tests/redis/cluster.c. */
static bool is_for_clusters(const char *word)
{
    return strcmp(word, "+asking") == 0 || strncmp(word, "+cluster|", 9) == 0;
}

/* Gives the user the rule without this word of it; NULL: the whole rule. */
static void grant_all_but(trial *t, const char *missing)
{
    char command[2200] = "ACL SETUSER neoq reset >secret";
    for (size_t i = 0; i < t->count; i++)
        if (t->words[i] != missing)
            snprintf(command + strlen(command), sizeof command - strlen(command), " %s", t->words[i]);
    assert_true(redis_do(t->server, 0, NULL, 0, command));
}

static const char *word_of(const trial *t, const char *word)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->words[i], word) == 0)
            return t->words[i];
    fail_msg("the rule does not say %s", word);
    return NULL;
}

/* Whether the server has refused the user something. */
static bool refused(const trial *t, char *words, size_t size)
{
    assert_true(redis_do(t->server, 0, words, size, "ACL LOG"));
    return words[0];
}

/* ---- the work --------------------------------------------------------------------------- */

/* What follows upon a failure is left out. */
#define step(call) (t->good = t->good && (call) == NEOQ_OK)

static neoq_job next_job(trial *t, char id[37])
{
    neoq_job job = plain;
    snprintf(id, 37, "01900000-0000-7000-8000-%012d", ++t->ids); /* old enough to be looked for in all queues */
    job.id = id;
    job.state = NEOQ_READY;
    job.created_at = job.run_after = backend->now(t->store);
    return job;
}

static void put(trial *t, const neoq_job *job)
{
    neoq_enqueued result = {0};
    step(backend->enqueue(t->store, job, 1, &result));
    step(result.status);
}

static bool claim(trial *t, const char *worker, neoq_claimed *run)
{
    const neoq_claim one = {.queue = "q", .limit = 1};
    neoq_exchange x = {.worker = worker, .claims = &one, .claim_count = 1, .runs = run};
    step(backend->exchange(t->store, &x));
    return t->good && x.run_count == 1;
}

static void settle(trial *t, neoq_claimed *run, neoq_state state, bool forget)
{
    neoq_time now = t->good ? backend->now(t->store) : 0;
    neoq_settlement s = {.id = run->job.id,
                         .epoch = run->job.epoch,
                         .hold = run->hold,
                         .state = state,
                         .forget = forget,
                         .run_after = state == NEOQ_RETRYING ? now + NEOQ_HOURS(1) : run->job.run_after,
                         .keep_until = state == NEOQ_DONE && !forget ? now - NEOQ_SECONDS(1) : 0,
                         .outcome = "failed",
                         .started_at = now,
                         .finished_at = now};
    neoq_exchange x = {.settlements = &s, .settlement_count = 1};
    step(backend->exchange(t->store, &x));
    step(s.status);
    backend->release(t->store, run);
}

static void put_and_end(trial *t, const neoq_job *job, neoq_state state, bool forget)
{
    neoq_claimed run = {0};
    put(t, job);
    if (claim(t, "0123", &run))
        settle(t, &run, state, forget);
}

static neoq_beat beat_of(const char *worker, int pid, bool join)
{
    neoq_beat beat = {.worker = {.pid = pid, .capacity = 1}, .lease = NEOQ_SECONDS(30), .join = join};
    snprintf(beat.worker.id, sizeof beat.worker.id, "%s", worker);
    snprintf(beat.worker.host, sizeof beat.worker.host, "here");
    return beat;
}

/* A worker whose process is gone. */
static void join_and_die(trial *t, const char *worker)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    neoq_beat beat = beat_of(worker, pid, true);
    step(backend->beat(t->store, &beat));
    kill(pid, SIGKILL);
    assert_int_equal(pid, waitpid(pid, NULL, 0));
}

static void run_jobs(trial *t)
{
    char id[37], other[37];
    neoq_claimed run = {0};
    neoq_job job = next_job(t, id);
    put_and_end(t, &job, NEOQ_DONE, true);
    put_and_end(t, &job, NEOQ_DONE, false);
    neoq_job early = next_job(t, other);
    job = next_job(t, id);
    early.unique = NEOQ_UNIQUE_ON;
    early.fingerprint = "00112233445566778899aabbccddeeff";
    put(t, &early);
    put(t, &job);
    if (claim(t, "0123", &run)) /* it goes back to its place, ahead of the other one */
        settle(t, &run, NEOQ_READY, false);
    if (claim(t, "0123", &run))
        settle(t, &run, NEOQ_DONE, true);
    job = next_job(t, id);
    job.priority = 5;
    put_and_end(t, &job, NEOQ_RETRYING, false);
    step(backend->steer(t->store, NEOQ_ACTION_RETRY, id, 0));
    step(backend->steer(t->store, NEOQ_ACTION_CANCEL, id, 0));
    step(backend->steer(t->store, NEOQ_ACTION_DELETE, id, 0));
    job = next_job(t, id);
    put(t, &job);
    step(backend->steer(t->store, NEOQ_ACTION_DELETE, id, 0));
}

static void lose_a_run(trial *t)
{
    char id[37];
    size_t count = 0;
    neoq_claimed run = {0}, lost[4];
    neoq_job job = next_job(t, id);
    const neoq_progress progress = {.percent = 50};
    join_and_die(t, "gone");
    put(t, &job);
    if (!claim(t, "gone", &run))
        return;
    step(backend->set_progress(t->store, run.job.id, run.job.epoch, &progress));
    step(backend->tend(t->store, 4, lost, &count));
    for (size_t i = 0; i < count; i++)
        settle(t, &lost[i], NEOQ_DEAD, false);
    backend->release(t->store, &run);
}

static int see_job(const neoq_job *job, void *arg)
{
    (void)job;
    (void)arg;
    return NEOQ_OK;
}

static int see_queue(const neoq_queue_info *queue, void *arg)
{
    (void)queue;
    (void)arg;
    return NEOQ_OK;
}

static int see_worker(const neoq_worker_info *worker, void *arg)
{
    (void)worker;
    (void)arg;
    return NEOQ_OK;
}

static int see_schedule(const neoq_schedule_record *schedule, void *arg)
{
    (void)schedule;
    (void)arg;
    return NEOQ_OK;
}

static void look(trial *t)
{
    char id[37];
    neoq_job job = next_job(t, id);
    put(t, &job);
    step(backend->get(t->store, id, see_job, NULL));
    step(backend->find(t->store, &(neoq_filter){.queue = "q"}, see_job, NULL));
    step(backend->queues(t->store, see_queue, NULL));
    step(backend->workers(t->store, see_worker, NULL));
}

static void keep_a_schedule(trial *t)
{
    char id[37];
    neoq_enqueued result = {0};
    neoq_schedule_record schedule = {.info = {.name = "s", .spec = "@hourly", .queue = "q", .next_at = 1},
                                     .stored = true};
    neoq_job job = next_job(t, id);
    schedule.job = job;
    step(backend->set_schedule(t->store, &schedule));
    step(backend->schedules(t->store, see_schedule, NULL));
    step(backend->tick(t->store, "s", 1, 1, 2, &job, 1, &result));
    neoq_beat beat = beat_of("0123", getpid(), false);
    step(backend->beat(t->store, &beat));
    step(backend->remove_schedule(t->store, "s"));
}

static void rule_a_queue(trial *t)
{
    int64_t purged;
    char id[37];
    step(backend->set_queue(t->store, "q", NEOQ_QUEUE_PAUSE, 0));
    step(backend->set_queue(t->store, "q", NEOQ_QUEUE_RESUME, 0));
    step(backend->set_queue(t->store, "q", NEOQ_QUEUE_CAPACITY, 50));
    neoq_job job = next_job(t, id);
    job.unique = NEOQ_UNIQUE_ON; /* of a queue with a capacity, not every job gets the lock that it asks for */
    job.fingerprint = "0123456789abcdef";
    put(t, &job);
    step(backend->purge(t->store, "q", 0, &purged));
    step(backend->set_queue(t->store, "q", NEOQ_QUEUE_REMOVE, 0));
}

/* An idle worker hears of new jobs and of what is said on both channels. */
static void listen(trial *t)
{
    char answer[4096];
    neoq_claimed run = {0};
    const neoq_claim one = {.queue = "q", .limit = 1};
    neoq_exchange x = {.worker = "0123", .claims = &one, .claim_count = 1, .runs = &run};
    step(backend->exchange(t->store, &x));
    for (int64_t start = nq_steady(); t->good; x.seen++) {
        backend->wait(t->store, x.seen, nq_steady() + 1000);
        if (refused(t, answer, sizeof answer))
            return;
        if (redis_do(t->server, 0, answer, sizeof answer, "PUBSUB NUMSUB neoq:wake asynq:cancel") &&
            strcmp(answer, "neoq:wake 1 asynq:cancel 1") == 0 &&
            redis_do(t->server, 0, answer, sizeof answer, "CLIENT LIST") && strstr(answer, "cmd=blmove"))
            return;
        if (!patient(start))
            fail_msg("nobody listens");
    }
}

static void work(trial *t)
{
    neoq_beat beat = beat_of("0123", getpid(), true);
    t->good = true;
    assert_true(redis_do(t->server, 0, NULL, 0, "FLUSHALL"));
    assert_true(redis_do(t->server, 0, NULL, 0, "SCRIPT FLUSH"));
    assert_true(redis_do(t->server, 0, NULL, 0, "ACL LOG RESET"));
    step(backend->open(&t->store, &t->config));
    if (!t->good)
        return;
    step(backend->beat(t->store, &beat));
    run_jobs(t);
    lose_a_run(t);
    look(t);
    keep_a_schedule(t);
    rule_a_queue(t);
    listen(t);
    beat.join = false;
    step(backend->beat(t->store, &beat));
    beat.lease = 0;
    step(backend->beat(t->store, &beat));
    backend->close(t->store);
}

/* ---- tests ------------------------------------------------------------------------------ */

static void begin(base *b, trial *t)
{
    const char *const settings[] = {"aclfile=" NEOQ_TEST_ACL, NULL};
    *t = (trial){.options = b->options};
    own_server(b, REDIS_PORT, settings);
    t->server = b->server;
    t->options.lease = NEOQ_SECONDS(30);
    t->options.job_check_interval = NEOQ_SECONDS(1);
    t->config = (neoq_store_config){.url = t->url, .options = &t->options, .clock = &nq_real_clock};
    snprintf(t->url, sizeof t->url, "redis://neoq:secret@127.0.0.1:%d/1", redis_port(t->server));
    read_rule(t);
}

static void test_it_is_enough(void **state)
{
    char words[4096];
    trial t;
    begin(*state, &t);
    assert_no_connection(*state, t.url, NEOQ_SECONDS(10), NEOQ_EBACKEND,
                         "WRONGPASS"); /* it comes without a password */
    assert_true(redis_do(t.server, 0, NULL, 0, "ACL SETUSER neoq >secret"));
    work(&t);
    if (!t.good)
        fail_msg("%s", neoq_error_message());
    if (refused(&t, words, sizeof words))
        fail_msg("refused: %s", words);
}

static void test_every_grant_is_needed(void **state)
{
    char words[4096];
    size_t idle = 0;
    trial t;
    begin(*state, &t);
    for (size_t i = 0; i < t.count; i++) {
        if (!is_grant(t.words[i]) || is_for_clusters(t.words[i]))
            continue;
        grant_all_but(&t, t.words[i]);
        work(&t);
        if (!refused(&t, words, sizeof words)) {
            print_error("%s is not needed\n", t.words[i]);
            idle++;
        }
    }
    assert_int_equal(0, idle);
}

/* By somebody else: a priority, so that no list tells of it. */
static void put_elsewhere(trial *t)
{
    char id[37], url[128];
    trial other = *t;
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/1", redis_port(t->server));
    other.config.url = url;
    assert_int_equal(NEOQ_OK, backend->open(&other.store, &other.config));
    neoq_job job = next_job(&other, id);
    job.priority = 1;
    put(&other, &job);
    backend->close(other.store);
    assert_true(other.good);
}

/* Told by nobody, it looks for itself, once there is nothing new in that it cannot be told. */
static void wait_for_a_job(trial *t)
{
    neoq_claimed run = {0};
    const neoq_claim one = {.queue = "q", .limit = 1};
    neoq_exchange x = {.worker = "0123", .claims = &one, .claim_count = 1, .runs = &run};
    neoq_beat beat = beat_of("0123", getpid(), true);
    step(backend->beat(t->store, &beat));
    for (uint64_t before = 0; t->good && (before == 0 || x.seen != before);) {
        before = x.seen;
        step(backend->exchange(t->store, &x));
        backend->wait(t->store, x.seen, nq_steady() + NEOQ_MILLISECONDS(300));
    }
    put_elsewhere(t);
    int64_t until = nq_steady() + NEOQ_SECONDS(14); /* a server that says nothing is asked after 15 s */
    while (t->good && x.run_count == 0 && nq_steady() < until) {
        backend->wait(t->store, x.seen, until);
        if (nq_steady() < until)
            step(backend->exchange(t->store, &x));
    }
    assert_int_equal(1, x.run_count);
    settle(t, &run, NEOQ_DONE, true);
}

static void test_who_may_not_subscribe_finds_work_later(void **state)
{
    trial t;
    begin(*state, &t);
    grant_all_but(&t, word_of(&t, "+subscribe"));
    assert_int_equal(NEOQ_OK, backend->open(&t.store, &t.config));
    t.good = true;
    wait_for_a_job(&t);
    if (!t.good)
        fail_msg("%s", neoq_error_message());
    backend->close(t.store);
}

static void see_finding(const neoq_finding *finding, void *arg)
{
    if (strcmp(finding->name, "reachable") == 0 || strcmp(finding->name, "version") == 0)
        *(int *)arg += finding->level == NEOQ_FINDING_OK;
    if (strcmp(finding->name, "persistence") == 0)
        *(int *)arg += strstr(finding->words, "cannot be told") != NULL;
}

/* Of the settings, which it may not see, it says just that. */
static void test_the_doctor_is_let_in(void **state)
{
    int as_expected = 0;
    trial t;
    begin(*state, &t);
    grant_all_but(&t, NULL);
    assert_int_equal(NEOQ_OK, backend->doctor(&t.config, see_finding, &as_expected));
    assert_int_equal(3, as_expected);
}

static void assert_refused(rd_connection *c, const char *command)
{
    append(c, command);
    assert_reply(c, "NOPERM");
}

static void test_nothing_else_is_allowed(void **state)
{
    trial t;
    begin(*state, &t);
    grant_all_but(&t, NULL);
    rd_connection *c = open_connection(*state, t.url);
    static const char *const commands[] = {"FLUSHALL",
                                           "FLUSHDB",
                                           "KEYS *",
                                           "SCAN 0",
                                           "CONFIG SET maxmemory 1",
                                           "CONFIG GET *",
                                           "SHUTDOWN",
                                           "ACL LIST",
                                           "CLIENT KILL TYPE normal",
                                           "SCRIPT FLUSH",
                                           "MONITOR",
                                           "SAVE",
                                           "SWAPDB 0 1",
                                           "REPLICAOF NO ONE",
                                           "FUNCTION LIST",
                                           "MODULE LIST",
                                           "GET other",
                                           "SET other 1",
                                           "DEL asynq",
                                           "BLMOVE other asynq:x LEFT LEFT 1",
                                           "PUBLISH other x",
                                           "SUBSCRIBE other",
                                           "PSUBSCRIBE *"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        assert_refused(c, commands[i]);
    static const char *const scripts[] = {"return redis.call('KEYS','*')", "return redis.call('GET','other')"};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        char said[4096];
        redisReply *reply;
        nq_bound bound = patiently();
        const char *const words[] = {"EVAL", scripts[i], "0"};
        assert_true(redis_do(t.server, 0, NULL, 0, "ACL LOG RESET"));
        assert_int_not_equal(NEOQ_OK, rd_command(c, &bound, 3, words, &reply));
        assert_true(refused(&t, said, sizeof said));
    }
    rd_disconnect(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_it_is_enough),
        on_base(test_every_grant_is_needed),
        on_base(test_who_may_not_subscribe_finds_work_later),
        on_base(test_the_doctor_is_let_in),
        on_base(test_nothing_else_is_allowed),
    };
    return cmocka_run_group_tests_name("acl", tests, NULL, NULL);
}
