# SPDX-License-Identifier: MIT
"""neoq jobs, job, queues, workers, and the steering commands."""

import os
import pty
import re
import subprocess

from support import *


class Jobs(Case):
    def test_json(self):
        id = self.enqueue("q", '{"a": 1}', "--in", "1h")
        (job,) = self.jobs()
        self.assertEqual(set(job), JOB_KEYS)
        self.assertEqual((job["id"], job["queue"], job["state"], job["payload"]), (id, "q", "scheduled", {"a": 1}))
        for key in ("created_at", "run_after"):
            self.assertRegex(job[key], INSTANT)
        for key in ("deadline", "ran_at", "finished_at", "error", "result", "metadata"):
            self.assertIsNone(job[key], key)

    def test_filters(self):
        a, b = self.enqueue("a", "1"), self.enqueue("b", "1", "--in", "1h")
        self.assertEqual([j["id"] for j in self.jobs("--queue", "a")], [a])
        self.assertEqual([j["id"] for j in self.jobs("--state", "scheduled")], [b])
        self.assertEqual(self.jobs("--state", "dead"), [])
        self.assertEqual(len(self.jobs("--limit", "1")), 1)
        result = self.neoq("jobs", "--queue", "nowhere")
        self.assertEqual(result.stdout, "")
        self.assertIn("no queue nowhere", result.stderr)

    def test_pages(self):
        self.write("lines", "".join(f"{n}\n" for n in range(1001)))
        self.neoq("enqueue", "q", "--lines", self.path("lines"))
        self.assertEqual(len(self.jobs()), 100)
        self.assertEqual([j["payload"] for j in self.jobs("--limit", "750")], list(range(750)))
        self.assertEqual(len(self.neoq("jobs", "-n", "5000").stdout.splitlines()), 1002)

    def test_table(self):
        id = self.enqueue("mail", '{"to": "ann"}')
        title, row = self.neoq("jobs").stdout.splitlines()
        self.assertEqual(title.split(), ["ID", "QUEUE", "STATE", "RETRIES", "MADE", "DUE", "PAYLOAD"])
        self.assertRegex(row, rf'^{id}  mail +ready +0/23 +\S+ ago +- +{{"to": "ann"}}$')

    def test_table_fits_the_terminal_and_cannot_steer_it(self):
        self.enqueue("q", input='"' + "wide \u6f22\u5b57 " * 50 + '"')
        self.enqueue("q", input=b"\x1b[31mred\x07\n\x9b1m")
        self.enqueue("q", input=b"\x1b]0;title\x07")
        out = self.on_terminal("jobs", columns=100)
        plain = re.sub(rb"\x1b\[\d*m", b"", out)
        self.assertNotIn(b"\x1b]", out)
        self.assertNotIn(b"\x07", out)
        for line in plain.decode().splitlines():
            wide = sum(2 if "\u2e80" <= c <= "\uffdc" else 1 for c in line)
            self.assertLessEqual(wide, 100, line)
        self.assertIn("\u2026", plain.decode())
        self.assertNotIn(b"\x1b", self.on_terminal("jobs", columns=100, env={"NO_COLOR": "1"}))

    def on_terminal(self, *args, columns, env={}):
        import fcntl, struct, termios

        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([NEOQ, *args], stdout=slave, stderr=subprocess.PIPE,
                                   env={**self.env, "TERM": "xterm", **env})
        self.started.append(process)
        os.close(slave)
        out = read_all(master)
        process.wait()
        return out.replace(b"\r\n", b"\n")


