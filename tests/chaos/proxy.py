#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stands between the clients and the server, with a port for each slot, and lets through what it is told to.

    proxy.py SLOTS SERVER        SERVER: the path of a Unix socket

It answers with its ports, and then obeys the lines it reads; SLOT is a number, or "all":

    SLOT delay MS       each piece comes so much later
    SLOT blackhole      nothing comes through any more, and nobody is told so
    SLOT half-up        the same of what clients say; half-down: of what the server says
    SLOT cut BYTES      every connection is reset after so many more bytes, of either side
    SLOT reset          every connection is reset, now
    SLOT heal           all is well again: what was held back comes, but where one side alone was held back, it is reset
    server PATH         where new connections go from now on; the old ones are reset
"""

import asyncio
import socket
import struct
import sys


class Weather:
    """What a slot's connections are to suffer."""

    def __init__(self):
        self.kind, self.amount = "heal", 0
        self.links = set()


class Side(asyncio.Protocol):
    """One end of a link."""

    def __init__(self, link, up):
        self.link, self.up = link, up # up: it is the client's end
        self.transport = self.other = None
        self.early = []

    def connection_made(self, transport):
        self.transport = transport
        self.link.made(self)

    def data_received(self, data):
        self.link.carry(self, data)

    def pause_writing(self):
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self):
        self.link.breathe()

    def connection_lost(self, error):
        self.link.end()


class Link:
    """A client's connection, and its own to the server."""

    def __init__(self, proxy, weather):
        self.proxy, self.weather = proxy, weather
        self.client, self.server = Side(self, True), Side(self, False)
        self.client.other, self.server.other = self.server, self.client
        self.left = None                 # bytes until it is cut
        self.free_at = {True: 0, False: 0}
        self.over = False

    def made(self, side):
        if side is self.client:
            self.weather.links.add(self)
            self.breathe()
            asyncio.ensure_future(self.connect())
            return
        for data in self.client.early:
            side.transport.write(data)
        self.client.early = []
        self.breathe()

    async def connect(self):
        while self.held(True) and not self.over: # the server does not hear of it, either
            await asyncio.sleep(0.01)
        if self.over:
            return
        try:
            await self.proxy.loop.create_unix_connection(lambda: self.server, self.proxy.server)
        except OSError:
            self.reset()

    def held(self, up):
        return self.weather.kind == "blackhole" or self.weather.kind == ("half-up" if up else "half-down")

    def breathe(self):
        """Reads from where something may come."""
        for side in (self.client, self.server):
            if side.transport and not side.transport.is_closing():
                (side.transport.pause_reading if self.held(side.up) else side.transport.resume_reading)()

    def carry(self, side, data):
        loop, to = self.proxy.loop, side.other
        if self.weather.kind == "cut":
            if self.left is None:
                self.left = self.weather.amount
            data, rest = data[:self.left], data[self.left:]
            self.left -= len(data)
            if rest or self.left == 0:
                self.pass_on(to, data)
                loop.call_later(0.001, self.reset) # what was let through arrives first
                self.left = 0
                return
        wait = self.weather.amount / 1000 if self.weather.kind == "delay" else 0
        now = loop.time()
        due = max(now + wait, self.free_at[side.up])
        if due <= now:
            self.pass_on(to, data)
        else:
            self.free_at[side.up] = due
            loop.call_at(due, self.pass_on, to, data)

    def pass_on(self, to, data):
        if to.transport is None:
            self.client.early.append(data)
        elif not to.transport.is_closing():
            to.transport.write(data)

    def reset(self):
        for side in (self.client, self.server):
            if side.transport:
                link = side.transport.get_extra_info("socket")
                if side.up and link is not None:
                    try:
                        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    except OSError:
                        pass
                side.transport.abort()
        self.over = True
        self.weather.links.discard(self)

    def end(self):
        """One side is gone: so is the other, once it has what was meant for it."""
        self.over = True
        self.weather.links.discard(self)
        for side in (self.client, self.server):
            if side.transport and not side.transport.is_closing():
                side.transport.close()


class Proxy:
    def __init__(self, slots, server):
        self.server = server
        self.loop = None
        self.weathers = [Weather() for _ in range(slots)]

    async def serve(self):
        self.loop = asyncio.get_running_loop()
        ports = []
        for weather in self.weathers:
            listener = await self.loop.create_server(lambda w=weather: Link(self, w).client, "127.0.0.1", 0)
            ports.append(listener.sockets[0].getsockname()[1])
        print(*ports, flush=True)
        reader = asyncio.StreamReader()
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            self.obey(*line.decode().split())

    def obey(self, who, what, amount="0"):
        if who == "server":
            self.server = what
        for weather in self.weathers if who in ("all", "server") else [self.weathers[int(who)]]:
            one_sided = weather.kind.startswith("half")
            if who != "server" and what != "reset":
                weather.kind, weather.amount = what, int(amount)
            for link in list(weather.links):
                link.left = None
                if who == "server" or what == "reset" or (what == "heal" and one_sided):
                    link.reset()
                else:
                    link.breathe()


if __name__ == "__main__":
    asyncio.run(Proxy(int(sys.argv[1]), sys.argv[2]).serve())
