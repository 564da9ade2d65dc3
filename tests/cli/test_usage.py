# SPDX-License-Identifier: MIT
"""Help, bad usage, and stores that cannot be opened."""

import glob
import os
import shutil
import sqlite3
import subprocess

from support import *

COMMANDS = "enqueue work jobs job queues bench version help retry cancel delete pause resume purge workers".split()
COMMANDS += "migrate doctor completion cron log wait explain".split()


class Help(Case):
    def test_help(self):
        out = self.neoq("help").stdout
        self.assertEqual(out, self.neoq("--help").stdout)
        self.assertEqual(out, self.neoq("-h").stdout)
        for command in COMMANDS:
            self.assertRegex(out, rf"(?m)^  {command} ")
        self.assertLessEqual(max(map(len, out.splitlines())), 120)

    def test_help_of_each_command(self):
        for command in COMMANDS:
            out = self.neoq("help", command).stdout
            self.assertTrue(out.startswith(f"Usage: neoq {command}"), out)
            self.assertEqual(out, self.neoq(command, "--help").stdout)
            self.assertLessEqual(max(map(len, out.splitlines())), 120, command)

    def test_version(self):
        self.assertRegex(self.neoq("version").stdout, r"^neoq \d+\.\d+\.\d+\n$")
        self.assertRegex(self.objects("version")[0]["version"], r"^\d+\.\d+\.\d+$")

    def test_help_touches_no_store(self):
        self.neoq("help", env={"NEOQ_URL": "nonsense:"})
        self.neoq("version", env={"NEOQ_URL": "nonsense:"})
        self.assertEqual(os.listdir(self.folder), [])


class Usage(Case):
    def refused(self, *args, words="neoq"):
        result = self.neoq(*args, status=2)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("neoq: "), result.stderr)
        self.assertRegex(result.stderr, words)
        self.assertFalse(os.path.exists(self.path("jobs.db")), f"{args}: something was done")

    def test_commands(self):
        self.refused(words="command is missing")
        self.refused("jbos", words="did you mean jobs")
        self.refused("xyzzy", words="no command 'xyzzy'")
        self.refused("help", "xyzzy", words="no command")
        for later in "copy top serve".split():
            self.refused(later, words="not in this version yet")
        self.refused("--", words="command is missing")

    def test_options(self):
        self.refused("--nosuch", "jobs", words="unknown option --nosuch")
        self.refused("jobs", "--limt", "3", words="did you mean --limit")
        self.refused("enqueue", "q", "1", "--priorty=3", words="did you mean --priority")
        self.refused("jobs", "-x", words="unknown option -x")
        self.refused("jobs", "--limit", words="--limit needs a value")
        self.refused("--url", words="--url needs a value")
        self.refused("jobs", "--json=yes", words="takes no value")

    def test_values(self):
        for option, value, words in (
            ("--in", "5", "is not a duration"), ("--in", "5x", "is not a duration"), ("--in", "", "is not a duration"),
            ("--in", "h", "is not a duration"), ("--in", "-5s", "is not a duration"), ("--in", "1.5h", "not a duration"),
            ("--in", "99999999999999999999d", "is not a duration"), ("--at", "tomorrow", "RFC 3339"),
            ("--at", "2026-02-30T00:00:00Z", "RFC 3339"), ("--at", "2026-01-01T00:00:00", "RFC 3339"),
            ("--at", "2026-01-01", "RFC 3339"), ("--at", "+", "RFC 3339"), ("--deadline", "0", "RFC 3339"),
            ("--max-retries", "-1", "whole number from 0"), ("--max-retries", "many", "whole number"),
            ("--priority", "9999999999", "whole number"), ("--priority", "1.5", "whole number"),
            ("--retry-waits", "1m,,2m", "is not a duration"), ("--retain", "long", "is not a duration"),
            ("--meta", "[1]", "not a JSON object"), ("--meta", "{", "not a JSON object"),
        ):
            self.refused("enqueue", "q", "1", option, value, words=f"{option}.*{words}|{words}")
        self.refused("enqueue", "q", "1", "--at", "+1h", "--in", "1h", words="--at and --in")
        self.refused("jobs", "--state", "sleeping", words="scheduled, ready, running")
        self.refused("jobs", "--limit", "0", words="whole number from 1")
        self.refused("bench", "--payload", "3", words="from 16")

    def test_words(self):
        self.refused("enqueue", words="queue is missing")
        self.refused("enqueue", "q", "a", "b", words="'b' is a word too many")
        self.refused("jobs", "q", words="'q'")
        self.refused("job", words="one id")
        self.refused("queues", "q")
        self.refused("version", "x")
        self.refused("bench", "x")
        self.refused("purge")
        self.refused("doctor", "x")
        self.refused("migrate", "sideways", words="status, up, down or print")
        self.refused("migrate", "up", "down", words="one thing")
        self.refused("migrate", "up", "--yes", words="--yes and --force")

    def test_work(self):
        self.refused("work", words="queue is missing")
        self.refused("work", "--", "true", words="queue is missing")
        self.refused("work", "q", words="command is missing")
        self.refused("work", "q", "--", words="command is missing")
        self.refused("work", "q", "true", words="command is missing")
        self.refused("work", "q", "--", "no-such-program", words="not in the .PATH")
        self.refused("work", "q", "--", "./no-such-program", words="no program that may be run")
        self.refused("work", "q", "--", self.write("data", "x"), words="no program that may be run")
        self.refused("work", "q", "--", self.folder, words="no program that may be run")
        self.refused("work", "q=0", "--", "true", words="from 1")
        self.refused("work", "q=x", "--", "true", words="from 1")
        self.refused("work", "q", "q=2", "--", "true", words="named twice")
        self.refused("work", "q", "--concurrency", "0", "--", "true", words="from 1")
        self.refused("work", "q", "--timeout", "soon", "--", "true", words="not a duration")
        self.refused("work", "q", "--kill-after", "0", "--", "true", words="out of range")

    def test_a_bad_queue_name(self):
        self.neoq("enqueue", "", "1", status=2)
        self.neoq("enqueue", "q" * 201, "1", status=2)
        self.neoq("work", "--until-empty", "q" * 201, "--", "true", status=2)


