/* SPDX-License-Identifier: MIT
 *
 * A store of one's own, on the shoulders of another. Jobs are kept as SQLite keeps them, but their payloads are
 * sealed (AES-256-GCM) before they get there, and opened on the way back. Of the table of operations it takes SQLite's,
 * and puts its own in the place of those that carry jobs.
 *
 * Readable stay fingerprints, which are made of the payload unless the job brings its own, and results; and what a
 * schedule enqueues is sealed when it does.
 */
#include "sealed.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONCE = 12, TAG = 16, HEAD = NONCE + TAG };

static const neoq_backend *below; /* these are set once, before the table is handed out */
static neoq_backend table;
static unsigned char key[32];

/* ---- sealing ---------------------------------------------------------------------------- */

static int no_memory(void)
{
    return neoq_set_error(NEOQ_ENOMEM, "sealed store: no memory");
}

/* The same steps both ways: over `size` bytes, from `from` to `to`. */
static bool pass_cipher(bool sealing, const unsigned char *nonce, unsigned char *tag, const void *from, void *to,
                        size_t size)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    int written = 0;
    bool done = cipher && EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce, sealing) == 1 &&
                EVP_CipherUpdate(cipher, to, &written, from, (int)size) == 1 &&
                (sealing || EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1) &&
                EVP_CipherFinal_ex(cipher, (unsigned char *)to + written, &written) == 1 &&
                (!sealing || EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG, tag) == 1);
    EVP_CIPHER_CTX_free(cipher);
    return done;
}

/* nonce, tag, then as many bytes as there were; free() it. NULL: no memory. */
static void *seal(const void *plain, size_t size)
{
    unsigned char *sealed = malloc(HEAD + size);
    if (sealed && RAND_bytes(sealed, NONCE) == 1 &&
        pass_cipher(true, sealed, sealed + NONCE, plain, sealed + HEAD, size))
        return sealed;
    free(sealed);
    return NULL;
}

/* What was sealed, with a NUL behind it; free() it. NULL: it was with another key, or not at all. */
static char *unseal(const unsigned char *sealed, size_t size)
{
    unsigned char tag[TAG];
    char *plain = size >= HEAD ? calloc(size - HEAD + 1, 1) : NULL;
    if (plain && pass_cipher(false, sealed, memcpy(tag, sealed + NONCE, TAG), sealed + HEAD, plain, size - HEAD))
        return plain;
    free(plain);
    return NULL;
}

/* ---- on the way in ---------------------------------------------------------------------- */

static void drop_sealed(neoq_job *jobs, size_t count)
{
    for (size_t i = 0; jobs && i < count; i++)
        free((void *)(uintptr_t)jobs[i].payload);
    free(jobs);
}

/* Copies of the jobs that own their payloads, which are sealed. */
static neoq_job *seal_jobs(const neoq_job *jobs, size_t count)
{
    neoq_job *sealed = calloc(count + 1, sizeof *sealed);
    bool done = sealed != NULL;
    for (size_t i = 0; done && i < count; i++) {
        sealed[i] = jobs[i];
        sealed[i].payload = seal(jobs[i].payload, jobs[i].payload_size);
        sealed[i].payload_size += HEAD;
        done = sealed[i].payload != NULL;
    }
    if (done)
        return sealed;
    drop_sealed(sealed, count);
    return NULL;
}

static int sealed_enqueue(neoq_store *store, const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    neoq_job *sealed = seal_jobs(jobs, count);
    int status = sealed ? below->enqueue(store, sealed, count, results) : no_memory();
    drop_sealed(sealed, count);
    return status;
}

static int sealed_tick(neoq_store *store, const char *name, neoq_time expected, neoq_time last, neoq_time next,
                       const neoq_job *jobs, size_t count, neoq_enqueued *results)
{
    neoq_job *sealed = seal_jobs(jobs, count);
    int status = sealed ? below->tick(store, name, expected, last, next, sealed, count, results) : no_memory();
    drop_sealed(sealed, count);
    return status;
}

/* ---- on the way out --------------------------------------------------------------------- */

