/* SPDX-License-Identifier: MIT */
#include "base/decimal.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No halfway point between two doubles has more significant digits than 767; what lies beyond only breaks ties. */
#define MAX_DIGITS 800

/* 0.DIGITS times ten to the power of point; the first digit is not 0. */
typedef struct decimal {
    size_t count;
    int64_t point;
    char digits[MAX_DIGITS + 1];
} decimal;

static void strip_zeros(decimal *d)
{
    while (d->count > 0 && d->digits[d->count - 1] == '0')
        d->count--;
}

/* Takes the digits of a number, point among them, that ends at end or at its exponent. */
static const unsigned char *gather_digits(decimal *d, const unsigned char *at, const unsigned char *end)
{
    bool fraction = false, more = false;
    d->count = 0;
    d->point = 0;
    for (; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.') {
            fraction = true;
            continue;
        }
        if (d->count == 0 && *at == '0') {
            d->point -= fraction;
            continue;
        }
        d->point += !fraction;
        if (d->count < MAX_DIGITS)
            d->digits[d->count++] = (char)*at;
        else if (*at != '0')
            more = true;
    }
    if (more)
        d->digits[d->count++] = '1';
    strip_zeros(d);
    return at;
}

/* As Go's strconv reads it: digits after the fifth are dropped, which only shows beside thousands of zeros. */
static int64_t read_exponent(const unsigned char *at, const unsigned char *end)
{
    bool negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    int64_t exponent = 0;
    for (; at < end; at++)
        if (exponent < 10000)
            exponent = exponent * 10 + (*at - '0');
    return negative ? -exponent : exponent;
}

/* The nearest double. It is read without a point, since only that one's spelling depends on the locale. */
static double decimal_to_double(const decimal *d)
{
    char text[MAX_DIGITS + 32];
    memcpy(text, d->digits, d->count);
    snprintf(text + d->count, sizeof text - d->count, "e%lld", (long long)d->point - (long long)d->count);
    return strtod(text, NULL);
}

/* x to n significant digits, exactly rounded. What printf puts for the point, the locale's, is stepped over. */
static void round_double(double x, int n, decimal *d)
{
    char text[64];
    snprintf(text, sizeof text, "%.*e", n - 1, x);
    const char *at = text;
    for (d->count = 0; d->count < (size_t)n; at++)
        if (*at >= '0' && *at <= '9')
            d->digits[d->count++] = *at;
    d->point = strtol(at + 1, NULL, 10) + 1;
}

static void step_up(decimal *d)
{
    size_t i = d->count;
    while (i > 0 && d->digits[i - 1] == '9')
        d->digits[--i] = '0';
    if (i > 0) {
        d->digits[i - 1]++;
        return;
    }
    d->digits[0] = '1';
    d->point++;
}

/*
 * The fewest digits that read back to x, and of these the nearest to x. 15 digits of a normal double survive the way to
 * it and back (DBL_DIG), so up to there trailing zeros are all there is to find; 17 always suffice. The nearest n digits
 * may fail where the next above them pass: below a power of two doubles lie closer together than above it.
 */
static void shortest_digits(double x, decimal *d)
{
    int unused;
    bool power_of_two = frexp(x, &unused) == 0.5;
    for (int n = x < DBL_MIN ? 1 : DBL_DIG; n <= 17; n++) {
        round_double(x, n, d);
        if (n == 17 || decimal_to_double(d) == x)
            break;
        if (power_of_two) {
            step_up(d);
            if (decimal_to_double(d) == x)
                break;
        }
    }
    strip_zeros(d);
}

static char *write_digits(char *to, const char *digits, size_t n)
{
    memcpy(to, digits, n);
    return to + n;
}

/* Go's floatEncoder: exponents below 1e-6 and from 1e21 on, of at least two digits only when positive. */
static char *write_decimal(char *to, const decimal *d)
{
    int64_t exponent = d->point - 1;
    if (exponent < -6 || exponent >= 21) {
        *to++ = d->digits[0];
        if (d->count > 1) {
            *to++ = '.';
            to = write_digits(to, d->digits + 1, d->count - 1);
        }
        char text[24];
        int n = snprintf(text, sizeof text, "e%+lld", (long long)exponent);
        return write_digits(to, text, (size_t)n);
    }
    if (d->point <= 0) {
        *to++ = '0';
        *to++ = '.';
        memset(to, '0', (size_t)-d->point);
        return write_digits(to - d->point, d->digits, d->count);
    }
    size_t whole = (size_t)d->point;
    if (d->count <= whole) {
        to = write_digits(to, d->digits, d->count);
        memset(to, '0', whole - d->count);
        return to + (whole - d->count);
    }
    to = write_digits(to, d->digits, whole);
    *to++ = '.';
    return write_digits(to, d->digits + whole, d->count - whole);
}

char *nq_decimal_write(const char *number, size_t size, char *to)
{
    const unsigned char *at = (const unsigned char *)number, *end = at + size;
    if (*at == '-')
        *to++ = (char)*at++;
    decimal d;
    at = gather_digits(&d, at, end);
    if (at < end)
        d.point += read_exponent(at + 1, end);

    /* As many digits as always survive are the shortest already: most numbers take neither strtod nor printf. */
    if (d.count > DBL_DIG || d.point < DBL_MIN_10_EXP + 2 || d.point > DBL_MAX_10_EXP) {
        if (d.count > 0 && d.point > DBL_MAX_10_EXP + 1)
            return NULL;
        double x = d.count == 0 || d.point < -400 ? 0 : decimal_to_double(&d);
        if (isinf(x))
            return NULL;
        if (x == 0)
            d.count = 0;
        else
            shortest_digits(x, &d);
    }
    if (d.count == 0)
        *to++ = '0';
    else
        to = write_decimal(to, &d);
    return to;
}
