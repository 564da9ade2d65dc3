/* SPDX-License-Identifier: MIT
 *
 * redis/slot.h -- where in a cluster a key lives.
 */
#ifndef NQ_REDIS_SLOT_H
#define NQ_REDIS_SLOT_H

#include <stddef.h>

enum { RD_SLOTS = 16384 };

/* Of a key with a tag in braces ("asynq:{low}:pending") only the tag counts, so that all keys of a queue are together. */
unsigned rd_slot(const char *key, size_t size);

#endif
