/* SPDX-License-Identifier: MIT */
#include "backend/sqlite/doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "backend/sqlite/database.h"
#include "backend/sqlite/file.h"
#include "backend/sqlite/manage.h"
#include "backend/sqlite/schema.h"

#define MIB 1048576

enum { CHECK_SECONDS = 60 }; /* the check of the whole file gives up after so long */

typedef struct doctor {
    const neoq_store_config *config;
    neoq_each_finding each;
    void *arg;
    char *path;
    bool network_allowed;
    sq_db db;
    int64_t patience; /* steady: until when the file is checked */
} doctor;

static void tell(const doctor *d, neoq_finding_level level, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void tell(const doctor *d, neoq_finding_level level, const char *name, const char *format, ...)
{
    char words[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    d->each(&(neoq_finding){.level = level, .name = name, .words = words}, d->arg);
}

static const char *size_words(uint64_t bytes, char text[32])
{
    if (bytes >= (uint64_t)10 * 1024 * MIB)
        snprintf(text, 32, "%.0f GiB", (double)bytes / 1024 / MIB);
    else if (bytes >= MIB)
        snprintf(text, 32, "%.1f MiB", (double)bytes / MIB);
    else
        snprintf(text, 32, "%.1f KiB", (double)bytes / 1024);
    return text;
}

static int64_t ask(doctor *d, const char *sql)
{
    d->db.status = NEOQ_OK;
    sqlite3_stmt *stmt = sq_prepare(&d->db, sql);
    int64_t answer = sq_step(&d->db, stmt) ? sqlite3_column_int64(stmt, 0) : 0;
    if (stmt)
        sqlite3_reset(stmt);
    return answer;
}

/* ---- the file --------------------------------------------------------------------------- */

static void check_place(doctor *d)
{
    const char *network;
    if (!sq_network_kind(d->path, &network))
        tell(d, NEOQ_FINDING_NOTE, "file system", "cannot be told: %s", strerror(errno));
    else if (!network)
        tell(d, NEOQ_FINDING_OK, "file system", "the file is on a local file system");
    else if (d->network_allowed)
        tell(d, NEOQ_FINDING_NOTE, "file system",
             "the file is on a network file system (%s), and the URL says that its locks hold: if they do not, the "
             "file will be damaged",
             network);
    else
        tell(d, NEOQ_FINDING_BAD, "file system",
             "the file is on a network file system (%s), where SQLite's locks may fail: move it to a local disk, or "
             "add ?network=yes to the URL if you know that they hold",
             network);
}

static void check_rights(doctor *d, const struct stat *info)
{
    if (info->st_mode & 022)
        tell(d, NEOQ_FINDING_NOTE, "rights", "mode %03o: others than the owner may write to it; chmod 600 ends that",
             (unsigned)info->st_mode & 0777);
    else if (info->st_mode & 044)
        tell(d, NEOQ_FINDING_NOTE, "rights",
             "mode %03o: others than the owner may read every payload; chmod 600 "
             "ends that",
             (unsigned)info->st_mode & 0777);
    else
        tell(d, NEOQ_FINDING_OK, "rights", "mode %03o: the owner's alone", (unsigned)info->st_mode & 0777);
}

static void check_space(doctor *d, const struct stat *info)
{
    struct statvfs disk;
    char free_text[32], size_text[32];
    if (statvfs(d->path, &disk) != 0) {
        tell(d, NEOQ_FINDING_NOTE, "free space", "cannot be told: %s", strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)disk.f_bavail * disk.f_frsize, size = (uint64_t)info->st_size;
    size_words(left, free_text);
    size_words(size, size_text);
    if (left < 64 * (uint64_t)MIB)
        tell(d, NEOQ_FINDING_BAD, "free space",
             "%s left on the disk: when it is full nothing can be enqueued; make "
             "room",
             free_text);
    else if (left < size || left < 512 * (uint64_t)MIB)
        tell(d, NEOQ_FINDING_NOTE, "free space", "%s left on the disk, of a file of %s: make room before it is full",
             free_text, size_text);
    else
        tell(d, NEOQ_FINDING_OK, "free space", "%s left on the disk", free_text);
}

static void check_wal(doctor *d)
{
    struct stat info;
    char text[32], *path = NULL;
    if (asprintf(&path, "%s-wal", d->path) < 0)
        return;
    uint64_t size = stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
    size_words(size, text);
    if (size > 256 * (uint64_t)MIB)
        tell(d, NEOQ_FINDING_NOTE, "WAL",
             "%s, where 55 MiB are usual: a transaction that reads for long holds its "
             "checkpoint back; end it",
             text);
    else
        tell(d, NEOQ_FINDING_OK, "WAL", "%s", text);
    free(path);
}

/* ---- SQLite ----------------------------------------------------------------------------- */

static void check_library(doctor *d)
{
    int version = sqlite3_libversion_number();
    if (version >= 3051003)
        tell(d, NEOQ_FINDING_OK, "SQLite", "version %s", sqlite3_libversion());
    else
        tell(d, NEOQ_FINDING_NOTE, "SQLite",
             "version %s has the WAL-reset bug (until 3.51.2). neoq's own checkpoints cannot meet it; connections of "
             "your own to this file must have PRAGMA wal_autocheckpoint = 0 (docs/sqlite.md)",
             sqlite3_libversion());
}

static void check_mode(doctor *d)
{
    d->db.status = NEOQ_OK;
    sqlite3_stmt *stmt = sq_prepare(&d->db, "PRAGMA journal_mode");
    const char *mode = sq_step(&d->db, stmt) ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (mode && strcmp(mode, "wal") == 0)
        tell(d, NEOQ_FINDING_OK, "journal mode", "wal");
    else
        tell(d, NEOQ_FINDING_NOTE, "journal mode", "%s: the next neoq that opens the file sets it to wal",
             mode ? mode : "unknown");
    if (stmt)
        sqlite3_reset(stmt);
    if (d->config->options->asynchronous_commit)
        tell(d, NEOQ_FINDING_NOTE, "synchronous",
             "NORMAL, by the option asynchronous_commit: a power cut may take the last moments");
    else
        tell(d, NEOQ_FINDING_OK, "synchronous",
             "FULL: what was acknowledged survives a power cut, if the disk keeps "
             "what it has synced");
}

static int patience_over(void *arg)
{
    const doctor *d = arg;
    return d->config->clock->steady(d->config->clock) > d->patience;
}

static void check_integrity(doctor *d)
{
    d->db.status = NEOQ_OK;
    d->patience = d->config->clock->steady(d->config->clock) + NEOQ_SECONDS(CHECK_SECONDS);
    sqlite3_progress_handler(d->db.handle, 100000, patience_over, d);
    sqlite3_stmt *stmt = sq_prepare(&d->db, "PRAGMA quick_check(1)");
    if (sq_step(&d->db, stmt)) {
        const char *words = (const char *)sqlite3_column_text(stmt, 0);
        if (words && strcmp(words, "ok") == 0)
            tell(d, NEOQ_FINDING_OK, "integrity", "quick_check found no damage");
        else
            tell(d, NEOQ_FINDING_BAD, "integrity",
                 "the file is damaged (%s): stop all that use it, keep a copy of it "
                 "and its companions, and restore a backup",
                 words ? words : "no words");
    } else if (patience_over(d)) {
        tell(d, NEOQ_FINDING_NOTE, "integrity", "quick_check was stopped after %d s without having found damage",
             CHECK_SECONDS);
    } else {
        tell(d, NEOQ_FINDING_BAD, "integrity", "quick_check failed: %s", sqlite3_errmsg(d->db.handle));
    }
    if (stmt)
        sqlite3_reset(stmt);
    sqlite3_progress_handler(d->db.handle, 0, NULL, NULL);
}

static void check_size(doctor *d)
{
    char all_text[32], free_text[32];
    uint64_t page = (uint64_t)ask(d, "PRAGMA page_size");
    uint64_t all = (uint64_t)ask(d, "PRAGMA page_count") * page,
             unused = (uint64_t)ask(d, "PRAGMA freelist_count") * page;
    size_words(all, all_text);
    size_words(unused, free_text);
    if (unused > all / 2 && unused > 256 * (uint64_t)MIB)
        tell(d, NEOQ_FINDING_NOTE, "size",
             "%s, of which %s are free for new jobs; VACUUM, while no worker runs, gives "
             "them back to the disk",
             all_text, free_text);
    else
        tell(d, NEOQ_FINDING_OK, "size", "%s, of which %s are free for new jobs", all_text, free_text);
}

/* ---- what is in it ---------------------------------------------------------------------- */

/* Whether there are tables to look into. */
static bool check_schema(doctor *d)
{
    int version = (int)sq_schema_value(d->db.handle, "schema");
    if (sq_schema_check(d->db.handle, d->path) != NEOQ_OK)
        tell(d, NEOQ_FINDING_BAD, "schema", "%s", neoq_error_message());
    else if (version == 0)
        tell(d, NEOQ_FINDING_NOTE, "schema", "no tables yet: the first neoq that opens the file makes them");
    else if (version > SQ_SCHEMA_VERSION)
        tell(d, NEOQ_FINDING_NOTE, "schema", "version %d, newer than this neoq's %d, which may use it", version,
             SQ_SCHEMA_VERSION);
    else
        tell(d, NEOQ_FINDING_OK, "schema", "version %d", version);
    return version > 0 && version <= SQ_SCHEMA_VERSION;
}

static void check_workers(doctor *d)
{
    int live, gone;
    d->db.status = NEOQ_OK;
    if (!sq_count_workers(&d->db, d->config->clock, &live, &gone))
        tell(d, NEOQ_FINDING_BAD, "workers", "cannot be read: %s", neoq_error_message());
    else if (gone > 0)
        tell(d, NEOQ_FINDING_NOTE, "workers", "%d live, and %d whose process is gone or whose lease is over: %s",
             live, gone,
             live > 0 ? "a live one takes their jobs over within seconds"
                      : "nobody is there to take their jobs over; start a worker");
    else
        tell(d, NEOQ_FINDING_OK, "workers", "%d live, none gone", live);
}

static void check_backlog(doctor *d)
{
    int64_t ready = ask(d, "SELECT ifnull(sum(ready), 0) FROM neoq_queues WHERE NOT paused"),
            paused = ask(d, "SELECT count(*) FROM neoq_queues WHERE paused"),
            dead = ask(d, "SELECT ifnull(sum(dead), 0) FROM neoq_queues"),
            workers = ask(d, "SELECT count(*) FROM neoq_workers WHERE NOT lost");
    if (ready > 0 && workers == 0)
        tell(d, NEOQ_FINDING_NOTE, "jobs", "%" PRId64 " ready and no worker to run them; %" PRId64 " dead", ready,
             dead);
    else
        tell(d, NEOQ_FINDING_OK, "jobs", "%" PRId64 " ready, %" PRId64 " dead, %" PRId64 " queues paused", ready,
             dead, paused);
}

/* What was written later than now was written by a clock that was ahead, or now is behind. */
static void check_clock(doctor *d)
{
    neoq_time now = d->config->clock->now(d->config->clock);
    int64_t newest =
        ask(d, "SELECT max(ifnull((SELECT max(seen_at) FROM neoq_workers), 0),"
               " ifnull((SELECT max(last_at) FROM neoq_schedules), 0),"
               " ifnull((SELECT ifnull(created_at, run_after) FROM neoq_jobs ORDER BY rid DESC LIMIT 1), 0))");
    const neoq_time year_2020 = NEOQ_SECONDS(1577836800);
    if (now < year_2020)
        tell(d, NEOQ_FINDING_BAD, "clock",
             "the machine's clock stands before 2020: set it, or jobs are not run on time");
    else if (newest > now + NEOQ_MINUTES(1))
        tell(d, NEOQ_FINDING_BAD, "clock",
             "the file was written %" PRId64 " s from now: the machine's clock was set back; jobs wait until it has "
             "caught up",
             (newest - now) / NEOQ_SECONDS(1));
    else
        tell(d, NEOQ_FINDING_OK, "clock", "not behind what it wrote last");
}

/* ---- all of it -------------------------------------------------------------------------- */

static void check_open_file(doctor *d)
{
    check_mode(d);
    check_integrity(d);
    check_size(d);
    check_wal(d);
    if (!check_schema(d))
        return;
    check_workers(d);
    check_backlog(d);
    check_clock(d);
}

/* The path without what follows its last '/'; NULL where that is the folder the process is in. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
}

/* A file that is not there is made, and so is its folder if only that is missing. */
static void check_missing(doctor *d, int error)
{
    char *folder = folder_of(d->path), *above = folder ? folder_of(folder) : NULL;
    struct stat info;
    if (error == ENOENT && (!above || stat(above, &info) == 0))
        tell(d, NEOQ_FINDING_NOTE, "file", "%s is not there yet: the first neoq that opens it makes it", d->path);
    else
        tell(d, NEOQ_FINDING_BAD, "reachable", "%s: %s", d->path, strerror(error));
    free(folder);
    free(above);
}

static void check_file(doctor *d)
{
    struct stat info;
    check_library(d);
    if (stat(d->path, &info) != 0) {
        check_missing(d, errno);
        return;
    }
    if (!S_ISREG(info.st_mode)) {
        tell(d, NEOQ_FINDING_BAD, "reachable", "%s is not a regular file", d->path);
        return;
    }
    int status = sq_db_open(&d->db, d->path, false, d->config->options);
    if (status == NEOQ_OK) {
        sqlite3_db_config(d->db.handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
        ask(d, "SELECT count(*) FROM sqlite_schema");
        status = d->db.status;
    }
    if (status != NEOQ_OK)
        tell(d, NEOQ_FINDING_BAD, "reachable", "%s", neoq_error_message());
    else if (sqlite3_db_readonly(d->db.handle, "main") == 1)
        tell(d, NEOQ_FINDING_BAD, "reachable", "%s can be read, and not be written to", d->path);
    else
        tell(d, NEOQ_FINDING_OK, "reachable", "%s", d->path);
    check_place(d);
    check_rights(d, &info);
    check_space(d, &info);
    if (status == NEOQ_OK)
        check_open_file(d);
}

int sq_doctor(const neoq_store_config *config, neoq_each_finding each, void *arg)
{
    doctor d = {.config = config, .each = each, .arg = arg};
    int status = sq_parse_url(config->url, &d.path, &d.network_allowed);
    if (status == NEOQ_OK)
        check_file(&d);
    sq_db_close(&d.db);
    free(d.path);
    return status;
}
