/* SPDX-License-Identifier: MIT */
#include "schedule/cron_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "schedule/civil.h"
#include "schedule/duration.h"

typedef struct text {
    const char *at;
    size_t size;
} text;

enum { second, minute, hour, day_of_month, month, day_of_week, field_count };

typedef struct field {
    const char *name;
    int low, high; /* values allowed */
    int top;       /* where * and a/n end; 7 is allowed as Sunday, and comes in no * */
    const char *names;
    int first_name;
} field;

static const field fields[field_count] = {
    [second] = {"second", 0, 59, 59, NULL, 0},
    [minute] = {"minute", 0, 59, 59, NULL, 0},
    [hour] = {"hour", 0, 23, 23, NULL, 0},
    [day_of_month] = {"day of month", 1, 31, 31, NULL, 0},
    [month] = {"month", 1, 12, 12, "janfebmaraprmayjunjulaugsepoctnovdec", 1},
    [day_of_week] = {"day of week", 0, 7, 6, "sunmontuewedthufrisat", 0},
};

static const struct {
    const char *name, *meaning;
} nicknames[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
};

/* ---- text ------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static text trim(const char *string)
{
    while (is_space(*string))
        string++;
    text t = {string, strlen(string)};
    while (t.size > 0 && is_space(t.at[t.size - 1]))
        t.size--;
    return t;
}

static bool equals(text t, const char *string)
{
    return t.size == strlen(string) && memcmp(t.at, string, t.size) == 0;
}

/* Cuts *rest at the first c: returns what is before it, and *found says whether there was one. */
static text cut(text *rest, char c, bool *found)
{
    const char *at = rest->size > 0 ? memchr(rest->at, c, rest->size) : NULL;
    text head = *rest;
    *found = at != NULL;
    if (at) {
        head.size = (size_t)(at - rest->at);
        rest->size -= head.size + 1;
        rest->at = at + 1;
    } else {
        *rest = (text){rest->at + rest->size, 0};
    }
    return head;
}

__attribute__((format(printf, 3, 4))) static int refuse(const nq_cron *cron, const char *where, const char *format,
                                                        ...)
{
    char why[400];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return nq_fail(NEOQ_EINVAL, "cron \"%s\": %s%s%s", cron->spec, where, *where ? ": " : "", why);
}

/* ---- one field -------------------------------------------------------------------------- */

/* The number that t is, if it is one of nine digits at the most; else -1. */
static int number_of(text t)
{
    int value = 0;
    if (t.size == 0 || t.size > 9)
        return -1;
    for (size_t i = 0; i < t.size; i++) {
        if (t.at[i] < '0' || t.at[i] > '9')
            return -1;
        value = value * 10 + (t.at[i] - '0');
    }
    return value;
}

static int named_value(text t, const field *f)
{
    for (int i = 0; f->names && t.size == 3 && f->names[3 * i]; i++) {
        const char *name = f->names + 3 * i;
        /* Bit 5 makes a capital small, and makes a letter of nothing else. */
        if ((t.at[0] | 32) == name[0] && (t.at[1] | 32) == name[1] && (t.at[2] | 32) == name[2])
            return f->first_name + i;
    }
    return -1;
}

/* L, 15W, LW, 5#3, 5L, L-3: known from other crons, and worth a better message than "not a number". */
static bool is_extension(text item, const field *f)
{
    bool mark = false;
    if (f != &fields[day_of_month] && f != &fields[day_of_week])
        return false;
    for (size_t i = 0; i < item.size; i++) {
        char c = item.at[i];
        mark |= memchr("LWlw#", c, 5) != NULL;
        if (c == '\0' || !strchr("0123456789LWlw#-", c))
            return false;
    }
    return mark;
}

