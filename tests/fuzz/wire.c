/* SPDX-License-Identifier: MIT
 *
 * What comes over the socket between parent and child (runtime/wire.h): packets, each with two bytes of its size before
 * it, as a child that writes nonsense would send them. Whatever is received is whole, and ends; and what is sent as a
 * message arrives as it.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "job/pack.h"
#include "runtime/wire.h"

static void receive_nonsense(const uint8_t *data, size_t size)
{
    int ends[2];
    nq_message message = NQ_MESSAGE_INITIALIZER;
    insist(nq_wire_pair(ends) == 0);
    size_t sent = 0;
    while (size >= 2 && sent < 128) {
        size_t part = (size_t)data[0] | (size_t)data[1] << 8;
        data += 2;
        size -= 2;
        part = part < size ? part : size;
        if (send(ends[0], data, part, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            break;
        data += part;
        size -= part;
        sent++;
    }
    close(ends[0]);
    while (nq_wire_receive(ends[1], &message)) {
        insist(sent-- > 0);
        insist(message.body.data && message.body.data[message.body.size] == '\0' && message.fd == -1);
        const char *at = message.body.data;
        size_t left = message.body.size;
        neoq_job job;
        while (nq_job_unpack(&at, &left, &job))
            ;
    }
    close(ends[1]);
    nq_buffer_free(&message.body);
}

static void send_and_receive(const uint8_t *data, size_t size)
{
    int ends[2];
    nq_message message = NQ_MESSAGE_INITIALIZER;
    insist(nq_wire_pair(ends) == 0);
    int kind = size > 0 ? data[0] + 1 : 1;
    insist(nq_wire_send(ends[0], kind, data, size, ends[0], false));
    insist(nq_wire_receive(ends[1], &message));
    insist(message.kind == kind && message.body.size == size && message.fd >= 0);
    insist(size == 0 || memcmp(message.body.data, data, size) == 0);
    close(message.fd);
    close(ends[0]);
    insist(!nq_wire_receive(ends[1], &message));
    close(ends[1]);
    nq_buffer_free(&message.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    receive_nonsense(data, size);
    if (size < 65536) /* what the socket takes at once */
        send_and_receive(data, size);
    return 0;
}
