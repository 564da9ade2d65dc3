/* SPDX-License-Identifier: MIT
 *
 * Values as people write and read them.
 */
#include "values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool value_integer(const char *text, int64_t min, int64_t max, int64_t *out)
{
    const char *at = *text == '-' ? text + 1 : text;
    int64_t value = 0;
    if (!is_digit(*at))
        return false;
    for (; is_digit(*at); at++) {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *at - '0', &value))
            return false;
    }
    if (*text == '-')
        value = -value;
    if (*at != '\0' || value < min || value > max)
        return false;
    *out = value;
    return true;
}

bool value_size(const char *text, int64_t *out)
{
    static const char letters[] = "KMG";
    size_t digits = strspn(text, "0123456789");
    const char *letter = text[digits] != '\0' ? strchr(letters, text[digits]) : NULL;
    int64_t factor = letter != NULL ? (int64_t)1024 << 10 * (letter - letters) : 1;
    char number[24];
    int64_t count;
    if (digits >= sizeof number || text[digits + (letter != NULL)] != '\0')
        return false;
    snprintf(number, sizeof number, "%.*s", (int)digits, text);
    if (!value_integer(number, 0, INT64_MAX / factor, &count))
        return false;
    *out = count * factor;
    return true;
}

/* ---- durations ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    neoq_duration length;
} units[] = {
    {"us", 1},
    {"ms", NEOQ_MILLISECONDS(1)},
    {"s", NEOQ_SECONDS(1)},
    {"m", NEOQ_MINUTES(1)},
    {"h", NEOQ_HOURS(1)},
    {"d", NEOQ_HOURS(24)},
};

static neoq_duration unit_of(const char *text, size_t size)
{
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strlen(units[i].name) == size && memcmp(units[i].name, text, size) == 0)
            return units[i].length;
    }
    return 0;
}

bool value_duration(const char *text, neoq_duration *out)
{
    neoq_duration sum = 0;
    if (strcmp(text, "0") == 0) {
        *out = 0;
        return true;
    }
    if (*text == '\0')
        return false;
    while (*text != '\0') {
        int64_t number = 0;
        const char *unit = text;
        for (; is_digit(*unit); unit++) {
            if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *unit - '0', &number))
                return false;
        }
        const char *next = unit;
        while (*next != '\0' && !is_digit(*next))
            next++;
        neoq_duration length = unit_of(unit, (size_t)(next - unit));
        if (unit == text || length == 0 || __builtin_mul_overflow(number, length, &number) ||
            __builtin_add_overflow(sum, number, &sum))
            return false;
        text = next;
    }
    if (sum > DURATION_LONGEST)
        return false;
    *out = sum;
    return true;
}

const char *format_duration(neoq_duration wait, char text[DURATION_SIZE])
{
    int64_t seconds = wait / 1000000;
    double exact = (double)wait / 1e6;
    if (wait < 0)
        snprintf(text, DURATION_SIZE, "%s", wait == NEOQ_FOREVER ? "for ever" : "0s");
    else if (wait < 1000)
        snprintf(text, DURATION_SIZE, "%" PRId64 "us", wait);
    else if (wait < 10000)
        snprintf(text, DURATION_SIZE, "%.1fms", exact * 1e3);
    else if (wait < 1000000)
        snprintf(text, DURATION_SIZE, "%" PRId64 "ms", wait / 1000);
    else if (seconds < 60)
        snprintf(text, DURATION_SIZE, wait % 1000000 == 0 ? "%.0fs" : "%.1fs", exact);
    else if (seconds < 3600)
        snprintf(text, DURATION_SIZE, seconds % 60 ? "%" PRId64 "m%" PRId64 "s" : "%" PRId64 "m", seconds / 60,
                 seconds % 60);
    else if (seconds < 86400)
        snprintf(text, DURATION_SIZE, seconds / 60 % 60 ? "%" PRId64 "h%" PRId64 "m" : "%" PRId64 "h", seconds / 3600,
                 seconds / 60 % 60);
    else
        snprintf(text, DURATION_SIZE, seconds / 3600 % 24 ? "%" PRId64 "d%" PRId64 "h" : "%" PRId64 "d",
                 seconds / 86400, seconds / 3600 % 24);
    return text;
}

/* ---- instants ----------------------------------------------------------------------------- */

