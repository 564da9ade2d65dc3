/* SPDX-License-Identifier: MIT */

/*
 * One pass reads the text and writes its canonical form, except for the order of members. Where an object's names come
 * in ascending order, which is the common case, there is nothing more to do. Otherwise its members' ranges are sorted
 * and kept, and once the whole text is written a second pass copies it into order. Each byte is moved once by that pass,
 * however many unordered objects lie around it.
 */
#include "base/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <neoq.h>

#include "base/decimal.h"
#include "base/utf8.h"

/* ---- what is remembered while reading ----------------------------------------------------- */

/*
 * All places are offsets into what the first pass has written. Unordered objects are numbered as they close, so those
 * within a range of the text have consecutive numbers: from inner up to, not including, inner_end.
 */
typedef struct member {
    uint64_t prefix; /* the name's first 8 bytes, big-endian: mostly all that is compared */
    size_t start, name_end, end;
    size_t inner, inner_end;
    bool escaped; /* the name, as written, holds a backslash */
} member;

typedef struct unordered {
    size_t start, end;
    size_t inner;
    size_t kept, kept_end; /* its members in order: their places in reader.kept */
} unordered;

typedef struct container {
    size_t start, inner;
    size_t members; /* its first one's place in reader.members */
    bool object, in_order;
} container;

/* A range being copied into order, from its end towards its start. */
typedef struct range {
    size_t start, end;
    size_t inner, inner_end;
    bool within; /* its last unordered object is being written: */
    size_t kept; /*     the members before this one remain */
} range;

/* Items of one type, the first few of them in memory of the caller's. */
typedef struct stack {
    void *items, *first;
    size_t count, room;
} stack;

typedef struct reader {
    const unsigned char *at, *end;
    char *base, *to; /* what is written, and where it goes on */
    stack containers, members, kept, unordered;
} reader;

static bool stack_grow(stack *s, size_t item_size)
{
    size_t room = s->room * 4;
    void *items = realloc(s->items == s->first ? NULL : s->items, room * item_size);
    if (!items)
        return false;
    if (s->items == s->first)
        memcpy(items, s->first, s->count * item_size);
    s->items = items;
    s->room = room;
    return true;
}

/* The new item, not initialised; NULL if memory ran out. Moves the items. */
static inline void *stack_push(stack *s, size_t item_size)
{
    if (s->count == s->room && !stack_grow(s, item_size))
        return NULL;
    return (char *)s->items + s->count++ * item_size;
}

static void stack_free(stack *s)
{
    if (s->items != s->first)
        free(s->items);
}

static inline size_t written(const reader *r)
{
    return (size_t)(r->to - r->base);
}

/* The byte that the next token begins with; -1 at the end. */
static inline int next_token(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
    return r->at < r->end ? *r->at : -1;
}

/* ---- strings ------------------------------------------------------------------------------ */

/* ASCII that stands in a string as it is, both read and written: no controls, no " & < > and no backslash. */
/* clang-format off */
static const bool plain[256] = {
    [0x20] = 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1,
    [0x40] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1,
    [0x60] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};
/* clang-format on */

/* What a letter after a backslash means, pairwise. The slash is read so, but written plainly. */
static const char letters[] = "\"\\bfnrt/", meanings[] = "\"\\\b\f\n\r\t/";

