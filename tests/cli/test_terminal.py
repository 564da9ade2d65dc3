# SPDX-License-Identifier: MIT
"""What differs between a terminal and a pipe: widths, colours, progress; and a reader that leaves."""

import os
import re
import subprocess
import unicodedata

from support import *

WIDE = "\u4ed5\u4e8b"  # two letters, four columns
MARKED = "e\u0301"  # one column


def columns_of(text):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


class Widths(Case):
    def setUp(self):
        super().setUp()
        self.plain = {"NO_COLOR": "1"}
        self.ids = [
            self.enqueue("mail", '{"to": "ada@example.org", "subject": "' + "x" * 300 + '"}'),
            self.enqueue(WIDE * 3, MARKED * 3 + WIDE * 100, "--in", "2h"),
            self.enqueue("pictures", "short"),
        ]

    def test_tables_fit(self):
        self.neoq("work", "--until-empty", "pictures", "--", "sh", "-c", "echo words and more >&2; exit 65", status=1)
        for columns in (10, 20, 40, 60, 79, 80, 100, 133, 250):
            for words in (("jobs",), ("queues",)):
                out = self.on_terminal(*words, columns=columns, env=self.plain)[0]
                self.assertEqual(len(out.splitlines()), 4, out)
                self.assertLessEqual(max(map(columns_of, out.splitlines())), columns, (words, out))
            runs = self.on_terminal("job", self.ids[2], columns=columns, env=self.plain)[0].split("\n\n")[1]
            self.assertLessEqual(max(map(columns_of, runs.splitlines())), columns, runs)

    def test_what_matters_is_whole(self):
        out = self.on_terminal("jobs", columns=62, env=self.plain)[0]
        for id in self.ids:
            self.assertIn(id, out)
        self.assertNotIn("MADE", out)
        out = self.on_terminal("jobs", columns=80, env=self.plain)[0]
        self.assertRegex(out, r"(?m)^ID +QUEUE +STATE +DUE +PAYLOAD$")
        self.assertRegex(out, r'(?m) mail +ready .*\{"to":.*\u2026$')
        self.assertRegex(self.on_terminal("jobs", columns=200, env=self.plain)[0], "RETRIES +MADE +DUE +PAYLOAD")

    def test_columns_stand_below_each_other(self):
        lines = self.on_terminal("jobs", columns=200, env=self.plain)[0].splitlines()
        state = lines[0].index("STATE")
        for line in lines[1:]:
            found = re.search("(ready|scheduled) ", line).start()
            self.assertEqual(columns_of(line[:found]), state, line)

    def test_a_pipe_gets_it_whole(self):
        out = self.neoq("jobs").stdout
        self.assertIn("x" * 300 + '"}', out)
        self.assertIn(WIDE * 100, out)
        self.assertIn("RETRIES", out)
        self.assertNotIn("\u2026", out)

    def test_pages(self):
        """Later pages of a long list fit, too, though the titles stand already."""
        self.write("lines", "".join(f"{'y' * (n % 97)}{n}\n" for n in range(500)))
        self.neoq("enqueue", WIDE * 20, "--lines", self.path("lines"))
        out = self.on_terminal("jobs", "--limit", "600", columns=70, env=self.plain)[0]
        self.assertEqual(len(out.splitlines()), 504)
        self.assertLessEqual(max(map(columns_of, out.splitlines())), 70)


class Colours(Case):
    def setUp(self):
        super().setUp()
        self.enqueue("q", "1")
        self.neoq("pause", "q")

    def coloured(self, *args, **env):
        return "\033[" in self.on_terminal(*args, env=env)[0]

    def test_on_a_terminal(self):
        self.assertTrue(self.coloured("queues"))
        self.assertIn("\033[33mpaused\033[0m", self.on_terminal("queues", columns=200)[0])
        self.assertTrue(self.coloured("doctor"))
        self.assertTrue(self.coloured("queues", NO_COLOR=""))

    def test_nowhere_else(self):
        for words in (("queues",), ("doctor",), ("jobs",)):
            self.assertNotIn("\033", self.neoq(*words, env={"TERM": "xterm"}).stdout)
            self.assertFalse(self.coloured(*words, NO_COLOR="1"))
            self.assertFalse(self.coloured(*words, TERM="dumb"))
            self.assertFalse(self.coloured("--json", *words))
        self.assertFalse(self.coloured("help"))

    def test_nothing_that_steers_the_terminal_comes_through(self):
        self.enqueue("evil", "\033[31mred\u202e\x07")
        out = self.on_terminal("jobs", columns=150, env={"NO_COLOR": "1"})[0]
        self.assertIn("[31mred", out)
        self.assertIsNone(re.search("[\x00-\x09\x0b-\x1f\u202e]", out))


class Progress(Case):
    def test_only_on_a_terminal(self):
        self.write("lines", "".join(f"{n}\n" for n in range(3000)))
        drawn, out = self.on_terminal("enqueue", "q", "--lines", self.path("lines"), err=True)
        self.assertIn("enqueued", drawn)
        self.assertEqual(out, "3000 enqueued, 0 duplicate\n")
        for env in ({"TERM": "dumb"}, {"TERM": ""}):
            drawn, _ = self.on_terminal("enqueue", "r", "--lines", self.path("lines"), "--no-unique", err=True, env=env)
            self.assertNotIn("\033", drawn)
        drawn, _ = self.on_terminal("-q", "enqueue", "s", "--lines", self.path("lines"), err=True)
        self.assertEqual(drawn, "")
        self.assertEqual(self.neoq("enqueue", "t", "--lines", self.path("lines")).stderr, "")


class Readers(Case):
    def test_a_reader_that_leaves(self):
        """neoq jobs | head -1: no word, whether little or much is left to be written."""
        for count in (5, 3000):
            self.write("lines", "".join(f"{n} {'x' * 100}\n" for n in range(count)))
            self.neoq("enqueue", f"q{count}", "--lines", self.path("lines"))
            for words in (["jobs"], ["--json", "jobs"], ["help"], ["completion", "bash"], ["help", "--scdoc"]):
                if words[-1] == "jobs":
                    words = [*words, "--limit", "100000", "--queue", f"q{count}"]
                read, write = os.pipe()
                process = subprocess.Popen([NEOQ, *words], stdout=write, stderr=subprocess.PIPE, env=self.env)
                self.started.append(process)
                os.close(write)
                os.read(read, 1)
                os.close(read)
                _, err = process.communicate(timeout=PATIENCE)
                self.assertEqual((process.returncode, err), (0, b""), words)

    def test_a_reader_that_never_came(self):
        for words in (["jobs"], ["help"], ["version"]):
            self.enqueue("q", "1", "--no-unique")
            read, write = os.pipe()
            os.close(read)
            result = subprocess.run([NEOQ, *words], stdout=write, stderr=subprocess.PIPE, env=self.env)
            os.close(write)
            self.assertEqual((result.returncode, result.stderr), (0, b""), words)

    def test_a_full_disk_is_told(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([NEOQ, "help"], stdout=full, stderr=subprocess.PIPE, env=self.env)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"cannot be written to standard output: No space left", result.stderr)


if __name__ == "__main__":
    unittest.main()
