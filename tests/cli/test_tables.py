# SPDX-License-Identifier: MIT
"""What is made of the tables: help, completions, the manual page. They must not differ."""

import glob
import os
import pty
import re
import select
import subprocess

from support import *

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "cli")
SHELLS = ("bash", "zsh", "fish")


class Tables(Case):
    def setUp(self):
        super().setUp()
        self.general = self.neoq("help").stdout
        listed = self.general.split("Commands:\n")[1].split("\n\n")[0]
        self.commands = re.findall(r"(?m)^  ([a-z-]+) ", listed)

    def options(self, text):
        """(letter, name) of each option in a help text."""
        return re.findall(r"(?m)^  (?:-([a-zA-Z]), |    )--([a-z-]+)", text)

    def completion(self, shell):
        return self.write("neoq." + shell, self.neoq("completion", shell).stdout)

    def manual(self):
        """The manual page as people read it."""
        source = self.neoq("help", "--scdoc").stdout
        page = subprocess.run(["scdoc"], input=source.encode(), capture_output=True, check=True)
        self.assertEqual(page.stderr, b"")
        return self.write("neoq.1", page.stdout)

    def read_manual(self, columns="200"):
        text = subprocess.run(["man", "-l", self.manual()], capture_output=True, check=True,
                              env={**self.env, "MANWIDTH": columns, "MANROFFOPT": "", "MAN_KEEP_FORMATTING": ""})
        self.assertEqual(text.stderr, b"")
        return text.stdout.decode()


class Same(Tables):
    def test_help_has_every_option_of_the_source(self):
        told = {name for _, name in self.options(self.general)}
        for command in self.commands:
            told |= {name for _, name in self.options(self.neoq("help", command).stdout)}
        written = set()
        for path in glob.glob(os.path.join(SOURCES, "*.[ch]")):
            with open(path) as file:
                text = re.sub(r"\s*\\\n", "\n", file.read())  # a table in a macro
                written |= set(re.findall(r'\{\s*\.name = "([a-z-]+)",\s*(?:\.letter = \'.\',\s*)?\.kind', text))
        self.assertGreater(len(written), 30)
        self.assertEqual(told, written)

    def test_every_option_is_everywhere(self):
        page = re.split(r"(?m)^   neoq (\S+)$", self.read_manual())
        sections = dict(zip(page[1::2], page[2::2]))
        self.assertEqual([name for name in page[1::2]], self.commands)
        with open(self.completion("bash")) as file:
            bash = file.read()
        with open(self.completion("zsh")) as file:
            zsh = file.read()
        with open(self.completion("fish")) as file:
            fish = file.read()
        for command in self.commands:
            if command == "--":  # has no option, and nobody wants help to type it
                continue
            self.assertIn(f"-a {command} ", fish)
            self.assertIn(f"        '{command}:", zsh)
            bash_arm = re.search(rf"(?m)^        {command}\) (.*)", bash).group(1)
            zsh_arm = re.search(rf"(?s)\n    {command}\)\n(.*?);;", zsh).group(1)
            for letter, name in self.options(self.neoq("help", command).stdout):
                self.assertRegex(sections[command], rf"(?m)^ +{f'-{letter}, ' if letter else ''}--{name}\b")
                self.assertRegex(bash_arm, rf" --{name}{f' -{letter}' if letter else ''}[ ']")
                self.assertIn(f"'(-{letter} --{name})'{{-{letter}" if letter else f"'--{name}", zsh_arm)
                self.assertRegex(fish, rf"(?m)^complete -c neoq -n '__neoq_command {command}' -l {name} "
                                       rf"{f'-s {letter} ' if letter else ''}-")
        for letter, name in self.options(self.general):
            self.assertRegex(page[0], rf"(?m)^ +(-{letter or '.'}, )?--{name}\b")
            for text in (bash, zsh, fish):
                self.assertRegex(text, rf"(--|-l ){name}")

    def test_help_fits_the_terminal(self):
        for columns in (60, 80, 200):
            for words in ((), ("enqueue",), ("bench",)):
                out = self.on_terminal("help", *words, columns=columns)[0]
                self.assertLessEqual(max(map(len, out.splitlines())), columns, (columns, words))