static char *write_point(char *to, uint32_t point)
{
    static const char digits[] = "0123456789abcdef";
    if (point < 0x80 ? plain[point] : point != 0x2028 && point != 0x2029)
        return to + nq_utf8_encode(point, to);
    *to++ = '\\';
    const char *meaning = point < 0x80 && point != 0 ? strchr(meanings, (int)point) : NULL;
    if (meaning) {
        *to++ = letters[meaning - meanings];
        return to;
    }
    *to++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *to++ = digits[point >> shift & 0x0F];
    return to;
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The unit of "\uXXXX" at at; -1 if that is not what stands there. */
static int32_t unicode_escape(const unsigned char *at, const unsigned char *end)
{
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    int32_t unit = 0;
    for (int i = 2; i < 6; i++) {
        int value = hex_value(at[i]);
        if (value < 0)
            return -1;
        unit = unit << 4 | value;
    }
    return unit;
}

/* The character that the escape at *at means, stepping over it; -1 if it is none. A lone surrogate means U+FFFD. */
static int32_t read_escape(const unsigned char **at, const unsigned char *end)
{
    if (end - *at < 2)
        return -1;
    if ((*at)[1] != 'u') {
        const char *letter = memchr(letters, (*at)[1], sizeof letters - 1);
        *at += 2;
        return letter ? meanings[letter - letters] : -1;
    }
    int32_t unit = unicode_escape(*at, end);
    if (unit < 0)
        return -1;
    *at += 6;
    if (unit < 0xD800 || unit > 0xDFFF)
        return unit;
    int32_t low = unit < 0xDC00 ? unicode_escape(*at, end) : -1;
    if (low < 0xDC00 || low > 0xDFFF)
        return NQ_UTF8_REPLACEMENT; /* what follows it is read by itself, and refused there if malformed */
    *at += 6;
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
}

static int read_string(reader *r)
{
    const unsigned char *at = r->at + 1, *end = r->end;
    char *to = r->to;
    *to++ = '"';
    for (;;) {
        const unsigned char *run = at;
        while (at < end && plain[*at])
            at++;
        memcpy(to, run, (size_t)(at - run));
        to += at - run;
        if (at == end || *at < 0x20)
            return NEOQ_EINVAL;
        if (*at == '"')
            break;
        if (*at == '\\') {
            int32_t point = read_escape(&at, end);
            if (point < 0)
                return NEOQ_EINVAL;
            to = write_point(to, (uint32_t)point);
            continue;
        }
        uint32_t point = NQ_UTF8_REPLACEMENT;
        size_t length = nq_utf8_decode((const char *)at, (size_t)(end - at), &point);
        to = write_point(to, point);
        at += length ? length : 1;
    }
    *to++ = '"';
    r->at = at + 1;
    r->to = to;
    return NEOQ_OK;
}

/* ---- numbers ------------------------------------------------------------------------------ */

/* Steps over digits; false if there is none. */
static bool skip_digits(const unsigned char **at, const unsigned char *end)
{
    const unsigned char *start = *at;
    while (*at < end && **at >= '0' && **at <= '9')
        ++*at;
    return *at > start;
}

/* Whether the digits, without leading zeros, are a number of int64_t or uint64_t. */
static bool fits_integer(const unsigned char *digits, size_t count, bool negative)
{
    const char *limit = negative ? "9223372036854775808" : "18446744073709551615";
    size_t most = strlen(limit);
    return count < most || (count == most && memcmp(digits, limit, most) <= 0);
}

static int read_number(reader *r)
{
    const unsigned char *at = r->at, *end = r->end;
    bool negative = *at == '-';
    const unsigned char *digits = at += negative;
    if (!skip_digits(&at, end) || (*digits == '0' && at - digits > 1))
        return NEOQ_EINVAL;
    bool integer = fits_integer(digits, (size_t)(at - digits), negative);
    if (at < end && *at == '.') {
        integer = false;
        at++;
        if (!skip_digits(&at, end))
            return NEOQ_EINVAL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        integer = false;
        at++;
        at += at < end && (*at == '+' || *at == '-');
        if (!skip_digits(&at, end))
            return NEOQ_EINVAL;
    }
    const unsigned char *start = r->at;
    r->at = at;
    size_t size = (size_t)(at - start);
    if (integer) {
        r->to = (char *)memcpy(r->to, start, size) + size;
        return NEOQ_OK;
    }
    char *to = nq_decimal_write((const char *)start, size, r->to);
    if (!to)
        return NEOQ_EINVAL;
    r->to = to;
    return NEOQ_OK;
}

/* ---- members in order --------------------------------------------------------------------- */

/* The next character of a name as it was written, at *at, which is not at its end. */
static uint32_t name_point(const char **at, const char *end)
{
    const unsigned char *from = (const unsigned char *)*at;
    uint32_t point = 0;
    if (*from == '\\') {
        point = (uint32_t)read_escape(&from, (const unsigned char *)end);
        *at = (const char *)from;
    } else {
        *at += nq_utf8_decode(*at, (size_t)(end - *at), &point);
    }
    return point;
}

/* A name of fewer bytes is padded with zeros: no byte is below, so prefixes that differ are in the names' order. */
static uint64_t name_prefix(const reader *r, const member *m)
{
    char first[8 + 4] = {0};
    const char *at = r->base + m->start + 1, *end = r->base + m->name_end - 1;
    if (!m->escaped)
        memcpy(first, at, end - at < 8 ? (size_t)(end - at) : 8);
    else
        for (size_t n = 0; n < 8 && at < end;)
            n += nq_utf8_encode(name_point(&at, end), first + n);
    uint64_t prefix = 0;
    for (int i = 0; i < 8; i++)
        prefix = prefix << 8 | (unsigned char)first[i];
    return prefix;
}

/* By the bytes of the names themselves, before escaping. The order of UTF-8's bytes is that of its characters. */
static int compare_names(const reader *r, const member *a, const member *b)
{
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    const char *x = r->base + a->start + 1, *x_end = r->base + a->name_end - 1;
    const char *y = r->base + b->start + 1, *y_end = r->base + b->name_end - 1;
    if (!a->escaped && !b->escaped) {
        size_t m = (size_t)(x_end - x), n = (size_t)(y_end - y), least = m < n ? m : n;
        int order = least > 8 ? memcmp(x + 8, y + 8, least - 8) : 0;
        return order ? order : (m > n) - (m < n);
    }
    while (x < x_end && y < y_end) {
        uint32_t p = name_point(&x, x_end), q = name_point(&y, y_end);
        if (p != q)
            return p < q ? -1 : 1;
    }
    return (x < x_end) - (y < y_end);
}

/* Of equal names the later one comes later: the text's order. */
static int compare_members(const void *a, const void *b, void *r)
{
    const member *x = a, *y = b;
    int order = compare_names(r, x, y);
    return order ? order : (x->start > y->start) - (x->start < y->start);
}

/* Reads "name": and begins the member. */
static int read_name(reader *r)
{
    container *object = (container *)r->containers.items + r->containers.count - 1;
    if (next_token(r) != '"')
        return NEOQ_EINVAL;
    member *m = stack_push(&r->members, sizeof *m);
    if (!m)
        return NEOQ_ENOMEM;
    m->start = written(r);
    m->inner = r->unordered.count;
    int status = read_string(r);
    if (status != NEOQ_OK)
        return status;
    m->name_end = written(r);
    m->escaped = memchr(r->base + m->start, '\\', m->name_end - m->start) != NULL;
    m->prefix = name_prefix(r, m);
    if (object->in_order && r->members.count - object->members > 1)
        object->in_order = compare_names(r, m - 1, m) < 0;
    if (next_token(r) != ':')
        return NEOQ_EINVAL;
    r->at++;
    *r->to++ = ':';
    return NEOQ_OK;
}

static void end_member(reader *r)
{
    member *m = (member *)r->members.items + r->members.count - 1;
    m->end = written(r);
    m->inner_end = r->unordered.count;
}

/* Sorts the members of an object that just closed, and keeps the last of each name for the second pass. */
static int keep_members(reader *r, const container *object)
{
    member *members = (member *)r->members.items + object->members;
    size_t count = r->members.count - object->members;
    unordered *u = stack_push(&r->unordered, sizeof *u);
    if (!u)
        return NEOQ_ENOMEM;
    *u = (unordered){.start = object->start, .end = written(r), .inner = object->inner, .kept = r->kept.count};
    qsort_r(members, count, sizeof *members, compare_members, r);
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && compare_names(r, &members[i], &members[i + 1]) == 0)
            continue;
        member *kept = stack_push(&r->kept, sizeof *kept);
        if (!kept)
            return NEOQ_ENOMEM;
        *kept = members[i];
    }
    u->kept_end = r->kept.count;
    return NEOQ_OK;
}

