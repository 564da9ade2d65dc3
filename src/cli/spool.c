/* SPDX-License-Identifier: MIT
 *
 * The writer holds a lock on its file: that tells the files that are in use from those that were left behind. A file
 * that has no name any more is complete: that tells its readers.
 */
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

char *spool_folder(session *s)
{
    return session_state_path(s, "output/");
}

/* Ids are UUIDs, but those of other programs on a shared Redis may be anything: false for what is no file's name. */
static bool make_path(char *path, size_t size, const char *folder, const neoq_job *job)
{
    if (folder == NULL ||
        job->id[strspn(job->id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_")] != '\0')
        return false;
    int length = snprintf(path, size, "%s%s.%" PRId64, folder, job->id, job->epoch);
    return length > 0 && (size_t)length < size;
}

void spool_sweep(const char *folder)
{
    DIR *files = opendir(folder);
    if (files == NULL)
        return;
    for (struct dirent *file; (file = readdir(files)) != NULL;) {
        int fd = file->d_type == DT_REG ? openat(dirfd(files), file->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dirfd(files), file->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    closedir(files);
}

int spool_begin(const char *folder, const neoq_job *job)
{
    char path[4096];
    if (!make_path(path, sizeof path, folder, job))
        return -1;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        flock(fd, LOCK_EX | LOCK_NB);
    return fd;
}

bool spool_write(int fd, const char *bytes, size_t size)
{
    while (fd >= 0 && size > 0) {
        ssize_t done = write(fd, bytes, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes += done;
        size -= (size_t)done;
    }
    return true;
}

void spool_end(int fd, const char *folder, const neoq_job *job)
{
    char path[4096];
    if (fd < 0)
        return;
    if (make_path(path, sizeof path, folder, job))
        unlink(path);
    close(fd);
}

int spool_read(const char *folder, const neoq_job *job)
{
    char path[4096];
    return make_path(path, sizeof path, folder, job) ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
}

bool spool_ended(int fd)
{
    struct stat about;
    return fstat(fd, &about) != 0 || about.st_nlink == 0;
}
