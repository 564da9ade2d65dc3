# SPDX-License-Identifier: MIT
"""neoq cron: schedules."""

import json
import os

from stores import OnPostgres, OnRedis
from support import *

SCHEDULE_KEYS = set("name spec words queue last_at next_at".split())
WEEKDAYS = "TZ=Europe/Berlin 30 2 * * 1-5"


class Schedules(Case):
    """On every store."""

    def schedules(self):
        return {schedule["name"]: schedule for schedule in self.objects("cron", "list")}

    def test_add_list_and_remove(self):
        self.assertEqual(self.neoq("cron", WEEKDAYS, "report", '{"n": 1}', "--name", "nightly").stdout, "nightly\n")
        self.assertEqual(self.objects("cron", "@hourly", "sweep", "--name", "sweeping"), [{"name": "sweeping"}])
        schedules = self.schedules()
        self.assertEqual(set(schedules), {"nightly", "sweeping"})
        nightly = schedules["nightly"]
        self.assertEqual(set(nightly), SCHEDULE_KEYS)
        self.assertEqual((nightly["spec"], nightly["queue"], nightly["last_at"]), (WEEKDAYS, "report", None))
        self.assertEqual(nightly["words"], "at 02:30, Monday to Friday, Europe/Berlin")
        self.assertRegex(nightly["next_at"], INSTANT)
        title, *rows = self.neoq("cron", "list").stdout.splitlines()
        self.assertEqual(title.split(), ["NAME", "QUEUE", "LAST", "NEXT", "SPEC", "IN", "WORDS"])
        self.assertRegex(rows[0], r"^nightly +report +- +\S+Z \(in \S+\) .* at 02:30, Monday to Friday, Europe/Berlin$")
        self.neoq("cron", "@daily", "report", "--name", "nightly")
        self.assertEqual(self.schedules()["nightly"]["spec"], "@daily")
        self.assertEqual(self.neoq("cron", "rm", "nightly", "sweeping").stdout, "nightly\nsweeping\n")
        self.assertEqual(self.schedules(), {})
        self.assertIn("nightly", self.neoq("cron", "rm", "nightly", status=3).stderr)

    def test_any_worker_enqueues(self):
        """A worker of another queue is enough; the jobs are as the options say."""
        self.neoq("cron", "@every 1s", "tick", '{"n": 1}', "--max-retries", "0", "--priority", "7", "--meta", '{"a": 1}')
        self.start("work", "other", "--", "true")
        jobs = self.until(lambda: (found := self.jobs("--queue", "tick")) and len(found) > 1 and found, "two ticks")
        for job in jobs:
            self.assertEqual((job["payload"], job["max_retries"], job["priority"]), ({"n": 1}, 0, 7))
            self.assertEqual(job["metadata"], {"a": 1})
        self.assertEqual(len({job["id"] for job in jobs}), len(jobs))
        (schedule,) = self.schedules().values()
        self.assertRegex(schedule["last_at"], INSTANT)


class SchedulesOnPostgres(OnPostgres, Schedules):
    pass


class SchedulesOnRedis(OnRedis, Schedules):
    pass


