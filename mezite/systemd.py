"""
What a service manager is told of a program: ready, what it does, alive, stopping.

The protocol is sd_notify(3): datagrams of ``NAME=value`` lines, to a unix socket
that the environment names. Nothing depends on anybody hearing them: without a
socket all of it does nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG_TIME: Final = "WATCHDOG_USEC"
_WATCHDOG_PROCESS: Final = "WATCHDOG_PID"
# sun_path of unix(7); an abstract name may use all of it.
_ADDRESS_LENGTH: Final = 108
# systemctl shows one line; a datagram holds far more.
SENTENCE_LENGTH: Final = 500
# How often it is looked whether there is something new to say.
LOOK_SECONDS: Final = 5.0
# A watchdog of less than that would ask for more than a busy reactor can promise.
_SHORTEST_WATCHDOG: Final = 0.1

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


def status_line(sentence: str) -> str:
    """The line that tells what the program is doing."""
    shown = "".join(char if char.isprintable() else " " for char in sentence)
    return f"STATUS={shown[:SENTENCE_LENGTH]}"


def datagram(*lines: str) -> bytes:
    """Lines as they are sent; each ends with a newline."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


@frozen
class ServiceManager:
    """
    Who started this program, as the environment says.

    ``address`` is of unix(7), None if there is nobody to tell; ``watchdog`` is in
    how many seconds a program that says nothing counts as hung.
    """

    address: bytes | None = None
    watchdog: float | None = None

    @classmethod
    def of(cls, environ: MutableMapping[str, str], pid: int) -> ServiceManager:
        """Read the variables, and take them away: they are not for our children."""
        given = environ.pop(_SOCKET, "")
        microseconds = environ.pop(_WATCHDOG_TIME, "")
        process = environ.pop(_WATCHDOG_PROCESS, str(pid))
        address = _address(given)
        if address is None or process != str(pid) or not _is_number(microseconds):
            return cls(address)
        watchdog = int(microseconds) / 1e6
        return cls(address, watchdog if watchdog >= _SHORTEST_WATCHDOG else None)


def _address(given: str) -> bytes | None:
    encoded = given.encode("utf-8", "surrogateescape")
    if encoded[:1] == b"@":
        # The abstract namespace, whose names begin with a zero.
        encoded = b"\0" + encoded[1:]
    elif encoded[:1] != b"/":
        return None
    return encoded if 1 < len(encoded) <= _ADDRESS_LENGTH else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 18


def send_datagram(address: bytes, data: bytes) -> None:
    """
    One datagram to a unix socket, without waiting.

    :raises OSError: nobody is there, or they do not read.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.sendto(data, address)


@define(eq=False)
class Notices(Service):
    """
    Tells the service manager, for as long as the reactor runs.

    ``sentence`` is what the program is doing now; it is sent when it has changed.
    The signs of life come from the reactor, so that one which hangs gives none.
    """

    _log = Logger()

    told: ServiceManager
    clock: Any
    sentence: Callable[[], str]
    send: Callable[[bytes, bytes], None] = send_datagram
    _repeated: list[LoopingCall] = field(init=False, factory=list)
    # What it was told last, if it was.
    _said: str | None = field(init=False, default=None)
    _is_ready: bool = field(init=False, default=False)
    # A program of which it never hears that is ended when its time to start is over.
    _has_said_ready: bool = field(init=False, default=False)
    _has_failed: bool = field(init=False, default=False)

    def startService(self) -> None:
        super().startService()
        if self.told.address is None:
            return
        self._repeat(self.look, LOOK_SECONDS)
        if self.told.watchdog is not None:
            self._repeat(self._live, self.told.watchdog / 2)

    def stopService(self) -> None:
        """Say that the end begins; the signs of life end, as nobody waits for them now."""
        super().stopService()
        for repeated in self._repeated:
            repeated.stop()
        self._repeated.clear()
        self._tell(STOPPING, status_line("stopping"))

    def ready(self) -> None:
        """The program does what it is for; said once."""
        if not self._is_ready:
            self._is_ready = True
            self._say()

    def look(self) -> None:
        """Say what the program is doing, if that has changed, or was not heard."""
        if self.running and (self.sentence() != self._said or self._owes_ready):
            self._say()

    @property
    def _owes_ready(self) -> bool:
        return self._is_ready and not self._has_said_ready

    def _say(self) -> None:
        sentence = self.sentence()
        if self._tell(*((READY,) if self._owes_ready else ()), status_line(sentence)):
            self._said = sentence
            self._has_said_ready = self._is_ready

    def _live(self) -> None:
        self._tell(ALIVE)

    def _repeat(self, call: Callable[[], None], seconds: float) -> None:
        repeated = LoopingCall(call)
        repeated.clock = self.clock
        repeated.start(seconds, now=True)
        self._repeated.append(repeated)

    def _tell(self, *lines: str) -> bool:
        """Whether it was taken."""
        if self.told.address is None:
            return False
        try:
            self.send(self.told.address, datagram(*lines))
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                self._log.warn("the service manager is not told: {error}", error=error.strerror)
            return False
        return True
