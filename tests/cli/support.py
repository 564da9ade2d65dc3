# SPDX-License-Identifier: MIT
"""What the tests of the command share. $NEOQ names the binary; each test has a folder and a store of its own."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

NEOQ = os.environ.get("NEOQ", "neoq")
PATIENCE = 20  # seconds: how long a condition is waited for

JOB_KEYS = set(
    "id queue state payload fingerprint priority retries max_retries run_after deadline created_at ran_at "
    "finished_at error result metadata".split()
)
QUEUE_KEYS = set("name paused scheduled ready running retrying done dead processed failed latency_seconds".split())
INSTANT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


class Case(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="neoq-cli-")
        self.url = "sqlite:" + self.path("jobs.db")
        self.started, self.holds = [], []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("NEOQ", "XDG_"))}
        self.env.update(HOME=self.folder, NEOQ_URL=self.url, LC_ALL="C.UTF-8")

    def tearDown(self):
        for name in self.holds:
            self.end_reading(name)
            os.unlink(self.path(name))  # and nobody will read it any more
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for folder, _, _ in os.walk(self.folder):
            os.chmod(folder, 0o700)
        shutil.rmtree(self.folder)

    # ---- running ----------------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content, mode=0o644):
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(path, mode)
        return path

    def script(self, name, text):
        """A program for jobs; bash, because it is there and can do all that is needed."""
        return self.write(name, "#!/bin/bash\n" + text, 0o755)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def neoq(self, *args, status=0, input=b"", env=None, text=True, timeout=60, cwd=""):
        """Runs the command to its end, which must have the given exit status."""
        result = subprocess.run(
            [NEOQ, *args],
            input=input.encode() if isinstance(input, str) else input,
            env={**self.env, **(env or {})},
            cwd=self.path(cwd),
            capture_output=True,
            timeout=timeout,
        )
        if text:
            result.stdout = result.stdout.decode()
        result.stderr = result.stderr.decode(errors="replace")
        if status is not None:
            self.assertEqual(result.returncode, status, f"{args}: {result.stdout!r} {result.stderr}")
        return result

    def start(self, *args, env=None):
        process = subprocess.Popen(
            [NEOQ, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.env, **(env or {})},
            cwd=self.folder,
        )
        self.started.append(process)
        return process

    def on_terminal(self, *args, columns=80, env=None, err=False):
        """Runs the command with standard output on a terminal of so many columns; or standard error, or both ("both").
        Returns what the terminal got, and the other."""
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            [NEOQ, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if err is True else slave,
            stderr=slave if err else subprocess.PIPE,
            env={**self.env, "TERM": "xterm", **(env or {})},
            cwd=self.folder,
        )
        self.started.append(process)
        os.close(slave)
        drawn = read_all(master).decode().replace("\r\n", "\n")
        out, other = process.communicate(timeout=PATIENCE)
        return drawn, (other if not err else out or b"").decode()

    def ended(self, process, status=0):
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, status, err.decode(errors="replace"))
        return out.decode(), err.decode(errors="replace")

    def hold(self, name="go"):
        """Makes a pipe: a program that reads it waits until let_go(), or the end of the test."""
        os.mkfifo(self.path(name))
        self.holds.append(name)

    def let_go(self, name="go"):
        self.until(lambda: self.end_reading(name), f"a reader of {name}")

    def end_reading(self, name):
        try:
            os.close(os.open(self.path(name), os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False  # nobody reads
        return True

    def until(self, condition, what):
        """Waits for the condition to hold, and returns its value."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.01)
        self.fail(f"not within {PATIENCE} s: {what}")

    def until_file(self, name):
        return self.until(lambda: os.path.exists(self.path(name)) and self.read(name), f"file {name}")

    def until_output(self, process, text):
        """Reads what the process prints until it has printed text; returns what was read."""
        out, deadline = b"", time.monotonic() + PATIENCE
        while text not in out:
            ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
            more = os.read(process.stdout.fileno(), 65536) if ready else b""
            self.assertTrue(more, f"not printed: {text!r}, but {out!r}")
            out += more
        return out

    # ---- words for what is done often ----------------------------------------------------

    def enqueue(self, *args, **how):
        return self.neoq("enqueue", *args, **how).stdout.strip()

    def work(self, *args, status=0, **how):
        """work --until-empty; returns what it printed."""
        return self.neoq("work", "--until-empty", *args, status=status, **how)

    def objects(self, *args, **how):
        return [json.loads(line) for line in self.neoq("--json", *args, **how).stdout.splitlines()]

    def job(self, id):
        return self.objects("job", id)[0]

    def jobs(self, *args):
        return self.objects("jobs", *args)

    def queue(self, name):
        found = [queue for queue in self.objects("queues") if queue["name"] == name]
        return found[0] if found else None


def payload_of(job):
    """The bytes of a payload that is not JSON."""
    return base64.b64decode(job["payload_base64"])


def alive(pid):
    """The process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def read_all(master):
    """What was written to a terminal whose other side has been closed."""
    out = b""
    while True:
        try:
            more = os.read(master, 65536)
        except OSError:
            more = b""
        if not more:
            os.close(master)
            return out
        out += more


def zombies_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    state, parent = stat.read().rsplit(")", 1)[1].split()[:2]
            except OSError:
                continue
            if state == "Z" and int(parent) == pid:
                found.append(int(entry))
    return found


__all__ = ["Case", "INSTANT", "JOB_KEYS", "NEOQ", "PATIENCE", "QUEUE_KEYS", "alive", "payload_of", "read_all"]
__all__ += ["signal", "unittest", "zombies_of"]
