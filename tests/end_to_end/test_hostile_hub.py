"""Tests of ``msh proxy ssh`` against a hub that breaks off."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import threading
import time
from typing import Any

from mezite.client.pump import Connection, Pump


class Plain:
    """No TLS: what is received is what was sent."""

    def __init__(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self.read_from = incoming
        self.outgoing = outgoing

    def read(self, length: int, buffer: memoryview) -> int:
        data = self.read_from.read(min(length, len(buffer)))
        if not data:
            raise ssl.SSLWantReadError
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: memoryview) -> int:
        return self.outgoing.write(bytes(data))

    def unwrap(self) -> None:
        """Say nothing."""


class Connected(Connection):
    """What the pump takes for a connection."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls: Any = Plain(self.incoming, self.outgoing)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    return near, far


class BrokenTests:
    """A connection that is reset while whoever started us does not read."""

    def test_does_not_spin(self) -> None:
        """It waits for the reader, and does not turn in a circle meanwhile."""
        near, far = tcp_pair()
        source, keep_open = os.pipe()
        reader, sink = os.pipe()
        polls = 0

        class Counting:
            def __init__(self) -> None:
                self.real = real()

            def poll(self, timeout: int | None) -> list[tuple[int, int]]:
                nonlocal polls
                polls += 1
                return self.real.poll(timeout)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.real, name)

        real, select.poll = select.poll, Counting  # type: ignore[misc]
        try:
            pump = threading.Thread(target=_run, args=(Pump(Connected(near), source, sink),))
            pump.start()
            far.setblocking(False)
            end = time.monotonic() + 1
            while time.monotonic() < end:
                try:
                    far.send(b"x" * 65536)
                except BlockingIOError:
                    time.sleep(0.05)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            far.close()
            time.sleep(0.2)
            before = polls
            time.sleep(0.5)
            assert polls - before < 20
            # It was there all the time, and turned before that.
            assert pump.is_alive()
            assert before
        finally:
            select.poll = real  # type: ignore[misc]
            os.close(reader)
            os.close(keep_open)
            pump.join(10)
            for each in (source, sink):
                os.close(each)
            near.close()
        assert not pump.is_alive()


def _run(pump: Pump) -> None:
    try:
        pump.run()
    except OSError:
        pass
