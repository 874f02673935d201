"""A service manager's socket, which keeps what it is told."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from attrs import define, field

from mezite.error import TimedOut


@define(eq=False)
class NotifySocket:
    """A datagram socket at a path, or at an abstract name for one that begins with ``@``."""

    address: str
    heard: list[str] = field(init=False, factory=list)
    _socket: socket.socket = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        self._socket.bind(name)

    def read(self) -> list[str]:
        """All lines that came, those of before included."""
        self._socket.setblocking(False)
        try:
            while True:
                self.heard += self._socket.recv(65536).decode().splitlines()
        except BlockingIOError:
            return self.heard

    def wait_for(self, wanted: str, seconds: float = 30.0) -> str:
        """
        The first line, not waited for before, that begins so.

        :raises TimedOut:
        """
        deadline = time.monotonic() + seconds
        while True:
            for number, line in enumerate(self.read()):
                if line.startswith(wanted):
                    del self.heard[: number + 1]
                    return line
            if time.monotonic() > deadline:
                raise TimedOut(f"{wanted!r} was not said, but {self.heard}")
            time.sleep(0.05)

    def close(self) -> None:
        self._socket.close()
        if not self.address.startswith("@"):
            Path(self.address).unlink(missing_ok=True)
