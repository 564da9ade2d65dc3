/* SPDX-License-Identifier: MIT */
#include "backend/redis/slot.h"

#include <string.h>

/* CRC-16/XMODEM. Keys are short, so bit by bit is fast enough. */
static unsigned crc16(const char *bytes, size_t size)
{
    unsigned crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (unsigned)(unsigned char)bytes[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    return crc;
}

unsigned rd_slot(const char *key, size_t size)
{
    const char *open = size ? memchr(key, '{', size) : NULL;
    const char *begin = open ? open + 1 : NULL;
    const char *close = open ? memchr(begin, '}', size - (size_t)(begin - key)) : NULL;
    if (close && close > begin) /* an empty tag is none */
        return crc16(begin, (size_t)(close - begin)) % RD_SLOTS;
    return crc16(key, size) % RD_SLOTS;
}
