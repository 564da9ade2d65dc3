# SPDX-License-Identifier: MIT
"""neoq work: what the program gets, and what its end makes of the job."""

import json
import os
import re
import subprocess
import sys

from support import *

NASTY = """{"a": "'; rm -rf / #", "b": "$(touch pwned) `touch pwned` | > x \\\\ \\n * ? ~ {} %s"}"""


class Given(Case):
    """What the program finds when it begins."""

    def test_payload_on_standard_input(self):
        for payload in (b"plain", b"\x00\x01\xfe\xff\n\n", b"", b"x" * (1 << 20)):
            id = self.enqueue("q", "--no-unique", input=payload)
            result = self.work("q", "--", "sh", "-c", "cat > out; echo $NEOQ_JOB_ID > id")
            self.assertEqual(result.stdout, "1 done, 0 failed, 0 dead\n")
            self.assertEqual(self.read("out"), payload)
            self.assertEqual(self.read("id").decode().strip(), id)

    def test_environment(self):
        id = self.enqueue("q", NASTY, "--deadline", "2099-01-02T03:04:05Z")
        self.work("q", "--", "sh", "-c", "env -0 > env", env={"NEOQ_PAYLOAD": "old", "NEOQ_JOB_ID": "old"})
        env = dict(pair.split("=", 1) for pair in self.read("env").decode().rstrip("\0").split("\0"))
        self.assertEqual(env["NEOQ_JOB_ID"], id)
        self.assertEqual(env["NEOQ_QUEUE"], "q")
        self.assertEqual(env["NEOQ_RETRIES"], "0")
        self.assertEqual(env["NEOQ_DEADLINE"], "2099-01-02T03:04:05.000000Z")
        self.assertEqual(env["NEOQ_PAYLOAD"], NASTY)

    def environment(self, *options, env):
        """What of env reaches the program."""
        self.enqueue("q", "1", "--no-unique")
        self.work("q", *options, "--", "sh", "-c", "env -0 > env", env=env)
        found = dict(pair.split("=", 1) for pair in self.read("env").decode().rstrip("\0").split("\0"))
        return {name: value for name, value in found.items() if name in env or name.startswith(("PG", "NEOQ_U"))}

    def test_only_a_short_list_of_the_environment_is_handed_on(self):
        listed = dict.fromkeys("USER LOGNAME SHELL LANG LANGUAGE LC_ALL LC_TIME TZ TERM TMPDIR".split(), "C")
        withheld = dict.fromkeys("PGPASSWORD PGPASSFILE PGSERVICE AWS_SECRET_ACCESS_KEY MY_SECRET CC LCX SSH_AUTH_SOCK "
                                 "LD_LIBRARY_PATH NEOQ_URLS NEOQ NEOQ_MINE HOMER XHOME".split(), "secret")
        self.assertEqual(self.environment(env={**listed, **withheld}), listed)
        out = self.neoq("help", "work").stdout
        for name in [*listed, "PATH", "HOME"]:
            self.assertRegex(out, rf"\b{'LC_' if name.startswith('LC_') else name}", name)

    def test_more_of_it_by_name(self):
        env = {"CC": "gcc", "CFLAGS": "-O2 a=b", "EMPTY": "", "CCC": "no", "C": "no", "FLAGS": "no"}
        found = self.environment("--env", "CC,CFLAGS", "--env", "EMPTY", "--env=ABSENT", env=env)
        self.assertEqual(found, {"CC": "gcc", "CFLAGS": "-O2 a=b", "EMPTY": ""})
        self.assertEqual(self.environment("--env", "NEOQ_URL,PGPASSWORD", env={"PGPASSWORD": "mine"}),
                         {"PGPASSWORD": "mine", "NEOQ_URL": self.url})
        id = self.enqueue("q", "1", "--no-unique", "--retain", "1h")
        self.work("q", "--env", "NEOQ_JOB_ID", "--keep-output", "--", "env", env={"NEOQ_JOB_ID": "old"})
        found = [line for line in self.job(id)["result"].splitlines() if line.startswith("NEOQ_JOB_ID")]
        self.assertEqual(found, ["NEOQ_JOB_ID=" + id])
        for names, words in (("CC=gcc", "takes names"), ("", "name is missing"), ("A,,B", "name is missing"),
                             (",A", "name is missing"), ("A,", "name is missing")):
            self.assertIn(words, self.neoq("work", "q", "--env", names, "--", "true", status=2).stderr)

    def test_no_secret_of_the_store_arrives(self):
        secret = {"PGPASSWORD": "sesame"}
        self.enqueue("q", "1")
        self.neoq("--", "sh", "-c", "cat /proc/$$/environ /proc/$$/cmdline > seen-too")
        self.work("q", "--", "sh", "-c", "cat /proc/$$/environ /proc/$$/cmdline > seen", env=secret)
        self.work("--commands", env=secret)
        for seen in (self.read("seen"), self.read("seen-too")):
            self.assertIn(b"NEOQ_JOB_ID", seen)
            self.assertNotIn(b"sesame", seen)
            self.assertNotIn(self.url.encode(), seen)

    def test_payload_variable_only_where_it_fits(self):
        cases = [(b"x" * 65536, True), (b"x" * 65537, False), (b"a\0b", False), (b"\xff\xfe", False), (b"", True)]
        for payload, there in cases:
            self.enqueue("q", "--no-unique", input=payload)
            self.work("q", "--", "bash", "-c", 'echo "${NEOQ_PAYLOAD-unset}${NEOQ_DEADLINE-unset}" > out')
            expected = payload if there else b"unset"
            self.assertEqual(self.read("out"), expected + b"\n")

    def test_braces(self):
        self.enqueue("q", NASTY)
        show = self.script("show", 'printf "%s\\0" "$@" > args\n')
        self.work("q", "--", show, "{}", "--body={}", "{}{}", "$HOME", "", "{ }", "it's")
        args = self.read("args").decode().split("\0")[:-1]
        self.assertEqual(args, [NASTY, "--body=" + NASTY, NASTY + NASTY, "$HOME", "", "{ }", "it's"])
        self.assertEqual(sorted(os.listdir(self.folder)).count("pwned"), 0)

    def test_braces_with_what_no_argument_can_hold(self):
        for payload, words in ((b"a\0b", "NUL"), (b"x" * 131072, "too long")):
            id = self.enqueue("q", "--no-unique", "--max-retries", "0", input=payload)
            self.assertEqual(self.work("q", "--", "echo", "{}", status=1).stdout, "0 done, 1 failed, 1 dead\n")
            self.assertIn(words, self.job(id)["error"])

    def test_longest_argument(self):
        self.enqueue("q", input=b"x" * 131071)
        self.work("q", "--", "true", "{}")
        self.enqueue("q", input=b"x" * 65535)
        self.work("q", "--", "true", "{}-{}")

    def test_no_descriptor_is_inherited(self):
        look = self.script("look", 'ls -l /proc/self/fd > fds\n')
        held = os.open(self.folder, os.O_RDONLY)
        try:
            os.set_inheritable(held, True)
            self.enqueue("q", "1")
            for extra in ([], ["--keep-output"]):
                self.enqueue("q", "1", "--no-unique")
                process = subprocess.run([NEOQ, "work", "q", "--until-empty", *extra, "--", look], env=self.env,
                                         cwd=self.folder, close_fds=False, capture_output=True)
                self.assertEqual(process.returncode, 0, process.stderr)
                fds = [line.split(" -> ")[0].split()[-1] for line in self.read("fds").decode().splitlines()[1:]]
                self.assertEqual(sorted(fds), ["0", "1", "2", "3"])  # 3: the folder that ls itself lists
        finally:
            os.close(held)

    def test_started_without_standard_descriptors(self):
        self.enqueue("q", "hello")
        subprocess.run(["bash", "-c", '"$0" work q --until-empty -- sh -c "cat > out" 0<&- 1>&- 2>&-', NEOQ], env=self.env,
                       cwd=self.folder)
        self.assertEqual(self.read("out"), b"hello")

    def test_signals_and_group(self):
        look = self.script("look", 'grep -E "^Sig(Blk|Ign)" /proc/self/status > signals; ps -o pgid= -p $$ > group; echo $$ > pid\n')
        self.enqueue("q", "1")
        self.work("q", "--", look)
        for bits in re.findall(rb"\t(\w+)", self.read("signals")):
            self.assertEqual(int(bits, 16) & ~(3 << 31), 0)  # 32 and 33 are the C library's own
        self.assertEqual(self.read("group").split(), self.read("pid").split())

    def test_found_in_the_path_as_execvp_would(self):
        os.mkdir(self.path("bin"))
        self.script("bin/mine", "touch found\n")
        self.write("mine", "not executable")
        self.enqueue("q", "1")
        self.work("q", "--", "mine", env={"PATH": self.folder + "::" + self.path("bin") + ":" + os.environ["PATH"]})
        self.assertTrue(os.path.exists(self.path("found")))

    def test_standard_output_passes_through(self):
        self.enqueue("q", "hello")
        self.assertEqual(self.work("q", "--", "cat").stdout, "hello1 done, 0 failed, 0 dead\n")


