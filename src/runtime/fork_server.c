/* SPDX-License-Identifier: MIT
 *
 * The fork server of a queue: a process that does nothing but make children, signal them, and lay them to rest with all
 * that they leave behind. It has one thread and two descriptors, its socket to the host and one that tells of the host's
 * end, and it ends when either says so.
 *
 * It is the one parent of all children, so nobody else can reap one of them, and a pid that it signals is not yet
 * anybody else's.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "runtime/process.h"

enum {
    FAREWELL_MS = 5000, /* for what was killed to be gone, when the host is */
    LOOK_MS = 100,      /* between two looks for what is left of a child */
    LOOKS_MAX = 50      /* in want of descriptors or memory, until that is given up */
};

/* ---- within it -------------------------------------------------------------------------- */

typedef struct offspring {
    uint64_t serial;
    pid_t pid;
    int socket; /* the child's own end: what is sent here, the host hears in the child's place */
    nq_window *window;
    bool reaped;
    nq_gone_word gone;
} offspring;

typedef struct fork_server {
    const nq_origin *origin;
    int socket, host, signals;
    pid_t pid;
    sigset_t none;
    offspring *children;
    size_t count, room;
    int blind; /* looks for strays in a row that were in vain */
} fork_server;

static offspring *find_pid(const fork_server *s, pid_t pid)
{
    for (size_t i = 0; i < s->count; i++)
        if (!s->children[i].reaped && s->children[i].pid == pid)
            return &s->children[i];
    return NULL;
}

static void tell_gone(int socket, const nq_gone_word *gone)
{
    nq_wire_send(socket, NQ_WORD_GONE, gone, sizeof *gone, -1, false);
    close(socket);
}

/* What the child is before it is the child that handlers know: a group of its own, and gone when we are. */
_Noreturn static void begin_child(const fork_server *s, nq_window *window, int socket)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != s->pid)
        _exit(1);
    prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);
    nq_close_all_but(socket, -1);
    sigprocmask(SIG_SETMASK, &s->none, NULL);
    nq_child_live(s->origin, window, socket);
}

static void spawn(fork_server *s, const nq_order_word *order, int socket)
{
    offspring child = {.serial = order->serial, .socket = socket, .window = &s->origin->windows[order->window]};
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 16;
        offspring *more = realloc(s->children, room * sizeof *more);
        if (!more) {
            tell_gone(socket, &(nq_gone_word){.error = ENOMEM});
            return;
        }
        s->children = more;
        s->room = room;
    }
    child.pid = fork();
    if (child.pid == 0)
        begin_child(s, child.window, socket);
    if (child.pid < 0) {
        tell_gone(socket, &(nq_gone_word){.error = errno});
        return;
    }
    setpgid(child.pid, child.pid);
    s->children[s->count++] = child;
}

/* False: the host is done with us. */
static bool take_order(fork_server *s, nq_message *message)
{
    if (!nq_wire_receive(s->socket, message))
        return false;
    if (message->body.size < sizeof(nq_order_word))
        return true;
    const nq_order_word *order = (const nq_order_word *)(const void *)message->body.data;
    if (message->kind == NQ_WORD_SPAWN && message->fd >= 0)
        spawn(s, order, message->fd);
    for (size_t i = 0; message->kind == NQ_WORD_SIGNAL && i < s->count; i++)
        if (s->children[i].serial == order->serial && !s->children[i].reaped)
            kill(-s->children[i].pid, order->signal);
    return true;
}

static neoq_duration cpu_of(const struct rusage *used)
{
    return (neoq_duration)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000000 + used->ru_utime.tv_usec +
           used->ru_stime.tv_usec;
}

/* Whatever has ended. While its leader is not reaped a group's number is not anybody else's: that is when it is killed. */
static void reap(fork_server *s)
{
    siginfo_t ended;
    while (ended.si_pid = 0, waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid > 0) {
        offspring *child = find_pid(s, ended.si_pid);
        struct rusage used;
        int status;
        if (child)
            kill(-child->pid, SIGKILL);
        if (wait4(ended.si_pid, &status, 0, &used) < 0 || !child)
            continue;
        child->reaped = true;
        child->gone = (nq_gone_word){.status = status,
                                     .cpu_so_far = cpu_of(&used),
                                     .peak_memory = (int64_t)used.ru_maxrss * 1024};
    }
}

/* What /proc tells of a process, in the numbers of the pid namespace that it was mounted in, which may be around ours. */
typedef struct standing {
    int parent;
    int pids[32]; /* its own number there, and in each namespace further in */
    int levels;
} standing;