class Job(Case):
    def test_json(self):
        id = self.enqueue("q", '"p"', "--retry-waits", "1ms", "--retain", "1h")
        self.work("q", "--keep-output", "--", "bash", "-c", 'echo out; [ $NEOQ_RETRIES = 1 ] || { echo bad >&2; exit 4; }',
                  status=1)
        job = self.job(id)
        self.assertLessEqual(JOB_KEYS, set(job))
        self.assertEqual((job["state"], job["retries"], job["result"]), ("done", 1, "out\n"))
        self.assertEqual([run["outcome"] for run in job["runs"]], ["done", "failed"])
        self.assertEqual([run["error"] for run in job["runs"]], [None, "exit status 4: bad"])
        self.assertEqual(job["runs"][1]["exit_code"], 4)
        for run in job["runs"]:
            self.assertRegex(run["started_at"], INSTANT)
            self.assertRegex(run["finished_at"], INSTANT)

    def test_text(self):
        id = self.enqueue("q", '{"to": "ann"}', "--max-retries", "0", "--meta", '{"t": 1}')
        self.work("q", "--", "bash", "-c", "echo bad words >&2; exit 4", status=1)
        out = self.neoq("job", id).stdout
        for words in (id, "dead", '{"to": "ann"}', '{"t": 1}', "exit status 4: bad words", "0 of 0", "failed"):
            self.assertIn(words, out)

    def test_unknown(self):
        result = self.neoq("job", "00000000-0000-7000-8000-000000000000", status=3)
        self.assertEqual(result.stdout, "")
        self.assertIn("00000000-0000-7000-8000-000000000000", result.stderr)

    def test_odd_payloads(self):
        for payload in (b"[1, 2", b'"\\u0000"', b"nul", b"\xff", b"", b"1e999", b"[" * 5000):
            job = self.job(self.enqueue("q", input=payload))
            if "payload" in job:
                self.assertEqual(payload, b'"\\u0000"')
            else:
                self.assertEqual(payload_of(job), payload)


class Queues(Case):
    def test_json(self):
        self.enqueue("a", "1")
        self.enqueue("a", "2", "--in", "1h")
        self.enqueue("b", "1", "--max-retries", "0")
        self.work("b", "--", "false", status=1)
        queues = {queue["name"]: queue for queue in self.objects("queues")}
        self.assertEqual(set(queues), {"a", "b"})
        self.assertEqual(set(queues["a"]), QUEUE_KEYS)
        self.assertEqual((queues["a"]["ready"], queues["a"]["scheduled"], queues["a"]["paused"]), (1, 1, False))
        self.assertGreater(queues["a"]["latency_seconds"], 0)
        self.assertEqual((queues["b"]["dead"], queues["b"]["processed"], queues["b"]["failed"]), (1, 1, 1))

    def test_table(self):
        self.enqueue("a", "1")
        self.neoq("pause", "a")
        title, row = self.neoq("queues").stdout.splitlines()
        self.assertEqual(title.split()[:4], ["QUEUE", "SCHEDULED", "READY", "RUNNING"])
        self.assertRegex(row, r"^a +0 +1 +0 .*paused$")

    def test_workers(self):
        self.assertEqual(self.objects("workers"), [])
        worker = self.start("work", "q=3", "--", "true")
        (info,) = self.until(lambda: self.objects("workers"), "a worker")
        self.assertEqual((info["pid"], info["running"]), (worker.pid, 0))
        self.assertEqual(set(info), set("id host pid started_at seen_at running capacity".split()))
        self.assertIn(str(worker.pid), self.neoq("workers").stdout)


