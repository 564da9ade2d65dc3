#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Judges a run: what the programs wrote down, against each other and against what is in the store.

It knows the records (records.py), the stores (stores.py) and the promises (docs/semantics.md), and shares no code with
the library. It says nothing that the records do not prove: a run is seen to last from its first record to its last, a
process to live until the moment before it was killed.
"""

import collections
import glob
import os
import signal
import time

from records import (ASKED, CRASHING, DUPLICATE, EFFECT, ENDING, EXIT, FAULT, FINISH, KEPT, LEASE_LOST, LEAVING, LOST,
                     OK, REFUSED, ROW, STALL, START, STRAY, UNKNOWN, WRONG)
import records
from stores import Row
from world import ENDLESS, S, World

FINAL = "dxc"            # outcomes after which a job is not run again: done, discarded, cancelled
TICK = 1 << 62           # bit of a tick's number
CLAIM_AFTER_TERM = S // 10
CHILD_RECOVERY = S
RECOVERY = 6 * S         # beyond the lease
RUN_TIMEOUT = S          # of queue "apart", as worker.c has it
CRASHES_MAX = 3
HEEDING = S // 10        # for a handler in a thread to heed its cancellation, as worker.c does
CHILDREN = "a"           # queues whose jobs run in children
THAW = S // 2            # for a thawed process to find out what became of its runs, and end them
BEFORE = 5 * S           # what had happened just before a job is shown, too
LEAVING_TIME = 3 * S     # beyond shutdown_timeout: half a second of grace, as much for strays, and the settling


class Complaint:
    def __init__(self, rule, words, events=(), processes=()):
        self.rule, self.words, self.events, self.processes = rule, words, list(events), set(processes)


class Verdict:
    def __init__(self):
        self.complaints = []
        self.counts = collections.Counter()
        self.worst = collections.Counter() # microseconds
        self.faults = []

    def complain(self, rule, words, events=(), processes=()):
        self.complaints.append(Complaint(rule, words, events, processes))

    def least(self, name, microseconds):
        self.worst[name] = max(self.worst[name], microseconds)

    def report(self, most=5, lines=80):
        """The counts; then each kind of violation, with the shortest log that shows it."""
        print("  " + ", ".join(f"{self.counts[name]} {name}" for name in sorted(self.counts)))
        if self.worst:
            print("  at most: " + ", ".join(f"{name} {us / S:.3f} s" for name, us in sorted(self.worst.items())))
        by_rule = collections.defaultdict(list)
        for complaint in self.complaints:
            by_rule[complaint.rule].append(complaint)
        for rule, some in sorted(by_rule.items(), key=lambda item: len(item[1]))[:most]:
            shortest = min(some, key=lambda c: (not c.events, len(c.events)))
            print(f"VIOLATION {rule} ({len(some)} times): {shortest.words}")
            for r in self.log_of(shortest)[:lines]:
                print("    " + records.show(r))

    def log_of(self, complaint):
        """The records concerned, and what was done to their processes and the store meanwhile."""
        events = complaint.events
        if not events:
            return []
        begin, end = min(r.at for r in events) - BEFORE, max(r.at for r in events) + S
        processes = complaint.processes | {r.process for r in events}
        around = [r for r in self.faults if begin <= r.at <= end
                  and (r.process in processes or r.process == 0)]
        return sorted(set(events) | set(around), key=lambda r: r.at)


# ---- reading ------------------------------------------------------------------------------


def load(folder):
    """(events by job, other records); sorted by time."""
    jobs, others, losses, numbers = collections.defaultdict(list), [], [], {}
    for path in sorted(glob.glob(os.path.join(folder, "*.log"))):
        for r in records.read(path):
            if r.job:
                jobs[r.job].append(r)
                if r.kind == START:
                    numbers[r.id] = r.job
            elif r.kind == LOST:
                losses.append(r)
            else:
                others.append(r)
    for r in losses:
        if r.id in numbers:
            jobs[numbers[r.id]].append(r)
    for events in jobs.values():
        events.sort(key=lambda r: r.at)
    others.sort(key=lambda r: r.at)
    return jobs, others


# ---- a job --------------------------------------------------------------------------------


class Trial:
    """One job's records and rows, held against the promises."""

    def __init__(self, court, number, events, rows):
        self.court, self.world, self.verdict = court, court.world, court.verdict
        self.number, self.events, self.rows = number, events, rows
        self.asked = [r for r in events if r.kind == ASKED]
        self.answers = [r for r in events if r.kind in (OK, REFUSED, UNKNOWN, DUPLICATE)]
        self.starts = [r for r in events if r.kind == START]
        self.finishes = [r for r in events if r.kind == FINISH]
        self.accepted = {r.epoch: r for r in self.finishes}
        self.of_run = collections.defaultdict(list)
        for r in events:
            if r.kind in (START, EFFECT, ENDING, CRASHING):
                self.of_run[r.epoch].append(r)
        self.flags, self.behaviour, self.argument, self.retries, self.fingerprint = \
            records.traits(self.asked[0].epoch) if self.asked else (0, "q", 0, 0, 0)
        self.is_tick = bool(number & TICK)
        # Where the store forgot some of what became of it, its runs are counted anew.
        self.rolled_back = self.world.restored.meet(events[0].at, events[-1].at)

    def complain(self, rule, words):
        self.verdict.complain(rule, f"job {self.number:x}: {words}", self.events)

    def ending(self, epoch):
        return next((r for r in self.of_run.get(epoch, ()) if r.kind in (ENDING, CRASHING)), None)

    def judge(self):
        self.check_enqueued()
        self.check_identity()
        self.check_presence()
        self.verdict.counts["starts"] += len(self.starts)
        if self.rolled_back:
            self.verdict.counts["rolled back"] += 1
            return
        self.check_epochs()
        self.check_finishes()
        self.check_causes()
        self.check_overlaps()
        self.check_due()
        self.check_recovery()

    # ---- enqueued

    def check_enqueued(self):
        count = self.verdict.counts
        if self.is_tick:
            return
        if not self.asked:
            if self.starts or self.rows:
                self.complain("never-enqueued", "it is there, and was never enqueued")
            return
        count["asked"] += 1
        kinds = {r.kind for r in self.answers}
        self.stored = OK in kinds
        self.maybe = self.stored or UNKNOWN in kinds or len(self.answers) < len(self.asked)
        if self.stored:
            count["acknowledged"] += 1
        elif self.maybe:
            count["unknown"] += 1
        elif DUPLICATE in kinds:
            count["duplicates"] += 1
        else:
            count["refused"] += 1
        if not self.maybe and (self.starts or self.rows):
            self.complain("refused-but-there", "every answer was a refusal, and it is there")
        if self.starts and self.starts[0].at < self.asked[0].at:
            self.complain("never-enqueued", "it was run before it was enqueued")

    def check_identity(self):
        ids = {r.id.hex() for r in self.events if r.kind in (OK, START)} | {row.id for row in self.rows}
        # A run that the store has forgotten is begun anew, and enqueues under the number that it gave before.
        forgotten = self.rolled_back and len(self.asked) > 1
        if len(ids) > 1 and not forgotten:
            self.complain("twice-there", f"it is there under {len(ids)} ids: {', '.join(sorted(ids))}")
        elif len(self.rows) > 1:
            self.complain("twice-there", f"it is there {len(self.rows)} times")

    # ---- runs

    def check_epochs(self):
        seen = {}
        for start in self.starts:
            other = seen.setdefault(start.epoch, start)
            if other is not start:
                self.complain("epoch-twice", f"run {start.epoch} was begun twice")

    def check_finishes(self):
        seen = set()
        for r in self.finishes:
            key = r.epoch, chr(r.detail)
            if r.epoch in seen:
                self.complain("finish-twice", f"two ends of run {r.epoch} were accepted")
            seen.add(r.epoch)
            self.check_outcome(r, *key)
        last_crashes = 0
        for epoch in sorted(self.accepted):
            crashed = chr(self.accepted[epoch].detail) == "k"
            last_crashes = last_crashes + 1 if crashed and epoch - 1 in self.accepted else int(crashed)
            if last_crashes >= CRASHES_MAX and self.accepted[epoch].value != 6:
                self.complain("crashes", f"run {epoch} was the {last_crashes}th crash in a row, and the job lives")

    def check_outcome(self, finish, epoch, outcome):
        """Each outcome has what brings it about, in the process that told it."""
        world, process = self.world, finish.process
        mine = [r for r in self.of_run.get(epoch, ()) if r.process == process]
        begun = mine[0].at if mine else None
        ending = next((chr(r.detail) for r in mine if r.kind == ENDING), None)
        expected_state = {"d": (5,), "x": (6,), "c": (6,), "s": (1,), "r": (2,)}.get(outcome, (4, 6))
        if finish.value not in expected_state:
            self.complain("wrong-state", f"run {epoch} ended as '{outcome}', and the job is in state {finish.value}")
        if outcome == "d" and ending != "o":
            self.complain("false-end", f"run {epoch} is told as done, and its handler did not say so")
        elif outcome == "s" and ending != "z" or outcome == "x" and ending != "d":
            self.complain("false-end", f"run {epoch} is told as '{outcome}', and its handler said '{ending}'")
        elif outcome == "c":
            self.complain("false-end", f"run {epoch} is told as cancelled, and nobody cancelled it")
        elif outcome == "f" and ending not in ("f", "c") and not self.troubled_children(process, finish.at - 5 * S, finish.at):
            self.complain("false-end", f"run {epoch} is told as failed, and its handler said '{ending}'")
        elif outcome == "k" and not any(r.kind == CRASHING for r in mine) \
                and not self.troubled_children(process, (begun or finish.at) - 5 * S, finish.at):
            self.complain("false-end", f"run {epoch} is told as crashed, and nothing crashed it")
        elif outcome == "t" and (begun is None or finish.at - begun < RUN_TIMEOUT) \
                and not self.troubled_children(process, finish.at - 5 * S, finish.at) \
                and not (begun is None and self.stopped_child(process, finish.at)):
            # With a child that was troubled it may have had to begin anew.
            self.complain("false-end", f"run {epoch} is told as timed out, and was not that long")
        elif outcome == "l" and not any(at <= finish.at for at in world.server_kills.get(process, ())) \
                and not any((begun or 0) <= at <= finish.at for at in world.lease_losses.get(process, ())):
            self.complain("false-end", f"run {epoch} is told as lost, and neither was its lease, nor its fork server killed")
        elif outcome == "r" and begun is not None and process not in world.terms:
            self.complain("false-end", f"run {epoch} is told as released, and nobody asked its process to leave")

    def troubled_children(self, process, begin, end):
        world = self.world
        if process in world.freezes: # what troubles them may wait with their host
            begin -= world.freezes[process].sum(begin, end)
        return (any(begin <= at <= end for at in world.server_kills.get(process, ()))
                or any(begin <= at <= end for key, hits in world.child_signals.items() if key[0] == process
                       for at, _ in hits))

    def stopped_child(self, process, end):
        """A child that was stopped while it had nothing to do waits for the run that times out in it, however long."""
        return any(at <= end and number == signal.SIGSTOP for key, hits in self.world.child_signals.items()
                   if key[0] == process for at, number in hits)

    def check_causes(self):
        """Each start has its cause: the enqueueing, or how the run before it ended. And retries count those that cost."""
        runs = sorted({start.epoch: start for start in reversed(self.starts)}.items())
        before, at, retries = 0, self.events[0].at, 0
        earlier = at # a run may be claimed long before it begins, but not before the one before it began
        for epoch, start in runs:
            low = high = 0
            for gone in range(max(before, 1), epoch):
                cost = self.explain(gone, gone == before, min(earlier, at), start)
                low, high = low + cost[0], high + cost[1]
            if not low <= start.value - retries <= high:
                self.complain("retries", f"run {epoch} counts {start.value} retries, {start.value - retries} more than run"
                                         f" {before}; it should be {low}" + (f" to {high}" if high > low else ""))
            if self.retries and start.value > self.retries:
                self.complain("retries", f"run {epoch} is retry {start.value} of {self.retries}")
            before, earlier, at, retries = epoch, at, start.at, start.value

    def explain(self, epoch, begun, at, start):
        """Why the run `epoch` was not the last; and how many retries that cost, at least and at most."""
        finish = self.accepted.get(epoch)
        if finish:
            outcome = chr(finish.detail)
            if outcome in FINAL or finish.value == 6:
                self.complain("run-after-end", f"run {start.epoch} began after run {epoch} had ended the job ('{outcome}')")
            self.verdict.counts[f"again: {outcome}"] += 1
            return (0, 0) if outcome in "sr" else (1, 1)
        if not begun:
            if not self.world.any_cause(at - S, start.at):
                self.complain("unexplained-start", f"run {epoch} was never begun, and run {start.epoch} was, without any cause")
            self.verdict.counts["again: not begun"] += 1
            return 0, 1
        process = self.of_run[epoch][0].process
        cause = self.world.cause(process, at, start.at) or self.untold(epoch, process, start.at)
        if not cause:
            left = self.world.exits.get(process, (ENDLESS, 0))[0] <= start.at
            self.complain("unexplained-start", f"run {start.epoch} began though nothing happened to run {epoch}"
                                               + (", whose process left without ending it" if left else ""))
        self.verdict.counts[f"again: {cause}"] += 1
        ending = self.ending(epoch)
        free = (ending is not None and chr(ending.detail) == "z" and ending.kind == ENDING) or process in self.world.terms
        return (0, 1) if free else (1, 1)

    def untold(self, epoch, process, at):
        """Whether the process may have settled the run as one that is to be run again, and died before it could say so."""
        ending, died = self.ending(epoch), self.world.died(process)
        again = ending is not None and (ending.kind == CRASHING or chr(ending.detail) in "fzc")
        frozen = process in self.world.freezes and self.world.freezes[process].meet(at, at + S)
        return "killed" if again and died is not None and (died <= at + S or frozen) else None

    def check_overlaps(self):
        runs = [(epoch, events) for epoch, events in sorted(self.of_run.items()) if events]
        for (epoch, events), (later, later_events) in zip(runs, runs[1:]):
            last, begin = events[-1], later_events[0].at
            if last.at <= begin:
                continue
            process = last.process
            thaws = self.world.long_freezes(process, events[0].at - self.court.lease, last.at)
            if thaws and last.at <= max(thaws) + THAW + self.world.stalls.sum(max(thaws), last.at) \
                    or self.world.out(process, events[0].at - self.court.lease, last.at):
                self.verdict.counts["overlaps in a freeze"] += 1
                if epoch in self.accepted and self.accepted[epoch].at > begin and last.kind == ENDING \
                        and chr(self.accepted[epoch].detail) == "d":
                    self.complain("stale-finish", f"run {epoch} was still accepted when run {later} had begun")
                continue
            finish = self.accepted.get(epoch)
            if finish and chr(finish.detail) == "r" and chr(last.queue) not in CHILDREN \
                    and last.at <= finish.at + HEEDING + self.world.stalls.sum(finish.at, last.at):
                continue # a thread cannot be stopped: it is asked to
            if self.left_alone(epoch, process):
                self.verdict.counts["left alone"] += 1
                continue
            self.complain("overlap", f"run {epoch} was still at it {(last.at - begin) / 1000:.1f} ms after run {later} had begun")

    def left_alone(self, epoch, process):
        """Whether the run crashed and left a process in a session of its own (worker.c), which their fork server alone
        could have found, and that was killed before it did."""
        ending = self.ending(epoch)
        return ending is not None and ending.kind == CRASHING and chr(ending.detail) == "g" and epoch % 2 == 0 and \
            any(ending.at <= at <= ending.at + S // 10 for at in self.world.server_kills.get(process, ()))

    def check_due(self):
        if self.asked and self.asked[0].value and not self.court.clock_is_wrong:
            for start in self.starts:
                if start.at < self.asked[-1].value - self.court.clock_error:
                    self.complain("early", f"it was run {(self.asked[-1].value - start.at) / S:.3f} s early")
                break

    # ---- at the end

    def check_presence(self):
        if not self.is_tick and not self.asked:
            return
        for row in self.rows:
            self.check_row(row)
        if self.rows:
            return
        must = self.starts if self.is_tick else self.stored or self.starts
        if not must:
            return
        acknowledged = [r.at for r in self.answers if r.kind == OK]
        if self.world.forgot.spans and all(self.world.forgot.meet(at, at) for at in acknowledged):
            return
        if not self.starts:
            self.complain("lost", "it was acknowledged, is not there, and was never run")
            return
        epoch = max(self.of_run)
        start, ending, finish = self.of_run[epoch][0], self.ending(epoch), self.accepted.get(epoch)
        if self.flags & KEPT:
            self.complain("lost", "it was to be kept, and is not there")
        elif finish is not None and chr(finish.detail) != "d":
            self.complain("lost", f"its last run ended as '{chr(finish.detail)}', and it is not there")
        elif ending is None:
            self.complain("lost", "its last run never ended, and it is not there")
        elif finish is None and (ending.kind != ENDING or chr(ending.detail) != "o"):
            self.complain("lost", f"its last run ended as '{chr(ending.detail)}', and it is not there")
        elif finish is None and not self.world.cause(start.process, start.at, ENDLESS):
            self.complain("end-not-told", "its last run was done, nobody was told so, and it is not there")

    def check_row(self, row):
        unfinished = row.state not in "dD"
        if unfinished and not self.is_tick:
            self.complain("unfinished", f"it is still in state '{row.state}' after all work was done")
        finals = [epoch for epoch, r in self.accepted.items() if chr(r.detail) in FINAL or r.value == 6]
        if finals and unfinished and not self.rolled_back:
            self.complain("end-undone", f"run {finals[0]} ended it, and it is in state '{row.state}'")
        if row.state == "d":
            endings = [r for r in self.of_run.get(row.epoch, ()) if r.kind in (ENDING, CRASHING)]
            if not self.rolled_back: # or else the epoch may have been given out again
                endings = endings[:1]
            if not any(r.kind == ENDING and chr(r.detail) == "o" for r in endings):
                self.complain("false-end", f"it is done by run {row.epoch}, whose handler did not say so")
            if not self.is_tick and not self.flags & KEPT:
                self.complain("kept", "it is done, was not to be kept, and is there")
        if row.state == "D":
            self.check_death(row)
        for past in self.court.pasts.get(row.id, ()):
            finish = self.accepted.get(past.epoch)
            if finish and chr(finish.detail) != past.outcome and not self.rolled_back:
                self.complain("history", f"run {past.epoch} was told as '{chr(finish.detail)}', and the store has '{past.outcome}'")

    def check_death(self, row):
        ending = self.ending(row.epoch)
        said = chr(ending.detail) if ending else ""
        outcomes = [past.outcome for past in self.court.pasts.get(row.id, ()) if past.epoch > row.epoch - CRASHES_MAX]
        poisoned = outcomes.count("k") >= CRASHES_MAX or \
            sum(chr(r.detail) == "k" for e, r in self.accepted.items() if e > row.epoch - CRASHES_MAX) >= CRASHES_MAX
        if not (said == "d" or poisoned or self.rolled_back or self.is_tick or row.retries >= self.retries):
            self.complain("dead", f"it is dead after {row.retries} of {self.retries} retries, and did not ask for it")

    # ---- in time

    def check_recovery(self):
        world, lease = self.world, self.court.lease
        for r in self.events:
            if r.kind != CRASHING:
                continue
            finish = self.accepted.get(r.epoch)
            if not finish or world.freezes.get(r.process) or world.out(r.process, r.at, finish.at):
                continue
            took = finish.at - r.at - world.stalls.sum(r.at, finish.at)
            self.verdict.least("child recovery", took)
            if took > CHILD_RECOVERY:
                self.complain("recovery", f"{took / S:.3f} s after its process crashed run {r.epoch} was given up")
        if self.court.clock_is_wrong or not self.rows:
            return
        for past in self.court.pasts.get(self.rows[0].id, ()):
            begun = self.of_run.get(past.epoch)
            if past.outcome != "l" or not begun:
                continue
            died = world.killed.get(begun[0].process)
            found = past.finished - self.court.wall
            if died is None or found < died or world.freezes.get(begun[0].process):
                continue
            took = found - died - world.stalls.sum(died, found) - world.all_outages.sum(died, found)
            self.verdict.least("worker recovery", took)
            if took > lease + RECOVERY:
                self.complain("recovery", f"{took / S:.3f} s after its worker was killed run {past.epoch} was given up")


# ---- all of it ----------------------------------------------------------------------------


class Court:
    def __init__(self, jobs, others, rows, pasts, lease, shutdown_timeout, server_clock=False, wall=0):
        """Times in microseconds. wall: what is to be taken from the wall's clock to have the records'."""
        self.jobs, self.lease, self.shutdown_timeout, self.wall = jobs, lease, shutdown_timeout, wall
        self.rows, self.pasts = rows, pasts
        self.verdict = Verdict()
        self.world = World(lease)
        self.others = others
        for r in others:
            self.world.take(r)
        self.world.close()
        self.verdict.faults = [r for r in others if r.kind in (FAULT, EXIT, LEASE_LOST, LEAVING, STALL)]
        # Where the machine's clock is the store's, nothing can be said of times once it is wrong.
        self.clock_is_wrong = self.world.skewed and not server_clock
        # A server's clock is measured over a way that the proxy makes long on one side.
        self.clock_error = S // 2 if server_clock else S // 200

    def judge(self):
        by_number = collections.defaultdict(list)
        for row in self.rows:
            by_number[row.number].append(row)
        for number in by_number.keys() - self.jobs.keys():
            if not number & TICK:
                self.verdict.complain("never-enqueued", f"job {number:x} is in the store, and was never enqueued")
        trials = {}
        for number, events in self.jobs.items():
            trial = Trial(self, number, events, by_number.get(number, []))
            trial.judge()
            if trial.fingerprint or trial.is_tick:
                trials[number] = trial
        self.check_fingerprints([t for t in trials.values() if t.fingerprint])
        self.check_ticks([t for t in trials.values() if t.is_tick], by_number)
        self.check_processes()
        return self.verdict

    # ---- uniqueness

    def check_fingerprints(self, trials):
        """No two jobs of one fingerprint are proved to live at one time; and a duplicate is one of something that lived."""
        lives, holders = collections.defaultdict(list), {}
        for t in trials:
            ids = {r.id for r in t.events if r.kind in (OK, START)}
            for one in ids:
                holders[one] = t
            begin = min((r.at for r in t.events if r.kind in (OK, START)), default=None)
            if begin is None:
                continue
            last = t.of_run[max(t.of_run)][-1].at if t.of_run else begin
            if any(row.state not in "dD" for row in t.rows):
                last = ENDLESS
            lives[t.fingerprint].append((begin, last, t))
        for fingerprint, some in lives.items():
            some.sort(key=lambda life: life[:2])
            for (begin, end, one), (later, _, other) in zip(some, some[1:]):
                if later < end and not self.world.restored.meet(begin, end):
                    self.verdict.complain("two-of-a-fingerprint",
                                          f"jobs {one.number:x} and {other.number:x} of fingerprint {fingerprint} live at one time",
                                          one.events + other.events)
        for t in trials:
            for asked, answer in zip(t.asked, t.answers):
                if answer.kind == DUPLICATE:
                    self.check_duplicate(t, asked, answer, holders.get(answer.id))

    def check_duplicate(self, t, asked, answer, holder):
        # A job whose id nobody was told may be the holder: that of an unknown answer.
        if holder is None:
            return
        if holder.fingerprint != t.fingerprint:
            t.complain("false-duplicate", f"it was refused for job {holder.number:x}, whose fingerprint is another")
        ends = [r.at for r in holder.finishes if chr(r.detail) in FINAL or r.value == 6]
        if ends and max(ends) < asked.at and not self.world.restored.meet(asked.at - S, answer.at):
            self.verdict.complain("false-duplicate", f"job {t.number:x} was refused for job {holder.number:x}, which had ended",
                                  t.events + holder.events)

    # ---- schedules

    def check_ticks(self, trials, by_number):
        ticks = collections.defaultdict(set)
        for t in trials:
            ticks[t.number >> 48 & 15].add(t.number & (1 << 48) - 1)
        for number in by_number:
            if number & TICK:
                ticks[number >> 48 & 15].add(number & (1 << 48) - 1)
        for schedule, instants in ticks.items():
            self.verdict.counts["ticks"] += len(instants)
            odd = [ms for ms in instants if ms % 1000]
            if odd:
                self.verdict.complain("ticks", f"schedule {schedule:x} has a tick at {odd[0]} ms, which is no second")
            if self.world.skewed or self.world.restored.spans:
                continue
            missing = sorted(set(range(min(instants), max(instants), 1000)) - instants)
            if missing:
                self.verdict.complain("ticks", f"schedule {schedule:x} lacks {len(missing)} ticks of {len(instants) + len(missing)},"
                                               f" the first of them at {missing[0]} ms")

    # ---- processes

    def check_processes(self):
        world = self.world
        starts = collections.defaultdict(list)
        for events in self.jobs.values():
            for r in events:
                if r.kind == START and r.process in world.terms:
                    starts[r.process].append(r)
        for r in self.others:
            if r.kind == STRAY:
                self.verdict.complain("stray", f"process {r.pid} of process {r.process} is still there at the end")
            if r.kind == WRONG:
                self.verdict.complain("wrong", f"process {r.process} was told what may not be: see p{r.process}.err", [r])
        for process, term in world.terms.items():
            if process in world.killed or process in world.freezes or process not in world.ready:
                continue
            term = max(term, world.ready[process])
            late = [r for r in starts[process] if r.at > term + CLAIM_AFTER_TERM + world.stalls.sum(term, r.at)]
            if late:
                self.verdict.complain("claim-after-term",
                                      f"process {process} began a run {(late[0].at - term) / 1000:.0f} ms after SIGTERM", late)
            exit_at, status = world.exits.get(process, (None, 0))
            if exit_at is None:
                continue
            took = exit_at - term - world.stalls.sum(term, exit_at)
            away = world.out(process, term, exit_at)
            if not away:
                self.verdict.least("shutdown", took)
            if took > self.shutdown_timeout + LEAVING_TIME + (15 * S if away else 0):
                self.verdict.complain("shutdown", f"process {process} took {took / S:.3f} s to leave", [], [process])


def judge(folder, store, lease, shutdown_timeout, wrong=()):
    """lease and shutdown_timeout in seconds."""
    jobs, others = load(folder)
    rows = list(store.rows()) if hasattr(store, "rows") else rows_of(jobs)
    pasts = collections.defaultdict(list)
    for id_, past in (store.pasts() if hasattr(store, "pasts") else ()):
        pasts[id_].append(past)
    wall = time.time_ns() // 1000 - records.now()
    court = Court(jobs, others, rows, pasts, int(lease * S), int(shutdown_timeout * S), store.server_clock, wall)
    verdict = court.judge()
    for words in wrong:
        verdict.complain("driver", words)
    for words in store.problems():
        verdict.complain("store", words)
    return verdict


def rows_of(jobs):
    """What a process with its store in memory has written down of it."""
    return [Row(r.id.hex(), r.job, chr(r.queue), chr(r.detail), r.epoch, r.value, None)
            for events in jobs.values() for r in events if r.kind == ROW]
