/* SPDX-License-Identifier: MIT
 *
 * The smallest program: a handler, a job, and the end of both. In memory; with "sqlite:hello.db" in the place of
 * "memory:" the job would outlive the program.
 */
#include <neoq.h>

#include <stdio.h>

static int hello(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    (void)arg;
    printf("%s: %s\n", job->queue, (const char *)job->payload);
    return NEOQ_OK;
}

int main(void)
{
    neoq *nq = NULL;
    if (neoq_open(&nq, "memory:", NULL) != NEOQ_OK ||
        neoq_start(nq, &(neoq_handler){.queue = "hello", .handle = hello, .concurrency = 4}) != NEOQ_OK ||
        neoq_enqueue(nq, &(neoq_job){.queue = "hello", .payload = "{\"message\": \"hi\"}"}, NULL) != NEOQ_OK ||
        neoq_drain(nq, NEOQ_SECONDS(10)) != NEOQ_OK) {
        fprintf(stderr, "hello: %s\n", neoq_error_message());
        neoq_close(nq);
        return 1;
    }
    neoq_close(nq);
    return 0;
}
