# SPDX-License-Identifier: MIT
"""docs/limits.md: the number of each row is the one in the source that enforces it.

Below, each row's first cell and where its number is: a file, and a pattern whose group is the number as C has it. A row
without an entry, an entry without a row, and a number that differs are failures. Rows of words have no entry.
"""

import os
import re
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

JOB, RUN, NEOQ, WORKER = "src/job/job.h", "src/runtime/run.c", "src/runtime/neoq.c", "src/runtime/worker.c"
RUNTIME, CHILDREN, SCHEDULE = "src/runtime/runtime.h", "src/runtime/children.c", "src/runtime/schedule.c"
REDIS_URL, LAUNCH = "src/backend/redis/url.c", "src/cli/launch.c"
OPTION = r'"options: {}", &o->\w+, ([^,]+(?:\([^)]*\))?),'

SOURCES = {
    # a job
    "payload": (NEOQ, r"o->max_payload = \(size_t\)([^;]+);"),
    "payload, at the very most": (NEOQ, r"o->max_payload > \(size_t\)([^)]+)\)"),
    "name of a queue or schedule": (JOB, r"NQ_QUEUE_NAME_MAX = (\d+)"),
    "name of a queue with `neoq_start_cron()`": (SCHEDULE, r'longer than %zu bytes", sizeof name - (6)\)', lambda n: 201 - n),
    "fingerprint": (JOB, r"NQ_FINGERPRINT_MAX = (\d+)"),
    "metadata": (JOB, r"NQ_METADATA_MAX = (\d+)"),
    "nesting of JSON": ("src/base/json.h", r"NQ_JSON_MAX_DEPTH (\d+)"),
    "retries, where a job does not say": (JOB, r"NQ_DEFAULT_MAX_RETRIES = (\d+)"),
    "waits of its own": (JOB, r"NQ_RETRY_WAITS_MAX = (\d+)"),
    "error text": (RUN, r"ERROR_MAX = (\d+)"),
    "note of progress": ("include/neoq/backend.h", r"char note\[(\d+)\];", lambda n: n - 1),
    "result": (RUN, r"RESULT_MAX = ([^}]+?) *\}"),
    "history": (JOB, r"NQ_RUNS_KEPT = (\d+)"),
    # time
    "one run": (WORKER, r"queue->handler.timeout = ([^;]+);"),
    "SIGTERM after the end of its time, in a process": (CHILDREN, r"ASKED_S = (\d+)", lambda n: n * 10**6),
    "SIGKILL after SIGTERM": (CHILDREN, r"DEFAULT_KILL_AFTER_S = (\d+)", lambda n: n * 10**6),
    "lease": (NEOQ, OPTION.format("lease")),
    "shutdown": (NEOQ, OPTION.format("shutdown_timeout")),
    "shutdown with a store that fails": ("src/runtime/shutdown.c", r"SETTLE_SECONDS = (\d+)", lambda n: n * 10**6),
    "waiting for a connection, or to be let write": (NEOQ, OPTION.format("connect_timeout")),
    "look for jobs that no hint told of": (NEOQ, OPTION.format("poll_interval")),
    "the same, where the store cannot wake us": (NEOQ, OPTION.format("job_check_interval")),
    "done jobs are kept": (NEOQ, OPTION.format("retention")),
    "dead jobs are kept": (NEOQ, OPTION.format("dead_retention")),
    "a queue that was slowed down": ("src/job/transition.c", r"wait >= NEOQ_SECONDS\(30\) \? ([^:]+) :"),
    "transaction of ours that idles, PostgreSQL": (NEOQ, OPTION.format("idle_transaction_timeout")),
    # schedules
    "cron spec": ("src/schedule/cron.h", r"NQ_CRON_SIZE (\d+)", lambda n: n - 1),
    "finest": ("src/schedule/cron_parse.c", r"cron->every = wait < ([^?]+) \?"),
    "next tick": ("src/schedule/cron.c", r"horizon = (\d+)LL \* NQ_DAY_SECONDS", lambda n: n * 86400 * 10**6),
    "ticks that are made up for": (SCHEDULE, r"CATCH_UP_SECONDS = (\d+)", lambda n: n * 10**6),
    "the latest, too": (SCHEDULE, r"FORGIVE_SECONDS = (\d+)", lambda n: n * 10**6),
    "ticks made up for at once": (SCHEDULE, r"CATCH_UP_TICKS = (\d+)"),
    # workers
    "queues with a handler, in one neoq": (RUNTIME, r"NQ_HANDLERS_MAX = (\d+)"),
    "runs at once of one queue, where it does not say": (WORKER, r"DEFAULT_CONCURRENCY = (\d+)"),
    "runs at once of one queue, at the very most": (RUNTIME, r"NQ_CONCURRENCY_MAX = (\d+)"),
    "weight of a queue": (WORKER, r"handler->weight > (\d+)"),
    "runs claimed ahead of a handler": (RUNTIME, r"NQ_AHEAD_MAX = (\d+)"),
    "runs in one round trip": (RUNTIME, r"NQ_BATCH_MAX = (\d+)"),
    "runs of a child process": (CHILDREN, r"DEFAULT_RECYCLE_AFTER = (\d+)"),
    "crashes in a row of one job, in processes": (RUN, r"CRASHES_MAX = (\d+)"),
    "stores of your own": (NEOQ, r"const neoq_backend \*backends\[(\d+)\];"),
    "jobs of a listing, where it does not say": ("src/runtime/inspect.c", r"filled.limit = (\d+);"),
    # stores
    "connections, PostgreSQL and Redis": (REDIS_URL, r"CONNS_MAX = (\d+)"),
    "answer to a call, PostgreSQL and Redis": (REDIS_URL, r"\.call_timeout = ([^,]+),"),
    "folder of an SQLite file": ("src/backend/sqlite/file.c", r"char folder\[(\d+)\];", lambda n: n - 1),
    "schema name, PostgreSQL": ("src/backend/postgres/url.c", r"SCHEMA_MAX = (\d+)"),
    "runs of one job, PostgreSQL": ("src/backend/postgres/sql/tables.sql", r"epoch +int +NOT NULL DEFAULT (0)", lambda n: 2**31 - 1),
    "hosts, Redis": (REDIS_URL, r"HOSTS_MAX = (\d+)"),
    "number of a database, Redis": (REDIS_URL, r"DATABASE_MAX = (\d+)"),
    "queues whose jobs wake a worker at once, Redis": ("src/backend/redis/bell.c", r"LISTS_MOST = (\d+)"),
    "pages of SQLite's WAL between checkpoints": ("src/backend/sqlite/writer.c", r"CHECKPOINT_PAGES = (\d+)"),
    # the command
    "programs at once, of one queue": ("src/cli/work.c", r"#define MOST_AT_ONCE +(\d+)"),
    "output that is kept": ("src/cli/child.c", r"#define MOST_OUTPUT +\(\(size_t\)(.+)\)"),
    "standard error that is kept as the error": ("src/cli/child.c", r"#define LAST_WORDS +(\d+)"),
    "`$NEOQ_PAYLOAD`": (LAUNCH, r"#define LONGEST_VARIABLE +\(\(size_t\)([^)]+)\)"),
    "an argument with `{}`": (LAUNCH, r"#define LONGEST_WORD +\(\(size_t\)([^)]+)\)"),
    "jobs in a batch of `--lines`": ("src/cli/lines.c", r"#define BATCH +(\d+)"),
    "instants of `neoq cron next`": ("src/cli/cron.c", r"#define MOST_TICKS +(\d+)"),
    "configuration file": ("src/cli/config.h", r"#define CONFIG_LONGEST \(\(size_t\)([^)]+)\)"),
    "settings in it": ("src/cli/config.h", r"#define CONFIG_MOST +(\d+)"),
    "durations": ("src/cli/values.h", r"#define DURATION_LONGEST (.+?) /"),
}

