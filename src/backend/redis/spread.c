/* SPDX-License-Identifier: MIT
 *
 * A pass sends what has no answer yet, once: the calls of each node go out on a connection of its own (a leg), and only
 * when all are under way are answers read. A call that was sent to another node, or that is to wait until its slot has
 * moved, was not done, and goes along with the next pass.
 */
#include "backend/redis/spread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/redis/slot.h"
#include "backend/redis/store.h"
#include "base/error.h"

enum {
    HOPS_MOST = 5,  /* from node to node without a pause: they may not agree yet */
    PAUSE_MOST = 4, /* try whose pause is not exceeded: about 0.3 s */
    CONNECT_S = 1,  /* to a node; by then another may have taken its place */
    NOWHERE = -1,   /* of a leg: nobody serves the slot */
};

/* Of a call: where it goes. */
typedef struct course {
    int leg;
    const rd_node *asked; /* for once: its slot moves there */
    bool by_text;
} course;

/* A node and the connection to it. */
typedef struct leg {
    rd_node *node;
    rd_connection *c; /* NULL = there is none to be had */
} leg;

typedef struct trip {
    neoq_store *store;
    rd_batch *batch;
    int64_t until;
    course *courses; /* as many as calls */
    leg *legs;
    size_t leg_count;
    rd_vectors v;

    /* Of a pass: why there is something left. */
    bool refused; /* for now; else somebody else is to be asked, or by other words */
    bool failed;  /* a node is away, or not what it was */
    char words[512];
    bool unknown; /* an answer was lost, in this pass or before */
} trip;

/* The first reason of a pass is the one that is told; that an answer was lost, rather than what later passes say. */
static void note_words(trip *t)
{
    if (!*t->words)
        snprintf(t->words, sizeof t->words, "%s", neoq_error_message());
}

/* ---- where to --------------------------------------------------------------------------- */

/* These few go with the call before them. So what is published is published after that call was done. */
static bool has_key(const rd_batch *batch, const rd_call *call)
{
    static const char *const others[] = {"PUBLISH", "TIME", "INFO"};
    if (call->script >= 0)
        return true;
    const rd_arg *command = &batch->args[call->first];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (command->size == strlen(others[i]) && memcmp(command->at, others[i], command->size) == 0)
            return false;
    return true;
}

static unsigned slot_of(const rd_batch *batch, const rd_call *call)
{
    const rd_arg *key = &batch->args[call->first + (call->script < 0)];
    return rd_slot(key->at ? key->at : batch->text.data + key->offset, key->size);
}

static int leg_to(trip *t, const rd_node *node)
{
    for (size_t i = 0; i < t->leg_count; i++)
        if (t->legs[i].node == node)
            return (int)i;
    t->legs[t->leg_count] = (leg){.node = (rd_node *)node};
    return (int)t->leg_count++;
}

/* The first call, where it has no key, goes to the node by whose clock all workers' leases go. */
static void find_courses(trip *t)
{
    int to = NOWHERE;
    t->leg_count = 0;
    for (size_t i = 0; i < t->batch->call_count; i++) {
        const rd_call *call = &t->batch->calls[i];
        if (call->reply)
            continue;
        const rd_node *node = t->courses[i].asked;
        bool keyed = has_key(t->batch, call);
        if (keyed || to == NOWHERE) {
            unsigned slot = keyed ? slot_of(t->batch, call) : rd_slot(RD_WORKER_LEASES, strlen(RD_WORKER_LEASES));
            node = node ? node : rd_cluster_node(t->store->cluster, slot);
            to = node ? leg_to(t, node) : NOWHERE;
            if (!node) {
                nq_fail(NEOQ_EBACKEND, "Redis %s: no node serves slot %u", t->store->url.shown, slot);
                note_words(t);
                t->failed = true;
            }
        }
        t->courses[i].leg = to;
    }
}

/* ---- a pass ----------------------------------------------------------------------------- */

