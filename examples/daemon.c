/* SPDX-License-Identifier: MIT
 *
 * A daemon: two queues, a schedule, and neoq_run() until SIGINT or SIGTERM; then running jobs have eight seconds to
 * finish, and those that do not go back to their queue.
 *
 *   example_daemon sqlite:/var/lib/shop/jobs.db
 *   neoq --url sqlite:/var/lib/shop/jobs.db enqueue resize '{"file": "a.png"}'
 */
#include <neoq.h>

#include <stdio.h>
#include <unistd.h>

/* Long work looks now and then whether it is still wanted, and tells how far it has come. */
static int resize(neoq_ctx *ctx, void *arg)
{
    (void)arg;
    for (int percent = 0; percent < 100; percent += 10) {
        if (neoq_ctx_cancelled(ctx))
            return neoq_fail(ctx, "stopped at %d %%", percent);
        neoq_set_progress(ctx, percent, "resizing");
        usleep(20000);
    }
    printf("resized %s\n", (const char *)neoq_ctx_job(ctx)->payload);
    return NEOQ_OK;
}

static int greet(neoq_ctx *ctx, void *arg)
{
    (void)arg;
    if (neoq_ctx_job(ctx)->payload_size == 0)
        return neoq_discard(ctx, "nobody to greet"); /* no retry would help */
    printf("hello, %s\n", (const char *)neoq_ctx_job(ctx)->payload);
    return NEOQ_OK;
}

static int tidy(neoq_ctx *ctx, void *arg)
{
    (void)ctx, (void)arg;
    puts("tidied up");
    return NEOQ_OK;
}

int main(int argc, char **argv)
{
    neoq *nq;
    if (neoq_open(&nq, argc > 1 ? argv[1] : "memory:", NULL) != NEOQ_OK ||
        neoq_start(nq, &(neoq_handler){.queue = "resize", .handle = resize, .concurrency = 2}) != NEOQ_OK ||
        neoq_start(nq, &(neoq_handler){.queue = "greet", .handle = greet, .timeout = NEOQ_SECONDS(5)}) != NEOQ_OK ||
        neoq_start_cron(nq, "TZ=Europe/Berlin 0 4 * * *", &(neoq_handler){.queue = "tidy", .handle = tidy})) {
        fprintf(stderr, "daemon: %s\n", neoq_error_message());
        return 1;
    }
    int status = neoq_run(nq);
    neoq_close(nq);
    return status == NEOQ_OK ? 0 : 1;
}
