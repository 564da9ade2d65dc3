#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs producers and workers on a store of their own, throws faults at them, and has the checker judge what they did.

    run.py --build DIR --store sqlite --seed N --seconds S [--jobs N] [--kills N] [--keep FOLDER]

--jobs: so many in all, as fast as the time allows; otherwise --rate a second. --kills: so many processes are killed with
-9, and the run goes on until they are. Exit status: 0 clean, 1 a violation was found, 2 it could not run.
"""

import argparse
import heapq
import itertools
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import check
import records
import stores

SHUTDOWN_TIMEOUT = 1.5   # as program.c has it
PATIENCE = 120           # seconds for the survivors to finish, and one more for
JOBS_A_SECOND = 1000     # so many jobs
CONTROL = ("begun", "rate", "limit", "asked", "stop")  # then the skews: as program.h has it
SLOTS = 32


class Control:
    """What all programs read, and where producers count."""

    def __init__(self, folder):
        path = os.path.join(folder, "control")
        with open(path, "wb") as file:
            file.write(bytes(8 * (len(CONTROL) + SLOTS)))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def get(self, name):
        return struct.unpack_from("<q", self.map, 8 * CONTROL.index(name))[0]

    def set(self, name, value):
        struct.pack_into("<q", self.map, 8 * CONTROL.index(name), value)

    def set_skew(self, slot, microseconds):
        struct.pack_into("<q", self.map, 8 * (len(CONTROL) + slot), microseconds)


class Process:
    def __init__(self, number, role, slot, popen):
        self.number, self.role, self.slot, self.popen = number, role, slot, popen
        self.pid = popen.pid
        self.stopped = self.leaving = False


def measure_stalls(log, folder, store, over):
    """This machine may be busy, or stand still, or its disk, which all write their logs to, or what serves the store; the
    checker is told when, and how long."""
    probe = os.path.join(folder, "probe")
    while not over.is_set():
        before = records.now()
        time.sleep(0.02)
        with open(probe, "wb") as file:
            file.write(b".")
        os.unlink(probe)
        store.ask()
        late = records.now() - before - 20000
        if late > 50000:
            log.write(records.STALL, value=late)


def kin(folder):
    """Processes of this run that nobody of ours is the parent of, by the process number on their command line: pairs of
    (parent, pid)."""
    mark = f"folder={folder}".encode()
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if mark not in words:
                continue
            with open(f"/proc/{entry}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            continue
        fields = stat[stat.rindex(b")") + 2:].split()
        if fields[0] == b"Z":
            continue
        number = next(int(word[8:]) for word in words if word.startswith(b"process="))
        found.setdefault(number, []).append((int(fields[1]), int(entry)))
    return found


def sort_out(host, pairs):
    """The fork servers among those processes of a program, and the children. One that it is itself the parent of is
    neither: it runs for a blink in the program's own memory, to give birth to a fork server. Whoever kills it there may
    leave the program with malloc's lock held, as if one of its threads had been killed."""
    parents = {pid: parent for parent, pid in pairs if pid != host}
    born = {pid: parent for pid, parent in parents.items() if parent != host and parents.get(parent) != host}
    return ([pid for pid, parent in born.items() if parent not in parents],
            [pid for pid, parent in born.items() if parent in parents])


