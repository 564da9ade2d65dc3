/* SPDX-License-Identifier: MIT
 *
 * The limit the Redis store is measured against: how many jobs the least of a script stores, one a call, 64 calls in a
 * pipeline. Sixteen connections are always under way, so that it is the server that sets the rate and not the answers'
 * way back. Usage: raw_redis URL store [JOBS]. All that this Redis has is deleted.
 */
#include "redis.h"

#include <inttypes.h>

enum { CONNECTIONS = 16, PIPELINE = 64, ROUND = CONNECTIONS * PIPELINE, MESSAGE = 128 };

static char sha[41];

/* As asynq's own enqueue, and without uniqueness. KEYS: job, list. ARGV: message, id, time. */
static const char script[] =
    "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end"
    " redis.call('HSET', KEYS[1], 'msg', ARGV[1], 'state', 'pending', 'pending_since', ARGV[3])"
    " redis.call('LPUSH', KEYS[2], ARGV[2])"
    " return 1";

static void load_script(redisContext *conn)
{
    redisReply *reply = redis_checked(conn, redisCommand(conn, "SCRIPT LOAD %s", script), "SCRIPT LOAD");
    snprintf(sha, sizeof sha, "%s", reply->str);
    freeReplyObject(reply);
}

static void put_call(redisContext *conn, uint64_t number)
{
    static const char list[] = "raw:{bench}:pending", since[] = "1700000000000000000";
    char message[MESSAGE], key[64], id[40];
    memset(message, 'x', sizeof message);
    memcpy(message, PAYLOAD_67, sizeof PAYLOAD_67 - 1);
    number_payload(message, number);
    int id_size = snprintf(id, sizeof id, "01900000-0000-7000-8000-%012" PRIx64, number);
    int key_size = snprintf(key, sizeof key, "raw:{bench}:t:%s", id);
    const char *args[] = {"EVALSHA", sha, "2", key, list, message, id, since};
    const size_t sizes[] = {7, 40, 1, (size_t)key_size, sizeof list - 1, MESSAGE, (size_t)id_size, sizeof since - 1};
    if (redisAppendCommandArgv(conn, sizeof args / sizeof args[0], args, sizes) != REDIS_OK)
        redis_failed(conn, NULL, "EVALSHA");
}

static void send_calls(redisContext *conn, uint64_t first)
{
    int done = 0;
    for (uint64_t i = 0; i < PIPELINE; i++)
        put_call(conn, first + i);
    while (!done)
        if (redisBufferWrite(conn, &done) != REDIS_OK)
            redis_failed(conn, NULL, "EVALSHA");
}

static void take_answers(redisContext *conn)
{
    for (int i = 0; i < PIPELINE; i++) {
        void *answer = NULL;
        redisGetReply(conn, &answer);
        redisReply *reply = redis_checked(conn, answer, "EVALSHA");
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
    load_script(own);
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

int main(int argc, char **argv)
{
    uint64_t jobs = argc > 3 ? strtoull(argv[3], NULL, 10) : 200000;
    double rates[PASSES];
    if (argc < 3 || strcmp(argv[2], "store") != 0 || jobs == 0) {
        fputs("usage: raw_redis URL store [JOBS]\n", stderr);
        return 2;
    }
    redisContext *own = redis_own(argv[1]);
    jobs = (jobs + ROUND - 1) / ROUND * ROUND;
    for (int i = 0; i < PASSES; i++)
        rates[i] = measure_store(own, argv[1], jobs);
    redis_clear(own);
    redisFree(own);
    printf("raw_redis_store_calls_per_s %.0f\n", median(rates, PASSES));
    return 0;
}