class Names(Case):
    def test_the_same_line_again_makes_no_second_schedule(self):
        names = [self.neoq("cron", *words).stdout for words in (
            ("@daily", "mail", "1"), ("@daily", "mail", "1"), ("@daily", "mail", "2"), ("@hourly", "mail", "1"),
            ("@daily", "post", "1"), ("@daily", "mail"))]
        self.assertEqual(names[0], names[1])
        self.assertEqual(len(set(names)), 5)
        self.assertRegex(names[0], r"^mail-[0-9a-f]{8}\n$")
        self.assertEqual(len(self.objects("cron", "list")), 5)

    def test_payload_from_standard_input(self):
        self.neoq("cron", "@every 1s", "tick", "-", input='{"from": "stdin"}')
        self.start("work", "other", "--", "true")
        (job, *_) = self.until(lambda: self.jobs("--queue", "tick"), "a tick")
        self.assertEqual(job["payload"], {"from": "stdin"})

    def test_no_second_job_while_one_of_the_fingerprint_is_unfinished(self):
        self.neoq("cron", "@every 1s", "tick", "1", "--fingerprint", "one", "--name", "ticking")
        self.start("work", "other", "--", "true")

        def ticked():
            return self.objects("cron", "list")[0]["last_at"]

        first = self.until(ticked, "a tick")
        self.until(lambda: ticked() > first, "another")
        self.assertEqual(len(self.jobs("--queue", "tick")), 1)

    def test_a_command(self):
        self.assertRegex(self.neoq("cron", "@every 1s", "--", "sh", "-c", "echo $0 >> ticks", "-x").stdout, "^commands-")
        self.start("work", "--commands")
        self.until(lambda: self.until_file("ticks").count(b"-x\n") > 1, "two ticks")
        for job in self.jobs("--queue", "commands"):
            self.assertEqual((job["max_retries"], job["payload"]["folder"]), (0, os.path.realpath(self.folder)))


class Next(Case):
    def next(self, *args):
        return self.neoq("cron", "next", *args).stdout.splitlines()

    def test_instants(self):
        self.assertEqual(self.next("30 2 * * *", "-n", "2", "--after", "2026-02-28T02:30:00Z"),
                         ["2026-03-01T02:30:00.000000Z", "2026-03-02T02:30:00.000000Z"])
        self.assertEqual(self.next(WEEKDAYS, "--after", "2026-07-03T12:00:00Z"), ["2026-07-06T00:30:00.000000Z"])
        self.assertEqual(self.objects("cron", "next", "@yearly", "--after", "2026-07-03T12:00:00Z"),
                         [{"at": "2027-01-01T00:00:00.000000Z"}])
        self.assertEqual(len(self.next("* * * * *")), 1)

    def test_needs_no_store(self):
        self.neoq("cron", "next", "@daily", env={"NEOQ_URL": "nonsense:"})
        self.assertEqual(os.listdir(self.folder), [])


class Usage(Case):
    def refused(self, *args, words):
        result = self.neoq("cron", *args, status=2)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, words)
        self.assertFalse(os.path.exists(self.path("jobs.db")), "something was done")

    def test_malformed_schedules(self):
        for words in (["q"], ["q", "1"], ["--", "true"]):
            self.refused("61 * * * *", *words, words='cron "61 \\* \\* \\* \\*": minute: 61 is not in 0-59')
        for spec, words in (("* * * *", "4 fields; write five"), ("* * * * 5L", "day of week: .*not supported"),
                            ("0 0 30 2 *", "day of month: no month"), ("TZ=Nowhere/Here @daily", "time zone: .*Nowhere"),
                            ("@weakly", "@weekly"), ("0 9-5 * * *", "hour: 9-5 runs backwards"), ("", "is empty")):
            self.refused(spec, "q", words=words)
            self.refused("next", spec, words=words)
        self.refused("61 * * * *", "q", words="in quotes: 'MINUTE HOUR")

    def test_words(self):
        self.refused(words="a schedule is missing")
        self.refused("@daily", words="the queue is missing")
        self.refused("*/5", "*", "*", "*", "*", "q", words="quote the schedule")
        self.refused("@daily", "q", "--", "true", words="'q' is a word too many")
        self.refused("@daily", "--", words="command is missing")
        self.refused("next", words="one schedule")
        self.refused("next", "30", "2", words="quote it")
        self.refused("rm", words="which")
        self.refused("list", "x", words="no argument")
        self.refused("list", "--name", "x", words="takes neither a name")
        self.refused("@daily", "q", "-n", "3", words="for cron next")
        self.refused("@daily", "q", "1", "--meta", "[]", words="cron: --meta")

    def test_names_that_cannot_be(self):
        self.neoq("cron", "@daily", "q", "--name", "", status=2)
        self.neoq("cron", "@daily", "q" * 201, status=2)


if __name__ == "__main__":
    unittest.main()
