/* SPDX-License-Identifier: MIT */
#include "program.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

bool is_away(int status)
{
    return status == NEOQ_EBACKEND || status == NEOQ_ETIMEOUT || status == NEOQ_EUNKNOWN;
}

void doze(int64_t microseconds)
{
    nanosleep(&(struct timespec){.tv_sec = microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000}, NULL);
}

void record_wrong(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%lld wrong: %s: ", (long long)record_now(), neoq_status_name(status));
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    record_write((record){.kind = RECORD_WRONG, .value = status});
}

/* ---- a clock on the wall that is wrong: every call of ours and of the library's goes through here (--wrap) ---------- */

static const _Atomic int64_t *skew; /* microseconds */

int __real_clock_gettime(clockid_t clock, struct timespec *at);
int __wrap_clock_gettime(clockid_t clock, struct timespec *at);

int __wrap_clock_gettime(clockid_t clock, struct timespec *at)
{
    int result = __real_clock_gettime(clock, at);
    if (result == 0 && clock == CLOCK_REALTIME && skew) {
        int64_t microseconds = at->tv_sec * (int64_t)1000000 + at->tv_nsec / 1000 + atomic_load(skew);
        *at = (struct timespec){.tv_sec = microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000};
    }
    return result;
}

/* ---- the log ---------------------------------------------------------------------------- */

static void hear(neoq_log_level level, const char *message, void *arg)
{
    char id[NEOQ_ID_SIZE];
    long long epoch;
    const program *p = arg;
    int at = 0;
    if (sscanf(message, "job %127s (queue %*[^)]): run %lld was lost%n", id, &epoch, &at) == 2 && at > 0) {
        record r = {.kind = RECORD_LOST, .epoch = epoch};
        record_id(id, r.id);
        record_write(r);
    }
    if (strstr(message, "the lease was lost"))
        record_write((record){.kind = RECORD_LEASE_LOST});
    if (strncmp(message, "job ", 4) != 0)
        fprintf(stderr, "%lld p%u log %d: %s\n", (long long)record_now(), p->process, (int)level, message);
}

/* ---- life ------------------------------------------------------------------------------- */

static int open_store(program *p)
{
    int status, tries = 0;
    const neoq_options options = {.log = hear,
                                  .log_arg = p,
                                  .log_level = NEOQ_LOG_WARN,
                                  .lease = p->lease,
                                  .shutdown_timeout = NEOQ_MILLISECONDS(1500),
                                  .connect_timeout = NEOQ_SECONDS(10),
                                  .job_check_interval = NEOQ_MILLISECONDS(100),
                                  .dead_retention = NEOQ_FOREVER,
                                  .max_connections = 6};
    while ((status = neoq_open(&p->nq, p->url, &options)) != NEOQ_OK && is_away(status) && ++tries < 300)
        doze(100000);
    return status;
}

static const char *state_letters = "?srRtdD"; /* scheduled ready running retrying done dead */

/* What nobody else can see: the jobs in the memory of this process. */
static int dump(const program *p)
{
    neoq_filter filter = {.limit = 1000};
    char last[NEOQ_ID_SIZE];
    for (;;) {
        neoq_job_set *set;
        int status = neoq_find(p->nq, &filter, &set);
        if (status != NEOQ_OK)
            return status;
        size_t count = neoq_job_set_count(set);
        for (size_t i = 0; i < count; i++) {
            const neoq_job *job = neoq_job_set_at(set, i);
            record r = {.kind = RECORD_ROW,
                        .queue = (uint16_t)job->queue[0],
                        .detail = (uint8_t)state_letters[job->state],
                        .job = strtoll(job->payload, NULL, 10),
                        .epoch = job->epoch,
                        .value = job->retries};
            record_id(job->id, r.id);
            record_write(r);
            snprintf(last, sizeof(last), "%s", job->id);
        }
        neoq_job_set_free(set);
        filter.after_id = last;
        if (count == 0)
            return NEOQ_OK;
    }
}