static int parse_value(const nq_cron *cron, const field *f, text t, int *out)
{
    int value = named_value(t, f);
    if (value < 0)
        value = number_of(t);
    if (value < 0) {
        if (t.size == 0)
            return refuse(cron, f->name, "a value is missing");
        if (is_extension(t, f))
            return refuse(cron, f->name, "\"%.*s\": L, W and # are not supported", (int)t.size, t.at);
        return refuse(cron, f->name, "\"%.*s\" is not a number from %d to %d%s", (int)t.size, t.at, f->low, f->high,
                      f->names ? " or a name of three letters" : "");
    }
    if (value < f->low || value > f->high)
        return refuse(cron, f->name, "%d is not in %d-%d", value, f->low, f->high);
    *out = value;
    return NEOQ_OK;
}

/* One item of a list: *, ?, a, a-b, each perhaps with /step. */
static int parse_item(const nq_cron *cron, const field *f, text item, uint64_t *bits)
{
    bool has_step, has_end;
    if (is_extension(item, f))
        return refuse(cron, f->name, "\"%.*s\": L, W and # are not supported", (int)item.size, item.at);
    text step_text = item, range = cut(&step_text, '/', &has_step);
    int begin = f->low, end = f->top, step = 1, status;
    if (!equals(range, "*") && !equals(range, "?")) {
        text end_text = range, begin_text = cut(&end_text, '-', &has_end);
        if ((status = parse_value(cron, f, begin_text, &begin)) != NEOQ_OK)
            return status;
        if (has_end) {
            if ((status = parse_value(cron, f, end_text, &end)) != NEOQ_OK)
                return status;
            if (end < begin)
                return refuse(cron, f->name, "%.*s runs backwards%s", (int)range.size, range.at,
                              f->names && f->high == 7 ? " (at the end of a range, Sunday is 7)" : "");
        } else if (!has_step || end < begin) {
            end = begin;
        }
    }
    if (has_step) {
        step = number_of(step_text);
        if (step < 1)
            return refuse(cron, f->name, "the step \"%.*s\" is not a positive number", (int)step_text.size,
                          step_text.at);
    }
    for (int value = begin; value <= end; value += step)
        *bits |= (uint64_t)1 << value;
    return NEOQ_OK;
}

static int parse_field(const nq_cron *cron, const field *f, text list, uint64_t *bits)
{
    int status = NEOQ_OK;
    bool more = true;
    *bits = 0;
    while (status == NEOQ_OK && more) {
        text item = cut(&list, ',', &more);
        status = parse_item(cron, f, item, bits);
    }
    return status;
}

/* ---- the expression --------------------------------------------------------------------- */

static bool has_star(text t)
{
    return t.size > 0 && (t.at[0] == '*' || t.at[0] == '?');
}

/* True if the days asked for exist in a month asked for, if only in a leap year. */
static bool date_exists(const nq_cron *cron)
{
    if (cron->either)
        return true; /* every month has every weekday */
    for (int m = 1; m <= 12; m++) {
        uint64_t days = ((uint64_t)1 << (nq_month_days(2000, m) + 1)) - 1;
        if (cron->months >> m & 1 && cron->days & days)
            return true;
    }
    return false;
}

static int parse_fields(nq_cron *cron, text expression)
{
    text parts[field_count];
    int count = 0;
    for (size_t i = 0; i < expression.size;) {
        size_t begin = i;
        while (i < expression.size && !is_space(expression.at[i]))
            i++;
        if (i > begin) {
            if (count < field_count)
                parts[count] = (text){expression.at + begin, i - begin};
            count++;
        }
        while (i < expression.size && is_space(expression.at[i]))
            i++;
    }
    if (count != 5 && count != 6)
        return refuse(cron, "",
                      "%d field%s; write five (minute, hour, day of month, month, day of week) or six (second first)",
                      count, count == 1 ? "" : "s");
    if (count == 5) {
        memmove(parts + 1, parts, 5 * sizeof parts[0]);
        parts[second] = (text){"0", 1};
    }

    uint64_t *const bits[field_count] = {&cron->seconds, &cron->minutes, &cron->hours,
                                         &cron->days,    &cron->months,  &cron->weekdays};
    for (int i = 0; i < field_count; i++) {
        int status = parse_field(cron, &fields[i], parts[i], bits[i]);
        if (status != NEOQ_OK)
            return status;
    }
    cron->weekdays = (cron->weekdays | cron->weekdays >> 7) & 0x7f;
    cron->either = !has_star(parts[day_of_month]) && !has_star(parts[day_of_week]);
    cron->fixed = !has_star(parts[second]) && !has_star(parts[minute]) && !has_star(parts[hour]);
    if (!date_exists(cron))
        return refuse(cron, "day of month", "no month in \"%.*s\" has day %.*s", (int)parts[month].size,
                      parts[month].at, (int)parts[day_of_month].size, parts[day_of_month].at);
    return NEOQ_OK;
}