/* False, and errno: it is gone, or there is want. */
static bool look_up(const char *name, standing *found)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%.20s/status", name);
    errno = 0;
    FILE *file = fopen(path, "re");
    *found = (standing){0};
    while (file && fgets(line, sizeof line, file)) {
        const char *at = line;
        if (sscanf(line, "PPid: %d", &found->parent) == 1 || strncmp(line, "NSpid:", 6) != 0)
            continue;
        for (int more = 6, pid; found->levels < 32 && sscanf(at += more, "%d%n", &pid, &more) == 1;)
            found->pids[found->levels++] = pid;
    }
    if (file)
        fclose(file);
    return found->levels > 0;
}

static bool in_want(void)
{
    return errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}

/* Whether to look once more after one that saw not all. */
static bool look_again(fork_server *s)
{
    return s->blind < LOOKS_MAX && ++s->blind > 0;
}

/*
 * What left its group comes to us when its parent has died, as every child's orphans do. A process that is our child and
 * not in the list is such a stray; none other is ours to wait for. False: there is none, or it cannot be told.
 */
static bool kill_strays(fork_server *s)
{
    standing self, other;
    DIR *proc = look_up("self", &self) ? opendir("/proc") : NULL;
    bool found = false, blind = false;
    if (!proc)
        return in_want() && look_again(s);
    for (const struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        siginfo_t ended;
        if (strtol(entry->d_name, NULL, 10) <= 0)
            continue;
        if (!look_up(entry->d_name, &other)) {
            blind |= in_want();
            continue;
        }
        if (other.parent != self.pids[0] || other.levels < self.levels)
            continue;
        pid_t pid = other.pids[self.levels - 1];
        if (find_pid(s, pid) || waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) != 0)
            continue;
        found = true;
        kill(pid, SIGKILL);
    }
    closedir(proc);
    if (!blind)
        s->blind = 0;
    return found || (blind && look_again(s));
}

/* Reports those children that are gone with all that was theirs. False: of some that are dead something may be left. */
static bool bury(fork_server *s)
{
    bool dead = false, messy = false;
    for (size_t i = 0; i < s->count; i++) {
        const offspring *child = &s->children[i];
        dead |= child->reaped;
        /* One that was sent home between two runs had nothing left, or it had said so. */
        messy |= child->reaped && (atomic_load(&child->window->begun) || child->gone.status != 0);
    }
    if (!dead)
        return true;
    if (messy && kill_strays(s))
        return false;
    size_t left = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->children[i].reaped)
            tell_gone(s->children[i].socket, &s->children[i].gone);
        else
            s->children[left++] = s->children[i];
    s->count = left;
    return true;
}

static void drain_signals(const fork_server *s)
{
    struct signalfd_siginfo taken;
    while (read(s->signals, &taken, sizeof taken) > 0)
        ;
}

/* The host is gone: everybody goes. */
_Noreturn static void end(fork_server *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (!s->children[i].reaped)
            kill(-s->children[i].pid, SIGKILL);
    for (int waited = 0; s->count > 0 && waited < FAREWELL_MS; waited += LOOK_MS) {
        struct pollfd fd = {.fd = s->signals, .events = POLLIN};
        reap(s);
        bury(s);
        if (s->count > 0)
            poll(&fd, 1, LOOK_MS);
        drain_signals(s);
    }
    _exit(0);
}

/* Handlers of the host's make no sense here or in a child, and neither does what it ignores; but how a write to a closed
 * socket ends, code may rely on. */
static void reset_signals(void)
{
    struct sigaction pipe;
    bool ignored = sigaction(SIGPIPE, NULL, &pipe) == 0 && pipe.sa_handler == SIG_IGN;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    if (ignored)
        signal(SIGPIPE, SIG_IGN);
}

_Noreturn static void serve(const nq_origin *origin, int socket, int host)
{
    fork_server s = {.origin = origin, .socket = socket, .host = host, .pid = getpid()};
    sigset_t child;
    nq_message message = NQ_MESSAGE_INITIALIZER;
    setpgid(0, 0); /* Ctrl-C is for the host */
    reset_signals();
    prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);
    nq_close_all_but(socket, host);
    sigemptyset(&s.none);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD); /* blocked, as is every other */
    s.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s.signals < 0)
        _exit(1); /* without it the end of no child would be heard of */
    for (int wait = -1;;) {
        struct pollfd fds[] = {{.fd = s.socket, .events = POLLIN},
                               {.fd = s.host, .events = POLLIN},
                               {.fd = s.signals, .events = POLLIN}};
        if (poll(fds, 3, wait) < 0)
            continue;
        if (fds[1].revents || (fds[0].revents && !take_order(&s, &message)))
            end(&s);
        drain_signals(&s);
        reap(&s);
        wait = bury(&s) ? -1 : LOOK_MS;
    }
}

void nq_close_all_but(int first, int second)
{
    unsigned from = STDERR_FILENO + 1;
    if (second >= 0 && second < first) {
        int other = first;
        first = second;
        second = other;
    }
    const int kept[] = {first, second};
    for (int i = 0; i < 2; i++) {
        if (kept[i] < (int)from)
            continue;
        if (kept[i] > (int)from)
            syscall(SYS_close_range, from, (unsigned)kept[i] - 1, 0U);
        from = (unsigned)kept[i] + 1;
    }
    syscall(SYS_close_range, from, ~0U, 0U);
}

