/* SPDX-License-Identifier: MIT
 *
 * A disk that does not answer, for LD_PRELOAD: while the file $STUCK exists, nobody gets a lock for writing.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

int fcntl64(int fd, int command, ...)
{
    static int (*real)(int, int, ...);
    const char *stuck = getenv("STUCK");
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "fcntl64");
    while (command == F_SETLK && stuck != NULL && ((struct flock *)argument)->l_type == F_WRLCK &&
           access(stuck, F_OK) == 0)
        usleep(10000);
    return real(fd, command, argument);
}
