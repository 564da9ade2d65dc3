/* SPDX-License-Identifier: MIT */
#include "redis/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static int handle(neoq_ctx *ctx, void *arg)
{
    flow *f = arg;
    const neoq_job *job = neoq_ctx_job(ctx);
    int n = atoi(job->payload);
    if (job->epoch < EPOCHS && atomic_exchange(&f->runs[n][job->epoch], true))
        atomic_fetch_add(&f->twice, 1);
    atomic_fetch_add(&f->ran, 1);
    return NEOQ_OK;
}

static void *produce(void *arg)
{
    flow *f = arg;
    while (!atomic_load(&f->ends) && atomic_load(&f->asked) < JOBS_MOST) {
        char payload[16];
        int n = atomic_fetch_add(&f->asked, 1);
        snprintf(payload, sizeof payload, "%d", n);
        int status = neoq_enqueue(f->nq, &(neoq_job){.queue = "q", .payload = payload}, NULL);
        atomic_store(&f->stored[n], status == NEOQ_OK);
        if (status == NEOQ_OK)
            continue;
        if (!f->words[0])
            snprintf(f->words, sizeof f->words, "%s", neoq_error_message());
        atomic_fetch_add(status == NEOQ_EUNKNOWN ? &f->unknown : &f->refused, 1);
    }
    return NULL;
}

flow *flow_start(base *b, const char *url)
{
    flow *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->base = b;
    b->options.connect_timeout = NEOQ_SECONDS(20);
    b->options.lease = NEOQ_SECONDS(2);
    b->options.job_check_interval = NEOQ_MILLISECONDS(100);
    if (neoq_open(&f->nq, url ? url : b->url, &b->options) != NEOQ_OK)
        fail_msg("%s", neoq_error_message());
    assert_int_equal(NEOQ_OK,
                     neoq_start(f->nq, &(neoq_handler){.queue = "q", .handle = handle, .arg = f, .concurrency = 4}));
    assert_int_equal(0, pthread_create(&f->producer, NULL, produce, f));
    eventually(atomic_load(&f->ran) >= SOME);
    return f;
}

void flow_goes_on(flow *f)
{
    int before = atomic_load(&f->ran);
    eventually(atomic_load(&f->ran) >= before + SOME);
}

bool flow_all_ran(flow *f)
{
    for (int n = 0; n < atomic_load(&f->asked); n++) {
        bool ran = false;
        for (int i = 0; i < EPOCHS; i++)
            ran = ran || atomic_load(&f->runs[n][i]);
        if (atomic_load(&f->stored[n]) && !ran)
            return false;
    }
    return true;
}

void flow_stop_producing(flow *f)
{
    atomic_store(&f->ends, true);
    pthread_join(f->producer, NULL);
}

void flow_end(flow *f)
{
    neoq_close(f->nq);
    free(f);
}

void flow_end_complete(flow *f)
{
    flow_goes_on(f);
    flow_stop_producing(f);
    eventually(flow_all_ran(f));
    assert_int_equal(0, atomic_load(&f->twice));
    flow_end(f);
}

void flow_end_unharmed(flow *f)
{
    flow_goes_on(f);
    if (atomic_load(&f->refused) > 0)
        fail_msg("refused: %s", f->words);
    flow_end_complete(f);
}
