"""
Strangers who flood a hub's port: each kind of a connection that wants to hold something.

``python -m tests.end_to_end.floods PORT KIND=COUNT…`` keeps so many connections
of each kind open, opens a new one for each that the hub ends, and says in JSON
what it saw so far for each line of its standard input, until that ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from attrs import asdict, define, field

from mezite.wire.websocket import PATH, SUBPROTOCOL

# Not 127.0.0.1, where those come from who are to be served meanwhile.
SOURCE: Final = "127.0.0.66"
# Who sends what is no TLS has an address apart, which is soon closed to all that comes from it.
OFFENDER: Final = "127.0.0.68"
# Where a balancer is, for the hub that has one.
BALANCER: Final = "127.0.0.67"
# Where this module is found by its name, wherever the tests were begun.
_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_PAUSE: Final = 0.5
# From the dropping of a connection to the next one: a flood is fast, and not a loop.
_BREATH: Final = 0.02


@define
class Seen:
    """What a flood has seen so far."""

    opened: int = 0
    refused: int = 0
    ended: int = 0
    # Seconds that the longest of those lived which the hub has ended.
    longest: float = 0.0


@define(eq=False)
class Flood:
    """One kind of connections to one port."""

    port: int
    seen: Seen = field(init=False, factory=Seen)

    async def keep(self, kind: Callable[[Flood], Awaitable[None]]) -> None:
        """One connection after the other, for ever."""
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await kind(self)
            except (OSError, asyncio.IncompleteReadError):
                self.seen.refused += 1
            else:
                self.seen.ended += 1
                lived = asyncio.get_running_loop().time() - begun
                self.seen.longest = max(self.seen.longest, lived)
            await asyncio.sleep(_BREATH)

    async def connect(self, *names: str, tls: bool = True, source: str = SOURCE) -> tuple[Any, Any]:
        context: ssl.SSLContext | None = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if names:
                context.set_alpn_protocols(names)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, local_addr=(source, 0)
        )
        self.seen.opened += 1
        return reader, writer


async def _until_end(reader: Any, writer: Any) -> None:
    """Until the hub has ended it, whatever it says before."""
    try:
        with suppress(OSError):
            while await reader.read(65536):
                pass
    finally:
        writer.transport.abort()


async def _trickle(reader: Any, writer: Any, data: bytes) -> None:
    """The same, while bytes go out one by one."""

    async def send() -> None:
        for byte in data:
            writer.write(bytes((byte,)))
            await asyncio.sleep(_PAUSE)

    sending = asyncio.ensure_future(send())
    try:
        await _until_end(reader, writer)
    finally:
        sending.cancel()


async def _pour(reader: Any, writer: Any, head: bytes, block: bytes) -> None:
    """The same, while bytes go out as fast as they are taken."""

    async def send() -> None:
        writer.write(head)
        with suppress(OSError):
            while not writer.transport.is_closing():
                writer.write(block)
                await writer.drain()
                await asyncio.sleep(0)

    sending = asyncio.ensure_future(send())
    try:
        await _until_end(reader, writer)
    finally:
        sending.cancel()


def _hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


async def slow_hello(flood: Flood) -> None:
    """A ClientHello byte by byte."""
    await _trickle(*await flood.connect(tls=False), _hello())


async def silent(flood: Flood) -> None:
    """Not even that."""
    await _until_end(*await flood.connect(tls=False))


async def junk(flood: Flood) -> None:
    """What is no TLS."""
    await _pour(*await flood.connect(tls=False, source=OFFENDER), b"", os.urandom(65536))


async def large_hello(flood: Flood) -> None:
    """A ClientHello that says that it is 16 MiB long, in full records."""
    record = b"\x16\x03\x01\x40\x00" + bytes(16384)
    head = b"\x16\x03\x01\x00\x04" + b"\x01\xff\xff\xff"
    await _pour(*await flood.connect(tls=False, source=OFFENDER), head, record * 4)


async def handshakes(flood: Flood) -> None:
    """A handshake, and nothing after it."""
    _, writer = await flood.connect("http/1.1")
    writer.transport.abort()


async def idle(flood: Flood) -> None:
    """A handshake, and silence after it."""
    await _until_end(*await flood.connect("http/1.1"))


async def slow_headers(flood: Flood) -> None:
    """A request whose headers come byte by byte."""
    reader, writer = await flood.connect("http/1.1")
    await _trickle(reader, writer, b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 1000)


async def slow_body(flood: Flood) -> None:
    """A request whose body comes byte by byte."""
    reader, writer = await flood.connect("http/1.1")
    writer.write(
        b"POST /v1/webapi/login HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Content-Length: 10000\r\n\r\n"
    )
    await _trickle(reader, writer, b"x" * 9000)


async def requests(flood: Flood) -> None:
    """Requests without an end."""
    reader, writer = await flood.connect("http/1.1")
    await _pour(reader, writer, b"", b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n" * 10)


async def http2(flood: Flood) -> None:
    """HTTP/2, and pings."""
    reader, writer = await flood.connect("h2")
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    ping = bytes((0, 0, 8, 6, 0, 0, 0, 0, 0)) + bytes(8)
    await _trickle(reader, writer, ping * 100)


async def upgrades(flood: Flood) -> None:
    """A WebSocket in which nothing is said."""
    reader, writer = await flood.connect("http/1.1")
    writer.write(
        f"GET {PATH} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
    )
    await _until_end(reader, writer)


async def grpc(flood: Flood) -> None:
    """A connection to the auth service without a call."""
    await _until_end(*await flood.connect("mezite-auth"))


async def ssh(flood: Flood) -> None:
    """A connection to the jump host, on which nobody logs in."""
    reader, writer = await flood.connect("mezite-ssh")
    writer.write(b"SSH-2.0-flood\r\n")
    await _until_end(reader, writer)


async def slow_header(flood: Flood) -> None:
    """A PROXY header byte by byte."""
    reader, writer = await flood.connect(tls=False, source=BALANCER)
    await _trickle(reader, writer, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ")


KINDS: Final[Mapping[str, Callable[[Flood], Awaitable[None]]]] = {
    kind.__name__: kind
    for kind in (
        slow_hello,
        silent,
        junk,
        large_hello,
        handshakes,
        idle,
        slow_headers,
        slow_body,
        requests,
        http2,
        upgrades,
        grpc,
        ssh,
        slow_header,
    )
}


@define(eq=False)
class Flooding:
    """A flood that runs as a process of its own."""

    process: subprocess.Popen[str]

    def seen(self) -> Mapping[str, Seen]:
        """What each kind has seen so far."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        return {kind: Seen(**seen) for kind, seen in said.items()}


