"""
Unix sockets of a login that a test plays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol
from zope.interface import implementer

from mezite.agent.error import SocketRefused
from mezite.agent.loginsockets import ILoginSockets
from tests.doubles.ports import PlayedSocket

PRIVATE = "/tmp/ssh-0123/agent.1"


@define(eq=False)
class PlayedListener:
    """Somebody connects when the test says so."""

    make: Callable[[], IProtocol | None]
    is_stopped: bool = False

    def stop(self) -> None:
        self.is_stopped = True

    def connect(self) -> tuple[Any, PlayedSocket]:
        protocol, transport = self.make(), PlayedSocket()
        if protocol is not None:
            protocol.makeConnection(transport)  # type: ignore[arg-type]
        return protocol, transport


@implementer(ILoginSockets)
@define(eq=False)
class PlayedLoginSockets:
    """What is asked for comes about at once, or when :meth:`go_on` is called."""

    refusal: str | None = None
    is_held: bool = False
    connected: dict[bytes, PlayedSocket] = field(factory=dict)
    listeners: dict[bytes, PlayedListener] = field(factory=dict)
    removed: list[bytes] = field(factory=list)
    is_closed: bool = False
    _held: list[tuple[Deferred[Any], Any]] = field(factory=list)

    def _answer(self, value: Any) -> Deferred[Any]:
        if self.refusal is not None:
            return fail(SocketRefused(self.refusal))
        if not self.is_held:
            return succeed(value)
        held: Deferred[Any] = Deferred()
        self._held.append((held, value))
        return held

    def go_on(self) -> None:
        held, self._held = self._held, []
        for asked, value in held:
            asked.callback(value)

    def connect(self, path: bytes, protocol: IProtocol) -> Deferred[None]:
        def carry(_: Any) -> None:
            self.connected[path] = PlayedSocket()
            protocol.makeConnection(self.connected[path])  # type: ignore[arg-type]

        return self._answer(None).addCallback(carry)

    def listen(self, path: bytes, make: Callable[[], IProtocol | None]) -> Deferred[Any]:
        self.listeners[path] = PlayedListener(make)
        return self._answer(self.listeners[path])

    def listen_privately(self, make: Callable[[], IProtocol | None]) -> Deferred[tuple[str, Any]]:
        self.listeners[PRIVATE.encode()] = PlayedListener(make)
        return self._answer((PRIVATE, self.listeners[PRIVATE.encode()]))

    def remove(self, path: bytes) -> None:
        self.removed.append(path)

    def close(self) -> None:
        self.is_closed = True