/* All who hold several connections took them in this order, so nobody waits in a circle. */
static leg *next_leg(trip *t, const leg *after)
{
    leg *next = NULL;
    for (size_t i = 0; i < t->leg_count; i++)
        if ((!after || t->legs[i].node > after->node) && (!next || t->legs[i].node < next->node))
            next = &t->legs[i];
    return next;
}

static int take_connections(trip *t)
{
    for (leg *l = next_leg(t, NULL); l; l = next_leg(t, l)) {
        neoq_duration left = t->until - nq_steady(), most = NEOQ_SECONDS(CONNECT_S);
        left = left < most ? left : most;
        int status = rd_pool_take_within(l->node->pool, left > 0 ? left : 0, t->batch->urgent, &l->c);
        if (status != NEOQ_OK)
            note_words(t);
        if (status != NEOQ_OK && status != NEOQ_ETIMEOUT)
            return status;
        t->failed = t->failed || !l->c;
    }
    return NEOQ_OK;
}

static void give_connections(trip *t)
{
    for (size_t i = 0; i < t->leg_count; i++)
        if (t->legs[i].c)
            rd_pool_give(t->legs[i].node->pool, t->legs[i].c);
}

/* The connection that the call went out on; NULL: it did not, or has its answer. */
static rd_connection *way_of(const trip *t, size_t call)
{
    int to = t->courses[call].leg;
    return t->batch->calls[call].reply || to == NOWHERE ? NULL : t->legs[to].c;
}

static int append_calls(trip *t)
{
    static const char *const asking[] = {"ASKING"};
    int status = NEOQ_OK;
    for (size_t i = 0; i < t->batch->call_count && status == NEOQ_OK; i++) {
        rd_connection *c = way_of(t, i);
        if (c && t->courses[i].asked)
            status = rd_append(c, 1, asking, NULL);
        if (c && status == NEOQ_OK)
            status = rd_append_call(t->store, c, t->batch, &t->batch->calls[i], t->courses[i].by_text, &t->v);
    }
    if (status != NEOQ_OK)
        note_words(t);
    return status;
}

/* One node works while another is written to. */
static void set_out(trip *t)
{
    static const nq_bound at_once = {.until = 0, .stop_fd = -1};
    for (size_t i = 0; i < t->leg_count && (t->leg_count > 1 || t->batch->rings); i++)
        if (t->legs[i].c)
            rd_await(t->legs[i].c, &at_once);
    if (t->batch->rings)
        rd_bell_ring(t->store->bell);
}

static void follow(trip *t, course *k, const redisReply *reply)
{
    const rd_node *from = t->legs[k->leg].node, *to = rd_cluster_follow(t->store->cluster, &from->host, reply);
    k->asked = rd_is_error(reply, "ASK") ? to : NULL;
    t->failed = t->failed || !to;
    nq_fail(NEOQ_EBACKEND, "Redis %s: the nodes do not agree who serves a slot (%.100s)", from->url.shown,
            reply->str);
    note_words(t);
}

/* Whether that is the call's answer; else it is to be sent once more. */
static bool settles(trip *t, size_t call, const redisReply *reply)
{
    course *k = &t->courses[call];
    k->asked = NULL;
    if (rd_is_error(reply, "NOSCRIPT")) {
        k->by_text = true;
        rd_refused(t->legs[k->leg].node->url.shown, reply);
        note_words(t);
        return false;
    }
    if (rd_is_error(reply, "MOVED") || rd_is_error(reply, "ASK")) {
        follow(t, k, reply);
        return false;
    }
    if (rd_error_passes(reply)) {
        t->refused = true;
        t->failed = t->failed || rd_is_error(reply, "CLUSTERDOWN");
        rd_refused(t->legs[k->leg].node->url.shown, reply);
        note_words(t);
        return false;
    }
    bool early = call > 0 && !has_key(t->batch, &t->batch->calls[call]) && !t->batch->calls[call - 1].reply;
    return !early;
}

