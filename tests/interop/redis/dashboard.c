/* SPDX-License-Identifier: MIT
 *
 * What asynqmon, the dashboard of asynq, shows of our jobs, workers and schedules, and what becomes of jobs that somebody
 * steers there.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interop/redis/sides.h"
#include "support/recorder.h"
#include "support/store.h"

/* ---- asking ----------------------------------------------------------------------------- */

static peer open_dashboard(store *s)
{
    return peer_start("asynqmon", s->url, "ask", NULL);
}

/* The body of its answer, to be freed; NULL = it is empty. */
static json_t *ask(peer *p, const char *request)
{
    peer_tell(p, request);
    json_t *answer = peer_hear(p), *body = json_incref(json_object_get(answer, "body"));
    int64_t status = json_integer_value(json_object_get(answer, "status"));
    if (status != 200 && status != 204)
        fail_msg("%s: %lld %s", request, (long long)status, json_string_value(json_object_get(answer, "words")));
    json_decref(answer);
    return body;
}

static void tell(peer *p, const char *request, const char *id, const char *verb)
{
    char line[256];
    snprintf(line, sizeof line, "%s/%s%s", request, id, verb);
    json_decref(ask(p, line));
}

/* The one of the list whose member `name` is this; NULL = there is none. */
static json_t *find(json_t *list, const char *name, const char *value)
{
    json_t *item;
    size_t i;
    json_array_foreach(list, i, item)
    {
        if (strcmp(peer_text(item, name), value) == 0)
            return item;
    }
    return NULL;
}

/* ---- jobs in every state ----------------------------------------------------------------- */

enum { COMPLETED, RETRY, ARCHIVED, ACTIVE, PENDING, URGENT, SCHEDULED, FAR_AHEAD, JOBS };

static const struct {
    const char *payload, *state, *error;
} jobs[JOBS] = {
    {"completed", "completed", ""}, {"retry", "retry", "later"},    {"archived", "archived", "never"},
    {"active", "active", ""},       {"pending", "pending", ""},     {"urgent", "scheduled", ""},
    {"scheduled", "scheduled", ""}, {"far ahead", "scheduled", ""},
};

static neoq_time time_of(int which)
{
    if (which == FAR_AHEAD)
        return NEOQ_SECONDS(253402300800) - 1; /* of the year 9999; of a later one Go makes no JSON */
    return which == SCHEDULED ? neoq_now() + NEOQ_HOURS(1) : 0;
}

static neoq *fill(store *s, gate *held, char ids[JOBS][NEOQ_ID_SIZE])
{
    neoq *nq = open_here(s);
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "errands",
                                                          .handle = by_payload,
                                                          .arg = held,
                                                          .concurrency = 1,
                                                          .timeout = NEOQ_FOREVER}));
    for (int i = 0; i < JOBS; i++) {
        if (i == PENDING) { /* lest it be claimed ahead */
            eventually(state_of(nq, ids[ACTIVE]) == NEOQ_RUNNING);
            assert_status(NEOQ_OK, neoq_pause(nq, "errands"));
        }
        put_job(nq,
                (neoq_job){.queue = "errands",
                           .payload = jobs[i].payload,
                           .metadata = "{\"asynq_type\":\"mail\"}",
                           .retention = NEOQ_HOURS(1),
                           .priority = i == URGENT ? 5 : 0,
                           .run_after = time_of(i)},
                ids[i]);
    }
    return nq;
}

static void assert_queue(peer *p)
{
    json_t *body = ask(p, "GET /api/queues/errands"), *queue = json_object_get(body, "current");
    assert_int_equal(JOBS, peer_number(queue, "size"));
    assert_int_equal(1, peer_number(queue, "active"));
    assert_int_equal(1, peer_number(queue, "pending"));
    assert_int_equal(3,
                     peer_number(queue, "scheduled")); /* one of them is ready, but a list could not keep the order */
    assert_int_equal(1, peer_number(queue, "retry"));
    assert_int_equal(1, peer_number(queue, "archived"));
    assert_int_equal(1, peer_number(queue, "completed"));
    assert_int_equal(3, peer_number(queue, "processed"));
    assert_int_equal(2, peer_number(queue, "failed"));
    assert_true(json_is_true(json_object_get(queue, "paused")));
    json_decref(body);
    body = ask(p, "GET /api/queue_stats");
    json_t *today = json_array_get(json_object_get(json_object_get(body, "stats"), "errands"), 0);
    assert_int_equal(3, peer_number(today, "processed"));
    assert_int_equal(2, peer_number(today, "failed"));
    json_decref(body);
}

