/* SPDX-License-Identifier: MIT
 *
 * redis/scripts.h -- the Lua that runs in the server, built in from lua/ and called by its SHA-1.
 *
 * Each script but the workers' is about one queue, whose keys share a hash slot. It checks before it writes, so that one
 * which refuses has changed nothing, and does no more than a hundred jobs' work.
 */
#ifndef NQ_REDIS_SCRIPTS_H
#define NQ_REDIS_SCRIPTS_H

#define RD_SCRIPTS(X)                                                                                                \
    X(ENQUEUE, enqueue)                                                                                              \
    X(CLAIM, claim)                                                                                                  \
    X(DONE, done)                                                                                                    \
    X(SETTLE, settle)                                                                                                \
    X(EXTEND, extend)                                                                                                \
    X(STRAYS, strays)                                                                                                \
    X(RELEASE, release)                                                                                              \
    X(TEND, tend)                                                                                                    \
    X(ABANDON, abandon)                                                                                              \
    X(LOOK, look)                                                                                                    \
    X(STEER, steer)                                                                                                  \
    X(PURGE, purge)                                                                                                  \
    X(REMOVE, remove)                                                                                                \
    X(COUNTS, counts)                                                                                                \
    X(CENSUS, census)                                                                                                \
    X(PROGRESS, progress)                                                                                            \
    X(SCHEDULE, schedule)                                                                                            \
    X(TICK, tick)                                                                                                    \
    X(BEAT, beat)                                                                                                    \
    X(REAP, reap)                                                                                                    \
    X(AGENDA, agenda)

typedef enum rd_script {
#define X(symbol, name) RD_##symbol,
    RD_SCRIPTS(X)
#undef X
        RD_SCRIPT_COUNT
} rd_script;

#define X(symbol, name) extern const char rd_lua_##name[];
RD_SCRIPTS(X)
#undef X
/* Parts of scripts, which no one calls. */
extern const char rd_lua_keys[], rd_lua_place[], rd_lua_store[], rd_lua_active[], rd_lua_count[], rd_lua_types[];

enum { RD_SHA_SIZE = 41 };

const char *rd_script_text(rd_script script);
/* What EVALSHA calls the scripts by; constant once filled in. */
typedef struct rd_shas {
    char of[RD_SCRIPT_COUNT][RD_SHA_SIZE];
} rd_shas;
void rd_shas_fill(rd_shas *shas);

#endif
