# SPDX-License-Identifier: MIT
"""Configuration files: where they are, what wins, and what is wrong with them."""

import os
import subprocess

from support import *


class Config(Case):
    def setUp(self):
        super().setUp()
        del self.env["NEOQ_URL"]

    def config(self, text, name=".config/neoq/neoq.conf", mode=0o600):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        return self.write(name, text, mode)

    def store(self, name):
        return "sqlite:" + self.path(name)

    def refused(self, *args, words, **how):
        result = self.neoq(*args, status=2, **how)
        self.assertEqual(result.stdout, "")
        self.assertIn(words, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1)


class Values(Config):
    def test_url_precedence(self):
        self.config(f"url = {self.store('file.db')}\n")
        self.neoq("enqueue", "q", "1")
        self.neoq("enqueue", "q", "1", env={"NEOQ_URL": self.store("environment.db")})
        self.neoq("enqueue", "q", "1", "--url", self.store("option.db"), env={"NEOQ_URL": "nonsense:"})
        for name in ("file.db", "environment.db", "option.db"):
            self.assertEqual(len(self.objects("jobs", "--url", self.store(name))), 1, name)
        self.assertFalse(os.path.exists(self.path(".local")))

    def test_sections_are_defaults_of_their_command(self):
        self.config(f"url={self.store('jobs.db')}\n[enqueue]\nmax-retries = 3\npriority=-5\nno-unique=yes\n"
                    "retry-waits = 1m,2m\n[jobs]\nlimit=1\n[bench]\njobs=5\n")
        first = self.enqueue("q", "1")
        second = self.enqueue("q", "1", "--priority", "7", "--retry-waits", "5m")
        self.assertEqual([self.job(first)[k] for k in ("max_retries", "priority")], [2, -5])
        self.assertEqual([self.job(second)[k] for k in ("max_retries", "priority")], [1, 7])
        self.assertEqual(len(self.jobs()), 1)
        self.assertEqual(len(self.jobs("--limit", "5")), 2)

    def test_options_of_every_command(self):
        self.config(f"# all of them\njson = on\nquiet = true\nurl = \"{self.store('a b.db')}\"\n")
        self.assertRegex(self.neoq("enqueue", "q", "1").stdout, '^{"id": ')
        self.assertEqual(self.neoq("jobs", "--queue", "nosuch").stderr, "")
        self.assertTrue(os.path.exists(self.path("a b.db")))

    def test_work(self):
        self.config(f"url = {self.store('jobs.db')}\n[work]\nuntil-empty = yes\ntimeout = 100ms\nconcurrency = 1\n")
        id = self.enqueue("q", "1", "--max-retries", "0")
        self.assertEqual(self.neoq("work", "q", "--", "sleep", "60", status=1).stdout, "0 done, 1 failed, 1 dead\n")
        self.assertIn("timed out after 100ms", self.job(id)["error"])

    def test_places(self):
        self.config(f"url = {self.store('home.db')}\n")
        self.config(f"url = {self.store('xdg.db')}\n", "xdg/neoq/neoq.conf")
        self.neoq("enqueue", "q", "1", env={"XDG_CONFIG_HOME": self.path("xdg")})
        self.assertTrue(os.path.exists(self.path("xdg.db")))
        self.neoq("enqueue", "q", "1", env={"XDG_CONFIG_HOME": "xdg"})  # relative: to be ignored
        self.assertTrue(os.path.exists(self.path("home.db")))
        other = self.config(f"url = {self.store('other.db')}\n", "other.conf")
        self.neoq("--config", other, "enqueue", "q", "1")
        self.assertEqual(len(self.objects("jobs", "--config=" + other)), 1)
        self.neoq("--config", "/dev/null", "enqueue", "q", "1")
        self.assertTrue(os.path.exists(self.path(".local/state/neoq/jobs.db")))

    def test_of_the_machine_and_of_the_user(self):
        """The user's file wins, key by key. /etc is another folder in a namespace of its own."""
        self.config(f"url = {self.store('etc.db')}\n[enqueue]\npriority = 1\nmax-retries = 9\n", "etc/neoq/neoq.conf")
        self.config("[enqueue]\npriority = 2\n")
        with_etc = ["unshare", "--mount", "--map-root-user", "sh", "-c",
                    'mount --bind "$0" /etc && exec "$@"', self.path("etc")]
        if subprocess.run([*with_etc, "true"], capture_output=True).returncode != 0:
            self.skipTest("nobody may mount here, not even in a namespace of his own")
        done = subprocess.run([*with_etc, NEOQ, "enqueue", "q", "1"], env=self.env, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        job = self.objects("jobs", "--url", self.store("etc.db"))[0]
        self.assertEqual((job["priority"], job["max_retries"]), (2, 9))


class Wrong(Config):
    def test_lines(self):
        for text, words in (
            ("a line\n", ":1: 'a line' is no setting: write key = value"),
            ("\n\n[work\n", ":3: a section is written [work]"),
            ("[work] concurrency = 1\n", ":1: a section is written [work], alone"),
            ("[]\n", ":1: '[]' cannot be the name of a section"),
            ("# fine\n= 3\n", ":2: '' cannot be a key"),
            ("--url = x\n", ":1: '--url' cannot be a key, which is an option without its --"),
            ("Url = x\n", ":1: 'Url' cannot be a key"),
            ('url = "x\n', ":1: the value begins with a quote"),
            ("url = a\njson = yes\nurl = b\n", ":3: url is set twice, the first time in line 1"),
            (b"url = a\xff\n", ":1: this line is not UTF-8"),
            (b"url = a\n\0\n", ":2: this line has a NUL byte"),
            ("# long\n" + "#" * 70000, ": it is longer than 65536 bytes"),
            ("".join(f"k{n} = 1\n" for n in range(1001)), ":1001: no more than 1000 settings"),
        ):
            path = self.config(text)
            self.refused("jobs", words=path + words)

    def test_names(self):
        for text, words in (
            ("ulr = x\n", ":1: there is no key 'ulr': did you mean url?"),
            ("concurrency = 1\n", ":1: there is no key 'concurrency': before the first section stand options"),
            ("[wrok]\nlease = 1m\n", ":2: there is no command 'wrok': did you mean work?"),
            ("[zzzzzz]\nlease = 1m\n", ":2: there is no command 'zzzzzz': sections are named for commands"),
            ("[work]\nconcurency = 1\n", ":2: there is no option of that command 'concurency': did you mean concurrency?"),
            ("[work]\nurl = x\n", ":2: there is no option of that command 'url': options of every command stand before"),
            ("[work]\nxyzzy-foo = x\n", ":2: there is no option of that command 'xyzzy-foo': neoq help work lists"),
            ("help = yes\n", ":1: there is no key 'help'"),
            ("config = /dev/null\n", ":1: there is no key 'config'"),
        ):
            self.refused("jobs", words=self.config(text) + words)

    def test_values(self):
        for text, words in (
            ("[jobs]\nlimit = many\n", ":2: limit: 'many' is not a whole number"),
            ("[jobs]\nstate = raedy\n", ":2: state: 'raedy' is none of scheduled, ready"),
            ("[jobs]\nstate = raedy\n", "did you mean ready?"),
            ("[jobs]\nlimit =\n", ":2: limit: '' is not a whole number"),
            ("json = maybe\n", ":1: json: 'maybe' is none of yes, no"),
        ):
            path = self.config(text)
            self.refused("jobs", words=path + words if words.startswith(":") else words)

    def test_nothing_is_done(self):
        path = self.config(f"url = {self.store('jobs.db')}\n[enqueue]\npriority = high\n")
        self.refused("enqueue", "q", "1", words=path + ":3: priority: 'high'")
        self.assertFalse(os.path.exists(self.path("jobs.db")))

    def test_help_needs_no_good_file(self):
        self.config("what?\n")
        for words in (["help"], ["help", "work"], ["work", "--help"], ["version"], ["--help"]):
            self.neoq(*words)

    def test_files(self):
        self.refused("jobs", "--config", self.path("nosuch"), words="nosuch cannot be read: No such file")
        self.refused("jobs", "--config", self.folder, words="cannot be read: Is a directory; --config FILE names another")

    def test_carriage_returns_and_mark(self):
        self.config(b"\xef\xbb\xbfurl = " + self.store("jobs.db").encode() + b"\r\n\r\n[enqueue]\r\npriority = 3\r\n")
        id = self.enqueue("q", "1")
        self.assertEqual(self.job(id)["priority"], 3)

    def test_a_password_that_all_can_read(self):
        for url in ("redis://:secret@127.0.0.1:1/0", "postgres://me:secret@127.0.0.1:1/x", "host=127.0.0.1 password=secret"):
            path = self.config(f"url = {url}\n", mode=0o644)
            result = self.neoq("version")
            self.assertEqual(result.stderr, "")
            result = self.neoq("migrate", "print", "--url", "postgres://127.0.0.1/x")
            self.assertIn(f"warning: {path}:1: this holds a password", result.stderr)
            self.assertNotIn("secret", result.stderr)
            os.chmod(path, 0o640)
            self.assertEqual(self.neoq("migrate", "print", "--url", "postgres://127.0.0.1/x").stderr, "")
        self.config(f"url = {self.store('jobs.db')}\n", mode=0o644)
        self.assertEqual(self.neoq("jobs").stderr, "")


if __name__ == "__main__":
    unittest.main()