class Run:
    ROLES = ("producer", "producer", "worker", "worker", "children", "children")

    def __init__(self, options, store, folder):
        self.options, self.store, self.folder = options, store, folder
        self.random = random.Random(options.seed)
        self.log = records.Log(folder)
        self.control = Control(folder)
        self.numbers = itertools.count(1)
        self.slots = {}     # slot -> role
        self.processes = {} # slot -> Process
        self.later = []     # heap of (when, tie, function)
        self.ties = itertools.count()
        self.kills = self.faults = 0
        self.wrong = []
        self.harmed = False

    # ---- processes ------------------------------------------------------------------------

    def spawn(self, slot):
        role = self.slots[slot]
        number = next(self.numbers)
        program = os.path.join(self.options.build, "tests/chaos/chaos_program")
        with open(os.path.join(self.folder, f"p{number}.err"), "wb") as err:
            popen = subprocess.Popen(
                [program, f"role={role}", f"url={self.store.url(slot)}", f"folder={self.folder}", f"process={number}",
                 f"slot={slot}", f"seed={self.options.seed & 0xFFFFFFFF}", f"lease={int(self.options.lease * 1000)}",
                 f"keep={self.options.keep_one_in}"],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        self.processes[slot] = Process(number, role, slot, popen)

    def bury(self, calm):
        """Notes who has ended, and starts another in his place."""
        for slot, process in list(self.processes.items()):
            status = process.popen.poll()
            if status is None:
                continue
            self.log.write(records.EXIT, process=process.number, pid=process.pid, value=status)
            del self.processes[slot]
            killed = status in (-signal.SIGKILL, -signal.SIGTERM)
            if not killed and status != 0:
                self.wrong.append(f"process {process.number} ({process.role}) ended with status {status}")
            if process.role == "both" or process.role == "producer" and (status == 0 or calm):
                self.slots.pop(slot, None)
            else:
                self.at(self.random.random() * 0.2 if not calm else 0, lambda slot=slot: self.respawn(slot))

    def respawn(self, slot):
        if slot in self.slots and slot not in self.processes:
            self.spawn(slot)

    def at(self, delay, function):
        heapq.heappush(self.later, (time.monotonic() + delay, next(self.ties), function))

    def signal(self, process, number, fault, value=0):
        """The record is there before the deed, but for a thaw."""
        if process.popen.poll() is None:
            if fault != records.CONT:
                self.log.write(records.FAULT, fault, process.number, process.pid, value)
            os.kill(process.pid, number)
            if fault == records.CONT:
                self.log.write(records.FAULT, fault, process.number, process.pid, value)

    # ---- faults ---------------------------------------------------------------------------

    def victims(self, *roles):
        return [p for _, p in sorted(self.processes.items()) if not p.leaving and (not roles or p.role in roles)]

    def choose(self, some):
        return self.random.choice(some) if some else None

    def kill(self, process):
        if process:
            self.signal(process, signal.SIGKILL, records.KILL)
            self.kills += 1

    def fault_kill(self):
        self.kill(self.choose(self.victims("producer", "worker", "children")))

    def fault_kill_all(self):
        for process in self.victims("producer", "worker", "children"):
            self.kill(process)

    def fault_freeze(self):
        roles = ("worker", "children") if self.random.random() < 0.9 else ("producer",)
        process = self.choose([p for p in self.victims(*roles) if not p.stopped])
        if not process:
            return
        process.stopped = True
        self.signal(process, signal.SIGSTOP, records.STOP)

        def thaw():
            process.stopped = False
            self.signal(process, signal.SIGCONT, records.CONT)

        lease = self.options.lease
        self.at(self.choose((0.1, lease * 0.7, lease * 1.3, lease * 2)), thaw)

    def fault_term(self):
        process = self.choose([p for p in self.victims("worker", "children") if not p.stopped])
        if process:
            process.leaving = True
            self.signal(process, signal.SIGTERM, records.TERM)

    def fault_term_all(self):
        for process in [p for p in self.victims("worker", "children") if not p.stopped]:
            process.leaving = True
            self.signal(process, signal.SIGTERM, records.TERM)

    def children(self):
        """(process, fork servers, children) of those who have any."""
        family = kin(self.folder)
        for process in self.victims("children", "both"):
            yield (process, *sort_out(process.pid, family.get(process.number, [])))

    def fault_child(self):
        choice = self.choose([(p, pid) for p, _, children in self.children() for pid in children])
        if choice:
            number = self.choose((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGSTOP))
            self.log.write(records.FAULT, records.KILL_CHILD, choice[0].number, choice[1], number)
            self.hit(choice[1], number)

    def fault_fork_server(self):
        choice = self.choose([(p, pid) for p, servers, _ in self.children() for pid in servers])
        if choice:
            self.log.write(records.FAULT, records.KILL_FORK_SERVER, choice[0].number, choice[1])
            self.hit(choice[1], signal.SIGKILL)

    def hit(self, pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def fault_store(self):
        if self.harmed or not self.store.faults:
            return
        names = sorted(self.store.faults)
        self.harm(self.random.choices(names, [self.store.faults[n] for n in names])[0])

    def harm(self, name):
        if self.harmed:
            self.at(0.1, lambda: self.harm(name))
            return
        undo, after = self.store.harm(name, self.random, self.log, self.options.lease)
        self.harmed = True

        def heal():
            undo()
            self.harmed = False

        self.at(after, heal)

    WEIGHTS = {"kill": 30, "kill_all": 3, "freeze": 20, "term": 8, "term_all": 1, "child": 12, "fork_server": 4, "store": 14,
               "skew": 4}
    IN_MEMORY = {"child": 6, "fork_server": 2}

    def do_fault(self):
        weights = dict(self.IN_MEMORY if self.store.in_process else self.WEIGHTS)
        if self.options.kills and not self.store.in_process:
            weights["kill"] *= 6
            weights["kill_all"] *= 3
        for name in self.options.favour.split():
            weights[name] = 10 * weights.get(name, 0)
        names = sorted(weights)
        getattr(self, "fault_" + self.random.choices(names, [weights[n] for n in names])[0])()
        self.faults += 1

    # ---- the run --------------------------------------------------------------------------

    def step(self, calm=False):
        self.bury(calm)
        while self.later and self.later[0][0] <= time.monotonic():
            heapq.heappop(self.later)[2]()
        time.sleep(0.005)

    def fault_skew(self):
        """The wall's clock of a worker is an hour off for a while."""
        if not self.store.server_clock:
            return
        process = self.choose(self.victims("worker", "children"))
        if process:
            self.log.write(records.FAULT, records.SKEW, process.number, process.pid)
            self.control.set_skew(process.slot, self.choose((-3600, 3600, 0)) * 1000000)

    def storm(self, seconds, mean):
        for when, name in self.store.planned(seconds) if hasattr(self.store, "planned") else ():
            self.at(when, lambda name=name: self.harm(name))
        until = time.monotonic() + seconds
        next_fault = time.monotonic() + 0.5
        while not self.wrong:
            now = time.monotonic()
            if now >= until and self.kills >= self.options.kills:
                break
            if now >= next_fault:
                self.do_fault()
                next_fault = now + (self.random.expovariate(1 / mean) if self.random.random() > 0.1 else 0.01)
            self.step()

    def calm(self):
        """Everybody is let work, until nothing is left to do."""
        while self.later:
            heapq.heappop(self.later)[2]()
        patience = self.options.patience + self.options.jobs // JOBS_A_SECOND
        until = time.monotonic() + patience
        while time.monotonic() < until and not self.wrong:
            if self.control.get("asked") >= self.control.get("limit"):
                self.control.set("stop", 1)
            if not self.slots:
                return
            if not any(role in ("producer", "both") for role in self.slots.values()) and self.store.unfinished() == 0:
                return
            for _ in range(20):
                self.step(calm=True)
        if not self.wrong:
            self.wrong.append(f"after {patience} s of peace there is still work to do: {self.store.unfinished()} jobs")

    def leave(self):
        self.slots = {}
        for process in self.processes.values():
            process.leaving = True
            self.signal(process, signal.SIGTERM, records.TERM)
        until = time.monotonic() + 30
        while self.processes and time.monotonic() < until:
            self.step(calm=True)
        for process in self.processes.values():
            self.wrong.append(f"process {process.number} ({process.role}) does not end on SIGTERM")
            process.popen.kill()
            process.popen.wait()
        time.sleep(0.1)
        for number, pairs in kin(self.folder).items():
            for _, pid in pairs:
                self.log.write(records.STRAY, process=number, pid=pid)
                self.hit(pid, signal.SIGKILL)

    def end(self):
        for process in self.processes.values():
            process.popen.kill()
            process.popen.wait()
        for pairs in kin(self.folder).values():
            for _, pid in pairs:
                self.hit(pid, signal.SIGKILL)

    def go(self):
        options = self.options
        seconds = options.seconds
        if not seconds:
            seconds = max(options.kills * 0.3, options.jobs / 4000, 10)
        rate = max(1, int(options.jobs / seconds)) if options.jobs else options.rate
        self.control.set("rate", rate)
        self.control.set("limit", options.jobs or int(rate * seconds))
        self.slots = {0: "both"} if self.store.in_process else dict(enumerate(self.ROLES))
        over = threading.Event()
        thread = threading.Thread(target=measure_stalls, args=(self.log, self.folder, self.store, over), daemon=True)
        thread.start()
        for slot in self.slots:
            self.spawn(slot)
        self.control.set("begun", records.now())
        mean = seconds / options.kills if options.kills else options.pause
        self.storm(seconds, mean)
        if not options.jobs:
            self.control.set("stop", 1)
        self.calm()
        self.leave()
        over.set()
        thread.join()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="where the tests were built")
    parser.add_argument("--store", default="sqlite", choices=sorted(stores.KINDS))
    parser.add_argument("--seed", type=int, default=int(time.time()) & 0xFFFFFF)
    parser.add_argument("--seconds", type=float, default=0, help="of faults")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--rate", type=int, default=400, help="jobs a second, where --jobs does not say how many")
    parser.add_argument("--pause", type=float, default=0.7, help="seconds between two faults, on average")
    parser.add_argument("--lease", type=float, default=0, help="seconds; short, or where there is much to do the shortest"
                        " that is recommended")
    parser.add_argument("--patience", type=int, default=PATIENCE, help="seconds for the survivors to finish")
    parser.add_argument("--favour", default="", help="faults to make ten times as often: kill freeze term ...")
    parser.add_argument("--keep-one-in", type=int, default=0, help="so many jobs one is kept when it is done")
    parser.add_argument("--level", default="", choices=["", *sorted(stores.RedisStore.levels)],
                        help="persistence of Redis; by the seed where it is not given")
    parser.add_argument("--keep", default="", help="keep the logs in this folder, whatever comes of it")
    options = parser.parse_args(arguments)
    options.seed = int(os.environ.get("NEOQ_CHAOS_SEED", options.seed))
    if not options.seconds and not options.jobs and not options.kills:
        options.seconds = 30
    options.lease = options.lease or (5.0 if options.jobs > 100000 else 2.0)
    options.keep_one_in = options.keep_one_in or (8 if options.jobs > 100000 else 2)
    return options


def main(arguments):
    options = parse(arguments)
    folder = options.keep or tempfile.mkdtemp(prefix="neoq-chaos-", dir=os.environ.get("TMPDIR"))
    os.makedirs(folder, exist_ok=True)
    print(f"chaos: {options.store}, seed {options.seed}", flush=True)
    try:
        store = stores.KINDS[options.store](options)
    except stores.CannotRun as error:
        print(f"chaos: cannot run: {error}", file=sys.stderr)
        return 2
    run = Run(options, store, folder)
    begun = time.monotonic()
    try:
        run.go()
        took = time.monotonic() - begun
        verdict = check.judge(folder, store, options.lease, SHUTDOWN_TIMEOUT, run.wrong)
    except Exception: # of the harness or of its server: nothing is proved by that
        traceback.print_exc()
        print(f"chaos: cannot judge; --store {options.store} --seed {options.seed}; the logs are in {folder}", file=sys.stderr)
        return 2
    finally:
        run.end()
        store.end()
    print(f"{run.kills} kills and {run.faults} faults in {took:.1f} s; judged in {time.monotonic() - begun - took:.1f} s")
    verdict.report()
    if verdict.complaints:
        print(f"chaos: {len(verdict.complaints)} VIOLATIONS; --store {options.store} --seed {options.seed}; the logs are in {folder}")
        return 1
    if not options.keep:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