/* ---- the first pass ----------------------------------------------------------------------- */

static int close_container(reader *r)
{
    container *c = (container *)r->containers.items + --r->containers.count;
    *r->to++ = c->object ? '}' : ']';
    int status = c->object && !c->in_order ? keep_members(r, c) : NEOQ_OK;
    r->members.count = c->members;
    r->at++;
    return status;
}

/* *whole: it was empty, and is closed again. */
static int open_container(reader *r, bool *whole)
{
    if (r->containers.count == NQ_JSON_MAX_DEPTH)
        return NEOQ_EINVAL;
    container *c = stack_push(&r->containers, sizeof *c);
    if (!c)
        return NEOQ_ENOMEM;
    *c = (container){.start = written(r), .inner = r->unordered.count, .members = r->members.count, .in_order = true};
    c->object = *r->at == '{';
    *r->to++ = (char)*r->at++;
    *whole = next_token(r) == (c->object ? '}' : ']');
    if (*whole)
        return close_container(r);
    return c->object ? read_name(r) : NEOQ_OK;
}

static int read_word(reader *r, const char *word, size_t size)
{
    if ((size_t)(r->end - r->at) < size || memcmp(r->at, word, size) != 0)
        return NEOQ_EINVAL;
    r->at += size;
    r->to = (char *)memcpy(r->to, word, size) + size;
    return NEOQ_OK;
}

/* Reads a value, or of an array or object what comes before its first value; then *whole is false. */
static int read_value(reader *r, bool *whole)
{
    *whole = true;
    switch (next_token(r)) {
    case '{':
    case '[': return open_container(r, whole);
    case '"': return read_string(r);
    case 't': return read_word(r, "true", 4);
    case 'f': return read_word(r, "false", 5);
    case 'n': return read_word(r, "null", 4);
    case -1: return NEOQ_EINVAL;
    default: return read_number(r);
    }
}

