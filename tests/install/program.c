/* SPDX-License-Identifier: MIT
 *
 * A user's program in C: argv[1] is a URL. Prints "hello, ada" from a handler.
 */
#include <neoq.h>
#include <neoq/backend.h>
#include <neoq/sqlite.h>
#include <neoq/testing.h>

#include <stdio.h>

static int hello(neoq_ctx *ctx, void *arg)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    (void)arg;
    printf("hello, %s\n", (const char *)job->payload);
    return NEOQ_OK;
}

int main(int argc, char **argv)
{
    neoq *nq;
    if (argc != 2 || neoq_open(&nq, argv[1], NULL) != NEOQ_OK)
        return 1;
    int status = neoq_start(nq, &(neoq_handler){.queue = "hello", .handle = hello, .concurrency = 4});
    if (status == NEOQ_OK)
        status = neoq_enqueue(nq, &(neoq_job){.queue = "hello", .payload = "ada"}, NULL);
    if (status == NEOQ_OK)
        status = neoq_drain(nq, NEOQ_SECONDS(10));
    if (status != NEOQ_OK)
        fprintf(stderr, "%s: %s\n", neoq_status_name(status), neoq_error_message());
    neoq_close(nq);
    return status != NEOQ_OK;
}
