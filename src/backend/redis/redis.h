/* SPDX-License-Identifier: MIT
 *
 * redis/redis.h -- jobs in a Redis, by asynq's own keys and messages: its clients, workers and tools see the same jobs.
 */
#ifndef NQ_REDIS_REDIS_H
#define NQ_REDIS_REDIS_H

#include <neoq/backend.h>

extern const neoq_backend nq_redis_backend;

/* Whether a URL is for this store; it has several schemes. */
bool nq_is_redis(const char *url);

#endif
