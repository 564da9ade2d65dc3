# SPDX-License-Identifier: MIT
"""What was done to the processes and the store of a run, to be asked for causes."""

import bisect
import collections

from records import (AWAY, BACK, BORN, CONT, EXIT, FAULT, KILL, KILL_CHILD, KILL_FORK_SERVER, LEASE_LOST, LEAVING,
                     RESTORED, RUNNING, SKEW, STALL, STOP, TERM)

S = 1_000_000            # a second
ENDLESS = 1 << 62


class Spans:
    """Stretches of time, to be asked whether one of them meets another."""

    def __init__(self, spans=()):
        self.spans = sorted(spans)
        self.longest = max((end - begin for begin, end in self.spans), default=0)

    def meet(self, begin, end, at_least=0):
        i = bisect.bisect_left(self.spans, (begin - self.longest,))
        while i < len(self.spans) and self.spans[i][0] <= end:
            if self.spans[i][1] >= begin and self.spans[i][1] - self.spans[i][0] >= at_least:
                return True
            i += 1
        return False

    def sum(self, begin, end):
        return sum(min(b, end) - max(a, begin) for a, b in self.spans if a < end and b > begin)


class World:
    """All that is not about a job: processes, and what was done to them."""

    def __init__(self, lease):
        self.half = lease // 2           # a freeze of so long may cost a lease
        self.killed, self.exits, self.terms = {}, {}, {}
        self.ready = {}                  # since when SIGTERM is heard
        self.freezes = collections.defaultdict(list)
        self.child_signals = collections.defaultdict(list) # (process, pid) -> (at, signal)
        self.server_kills = collections.defaultdict(list)
        self.lease_losses = collections.defaultdict(list)
        self.stalls = []
        self.restored, self.forgot = [], []
        self.slots = {}                  # of processes
        self.outages = collections.defaultdict(list) # of a slot; 0: of all. The slots of records are one higher
        self.skewed = False
        self.frozen, self.away = {}, {}

    def take(self, r):
        if r.kind == EXIT:
            self.exits[r.process] = (r.at, r.value)
        elif r.kind == BORN:
            self.slots[r.process] = r.value + 1
        elif r.kind == RUNNING:
            self.ready[r.process] = r.at
        elif r.kind == LEAVING:
            self.terms.setdefault(r.process, r.at)
        elif r.kind == LEASE_LOST:
            self.lease_losses[r.process].append(r.at)
        elif r.kind == STALL:
            self.stalls.append((r.at - r.value, r.at))
        elif r.kind != FAULT:
            return
        elif r.detail == KILL:
            self.killed.setdefault(r.process, r.at)
        elif r.detail == TERM:
            self.terms.setdefault(r.process, r.at)
        elif r.detail == STOP:
            self.frozen[r.process] = r.at
        elif r.detail == CONT:
            self.freezes[r.process].append((self.frozen.pop(r.process), r.at))
        elif r.detail == KILL_CHILD:
            self.child_signals[r.process, r.pid].append((r.at, r.value))
        elif r.detail == KILL_FORK_SERVER:
            self.server_kills[r.process].append(r.at)
        elif r.detail == AWAY:
            self.away.setdefault(r.value, r.at)
        elif r.detail == BACK and r.value in self.away:
            away = self.away.pop(r.value)
            # It takes a moment to be noticed; and who has tried for long tries again after a pause of up to so long.
            self.outages[r.value].append((away, r.at + S + min(r.at - away, 2 * S)))
        elif r.detail == RESTORED:
            self.restored.append((r.at - r.value, r.at + 5 * S)) # a run that was claimed just before may begin later
            self.forgot.append((r.at - r.value, r.at + S // 5))
        elif r.detail == SKEW:
            self.skewed = True

    def close(self):
        for process, at in self.frozen.items(): # until it was killed
            self.freezes[process].append((at, self.exits.get(process, (ENDLESS, 0))[0]))
        for slot, at in self.away.items():
            self.outages[slot].append((at, ENDLESS))
        self.freezes = {process: Spans(spans) for process, spans in self.freezes.items()}
        self.stalls = Spans(self.stalls)
        self.all_outages = Spans(span for spans in self.outages.values() for span in spans)
        self.outages = {slot: Spans(spans) for slot, spans in self.outages.items()}
        self.restored, self.forgot = Spans(self.restored), Spans(self.forgot)
        deaths = list(self.killed.values()) + [at for at, status in self.exits.values() if status]
        self.deaths = Spans((at, at) for at in deaths)
        self.all_freezes = Spans(span for spans in self.freezes.values() for span in spans.spans)
        self.all_signals = Spans((at, at) for hits in self.child_signals.values() for at, _ in hits)
        self.all_servers = Spans((at, at) for hits in self.server_kills.values() for at in hits)

    def died(self, process):
        """The earliest moment at which the process may have been dead, by violence; None: it was not."""
        if process in self.killed:
            return self.killed[process]
        at, status = self.exits.get(process, (None, 0))
        return at if status else None

    def long_freezes(self, process, begin, end):
        """When they ended, those that may have cost a lease."""
        spans = self.freezes[process].spans if process in self.freezes else []
        return [b for a, b in spans + self.stalls.spans if b >= begin and a <= end and b - a >= self.half]

    def frozen_long(self, process, begin, end):
        spans = self.freezes.get(process)
        return bool(spans and spans.meet(begin, end, self.half)) or self.stalls.meet(begin, end, self.half)

    def out(self, process, begin, end):
        """Whether the store was away for this process."""
        return any(slot in self.outages and self.outages[slot].meet(begin, end) for slot in (0, self.slots.get(process)))

    def cause(self, process, begin, end):
        """Why a run of this process that was not told of an end may have been given to another."""
        died = self.died(process)
        if died is not None and died <= end:
            return "killed"
        if self.frozen_long(process, begin, end):
            return "frozen"
        if self.out(process, begin, end):
            return "store away"
        return None

    def any_cause(self, begin, end):
        """The same of a run that no handler saw, so that nobody knows whose it was."""
        return (self.deaths.meet(begin, end) or self.all_freezes.meet(begin, end, self.half)
                or self.stalls.meet(begin, end, self.half) or self.all_outages.meet(begin, end))
