/* SPDX-License-Identifier: MIT
 *
 * Work that comes back by itself. A schedule kept in the store enqueues a job at each of its ticks; a handler started
 * by neoq_start_cron() has a schedule of its own; neoq_cron_next() tells when a spec ticks, with no store at all.
 */
#include <neoq.h>

#include <semaphore.h>
#include <stdio.h>
#include <time.h>

static int tick(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    printf("%s ran: %s\n", job->queue, job->payload_size > 0 ? (const char *)job->payload : "no payload");
    sem_post(arg);
    return NEOQ_OK;
}

/* When the clocks of Berlin go forward, two o'clock is skipped: the run of that day comes at three. */
static int print_ticks(const char *spec, neoq_time from, int count)
{
    neoq_time next = from;
    for (int i = 0; i < count; i++) {
        if (neoq_cron_next(spec, next, &next) != NEOQ_OK)
            return 1;
        time_t seconds = (time_t)(next / NEOQ_SECONDS(1));
        struct tm utc;
        char text[32];
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
        printf("%s: %s\n", spec, text);
    }
    return 0;
}

int main(void)
{
    neoq *nq = NULL;
    sem_t ran;
    neoq_job report = {.queue = "report", .payload = "{\"kind\": \"short\"}"};
    neoq_handler reports = {.queue = "report", .handle = tick, .arg = &ran};
    neoq_handler sweeps = {.queue = "sweep", .handle = tick, .arg = &ran};
    sem_init(&ran, 0, 0);
    int failed = print_ticks("TZ=Europe/Berlin 30 2 * * *", NEOQ_SECONDS(1774569600) /* 2026-03-27 */, 3);
    if (failed || neoq_open(&nq, "memory:", NULL) != NEOQ_OK || neoq_start(nq, &reports) != NEOQ_OK ||
        neoq_schedule(nq, "short report", "@every 1s", &report) != NEOQ_OK ||
        neoq_start_cron(nq, "* * * * * *", &sweeps) != NEOQ_OK) {
        fprintf(stderr, "periodic: %s\n", neoq_error_message());
        neoq_close(nq);
        return 1;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    for (int i = 0; i < 3 && !failed; i++)
        failed = sem_timedwait(&ran, &until) != 0;
    neoq_close(nq);
    sem_destroy(&ran);
    return failed;
}
