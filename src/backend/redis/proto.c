/* SPDX-License-Identifier: MIT */
#include "backend/redis/proto.h"

#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

/* How a value stands on the wire. */
enum { VARINT = 0, FIXED64 = 1, SIZED = 2, GROUP = 3, GROUP_END = 4, FIXED32 = 5 };
enum { DEEPEST_GROUP = 64, MOST_NUMBER = (1 << 29) - 1 };

/* ---- writing ---------------------------------------------------------------------------- */

static void put_varint(nq_buffer *out, uint64_t value)
{
    char bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (char)(unsigned char)(value | 0x80);
    bytes[n++] = (char)(unsigned char)value;
    nq_buffer_add(out, bytes, n);
}

static void put_tag(nq_buffer *out, uint32_t number, unsigned type)
{
    put_varint(out, (uint64_t)number << 3 | type);
}

static void put_sized(nq_buffer *out, uint32_t number, const char *data, size_t size)
{
    put_tag(out, number, SIZED);
    put_varint(out, size);
    nq_buffer_add(out, data, size);
}

/* Zeros are left out. Negative numbers take ten bytes, whatever their type. */
static void put_number(nq_buffer *out, uint32_t number, int64_t value)
{
    if (value == 0)
        return;
    put_tag(out, number, VARINT);
    put_varint(out, (uint64_t)value);
}

static size_t varint_size(uint64_t value)
{
    size_t n = 1;
    while (value >>= 7)
        n++;
    return n;
}

static void put_stamp(nq_buffer *out, uint32_t number, const rd_stamp *stamp)
{
    size_t size = (stamp->seconds ? 1 + varint_size((uint64_t)stamp->seconds) : 0) +
                  (stamp->nanos ? 1 + varint_size((uint64_t)(int64_t)stamp->nanos) : 0);
    put_tag(out, number, SIZED);
    put_varint(out, size);
    put_number(out, 1, stamp->seconds);
    put_number(out, 2, stamp->nanos);
}

/* Both halves of a map's entry are written, be they empty. */
static void put_entry(nq_buffer *out, const rd_field *field, const rd_entry *entry)
{
    const rd_bytes *name = &entry->name, *value = &entry->value;
    uint64_t number = (uint64_t)(int64_t)entry->number;
    if (field->kind == RD_STRINGS) {
        put_sized(out, field->number, name->data, name->size);
        return;
    }
    size_t second = field->kind == RD_TEXTS ? varint_size(value->size) + value->size : varint_size(number);
    put_tag(out, field->number, SIZED);
    put_varint(out, 1 + varint_size(name->size) + name->size + 1 + second);
    put_sized(out, 1, name->data, name->size);
    if (field->kind == RD_TEXTS) {
        put_sized(out, 2, value->data, value->size);
    } else {
        put_tag(out, 2, VARINT);
        put_varint(out, number);
    }
}

/* ---- reading ---------------------------------------------------------------------------- */

/* What is left to be read. */
typedef struct reader {
    const unsigned char *at, *end;
} reader;

