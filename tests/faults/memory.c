/* SPDX-License-Identifier: MIT
 *
 * No memory: every public call, on each store, with its first allocation refused, then its second, and so on until it
 * meets no refusal any more; once with only that one refused, once with all that follow. Each time it succeeds, or fails
 * with a status and words; what it says is what is there; and the same neoq goes on. Nothing of it stays allocated.
 */
#include "faults/attempts.h"
#include "faults/scarce.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <neoq/backend.h>

enum { MOST = 20000 /* refusals until a call must have met its last allocation */ };

/* Where a failure is to be looked for. */
static struct {
    const char *name;
    const ground *ground;
    int status;
} now;

/* What a call may say that met a refusal. */
static bool is_failure(const attempt *t, int status)
{
    if (status == NEOQ_ENOMEM)
        return true;
    if (store_is("memory"))
        return false;
    bool remote = store_is("postgres") || store_is("redis");
    return status == NEOQ_EBACKEND || (remote && !(t->needs & LOOKS) && status == NEOQ_EUNKNOWN);
}

/* Where memory was short, a connection is dropped, and tried again in a moment. */
static void await_connection(neoq *nq)
{
    neoq_queue_info *queues = NULL;
    size_t count;
    eventually(neoq_queues(nq, &queues, &count) == NEOQ_OK);
    free(queues);
}

/* One call with its nth allocation refused. False: there are fewer. */
static bool sweep_one(ground *g, const attempt *t)
{
    if (t->needs & FRESH) {
        if (g->nq)
            store_close(g->s, g->nq);
        g->nq = store_open(g->s, CALMLY);
    }
    t->before(g);
    neoq_set_error(NEOQ_OK, "%s", "");
    if (!(t->needs & BY_ITSELF))
        scarce_here(g->nth, g->mode);
    int status = now.status = t->call(g);
    bool refused = scarce_end();
    if (status != t->expected && !(refused && is_failure(t, status))) {
        print_error("it says %s: %s\n", neoq_status_name(status), neoq_error_message());
        fail();
    }
    if (status != NEOQ_OK && !neoq_error_message()[0]) {
        print_error("it says %s without a word\n", neoq_status_name(status));
        fail();
    }
    if (refused && (store_is("postgres") || store_is("redis")))
        await_connection(g->nq);
    t->after(g, status);
    neoq_remove_queue(g->nq, g->queue);
    return refused;
}

static int64_t sweep(ground *g, const attempt *t, scarce_mode mode)
{
    now.name = t->name;
    now.ground = g;
    g->mode = mode;
    /* Where there are hundreds, most are SQLite's or libpq's reading of their own text, or a connection's answers:
     * NEOQ_TEST_EVERY=1 tries each. */
    int64_t few = store_is("memory") || getenv("NEOQ_TEST_EVERY") ? MOST : store_is("redis") ? 28 : 16;
    for (g->nth = 1; sweep_one(g, t); g->nth += g->nth < few ? 1 : g->nth / 2)
        assert_true(g->nth < MOST);
    return g->nth - 1;
}

/* On a store of its own, so that it stays small. What is allocated afterwards is nothing that was not before. */
static void sweep_call(void **state)
{
    const attempt *t = *state;
    void *of_store;
    int64_t counts[2];
    assert_int_equal(0, store_setup(&of_store));
    ground *g = test_calloc(1, sizeof *g);
    g->s = of_store;
    for (int mode = SCARCE_ONCE; mode <= SCARCE_ALWAYS; mode++) {
        int64_t before = scarce_live();
        g->nq = store_open(g->s, CALMLY);
        counts[mode] = sweep(g, t, (scarce_mode)mode);
        store_close(g->s, g->nq);
        if (mode == SCARCE_ALWAYS && scarce_live() > before) /* by now everybody has what he keeps for ever */
            fail_msg("%" PRId64 " allocations were not freed", scarce_live() - before);
    }
    test_free(g);
    store_teardown(&of_store);
    now.name = NULL;
    print_message("%s: %" PRId64 " and %" PRId64 " refusals\n", t->name, counts[0], counts[1]);
}

static int tell_where(void **state)
{
    (void)state;
    scarce_end();
    if (now.name)
        print_error("%s, its allocation no. %" PRId64 "%s refused: it said %s\n", now.name, now.ground->nth,
                    now.ground->mode == SCARCE_ALWAYS ? " and all that follow" : "", neoq_status_name(now.status));
    now.name = NULL;
    return 0;
}

static bool is_offered(const attempt *t)
{
    return (!(t->needs & A_SCHEMA) || (!store_is("memory") && !store_is("redis"))) &&
           (!(t->needs & TRANSACTIONS) || store_is("sqlite") || store_is("postgres")) &&
           (!(t->needs & A_FILE) || !(store_is("memory") || store_is("redis") || store_is("postgres")));
}

int main(int argc, char **argv)
{
    if (!store_choose(argc, argv))
        return 2;
    const attempt *const tables[] = {attempts, transactions, threads};
    struct CMUnitTest tests[64];
    size_t count = 0;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const attempt *t = tables[i]; t->name && count < sizeof tests / sizeof *tests; t++)
            if (is_offered(t))
                tests[count++] = (struct CMUnitTest){.name = t->name,
                                                     .test_func = sweep_call,
                                                     .teardown_func = tell_where,
                                                     .initial_state = (void *)(uintptr_t)t};
    return _cmocka_run_group_tests("memory", tests, count, NULL, NULL);
}