class Ends(Case):
    """What the end of the program makes of the job."""

    def run_one(self, command, *options, status=1, enqueue=()):
        id = self.enqueue("q", "1", "--retain", "1h", *enqueue)
        result = self.work("q", *options, "--", "bash", "-c", command, status=status)
        return self.job(id), result

    def test_done(self):
        job, result = self.run_one("exit 0", status=0)
        self.assertEqual((job["state"], job["error"], job["result"]), ("done", None, None))
        self.assertEqual(result.stdout, "1 done, 0 failed, 0 dead\n")
        (run,) = job["runs"]
        self.assertEqual((run["outcome"], run["exit_code"], run["signal"]), ("done", 0, 0))
        self.assertGreater(run["cpu_seconds"], 0)
        self.assertGreater(run["peak_bytes"], 1 << 19)

    def test_a_done_job_is_forgotten(self):
        id = self.enqueue("q", "1")
        self.work("q", "--", "true")
        self.neoq("job", id, status=3)
        self.assertEqual((self.queue("q")["processed"], self.queue("q")["failed"]), (1, 0))

    def test_failed(self):
        job, result = self.run_one("echo some words >&2; exit 3")
        self.assertEqual((job["state"], job["error"]), ("retrying", "exit status 3: some words"))
        self.assertEqual(result.stdout, "0 done, 1 failed, 0 dead\n")
        self.assertIn("some words\n", result.stderr)
        self.assertIn("1 job is left for later", result.stderr)
        self.assertEqual(job["runs"][0]["exit_code"], 3)

    def test_out_of_retries(self):
        job, result = self.run_one("exit 1", enqueue=["--max-retries", "0"])
        self.assertEqual((job["state"], job["error"]), ("dead", "exit status 1"))
        self.assertEqual(result.stdout, "0 done, 1 failed, 1 dead\n")

    def test_retries_that_are_due_soon_are_run(self):
        job, result = self.run_one('echo $NEOQ_RETRIES >> tries; [ $NEOQ_RETRIES = 2 ]',
                                   enqueue=["--retry-waits", "10ms,20ms,30ms"])
        self.assertEqual(job["state"], "done")
        self.assertEqual(result.stdout, "1 done, 2 failed, 0 dead\n")
        self.assertEqual(self.read("tries"), b"0\n1\n2\n")

    def test_snooze(self):
        job, result = self.run_one("exit 75", "--snooze", "1h", status=0)
        self.assertEqual((job["state"], job["retries"], job["error"]), ("scheduled", 0, None))
        self.assertEqual(result.stdout, "0 done, 0 failed, 0 dead\n")
        job, result = self.run_one("[ -e again ] || { touch again; exit 75; }", "--snooze", "10ms", status=0,
                                   enqueue=["--no-unique"])
        self.assertEqual(result.stdout, "1 done, 0 failed, 0 dead\n")

    def test_discard(self):
        job, result = self.run_one("echo never >&2; exit 65")
        self.assertEqual((job["state"], job["error"]), ("dead", "exit status 65: never"))
        self.assertEqual(result.stdout, "0 done, 0 failed, 1 dead\n")

    def test_slow_down(self):
        job, result = self.run_one("echo busy >&2; exit 76")
        self.assertEqual((job["state"], job["error"]), ("retrying", "exit status 76: busy"))
        self.assertEqual(result.stdout, "0 done, 1 failed, 0 dead\n")

    def test_killed(self):
        job, _ = self.run_one("echo oh >&2; kill -SEGV $$")
        self.assertEqual((job["state"], job["error"]), ("retrying", "killed by signal 11 (SIGSEGV): oh"))
        self.assertEqual(job["runs"][0]["signal"], 11)

    def test_the_last_of_standard_error(self):
        job, _ = self.run_one("for ((i = 0; i < 9000; i++)); do echo line $i; done >&2; exit 1")
        self.assertTrue(job["error"].startswith("exit status 1: "))
        self.assertTrue(job["error"].endswith("line 8998\nline 8999"))
        self.assertLess(len(job["error"]), 501)
        job, _ = self.run_one(r"printf 'a\xff\xe2\x82\xac b' >&2; exit 1", enqueue=["--no-unique"])
        self.assertEqual(job["error"], "exit status 1: a\ufffd\u20ac b")

    def test_keep_output(self):
        job, result = self.run_one("cat; echo ' out'", "--keep-output", status=0)
        self.assertEqual(job["result"], "1 out\n")
        self.assertEqual(result.stdout, "1 done, 0 failed, 0 dead\n")
        job, _ = self.run_one("true", "--keep-output", status=0, enqueue=["--no-unique"])
        self.assertEqual(job["result"], "")
        job, _ = self.run_one(r"printf '\xff\0'", "--keep-output", status=0, enqueue=["--no-unique"])
        self.assertEqual((job["result"], job["result_base64"]), (None, "/wA="))

    def test_keep_output_is_bounded(self):
        job, result = self.run_one("head -c 3000000 /dev/zero | tr '\\0' x", "--keep-output", status=0)
        self.assertEqual(job["result"], "x" * (1 << 20))
        self.assertIn("longer than 1 MiB", result.stderr)

    def test_a_program_that_vanishes(self):
        program = self.script("program", 'rm "$0"\n')
        self.enqueue("q", "1")
        id = self.enqueue("q", "2", "--max-retries", "0")
        self.work("q=1", "--", program, status=1)
        self.assertIn("cannot be started: No such file", self.job(id)["error"])

    def test_a_script_that_does_not_say_what_runs_it(self):
        self.write("program", "true\n", 0o755)
        id = self.enqueue("q", "1")
        self.work("q", "--", "./program", status=1)
        self.assertIn("begins with #!", self.job(id)["error"])


