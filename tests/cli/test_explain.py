# SPDX-License-Identifier: MIT
"""neoq explain: why a job is where it is."""

import os

from support import *


class Explain(Case):
    def explain(self, id, *reasons):
        """The sentences, which are also those of the text; the reasons are as expected."""
        (answer,) = self.objects("explain", id)
        self.assertEqual(set(answer), {"id", "queue", "state", "reasons"})
        self.assertEqual([reason["reason"] for reason in answer["reasons"]], list(reasons))
        title, *sentences = self.neoq("explain", id).stdout.splitlines()
        self.assertEqual(title, f"Job {id} of queue {answer['queue']} is {answer['state']}.")
        self.assertEqual(len(sentences), len(reasons))
        for sentence in sentences:
            self.assertRegex(sentence, r"^[A-Z0-9].*\S$")
        return {reason["reason"]: reason["words"] for reason in answer["reasons"]}

    def test_ready(self):
        first = self.enqueue("q", "1")
        second = self.enqueue("q", "2", "--deadline", "2099-01-02T03:04:05Z")
        urgent = self.enqueue("q", "3", "--priority", "9")
        self.assertIn("neoq work q -- COMMAND", self.explain(urgent, "no_worker", "next")["no_worker"])
        self.assertIn("1 ready job of its queue comes before it", self.explain(first, "no_worker", "behind")["behind"])
        words = self.explain(second, "no_worker", "behind", "deadline")
        self.assertIn("2 ready jobs of its queue come before it", words["behind"])
        self.assertIn("2099-01-02T03:04:05", words["deadline"])
        self.neoq("pause", "q")
        self.assertIn("neoq resume q", self.explain(first, "paused", "no_worker", "behind")["paused"])

    def test_one_of_many(self):
        self.write("lines", "".join(f"{n}\n" for n in range(1001)))
        self.neoq("enqueue", "q", "--lines", self.path("lines"))
        self.assertIn("one of 1001", self.explain(self.jobs("-n", "1")[0]["id"], "no_worker", "behind")["behind"])

    def test_worker_of_another_queue(self):
        id = self.enqueue("q", "1")
        self.start("work", "other", "--", "true")
        self.until(lambda: self.objects("workers"), "a worker")
        self.assertIn("1 worker is alive: perhaps none is for this queue",
                      self.explain(id, "next", "idle_queue")["idle_queue"])

    def test_scheduled(self):
        id = self.enqueue("q", "1", "--at", "2099-01-02T03:04:05Z")
        self.assertIn("2099-01-02T03:04:05.000000Z", self.explain(id, "scheduled", "no_worker")["scheduled"])

    def test_retrying(self):
        id = self.enqueue("q", "1", "--max-retries", "3")
        self.work("q", "--", "sh", "-c", "echo oh >&2; exit 4", status=1)
        words = self.explain(id, "retry", "error", "no_worker")
        self.assertIn("retry 1 of 3", words["retry"])
        self.assertIn("exit status 4: oh", words["error"])

    def test_running(self):
        self.hold()
        id, behind = self.enqueue("q", "1"), self.enqueue("q", "2")
        worker = self.start("work", "q=1", "--", "cat", "go")
        self.until(lambda: self.job(id)["state"] == "running", "it to run")
        words = self.explain(id, "running", "worker")
        self.assertIn("run 1, retry 0 of 23", words["running"])
        self.assertIn(f"Process {worker.pid} on ", words["worker"])
        self.assertIn("1 job of its queue runs now", self.explain(behind, "next", "busy")["busy"])

    def test_running_by_a_worker_that_died(self):
        id = self.enqueue("q", "1")
        worker = self.start("work", "q", "--", "bash", "-c", "echo $$ > pid; exec sleep 60")
        pid = int(self.until(lambda: self.until_file("pid").strip(), "the program"))
        worker.kill()
        worker.wait()
        os.kill(pid, signal.SIGKILL)
        (answer,) = self.objects("explain", id)
        self.assertEqual(answer["state"], "running")
        self.assertLessEqual({reason["reason"] for reason in answer["reasons"]}, {"running", "worker", "worker_lost"})

    def test_done(self):
        id = self.enqueue("q", "1", "--retain", "1h")
        self.work("q", "--", "true")
        self.assertIn("It was done at 2", self.explain(id, "done")["done"])

    def test_dead(self):
        def dead(command, *options):
            id = self.enqueue("q", "1", "--no-unique", *options)
            self.work("q", "--", "sh", "-c", command, status=1)
            return id

        words = self.explain(dead("exit 4", "--max-retries", "0"), "out_of_retries", "error", "retry_by_hand")
        self.assertIn("is not to be retried", words["out_of_retries"])
        self.assertIn("exit status 4", words["error"])
        words = self.explain(dead("exit 4", "--retry-waits", "1ms"), "out_of_retries", "retries", "error", "retry_by_hand")
        self.assertIn("1 of 1 times", words["retries"])
        self.explain(dead("exit 65"), "discarded", "error", "retry_by_hand")
        id = self.enqueue("q", "2")
        self.neoq("cancel", id)
        self.explain(id, "cancelled", "retry_by_hand")

    def test_past_its_deadline(self):
        id = self.enqueue("q", "1", "--deadline", "2020-01-01T00:00:00Z")
        self.assertIn("will not be run",
                      self.explain(id, "no_worker", "next", "past_deadline")["past_deadline"])
        self.neoq("work", "q", "--until-empty", "--", "true", status=None)
        self.assertEqual(self.job(id)["state"], "dead")
        self.assertIn("past_deadline", [reason["reason"] for reason in self.objects("explain", id)[0]["reasons"]])

    def test_unknown(self):
        self.neoq("explain", "00000000-0000-7000-8000-000000000000", status=3)
        self.neoq("explain", status=2)
        self.neoq("explain", "a", "b", status=2)


if __name__ == "__main__":
    unittest.main()
