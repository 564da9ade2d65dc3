/* SPDX-License-Identifier: MIT
 *
 * base/buffer.h -- bytes that grow.
 *
 * A buffer starts zeroed ({0}) and never aborts: once memory ran out it is marked failed, takes nothing more, and
 * says so when asked. What it holds is always followed by a NUL that size does not count.
 */
#ifndef NQ_BASE_BUFFER_H
#define NQ_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct nq_buffer {
    char *data;
    size_t size, room;
    bool failed;
} nq_buffer;

/* Room for n more bytes; false if memory ran out. */
bool nq_buffer_reserve(nq_buffer *buffer, size_t n);
void nq_buffer_add(nq_buffer *buffer, const void *bytes, size_t n);
void nq_buffer_add_string(nq_buffer *buffer, const char *string);
void nq_buffer_add_char(nq_buffer *buffer, char c);
void nq_buffer_addf(nq_buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void nq_buffer_clear(nq_buffer *buffer); /* keeps the memory */
void nq_buffer_free(nq_buffer *buffer);

#endif
