# SPDX-License-Identifier: MIT
"""neoq migrate on PostgreSQL, and what each kind of role may do afterwards."""

import itertools
import os
import re
import subprocess
import threading
import time

import postgres_server
from support import *

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/backend/postgres")
KINDS = ("enqueuer", "worker", "viewer", "operator")


class Postgres(Case):
    numbers = itertools.count()

    def setUp(self):
        super().setUp()
        self.server = postgres_server.shared()
        self.database = self.server.create()
        self.roles = []
        self.use()

    def tearDown(self):
        self.server.drop(self.database)
        for role in self.roles:
            self.server.sql("postgres", f"DROP ROLE {role}")
        super().tearDown()

    def use(self, role="postgres", database=None, options=""):
        self.url = self.server.url(database or self.database, role) + options
        self.env["NEOQ_URL"] = self.url

    def role(self, options=""):
        name = f"r_{os.getpid()}_{next(self.numbers)}"
        self.server.sql("postgres", f"CREATE ROLE {name} LOGIN {options}")
        self.roles.append(name)
        return name

    def sql(self, text, role="postgres"):
        return self.server.sql(self.database, text, role)

    def denied(self, text, role):
        with self.assertRaisesRegex(postgres_server.PostgresError, "permission denied", msg=f"{role}: {text}"):
            self.sql(text, role)

    def migrate(self, *args, **how):
        (found,) = self.objects("migrate", *args, **how)
        return found