class Manual(Tables):
    def test_no_complaints(self):
        path = self.manual()
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "error", path], capture_output=True)
        self.assertEqual((lint.returncode, lint.stdout, lint.stderr), (0, b"", b""))

    def test_what_it_tells(self):
        text = self.read_manual()
        for word in ("NEOQ_URL", "NO_COLOR", "XDG_CONFIG_HOME", "/etc/neoq/neoq.conf", "EXIT STATUS", "CONFIGURATION"):
            self.assertIn(word, text)
            if word.upper() != word or "_" in word:
                self.assertIn(word, self.general)
        for status in range(6):
            self.assertRegex(text, rf"(?m)^       {status}$")
            self.assertRegex(self.general, rf"(?m)^  {status}   ")
        self.assertIn("  75    run it again after --snooze", text)  # a table of the details, as it stands
        self.assertIn("$NEOQ_PAYLOAD (if it is at most 64 KiB of text), and wherever an ARG has {}", text)


class Completion(Tables):
    def test_words(self):
        self.assertIn("did you mean bash", self.neoq("completion", "bas", status=2).stderr)
        self.assertIn("bash, zsh or fish", self.neoq("completion", status=2).stderr)
        self.neoq("completion", "bash", "zsh", status=2)

    def test_needs_no_store_and_no_good_configuration(self):
        self.neoq("completion", "bash", "--config", self.write("bad", "what?\n"), env={"NEOQ_URL": "nonsense:"})

    def test_grammar(self):
        for shell in SHELLS:
            check = subprocess.run([shell, "-n", self.completion(shell)], capture_output=True)
            self.assertEqual((check.returncode, check.stderr), (0, b""), shell)

    def bash(self, line):
        """What a bash offers for the line."""
        script = (f'source {self.completion("bash")}; COMP_LINE=$1 COMP_POINT=${{#1}}; read -ra COMP_WORDS <<<"$1"; '
                  '[[ $1 == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _neoq; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", line], capture_output=True, cwd=self.folder)
        self.assertEqual(done.stderr, b"")
        return done.stdout.decode().split()

    def fish(self, line):
        script = f'source {self.completion("fish")}; complete -C $argv[1]'
        done = subprocess.run(["fish", "--no-config", "-c", script, line], capture_output=True, cwd=self.folder,
                              env=self.env)
        self.assertEqual(done.stderr, b"")
        return [found.split("\t")[0] for found in done.stdout.decode().splitlines()]

    def test_what_is_offered(self):
        self.write("file-of-lines", "")
        for offer in (self.bash, self.fish):
            self.assertEqual(sorted(offer("neoq j")), ["job", "jobs"])
            self.assertEqual(offer("neoq --url sqlite:a=b.db workers --js"), ["--json"])
            self.assertEqual(sorted(offer("neoq jobs --state d")), ["dead", "done"])
            self.assertEqual(offer("neoq jobs --li"), ["--limit"])
            self.assertEqual(offer("neoq migrate u"), ["up"])
            self.assertEqual(offer("neoq completion z"), ["zsh"])
            self.assertEqual(offer("neoq help enq"), ["enqueue"])
            self.assertEqual(offer("neoq enqueue q --lines file-of"), ["file-of-lines"])
            self.assertEqual(offer("neoq enqueue q --at "), [])
            self.assertEqual(offer("neoq queues --until"), [])
            self.assertIn("sleep", offer("neoq work q -- slee"))

    def test_bash_parts_words_at_the_equals_sign(self):
        script = (f'source {self.completion("bash")}; COMP_LINE="neoq jobs --state=de" COMP_POINT=${{#COMP_LINE}}; '
                  'COMP_WORDS=(neoq jobs --state = de) COMP_CWORD=4; _neoq; echo "${COMPREPLY[@]}"')
        self.assertEqual(subprocess.run(["bash", "--norc", "-c", script], capture_output=True).stdout, b"dead\n")

    def test_in_a_real_bash(self):
        """A line typed into an interactive bash, with tabs."""
        folder = os.path.dirname(NEOQ)
        pid, master = pty.fork()
        if pid == 0:
            os.environ.update(self.env, PATH=folder + ":" + os.environ["PATH"], TERM="dumb", PS1="$ ",
                              INPUTRC="/dev/null")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        try:
            os.write(master, b"source <(neoq completion bash)\nneoq --qui\tenqu\tmail hello --no-\t\necho 'EN''D'\n")
            out = b""
            while b"END\r\n" not in out:
                self.assertTrue(select.select([master], [], [], PATIENCE)[0], out)
                out += os.read(master, 4096)
            self.assertIn(b"neoq --quiet enqueue mail hello --no-unique", out)
        finally:
            os.close(master)
            os.waitpid(pid, 0)
        self.assertEqual(len(self.jobs("--queue", "mail")), 1)


if __name__ == "__main__":
    unittest.main()
