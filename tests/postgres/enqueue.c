/* SPDX-License-Identifier: MIT
 *
 * Enqueueing once more what may have been stored: the answer to the first try was lost, and its jobs may have been run since.
 */
#include <stdio.h>
#include <string.h>

#include "backend/postgres/postgres.h"
#include "base/clock.h"
#include "postgres/support.h"

#define A "00000000-0000-0000-0000-00000000000a"
#define B "00000000-0000-0000-0000-00000000000b"
/* Two jobs with these guards, in the words of the store's statement; what it answers, as "PLACE:STATUS,...". */
#define TWO_JOBS(again, guard, other)                                                                                \
    "SELECT coalesce(string_agg(place || ':' || status, ',' ORDER BY place), 'stored') FROM neoq.enqueue_jobs("      \
    "now => 1, token => 7, again => " again ", patience => 0, words => NULL, hopeful => false, queues => '{1}',"     \
    " lowest => '00000000-0000-7000-8000-000000000001', highest => '00000000-0000-7000-8000-000000000002',"          \
    " places => '{0,1}', ids => '{00000000-0000-7000-8000-000000000001,00000000-0000-7000-8000-000000000002}',"      \
    " queue_ids => '{1,1}', ranks => '{0,0}', run_afters => '{1,1}', created_ats => '{}', max_retries => '{0,0}',"   \
    " guards => '{" guard "," other "}', fingerprints => '{}', deadlines => '{}', retentions => '{}',"               \
    " retry_waits => '{}', metadata => '{}', payloads => '{\"\",\"\"}')"

static pg_pool *open_with_queue(base *b)
{
    const neoq_store_config config = {.url = b->url, .options = &b->options, .clock = &nq_real_clock};
    neoq_store *store;
    assert_int_equal(NEOQ_OK, nq_postgres_backend.open(&store, &config));
    nq_postgres_backend.close(store);
    sql(b, "INSERT INTO neoq.queue (id, name) VALUES (1, 'q')");
    return open_pool(b, "");
}

static void a_second_try_vouches_for_what_the_first_one_stored(void **state)
{
    base *b = *state;
    pg_pool *pool = open_with_queue(b);
    assert_answer(pool, TWO_JOBS("false", A, B), "stored");
    sql(b, "DELETE FROM neoq.job"); /* they are done */
    assert_answer(pool, TWO_JOBS("true", A, B), "stored");
    assert_answer(pool, "SELECT count(*)::text FROM neoq.job", "0");
}

static void a_second_try_stores_what_the_first_one_did_not(void **state)
{
    base *b = *state;
    pg_pool *pool = open_with_queue(b);
    assert_answer(pool, TWO_JOBS("true", A, A), "1:-3");
    assert_answer(pool, "SELECT count(*)::text FROM neoq.job", "1");
}

/* One was stored and the other refused. As soon as the one is done, neither is there. */
static void a_second_try_does_not_vouch_for_what_was_refused(void **state)
{
    base *b = *state;
    pg_pool *pool = open_with_queue(b);
    assert_answer(pool, TWO_JOBS("false", A, A), "1:-3");
    assert_answer(pool, TWO_JOBS("true", A, A), "1:-15");
    sql(b, "DELETE FROM neoq.job");
    assert_answer(pool, TWO_JOBS("true", A, A), "0:-15,1:-15");
    assert_answer(pool, "SELECT count(*)::text FROM neoq.job", "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(a_second_try_vouches_for_what_the_first_one_stored),
        on_base(a_second_try_stores_what_the_first_one_did_not),
        on_base(a_second_try_does_not_vouch_for_what_was_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
