// SPDX-License-Identifier: MIT
//
// neoq from C++17: the neoq belongs to an object that closes it, handlers are callables of any kind, and a failure to set
// up is an exception. What a handler throws is the job's error, for no exception may pass through C.
#include <neoq.h>

#include <cstdio>
#include <functional>
#include <list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

class jobs
{
  public:
    using handler = std::function<void(std::string_view payload)>;

    explicit jobs(const char *url)
    {
        neoq *opened = nullptr;
        neoq_options options{};
        options.log_level = NEOQ_LOG_ERROR;
        check(neoq_open(&opened, url, &options));
        owner.reset(opened);
    }

    void start(const char *queue, handler run)
    {
        handlers.push_back(std::move(run)); // a list: what neoq points to stays where it is
        neoq_handler h{};
        h.queue = queue;
        h.handle = call;
        h.arg = &handlers.back();
        check(neoq_start(owner.get(), &h));
    }

    void enqueue(const char *queue, const std::string &payload)
    {
        neoq_job job{};
        job.queue = queue;
        job.payload = payload.data();
        job.payload_size = payload.size();
        job.max_retries = NEOQ_NO_RETRIES;
        check(neoq_enqueue(owner.get(), &job, nullptr));
    }

    void drain() { check(neoq_drain(owner.get(), NEOQ_SECONDS(10))); }

    std::size_t dead() const
    {
        neoq_filter filter{};
        filter.state = NEOQ_DEAD;
        neoq_job_set *found = nullptr;
        check(neoq_find(owner.get(), &filter, &found));
        std::unique_ptr<neoq_job_set, decltype(&neoq_job_set_free)> set(found, neoq_job_set_free);
        for (std::size_t i = 0; i < neoq_job_set_count(found); i++)
            std::printf("dead: %s\n", neoq_job_set_at(found, i)->error);
        return neoq_job_set_count(found);
    }

  private:
    static int call(neoq_ctx *ctx, void *arg) noexcept
    {
        const neoq_job *job = neoq_ctx_job(ctx);
        try {
            (*static_cast<handler *>(arg))({static_cast<const char *>(job->payload), job->payload_size});
            return NEOQ_OK;
        } catch (const std::exception &e) {
            return neoq_fail(ctx, "%s", e.what());
        }
    }

    static void check(int status)
    {
        if (status != NEOQ_OK)
            throw std::runtime_error(neoq_error_message());
    }

    std::list<handler> handlers; // outlives the owner, whose closing waits for them
    std::unique_ptr<neoq, decltype(&neoq_close)> owner{nullptr, neoq_close};
};

int main()
try {
    jobs all("memory:");
    const std::string greeting = "hello, ";
    all.start("greet", [&](std::string_view name) { std::puts((greeting + std::string(name)).c_str()); });
    all.start("refuse", [](std::string_view what) { throw std::invalid_argument(std::string(what) + " is refused"); });
    all.enqueue("greet", "ada");
    all.enqueue("refuse", "rain");
    all.drain();
    return all.dead() == 1 ? 0 : 1;
} catch (const std::exception &e) {
    std::fprintf(stderr, "owner: %s\n", e.what());
    return 1;
}