/* ---- starting it: the host --------------------------------------------------------------- */

typedef struct birth {
    const nq_origin *origin;
    int socket, host;
    pid_t pid;
    int pidfd, error;
} birth;

/* The fork server is the child of a process that ends at once, and then an orphan: the host never has it for a child. */
static int give_birth(void *arg)
{
    birth *b = arg;
    pid_t pid = fork();
    if (pid == 0)
        serve(b->origin, b->socket, b->host);
    b->pid = pid;
    b->error = errno;
    if (pid > 0) {
        b->pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);
        b->error = errno;
    }
    return 0;
}

static void await_midwife(pid_t pid)
{
    while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
/* The sanitizers keep account of each thread and its stack, which the other way confuses. This one costs the host a
 * SIGCHLD, and a child for the blink of an eye. */
static int deliver(birth *b)
{
    birth *seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED)
        return errno;
    *seen = *b;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t midwife = fork();
    if (midwife == 0)
        _exit(give_birth(seen));
    await_midwife(midwife);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (midwife > 0 && seen->pid > 0)
        b->pidfd = (int)syscall(SYS_pidfd_open, seen->pid, 0U);
    munmap(seen, sizeof *seen);
    return b->pidfd >= 0 ? 0 : EAGAIN;
}
#else
/*
 * That process runs in the memory and with the descriptors of the host, whose thread stands still meanwhile, and it ends
 * without a signal: nothing for the host's own waits to find, and no SIGCHLD. fork() is the C library's all the same,
 * which sees to it that no lock of malloc's is held in the copy. 0, or an errno.
 */
static int deliver(birth *b)
{
    struct rlimit limit;
    size_t size = 8 << 20; /* the stack is the fork server's from then on, and its children's */
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur >= 1 << 20)
        size = (size_t)limit.rlim_cur & ~(size_t)0xffff;
    char *stack =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        return errno;
    /* A mapping more, of which there are so many. */
    int error = mprotect(stack, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE) == 0 ? 0 : errno;
    if (error != 0) {
        munmap(stack, size);
        return error;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t midwife = clone(give_birth, stack + size, CLONE_VM | CLONE_VFORK | CLONE_FILES, b);
    if (midwife < 0)
        b->error = errno;
    await_midwife(midwife);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stack, size);
    return b->pidfd >= 0 ? 0 : b->error;
}
#endif

nq_fork_server *nq_fork_server_start(const nq_origin *origin)
{
    int ends[2] = {-1, -1}, error;
    nq_fork_server *server = malloc(sizeof *server);
    birth b = {.origin = origin, .pidfd = -1, .pid = -1};
    b.host = (int)syscall(SYS_pidfd_open, getpid(), 0U);
    error = !server ? ENOMEM : b.host < 0 ? errno : nq_wire_pair(ends);
    b.socket = ends[1];
    if (error == 0)
        error = deliver(&b);
    if (b.host >= 0)
        close(b.host);
    if (ends[1] >= 0)
        close(ends[1]);
    if (error != 0) {
        if (ends[0] >= 0)
            close(ends[0]);
        free(server);
        nq_fail(NEOQ_ENOMEM, "no process can be made to run jobs in: %s", strerror(error));
        return NULL;
    }
    *server = (nq_fork_server){.refs = 1, .socket = ends[0], .pidfd = b.pidfd};
    return server;
}

void nq_fork_server_kill(const nq_fork_server *server)
{
    syscall(SYS_pidfd_send_signal, server->pidfd, SIGKILL, NULL, 0U);
}

void nq_fork_server_end(nq_fork_server *server)
{
    struct pollfd over = {.fd = server->pidfd, .events = POLLIN};
    siginfo_t ended;
    shutdown(server->socket, SHUT_RDWR); /* closed alone it would stay open in a child that the host forked */
    close(server->socket);
    while (poll(&over, 1, 2 * FAREWELL_MS) < 0 && errno == EINTR)
        ;
    if (!over.revents)
        nq_fork_server_kill(server);
    /* Where the host is who orphans come to, it is the host's to reap after all. */
    while (waitid(P_PIDFD, (id_t)server->pidfd, &ended, WEXITED | WNOHANG | __WALL) < 0 && errno == EINTR)
        ;
    close(server->pidfd);
    free(server);
}

bool nq_fork_server_spawn(const nq_fork_server *server, const nq_order_word *order, int child)
{
    return nq_wire_send(server->socket, NQ_WORD_SPAWN, order, sizeof *order, child, true);
}

bool nq_fork_server_signal(const nq_fork_server *server, const nq_order_word *order)
{
    return nq_wire_send(server->socket, NQ_WORD_SIGNAL, order, sizeof *order, -1, false);
}
