/* SPDX-License-Identifier: MIT
 *
 * The limits the Redis store is measured against, what the least of scripts comes to that do asynq's own transitions:
 * jobs stored, one a call, 64 calls in a pipeline; jobs taken and ended, 50 a call; and the way of one job to a worker
 * that sleeps. The first two always have calls under way on several connections, so that it is the server that sets the
 * rate and not the answers' way back. Usage: raw_redis URL store [JOBS] | drain [JOBS] | wake [SAMPLES].
 * All that this Redis has is deleted.
 */
#include "redis.h"

#include <inttypes.h>
#include <pthread.h>

enum {
    CONNECTIONS = 16, /* that store */
    PIPELINE = 64,
    ROUND = CONNECTIONS * PIPELINE,
    MESSAGE = 128,
    DRAINERS = 2, /* connections that take and end */
    PIECES = 8,   /* calls that each of those has under way */
    PIECE = 50,
};

static const char list[] = "raw:{bench}:pending";

/* As asynq's own enqueue, and without uniqueness. KEYS: job, list. ARGV: message, id, time. */
static const char store_script[] =
    "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end"
    " redis.call('HSET', KEYS[1], 'msg', ARGV[1], 'state', 'pending', 'pending_since', ARGV[3])"
    " redis.call('LPUSH', KEYS[2], ARGV[2])"
    " return 1";

/* As its dequeue, for many. KEYS: list. ARGV: how many. Gives id and message of each. */
static const char take_script[] = "local ids, leases, taken = redis.call('RPOP', KEYS[1], ARGV[1]) or {}, {}, {}"
                                  " for i, id in ipairs(ids) do"
                                  "  local key = 'raw:{bench}:t:' .. id"
                                  "  redis.call('HSET', key, 'state', 'active')"
                                  "  redis.call('HDEL', key, 'pending_since')"
                                  "  taken[2 * i - 1], taken[2 * i] = id, redis.call('HGET', key, 'msg')"
                                  "  leases[2 * i - 1], leases[2 * i] = 1700000030, id"
                                  " end"
                                  " if #ids > 0 then"
                                  "  redis.call('LPUSH', 'raw:{bench}:active', unpack(ids))"
                                  "  redis.call('ZADD', 'raw:{bench}:lease', unpack(leases))"
                                  " end"
                                  " return taken";

/* As its done, for many. KEYS: list. ARGV: ids, those first that were taken first. */
static const char end_script[] = "local keys = {}"
                                 " for i, id in ipairs(ARGV) do"
                                 "  if redis.call('LREM', 'raw:{bench}:active', -1, id) == 1 then"
                                 "   keys[#keys + 1] = 'raw:{bench}:t:' .. id"
                                 "  end"
                                 " end"
                                 " redis.call('ZREM', 'raw:{bench}:lease', unpack(ARGV))"
                                 " redis.call('DEL', unpack(keys))"
                                 " redis.call('INCRBY', 'raw:{bench}:processed', #keys)"
                                 " return #keys";

static char store_sha[41], take_sha[41], end_sha[41];

static void load_script(redisContext *conn, const char *script, char *sha)
{
    redisReply *reply = redis_checked(conn, redisCommand(conn, "SCRIPT LOAD %s", script), "SCRIPT LOAD");
    snprintf(sha, sizeof store_sha, "%s", reply->str);
    freeReplyObject(reply);
}

static void load_scripts(redisContext *conn)
{
    load_script(conn, store_script, store_sha);
    load_script(conn, take_script, take_sha);
    load_script(conn, end_script, end_sha);
}

static void flush_calls(redisContext *conn)
{
    for (int done = 0; !done;)
        if (redisBufferWrite(conn, &done) != REDIS_OK)
            redis_failed(conn, NULL, "EVALSHA");
}

static redisReply *take_answer(redisContext *conn)
{
    void *answer = NULL;
    redisGetReply(conn, &answer);
    return redis_checked(conn, answer, "EVALSHA");
}

/* ---- store ------------------------------------------------------------------------------------- */

