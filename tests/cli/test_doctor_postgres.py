# SPDX-License-Identifier: MIT
"""neoq doctor on PostgreSQL: on a server of this test's own, whose settings it changes."""

import socket
import subprocess
import unittest

import postgres_server
from support import *


class Doctor(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = postgres_server.PostgresServer(["max_prepared_transactions=4", "wal_level=logical"])

    @classmethod
    def tearDownClass(cls):
        cls.server.end()

    def setUp(self):
        super().setUp()
        self.database = self.server.create()
        self.use()

    def tearDown(self):
        self.server.drop(self.database)
        super().tearDown()

    def use(self, role="postgres", database=None, options=""):
        self.env["NEOQ_URL"] = self.server.url(database or self.database, role) + options

    def sql(self, text, role="postgres"):
        return self.server.sql(self.database, text, role)

    def findings(self, status=0, **how):
        found = self.objects("doctor", status=status, **how)
        for finding in found:
            self.assertEqual(set(finding), {"level", "name", "words"})
        self.assertEqual(status, int("bad" in [finding["level"] for finding in found]))
        names = [finding["name"] for finding in found]
        self.assertEqual(len(names), len(set(names)), names)
        return {finding["name"]: finding for finding in found}

    def finding(self, name, level, **how):
        found = self.findings(status=1 if level == "bad" else 0, **how)[name]
        self.assertEqual(found["level"], level, found)
        return found["words"]

    def setting(self, text):
        self.server.sql("postgres", f"ALTER SYSTEM {text}")
        self.server.sql("postgres", "SELECT pg_reload_conf()")

    def with_setting(self, name, value, check):
        self.setting(f"SET {name} = {value}")
        try:
            self.until(lambda: self.sql(f"SHOW {name}") == value, name)
            check()
        finally:
            self.setting(f"RESET {name}")
            self.until(lambda: self.sql(f"SHOW {name}") != value, name)

    # ---- the server ---------------------------------------------------------------------

    def test_a_sound_server(self):
        self.neoq("migrate", "up")
        found = self.findings()
        self.assertEqual(
            set(found),
            set("reachable,version,writable,fsync,full_page_writes,synchronous_commit,autovacuum,encoding,transactions,"
                "replication slots,prepared transactions,clock,pooler,notifications,connections,schema,owner,grants,"
                "dead rows,size,jobs".split(",")),
        )
        self.assertEqual({f["name"] for f in found.values() if f["level"] != "ok"}, {"owner"})
        for line in self.neoq("doctor").stdout.splitlines():
            self.assertRegex(line, r"^(ok|note|bad) ")

    def test_it_changes_nothing(self):
        self.findings()
        self.assertEqual(self.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'neoq'"), "0")
        self.use(database="no_such_database")
        self.assertIn("no_such_database", self.finding("reachable", "bad"))
        self.assertEqual(self.sql("SELECT count(*) FROM pg_database WHERE datname = 'no_such_database'"), "0")

    def test_unreachable(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
            self.env["NEOQ_URL"] = f"postgres://ada:sesame@127.0.0.1:{port}/db?connect_timeout=2"
            words = self.finding("reachable", "bad")
        self.assertIn("127.0.0.1", words)
        self.assertNotIn("sesame", words)
        self.neoq("doctor", env={"NEOQ_URL": "postgres://localhost/db?pool_max_conns=many"}, status=2)

    def test_settings_that_lose_data(self):
        for name, value in (("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off"),
                            ("autovacuum", "off")):
            self.with_setting(name, value, lambda: self.assertIn("off", self.finding(name, "bad")))
        self.sql(f"ALTER DATABASE {self.database} SET synchronous_commit = off")
        self.assertIn("(database)", self.finding("synchronous_commit", "bad"))
        self.sql(f"ALTER DATABASE {self.database} SET synchronous_commit = local")
        self.assertEqual(self.finding("synchronous_commit", "ok"), "local")
        self.use(options="&asynchronous_commit=on")
        self.assertIn("by the option", self.finding("synchronous_commit", "note"))

    def test_read_only(self):
        self.sql(f"ALTER DATABASE {self.database} SET default_transaction_read_only = on")
        self.finding("writable", "bad")

    def test_connections(self):
        self.sql("CREATE ROLE few LOGIN CONNECTION LIMIT 3; CREATE ROLE two LOGIN CONNECTION LIMIT 1")
        self.use("few")
        self.assertIn("2 are left", self.findings(status=1)["connections"]["words"])
        self.use(options="&pool_max_conns=200")
        self.assertIn("lower pool_max_conns", self.finding("connections", "note"))

    def test_replication_slots(self):
        self.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
        try:
            words = self.finding("replication slots", "note")
            self.assertIn('"forgotten" (physical, not in use)', words)
        finally:
            self.sql("SELECT pg_drop_replication_slot('forgotten')")

    def test_a_young_transaction_is_nobodys_business(self):
        self.sql("CREATE TABLE t (x int)")
        self.sql("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'young'")
        try:
            self.finding("prepared transactions", "ok")
        finally:
            self.sql("ROLLBACK PREPARED 'young'")

    def test_a_pooler_that_is_not_there(self):
        self.use(options="&pooler=transaction")
        self.assertIn("none stands between", self.finding("pooler", "note"))

    # ---- the schema -----------------------------------------------------------------------

    def test_the_schema(self):
        self.assertIn("makes it", self.finding("schema", "note"))
        self.neoq("migrate", "up")
        self.assertEqual(self.finding("schema", "ok"), "neoq, version 1")
        self.sql("UPDATE neoq.meta SET value = 2 WHERE key = 'version'")
        self.assertIn("they work together", self.finding("schema", "note"))
        self.sql("UPDATE neoq.meta SET value = 2 WHERE key = 'compatible_from'")
        self.finding("schema", "bad")
        self.use(options="&schema=other")
        self.finding("schema", "note")

    def test_another_programs_schema(self):
        self.sql("CREATE SCHEMA neoq; CREATE TABLE neoq.songs (name text)")
        self.assertIn("songs", self.finding("schema", "bad"))

    def test_rights(self):
        self.sql("CREATE ROLE ann LOGIN; CREATE ROLE team; GRANT team TO ann")
        self.use("ann")
        self.assertIn("may not make it", self.finding("schema", "bad"))
        self.use()
        self.neoq("migrate", "up")
        self.use("ann")
        self.assertIn("grant_to", self.finding("schema", "bad"))
        self.sql("GRANT USAGE ON SCHEMA neoq TO ann; GRANT SELECT ON neoq.meta TO ann;"
                 "GRANT EXECUTE ON FUNCTION neoq.functions_of TO ann")
        self.assertIn("granted nothing", self.finding("grants", "bad"))
        self.sql("SELECT neoq.grant_to('ann', 'viewer'), neoq.grant_to('team', 'enqueuer')")
        self.assertEqual(self.finding("grants", "ok"), "this role was granted enqueuer, viewer")
        self.sql("REVOKE EXECUTE ON FUNCTION neoq.list_schedules FROM ann")
        self.assertIn("neoq.list_schedules()", self.finding("grants", "bad"))
        self.sql("SELECT neoq.grant_to('ann', 'viewer')")
        self.finding("grants", "ok")

    def test_jobs_that_nobody_runs(self):
        self.neoq("migrate", "up")
        self.sql("SELECT neoq.enqueue('q', '1')")
        self.assertIn("1 ready and no worker", self.finding("jobs", "note"))

    def test_dead_rows(self):
        self.neoq("migrate", "up")
        self.sql("ALTER TABLE neoq.tally SET (autovacuum_enabled = off)")
        self.sql("INSERT INTO neoq.tally (queue_id, waiting) SELECT 1, 0 FROM generate_series(1, 150000)")
        self.sql("DELETE FROM neoq.tally")
        self.until(lambda: self.sql("SELECT n_dead_tup > 100000 FROM pg_stat_user_tables WHERE relname = 'tally'") == "t",
                   "statistics")
        self.assertIn("tally has 150000 dead", self.finding("dead rows", "note"))


if __name__ == "__main__":
    unittest.main()