UNITS = {"KiB": 2**10, "MiB": 2**20}
UNITS.update({"s": 10**6, "min": 60 * 10**6, "days": 86400 * 10**6, "years": 36525 * 864 * 10**6})


def read(path):
    with open(os.path.join(ROOT, path)) as file:
        return file.read()


def rows():
    """First and second cell of every row of every table."""
    for line in read("docs/limits.md").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not re.match(r"\|[- |]+\|$|\| what ", line):
            yield cells[0], cells[1]


def number(cell):
    """The number that a cell begins with, in bytes, microseconds or things; None: it is words."""
    found = re.match(r"([\d,]+)(?: ([A-Za-z]+))?", cell)
    return found and int(found[1].replace(",", "")) * UNITS.get(found[2], 1)


def value(expression):
    """Of a constant expression of C, with neoq's macros."""
    units = {"MILLISECONDS": 10**3, "SECONDS": 10**6, "MINUTES": 60 * 10**6, "HOURS": 3600 * 10**6}
    python = re.sub(r"NEOQ_(\w+)\(", lambda macro: f"{units[macro[1]]} * (", expression)
    if not re.fullmatch(r"[\d\s()*<+-]+", python):
        raise ValueError(expression)
    return eval(python)


class Limits(unittest.TestCase):
    def test_the_numbers_are_those_of_the_sources(self):
        for name, (path, pattern, *of) in SOURCES.items():
            with self.subTest(name):
                shown = [cell for row, cell in rows() if row == name]
                self.assertEqual(len(shown), 1, "rows of this name")
                found = re.findall(pattern, read(path))
                self.assertEqual(len(found), 1, f"{path} has {pattern!r}")
                real = value(found[0])
                self.assertEqual(number(shown[0]), of[0](real) if of else real, f"{shown[0]}, and {path}: {found[0]}")

    def test_each_number_has_a_source(self):
        for name, cell in rows():
            if number(cell) is not None:
                self.assertIn(name, SOURCES)

    def test_the_readmes_numbers_are_these(self):
        here = {name: cell for name, cell in rows()}
        readme = " ".join(read("README.md").split())
        for name in ("payload", "payload, at the very most", "metadata", "result", "name of a queue or schedule", "fingerprint",
                     "queues with a handler, in one neoq", "runs at once of one queue, at the very most"):
            self.assertIn(here[name], readme, name)


if __name__ == "__main__":
    unittest.main()