/* NEOQ_ETIMEOUT: the bound was reached before anything was sent. */
static int read_call(trip *t, size_t call, rd_connection *c, const nq_bound *bound)
{
    redisReply *reply = NULL;
    int status = NEOQ_OK;
    if (t->courses[call].asked) {
        status = rd_reply(c, bound, &reply);
        freeReplyObject(reply);
    }
    if (status == NEOQ_OK)
        status = rd_reply(c, bound, &reply);
    if (status == NEOQ_OK && settles(t, call, reply)) {
        t->batch->calls[call].reply = reply;
        return NEOQ_OK;
    }
    if (status == NEOQ_OK) {
        freeReplyObject(reply);
        return NEOQ_OK;
    }
    note_words(t);
    t->courses[call].asked = NULL;
    t->failed = true;
    t->unknown = t->unknown || status == NEOQ_EUNKNOWN;
    return status == NEOQ_ETIMEOUT ? status : NEOQ_OK;
}

static int read_answers(trip *t)
{
    int status = NEOQ_OK;
    nq_bound bound = nq_within(t->store->url.call_timeout);
    for (size_t i = 0; i < t->batch->call_count; i++) {
        rd_connection *c = way_of(t, i);
        int one = c ? read_call(t, i, c, &bound) : NEOQ_OK;
        status = status == NEOQ_OK ? one : status;
        if (!c)
            t->courses[i].asked = NULL;
    }
    return status;
}

static int pass(trip *t)
{
    t->refused = t->failed = false;
    if (!t->unknown)
        t->words[0] = '\0';
    find_courses(t);
    int status = take_connections(t);
    if (status == NEOQ_OK)
        status = append_calls(t);
    if (status == NEOQ_OK) {
        set_out(t);
        status = read_answers(t);
    }
    give_connections(t);
    return status;
}

/* ---- until all is answered -------------------------------------------------------------- */

static bool is_complete(const rd_batch *batch)
{
    for (size_t i = 0; i < batch->call_count; i++)
        if (!batch->calls[i].reply)
            return false;
    return true;
}

static void rest(int try, int64_t until)
{
    neoq_duration wait = nq_redial_pause(try < PAUSE_MOST ? try : PAUSE_MOST), left = until - nq_steady();
    wait = wait < left ? wait : left;
    if (wait > 0)
        nanosleep(&(struct timespec){wait / 1000000, wait % 1000000 * 1000}, NULL);
}

static int travel(trip *t, bool again)
{
    rd_cluster *cluster = t->store->cluster;
    for (int tries = 1, hops = 0;;) {
        uint64_t seen = rd_cluster_seen(cluster);
        int status = pass(t);
        if (status != NEOQ_OK || (t->unknown && !again))
            return t->unknown ? NEOQ_EUNKNOWN : status;
        if (is_complete(t->batch))
            return NEOQ_OK;
        if (nq_steady() >= t->until)
            return t->unknown ? NEOQ_EUNKNOWN : NEOQ_EBACKEND;
        if (!t->refused && !t->failed && hops++ < HOPS_MOST)
            continue;
        rd_failure failure;
        const nq_bound bound = {.until = t->until, .stop_fd = -1};
        if (t->failed || !t->refused)
            rd_cluster_look(cluster, seen, &bound, &failure);
        rest(tries++, t->until);
    }
}

int rd_spread(neoq_store *store, neoq_duration patience, rd_batch *batch, bool again)
{
    trip t = {.store = store, .batch = batch, .until = nq_steady() + patience};
    t.courses = calloc(batch->call_count, sizeof *t.courses);
    t.legs = calloc(batch->call_count, sizeof *t.legs);
    int status = NEOQ_ENOMEM;
    if (t.courses && t.legs)
        status = travel(&t, again);
    else
        snprintf(t.words, sizeof t.words, "no memory for a batch of calls to Redis");
    free(t.courses);
    free(t.legs);
    free(t.v.argv);
    free(t.v.lengths);
    return status == NEOQ_OK ? NEOQ_OK : nq_fail(status, "%s", t.words);
}
