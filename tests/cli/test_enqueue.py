# SPDX-License-Identifier: MIT
"""neoq enqueue, and enqueue --lines."""

import json
import os
import re
import stat
import subprocess
import time

from support import *

MOST = 1 << 20


class Enqueue(Case):
    def test_prints_the_id(self):
        id = self.enqueue("mail", '{"to": "ann"}')
        self.assertRegex(id, r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")
        job = self.job(id)
        self.assertEqual((job["queue"], job["state"], job["payload"]), ("mail", "ready", {"to": "ann"}))

    def test_json(self):
        (answer,) = self.objects("enqueue", "mail", "1")
        self.assertEqual(answer["queue"], "mail")
        self.assertEqual(self.job(answer["id"])["payload"], 1)

    def test_options_anywhere(self):
        self.neoq("enqueue", "q", "--json", "1", "--url", self.url)
        self.neoq("--url", self.url, "enqueue", "--no-unique", "q", "1")

    def test_payload_from_standard_input(self):
        for args in (("q", "-"), ("q",)):
            bytes = b'\x00\xff "%s"\n' % args[-1].encode()
            job = self.job(self.enqueue(*args, input=bytes))
            self.assertNotIn("payload", job)
            self.assertEqual(payload_of(job), bytes)

    def test_payload_missing_on_a_terminal(self):
        master, slave = os.openpty()
        result = subprocess.run([NEOQ, "enqueue", "q"], stdin=slave, env=self.env, capture_output=True)
        os.close(master)
        os.close(slave)
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"payload is missing", result.stderr)

    def test_all_options(self):
        id = self.enqueue(
            "q", "[]", "--in", "1h30m", "--deadline", "2099-01-02T03:04:05.678901+01:00", "--max-retries", "7",
            "--priority", "-3", "--fingerprint", "mine", "--retain", "1d", "--meta", '{"trace": "x"}',
        )
        job = self.job(id)
        self.assertEqual(job["state"], "scheduled")
        self.assertEqual(job["deadline"], "2099-01-02T02:04:05.678901Z")
        self.assertEqual(job["max_retries"], 7)
        self.assertEqual(job["priority"], -3)
        self.assertEqual(job["fingerprint"], "mine")
        self.assertEqual(job["metadata"], {"trace": "x"})
        wait = time.mktime(time.strptime(job["run_after"][:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.gmtime())
        self.assertAlmostEqual(wait, 5400, delta=30)

    def test_at(self):
        job = self.job(self.enqueue("q", "1", "--at", "2099-12-31T23:59:59Z"))
        self.assertEqual((job["state"], job["run_after"]), ("scheduled", "2099-12-31T23:59:59.000000Z"))
        self.assertEqual(self.job(self.enqueue("q", "2", "--at", "+1h"))["state"], "scheduled")

    def test_retries(self):
        self.assertEqual(self.job(self.enqueue("q", "1"))["max_retries"], 23)
        self.assertEqual(self.job(self.enqueue("q", "2", "--max-retries", "0"))["max_retries"], 0)
        self.assertEqual(self.job(self.enqueue("q", "3", "--retry-waits", "1m,10m,30m"))["max_retries"], 3)

    def test_duplicate(self):
        first = self.enqueue("q", '{"a":1,"b":2}')
        again = self.neoq("enqueue", "q", '{"a":1,"b":2}', status=5)
        self.assertIn(first, again.stderr)
        self.assertEqual(again.stdout, "")
        self.neoq("enqueue", "other", '{"a":1,"b":2}')
        self.neoq("enqueue", "q", '{"a":1,"b":2}', "--no-unique")
        self.neoq("enqueue", "q", "x", "--fingerprint", "f")
        self.neoq("enqueue", "q", "y", "--fingerprint", "f", status=5)

    def test_payload_limit(self):
        self.enqueue("q", input=b"x" * MOST)
        self.assertIn("1048576", self.neoq("enqueue", "q", input=b"x" * (MOST + 1), status=5).stderr)

    def test_numbers_and_keys_come_through_exactly(self):
        text = '{"z": 123456789012345678901234567890, "a": 0.10000000000000000001, "e": 1e-5}'
        id = self.enqueue("q", text)
        self.assertIn(f'"payload": {text}', self.neoq("--json", "job", id).stdout)

    def test_line_ends_in_json_do_not_break_the_line(self):
        text = '{\n\t"a": [1,\r\n 2]\n}\n'
        id = self.enqueue("q", input=text)
        (line,) = self.neoq("--json", "job", id).stdout.splitlines()
        self.assertEqual(json.loads(line)["payload"], {"a": [1, 2]})

    def test_default_store(self):
        for state, file in (("", ".local/state/neoq/jobs.db"), (self.path("state"), "state/neoq/jobs.db")):
            old = os.umask(0o022)
            try:
                self.neoq("enqueue", "q", "1", env={"NEOQ_URL": "", "XDG_STATE_HOME": state})
            finally:
                os.umask(old)
            path = self.path(file)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)

    def test_default_store_in_an_odd_folder(self):
        odd = self.path("odd %20 name#1")
        self.neoq("enqueue", "q", "1", env={"NEOQ_URL": "", "XDG_STATE_HOME": odd})
        self.assertTrue(os.path.exists(os.path.join(odd, "neoq/jobs.db")))


class Lines(Case):
    def enqueue_lines(self, content, status=0, name="lines"):
        self.write(name, content)
        return self.neoq("enqueue", "q", "--lines", self.path(name), status=status)

    def payloads(self, limit="100000"):
        return [job["payload"] if "payload" in job else payload_of(job) for job in self.jobs("--limit", limit)]

    def test_lines(self):
        self.assertEqual(self.enqueue_lines("1\n2\n3\n").stdout, "3 enqueued, 0 duplicate\n")
        self.assertEqual(sorted(self.payloads()), [1, 2, 3])

    def test_no_final_line_end_crlf_and_empty_lines(self):
        result = self.enqueue_lines("1\r\n\r\n\n2\n\n3\r\n4")
        self.assertEqual(result.stdout, "4 enqueued, 0 duplicate\n")
        self.assertEqual(sorted(self.payloads()), [1, 2, 3, 4])

    def test_empty_file(self):
        self.assertEqual(self.enqueue_lines("").stdout, "0 enqueued, 0 duplicate\n")

    def test_bytes(self):
        self.enqueue_lines(b"\x00a\xff\n b \n")
        self.assertEqual(sorted(self.payloads()), [b"\x00a\xff", b" b "])

    def test_duplicates_are_counted(self):
        self.enqueue("q", "5")
        self.assertEqual(self.enqueue_lines("5\n6\n6\n7\n").stdout, "2 enqueued, 2 duplicate\n")

    def test_many(self):
        lines = "".join('{"n": %d}\n' % n for n in range(12345))
        self.assertEqual(self.enqueue_lines(lines).stdout, "12345 enqueued, 0 duplicate\n")
        self.assertEqual(self.queue("q")["ready"], 12345)
        self.assertEqual(sorted(p["n"] for p in self.payloads()), list(range(12345)))

    def test_json(self):
        self.write("lines", "1\n1\n")
        (totals,) = self.objects("enqueue", "q", "--lines", self.path("lines"))
        self.assertEqual(totals, {"enqueued": 1, "duplicate": 1, "refused": 0})

    def test_standard_input(self):
        result = self.neoq("enqueue", "q", "--lines", "-", input="a\nb\n")
        self.assertEqual(result.stdout, "2 enqueued, 0 duplicate\n")

    def test_a_slow_writer_is_not_waited_for(self):
        process = subprocess.Popen([NEOQ, "enqueue", "q", "--lines", "-"], stdin=subprocess.PIPE, env=self.env,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.started.append(process)
        process.stdin.write(b"1\n2\nhalf")
        process.stdin.flush()
        self.until(lambda: (self.queue("q") or {"ready": 0})["ready"] == 2, "two jobs while the writer pauses")
        process.stdin.write(b" a line")
        out, _ = process.communicate(timeout=20)
        self.assertEqual(out, b"3 enqueued, 0 duplicate\n")
        self.assertIn(b"half a line", self.payloads())

    def test_longest_lines(self):
        lines = b"a" * MOST + b"\n" + b"b" * MOST + b"\r\n" + b"c" * MOST
        self.assertEqual(self.enqueue_lines(lines).stdout, "3 enqueued, 0 duplicate\n")
        self.assertEqual(sorted(self.payloads()), [b"a" * MOST, b"b" * MOST, b"c" * MOST])

    def test_a_line_too_long(self):
        for lines in (b"1\n2\n" + b"x" * (MOST + 1) + b"\n4\n", b"1\n2\n" + b"x" * MOST + b"y"):
            result = self.enqueue_lines(lines, status=5)
            self.assertRegex(result.stdout, r"^(2 enqueued, 0|0 enqueued, 2) duplicate\n$")
            self.assertIn("line 3", result.stderr)
            self.assertIn("1048576", result.stderr)
        self.assertEqual(sorted(self.payloads()), [1, 2])

    def test_a_line_of_100_megabytes(self):
        path = self.path("lines")
        with open(path, "wb") as file:
            file.write(b"1\n2\n")
            for _ in range(100):
                file.write(b"x" * 1000000)
            file.write(b"\n4\n")
        meter = "import resource, subprocess, sys\nr = subprocess.run(sys.argv[1:]).returncode\n" \
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(r)"
        result = subprocess.run(["python3", "-c", meter, NEOQ, "enqueue", "q", "--lines", path], env=self.env,
                                capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 5, result.stderr)
        totals, kilobytes = result.stdout.decode().splitlines()
        self.assertEqual(totals, "2 enqueued, 0 duplicate")
        self.assertIn(b"line 3", result.stderr)
        if "asan" not in os.environ.get("NEOQ_SANITIZE", ""):
            self.assertLess(int(kilobytes), 64 * 1024)

    def test_options_go_with_every_line(self):
        self.write("lines", "1\n2\n")
        self.neoq("enqueue", "q", "--lines", self.path("lines"), "--priority", "4", "--in", "1h")
        self.assertEqual([(j["priority"], j["state"]) for j in self.jobs()], [(4, "scheduled")] * 2)

    def test_usage(self):
        self.assertIn("cannot be opened", self.neoq("enqueue", "q", "--lines", "nowhere", status=2).stderr)
        self.assertIn("folder", self.neoq("enqueue", "q", "--lines", self.folder, status=2).stderr)
        self.neoq("enqueue", "q", "payload", "--lines", "-", status=2)
        self.neoq("enqueue", "q", "--fingerprint", "f", "--lines", "-", status=2)
        self.assertFalse(os.path.exists(self.path("jobs.db")))

    def test_progress_on_a_terminal_only(self):
        self.write("lines", "".join(f"{n}\n" for n in range(5000)))
        self.assertEqual(self.neoq("enqueue", "q", "--lines", self.path("lines")).stderr, "")
        master, slave = os.openpty()
        process = subprocess.Popen([NEOQ, "enqueue", "p", "--lines", self.path("lines")], stderr=slave,
                                   stdout=subprocess.PIPE, env={**self.env, "TERM": "xterm"})
        self.started.append(process)
        os.close(slave)
        self.assertEqual(process.communicate(timeout=20)[0], b"5000 enqueued, 0 duplicate\n")
        drawn = read_all(master)
        self.assertTrue(re.search(rb"\] +\d+%", drawn), drawn)
        self.assertTrue(drawn.endswith(b"\r\x1b[K"), drawn)


if __name__ == "__main__":
    unittest.main()
