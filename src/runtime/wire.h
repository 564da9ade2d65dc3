/* SPDX-License-Identifier: MIT
 *
 * runtime/wire.h -- messages between the processes of one program, over a socket that keeps their bounds.
 *
 * A message of any size goes in parts. Whoever is killed between two of them leaves nothing that is taken for a whole.
 */
#ifndef NQ_RUNTIME_WIRE_H
#define NQ_RUNTIME_WIRE_H

#include <stdint.h>

#include "base/buffer.h"

typedef struct nq_message {
    int kind; /* the users' numbers, from 1 */
    nq_buffer body;
    int fd; /* that came with it, the receiver's to close; -1 = none */
} nq_message;

#define NQ_MESSAGE_INITIALIZER                                                                                       \
    {                                                                                                                \
        .fd = -1                                                                                                     \
    }

/*
 * How quickly messages come on a socket, for whoever waits there. To be put to sleep and woken takes longer than a short
 * run, so where the last message came soon it is worth looking for the next one a few times before going to sleep. Starts
 * zeroed.
 */
typedef struct nq_pace {
    bool brisk;
    int64_t since; /* the wait that is under way began */
} nq_pace;

/* Whether a message, or the other end's end, is there already or comes in a moment. If not, nq_pace_waited() is to be
 * called after the wait. */
bool nq_pace_linger(nq_pace *pace, int socket);
void nq_pace_waited(nq_pace *pace);

/* Both ends close on exec. 0, or an errno. */
int nq_wire_pair(int fds[2]);

/* fd goes along unless it is -1. wait: until there is room; otherwise what finds none is dropped. False: it was not
 * sent, as nobody is there. */
bool nq_wire_send(int socket, int kind, const void *body, size_t size, int fd, bool wait);

/* Waits for the next message, and puts it in the place of what is in `message`. False: the other end is gone, or there is
 * no memory for it. */
bool nq_wire_receive(int socket, nq_message *message);
/* Waits for the next part of a message and drops it, without memory. Its kind; 0: the other end is gone. */
int nq_wire_skip(int socket);

#endif
