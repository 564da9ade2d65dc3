/* SPDX-License-Identifier: MIT
 *
 * Text that came from anywhere, made fit to be shown or sent.
 */
#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

int32_t text_next(const char *text, size_t size, size_t *length)
{
    static const int32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)text;
    size_t need = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc2 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
    *length = 1;
    if (need == 1)
        return bytes[0];
    if (need == 0 || bytes[0] > 0xf4 || size < need)
        return -1;
    int32_t point = bytes[0] & (0xff >> (need + 1));
    for (size_t i = 1; i < need; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return -1;
        point = (point << 6) | (bytes[i] & 0x3f);
    }
    if (point < smallest[need] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return -1;
    *length = need;
    return point;
}

bool text_is_utf8(const char *text, size_t size)
{
    for (size_t at = 0, length; at < size; at += length) {
        if (text_next(text + at, size - at, &length) < 0)
            return false;
    }
    return true;
}

char *text_clean(const char *text, size_t size)
{
    char *out = malloc(size * 3 + 1); /* U+FFFD takes three bytes for one */
    size_t used = 0;
    if (out == NULL)
        return NULL;
    for (size_t at = 0, length; at < size; at += length) {
        if (text_next(text + at, size - at, &length) < 0) {
            memcpy(out + used, "\xef\xbf\xbd", 3);
            used += 3;
        } else {
            memcpy(out + used, text + at, length);
            used += length;
        }
    }
    out[used] = '\0';
    return out;
}

/* Columns of a code point; 0 of a mark on the letter before it. */
static size_t columns_of(int32_t point)
{
    int columns = wcwidth((wchar_t)point);
    return columns < 0 ? 1 : (size_t)columns;
}

/* Steers a terminal, or turns the direction of the text about. */
static bool is_control(int32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0x202a && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069) || point == 0x2028 || point == 0x2029;
}

char *text_cell(const char *text, size_t size, size_t columns)
{
    size_t room = columns != 0 && columns < size ? columns * 4 : size * 3;
    char *out = malloc(room + 8);
    size_t used = 0, taken = 0, fits = 0; /* fits: the bytes that leave a column for the ellipsis */
    if (out == NULL)
        return NULL;
    for (size_t at = 0, length; at < size && used + 4 <= room + 4; at += length) {
        const char *source = text + at;
        int32_t point = text_next(source, size - at, &length);
        size_t wide = 1, bytes = length;
        if (point < 0) {
            source = "\xef\xbf\xbd";
            bytes = 3;
        } else if (is_control(point)) {
            source = " ";
            bytes = 1;
        } else {
            wide = columns_of(point);
        }
        if (columns != 0 && taken + wide > columns) {
            memcpy(out + fits, "\xe2\x80\xa6", 4);
            return out;
        }
        if (wide == 0 && used + 4 > room)
            continue; /* a heap of marks on one letter */
        memcpy(out + used, source, bytes);
        used += bytes;
        taken += wide;
        if (columns == 0 || taken + 1 <= columns)
            fits = used;
    }
    out[used] = '\0';
    return out;
}

size_t text_columns(const char *text)
{
    size_t columns = 0, size = strlen(text);
    for (size_t at = 0, length; at < size; at += length)
        columns += columns_of(text_next(text + at, size - at, &length));
    return columns;
}

char *text_base64(const void *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    char *out = malloc((size + 2) / 3 * 4 + 1), *to = out;
    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t word =
            (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (left > 2 ? in[i + 2] : 0);
        *to++ = digits[word >> 18];
        *to++ = digits[word >> 12 & 63];
        *to++ = left > 1 ? digits[word >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[word & 63] : '=';
    }
    *to = '\0';
    return out;
}
