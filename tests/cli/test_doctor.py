# SPDX-License-Identifier: MIT
"""neoq doctor: on an SQLite file, and in memory."""

import os
import signal
import sqlite3
import time

from support import *


class Doctor(Case):
    def findings(self, *args, status=0, **how):
        found = self.objects(*args, "doctor", status=status, **how)
        for finding in found:
            self.assertEqual(set(finding), {"level", "name", "words"})
            self.assertIn(finding["level"], ("ok", "note", "bad"))
        names = [finding["name"] for finding in found]
        self.assertEqual(len(names), len(set(names)), names)
        return {finding["name"]: finding for finding in found}

    def level(self, name, **how):
        return self.findings(**how)[name]["level"]

    def sql(self, *texts):
        with sqlite3.connect(self.path("jobs.db")) as db:
            for text in texts:
                db.execute(text)
        db.close()


class Sqlite(Doctor):
    def test_a_sound_file(self):
        self.enqueue("q", "1", "--in", "1h")
        found = self.findings()
        self.assertEqual(
            set(found),
            set("reachable,file system,rights,free space,SQLite,journal mode,synchronous,integrity,size,WAL,schema,"
                "workers,jobs,clock".split(",")),
        )
        self.assertNotIn("bad", [finding["level"] for finding in found.values()])
        self.assertIn(self.path("jobs.db"), found["reachable"]["words"])
        self.assertEqual(found["schema"]["words"], "version 1")

    def test_text(self):
        self.enqueue("q", "1")
        lines = self.neoq("doctor").stdout.splitlines()
        self.assertIn("ok    journal mode         wal", lines)
        for line in lines:
            self.assertRegex(line, r"^(ok|note|bad) ")

    def test_it_leaves_the_files_as_they_are(self):
        worker = self.start("work", "q", "--", "true")
        self.until(lambda: self.objects("workers"), "a worker")
        self.enqueue("q", "1", "--in", "1h")
        worker.kill()
        worker.wait()
        before = {name: self.read(name) for name in os.listdir(self.folder) if not name.endswith("-shm")}
        self.assertIn("jobs.db-wal", before)
        self.findings()
        self.neoq("migrate")
        after = {name: self.read(name) for name in os.listdir(self.folder) if not name.endswith("-shm")}
        self.assertEqual(before, after)

    def test_no_file_yet(self):
        self.assertEqual(self.findings()["file"]["level"], "note")
        self.assertEqual(os.listdir(self.folder), [])
        self.assertEqual(self.level("reachable", status=1, env={"NEOQ_URL": "sqlite:" + self.path("a/b/c")}), "bad")

    def test_what_is_no_database(self):
        self.write("jobs.db", b"this is no database at all, but long enough to be looked at\n" * 100)
        self.assertEqual(self.level("reachable", status=1), "bad")
        self.assertEqual(self.level("reachable", status=1, env={"NEOQ_URL": "sqlite:" + self.folder}), "bad")

    def test_another_programs_file(self):
        self.sql("CREATE TABLE neoq_songs (name TEXT)")
        found = self.findings(status=1)
        self.assertEqual((found["schema"]["level"], found["journal mode"]["level"]), ("bad", "note"))

    def test_schema(self):
        self.neoq("migrate", "up")
        self.sql("UPDATE neoq_meta SET value = 2 WHERE key = 'schema'")
        self.assertEqual(self.level("schema"), "note")
        self.sql("UPDATE neoq_meta SET value = 2 WHERE key = 'compatible_from'")
        self.assertEqual(self.level("schema", status=1), "bad")

    def test_damage(self):
        self.write("lines", "".join(f"{n}\n" for n in range(3000)))
        self.neoq("enqueue", "q", "--lines", self.path("lines"))
        content = bytearray(self.read("jobs.db"))
        # Pages of the middle: the tables can still be found.
        for at in range(len(content) // 2, len(content) // 2 + 40960):
            content[at] = (at * 7919) & 0xFF
        self.write("jobs.db", bytes(content))
        self.assertEqual(self.level("integrity", status=1), "bad")

    def test_rights(self):
        self.enqueue("q", "1")
        os.chmod(self.path("jobs.db"), 0o644)
        self.assertIn("may read", self.findings()["rights"]["words"])
        os.chmod(self.path("jobs.db"), 0o666)
        self.assertIn("may write", self.findings()["rights"]["words"])

    def test_workers_that_are_gone(self):
        worker = self.start("work", "q", "--", "true")
        self.until(lambda: self.objects("workers"), "a worker")
        self.assertEqual(self.findings()["workers"]["words"], "1 live, none gone")
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.assertRegex(self.findings()["workers"]["words"], "^0 live, and 1 .*start a worker")
        self.enqueue("q", "1")

    def test_jobs_that_nobody_runs(self):
        self.enqueue("q", "1")
        self.assertEqual(self.level("jobs"), "note")

    def test_a_clock_that_was_set_back(self):
        self.enqueue("q", "1")
        self.sql(f"UPDATE neoq_jobs SET run_after = {int((time.time() + 7200) * 1e6)}")
        self.assertEqual(self.level("clock", status=1), "bad")

    def test_urls(self):
        self.neoq("doctor", env={"NEOQ_URL": "nosuch:thing"}, status=2)
        self.neoq("doctor", env={"NEOQ_URL": "sqlite:"}, status=2)


class Memory(Doctor):
    def test_there_is_nothing_to_check(self):
        found = self.findings("--url", "memory:")
        self.assertEqual({name: finding["level"] for name, finding in found.items()},
                         {"reachable": "ok", "nothing to check": "ok"})


if __name__ == "__main__":
    unittest.main()
