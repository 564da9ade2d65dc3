/* SPDX-License-Identifier: MIT */
#include "schedule/duration.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"

enum { shown_max = 60 }; /* bytes of the text that a message quotes */

typedef struct unit {
    const char *name;
    int64_t nanoseconds;
} unit;

static const unit units[] = {
    {"ns", 1},
    {"us", 1000},
    {"\xc2\xb5s", 1000},
    {"\xce\xbcs", 1000},
    {"ms", 1000000},
    {"s", 1000000000},
    {"m", 60 * 1000000000LL},
    {"h", 3600 * 1000000000LL},
    {"d", 86400 * 1000000000LL},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int refuse(const char *text, size_t size, const char *why)
{
    return nq_fail(NEOQ_EINVAL, "duration \"%.*s\": %s", (int)(size < shown_max ? size : shown_max), text, why);
}

/* The unit that is the text from *at to the next digit, point or end; *at moves behind it. */
static const unit *read_unit(const char **at, const char *end)
{
    const char *begin = *at;
    while (*at < end && !is_digit(**at) && **at != '.')
        ++*at;
    size_t size = (size_t)(*at - begin);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strlen(units[i].name) == size && memcmp(units[i].name, begin, size) == 0)
            return &units[i];
    }
    return NULL;
}

/* Adds whole units and a fraction in nanoseconds to the sum, which is kept in two parts; false if it does not fit. */
static bool add_term(int64_t *micro, int64_t *nano, int64_t whole, int64_t fraction, int64_t unit_nano)
{
    int64_t more = whole / 1000;
    if (unit_nano == 1)
        *nano += whole % 1000;
    else if (__builtin_mul_overflow(whole, unit_nano / 1000, &more))
        return false;
    *nano += fraction;
    if (__builtin_add_overflow(*micro, more, micro) || __builtin_add_overflow(*micro, *nano / 1000, micro))
        return false;
    *nano %= 1000;
    return true;
}

int nq_duration_parse(const char *text, size_t size, neoq_duration *out)
{
    const char *at = text, *end = text + size;
    int64_t micro = 0, nano = 0;
    *out = 0;
    if (size == 0)
        return refuse(text, size, "is empty");
    if (size == 1 && *text == '0')
        return NEOQ_OK;
    while (at < end) {
        int64_t whole = 0, fraction = 0;
        bool digits = false;
        for (; at < end && is_digit(*at); at++, digits = true) {
            if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, *at - '0', &whole))
                return refuse(text, size, "is too long");
        }
        const char *point = at;
        if (at < end && *at == '.') {
            for (at++; at < end && is_digit(*at); at++)
                digits = true;
        }
        if (!digits)
            return refuse(text, size, "a number is missing (write 250ms, 30s, 5m, 1h30m, 1d)");
        const char *behind = at;
        const unit *u = read_unit(&at, end);
        if (!u)
            return refuse(text, size, "the unit must be ns, us, ms, s, m, h or d");
        int64_t weight = u->nanoseconds;
        for (const char *digit = point; digit < behind; digit++) {
            if (*digit == '.')
                continue;
            weight /= 10;
            fraction += (*digit - '0') * weight;
        }
        if (!add_term(&micro, &nano, whole, fraction, u->nanoseconds))
            return refuse(text, size, "is too long");
    }
    *out = micro;
    return NEOQ_OK;
}
