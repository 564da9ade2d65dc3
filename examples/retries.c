/* SPDX-License-Identifier: MIT
 *
 * A job that fails twice before it works: its own waits between the retries, words for each failure, a result, and
 * the history of its runs afterwards.
 */
#include <neoq.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fetch(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    const char *page = "<html>";
    (void)arg;
    if (job->retries < 2)
        return neoq_fail(ctx, "%s does not answer (try %d)", (const char *)job->payload, job->retries + 1);
    return neoq_set_result(ctx, page, strlen(page));
}

/* Newest first. */
static void print_runs(neoq *nq, const char *id)
{
    neoq_run_info *runs;
    size_t count;
    if (neoq_runs(nq, id, &runs, &count) != NEOQ_OK)
        return;
    for (size_t i = 0; i < count; i++)
        printf("run %" PRId64 ": %s %s\n", runs[i].epoch, runs[i].outcome, runs[i].error);
    free(runs);
}

/* Waits until the job has ended; false if it is gone or time is up. */
static bool wait_for(neoq *nq, const char *id, neoq_duration longest)
{
    for (neoq_time until = neoq_now() + longest; neoq_now() < until;) {
        neoq_job_set *found;
        if (neoq_get(nq, id, &found) != NEOQ_OK)
            return false;
        const neoq_job *job = neoq_job_set_at(found, 0);
        bool done = job->state == NEOQ_DONE;
        if (done)
            printf("result: %.*s\n", (int)job->result_size, (const char *)job->result);
        neoq_job_set_free(found);
        if (done)
            return true;
        neoq_drain(nq, NEOQ_SECONDS(1));
    }
    return false;
}

int main(void)
{
    static const neoq_duration waits[] = {NEOQ_MILLISECONDS(10), NEOQ_MILLISECONDS(50), NEOQ_SECONDS(5)};
    char id[NEOQ_ID_SIZE];
    neoq *nq;
    neoq_options options = {.log_level = NEOQ_LOG_ERROR};
    neoq_job job = {.queue = "fetch",
                    .payload = "https://example.org/",
                    .retry_waits = waits,
                    .retry_wait_count = 3,
                    .retention = NEOQ_HOURS(1)};
    if (neoq_open(&nq, "memory:", &options) != NEOQ_OK || neoq_enqueue(nq, &job, id) != NEOQ_OK ||
        neoq_start(nq, &(neoq_handler){.queue = "fetch", .handle = fetch}) != NEOQ_OK) {
        fprintf(stderr, "retries: %s\n", neoq_error_message());
        return 1;
    }
    bool done = wait_for(nq, id, NEOQ_SECONDS(10));
    print_runs(nq, id);
    neoq_close(nq);
    return done ? 0 : 1;
}