class Steer(Case):
    def test_retry_cancel_delete(self):
        id = self.enqueue("q", "1", "--in", "1h")
        self.assertEqual(self.neoq("retry", id).stdout, "1 retried\n")
        self.assertEqual(self.job(id)["state"], "ready")
        self.assertEqual(self.neoq("cancel", id).stdout, "1 cancelled\n")
        self.assertEqual(self.job(id)["state"], "dead")
        self.assertEqual(self.neoq("delete", id).stdout, "1 deleted\n")
        self.neoq("job", id, status=3)

    def test_unknown_among_known(self):
        id = self.enqueue("q", "1")
        result = self.neoq("delete", "00000000-0000-7000-8000-000000000000", id, status=3)
        self.assertEqual(result.stdout, "1 deleted\n")

    def test_wrong_state(self):
        id = self.enqueue("q", "1")
        self.assertEqual(self.neoq("retry", id, status=5).stdout, "0 retried\n")

    def test_all_that_match(self):
        self.write("lines", "".join(f"{n}\n" for n in range(1200)))
        self.neoq("enqueue", "q", "--lines", self.path("lines"), "--in", "1h")
        self.enqueue("other", "1", "--in", "1h")
        self.assertEqual(self.neoq("retry", "--state", "scheduled", "--queue", "q").stdout, "1200 retried\n")
        self.assertEqual(self.objects("cancel", "--queue", "q"), [{"cancelled": 1200}])
        self.assertEqual(self.neoq("delete", "--state", "dead").stdout, "1200 deleted\n")
        self.assertEqual([job["queue"] for job in self.jobs()], ["other"])
        self.neoq("delete", "--state", "dead", "someid", status=2)
        self.neoq("delete", status=2)

    def test_dry_run(self):
        waiting, dead = self.enqueue("q", "1", "--in", "1h"), self.enqueue("q", "2")
        self.neoq("cancel", dead)
        before = self.jobs()
        for verb, past, count in (("retry", "retried", 2), ("cancel", "cancelled", 1), ("delete", "deleted", 2)):
            self.assertEqual(self.neoq(verb, "--queue", "q", "--dry-run").stdout, f"{count} would be {past}\n")
            self.assertEqual(self.objects(verb, "--queue", "q", "--dry-run"), [{past: count, "dry_run": True}])
            self.assertEqual(self.neoq(verb, "--dry-run", waiting).stdout, f"1 would be {past}\n")
        result = self.neoq("cancel", "--dry-run", dead, waiting, status=5)
        self.assertEqual(result.stdout, "1 would be cancelled\n")
        self.assertIn(f"{dead} would not be cancelled: it is dead", result.stderr)
        self.neoq("cancel", "--dry-run", "00000000-0000-7000-8000-000000000000", status=3)
        self.assertEqual(self.jobs(), before)

    def test_running_ones_stay(self):
        self.hold()
        running = self.enqueue("q", "1")
        self.enqueue("q", "2", "--in", "1h")
        self.start("work", "q=1", "--", "cat", "go")
        self.until(lambda: self.job(running)["state"] == "running", "it to run")
        self.assertEqual(self.neoq("delete", "--queue", "q", "--dry-run").stdout, "1 would be deleted\n")
        self.assertEqual(self.neoq("retry", "--queue", "q").stdout, "1 retried\n")
        self.assertEqual([job["id"] for job in self.jobs("--state", "running")], [running])

    def test_states_and_queues_that_make_no_sense(self):
        self.enqueue("q", "1")
        for verb, state in (("retry", "ready"), ("retry", "done"), ("retry", "running"), ("cancel", "dead"),
                            ("cancel", "done"), ("delete", "running")):
            self.assertIn(f"jobs that are {state} cannot be", self.neoq(verb, "--state", state, status=2).stderr)
        for verb in ("retry", "cancel", "delete"):
            result = self.neoq(verb, "--queue", "nowhere", status=3)
            self.assertEqual(result.stdout[:2], "0 ")
            self.assertIn("no queue nowhere", result.stderr)
        for words in (("pause", "nowhere"), ("resume", "nowhere"), ("purge", "nowhere")):
            self.assertIn("nowhere", self.neoq(*words, status=3).stderr)
        self.assertEqual(len(self.jobs()), 1)

    def test_pause_and_resume(self):
        self.enqueue("q", "1")
        self.assertEqual(self.neoq("pause", "q").stdout, "1 paused\n")
        self.assertTrue(self.queue("q")["paused"])
        self.neoq("resume", "q")
        self.assertFalse(self.queue("q")["paused"])

    def test_purge(self):
        self.enqueue("q", "1")
        self.enqueue("q", "2", "--in", "1h")
        self.assertEqual(self.neoq("purge", "q", "--state", "scheduled").stdout, "1 purged\n")
        self.assertEqual(self.neoq("purge", "q").stdout, "1 purged\n")
        self.assertEqual(self.jobs(), [])


if __name__ == "__main__":
    unittest.main()
