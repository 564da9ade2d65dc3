# SPDX-License-Identifier: MIT
"""neoq -- COMMAND, and neoq work --commands."""

import json
import os
import stat
import subprocess

from support import *


class Commands(Case):
    def command(self, *words, **how):
        return self.neoq("--", *words, **how).stdout.strip()

    def run_all(self, *options, status=0, **how):
        return self.neoq("work", "--commands", "--until-empty", *options, status=status, **how)

    def log(self, id):
        return self.neoq("log", id).stdout


class Enqueue(Commands):
    def test_the_job(self):
        words = ["make", "-j8", "--help", "-q", "--url", "it's", 'a "b"', "\u00e4", "$HOME", "", "--", "{}"]
        (answer,) = self.objects("--", *words)
        job = self.job(answer["id"])
        self.assertEqual(answer["queue"], "commands")
        self.assertEqual(job["payload"], {"command": words, "folder": os.path.realpath(self.folder)})
        self.assertEqual((job["queue"], job["state"], job["max_retries"]), ("commands", "ready", 0))

    def test_typed_twice_it_is_run_twice(self):
        self.assertNotEqual(self.command("true"), self.command("true"))
        self.assertEqual(self.run_all().stdout, "2 done, 0 failed, 0 dead\n")

    def test_with_nothing_set_up(self):
        env = {"NEOQ_URL": ""}
        id = self.command("sh", "-c", "echo $HOME", env=env)
        place = self.path(".local/state/neoq")
        self.assertEqual(stat.S_IMODE(os.stat(place).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(place + "/jobs.db").st_mode), 0o600)
        self.run_all(env=env)
        self.assertEqual(self.neoq("log", id, env=env).stdout, self.folder + "\n")

    def refused(self, *words, says):
        result = subprocess.run([NEOQ, "--", *words], env=self.env, cwd=self.folder, capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (2, b""), result.stderr)
        self.assertIn(says, result.stderr.decode())
        self.assertEqual(os.listdir(self.folder), [])

    def test_words_that_json_cannot_hold(self):
        self.refused(b"cat", b"caf\xe9", says="word 2 of the command is not UTF-8")

    def test_a_folder_that_json_cannot_hold(self):
        os.mkdir(os.fsencode(self.folder) + b"/caf\xe9")
        result = subprocess.run([NEOQ, "--", "true"], env=self.env, cwd=os.fsencode(self.folder) + b"/caf\xe9",
                                capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (2, b""), result.stderr)
        self.assertIn("folder is not UTF-8", result.stderr.decode())
        self.assertEqual(os.listdir(self.folder), [os.fsdecode(b"caf\xe9")])

    def test_nothing(self):
        self.refused(says="a command is missing")

    def test_help(self):
        self.assertIn("neoq -- make -j8", self.neoq("help", "--").stdout)
        self.assertRegex(self.neoq("help").stdout, r"(?m)^  -- +Enqueues a command")


class Run(Commands):
    def test_words_folder_and_input(self):
        os.mkdir(self.path("there"))
        show = self.script("there/show", 'printf "%s\\0" "$@"; pwd; echo "$PWD"; cat | wc -c\n')
        words = ["a b", "", "$HOME", "{}", "\u00e4", "'", "-x"]
        id = self.neoq("--", "./show", *words, cwd="there").stdout.strip()
        self.run_all()
        folder = os.path.realpath(self.path("there"))
        self.assertEqual(self.log(id), "\0".join(words) + f"\0{folder}\n{folder}\n0\n")

    def test_both_outputs_in_order(self):
        id = self.command("sh", "-c", "echo 1; echo 2 >&2; echo 3; echo 4 >&2; exit 3")
        result = self.run_all(status=1)
        self.assertEqual(self.log(id), "1\n2\n3\n4\n")
        self.assertEqual(result.stdout, "0 done, 1 failed, 1 dead\n")
        job = self.job(id)
        self.assertEqual((job["state"], job["error"]), ("dead", "exit status 3: 1\n2\n3\n4"))

    def test_no_exit_status_has_a_meaning_of_its_own(self):
        for code in (65, 75, 76):
            id = self.command("sh", "-c", f"exit {code}")
            self.run_all(status=1)
            self.assertEqual(self.job(id)["error"], f"exit status {code}")
            self.neoq("wait", id, status=code)

    def test_one_after_another(self):
        for n in range(3):
            self.command("bash", "-c", f"echo +{n} >> log; read -t 0.05 < <(sleep 1); echo -{n} >> log")
        self.run_all()
        self.assertEqual(self.read("log").decode().split(), ["+0", "-0", "+1", "-1", "+2", "-2"])

    def test_several_at_once(self):
        os.mkfifo(self.path("fifo"))
        self.command("sh", "-c", "cat fifo")
        self.command("sh", "-c", "echo met > fifo")
        self.assertEqual(self.run_all("-c", "2").stdout, "2 done, 0 failed, 0 dead\n")

    def test_what_cannot_be_run(self):
        os.mkdir(self.path("gone"))
        cases = [(self.command("no-such-program"), "no-such-program cannot be started: it is not in the $PATH"),
                 (self.command("./no-such"), "./no-such cannot be started: No such file or directory"),
                 (self.neoq("--", "true", cwd="gone").stdout.strip(), "gone cannot be entered: No such file"),
                 (self.enqueue("commands", '["true"]', "--max-retries", "0"), "the payload is no command"),
                 (self.enqueue("commands", '{"command": ["true", 1], "folder": "/"}', "--max-retries", "0"), "no command"),
                 (self.enqueue("commands", '{"command": [], "folder": "/"}', "--max-retries", "0"), "no command"),
                 (self.enqueue("commands", '{"command": ["true"]}', "--max-retries", "0"), "no command"),
                 (self.enqueue("commands", "true", "--max-retries", "0"), "no command")]
        os.rmdir(self.path("gone"))
        self.run_all(status=1)
        for id, words in cases:
            self.assertEqual(self.job(id)["state"], "dead")
            self.assertIn(words, self.job(id)["error"])
            self.neoq("wait", id, status=127)

    def test_nothing_else_runs_them(self):
        id = self.command("sh", "-c", "touch ran")
        self.assertIn("--commands", self.neoq("work", "commands", "--until-empty", "--", "true", status=2).stderr)
        self.work("other", "--", "true")
        self.assertEqual(self.job(id)["state"], "ready")
        self.assertFalse(os.path.exists(self.path("ran")))

    def test_commands_stand_alone(self):
        for words in (["--commands", "q"], ["--commands", "--", "true"], ["q", "--commands", "--", "true"]):
            self.assertIn("in place of a queue", self.neoq("work", *words, status=2).stderr)

    def test_no_timeout_unless_one_is_given(self):
        id = self.command("sleep", "60")
        self.run_all("--timeout", "50ms", status=1)
        self.assertIn("timed out after 50ms", self.job(id)["error"])
        self.assertIn("never with --commands", " ".join(self.neoq("help", "work").stdout.split()))

    def test_not_run_again_after_a_crash_of_its_worker(self):
        id = self.command("bash", "-c", "echo run >> runs; echo $$ > pid; exec sleep 60")
        worker = self.start("work", "--commands", "--lease", "1s")
        pid = int(self.until(lambda: self.until_file("pid").strip(), "the command"))
        worker.kill()
        worker.wait()
        os.kill(pid, signal.SIGKILL)
        self.start("work", "--commands", "--lease", "1s")
        self.neoq("wait", id, status=1)
        self.assertEqual(self.read("runs"), b"run\n")


if __name__ == "__main__":
    unittest.main()
