// SPDX-License-Identifier: MIT
//
// A user's program in C++: argv[1] is a URL. Prints "hello, ada" from a handler.
#include <neoq.h>
#include <neoq/backend.h>
#include <neoq/sqlite.h>
#include <neoq/testing.h>

#include <cstdio>
#include <string>

int main(int argc, char **argv)
{
    neoq *nq = nullptr;
    if (argc != 2 || neoq_open(&nq, argv[1], nullptr) != NEOQ_OK)
        return 1;
    std::string greeting = "hello, ";
    neoq_handler handler{};
    handler.queue = "hello";
    handler.arg = &greeting;
    handler.concurrency = 1;
    handler.handle = [](neoq_ctx *ctx, void *arg) -> int {
        auto payload = static_cast<const char *>(neoq_ctx_job(ctx)->payload);
        std::printf("%s%s\n", static_cast<std::string *>(arg)->c_str(), payload);
        return NEOQ_OK;
    };
    neoq_job job{};
    job.queue = "hello";
    job.payload = "ada";
    job.deadline = neoq_now() + NEOQ_MINUTES(1);
    int status = neoq_start(nq, &handler);
    if (status == NEOQ_OK)
        status = neoq_enqueue(nq, &job, nullptr);
    if (status == NEOQ_OK)
        status = neoq_drain(nq, NEOQ_SECONDS(10));
    if (status != NEOQ_OK)
        std::fprintf(stderr, "%s: %s\n", neoq_status_name(status), neoq_error_message());
    neoq_close(nq);
    return status != NEOQ_OK;
}
