/* SPDX-License-Identifier: MIT */

/*
 * The one-shot MD5() is marked deprecated in OpenSSL 3. It is the right one here: the sum is an identity shared with
 * other programs and no protection; a build in FIPS mode refuses to fetch MD5 through EVP; and it needs no context, which
 * would cost more than the sum.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "job/fingerprint.h"

#include <string.h>

#include <neoq.h>
#include <openssl/md5.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"

_Static_assert(MD5_DIGEST_LENGTH == 16, "a fingerprint is 16 bytes");

int nq_fingerprint_bytes(const char *queue, const void *payload, size_t size, uint8_t out[16])
{
    if (!payload) {
        payload = "null";
        size = 4;
    }
    size_t queue_size = strlen(queue);
    char small[8192];
    bool fits =
        size < sizeof small && queue_size < sizeof small && queue_size + NQ_JSON_CANONICAL_ROOM(size) <= sizeof small;
    /* A buffer that has the room it will ever need is never reallocated, so this one may lie on the stack. */
    nq_buffer text = fits ? (nq_buffer){.data = small, .room = sizeof small} : (nq_buffer){0};

    nq_buffer_add(&text, queue, queue_size);
    int status = text.failed ? NEOQ_ENOMEM : nq_json_canonical(payload, size, &text);
    if (status == NEOQ_EINVAL) {
        nq_buffer_add(&text, payload, size);
        status = text.failed ? NEOQ_ENOMEM : NEOQ_OK;
    }
    if (status == NEOQ_OK)
        MD5((const unsigned char *)text.data, text.size, out);
    if (!fits)
        nq_buffer_free(&text);
    return status == NEOQ_OK ? status
                             : nq_fail(status, "no memory for the fingerprint of %zu bytes of payload", size);
}

int nq_fingerprint(const char *queue, const void *payload, size_t size, char out[NQ_FINGERPRINT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[16];
    int status = nq_fingerprint_bytes(queue, payload, size, bytes);
    if (status != NEOQ_OK)
        return status;
    for (size_t i = 0; i < sizeof bytes; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 0x0F];
    }
    out[32] = '\0';
    return NEOQ_OK;
}
