# SPDX-License-Identifier: MIT
"""neoq bench."""

import os
import subprocess

from support import *

KEYS = ("store jobs unique producers concurrency payload_bytes enqueue_per_second enqueue_many_per_second "
        "drain_per_second end_to_end_per_second latency_p50_us latency_p99_us rss_bytes").split()


class Bench(Case):
    def check(self, url, store, *args):
        (figures,) = self.objects("--url", url, "bench", "--jobs", "300", *args)
        self.assertEqual(list(figures), KEYS)
        self.assertEqual(figures["store"], store)
        self.assertEqual(figures["jobs"], 300)
        for key in KEYS[6:]:
            self.assertGreater(figures[key], 0, key)
        self.assertLessEqual(figures["latency_p50_us"], figures["latency_p99_us"])
        return figures

    def test_memory(self):
        figures = self.check("memory:", "memory", "--producers", "2", "--concurrency", "3", "--payload", "100")
        self.assertEqual([figures[key] for key in KEYS[2:6]], [True, 2, 3, 100])

    def test_sqlite_is_left_as_it_was(self):
        self.enqueue("mine", "1")
        figures = self.check(self.url, "sqlite", "--no-unique")
        self.assertIs(figures["unique"], False)
        self.assertEqual([queue["name"] for queue in self.objects("queues")], ["mine"])

    def test_table(self):
        result = self.neoq("--url", "memory:", "bench", "--jobs", "100", "--payload", "16")
        out = result.stdout
        self.assertEqual(result.stderr, "")
        for words in ("enqueue", "drain", "end to end", "latency", "jobs/s", "us", "MiB"):
            self.assertIn(words, out)

    def test_progress_on_a_terminal(self):
        master, slave = os.openpty()
        process = subprocess.Popen([NEOQ, "--url", "memory:", "bench", "--jobs", "100"], stderr=slave,
                                   stdout=subprocess.PIPE, env={**self.env, "TERM": "xterm"})
        self.started.append(process)
        os.close(slave)
        process.communicate(timeout=60)
        self.assertRegex(read_all(master), rb"latency: \d+ of 1000 jobs enqueued, \d+ run")

    def test_interrupted(self):
        bench = self.start("bench", "--jobs", "10000000", "--no-unique")
        self.until(lambda: os.path.exists(self.path("jobs.db")) and self.objects("queues"), "the bench's queue")
        bench.send_signal(signal.SIGINT)
        _, err = self.ended(bench, 1)
        self.assertIn("stopped", err)
        self.assertEqual(self.objects("queues"), [])


if __name__ == "__main__":
    unittest.main()
