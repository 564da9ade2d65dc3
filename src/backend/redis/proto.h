/* SPDX-License-Identifier: MIT
 *
 * redis/proto.h -- protobuf's wire format, for messages that are described by a table of their fields.
 *
 * Decoded strings and bytes are views of what was decoded. Maps and repeated fields are read one by one from there, and
 * so are fields that the table does not know: what was decoded and is encoded again loses nothing.
 */
#ifndef NQ_REDIS_PROTO_H
#define NQ_REDIS_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

typedef struct rd_bytes {
    const char *data; /* no NUL follows */
    size_t size;
} rd_bytes;

typedef struct rd_stamp {
    int64_t seconds; /* since 1970 */
    int32_t nanos;
} rd_stamp;

/* Of a map or repeated field. */
typedef struct rd_entry {
    rd_bytes name, value; /* map<string,string> has both, a repeated string the name */
    int32_t number;       /* map<string,int32> has it and the name */
} rd_entry;

/* What is to be encoded in addition to what was decoded. */
typedef struct rd_entries {
    const rd_entry *items;
    size_t count;
} rd_entries;

typedef enum rd_kind {
    RD_STRING, /* rd_bytes, UTF-8 */
    RD_BYTES,  /* rd_bytes */
    RD_INT32,
    RD_INT64,
    RD_BOOL,
    RD_STAMP,   /* rd_stamp; always written */
    RD_STRINGS, /* rd_entries */
    RD_TEXTS,   /* rd_entries: map<string,string> */
    RD_NUMBERS  /* rd_entries: map<string,int32> */
} rd_kind;

typedef struct rd_field {
    uint32_t number;
    rd_kind kind;
    size_t offset; /* of its member */
    const char *name;
} rd_field;

/* The fields in ascending order, ended by number 0. A message's struct begins with an rd_bytes: what it was decoded from,
 * or nothing. */
typedef struct rd_shape {
    const char *name;
    size_t size;
    rd_field fields[16];
} rd_shape;

/* Appends to out. NEOQ_EINVAL, with words: a string is no UTF-8, which no reader would take. NEOQ_ENOMEM: out has
 * failed. */
int rd_proto_encode(const rd_shape *shape, const void *message, nq_buffer *out);
/* message holds views of bytes. NEOQ_EINVAL, with words: bytes are no such message. */
int rd_proto_decode(const rd_shape *shape, const void *bytes, size_t size, void *message);

/* Of what message was decoded from, the next entry of that field behind *at, which begins with 0. A map's key may come
 * twice: the last one counts. False: there is none left. */
bool rd_proto_next(const rd_shape *shape, const void *message, uint32_t number, size_t *at, rd_entry *entry);

#endif