/* Reads exactly `digits` digits; -1 if they are not there. */
static int number_of(const char **at, int digits)
{
    int value = 0;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (!is_digit(**at))
            return -1;
        value = value * 10 + (**at - '0');
    }
    return value;
}

static bool expect(const char **at, const char *any)
{
    if (**at == '\0' || strchr(any, **at) == NULL)
        return false;
    (*at)++;
    return true;
}

/* Z, or an offset such as +02:00, in seconds. */
static bool read_zone(const char **at, int *offset)
{
    *offset = 0;
    if (expect(at, "Zz"))
        return true;
    int sign = **at == '-' ? -1 : 1;
    if (!expect(at, "+-"))
        return false;
    int hours = number_of(at, 2);
    if (hours < 0 || hours > 23 || !expect(at, ":"))
        return false;
    int minutes = number_of(at, 2);
    if (minutes < 0 || minutes > 59)
        return false;
    *offset = sign * (hours * 3600 + minutes * 60);
    return true;
}

/* .123456789: what is finer than a microsecond is left out. */
static bool read_fraction(const char **at, int *microseconds)
{
    int unit = 100000;
    *microseconds = 0;
    if (**at != '.')
        return true;
    (*at)++;
    if (!is_digit(**at))
        return false;
    for (; is_digit(**at); (*at)++, unit /= 10)
        *microseconds += (**at - '0') * unit;
    return true;
}

bool value_instant(const char *text, neoq_time *out)
{
    struct tm tm = {0};
    int fraction = 0, offset = 0;
    const char *at = text;
    if (*text == '+') {
        neoq_duration wait;
        if (!value_duration(text + 1, &wait))
            return false;
        *out = neoq_now() + wait;
        return true;
    }
    int year = number_of(&at, 4);
    if (year < 1970 || !expect(&at, "-"))
        return false;
    int month = number_of(&at, 2);
    if (month < 1 || month > 12 || !expect(&at, "-"))
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = number_of(&at, 2);
    int day = tm.tm_mday;
    if (day < 1 || day > 31 || !expect(&at, "Tt "))
        return false;
    tm.tm_hour = number_of(&at, 2);
    if (tm.tm_hour < 0 || tm.tm_hour > 23 || !expect(&at, ":"))
        return false;
    tm.tm_min = number_of(&at, 2);
    if (tm.tm_min < 0 || tm.tm_min > 59 || !expect(&at, ":"))
        return false;
    tm.tm_sec = number_of(&at, 2);
    if (tm.tm_sec < 0 || tm.tm_sec > 60 || !read_fraction(&at, &fraction) || !read_zone(&at, &offset) || *at != '\0')
        return false;
    struct tm day_only = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = day};
    timegm(&day_only);
    if (day_only.tm_mday != day)
        return false; /* the 30th of February */
    *out = ((neoq_time)timegm(&tm) - offset) * 1000000 + fraction;
    return *out > 0;
}

const char *format_instant(neoq_time at, char text[INSTANT_SIZE])
{
    time_t seconds = (time_t)(at / 1000000);
    int fraction = (int)(at % 1000000);
    struct tm tm;
    char date[24];
    if (fraction < 0) {
        fraction += 1000000;
        seconds--;
    }
    if (gmtime_r(&seconds, &tm) == NULL || strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        snprintf(text, INSTANT_SIZE, "9999-12-31T23:59:59.999999Z");
    else
        snprintf(text, INSTANT_SIZE, "%s.%06dZ", date, fraction);
    return text;
}

/* ---- states ------------------------------------------------------------------------------- */

static const char *const state_names[] = {"", "scheduled", "ready", "running", "retrying", "done", "dead"};
enum { STATE_COUNT = sizeof state_names / sizeof state_names[0] };

bool value_state(const char *text, neoq_state *out)
{
    for (int i = 1; i < STATE_COUNT; i++) {
        if (strcmp(state_names[i], text) == 0) {
            *out = (neoq_state)i;
            return true;
        }
    }
    return false;
}

const char *state_name(neoq_state state)
{
    return state > 0 && (int)state < STATE_COUNT ? state_names[state] : "unknown";
}