class Limits(Case):
    """What a program may take, and the record of what it took."""

    TAKE = "import sys; kept = bytearray(int(sys.argv[1]) << 20); print(len(kept))"

    def run_limited(self, *command, limits, status=1, enqueue=()):
        id = self.enqueue("q", "1", "--retain", "1h", "--no-unique", *enqueue)
        self.work("q", *limits, "--", *command, status=status)
        return self.job(id)

    def test_memory(self):
        job = self.run_limited(sys.executable, "-c", self.TAKE, "1000", limits=["--memory", "500M"])
        self.assertEqual(job["state"], "retrying")
        self.assertIn("MemoryError", job["error"])
        (run,) = job["runs"]
        self.assertEqual((run["outcome"], run["exit_code"], run["signal"]), ("failed", 1, 0))
        self.assertLess(run["peak_bytes"], 500 << 20)
        job = self.run_limited(sys.executable, "-c", self.TAKE, "50", limits=["--memory", "500M"], status=0)
        self.assertEqual(job["state"], "done")
        self.assertGreater(job["runs"][0]["peak_bytes"], 50 << 20)

    def test_each_process_of_the_program_has_the_limit(self):
        job = self.run_limited("bash", "-c", "ulimit -v; bash -c 'ulimit -t'; ulimit -H -t",
                               limits=["--memory", "1G", "--cpu", "1500ms", "--kill-after", "2s", "--keep-output"], status=0)
        self.assertEqual(job["result"], "1048576\n2\n4\n")

    def test_it_is_ours_where_there_is_none(self):
        ours = subprocess.run(["bash", "-c", "ulimit -v; ulimit -t"], capture_output=True, text=True).stdout
        job = self.run_limited("bash", "-c", "ulimit -v; ulimit -t", limits=["--keep-output"], status=0)
        self.assertEqual(job["result"], ours)

    def test_a_limit_that_leaves_no_room_for_the_program(self):
        job = self.run_limited(sys.executable, "-c", self.TAKE, "1", limits=["--memory", "1M"])
        self.assertEqual(job["state"], "retrying")

    def test_processor_time(self):
        job = self.run_limited("bash", "-c", "while :; do :; done", limits=["--cpu", "1s"])
        self.assertEqual(job["error"], "killed by signal 24 (SIGXCPU): it computed for longer than --cpu 1s")
        (run,) = job["runs"]
        self.assertEqual(run["signal"], signal.SIGXCPU)
        # The limit counts whole ticks of whoever runs as they fall, the sum of a run what it took.
        self.assertGreater(run["cpu_seconds"], 0.5)

    def test_one_that_does_not_mind_is_killed(self):
        job = self.run_limited("bash", "-c", "trap '' XCPU; while :; do :; done",
                               limits=["--cpu", "1s", "--kill-after", "1s"])
        self.assertEqual(job["runs"][0]["signal"], signal.SIGKILL)

    def test_one_crash_after_the_other_is_retried_by_the_jobs_policy(self):
        job = self.run_limited("bash", "-c", "kill -ABRT $$", limits=["--memory", "1G"],
                               enqueue=["--retry-waits", "10ms,10ms,10ms,10ms", "--max-retries", "4"])
        self.assertEqual((job["state"], len(job["runs"])), ("dead", 5))
        self.assertEqual({(run["outcome"], run["signal"]) for run in job["runs"]}, {("failed", signal.SIGABRT)})

    def test_the_record_as_people_read_it(self):
        job = self.run_limited("bash", "-c", "for ((i = 0; i < 50000; i++)); do :; done; kill -SEGV $$", limits=[])
        text = self.neoq("job", job["id"]).stdout
        self.assertRegex(text, r"RUN +BEGAN +TOOK +OUTCOME +EXIT +CPU +PEAK")
        self.assertRegex(text, r"1  +20\S+Z  +[0-9.]+m?s  +failed  +signal 11  +[0-9.]+m?s  +[0-9.]+ MiB")

    def test_what_makes_no_sense(self):
        for limits, words in ((["--memory", "12X"], "'12X' is no number of bytes"),
                              (["--memory", "K"], "'K' is no number of bytes"),
                              (["--memory", "99999999999G"], "is no number of bytes"),
                              (["--memory", "64K"], "out of range"), (["--cpu", "10ms"], "out of range")):
            self.assertIn(words, self.neoq("work", "q", *limits, "--", "true", status=2).stderr)


