/* SPDX-License-Identifier: MIT
 *
 * The limit that handlers in processes are measured against: a byte to a child and a byte back, over a socket, and nothing
 * else; one such pair of processes, and two beside each other. Usage: raw_process [TRIPS]
 */
#include "bench.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAIRS_MOST = 2 };

static void trade(int fd, uint64_t trips, bool begins)
{
    char byte = 0;
    for (uint64_t i = 0; i < trips; i++)
        if ((begins && write(fd, &byte, 1) != 1) || read(fd, &byte, 1) != 1 || (!begins && write(fd, &byte, 1) != 1))
            _exit(1);
}

/* Two children that have nothing else to do. */
static void make_pair(uint64_t trips)
{
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), "socketpair");
    for (int i = 0; i < 2; i++)
        if (fork() == 0) {
            trade(ends[i], trips, i == 0);
            _exit(0);
        }
    close(ends[0]);
    close(ends[1]);
}

static double measure(int pairs, uint64_t trips)
{
    int status;
    int64_t start = now_ns();
    for (int i = 0; i < pairs; i++)
        make_pair(trips);
    for (int i = 0; i < 2 * pairs; i++)
        check(wait(&status) > 0 && status == 0 ? NEOQ_OK : NEOQ_EFAILED, "a child");
    return rate_of((double)trips * pairs, start);
}

int main(int argc, char **argv)
{
    uint64_t trips = argc > 1 ? strtoull(argv[1], NULL, 10) : 50000;
    double rates[PASSES];
    if (trips == 0) {
        fputs("usage: raw_process [TRIPS]\n", stderr);
        return 2;
    }
    for (int pairs = 1; pairs <= PAIRS_MOST; pairs++) {
        for (int i = 0; i < PASSES; i++)
            rates[i] = measure(pairs, trips);
        printf("raw_process_%d_pairs_trips_per_s %.0f\n", pairs, median(rates, PASSES));
    }
    return 0;
}
