/* SPDX-License-Identifier: MIT
 *
 * The description is put together as go-cron-descriptor 0.1.0 does with its default options; the golden cases of the
 * tests come from it. words_name.c makes a queue's name of it.
 */
#include "schedule/words.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "schedule/cron.h"

enum { field_room = 2 * NQ_CRON_SIZE + 8 };

enum { second, minute, hour, day, month, weekday, year, slot_count };

typedef struct slots {
    char at[slot_count][field_room];
} slots;

static const char *const weekdays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"December", "January", "February", "March",     "April",   "May",
                                     "June",     "July",    "August",   "September", "October", "November"};

/* ---- text ------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool has(const char *text, const char *characters)
{
    return text[strcspn(text, characters)] != '\0';
}

static void upper(char *text)
{
    for (; *text; text++) {
        if (is_lower(*text))
            *text = (char)(*text - 'a' + 'A');
    }
}

/* Replaces each `from` by a `to` that is not longer. */
static void replace(char *text, const char *from, const char *to)
{
    size_t from_size = strlen(from), to_size = strlen(to);
    char *write = text;
    while (*text) {
        if (strncmp(text, from, from_size) == 0) {
            memcpy(write, to, to_size);
            write += to_size;
            text += from_size;
        } else {
            *write++ = *text++;
        }
    }
    *write = '\0';
}

/* A decimal number with an optional sign, and nothing else; false also if it does not fit. */
static bool number_of(const char *text, long *out)
{
    long value = 0;
    bool negative = *text == '-';
    if (*text == '+' || *text == '-')
        text++;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (!is_digit(*text) || value > (LONG_MAX - (*text - '0')) / 10)
            return false;
        value = value * 10 + (*text - '0');
    }
    *out = negative ? -value : value;
    return true;
}

/* The text to the next c or the end; *rest moves behind it, to NULL after the last piece. */
static void next_piece(const char **rest, char c, char piece[field_room])
{
    const char *end = strchr(*rest, c);
    size_t size = end ? (size_t)(end - *rest) : strlen(*rest);
    memcpy(piece, *rest, size);
    piece[size] = '\0';
    *rest = end ? end + 1 : NULL;
}

static int refuse(const char *field, const char *text)
{
    return nq_fail(NEOQ_EINVAL, "cron: \"%s\" cannot be described as %s", text, field);
}

/* ---- the expression in seven slots ------------------------------------------------------ */

static bool ends_in_year(const char *text)
{
    size_t size = strlen(text);
    return size >= 4 && is_digit(text[size - 1]) && is_digit(text[size - 2]) && is_digit(text[size - 3]) &&
           is_digit(text[size - 4]);
}

static void replace_names(char *text, const char *names, int first)
{
    upper(text);
    for (int i = 0; names[3 * i]; i++) {
        char name[4] = {names[3 * i], names[3 * i + 1], names[3 * i + 2], 0}, number[16];
        snprintf(number, sizeof number, "%d", first + i);
        replace(text, name, number);
    }
}

static void normalise(slots *s)
{
    replace(s->at[day], "?", "*");
    replace(s->at[weekday], "?", "*");
    for (int i = 0; i < slot_count; i++) {
        const char *start = i < day ? "0/" : "1/";
        if (strncmp(s->at[i], start, 2) == 0)
            replace(s->at[i], start, "*/");
    }
    replace_names(s->at[weekday], "SUNMONTUEWEDTHUFRISAT", 0);
    replace_names(s->at[month], "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", 1);
    if (strcmp(s->at[second], "0") == 0)
        s->at[second][0] = '\0';
    for (int i = 0; i < slot_count; i++) {
        char *text = s->at[i];
        if (strcmp(text, "*/1") == 0)
            text[1] = '\0';
        /* A step from somewhere becomes a step over a range, and is described as one. */
        if ((i == month || i == weekday) && has(text, "/") && !has(text, "*-,")) {
            char start[field_room], step[field_room];
            const char *rest = text;
            next_piece(&rest, '/', start);
            next_piece(&rest, '/', step);
            snprintf(text, field_room, "%.*s-%s/%.*s", NQ_CRON_SIZE, start, i == month ? "12" : "6", NQ_CRON_SIZE,
                     step);
        }
    }
}

