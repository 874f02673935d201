"""
Answers to a peer's global requests, in the order in which they were asked.

RFC 4254, section 4: an answer does not say what it answers, so one that takes
longer holds up those behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.ssh.error import SshProtocolError

# A client asks for all its forwardings at once; this is four times what it may have.
WAITING: Final = 128


@define(eq=False)
class _Answer:
    wants_reply: bool
    is_known: bool = False
    value: bytes | None = None


@define(eq=False)
class OrderedAnswers:
    """:param send: gets each answer when its turn has come; None is a refusal."""

    _log = Logger()

    send: Callable[[bytes | None], None]
    _waiting: deque[_Answer] = field(init=False, factory=deque)
    _watching: list[Deferred[None]] = field(init=False, factory=list)

    def add(self, answer: bytes | Deferred[bytes | None] | None, *, wants_reply: bool) -> None:
        """
        :raises SshProtocolError: if too many wait already.
        """
        if len(self._waiting) >= WAITING:
            raise SshProtocolError("too many requests came while others were not answered")
        waiting = _Answer(wants_reply)
        self._waiting.append(waiting)
        if isinstance(answer, Deferred):
            answer.addErrback(self._failed).addCallback(lambda value: self._know(waiting, value))
        else:
            self._know(waiting, answer)

    def settled(self) -> Deferred[None]:
        """Fires when all that has been asked until now, and meanwhile, is answered."""
        watching: Deferred[None] = Deferred()
        self._watching.append(watching)
        self._tell()
        return watching

    def stop(self) -> None:
        """Nobody is there to be answered any more."""
        self._waiting.clear()
        self._tell()

    def _tell(self) -> None:
        if not self._waiting:
            watching, self._watching = self._watching, []
            for each in watching:
                each.callback(None)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("a request could not be answered", failure=failure)

    def _know(self, waiting: _Answer, value: bytes | None) -> None:
        waiting.is_known, waiting.value = True, value
        while self._waiting and self._waiting[0].is_known:
            first = self._waiting.popleft()
            if first.wants_reply:
                self.send(first.value)
        self._tell()