static void put_call(redisContext *conn, uint64_t number)
{
    static const char since[] = "1700000000000000000";
    char message[MESSAGE], key[64], id[40];
    memset(message, 'x', sizeof message);
    memcpy(message, PAYLOAD_67, sizeof PAYLOAD_67 - 1);
    number_payload(message, number);
    int id_size = snprintf(id, sizeof id, "01900000-0000-7000-8000-%012" PRIx64, number);
    int key_size = snprintf(key, sizeof key, "raw:{bench}:t:%s", id);
    const char *args[] = {"EVALSHA", store_sha, "2", key, list, message, id, since};
    const size_t sizes[] = {7, 40, 1, (size_t)key_size, sizeof list - 1, MESSAGE, (size_t)id_size, sizeof since - 1};
    if (redisAppendCommandArgv(conn, sizeof args / sizeof args[0], args, sizes) != REDIS_OK)
        redis_failed(conn, NULL, "EVALSHA");
}

static void send_calls(redisContext *conn, uint64_t first)
{
    for (uint64_t i = 0; i < PIPELINE; i++)
        put_call(conn, first + i);
    flush_calls(conn);
}

static void take_answers(redisContext *conn)
{
    for (int i = 0; i < PIPELINE; i++) {
        redisReply *reply = take_answer(conn);
        if (reply->integer != 1)
            check(NEOQ_EFAILED, "a job was not stored");
        freeReplyObject(reply);
    }
}

static double measure_store(redisContext *own, const char *url, uint64_t jobs)
{
    redisContext *conns[CONNECTIONS];
    uint64_t sent = 0;
    redis_clear(own);
    load_scripts(own);
    for (int i = 0; i < CONNECTIONS; i++)
        conns[i] = redis_connect(url);
    int64_t start = now_ns();
    for (int i = 0; i < CONNECTIONS; i++, sent += PIPELINE)
        send_calls(conns[i], sent);
    for (uint64_t received = 0; received < jobs; received += ROUND)
        for (int i = 0; i < CONNECTIONS; i++) {
            take_answers(conns[i]);
            if (sent < jobs) {
                send_calls(conns[i], sent);
                sent += PIPELINE;
            }
        }
    double rate = rate_of((double)jobs, start);
    for (int i = 0; i < CONNECTIONS; i++)
        redisFree(conns[i]);
    return rate;
}

/* ---- drain ------------------------------------------------------------------------------------- */

static void put_take(redisContext *conn)
{
    if (redisAppendCommand(conn, "EVALSHA %s 1 %s %d", take_sha, list, PIECE) != REDIS_OK)
        redis_failed(conn, NULL, "EVALSHA");
}

static void put_end(redisContext *conn, const redisReply *taken)
{
    const char *args[4 + PIECE] = {"EVALSHA", end_sha, "1", list};
    size_t sizes[4 + PIECE] = {7, 40, 1, sizeof list - 1}, count = 4;
    for (size_t i = 0; i < taken->elements; i += 2, count++) {
        args[count] = taken->element[i]->str;
        sizes[count] = taken->element[i]->len;
    }
    if (redisAppendCommandArgv(conn, (int)count, args, sizes) != REDIS_OK)
        redis_failed(conn, NULL, "EVALSHA");
}

/* One of the connections, each with calls under way: those that end jobs, and behind them PIECES that take some. */
typedef struct drainer {
    redisContext *conn;
    int ends;
} drainer;

static void take_more(drainer *d)
{
    for (int i = 0; i < PIECES; i++)
        put_take(d->conn);
    flush_calls(d->conn);
}

/* Takes in the answers and goes on. Gives how many jobs were ended. */
static uint64_t go_on(drainer *d)
{
    uint64_t ended = 0;
    for (; d->ends > 0; d->ends--) {
        redisReply *reply = take_answer(d->conn);
        ended += (uint64_t)reply->integer;
        freeReplyObject(reply);
    }
    for (int i = 0; i < PIECES; i++) {
        redisReply *taken = take_answer(d->conn);
        if (taken->elements > 0) {
            put_end(d->conn, taken);
            d->ends++;
        }
        freeReplyObject(taken);
    }
    take_more(d);
    return ended;
}

