# SPDX-License-Identifier: MIT
"""A private Redis (scripts/with-redis) and what it takes to ask it something: its protocol, and the messages of asynq."""

import os
import socket
import subprocess

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/with-redis")


class RedisError(Exception):
    pass


class RedisServer:
    """It ends with this program and leaves nothing behind."""

    def __init__(self, settings=(), base=None):
        """settings: "name=value"; base: of its folder."""
        command = [SCRIPT]
        for setting in settings:
            command += ["-c", setting]
        self.process = subprocess.Popen([*command, "--control"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        bufsize=1, env={**os.environ, "NEOQ_TEST_FOLDER": base} if base else None)
        self.folder = self.hear("start").split()[0]
        self.socket = os.path.join(self.folder, "socket")

    def hear(self, order):
        verdict, _, words = self.process.stdout.readline().strip().partition(" ")
        if verdict != "ok":
            raise RedisError(f"{order}: {words or 'the script has ended'}")
        return words

    def tell(self, order):
        """start, stop, kill (with -9)."""
        self.process.stdin.write(order + "\n")
        return self.hear(order)

    def end(self):
        self.process.stdin.close()
        self.process.stdout.read() # it ends when all is gone
        self.process.stdout.close()
        self.process.wait()


class Redis:
    """A connection. Answers are bytes, numbers, lists and None."""

    def __init__(self, path):
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(20)
        self.link.connect(path)
        self.file = self.link.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.link.close()

    def do(self, *words):
        return self.many([words])[0]

    def many(self, commands):
        """All at once. The first refusal is raised."""
        out = bytearray()
        for words in commands:
            out += b"*%d\r\n" % len(words)
            for word in words:
                word = word if isinstance(word, bytes) else str(word).encode()
                out += b"$%d\r\n%s\r\n" % (len(word), word)
        self.link.sendall(out)
        answers = [self.answer() for _ in commands]
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        return answers

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise RedisError("the connection is gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2]
        return [self.answer() for _ in range(int(rest))]


def read_message(data):
    """A protobuf's fields by their numbers: bytes and numbers. Of asynq's message, 2 is the payload and 6 the retries."""
    fields, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            data_at, at = at, at + value
            value = data[data_at:at]
        fields[key >> 3] = value
    return fields
