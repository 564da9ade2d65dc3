/* SPDX-License-Identifier: MIT */
#include "schedule/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "schedule/civil.h"
#include "schedule/posix_tz.h"

enum { name_max = 100, file_max = 1 << 20, header_size = 44 };

struct nq_zone {
    size_t count;    /* transitions */
    int64_t *at;     /* when each happens, ascending */
    int32_t *offset; /* what holds from then on */
    int32_t first;   /* what held before all of them */
    bool has_rule;   /* what holds from the last transition on, if the file says */
    nq_posix_tz rule;
};

/* ---- the file --------------------------------------------------------------------------- */

typedef struct reader {
    const unsigned char *data;
    size_t size;
} reader;

typedef struct header {
    int version;
    size_t utc_count, standard_count, leap_count, time_count, type_count, char_count;
} header;

static int64_t read_number(const unsigned char *bytes, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return width == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
}

static bool take(reader *in, size_t size, const unsigned char **bytes)
{
    if (in->size < size)
        return false;
    *bytes = in->data;
    in->data += size;
    in->size -= size;
    return true;
}

static bool read_header(reader *in, header *out)
{
    const unsigned char *bytes;
    if (!take(in, header_size, &bytes) || memcmp(bytes, "TZif", 4) != 0)
        return false;
    out->version = bytes[4] == 0 ? 1 : bytes[4] - '0';
    size_t *const counts[] = {&out->utc_count,  &out->standard_count, &out->leap_count,
                              &out->time_count, &out->type_count,     &out->char_count};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int64_t count = read_number(bytes + 20 + 4 * i, 4);
        if (count < 0 || count > file_max)
            return false;
        *counts[i] = (size_t)count;
    }
    return out->version >= 1 && out->version <= 4 && out->type_count > 0;
}

/* Bytes of what follows a header, where a time takes width bytes. */
static size_t block_size(const header *h, size_t width)
{
    return h->time_count * (width + 1) + h->type_count * 6 + h->char_count + h->leap_count * (width + 4) +
           h->standard_count + h->utc_count;
}

static bool read_type(const unsigned char *types, const header *h, size_t index, int32_t *offset)
{
    if (index >= h->type_count)
        return false;
    *offset = (int32_t)read_number(types + 6 * index, 4);
    return *offset > -NQ_ZONE_MAX_OFFSET && *offset < NQ_ZONE_MAX_OFFSET;
}

static int read_block(nq_zone *zone, const unsigned char *block, const header *h, size_t width)
{
    const unsigned char *kinds = block + h->time_count * width, *types = kinds + h->time_count;
    if (!read_type(types, h, 0, &zone->first))
        return NEOQ_EINVAL;
    zone->at = calloc(h->time_count + 1, sizeof *zone->at);
    zone->offset = calloc(h->time_count + 1, sizeof *zone->offset);
    if (!zone->at || !zone->offset)
        return NEOQ_ENOMEM;
    for (size_t i = 0; i < h->time_count; i++) {
        int64_t at = read_number(block + i * width, width);
        if (at <= NQ_ZONE_BEGIN || at >= NQ_ZONE_END || (i > 0 && at <= zone->at[i - 1]) ||
            !read_type(types, h, kinds[i], &zone->offset[i]))
            return NEOQ_EINVAL;
        zone->at[i] = at;
    }
    zone->count = h->time_count;
    return NEOQ_OK;
}

/* The last line of a file of version 2 or later: "\nTZ\n", and TZ may be empty. */
static bool read_footer(nq_zone *zone, reader *in)
{
    const unsigned char *end = in->size > 0 && in->data[0] == '\n' ? memchr(in->data + 1, '\n', in->size - 1) : NULL;
    if (!end)
        return false;
    size_t size = (size_t)(end - in->data) - 1;
    zone->has_rule = size > 0;
    return size == 0 || nq_posix_tz_parse(&zone->rule, (const char *)in->data + 1, size);
}

/* A file of version 2 or later repeats everything with 8-byte times; the first, 4-byte half is then passed over. */
static int read_zone(nq_zone *zone, const unsigned char *data, size_t size)
{
    reader in = {data, size};
    header h;
    const unsigned char *block;
    size_t width = 4;
    if (!read_header(&in, &h))
        return NEOQ_EINVAL;
    if (h.version > 1) {
        width = 8;
        if (!take(&in, block_size(&h, 4), &block) || !read_header(&in, &h) || h.version == 1)
            return NEOQ_EINVAL;
    }
    if (h.leap_count > 0 || !take(&in, block_size(&h, width), &block))
        return NEOQ_EINVAL;
    int status = read_block(zone, block, &h, width);
    if (status == NEOQ_OK && h.version > 1 && !read_footer(zone, &in))
        status = NEOQ_EINVAL;
    return status;
}

