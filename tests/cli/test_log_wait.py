# SPDX-License-Identifier: MIT
"""neoq log and neoq wait."""

import fcntl
import json
import os

from stores import OnPostgres, OnRedis
from support import *

UNKNOWN = "00000000-0000-7000-8000-000000000000"


class Ends(Case):
    """On every store."""

    def command(self, text):
        return self.neoq("--", "bash", "-c", text).stdout.strip()

    def held(self, text="echo one; read < go; echo two"):
        """A command that waits until it is let go."""
        self.hold()
        return self.command(text)

    def test_wait_from_before_it_runs(self):
        id = self.command("echo bad >&2; exit 7")
        waiter = self.start("wait", id)
        self.neoq("work", "--commands", "--until-empty", status=1)
        out, _ = self.ended(waiter, 7)
        self.assertEqual(out, f"{id}  dead  exit status 7: bad\n")

    def test_wait_for_one_that_runs(self):
        id = self.held()
        self.start("work", "--commands")
        self.until(lambda: self.job(id)["state"] == "running", "it to run")
        waiter = self.start("--json", "wait", id)
        self.let_go()
        out, _ = self.ended(waiter)
        self.assertEqual(json.loads(out), {"id": id, "state": "done", "exit_code": 0, "signal": 0, "error": None})

    def test_follow(self):
        id = self.held()
        follower = self.start("log", "-f", id)
        self.start("work", "--commands")
        out = self.until_output(follower, b"one\n")
        self.assertEqual(self.job(id)["state"], "running")
        self.assertEqual(self.neoq("log", id).stdout, "one\n")
        self.let_go()
        rest, _ = self.ended(follower)
        self.assertEqual(out.decode() + rest, "one\ntwo\n")
        self.assertEqual(self.neoq("log", id).stdout, "one\ntwo\n")
        self.assertEqual(os.listdir(self.path(".local/state/neoq/output")), [])

    def test_follow_from_elsewhere(self):
        """Without the worker's spool, as on another machine: what the store has, in the end."""
        id = self.held()
        self.start("work", "--commands")
        self.until(lambda: self.job(id)["state"] == "running", "it to run")
        follower = self.start("-v", "log", "-f", id, env={"XDG_STATE_HOME": self.path("elsewhere")})
        self.assertIn(b"not to be had here", follower.stderr.readline())
        self.let_go()
        out, _ = self.ended(follower)
        self.assertEqual(out, "one\ntwo\n")


class EndsOnPostgres(OnPostgres, Ends):
    pass


class EndsOnRedis(OnRedis, Ends):
    pass


class Wait(Case):
    def ran(self, command, *options, status=0):
        id = self.enqueue("q", "1", "--no-unique", "--retain", "1h", "--max-retries", "0")
        self.work("q", *options, "--", "bash", "-c", command, status=status)
        return id

    def test_exit_status_of_one(self):
        for command, status in (("true", 0), ("exit 1", 1), ("exit 42", 42), ("kill -TERM $$", 143), ("exit 65", 65)):
            self.neoq("wait", self.ran(command, status=int(status > 0)), status=status)

    def test_of_several(self):
        good, bad = self.ran("true"), self.ran("exit 42", status=1)
        self.assertEqual(self.neoq("wait", good, good).stdout, f"{good}  done\n" * 2)
        out = self.neoq("wait", bad, good, status=1).stdout
        self.assertEqual(out, f"{bad}  dead  exit status 42\n{good}  done\n")
        self.assertEqual([(end["id"], end["state"], end["exit_code"]) for end in self.objects("wait", bad, good, status=1)],
                         [(bad, "dead", 42), (good, "done", 0)])

    def test_dead_without_a_program(self):
        id = self.enqueue("q", "1")
        self.neoq("cancel", id)
        self.assertEqual(self.neoq("wait", id, status=1).stdout, f"{id}  dead  cancelled\n")

    def test_a_job_that_is_not_kept(self):
        self.hold()
        id = self.enqueue("q", "1")
        self.start("work", "q", "--", "cat", "go")
        self.until(lambda: self.job(id)["state"] == "running", "it to run")
        waiter = self.start("-v", "wait", id)
        self.assertIn(b"waiting for job", waiter.stderr.readline())
        self.let_go()
        self.assertEqual(self.ended(waiter)[0], f"{id}  gone\n")

    def test_retries_are_waited_for(self):
        id = self.enqueue("q", "1", "--retry-waits", "1h", "--retain", "1h")
        self.work("q", "--", "false", status=1)
        waiter = self.start("-v", "wait", id)
        self.assertIn(b"which is retrying", waiter.stderr.readline())
        self.neoq("retry", id)
        self.work("q", "--", "true")
        self.assertEqual(self.ended(waiter)[0], f"{id}  done\n")

    def test_timeout(self):
        id, good = self.enqueue("q", "1"), self.ran_elsewhere()
        result = self.neoq("wait", id, good, "--timeout", "20ms", status=124)
        self.assertEqual(result.stdout, f"{good}  done\n")
        self.assertIn(f"{id} has not ended", result.stderr)
        self.neoq("wait", good, "--timeout", "0")

    def ran_elsewhere(self):
        id = self.enqueue("other", "1", "--retain", "1h")
        self.work("other", "--", "true")
        return id

    def test_unknown(self):
        self.neoq("wait", UNKNOWN, status=3)
        self.neoq("wait", status=2)
        self.neoq("wait", UNKNOWN, "--timeout", "soon", status=2)


