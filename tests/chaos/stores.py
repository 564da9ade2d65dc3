# SPDX-License-Identifier: MIT
"""The stores under test: a private one of each kind, what may be done to it, and what is in it.

What is in it is read past the library: SQLite by Python's own module, PostgreSQL by psql, Redis by its protocol.
"""

import collections
import ctypes
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import records
from redis_client import Redis, RedisError, RedisServer, read_message

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, "../cli"))
from postgres_server import PostgresError, PostgresServer # noqa: E402

# A job as the store has it. id is hex; number that of its payload, or of its tick; state a letter: scheduled s, ready r,
# running R, retrying t, done d, dead D.
Row = collections.namedtuple("Row", "id number queue state epoch retries fingerprint")
# An ended run of its history: times are microseconds on the wall, outcome as a FINISH has it.
Past = collections.namedtuple("Past", "epoch outcome worker started finished")

SLOTS = 8 # of the proxy: more than a run has

STATES = {1: "s", 2: "r", 3: "R", 4: "t", 5: "d", 6: "D"}


class CannotRun(Exception):
    pass


def outcome_letter(word):
    return {"crashed": "k", "discarded": "x"}.get(word, word[:1])


def number_of(queue, id_hex, payload):
    """As worker.c numbers jobs."""
    if queue.startswith("tick"):
        return 1 << 62 | (ord(queue[4]) & 15) << 48 | int(id_hex[:12], 16)
    return int(payload.split(b" ", 1)[0])


def fast_folder(prefix):
    base = os.environ.get("NEOQ_TEST_FOLDER") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    return tempfile.mkdtemp(prefix=prefix, dir=base)


def mounts_are_ours():
    """From now on this process sees mounts that nobody else sees, and they end with it, however it ends."""
    new_namespace = 0x20000
    return ctypes.CDLL(None).unshare(new_namespace) == 0 and \
        subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True).returncode == 0


