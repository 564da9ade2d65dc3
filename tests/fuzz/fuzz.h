/* SPDX-License-Identifier: MIT
 *
 * What the fuzz targets share. A target is libFuzzer's entry in a file of its own; it ends the process where what it
 * was given is answered wrongly. Under libFuzzer it is driven by `make fuzz`, in `make test` by replay.c.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process with words, which the driver shows with the input that it was given. */
#define insist(condition)                                                                                            \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "%s:%d: it does not hold: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                                                 \
        }                                                                                                            \
    } while (0)

/* The input as a string of its own, so that a sanitizer sees whoever reads past its end. The caller frees it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    insist(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

#endif
