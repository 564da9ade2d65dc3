# SPDX-License-Identifier: MIT
"""The records of a run, as record.h lays them out. The driver writes some, too: what it did to whom."""

import collections
import os
import struct
import time
import zlib

LAYOUT = struct.Struct("<IBBHIIqqqq16s")
SIZE = LAYOUT.size
assert SIZE == 64

(BORN, ASKED, OK, REFUSED, UNKNOWN, DUPLICATE, START, EFFECT, ENDING, CRASHING, FINISH, LOST, CRASH, LEASE_LOST,
 LEAVING, GONE, ROW, WRONG, RUNNING) = range(1, 20)
# The driver's. FAULT: detail is one of those below, process and pid are whose, value is how much.
FAULT, EXIT, STALL, STRAY = range(32, 36)

(KILL, STOP, CONT, TERM, KILL_CHILD, KILL_FORK_SERVER, AWAY, BACK, SKEW, RESTORED) = range(1, 11)

KINDS = {
    BORN: "born", ASKED: "asked", OK: "ok", REFUSED: "refused", UNKNOWN: "unknown", DUPLICATE: "duplicate",
    START: "start", EFFECT: "effect", ENDING: "ending", CRASHING: "crashing", FINISH: "finish accepted",
    LOST: "finish refused", CRASH: "crash told", LEASE_LOST: "lease lost", LEAVING: "leaving", GONE: "gone",
    ROW: "row", RUNNING: "running", WRONG: "wrong", FAULT: "fault", EXIT: "exit", STALL: "stall", STRAY: "stray",
}
FAULTS = {
    KILL: "kill -9", STOP: "SIGSTOP", CONT: "SIGCONT", TERM: "SIGTERM", KILL_CHILD: "signal to a child",
    KILL_FORK_SERVER: "kill -9 of a fork server", AWAY: "the store is away", BACK: "the store is back", SKEW: "clock skew",
    RESTORED: "the store lost what it may lose",
}

Record = collections.namedtuple("Record", "kind detail queue process pid at job epoch value id")


class Damaged(Exception):
    pass


def now():
    """Microseconds of the clock that all records have."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def pack(record):
    body = LAYOUT.pack(0, *record)[4:]
    return struct.pack("<I", zlib.crc32(body)) + body


def read(path):
    """Yields the records of a log. One that is cut off at the end was never written; any other damage is an error."""
    with open(path, "rb") as file:
        data = file.read()
    crc32 = zlib.crc32
    view = memoryview(data)
    for at in range(0, len(data) - SIZE + 1, SIZE):
        fields = LAYOUT.unpack_from(data, at)
        if crc32(view[at + 4:at + SIZE]) != fields[0]:
            raise Damaged(f"{path}: the record at byte {at} is damaged")
        yield Record._make(fields[1:])


class Log:
    """The driver's own."""

    def __init__(self, folder):
        self.fd = os.open(os.path.join(folder, "driver.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind, detail=0, process=0, pid=0, value=0, at=None):
        at = now() if at is None else at
        os.write(self.fd, pack(Record(kind, detail, 0, process, pid, at, 0, 0, value, bytes(16))))
        return at


def traits(epoch):
    """Of ASKED: flags, behaviour, argument, retries, fingerprint."""
    return epoch & 0xFF, chr(epoch >> 8 & 0xFF), epoch >> 16 & 0xFF, epoch >> 24 & 0xFF, epoch >> 32


KEPT, OWN_ID, DELAYED = 1, 2, 4


def show(r):
    """A line for people."""
    words = f"{r.at / 1e6:.6f} p{r.process}/{r.pid} {KINDS.get(r.kind, r.kind)}"
    if r.job:
        words += f" job {r.job:x}"
    if r.kind == ASKED:
        flags, behaviour, argument, retries, fingerprint = traits(r.epoch)
        words += f" {chr(r.queue)} '{behaviour}' {argument}{' kept' if flags & KEPT else ''}"
        words += f" due {r.value / 1e6:.6f}" if r.value else ""
        words += f" fingerprint {fingerprint}" if fingerprint else ""
    elif r.kind == FAULT:
        words += f": {FAULTS[r.detail]} {r.value}"
    elif r.kind in (START, EFFECT, ENDING, CRASHING, FINISH, LOST, CRASH, ROW):
        words += f" epoch {r.epoch}"
        words += f" '{chr(r.detail)}'" if r.detail else ""
        words += f" retries {r.value}" if r.kind in (START, ROW) else ""
        words += f" state {r.value}" if r.kind == FINISH else ""
    else:
        words += f" {r.detail} {r.value}"
    if any(r.id):
        words += " " + r.id.hex()
    return words