class Migrate(Postgres):
    def contents(self, schema="neoq"):
        return self.sql(f"""
            SELECT 'table', relname, relkind, reloptions FROM pg_class WHERE relnamespace = '{schema}'::regnamespace
            UNION ALL SELECT 'column', attrelid::regclass::text || attname, ' ', ARRAY[atttypid::regtype::text]
              FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = '{schema}'::regnamespace
            UNION ALL SELECT 'function', oid::regprocedure::text, ' ', ARRAY[md5(prosrc)] || proconfig
              FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace ORDER BY 1, 2""")

    def test_status_makes_nothing(self):
        found = self.migrate()
        self.assertEqual((found["state"], found["version"], found["known"]), ("missing", 0, 1))
        self.assertEqual(self.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'neoq'"), "0")
        self.use(database="no_such_database")
        self.assertIn("no_such_database", self.neoq("migrate", status=4).stderr)
        self.assertEqual(self.sql("SELECT count(*) FROM pg_database WHERE datname = 'no_such_database'"), "0")

    def test_up(self):
        found = self.migrate("up")
        self.assertEqual((found["state"], found["version"], found["compatible_from"]), ("current", 1, 1))
        self.assertRegex(found["migrated_at"], INSTANT)
        self.assertIn("made schema neoq", found["lines"][0])
        self.assertIn("nothing to do", self.migrate("up")["lines"][0])
        self.assertEqual(self.migrate()["migrated_at"], found["migrated_at"])

    def test_up_makes_the_database(self):
        name = self.database + "_x"
        self.use(database=name)
        self.assertEqual(self.migrate("up")["state"], "current")
        self.server.drop(name)

    def test_many_at_once(self):
        started = [self.start("migrate", "up") for _ in range(6)]
        made = sum("made schema" in self.ended(process)[0] for process in started)
        self.assertGreaterEqual(made, 1)
        self.assertEqual(self.migrate()["state"], "current")

    def test_print_is_the_schema(self):
        self.neoq("migrate", "up")
        by_up = self.contents()
        self.neoq("migrate", "down", "--yes")
        sql = self.neoq("migrate", "print").stdout
        self.assertEqual(self.migrate("print")["sql"], sql)
        self.sql(sql)
        self.assertEqual(self.contents(), by_up)
        self.assertEqual(self.migrate()["state"], "current")

    def test_print_needs_no_server(self):
        self.env["NEOQ_URL"] = "postgres://nobody@localhost:1/none?schema=elsewhere"
        sql = self.neoq("migrate", "print").stdout
        self.assertIn('CREATE SCHEMA IF NOT EXISTS "elsewhere";', sql)
        self.assertNotIn("@schema", sql)
        self.assertTrue(sql.endswith("\nCOMMIT;\n"), sql[-100:])

    def test_names_of_schemas(self):
        for name, text in (("Jobs", "Jobs"), ("na me", "na%20me"), ('a"b', "a%22b"), ("50%s", "50%25s"), ("select", "select")):
            self.use(options="&schema=" + text)
            self.assertEqual(self.migrate("up")["version"], 1, name)
            quoted = '"' + name.replace('"', '""') + '"'
            self.sql(f"SELECT {quoted}.enqueue('q', '1')")
            self.sql(f"SELECT {quoted}.grant_to('{self.role()}', 'operator')")
            self.assertEqual(self.migrate()["jobs"], 1, name)
            self.neoq("migrate", "down", "--yes", "--force")
        self.use()
        self.assertEqual(self.migrate("up", "--schema", "other")["state"], "current")
        self.assertEqual(self.migrate()["state"], "missing")
        for name in ("o'brien", "a$$b", "@schema@", "a\\b"):
            self.neoq("migrate", "up", "--schema", name, status=2)

    def test_another_programs_schema(self):
        self.sql("CREATE SCHEMA neoq; CREATE TABLE neoq.songs (name text)")
        for action in ("status", "up"):
            self.assertIn("songs", self.neoq("migrate", action, status=4).stderr)
        self.sql("CREATE TABLE neoq.meta (name text)")
        self.neoq("migrate", "up", status=4)

    def test_a_schema_that_was_made_for_us(self):
        role = self.role()
        self.sql(f"CREATE SCHEMA neoq AUTHORIZATION {role}")
        self.use(role)
        self.assertEqual(self.migrate("up")["state"], "current")

    def test_a_role_that_may_not(self):
        role = self.role()
        self.use(role)
        for command in (["migrate", "up"], ["jobs"]):
            words = self.neoq(*command, status=4).stderr
            self.assertIn("permission denied", words)
            self.assertIn("neoq migrate print", words)
        self.use()
        self.neoq("migrate", "up")
        self.use(role)
        for command in (["migrate"], ["migrate", "up"], ["jobs"]):
            self.assertIn("grant_to", self.neoq(*command, status=4).stderr)
        self.sql(f"SELECT neoq.grant_to('{role}', 'viewer')")
        self.assertEqual(self.migrate()["state"], "current")
        self.assertEqual(self.migrate("up")["state"], "current")
        self.neoq("migrate", "down", "--yes", "--force", status=4)

    def test_a_read_only_server(self):
        self.sql(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        self.assertIn("read-only", self.neoq("migrate", "up", status=4).stderr)
        self.assertEqual(self.migrate()["state"], "missing")

    def test_a_newer_schema(self):
        self.neoq("migrate", "up")
        self.sql("UPDATE neoq.meta SET value = 2 WHERE key = 'version'")
        self.assertEqual(self.migrate()["state"], "ahead")
        self.assertEqual(self.migrate("up")["version"], 2)
        self.enqueue("q", "1")
        self.assertIn("1 done", self.work("q", "--", "true").stdout)
        self.neoq("migrate", "down", "--yes", status=4)
        self.sql("UPDATE neoq.meta SET value = 2 WHERE key = 'compatible_from'")
        self.assertEqual(self.migrate(status=4)["state"], "too new")
        for command in (["migrate", "up"], ["jobs"], ["enqueue", "q", "1"]):
            self.assertIn("use the newer one", self.neoq(*command, status=4).stderr)

    def test_down(self):
        self.neoq("migrate", "up")
        self.sql("SELECT neoq.enqueue('q', '1')")
        result = self.neoq("migrate", "down", status=5)
        self.assertIn("would drop the table neoq.job\n", result.stdout)
        self.assertIn("--force", result.stderr)
        self.assertIn("1 jobs", self.neoq("migrate", "down", "--yes", status=5).stderr)
        self.assertEqual(self.migrate()["jobs"], 1)
        self.assertEqual(self.migrate("down", "--yes", "--force")["state"], "missing")
        self.assertEqual(self.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'neoq'"), "0")
        self.assertIn("nothing to remove", self.neoq("migrate", "down", "--yes").stdout)

    def test_down_stops_nobody_for_long(self):
        self.neoq("migrate", "up")
        reader = subprocess.Popen(
            ["psql", "-XqAt", "-d", self.server.url(self.database), "-c", "BEGIN; TABLE neoq.job; SELECT pg_sleep(4)"],
            stdout=subprocess.DEVNULL,
        )
        self.until(lambda: self.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)%'") == "2",
                   "the reader")
        down = self.start("migrate", "down", "--yes", "--force")
        longest = 0
        while reader.poll() is None and down.poll() is None:
            began = time.monotonic()
            try:
                self.sql("SELECT neoq.enqueue('q', '1', unique_job => false)")
            except postgres_server.PostgresError:
                break  # it is gone
            longest = max(longest, time.monotonic() - began)
        self.ended(down)
        reader.wait()
        self.assertLess(longest, 2)
        self.assertEqual(self.migrate()["state"], "missing")


class Grants(Postgres):
    def setUp(self):
        super().setUp()
        self.owner = self.role()
        self.sql(f"CREATE SCHEMA neoq AUTHORIZATION {self.owner}")
        self.use(self.owner)
        self.neoq("migrate", "up")
        self.sql("SELECT neoq.enqueue('q', '\"secret\"')", self.owner)

    def granted(self, kind):
        role = self.role()
        self.sql(f"SELECT neoq.grant_to('{role}', '{kind}')", self.owner)
        return role

    def call(self, name):
        """A call of the function, whatever its arguments are by now: whether it is allowed is looked at first."""
        types = self.sql(f"""SELECT array_to_string(proargtypes::regtype[], ',') FROM pg_proc
                             WHERE pronamespace = 'neoq'::regnamespace AND proname = '{name}'""")
        arguments = ", ".join("NULL::" + type for type in types.split(",") if type)
        return f"SELECT neoq.{name}({arguments})"

    def functions_of(self, kind):
        return set(self.sql(f"SELECT unnest(neoq.functions_of('{kind}'))").split())

    def may_call(self, role):
        return set(self.sql(f"""SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'neoq'::regnamespace
                                AND has_function_privilege('{role}', oid, 'EXECUTE')""").split())

    def test_each_kind_may_call_its_functions_and_no_others(self):
        known = set(self.sql("SELECT proname FROM pg_proc WHERE pronamespace = 'neoq'::regnamespace").split())
        anyone = self.functions_of("anyone")
        for kind in KINDS:
            wanted = self.functions_of(kind)
            self.assertLessEqual(wanted | anyone, known, kind)
            self.assertEqual(self.may_call(self.granted(kind)), wanted | anyone, kind)
        self.assertEqual(self.may_call(self.role()), set())

    def test_what_the_library_calls_is_granted_to_somebody(self):
        called = set()
        for name in os.listdir(SOURCES):
            if name.endswith(".c") and name not in ("schema.c", "migrate.c", "doctor_schema.c"):
                with open(os.path.join(SOURCES, name)) as file:
                    called |= set(re.findall(r"%s\.(\w+)\(", file.read())) - {"grant_to"}
        self.assertGreater(len(called), 10)
        granted = set().union(*(self.functions_of(kind) for kind in KINDS))
        self.assertLessEqual(called, granted)

    def test_nobody_may_touch_the_tables(self):
        for kind in KINDS:
            role = self.granted(kind)
            rights = self.sql(f"""
                SELECT relname, p FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p
                 WHERE relnamespace = 'neoq'::regnamespace AND relkind IN ('r', 'v', 'S')
                   AND CASE relkind WHEN 'S' THEN has_sequence_privilege('{role}', oid, 'USAGE')
                                    ELSE has_table_privilege('{role}', oid, p) END""").split()
            views = ["meta|SELECT"]
            if kind in ("viewer", "operator"):
                views += self.sql("SELECT viewname || '|SELECT' FROM pg_views WHERE schemaname = 'neoq'").split()
            self.assertEqual(sorted(rights), sorted(views), kind)
            self.denied("CREATE TABLE neoq.mine (x int)", role)

    def test_an_enqueuer(self):
        role = self.granted("enqueuer")
        first = self.sql("SELECT neoq.enqueue('q', '{\"a\": 1}')", role)
        self.assertEqual(self.sql("SELECT neoq.enqueue('q', '{\"a\": 1}')", role), first)
        for text in (
            "SELECT payload FROM neoq.job", "SELECT * FROM neoq.jobs", self.call("list_queues"), self.call("find_jobs"),
            "DELETE FROM neoq.job", self.call("steer"), self.call("set_queue"), self.call("exchange"), self.call("tend"),
            f"SELECT neoq.grant_to('{role}', 'operator')", f"SELECT neoq.revoke_from('{self.owner}')",
            "UPDATE neoq.meta SET value = '9'", "DROP FUNCTION neoq.new_id",
        ):
            if text.startswith("DROP"):
                with self.assertRaisesRegex(postgres_server.PostgresError, "must be owner"):
                    self.sql(text, role)
            else:
                self.denied(text, role)

    def test_a_worker(self):
        role = self.granted("worker")
        self.sql("SELECT neoq.enqueue('q', '2')", role)
        for text in ("SELECT * FROM neoq.jobs", "SELECT * FROM neoq.job", self.call("remove_queue"),
                     self.call("steer"), self.call("remove_schedule"), self.call("purge"),
                     "UPDATE neoq.worker SET lease_until = 0", "TRUNCATE neoq.job"):
            self.denied(text, role)

    def test_a_viewer(self):
        role = self.granted("viewer")
        self.assertEqual(self.sql("SELECT payload FROM neoq.jobs", role), '"secret"')
        self.assertEqual(self.sql("SELECT name, ready FROM neoq.queues", role), "q|1")
        for text in ("SELECT neoq.enqueue('q', '2')", self.call("enqueue_jobs"), self.call("steer"), self.call("set_queue"),
                     "DELETE FROM neoq.job", self.call("remove_queue"), self.call("exchange")):
            self.denied(text, role)

    def test_an_operator(self):
        role = self.granted("operator")
        self.assertEqual(self.sql("SELECT payload FROM neoq.jobs", role), '"secret"')
        for text in ("SELECT neoq.enqueue('q', '2')", "DELETE FROM neoq.job", self.call("tend"), self.call("exchange"),
                     f"SELECT neoq.grant_to('{role}', 'worker')"):
            self.denied(text, role)

    def test_the_command_under_each_kind(self):
        """What the library itself needs: every operation of a kind, and none of the others."""
        roles = {kind: self.granted(kind) for kind in KINDS}

        def may(kind, *args, status=0):
            self.use(roles[kind])
            return self.neoq(*args, status=status).stdout

        may("enqueuer", "enqueue", "q", "1")
        id = may("enqueuer", "enqueue", "q", "2", "--in", "1h").strip()
        for args in (["jobs"], ["queues"], ["job", id], ["workers"], ["cancel", id], ["pause", "q"], ["purge", "q"]):
            may("enqueuer", *args, status=4)
        may("worker", "enqueue", "q", "3")
        self.assertIn("3 done", may("worker", "work", "--until-empty", "q", "--", "true"))
        may("worker", "enqueue", "q", "4")
        self.assertIn("1 done", may("worker", "work", "--until-empty", "q", "--", "true"))
        for args in (["job", id], ["retry", id], ["cancel", id], ["delete", id], ["purge", "q"]):
            may("worker", *args, status=4)
        self.assertIn(id, may("viewer", "jobs"))
        self.assertIn("scheduled", may("viewer", "job", id))
        self.assertIn("q ", may("viewer", "queues"))
        may("viewer", "workers")
        for args in (["enqueue", "q", "9"], ["cancel", id], ["purge", "q"], ["pause", "q"]):
            may("viewer", *args, status=4)
        for args in (["jobs"], ["job", id], ["queues"], ["workers"], ["retry", id], ["cancel", id], ["retry", id],
                     ["pause", "q"], ["resume", "q"], ["delete", id], ["purge", "q"], ["migrate"], ["doctor"]):
            may("operator", *args, status=None if args == ["doctor"] else 0)
        may("operator", "enqueue", "q", "9", status=4)

    def test_functions_that_run_as_the_owner_cannot_be_led_astray(self):
        self.assertEqual(self.sql("""SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'neoq'::regnamespace
            AND prosecdef AND NOT coalesce(proconfig, '{}') && ARRAY['search_path=pg_catalog, pg_temp']"""), "")
        self.assertEqual(self.sql("""SELECT p.oid::regprocedure FROM pg_proc p, aclexplode(p.proacl) a
            WHERE pronamespace = 'neoq'::regnamespace AND a.grantee = 0"""), "")
        role = self.granted("enqueuer")
        self.sql(f"GRANT CREATE ON SCHEMA public TO {role}")
        self.sql("""SET search_path = pg_temp, public, pg_catalog;
            CREATE TEMP TABLE job (LIKE neoq.meta); CREATE TEMP TABLE queue (name text, id int);
            CREATE FUNCTION public.md5(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''led astray''; END';
            CREATE FUNCTION public.md5(bytea) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''led astray''; END';
            SELECT neoq.enqueue('q', '7')""", role)
        self.assertEqual(self.sql("SELECT count(*) FROM neoq.job"), "2")

    def test_granting(self):
        for role, kind, words in (("nobody_at_all", "worker", "does not exist"), (self.owner, "boss", "'boss'"),
                                  (self.owner, "anyone", "'anyone'")):
            with self.assertRaisesRegex(postgres_server.PostgresError, words):
                self.sql(f"SELECT neoq.grant_to('{role}', '{kind}')", self.owner)
        role = self.granted("viewer")
        self.sql(f"SELECT neoq.grant_to('{role}', 'enqueuer')", self.owner)
        self.sql("SELECT neoq.enqueue('q', '2')", role)
        self.assertEqual(self.sql("SELECT count(*) FROM neoq.jobs", role), "2")
        self.sql(f"SELECT neoq.revoke_from('{role}')", self.owner)
        self.denied("SELECT count(*) FROM neoq.jobs", role)
        self.denied("SELECT neoq.enqueue('q', '3')", role)
        self.assertEqual(self.may_call(role), set())


if __name__ == "__main__":
    unittest.main()
