/* SPDX-License-Identifier: MIT */
#include "base/group.h"

#include <sched.h>

enum { PATIENCE = 200 };

void nq_group_init(nq_group *group)
{
    *group = (nq_group){.last = &group->first};
    pthread_mutex_init(&group->mutex, NULL);
}

void nq_group_destroy(nq_group *group)
{
    pthread_mutex_destroy(&group->mutex);
}

/*
 * The callers whom the last turn let go are likely to come back at once. Where there were several, the next to serve
 * steps aside a few times to let them in, as long as they keep coming; a caller alone waits for nobody.
 */
static void let_company_in(nq_group *group)
{
    for (int i = 0; i < PATIENCE && group->last_size > 1 && atomic_load(&group->waiting) < group->last_size; i++)
        sched_yield();
}

static nq_member *take_all(nq_group *group)
{
    pthread_mutex_lock(&group->mutex);
    nq_member *first = group->first;
    group->first = NULL;
    group->last = &group->first;
    group->last_size = group->waiting;
    group->waiting = 0;
    pthread_mutex_unlock(&group->mutex);
    return first;
}

static void pass_on(nq_group *group)
{
    pthread_mutex_lock(&group->mutex);
    if (group->first)
        sem_post(&group->first->turn);
    else
        group->serving = false;
    pthread_mutex_unlock(&group->mutex);
}

/*
 * Members wake each other, each two more, so that one thread need not wake all before it can go on. own is the root;
 * the rest of the list follows in the order of a binary heap.
 */
static void arrange_wakes(nq_member *first, nq_member *own)
{
    nq_member *parent = own, *last = own;
    int children = 0;
    own->served = true;
    for (nq_member *member = first, *rest; member; member = rest) {
        rest = member->next;
        if (member == own)
            continue;
        member->served = true;
        member->next = NULL;
        last->next = member; /* the heap's order, as a list from own on */
        last = member;
        if (children == 2) {
            parent = parent->next;
            children = 0;
        }
        parent->wakes[children++] = member;
    }
    last->next = NULL;
}

/* A member is its caller's again once it is posted. */
static void wake_next(const nq_member *member)
{
    for (int i = 0; i < 2; i++)
        if (member->wakes[i])
            sem_post(&member->wakes[i]->turn);
}

static void lead(nq_group *group, nq_member *own, void (*serve)(nq_member *first, void *arg), void *arg)
{
    let_company_in(group);
    nq_member *first = take_all(group);
    serve(first, arg);
    atomic_fetch_sub(&group->members, group->last_size);
    arrange_wakes(first, own);
    wake_next(own);
    pass_on(group);
}

void nq_group_join(nq_group *group, nq_member *own, void (*serve)(nq_member *first, void *arg), void *arg)
{
    *own = (nq_member){0};
    sem_init(&own->turn, 0, 0);
    pthread_mutex_lock(&group->mutex);
    *group->last = own;
    group->last = &own->next;
    group->waiting++;
    group->members++;
    bool mine = !group->serving;
    group->serving = true;
    pthread_mutex_unlock(&group->mutex);
    while (!mine && sem_wait(&own->turn) != 0)
        ;
    if (own->served)
        wake_next(own);
    else
        lead(group, own, serve, arg);
    sem_destroy(&own->turn);
}
