/* SPDX-License-Identifier: MIT */
#include "backend/memory/buckets.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/table.h"

enum {
    ID_SIZE = 36,
    LONG = 32, /* a chain that ids of a neoq's own never grow to */
};

/* ---- hashes ----------------------------------------------------------------------------- */

static uint32_t mix(uint64_t hash, const char *text, size_t size)
{
    for (uint64_t word; size > 0;) {
        size_t part = size < sizeof word ? size : sizeof word;
        word = 0;
        memcpy(&word, text, part);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
        hash ^= hash >> 29;
        text += part;
        size -= part;
    }
    return (uint32_t)(hash >> 32);
}

static uint32_t hex(char c)
{
    return (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/*
 * The 32 bits of the id that count up in ids of one maker (base/uuid.h): jobs made one after the other lie in buckets
 * one after the other, so that neither filling nor draining a large table jumps about in memory.
 */
static uint32_t counter_of(const char *id)
{
    /* xxxxxxxx-xxxx-7CCC-yCCC-CCxxxxxxxxxx: 12 bits, then the 20 after the two of the variant. */
    uint32_t high = hex(id[15]) << 8 | hex(id[16]) << 4 | hex(id[17]);
    uint32_t low = (hex(id[19]) & 3) << 20 | hex(id[20]) << 16 | hex(id[21]) << 12 | hex(id[22]) << 8 |
                   hex(id[24]) << 4 | hex(id[25]);
    return high << 20 | low >> 2;
}

/* In other people's UUIDs these bits may be random, or always the same. */
static uint32_t hash_id(const mem_buckets *ids, const char *id)
{
    return ids->mixed ? mix(0, id, ID_SIZE) : counter_of(id);
}

static uint32_t hash_print(const mem_queue *queue, const char *print)
{
    return mix((uint64_t)(uintptr_t)queue, print, strlen(print));
}

/* ---- chains ----------------------------------------------------------------------------- */

static mem_job **link_of(mem_job *job, bool prints)
{
    return prints ? &job->print_next : &job->id_next;
}

static mem_job **head_of(const mem_buckets *buckets, const mem_job *job, bool prints)
{
    uint32_t hash = prints ? job->print_hash : hash_id(buckets, job->id);
    return &buckets->heads[hash & (buckets->size - 1)];
}

static void link_job(const mem_buckets *buckets, mem_job *job, bool prints)
{
    mem_job **head = head_of(buckets, job, prints);
    *link_of(job, prints) = *head;
    *head = job;
}

static bool resize(mem_buckets *buckets, size_t size, bool prints)
{
    const mem_buckets old = *buckets;
    mem_job **heads = calloc(size, sizeof *heads);
    if (!heads)
        return false;
    buckets->heads = heads;
    buckets->size = size;
    for (size_t i = 0; i < old.size; i++)
        for (mem_job *job = old.heads[i], *next; job; job = next) {
            next = *link_of(job, prints);
            link_job(buckets, job, prints);
        }
    free(old.heads);
    return true;
}

static bool make_room(mem_buckets *buckets, bool prints)
{
    return buckets->count < buckets->size || resize(buckets, buckets->size ? buckets->size * 2 : 64, prints);
}

static void remove_job(mem_buckets *buckets, mem_job *job, bool prints)
{
    mem_job **at = head_of(buckets, job, prints);
    while (*at != job)
        at = link_of(*at, prints);
    *at = *link_of(job, prints);
    buckets->count--;
}

/* ---- ids -------------------------------------------------------------------------------- */

static bool is_long(const mem_job *chain)
{
    int length = 0;
    for (; chain && length < LONG; chain = chain->id_next)
        length++;
    return length == LONG;
}

bool mem_ids_add(mem_buckets *ids, mem_job *job)
{
    if (!make_room(ids, false))
        return false;
    if (!ids->mixed && is_long(*head_of(ids, job, false))) {
        ids->mixed = true;
        ids->mixed = resize(ids, ids->size, false); /* without memory for it, the chain grows */
    }
    link_job(ids, job, false);
    ids->count++;
    return true;
}

void mem_ids_remove(mem_buckets *ids, mem_job *job)
{
    remove_job(ids, job, false);
}

mem_job *mem_ids_find(const mem_buckets *ids, const char *id)
{
    if (ids->size == 0 || strlen(id) != ID_SIZE)
        return NULL;
    mem_job *job = ids->heads[hash_id(ids, id) & (ids->size - 1)];
    while (job && memcmp(job->id, id, ID_SIZE) != 0)
        job = job->id_next;
    return job;
}

/* ---- fingerprints ----------------------------------------------------------------------- */

bool mem_prints_add(mem_buckets *prints, mem_job *job)
{
    if (!make_room(prints, true))
        return false;
    job->print_hash = hash_print(job->queue, mem_job_print(job));
    link_job(prints, job, true);
    prints->count++;
    return true;
}

void mem_prints_remove(mem_buckets *prints, mem_job *job)
{
    remove_job(prints, job, true);
}

mem_job *mem_prints_find(const mem_buckets *prints, const mem_queue *queue, const char *print)
{
    if (prints->size == 0)
        return NULL;
    uint32_t hash = hash_print(queue, print);
    mem_job *job = prints->heads[hash & (prints->size - 1)];
    while (job && (job->print_hash != hash || job->queue != queue || strcmp(mem_job_print(job), print) != 0))
        job = job->print_next;
    return job;
}
