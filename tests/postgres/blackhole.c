/* SPDX-License-Identifier: MIT
 *
 * A network in which packets vanish: the server in a network namespace of its own, this program in another, and between
 * them a router that forwards, or drops without a word. What a stopped server does not show: nothing confirms what is
 * sent, and a connection that is asked for is neither made nor refused.
 *
 * This needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and the command `ip`; where they cannot be had, it says so and skips.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "postgres/support.h"

#define SERVER "198.51.100.2"
#define NOBODY "203.0.113.9" /* the router drops what is for it */

static int server_net = -1, router_net = -1, client_net = -1;
static int forwarding = -1; /* the router's switch */
static char why_not[300];   /* there is no such network */

/* ---- the network ------------------------------------------------------------------------ */

static void give_up(const char *what)
{
    if (!*why_not)
        snprintf(why_not, sizeof why_not, "%.200s: %s", what, strerror(errno));
}

static void run_ip(const char *arguments)
{
    char command[200];
    snprintf(command, sizeof command, "ip %s", arguments);
    if (!*why_not && system(command) != 0)
        give_up(command);
}

static void enter(int net)
{
    if (!*why_not && setns(net, CLONE_NEWNET) != 0)
        give_up("setns");
}

static int make_net(void)
{
    if (!*why_not && unshare(CLONE_NEWNET) != 0)
        give_up("a network namespace");
    run_ip("link set lo up");
    return *why_not ? -1 : open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* A cable between the network that we are in and the router's. */
static void join_router(const char *own, const char *routers, const char *address, const char *gateway)
{
    char arguments[160];
    snprintf(arguments, sizeof arguments, "link add %s type veth peer name %s netns /proc/%d/fd/%d", own, routers,
             (int)getpid(), router_net);
    run_ip(arguments);
    snprintf(arguments, sizeof arguments, "addr add %s/24 dev %s", address, own);
    run_ip(arguments);
    snprintf(arguments, sizeof arguments, "link set %s up", own);
    run_ip(arguments);
    snprintf(arguments, sizeof arguments, "route add default via %s", gateway);
    run_ip(arguments);
}

static void set_forwarding(bool on)
{
    assert_int_equal(1, pwrite(forwarding, on ? "1" : "0", 1, 0));
}

static int make_network(void **state)
{
    (void)state;
    router_net = make_net();
    server_net = make_net();
    join_router("server", "toserver", SERVER, "198.51.100.1");
    client_net = make_net();
    join_router("client", "toclient", "192.0.2.2", "192.0.2.1");
    enter(router_net);
    run_ip("addr add 198.51.100.1/24 dev toserver");
    run_ip("addr add 192.0.2.1/24 dev toclient");
    run_ip("link set toserver up");
    run_ip("link set toclient up");
    run_ip("route add blackhole " NOBODY);
    if (!*why_not && (forwarding = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY | O_CLOEXEC)) < 0)
        give_up("the router's switch");
    enter(client_net);
    if (*why_not)
        print_message("[  SKIPPED ] all: there is no network of our own to break (%s)\n", why_not);
    else
        set_forwarding(true);
    return 0;
}

static void be_reachable(base *b)
{
    if (*why_not)
        skip();
    set_forwarding(true);
    enter(server_net); /* for the server, which inherits it */
    own_server(b, (const char *const[]){"listen_addresses=" SERVER, NULL});
    enter(client_net);
    sql(b, "COPY (SELECT 'host all all 192.0.2.0/24 trust') TO PROGRAM 'cat >> pg_hba.conf'");
    sql(b, "SELECT pg_reload_conf()");
    snprintf(b->url, sizeof b->url, "postgres://postgres@" SERVER ":5432/%s?sslmode=disable", b->database);
    b->options.connect_timeout = 0; /* as it is by default */
}

/* Nothing else tells how long an outage lasts but the time. */
static void let_pass(int seconds)
{
    poll(NULL, 0, seconds * 1000);
}

/* ---- calls, and what becomes of them ------------------------------------------------------ */

static const char one[] = "SELECT 'one'";

static void every_call_ends_in_time(void **state)
{
    base *b = *state;
    be_reachable(b);
    pg_pool *pool = open_pool(b, "&pool_max_conns=2&call_timeout=500ms&connect_timeout=700ms"), *other;
    assert_answer(pool, one, "one");
    set_forwarding(false);
    int64_t start = nq_steady();
    assert_refused(pool, one, NEOQ_EUNKNOWN, "no answer within 0.5 s");
    assert_in_range(milliseconds_since(start), 490, 3000);
    start = nq_steady();
    assert_refused(pool, one, NEOQ_ETIMEOUT, "did not answer in time");
    assert_in_range(milliseconds_since(start), 690, 3000);
    assert_int_equal(NEOQ_ETIMEOUT, try_pool(b, b->opened[0].settings.conninfo, &other) ? NEOQ_ETIMEOUT : NEOQ_OK);
    set_forwarding(true);
    eventually(ask(pool, one, false, NULL) == NEOQ_OK);
}

typedef struct caller {
    pthread_t thread;
    pg_pool *pool;
    int64_t done;
    int status;
} caller;

static void *call_in_thread(void *arg)
{
    caller *c = arg;
    c->status = ask(c->pool, one, true, NULL);
    c->done = nq_steady();
    return NULL;
}

static void start_call(caller *c, pg_pool *pool)
{
    *c = (caller){.pool = pool};
    assert_int_equal(0, pthread_create(&c->thread, NULL, call_in_thread, c));
}

