/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/keymap.h"

#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 1024 };

/* The n-th place where the key may be. */
static size_t place(const sq_keymap *map, int64_t key, size_t n)
{
    uint64_t mixed = (uint64_t)key * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)((mixed >> 32) + n) & (map->size - 1);
}

static struct sq_keymap_slot *slot_for(const sq_keymap *map, int64_t key)
{
    for (size_t n = 0;; n++) {
        struct sq_keymap_slot *slot = &map->slots[place(map, key, n)];
        if (slot->key == 0 || (slot->key == key && slot->rid == 0))
            return slot;
    }
}

static bool grow(sq_keymap *map)
{
    sq_keymap wider = {.size = map->size ? map->size * 2 : SMALLEST};
    wider.slots = calloc(wider.size, sizeof *wider.slots);
    if (!wider.slots)
        return false;
    for (size_t i = 0; i < map->size; i++)
        if (map->slots[i].rid) {
            *slot_for(&wider, map->slots[i].key) = map->slots[i];
            wider.count++;
        }
    free(map->slots);
    *map = wider;
    return true;
}

bool sq_keymap_add(sq_keymap *map, int64_t key, int64_t rid)
{
    if (map->count >= map->size / 2 && !grow(map))
        return false;
    struct sq_keymap_slot *slot = slot_for(map, key);
    map->count += slot->key == 0;
    *slot = (struct sq_keymap_slot){key, rid};
    return true;
}

int64_t *sq_keymap_next(sq_keymap *map, int64_t key, size_t *at)
{
    while (*at < map->size) {
        struct sq_keymap_slot *slot = &map->slots[place(map, key, (*at)++)];
        if (slot->key == 0)
            return NULL;
        if (slot->key == key && slot->rid)
            return &slot->rid;
    }
    return NULL;
}

void sq_keymap_clear(sq_keymap *map)
{
    if (map->count)
        memset(map->slots, 0, map->size * sizeof *map->slots);
    map->count = 0;
}

void sq_keymap_free(sq_keymap *map)
{
    free(map->slots);
    *map = (sq_keymap){0};
}
