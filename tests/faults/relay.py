"""
A TCP relay that passes everything on later, and cuts what it carries when told.

A program for one host of the suite: netem is not in every kernel. Standard
input tells it what to do, a line each: ``delay SECONDS``, ``cut`` (by a reset),
``deaf`` (takes and passes on nothing more) and ``well`` again; its end is its own.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import sys
from typing import Any, Final

# With so much on its way a direction waits, as a router's queue would drop.
_ON_THE_WAY: Final = 4 << 20
_CHUNK: Final = 1 << 16
_RESET: Final = struct.pack("ii", 1, 0)


class Relay:
    """Every connection, and how it is treated now."""

    def __init__(self, host: str, port: int, delay: float) -> None:
        self.place = (host, port)
        self.delay = delay
        self.well = asyncio.Event()
        self.well.set()
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.place)
        except OSError:
            _reset(writer)
            return
        ends = {writer, far_writer}
        self.writers |= ends
        ways = [
            asyncio.create_task(self.carry(reader, far_writer)),
            asyncio.create_task(self.carry(far_reader, writer)),
        ]
        try:
            await asyncio.gather(*ways)
        except OSError:
            for end in ends:
                _reset(end)
        finally:
            for way in ways:
                way.cancel()
            self.writers -= ends
            for end in ends:
                end.close()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read as it comes, write each piece when its time has come."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_THE_WAY // _CHUNK)

        async def take() -> None:
            while True:
                data = await reader.read(_CHUNK)
                await pieces.put((loop.time() + self.delay, data))
                if not data:
                    return

        async def give() -> None:
            while True:
                due, data = await pieces.get()
                await asyncio.sleep(due - loop.time())
                await self.well.wait()
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        taking = asyncio.create_task(take())
        giving = asyncio.create_task(give())
        try:
            await asyncio.gather(taking, giving)
        finally:
            taking.cancel()
            giving.cancel()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self.writers):
            _reset(writer)

    def obey(self, line: str) -> None:
        word, *rest = line.split()
        match word:
            case "delay":
                self.delay = float(rest[0])
            case "cut":
                self.cut()
            case "deaf":
                self.well.clear()
            case "well":
                self.well.set()
            case _:
                raise ValueError(line)


def _reset(writer: asyncio.StreamWriter) -> None:
    connected: Any = writer.get_extra_info("socket")
    if connected is not None and connected.fileno() >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS")
    options = parser.parse_args()
    far_host, _, far_port = options.to.rpartition(":")
    relay = Relay(far_host, int(far_port), options.delay)
    host, _, port = options.listen.rpartition(":")
    server = await asyncio.start_server(relay.serve, host, int(port))
    print("ready", flush=True)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        relay.obey(line.decode())
    server.close()
    relay.cut()


if __name__ == "__main__":
    asyncio.run(main())
