/* SPDX-License-Identifier: MIT */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool nq_buffer_reserve(nq_buffer *buffer, size_t n)
{
    if (buffer->failed || n >= (size_t)-1 / 2 - buffer->size)
        return !(buffer->failed = true);
    size_t need = buffer->size + n + 1;
    if (need <= buffer->room)
        return true;
    size_t room = buffer->room < 64 ? 64 : buffer->room * 2;
    if (room < need)
        room = need;
    char *data = realloc(buffer->data, room);
    if (!data)
        return !(buffer->failed = true);
    buffer->data = data;
    buffer->room = room;
    buffer->data[buffer->size] = '\0';
    return true;
}

void nq_buffer_add(nq_buffer *buffer, const void *bytes, size_t n)
{
    if (!nq_buffer_reserve(buffer, n) || n == 0)
        return;
    memcpy(buffer->data + buffer->size, bytes, n);
    buffer->size += n;
    buffer->data[buffer->size] = '\0';
}

void nq_buffer_add_string(nq_buffer *buffer, const char *string)
{
    nq_buffer_add(buffer, string, strlen(string));
}

void nq_buffer_add_char(nq_buffer *buffer, char c)
{
    nq_buffer_add(buffer, &c, 1);
}

void nq_buffer_addf(nq_buffer *buffer, const char *format, ...)
{
    va_list args;
    size_t spare = buffer->failed ? 0 : buffer->room - buffer->size;
    va_start(args, format);
    int size = vsnprintf(spare > 0 ? buffer->data + buffer->size : NULL, spare, format, args);
    va_end(args);
    if (size < 0 || !nq_buffer_reserve(buffer, (size_t)size)) {
        if (spare > 0) /* what did not fit whole */
            buffer->data[buffer->size] = '\0';
        return;
    }
    if ((size_t)size >= spare) {
        va_start(args, format);
        vsnprintf(buffer->data + buffer->size, (size_t)size + 1, format, args);
        va_end(args);
    }
    buffer->size += (size_t)size;
}

void nq_buffer_clear(nq_buffer *buffer)
{
    buffer->size = 0;
    buffer->failed = false;
    if (buffer->data)
        buffer->data[0] = '\0';
}

void nq_buffer_free(nq_buffer *buffer)
{
    free(buffer->data);
    *buffer = (nq_buffer){0};
}
