# SPDX-License-Identifier: MIT
"""The same checks on several stores: a class of checks, and with it OnPostgres or OnRedis, makes a case."""

import postgres_server
import redis_server


class OnPostgres:
    def setUp(self):
        super().setUp()
        self.database = postgres_server.shared().create()
        self.url = self.env["NEOQ_URL"] = postgres_server.shared().url(self.database)

    def tearDown(self):
        super().tearDown()
        postgres_server.shared().drop(self.database)


class OnRedis:
    def setUp(self):
        super().setUp()
        self.url = self.env["NEOQ_URL"] = redis_server.shared().create()
