#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The checker itself: logs made by hand, each with one violation that it must name, and a clean one that passes."""

import collections
import io
import os
import tempfile
import unittest
from contextlib import redirect_stdout

import check
import records
import run
from records import (ASKED, AWAY, BACK, CONT, CRASHING, DUPLICATE, EFFECT, ENDING, EXIT, FAULT, FINISH, KILL, KILL_CHILD,
                     KILL_FORK_SERVER, LEASE_LOST, OK, REFUSED, RESTORED, RUNNING, SKEW, START, STOP, STRAY, TERM,
                     UNKNOWN, Record)
from stores import Past, Row

S = 1_000_000
LEASE = 2 * S
P, W, V = 1, 2, 3      # a producer, a worker, another
STATE = {"d": 5, "x": 6, "f": 4, "k": 4, "l": 4, "t": 4, "s": 1, "r": 2}


def id_of(job, variant=0):
    return job.to_bytes(8, "big") + bytes([variant]) * 8


class Story:
    """A run's records and rows, told in the order of time: seconds."""

    def __init__(self):
        self.jobs, self.others, self.rows, self.pasts = collections.defaultdict(list), [], [], collections.defaultdict(list)

    def tell(self, at, kind, process, job=0, epoch=0, detail=0, value=0, id_=None, pid=None, queue="w"):
        detail = ord(detail) if isinstance(detail, str) else detail
        id_ = id_ or (id_of(job) if job and kind not in (ASKED, REFUSED, UNKNOWN) else bytes(16))
        r = Record(kind, detail, ord(queue), process, pid or 100 + process, int(at * S), job, epoch, value, id_)
        (self.jobs[job] if job else self.others).append(r)
        return self

    def fault(self, at, fault, process=0, value=0, pid=0):
        return self.tell(at, FAULT, process, detail=fault, value=value, pid=pid)

    def asked(self, at, job, answer=OK, behaviour="q", kept=False, fingerprint=0, due=0, retries=100, id_=None):
        traits = (records.KEPT if kept else 0) | ord(behaviour) << 8 | 1 << 16 | retries << 24 | fingerprint << 32
        self.tell(at, ASKED, P, job, traits, value=int(due * S))
        return self.tell(at + 0.01, answer, P, job, id_=id_) if answer else self

    def run(self, at, job, epoch=1, worker=W, verdict="o", outcome="d", retries=0, lasts=0.02, state=None, queue="w"):
        self.tell(at, START, worker, job, epoch, value=retries, queue=queue)
        if verdict:
            self.tell(at + lasts, ENDING, worker, job, epoch, verdict, queue=queue)
        if outcome:
            self.tell(at + lasts + 0.01, FINISH, worker, job, epoch, outcome, STATE[outcome] if state is None else state, queue=queue)
        return self

    def row(self, job, state="d", epoch=1, retries=0, variant=0):
        self.rows.append(Row(id_of(job, variant).hex(), job, "work", state, epoch, retries, None))
        return self

    def past(self, job, epoch, outcome, finished):
        self.pasts[id_of(job).hex()].append(Past(epoch, outcome, "w", 0, int(finished * S)))
        return self

    def judge(self, server_clock=False):
        for events in self.jobs.values():
            events.sort(key=lambda r: r.at)
        self.others.sort(key=lambda r: r.at)
        court = check.Court(self.jobs, self.others, self.rows, self.pasts, LEASE, int(1.5 * S), server_clock)
        return court.judge()


def tick(second, schedule=13):
    return check.TICK | schedule << 48 | second * 1000


