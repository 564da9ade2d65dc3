# SPDX-License-Identifier: MIT
"""neoq work as a service: what it tells systemd, and its log for machines."""

import json
import os
import re
import shutil
import socket
import subprocess
import time

from support import *


class Told(Case):
    def listen(self, name):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.settimeout(PATIENCE)
        self.addCleanup(listener.close)
        return listener

    def until_told(self, listener, pattern):
        """Reads until a message matches; returns that one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = listener.recv(4096).decode()
            if re.search(pattern, message):
                return message
        self.fail(f"not told within {PATIENCE} s: {pattern}")


class Service(Told):
    def whole_life(self, name, listener):
        worker = self.start("work", "q=2", "--", "sh", "-c",
                            'env > env; [ "$NEOQ_PAYLOAD" = 2 ] && exit 65; while [ ! -e go ]; do sleep 0.02; done',
                            env={"NOTIFY_SOCKET": name})
        self.assertEqual(listener.recv(4096).decode(), "READY=1\nSTATUS=0 running; 0 done, 0 failed, 0 dead")
        self.enqueue("q", "1")
        self.until_told(listener, "^STATUS=1 running; 0 done")
        self.enqueue("q", "2")
        self.until_told(listener, "^STATUS=1 running; 0 done, 0 failed, 1 dead$")
        worker.send_signal(signal.SIGTERM)
        self.until_told(listener, "^STOPPING=1\nSTATUS=stopping: 1 running; ")
        self.write("go", "")
        self.ended(worker)
        self.assertNotRegex(self.read("env").decode(), "NOTIFY_SOCKET|WATCHDOG")

    def test_a_path(self):
        name = self.path("notify")
        self.whole_life(name, self.listen(name))

    def test_the_abstract_namespace(self):
        name = f"@neoq-test-{os.getpid()}"
        self.whole_life(name, self.listen(name))

    def test_until_empty(self):
        listener = self.listen(self.path("notify"))
        self.enqueue("q", "1")
        self.work("q", "--", "true", env={"NOTIFY_SOCKET": self.path("notify")})
        self.until_told(listener, "^READY=1\n")
        self.until_told(listener, "^STOPPING=1\n")

    def test_nobody_there(self):
        for name, words in (("relative", "neither a path nor @NAME"), ("/" + "x" * 200, "neither a path"), ("@", "neither")):
            self.assertIn(words, self.work("q", "--", "true", env={"NOTIFY_SOCKET": name}).stderr)
        result = self.work("q", "--", "true", "-v", env={"NOTIFY_SOCKET": self.path("nosuch")})
        self.assertEqual(result.stdout, "0 done, 0 failed, 0 dead\n")

    def test_a_store_that_cannot_be_opened_is_not_ready(self):
        listener = self.listen(self.path("notify"))
        self.neoq("--url", "sqlite:/no/where/jobs.db", "work", "q", "--", "true", status=4,
                  env={"NOTIFY_SOCKET": self.path("notify")})
        listener.setblocking(False)
        self.assertRaises(BlockingIOError, listener.recv, 4096)


class Watchdog(Told):
    def worker(self, **env):
        self.listener = self.listen(self.path("notify"))
        return self.start("work", "q", "--lease", "600ms", "--", "sleep", "0",
                          env={"NOTIFY_SOCKET": self.path("notify"), "WATCHDOG_USEC": "600000", **env})

    def test_of_another_process(self):
        worker = self.worker(WATCHDOG_PID="1")
        self.until_told(self.listener, "READY=1")
        worker.send_signal(signal.SIGTERM)
        self.assertNotEqual(self.listener.recv(4096), b"WATCHDOG=1")
        self.ended(worker)

    def test_withheld_while_the_disk_does_not_answer(self):
        """A worker whose lease cannot be renewed because the kernel does not come back, while its threads sit there."""
        here = os.path.dirname(os.path.abspath(__file__))
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        subprocess.run([compiler, "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", self.path("stuck.so"),
                        os.path.join(here, "stuck.c")], check=True)
        worker = self.worker(LD_PRELOAD=self.path("stuck.so"), STUCK=self.path("stuck"))
        for _ in range(3):
            self.until_told(self.listener, "^WATCHDOG=1$")
        self.write("stuck", "")
        self.listener.settimeout(2)  # several of what would be told meanwhile
        deadline = time.monotonic() + PATIENCE
        with self.assertRaises(TimeoutError, msg="it goes on telling that all is well"):
            while time.monotonic() < deadline:
                self.listener.recv(4096)
        os.unlink(self.path("stuck"))
        self.listener.settimeout(PATIENCE)
        self.until_told(self.listener, "^WATCHDOG=1$")
        worker.send_signal(signal.SIGTERM)
        self.ended(worker)

    def test_long_programs_do_not_hold_it_up(self):
        self.write("work", "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.02; done\n", 0o755)
        self.listener = self.listen(self.path("notify"))
        worker = self.start("work", "q=1", "--", "./work",
                            env={"NOTIFY_SOCKET": self.path("notify"), "WATCHDOG_USEC": "100000"})
        self.enqueue("q", "1")
        self.until_told(self.listener, "1 running")
        for _ in range(5):
            self.until_told(self.listener, "^WATCHDOG=1$")
        self.write("go", "")
        worker.send_signal(signal.SIGTERM)
        self.ended(worker)


LOGFMT = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?: |$)')


class Log(Case):
    def logged(self, format, *args, **how):
        lines = self.work("-v", "--log-format", format, *args, **how).stderr.splitlines()
        if format == "json":
            return [json.loads(line) for line in lines]
        found = []
        for line in lines:
            self.assertEqual("".join(match.group(0) for match in LOGFMT.finditer(line)), line)
            pairs = {key: json.loads(value) if value.startswith('"') else value for key, value in LOGFMT.findall(line)}
            found.append(pairs)
        return found

    def test_runs(self):
        for format in ("logfmt", "json"):
            bad = self.enqueue("q", '"bad"', "--max-retries", "0", "--no-unique")
            program = self.script("program", r"""echo 'two words, "quoted" = \ back' >&2; printf 'and\tno end' >&2; exit 3""")
            lines = self.logged(format, "q", "--", program, status=1)
            for line in lines:
                self.assertRegex(line["time"], INSTANT)
                self.assertEqual(list(line)[:3], ["time", "level", "msg"])
            first, second, ended = [line for line in lines if line.get("job") == bad]
            self.assertEqual((first["msg"], first["stream"], first["queue"]), ('two words, "quoted" = \\ back', "stderr", "q"))
            self.assertEqual(second["msg"], "and\tno end")
            self.assertEqual([ended[k] for k in ("level", "msg", "outcome", "state", "queue")],
                             ["warn", "run ended", "failed", "dead", "q"])
            self.assertIn('exit status 3: two words, "quoted"', ended["error"])
            self.assertGreaterEqual(float(ended["seconds"]), 0)

    def test_what_is_no_text(self):
        self.enqueue("q", "1", "--max-retries", "0")
        lines = self.logged("logfmt", "q", "--", "sh", "-c", r"printf 'a\377\033\0b\n' >&2; head -c 5000 /dev/zero | tr '\0' x >&2")
        words = [line["msg"] for line in lines if line.get("stream")]
        self.assertEqual(words[0], "a\ufffd\x1b b")
        self.assertEqual("".join(words[1:]), "x" * 5000)

    def test_complaints_and_notes(self):
        self.enqueue("q", "1", "--in", "1h")
        for format in ("logfmt", "json"):
            note = self.logged(format, "q", "--", "true")[-1]
            self.assertEqual(note["level"], "info")
            self.assertRegex(note["msg"], "^1 job is left for later")
            lines = self.logged(format, "q", "--", "true", env={"NEOQ_URL": "sqlite:/no/where/x.db"}, status=4)
            self.assertEqual([line["level"] for line in lines], ["error"])
            self.assertIn("the store cannot be opened", lines[0]["msg"])

    def test_a_line_is_one_write(self):
        for n in range(5):
            self.enqueue("q", str(n))
        listener, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.settimeout(PATIENCE)
        with listener:
            process = subprocess.Popen([NEOQ, "-v", "work", "--until-empty", "q=2", "--log-format", "json", "--", "true"],
                                       env=self.env, stdout=subprocess.PIPE, stderr=ours)
            self.started.append(process)
            ours.close()
            count = 0
            while packet := listener.recv(65536):  # one write each
                json.loads(packet)
                self.assertEqual(packet.count(b"\n"), 1)
                count += b"run ended" in packet
            self.assertEqual(count, 5)

    def test_format(self):
        self.assertIn("did you mean logfmt", self.neoq("work", "q", "--log-format", "logfmy", "--", "true", status=2).stderr)
        self.enqueue("q", "1")
        self.assertRegex(self.work("-v", "q", "--", "true").stderr, "^neoq: q ")


if __name__ == "__main__":
    unittest.main()
