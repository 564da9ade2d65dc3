# SPDX-License-Identifier: MIT
"""A PostgreSQL for tests: scripts/with-postgres, driven through a pipe, as tests/support/postgres_server.c does it.

shared() gives the server of the test run, which NEOQ_TEST_POSTGRES names, or else one of this program's own; a test
that stops or kills its server makes a PostgresServer for itself. It ends with this program and leaves nothing behind.
"""

import atexit
import itertools
import os
import subprocess

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/with-postgres")


class PostgresError(Exception):
    pass


class PostgresServer:
    numbers = itertools.count()

    def __init__(self, settings=(), standby_of=None, folder=None, base=None):
        """settings: "name=value"; folder: of a server that runs already; base: of the folder of a new one."""
        self.process = None
        self.folder = folder
        if folder:
            return
        command = [SCRIPT]
        for setting in settings:
            command += ["-c", setting]
        if standby_of:
            command += ["--standby-of", standby_of.folder]
        self.process = subprocess.Popen(
            [*command, "--control"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "NEOQ_TEST_FOLDER": base} if base else None
        )
        atexit.register(self.end)
        self.folder = self.hear("start")

    def hear(self, order):
        verdict, _, words = self.process.stdout.readline().strip().partition(" ")
        if verdict != "ok":
            raise PostgresError(f"{order}: {words or 'the script has ended'}")
        return words

    def tell(self, order):
        """start, stop fast|immediate, kill (the postmaster, with -9), freeze, thaw, promote."""
        if not self.process:
            raise PostgresError(f"{order}: the server is not this test's own")
        self.process.stdin.write(order + "\n")
        return self.hear(order)

    def restart(self, how="stop fast"):
        self.tell(how)
        self.tell("start")

    def end(self):
        if self.process:
            self.process.stdin.close()
            self.process.stdout.read()  # it ends when all is gone
            self.process.stdout.close()
            self.process.wait()
            self.process = None
            atexit.unregister(self.end)

    # ---- databases --------------------------------------------------------------------

    def url(self, database, role="postgres"):
        return f"postgres://{role}@/{database}?host={self.folder}&port=5432"

    def sql(self, database, text, role="postgres"):
        """Runs SQL; its rows as lines, columns parted by |."""
        done = subprocess.run(
            ["psql", "-XqAtv", "ON_ERROR_STOP=1", "-d", self.url(database, role), "-c", text],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise PostgresError(done.stderr.strip())
        return done.stdout.strip()

    def create(self, template="template0"):
        """A new database; its name."""
        name = f"p_{os.getpid()}_{next(self.numbers)}"
        self.sql("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name):
        self.sql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


_shared = []


def shared():
    if not _shared:
        folder = os.environ.get("NEOQ_TEST_POSTGRES")
        _shared.append(PostgresServer(folder=folder) if folder else PostgresServer(["fsync=off"]))
    return _shared[0]
