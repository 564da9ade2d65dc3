/* SPDX-License-Identifier: MIT */
#include "interop/redis/sides.h"

#include <stdio.h>
#include <string.h>

const char *asynq_version;

/* ---- here -------------------------------------------------------------------------------- */

neoq *open_here(store *s)
{
    return store_open_real(s, &(neoq_options){.lease = NEOQ_SECONDS(3), .poll_interval = NEOQ_SECONDS(1)});
}

neoq *work_here(store *s, recorder *r)
{
    neoq *nq = open_here(s);
    neoq_handler handler = recording("work", r);
    assert_status(NEOQ_OK, neoq_start(nq, &handler));
    return nq;
}

int by_payload(neoq_ctx *ctx, void *held)
{
    const char *payload = neoq_ctx_job(ctx)->payload;
    if (strcmp(payload, "retry") == 0)
        return neoq_retry_in(ctx, NEOQ_HOURS(1), "later");
    if (strcmp(payload, "archived") == 0)
        return neoq_discard(ctx, "never");
    if (strcmp(payload, "active") == 0)
        gate_wait(held);
    return neoq_set_result(ctx, "found", 5);
}

/* ---- there ------------------------------------------------------------------------------- */

peer work_there(store *s, const char *how)
{
    char settings[200];
    snprintf(settings, sizeof settings,
             "{\"queues\":{\"work\":1},\"shutdown\":\"5s\",\"retry_delay\":\"1h\",\"behave\":{\"work\":\"%s\"}}",
             how);
    peer p = peer_start(asynq_version, s->url, "work", (const char *const[]){settings, NULL});
    json_decref(peer_expect(&p, "ready"));
    return p;
}

const char *try_there(store *s, const char *id, const char *more)
{
    static char words[256];
    char line[512];
    snprintf(line, sizeof line, "{\"type\":\"work\",\"queue\":\"work\",\"payload\":\"{}\",\"id\":\"%s\"%s}", id,
             more);
    json_t *answer = peer_ask(asynq_version, s->url, "enqueue", NULL, line);
    snprintf(words, sizeof words, "%s", peer_text(answer, "error"));
    json_decref(answer);
    return words;
}

void enqueue_there(store *s, const char *more)
{
    assert_string_equal("", try_there(s, ID, more));
}

void tell_there(store *s, const char *subcommand, const char *argument, const char *id)
{
    peer p = peer_start(asynq_version, s->url, subcommand, (const char *const[]){argument, id, NULL});
    peer_finish(&p);
}

json_t *find_listed(json_t *all, const char *state, const char *id)
{
    json_t *queue = json_object_get(json_object_get(all, "queues"), "work"), *task;
    size_t i;
    json_array_foreach(json_object_get(queue, state), i, task)
    {
        if (strcmp(peer_text(task, "id"), id) == 0)
            return task;
    }
    return NULL;
}

json_t *listed(store *s, const char *state, const char *id)
{
    json_t *all = peer_ask(asynq_version, s->url, "inspect", "work", NULL);
    json_t *task = json_incref(find_listed(all, state, id));
    if (!task)
        fail_msg("asynq's inspector does not list %s as %s", id, state);
    json_decref(all);
    return task;
}

void assert_listed(store *s, const char *state, const char *id, const char *error)
{
    json_t *task = listed(s, state, id);
    assert_string_equal(state, peer_text(task, "state"));
    assert_string_equal(error, peer_text(task, "error"));
    json_decref(task);
}

json_t *expect_of(peer *p, const char *event, const char *id)
{
    json_t *said = peer_expect(p, event);
    assert_string_equal(id, peer_text(said, "id"));
    return said;
}

int sides_begin(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s VERSION [PATTERN]\n", argv[0]);
        return 2;
    }
    asynq_version = argv[1];
    peers_or_skip();
    char *of_redis[] = {argv[0], (char[]){"redis:"}, argc == 3 ? argv[2] : NULL};
    return store_choose(argc, of_redis) ? 0 : 2;
}
