/* SPDX-License-Identifier: MIT
 *
 * sqlite/keymap.h -- row numbers by key, in memory.
 *
 * A key may have several: keys agree by chance, and what is remembered may be out of date. Nothing here locks.
 */
#ifndef NQ_SQLITE_KEYMAP_H
#define NQ_SQLITE_KEYMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: empty. */
typedef struct sq_keymap {
    struct sq_keymap_slot {
        int64_t key, rid; /* key 0: free; rid 0: forgotten, its place is the key's */
    } * slots;
    size_t count, size; /* size is a power of two */
} sq_keymap;

/* Neither may be 0. False if memory ran out. */
bool sq_keymap_add(sq_keymap *map, int64_t key, int64_t rid);

/* Walks over the row numbers of a key: *at is 0 at first. NULL = no more. Setting the number to 0 forgets it. */
int64_t *sq_keymap_next(sq_keymap *map, int64_t key, size_t *at);

void sq_keymap_clear(sq_keymap *map); /* its memory is kept */
void sq_keymap_free(sq_keymap *map);

#endif