class Disk:
    """A folder, in a file system of its own where that may be mounted: then it can be full."""

    can_be_mounted = None # not tried yet

    def __init__(self, prefix, megabytes):
        self.folder = fast_folder(prefix)
        if Disk.can_be_mounted is None:
            Disk.can_be_mounted = os.geteuid() == 0 and mounts_are_ours()
        self.can_be_full = Disk.can_be_mounted and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "neoq-chaos", self.folder],
            capture_output=True).returncode == 0
        if not self.can_be_full:
            print("  nothing may be mounted here: the disk is never full", flush=True)
        self.ballast = os.path.join(self.folder, "ballast")

    def fill(self):
        ballast = os.open(self.ballast, os.O_WRONLY | os.O_CREAT)
        try:
            free = os.fstatvfs(ballast)
            os.posix_fallocate(ballast, 0, max(1, (free.f_bavail - 64) * free.f_bsize))
            os.lseek(ballast, 0, os.SEEK_END)
            while os.write(ballast, bytes(4096)):
                pass
        except OSError:
            pass # now it is
        os.close(ballast)

    def clear(self):
        os.unlink(self.ballast)

    def end(self):
        if self.can_be_full:
            subprocess.run(["umount", "-l", self.folder], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class Store:
    """What they have in common."""

    def ask(self):
        """Returns when the server has answered; at once where there is none, or it is away, which the log tells."""


class Sqlite(Store):
    """A file."""

    name = "sqlite"
    server_clock = False  # the machine's is the store's
    in_process = False    # nobody else can look into it

    def __init__(self, options):
        self.disk = Disk("neoq-chaos-db-", 160 + options.jobs // 1000)
        self.faults = {"disk_full": 1} if self.disk.can_be_full else {}
        self.path = os.path.join(self.disk.folder, "jobs.db")

    def url(self, slot):
        return "sqlite:" + self.path

    def end(self):
        self.disk.end()

    # ---- harm: returns what undoes it (None: it is over), and after how many seconds ---------

    def harm(self, name, random, log, lease):
        log.write(records.FAULT, records.AWAY)
        self.disk.fill()

        def undo():
            self.disk.clear()
            log.write(records.FAULT, records.BACK)

        return undo, 0.1 + random.random()

    # ---- what is in it --------------------------------------------------------------------

    def connect(self):
        db = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=20)
        db.execute("PRAGMA wal_autocheckpoint = 0")
        return db

    def unfinished(self):
        """How many jobs wait or run, but for ticks; None: cannot tell now."""
        try:
            db = self.connect()
            try:
                return db.execute("SELECT coalesce(sum(scheduled + ready + running + retrying), 0) FROM neoq_queues"
                                  " WHERE name NOT LIKE 'tick%'").fetchone()[0]
            finally:
                db.close()
        except sqlite3.Error:
            return None

    def rows(self):
        db = self.connect()
        sql = ("SELECT j.id, q.name, CASE WHEN r.rid IS NULL THEN j.state ELSE 3 END, coalesce(r.epoch, j.epoch),"
               " j.retries, j.fingerprint, CAST(j.payload AS BLOB) FROM neoq_jobs j JOIN neoq_queues q ON q.id = j.queue"
               " LEFT JOIN neoq_running r ON r.rid = j.rid")
        for id_, queue, state, epoch, retries, fingerprint, payload in db.execute(sql):
            id_ = id_.hex()
            if isinstance(fingerprint, bytes):
                fingerprint = fingerprint.hex()
            yield Row(id_, number_of(queue, id_, payload), queue, STATES[state], epoch, retries, fingerprint)
        db.close()

    def pasts(self):
        db = self.connect()
        sql = ("SELECT j.id, r.epoch, r.outcome, r.worker, r.started_at, r.finished_at FROM neoq_runs r"
               " JOIN neoq_jobs j ON j.rid = r.rid ORDER BY r.rid, r.epoch")
        for id_, epoch, outcome, worker, started, finished in db.execute(sql):
            yield id_.hex(), Past(epoch, outcome_letter(outcome), worker, started, finished)
        db.close()

    def problems(self):
        """What is wrong with it, whatever the jobs are. All workers have left."""
        db = self.connect()
        wrong = []
        verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            wrong.append(f"integrity_check: {verdict}")
        for what, sql in {
            "running jobs without a worker": "SELECT count(*) FROM neoq_running",
            "workers that have left": "SELECT count(*) FROM neoq_workers WHERE NOT lost",
            "ready entries without a job": "SELECT count(*) FROM neoq_ready r WHERE NOT EXISTS"
                                           " (SELECT 1 FROM neoq_jobs j WHERE j.rid = r.rid AND j.state = 2)",
            "queues whose counts are wrong":
                "SELECT count(*) FROM neoq_queues q WHERE (q.scheduled, q.retrying, q.done, q.dead) IS NOT"
                " (SELECT count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 4),"
                "  count(*) FILTER (WHERE state = 5), count(*) FILTER (WHERE state = 6)"
                "  FROM neoq_jobs j WHERE j.queue = q.id)",
        }.items():
            count = db.execute(sql).fetchone()[0]
            if count:
                wrong.append(f"{count} {what}")
        db.close()
        return wrong


class Memory(Store):
    """The memory of a process that produces and works; only its children are killed. It writes down its rows itself."""

    name = "memory"
    faults = {}
    server_clock = False
    in_process = True

    def __init__(self, options):
        pass

    def url(self, slot):
        return "memory:"

    def end(self):
        pass

    def unfinished(self):
        return None

    def problems(self):
        return []


# ---- behind a network ---------------------------------------------------------------------


class Proxy:
    """proxy.py, and its weather: a share of the faults of every store that has a server."""

    faults = {"delay": 2, "blackhole": 2, "half-up": 1, "half-down": 1, "cut": 4, "reset": 2}

    def __init__(self, server):
        self.process = subprocess.Popen(
            [sys.executable, "-B", os.path.join(HERE, "proxy.py"), str(SLOTS), server],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.ports = self.process.stdout.readline().split()
        if len(self.ports) != SLOTS:
            raise CannotRun("the proxy does not start")

    def tell(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def harm(self, name, random, log, lease):
        """Of one slot; now and then of all."""
        slot = random.randrange(SLOTS) if random.random() < 0.8 else None
        who, value = ("all", 0) if slot is None else (slot, slot + 1)
        amount = {"delay": random.choice((5, 50, 400)), "cut": int(random.expovariate(1 / 600))}.get(name, 0)
        log.write(records.FAULT, records.AWAY, value=value)
        self.tell(who, name, amount)

        def undo():
            self.tell(who, "heal")
            log.write(records.FAULT, records.BACK, value=value)

        long = name not in ("cut", "reset") and random.random() < 0.3
        return undo, 0.05 if name == "reset" else lease * 2 if long else random.random() * lease * 0.7


class Postgres(Store):
    """A server of our own behind the proxy, and a synchronous standby that takes its place half way."""

    name = "postgres"
    server_clock = True
    in_process = False
    faults = {**Proxy.faults, "terminate": 6, "kill_backend": 2, "kill_server": 2, "stop immediate": 1, "stop fast": 1}

    def __init__(self, options):
        settings = ["wal_retrieve_retry_interval=100ms", "max_wal_senders=4", "hot_standby=on", "max_wal_size=96MB",
                    "min_wal_size=32MB", "wal_keep_size=64MB"]
        self.disk, self.other_disk = (Disk("neoq-chaos-pg-", 400 + options.jobs // 400) for _ in range(2))
        if self.disk.can_be_full:
            self.faults = {**self.faults, "disk_full": 2}
        try:
            self.server = PostgresServer(settings, base=self.disk.folder)
            self.database = self.server.create()
            self.standby = PostgresServer(settings, standby_of=self.server, base=self.other_disk.folder)
            self.server.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.server.sql("postgres", "SELECT pg_reload_conf()")
            self.server.sql(self.database, "CREATE TABLE chaos_probe(at timestamptz)")
        except PostgresError as error:
            raise CannotRun(str(error)) from error
        self.proxy = Proxy(self.socket())

    def socket(self):
        return os.path.join(self.server.folder, ".s.PGSQL.5432")

    def url(self, slot):
        return (f"postgres://postgres@127.0.0.1:{self.proxy.ports[slot]}/{self.database}"
                f"?sslmode=disable&gssencmode=disable&call_timeout=3s")

    def end(self):
        self.proxy.end()
        for server in (self.standby, self.server):
            if server:
                server.end()
        self.disk.end()
        self.other_disk.end()

    # ---- harm -----------------------------------------------------------------------------

    def planned(self, seconds):
        """Faults that come once, and when."""
        return [(seconds / 2, "promote")]

    def harm(self, name, random, log, lease):
        if name in Proxy.faults:
            return self.proxy.harm(name, random, log, lease)
        log.write(records.FAULT, records.AWAY)
        if name == "disk_full":
            return self.fill_disk(log), 0.5 + 3 * random.random()
        try:
            if name == "terminate":
                self.server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM (SELECT pid" + self.SOMEBODY + ") x")
            elif name == "kill_backend":
                pid = self.server.sql("postgres", "SELECT pid" + self.SOMEBODY)
                if pid:
                    os.kill(int(pid), signal.SIGKILL)
            elif name == "promote":
                self.promote()
            else:
                self.server.restart("kill" if name == "kill_server" else name)
        except (PostgresError, ProcessLookupError):
            pass # it was away already; if it does not come back, that is found out now

        def undo():
            self.await_writes()
            log.write(records.FAULT, records.BACK)

        return undo, 0.05 if name == "terminate" else 0.3

    def fill_disk(self, log):
        """It refuses what makes a table longer; where it cannot write its log, it ends."""
        self.disk.fill()

        def undo():
            self.disk.clear()
            try:
                self.server.tell("start")
            except PostgresError:
                pass # it runs already
            self.await_writes()
            log.write(records.FAULT, records.BACK)

        return undo

    SOMEBODY = (" FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                " ORDER BY random() LIMIT 1")

    def promote(self):
        self.server.tell("kill")
        self.standby.tell("promote")
        old, self.server, self.standby = self.server, self.standby, None
        self.disk, self.other_disk = self.other_disk, self.disk
        self.proxy.tell("server", self.socket())
        self.server.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''")
        self.server.sql("postgres", "SELECT pg_reload_conf()")
        old.end()

    def await_writes(self):
        """Until the server takes them, and so does its standby."""
        until = time.monotonic() + 60
        while True:
            try:
                self.server.sql(self.database, "SET statement_timeout = '5s'; INSERT INTO chaos_probe VALUES (now())")
                return
            except PostgresError as error:
                if time.monotonic() > until:
                    raise CannotRun(f"the server does not come back: {error}") from error
                time.sleep(0.02)

    # ---- what is in it --------------------------------------------------------------------

    def query(self, sql):
        """Rows of columns of text."""
        out = self.server.sql(self.database, f"COPY ({sql}) TO STDOUT")
        return [line.split("\t") for line in out.splitlines()]

    def unfinished(self):
        try:
            return int(self.query("SELECT count(*) FROM neoq.job j JOIN neoq.queue q ON q.id = j.queue_id"
                                  " WHERE q.name NOT LIKE 'tick%'")[0][0])
        except PostgresError:
            return None

    def rows(self):
        sql = ("SELECT j.id, q.name, CASE WHEN worker IS NOT NULL THEN 'R' WHEN retrying THEN 't' ELSE 'r' END, epoch,"
               " retries, fingerprint, convert_from(payload, 'UTF8') FROM neoq.job j JOIN neoq.queue q ON q.id = queue_id"
               " UNION ALL SELECT j.id, q.name, CASE state WHEN 5 THEN 'd' ELSE 'D' END, epoch, retries, fingerprint,"
               " convert_from(payload, 'UTF8') FROM neoq.ended j JOIN neoq.queue q ON q.id = queue_id")
        for id_, queue, state, epoch, retries, fingerprint, payload in self.query(sql):
            id_ = id_.replace("-", "")
            yield Row(id_, number_of(queue, id_, payload.encode()), queue, state, int(epoch), int(retries), fingerprint)

    def pasts(self):
        sql = "SELECT id, epoch, outcome, worker, started_at, finished_at FROM neoq.run ORDER BY id, epoch"
        for id_, epoch, outcome, worker, started, finished in self.query(sql):
            yield id_.replace("-", ""), Past(int(epoch), outcome_letter(outcome), worker, int(started), int(finished))

    def problems(self):
        wrong = []
        for what, sql in {
            "running jobs without a worker": "SELECT count(*) FROM neoq.job WHERE worker IS NOT NULL",
            "workers that have left": "SELECT count(*) FROM neoq.worker WHERE NOT lost AND lease_until >"
                                      " extract(epoch FROM clock_timestamp()) * 1000000",
            "queues whose counts are wrong":
                "SELECT count(*) FROM neoq.queue q WHERE (SELECT (coalesce(sum(waiting), 0), coalesce(sum(running), 0),"
                " coalesce(sum(done), 0), coalesce(sum(dead), 0)) FROM neoq.tally t WHERE t.queue_id = q.id) IS DISTINCT FROM"
                " (SELECT ((SELECT count(*)::numeric FROM neoq.job j WHERE j.queue_id = q.id AND worker IS NULL),"
                " (SELECT count(*)::numeric FROM neoq.job j WHERE j.queue_id = q.id AND worker IS NOT NULL),"
                " (SELECT count(*)::numeric FROM neoq.ended e WHERE e.queue_id = q.id AND state = 5),"
                " (SELECT count(*)::numeric FROM neoq.ended e WHERE e.queue_id = q.id AND state = 6)))",
            "jobs that wait and have ended": "SELECT count(*) FROM neoq.job JOIN neoq.ended USING (id)",
            "advisory locks": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
            "sessions idle in a transaction": "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'",
        }.items():
            count = int(self.query(sql)[0][0])
            if count:
                wrong.append(f"{count} {what}")
        return wrong


class RedisStore(Store):
    """A server of our own behind the proxy. What its killing may cost is as docs/redis.md says of its level."""

    name = "redis"
    server_clock = True
    in_process = False
    faults = {**Proxy.faults, "kill_server": 5, "kill_clients": 3, "flush_scripts": 1}
    # settings of the server, and what its end may take: so many seconds
    levels = {"always": (("appendonly=yes", "appendfsync=always"), 0),
              "everysec": (("appendonly=yes", "appendfsync=everysec"), 3),
              "snapshots": (("save=1 1",), None),
              "none": ((), None)}

    def __init__(self, options):
        self.level = options.level or sorted(self.levels)[options.seed % len(self.levels)]
        self.begun = records.now()
        settings, self.forgets = self.levels[self.level]
        print(f"  persistence: {self.level}", flush=True)
        self.disk = Disk("neoq-chaos-redis-", 200 + options.jobs // 200)
        if self.disk.can_be_full and self.level != "none":
            self.faults = {**self.faults, "disk_full": 2}
        try:
            self.server = RedisServer(settings, base=self.disk.folder)
        except RedisError as error:
            raise CannotRun(str(error)) from error
        self.proxy = Proxy(self.server.socket)
        self.asking = None # a connection

    def url(self, slot):
        return f"redis://127.0.0.1:{self.proxy.ports[slot]}/0?call_timeout=3s"

    def end(self):
        self.proxy.end()
        self.server.end()
        self.disk.end()

    def connect(self):
        return Redis(self.server.socket)

    def ask(self):
        try:
            self.asking = self.asking or self.connect()
            self.asking.do("PING")
        except (RedisError, OSError):
            self.asking = None

    # ---- harm -----------------------------------------------------------------------------

    def harm(self, name, random, log, lease):
        if name in Proxy.faults:
            return self.proxy.harm(name, random, log, lease)
        log.write(records.FAULT, records.AWAY)
        if name == "disk_full":
            return self.fill_disk(log), 0.5 + 3 * random.random()
        if name == "kill_server":
            self.kill_server(log)
        else:
            with self.connect() as redis:
                redis.do(*(("SCRIPT", "FLUSH") if name == "flush_scripts" else ("CLIENT", "KILL", "TYPE", "normal")))

        def undo():
            log.write(records.FAULT, records.BACK)

        return undo, 0.05

    def kill_server(self, log):
        may_lose = None if self.forgets is None else self.forgets * 1000000
        if self.level == "snapshots":
            with self.connect() as redis:
                may_lose = (int(time.time()) - redis.do("LASTSAVE") + 3) * 1000000
        at = records.now()
        self.server.tell("kill")
        if may_lose != 0:
            log.write(records.FAULT, records.RESTORED, value=at - self.begun if may_lose is None else may_lose, at=at)
        self.server.tell("start")
        self.await_loaded()

    def fill_disk(self, log):
        """It refuses writes; where each has to be on the disk before its answer, it ends."""
        self.disk.fill()

        def undo():
            self.disk.clear()
            try:
                self.server.tell("start")
                self.await_loaded()
            except RedisError:
                pass # it runs already
            self.await_saved()
            log.write(records.FAULT, records.BACK)

        return undo

    def await_saved(self):
        """Until the last attempt was a success, and so it takes writes."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with self.connect() as redis:
                info = redis.do("INFO", "persistence")
                if b"aof_last_write_status:ok" in info and b"rdb_last_bgsave_status:ok" in info:
                    return
                if b"rdb_bgsave_in_progress:0" in info and b"rdb_last_bgsave_status:err" in info:
                    redis.do("BGSAVE")
            time.sleep(0.02)
        raise CannotRun("the server does not save again")

    def await_loaded(self):
        """A kill may tear the last script in the log, and servers are known to cut off its last command alone when they
        read it: docs/redis.md has the log written anew."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with self.connect() as redis:
                info = redis.do("INFO", "persistence")
                if b"loading:0" in info and b"aof_rewrite_in_progress:0" in info:
                    if b"aof_enabled:0" in info or b"aof_last_rewrite_time_sec:-1" not in info:
                        return
                    redis.do("BGREWRITEAOF")
            time.sleep(0.02)
        raise CannotRun("the server does not come back")

    # ---- what is in it --------------------------------------------------------------------

    STATES = {b"pending": "r", b"active": "R", b"scheduled": "s", b"retry": "t", b"completed": "d", b"archived": "D"}

    def queues(self, redis):
        return sorted(name.decode() for name in redis.do("SMEMBERS", "asynq:queues"))

    def unfinished(self):
        try:
            with self.connect() as redis:
                commands = []
                for queue in self.queues(redis):
                    if not queue.startswith("tick"):
                        commands += [("LLEN", f"asynq:{{{queue}}}:pending"), ("LLEN", f"asynq:{{{queue}}}:active"),
                                     ("ZCARD", f"asynq:{{{queue}}}:scheduled"), ("ZCARD", f"asynq:{{{queue}}}:retry")]
                return sum(redis.many(commands)) if commands else 0
        except (RedisError, OSError):
            return None

    def tasks(self):
        """(queue, id, fields) of all."""
        with self.connect() as redis:
            for queue in self.queues(redis):
                prefix = f"asynq:{{{queue}}}:t:"
                cursor, ids = b"0", set()
                while True:
                    cursor, keys = redis.do("SCAN", cursor, "MATCH", prefix + "*", "COUNT", 1000)
                    ids.update(key[len(prefix):].decode() for key in keys)
                    if cursor == b"0":
                        break
                ids = sorted(ids)
                for at in range(0, len(ids), 500):
                    some = ids[at:at + 500]
                    for id_, flat in zip(some, redis.many([("HGETALL", prefix + one) for one in some])):
                        yield queue, id_, dict(zip(flat[::2], flat[1::2]))

    def rows(self):
        for queue, id_, fields in self.tasks():
            message = read_message(fields[b"msg"])
            epoch = int(fields.get(b"nq:run", b"0").split(b" ")[0])
            id_hex = id_.replace("-", "")
            yield Row(id_hex, number_of(queue, id_hex, message.get(2, b"")), queue, self.STATES[fields[b"state"]], epoch,
                      message.get(6, 0), None)

    def pasts(self):
        for _, id_, fields in self.tasks():
            for name, value in fields.items():
                if name.startswith(b"nq:run:"):
                    worker, numbers = value.decode(errors="replace").split("\n")[:2]
                    started, finished, outcome = numbers.split(" ")[:3]
                    yield id_.replace("-", ""), Past(int(name[7:]), outcome_letter(outcome), worker, int(started),
                                                     int(finished))

    def problems(self):
        wrong = []
        tasks = {(queue, id_): fields for queue, id_, fields in self.tasks()}
        with self.connect() as redis:
            for queue in self.queues(redis):
                prefix, at = f"asynq:{{{queue}}}:", {}
                for state in self.STATES:
                    state = state.decode()
                    order = "LRANGE" if state in ("pending", "active") else "ZRANGE"
                    for id_ in redis.do(order, prefix + state, 0, -1):
                        id_ = id_.decode()
                        if id_ in at:
                            wrong.append(f"{id_} is in {at[id_]} and in {state}")
                        at[id_] = state
                for id_, state in at.items():
                    if (queue, id_) not in tasks or tasks[queue, id_][b"state"].decode() != state:
                        wrong.append(f"{id_} is in {state}, and does not say so")
                    elif state in ("pending", "scheduled", "retry") and b"unique_key" in tasks[queue, id_] \
                            and redis.do("GET", tasks[queue, id_][b"unique_key"]) != id_.encode():
                        wrong.append(f"{id_} has lost its lock")
                wrong += [f"{id_} is nowhere" for of, id_ in tasks if of == queue and id_ not in at]
                wrong += [f"{id_} is active, and all workers have left" for id_, state in at.items() if state == "active"]
                if redis.do("ZCARD", prefix + "lease"):
                    wrong.append(f"queue {queue} has leases, and all workers have left")
                cursor = b"0"
                while True:
                    cursor, keys = redis.do("SCAN", cursor, "MATCH", prefix + "unique:*", "COUNT", 1000)
                    for key in keys:
                        holder = (redis.do("GET", key) or b"").decode()
                        if at.get(holder) in (None, "completed", "archived"):
                            wrong.append(f"{key.decode()} is held by {holder}, which has ended")
                    if cursor == b"0":
                        break
        return wrong


KINDS = {"memory": Memory, "sqlite": Sqlite, "postgres": Postgres, "redis": RedisStore}
