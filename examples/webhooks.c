/* SPDX-License-Identifier: MIT
 *
 * Webhooks: each job is POSTed to a URL, and again, later and later, until the other side takes it. What says that it
 * never will (4xx) is not asked again; one that is overrun (429, 503) slows the whole queue down.
 *
 *   neoq --url sqlite:hooks.db enqueue hooks '{"order": 17}'
 *   example_webhooks sqlite:hooks.db http://localhost:8000/hook    (until SIGINT)
 */
#include <neoq.h>

#include <curl/curl.h>
#include <stdio.h>

static size_t ignore(char *data, size_t size, size_t count, void *arg)
{
    (void)data, (void)arg;
    return size * count;
}

/* curl asks now and then: a run that is over, or a shutdown, ends the transfer. */
static int is_cancelled(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return neoq_ctx_cancelled(ctx);
}

/* The same key on every try, so that the other side can tell a repeat. */
static struct curl_slist *headers_of(const neoq_job *job)
{
    char key[NEOQ_ID_SIZE + 32];
    snprintf(key, sizeof key, "Idempotency-Key: %s", job->id);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    return curl_slist_append(headers, key);
}

static int verdict(neoq_ctx *ctx, CURLcode code, long answer)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    if (code != CURLE_OK)
        return neoq_fail(ctx, "%s", curl_easy_strerror(code));
    printf("try %d of %s: %ld\n", job->retries + 1, (const char *)job->payload, answer);
    if (answer >= 200 && answer < 300)
        return NEOQ_OK;
    if (answer == 429 || answer == 503)
        return neoq_slow_down(ctx, "the other side is overrun: %ld", answer);
    if (answer >= 400 && answer < 500)
        return neoq_discard(ctx, "the other side refuses it: %ld", answer);
    return neoq_fail(ctx, "the other side answers %ld", answer);
}

static int deliver(neoq_ctx *ctx, void *url)
{
    const neoq_job *job = neoq_ctx_job(ctx);
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = headers_of(job);
    long answer = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)job->payload_size);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, job->payload);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_cancelled);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, ctx);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L); /* there are other threads */
    CURLcode code = curl ? curl_easy_perform(curl) : CURLE_OUT_OF_MEMORY;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return verdict(ctx, code, answer);
}

int main(int argc, char **argv)
{
    neoq *nq = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: %s STORE URL\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    neoq_handler hooks = {.queue = "hooks", .handle = deliver, .arg = argv[2], .concurrency = 8};
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK || neoq_open(&nq, argv[1], NULL) != NEOQ_OK ||
        neoq_start(nq, &hooks) != NEOQ_OK) {
        fprintf(stderr, "webhooks: %s\n", neoq_error_message());
        neoq_close(nq);
        return 1;
    }
    int status = neoq_run(nq);
    neoq_close(nq);
    curl_global_cleanup();
    return status == NEOQ_OK ? 0 : 1;
}
