# SPDX-License-Identifier: MIT
"""neoq migrate: on an SQLite file, and in memory."""

import os
import sqlite3

from support import *

KEYS = set("action state version known compatible_from migrated_at jobs workers lines".split())


class Sqlite(Case):
    def migrate(self, *args, **how):
        (found,) = self.objects("migrate", *args, **how)
        return found

    def tables(self):
        with sqlite3.connect(self.path("jobs.db")) as db:
            rows = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        db.close()
        return [name for (name,) in rows if not name.startswith("sqlite_")]

    def sql(self, text):
        with sqlite3.connect(self.path("jobs.db")) as db:
            db.execute(text)
        db.close()

    def test_status_makes_nothing(self):
        found = self.migrate()
        self.assertEqual(set(found), KEYS)
        self.assertEqual((found["action"], found["state"], found["version"], found["known"]), ("status", "missing", 0, 1))
        self.assertIsNone(found["migrated_at"])
        self.assertFalse(os.path.exists(self.path("jobs.db")))
        self.assertIn("no schema yet", self.neoq("migrate", "status").stdout)

    def test_up(self):
        found = self.migrate("up")
        self.assertEqual((found["state"], found["version"], found["compatible_from"]), ("current", 1, 1))
        self.assertRegex(found["migrated_at"], INSTANT)
        self.assertIn("made the tables", found["lines"][0])
        self.assertEqual(os.stat(self.path("jobs.db")).st_mode & 0o777, 0o600)
        tables = self.tables()
        self.assertEqual(len(tables), 10)
        self.assertIn("nothing to do", self.migrate("up")["lines"][0])
        self.enqueue("q", "1")
        self.assertEqual(self.tables(), tables)
        self.assertEqual(self.migrate()["jobs"], 1)

    def test_status_of_what_a_command_made(self):
        self.enqueue("q", "1")
        self.assertEqual((self.migrate()["state"], self.migrate()["jobs"]), ("current", 1))
        out = self.neoq("migrate").stdout
        self.assertIn("schema version 1, which is this neoq's", out)
        self.assertIn("1 job, 0 live workers", out)

    def test_print_is_the_schema(self):
        sql = self.neoq("migrate", "print").stdout
        self.assertFalse(os.path.exists(self.path("jobs.db")))
        self.assertEqual(self.migrate("print"), {"action": "print", "version": 1, "sql": sql})
        with sqlite3.connect(self.path("jobs.db")) as db:
            db.executescript(sql)
        db.close()
        self.assertEqual(self.migrate()["state"], "current")
        self.enqueue("q", "1")
        self.work("q", "--", "true")

    def test_down_only_tells(self):
        self.enqueue("q", "1")
        result = self.neoq("migrate", "down", status=5)
        self.assertIn("would drop the table neoq_jobs\n", result.stdout)
        self.assertIn("--yes", result.stderr)
        self.assertEqual(len(self.jobs()), 1)

    def test_down_refuses_while_there_are_jobs(self):
        self.enqueue("q", "1", "--in", "1h")
        result = self.neoq("migrate", "down", "--yes", status=5)
        self.assertEqual(result.stdout, "")
        self.assertIn("--force", result.stderr)
        self.assertEqual(len(self.jobs()), 1)
        self.neoq("purge", "q")
        self.neoq("migrate", "down", "--yes")
        self.assertEqual(self.tables(), [])

    def test_down_refuses_while_a_worker_lives(self):
        self.start("work", "q", "--", "true")
        self.until(lambda: self.objects("workers"), "a worker")
        self.assertIn("1 live worker", self.neoq("migrate", "down", "--yes", status=5).stderr)
        self.assertEqual(self.migrate()["workers"], 1)

    def test_down_with_force_and_up_again(self):
        self.enqueue("q", "1")
        self.sql("CREATE TABLE recipes (name TEXT)")
        found = self.migrate("down", "--yes", "--force")
        self.assertEqual((found["state"], found["version"], len(found["lines"])), ("missing", 0, 10))
        self.assertEqual(self.tables(), ["recipes"])
        self.assertIn("nothing to remove", self.neoq("migrate", "down", "--yes").stdout)
        self.neoq("migrate", "up")
        self.assertEqual(self.jobs(), [])

    def test_a_newer_schema(self):
        self.enqueue("q", "1")
        self.sql("UPDATE neoq_meta SET value = 2 WHERE key IN ('schema', 'compatible_from')")
        self.neoq("jobs", status=4)
        found = self.migrate(status=4)
        self.assertEqual((found["state"], found["version"], found["known"]), ("too new", 2, 1))
        self.neoq("migrate", "up", status=4)
        self.neoq("migrate", "down", "--yes", "--force", status=4)
        self.assertEqual(len(self.tables()), 10)

    def test_a_newer_schema_that_is_compatible(self):
        self.enqueue("q", "1")
        self.sql("UPDATE neoq_meta SET value = 2 WHERE key = 'schema'")
        self.assertEqual(len(self.jobs()), 1)
        self.assertEqual(self.migrate()["state"], "ahead")
        self.assertIn("which may use it", self.neoq("migrate").stdout)
        self.neoq("migrate", "down", "--yes", "--force", status=4)

    def test_another_programs_file(self):
        self.sql("CREATE TABLE neoq_songs (name TEXT)")
        self.neoq("migrate", status=4)
        self.neoq("migrate", "up", status=4)
        self.assertEqual(self.tables(), ["neoq_songs"])

    def test_stores_that_cannot_be_opened(self):
        self.neoq("migrate", "up", env={"NEOQ_URL": "sqlite:" + self.path("no/where/jobs.db")}, status=4)
        self.neoq("migrate", env={"NEOQ_URL": "nosuch:thing"}, status=2)
        self.write("text", b"this is no database at all, but long enough to be looked at\n" * 100)
        self.neoq("migrate", env={"NEOQ_URL": "sqlite:" + self.path("text")}, status=4)


class Memory(Case):
    def test_has_no_schema(self):
        for action in ("status", "up"):
            (found,) = self.objects("--url", "memory:", "migrate", action)
            self.assertEqual((found["state"], found["known"]), ("none needed", 0))
        for action in ("down", "print"):
            self.assertIn("no schema", self.neoq("--url", "memory:", "migrate", action, status=5).stderr)


if __name__ == "__main__":
    unittest.main()