static int split(const char *spec, slots *s)
{
    char pieces[slot_count][field_room];
    int count = 0;
    const char *rest = spec;
    *s = (slots){0};
    if (!*spec)
        return nq_fail(NEOQ_EINVAL, "cron: the expression is empty");
    if (strnlen(spec, NQ_CRON_SIZE) == NQ_CRON_SIZE)
        return nq_fail(NEOQ_EINVAL, "cron: the expression is longer than %d bytes", NQ_CRON_SIZE - 1);
    while (rest && count < slot_count)
        next_piece(&rest, ' ', pieces[count++]);
    if (rest || count < 5)
        return nq_fail(NEOQ_EINVAL, "cron \"%s\": only five to seven fields can be described", spec);
    int first = count == 5 || (count == 6 && ends_in_year(pieces[5])) ? minute : second;
    for (int i = 0; i < count; i++)
        memcpy(s->at[first + i], pieces[i], field_room);
    normalise(s);
    return NEOQ_OK;
}

/* ---- single values ---------------------------------------------------------------------- */

typedef int (*single)(const char *text, nq_buffer *out);

static size_t count_characters(const char *utf8)
{
    size_t count = 0;
    for (; *utf8; utf8++)
        count += ((unsigned char)*utf8 & 0xc0) != 0x80;
    return count;
}

static void add_padded(nq_buffer *out, const char *text)
{
    for (size_t count = count_characters(text); count < 2; count++)
        nq_buffer_add_char(out, '0');
    nq_buffer_add_string(out, text);
}

/* "05:30 PM" */
static int add_time(nq_buffer *out, const char *hour_text, const char *minute_text, const char *second_text)
{
    long h;
    if (!number_of(hour_text, &h))
        return refuse("an hour", hour_text);
    nq_buffer_addf(out, "%02ld:", h > 12 ? h - 12 : h);
    add_padded(out, minute_text);
    if (*second_text) {
        nq_buffer_add_char(out, ':');
        add_padded(out, second_text);
    }
    nq_buffer_add_string(out, h >= 12 ? " PM" : " AM");
    return NEOQ_OK;
}

static int single_text(const char *text, nq_buffer *out)
{
    nq_buffer_add_string(out, text);
    return NEOQ_OK;
}

static int single_second(const char *text, nq_buffer *out)
{
    long value;
    if (!number_of(text, &value) || value < 0 || value > 59)
        return refuse("a second", text);
    return single_text(text, out);
}

static int single_hour(const char *text, nq_buffer *out)
{
    return add_time(out, text, "0", "");
}

static int single_weekday(const char *text, nq_buffer *out)
{
    char number[field_room];
    long value;
    const char *rest = text;
    next_piece(&rest, '#', number);
    if (!rest)
        replace(number, "L", "");
    if (!number_of(number, &value) || value < 0 || value > 6)
        return refuse("a day of the week from 0 to 6", text);
    return single_text(weekdays[value], out);
}

static int single_month(const char *text, nq_buffer *out)
{
    long value;
    if (!number_of(text, &value))
        return refuse("a month", text);
    return single_text(months[(value % 12 + 12) % 12], out);
}

static int single_year(const char *text, nq_buffer *out)
{
    long value;
    if (!number_of(text, &value))
        return refuse("a year", text);
    nq_buffer_addf(out, "%ld", value);
    return NEOQ_OK;
}

/* ---- one field -------------------------------------------------------------------------- */

/* How a field is put: around each of the words that stand for its values. */
typedef struct phrase {
    const char *all;
    single one;
    const char *interval_before, *interval_after;
    const char *between_before, *between_middle, *between_after;
    const char *wrap_before, *wrap_after;
    const char *starting;
} phrase;

static const phrase phrases[slot_count] = {
    [second] = {"every second", single_second, "every ", " seconds", ", seconds ", " through ", " past the minute",
                "at ", " seconds past the minute", "at "},
    [minute] = {"every minute", single_text, "every ", " minutes", ", minutes ", " through ", " past the hour", "at ",
                " minutes past the hour", "at "},
    [hour] = {"every hour", single_hour, "every ", " hours", "", " through ", "", "at ", "", "in "},
    [day] = {", every day", single_text, ", every ", " days", ", between day ", " and ", " of the month", ", on day ",
             " of the month", "in "},
    [month] = {"", single_month, ", every ", " months", ", ", " through ", "", ", only in ", "", "in "},
    [weekday] = {", every day", single_weekday, ", every ", " days of the week", ", ", " through ", "", ", only on ",
                 "", "in "},
    [year] = {"", single_year, ", every ", " years", ", ", " through ", "", ", in ", "", "in "},
};

/* x-y; where there is no y Go fails. */
static int add_between(const char *text, const phrase *p, nq_buffer *out)
{
    char from[field_room], to[field_room];
    const char *rest = text;
    nq_buffer last = {0};
    next_piece(&rest, '-', from);
    if (!rest)
        return refuse("a range (a list of ranges and single values has no description)", text);
    next_piece(&rest, '-', to);
    nq_buffer_add_string(out, p->between_before);
    int status = p->one(from, out);
    if (status == NEOQ_OK)
        status = p->one(to, &last);
    if (status == NEOQ_OK && last.data) {
        replace(last.data, ":00", ":59");
        nq_buffer_add_string(out, p->between_middle);
        nq_buffer_add_string(out, last.data);
        nq_buffer_add_string(out, p->between_after);
    }
    out->failed |= last.failed;
    nq_buffer_free(&last);
    return status;
}

