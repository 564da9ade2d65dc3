/* SPDX-License-Identifier: MIT
 *
 * redis/agenda.h -- what asynq's tools see of schedules: a list of entries for each process that tends them, and the
 * history of their ticks. An entry has the schedule's name for an id, so whoever ticked it, its history is one.
 *
 * The list is as of the last look at the schedules and of what was done here since; a worker's beat writes it, and it is
 * gone by itself when there are none any more.
 */
#ifndef NQ_REDIS_AGENDA_H
#define NQ_REDIS_AGENDA_H

#include <neoq/backend.h>

#include "backend/redis/batch.h"

typedef struct rd_agenda rd_agenda;

rd_agenda *rd_agenda_open(void); /* NULL: no memory */
void rd_agenda_close(rd_agenda *agenda);

/* A look at all schedules: what is added counts once the look ends. Those that others started are not shown, for they
 * are not tended here. Where memory runs out, there are fewer. */
typedef struct rd_seen {
    neoq_schedule_record schedule;
    neoq_job *job; /* the block of memory that schedule.job points into */
} rd_seen;

typedef struct rd_glance {
    rd_seen *items;
    size_t count;
} rd_glance;

void rd_glance_add(rd_glance *glance, const neoq_schedule_record *schedule);
void rd_glance_free(rd_glance *glance);
void rd_agenda_take(rd_agenda *agenda, rd_glance *glance);

void rd_agenda_own(rd_agenda *agenda, const char *name); /* it was started here */
void rd_agenda_tick(rd_agenda *agenda, const char *name, neoq_time last, neoq_time next);
void rd_agenda_remove(rd_agenda *agenda, const char *name);

/* Puts what shows the list under that key for `life` seconds: nothing while there is none, and was none. */
void rd_put_agenda(rd_agenda *agenda, rd_batch *batch, const char *key, int64_t until, int64_t life);
/* Puts what hides it. */
void rd_put_no_agenda(rd_agenda *agenda, rd_batch *batch, const char *key);

/* Puts what tells of the jobs of a tick that were stored. */
void rd_put_history(rd_batch *batch, const char *name, const neoq_enqueued *results, size_t count, neoq_time now);
void rd_put_no_history(rd_batch *batch, const char *name);

#endif