/* But for ticks, of which there is no end. */
static int64_t unfinished(const program *p)
{
    neoq_queue_info *queues;
    size_t count;
    int64_t sum = 0;
    if (neoq_queues(p->nq, &queues, &count) != NEOQ_OK)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (strncmp(queues[i].name, "tick", 4) != 0)
            sum += queues[i].scheduled + queues[i].ready + queues[i].running + queues[i].retrying;
    free(queues);
    return sum;
}

/* Enqueues beside the handlers, in a process that nobody else can look into: so it ends by itself. */
static void *produce_beside(void *arg)
{
    program *p = arg;
    produce(p);
    while (unfinished(p) != 0)
        doze(20000);
    if (dump(p) != NEOQ_OK)
        record_wrong(NEOQ_EBACKEND, "the store cannot be read: %s", neoq_error_message());
    record_write((record){.kind = RECORD_LEAVING});
    kill(getpid(), SIGTERM);
    return NULL;
}

static int work(program *p)
{
    pthread_t thread;
    int status = start_handlers(p);
    if (status != NEOQ_OK) {
        record_wrong(status, "starting: %s", neoq_error_message());
        return 3;
    }
    bool both = strcmp(p->role, "both") == 0;
    if (both && pthread_create(&thread, NULL, produce_beside, p) != 0)
        return 4;
    record_write((record){.kind = RECORD_RUNNING});
    status = neoq_run(p->nq);
    if (both)
        pthread_join(thread, NULL);
    else
        record_write((record){.kind = RECORD_LEAVING, .value = status});
    return 0;
}

static bool read_arguments(program *p, int argc, char **argv)
{
    *p = (program){.lease = NEOQ_SECONDS(2), .keep = 1};
    for (int i = 1; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        size_t size = value ? (size_t)(value++ - argv[i]) : 0;
        if (size == 0)
            return false;
#define IS(word) (size == strlen(word) && memcmp(argv[i], word, size) == 0)
        if (IS("role"))
            p->role = value;
        else if (IS("url"))
            p->url = value;
        else if (IS("folder"))
            p->folder = value;
        else if (IS("process"))
            p->process = (uint32_t)strtoul(value, NULL, 10);
        else if (IS("slot"))
            p->slot = (int)strtol(value, NULL, 10) % SLOTS;
        else if (IS("seed"))
            p->seed = (uint32_t)strtoul(value, NULL, 10);
        else if (IS("lease"))
            p->lease = NEOQ_MILLISECONDS(strtol(value, NULL, 10));
        else if (IS("keep"))
            p->keep = (int)strtol(value, NULL, 10);
        else
            return false;
#undef IS
    }
    return p->role && p->url && p->folder && p->process > 0 && p->keep > 0;
}

static bool open_control(program *p)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/control", p->folder);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map = fd >= 0 ? mmap(NULL, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0)
        close(fd);
    p->control = map;
    skew = map != MAP_FAILED ? &p->control->skew[p->slot] : NULL;
    return map != MAP_FAILED;
}

int main(int argc, char **argv)
{
    static program p;
    sigset_t ends;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!read_arguments(&p, argc, argv) || !open_control(&p)) {
        fputs("usage: as run.py calls it\n", stderr);
        return 2;
    }
    sigemptyset(&ends); /* until neoq_run() waits for it */
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    record_begin(p.folder, p.process);
    record_write((record){.kind = RECORD_BORN, .detail = (uint8_t)p.role[0], .value = p.slot});
    int status = open_store(&p), result;
    if (status != NEOQ_OK) {
        record_wrong(status, "opening: %s", neoq_error_message());
        return 3;
    }
    result = strcmp(p.role, "producer") == 0 ? produce(&p) : work(&p);
    neoq_close(p.nq);
    record_write((record){.kind = RECORD_GONE, .value = result});
    return result;
}