static void assert_shown(peer *p, int which, const char *id)
{
    char request[128];
    snprintf(request, sizeof request, "GET /api/queues/errands/%s_tasks", jobs[which].state);
    json_t *body = ask(p, request), *task = find(json_object_get(body, "tasks"), "id", id);
    assert_non_null(task);
    assert_string_equal(jobs[which].payload, peer_text(task, "payload"));
    assert_string_equal("mail", peer_text(task, "type"));
    assert_string_equal(jobs[which].error, peer_text(task, "error_message"));
    if (which == ACTIVE) {
        assert_false(json_is_true(json_object_get(task, "is_orphaned")));
        assert_string_not_equal("-", peer_text(task, "start_time"));
    }
    json_decref(body);
    snprintf(request, sizeof request, "GET /api/queues/errands/tasks/%s", id);
    body = ask(p, request);
    assert_string_equal(jobs[which].state, peer_text(body, "state"));
    if (which == COMPLETED) {
        assert_string_equal("found", peer_text(body, "result"));
        assert_in_range(peer_number(body, "ttl_seconds"), 3500, 3600);
    }
    json_decref(body);
}

/* A beat tells of the run. */
static bool shows_run(peer *p, const char *id)
{
    json_t *body = ask(p, "GET /api/servers"), *server;
    size_t i;
    bool shown = false;
    json_array_foreach(json_object_get(body, "servers"), i, server)
    {
        json_t *run = find(json_object_get(server, "active_workers"), "task_id", id);
        shown = shown ||
                (peer_number(server, "pid") == getpid() && peer_number(server, "concurrency") == 1 &&
                 strcmp(peer_text(server, "status"), "active") == 0 &&
                 peer_number(json_object_get(server, "queue_priorities"), "errands") == 1 && run &&
                 strcmp(peer_text(run, "task_payload"), "active") == 0 &&
                 strcmp(peer_text(run, "task_type"), "mail") == 0 && strcmp(peer_text(run, "queue"), "errands") == 0);
    }
    json_decref(body);
    return shown;
}

static void test_it_shows_jobs_in_every_state(void **state)
{
    store *s = *state;
    static gate held = GATE_INITIALIZER;
    char ids[JOBS][NEOQ_ID_SIZE];
    neoq *nq = fill(s, &held, ids);
    peer p = open_dashboard(s);
    eventually(shows_run(&p, ids[ACTIVE]));
    assert_queue(&p);
    for (int i = 0; i < JOBS; i++)
        assert_shown(&p, i, ids[i]);
    gate_open(&held);
    eventually(state_of(nq, ids[ACTIVE]) == NEOQ_DONE);
    store_close(s, nq);
    json_t *body = ask(&p, "GET /api/servers");
    assert_int_equal(0, json_array_size(json_object_get(body, "servers")));
    json_decref(body);
    peer_finish(&p);
}

static void test_it_steers_them(void **state)
{
    store *s = *state;
    static gate held = GATE_INITIALIZER;
    char ids[JOBS][NEOQ_ID_SIZE];
    neoq *nq = fill(s, &held, ids);
    peer p = open_dashboard(s);
    tell(&p, "POST /api/queues/errands/pending_tasks", ids[PENDING], ":archive");
    assert_int_equal(NEOQ_DEAD, state_of(nq, ids[PENDING]));
    tell(&p, "POST /api/queues/errands/scheduled_tasks", ids[SCHEDULED], ":archive");
    assert_int_equal(NEOQ_DEAD, state_of(nq, ids[SCHEDULED]));
    tell(&p, "DELETE /api/queues/errands/archived_tasks", ids[SCHEDULED], "");
    tell(&p, "DELETE /api/queues/errands/completed_tasks", ids[COMPLETED], "");
    tell(&p, "DELETE /api/queues/errands/scheduled_tasks", ids[FAR_AHEAD], "");
    assert_false(has_job(nq, ids[SCHEDULED]) || has_job(nq, ids[COMPLETED]) || has_job(nq, ids[FAR_AHEAD]));
    tell(&p, "POST /api/queues/errands/archived_tasks", ids[PENDING], ":run");
    assert_int_equal(NEOQ_READY, state_of(nq, ids[PENDING]));
    tell(&p, "POST /api/queues/errands/scheduled_tasks", ids[URGENT], ":run");
    assert_int_equal(NEOQ_READY, state_of(nq, ids[URGENT]));
    json_decref(ask(&p, "POST /api/queues/errands:resume"));
    gate_open(&held);
    eventually(state_of(nq, ids[PENDING]) == NEOQ_DONE && state_of(nq, ids[URGENT]) == NEOQ_DONE);
    json_decref(ask(&p, "POST /api/queues/errands:pause"));
    assert_true(queue_of(nq, "errands").paused);
    tell(&p, "POST /api/queues/errands/retry_tasks", ids[RETRY], ":run");
    assert_int_equal(NEOQ_READY, state_of(nq, ids[RETRY]));
    peer_finish(&p);
}

