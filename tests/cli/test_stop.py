# SPDX-License-Identifier: MIT
"""neoq work: timeouts, signals, crashes, and what they leave behind."""

import json
import os
import subprocess
import time

from support import *

# Tells its number in a file, and does not mind SIGTERM.
STUBBORN = 'trap "" TERM; echo $$ > pid.tmp; mv pid.tmp pid; while :; do sleep 0.05; done\n'
# Has a child of its own, which tells its number.
PARENT = 'bash -c "echo \\$\\$ > grandchild.tmp; mv grandchild.tmp grandchild; sleep 60" & %s\n'


class Timeout(Case):
    def test_terminated(self):
        id = self.enqueue("q", "1")
        self.work("q", "--timeout", "200ms", "--", "bash", "-c", "echo begun >&2; exec sleep 60", status=1)
        job = self.job(id)
        self.assertEqual((job["state"], job["error"]), ("retrying", "timed out after 200ms: begun"))
        self.assertEqual(job["runs"][0]["signal"], signal.SIGTERM)

    def test_one_that_ends_well_when_told_to_is_not_done(self):
        id = self.enqueue("q", "1")
        self.work("q", "--timeout", "200ms", "--", "bash", "-c", "trap 'exit 0' TERM; sleep 60 & wait", status=1)
        self.assertIn("timed out", self.job(id)["error"])

    def test_killed(self):
        stubborn = self.script("stubborn", STUBBORN)
        id = self.enqueue("q", "1")
        began = time.monotonic()
        self.work("q", "--timeout", "300ms", "--kill-after", "300ms", "--", stubborn, status=1)
        self.assertLess(time.monotonic() - began, 5)
        job = self.job(id)
        self.assertEqual(job["error"], "timed out after 300ms, and by SIGKILL only")
        self.assertEqual(job["runs"][0]["signal"], signal.SIGKILL)
        self.assertFalse(alive(int(self.read("pid"))))

    def test_grandchildren_go_with_the_program(self):
        for name, end in (("timeout", "wait"), ("end", "until [ -e grandchild ]; do :; done; exit 0")):
            parent = self.script("parent-" + name, PARENT % end)
            self.enqueue("q", "1", "--no-unique", "--max-retries", "0")
            self.work("q", "--timeout", "500ms", "--", parent, status=None)
            pid = int(self.read("grandchild"))
            self.until(lambda: not alive(pid), "the grandchild's end")
            os.unlink(self.path("grandchild"))

    def test_a_daemon_that_holds_standard_error_does_not_hold_us(self):
        self.enqueue("q", "1")
        began = time.monotonic()
        result = self.work("q", "--", "bash", "-c", "setsid sleep 8 >/dev/null & exit 0")
        self.assertEqual(result.stdout, "1 done, 0 failed, 0 dead\n")
        self.assertLess(time.monotonic() - began, 5)

    def test_a_flood_on_standard_error(self):
        id = self.enqueue("q", "1")
        process = subprocess.run([NEOQ, "work", "q", "--until-empty", "--timeout", "300ms", "--", "yes"], cwd=self.folder,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env, timeout=20)
        self.assertEqual(process.returncode, 1)
        self.enqueue("q", "2")
        process = subprocess.run([NEOQ, "work", "q", "--until-empty", "--timeout", "300ms", "--", "sh", "-c", "yes >&2"],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env, timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertIn("timed out", self.job(id)["error"])

    def test_no_timeout(self):
        self.enqueue("q", "1")
        self.work("q", "--timeout", "0", "--", "sleep", "0.2")

    def test_cancelled(self):
        id = self.enqueue("q", "1")
        worker = self.start("work", "q", "--", "bash", "-c", "echo > begun; exec sleep 60")
        self.until_file("begun")
        self.neoq("cancel", id)
        self.until(lambda: self.job(id)["state"] == "dead", "the cancelled job's end")
        worker.send_signal(signal.SIGTERM)
        self.ended(worker)


class Signals(Case):
    def begin(self, command, *options):
        worker = self.start("work", "q=1", *options, "--", "bash", "-c", command)
        self.until_file("begun")
        return worker

    def test_the_first_lets_running_jobs_finish(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            first = self.enqueue("q", "1", "--retain", "1h", "--no-unique")
            second = self.enqueue("q", "2", "--no-unique", "--priority", "-1")
            worker = self.begin("echo > begun; until [ -e go ]; do sleep 0.01; done")
            worker.send_signal(number)
            line = worker.stderr.readline().decode()
            self.assertIn("stopping: 1 running job may finish", line)
            self.write("go", "")
            self.ended(worker)
            self.assertEqual(self.job(first)["state"], "done")
            self.assertIn(self.job(second)["state"], ("ready", "scheduled"))
            self.assertEqual(self.job(second)["retries"], 0)
            self.neoq("delete", second)
            os.unlink(self.path("go"))
            os.unlink(self.path("begun"))

    def test_the_second_hands_them_back(self):
        id = self.enqueue("q", "1")
        worker = self.begin("echo $$ > pid; echo > begun; exec sleep 60")
        worker.send_signal(signal.SIGINT)
        worker.stderr.readline()
        worker.send_signal(signal.SIGINT)
        self.ended(worker)
        job = self.job(id)
        self.assertEqual((job["state"], job["retries"], job["error"]), ("ready", 0, None))
        self.assertEqual(job["runs"][0]["outcome"], "released")
        self.assertFalse(alive(int(self.read("pid"))))
        self.assertEqual(self.work("q", "--", "true").stdout, "1 done, 0 failed, 0 dead\n")

    def test_the_second_kills_what_does_not_listen(self):
        id = self.enqueue("q", "1")
        worker = self.begin("echo > begun; " + STUBBORN, "--kill-after", "300ms")
        pid = int(self.until_file("pid"))
        worker.send_signal(signal.SIGTERM)
        worker.stderr.readline()
        worker.send_signal(signal.SIGTERM)
        self.ended(worker)
        self.assertFalse(alive(pid))
        self.assertEqual((self.job(id)["state"], self.job(id)["retries"]), ("ready", 0))

    def test_the_third_does_not_wait(self):
        self.enqueue("q", "1")
        worker = self.begin("echo > begun; " + STUBBORN, "--kill-after", "1h")
        pid = int(self.until_file("pid"))
        for words in (b"stopping: ", b"stopping at once", None):
            worker.send_signal(signal.SIGTERM)
            if words:
                self.assertIn(words, worker.stderr.readline())
        self.ended(worker)
        self.assertFalse(alive(pid))

    def test_idle(self):
        worker = self.start("work", "q", "--", "true")
        self.until(lambda: self.objects("workers"), "a worker")
        worker.send_signal(signal.SIGINT)
        self.assertEqual(self.ended(worker), ("", ""))
        self.assertEqual(self.objects("workers"), [])

    def test_until_empty_stopped_is_no_success(self):
        self.enqueue("q", "1")
        self.enqueue("q", "2")
        worker = self.begin("echo > begun; until [ -e go ]; do sleep 0.01; done", "--until-empty")
        worker.send_signal(signal.SIGINT)
        worker.stderr.readline()
        self.write("go", "")
        self.assertEqual(self.ended(worker, 1)[0], "1 done, 0 failed, 0 dead\n")

    def test_a_reader_that_leaves(self):
        self.write("lines", "".join(f"{n}\n" for n in range(2000)))
        self.neoq("enqueue", "q", "--lines", self.path("lines"))
        process = subprocess.run(["bash", "-c", '"$0" jobs --limit 2000 | head -1; exit ${PIPESTATUS[0]}', NEOQ],
                                 env=self.env, capture_output=True)
        self.assertEqual((process.returncode, process.stderr), (0, b""))

    def test_a_full_disk_is_told(self):
        self.enqueue("q", "1")
        with open("/dev/full", "w") as full:
            process = subprocess.run([NEOQ, "jobs"], env=self.env, stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"No space left", process.stderr)


class Crash(Case):
    def test_a_worker_that_is_killed_takes_its_programs_along(self):
        stubborn = self.script("stubborn", STUBBORN)
        self.enqueue("q", "1")
        worker = self.start("work", "q", "--", stubborn)
        self.until_file("pid")
        worker.kill()
        worker.wait()
        self.until(lambda: not alive(int(self.read("pid"))), "the program to be gone")

    def test_a_killed_worker_loses_nothing(self):
        self.write("lines", "".join(f"{n}\n" for n in range(20)))
        self.neoq("enqueue", "q", "--lines", self.path("lines"))
        worker = self.start("work", "q=2", "--lease", "1s", "--", "bash", "-c", "echo > begun; exec sleep 0.5")
        self.until_file("begun")
        worker.kill()
        worker.wait()
        result = self.work("q=4", "--", "bash", "-c", 'echo $NEOQ_PAYLOAD >> out')
        self.assertRegex(result.stdout, r"\d+ done, 0 failed, 0 dead\n")
        self.assertEqual(self.queue("q")["ready"] + self.queue("q")["running"] + self.queue("q")["retrying"], 0)
        self.assertGreaterEqual(len(set(self.read("out").split())), 18)

    def test_until_empty_waits_for_what_another_worker_runs(self):
        self.enqueue("q", "1")
        other = self.start("work", "q", "--", "bash", "-c", "echo > begun; until [ -e go ]; do sleep 0.01; done")
        self.until_file("begun")
        worker = self.start("work", "q", "--until-empty", "--", "true")
        self.assertIn(b"waiting for 1 job that another worker holds", worker.stderr.readline())
        self.assertIsNone(worker.poll())
        self.write("go", "")
        self.assertEqual(self.ended(worker)[0], "0 done, 0 failed, 0 dead\n")
        other.send_signal(signal.SIGTERM)
        self.ended(other)

    def test_no_zombies(self):
        for n in range(20):
            self.enqueue("q", str(n))
        worker = self.start("work", "q=4", "--", "bash", "-c", "(setsid true &) ; true & (sleep 0.01 &) ; exit 0")
        self.until(lambda: self.queue("q")["processed"] == 20, "20 runs")
        self.until(lambda: not zombies_of(worker.pid), "no zombies")
        worker.send_signal(signal.SIGTERM)
        self.ended(worker)

    def test_descriptors_and_memory_stay(self):
        self.write("lines", "".join(f"{n}\n" for n in range(300)))
        worker = self.start("work", "q=4", "--", "true")
        self.neoq("enqueue", "q", "--lines", self.path("lines"))
        self.until(lambda: (self.queue("q") or {"processed": 0})["processed"] >= 300, "the first runs")
        before = len(os.listdir(f"/proc/{worker.pid}/fd"))
        self.neoq("enqueue", "q", "--lines", self.path("lines"))
        self.until(lambda: self.queue("q")["processed"] >= 600, "more runs")
        self.until(lambda: len(os.listdir(f"/proc/{worker.pid}/fd")) <= before, "no more descriptors than before")
        worker.send_signal(signal.SIGTERM)
        self.ended(worker)


if __name__ == "__main__":
    unittest.main()