class Checker(unittest.TestCase):
    def passes(self, story, **how):
        verdict = story.judge(**how)
        self.assertEqual([], [(c.rule, c.words) for c in verdict.complaints])
        return verdict

    def fails(self, rule, story, **how):
        verdict = story.judge(**how)
        self.assertIn(rule, {c.rule for c in verdict.complaints}, [(c.rule, c.words) for c in verdict.complaints])
        with redirect_stdout(io.StringIO()) as out:
            verdict.report()
        self.assertIn(f"VIOLATION {rule}", out.getvalue())

    # ---- what may be

    def test_a_clean_run_passes(self):
        s = Story()
        s.asked(1, 1).run(1.5, 1)
        s.asked(1, 2, kept=True).run(1.6, 2).row(2).past(2, 1, "d", 1.63)
        s.asked(1, 3, behaviour="f").run(2, 3, verdict="f", outcome="f").run(2.1, 3, 2, retries=1)
        s.asked(1, 4, behaviour="d").run(2, 4, verdict="d", outcome="x").row(4, "D")
        s.asked(1, 5, answer=REFUSED)
        s.asked(1, 6, answer=UNKNOWN)
        s.asked(1, 7, answer=UNKNOWN).run(3, 7)
        s.asked(1, 8, answer=None).run(3, 8)
        s.asked(1, 9, behaviour="z").run(2, 9, verdict="z", outcome="s").run(2.1, 9, 2)
        s.asked(1, 10, due=2).run(2.001, 10)
        verdict = self.passes(s)
        self.assertEqual(6, verdict.counts["acknowledged"])

    def test_a_kill_explains_another_run(self):
        s = Story().asked(1, 1).run(2, 1, verdict=None, outcome=None).fault(2.5, KILL, W).tell(2.51, EXIT, W, value=-9)
        self.passes(s.run(3, 1, 2, V, retries=1))

    def test_a_kill_right_after_the_end_explains_that_nobody_was_told(self):
        self.passes(Story().asked(1, 1).run(2, 1, outcome=None).fault(2.5, KILL, W).tell(2.51, EXIT, W, value=-9))

    def test_a_freeze_explains_an_overlap(self):
        s = Story().asked(1, 1).run(2, 1, outcome=None, lasts=4).fault(2.1, STOP, W).fault(5.9, CONT, W)
        self.passes(s.run(4.5, 1, 2, V, retries=1))

    def test_a_thread_takes_a_moment_to_heed_its_release(self):
        self.passes(self.released_at_3(3.05).run(3.01, 1, 2, V))

    def released_at_3(self, ends, queue="w"):
        s = Story().asked(1, 1).tell(2, START, W, 1, 1, queue=queue).fault(2.5, TERM, W)
        return s.tell(3, FINISH, W, 1, 1, "r", 2, queue=queue).tell(ends, ENDING, W, 1, 1, "c", queue=queue)

    def test_a_worker_that_is_killed_cannot_tell_what_it_has_settled(self):
        s = Story().asked(1, 1, behaviour="f").run(2, 1, verdict="f", outcome=None).run(2.03, 1, 2, V, retries=1)
        self.passes(s.fault(2.04, KILL, W).tell(2.05, EXIT, W, value=-9))

    def test_a_timeout_began_with_a_child_that_was_killed(self):
        s = Story().asked(1, 1).fault(1.5, KILL_CHILD, W, value=9).run(2, 1, verdict=None, outcome="t", lasts=0.6)
        self.passes(s.run(3, 1, 2, V, retries=1))

    def test_an_outage_explains_another_run(self):
        s = Story().asked(1, 1).run(2, 1, outcome=None).fault(2, AWAY).fault(3, BACK)
        self.passes(s.run(5, 1, 2, V, retries=1))

    def test_a_store_that_may_forget_forgets(self):
        s = Story().asked(1, 1).asked(1, 2, kept=True).run(1.5, 2).asked(2, 3).run(2.5, 3).run(3.5, 3)
        self.passes(s.fault(3, RESTORED, value=3 * S))

    def test_a_store_that_forgot_gives_an_epoch_out_again(self):
        s = Story().asked(1, 1, kept=True).run(2, 1, verdict="c", outcome=None).run(3, 1, 1, V).row(1, "d")
        self.passes(s.fault(2.5, RESTORED, value=2 * S))
        self.fails("false-end", Story().asked(1, 1, kept=True).run(2, 1, verdict="c", outcome=None).run(3, 1, 1, V).row(1, "d"))

    def test_but_not_what_is_older(self):
        self.fails("lost", Story().asked(1, 1).fault(9, RESTORED, value=3 * S))

    # ---- enqueueing

    def test_an_acknowledged_job_is_lost(self):
        self.fails("lost", Story().asked(1, 1))

    def test_a_job_begun_and_gone_is_lost(self):
        s = Story().asked(1, 1).run(2, 1, verdict=None, outcome=None).fault(2.5, KILL, W)
        self.fails("lost", s.tell(2.51, EXIT, W, value=-9))

    def test_a_failed_job_that_is_gone_is_lost(self):
        self.fails("lost", Story().asked(1, 1, behaviour="f").run(2, 1, verdict="f", outcome="f"))

    def test_a_kept_job_is_lost(self):
        self.fails("lost", Story().asked(1, 1, kept=True).run(2, 1))

    def test_a_job_that_nobody_enqueued_is_run(self):
        self.fails("never-enqueued", Story().run(2, 1))

    def test_a_job_that_nobody_enqueued_is_there(self):
        self.fails("never-enqueued", Story().row(1, "r"))

    def test_a_job_is_run_before_it_is_enqueued(self):
        self.fails("never-enqueued", Story().asked(3, 1).run(2, 1))

    def test_a_refused_job_is_run(self):
        self.fails("refused-but-there", Story().asked(1, 1, answer=REFUSED).run(2, 1))

    def test_a_refused_job_is_there(self):
        self.fails("refused-but-there", Story().asked(1, 1, answer=REFUSED).row(1, "r"))

    def test_an_unknown_job_is_there_twice(self):
        s = Story().asked(1, 1, answer=UNKNOWN).run(2, 1)
        self.fails("twice-there", s.tell(3, START, W, 1, 1, id_=id_of(1, 1)))

    def test_a_job_is_there_twice_in_the_store(self):
        self.fails("twice-there", Story().asked(1, 1, kept=True).run(2, 1).row(1).row(1))

    def test_a_job_that_waits_is_left(self):
        self.fails("unfinished", Story().asked(1, 1).row(1, "r", 0))

    def test_a_done_job_is_kept_though_nobody_asked(self):
        self.fails("kept", Story().asked(1, 1).run(2, 1).row(1))

    # ---- runs

    def test_a_second_run_without_a_cause(self):
        self.fails("unexplained-start", Story().asked(1, 1).run(2, 1, outcome=None).run(3, 1, 2, V, retries=1))

    def test_a_second_run_after_a_short_freeze(self):
        s = Story().asked(1, 1).run(2, 1, outcome=None).fault(2, STOP, W).fault(2.3, CONT, W)
        self.fails("unexplained-start", s.run(3, 1, 2, V, retries=1))

    def test_a_second_run_after_another_workers_death(self):
        s = Story().asked(1, 1).run(2, 1, outcome=None).fault(2, KILL, V).tell(2.01, EXIT, V, value=-9)
        self.fails("unexplained-start", s.run(3, 1, 2, 4, retries=1))

    def test_a_second_run_after_its_worker_left_in_peace(self):
        s = Story().asked(1, 1).run(2, 1, verdict=None, outcome=None).fault(2.1, TERM, W).tell(2.5, EXIT, W)
        self.fails("unexplained-start", s.run(9, 1, 2, V, retries=1))

    def test_an_epoch_that_nobody_began_without_a_cause(self):
        self.fails("unexplained-start", Story().asked(1, 1).run(2, 1, 2, retries=1))

    def test_an_epoch_that_nobody_began_long_after_a_frozen_workers_death(self):
        s = Story().fault(1, STOP, V).fault(5, KILL, V).tell(5.1, EXIT, V, value=-9).asked(10, 1)
        self.fails("unexplained-start", s.run(11, 1, 2, retries=1))

    def test_an_epoch_is_begun_twice(self):
        self.fails("epoch-twice", Story().asked(1, 1).run(2, 1).tell(2.5, START, V, 1, 1))

    def test_it_is_run_after_it_was_done(self):
        self.fails("run-after-end", Story().asked(1, 1).run(2, 1).run(3, 1, 2, V, retries=1))

    def test_it_is_run_after_it_was_discarded(self):
        s = Story().asked(1, 1, behaviour="d").run(2, 1, verdict="d", outcome="x")
        self.fails("run-after-end", s.run(3, 1, 2, verdict="d", outcome="x").row(1, "D", 2))

    def test_a_job_is_lost_when_it_is_given_back_before_it_was_begun(self):
        s = Story().asked(1, 1, behaviour="f", fingerprint=7).run(2, 1, verdict="f", outcome="f").fault(2.5, TERM, W)
        self.fails("lost", s.tell(3, FINISH, W, 1, 2, "r", 2))

    def test_a_done_run_is_begun_again_before_its_worker_is_killed(self):
        s = Story().asked(1, 1).run(2, 1, outcome=None).run(2.03, 1, 2, V, retries=1)
        self.fails("unexplained-start", s.fault(2.04, KILL, W).tell(2.05, EXIT, W, value=-9))

    def test_two_runs_overlap(self):
        s = Story().asked(1, 1, behaviour="f").run(2, 1, verdict="f", outcome="f", lasts=2).tell(3, EFFECT, W, 1, 1)
        self.fails("overlap", s.run(2.9, 1, 2, V, retries=1))

    def test_a_killed_workers_child_goes_on_beside_the_next_run(self):
        s = Story().asked(1, 1).run(2, 1, verdict=None, outcome=None).fault(2.5, KILL, W).tell(2.51, EXIT, W, value=-9)
        self.fails("overlap", s.run(3, 1, 2, V, retries=1).tell(3.5, EFFECT, W, 1, 1, pid=777))

    def test_a_released_run_goes_on(self):
        self.fails("overlap", self.released_at_3(3.3).run(3.01, 1, 2, V))

    def test_a_released_run_goes_on_in_its_child(self):
        self.fails("overlap", self.released_at_3(3.05, "a").run(3.01, 1, 2, V, queue="a"))

    def test_a_thawed_worker_goes_on(self):
        s = Story().asked(1, 1).run(2, 1, outcome=None, lasts=4).fault(2.1, STOP, W).fault(5.2, CONT, W)
        self.fails("overlap", s.run(4.5, 1, 2, V, retries=1))

    def test_a_late_end_is_accepted_after_a_freeze(self):
        s = Story().asked(1, 1).run(2, 1, lasts=4).fault(2.1, STOP, W).fault(5.9, CONT, W)
        self.fails("stale-finish", s.run(4.5, 1, 2, V, retries=1))

    def test_two_ends_of_a_run_are_accepted(self):
        self.fails("finish-twice", Story().asked(1, 1).run(2, 1).tell(2.5, FINISH, W, 1, 1, "d", 5))

    def test_retries_do_not_count_a_crash(self):
        s = Story().asked(1, 1).run(2, 1, verdict=None, outcome=None).fault(2.5, KILL, W).tell(2.51, EXIT, W, value=-9)
        self.fails("retries", s.run(3, 1, 2, V, retries=0))

    def test_a_release_costs_a_retry(self):
        s = Story().asked(1, 1).run(2, 1, verdict="c", outcome="r").fault(1.9, TERM, W).tell(2.2, EXIT, W)
        self.fails("retries", s.run(3, 1, 2, V, retries=1))

    def test_more_runs_than_retries(self):
        s = Story().asked(1, 1, retries=1).run(2, 1, verdict="f", outcome="f").run(3, 1, 2, verdict="f", outcome="f", retries=1)
        self.fails("retries", s.run(4, 1, 3, retries=2))

    def test_the_third_crash_in_a_row_is_survived(self):
        s = Story().asked(1, 1, behaviour="k")
        for epoch in (1, 2, 3):
            s.tell(epoch * 2, START, W, 1, epoch, value=epoch - 1).tell(epoch * 2 + 0.1, CRASHING, W, 1, epoch)
            s.tell(epoch * 2 + 0.2, FINISH, W, 1, epoch, "k", 4)
        self.fails("crashes", s.row(1, "D", 3, 2))

    def test_it_is_run_before_its_time(self):
        self.fails("early", Story().asked(1, 1, due=5).run(2, 1))

    def test_a_skewed_worker_runs_it_early_though_the_server_has_a_clock(self):
        s = Story().fault(0.5, SKEW, W, 3600 * S).asked(1, 1, due=5).run(2, 1)
        self.fails("early", s, server_clock=True)
        self.passes(s, server_clock=False)

    # ---- ends

    def test_it_is_done_and_no_handler_said_so(self):
        self.fails("false-end", Story().asked(1, 1).run(2, 1, verdict="f"))

    def test_it_is_told_as_crashed_and_nothing_crashed(self):
        self.fails("false-end", Story().asked(1, 1).run(2, 1, verdict=None, outcome="k").run(3, 1, 2, retries=1))

    def test_a_childs_death_explains_a_crash(self):
        s = Story().asked(1, 1).run(2, 1, verdict=None, outcome="k", lasts=0.5).fault(2.4, KILL_CHILD, W, 9, pid=555)
        self.passes(s.run(3, 1, 2, retries=1))

    def test_what_troubles_a_child_waits_while_its_host_is_frozen(self):
        def story(freeze):
            s = Story().fault(1.5, KILL_CHILD, W, 9, pid=555).asked(2, 1)
            if freeze:
                s.fault(1.6, STOP, W).fault(5.6, CONT, W)
            return s.tell(8, FINISH, W, 1, 1, "t", 4).run(8.1, 1, 2, retries=1)
        self.passes(story(freeze=True))
        self.fails("false-end", story(freeze=False))

    def test_a_stopped_child_waits_for_its_run(self):
        def story(number):
            s = Story().fault(1.5, KILL_CHILD, W, number, pid=555).asked(2, 1)
            return s.tell(12, FINISH, W, 1, 1, "t", 4).run(12.1, 1, 2, retries=1)
        self.passes(story(19))
        self.fails("false-end", story(9))

    def test_who_left_its_group_outlives_a_killed_fork_server(self):
        def story(epoch, killed):
            s = Story().asked(1, 1, behaviour="g")
            for at in range(1, epoch + 1):
                s.tell(at + 1, START, W, 1, at, value=at - 1).tell(at + 1.01, CRASHING, W, 1, at, "g")
                s.tell(at + 1.05, FINISH, W, 1, at, "k", 4)
            s.fault(killed, KILL_FORK_SERVER, W).tell(epoch + 2.5, EFFECT, W, 1, epoch, pid=777)
            return s.run(epoch + 2, 1, epoch + 1, retries=epoch)
        self.passes(story(2, 3.02))
        self.fails("overlap", story(2, 3.3))
        self.fails("overlap", story(1, 2.02))

    def test_a_lost_lease_explains_a_lost_run(self):
        def story():
            return Story().asked(1, 1).run(2, 1, verdict=None, outcome="l", lasts=2).run(4.5, 1, 2, retries=1)
        self.passes(story().tell(3, LEASE_LOST, W))
        self.fails("false-end", story())
        self.fails("false-end", story().tell(3, LEASE_LOST, V))
        self.fails("false-end", story().tell(1.5, LEASE_LOST, W))

    def test_it_is_told_as_done_and_waits(self):
        self.fails("wrong-state", Story().asked(1, 1).run(2, 1, state=4))

    def test_the_store_has_undone_an_end(self):
        self.fails("end-undone", Story().asked(1, 1, kept=True).run(2, 1).row(1, "r"))

    def test_the_store_has_an_end_that_no_handler_asked_for(self):
        self.fails("false-end", Story().asked(1, 1, kept=True).run(2, 1, verdict=None, outcome=None).row(1, "d"))

    def test_it_is_dead_without_a_reason(self):
        self.fails("dead", Story().asked(1, 1, behaviour="f").run(2, 1, verdict="f", outcome="f", state=6).row(1, "D"))

    def test_history_and_log_differ(self):
        self.fails("history", Story().asked(1, 1, kept=True).run(2, 1).row(1).past(1, 1, "f", 2.1))

    def test_an_end_that_nobody_was_told(self):
        self.fails("end-not-told", Story().asked(1, 1).run(2, 1, outcome=None))

    # ---- uniqueness

    def test_two_of_a_fingerprint_live(self):
        s = Story().asked(1, 1, fingerprint=7).run(4, 1).asked(2, 2, fingerprint=7).run(5, 2)
        self.fails("two-of-a-fingerprint", s)

    def test_one_after_the_other_is_well(self):
        self.passes(Story().asked(1, 1, fingerprint=7).run(2, 1).asked(3, 2, fingerprint=7).run(5, 2))

    def test_a_duplicate_of_what_had_ended(self):
        s = Story().asked(1, 1, fingerprint=7).run(2, 1)
        self.fails("false-duplicate", s.asked(4, 2, answer=DUPLICATE, fingerprint=7, id_=id_of(1)))

    def test_a_duplicate_of_another_fingerprint(self):
        s = Story().asked(1, 1, fingerprint=8).run(9, 1)
        self.fails("false-duplicate", s.asked(4, 2, answer=DUPLICATE, fingerprint=7, id_=id_of(1)))

    # ---- schedules

    def test_a_tick_a_second(self):
        s = Story()
        for second in (10, 11, 12):
            s.run(second, tick(second), queue="t")
        self.passes(s)

    def test_a_tick_is_missing(self):
        self.fails("ticks", Story().run(10, tick(10), queue="t").run(12, tick(12), queue="t"))

    def test_a_tick_has_two_jobs(self):
        s = Story().run(10, tick(10), queue="t")
        self.fails("twice-there", s.tell(11, START, W, tick(10), 1, id_=id_of(9, 9), queue="t"))

    def test_a_tick_is_made_again(self):
        s = Story().run(10, tick(10), queue="t")
        self.fails("epoch-twice", s.run(11, tick(10), worker=V, queue="t"))

    # ---- in time

    def test_a_crash_is_noticed_late(self):
        s = Story().asked(1, 1, behaviour="s").tell(2, START, W, 1, 1).tell(2.1, CRASHING, W, 1, 1)
        self.fails("recovery", s.tell(3.3, FINISH, W, 1, 1, "k", 4).run(3.4, 1, 2, retries=1))

    def test_a_dead_workers_job_is_found_late(self):
        s = Story().asked(1, 1, kept=True).run(2, 1, verdict=None, outcome=None).fault(2.5, KILL, W)
        s.tell(2.51, EXIT, W, value=-9).run(20, 1, 2, V, retries=1).row(1, "d", 2, 1)
        self.fails("recovery", s.past(1, 1, "l", 11).past(1, 2, "d", 20.1))

    def test_a_run_begins_after_sigterm(self):
        s = Story().tell(1, RUNNING, W).fault(1.8, TERM, W).asked(1, 1).run(2, 1).tell(2.5, EXIT, W)
        self.fails("claim-after-term", s)

    def test_sigterm_is_not_heard_before_it_is_waited_for(self):
        self.passes(Story().tell(2.1, RUNNING, W).fault(1.8, TERM, W).asked(1, 1).run(2, 1).tell(2.5, EXIT, W))

    def test_it_takes_too_long_to_leave(self):
        self.fails("shutdown", Story().tell(0.5, RUNNING, W).fault(1, TERM, W).tell(9, EXIT, W))

    def test_a_stray_process(self):
        self.fails("stray", Story().tell(9, STRAY, W, pid=4))


