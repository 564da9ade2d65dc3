/* SPDX-License-Identifier: MIT
 *
 * Messages between the processes of one program.
 */
#include "runtime/wire.h"

#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bound.h"

enum {
    PART = 64 << 10,
    LOOKS = 50,     /* while others may run: some tens of microseconds */
    BRISK_US = 200, /* a wait so short is followed by others, as a rule */
};

#define LARGEST ((size_t)1 << 30)

typedef struct head {
    int32_t kind;
    int32_t more; /* parts of the same kind follow */
} head;

/* Room for one descriptor beside the bytes. */
typedef union passing {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
} passing;

bool nq_pace_linger(nq_pace *pace, int socket)
{
    char byte;
    for (int i = 0; pace->brisk && i < LOOKS; i++) {
        if (recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
            return true;
        sched_yield();
    }
    pace->since = nq_steady();
    return false;
}

void nq_pace_waited(nq_pace *pace)
{
    pace->brisk = nq_steady() - pace->since < BRISK_US;
}

int nq_wire_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0 ? 0 : errno;
}

static void attach(struct msghdr *message, passing *room, int fd)
{
    memset(room, 0, sizeof *room);
    message->msg_control = room->bytes;
    message->msg_controllen = sizeof room->bytes;
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(control), &fd, sizeof fd);
}

bool nq_wire_send(int socket, int kind, const void *body, size_t size, int fd, bool wait)
{
    const char *at = body;
    do {
        size_t part = size < PART ? size : PART;
        size -= part;
        head h = {kind, size > 0};
        struct iovec pieces[] = {{&h, sizeof h}, {(void *)(uintptr_t)at, part}};
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = part > 0 ? 2 : 1};
        passing room;
        if (fd >= 0)
            attach(&message, &room, fd);
        while (sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) < 0)
            if (errno != EINTR)
                return false;
        at += part;
        fd = -1;
    } while (size > 0);
    return true;
}

int nq_wire_skip(int socket)
{
    head h;
    ssize_t got;
    while ((got = recv(socket, &h, sizeof h, 0)) < 0 && (errno == EINTR || errno == ECONNRESET))
        ;
    return got == (ssize_t)sizeof h ? h.kind : 0;
}

static void take_descriptor(struct msghdr *received, nq_message *message)
{
    struct cmsghdr *control = CMSG_FIRSTHDR(received);
    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
        return;
    if (message->fd >= 0)
        close(message->fd);
    memcpy(&message->fd, CMSG_DATA(control), sizeof message->fd);
}

bool nq_wire_receive(int socket, nq_message *message)
{
    head h = {0, 0};
    nq_buffer_clear(&message->body);
    message->kind = 0;
    message->fd = -1;
    do {
        nq_buffer *body = &message->body;
        if (body->size > LARGEST || !nq_buffer_reserve(body, PART))
            return false;
        passing room;
        struct iovec pieces[] = {{&h, sizeof h}, {body->data + body->size, PART}};
        struct msghdr received = {.msg_iov = pieces,
                                  .msg_iovlen = 2,
                                  .msg_control = room.bytes,
                                  .msg_controllen = sizeof room.bytes};
        ssize_t got;
        /* That somebody died with a word of ours unread is told once, and before what was sent in his place. */
        while ((got = recvmsg(socket, &received, MSG_CMSG_CLOEXEC)) < 0 && (errno == EINTR || errno == ECONNRESET))
            ;
        if (got < (ssize_t)sizeof h)
            return false;
        size_t size = (size_t)got - sizeof h;
        take_descriptor(&received, message);
        if (message->kind != h.kind && body->size > 0) {
            /* Whoever was sending the other one is no more. */
            memmove(body->data, body->data + body->size, size);
            body->size = 0;
        }
        message->kind = h.kind;
        body->size += size;
        body->data[body->size] = '\0';
    } while (h.more);
    return true;
}
