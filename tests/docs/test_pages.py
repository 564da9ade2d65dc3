# SPDX-License-Identifier: MIT
"""Every page: its links lead somewhere, the index has it, and the whole programs in it compile and run.

$NEOQ names the command in its build, whose library the programs are linked with.
"""

import os
import re
import subprocess
import tempfile
import unittest

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.path.dirname(os.path.dirname(os.path.abspath(os.environ["NEOQ"])))
PAGES = ["README.md", "CONTRIBUTING.md", "bench/README.md"]
PAGES += sorted("docs/" + name for name in os.listdir(os.path.join(ROOT, "docs")) if name.endswith(".md"))


def read(page):
    with open(os.path.join(ROOT, page)) as file:
        return file.read()


def anchors(text):
    """Of its headings, as they are linked to."""
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)]


class Pages(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for page in PAGES:
            for link in re.findall(r"\]\(([^)\s]+)\)", read(page)):
                if re.match(r"https?:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
                self.assertTrue(os.path.exists(os.path.join(ROOT, target)), f"{page}: {link}")
                if anchor and target.endswith(".md"):
                    self.assertIn(anchor, anchors(read(target)), f"{page}: {link}")

    def test_the_index_has_every_page(self):
        for page in PAGES:
            if page.startswith("docs/") and page != "docs/README.md":
                self.assertIn(f"({os.path.basename(page)})", read("docs/README.md"))

    def test_whole_programs_compile_and_run(self):
        tried = []
        for page in PAGES:
            for program in re.findall(r"^```c\n(.*?)^```", read(page), re.M | re.S):
                if "int main(" in program and page != "docs/tutorial.md":  # which has a test of its own
                    tried.append(page)
                    self.compile_and_run(page, program)
        self.assertIn("README.md", tried)
        self.assertIn("docs/testing.md", tried)

    def compile_and_run(self, page, program):
        with tempfile.TemporaryDirectory(prefix="neoq-pages-") as folder:
            source, to = os.path.join(folder, "program.c"), os.path.join(folder, "program")
            with open(source, "w") as file:
                file.write(program)
            command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", to, source]
            command += ["-I", os.path.join(ROOT, "include"), "-L", BUILD, "-Wl,-rpath," + BUILD, "-lneoq"]
            said = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(said.returncode, 0, f"{page}: {said.stderr}")
            said = subprocess.run([to], capture_output=True, text=True, cwd=folder, timeout=60)
            self.assertEqual(said.returncode, 0, f"{page}: {said.stdout}{said.stderr}")


if __name__ == "__main__":
    unittest.main()
