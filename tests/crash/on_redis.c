/* SPDX-License-Identifier: MIT
 *
 * Redis: a server of our own, for other tests would feel it, whose connections are cut, and which forgets its scripts; or
 * one with a log that is on the disk before it answers, which is killed besides and reads its log again.
 */
#include "crash.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "support/redis_server.h"

/* Of the killer. */
static redis_server *server;
static int database = -1;

static bool begin_on(redis_server *one, char *url, size_t size)
{
    server = one;
    database = server ? redis_create(server) : -1;
    if (database < 0)
        return false;
    redis_url(server, database, url, size);
    return true;
}

static bool begin(const plan *p, char *url, size_t size)
{
    (void)p;
    return begin_on(redis_start(REDIS_SOCKET, (const char *const[]){NULL}), url, size);
}

static bool begin_own(const plan *p, char *url, size_t size)
{
    (void)p;
    return begin_on(redis_start(REDIS_SOCKET, (const char *const[]){"appendonly=yes", "appendfsync=always", NULL}),
                    url, size);
}

static void end(void)
{
    redis_end(server);
}

static void harm(unsigned random)
{
    char answer[64];
    if (random % 4 == 0)
        redis_do(server, database, answer, sizeof(answer), "SCRIPT FLUSH");
    else
        redis_do(server, database, answer, sizeof(answer), "CLIENT KILL TYPE %s SKIPME yes",
                 random % 4 == 1 ? "pubsub" : "normal");
}

/* Until INFO says so. */
static void await(const char *words)
{
    char answer[8192];
    for (int i = 0; i < 3000; i++) {
        if (redis_do(server, 0, answer, sizeof(answer), "INFO persistence") && strstr(answer, words))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    complain("waited in vain for%s", words);
}

/* A kill may tear the last script in the log. Servers are known to cut off its last command alone when they read it, and
 * would take all that follows for the rest of the script at the next start; a new log has no such end. */
static void kill_server(void)
{
    if (!redis_kill(server) || !redis_again(server)) {
        complain("the server cannot be started again");
        return;
    }
    await("\nloading:0");
    redis_do(server, 0, NULL, 0, "BGREWRITEAOF");
    await("\naof_rewrite_in_progress:0");
}

static void harm_own(unsigned random)
{
    if (random % 3 > 0)
        harm(random / 3);
    else
        kill_server();
}

/* Says what is wrong with the keys of all queues: every task is in the one container that its state names, active ones
 * have a lease, unfinished unique ones their lock; and nothing else is in any container. */
static const char question[] =
    "local wrong = {}\n"
    "local function complain(words) if #wrong < 5 then wrong[#wrong + 1] = words end end\n"
    "local lists = {pending = true, active = true}\n"
    "for _, queue in ipairs(redis.call('SMEMBERS', 'asynq:queues')) do\n"
    "  local p, at = 'asynq:{' .. queue .. '}:', {}\n"
    "  for _, state in ipairs({'pending', 'active', 'scheduled', 'retry', 'completed', 'archived'}) do\n"
    "    local ids = redis.call(lists[state] and 'LRANGE' or 'ZRANGE', p .. state, 0, -1)\n"
    "    for _, id in ipairs(ids) do\n"
    "      local f = redis.call('HMGET', p .. 't:' .. id, 'state', 'unique_key')\n"
    "      if at[id] then complain(id .. ' is in ' .. at[id] .. ' and in ' .. state) end\n"
    "      at[id] = state\n"
    "      if f[1] ~= state then complain(id .. ' is in ' .. state .. ' and says ' .. tostring(f[1])) end\n"
    "      local lease = redis.call('ZSCORE', p .. 'lease', id)\n"
    "      if (state == 'active') ~= (lease and true or false) then complain(id .. ' in ' .. state .. ': its lease') "
    "end\n"
    "      if f[2] and state ~= 'completed' and state ~= 'archived' and redis.call('GET', f[2]) ~= id then\n"
    "        complain(id .. ' has lost its lock')\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  if redis.call('ZCARD', p .. 'lease') ~= redis.call('LLEN', p .. 'active') then complain('leases of ' .. "
    "queue) end\n"
    "  local cursor = '0'\n"
    "  repeat\n"
    "    local page = redis.call('SCAN', cursor, 'MATCH', p .. '*', 'COUNT', 1000)\n"
    "    cursor = page[1]\n"
    "    for _, key in ipairs(page[2]) do\n"
    "      local id = string.match(key, ':t:(.*)$')\n"
    "      if id and not at[id] then complain(id .. ' is nowhere') end\n"
    "      if string.find(key, ':unique:', 1, true) then\n"
    "        local holder = redis.call('GET', key)\n"
    "        if not at[holder] then complain(key .. ' is held by nobody') end\n"
    "      end\n"
    "    end\n"
    "  until cursor == '0'\n"
    "end\n"
    "return table.concat(wrong, '; ')\n";

static void check(const plan *p, bool last)
{
    char answer[1024] = "";
    (void)p;
    (void)last;
    if (!redis_do(server, database, answer, sizeof(answer), "EVAL %s 0", question) || *answer)
        complain("%s", answer);
}

const crash_store crash_redis = {
    .name = "redis:",
    .server = "connections were cut, or the scripts were flushed",
    .may_be_away = true,
    .begin = begin,
    .end = end,
    .harm = harm,
    .check = check,
};

const crash_store crash_redis_server = {
    .name = "redis-server:",
    .server = "the server was killed, connections were cut, or the scripts were flushed",
    .may_be_away = true,
    .begin = begin_own,
    .end = end,
    .harm = harm_own,
    .check = check,
};