static int add_interval(const char *text, const phrase *p, nq_buffer *out)
{
    char start[field_room], step[field_room];
    const char *rest = text;
    next_piece(&rest, '/', start);
    next_piece(&rest, '/', step);
    if (p == &phrases[day] && strcmp(step, "1") == 0) {
        nq_buffer_add_string(out, ", every day");
    } else {
        nq_buffer_add_string(out, p->interval_before);
        nq_buffer_add_string(out, step);
        nq_buffer_add_string(out, p->interval_after);
    }
    if (has(start, "-")) {
        nq_buffer range = {0};
        int status = add_between(start, p, &range);
        if (status == NEOQ_OK && range.data) {
            if (strncmp(range.data, ", ", 2) != 0) {
                nq_buffer_add_char(out, ',');
                nq_buffer_add_string(out, range.data);
            }
            nq_buffer_add_string(out, range.data);
        }
        out->failed |= range.failed;
        nq_buffer_free(&range);
        return status;
    }
    if (!has(start, "*,")) {
        nq_buffer_add_string(out, ", starting ");
        nq_buffer_add_string(out, p->starting);
        nq_buffer_add_string(out, start);
    }
    return NEOQ_OK;
}

/* One item of a list of ranges, without the commas that introduce a range elsewhere. */
static int add_bare_between(const char *text, const phrase *p, nq_buffer *out)
{
    nq_buffer range = {0};
    int status = add_between(text, p, &range);
    if (status == NEOQ_OK && range.data) {
        replace(range.data, ", ", "");
        nq_buffer_add_string(out, range.data);
    }
    out->failed |= range.failed;
    nq_buffer_free(&range);
    return status;
}

static int add_list(const char *text, const phrase *p, nq_buffer *out)
{
    int count = 1, status = NEOQ_OK;
    for (const char *c = text; *c; c++)
        count += *c == ',';
    const char *rest = text;
    for (int i = 0; i < count && status == NEOQ_OK; i++) {
        char item[field_room];
        next_piece(&rest, ',', item);
        if (i > 0 && count > 2)
            nq_buffer_add_string(out, i < count - 1 ? ", " : ",");
        if (i > 0 && i == count - 1)
            nq_buffer_add_string(out, " and ");
        status = has(text, "-") ? add_bare_between(item, p, out) : p->one(item, out);
    }
    return status;
}

/* What goes around the values; the weekdays' depends on a #n or an L in the field. False if n has no word. */
static bool wrap_words(int slot, const char *text, const char **before, const char **after)
{
    static const char *const orders[] = {", on the first ", ", on the second ", ", on the third ", ", on the fourth ",
                                         ", on the fifth "};
    const char *hash = slot == weekday ? strchr(text, '#') : NULL;
    *before = phrases[slot].wrap_before;
    *after = phrases[slot].wrap_after;
    if (hash) {
        if (hash[1] < '1' || hash[1] > '5')
            return false;
        *before = orders[hash[1] - '1'];
        *after = " of the month";
    } else if (slot == weekday && has(text, "L")) {
        *before = ", on the last ";
        *after = " of the month";
    }
    return true;
}

static int add_segment(const slots *s, int slot, nq_buffer *out)
{
    const char *text = s->at[slot], *before, *after;
    const phrase *p = &phrases[slot];
    if (!*text)
        return NEOQ_OK;
    if (strcmp(text, "*") == 0)
        return single_text(p->all, out);
    if (has(text, "/"))
        return add_interval(text, p, out);
    if (has(text, "-") && !has(text, ","))
        return add_between(text, p, out);
    if (!wrap_words(slot, text, &before, &after))
        return refuse("the nth of a weekday, n from 1 to 5", text);
    nq_buffer_add_string(out, before);
    int status = has(text, ",") ? add_list(text, p, out) : p->one(text, out);
    nq_buffer_add_string(out, after);
    return status;
}

/* ---- the parts of the sentence ---------------------------------------------------------- */

static int add_hour_list(const slots *s, nq_buffer *out)
{
    const char *rest = s->at[hour];
    int status = NEOQ_OK;
    nq_buffer_add_string(out, "At");
    while (rest && status == NEOQ_OK) {
        char piece[field_room];
        next_piece(&rest, ',', piece);
        nq_buffer_add_char(out, ' ');
        status = add_time(out, piece, s->at[minute], "");
        if (rest)
            nq_buffer_add_string(out, strchr(rest, ',') ? "," : " and");
    }
    return status;
}

