/* SPDX-License-Identifier: MIT */
#include "job/transition.h"

#include "job/job.h"

const char *nq_outcome_word(nq_outcome outcome)
{
    switch (outcome) {
    case NQ_DONE: return "done";
    case NQ_FAILED:
    case NQ_RETRY_IN:
    case NQ_SLOW: return "failed";
    case NQ_SNOOZED: return "snoozed";
    case NQ_DISCARDED:
    case NQ_EXPIRED: return "discarded";
    case NQ_TIMEOUT: return "timeout";
    case NQ_CANCELLED: return "cancelled";
    case NQ_CRASHED:
    case NQ_POISONED: return "crashed";
    case NQ_LOST: return "lost";
    case NQ_RELEASED: return "released";
    }
    return "failed";
}

neoq_duration nq_backoff(int retries, uint64_t random)
{
    int64_t n = retries < 0 ? 0 : retries > 10000 ? 10000 : retries;
    return NEOQ_SECONDS(n * n * n * n + 15 + (int64_t)(random % 30) * n + 1);
}

neoq_duration nq_slower(neoq_duration wait)
{
    if (wait <= 0)
        return NEOQ_MILLISECONDS(100);
    return wait >= NEOQ_SECONDS(30) ? NEOQ_SECONDS(60) : wait * 2;
}

static neoq_time instant_after(neoq_time now, neoq_duration wait)
{
    return wait > NQ_TIME_MAX - now ? NQ_TIME_MAX : now + wait;
}

neoq_time nq_keep_until(neoq_time now, neoq_duration retention)
{
    return retention == NEOQ_FOREVER ? 0 : instant_after(now, retention);
}

static int retries_allowed(const neoq_job *job)
{
    return job->max_retries < 0 ? 0 : job->max_retries;
}

static neoq_duration wait_by_policy(const neoq_job *job, uint64_t random)
{
    if (!job->retry_waits)
        return nq_backoff(job->retries, random);
    size_t i = (size_t)job->retries;
    return job->retry_waits[i < job->retry_wait_count ? i : job->retry_wait_count - 1];
}

static void fail(const neoq_job *job, const nq_transition_input *input, neoq_settlement *settlement)
{
    if (job->retries >= retries_allowed(job)) {
        settlement->state = NEOQ_DEAD;
        settlement->keep_until = nq_keep_until(input->now, input->dead_retention);
        return;
    }
    neoq_duration wait = wait_by_policy(job, input->random);
    if (input->outcome == NQ_RETRY_IN)
        wait = input->wait;
    /* A first crash may be the machine's fault, not the job's: it waits for nothing. */
    if ((input->outcome == NQ_LOST || input->outcome == NQ_CRASHED) && job->retries == 0)
        wait = 0;
    settlement->state = NEOQ_RETRYING;
    settlement->run_after = instant_after(input->now, wait);
}

void nq_transition(const neoq_job *job, const nq_transition_input *input, neoq_settlement *settlement)
{
    settlement->forget = false;
    settlement->run_after = job->run_after;
    settlement->keep_until = 0;
    settlement->slow_down = input->outcome == NQ_SLOW;
    switch (input->outcome) {
    case NQ_DONE:
        settlement->state = NEOQ_DONE;
        settlement->forget = job->retention == 0;
        settlement->keep_until = nq_keep_until(input->now, job->retention);
        return;
    case NQ_SNOOZED:
        settlement->state = NEOQ_SCHEDULED;
        settlement->run_after = instant_after(input->now, input->wait);
        return;
    case NQ_RELEASED: settlement->state = NEOQ_READY; return;
    case NQ_DISCARDED:
    case NQ_EXPIRED:
    case NQ_CANCELLED:
    case NQ_POISONED:
        settlement->state = NEOQ_DEAD;
        settlement->keep_until = nq_keep_until(input->now, input->dead_retention);
        return;
    case NQ_FAILED:
    case NQ_RETRY_IN:
    case NQ_SLOW:
    case NQ_TIMEOUT:
    case NQ_CRASHED:
    case NQ_LOST: fail(job, input, settlement); return;
    }
}

void nq_heed_cancel(neoq_settlement *s)
{
    s->cancelled = true;
    if (s->state != NEOQ_DEAD)
        s->keep_until = s->cancel_keep_until;
    s->state = NEOQ_DEAD;
    s->forget = false;
    s->slow_down = false;
    s->error = s->outcome = nq_outcome_word(NQ_CANCELLED);
}
