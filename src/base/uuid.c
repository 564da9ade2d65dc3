/* SPDX-License-Identifier: MIT */
#include "base/uuid.h"

#include <stddef.h>

/* Where each byte's two digits stand in the text. */
static const uint8_t places[NQ_UUID_SIZE] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

/* A hex digit's value plus one, so that every other byte, NUL included, is 0. */
static const uint8_t digit_values[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

void nq_uuid_make(uint8_t out[NQ_UUID_SIZE], int64_t unix_micros, uint64_t counter, uint64_t random)
{
    uint64_t ms = unix_micros > 0 ? (uint64_t)unix_micros / 1000 : 0;
    for (int i = 0; i < 6; i++)
        out[i] = (uint8_t)(ms >> (40 - 8 * i));
    out[6] = (uint8_t)(0x70 | (counter >> 28 & 0x0F));
    out[7] = (uint8_t)(counter >> 20);
    out[8] = (uint8_t)(0x80 | (counter >> 14 & 0x3F));
    out[9] = (uint8_t)(counter >> 6);
    out[10] = (uint8_t)((counter & 0x3F) << 2 | (random >> 40 & 0x03));
    for (int i = 0; i < 5; i++)
        out[11 + i] = (uint8_t)(random >> (32 - 8 * i));
}

void nq_uuid_format(const uint8_t in[NQ_UUID_SIZE], char out[NQ_UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < NQ_UUID_SIZE; i++) {
        out[places[i]] = digits[in[i] >> 4];
        out[places[i] + 1] = digits[in[i] & 0x0F];
    }
    out[8] = out[13] = out[18] = out[23] = '-';
    out[36] = '\0';
}

bool nq_uuid_parse(const char *text, uint8_t out[NQ_UUID_SIZE])
{
    if (!text)
        return false;
    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0; i < NQ_UUID_SIZE; i++) {
        /* Left to right, and never past a byte that does not belong: a short text ends the search at its NUL. */
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *at++ != '-')
            return false;
        uint8_t high = digit_values[at[0]];
        if (!high)
            return false;
        uint8_t low = digit_values[at[1]];
        if (!low)
            return false;
        out[i] = (uint8_t)((high - 1) << 4 | (low - 1));
        at += 2;
    }
    return *at == '\0';
}
