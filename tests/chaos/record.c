/* SPDX-License-Identifier: MIT */
#include "record.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char folder[200];
static uint32_t process;
static pid_t owner; /* of the descriptor */
static int log_fd = -1;

_Static_assert(sizeof(record) == 64, "a record is a part of a page");

static uint32_t crc_table[256];

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc_of(const record *r)
{
    const uint8_t *bytes = (const uint8_t *)r;
    uint32_t c = 0xffffffffu;
    for (size_t i = sizeof(r->crc); i < sizeof(*r); i++)
        c = crc_table[(c ^ bytes[i]) & 0xff] ^ c >> 8;
    return ~c;
}

static void open_log(void)
{
    char path[300];
    bool forked = owner != 0;
    owner = getpid();
    if (forked)
        snprintf(path, sizeof(path), "%s/p%u-%d.log", folder, process, (int)owner);
    else
        snprintf(path, sizeof(path), "%s/p%u.log", folder, process);
    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) {
        perror(path);
        _exit(4);
    }
}

void record_begin(const char *where, uint32_t number)
{
    snprintf(folder, sizeof(folder), "%s", where);
    process = number;
    make_crc_table();
    open_log();
}

int64_t record_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void record_write(record r)
{
    if (getpid() != owner)
        open_log();
    r.process = process;
    r.pid = (uint32_t)owner;
    r.at = record_now();
    r.crc = crc_of(&r);
    if (write(log_fd, &r, sizeof(r)) != sizeof(r)) {
        perror("log");
        _exit(4);
    }
}

void record_id(const char *text, uint8_t id[16])
{
    int digits = 0;
    memset(id, 0, 16);
    for (; text && *text && digits < 32; text++) {
        int c = (unsigned char)*text | 32;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit >= 0) {
            id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | digit);
            digits++;
        }
    }
}
