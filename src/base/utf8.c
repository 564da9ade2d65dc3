/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

#include <string.h>

#define HIGH_BITS 0x8080808080808080u

/* RFC 3629, section 4: what a lead byte allows as its second byte; the bytes after that are always 80..BF. */
static size_t sequence(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 2;
    if (lead >= 0xE0 && lead <= 0xEF) {
        if (lead == 0xE0)
            *low = 0xA0; /* below: overlong */
        if (lead == 0xED)
            *high = 0x9F; /* above: surrogates */
        return 3;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        if (lead == 0xF0)
            *low = 0x90; /* below: overlong */
        if (lead == 0xF4)
            *high = 0x8F; /* above: past U+10FFFF */
        return 4;
    }
    return 0;
}

size_t nq_utf8_decode(const char *bytes, size_t size, uint32_t *point)
{
    const unsigned char *at = (const unsigned char *)bytes;
    if (size == 0)
        return 0;
    if (at[0] < 0x80) {
        *point = at[0];
        return 1;
    }
    unsigned char low, high;
    size_t length = sequence(at[0], &low, &high);
    if (length == 0 || length > size || at[1] < low || at[1] > high)
        return 0;
    uint32_t value = at[0] & (0x7Fu >> length);
    value = value << 6 | (at[1] & 0x3Fu);
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (at[i] & 0x3Fu);
    }
    *point = value;
    return length;
}

size_t nq_utf8_encode(uint32_t point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3F));
    out[0] = (char)(0xF00u >> length | point); /* as many leading ones as bytes; what lies above a byte falls off */
    return length;
}

bool nq_utf8_valid(const char *bytes, size_t size)
{
    size_t i = 0;
    while (i < size) {
        uint64_t eight;
        while (size - i >= sizeof eight) {
            memcpy(&eight, bytes + i, sizeof eight);
            if (eight & HIGH_BITS)
                break;
            i += sizeof eight;
        }
        if (i == size)
            break;
        uint32_t point;
        size_t length = nq_utf8_decode(bytes + i, size - i, &point);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

size_t nq_utf8_clean(const char *bytes, size_t size, char *out, size_t room)
{
    size_t made = 0;
    for (size_t i = 0; i < size;) {
        uint32_t point;
        size_t length = nq_utf8_decode(bytes + i, size - i, &point);
        i += length ? length : 1;
        if (length == 0 || point == 0)
            point = NQ_UTF8_REPLACEMENT;
        char character[4];
        size_t n = nq_utf8_encode(point, character);
        if (n >= room - made)
            break;
        memcpy(out + made, character, n);
        made += n;
    }
    out[made] = '\0';
    return made;
}
