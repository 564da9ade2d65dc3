/* SPDX-License-Identifier: MIT
 *
 * Canonical JSON. What is canonical is its own canonical form and means what the text meant, by Jansson's reading, which
 * agrees on what is JSON wherever it has not its own bounds: it refuses bytes that are no UTF-8, lone surrogates, NUL in
 * names and more than 2048 levels, and takes a bare NUL for the end. The fingerprint is the canonical form's.
 */
#include <jansson.h>

#include "base/buffer.h"
#include "base/json.h"
#include "fuzz.h"
#include "job/fingerprint.h"
#include "neoq.h"

enum { LEVELS = 2000 };

static json_t *read_with_jansson(const char *text, size_t size)
{
    json_error_t error;
    return json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
}

/* Whether Jansson's own bounds are out of reach. */
static bool is_plain(const char *text, size_t size)
{
    size_t opened = 0;
    for (size_t i = 0; i < size; i++) {
        opened += text[i] == '[' || text[i] == '{';
        if ((unsigned char)text[i] > 0x7f || text[i] == '\\')
            return false;
    }
    return opened < LEVELS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    nq_buffer first = {0}, second = {0};
    int status = size > 0 ? nq_json_canonical(text, size, &first) : NEOQ_EINVAL;
    insist(status == NEOQ_OK || (status == NEOQ_EINVAL && first.size == 0));
    json_t *meant = size > 0 && !memchr(text, '\0', size) ? read_with_jansson(text, size) : NULL;
    if (status != NEOQ_OK)
        insist(meant == NULL);
    if (status == NEOQ_OK && is_plain(text, size))
        insist(meant != NULL);
    if (status == NEOQ_OK) {
        insist(first.size <= 6 * size);
        insist(nq_json_canonical(first.data, first.size, &second) == NEOQ_OK);
        insist(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
        char before[NQ_FINGERPRINT_SIZE], after[NQ_FINGERPRINT_SIZE];
        insist(nq_fingerprint("q", text, size, before) == NEOQ_OK);
        insist(nq_fingerprint("q", first.data, first.size, after) == NEOQ_OK && strcmp(before, after) == 0);
    }
    if (status == NEOQ_OK && meant != NULL) {
        json_t *became = read_with_jansson(first.data, first.size);
        insist(became != NULL && json_equal(meant, became));
        json_decref(became);
    }
    json_decref(meant);
    nq_buffer_free(&first);
    nq_buffer_free(&second);
    return 0;
}
