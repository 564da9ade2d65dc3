/* SPDX-License-Identifier: MIT */
#include "support/recorder.h"

#include <stdio.h>
#include <string.h>

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

static void see(seen *s, const neoq_job *job)
{
    copy(s->id, sizeof(s->id), job->id);
    copy(s->queue, sizeof(s->queue), job->queue);
    copy(s->metadata, sizeof(s->metadata), job->metadata);
    copy(s->fingerprint, sizeof(s->fingerprint), job->fingerprint);
    copy(s->error, sizeof(s->error), job->error);
    s->has_metadata = job->metadata != NULL;
    s->has_error = job->error != NULL;
    s->payload_size = job->payload_size;
    if (job->payload) {
        s->payload_is_terminated = ((const char *)job->payload)[job->payload_size] == '\0';
        memcpy(s->payload, job->payload,
               job->payload_size < sizeof(s->payload) ? job->payload_size : sizeof(s->payload));
    }
    s->state = job->state;
    s->priority = job->priority;
    s->retries = job->retries;
    s->max_retries = job->max_retries;
    s->epoch = job->epoch;
    s->created_at = job->created_at;
    s->ran_at = job->ran_at;
    s->deadline = job->deadline;
}

static int play(neoq_ctx *ctx, step s)
{
    const char *words = s.words ? s.words : "something bad happened";
    switch (s.act) {
    case ACT_DONE: return NEOQ_OK;
    case ACT_FAIL: return neoq_fail(ctx, "%s", words);
    case ACT_RETRY_IN: return neoq_retry_in(ctx, s.wait, "%s", words);
    case ACT_SNOOZE: return neoq_snooze(ctx, s.wait);
    case ACT_DISCARD: return neoq_discard(ctx, "%s", words);
    case ACT_SLOW_DOWN: return neoq_slow_down(ctx, "%s", words);
    case ACT_RETURN: return s.value;
    }
    return NEOQ_OK;
}

int record(neoq_ctx *ctx, void *recorder_of_it)
{
    recorder *r = recorder_of_it;
    pthread_mutex_lock(&r->lock);
    size_t number = r->count++;
    if (number < sizeof(r->runs) / sizeof(r->runs[0]))
        see(&r->runs[number], neoq_ctx_job(ctx));
    if (++r->running > r->most)
        r->most = r->running;
    step s = {0};
    if (r->step_count > 0)
        s = r->steps[number < r->step_count ? number : r->step_count - 1];
    pthread_mutex_unlock(&r->lock);
    if (r->hold)
        gate_wait(r->hold);
    if (r->inside)
        r->inside(ctx, r);
    int result = play(ctx, s);
    pthread_mutex_lock(&r->lock);
    r->running--;
    r->ended++;
    pthread_mutex_unlock(&r->lock);
    return result;
}

void record_crash(const neoq_job *job, const char *error, void *recorder_of_it)
{
    recorder *r = recorder_of_it;
    pthread_mutex_lock(&r->lock);
    r->crashes++;
    copy(r->crash_error, sizeof(r->crash_error), error);
    copy(r->crash_id, sizeof(r->crash_id), job->id);
    pthread_mutex_unlock(&r->lock);
}

static size_t read_size(recorder *r, const size_t *field)
{
    pthread_mutex_lock(&r->lock);
    size_t value = *field;
    pthread_mutex_unlock(&r->lock);
    return value;
}

static int read_int(recorder *r, const int *field)
{
    pthread_mutex_lock(&r->lock);
    int value = *field;
    pthread_mutex_unlock(&r->lock);
    return value;
}

size_t recorded(recorder *r)
{
    return read_size(r, &r->count);
}

size_t recorded_ends(recorder *r)
{
    return read_size(r, &r->ended);
}

size_t recorded_crashes(recorder *r)
{
    return read_size(r, &r->crashes);
}

int recorded_running(recorder *r)
{
    return read_int(r, &r->running);
}

int recorded_most(recorder *r)
{
    return read_int(r, &r->most);
}

neoq_handler recording(const char *queue, recorder *r)
{
    return (neoq_handler){.queue = queue, .handle = record, .arg = r, .concurrency = 1, .on_crash = record_crash};
}
