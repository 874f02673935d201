"""
A line of so many megabits a second, each way, for what cannot have a queue of the kernel's.

``python -m tests.benchmarks.slowline PORT MBIT`` passes TCP connections on to the
port, in small pieces at the line's pace. Its buffers are as small as those of a
router that does not bloat: what waits besides waits at the sender. It prints its
own port, and ends with its standard input.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_PIECE: Final = 4096
# As the kernel counts them; it keeps about half of it for its own.
_BUFFER: Final = 64 * 1024
# What the line may carry at once after it was idle, in seconds.
_BURST: Final = 0.002


def _carry(source: socket.socket, sink: socket.socket, bytes_per_second: float) -> None:
    free_at = time.monotonic()
    try:
        while piece := source.recv(_PIECE):
            now = time.monotonic()
            free_at = max(free_at, now - _BURST) + len(piece) / bytes_per_second
            if free_at > now:
                time.sleep(free_at - now)
            sink.sendall(piece)
    except OSError:
        pass
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _serve(port: int, bytes_per_second: float) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        server.bind(("127.0.0.1", 0))
        server.listen()
        print(server.getsockname()[1], flush=True)
        while True:
            near, _ = server.accept()
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            far.connect(("127.0.0.1", port))
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                threading.Thread(
                    target=_carry, args=(one, other, bytes_per_second), daemon=True
                ).start()


@contextmanager
def slow_line(port: int, megabits: float) -> Iterator[int]:
    """The port at which the line to this port begins."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(port), str(megabits)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.communicate(timeout=10)


def main(port: str, megabits: str) -> None:
    serving = threading.Thread(
        target=_serve, args=(int(port), float(megabits) * 1e6 / 8), daemon=True
    )
    serving.start()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