static double measure_drain(redisContext *own, const char *url, uint64_t jobs)
{
    drainer drainers[DRAINERS] = {{.ends = 0}};
    measure_store(own, url, jobs);
    int64_t start = now_ns();
    for (int i = 0; i < DRAINERS; i++) {
        drainers[i].conn = redis_connect(url);
        take_more(&drainers[i]);
    }
    for (uint64_t ended = 0, at = 0; ended < jobs; at++)
        ended += go_on(&drainers[at % DRAINERS]);
    double rate = rate_of((double)jobs, start);
    for (int i = 0; i < DRAINERS; i++)
        redisFree(drainers[i].conn);
    return rate;
}

/* ---- wake -------------------------------------------------------------------------------------- */

typedef struct sleeper {
    pthread_t thread;
    const char *url;
    double *micros;
    uint64_t samples;
    sem_t ready, one;
} sleeper;

/* Blocks on the list as neoq does, and takes the job by a call of its own; its message begins with a clock. */
static void *wake_up(void *arg)
{
    sleeper *s = arg;
    redisContext *blocked = redis_connect(s->url), *conn = redis_connect(s->url);
    for (uint64_t i = 0; i < s->samples; i++) {
        redisAppendCommand(blocked, "BLMOVE %s %s RIGHT RIGHT 60", list, list);
        flush_calls(blocked);
        sem_post(&s->ready);
        freeReplyObject(take_answer(blocked));
        put_take(conn);
        redisReply *taken = take_answer(conn);
        if (taken->elements != 2)
            redis_failed(conn, NULL, "no job");
        s->micros[i] = (double)(now_ns() - strtoll(taken->element[1]->str, NULL, 10)) / 1e3;
        put_end(conn, taken);
        freeReplyObject(taken);
        freeReplyObject(take_answer(conn));
        sem_post(&s->one);
    }
    redisFree(blocked);
    redisFree(conn);
    return NULL;
}

static void print_wake(redisContext *own, const char *url, uint64_t samples)
{
    sleeper s = {.url = url, .samples = samples, .micros = need(calloc(samples, sizeof *s.micros))};
    redis_clear(own);
    load_scripts(own);
    sem_init(&s.ready, 0, 0);
    sem_init(&s.one, 0, 0);
    check(pthread_create(&s.thread, NULL, wake_up, &s), "pthread_create");
    for (uint64_t i = 0; i < samples; i++) {
        await(&s.ready);
        pause_before(i);
        redisReply *stored =
            redis_checked(own,
                          redisCommand(own, "EVALSHA %s 2 raw:{bench}:t:%llu %s %lldx%0107d %llu 1700000000000000000",
                                       store_sha, (unsigned long long)i, list, (long long)now_ns(), 0,
                                       (unsigned long long)i),
                          "EVALSHA");
        freeReplyObject(stored);
        await(&s.one);
    }
    pthread_join(s.thread, NULL);
    print_latencies("raw_redis_wake", s.micros, samples);
    free(s.micros);
}

/* ---------------------------------------------------------------------------------------------- */

static void print_rate(redisContext *own, const char *url, uint64_t jobs, const char *name,
                       double (*measure)(redisContext *, const char *, uint64_t))
{
    double rates[PASSES];
    jobs = (jobs + ROUND - 1) / ROUND * ROUND;
    for (int i = 0; i < PASSES; i++)
        rates[i] = measure(own, url, jobs);
    printf("raw_redis_%s_per_s %.0f\n", name, median(rates, PASSES));
}

static bool run(redisContext *own, const char *url, const char *what, uint64_t number)
{
    if (strcmp(what, "store") == 0)
        print_rate(own, url, number ? number : 200000, "store_calls", measure_store);
    else if (strcmp(what, "drain") == 0)
        print_rate(own, url, number ? number : 100000, "drain_jobs", measure_drain);
    else if (strcmp(what, "wake") == 0)
        print_wake(own, url, number ? number : 500);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "", *what = argc > 2 ? argv[2] : "";
    redisContext *own = redis_own(url);
    if (!run(own, url, what, argc > 3 ? strtoull(argv[3], NULL, 10) : 0)) {
        fputs("usage: raw_redis URL store [JOBS] | drain [JOBS] | wake [SAMPLES]\n", stderr);
        return 2;
    }
    redis_clear(own);
    redisFree(own);
    return 0;
}