static bool take_varint(reader *r, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 70 && r->at < r->end; shift += 7) {
        unsigned char byte = *r->at++;
        if (shift == 63 && byte > 1)
            return false; /* more than 64 bits */
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool take_sized(reader *r, rd_bytes *value)
{
    uint64_t size;
    if (!take_varint(r, &size) || size > (uint64_t)(r->end - r->at))
        return false;
    *value = (rd_bytes){(const char *)r->at, (size_t)size};
    r->at += size;
    return true;
}

/* A field as it stands there. */
typedef struct raw {
    uint32_t number;
    unsigned type;
    uint64_t varint;
    rd_bytes sized;
} raw;

static bool take_tag(reader *r, raw *out)
{
    uint64_t tag;
    if (!take_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > MOST_NUMBER)
        return false;
    out->number = (uint32_t)(tag >> 3);
    out->type = (unsigned)(tag & 7);
    return true;
}

static bool skip_group(reader *r, uint32_t number, int depth);

static bool take_value(reader *r, raw *out, int depth)
{
    size_t size = out->type == FIXED64 ? 8 : 4;
    switch (out->type) {
    case VARINT: return take_varint(r, &out->varint);
    case SIZED: return take_sized(r, &out->sized);
    case GROUP: return depth < DEEPEST_GROUP && skip_group(r, out->number, depth + 1);
    case FIXED64:
    case FIXED32:
        if ((size_t)(r->end - r->at) < size)
            return false;
        r->at += size;
        return true;
    default: return false; /* a group's end without its beginning, or nothing that there is */
    }
}

static bool skip_group(reader *r, uint32_t number, int depth)
{
    raw field;
    while (take_tag(r, &field)) {
        if (field.type == GROUP_END)
            return field.number == number;
        if (!take_value(r, &field, depth))
            return false;
    }
    return false;
}

static bool take_field(reader *r, raw *out)
{
    return take_tag(r, out) && take_value(r, out, 0);
}

static reader read_bytes(rd_bytes bytes)
{
    const unsigned char *data = (const unsigned char *)bytes.data;
    return (reader){data, data ? data + bytes.size : NULL};
}

/* ---- fields ----------------------------------------------------------------------------- */

static unsigned type_of(rd_kind kind)
{
    return kind == RD_INT32 || kind == RD_INT64 || kind == RD_BOOL ? VARINT : SIZED;
}

/* NULL: it is not in the table, or is of another type there, which is the same to a reader. */
static const rd_field *find_field(const rd_shape *shape, const raw *field)
{
    for (const rd_field *f = shape->fields; f->number; f++)
        if (f->number == field->number)
            return type_of(f->kind) == field->type ? f : NULL;
    return NULL;
}

static bool is_repeated(const rd_field *field)
{
    return field->kind == RD_STRINGS || field->kind == RD_TEXTS || field->kind == RD_NUMBERS;
}

static bool is_utf8(rd_bytes text)
{
    return nq_utf8_valid(text.data, text.size);
}

/* What was read before stays where a stamp comes in parts. */
static bool read_stamp(rd_bytes from, rd_stamp *stamp)
{
    reader r = read_bytes(from);
    raw part;
    while (r.at < r.end) {
        if (!take_field(&r, &part))
            return false;
        if (part.type == VARINT && part.number == 1)
            stamp->seconds = (int64_t)part.varint;
        else if (part.type == VARINT && part.number == 2)
            stamp->nanos = (int32_t)(uint32_t)part.varint;
    }
    return true;
}

static bool read_entry(const rd_field *field, rd_bytes from, rd_entry *entry)
{
    *entry = (rd_entry){.name = {"", 0}, .value = {"", 0}};
    if (field->kind == RD_STRINGS) {
        entry->name = from;
        return is_utf8(from);
    }
    reader r = read_bytes(from);
    raw part;
    while (r.at < r.end) {
        if (!take_field(&r, &part))
            return false;
        if (part.number == 1 && part.type == SIZED)
            entry->name = part.sized;
        else if (part.number == 2 && part.type == SIZED && field->kind == RD_TEXTS)
            entry->value = part.sized;
        else if (part.number == 2 && part.type == VARINT && field->kind == RD_NUMBERS)
            entry->number = (int32_t)(uint32_t)part.varint;
    }
    return is_utf8(entry->name) && is_utf8(entry->value);
}

static bool store(const rd_field *field, const raw *from, void *message)
{
    char *member = (char *)message + field->offset;
    rd_entry ignored;
    switch (field->kind) {
    case RD_STRING:
    case RD_BYTES: *(rd_bytes *)(void *)member = from->sized; return field->kind == RD_BYTES || is_utf8(from->sized);
    case RD_INT32: *(int32_t *)(void *)member = (int32_t)(uint32_t)from->varint; return true;
    case RD_INT64: *(int64_t *)(void *)member = (int64_t)from->varint; return true;
    case RD_BOOL: *(bool *)(void *)member = from->varint != 0; return true;
    case RD_STAMP: return read_stamp(from->sized, (rd_stamp *)(void *)member);
    case RD_STRINGS:
    case RD_TEXTS:
    case RD_NUMBERS: return read_entry(field, from->sized, &ignored); /* rd_proto_next() gives it */
    }
    return false;
}

static int not_utf8(const rd_shape *shape, const rd_field *field)
{
    return nq_fail(NEOQ_EINVAL, "%s: %s is no UTF-8", shape->name, field->name);
}

/* ---- messages --------------------------------------------------------------------------- */

int rd_proto_decode(const rd_shape *shape, const void *bytes, size_t size, void *message)
{
    rd_bytes all = {bytes, size};
    memset(message, 0, shape->size);
    *(rd_bytes *)message = all;
    reader r = read_bytes(all);
    while (r.at < r.end) {
        raw field;
        if (!take_field(&r, &field))
            return nq_fail(NEOQ_EINVAL, "%s: it is not in protobuf's format", shape->name);
        const rd_field *known = find_field(shape, &field);
        if (known && !store(known, &field, message))
            return nq_fail(NEOQ_EINVAL, "%s: %s is malformed or no UTF-8", shape->name, known->name);
    }
    return NEOQ_OK;
}

bool rd_proto_next(const rd_shape *shape, const void *message, uint32_t number, size_t *at, rd_entry *entry)
{
    const rd_bytes *from = message;
    reader r = read_bytes(*from);
    const unsigned char *begin = r.at;
    raw field;
    if (*at > 0) /* of what was not decoded there is nothing to begin at */
        r.at += *at;
    while (r.at < r.end && take_field(&r, &field)) {
        const rd_field *known = field.number == number ? find_field(shape, &field) : NULL;
        *at = (size_t)(r.at - begin);
        if (known && is_repeated(known) && read_entry(known, field.sized, entry))
            return true;
    }
    return false;
}

/* What was decoded of a repeated field, and then what is new. */
static int encode_entries(const rd_shape *shape, const rd_field *field, const void *message, nq_buffer *out)
{
    const rd_entries *more = (const void *)((const char *)message + field->offset);
    rd_entry entry;
    for (size_t at = 0; rd_proto_next(shape, message, field->number, &at, &entry);)
        put_entry(out, field, &entry);
    for (size_t i = 0; i < more->count; i++) {
        if (!is_utf8(more->items[i].name) || !is_utf8(more->items[i].value))
            return not_utf8(shape, field);
        put_entry(out, field, &more->items[i]);
    }
    return NEOQ_OK;
}

static int encode_field(const rd_shape *shape, const rd_field *field, const void *message, nq_buffer *out)
{
    const void *member = (const char *)message + field->offset;
    const rd_bytes *text = member;
    switch (field->kind) {
    case RD_STRING:
        if (!is_utf8(*text))
            return not_utf8(shape, field);
        __attribute__((fallthrough));
    case RD_BYTES:
        if (text->size > 0)
            put_sized(out, field->number, text->data, text->size);
        break;
    case RD_INT32: put_number(out, field->number, *(const int32_t *)member); break;
    case RD_INT64: put_number(out, field->number, *(const int64_t *)member); break;
    case RD_BOOL: put_number(out, field->number, *(const bool *)member); break;
    case RD_STAMP: put_stamp(out, field->number, member); break;
    case RD_STRINGS:
    case RD_TEXTS:
    case RD_NUMBERS: return encode_entries(shape, field, message, out);
    }
    return NEOQ_OK;
}

/* A later version's fields stay as they are. */
static void copy_unknown(const rd_shape *shape, const void *message, nq_buffer *out)
{
    const rd_bytes *from = message;
    raw field;
    reader r = read_bytes(*from);
    while (r.at < r.end) {
        const unsigned char *begin = r.at;
        if (!take_field(&r, &field))
            return; /* it was decoded: there is none */
        if (!find_field(shape, &field))
            nq_buffer_add(out, begin, (size_t)(r.at - begin));
    }
}

int rd_proto_encode(const rd_shape *shape, const void *message, nq_buffer *out)
{
    for (const rd_field *field = shape->fields; field->number; field++) {
        int status = encode_field(shape, field, message, out);
        if (status != NEOQ_OK)
            return status;
    }
    copy_unknown(shape, message, out);
    return out->failed ? nq_fail(NEOQ_ENOMEM, "no memory for a message to Redis") : NEOQ_OK;
}