static int add_minute_range(const slots *s, nq_buffer *out)
{
    char from[field_room], to[field_room];
    const char *rest = s->at[minute];
    next_piece(&rest, '-', from);
    next_piece(&rest, '-', to);
    if (rest)
        return refuse("a range of minutes", s->at[minute]);
    nq_buffer_add_string(out, "Every minute between ");
    int status = add_time(out, s->at[hour], from, s->at[second]);
    nq_buffer_add_string(out, " and ");
    return status == NEOQ_OK ? add_time(out, s->at[hour], to, s->at[second]) : status;
}

static int add_time_of_day(const slots *s, nq_buffer *out)
{
    const char *seconds = s->at[second], *minutes = s->at[minute], *hours = s->at[hour];
    static const char special[] = "/-,*";
    if (!has(seconds, special) && !has(minutes, special) && !has(hours, special)) {
        nq_buffer_add_string(out, "At ");
        return add_time(out, hours, minutes, seconds);
    }
    if (has(minutes, "-") && !has(minutes, ",") && !has(hours, special))
        return add_minute_range(s, out);
    if (has(hours, ",") && !has(hours, "-") && !has(minutes, special))
        return add_hour_list(s, out);

    int status = add_segment(s, second, out);
    for (int slot = minute; slot <= hour && status == NEOQ_OK; slot++) {
        if (out->size > 0)
            nq_buffer_add_string(out, ", ");
        status = slot == hour && has(hours, ":") ? refuse("hours", hours) : add_segment(s, slot, out);
    }
    return status;
}

/* The day before or behind a W: one or two digits, anywhere in the field; -1 if there is none. */
static long nearest_day(const char *text)
{
    for (const char *at = text; *at; at++) {
        const char *w = at;
        while (is_digit(*w) && w < at + 2)
            w++;
        bool before = w > at && *w == 'W';
        if (before || (*at == 'W' && is_digit(at[1]))) {
            const char *digits = before ? at : at + 1;
            return is_digit(digits[1]) ? (digits[0] - '0') * 10 + digits[1] - '0' : digits[0] - '0';
        }
    }
    return -1;
}

static int add_day(const slots *s, nq_buffer *out)
{
    const char *text = s->at[day];
    long nearest = nearest_day(text);
    if (strcmp(text, "L") == 0)
        return single_text(", on the last day of the month", out);
    if (strcmp(text, "LW") == 0 || strcmp(text, "WL") == 0)
        return single_text(", on the last weekday of the month", out);
    if (nearest == 1)
        return single_text(", on the first weekday of the month", out);
    if (nearest >= 0) {
        nq_buffer_addf(out, ", on the weekday nearest day %ld of the month", nearest);
        return NEOQ_OK;
    }
    return add_segment(s, day, out);
}

static int describe(const char *spec, nq_buffer *out)
{
    static const char *const dropped[] = {", every minute", ", every hour", ", every day",
                                          "at 0 minutes past the hour, "};
    slots s;
    int status = split(spec, &s);
    if (status == NEOQ_OK)
        status = add_time_of_day(&s, out);
    if (status == NEOQ_OK)
        status = add_day(&s, out);
    /* With a day of the month, "every day" of the week would contradict it. */
    if (status == NEOQ_OK && (strcmp(s.at[weekday], "*") != 0 || strcmp(s.at[day], "*") == 0))
        status = add_segment(&s, weekday, out);
    if (status == NEOQ_OK)
        status = add_segment(&s, month, out);
    if (status == NEOQ_OK)
        status = add_segment(&s, year, out);
    if (status != NEOQ_OK)
        return status;
    if (out->failed)
        return nq_fail(NEOQ_ENOMEM, "out of memory");

    for (size_t i = 0; out->data && i < sizeof dropped / sizeof dropped[0]; i++)
        replace(out->data, dropped[i], "");
    out->size = out->data ? strlen(out->data) : 0;
    if (out->size == 0)
        return nq_fail(NEOQ_EINVAL, "cron \"%s\": has no description", spec);
    if (is_lower(out->data[0]))
        out->data[0] = (char)(out->data[0] - 'a' + 'A');
    return NEOQ_OK;
}

int nq_cron_describe(const char *spec, char *out, size_t size)
{
    nq_buffer text = {0};
    int status = describe(spec, &text);
    if (status == NEOQ_OK && text.size >= size)
        status = nq_fail(NEOQ_EINVAL, "cron \"%.60s...\": the description has %zu bytes", spec, text.size);
    if (status == NEOQ_OK)
        memcpy(out, text.data, text.size + 1);
    nq_buffer_free(&text);
    return status;
}