/* @daily and its like, and @every. */
static int parse_nickname(nq_cron *cron, text expression)
{
    for (size_t i = 0; i < sizeof nicknames / sizeof nicknames[0]; i++) {
        if (equals(expression, nicknames[i].name))
            return parse_fields(cron, trim(nicknames[i].meaning));
    }
    static const char every[] = "@every ";
    size_t size = sizeof every - 1;
    if (expression.size <= size || memcmp(expression.at, every, size) != 0)
        return refuse(cron, "",
                      "write @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every DURATION");
    neoq_duration wait;
    while (size < expression.size && is_space(expression.at[size]))
        size++;
    if (nq_duration_parse(expression.at + size, expression.size - size, &wait) != NEOQ_OK)
        return refuse(cron, "@every", "%s", neoq_error_message());
    if (wait == 0)
        return refuse(cron, "@every", "the duration is zero");
    cron->every = wait < NEOQ_SECONDS(1) ? 1 : wait / NEOQ_SECONDS(1);
    return NEOQ_OK;
}

const char *nq_cron_skip_zone(const char *spec, const char **zone, size_t *zone_size)
{
    const char *at = spec;
    *zone = NULL;
    *zone_size = 0;
    while (is_space(*at))
        at++;
    if (strncmp(at, "TZ=", 3) == 0)
        at += 3;
    else if (strncmp(at, "CRON_TZ=", 8) == 0)
        at += 8;
    else
        return spec;
    *zone = at;
    while (*at && !is_space(*at))
        at++;
    *zone_size = (size_t)(at - *zone);
    while (is_space(*at))
        at++;
    return at;
}

static int load_zone(nq_cron *cron, const char *zone, size_t size)
{
    char name[NQ_CRON_SIZE] = "UTC";
    if (zone) {
        memcpy(name, zone, size);
        name[size] = '\0';
    }
    int status = nq_zone_load(&cron->zone, name);
    return status == NEOQ_EINVAL ? refuse(cron, "time zone", "%s", neoq_error_message()) : status;
}

static int parse(nq_cron *cron)
{
    const char *zone;
    size_t zone_size;
    text expression = trim(nq_cron_skip_zone(cron->spec, &zone, &zone_size));
    if (expression.size == 0)
        return refuse(cron, "", zone ? "nothing follows the time zone" : "is empty");
    int status = load_zone(cron, zone, zone_size);
    if (status != NEOQ_OK)
        return status;
    return *expression.at == '@' ? parse_nickname(cron, expression) : parse_fields(cron, expression);
}

int nq_cron_parse(nq_cron **out, const char *spec)
{
    *out = NULL;
    if (!spec)
        return nq_fail(NEOQ_EINVAL, "cron: the expression is missing");
    size_t size = strnlen(spec, NQ_CRON_SIZE);
    if (size == NQ_CRON_SIZE)
        return nq_fail(NEOQ_EINVAL, "cron \"%.40s...\": longer than %d bytes", spec, NQ_CRON_SIZE - 1);
    nq_cron *cron = calloc(1, sizeof *cron);
    if (!cron)
        return nq_fail(NEOQ_ENOMEM, "out of memory");
    memcpy(cron->spec, spec, size);
    int status = parse(cron);
    if (status == NEOQ_OK)
        *out = cron;
    else
        nq_cron_free(cron);
    return status;
}

void nq_cron_free(nq_cron *cron)
{
    if (!cron)
        return;
    nq_zone_free(cron->zone);
    free(cron);
}