static void await_cancel(neoq_ctx *ctx, recorder *r)
{
    struct pollfd fd = {.fd = neoq_ctx_cancel_fd(ctx), .events = POLLIN};
    (void)r;
    poll(&fd, 1, PATIENCE_SECONDS * 1000);
}

/* It is told once, maybe before we listen: so it is told again. */
static void test_it_cancels_a_run(void **state)
{
    store *s = *state;
    static recorder r = {.inside = await_cancel, RECORDER_INITIALIZER};
    char id[NEOQ_ID_SIZE];
    neoq *nq = open_here(s);
    neoq_handler handler = recording("errands", &r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    put(nq, "errands", "{}", id);
    eventually(recorded(&r) == 1);
    peer p = open_dashboard(s);
    eventually(state_of(nq, id) == NEOQ_DEAD ||
               (tell(&p, "POST /api/queues/errands/active_tasks", id, ":cancel"), false));
    peer_finish(&p);
}

/* ---- schedules --------------------------------------------------------------------------- */

static int ignore(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    (void)arg;
    return NEOQ_OK;
}

/* Whether both are listed: ours, and asynq's own. */
static bool shows_schedules(peer *p)
{
    json_t *body = ask(p, "GET /api/scheduler_entries"), *entries = json_object_get(body, "entries");
    bool shown = find(entries, "id", "often") && find(entries, "task_type", "theirs");
    json_decref(body);
    return shown;
}

static size_t events(peer *p)
{
    json_t *body = ask(p, "GET /api/scheduler_entries/often/enqueue_events");
    size_t count = json_array_size(json_object_get(body, "events"));
    json_decref(body);
    return count;
}

static void test_it_shows_schedules_and_their_ticks(void **state)
{
    store *s = *state;
    neoq *nq = open_here(s);
    const neoq_job job = {.queue = "errands", .payload = "[1]", .max_retries = 3, .retention = NEOQ_HOURS(1)};
    assert_status(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "errands", .handle = ignore}));
    assert_status(NEOQ_OK, neoq_schedule(nq, "often", "* * * * * *", &job)); /* each second */
    assert_status(NEOQ_OK, neoq_schedule(nq, "seldom", "@yearly", &job));
    peer theirs = peer_start("asynq-0.26", s->url, "schedule", NULL), p = open_dashboard(s);
    peer_tell(&theirs, "{\"type\":\"theirs\",\"queue\":\"other\",\"payload\":\"{}\",\"spec\":\"@hourly\"}");
    json_decref(peer_expect(&theirs, "registered"));
    eventually(shows_schedules(&p) && events(&p) > 1);

    json_t *body = ask(&p, "GET /api/scheduler_entries");
    json_t *entry = find(json_object_get(body, "entries"), "id", "seldom"),
           *options = json_object_get(entry, "options");
    assert_non_null(entry);
    assert_string_equal("@yearly", peer_text(entry, "spec"));
    assert_string_equal("errands", peer_text(entry, "task_type"));
    assert_string_equal("[1]", peer_text(entry, "task_payload"));
    assert_string_equal("", peer_text(entry, "prev_enqueue_at")); /* it has not ticked */
    assert_int_equal(3, json_array_size(options));
    assert_string_equal("Queue(\"errands\")", json_string_value(json_array_get(options, 0)));
    assert_string_equal("MaxRetry(3)", json_string_value(json_array_get(options, 1)));
    assert_string_equal("Retention(1h0m0s)", json_string_value(json_array_get(options, 2)));
    json_decref(body);
    body = ask(&p, "GET /api/scheduler_entries/often/enqueue_events");
    entry = json_array_get(json_object_get(body, "events"), 0);
    assert_true(has_job(nq, peer_text(entry, "task_id")));
    json_decref(body);

    store_close(s, nq);
    body = ask(&p, "GET /api/scheduler_entries"); /* theirs stays */
    assert_int_equal(1, json_array_size(json_object_get(body, "entries")));
    json_decref(body);
    peer_finish(&theirs);
    peer_finish(&p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_store(test_it_shows_jobs_in_every_state),
        on_store(test_it_steers_them),
        on_store(test_it_cancels_a_run),
        on_store(test_it_shows_schedules_and_their_ticks),
    };
    char *of_redis[] = {argv[0], (char[]){"redis:"}, argc > 1 ? argv[1] : NULL};
    peers_or_skip();
    if (!store_choose(argc > 1 ? 3 : 2, of_redis))
        return 2;
    return cmocka_run_group_tests_name("dashboard", tests, NULL, NULL);
}