class Totals(Case):
    def test_nothing_to_do(self):
        self.assertEqual(self.work("q", "--", "true").stdout, "0 done, 0 failed, 0 dead\n")

    def test_many_jobs_on_two_queues(self):
        self.write("lines", "".join(f"{n}\n" for n in range(150)))
        self.neoq("enqueue", "a", "--lines", self.path("lines"))
        self.neoq("enqueue", "b", "--lines", self.path("lines"))
        result = self.work("a=4", "b", "--concurrency", "2", "--", "bash", "-c", 'echo $NEOQ_QUEUE $NEOQ_PAYLOAD >> out')
        self.assertEqual(result.stdout, "300 done, 0 failed, 0 dead\n")
        expected = sorted(f"{queue} {n}" for queue in "ab" for n in range(150))
        self.assertEqual(sorted(self.read("out").decode().splitlines()), expected)

    def test_no_more_at_once_than_was_said(self):
        for n in range(6):
            self.enqueue("q", str(n))
        self.work("q=2", "--", "bash", "-c", 'echo + >> log; read -t 0.1 < <(sleep 1); echo - >> log')
        running = most = 0
        for line in self.read("log").decode().split():
            running += 1 if line == "+" else -1
            most = max(most, running)
        self.assertEqual(most, 2)

    def test_json(self):
        good = self.enqueue("q", '{"ok": true}')
        bad = self.enqueue("q", '{"ok": false}', "--max-retries", "0")
        result = self.work("--json", "q", "--", "bash", "-c", 'echo noise; [[ $NEOQ_PAYLOAD == *true* ]]', status=1)
        *jobs, totals = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual({k: totals[k] for k in ("done", "failed", "dead")}, {"done": 1, "failed": 1, "dead": 1})
        self.assertEqual({job["id"]: job["run"]["outcome"] for job in jobs}, {good: "done", bad: "failed"})
        self.assertLessEqual(JOB_KEYS, set(jobs[0]))
        self.assertIn("noise\n", result.stderr)

    def test_verbose_and_summary(self):
        id = self.enqueue("q", '"bad"', "--max-retries", "0")
        result = self.work("-v", "--summary", "q", "--", "bash", "-c", "echo words >&2; exit 9", status=1)
        self.assertRegex(result.stderr, f"q {id}: failed in .*dead: exit status 9: words")
        self.assertRegex(result.stderr, f'(?s)slowest:\n.*{id}.*failed:\n.*{id}  q  "bad"  exit status 9: words')

    def test_quiet(self):
        self.enqueue("q", "1", "--in", "1h")
        self.assertEqual(self.work("-q", "q", "--", "true").stderr, "")

    def test_paused(self):
        self.enqueue("q", "1")
        self.neoq("pause", "q")
        result = self.work("q", "--", "true")
        self.assertEqual(result.stdout, "0 done, 0 failed, 0 dead\n")
        self.assertIn("paused", result.stderr)
        self.neoq("resume", "q")
        self.assertEqual(self.work("q", "--", "true").stdout, "1 done, 0 failed, 0 dead\n")

    def test_a_job_that_is_due_soon_is_waited_for(self):
        self.enqueue("q", "1", "--in", "1s")
        self.assertEqual(self.work("q", "--", "true").stdout, "1 done, 0 failed, 0 dead\n")

    def test_jobs_of_jobs(self):
        """A job that enqueues another is followed by it."""
        self.enqueue("q", "3")
        more = self.script("more", 'n=$NEOQ_PAYLOAD; [ $n = 0 ] || "$NEOQ" enqueue q $((n - 1))\n')
        result = self.work("q", "--", "env", "NEOQ=" + NEOQ, "NEOQ_URL=" + self.url, more)
        self.assertTrue(result.stdout.endswith("4 done, 0 failed, 0 dead\n"), result.stdout)

    def test_live_line_on_a_terminal(self):
        for n in range(3):
            self.enqueue("q", str(n))
        master, slave = os.openpty()
        process = subprocess.Popen([NEOQ, "work", "q=1", "--until-empty", "--", "sleep", "0.3"], stderr=slave,
                                   stdout=subprocess.PIPE, env={**self.env, "TERM": "xterm"})
        self.started.append(process)
        os.close(slave)
        out, _ = process.communicate(timeout=20)
        drawn = read_all(master)
        self.assertEqual(out, b"3 done, 0 failed, 0 dead\n")
        self.assertRegex(drawn, rb"\d done  0 failed  \d running")
        self.assertIn(b"slowest:", drawn)


if __name__ == "__main__":
    unittest.main()
