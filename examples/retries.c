/* SPDX-License-Identifier: MIT
 *
 * A job that fails twice before it works: waits of its own between the retries, words for each failure, a result, and
 * an observer that hears of every run once it is written down.
 */
#include <neoq.h>

#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int fetch(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    const char *page = "<html>";
    (void)arg;
    if (job->retries < 2)
        return neoq_fail(ctx, "%s does not answer", (const char *)job->payload);
    return neoq_set_result(ctx, page, strlen(page));
}

static void tell(const neoq_job *job, const neoq_run_info *run, void *arg)
{
    printf("run %" PRId64 " of %s: %s %s\n", run->epoch, job->queue, run->outcome, run->error);
    if (job->state == NEOQ_DONE || job->state == NEOQ_DEAD)
        sem_post(arg);
}

int main(void)
{
    static const neoq_duration waits[] = {NEOQ_MILLISECONDS(10), NEOQ_MILLISECONDS(50), NEOQ_SECONDS(5)};
    char id[NEOQ_ID_SIZE];
    sem_t ended;
    neoq *nq;
    neoq_options options = {.log_level = NEOQ_LOG_ERROR};
    neoq_job job = {.queue = "fetch",
                    .payload = "https://example.org/",
                    .retry_waits = waits,
                    .retry_wait_count = 3,
                    .retention = NEOQ_HOURS(1)};
    sem_init(&ended, 0, 0);
    if (neoq_open(&nq, "memory:", &options) != NEOQ_OK || neoq_observe(nq, tell, &ended) != NEOQ_OK ||
        neoq_start(nq, &(neoq_handler){.queue = "fetch", .handle = fetch}) != NEOQ_OK ||
        neoq_enqueue(nq, &job, id) != NEOQ_OK) {
        fprintf(stderr, "retries: %s\n", neoq_error_message());
        return 1;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    bool done = sem_timedwait(&ended, &until) == 0;
    neoq_job_set *found;
    if (neoq_get(nq, id, &found) == NEOQ_OK) {
        const neoq_job *now = neoq_job_set_at(found, 0);
        if (now->result != NULL)
            printf("result: %.*s\n", (int)now->result_size, (const char *)now->result);
        neoq_job_set_free(found);
    }
    neoq_close(nq);
    sem_destroy(&ended);
    return done ? 0 : 1;
}