/* Reads the whole of a regular file into *data (the caller frees it); false leaves errno. */
static bool read_file(const char *path, unsigned char **data, size_t *size)
{
    *data = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    struct stat info;
    int error = fstat(fd, &info) < 0 ? errno : !S_ISREG(info.st_mode) || info.st_size > file_max ? EINVAL : 0;
    if (error == 0 && !(*data = malloc((size_t)info.st_size + 1)))
        error = ENOMEM;
    while (error == 0 && *size < (size_t)info.st_size) {
        ssize_t n = read(fd, *data + *size, (size_t)info.st_size - *size);
        if (n > 0)
            *size += (size_t)n;
        else if (n == 0)
            break;
        else if (errno != EINTR)
            error = errno;
    }
    close(fd);
    if (error != 0)
        free(*data);
    errno = error;
    return error == 0;
}

/* ---- loading ---------------------------------------------------------------------------- */

/* A relative path of plain parts, so that no name reads a file outside the folder. */
static bool valid_name(const char *name)
{
    size_t size = strnlen(name, name_max + 1), part = 0;
    if (size == 0 || size > name_max)
        return false;
    for (size_t i = 0; i <= size; i++) {
        char c = name[i];
        if (c == '/' || c == '\0') {
            bool dots = (part == 1 && name[i - 1] == '.') || (part == 2 && name[i - 1] == '.' && name[i - 2] == '.');
            if (part == 0 || dots)
                return false;
            part = 0;
        } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("_+-.", c)) {
            part++;
        } else {
            return false;
        }
    }
    return true;
}

static int load_file(nq_zone *zone, const char *name)
{
    const char *folder = getenv("TZDIR");
    if (!folder || !*folder)
        folder = "/usr/share/zoneinfo";
    char path[1024];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return nq_fail(NEOQ_EINVAL, "time zone \"%s\": the path of its file is too long", name);

    unsigned char *data;
    size_t size;
    if (!read_file(path, &data, &size)) {
        if (errno == ENOMEM || errno == EMFILE || errno == ENFILE)
            return nq_fail(NEOQ_ENOMEM, "time zone \"%s\" cannot be read just now: %s", name, strerror(errno));
        return nq_fail(NEOQ_EINVAL, "time zone \"%s\" is not known: cannot read %s (tzdata may be missing)", name,
                       path);
    }
    int status = read_zone(zone, data, size);
    free(data);
    if (status == NEOQ_EINVAL)
        nq_fail(status, "time zone \"%s\": %s is not a time zone file, is damaged, or counts leap seconds", name,
                path);
    else if (status == NEOQ_ENOMEM)
        nq_fail(status, "out of memory");
    return status;
}

int nq_zone_load(nq_zone **out, const char *name)
{
    *out = NULL;
    if (!valid_name(name))
        return nq_fail(NEOQ_EINVAL, "time zone \"%.*s\" is not a name like Area/City", name_max, name);
    nq_zone *zone = calloc(1, sizeof *zone);
    if (!zone)
        return nq_fail(NEOQ_ENOMEM, "out of memory");
    int status = NEOQ_OK;
    if (strcmp(name, "UTC") != 0 && strcmp(name, "Etc/UTC") != 0)
        status = load_file(zone, name);
    if (status == NEOQ_OK)
        *out = zone;
    else
        nq_zone_free(zone);
    return status;
}

void nq_zone_free(nq_zone *zone)
{
    if (!zone)
        return;
    free(zone->at);
    free(zone->offset);
    free(zone);
}

/* ---- asking ----------------------------------------------------------------------------- */

/* How many transitions have happened at instant. */
static size_t count_until(const nq_zone *zone, int64_t instant)
{
    size_t low = 0, high = zone->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->at[middle] <= instant)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

nq_zone_period nq_zone_period_at(const nq_zone *zone, int64_t instant)
{
    size_t past = count_until(zone, instant);
    nq_zone_period period = {NQ_ZONE_BEGIN, NQ_ZONE_END, zone->first};
    if (past > 0) {
        period.begin = zone->at[past - 1];
        period.offset = zone->offset[past - 1];
    }
    if (past < zone->count) {
        period.end = zone->at[past];
    } else if (zone->has_rule) {
        int64_t last = period.begin;
        period = nq_posix_tz_period(&zone->rule, instant);
        if (period.begin < last)
            period.begin = last;
    }
    return period;
}

int32_t nq_zone_offset(const nq_zone *zone, int64_t instant)
{
    return nq_zone_period_at(zone, instant).offset;
}

size_t nq_zone_instants(const nq_zone *zone, int64_t wall, int64_t instants[2])
{
    /* Whatever the offset, the instant is less than NQ_ZONE_MAX_OFFSET away. */
    size_t count = 0;
    int64_t at = wall - NQ_ZONE_MAX_OFFSET;
    while (at <= wall + NQ_ZONE_MAX_OFFSET && count < 2) {
        nq_zone_period period = nq_zone_period_at(zone, at);
        int64_t instant = wall - period.offset;
        if (instant >= period.begin && instant < period.end)
            instants[count++] = instant;
        at = period.end;
    }
    return count;
}