class Logs(unittest.TestCase):
    def write(self, folder, data):
        with open(os.path.join(folder, "p1.log"), "wb") as file:
            file.write(data)

    def test_a_record_that_was_cut_off_was_never_written(self):
        one = records.pack(Record(ASKED, 0, 0, 1, 1, 5, 7, 0, 0, bytes(16)))
        with tempfile.TemporaryDirectory() as folder:
            self.write(folder, one + one[:20])
            jobs, _ = check.load(folder)
            self.assertEqual(1, len(jobs[7]))

    def test_a_damaged_record_is_an_error(self):
        one = bytearray(records.pack(Record(ASKED, 0, 0, 1, 1, 5, 7, 0, 0, bytes(16))))
        one[30] ^= 1
        with tempfile.TemporaryDirectory() as folder:
            self.write(folder, bytes(one))
            with self.assertRaises(records.Damaged):
                check.load(folder)

    def test_the_log_of_a_violation_is_that_of_its_job_alone(self):
        s = Story().asked(1, 1).asked(1, 2).run(2, 2)
        verdict = s.judge()
        self.assertEqual({1}, {r.job for r in verdict.log_of(verdict.complaints[0])})


class Families(unittest.TestCase):
    def test_tells_fork_servers_from_their_children(self):
        self.assertEqual(([11], [12, 13]), run.sort_out(10, [(1, 10), (1, 11), (11, 12), (12, 13)]))

    def test_spares_who_gives_birth_to_a_fork_server(self):
        self.assertEqual(([11], []), run.sort_out(10, [(1, 10), (1, 11), (10, 14), (14, 15)]))


if __name__ == "__main__":
    unittest.main()