class Stores(Case):
    def refused(self, url, status, *args):
        result = self.neoq(*(args or ["jobs"]), env={"NEOQ_URL": url}, status=status)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("neoq: the store cannot be opened: "), result.stderr)
        return result.stderr

    def test_urls(self):
        self.refused("nosuch:thing", 2)
        self.refused("no scheme at all", 2)
        self.refused("sqlite:", 2)

    def test_url_wins_over_the_environment(self):
        self.neoq("--url", self.url, "enqueue", "q", "1", env={"NEOQ_URL": "nosuch:thing"})
        self.assertEqual(len(self.jobs()), 1)

    def test_missing_folder(self):
        self.assertIn("no/where", self.refused("sqlite:" + self.path("no/where/jobs.db"), 4, "enqueue", "q", "1"))

    def test_folder_in_the_place_of_the_file(self):
        self.refused("sqlite:" + self.folder, 4)

    def test_no_sqlite_file(self):
        path = self.write("jobs.db", b"this is no database at all, but long enough to be looked at\n" * 100)
        self.refused(self.url, 4, "enqueue", "q", "1")
        self.assertEqual(self.read("jobs.db")[:7], b"this is")

    def test_beside_another_programs_tables(self):
        with sqlite3.connect(self.path("jobs.db")) as db:
            db.execute("CREATE TABLE recipes (name TEXT)")
            db.execute("INSERT INTO recipes VALUES ('soup')")
        db.close()
        self.enqueue("q", "1")
        with sqlite3.connect(self.path("jobs.db")) as db:
            self.assertEqual(db.execute("SELECT name FROM recipes").fetchall(), [("soup",)])
        db.close()

    def test_corrupt_file(self):
        self.write("lines", "".join(f"{n}\n" for n in range(3000)))
        self.neoq("enqueue", "q", "--lines", self.path("lines"))
        for name in os.listdir(self.folder):
            if name.startswith("jobs.db-"):
                os.unlink(self.path(name))
        content = bytearray(self.read("jobs.db"))
        for at in range(4096, len(content)):
            content[at] = (at * 7919) & 0xFF
        self.write("jobs.db", bytes(content))
        result = self.neoq("jobs", status=4)
        self.assertTrue(result.stderr.startswith("neoq: "), result.stderr)

    def test_read_only(self):
        self.enqueue("q", "1")
        os.chmod(self.path("jobs.db"), 0o400)
        os.chmod(self.folder, 0o555)
        command, env = [NEOQ], dict(self.env)
        if os.geteuid() == 0:
            # Root may write everywhere: somebody else tries then, with a copy of the program that he may read.
            for path in [NEOQ, *glob.glob(os.path.join(os.path.dirname(NEOQ), "..", "libneoq.so*"))]:
                shutil.copy(path, self.folder)
            for name in [self.folder] + [self.path(name) for name in os.listdir(self.folder)]:
                os.chown(name, 65534, 65534)
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", self.path("neoq")]
            env["LD_LIBRARY_PATH"] = self.folder
        result = subprocess.run([*command, "enqueue", "q", "2"], env=env, capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (4, b""), result.stderr)
        self.assertTrue(result.stderr.startswith(b"neoq: "))

    def test_work_says_so_too(self):
        self.refused("sqlite:" + self.path("no/where/jobs.db"), 4, "work", "q", "--", "true")
        self.refused("nosuch:thing", 2, "work", "q", "--until-empty", "--", "true")
        self.refused("nosuch:thing", 2, "bench", "--jobs", "10")

    def test_passwords_are_not_shown(self):
        result = self.neoq("jobs", env={"NEOQ_URL": "nosuch://user:sesame@host/db"}, status=2)
        self.assertNotIn("sesame", result.stderr)


if __name__ == "__main__":
    unittest.main()
