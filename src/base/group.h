/* SPDX-License-Identifier: MIT
 *
 * base/group.h -- group commit: calls that come while others are being served wait, and one of them then serves all.
 *
 * Sixteen threads so pay for one commit, and a thread alone waits for nobody.
 */
#ifndef NQ_GROUP_H
#define NQ_GROUP_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* One call. Embedded in what it brings; filled in by nq_group_join(). */
typedef struct nq_member {
    struct nq_member *next;     /* who goes along, while they are served */
    struct nq_member *wakes[2]; /* whom this caller posts in turn, once it is served */
    sem_t turn;                 /* posted when it is served, or when its caller is to serve */
    bool served;
} nq_member;

typedef struct nq_group {
    pthread_mutex_t mutex; /* of what follows */
    nq_member *first, **last;
    atomic_size_t waiting; /* members in the list; read without the mutex by who waits for company */
    atomic_size_t members; /* in the list, or just being served */
    size_t last_size;      /* members served last time; of whoever serves */
    bool serving;
} nq_group;

void nq_group_init(nq_group *group);
void nq_group_destroy(nq_group *group);

/* Returns when `own` was served: by this thread, which then calls serve() for itself and all who wait, or by another.
 * One thread at a time serves. serve() may not touch a member's wakes, turn and served. */
void nq_group_join(nq_group *group, nq_member *own, void (*serve)(nq_member *first, void *arg), void *arg);

#endif