@contextmanager
def flooding(port: int, **counts: int) -> Iterator[Flooding]:
    """So many connections of each kind, for as long as this is entered."""
    process = subprocess.Popen(
        ["nice", "-n", "10", sys.executable, "-m", __name__, str(port),
         *(f"{kind}={count}" for kind, count in counts.items())],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        yield Flooding(process)
    finally:
        process.communicate(timeout=30)


async def _run(port: int, counts: Mapping[str, int]) -> None:
    floods = {kind: Flood(port) for kind in counts}
    over = asyncio.Event()

    def asked() -> None:
        if not os.read(sys.stdin.fileno(), 100):
            over.set()
            return
        said = {kind: asdict(flood.seen) for kind, flood in floods.items()}
        print(json.dumps(said), flush=True)

    asyncio.get_running_loop().add_reader(sys.stdin, asked)
    keeping = [
        asyncio.ensure_future(flood.keep(KINDS[kind]))
        for kind, flood in floods.items()
        for _ in range(counts[kind])
    ]
    await over.wait()
    for each in keeping:
        each.cancel()
    await asyncio.gather(*keeping, return_exceptions=True)


def main(port: str, *words: str) -> None:
    counts = {kind: int(count) for kind, _, count in (word.partition("=") for word in words)}
    asyncio.run(_run(int(port), counts))


if __name__ == "__main__":
    main(*sys.argv[1:])