class Log(Case):
    def test_the_last_run(self):
        id = self.enqueue("q", "1", "--retry-waits", "1ms", "--retain", "1h")
        follower = self.start("log", "-f", id)
        self.work("q", "--keep-output", "--", "bash", "-c", "echo run $NEOQ_RETRIES; [ $NEOQ_RETRIES = 1 ]", status=1)
        self.assertTrue(self.ended(follower)[0].endswith("run 1\n"))
        self.assertEqual(self.neoq("log", id).stdout, "run 1\n")
        self.assertEqual(self.objects("log", id), [{"id": id, "state": "done", "result": "run 1\n"}])

    def test_run_after_run(self):
        """Each run is followed: the second one goes on when the first has been seen."""
        self.hold()
        id = self.enqueue("q", "1", "--retry-waits", "1ms", "--retain", "1h")
        follower = self.start("log", "-f", id)
        self.start("work", "q", "--keep-output", "--", "bash", "-c", "echo run $NEOQ_RETRIES; read < go; [ $NEOQ_RETRIES = 1 ]")
        for run in (b"run 0\n", b"run 1\n"):
            self.assertEqual(self.until_output(follower, run), run)
            self.let_go()
        self.assertEqual(self.ended(follower)[0], "")

    def test_bytes(self):
        id = self.enqueue("q", "1", "--retain", "1h")
        self.work("q", "--keep-output", "--", "printf", r"\377\0\n")
        self.assertEqual(self.neoq("log", id, text=False).stdout, b"\xff\0\n")
        self.assertEqual(self.objects("log", id), [{"id": id, "state": "done", "result": None, "result_base64": "/wAK"}])

    def test_longer_than_is_kept(self):
        self.hold()
        id = self.neoq("--", "bash", "-c", "read < go; head -c 3000000 /dev/zero | tr '\\0' x").stdout.strip()
        self.start("work", "--commands")
        follower = self.start("log", "-f", id)
        self.until(lambda: self.job(id)["state"] == "running", "it to run")
        self.let_go()
        self.assertEqual(self.ended(follower)[0], "x" * (1 << 20))

    def test_none(self):
        id = self.enqueue("q", "1", "--retain", "1h")
        self.assertIn("no output of job", self.neoq("log", id).stderr)
        self.work("q", "--", "echo", "hello")
        result = self.neoq("log", "-f", id)
        self.assertEqual(result.stdout, "")
        self.assertIn("--keep-output", result.stderr)
        self.neoq("log", UNKNOWN, status=3)
        self.neoq("log", status=2)

    def test_what_a_crashed_worker_left(self):
        folder = self.path(".local/state/neoq/output")
        os.makedirs(folder)
        self.write(".local/state/neoq/output/old.1", "old")
        self.write(".local/state/neoq/output/held.1", "held")
        with open(self.path(".local/state/neoq/output/held.1")) as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.neoq("work", "--commands", "--until-empty")
            self.assertEqual(os.listdir(folder), ["held.1"])

    def test_without_a_folder_for_it(self):
        """The output is kept all the same."""
        self.write(".local", "no folder")
        id = self.neoq("--", "echo", "hello").stdout.strip()
        self.assertIn("cannot be made", self.neoq("work", "--commands", "--until-empty").stderr)
        self.assertEqual(self.neoq("log", id).stdout, "hello\n")


if __name__ == "__main__":
    unittest.main()
