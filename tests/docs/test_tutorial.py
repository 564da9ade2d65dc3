# SPDX-License-Identifier: MIT
"""docs/tutorial.md, done as it is written: in one shell, in an empty home, and everything that is shown is compared.

Of its blocks, `sh` is run, or, if it begins with #!, is written to the file that the words before it name, as `c` is;
`console` is run a "$ " line at a time, and what stands below is what it has to print, on both outputs. There a line "..."
stands for any lines and "..." for any words; ids, instants, durations, sizes and workers are any others, but an id that
comes again, also in a command, is the same id. A command whose exit status is not 0 is followed by `echo $?`.

$NEOQ names the command in its build, which stands in for `make install`: tests/install is about that one.
"""

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TUTORIAL = os.path.join(HERE, "..", "..", "docs", "tutorial.md")
NEOQ = os.environ.get("NEOQ", "neoq")
PATIENCE = 60  # seconds for one command

DURATION = r"\d+(?:\.\d+)?(?:us|ms|s|m|h|d)(?:\d+(?:ms|s|m|h))*"
KINDS = {
    "id": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "instant": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",
    "size": r"\d+(?:\.\d+)? [KMG]?i?B\b",
    "duration": r"\b" + DURATION + r"\b",
    "worker": r"\b(?=[0-9a-f]*\d)[0-9a-f]{10,16}\b",
    "any": r"\.\.\.",
    "space": r" +",
}
TOKEN = re.compile("|".join(f"(?P<{name}>{kind})" for name, kind in KINDS.items()))

# `make install PREFIX=...`, of what is built already.
MAKE = """#!/bin/sh
set -e
[ "$1" = install ] && prefix=${2#PREFIX=} && [ "$prefix" != "$2" ]
cmake --install "$BUILD_UNDER_TEST" --prefix "$prefix" >/dev/null
sed -i "s|^prefix=.*|prefix=$prefix|" "$prefix/lib/pkgconfig/neoq.pc"
"""


class Block:
    def __init__(self, line, language, words, text):
        self.line, self.language, self.text = line, language, text
        names = re.findall(r"`([^`]+)`", words)
        self.name = names[-1] if names else None


def blocks(markdown):
    """Fenced blocks, each with the words between it and the one before."""
    found, words, at = [], [], 0
    lines = markdown.splitlines()
    while at < len(lines):
        fence = re.fullmatch(r"```(\w+)", lines[at])
        if not fence:
            words.append(lines[at])
            at += 1
            continue
        end = lines.index("```", at)
        found.append(Block(at + 1, fence[1], "\n".join(words), lines[at + 1 : end]))
        words, at = [], end + 1
    return found


def transcript(block):
    """Pairs of a command and the lines it prints; with the number of its line."""
    for number, line in enumerate(block.text, block.line + 1):
        if line.startswith("$ "):
            if number > block.line + 1:
                yield at, command, shown
            at, command, shown = number, line[2:], []
        else:
            shown.append(line)
    yield at, command, shown


def pattern(shown, ids):
    """A regular expression for what is shown; the ids in it that are new become groups, of the names returned."""
    new, out = {}, ""
    for line in shown:
        if line == "...":
            out += r"(?:.*\n)*?"
            continue
        at = 0
        for token in TOKEN.finditer(line):
            out += re.escape(line[at : token.start()])
            at = token.end()
            kind, text = token.lastgroup, token[0]
            if kind == "id":
                if text in ids:
                    out += re.escape(ids[text])
                elif text in new:
                    out += f"(?P={new[text]})"
                else:
                    new[text] = f"id{len(new)}"
                    out += f"(?P<{new[text]}>{KINDS['id']})"
            else:
                out += {"any": ".*", "space": " +"}.get(kind) or KINDS[kind]
        out += re.escape(line[at:]) + r" *\n"
    return out, new


class Shell:
    """One bash, a command at a time."""

    END = "--- the end of it:"

    def __init__(self, home, env):
        self.bash = subprocess.Popen(
            ["bash", "--norc"], cwd=home, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, command):
        """What it printed, and its exit status."""
        script = f"{{ {command}\n}} </dev/null\nstatus=$?; echo; echo '{self.END}' $status; (exit $status)\n"
        self.bash.stdin.write(script.encode())
        self.bash.stdin.flush()
        deadline, said = time.monotonic() + PATIENCE, b""
        while True:
            end = re.search(rf"\n{self.END} (\d+)\n$", said.decode(errors="replace"))
            if end:
                return said.decode()[: -len(end[0])], int(end[1])
            if not select.select([self.bash.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{command}: not over after {PATIENCE} s; it said {said!r}")
            part = os.read(self.bash.stdout.fileno(), 65536)
            if not part:
                raise AssertionError(f"{command}: the shell ended; it said {said!r}")
            said += part

    def close(self):
        self.bash.kill()
        self.bash.communicate()


class Tutorial(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="neoq-tutorial-")
        self.addCleanup(shutil.rmtree, self.home)
        tools = os.path.join(self.home, ".tools")
        os.mkdir(tools)
        self.write(os.path.join(tools, "make"), MAKE)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("NEOQ", "XDG_", "LD_", "PKG_CONFIG", "MAKE"))}
        env.update(
            HOME=self.home,
            PATH=tools + ":" + env["PATH"],
            LC_ALL="C.UTF-8",
            BUILD_UNDER_TEST=os.path.dirname(os.path.dirname(os.path.abspath(NEOQ))),
        )
        self.shell = Shell(self.home, env)
        self.addCleanup(self.shell.close)
        self.ids = {}  # as they are shown: as they are

    def write(self, path, text):
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def compare(self, line, command, shown):
        for text, id in self.ids.items():
            command = command.replace(text, id)
        said, status = self.shell.run(command)
        if said and not said.endswith("\n"):
            said += "\n"
        wanted, new = pattern(shown, self.ids)
        match = re.fullmatch(wanted, said)
        if not match:
            self.fail(f"tutorial.md, line {line}: {command}\nshown:\n" + "\n".join(shown) + f"\nprinted:\n{said}")
        self.ids.update({text: match[name] for text, name in new.items()})
        return status

    def test_it_does_what_it_says(self):
        with open(TUTORIAL) as file:
            all_blocks = blocks(file.read())
        self.assertGreater(len(all_blocks), 10)
        folder = os.path.join(self.home, "try")
        for block in all_blocks:
            text = "\n".join(block.text) + "\n"
            if block.language == "console":
                steps = list(transcript(block))
                for at, (line, command, shown) in enumerate(steps):
                    status = self.compare(line, command, shown)
                    told = at + 1 < len(steps) and steps[at + 1][1] == "echo $?"
                    ended = command.startswith("timeout ") and status == 124
                    self.assertTrue(status == 0 or told or ended, f"line {line}: {command}: exit status {status}")
            elif block.language == "c" or text.startswith("#!"):
                self.write(os.path.join(folder, block.name), text)
            else:
                said, status = self.shell.run(text)
                self.assertEqual((said, status), ("", 0), f"line {block.line}")


if __name__ == "__main__":
    unittest.main()
