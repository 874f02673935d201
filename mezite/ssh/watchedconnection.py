"""
The server's side of a person's channels, kept alive and ended in time.

A :class:`WatchedConnection` answers global requests in their order, however
long each takes, notes when anything moved, and ends with the session's bounds.
Which channels there are, its subclasses say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.conch.ssh import connection as conch
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mezite.ssh.connection import FlowConnection
from mezite.ssh.fields import FieldReader
from mezite.ssh.globalrequests import OrderedAnswers
from mezite.ssh.sessionwatch import SessionBounds, SessionWatch, say_goodbye

# Load balancers forget idle connections after a minute; some, after half of one.
ALIVE_SECONDS: Final = 25.0


class WatchedConnection(FlowConnection):
    """
    :param ends: when the person's certificate does, in POSIX seconds.
    :param bounds: what ends the connection from without.
    """

    _log = Logger()

    def __init__(
        self,
        ends: float,
        bounds: SessionBounds,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._clock = clock
        self._answers = OrderedAnswers(self._send_answer)
        self._has_ended = False
        self._alive: IDelayedCall | None = None
        # When anything last moved on a channel, either way.
        self._last_moved = clock.seconds()
        self._watch = SessionWatch(
            bounds,
            ends,
            clock,
            wall_clock,
            lambda: self._last_moved,
            lambda sentence: say_goodbye(self.transport, sentence),
        )

    # Global requests.

    def ssh_GLOBAL_REQUEST(self, packet: bytes) -> None:
        reader = FieldReader(packet)
        name, wants_reply = reader.string(), reader.boolean()
        self._answers.add(self.answer(name, reader.rest()), wants_reply=wants_reply)

    def answer(self, name: bytes, data: bytes) -> bytes | Deferred[bytes | None] | None:
        """What to answer to a global request, now or later; None refuses it."""
        return self.got_global_request(name, data)

    def tell_why(self, sentence: str) -> None:
        """Why a global request is refused, which has no room for words: ``ssh -v`` shows these."""
        if self._has_ended:
            return
        self._log.info("forwarding refused: {sentence}", sentence=sentence)
        self.transport.sendDebug(f"{sentence}\r\n".encode())

    def _send_answer(self, answer: bytes | None) -> None:
        if answer is None:
            self.transport.sendPacket(conch.MSG_REQUEST_FAILURE, b"")
        else:
            self.transport.sendPacket(conch.MSG_REQUEST_SUCCESS, answer)

    # What moves.

    def ssh_CHANNEL_DATA(self, packet: bytes | memoryview) -> None:
        self._last_moved = self._clock.seconds()
        super().ssh_CHANNEL_DATA(packet)

    def sendData(self, channel: Any, data: bytes | memoryview) -> None:
        self._last_moved = self._clock.seconds()
        super().sendData(channel, data)

    def sendExtendedData(self, channel: Any, dataType: int, data: bytes | memoryview) -> None:
        self._last_moved = self._clock.seconds()
        super().sendExtendedData(channel, dataType, data)

    # The connection's life.

    def tell_sessions(self, sentence: str) -> None:
        """Show every session's person a sentence, on a line of its own."""
        for channel in list(self.channels.values()):
            tell = getattr(channel, "tell", None)
            if tell is not None:
                tell(sentence)

    def serviceStarted(self) -> None:
        super().serviceStarted()
        self._last_moved = self._clock.seconds()
        self._watch.start()
        self._stay_alive()

    def serviceStopped(self) -> None:
        if self._alive is not None and self._alive.active():
            self._alive.cancel()
        self._watch.stop()
        self._has_ended = True
        self._answers.stop()
        super().serviceStopped()

    def _stay_alive(self) -> None:
        # An unanswered one is not repeated: a client that was stopped may go on later.
        if not self.deferreds["global"]:
            asked = self.sendGlobalRequest(b"keepalive@openssh.com", b"", wantReply=1)
            asked.addErrback(lambda _: None)
        self._alive = self._clock.callLater(ALIVE_SECONDS, self._stay_alive)
