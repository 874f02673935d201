"""
Sessions that are ended from without: by the hub, by silence, by a clock.

:class:`OpenSessions` knows the SSH connection of each session, so that the hub
can have one ended; a :class:`SessionWatch` ends its own when a bound is reached.
Either way the person reads why, on the terminal and in SSH's goodbye.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakValueDictionary

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from mezite.agent.permit import SessionBounds
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.ssh.error import BY_APPLICATION
from mezite.ssh.fields import printable

# A clock may be set while a session runs: it is looked at this often.
_CLOCK_SECONDS: Final = 60.0


class OpenSessions:
    """The SSH connections of this node's sessions, for as long as these are anybody's."""

    _log = Logger()

    def __init__(self) -> None:
        self._transports: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def add(self, session_id: str, transport: Any) -> None:
        """The latest of one id is the one that can be ended; no honest hub gives one twice."""
        self._transports[session_id] = transport

    def end(self, session_id: str, sentence: str) -> bool:
        """End a session, with this sentence; False if it is not there any more."""
        transport = self._transports.get(session_id)
        if transport is None or transport.disconnecting:
            return False
        self._log.info(
            "session {session_id} ended: {sentence}", session_id=session_id, sentence=sentence
        )
        say_goodbye(transport, sentence)
        return True

    def serve(self, header: StreamHeader) -> Protocol:
        """Do what a stream for the service ``end-session`` asks for; it carries no more."""
        self.end(header.session_id, printable(header.reason.encode()))
        return _Answered()


class _Answered(Protocol):
    """A stream that has said all in its header."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


def say_goodbye(transport: Any, sentence: str) -> None:
    """Show a sentence wherever somebody may read it, and end the SSH connection."""
    tell = getattr(transport.service, "tell_sessions", None)
    if tell is not None:
        tell(sentence)
    transport.disconnect(BY_APPLICATION, sentence)


@define(eq=False)
class SessionWatch:
    """
    Ends one person's connection when it is silent for too long, or when the
    certificate ends.

    :param ends: when the certificate does, in POSIX seconds.
    :param last_moved: when something last moved, by the clock.
    """

    _bounds: SessionBounds
    _ends: float
    _clock: IReactorTime
    _wall_clock: Callable[[], float]
    _last_moved: Callable[[], float]
    _end: Callable[[str], None]
    _timer: IDelayedCall | None = field(init=False, default=None)

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _look(self) -> None:
        self._timer = None
        waits: list[float] = []
        idle_timeout = self._bounds.idle_timeout
        if idle_timeout is not None:
            silent = self._clock.seconds() - self._last_moved()
            if silent >= idle_timeout:
                self._end(f"nothing moved for {_length(idle_timeout)}: the session was ended")
                return
            waits.append(idle_timeout - silent)
        if self._bounds.ends_with_certificate:
            left = self._ends - self._wall_clock()
            if left <= 0:
                self._end("your certificate has expired: log in again with msh login")
                return
            waits.append(min(left, _CLOCK_SECONDS))
        if waits:
            self._timer = self._clock.callLater(min(waits), self._look)


def _length(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
