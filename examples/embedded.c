/* SPDX-License-Identifier: MIT
 *
 * A program with an event loop of its own: each line that is typed becomes a job, and the loop runs it between
 * the lines. Handlers run in neoq_step() alone, so they may touch what the loop does without any lock.
 *
 *   printf 'tea\ncake\n' | example_embedded
 */
#include <neoq.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The loop's own: no other thread sees it. */
typedef struct bill {
    int orders, served;
} bill;

static int serve(neoq_ctx *ctx, void *arg)
{
    bill *b = arg;
    b->served++;
    printf("served %s: %d of %d\n", (const char *)neoq_ctx_job(ctx)->payload, b->served, b->orders);
    return NEOQ_OK;
}

/* What was typed, a line an order. False: that was all. */
static bool read_orders(neoq *nq, bill *b)
{
    char text[512];
    ssize_t size = read(STDIN_FILENO, text, sizeof text - 1);
    text[size > 0 ? size : 0] = '\0';
    char *rest;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        neoq_job order = {.queue = "orders", .payload = line, .unique = NEOQ_UNIQUE_OFF};
        if (neoq_enqueue(nq, &order, NULL) == NEOQ_OK)
            b->orders++;
        else
            fprintf(stderr, "embedded: %s\n", neoq_error_message());
    }
    return size > 0;
}

int main(void)
{
    neoq *nq = NULL;
    bill b = {0};
    neoq_handler waiter = {.queue = "orders", .handle = serve, .arg = &b, .isolation = NEOQ_STEP};
    struct pollfd fds[] = {{.fd = -1, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    if (neoq_open(&nq, "memory:", NULL) != NEOQ_OK || neoq_start(nq, &waiter) != NEOQ_OK ||
        (fds[0].fd = neoq_fd(nq)) < 0) {
        fprintf(stderr, "embedded: %s\n", neoq_error_message());
        neoq_close(nq);
        return 1;
    }
    while ((fds[1].fd >= 0 || b.served < b.orders) && poll(fds, 2, -1) >= 0) {
        if (fds[0].revents)
            neoq_step(nq);
        if (fds[1].revents && !read_orders(nq, &b))
            fds[1].fd = -1; /* poll() leaves it out from now on */
    }
    neoq_close(nq);
    return 0;
}