/* How long after the packets' return the call succeeded. */
static void assert_soon(caller *c, int64_t returned)
{
    pthread_join(c->thread, NULL);
    assert_int_equal(NEOQ_OK, c->status);
    assert_in_range((c->done - returned) / 1000, 0, 5000);
}

/* With the limits that hold by default. TCP by itself would try again about 13 s after the first time, and then 26 s; where
 * it asks for a connection, after 15 s or 18, and then after 31 or 34. */
static void calls_go_on_soon_after_the_return(void **state)
{
    base *b = *state;
    be_reachable(b);
    pg_pool *connected = open_pool(b, "&pool_max_conns=1"), *connecting = open_pool(b, "&pool_max_conns=1");
    pg_conn *conn;
    caller sends, dials;
    assert_answer(connected, one, "one");
    assert_int_equal(NEOQ_OK, pg_pool_take(connecting, &conn));
    conn->broken = true;
    pg_pool_give(connecting, conn);
    set_forwarding(false);
    start_call(&sends, connected);
    start_call(&dials, connecting);
    let_pass(20);
    int64_t returned = nq_steady();
    set_forwarding(true);
    assert_soon(&sends, returned);
    assert_soon(&dials, returned);
}

/* ---- jobs ------------------------------------------------------------------------------- */

typedef struct runs {
    sem_t one;
} runs;

static int note_run(neoq_ctx *ctx, void *arg)
{
    (void)ctx;
    sem_post(&((runs *)arg)->one);
    return NEOQ_OK;
}

static void await_run(runs *r, int seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += seconds;
    while (sem_timedwait(&r->one, &until) != 0)
        if (errno != EINTR)
            fail_msg("no job was run for %d s", seconds);
}

/* Another program, beside the server, enqueues while this one is cut off. */
static void jobs_go_on_soon_after_the_return(void **state)
{
    base *b = *state;
    neoq *nq;
    runs r;
    sem_init(&r.one, 0, 0);
    be_reachable(b);
    assert_int_equal(NEOQ_OK, neoq_open(&nq, b->url, &b->options));
    assert_int_equal(NEOQ_OK, neoq_start(nq, &(neoq_handler){.queue = "q", .handle = note_run, .arg = &r}));
    sql(b, "SELECT neoq.enqueue('q', '1', wake => true)");
    await_run(&r, 20);
    set_forwarding(false);
    sql(b, "SELECT neoq.enqueue('q', '2', wake => true)");
    let_pass(13);
    set_forwarding(true);
    await_run(&r, 5);
    assert_int_equal(NEOQ_OK, neoq_enqueue(nq, &(neoq_job){.queue = "q", .payload = "3"}, NULL));
    await_run(&r, 5);
    assert_int_equal(NEOQ_OK, neoq_drain(nq, NEOQ_SECONDS(20)));
    neoq_close(nq);
}

/* ---- names ------------------------------------------------------------------------------ */

/* For this thread, and those that it starts. */
static void replace_file(const char *path, const char *text)
{
    char file[] = "/tmp/neoq-blackhole-XXXXXX";
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    assert_int_equal((ssize_t)strlen(text), write(fd, text, strlen(text)));
    assert_int_equal(0, fchmod(fd, 0644));
    close(fd);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(file, path, NULL, MS_BIND, NULL) != 0)
        fail_msg("%s: %s", path, strerror(errno));
    unlink(file);
}

static void a_name_server_that_does_not_answer(void **state)
{
    base *b = *state;
    pg_pool *pool;
    if (*why_not)
        skip();
    replace_file("/etc/resolv.conf", "nameserver " NOBODY "\noptions timeout:30 attempts:5\n");
    int64_t start = nq_steady();
    assert_int_equal(NEOQ_ETIMEOUT, try_pool(b, "postgres://postgres@db.neoq.test/x?connect_timeout=1s", &pool));
    assert_words("the host \"db.neoq.test\" took too long");
    assert_in_range(milliseconds_since(start), 990, 4000);
}

/* libpq alone would wait for the first of them up to the end. */
static void each_address_of_a_name_is_tried(void **state)
{
    base *b = *state;
    pg_pool *pool;
    char url[512];
    be_reachable(b);
    replace_file("/etc/hosts", NOBODY " db.neoq.test\n" SERVER " db.neoq.test\n");
    snprintf(url, sizeof url, "postgres://postgres@db.neoq.test/%s?sslmode=disable&connect_timeout=30s", b->database);
    int64_t start = nq_steady();
    assert_int_equal(NEOQ_OK, try_pool(b, url, &pool));
    assert_in_range(milliseconds_since(start), 0, 8000);
    assert_answer(pool, one, "one");
    assert_int_equal(0, setenv("PGHOST", "db.neoq.test", 1));
    snprintf(url, sizeof url, "dbname=%s user=postgres sslmode=disable connect_timeout=10s", b->database);
    int status = try_pool(b, url, &pool);
    unsetenv("PGHOST");
    assert_int_equal(NEOQ_OK, status);
    assert_answer(pool, one, "one");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        on_base(every_call_ends_in_time),          on_base(calls_go_on_soon_after_the_return),
        on_base(jobs_go_on_soon_after_the_return), on_base(a_name_server_that_does_not_answer),
        on_base(each_address_of_a_name_is_tried),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    postgres_shared(); /* in the network that all see */
    return cmocka_run_group_tests(tests, make_network, NULL);
}
