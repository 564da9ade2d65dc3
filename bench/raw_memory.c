// SPDX-License-Identifier: MIT
// The floor the memory backend is measured against: a ring of 64-byte items behind one mutex and
// two conditions, handed from one thread to another. Usage: raw_memory [ITEMS [SAMPLES]]
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RING_SLOTS = 1 << 16, ROUNDS = 5 };

struct item {
    uint64_t number; // UINT64_MAX ends the consumer
    int64_t sent_ns;
    unsigned char body[48];
};
_Static_assert(sizeof(struct item) == 64, "an item is 64 bytes");

static struct {
    pthread_mutex_t lock;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    size_t head; // the next to take
    size_t tail; // the next to fill
    struct item slots[RING_SLOTS];
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .not_empty = PTHREAD_COND_INITIALIZER,
          .not_full = PTHREAD_COND_INITIALIZER};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void ring_push(const struct item *item)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.tail - ring.head == RING_SLOTS)
        pthread_cond_wait(&ring.not_full, &ring.lock);
    ring.slots[ring.tail++ % RING_SLOTS] = *item;
    pthread_cond_signal(&ring.not_empty);
    pthread_mutex_unlock(&ring.lock);
}

static void ring_pop(struct item *item)
{
    pthread_mutex_lock(&ring.lock);
    while (ring.tail == ring.head)
        pthread_cond_wait(&ring.not_empty, &ring.lock);
    *item = ring.slots[ring.head++ % RING_SLOTS];
    pthread_cond_signal(&ring.not_full);
    pthread_mutex_unlock(&ring.lock);
}

// Takes items until the last one. With `latencies`, notes each item's time from push to pop there.
static void *consume(void *latencies)
{
    int64_t *latency_ns = latencies;
    uint64_t sum = 0;
    for (;;) {
        struct item item;
        ring_pop(&item);
        if (item.number == UINT64_MAX)
            break;
        if (latency_ns)
            latency_ns[item.number] = now_ns() - item.sent_ns;
        sum += item.number + item.body[item.number % sizeof item.body];
    }
    return (void *)(uintptr_t)sum; // used, so that the copies are not optimised away
}

static pthread_t start_consumer(int64_t *latency_ns)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, consume, latency_ns)) {
        fputs("raw_memory: cannot start a thread\n", stderr);
        exit(1);
    }
    return thread;
}

static void stop_consumer(pthread_t thread)
{
    struct item last = {.number = UINT64_MAX};
    ring_push(&last);
    pthread_join(thread, NULL);
}

static double measure_throughput(uint64_t items)
{
    struct item item = {0};
    pthread_t consumer = start_consumer(NULL);
    int64_t start = now_ns();
    for (uint64_t i = 0; i < items; i++) {
        item.number = i;
        ring_push(&item);
    }
    stop_consumer(consumer);
    return (double)items * 1e9 / (double)(now_ns() - start);
}

static void measure_latency(int64_t *latency_ns, size_t samples)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct item item = {0};
    pthread_t consumer = start_consumer(latency_ns);
    for (size_t i = 0; i < samples; i++) {
        nanosleep(&pause, NULL);
        item.number = i;
        item.sent_ns = now_ns();
        ring_push(&item);
    }
    stop_consumer(consumer);
}

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int compare_times(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
    uint64_t items = argc > 1 ? strtoull(argv[1], NULL, 10) : 5000000;
    size_t samples = argc > 2 ? (size_t)strtoull(argv[2], NULL, 10) : 2000;
    int64_t *latency_ns = samples ? calloc(samples, sizeof *latency_ns) : NULL;
    if (!items || !latency_ns) {
        fputs("usage: raw_memory [ITEMS [SAMPLES]]\n", stderr);
        return 2;
    }
    double rates[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        rates[i] = measure_throughput(items);
    qsort(rates, ROUNDS, sizeof rates[0], compare_doubles);
    measure_latency(latency_ns, samples);
    qsort(latency_ns, samples, sizeof latency_ns[0], compare_times);
    printf("raw_memory_items_per_s %.0f\n", rates[ROUNDS / 2]);
    printf("raw_memory_items_per_s_min %.0f\n", rates[0]);
    printf("raw_memory_items_per_s_max %.0f\n", rates[ROUNDS - 1]);
    printf("raw_memory_latency_p50_us %.1f\n", (double)latency_ns[samples / 2] / 1e3);
    printf("raw_memory_latency_p99_us %.1f\n", (double)latency_ns[samples * 99 / 100] / 1e3);
    free(latency_ns);
    return 0;
}
