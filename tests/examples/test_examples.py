# SPDX-License-Identifier: MIT
"""Each example does what it says. EXAMPLES is the folder of the programs, NEOQ the command."""
import http.server
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

BUILT = os.environ["EXAMPLES"]
NEOQ = os.environ["NEOQ"]
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")
PATIENCE = 60


class Examples(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="neoq-examples-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.url = f"sqlite:{self.folder}/jobs.db"

    def run_it(self, name, *args, **more):
        result = subprocess.run([f"{BUILT}/example_{name}", *args], text=True, capture_output=True, timeout=PATIENCE, **more)
        self.assertEqual(0, result.returncode, result.stderr)
        return result.stdout.splitlines()

    def start(self, name, *args):
        process = subprocess.Popen([f"{BUILT}/example_{name}", *args], text=True, stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, process.wait(PATIENCE))

    def enqueue(self, *args):
        subprocess.run([NEOQ, "--url", self.url, "enqueue", *args], check=True, capture_output=True)

    def test_none_is_long(self):
        for name in os.listdir(SOURCES):
            path = os.path.join(SOURCES, name)
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as file:
                    self.assertLess(len(file.readlines()), 100, name)

    def test_hello(self):
        self.assertEqual(['hello: {"message": "hi"}'], self.run_it("hello"))

    def test_retries(self):
        self.assertEqual(["run 1 of fetch: failed https://example.org/ does not answer",
                          "run 2 of fetch: failed https://example.org/ does not answer",
                          "run 3 of fetch: done ",
                          "result: <html>"], self.run_it("retries"))

    def test_periodic(self):
        lines = self.run_it("periodic")
        spec = "TZ=Europe/Berlin 30 2 * * *"
        self.assertEqual([f"{spec}: 2026-03-27T01:30:00Z", f"{spec}: 2026-03-28T01:30:00Z",
                          f"{spec}: 2026-03-29T01:00:00Z"], lines[:3])
        self.assertLessEqual({'report ran: {"kind": "short"}', "sweep ran: no payload"}, set(lines[3:]))

    def test_exactly_once(self):
        self.assertEqual(["run 1 of teapot: rolled back", "run 2 of teapot: committed",
                          "teapot: confirmed 1 time(s)"], self.run_it("exactly_once"))

    def test_owner(self):
        self.assertEqual(["dead: rain is refused", "hello, ada"], sorted(self.run_it("owner")))

    def test_embedded(self):
        lines = self.run_it("embedded", input="tea\ncake\nmilk\n")
        self.assertEqual(["served cake", "served milk", "served tea"], sorted(line.split(":")[0] for line in lines))
        self.assertEqual(["1 of 3", "2 of 3", "3 of 3"], [line.split(": ")[1] for line in lines])

    def test_daemon(self):
        self.enqueue("greet", "ada")
        daemon = self.start("daemon", self.url)
        # What it prints into a pipe comes when it ends, so the store tells how far it is.
        subprocess.run([NEOQ, "--url", self.url, "enqueue", "resize", "a.png"], check=True, capture_output=True)
        jobs = [NEOQ, "--url", self.url, "jobs", "--json"]
        while subprocess.run(jobs, check=True, capture_output=True).stdout:
            self.assertIsNone(daemon.poll())
        daemon.send_signal(signal.SIGTERM)
        said = daemon.communicate(timeout=PATIENCE)[0].splitlines()
        self.assertEqual(0, daemon.returncode)
        self.assertEqual(["hello, ada", "resized a.png"], sorted(said))

    @unittest.skipUnless(os.access(f"{BUILT}/example_webhooks", os.X_OK), "there is no libcurl")
    def test_webhooks(self):
        posts = []
        answers = {b"late": [500, 200], b"never": [404], b"overrun": [503, 204]}

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.append((body, self.path, self.headers["Idempotency-Key"], self.headers["Content-Type"]))
                self.send_response(answers[body].pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        for payload in answers:
            self.enqueue("hooks", payload.decode(), "--retry-waits", "10ms,10ms")
        process = self.start("webhooks", self.url, f"http://127.0.0.1:{server.server_port}/hook")
        said = [process.stdout.readline().strip() for _ in range(5)]
        self.stop(process)
        self.assertEqual(["try 1 of late: 500", "try 1 of never: 404", "try 1 of overrun: 503", "try 2 of late: 200",
                          "try 2 of overrun: 204"], sorted(said))
        self.assertEqual(5, len(posts))
        self.assertEqual({("/hook", "application/json")}, {(path, kind) for _, path, _, kind in posts})
        self.assertEqual(3, len({key for _, _, key, _ in posts}))  # the same for each try of a job
        dead = subprocess.run([NEOQ, "--url", self.url, "jobs", "--state", "dead", "--json"], check=True, capture_output=True)
        self.assertIn(b"refuses it: 404", dead.stdout)

    @unittest.skipUnless(shutil.which("pamscale"), "there is no netpbm")
    def test_thumbnails(self):
        pictures = os.path.join(self.folder, "my pictures")
        os.mkdir(pictures)
        for name, width, height in (("wide; touch x.ppm", 640, 320), ("$(high).ppm", 100, 800)):
            with open(os.path.join(pictures, name), "wb") as file:
                file.write(b"P6 %d %d 255\n" % (width, height) + bytes(3 * width * height))
        with open(os.path.join(pictures, "broken.ppm"), "wb") as file:
            file.write(b"P6 no picture")
        path = os.path.dirname(NEOQ) + os.pathsep + os.environ["PATH"]
        result = subprocess.run([os.path.join(SOURCES, "thumbnails"), pictures], env={**os.environ, "PATH": path},
                                cwd=self.folder, text=True, capture_output=True, timeout=PATIENCE)
        self.assertEqual(1, result.returncode, result.stderr)
        self.assertIn("broken.ppm", result.stdout + result.stderr)
        made = os.path.join(pictures, "thumbnails")
        self.assertEqual({"wide; touch x.png", "$(high).png"}, {n for n in os.listdir(made) if not n.startswith("jobs.db")})
        sizes = {}
        for name in ("wide; touch x.png", "$(high).png"):
            with open(os.path.join(made, name), "rb") as file:
                head = file.read(24)
            sizes[name] = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        self.assertEqual({"wide; touch x.png": (160, 80), "$(high).png": (20, 160)}, sizes)


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2)
    sys.exit(not program.result.wasSuccessful())