/* Reads what follows a whole value, up to where another value has to come; if none does, *done. */
static int read_after_value(reader *r, bool *done)
{
    *done = false;
    while (r->containers.count > 0) {
        const container *top = (container *)r->containers.items + r->containers.count - 1;
        int c = next_token(r);
        if (c != ',' && c != (top->object ? '}' : ']'))
            return NEOQ_EINVAL;
        if (top->object)
            end_member(r);
        if (c == ',') {
            r->at++;
            *r->to++ = ',';
            return top->object ? read_name(r) : NEOQ_OK;
        }
        int status = close_container(r);
        if (status != NEOQ_OK)
            return status;
    }
    *done = true;
    return next_token(r) == -1 ? NEOQ_OK : NEOQ_EINVAL;
}

static int read_text(reader *r)
{
    for (bool done = false; !done;) {
        bool whole;
        int status = read_value(r, &whole);
        if (status == NEOQ_OK && whole)
            status = read_after_value(r, &done);
        if (status != NEOQ_OK)
            return status;
    }
    return NEOQ_OK;
}

/* ---- the second pass ---------------------------------------------------------------------- */

static char *put_before(char *to, const char *bytes, size_t n)
{
    return memcpy(to - n, bytes, n);
}

/*
 * Writes all of the text with every object in order so that it ends at to, and returns where it begins; NULL if memory
 * ran out. It goes backwards because the number of an object is higher than those of the objects within it: in a range
 * the highest is the last of those that are not within another.
 */
static char *write_in_order(const reader *r, stack *ranges, char *to)
{
    const member *kept = r->kept.items;
    const unordered *objects = r->unordered.items;
    range *top = stack_push(ranges, sizeof *top); /* there is always room for the first */
    *top = (range){.end = written(r), .inner_end = r->unordered.count};
    while (ranges->count > 0) {
        top = (range *)ranges->items + ranges->count - 1;
        if (top->inner == top->inner_end) { /* nothing to put in order any more */
            to = put_before(to, r->base + top->start, top->end - top->start);
            ranges->count--;
            continue;
        }
        const unordered *last = &objects[top->inner_end - 1];
        if (!top->within) { /* up to the end of its last unordered object, whose members come next */
            to = put_before(to, r->base + last->end, top->end - last->end);
            *--to = '}';
            top->within = true;
            top->kept = last->kept_end;
        } else if (top->kept == last->kept) { /* all members written: go on before the object */
            *--to = '{';
            *top = (range){.start = top->start, .end = last->start, .inner = top->inner, .inner_end = last->inner};
            continue;
        } else {
            *--to = ',';
        }
        const member *m = &kept[--top->kept];
        if (!(top = stack_push(ranges, sizeof *top)))
            return NULL;
        *top = (range){.start = m->start, .end = m->end, .inner = m->inner, .inner_end = m->inner_end};
    }
    return to;
}

static int put_in_order(reader *r, nq_buffer *out)
{
    range first[16];
    stack ranges = {.items = first, .first = first, .room = 16};
    size_t size = written(r), start = (size_t)(r->base - out->data);
    int status = NEOQ_ENOMEM;
    out->size += size;
    bool room = nq_buffer_reserve(out, size); /* the second copy is made behind the first, then moved onto it */
    out->size = start;
    if (room) {
        r->base = out->data + start;
        r->to = r->base + size;
        char *end = r->to + size, *from = write_in_order(r, &ranges, end);
        if (from) {
            memmove(r->base, from, (size_t)(end - from));
            r->to = r->base + (end - from);
            status = NEOQ_OK;
        }
    }
    stack_free(&ranges);
    return status;
}

int nq_json_canonical(const char *text, size_t size, nq_buffer *out)
{
    if (size == 0)
        return NEOQ_EINVAL;
    if (size > SIZE_MAX / 64 || !nq_buffer_reserve(out, 6 * size)) /* the most it can become: no more checks */
        return NEOQ_ENOMEM;
    container containers[16];
    member members[32], kept[16];
    unordered unordered_objects[8];
    reader r = {
        .at = (const unsigned char *)text,
        .end = (const unsigned char *)text + size,
        .base = out->data + out->size,
        .to = out->data + out->size,
        .containers = {.items = containers, .first = containers, .room = 16},
        .members = {.items = members, .first = members, .room = 32},
        .kept = {.items = kept, .first = kept, .room = 16},
        .unordered = {.items = unordered_objects, .first = unordered_objects, .room = 8},
    };
    int status = read_text(&r);
    if (status == NEOQ_OK && r.unordered.count > 0)
        status = put_in_order(&r, out);
    if (status == NEOQ_OK)
        out->size = (size_t)(r.to - out->data);
    out->data[out->size] = '\0';
    stack_free(&r.containers);
    stack_free(&r.members);
    stack_free(&r.kept);
    stack_free(&r.unordered);
    return status;
}
