# SPDX-License-Identifier: MIT
"""A Redis for tests: that of the test run, which NEOQ_TEST_REDIS names, or else one of this program's own."""

import atexit
import os
import subprocess

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/with-redis")
DATABASES = 4096  # as tests/support/redis_server.c has it, with which the counter is shared


class RedisServer:
    def __init__(self, url=None):
        self.process = None
        if not url:
            self.process = subprocess.Popen(
                [SCRIPT, "--control"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            atexit.register(self.end)
            verdict, _, words = self.process.stdout.readline().strip().partition(" ")
            if verdict != "ok":
                raise RuntimeError(words)
            url = words.partition(" ")[2]
        self.socket = url.partition("://")[2]

    def end(self):
        self.process.stdin.close()
        self.process.stdout.read()  # it ends when all is gone
        self.process.wait()

    def do(self, *words):
        return subprocess.run(
            ["redis-cli", "-s", self.socket, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    def create(self):
        """The URL of an empty database."""
        number = 1 + int(self.do("INCR", "neoq:test:databases")) % (DATABASES - 1)
        self.do("-n", str(number), "FLUSHDB")
        return f"redis+unix://{self.socket}?db={number}"


_shared = []


def shared():
    if not _shared:
        _shared.append(RedisServer(os.environ.get("NEOQ_TEST_REDIS")))
    return _shared[0]
