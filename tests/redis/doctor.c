/* SPDX-License-Identifier: MIT
 *
 * What the doctor says of servers that keep jobs in different ways, and of one that does not let him see how.
 */
#include "redis/support.h"

#include <stdio.h>
#include <string.h>

#include "backend/redis/redis.h"
#include "base/clock.h"

static const neoq_backend *const backend = &nq_redis_backend;

/* What was said under a name, with the level in front: "1 words"; "" = nothing. */
typedef struct finding {
    const char *name;
    char said[1100];
} finding;

static void see(const neoq_finding *f, void *arg)
{
    finding *wanted = arg;
    if (strcmp(f->name, wanted->name) == 0)
        snprintf(wanted->said, sizeof wanted->said, "%d %s", (int)f->level, f->words);
}

static void assert_said(base *b, const char *url, const char *name, neoq_finding_level level, const char *words)
{
    char begin[8];
    finding f = {.name = name};
    const neoq_store_config config = {.url = url, .options = &b->options, .clock = &nq_real_clock};
    assert_int_equal(NEOQ_OK, backend->doctor(&config, see, &f));
    snprintf(begin, sizeof begin, "%d ", (int)level);
    if (!words)
        assert_string_equal("", f.said);
    else if (strncmp(f.said, begin, strlen(begin)) != 0 || !strstr(f.said, words))
        fail_msg("of %s it said: %s", name, f.said);
}

static void set(base *b, const char *settings)
{
    assert_true(redis_do(b->server, 0, NULL, 0, settings));
}

static void test_what_a_crash_may_take_is_told(void **state)
{
    base *b = *state;
    own_server(b, REDIS_SOCKET, NULL);
    assert_said(b, b->url, "persistence", NEOQ_FINDING_BAD, "loses every job");
    assert_said(b, b->url, "crashes", NEOQ_FINDING_OK, NULL);
    assert_true(redis_do(b->server, 0, NULL, 0, "CONFIG SET save %s", "3600 1"));
    assert_said(b, b->url, "persistence", NEOQ_FINDING_BAD, "snapshots alone (save 3600 1)");
    set(b, "CONFIG SET appendonly yes");
    assert_said(b, b->url, "persistence", NEOQ_FINDING_NOTE, "each second (appendfsync everysec)");
    assert_said(b, b->url, "crashes", NEOQ_FINDING_NOTE, "aof-load-truncated yes");
    set(b, "CONFIG SET appendfsync no aof-load-truncated no");
    assert_said(b, b->url, "persistence", NEOQ_FINDING_BAD, "appendfsync is no");
    assert_said(b, b->url, "crashes", NEOQ_FINDING_OK, NULL);
    set(b, "CONFIG SET appendfsync always");
    assert_said(b, b->url, "persistence", NEOQ_FINDING_OK, "before it is answered");
}

/* Of what he may not see he does not say that it is not there. */
static void test_what_cannot_be_told_is_not_said(void **state)
{
    base *b = *state;
    char url[200];
    own_server(b, REDIS_PORT, (const char *const[]){"aclfile=" NEOQ_TEST_ACL, NULL});
    snprintf(url, sizeof url, "redis://neoq:secret@127.0.0.1:%d", redis_port(b->server));
    set(b, "ACL SETUSER neoq >secret");
    assert_said(b, url, "persistence", NEOQ_FINDING_BAD, "whether there are snapshots cannot be told");
    set(b, "CONFIG SET appendonly yes");
    assert_said(b, url, "persistence", NEOQ_FINDING_NOTE, "how soon it is on the disk cannot be told");
    assert_said(b, url, "crashes", NEOQ_FINDING_OK, NULL);
    assert_said(b, url, "clock", NEOQ_FINDING_OK, "within"); /* a refusal is no end of the examination */
    set(b, "ACL SETUSER neoq +config|get");
    assert_said(b, url, "persistence", NEOQ_FINDING_NOTE, "each second (appendfsync everysec)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_base(test_what_a_crash_may_take_is_told),
        on_base(test_what_cannot_be_told_is_not_said),
    };
    return cmocka_run_group_tests_name("doctor", tests, NULL, NULL);
}