typedef struct listing {
    neoq_each_job each;
    void *arg;
} listing;

/* Whoever looks is told, rather than refused the rest of the list. */
static int open_job(const neoq_job *sealed, void *arg)
{
    const listing *l = arg;
    neoq_job job = *sealed;
    char *payload = unseal(sealed->payload, sealed->payload_size);
    job.payload = payload ? payload : "(sealed with another key)";
    job.payload_size = strlen(job.payload);
    if (payload)
        job.payload_size = sealed->payload_size - HEAD;
    int status = l->each(&job, l->arg);
    free(payload);
    return status;
}

static int sealed_find(neoq_store *store, const neoq_filter *filter, neoq_each_job each, void *arg)
{
    return below->find(store, filter, open_job, &(listing){each, arg});
}

static int sealed_get(neoq_store *store, const char *id, neoq_each_job each, void *arg)
{
    return below->get(store, id, open_job, &(listing){each, arg});
}

/* ---- runs ------------------------------------------------------------------------------- */

/* No retry would open it. */
static void bury(neoq_store *store, neoq_claimed *run)
{
    neoq_settlement end = {.id = run->job.id,
                           .epoch = run->job.epoch,
                           .hold = run->hold,
                           .state = NEOQ_DEAD,
                           .error = "the payload is sealed with another key",
                           .outcome = "discarded",
                           .started_at = run->job.ran_at,
                           .finished_at = run->job.ran_at};
    below->exchange(store, &(neoq_exchange){.settlements = &end, .settlement_count = 1});
    below->release(store, run);
}

/* The payload is ours from now on; what cannot be opened is left out. Returns how many are left. */
static size_t open_runs(neoq_store *store, neoq_claimed *runs, size_t count)
{
    size_t opened = 0;
    for (size_t i = 0; i < count; i++) {
        char *payload = unseal(runs[i].job.payload, runs[i].job.payload_size);
        if (!payload) {
            bury(store, &runs[i]);
            continue;
        }
        runs[i].job.payload = payload;
        runs[i].job.payload_size -= HEAD;
        runs[opened++] = runs[i];
    }
    return opened;
}

static int sealed_exchange(neoq_store *store, neoq_exchange *x)
{
    int status = below->exchange(store, x);
    x->run_count = status == NEOQ_OK ? open_runs(store, x->runs, x->run_count) : 0;
    return status;
}

static int sealed_tend(neoq_store *store, size_t limit, neoq_claimed *lost, size_t *lost_count)
{
    int status = below->tend(store, limit, lost, lost_count);
    if (status == NEOQ_OK)
        *lost_count = open_runs(store, lost, *lost_count);
    return status;
}

static void sealed_release(neoq_store *store, neoq_claimed *run)
{
    free((void *)(uintptr_t)run->job.payload);
    below->release(store, run);
}

/* ---- opening ---------------------------------------------------------------------------- */

/* "sealed:PATH" here is "sqlite:PATH" there. */
static int sealed_open(neoq_store **out, const neoq_store_config *config)
{
    char url[4096];
    if (snprintf(url, sizeof url, "sqlite%s", strchr(config->url, ':')) >= (int)sizeof url)
        return neoq_set_error(NEOQ_EINVAL, "sealed store: the path is too long");
    neoq_store_config there = *config;
    there.url = url;
    return below->open(out, &there);
}

const neoq_backend *sealed_backend(const char *passphrase)
{
    unsigned int size = sizeof key;
    below = neoq_find_backend("sqlite:");
    if (!below || EVP_Digest(passphrase, strlen(passphrase), key, &size, EVP_sha256(), NULL) != 1)
        return NULL;
    table = *below;
    table.scheme = "sealed";
    table.open = sealed_open;
    table.enqueue = sealed_enqueue;
    table.exchange = sealed_exchange;
    table.release = sealed_release;
    table.tend = sealed_tend;
    table.find = sealed_find;
    table.get = sealed_get;
    table.tick = sealed_tick;
    table.migrate = NULL; /* of the file below: neoq migrate sqlite:PATH */
    table.doctor = NULL;
    return &table;
}
